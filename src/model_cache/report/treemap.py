"""A rectangle divided in proportion, with parts as near to squares as they come; pure.

Squarified treemaps: Bruls, Huizing, van Wijk (2000). A row of parts is laid along the shorter side for as long as that makes
its worst part squarer, then the rest of the rectangle is divided in the same way.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple


class Box(NamedTuple):
    """A rectangle: its upper left corner, width and height."""

    x: float
    y: float
    width: float
    height: float

    def inside(self, left: float, top: float, right: float, bottom: float) -> Box:
        """What is left of it within margins, at least nothing."""
        width, height = max(self.width - left - right, 0.0), max(self.height - top - bottom, 0.0)
        return Box(self.x + left, self.y + top, width, height)


def squarify(weights: Sequence[float], box: Box) -> list[Box]:
    """One part of the box per weight, in the order of the weights, its area in proportion.

    Args:
        weights: Each above 0; the largest first makes the squarest parts.
        box: What is divided.
    """
    whole = sum(weights)
    if not whole or not box.width * box.height:
        return [Box(box.x, box.y, 0.0, 0.0) for _ in weights]
    areas = [weight * box.width * box.height / whole for weight in weights]
    made: list[Box] = []
    start = 0
    while start < len(areas):
        side = min(box.width, box.height)
        end, total = start + 1, areas[start]
        while end < len(areas):
            more = total + areas[end]
            if _worst(areas[start : end + 1], more, side) > _worst(areas[start:end], total, side):
                break
            end, total = end + 1, more
        row, box = _lay(areas[start:end], total, box, last=end == len(areas))
        made += row
        start = end
    return made


def _worst(areas: Sequence[float], total: float, side: float) -> float:
    """How far the least square part of a row is from one: the longer side by the shorter."""
    if not side or not total:
        return float("inf")
    thickness = total / side
    return max(max(thickness * thickness / area, area / (thickness * thickness)) for area in areas)


def _lay(areas: Sequence[float], total: float, box: Box, *, last: bool) -> tuple[list[Box], Box]:
    """A row along the shorter side, and what is left; the last row takes all that is left, rounding included."""
    upright = box.width >= box.height
    side, depth = (box.height, box.width) if upright else (box.width, box.height)
    thickness = depth if last else min(total / side if side else 0.0, depth)
    row, at = [], 0.0
    for area in areas:
        length = min(area / total * side, side - at)
        if upright:
            row.append(Box(box.x, box.y + at, thickness, length))
        else:
            row.append(Box(box.x + at, box.y, length, thickness))
        at += length
    if upright:
        return row, Box(box.x + thickness, box.y, box.width - thickness, box.height)
    return row, Box(box.x, box.y + thickness, box.width, box.height - thickness)
