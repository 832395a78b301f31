"""What a long operation tells whoever watches it; the base class tells nobody."""

from __future__ import annotations


class Progress:
    """Receives what happens during a fetch; subclass and override what you show.

    Called from the thread that downloads, at most once per chunk, so methods return quickly. Sizes are in bytes. Of several
    files (a whole repo), `started` and `advanced` tell of all of them together, under the repo's name.
    """

    def started(self, name: str, total: int | None, done: int) -> None:
        """A download of `name` begins at `done` bytes (more than 0: it is resumed)."""

    def advanced(self, done: int) -> None:
        """`done` bytes are on disk."""

    def part(self, name: str, total: int) -> Progress:  # noqa: ARG002 - for those who override it
        """Who is told of one file of several, from the thread that downloads it; of all together this object is."""
        return SILENT

    def waiting(self, name: str, holder: str, done: int, total: int | None, seconds: float) -> None:
        """Another process (`holder`, as pid@host) downloads `name`; this one has waited for `seconds`."""

    def verifying(self, files: int, total: int, what: str = "verifying") -> None:
        """So many files of `total` bytes are about to be read, for verify or (`hashing`) reconcile; then `advanced`."""

    def reading(self, path: str) -> None:
        """A file is about to be read, as soon as a reader is free."""

    def verified(self, path: str, verdict: str) -> None:
        """A file was judged: `ok rebound changed corrupt unreadable missing unknown`; the result is written down."""

    def finished(self) -> None:
        """The download, or the verify run, ended, well or not."""

    def warning(self, message: str) -> None:
        """Something a person should know that does not stop the operation."""


SILENT = Progress()
