"""When a question is asked again."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hub_equipment import FakeClock

from model_cache.errors import DownloadError, NotFoundError
from model_cache.hub.retries import PATIENCE, next_wait, repeat


def _failing(error: Callable[[], DownloadError], times: int) -> tuple[Callable[[], str], list[int]]:
    calls: list[int] = []

    def ask() -> str:
        calls.append(1)
        if len(calls) <= times:
            raise error()
        return "answer"

    return ask, calls


def _transient(**fields: object) -> DownloadError:
    return DownloadError("broken", transient=True, **fields)


def test_a_passing_failure_is_asked_again_with_growing_waits(clock: FakeClock) -> None:
    """Each wait is between half of and all of a step that doubles."""
    ask, _ = _failing(_transient, 4)
    assert repeat(ask, clock, 5) == "answer"
    assert len(clock.sleeps) == 4
    assert all(0.25 * 2**step <= wait <= 0.5 * 2**step for step, wait in enumerate(clock.sleeps))


def test_a_lasting_failure_is_given_up_after_the_retries(clock: FakeClock) -> None:
    """`retries` repetitions, then the error says how often it was tried."""
    ask, calls = _failing(_transient, 99)
    with pytest.raises(DownloadError, match="gave up after 6 attempts"):
        repeat(ask, clock, 5)
    assert len(calls) == 6


def test_a_refusal_that_stands_is_not_asked_again(clock: FakeClock) -> None:
    """Errors that are not transient come at once and unchanged."""
    ask, calls = _failing(lambda: NotFoundError("no such file"), 99)
    with pytest.raises(NotFoundError, match=r"^no such file$"):
        repeat(ask, clock, 5)
    assert (len(calls), clock.sleeps) == (1, [])


def test_no_network_is_believed_sooner(clock: FakeClock) -> None:
    """Where no connection can be made, two repetitions within some two seconds are enough."""
    ask, calls = _failing(lambda: _transient(unreachable=True), 99)
    with pytest.raises(DownloadError):
        repeat(ask, clock, 5)
    assert len(calls) == 3
    assert sum(clock.sleeps) < 2


def test_the_servers_wait_is_honoured_up_to_the_cap(clock: FakeClock) -> None:
    """A wait of 3 s is kept; one of 55 s is cut into waits of at most 30 s; the total stays within bounds."""
    ask, _ = _failing(lambda: _transient(retry_after=3.0), 1)
    repeat(ask, clock, 5)
    assert 3 <= clock.sleeps[0] <= 4
    clock.sleeps.clear()
    waits = iter([55.0, 25.0])
    ask, _ = _failing(lambda: _transient(retry_after=next(waits)), 2)
    assert repeat(ask, clock, 5) == "answer"
    assert max(clock.sleeps) <= 30
    assert sum(clock.sleeps) <= PATIENCE


def test_a_wait_beyond_all_patience_is_not_begun(clock: FakeClock) -> None:
    """A server that asks for an hour gets its refusal passed on at once, with the wait in the error."""
    ask, calls = _failing(lambda: _transient(retry_after=3600.0), 99)
    with pytest.raises(DownloadError) as caught:
        repeat(ask, clock, 5)
    assert caught.value.retry_after == 3600
    assert (len(calls), clock.sleeps) == (1, [])


@pytest.mark.parametrize("asked", [None, 0.0, 10.0, 29.0, 59.0])
@pytest.mark.parametrize("jitter", [0.0, 1.0])
def test_all_waits_together_are_bounded(asked: float | None, jitter: float) -> None:
    """However often the server refuses, the waits add up to at most the patience."""
    elapsed, attempt = 0.0, 0
    while (wait := next_wait(attempt, elapsed, asked, jitter)) is not None:
        assert 0 <= wait <= 30
        elapsed, attempt = elapsed + wait, attempt + 1
        assert attempt < 1000
    assert elapsed <= PATIENCE
