"""Times as a report says them; pure."""

from __future__ import annotations

from datetime import UTC, datetime
from math import isfinite


def ago(moment: float, now: float) -> str:
    """How long ago, in one unit: `3 days ago`; `never` for 0, `now` within a minute."""
    if not moment or not isfinite(moment):
        return "never"
    seconds = max(now - moment, 0.0)
    for unit, length in (("year", 31_557_600), ("day", 86400), ("hour", 3600), ("minute", 60)):
        count = int(seconds // length)
        if count:
            return f"{count} {unit}{'' if count == 1 else 's'} ago"
    return "just now"


def stamp(moment: float) -> str:
    """A moment to the minute, in UTC; `?` for a time that no calendar has."""
    return _format(moment, "%Y-%m-%d %H:%M UTC")


def tick(moment: float, span: float) -> str:
    """A moment as the mark of an axis that is so many seconds long."""
    forms = ((3600, "%H:%M:%S"), (86400, "%H:%M"), (3 * 86400, "%d %b %H:%M"))
    return _format(moment, next((form for most, form in forms if span < most), "%d %b %Y"))


def _format(moment: float, form: str) -> str:
    try:
        return datetime.fromtimestamp(moment, UTC).strftime(form)
    except (ValueError, OverflowError, OSError):
        return "?"
