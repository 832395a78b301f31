"""A connection that closes when nobody has it any more."""

from __future__ import annotations

import contextlib
import sqlite3


class Handle(sqlite3.Connection):
    """A connection of one thread, which closes with the cache that it belongs to.

    CPython has always closed what nobody has; from 3.13 on it warns of that as well, in every program that lets go of a
    `ModelCache`, which has no `close`.

    Concurrency:
        Whichever thread collects garbage closes it, so it has to be opened with `check_same_thread=False`. That no other
        thread uses it meanwhile is clear: nobody has it.
    """

    def __del__(self) -> None:
        """Close, and say nothing; one that could not be opened has nothing to close, and SQLite minds to be asked."""
        with contextlib.suppress(sqlite3.ProgrammingError):
            self.close()


def connect(uri: str, timeout: float) -> Handle:
    """Open a database; transactions are begun and ended by hand, and a lock is waited for so many seconds.

    Raises:
        sqlite3.Error: It cannot be opened.
    """
    return sqlite3.connect(
        uri,
        timeout=timeout,
        uri=True,
        isolation_level=None,
        cached_statements=256,
        factory=Handle,
        check_same_thread=False,
    )
