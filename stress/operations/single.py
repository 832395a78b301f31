"""A miss, a hit, a replacement: what is done about one file."""

from __future__ import annotations

import os
import shutil

from model_cache.download import notes
from model_cache.layout import Entry
from model_cache.pace import Pace

from ..invariants import path_of
from ..site import FOREIGN, NAMES, NEW, OTHER, REPO, SIZE, TWIN, Site
from .operation import BAD, STANDING, TIGHT, Operation, allow_all, fetch


def _halted(site: Site) -> None:
    """Half a download that its process left."""

    class Halt(BaseException):
        """Ends a download as an interrupt does."""

    def halt(step: str) -> None:
        if step == "verify:hash":
            raise Halt

    try:
        site.cache(step=halt).fetch(REPO, NEW)
    except Halt:
        (partial,) = (site.own / "partial").iterdir()
        os.truncate(partial, SIZE // 2)


def _gapped(site: Site) -> None:
    """What a process left that fetched over several connections: the first and the third quarter of the bytes."""
    _halted(site)
    (partial,) = (site.own / "partial").iterdir()
    with partial.open("r+b") as file:
        data = file.read()
        file.seek(SIZE // 4)
        file.write(bytes(SIZE // 4))
        file.seek(SIZE // 2)
        file.write(site.bytes(NEW)[SIZE // 2 : SIZE * 3 // 4])
    assert data == site.bytes(NEW)[: SIZE // 2]
    ctx, entry = site.cache()._ctx, Entry(REPO, NEW, "main", "model")
    note = notes.read(ctx, entry)
    notes.describe(note, note.etag, [(0, SIZE // 4), (SIZE // 2, SIZE * 3 // 4)])
    assert notes.write(ctx, entry, note)


def _lose_all(site: Site) -> None:
    """A root of which there is nothing yet but somebody's own file."""
    kept = (site.root / FOREIGN).read_bytes()
    shutil.rmtree(site.root)
    (site.root / FOREIGN).parent.mkdir(parents=True)
    (site.root / FOREIGN).write_bytes(kept)
    site.allow(*NAMES)
    site.expected.optional |= {path_of("sweep/held", BAD)}


def _dead_partial(site: Site) -> None:
    _halted(site)
    allow_all(site)


_ROOM_FOR_ONE = {"max_size": STANDING + 65536 + 3 * 4096}
# A file of a few blocks comes in parts, noted one by one, as one of gigabytes does over slow connections.
_PARTS = {
    "connections": 3,
    "pace": Pace(large=1, window=0.0, fast=1e18, smallest=8192, noted=8192, between=0.0, flushed=8192, chunk=4096),
}

OPERATIONS = (
    Operation("hit", fetch(BAD)),
    Operation("fetch", fetch(), about=(REPO, NEW)),
    Operation("fetch-first", fetch(), _lose_all, about=(REPO, NEW)),
    Operation("fetch-shared", fetch(), _lose_all, {"sharing": "group"}, about=(REPO, NEW)),
    Operation("resume", fetch(), _halted, about=(REPO, NEW)),
    Operation("ranges", fetch(), settings=_PARTS, about=(REPO, NEW)),
    Operation("resume-ranges", fetch(), _gapped, _PARTS, about=(REPO, NEW)),
    Operation("link", fetch(BAD, TWIN), about=(TWIN, BAD)),
    Operation("replace", fetch(BAD, force=True), Site.move),
    Operation("evict", fetch(), allow_all, TIGHT, about=(REPO, NEW)),
    Operation("reclaim", fetch(BAD, OTHER), _dead_partial, _ROOM_FOR_ONE, about=(OTHER, BAD)),
)
