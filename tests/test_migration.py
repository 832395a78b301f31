"""An index of an older version is brought up to this one, whoever opens it first, and nothing in it is lost."""

import os
import sqlite3

import pytest
from support import FILE, REPO, pattern
from verify_equipment import rot

from model_cache import IndexUnavailableError, ModelCache
from model_cache.index import queries, schema


def downgrade(root):
    """Rewrite the index as the first version of the schema would have it."""
    path = root / ".model-cache" / "index.db"
    new = sqlite3.connect(path)
    rows = new.execute("SELECT * FROM entries").fetchall()
    columns = [column[1] for column in new.execute("PRAGMA table_info(entries)") if column[1] != "seal"]
    new.close()
    os.unlink(path)
    old = sqlite3.connect(path)
    for statement in (
        *(schema._ENTRIES, *schema._INDEXES, schema._TOTALS, *schema._TRIGGERS),
        *(schema._CHARGE, schema._CHARGE_MOVED, *schema._EVENTS),
        "CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT)",
        "CREATE TABLE _sqlite_migrations (migration_set TEXT, name TEXT, applied_at TEXT, PRIMARY KEY (migration_set, name))",
        "INSERT INTO _sqlite_migrations VALUES ('model_cache', '0001_entries', '2026-11-23')",
        "PRAGMA user_version = 1",
    ):
        old.execute(statement)
    old.executemany("INSERT INTO totals (state) VALUES (?)", [(state,) for state in (*schema.STATES, "next")])
    names, marks = ", ".join(f'"{name}"' for name in columns), ", ".join("?" * len(columns))
    old.executemany(f"INSERT INTO entries ({names}) VALUES ({marks})", [row[: len(columns)] for row in rows])
    old.execute("INSERT INTO events (at, kind, repo, filename, size) VALUES (5.0, 'gc', NULL, NULL, 7)")
    old.commit()
    old.close()


@pytest.fixture
def old(cache, hub, root):
    """A cache whose index is of the first version."""
    hub.add_repo(REPO, {FILE: pattern(50_000)})
    cache.fetch(REPO, FILE)
    cache.pin(REPO, FILE)
    before = [row._replace(seal=None) for row in cache.entries()]
    cache._ctx.index.close()
    downgrade(root)
    return ModelCache(root, endpoint=hub.url, token=False), before


def test_a_reader_migrates_what_it_may_write(old):
    """Listing an old index brings it up to date: the same rows, sealed, and what had been counted is kept."""
    cache, before = old
    after = cache.entries()
    assert [row._replace(seal=None) for row in after] == before
    assert all(row.is_sealed for row in after)
    assert (queries.last_run(cache._ctx.index, "gc"), queries.counters(cache._ctx.index)["gc"]) == (5.0, (1, 7))
    rot(cache.path(REPO, FILE))
    assert cache.verify(repair=True).exit_code() == 4


def test_an_index_of_a_later_version_is_refused(cache, hub, root):
    """What a newer version wrote is neither read nor written, and hits go on."""
    hub.add_repo(REPO, {FILE: pattern(1000)})
    cache.fetch(REPO, FILE)
    cache._ctx.index.close()
    with sqlite3.connect(root / ".model-cache" / "index.db") as later:
        later.execute(f"PRAGMA user_version = {schema.VERSION + 1}")
    later.close()
    other = ModelCache(root, endpoint=hub.url, token=False)
    for look in (other.entries, other.reconcile, other.verify):
        with pytest.raises(IndexUnavailableError, match="newer model-cache"):
            look()
    assert other.fetch(REPO, FILE).read_bytes() == pattern(1000)
