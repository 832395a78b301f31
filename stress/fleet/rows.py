"""What was asked, and what was measured."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple


class Row(NamedTuple):
    """One promise and what it came to.

    Attributes:
        what: Was tried.
        asked, measured: In words.
        kept: Whether one is within the other.
        timed: Whether that is a matter of time, which a busy machine may be late for.
    """

    what: str
    asked: str
    measured: str
    kept: bool
    timed: bool = False


def seconds(what: str, most: float, taken: float) -> Row:
    """A row of a time that has a limit."""
    return Row(what, f"≤ {most:g} s", f"{max(taken, 0.0):.2f} s", taken <= most, timed=True)


def table(rows: Sequence[Row]) -> str:
    """As Markdown."""
    lines = ["| | asked | measured | |", "|---|---|---|---|"]
    lines += [f"| {row.what} | {row.asked} | {row.measured} | {'' if row.kept else 'MISSED'} |" for row in rows]
    return "\n".join(lines)
