"""The threads of one download: connections that write where their part belongs; the caller's own hashes behind them.

The caller's thread hashes the bytes without a gap as they grow (from the page cache), tells and notes what is there, and
watches the clock. Whatever ends it, or fails in a thread, cuts the connections, and the threads are joined before it is
raised: none outlives the call, or the write lock.

Concurrency:
    I1. A note that expects gaps is written before the first byte behind a gap, and again as parts come, so no resume
    takes a gap for bytes. The note may lag behind the bytes, never the other way round.
"""

from __future__ import annotations

import threading

from ..errors import DownloadError
from ..hub.client import Body
from ..threads import end
from . import notes
from .parts import Part, is_slow
from .reception import Reception, Tries

_CHUNK = 256 * 1024  # bytes per read of one of several connections: they are slow, and there may be 64
_LOOK = 0.05  # seconds in which the caller's thread looks at the clock, whatever comes
_HASHED = 16 << 20  # bytes hashed between two looks
_GROW = 0.5  # seconds between two looks at whether more connections are to be had


def receive(job: Reception, part: Part, body: Body, rate: float) -> None:
    """Go on with a part whose answer is open, in threads; returns when nothing is left that they can fetch.

    Args:
        rate: Bytes per second that its connection brought.

    Raises:
        DownloadError, IntegrityError: As `body.receive`; `job.given_up` where transient ones came too often.
        DownloadInProgressError: The caller's deadline passed.
    """
    _Connections(job, rate).run(part, body)


class _Connections:
    """Connections of one download, a thread each."""

    def __init__(self, job: Reception, rate: float) -> None:
        self._job, self._rate = job, rate
        self._lock = job.lock
        self._threads: list[threading.Thread] = []
        self._alive = 0
        self._failure: BaseException | None = None
        self._enough = False  # a connection was refused, or failed too often: no further one is asked for
        self._chunk = job.pace.chunk
        self._gaps = job.note.parts is not None  # the note says what is there
        now = job.ctx.clock.monotonic()
        self._grown = self._noted = now
        self._noted_bytes = self._grown_bytes = self._flushed = job.parts.done

    def run(self, part: Part, body: Body) -> None:
        job = self._job
        try:
            slow = is_slow(job.pace, int(self._rate), 1.0) and job.may_share
            if slow and self._expect_gaps():
                self._chunk = min(self._chunk, _CHUNK)
                job.parts.measure(job.ctx.settings.connections, self._rate)
                job.parts.share(part)
            self._start(part, body)
            if slow:
                self._grow()
            while self._follow():
                pass
        finally:
            self._end()
        if self._failure is not None:
            raise self._failure

    # The caller's thread.

    def _follow(self) -> bool:
        """Hash, tell, note; False once no connection is left."""
        job = self._job
        with self._lock:
            self._lock.wait_for(lambda: self._alive == 0 or job.parts.prefix > job.partial.hashed, _LOOK)
            prefix, done, alive, failed = job.parts.prefix, job.parts.done, self._alive, self._failure
        if failed is not None:
            return False
        job.partial.hash_up_to(max(min(prefix, job.partial.hashed + _HASHED), job.partial.hashed))
        job.request.progress.advanced(done)
        now = job.ctx.clock.monotonic()
        if self._gaps and done - self._noted_bytes >= job.pace.noted and now - self._noted >= job.pace.between:
            self._noted, self._noted_bytes = now, done
            self._note()
        if self._gaps and done - self._flushed >= job.pace.flushed:
            self._flushed = done
            job.ctx.step("part:flush")
            job.partial.flush()
        if job.late and not job.parts.complete:
            raise job.in_progress(self._rate * alive)
        if now - self._grown >= _GROW:
            self._rate = (done - self._grown_bytes) / (now - self._grown) / max(alive, 1)
            self._grown, self._grown_bytes = now, done
            if is_slow(job.pace, int(self._rate * alive), 1.0):
                self._grow()
        return alive > 0

    def _grow(self) -> None:
        """Add connections as long as slots are free and something is left that is worth one."""
        job = self._job
        for _ in range(job.ctx.settings.connections - self._alive):
            with self._lock:
                wanted = job.parts.missing >= job.pace.large and not self._enough and self._failure is None
            if not wanted or not job.may_share or not job.slots.take():
                return
            part = None
            if self._expect_gaps():
                with self._lock:
                    part = job.parts.take()
            if part is None:
                job.slots.give()
                return
            self._start(part, None)

    def _expect_gaps(self) -> bool:
        """Have a note say which bytes are there before any is written behind a gap; False: one connection it is."""
        if not self._gaps:
            self._gaps = True
            self._job.single |= not self._note()
        return not self._job.single

    def _note(self, *, last: bool = False) -> bool:
        job = self._job
        with self._lock:
            held = job.parts.held()
        (notes.describe if last else notes.expect_gaps)(job.note, job.meta.etag, held)
        job.ctx.step("part:note")
        return notes.write(job.ctx, job.entry, job.note)

    def _start(self, part: Part, body: Body | None) -> None:
        name = f"model-cache {self._job.entry.key} {len(self._threads)}"
        thread = threading.Thread(target=self._work, args=(part, body), name=name, daemon=True)
        self._threads.append(thread)
        with self._lock:
            self._alive += 1
        try:
            thread.start()
        except RuntimeError:  # no thread to be had
            self._job.single = True
            self._leave(part, slot=body is None)

    def _end(self) -> None:
        """Have no thread any more, then say what is there; an interrupt meanwhile is raised after that."""
        try:
            end(self._threads, self._job.halt.call)
        finally:
            self._job.halt = type(self._job.halt)()
            if self._gaps:
                self._note(last=True)

    # The threads of the connections.

    def _work(self, part: Part, body: Body | None) -> None:
        """One connection, part after part."""
        slot, now = body is None, part
        tries, before = Tries(self._job.pace.chunk, 0), part.at
        came = 0
        try:
            while not self._job.halt.called:
                try:
                    self._fetch(now, body)
                    came += now.at - before
                    following = self._next(now)
                    if following is None:
                        return
                    now, before, body = following, following.at, None
                except DownloadError as error:
                    body = None
                    if not self._goes_on(error, tries, came + now.at - before):
                        return
        except BaseException as error:  # noqa: BLE001 - raised in the caller's thread
            with self._lock:
                if not self._job.halt.called:
                    self._failure = self._failure or error
        finally:
            self._leave(now, slot=slot)

    def _fetch(self, part: Part, body: Body | None) -> None:
        """Receive one part, or what of it others have left, and what follows it where nobody else does."""
        job = self._job
        reach = job.meta.size or 0
        if body is None:
            job.ctx.step("part:open")
            reach = part.end or reach
            body = self._open(part)
        with body:
            view = memoryview(bytearray(self._chunk))
            while count := job.read(part, body, view):
                job.ctx.step("part:write")
                job.partial.put(view[:count], part.at)
                with self._lock:
                    job.parts.wrote(part, count)
                    job.received += count
                    self._lock.notify_all()
                    if job.halt.called or not (part.left or job.parts.further(part, reach)):
                        return

    def _open(self, part: Part) -> Body:
        body = self._job.open(part)
        if body.start == part.at:
            return body
        body.close()
        self._job.single = True
        message = f"{self._job.entry}: asked for bytes from {part.at}, the server sends from {body.start}"
        raise DownloadError(message, transient=True)

    def _next(self, part: Part) -> Part | None:
        job = self._job
        with self._lock:
            job.parts.leave(part)
            return job.parts.take()

    def _goes_on(self, error: DownloadError, tries: Tries, came: int) -> bool:
        """After a failure: whether this connection tries again; where another is left, a refused one does not.

        Raises:
            DownloadError: It was the last one, and may not fail any more.
        """
        job = self._job
        if job.halt.called:
            return False
        if not error.transient:
            raise error
        again = tries.failed(came)
        with self._lock:
            others = self._alive > 1
            self._enough |= not again or bool(error.status and error.status >= 400)
        if others and (not again or job.single or (error.status or 0) >= 400):
            return False
        if not others and job.single:
            raise error  # it goes on as one connection alone does
        if not again:
            job.given_up = True
            raise error
        job.pause(tries.failures, error.retry_after)
        return True

    def _leave(self, part: Part, *, slot: bool) -> None:
        with self._lock:
            self._job.parts.leave(part)
            self._alive -= 1
            self._lock.notify_all()
        if slot:
            self._job.slots.give()
