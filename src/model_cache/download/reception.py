"""One download while its bytes come: what its connections share, how one is asked for, what is told and written down.

Concurrency:
    `parts` and `received` are touched under `lock` once there are several connections (`connections`); all else by one thread.
"""

from __future__ import annotations

import random
import threading

from ..context import Context
from ..errors import DownloadError, DownloadInProgressError, IntegrityError
from ..hub.client import Body, FileMeta
from ..hub.watch import Halt
from ..layout import Entry
from ..pace import Pace
from . import notes
from .notes import Note
from .partial import Partial
from .parts import Part, Parts
from .request import Request, Slots
from .waiting import in_progress

_FAILURES = 5  # attempts in a row that bring less than a chunk
_LONGEST_PAUSE = 20.0  # seconds, whatever the server asks for: the write lock is held meanwhile
_UNSAID = 128 << 20  # bytes of a file of which nobody says how long it is; the Hub says it of every one
_SLICE = 0.1  # seconds of a pause between two looks at whether it is over


class Tries:
    """How often in a row one connection may fail: only bytes beyond what was there before make it begin to count anew."""

    def __init__(self, chunk: int, done: int) -> None:
        self._chunk, self._best = chunk, done
        self.failures = 0

    def failed(self, done: int) -> bool:
        """Another failure, with so many bytes there; False: that was the last."""
        self.failures = 0 if done - self._best >= self._chunk else self.failures + 1
        self._best = max(self._best, done)
        return self.failures < _FAILURES


class Reception:
    """One download while its bytes come.

    Attributes:
        pace: When it takes several connections.
        parts: What is there, and who fetches what.
        received: Bytes that came from the network.
        slots: Where its connections come from.
        single: The server gives no ranges, or no note can say what is there: one connection.
        given_up: Every connection failed as often as it may.
        halt: Cuts its connections.
        lock: Held to touch `parts` and `received`; told of whatever changes.
    """

    def __init__(
        self, ctx: Context, entry: Entry, meta: FileMeta, partial: Partial, note: Note, request: Request
    ) -> None:
        self.ctx, self.entry, self.meta = ctx, entry, meta
        self.partial, self.note, self.request = partial, note, request
        self.pace: Pace = ctx.pace or Pace()
        self.slots = request.slots or Slots(ctx.settings.connections)
        self.parts = Parts(meta.size, partial.held, self.pace.smallest)
        self.received = 0
        self.single = self.given_up = False
        self.halt = Halt()
        self.lock = threading.Condition()

    def open(self, part: Part) -> Body:
        """Ask for what a part still lacks.

        Raises:
            DownloadError: No answer.
            IntegrityError: The server offers another file.
        """
        began = self.ctx.clock.monotonic()
        body = self.ctx.hub.open_body(
            self.entry.repo_type,
            self.entry.repo,
            self.meta.commit,
            self.entry.filename,
            offset=part.at,
            end=None if part.end == self.meta.size else part.end,
            etag=self.meta.etag,
            deadline=self.request.deadline,
            halt=self.halt,
            anew=self.request.anew,
        )
        with self.lock:
            self.parts.asked(self.ctx.clock.monotonic() - began)
        if body.total is not None and self.meta.size is not None and body.total != self.meta.size:
            body.close()
            raise IntegrityError(
                f"{self.entry}: expected {self.meta.size} bytes, the server offers {body.total}",
                expected=self.meta.size,
                found=body.total,
            )
        return body

    def read(self, part: Part, body: Body, view: memoryview) -> int:
        """The next bytes of a part, 0 where its answer ends; what came is checked, not yet counted.

        Raises:
            DownloadError: Cut, or too short.
            IntegrityError: More than promised.
        """
        last = part.end == self.meta.size  # nothing may follow, which is seen by reading on
        count = body.readinto(view if last else view[: part.left])
        if last and part.end == self.meta.size is not None and count > part.left:
            raise IntegrityError(
                f"{self.entry}: more than the promised {self.meta.size} bytes", expected=self.meta.size
            )
        if part.end is None and body.total is None and part.at + count > _UNSAID:
            raise IntegrityError(
                f"{self.entry}: more than {_UNSAID} bytes came, and neither promise nor answer says how many there are",
                expected=_UNSAID,
                hint="a mirror must pass on Content-Length or X-Linked-Size",
            )
        if not count and part.left:
            missing = part.left
            raise DownloadError(f"{self.entry}: the connection ended {missing} bytes too early", transient=True)
        return count

    def begin_anew(self) -> Part:
        """Throw away what is there; the file as a whole is what comes next."""
        self.partial.restart()
        if self.note.parts is not None:
            notes.describe(self.note, self.meta.etag, [])
            notes.write(self.ctx, self.entry, self.note)
        self.parts = Parts(self.meta.size, [], self.pace.smallest)
        return self.parts.whole()

    @property
    def may_share(self) -> bool:
        """Whether several connections may fetch it."""
        return not self.single and self.ctx.settings.connections > 1

    @property
    def late(self) -> bool:
        """Whether the caller's time is over."""
        deadline = self.request.deadline
        return deadline is not None and self.ctx.clock.monotonic() >= deadline

    def in_progress(self, rate: float = 0.0) -> DownloadInProgressError:
        """The error for a caller whose time is over."""
        return in_progress(self.entry, None, self.parts.done, self.meta.size, rate)

    def pause(self, failures: int, asked: float | None) -> None:
        """Wait before the next attempt: what the server asked for, else longer each time, with jitter, capped.

        Raises:
            DownloadInProgressError: The caller's time would be over.
        """
        seconds = asked if asked is not None else min(0.25 * 2**failures, 8.0) * (0.5 + random.random())  # noqa: S311 # nosec B311 # no secret
        seconds = min(seconds, _LONGEST_PAUSE)
        if self.request.deadline is not None and self.ctx.clock.monotonic() + seconds >= self.request.deadline:
            raise self.in_progress()
        while seconds > 0 and not self.halt.called:
            self.ctx.clock.sleep(min(seconds, _SLICE))
            seconds -= _SLICE
