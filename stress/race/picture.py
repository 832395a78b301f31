"""A Gantt as SVG: lanes with bars and marks, a curve above them, notes, a legend. Knows shapes, and nothing of caches.

The background is drawn, so that it looks the same on a light and on a dark page.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape
from typing import NamedTuple

PAPER, EDGE, INK, FAINT, GRID = "#ffffff", "#d0d7de", "#1f2328", "#656d76", "#eaeef2"
GOOD, BAD = "#1a7f37", "#cf222e"
_FONT = "font-family='system-ui,-apple-system,Segoe UI,Helvetica,Arial,sans-serif'"
_LEFT, _RIGHT, _TOP = 46.0, 24.0, 92.0  # room around the lanes, in pixels
_CURVE = 54.0  # height of the curve
_VERDICT, _ABREAST = 19.0, 5  # from row to row of verdicts, and how many stand in one
_LETTER, _BOLD = 6.15, 7.1  # width of one, on average, at 12 pixels


class Bar(NamedTuple):
    """From when to when (seconds), and in which colour; `height` is a share of the lane's."""

    start: float
    end: float
    colour: str
    height: float = 1.0
    hint: str = ""


class Mark(NamedTuple):
    """A sign at a time: `cross`, `dot` or `tick`."""

    at: float
    shape: str
    colour: str


@dataclass
class Lane:
    """One line: its label, what lies on it."""

    label: str
    bars: list[Bar] = field(default_factory=list)
    marks: list[Mark] = field(default_factory=list)


class Note(NamedTuple):
    """A vertical line at a time, with a text at its top; `row` 0 is the lowest of the rows of texts."""

    at: float
    text: str
    colour: str
    row: int = 0


@dataclass
class Picture:
    """All of it.

    Attributes:
        title, subtitle: Above everything.
        first, last: Seconds that are shown.
        lanes: From top to bottom.
        legend: (shape, colour, text) of each sign; `bar` is a shape too.
        notes: Lines through all lanes.
        curve: (seconds, share of 1, colour) of a line above the lanes; empty for none.
        curve_label: What it is of.
        verdicts: (text, whether it is good) of what came out, below everything, five in a row.
        pitch: Pixels from lane to lane.
        width: Pixels.
    """

    title: str
    subtitle: str
    first: float
    last: float
    lanes: list[Lane]
    legend: Sequence[tuple[str, str, str]]
    notes: list[Note] = field(default_factory=list)
    curve: list[tuple[float, float, str]] = field(default_factory=list)
    curve_label: str = ""
    verdicts: Sequence[tuple[str, bool]] = ()
    pitch: float = 8.0
    width: float = 960.0

    def svg(self) -> str:
        """The text of the file."""
        lanes = self._top + self.pitch * len(self.lanes)
        below = 12 + _VERDICT * -(-len(self.verdicts) // _ABREAST) if self.verdicts else 0
        height = lanes + 66 + below
        parts = [
            f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {self.width:g} {height:g}' role='img' {_FONT}>",
            f"<title>{escape(self.title)}</title>",
            f"<desc>{escape(self.subtitle)}</desc>",
            f"<rect x='.5' y='.5' width='{self.width - 1:g}' height='{height - 1:g}' rx='10' fill='{PAPER}' stroke='{EDGE}'/>",
            _text(24, 36, self.title, size=20, weight=650),
            *(_text(24, 58 + 17 * n, line, size=13, colour=FAINT) for n, line in enumerate(self.subtitle.split("\n"))),
            *self._grid(lanes), *self._curve(), *self._notes(lanes),
        ]  # fmt: skip
        for number, lane in enumerate(self.lanes):
            parts += self._lane(lane, self._top + self.pitch * number)
        parts += [*self._labels(), *self._legend(lanes + 48), *self._verdicts(lanes + 82), "</svg>"]
        return "\n".join(parts) + "\n"

    @property
    def _top(self) -> float:
        rows = max((note.row for note in self.notes), default=-1) + 1
        return _TOP + 17 * self.subtitle.count("\n") + 17 * rows + (_CURVE + 12 if self.curve else 0)

    def _x(self, at: float) -> float:
        share = (min(max(at, self.first), self.last) - self.first) / (self.last - self.first)
        return _LEFT + share * (self.width - _LEFT - _RIGHT)

    def _grid(self, bottom: float) -> list[str]:
        span = self.last - self.first
        every = next(step for step in (0.25, 0.5, 1, 2, 5, 10, 30, 60, 600) if span / step <= 14)
        parts = []
        for number in range(int(span / every) + 1):
            x = self._x(self.first + number * every)
            parts.append(f"<path d='M{x:.1f} {self._top - 2:.1f}V{bottom:.1f}' stroke='{GRID}'/>")
            parts.append(_text(x, bottom + 15, f"{number * every:g} s", size=11, colour=FAINT, anchor="middle"))
        return parts

    def _lane(self, lane: Lane, y: float) -> list[str]:
        parts = [f"<g id='{escape(lane.label, quote=True)}'>"]
        for bar in lane.bars:
            if bar.end < self.first or bar.start > self.last:
                continue
            x, end = self._x(bar.start), self._x(bar.end)
            high = max(self.pitch - 2, 2) * bar.height
            hint = f"<title>{escape(bar.hint)}</title>" if bar.hint else ""
            shape = (
                f"x='{x:.1f}' y='{y + (self.pitch - high) / 2:.1f}' width='{max(end - x, 1.2):.1f}' height='{high:.1f}'"
            )
            parts.append(f"<rect {shape} rx='1' fill='{bar.colour}'{f'>{hint}</rect>' if hint else '/>'}")
        size, shown = min(self.pitch, 11), [mark for mark in lane.marks if self.first <= mark.at <= self.last]
        parts += [_sign(mark.shape, mark.colour, self._x(mark.at), y + self.pitch / 2, size) for mark in shown]
        return [*parts, "</g>"]

    def _labels(self) -> list[str]:
        every = 1 if self.pitch >= 11 else 8
        return [
            _text(_LEFT - 8, self._top + self.pitch * (n + 0.5) + 3.5, lane.label, size=10, colour=FAINT, anchor="end")
            for n, lane in enumerate(self.lanes)
            if n % every == 0 or n == len(self.lanes) - 1
        ]

    def _curve(self) -> list[str]:
        if not self.curve:
            return []
        base = self._top - 10
        parts = [_text(_LEFT, base - _CURVE - 4, self.curve_label, size=11, colour=FAINT)]
        for (start, low, colour), (end, high, _) in zip(self.curve, self.curve[1:], strict=False):
            x, right = self._x(start), self._x(end)
            top = f"{x:.1f} {base - low * _CURVE:.1f}L{right:.1f} {base - high * _CURVE:.1f}"
            parts.append(f"<path d='M{x:.1f} {base:.1f}L{top}V{base:.1f}Z' fill='{colour}' fill-opacity='.22'/>")
            parts.append(f"<path d='M{top}' stroke='{colour}' stroke-width='2' stroke-linecap='round'/>")
        return [*parts, f"<path d='M{_LEFT:g} {base:.1f}H{self.width - _RIGHT:g}' stroke='{EDGE}'/>"]

    def _notes(self, bottom: float) -> list[str]:
        parts = []
        for note in self.notes:
            x = self._x(note.at)
            y = _TOP + 17 * self.subtitle.count("\n") + 17 * (max(n.row for n in self.notes) - note.row)
            wide = _BOLD * len(note.text)
            left = x + 6 + wide < self.width - _RIGHT
            parts.append(
                f"<path d='M{x:.1f} {y - 9:.1f}V{bottom:.1f}' stroke='{note.colour}' stroke-width='1' stroke-dasharray='3 3'/>"
            )
            anchor, at = ("start", x + 6) if left else ("end", x - 6)
            parts.append(_text(at, y, note.text, size=12, colour=note.colour, anchor=anchor, weight=600))
        return parts

    def _legend(self, y: float) -> list[str]:
        parts, x = [], _LEFT
        for shape, colour, text in self.legend:
            if shape == "bar":
                parts.append(f"<rect x='{x:.1f}' y='{y - 9:.1f}' width='20' height='9' rx='2' fill='{colour}'/>")
            else:
                parts.append(_sign(shape, colour, x + 10, y - 4.5, 10))
            parts.append(_text(x + 26, y, text, size=12))
            x += 26 + _LETTER * len(text) + 22
        return parts

    def _verdicts(self, y: float) -> list[str]:
        if not self.verdicts:
            return []
        line = f"M{_LEFT:g} {y - 19:.1f}H{self.width - _RIGHT:g}"
        parts = [f"<path d='{line}' stroke='{EDGE}'/>"]
        for number, (words, good) in enumerate(self.verdicts):
            x = _LEFT + number % _ABREAST * (self.width - _LEFT - _RIGHT) / _ABREAST
            at = y + number // _ABREAST * _VERDICT
            # A sign besides the colour, for whoever cannot tell the two.
            colour, sign = (GOOD, "\N{CHECK MARK}") if good else (BAD, "\N{MULTIPLICATION X}")
            parts += [_text(x, at, sign, size=13, colour=colour, weight=650), _text(x + 17, at, words, size=12)]
        return parts


def _sign(shape: str, colour: str, x: float, y: float, size: float) -> str:
    half = size / 2
    if shape == "dot":
        return f"<circle cx='{x:.1f}' cy='{y:.1f}' r='{half * 0.7:.1f}' fill='{colour}'/>"
    if shape == "tick":
        return f"<path d='M{x:.1f} {y - half:.1f}v{size:.1f}' stroke='{colour}' stroke-width='1.6'/>"
    stroke = f"stroke-width='{max(size / 4, 1.8):.1f}' stroke-linecap='round'"
    cross = f"M{x - half:.1f} {y - half:.1f}l{size:.1f} {size:.1f}m0 {-size:.1f}l{-size:.1f} {size:.1f}"
    # A rim of paper, so that it stands out from the bar it ends.
    return f"<path d='{cross}' stroke='{PAPER}' stroke-width='{size / 2 + 1:.1f}'/><path d='{cross}' stroke='{colour}' {stroke}/>"


def _text(
    x: float, y: float, text: str, *, size: float, colour: str = INK, anchor: str = "start", weight: int = 400
) -> str:
    look = f"font-size='{size:g}' fill='{colour}' text-anchor='{anchor}' font-weight='{weight}'"
    return f"<text x='{x:.1f}' y='{y:.1f}' {look}>{escape(text)}</text>"
