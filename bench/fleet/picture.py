"""The sweep as a picture: Hub bytes, bucket bytes and time against hosts, a line for each way. Knows shapes and figures only.

Both axes are logarithms, of one length for a factor of ten within a panel. The background is drawn, as in `bench.chart`.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from math import log10
from typing import NamedTuple

from bench.chart import EDGE, FAINT, FONT, GRID, INK, PAPER, text

_WIDTH, _HEIGHT = 960.0, 420.0
_LEFT, _TOP, _ACROSS, _DOWN, _PITCH = 66.0, 118.0, 226.0, 232.0, 306.0  # of a panel; from one to the next


class Line(NamedTuple):
    """A name, how it is drawn, and (hosts, value) from left to right."""

    name: str
    colour: str
    stroke: str
    points: Sequence[tuple[int, float]]


class Panel(NamedTuple):
    """What is shown, its lines, and (value, words) of its axis from below to above: the ends are the first and the last."""

    title: str
    lines: Sequence[Line]
    axis: Sequence[tuple[float, str]]


def draw(panels: Sequence[Panel], title: str, subtitle: str) -> str:
    """All of it as SVG."""
    shapes = [text(24, 36, 20, INK, title, weight=650), text(24, 58, 13, FAINT, subtitle)]
    shapes += _legend(panels[0].lines)
    for number, panel in enumerate(panels):
        shapes += _panel(panel, _LEFT + _PITCH * number)
    return (
        f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {_WIDTH:g} {_HEIGHT:g}' role='img' {FONT}>\n"
        f"<title>{escape(title)}</title>\n<desc>{escape(subtitle)}</desc>\n"
        f"<rect x='.5' y='.5' width='{_WIDTH - 1:g}' height='{_HEIGHT - 1:g}' rx='10' fill='{PAPER}' stroke='{EDGE}'/>\n"
        + "\n".join(shapes)
        + "\n</svg>\n"
    )


def _panel(panel: Panel, left: float) -> list[str]:
    hosts = [log10(point[0]) for line in panel.lines for point in line.points]
    low, high = log10(panel.axis[0][0]), log10(panel.axis[-1][0])
    first, last, bottom = min(hosts), max(hosts), _TOP + _DOWN

    def place(point: tuple[float, float]) -> tuple[float, float]:
        across = (log10(point[0]) - first) / max(last - first, 1)
        up = (log10(point[1]) - low) / (high - low)
        return left + _ACROSS * across, bottom - _DOWN * min(max(up, 0), 1)

    shapes = [text(left - 42, _TOP - 14, 13, INK, panel.title, weight=600)]
    for value, words in panel.axis:
        y = place((10**first, value))[1]
        shapes.append(f"<path d='M{left:.1f} {y:.1f}h{_ACROSS:g}' stroke='{GRID}'/>")
        shapes.append(text(left - 8, y + 4, 11, FAINT, words, "end"))
    for power in range(round(first), round(last) + 1):
        x = place((10.0**power, panel.axis[0][0]))[0]
        shapes.append(f"<path d='M{x:.1f} {_TOP:g}V{bottom:g}' stroke='{GRID}'/>")
        shapes.append(text(x, bottom + 17, 11, FAINT, f"{10**power:,}", "middle"))
    shapes.append(text(left + _ACROSS / 2, bottom + 36, 11.5, FAINT, "hosts", "middle"))
    for line in sorted(
        panel.lines, key=lambda line: "dash" in line.stroke
    ):  # what others lie under can be seen through
        shapes += _line(line, [place(point) for point in line.points if point[1] > 0])
    return shapes


def _line(line: Line, places: Sequence[tuple[float, float]]) -> list[str]:
    if not places:
        return []
    path = "L".join(f"{x:.1f} {y:.1f}" for x, y in places)
    shapes = [f"<path d='M{path}' fill='none' stroke='{line.colour}' {line.stroke}/>"]
    return shapes + [f"<circle cx='{x:.1f}' cy='{y:.1f}' r='3' fill='{line.colour}'/>" for x, y in places]


def _legend(lines: Sequence[Line]) -> list[str]:
    shapes, x = [], 24.0
    for line in lines:
        shapes.append(f"<path d='M{x:g} 80h26' stroke='{line.colour}' {line.stroke}/>")
        shapes.append(text(x + 33, 84, 12, INK, line.name))
        x += 60 + 6.6 * len(line.name)
    return shapes
