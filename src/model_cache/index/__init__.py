"""The index: what the cache knows of its files, in SQLite; disposable, and never on the way of a hit.

This package is the one owner of `sqlite3` and `sqlite_utils`. `connection` opens, locks and survives damage; `schema`
makes and migrates (through sqlite-utils, loaded only when there is something to migrate); `rows` is the shape of a row;
`ledger` writes the states of an entry; `queries` reads for people.
"""

from .connection import Index
from .rows import Row

__all__ = ["Index", "Row"]
