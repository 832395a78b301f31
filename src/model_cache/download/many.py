"""Several files are wanted, and known for what they have to be: each is handed out, or downloaded once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from ..context import Context
from ..hub.client import FileMeta
from ..layout import Entry
from .miss import fetch
from .request import Outcome, Request


class Wanted(NamedTuple):
    """A file that is to be there, and what it has to be."""

    entry: Entry
    meta: FileMeta


def fetch_many(ctx: Context, wanted: Sequence[Wanted], request: Request, *, workers: int = 8) -> list[Outcome]:
    """The files, in the order in which they were asked for; raises what `miss.fetch` does."""
    assert workers > 0
    return [fetch(ctx, one.entry, replace(request, promise=one.meta)) for one in wanted]
