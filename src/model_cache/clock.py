"""Time as it is handed in: the real clock; tests hand in one they can turn."""

from __future__ import annotations

import time


class Clock:
    """The three uses of time.

    A fake has the same methods; nothing in the package reads time except through the clock it was given.
    """

    def time(self) -> float:
        """Wall-clock seconds since the epoch, comparable between processes and with file times."""
        return time.time()

    def monotonic(self) -> float:
        """Seconds that never go back, comparable within this process only."""
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        """Wait; every caller bounds its own waits."""
        time.sleep(seconds)
