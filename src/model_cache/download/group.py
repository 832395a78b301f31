"""Giving several complete files their names at once: one transaction before, one after, one fsync for each directory.

Concurrency:
    The order of each file is that of `publish`: its row says `installing` before its name is given, and `ready` after the
    name is durable. One that cannot get its name does not keep the others from theirs.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from .. import disk
from ..context import Context
from ..errors import ModelCacheError
from ..platforms import at
from ..platforms.at import Directory
from ..recorder import Recorder, SeveralRecorder
from . import publish
from .item import Item
from .tally import Tally


def publish_group(ctx: Context, items: Sequence[Item], recorder: SeveralRecorder, tally: Tally) -> None:
    """Publish; each item then is `published`, or has an `error`. W of all is held.

    Raises:
        StorageError: A directory cannot be made durable: all stay `installing`, and nothing is undone.
    """
    if not items:
        return
    recorder.installing([(item.entry, item.file) for item in items if item.file is not None])
    directories: dict[str, Directory] = {}
    try:
        named = [item for item in items if _name(ctx, item, directories, tally)]
        for directory in directories.values():
            ctx.step("publish:fsync-directory")
            disk.sync(directory)
    finally:
        for directory in directories.values():
            at.close(directory)
    for item in named:
        assert item.partial is not None, "what has its name had its bytes"
        ctx.step("publish:unlink-partial")
        item.partial.remove()
    recorder.ready([(item.entry, item.way) for item in named])
    for item in named:
        item.published = True


def _name(ctx: Context, item: Item, directories: dict[str, Directory], tally: Tally) -> bool:
    """Give one file its name; False where something stands there: the same bytes are taken over, others are an error."""
    assert item.partial is not None and item.file is not None, "it is complete"
    try:
        directory = publish.link(ctx, item.entry, item.partial)
        if directory is None:
            recorder = Recorder(ctx, item.entry, tally.progress)
            publish.adopt(ctx, item.entry, item.partial, recorder, item.file, item.meta)
            item.published = True
            return False
    except ModelCacheError as error:
        item.error = error
        return False
    place = os.path.dirname(item.entry.relative)
    if place in directories:
        at.close(directory)
    else:
        directories[place] = directory
    return True
