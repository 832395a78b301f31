"""States that are one and the same to whoever recovers from them, so that each is recovered from once.

Two states are one if every path has the same inode, bytes and mtime. Of these is left out what nobody can see:

- The index is what SQLite makes of it: its own recovery is done for every pair of database and journal there can be, and
  pairs that it makes the same bytes of are one. Each such index is recovered from as it was found as well, with a journal
  to be played back. Where SQLite cannot make a sound database of a pair, that pair stays a state of its own.
- Files that nobody would look for: their name has random digits, and who made them is dead. Of the cache's other
  directories that they are there, of `locks/` not even that.
- Lock files, which whoever opens them makes; but whether `index.lock` has counted further than the index.
- Which nonsense is in a note that makes none. The mtimes of index, journal, notes and locks.
"""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from .states import History, State

_OWN = "root/.model-cache/"
_PASSED_OVER = re.compile(
    rf"{re.escape(_OWN)}(locks/([0-9a-f]+\.lock|.*\.\d+-[0-9a-f]{{8}})|(hosts/[^/]+/[^/]+/)?(gc|verify)\.lock)$"
)
# `index.db.HEX` and `index.db.damaged-TIME-HEX`, and what `disk.write_small` begins with.
_NAMELESS = re.compile(rf"{re.escape(_OWN)}(.*/)?(index(\.1)?\.db\.[^/]*|[^/]*\.\d+-[0-9a-f]{{8}})$")
_NOTE = re.compile(rf"{re.escape(_OWN)}locks/[0-9a-f]+\.json$")


class _Index(NamedTuple):
    """What SQLite made of a pair.

    Attributes:
        recovered: Stands for the bytes that it made.
        as_it_was: Stands for the pair as far as it is worth trying: was there something to play back, was it empty?
        generation: Transactions that it has counted.
    """

    recovered: object
    as_it_was: object
    generation: int


class Classes:
    """Tells states apart.

    Args:
        history: What they are states of.
        scratch: An empty directory, where SQLite recovers.
        state: Where the index is of the host that did it.

    Attributes:
        recoveries: How many pairs of index and journal SQLite has recovered.
    """

    def __init__(self, history: History, scratch: Path, state: str) -> None:
        self._history, self._scratch = history, scratch
        self._index_at, self._journal_at = f"{state}/index.db", f"{state}/index.db-journal"
        self._counter_at = f"{state}/index.lock"
        self._pairs: dict[tuple[bytes, bytes], _Index] = {}
        self._meanings: dict[tuple[Callable[[bytes], int], bytes], int] = {}

    @property
    def recoveries(self) -> int:
        """How many pairs of index and journal there were."""
        return len(self._pairs)

    def of(self, state: State) -> tuple[object, object]:
        """Two values: states are one if the first is equal; of each second one a state is to be tried."""
        history, tree, at = self._history, self._history.tree(state), self._index_at
        index = self._index(state, tree[at], tree.get(self._journal_at)) if at in tree else None
        facts: list[object] = [index and index.recovered]
        for path, ino in tree.items():
            if ino in history.base.folders or _NAMELESS.match(path):
                if not _PASSED_OVER.match(path):
                    facts.append((path, ino))
            elif path == self._counter_at:
                facts.append(self._meaning(ino, state, _counted) > (index.generation if index else 0))
            elif _NOTE.match(path):
                facts.append((path, self._meaning(ino, state, _note) and history.digest(ino, state)[0]))
            elif path == at or (path == self._journal_at and index):
                facts.append((path, ino))
            elif not _PASSED_OVER.match(path):
                facts.append((path, ino, *history.digest(ino, state)))
        return hash(tuple(facts)), index and index.as_it_was

    def _meaning(self, ino: int, state: State, of: Callable[[bytes], int]) -> int:
        key = of, self._history.digest(ino, state)[0]
        if key not in self._meanings:
            self._meanings[key] = of(self._history.file(ino, state)[0])
        return self._meanings[key]

    def _index(self, state: State, index: int, journal: int | None) -> _Index:
        key = self._history.digest(index, state)[0], b"" if journal is None else self._history.digest(journal, state)[0]
        found = self._pairs.get(key)
        if found is None:
            database = self._history.file(index, state)[0]
            log = b"" if journal is None else self._history.file(journal, state)[0]
            found = self._pairs[key] = self._recovered(database, log, key)
        return found

    def _recovered(self, database: bytes, journal: bytes, key: object) -> _Index:
        """What SQLite makes of a database and a journal."""
        path = self._scratch / "index.db"
        path.write_bytes(database)
        (self._scratch / "index.db-journal").write_bytes(journal)
        try:
            with closing(sqlite3.connect(path)) as connection:
                sound = connection.execute("PRAGMA quick_check(1)").fetchone() == ("ok",)
                generation = _generation(connection)
            recovered = path.read_bytes()
        except sqlite3.Error:
            sound = False
        for made in self._scratch.iterdir():
            made.unlink()
        if not sound:
            return _Index(key, key, 0)
        return _Index(hash(recovered), (hash(recovered), recovered == database, not database), generation)


def _generation(connection: sqlite3.Connection) -> int:
    if not connection.execute("SELECT 1 FROM sqlite_schema WHERE name = 'meta'").fetchone():
        return 0
    found = connection.execute("SELECT CAST(value AS INTEGER) FROM meta WHERE name = 'generation'").fetchone()
    return int(found[0]) if found else 0


def _counted(word: bytes) -> int:
    """The number in `index.lock`."""
    text = word.decode("ascii", "replace").strip()
    return int(text) if text.isdecimal() else 0


def _note(text: bytes) -> bool:
    try:
        return bool(json.loads(text))
    except ValueError:
        return False
