"""A file that other hosts may have, or may want: from the tier, else led by one of them from the Hub, and offered to the rest.

The order is tier → lead → tier again → Hub. Who waited for the lead and finds the object lets the lead go before it reads, so all
who waited read at once. Who downloads keeps the lead until the object is in the tier: a lead that went before would have the
next one download too. Who finds the very object again that it found damaged keeps it as well, and replaces that one; who
finds behind the lead that an object is damaged has another turn, or all who waited for it would go to the Hub at once. Nothing
here can make a download fail that would not fail without it. Where the tier fails meanwhile nobody waits for anybody.

Concurrency:
    W of the entry is held on this host: of each host one process comes here. I1 is kept by the hash and the rename alone, as in
    every download; the lead only saves work, and one who loses it meanwhile does no harm.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .. import beneath, stats
from ..context import Context
from ..errors import IntegrityError, ModelCacheError
from ..fleet import objects
from ..fleet.protocols import EngineError, LostError
from ..hub.client import FileMeta
from ..layout import Entry, is_commit
from ..log import logger
from ..platforms import at, opened
from . import notes, records, turn
from .notes import Note
from .partial import Partial
from .request import Request
from .waiting import in_progress

if TYPE_CHECKING:
    from ..fleet.fleet import Blob, Fleet, Lead

_AGAIN = 2.0  # seconds until a body that broke off is asked for once more
_TURNS = 2  # of one download: who is deceived once more, by what replaced a damaged object, goes alone
_BLOCK = 1 << 20  # bytes of a read for an upload


@dataclass
class Coming:
    """One file that is on its way, as `body.receive` is told of it."""

    ctx: Context
    entry: Entry
    meta: FileMeta
    partial: Partial
    note: Note
    request: Request
    damaged: str = ""  # the version of the tier's object that was found to have other bytes


def receive(coming: Coming, from_hub: Callable[[], int]) -> tuple[bool, int]:
    """Fill the partial with the promised bytes, from the tier or `from_hub`; returns whether all came from there, and how many.

    Args:
        from_hub: Receives and verifies what is missing; returns how many bytes came.
    """
    fleet, name = coming.ctx.fleet, objects.of_bytes(coming.meta.sha256, coming.meta.git_sha1)
    whole = coming.meta.size is not None and coming.partial.held == [(0, coming.meta.size)]
    if fleet is None or name is None or coming.meta.size is None or coming.request.offline or whole:
        return False, from_hub()  # what is whole already is only to be verified
    if coming.request.force:
        return False, _download(fleet, coming, name, None, from_hub)
    if not _may_have(coming):
        return False, from_hub()
    try:
        return _receive(fleet, coming, name, from_hub)
    finally:
        for message in fleet.news():
            coming.request.progress.warning(message)


def _may_have(coming: Coming) -> bool:
    """Whether the bytes may come from the tier: into a root that a group shares, only what the Hub gives to everybody.

    That the Hub lists a file says nothing: it lists what is gated, too.
    """
    ctx, entry, commit = coming.ctx, coming.entry, coming.meta.commit
    if ctx.settings.sends != "nothing" or records.find(ctx, entry, commit) is not None:
        return True
    try:
        ctx.hub.metadata(entry.repo_type, entry.repo, commit, entry.filename, deadline=coming.request.deadline)
    except ModelCacheError:
        return False  # it says why to who asks for the bytes
    return True


def _receive(fleet: Fleet, coming: Coming, name: str, from_hub: Callable[[], int]) -> tuple[bool, int]:
    received = _read(fleet, coming, name, _look(fleet, coming, name))
    if received is not None:
        return True, received
    turns = 0
    while True:
        turns, before = turns + 1, coming.damaged
        lead, found = turn.taken(fleet, coming, name, lambda: _undamaged(fleet, coming, name))
        try:
            if found is not None or fleet.has_no_tier:
                lead.release()  # of a download without the tier nobody else has anything: no use in waiting for it
            received = _read(fleet, coming, name, found)
            if received is not None:
                return True, received
            if turns == _TURNS or coming.damaged == before:
                return False, _download(fleet, coming, name, lead, from_hub)
        except BaseException:
            lead.release()
            raise
        # That it is damaged only its bytes told: all who waited know it now, and one of them is to replace it.


def _download(fleet: Fleet, coming: Coming, name: str, lead: Lead | None, from_hub: Callable[[], int]) -> int:
    """From the Hub, and then to the tier while nobody waits; the lead is let go once it is there."""
    received = from_hub()
    upload = _Upload(fleet, coming, name, lead)
    if not fleet.uploads.submit(upload.run, coming.entry) and lead is not None:
        lead.release()
    return received


def _look(fleet: Fleet, coming: Coming, name: str, *, again: bool = False) -> Blob | None:
    """The object, from where the partial ends; None where it is not there or cannot be the promised one."""
    coming.ctx.step("tier:open")
    found = fleet.read(name, coming.partial.size, returns=again)
    if found is None or found.size == coming.meta.size:
        return found
    _report(coming, name, f"has {found.size} bytes instead of {coming.meta.size}")
    return None


def _undamaged(fleet: Fleet, coming: Coming, name: str) -> Blob | None:
    """As `_look`; what was found damaged, and nobody has replaced yet, is not there: this one does, and others wait for that."""
    found = _look(fleet, coming, name, again=True)
    return None if found is not None and coming.damaged and found.version == coming.damaged else found


def _read(fleet: Fleet, coming: Coming, name: str, found: Blob | None) -> int | None:
    """As `_take`; what breaks off is asked for once more, from where it ended."""
    first = coming.partial.size
    try:
        return None if found is None else _take(coming, name, found)
    except LostError as error:
        logger.info("%s: the tier: %s; asked once more", coming.entry, error)
    coming.ctx.clock.sleep(_AGAIN)
    before = coming.partial.size - first
    try:
        found = _look(fleet, coming, name, again=True)
        received = None if found is None else _take(coming, name, found)
    except LostError as error:
        fleet.gave_up_tier(error)
        return None
    return None if received is None else before + received


def _take(coming: Coming, name: str, found: Blob) -> int | None:
    """Write what the tier sends into the partial and verify it; None if it is not all there, or not the promised bytes.

    Raises:
        LostError: It broke off; what came is kept.
    """
    ctx, partial, size = coming.ctx, coming.partial, coming.meta.size or 0
    _begin(coming)
    first = at = partial.size
    coming.request.progress.started(str(coming.entry), size, at)
    try:
        partial.hash_up_to(at)
        for chunk in found.chunks:
            view = memoryview(chunk)[: size - at]
            ctx.step("tier:write")
            partial.append(view, at)
            at += len(view)
            coming.request.progress.advanced(at)
            if at >= size:
                break  # what a server sends behind it would have no end
            _refuse_late(coming, at)
    except LostError:
        raise
    except EngineError:
        return None  # the Hub goes on from here
    finally:
        partial.reached([(0, at)] if at else [])
        coming.request.progress.finished()
    if at < size:
        _report(coming, name, f"ended after {at} of {size} bytes")
        coming.damaged = found.version
        return None
    ctx.step("verify:hash")
    try:
        partial.check(coming.meta, str(coming.entry))
    except IntegrityError:
        _report(coming, name, "has other bytes than its name says")
        partial.restart()
        coming.damaged = found.version
        return None
    fleet = coming.ctx.fleet
    if fleet is not None and is_commit(coming.entry.revision):
        entry, meta = coming.entry, coming.meta
        token = coming.ctx.has_token
        fleet.uploads.submit(lambda: records.settle(fleet, entry, meta, token=token), entry)
    return at - first


def _begin(coming: Coming) -> None:
    """Of a partial with gaps only the start is kept: the note says so before a byte is written behind it."""
    partial = coming.partial
    if partial.held not in ([], [(0, partial.size)]):
        partial.cut()
        notes.describe(coming.note, coming.meta.etag, partial.held)
        notes.write(coming.ctx, coming.entry, coming.note)


def _refuse_late(coming: Coming, at: int) -> None:
    deadline = coming.request.deadline
    if deadline is not None and coming.ctx.clock.monotonic() >= deadline:
        raise in_progress(coming.entry, None, at, coming.meta.size, 0.0)


def _report(coming: Coming, name: str, what: str) -> None:
    message = f"{coming.entry}: the tier's {name} {what}; the Hub is asked, and it is replaced"
    logger.warning(message)
    coming.request.progress.warning(message)


class _Upload:
    """A verified file on its way into the tier, and what is known of it at its commit.

    The file is opened when its turn has come, by the name that it has then. Only an inode that is as it was verified is
    sent, and what turns out to have been written to meanwhile is taken away again.
    """

    def __init__(self, fleet: Fleet, coming: Coming, name: str, lead: Lead | None) -> None:
        self._fleet, self._coming, self._name, self._lead = fleet, coming, name, lead
        self._identity = stats.identity(os.fstat(coming.partial.fileno()))
        self._step = coming.ctx.step

    def run(self) -> None:
        """Send it, in whatever thread."""
        try:
            self._step("tier:offer")
            self._send()
        except OSError as error:
            logger.warning("%s: not offered to the tier: %s", self._coming.entry, error.strerror)
        finally:
            if self._lead is not None:
                self._lead.release()

    def _send(self) -> None:
        fd = self._open()
        if fd is None:
            return
        try:
            size = self._coming.meta.size or 0
            sent = self._fleet.offer(self._name, lambda: self._blocks(fd, size), size)
            if sent and stats.identity(os.fstat(fd)) != self._identity:
                self._fleet.drop(self._name)  # somebody wrote to it
            elif sent:
                records.offer(self._fleet, self._coming.entry, self._coming.meta, token=self._coming.ctx.has_token)
        finally:
            os.close(fd)

    def _open(self) -> int | None:
        for path in (self._coming.entry.path(self._coming.ctx.root), self._coming.partial.path):
            try:
                fd = at.open_file(path, beneath.READ)
            except OSError:
                continue
            if stats.identity(os.fstat(fd)) == self._identity:
                return fd
            os.close(fd)
        return None  # it did not come to a name, or is gone already

    def _blocks(self, fd: int, size: int) -> Iterator[bytes]:
        at = 0
        while at < size and (block := opened.read_at(fd, _BLOCK, at)):
            at += len(block)
            self._fleet.uploads.moved()
            yield block
