"""The states of an entry, written one durable transaction at a time.

    (no row) → downloading → installing → ready → deleting → (no row)
                    ↓ stopped
                 partial → downloading …

A replacement keeps the row `ready` and walks through `next_state` (downloading, installing) with its own `next_*`
columns, so that the old values hold until the new file has the old one's place.

Concurrency:
    The caller holds W of the entry; that it does is asserted where the caller acquires it. I5: a row says what is on its
    way before it is there, and is taken back only after it is gone.
"""

from __future__ import annotations

import sqlite3
from typing import NamedTuple

from ..errors import InvalidNameError
from ..layout import Entry, Snapshot, is_commit
from .connection import Index
from .rows import SEALED, Row, select

_REGRET_AGE = 86400.0  # seconds: a file that is wanted again within a day should not have gone


class Promise(NamedTuple):
    """What the Hub promised of a file: size in bytes (None if it did not say), and its identifiers."""

    size: int | None
    sha256: str | None
    etag: str
    commit: str


class Reservation(NamedTuple):
    """A download that begins, and the bytes (`charged`) it may come to occupy."""

    entry: Entry
    promise: Promise
    charged: int
    holder: str
    replacing: bool


class Installed(NamedTuple):
    """A complete, verified, durable file that is about to get its name."""

    ino: int
    mtime_ns: int
    size: int
    charged: int
    sha256: str


class Ledger:
    """Writes what happens to entries into the index.

    Every method is one transaction, and raises IndexUnavailableError where the index cannot be used.
    """

    def __init__(self, index: Index) -> None:
        self._index = index

    def mend(self, *, thorough: bool = False) -> bool:
        """Set a damaged index aside, so that the next transaction makes a new one; whether that was done."""
        return self._index.mend(thorough=thorough)

    def row(self, entry: Entry) -> Row | None:
        """What the index knows of an entry."""
        with self._index.reading() as connection:
            return None if connection is None else _row(connection, entry)

    def same_bytes(self, sha256: str | None, etag: str) -> list[Row]:
        """A few ready entries that were recorded with these bytes, the most recently verified first."""
        column, value = ("sha256", sha256) if sha256 else ("etag", etag)
        with self._index.reading() as connection:
            if connection is None:
                return []
            where = f"WHERE {column} = ? AND state = 'ready' ORDER BY verified_at DESC LIMIT 4"
            return select(connection, where, (value,))

    def sibling_commit(self, entry: Entry) -> str | None:
        """The commit that ready files of the same repo and revision came from, the newest download's if they differ."""
        with self._index.reading() as connection:
            if connection is None:
                return None
            return _commit_of(connection, entry.identity)

    def snapshot_commit(self, snapshot: Snapshot) -> str | None:
        """The commit that ready files of a repo at a revision came from, the newest download's if they differ."""
        with self._index.reading() as connection:
            if connection is None:
                return None
            return _commit_of(connection, (snapshot.repo_type, snapshot.repo, snapshot.revision, ""))

    def reserve(self, entry: Entry, promise: Promise, charged: int, holder: str, *, replacing: bool) -> None:
        """Say that a download begins and how many bytes it may come to occupy."""
        with self._index.transaction("row:reserve") as connection:
            reserve(connection, Reservation(entry, promise, charged, holder, replacing))

    def installing(self, entry: Entry, file: Installed, *, replacing: bool) -> None:
        """Say which inode is about to stand at the entry's path, so that a crash on either side can be told apart."""
        with self._index.transaction("row:installing") as connection:
            installing(connection, entry, file, replacing=replacing)

    def ready(self, entry: Entry, *, source: str, used: bool = True) -> None:
        """Say that the file stands at its path: the entry is whole (I1). Not `used`: its last use stays what it was."""
        with self._index.transaction("row:ready") as connection:
            ready(connection, entry, source, self._index.clock.time(), used=used)

    def stopped(self, entry: Entry, allocated: int, *, replacing: bool) -> None:
        """Say what a download that did not finish has left: a partial of so many bytes, or (0) nothing."""
        with self._index.transaction("row:stopped") as connection:
            if replacing:
                _stop_next(connection, entry, allocated)
            else:
                stopped(connection, entry, allocated)

    def settled(self, entry: Entry, found: str, allocated: int) -> None:
        """Write down what recovery found (see `recovery.decide`), and the bytes of the partial that is there.

        `ready`: the file stands at its path. `promote`: the new one does. `keep`: the old one does. `stopped`: neither,
        only a partial, or nothing. `gone`: it was evicted.
        """
        now = self._index.clock.time()
        with self._index.transaction("row:settled") as connection:
            if found == "gone" or (found == "stopped" and not allocated):
                connection.execute("DELETE FROM entries WHERE key = ?", (entry.key,))
                return
            if found == "stopped":
                connection.execute(
                    "UPDATE entries SET state = 'partial', charged = ?, ino = NULL, holder = NULL WHERE key = ?",
                    (allocated, entry.key),
                )
                return
            if found == "promote":
                _promote(connection, entry)
            elif found == "keep":
                _stop_next(connection, entry, allocated)
                return
            if found == "ready":
                # Also of an eviction that did not happen: then nothing was verified.
                connection.execute(
                    "UPDATE entries SET verdict = 'ok', verified_at = ?, downloaded_at = ? WHERE key = ?"
                    " AND state = 'installing'",
                    (now, now, entry.key),
                )
            settled = connection.execute("SELECT state FROM entries WHERE key = ?", (entry.key,)).fetchone()
            connection.execute("UPDATE entries SET state = 'ready', holder = NULL WHERE key = ?", (entry.key,))
            if settled is not None and settled[0] != "deleting":
                _settle(connection, entry)

    def at_commit(self, rows: list[Row], commit: str) -> None:
        """Say that these files are the same at another commit, which they are wanted from now.

        Concurrency:
            Needs no W: a row that speaks of another file by now stays as it is.
        """
        with self._index.transaction("row:commit") as connection:
            for row in rows:
                told = connection.execute(
                    "UPDATE entries SET \"commit\" = ? WHERE key = ? AND state = 'ready' AND sha256 IS ? AND ino IS ?"
                    " AND size IS ? AND mtime_ns IS ?",
                    (commit, row.key, row.sha256, *row.identity),
                )
                if told.rowcount:
                    connection.execute(f"{SEALED} WHERE key = ?", (row.key,))

    def rebound(self, entry: Entry, file: Installed, *, origin: str, etag: str | None, commit: str | None) -> None:
        """Enter a file that stands at its path and was hashed there, by whatever way it came."""
        now = self._index.clock.time()
        with self._index.transaction("row:adopt") as connection:
            _refuse_collision(connection, entry)
            connection.execute("DELETE FROM entries WHERE key = ?", (entry.key,))
            connection.execute(
                "INSERT INTO entries (key, repo_type, repo, revision, filename, path, state, size, charged, sha256, etag,"
                ' "commit", ino, mtime_ns, origin, downloaded_at, last_used_at, verified_at, verdict)'
                " VALUES (?, ?, ?, ?, ?, ?, 'ready', ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 'ok')",
                (entry.key, *entry.identity, entry.relative, file.size, file.charged, file.sha256, etag, commit)
                + (file.ino, file.mtime_ns, origin, now, now, now),
            )
            _settle(connection, entry)
            record(connection, now, "adopt", entry)


def _commit_of(connection: sqlite3.Connection, names: tuple[str, str, str, str]) -> str | None:
    """The commit of the newest download of (repo type, repo, revision), but for one filename."""
    found = connection.execute(
        'SELECT "commit" FROM entries WHERE repo_type = ? AND repo = ? AND revision = ? AND filename <> ?'
        " AND state = 'ready' AND origin <> 'placed' AND \"commit\" IS NOT NULL ORDER BY downloaded_at DESC LIMIT 1",
        names,
    ).fetchall()
    # It becomes part of an address and of messages, and anybody may have written the index.
    commit = str(found[0][0]) if found else ""
    return commit if is_commit(commit) else None


def _row(connection: sqlite3.Connection, entry: Entry) -> Row | None:
    found = select(connection, "WHERE key = ?", (entry.key,))
    return found[0] if found and found[0].entry() == entry else None


def _refuse_collision(connection: sqlite3.Connection, entry: Entry) -> None:
    """Two different entries never share a path; whose name was only guessed from the path gives way."""
    connection.execute(
        "DELETE FROM entries WHERE path = ? AND key <> ? AND origin IN ('placed', 'adopted') AND \"commit\" IS NULL",
        (entry.relative, entry.key),
    )
    found = connection.execute(
        "SELECT repo_type, repo, revision, filename FROM entries WHERE path = ? AND key <> ?",
        (entry.relative, entry.key),
    ).fetchone()
    if found is not None:
        raise InvalidNameError(
            f"{entry} would share the path {entry.relative} with {found[1]} {found[3]}, which is in the cache",
            hint="use another root for one of the two: MODEL_CACHE_DIR, or --root",
        )


def reserve(connection: sqlite3.Connection, what: Reservation) -> None:
    """Write a reservation in the caller's transaction."""
    entry, promise = what.entry, what.promise
    _refuse_collision(connection, entry)
    if what.replacing:
        connection.execute(
            "UPDATE entries SET next_state = 'downloading', next_size = ?, next_charged = ?, next_sha256 = ?,"
            " next_etag = ?, next_commit = ?, next_ino = NULL, holder = ? WHERE key = ?",
            (promise.size, what.charged, promise.sha256, promise.etag, promise.commit, what.holder, entry.key),
        )
        return
    connection.execute(
        "INSERT INTO entries (key, repo_type, repo, revision, filename, path, state, size, charged, sha256, etag,"
        " \"commit\", holder) VALUES (?, ?, ?, ?, ?, ?, 'downloading', ?, ?, ?, ?, ?, ?)"
        " ON CONFLICT (key) DO UPDATE SET state = 'downloading', size = excluded.size, charged = excluded.charged,"
        ' sha256 = excluded.sha256, etag = excluded.etag, "commit" = excluded."commit", ino = NULL,'
        " mtime_ns = NULL, verified_at = NULL, verdict = NULL, holder = excluded.holder, next_state = NULL,"
        " next_size = NULL, next_charged = 0, next_sha256 = NULL, next_etag = NULL, next_commit = NULL,"
        " next_ino = NULL, next_mtime_ns = NULL",
        (entry.key, *entry.identity, entry.relative, promise.size, what.charged, promise.sha256, promise.etag)
        + (promise.commit, what.holder),
    )


def installing(connection: sqlite3.Connection, entry: Entry, file: Installed, *, replacing: bool) -> None:
    """Write which inode is about to stand at the path, in the caller's transaction."""
    prefix = "next_" if replacing else ""
    connection.execute(
        f"UPDATE entries SET {prefix}state = 'installing', {prefix}ino = ?, {prefix}mtime_ns = ?, {prefix}size = ?,"  # noqa: S608 # nosec B608 # two constants
        f" {prefix}charged = ?, {prefix}sha256 = ? WHERE key = ?",
        (file.ino, file.mtime_ns, file.size, file.charged, file.sha256, entry.key),
    )


def ready(connection: sqlite3.Connection, entry: Entry, source: str, now: float, *, used: bool = True) -> None:
    """Write that the file stands at its path, in the caller's transaction."""
    _promote(connection, entry)
    told = connection.execute(
        "UPDATE entries SET state = 'ready', origin = ?, downloaded_at = ?, last_used_at = iif(?, ?, last_used_at),"
        " verified_at = ?, verdict = 'ok', holder = NULL WHERE key = ? AND state = 'installing'",
        (source, now, used, now, now, entry.key),
    )
    if not told.rowcount:
        # The index was lost or put back since: whoever next needs room has to look what is on disk.
        connection.execute("DELETE FROM meta WHERE name = 'complete'")
        return
    _settle(connection, entry)
    record(connection, now, source, entry)
    if source in ("download", "resume", "tier"):
        _regret(connection, now, entry)


def stopped(connection: sqlite3.Connection, entry: Entry, allocated: int) -> None:
    """Write what a download that did not finish has left, in the caller's transaction."""
    if allocated:
        connection.execute(
            "UPDATE entries SET state = 'partial', charged = ?, holder = NULL WHERE key = ?", (allocated, entry.key)
        )
    else:
        connection.execute("DELETE FROM entries WHERE key = ?", (entry.key,))


def _promote(connection: sqlite3.Connection, entry: Entry) -> None:
    """The `next_*` values become the current ones, if a replacement was under way: `installing` until the caller says more."""
    connection.execute(
        "UPDATE entries SET size = next_size, charged = next_charged, sha256 = next_sha256, etag = next_etag,"
        " \"commit\" = next_commit, ino = next_ino, mtime_ns = next_mtime_ns, verdict = 'ok', state = 'installing'"
        " WHERE key = ? AND next_state = 'installing'",
        (entry.key,),
    )
    _drop_next(connection, entry)


def _settle(connection: sqlite3.Connection, entry: Entry) -> None:
    """Verified bytes stand at the path: their facts are sealed, and whatever was damaged there is mended."""
    connection.execute(f"{SEALED} WHERE key = ?", (entry.key,))
    connection.execute("UPDATE quarantine SET mended = 1 WHERE key = ?", (entry.key,))


def _drop_next(connection: sqlite3.Connection, entry: Entry) -> None:
    connection.execute(
        "UPDATE entries SET next_state = NULL, next_size = NULL, next_charged = 0, next_sha256 = NULL, next_etag = NULL,"
        " next_commit = NULL, next_ino = NULL, next_mtime_ns = NULL, holder = NULL WHERE key = ?",
        (entry.key,),
    )


def _stop_next(connection: sqlite3.Connection, entry: Entry, allocated: int) -> None:
    """A replacement that did not happen leaves a partial beside the entry, or nothing."""
    _drop_next(connection, entry)
    if allocated:
        connection.execute(
            "UPDATE entries SET next_state = 'partial', next_charged = ? WHERE key = ?", (allocated, entry.key)
        )


def _regret(connection: sqlite3.Connection, now: float, entry: Entry) -> None:
    """Count a download of what was evicted less than a day ago, with all the bytes that were evicted since.

    Had the budget been larger by those bytes, the file would still have been there.
    """
    found = connection.execute(
        "SELECT max(id) FROM events WHERE kind = 'evict' AND repo = ? AND filename = ? AND repo_type = ? AND revision = ?"
        " AND at > ?",
        (entry.repo, entry.filename, entry.repo_type, entry.revision, now - _REGRET_AGE),
    ).fetchone()[0]
    if found is not None:
        since = connection.execute("SELECT sum(size) FROM events WHERE kind = 'evict' AND id >= ?", (found,)).fetchone()
        record(connection, now, "regret", entry, str(since[0]))


def record(connection: sqlite3.Connection, now: float, kind: str, entry: Entry, detail: str | None = None) -> None:
    """Add a line to the bounded list of events, with the size the row has now."""
    connection.execute(
        "INSERT INTO events (at, kind, repo_type, repo, revision, filename, size, detail)"
        " SELECT ?, ?, repo_type, repo, revision, filename, size, ? FROM entries WHERE key = ?",
        (now, kind, detail, entry.key),
    )
