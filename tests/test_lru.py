"""Who goes first: the pure decisions of the budget, against naive models."""

from typing import NamedTuple

from hypothesis import given
from hypothesis import strategies as st

from model_cache.budget.eviction import Unit
from model_cache.budget.lru import in_order
from model_cache.budget.plan import choose


class Row(NamedTuple):
    """As much of a row as the order looks at."""

    id: int
    last_used_at: float


# (lower bound, how much later the exact last use is)
uses = st.lists(st.tuples(st.integers(0, 20), st.integers(0, 20)), max_size=40)


@given(uses)
def test_the_order_is_that_of_exact_last_uses(found):
    """Whatever the index's lower bounds, entries come in the order of their exact last uses, ties by id."""
    rows = sorted(
        (Row(number, bound) for number, (bound, _) in enumerate(found)), key=lambda row: (row.last_used_at, row.id)
    )
    exact = {number: bound + later for number, (bound, later) in enumerate(found)}
    order = [row.id for _, row in in_order(rows, lambda row: exact[row.id])]
    assert order == sorted(exact, key=lambda number: (exact[number], number))


@given(uses, st.integers(0, 5))
def test_no_row_is_examined_before_it_matters(found, wanted):
    """To know the first few victims only rows whose bound is not later than theirs are looked at."""
    rows = sorted(
        (Row(number, bound) for number, (bound, _) in enumerate(found)), key=lambda row: (row.last_used_at, row.id)
    )
    exact = {number: bound + later for number, (bound, later) in enumerate(found)}
    examined = []

    def last_use(row):
        examined.append(row)
        return exact[row.id]

    order = in_order(rows, last_use)
    victims = [next(order, None) for _ in range(wanted)]
    latest = max((when for when, _ in filter(None, victims)), default=-1)
    assert all(row.last_used_at <= latest for row in examined)


units = st.lists(st.tuples(st.integers(0, 100), st.integers(1, 50)), max_size=30)


class Charged(NamedTuple):
    """As much of a row as the plan looks at."""

    charged: int


@given(units, st.integers(-10, 500), st.integers(0, 100))
def test_the_plan_takes_the_oldest_that_suffice_and_none_that_are_recent(found, need, since):
    """The victims are the shortest run of idle units, oldest first, that covers the need, or all of them."""
    ordered = [Unit((Charged(size),), float(when)) for when, size in sorted(found)]
    plan = choose(ordered, need, since)
    idle = [unit for unit in ordered if unit.last_use <= since]
    naive, covered = [], 0
    for unit in idle:
        if covered >= need:
            break
        naive.append(unit)
        covered += unit.charged
    assert plan.victims == naive
    assert plan.missing == max(need - covered, 0)
    assert all(unit.last_use > since for unit in plan.recent)
    if plan.missing:
        assert plan.recent == [unit for unit in ordered if unit.last_use > since]


def test_a_byte_that_is_missing_is_a_need():
    """One byte takes the oldest, nothing takes none, and the plan of neither has bytes missing."""
    unit = Unit((Charged(5),), 1.0)
    assert [choose([unit], need, 1.0).victims for need in (-1, 0, 1, 5, 6)] == [[], [], [unit], [unit], [unit]]
    assert [choose([unit], need, 1.0).missing for need in (-1, 0, 1, 5, 6)] == [0, 0, 0, 0, 1]
