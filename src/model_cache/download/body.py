"""Receiving a body: stream into the partial, resume after cuts, bounded in everything."""

from __future__ import annotations

import random

from ..context import Context
from ..errors import DownloadError, IntegrityError
from ..hub.client import Body, FileMeta
from ..layout import Entry
from .notes import Note
from .partial import Partial
from .request import Request
from .waiting import in_progress

CHUNK = 1 << 20  # bytes per read: larger ones measured no faster
_FAILURES = 5  # attempts in a row that bring less than a chunk
_LONGEST_PAUSE = 20.0  # seconds, whatever the server asks for: the write lock is held meanwhile


def receive(ctx: Context, entry: Entry, meta: FileMeta, partial: Partial, note: Note, request: Request) -> int:
    """Fill the partial up to the promised size; returns the bytes received from the network.

    A partial that already has bytes is resumed at once by a range request; its prefix is hashed while the answer is on
    its way. A server that ignores the range, or says the file changed, sends the whole: then it starts over.

    Raises:
        DownloadError: The network or the Hub failed too often in a row, or for good.
        IntegrityError: More bytes than promised.
        DownloadInProgressError: The caller's deadline passed; the partial stays.
    """
    received = failures = 0
    best = partial.size
    while meta.size is None or partial.size < meta.size:
        before = partial.size
        try:
            received += _attempt(ctx, entry, meta, partial, note, request)
            break
        except DownloadError as error:
            received += max(partial.size - before, 0)
            if not error.transient:
                raise
            # Beyond what was there before, not beyond where a server that ignores ranges began again.
            failures = 0 if partial.size - best >= CHUNK else failures + 1
            best = max(best, partial.size)
            if request.deadline is not None and ctx.clock.monotonic() >= request.deadline:
                raise in_progress(entry, note.holder, partial.size, meta.size, 0.0) from None
            if failures >= _FAILURES:
                raise
            _pause(ctx, entry, partial, note, request, failures, error.retry_after)
    partial.hash_prefix()
    return received


def _attempt(ctx: Context, entry: Entry, meta: FileMeta, partial: Partial, note: Note, request: Request) -> int:
    """One body request; returns its bytes, or raises with what arrived safe in the partial."""
    ctx.step("body:open")
    opened = ctx.hub.open_body(
        entry.repo_type,
        entry.repo,
        meta.commit,
        entry.filename,
        offset=partial.size,
        etag=meta.etag,
        deadline=request.deadline,
    )
    with opened as body:
        if body.total is not None and meta.size is not None and body.total != meta.size:
            raise IntegrityError(
                f"{entry}: expected {meta.size} bytes, the server offers {body.total}",
                expected=meta.size,
                found=body.total,
            )
        if body.start != partial.size:
            partial.restart()
        if body.start != partial.size:
            raise DownloadError(f"{entry}: asked for bytes from {partial.size}, the server sends from {body.start}")
        request.progress.started(str(entry), meta.size, partial.size)
        try:
            partial.hash_prefix()
            return _drain(ctx, entry, meta, partial, note, request, body)
        finally:
            request.progress.finished()


def _drain(
    ctx: Context, entry: Entry, meta: FileMeta, partial: Partial, note: Note, request: Request, body: Body
) -> int:
    view = memoryview(bytearray(CHUNK))
    began, first = ctx.clock.monotonic(), partial.size
    limit = None if meta.size is None else meta.size - partial.size
    received = 0
    while count := body.readinto(view):
        received += count
        if limit is not None and received > limit:
            raise IntegrityError(f"{entry}: more than the promised {meta.size} bytes", expected=meta.size)
        ctx.step("body:write")
        partial.append(view[:count])
        request.progress.advanced(partial.size)
        now = ctx.clock.monotonic()
        if request.deadline is not None and now >= request.deadline and partial.size != meta.size:
            rate = (partial.size - first) / max(now - began, 1e-6)
            raise in_progress(entry, note.holder, partial.size, meta.size, rate)
    if limit is None and request.deadline is not None and ctx.clock.monotonic() >= request.deadline:
        # A body without a length ends where the connection was cut.
        raise in_progress(entry, note.holder, partial.size, None, 0.0)
    if limit is not None and received < limit:
        raise DownloadError(f"{entry}: the connection ended {limit - received} bytes too early", transient=True)
    return received


def _pause(
    ctx: Context, entry: Entry, partial: Partial, note: Note, request: Request, failures: int, asked: float | None
) -> None:
    """Wait before the next attempt: what the server asked for, else longer each time, with jitter, capped."""
    seconds = asked if asked is not None else min(0.25 * 2**failures, 8.0) * (0.5 + random.random())  # noqa: S311 - no secret
    seconds = min(seconds, _LONGEST_PAUSE)
    if request.deadline is not None and ctx.clock.monotonic() + seconds >= request.deadline:
        raise in_progress(entry, note.holder, partial.size, note.size, 0.0)
    ctx.clock.sleep(seconds)
