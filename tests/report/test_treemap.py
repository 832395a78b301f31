"""A treemap: areas are in proportion, nothing overlaps, all is inside."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_cache.report.treemap import Box, squarify

weights = st.lists(st.one_of(st.integers(1, 10**13), st.floats(0.5, 1e6)), min_size=1, max_size=60)
boxes = st.builds(Box, st.floats(-50, 50), st.floats(-50, 50), st.floats(10, 2000), st.floats(10, 2000))


def overlap(one, other):
    """The area that two boxes share."""
    width = min(one.x + one.width, other.x + other.width) - max(one.x, other.x)
    height = min(one.y + one.height, other.y + other.height) - max(one.y, other.y)
    return max(width, 0) * max(height, 0)


@given(weights, boxes)
def test_areas_are_in_proportion_and_apart(given_weights, box):
    """Whatever the weights: each part has its share of the area, lies inside, and shares nothing with another."""
    parts = squarify(given_weights, box)
    area, whole = box.width * box.height, sum(given_weights)
    for weight, part in zip(given_weights, parts, strict=True):
        assert part.width * part.height == pytest.approx(area * weight / whole, rel=1e-6, abs=area * 1e-9)
        assert part.x >= box.x - 1e-6
        assert part.y >= box.y - 1e-6
        assert part.x + part.width <= box.x + box.width + 1e-6
        assert part.y + part.height <= box.y + box.height + 1e-6
    shared = [overlap(one, other) for number, one in enumerate(parts) for other in parts[:number]]
    assert max(shared, default=0) <= area * 1e-9


@pytest.mark.parametrize("count", [2, 7, 30, 200])
def test_equal_parts_are_near_to_squares(count):
    """Of equal weights no part is longer than three times its width: slices would be."""
    parts = squarify([1.0] * count, Box(0, 0, 1136, 520))
    assert max(max(one.width, one.height) / min(one.width, one.height) for one in parts) < 3


def test_the_largest_comes_first():
    """Parts in falling order of their weights start in the upper left corner, the largest there."""
    parts = squarify([6, 6, 4, 3, 2, 2, 1], Box(0, 0, 600, 400))
    assert (parts[0].x, parts[0].y) == (0, 0)
    assert all(one.width * one.height >= other.width * other.height - 1e-6 for one, other in pairwise(parts))


def test_no_room_and_nothing_to_show():
    """A box without area gives parts without area, and no weights no parts."""
    assert squarify([], Box(0, 0, 10, 10)) == []
    assert [part.width * part.height for part in squarify([1, 2], Box(0, 0, 0, 10))] == [0, 0]
