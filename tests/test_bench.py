"""What the benchmarks say of their figures; no test measures a time."""

import pytest

from bench import chart, results
from bench.cases import Row, paired
from bench.timing import series

BEFORE = {"cases": {"case": [results.as_json(Row("it", "peer", 1.0, 1.0, 2.0))]}}


@pytest.mark.parametrize(
    ("ours", "asked", "low", "bad"),
    [
        (1.2, 2.0, 1.0, False),  # within the margin
        (1.5, 2.0, 1.0, False),  # over it, but not in the best pair
        (1.5, 2.0, 1.4, True),
        (2.1, 2.0, 1.0, True),  # over what is asked
        (9.0, None, 9.0, False),  # there for comparison
    ],
)
def test_a_ratio_is_worse_when_it_is_over_what_is_asked_or_moved_in_every_pair(ours, asked, low, bad):
    """What is worse than it may be is told from what the machine's other work does."""
    words, found = results.judge("case", Row("it", "peer", ours, 1.0, asked, low=low, high=ours), BEFORE)
    assert found == bad
    assert words.startswith("1 before")


def test_a_row_that_was_never_measured_is_new():
    """Without a result of before only what is asked counts."""
    assert results.judge("case", Row("other", "peer", 1.0, 1.0, 2.0), BEFORE) == ("new", False)


def test_a_spread_is_that_of_the_pairs():
    """The ratio of each round counts, not the best of one beside the worst of the other."""
    row = paired("it", "peer", series([1.0, 4.0, 2.0]), series([2.0, 4.0, 1.0]), None)
    assert (row.ratio, row.low, row.high) == (1.0, 0.5, 2.0)


def test_counts_are_shown_as_counts():
    """A number of requests has no unit, and a time has three digits of the one that fits it."""
    assert [results.quantity(202, ""), results.quantity(0.0001234, "s"), results.quantity(1.5, "s")] == [
        "202",
        "123 µs",
        "1.5 s",
    ]


def test_a_picture_has_a_bar_for_each_ratio_and_keeps_inside_its_frame():
    """A spread that reaches far beyond the bars ends at the edge, and a name cannot break the picture."""
    bars = [chart.Bar("a < b", "peer", 0.5, 0.4, 900.0, 1.0), chart.Bar("c", "peer", 2.0, None, None, 1.0)]
    drawn = chart.draw(bars, "title", "subtitle")
    assert drawn.count(f"fill='{chart.GOOD}'") == 2  # the bar and the legend
    assert drawn.count(f"fill='{chart.POOR}'") == 2
    assert "a &lt; b" in drawn
    places = [float(text.split("'")[0]) for text in drawn.split("<text x='")[1:]]
    assert max(places) < 960
