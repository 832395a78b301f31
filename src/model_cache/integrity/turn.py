"""One verify or reconcile of a root at a time, so that runs that take longer than their interval do not pile up.

Concurrency:
    A lock of its own, tried and never waited for; the kernel drops it at the holder's death. Whoever may not write in
    the root goes without: what it finds it cannot record anyway.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress

from .. import disk
from ..context import Context
from ..errors import LockTimeoutError
from ..hosts import holder_name
from ..locks import FileMutex

_LIMIT = 4096  # bytes of the lock's file; it holds a name


@contextmanager
def sole_run(ctx: Context) -> Iterator[None]:
    """Hold the verify lock for the block.

    Raises:
        LockTimeoutError: Another run has it; who.
    """
    mutex = FileMutex(ctx.places.verify_lock, ctx.settings.file_mode, ctx.clock)
    try:
        mutex.acquire(0.0)
    except LockTimeoutError:
        raise LockTimeoutError(
            f"another verify or reconcile of {ctx.root} is under way, by {_holder(ctx)}",
            hint="wait for it, or add --skip-if-busy, with which this is no failure",
        ) from None
    except OSError:
        yield
        return
    try:
        with suppress(OSError):  # on a full disk it goes on saying who was here last
            mutex.word = holder_name()
        yield
    finally:
        mutex.release()


def _holder(ctx: Context) -> str:
    try:
        text = disk.read_small(ctx.places.verify_lock, _LIMIT).decode("ascii", "replace").strip()
    except OSError:
        text = ""
    return text if text.isprintable() and text else "another process"
