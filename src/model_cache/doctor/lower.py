"""The roots that are looked at before the Hub: are they there, and may this user read them?"""

from __future__ import annotations

import os
from contextlib import closing

from ..context import Context
from ..errors import IndexUnavailableError, quoted
from ..index import queries
from .check import Check, fail, ok, warn

_NAME = "lower"


def lower(ctx: Context) -> list[Check]:
    """One finding for each lower root; none where there are none."""
    used = {below.root: below for below in ctx.lower}
    source = ctx.settings.sources["lower"]
    return [_judged(root, f"{root} (from {source})", used.get(root)) for root in ctx.settings.lower]


def _judged(root: str, named: str, below: Context | None) -> Check:
    if below is None:
        return warn(_NAME, f"{named} is the root itself, or is named twice: it is passed over")
    if not os.path.isdir(root):
        return warn(_NAME, f"{named} is not there: it is passed over, and what it had is downloaded", _list(root))
    if not os.access(root, os.R_OK | os.X_OK):
        return fail(_NAME, f"this user may not read {named}: it is passed over", _list(root))
    try:
        with closing(below.index) as index:
            queries.totals(index)
    except IndexUnavailableError as error:
        return warn(
            _NAME, f"{named} is looked at before the Hub; sync hashes what it takes from there: {error}", error.hint
        )
    return ok(_NAME, f"{named} is looked at before the Hub, and only read")


def _list(path: str) -> str:
    return f"ls -ld {quoted(path)}"
