"""The schema and its migrations.

`PRAGMA user_version` is the number of migrations applied. A higher number than this version knows is refused: an older
program must not write what it does not understand. Migrations run inside one `BEGIN IMMEDIATE` under the index lock, so
of many processes that open a new root at once the first makes everything and the others find it made.
"""

from __future__ import annotations

import sqlite3

from ..errors import IndexUnavailableError
from .rows import SEALED, Row

VERSION = 2
LONGEST = 1 << 16  # characters of a value; a path has 4095 bytes at most
LONGEST_ROW = 1 << 20  # bytes; anybody may have written more, which would all be read into memory
EVENTS_KEPT = 10_000  # rows; about 1.5 MB

# The states of an entry; the totals are kept per state.
STATES = ("downloading", "partial", "installing", "ready", "deleting")

_ENTRIES = f"""
CREATE TABLE entries (
    id INTEGER PRIMARY KEY,
    key TEXT NOT NULL UNIQUE,
    repo_type TEXT NOT NULL,
    repo TEXT NOT NULL,
    revision TEXT NOT NULL,
    filename TEXT NOT NULL,
    path TEXT NOT NULL UNIQUE,
    state TEXT NOT NULL CHECK (state IN {STATES}),
    size INTEGER,
    charged INTEGER NOT NULL DEFAULT 0 CHECK (charged >= 0),
    sha256 TEXT,
    etag TEXT,
    "commit" TEXT,
    ino INTEGER,
    mtime_ns INTEGER,
    origin TEXT NOT NULL DEFAULT 'download',
    downloaded_at REAL,
    last_used_at REAL NOT NULL DEFAULT 0,
    verified_at REAL,
    verdict TEXT,
    pinned INTEGER NOT NULL DEFAULT 0,
    holder TEXT,
    next_state TEXT,
    next_size INTEGER,
    next_charged INTEGER NOT NULL DEFAULT 0 CHECK (next_charged >= 0),
    next_sha256 TEXT,
    next_etag TEXT,
    next_commit TEXT,
    next_ino INTEGER,
    next_mtime_ns INTEGER,
    UNIQUE (repo_type, repo, revision, filename)
)
"""

_INDEXES = (
    # The evictor pages through ready entries by the lower bound of their last use.
    "CREATE INDEX entries_lru ON entries (last_used_at, id) WHERE state = 'ready' AND pinned = 0",
    "CREATE INDEX entries_unsettled ON entries (state) WHERE state <> 'ready' OR next_state IS NOT NULL",
    "CREATE INDEX entries_verify ON entries (verified_at) WHERE state = 'ready'",
    "CREATE INDEX entries_sha256 ON entries (sha256) WHERE sha256 IS NOT NULL",
    "CREATE INDEX entries_etag ON entries (etag) WHERE etag IS NOT NULL",
    "CREATE INDEX entries_ino ON entries (ino) WHERE ino IS NOT NULL",
)

# Usage is read at each admission, whatever the number of rows: triggers keep the sums, in the same transaction.
_TOTALS = """
CREATE TABLE totals (state TEXT PRIMARY KEY, files INTEGER NOT NULL DEFAULT 0, bytes INTEGER NOT NULL DEFAULT 0)
"""
_TRIGGERS = (
    """CREATE TRIGGER entries_insert AFTER INSERT ON entries BEGIN
        UPDATE totals SET files = files + 1, bytes = bytes + NEW.charged WHERE state = NEW.state;
        UPDATE totals SET bytes = bytes + NEW.next_charged WHERE state = 'next' AND NEW.next_charged <> 0;
    END""",
    """CREATE TRIGGER entries_delete AFTER DELETE ON entries BEGIN
        UPDATE totals SET files = files - 1, bytes = bytes - OLD.charged WHERE state = OLD.state;
        UPDATE totals SET bytes = bytes - OLD.next_charged WHERE state = 'next' AND OLD.next_charged <> 0;
    END""",
    """CREATE TRIGGER entries_update AFTER UPDATE OF state, charged, next_charged ON entries BEGIN
        UPDATE totals SET files = files - 1, bytes = bytes - OLD.charged WHERE state = OLD.state;
        UPDATE totals SET files = files + 1, bytes = bytes + NEW.charged WHERE state = NEW.state;
        UPDATE totals SET bytes = bytes - OLD.next_charged + NEW.next_charged
            WHERE state = 'next' AND OLD.next_charged <> NEW.next_charged;
    END""",
)

# Names of one file count once, under one of them; when that row goes, another name takes the charge over. The mtime is
# compared because an inode's number is used again as soon as its file is gone.
_CHARGE = """CREATE TRIGGER entries_charge AFTER DELETE ON entries WHEN OLD.charged > 0 AND OLD.ino IS NOT NULL BEGIN
    UPDATE entries SET charged = OLD.charged WHERE id = (
        SELECT id FROM entries WHERE ino = OLD.ino AND mtime_ns = OLD.mtime_ns AND size = OLD.size AND charged = 0
        AND state IN ('installing', 'ready', 'deleting') LIMIT 1);
END"""
_CHARGE_MOVED = """CREATE TRIGGER entries_charge_moved AFTER UPDATE OF ino ON entries
    WHEN OLD.charged > 0 AND OLD.ino IS NOT NULL AND NEW.ino IS NOT OLD.ino BEGIN
    UPDATE entries SET charged = OLD.charged WHERE id = (
        SELECT id FROM entries WHERE ino = OLD.ino AND mtime_ns = OLD.mtime_ns AND size = OLD.size AND charged = 0
        AND state IN ('installing', 'ready', 'deleting') AND id <> OLD.id LIMIT 1);
END"""

_EVENTS = (
    """CREATE TABLE events (
        id INTEGER PRIMARY KEY, at REAL NOT NULL, kind TEXT NOT NULL, repo_type TEXT, repo TEXT, revision TEXT,
        filename TEXT, size INTEGER, detail TEXT
    )""",
    "CREATE INDEX events_of ON events (repo, filename, kind)",
    f"""CREATE TRIGGER events_bounded AFTER INSERT ON events BEGIN
        DELETE FROM events WHERE id <= NEW.id - {EVENTS_KEPT};
    END""",  # noqa: S608 # nosec B608 # a constant
)

# For people who open a copy of the index with the sqlite-utils command or Datasette.
_QUARANTINED = """
    SELECT repo_type, repo, revision, filename, size, charged, name, sha256 AS expected,
           datetime(at, 'unixepoch') AS since, mended FROM quarantine ORDER BY at"""
_VIEWS = {
    "size_by_repo": """
        SELECT repo_type, repo, revision, count(*) AS files, sum(size) AS bytes, sum(charged) AS bytes_on_disk,
               datetime(max(last_used_at), 'unixepoch') AS last_used
        FROM entries WHERE state = 'ready' GROUP BY repo_type, repo, revision ORDER BY bytes DESC""",
    "least_recently_used": """
        SELECT repo_type, repo, revision, filename, size, pinned, datetime(last_used_at, 'unixepoch') AS last_used
        FROM entries WHERE state = 'ready' ORDER BY last_used_at""",
    "damaged": """
        SELECT repo_type, repo, revision, filename, size, verdict, datetime(verified_at, 'unixepoch') AS verified
        FROM entries WHERE verdict NOT IN ('ok', 'rebound')""",
    "unsettled": """
        SELECT repo_type, repo, revision, filename, state, next_state, charged, next_charged, holder
        FROM entries WHERE state <> 'ready' OR next_state IS NOT NULL""",
}


# 2: what verify, repair and metrics keep.

_SEAL = (
    "ALTER TABLE entries ADD COLUMN seal TEXT",
    # How many files are wrong is asked often, and is nearly always none.
    "CREATE INDEX entries_failed ON entries (verdict) WHERE verdict IN ('corrupt', 'unreadable', 'changed', 'missing')",
)

# Bytes that were damaged: beside the entry that a repair gave new ones, or alone. `mended` is 0 while nothing has taken
# their place.
_QUARANTINE = (
    """CREATE TABLE quarantine (
        id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, key TEXT NOT NULL, repo_type TEXT NOT NULL, repo TEXT NOT NULL,
        revision TEXT NOT NULL, filename TEXT NOT NULL, size INTEGER, charged INTEGER NOT NULL DEFAULT 0 CHECK (charged >= 0),
        sha256 TEXT, "commit" TEXT, ino INTEGER, mtime_ns INTEGER, at REAL NOT NULL,
        mended INTEGER NOT NULL DEFAULT 0
    )""",
    "CREATE INDEX quarantine_of ON quarantine (key)",
    """CREATE TRIGGER quarantine_insert AFTER INSERT ON quarantine BEGIN
        UPDATE totals SET files = files + 1, bytes = bytes + NEW.charged WHERE state = 'quarantined';
    END""",
    """CREATE TRIGGER quarantine_delete AFTER DELETE ON quarantine BEGIN
        UPDATE totals SET files = files - 1, bytes = bytes - OLD.charged WHERE state = 'quarantined';
    END""",
    """CREATE TRIGGER quarantine_update AFTER UPDATE OF charged ON quarantine BEGIN
        UPDATE totals SET bytes = bytes - OLD.charged + NEW.charged WHERE state = 'quarantined';
    END""",
    # Two entries that were names of one damaged file have left two names of it here.
    """CREATE TRIGGER quarantine_charge AFTER DELETE ON quarantine WHEN OLD.charged > 0 AND OLD.ino IS NOT NULL BEGIN
        UPDATE quarantine SET charged = OLD.charged WHERE id = (
            SELECT id FROM quarantine WHERE ino = OLD.ino AND mtime_ns = OLD.mtime_ns AND size = OLD.size AND charged = 0
            LIMIT 1);
    END""",
)

# While a repair goes on, the damaged file has two names: its entry's, which is charged for it, and one in quarantine. When
# the entry lets go of it and no other entry has it, the name in quarantine takes the charge over.
_QUARANTINE_CHARGE = """
    UPDATE quarantine SET charged = OLD.charged WHERE id = (
        SELECT id FROM quarantine WHERE ino = OLD.ino AND mtime_ns = OLD.mtime_ns AND size = OLD.size AND charged = 0
        LIMIT 1) AND NOT EXISTS (
        SELECT 1 FROM entries WHERE ino = OLD.ino AND mtime_ns = OLD.mtime_ns AND size = OLD.size AND charged > 0
        AND state IN ('installing', 'ready', 'deleting') AND id <> OLD.id);
END"""
_CHARGE_FURTHER = tuple(
    statement
    for name, trigger in (("entries_charge", _CHARGE), ("entries_charge_moved", _CHARGE_MOVED))
    for statement in (f"DROP TRIGGER {name}", trigger.removesuffix("END") + _QUARANTINE_CHARGE)
)

# Events are bounded; what is counted over the life of the index is not.
_COUNTERS = (
    "CREATE TABLE counters (kind TEXT PRIMARY KEY, events INTEGER NOT NULL, bytes INTEGER NOT NULL)",
    "INSERT INTO counters SELECT kind, count(*), coalesce(sum(size), 0) FROM events GROUP BY kind",
    """CREATE TRIGGER events_counted AFTER INSERT ON events BEGIN
        INSERT INTO counters VALUES (NEW.kind, 1, coalesce(NEW.size, 0)) ON CONFLICT (kind)
        DO UPDATE SET events = events + 1, bytes = bytes + excluded.bytes;
    END""",
)
_RUNS = (
    "INSERT INTO meta SELECT 'last_gc', CAST(max(at) AS TEXT) FROM events WHERE kind = 'gc' HAVING max(at) IS NOT NULL"
)


_KNOWN = frozenset(
    statement.strip()
    for statement in (*_TRIGGERS, _CHARGE, _CHARGE_MOVED, *_EVENTS, *_QUARANTINE, *_CHARGE_FURTHER, *_COUNTERS)
)


def migrate(connection: sqlite3.Connection) -> None:
    """Bring the open index up to this version, inside the caller's transaction.

    Raises:
        IndexUnavailableError: It was made by a newer version.
    """
    found = version(connection)
    if found > VERSION:
        raise IndexUnavailableError(
            f"the index was written by a newer model-cache (its schema is {found}, this version knows {VERSION})",
            hint="pip install --upgrade model-cache",
        )
    if found == VERSION:
        return
    assert connection.in_transaction, "migrations run inside the caller's BEGIN IMMEDIATE"
    # 100 ms and 15 MiB that only the first process at a new root pays.
    from sqlite_utils import Database
    from sqlite_utils.migrations import Migrations

    migrations = Migrations("model_cache")

    @migrations(name="0001_entries")
    def _first(db: Database) -> None:
        for statement in (_ENTRIES, *_INDEXES, _TOTALS, *_TRIGGERS, _CHARGE, _CHARGE_MOVED, *_EVENTS):
            db.execute(statement)
        db.table("totals").insert_all({"state": state} for state in (*STATES, "next"))
        db.table("meta").create({"name": str, "value": str}, pk="name")
        for name, sql in _VIEWS.items():
            db.create_view(name, sql)

    @migrations(name="0002_verify")
    def _second(db: Database) -> None:
        for statement in (*_SEAL, *_QUARANTINE, *_CHARGE_FURTHER, *_COUNTERS, _RUNS):
            db.execute(statement)
        db.table("totals").insert({"state": "quarantined"})
        db.create_view("quarantined", _QUARANTINED)
        db.execute(SEALED)

    migrations.apply(Database(connection, execute_plugins=False))
    connection.execute(f"PRAGMA user_version = {VERSION:d}")


# What a value may be that this cache wrote: SQLite keeps anything in any column, and a bit may rot in what says which kind.
_TEXTS = ("key", "repo_type", "repo", "revision", "filename", "path", "origin")
_TEXTS_OR_NONE = ("sha256", "etag", '"commit"', "verdict", "holder")
_NUMBERS = ("size", "charged", "ino", "mtime_ns", "pinned", "next_charged")
_TIMES = ("downloaded_at", "last_used_at", "verified_at")
_NEXT_TEXTS, _NEXT_NUMBERS = ("next_sha256", "next_etag", "next_commit"), ("next_size", "next_ino", "next_mtime_ns")


def _odd(texts: tuple[str, ...], numbers: tuple[str, ...]) -> list[str]:
    return [f"typeof({name}) NOT IN ('text', 'null')" for name in texts] + [
        f"typeof({name}) NOT IN ('integer', 'null')" for name in numbers
    ]


_ODD = " OR ".join(
    (
        *(f"typeof({name}) <> 'text'" for name in _TEXTS),
        *(f"length({name}) > {LONGEST}" for name in (*_TEXTS, *_TEXTS_OR_NONE, *_NEXT_TEXTS)),
        *_odd(_TEXTS_OR_NONE, _NUMBERS),
        *(f"typeof({name}) NOT IN ('real', 'null') OR abs({name}) > 1e15" for name in _TIMES),
        f"next_state IS NOT NULL AND ({' OR '.join(_odd(_NEXT_TEXTS, _NEXT_NUMBERS))})",
    )
)

_ODD_META = f"SELECT 1 FROM meta WHERE typeof(value) <> 'text' OR length(value) > {LONGEST}"  # noqa: S608 # nosec B608 # a constant
_TABLES = ("entries", "totals", "meta", "events")
_TRIED = {
    "entries": ", ".join(f'entries."{name}"' for name in Row._fields),  # alone, what is quoted may be a text too
    "meta": "name, value",
    "totals": "state, files, bytes",
    "quarantine": 'name, key, repo_type, repo, revision, filename, size, charged, sha256, "commit", ino, mtime_ns, at, mended',
    "events": "at, kind, repo_type, repo, revision, filename, size, detail",
    "counters": "kind, events, bytes",
}


def refuse_planted(connection: sqlite3.Connection) -> None:
    """Refuse a schema in which our statements would do something else than we wrote: foreign triggers, views as our tables.

    A view in the place of a table can be a query without end, and a virtual table whatever its module does.

    Raises:
        sqlite3.DatabaseError: With the code of a damaged index, as which it is treated.
    """
    for kind, name, sql in connection.execute("SELECT type, name, sql FROM sqlite_schema").fetchall():
        virtual = str(sql).lstrip().upper().startswith("CREATE VIRTUAL")
        if (kind == "trigger" and sql not in _KNOWN) or (name in _TRIED and (kind != "table" or virtual)):
            error = sqlite3.DatabaseError(f"its schema has a {kind} that this cache did not make")
            error.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
            raise error


def is_sound(connection: sqlite3.Connection) -> bool:
    """Whether tables, triggers and the kinds of values are such as this module makes; `quick_check` looks at none."""
    try:
        return _is_ours(connection)
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode != sqlite3.SQLITE_ERROR:
            raise
        return False  # there is no such table or column


def _is_ours(connection: sqlite3.Connection) -> bool:
    for table, columns in _TRIED.items() if version(connection) == VERSION else ():
        connection.execute(f"SELECT {columns} FROM {table} LIMIT 0")  # noqa: S608 # nosec B608 # constants
    refuse_planted(connection)
    tables = connection.execute(f"SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name IN {_TABLES}")  # noqa: S608 # nosec B608 # constants
    return (
        tables.fetchone()[0] == len(_TABLES)
        and not connection.execute(f"SELECT 1 FROM entries WHERE {_ODD} LIMIT 1").fetchall()  # noqa: S608 # nosec B608 # constants
        and not connection.execute("SELECT 1 FROM totals WHERE typeof(files + bytes) <> 'integer'").fetchall()
        and not connection.execute(_ODD_META).fetchall()
    )


def version(connection: sqlite3.Connection) -> int:
    """How many migrations this index has had."""
    return int(connection.execute("PRAGMA user_version").fetchone()[0])
