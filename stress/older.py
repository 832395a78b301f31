"""An index as the first version of the schema had it, made from one of today."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

from model_cache.index import schema


def downgrade(root: Path) -> None:
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
