"""The results as a picture: a bar for each ratio, a line for what is asked. Knows shapes, and nothing of measuring.

A bar's length is the logarithm of its ratio, because they reach from a hundredth to some tens. The background is drawn, so
that it looks the same on a light and on a dark page.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from html import escape
from math import floor, log10
from pathlib import Path
from typing import NamedTuple

PAPER, EDGE, INK, FAINT, GRID = "#ffffff", "#d0d7de", "#1f2328", "#656d76", "#eaeef2"
GOOD, POOR, PLAIN, ASKED = "#1a7f4b", "#c2410c", "#8c959f", "#0550ae"
FONT = "font-family='system-ui,-apple-system,Segoe UI,Helvetica,Arial,sans-serif'"
_WIDTH, _LEFT, _RIGHT, _TOP, _PITCH = 960.0, 430.0, 90.0, 96.0, 34.0
_LABEL = 12.5 * 56  # size times letters of a label that just fits, in the widest of the fonts


Scale = Callable[[float], float]


class Bar(NamedTuple):
    """A ratio, from where to where it was found in single pairs, and what is asked of it."""

    label: str
    beside: str
    ratio: float
    low: float | None
    high: float | None
    asked: float | None


def draw(bars: Sequence[Bar], title: str, subtitle: str) -> str:
    """All of it as SVG."""
    height = _TOP + _PITCH * len(bars) + 58
    ends = [value for bar in bars for value in (bar.ratio, bar.asked) if value]
    first, last = floor(log10(min([*ends, 0.5]))), log10(3 * max([*ends, 1.0]))
    scale = (_WIDTH - _LEFT - _RIGHT) / (last - first)

    def at(value: float) -> float:
        # A spread may reach further than the bars, where a machine was busy: it ends at the edge.
        return _LEFT + min(max(log10(value) - first, 0), last - first) * scale

    shapes = [text(24, 36, 20, INK, title, weight=650), text(24, 58, 13, FAINT, subtitle)]
    bottom = _TOP + _PITCH * len(bars)
    for tick in (10.0**power * step for power in range(first, int(last) + 1) for step in (1, 2, 5)):
        if log10(tick) <= last:
            shapes.append(f"<path d='M{at(tick):.1f} {_TOP - 8:.1f}V{bottom:.1f}' stroke='{GRID}'/>")
            shapes.append(text(at(tick), bottom + 16, 11, FAINT, f"{tick:g}", "middle"))
    shapes.append(f"<path d='M{at(1):.1f} {_TOP - 8:.1f}V{bottom:.1f}' stroke='{INK}' stroke-dasharray='2 3'/>")
    shapes.append(text(at(1), _TOP - 13, 11, INK, "as the peer", "middle"))
    for number, bar in enumerate(bars):
        shapes += _bar(bar, _TOP + _PITCH * number, at)
    shapes += _legend(bottom + 42)
    return (
        f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {_WIDTH:g} {height:g}' role='img' {FONT}>\n"
        f"<title>{escape(title)}</title>\n<desc>{escape(subtitle)}</desc>\n"
        f"<rect x='.5' y='.5' width='{_WIDTH - 1:g}' height='{height - 1:g}' rx='10' fill='{PAPER}' stroke='{EDGE}'/>\n"
        + "\n".join(shapes)
        + "\n</svg>\n"
    )


def _bar(bar: Bar, top: float, at: Scale) -> list[str]:
    middle = top + _PITCH / 2
    colour = PLAIN if bar.asked is None else GOOD if bar.ratio <= bar.asked else POOR
    shapes = [
        text(_LEFT - 12, middle - 2, min(12.5, _LABEL / len(bar.label)), INK, bar.label, "end"),
        text(_LEFT - 12, middle + 11, 11, FAINT, f"beside {bar.beside}", "end"),
        f"<rect x='{_LEFT:g}' y='{top + 8:g}' width='{max(at(bar.ratio) - _LEFT, 2):.1f}' height='{_PITCH - 16:g}' rx='2'"
        f" fill='{colour}'/>",
    ]
    if bar.low and bar.high:
        ends = f"M{at(bar.low):.1f} {middle:g}H{at(bar.high):.1f}"
        shapes.append(f"<path d='{ends}' stroke='{INK}' stroke-width='1.5' opacity='.55'/>")
    if bar.asked:
        shapes.append(f"<path d='M{at(bar.asked):.1f} {top + 3:g}v{_PITCH - 6:g}' stroke='{ASKED}' stroke-width='3'/>")
    furthest = max(value for value in (bar.ratio, bar.high, bar.asked) if value)
    shapes.append(text(at(furthest) + 8, middle + 4, 12, INK, f"{bar.ratio:.2g} ×", weight=600))
    return shapes


def _legend(y: float) -> list[str]:
    shapes, x = [], 24.0
    for colour, words in ((GOOD, "as asked"), (POOR, "over what is asked"), (PLAIN, "nothing is asked")):
        shapes.append(f"<rect x='{x:g}' y='{y - 9:g}' width='16' height='10' rx='2' fill='{colour}'/>")
        shapes.append(text(x + 22, y, 11.5, FAINT, words))
        x += 48 + 6.4 * len(words)
    shapes.append(f"<path d='M{x + 4:g} {y - 11:g}v14' stroke='{ASKED}' stroke-width='3'/>")
    shapes.append(text(x + 14, y, 11.5, FAINT, "what is asked"))
    shapes.append(f"<path d='M{x + 116:g} {y - 4:g}h20' stroke='{INK}' stroke-width='1.5' opacity='.55'/>")
    shapes.append(text(x + 142, y, 11.5, FAINT, "from the best to the worst pair of runs; shorter is better"))
    return shapes


def text(x: float, y: float, size: float, colour: str, words: str, anchor: str = "start", weight: int = 400) -> str:
    """Words at a place."""
    place = f"x='{x:.1f}' y='{y:.1f}' font-size='{size:g}' fill='{colour}'"
    return f"<text {place} text-anchor='{anchor}' font-weight='{weight}'>{escape(words)}</text>"


def write(path: Path, bars: Sequence[Bar], title: str, subtitle: str) -> None:
    """Draw into a file."""
    path.write_text(draw(bars, title, subtitle))
