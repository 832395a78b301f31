"""What people ask the index: entries, usage, downloads under way."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterator
from typing import Any, NamedTuple

from ..layout import Snapshot
from . import schema
from .connection import Index
from .rows import Row, select


class Totals(NamedTuple):
    """Bytes and files per state; `reserved` is what downloads under way may still come to occupy."""

    files: int
    ready: int
    reserved: int
    partial: int
    deleting: int
    quarantined: int = 0

    @property
    def all(self) -> int:
        """Everything that counts against the budget, in bytes (I4)."""
        return self.ready + self.reserved + self.partial + self.deleting + self.quarantined


# Cast: SQLite keeps anything in any column, and an index can have been written by anybody.
_TOTALS = "SELECT state, CAST(files AS INTEGER), CAST(bytes AS INTEGER) FROM totals"


def totals(index: Index) -> Totals:
    """Usage, in one read of a handful of rows whatever the number of entries."""
    with index.reading() as connection:
        found = [] if connection is None else connection.execute(_TOTALS).fetchall()
    files = {state: count for state, count, _ in found}
    size = {state: count for state, _, count in found}
    return Totals(
        files=files.get("ready", 0),
        ready=size.get("ready", 0),
        reserved=size.get("downloading", 0) + size.get("installing", 0) + size.get("next", 0),
        partial=size.get("partial", 0),
        deleting=size.get("deleting", 0),
        quarantined=size.get("quarantined", 0),
    )


class Held(NamedTuple):
    """Bytes and files that no eviction takes: pinned ones, and those that somebody placed by hand."""

    pinned: int
    pinned_files: int
    placed: int
    placed_files: int


def held(index: Index) -> Held:
    """What is kept from eviction by a decision of somebody's."""
    with index.reading() as connection:
        if connection is None:
            return Held(0, 0, 0, 0)
        sums = "SELECT CAST(total(charged) AS INTEGER), count(*) FROM entries WHERE state = 'ready' AND "
        pinned = connection.execute(f"{sums} pinned = 1").fetchall()[0]
        placed = connection.execute(f"{sums} pinned = 0 AND origin = 'placed'").fetchall()[0]
    return Held(*pinned, *placed)


def pinned(index: Index) -> list[Row]:
    """All pinned entries."""
    with index.reading() as connection:
        return [] if connection is None else select(connection, "WHERE pinned = 1")


def by_inode(index: Index, inodes: Collection[int]) -> list[Row]:
    """The ready entries whose files are among these inodes."""
    with index.reading() as connection:
        if connection is None or not inodes:
            return []
        marks = ", ".join("?" * len(inodes))
        return select(connection, f"WHERE ino IN ({marks}) AND state = 'ready' ORDER BY path", tuple(inodes))


def keys(index: Index, key: str | None = None) -> set[str]:
    """The keys of all rows, or the one asked for if there is a row of it."""
    with index.reading() as connection:
        if connection is None:
            return set()
        if key is not None:
            return {
                found[0] for found in connection.execute("SELECT key FROM entries WHERE key = ?", (key,)).fetchall()
            }
        return {found[0] for found in connection.execute("SELECT key FROM entries").fetchall()}


def entries(index: Index, repo: str | None = None) -> list[Row]:
    """All rows in the order of their names, or those of one repo."""
    with index.reading() as connection:
        if connection is None:
            return []
        order = "ORDER BY repo_type, repo, revision, filename"
        return select(connection, order) if repo is None else select(connection, f"WHERE repo = ? {order}", (repo,))


def snapshots(index: Index) -> list[tuple[str, str, str]]:
    """The (repo, revision, repo type) of which anything is known, in the order of their names."""
    asked = (
        "SELECT CAST(repo AS TEXT), CAST(revision AS TEXT), CAST(repo_type AS TEXT) FROM entries"
        " GROUP BY repo_type, repo, revision"
    )
    with index.reading() as connection:
        return [] if connection is None else connection.execute(asked).fetchall()


def filenames(index: Index, snapshot: Snapshot) -> list[str]:
    """The ready files of a repo at a revision."""
    asked = "SELECT CAST(filename AS TEXT) FROM entries WHERE repo_type = ? AND repo = ? AND revision = ? AND state = 'ready'"
    names = (snapshot.repo_type, snapshot.repo, snapshot.revision)
    with index.reading() as connection:
        return [] if connection is None else [name for (name,) in connection.execute(asked, names).fetchall()]


def of_snapshot(index: Index, snapshot: Snapshot) -> list[Row]:
    """All rows of a repo at a revision."""
    with index.reading() as connection:
        if connection is None:
            return []
        names = (snapshot.repo_type, snapshot.repo, snapshot.revision)
        return select(connection, "WHERE repo_type = ? AND repo = ? AND revision = ? ORDER BY filename", names)


# What a listing shows, the names first: a page begins behind those of the page before it.
LISTED = (
    *("repo_type", "repo", "revision", "filename", "path", "key"),
    *("last_used_at", "size", "downloaded_at", "verified_at", "pinned", "sha256", "etag", "commit", "state"),
)
# A ready file that something is known to be wrong with is listed as that.
_STATE = "iif(verdict IN ('corrupt', 'unreadable', 'changed') AND state = 'ready', verdict, state)"
_LISTED = ", ".join(f'"{name}"' if name != "state" else _STATE for name in LISTED)
_PAGE = 256  # rows; a hundred kilobytes


def pages(index: Index, repo: str | None = None) -> Iterator[list[tuple[Any, ...]]]:
    """The columns `LISTED` of all rows in the order of their names, or of those of one repo, in bounded memory.

    Concurrency:
        Each page is a statement of its own, ended before the page is handed out, so a listing that is read slowly holds
        nobody up. What is written meanwhile may be seen or not; no row is seen twice.
    """
    where, after = ("", ()) if repo is None else ("repo = ? AND", (repo,))
    names: tuple[Any, ...] = ("", "", "", "")
    page = [names]
    while page:
        with index.reading() as connection:
            page = []
            if connection is not None:
                page = _fetch(
                    connection,
                    f"SELECT {_LISTED} FROM entries WHERE {where} (repo_type, repo, revision, filename) > (?, ?, ?, ?)"  # noqa: S608 # nosec B608 # constants
                    f" ORDER BY repo_type, repo, revision, filename LIMIT {_PAGE:d}",
                    (*after, *names),
                )
        if page:
            yield page
            names = page[-1][:4]


def _fetch(connection: sqlite3.Connection, asked: str, values: tuple[Any, ...]) -> list[tuple[Any, ...]]:
    """All rows, their texts decoded in the fastest way for as long as all of them are text."""
    tolerant, connection.text_factory = connection.text_factory, str
    try:
        return connection.execute(asked, values).fetchall()
    except sqlite3.OperationalError:
        connection.text_factory = tolerant
        return connection.execute(asked, values).fetchall()
    finally:
        connection.text_factory = tolerant


def unsettled(index: Index) -> list[Row]:
    """Rows of which something is under way, or was when its process died."""
    with index.reading() as connection:
        return [] if connection is None else select(connection, "WHERE state <> 'ready' OR next_state IS NOT NULL")


class Regret(NamedTuple):
    """Downloads of what had been evicted less than a day before: how many, bytes, and what the budget lacked in bytes."""

    files: int
    bytes: int
    lacking: int


def regret(index: Index, since: float) -> Regret:
    """Thrash since a time (seconds since the epoch): a budget larger by `lacking` would have avoided it."""
    with index.reading() as connection:
        if connection is None:
            return Regret(0, 0, 0)
        found = connection.execute(
            "SELECT count(*), coalesce(sum(size), 0), coalesce(max(CAST(detail AS INTEGER)), 0) FROM events"
            " WHERE kind = 'regret' AND at > ?",
            (since,),
        ).fetchall()
    return Regret(*found[0])


def events(index: Index) -> list[tuple[float, str, int]]:
    """What happened and is still kept, the oldest first: (seconds since the epoch, kind, bytes)."""
    asked = "SELECT CAST(at AS REAL), CAST(kind AS TEXT), CAST(size AS INTEGER) FROM events WHERE size >= 0 ORDER BY id"
    with index.reading() as connection:
        return [] if connection is None else connection.execute(asked).fetchall()


def last_run(index: Index, name: str) -> float | None:
    """When a run last ended, in seconds since the epoch: `gc`, `verify` (of the whole cache), or `verify_success`."""
    with index.reading() as connection:
        if connection is None:
            return None
        asked = "SELECT CAST(value AS REAL) FROM meta WHERE name = ?"
        found = connection.execute(asked, (f"last_{name}",)).fetchall()
    return float(found[0][0]) if found and found[0][0] is not None else None


def health(index: Index) -> str:
    """`ok`, also where there is no index, or the first thing that SQLite finds wrong in it.

    Raises:
        IndexUnavailableError: It cannot be read at all, or is of a later version.
    """
    with index.reading() as connection:
        found = [("ok",)] if connection is None else connection.execute("PRAGMA quick_check(1)").fetchall()
        if connection is not None and found[0][0] == "ok" and not schema.is_sound(connection):
            return "it has what this cache never writes"
    return str(found[0][0])


class Condition(NamedTuple):
    """How the files are that have a recorded hash.

    Attributes:
        verdicts: Files by what the last look at them found.
        oldest: When the one that was verified longest ago was, in seconds since the epoch; None if none was.
        never: Files that were not verified since they were entered.
        quarantined: Damaged files in quarantine that nothing took the place of.
    """

    verdicts: dict[str, int]
    oldest: float | None
    never: int
    quarantined: int


def is_recorded(index: Index) -> bool:
    """Whether there is an index, so that a count of 0 means something.

    Raises:
        IndexUnavailableError: There is one, and it cannot be read.
    """
    with index.reading() as connection:
        return connection is not None


# Below, numbers are cast: SQLite keeps anything in any column, and an index can have been written by anybody.


def by_state(index: Index) -> dict[str, tuple[int, int]]:
    """Files and bytes that count against the budget, by state; `next` is the room of replacements."""
    return _pairs(index, "SELECT state, CAST(files AS INTEGER), CAST(bytes AS INTEGER) FROM totals")


def counters(index: Index) -> dict[str, tuple[int, int]]:
    """What happened over the life of the index, by kind: how often, and the sizes of the files."""
    return _pairs(index, "SELECT kind, CAST(events AS INTEGER), CAST(bytes AS INTEGER) FROM counters")


def by_repo(index: Index) -> dict[tuple[str, str], tuple[int, int]]:
    """Ready files and the bytes they occupy, by type and name of the repo, all its revisions together."""
    asked = (
        "SELECT CAST(repo_type AS TEXT), CAST(repo AS TEXT), count(*), sum(CAST(charged AS INTEGER)) FROM entries"
        " WHERE state = 'ready' GROUP BY 1, 2 ORDER BY 1, 2"
    )
    with index.reading() as connection:
        found = [] if connection is None else connection.execute(asked).fetchall()
    return {(repo_type, repo): (files, size) for repo_type, repo, files, size in found}


def condition(index: Index) -> Condition:
    """What is known of the files by verifying them."""
    asked = (
        "SELECT CAST(coalesce(verdict, '') AS TEXT), count(*), min(CAST(verified_at AS REAL)), sum(verified_at IS NULL)"
        " FROM entries WHERE state = 'ready' AND origin <> 'placed' AND sha256 IS NOT NULL GROUP BY 1"
    )
    with index.reading() as connection:
        if connection is None:
            return Condition({}, None, 0, 0)
        found = connection.execute(asked).fetchall()
        aside = connection.execute("SELECT count(*) FROM quarantine WHERE mended = 0").fetchall()[0][0]
    return Condition(
        verdicts={verdict: count for verdict, count, _, _ in found},
        oldest=min((oldest for _, _, oldest, _ in found if oldest is not None), default=None),
        never=sum(never for _, _, _, never in found),
        quarantined=aside,
    )


def _pairs(index: Index, asked: str) -> dict[str, tuple[int, int]]:
    with index.reading() as connection:
        found = [] if connection is None else connection.execute(asked).fetchall()
    return {str(name): (first, second) for name, first, second in found}


def failed(index: Index) -> dict[str, int]:
    """How many files are known to be wrong, by what is wrong with them, and (`quarantined`) have nothing in their place."""
    with index.reading() as connection:
        if connection is None:
            return {}
        found = connection.execute(
            "SELECT verdict, count(*) FROM entries WHERE verdict IN ('corrupt', 'unreadable', 'changed', 'missing')"
            " AND state = 'ready' GROUP BY verdict"
        ).fetchall()
        aside = connection.execute("SELECT count(*) FROM quarantine WHERE mended = 0").fetchall()[0][0]
    return {**dict(found), "quarantined": aside}
