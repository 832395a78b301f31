"""Receiving a body: stream into the partial, resume after cuts, over several connections where one is slow; all bounded.

One connection begins, in the caller's thread. Once it is known how fast it is, a large file goes on in threads (`connections`):
several connections where one is slower than a disk, and the hash beside the network where there is a core to spare.
"""

from __future__ import annotations

from ..context import Context
from ..errors import DownloadError
from ..hub.client import Body, FileMeta
from ..layout import Entry
from ..platforms.capabilities import processors
from . import connections
from .notes import Note
from .partial import Partial
from .parts import Part, is_slow
from .reception import Reception, Tries
from .request import Request

_SIP = 256 * 1024  # bytes per read until it is known how fast they come: whole chunks take long on a slow link


def receive(ctx: Context, entry: Entry, meta: FileMeta, partial: Partial, note: Note, request: Request) -> int:
    """Fill the partial up to the promised size; returns the bytes received from the network.

    A partial that already has bytes is resumed at once by a range request; its prefix is hashed while the answer is on
    its way. A server that ignores the range, or says the file changed, sends the whole: then it starts over.

    Raises:
        DownloadError: The network or the Hub failed too often in a row, or for good.
        IntegrityError: More bytes than promised.
        DownloadInProgressError: The caller's deadline passed; the partial stays.
    """
    job = Reception(ctx, entry, meta, partial, note, request)
    slot = job.slots.take()
    try:
        _receive(job)
    finally:
        if slot:
            job.slots.give()
    assert meta.size is None or partial.held == ([(0, meta.size)] if meta.size else []), "no gap is left"
    partial.hash_up_to(partial.size)
    return job.received


def _receive(job: Reception) -> None:
    """One attempt after the other, until all is there or they fail too often."""
    tries = Tries(job.pace.chunk, job.parts.done)
    while not job.parts.complete:
        try:
            _attempt(job)
            if job.meta.size is None:
                return
        except DownloadError as error:
            again = tries.failed(job.parts.done)
            if not error.transient:
                raise
            if job.late:
                raise job.in_progress() from None
            if not again or job.given_up:
                raise
            job.pause(tries.failures, error.retry_after)


def _attempt(job: Reception) -> None:
    """One body request, and what becomes of it; what arrived is safe in the partial, whatever is raised."""
    part = job.parts.whole()
    try:
        job.ctx.step("body:open")
        with job.open(part) as body:
            if body.start != part.at:
                part = job.begin_anew()
            if body.start != part.at:
                raise DownloadError(f"{job.entry}: asked for bytes from {part.at}, the server sends from {body.start}")
            job.request.progress.started(str(job.entry), job.meta.size, job.parts.done)
            try:
                job.partial.hash_up_to(job.parts.prefix)
                rate = _drain(job, part, body)
                if rate is not None:
                    connections.receive(job, part, body, rate)
            finally:
                job.request.progress.finished()
    finally:
        job.parts.leave(part)
        job.partial.reached(job.parts.held())


def _drain(job: Reception, part: Part, body: Body) -> float | None:
    """Write and hash what comes; returns None at the part's end, or the rate (bytes per second) to go on with in threads."""
    clock, view = job.ctx.clock, _buffer(part, min(job.pace.chunk, _SIP))
    began = mark = clock.monotonic()
    first = before = part.at
    while count := job.read(part, body, view):
        job.ctx.step("body:write")
        job.partial.append(view[:count], part.at)
        job.parts.wrote(part, count)
        job.received += count
        job.request.progress.advanced(job.parts.done)
        now = clock.monotonic()
        if job.late and (part.end is None or part.left):
            raise job.in_progress((part.at - first) / max(now - began, 1e-6))
        slow = is_slow(job.pace, part.at - before, now - mark)
        if slow is not None:
            if part.left >= job.pace.large and (job.may_share if slow else _spare_core()):
                return (part.at - before) / max(now - mark, 1e-6)
            mark, before, view = now, part.at, _buffer(part, job.pace.chunk)
    if part.end is None and job.late:
        raise job.in_progress()  # a body without a length ends where the connection was cut
    return None


def _buffer(part: Part, most: int) -> memoryview:
    """Room for what comes next of a part: for all of a small one, and the byte after it that must not come."""
    return memoryview(bytearray(most if part.end is None else min(most, part.left + 1)))


def _spare_core() -> bool:
    """Whether this process may run on more than one core."""
    return processors() > 1
