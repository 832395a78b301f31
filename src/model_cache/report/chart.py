"""How full the cache was against its budget, and what came and went, as SVG for each width; pure."""

from __future__ import annotations

from collections.abc import Sequence

from ..units import format_size, plural
from .facts import Facts
from .history import Moment, history
from .map import WIDTHS
from .markup import element, text
from .words import stamp, tick

_TOP, _PLOT, _BETWEEN, _BARS, _FOOT = 18.0, 190.0, 26.0, 90.0, 22.0  # pixels, from above
_LEFT, _RIGHT = 62.0, 8.0
_SPANS = {"wide": 120, "middle": 80, "narrow": 48}
_SPACE = 130.0  # pixels between two marks of time


def chart(facts: Facts) -> str:
    """The picture for each width; nothing where nothing is known of the past."""
    made = []
    for kind, spans in _SPANS.items():
        moments = history(facts.events, facts.total, facts.now, spans)
        if moments:
            made.append(_Chart(facts, moments, float(WIDTHS[kind][0])).draw(kind))
    return "".join(made)


class _Chart:
    """One picture."""

    def __init__(self, facts: Facts, moments: Sequence[Moment], width: float) -> None:
        self._facts, self._moments, self._width = facts, moments, width
        self._step = (width - _LEFT - _RIGHT) / len(moments)
        self._most = max(facts.budget or 0, facts.total, *(moment.peak for moment in moments)) * 1.06 or 1.0
        self._moved = max(max(moment.came, moment.went) for moment in moments) or 1
        self._middle = _TOP + _PLOT + _BETWEEN + _BARS / 2

    def draw(self, kind: str) -> str:
        height = _TOP + _PLOT + _BETWEEN + _BARS + _FOOT
        parts = (self._grid(), self._area(), self._budget(), self._bars(), self._time())
        return element(
            "svg",
            element("title", text("Size over time, and what came and went")) + "".join(parts),
            class_=f"chart {kind}",
            viewBox=f"0 0 {self._width:.0f} {height:.0f}",
            role="img",
        )

    def _x(self, number: int) -> float:
        return _LEFT + number * self._step

    def _y(self, size: float) -> float:
        return _TOP + _PLOT * (1 - size / self._most)

    def _grid(self) -> str:
        drawn = ""
        for share in (0.0, 0.5, 1.0):
            size = self._most / 1.06 * share
            drawn += self._line(self._y(size), "grid") + self._label(self._y(size) + 4, format_size(size))
        return drawn

    def _area(self) -> str:
        path = f"M{_LEFT:.1f} {self._y(0):.1f}"
        for number, moment in enumerate(self._moments):
            path += f"V{self._y(moment.size):.1f}H{self._x(number + 1):.1f}"
        return element("path", d=f"{path}V{self._y(0):.1f}Z", class_="area")

    def _budget(self) -> str:
        budget = self._facts.budget
        if budget is None:
            return ""
        y = self._y(budget)
        label = element(
            "text", text(f"budget {format_size(budget)}"), x=self._width - _RIGHT, y=y - 5, class_="end limit"
        )
        return self._line(y, "budget") + label

    def _bars(self) -> str:
        drawn = (
            self._line(self._middle, "grid")
            + self._label(self._middle - 24, "came")
            + self._label(self._middle + 32, "went")
        )
        half = _BARS / 2
        for number, moment in enumerate(self._moments):
            if not (moment.came or moment.went or moment.regrets):
                continue
            x, width = self._x(number) + self._step * 0.1, self._step * 0.8
            up, down = (half * size / self._moved for size in (moment.came, moment.went))
            again = half * min(moment.regretted, moment.came) / self._moved
            said = f"from {stamp(moment.at)}: {format_size(moment.came)} came, {format_size(moment.went)} went"
            said += f" ({plural(moment.goings, 'file')}), {format_size(moment.regretted)} of it came again"
            bars = element("title", text(said))
            for kind, y, height in (
                ("came", self._middle - up, up),
                ("went", self._middle, down),
                ("again", self._middle - again, again),
            ):
                if height:
                    bars += element("rect", x=x, y=y, width=width, height=max(height, 1.0), class_=kind)
            drawn += element("g", bars)
        return drawn

    def _time(self) -> str:
        began, now = self._moments[0].at, self._facts.now
        room = self._width - _LEFT - _RIGHT
        marks = max(int(room / _SPACE), 1)
        y = _TOP + _PLOT + _BETWEEN + _BARS + 16
        drawn = ""
        for number in range(marks + 1):
            anchor = "start" if number == 0 else "end" if number == marks else "mid"
            moment = tick(began + (now - began) * number / marks, now - began)
            drawn += element("text", text(moment), x=_LEFT + room * number / marks, y=y, class_=anchor)
        return drawn

    def _line(self, y: float, kind: str) -> str:
        return element("line", x1=_LEFT, x2=self._width - _RIGHT, y1=y, y2=y, class_=kind)

    def _label(self, y: float, content: str) -> str:
        return element("text", text(content), x=_LEFT - 6, y=y, class_="end")
