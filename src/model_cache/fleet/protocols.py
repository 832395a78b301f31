"""What an engine has to do, and what is done where there is none: two protocols and their null implementations."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator


class EngineError(Exception):
    """An engine is down, slow, or refuses; never more than a reason to do without it. Its text has no secrets."""


class NotHereError(EngineError):
    """This process cannot use an engine; that says nothing of the engine to others."""


class LostError(EngineError):
    """It was there, and broke off: a server that is started anew does, and is back soon."""


class FullError(EngineError):
    """It is well, and takes nobody more just now."""


class Stored(NamedTuple):
    """An object as a listing has it: its name, its size in bytes, and seconds since the epoch when it was written."""

    name: str
    size: int
    written: float


class Blob(NamedTuple):
    """An object that is being read.

    Attributes:
        size: Of the whole, in bytes.
        chunks: Its bytes from where they were asked for.
        version: Another one once it was replaced, by the same bytes too; empty where nobody can say.
    """

    size: int
    chunks: Iterator[bytes]
    version: str = ""


class BlobTier(Protocol):
    """Bytes by name, between the local disk and the Hub.

    Nothing that it says is believed: what is read is hashed before it is used.
    """

    def fetch(self, name: str, offset: int = 0) -> Blob | None:
        """The bytes of an object from `offset`, None if there is no such object; raises EngineError, also while it is read."""

    def offer(self, name: str, data: bytes | Iterable[bytes], size: int) -> None:
        """Put an object there, whatever there is by that name; all of it or nothing. Raises EngineError."""

    def drop(self, name: str) -> None:
        """Take an object away, if it is there; raises EngineError."""

    def stored(self, prefix: str) -> Iterator[Stored]:
        """What there is below a prefix; raises EngineError."""


class Seen(NamedTuple):
    """How a database is, for people.

    Attributes:
        version: Its name and version.
        sessions, most: How many sessions there are, and may be.
        idle: Seconds after which a session without a question is ended; 0: never.
        excludes: Whether a lock that one session has keeps another from it.
    """

    version: str
    sessions: int
    most: int
    idle: float
    excludes: bool


class Lead(Protocol):
    """The right to be the one who downloads, or (`held` is False) the lack of it."""

    @property
    def held(self) -> bool:
        """Whether this one leads."""

    def release(self) -> None:
        """Let the next one lead; may be called again, and from any thread."""


class Flight(Protocol):
    """One download per key in the whole fleet."""

    def lead(self, key: str, go_on: Callable[[], bool]) -> Lead:
        """Wait until nobody leads this key, and lead it.

        Args:
            key: What is to be downloaded once.
            go_on: Asked every second or so of a wait; False ends it, without the lead.

        Raises:
            LostError: The server went away during the wait, or is about to be there again.
            FullError: It takes nobody more now, not even to wait.
            EngineError: Nobody can say who leads.
        """


class NoLead:
    """What who goes alone holds."""

    held = False

    def release(self) -> None:
        """There is nothing to let go."""


class NoTier:
    """The local case: nothing is shared."""

    def fetch(self, name: str, offset: int = 0) -> Blob | None:  # noqa: ARG002 - as the protocol has it
        """Nothing is there."""
        return None

    def offer(self, name: str, data: bytes | Iterable[bytes], size: int) -> None:
        """Nobody is offered anything."""

    def drop(self, name: str) -> None:
        """Nothing is there."""

    def stored(self, prefix: str) -> Iterator[Stored]:  # noqa: ARG002 - as the protocol has it
        """Nothing is there."""
        return iter(())


class Alone:
    """The local case: the write lock of this host is all there is."""

    def lead(self, key: str, go_on: Callable[[], bool]) -> Lead:  # noqa: ARG002 - as the protocol has it
        """Go alone, at once."""
        return NoLead()
