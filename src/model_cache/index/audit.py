"""What verify writes and asks: which files are due, what was found of them, and how far a run has come.

Concurrency:
    A result is written only where the row still says what the file was compared with: whoever replaced, evicted or
    adopted the file meanwhile has made the result void. Nobody's last use changes.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from .connection import Index
from .rows import SEALED, Row, select

PAGE = 256  # rows that are fetched at a time
DAMAGED = ("corrupt", "unreadable", "changed")  # what keeps a run failing until it is mended, accepted or replaced
FAILED = (*DAMAGED, "missing")

_DAMAGED = f"verdict IN {DAMAGED}"
# A file that nobody hashed has nothing to be compared with; of one that an older index knew, what that one said is tried.
_RECORDED = "state = 'ready' AND sha256 IS NOT NULL AND (origin <> 'placed' OR verdict IS NULL)"


class Scope(NamedTuple):
    """What is verified: everything, one repo (at one revision), or one file of it."""

    repo_type: str = "model"
    repo: str | None = None
    revision: str = "main"
    filename: str | None = None

    def where(self) -> tuple[str, tuple[object, ...]]:
        """The condition on rows, and its values."""
        if self.repo is None:
            return "1", ()
        condition, values = "repo_type = ? AND repo = ? AND revision = ?", (self.repo_type, self.repo, self.revision)
        return (
            (condition, values)
            if self.filename is None
            else (f"{condition} AND filename = ?", (*values, self.filename))
        )


class Finding(NamedTuple):
    """What reading a file came to.

    Attributes:
        row: What it was compared with.
        verdict: `ok rebound changed corrupt unreadable missing`, or `unknown`: the row itself is damaged.
        ino, mtime_ns, size, charged: Of the file that was read, where its identity is to be recorded.
    """

    row: Row
    verdict: str
    ino: int | None = None
    mtime_ns: int | None = None
    size: int | None = None
    charged: int = 0


class Audit:
    """The index as verify sees it."""

    def __init__(self, index: Index, scope: Scope) -> None:
        self._index, self._scope = index, scope
        self._where, self._values = scope.where()

    def begin(self, *, anew: bool) -> float:
        """When this run began: now, or when the one began that was stopped or killed and is gone on with."""
        now = self._index.clock.time()
        name = self._run_name
        with self._index.transaction("verify:begin") as connection:
            found = connection.execute("SELECT CAST(value AS REAL) FROM meta WHERE name = ?", (name,)).fetchone()
            if found is not None and not anew and 0 < (found[0] or 0) <= now:
                return float(found[0])
            connection.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (name, repr(now)))
            return now

    @property
    def _run_name(self) -> str:
        return "verify:" + "\0".join(str(part) for part in self._scope)

    def end(self, *, complete: bool, passed: bool) -> None:
        """Say that the run ended now; a complete one is not gone on with."""
        now = repr(self._index.clock.time())
        whole = self._scope.repo is None
        with self._index.transaction("verify:end") as connection:
            if complete:
                connection.execute("DELETE FROM meta WHERE name = ?", (self._run_name,))
            if whole:
                connection.execute("INSERT OR REPLACE INTO meta VALUES ('last_verify', ?)", (now,))
            if whole and complete and passed:
                connection.execute("INSERT OR REPLACE INTO meta VALUES ('last_verify_success', ?)", (now,))

    def due(self, before: float, began: float, marked: set[str]) -> list[int]:
        """The ids of what was not verified since `before`, known damage first, then what never was, then the oldest.

        Args:
            before: Seconds since the epoch.
            began: When this run began: what is known to be wrong is looked at in every run.
            marked: Keys that have a damage mark, which are known damage whatever the index says.
        """
        with self._index.reading() as connection:
            if connection is None:
                return []
            # A time in the future was written under another clock, and says nothing.
            found = connection.execute(
                f"SELECT id, key, {_DAMAGED} FROM entries WHERE {_RECORDED} AND {self._where}"  # noqa: S608 # nosec B608 # constants
                " AND (verified_at IS NULL OR verified_at < iif(coalesce(verdict IN (?, ?, ?, ?), 0), ?, ?) OR verified_at > ?)"
                f" ORDER BY coalesce({_DAMAGED}, 0) DESC, verified_at, id",
                (*self._values, *FAILED, max(before, began), before, self._index.clock.time() + 1),
            ).fetchall()
        first = [row for row, key, damaged in found if damaged or key in marked]
        known = set(first)
        return first + [row for row, _, _ in found if row not in known]

    def rows(self, ids: Sequence[int]) -> Iterator[Row]:
        """The rows of these ids, in their order, a page at a time; those that are gone are left out."""
        for start in range(0, len(ids), PAGE):
            yield from self.page(ids[start : start + PAGE])

    def page(self, ids: Sequence[int]) -> list[Row]:
        """The rows of a few ids, as they are now."""
        with self._index.reading() as connection:
            if connection is None:
                return []
            found = select(connection, f"WHERE id IN ({', '.join('?' * len(ids))})", tuple(ids))
        by_id = {row.id: row for row in found}
        return [by_id[one] for one in ids if one in by_id]

    def record(self, findings: Sequence[Finding]) -> list[bool]:
        """Write results down; returns of each whether it still was about the row it was compared with."""
        now = self._index.clock.time()
        with self._index.transaction("verify:record") as connection:
            return [_record(connection, finding, now) for finding in findings]

    def forget(self, row: Row) -> None:
        """Drop a row that makes no sense, while it still is what was read."""
        with self._index.transaction("verify:record") as connection:
            connection.execute(
                "DELETE FROM entries WHERE id = ? AND key IS ? AND path IS ? AND filename IS ?",
                (row.id, row.key, row.path, row.filename),
            )

    def damaged(self, verdicts: Sequence[str] = FAILED) -> list[Row]:
        """What is known to be wrong, in the order of names."""
        marks = ", ".join("?" * len(verdicts))
        with self._index.reading() as connection:
            if connection is None:
                return []
            where = f"WHERE {_RECORDED} AND {self._where} AND verdict IN ({marks})"
            return select(connection, f"{where} ORDER BY path", (*self._values, *verdicts))

    def bytes(self, ids: Sequence[int]) -> int:
        """The recorded size of these rows' files together."""
        total = 0
        with self._index.reading() as connection:
            for start in range(0, len(ids) if connection is not None else 0, PAGE):
                page = ids[start : start + PAGE]
                assert connection is not None, "the range is empty without one"
                asked = f"SELECT CAST(total(size) AS INTEGER) FROM entries WHERE id IN ({', '.join('?' * len(page))})"  # noqa: S608 # nosec B608 # question marks
                total += int(connection.execute(asked, tuple(page)).fetchall()[0][0])
        return total

    def paths(self) -> set[str]:
        """The paths of all files that were hashed here, or are on their way."""
        with self._index.reading() as connection:
            if connection is None:
                return set()
            found = connection.execute(
                f"SELECT path FROM entries WHERE NOT (state = 'ready' AND origin = 'placed') AND {self._where}",  # noqa: S608 # nosec B608 # constants
                self._values,
            ).fetchall()
        return {path for (path,) in found}


def _record(connection: sqlite3.Connection, finding: Finding, now: float) -> bool:
    row = finding.row
    same = (
        "id = ? AND key = ? AND state = 'ready' AND coalesce(next_state, 'partial') = 'partial'"
        " AND ino IS ? AND mtime_ns IS ? AND size IS ? AND sha256 IS ?"
    )
    values = (row.id, row.key, row.ino, row.mtime_ns, row.size, row.sha256)
    found = (finding.ino, finding.mtime_ns, finding.size)
    if finding.verdict == "unknown":
        # What was recorded cannot be believed: from here on it is a file like one that somebody placed.
        done = connection.execute(
            f"UPDATE entries SET origin = 'placed', sha256 = NULL, etag = NULL, \"commit\" = NULL, verdict = NULL,"  # noqa: S608 # nosec B608 # constants
            f" verified_at = NULL, ino = ?, mtime_ns = ?, size = ? WHERE {same}",
            (finding.ino, finding.mtime_ns, finding.size, *values),
        )
    elif finding.verdict in ("rebound", "corrupt"):
        done = connection.execute(
            # Names of one file count once; names that became files of their own each count.
            "UPDATE entries SET verdict = ?, verified_at = ?, ino = ?, mtime_ns = ?, size = ?, origin ="  # noqa: S608 # nosec B608 # constants
            " iif(origin <> 'placed', origin, iif(\"commit\" IS NULL, 'adopted', 'download')), charged = iif("
            "EXISTS (SELECT 1 FROM entries AS other WHERE other.id <> entries.id AND other.ino = ? AND other.mtime_ns = ?"
            f" AND other.size = ? AND other.charged > 0), 0, ?) WHERE {same}",
            (finding.verdict, now, *found, *found, finding.charged, *values),
        )
    else:
        done = connection.execute(
            f"UPDATE entries SET verdict = ?, verified_at = ? WHERE {same}",  # noqa: S608 # nosec B608 # constants
            (finding.verdict, now, *values),
        )
    if done.rowcount and finding.verdict in ("rebound", "corrupt", "unknown"):
        connection.execute(f"{SEALED} WHERE id = ?", (row.id,))
    return bool(done.rowcount)
