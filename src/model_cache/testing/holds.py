"""Gates that stop answers half way, so that a test decides what happens while a download is under way."""

from __future__ import annotations

import threading
from collections.abc import Callable
from fnmatch import fnmatchcase

_LOOK = 0.05  # seconds between two looks at whether the client of a held answer is still there


class Hold:
    """A gate for the body GETs of some files; made by `LoopbackHub.hold`. Leaving its `with` block releases it.

    Attributes:
        pattern: The filename, or a shell pattern.
        after: Bytes of the answer's body that go out before the gate; a float is a fraction of the body.
    """

    def __init__(self, pattern: str, after: int | float = 0) -> None:
        self.pattern = pattern
        self.after = after
        self._state = threading.Condition()
        self._arrived = 0
        self._held = 0
        self._open = False

    def __enter__(self) -> Hold:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    @property
    def arrived(self) -> int:
        """How many requests have come to the gate so far, those that left it included."""
        with self._state:
            return self._arrived

    @property
    def held(self) -> int:
        """How many requests stand at the gate now."""
        with self._state:
            return self._held

    def matches(self, filename: str) -> bool:
        """Whether answers with this file come to the gate."""
        return filename == self.pattern or fnmatchcase(filename, self.pattern)

    def offset(self, length: int) -> int:
        """Where in a body of `length` bytes the gate stands."""
        return max(0, min(int(self.after * length) if isinstance(self.after, float) else self.after, length))

    def wait_for(self, n: int = 1, timeout: float = 60.0) -> None:
        """Blocks until `n` requests have come to the gate.

        Raises:
            TimeoutError: Fewer came within `timeout` seconds.
        """
        with self._state:
            if not self._state.wait_for(lambda: self._arrived >= n, timeout):
                raise TimeoutError(f"{self._arrived} of {n} requests came for {self.pattern!r} in {timeout:g} s")

    def wait_until_left(self, timeout: float = 60.0) -> None:
        """Blocks until no request stands at the gate any more, because its client is gone or it was released.

        Raises:
            TimeoutError: One still stood there after `timeout` seconds.
        """
        with self._state:
            if not self._state.wait_for(lambda: not self._held, timeout):
                raise TimeoutError(f"{self._held} requests still held for {self.pattern!r} after {timeout:g} s")

    def release(self) -> None:
        """Opens the gate for good: those who stand there go on, later ones pass."""
        with self._state:
            self._open = True
            self._state.notify_all()

    def stand(self, gone: Callable[[], bool]) -> bool:
        """Stands at the gate until it opens; returns False if `gone()` came to be true first."""
        with self._state:
            self._arrived += 1
            self._held += 1
            self._state.notify_all()
            try:
                while not self._state.wait_for(lambda: self._open, _LOOK):
                    if gone():
                        return False
                # Also now: a client killed just before the release must not be sent what nobody will read.
                return not gone()
            finally:
                self._held -= 1
                self._state.notify_all()
