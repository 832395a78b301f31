"""The budget's own costs: admission and victims among a million rows, and an eviction beside `rm`."""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from itertools import count, islice
from pathlib import Path

from model_cache import ModelCache
from model_cache.budget.candidates import candidates
from model_cache.index.ledger import Installed, Promise
from model_cache.index.room import PAGE, Claim, Room
from model_cache.layout import Entry
from model_cache.preparing import prepare

from .cases import Row, paired
from .timing import series

_FILES = 10_000
_ROWS = 1_000_000


def _median(call: Callable[[], object], rounds: int) -> float:
    spent = []
    for _ in range(rounds):
        started = time.perf_counter()
        call()
        spent.append(time.perf_counter() - started)
    return statistics.median(spent)


def _fill(cache: ModelCache, rows: int) -> None:
    """Ready rows without files, used in an order of their own, written in one transaction."""
    index = cache._ctx.index
    with index.transaction("bench") as connection:
        trigger = connection.execute("SELECT sql FROM sqlite_schema WHERE name = 'entries_insert'").fetchone()[0]
        connection.execute("DROP TRIGGER entries_insert")
        for number in range(rows):
            entry = Entry(f"owner-{number // 1000}/name", f"file-{number}")
            connection.execute(
                "INSERT INTO entries (key, repo_type, repo, revision, filename, path, state, size, charged, ino, mtime_ns,"
                " last_used_at) VALUES (?, ?, ?, ?, ?, ?, 'ready', 4096, 4096, ?, 1, ?)",
                (entry.key, *entry.identity, entry.relative, number + 10, float(number * 7919 % rows)),
            )
        connection.execute("UPDATE totals SET files = ?, bytes = ? WHERE state = 'ready'", (rows, 4096 * rows))
        connection.execute(trigger)


def many_rows(rounds: int) -> list[Row]:
    """Victims and admission with a million rows: a page in milliseconds, a transaction over an empty durable one."""
    with tempfile.TemporaryDirectory(prefix="model-cache-bench-") as folder:
        cache = ModelCache(folder, max_size=10**15)
        prepare(cache._ctx)
        _fill(cache, _ROWS)
        room, numbers = Room(cache._ctx.index), count()

        def page() -> None:
            assert len(list(islice(candidates(cache._ctx, room, set()), PAGE))) == PAGE

        def admit() -> None:
            entry = Entry("a/b", f"new-{next(numbers)}")
            promise = Promise(4096, "0" * 64, "e", "0" * 40)
            assert room.admit(Claim(entry, promise, "bench", False, 4096, 10**15)) == 0

        def empty() -> None:
            with cache._ctx.index.transaction("bench") as connection:
                connection.execute("INSERT OR REPLACE INTO meta VALUES ('bench', ?)", (next(numbers),))

        victims, admission, durable = (_median(call, 5 * rounds) for call in (page, admit, empty))
    return [
        Row("a page of 256 victims in exact order, 1,000,000 rows", "5 ms", victims, 0.005, 1.0),
        Row("admission's transaction, 1,000,000 rows", "an empty durable one + 5 ms", admission, durable + 0.005, 1.0,
            f"{(admission - durable) * 1e3:.2f} ms over it"),
    ]  # fmt: skip


def _models(root: Path, number: int) -> None:
    for place in range(number):
        path = root / f"owner-{place // 100}" / "name" / f"file-{place}.bin"
        if not place % 100:
            path.parent.mkdir(parents=True)
        path.write_bytes(b"x" * 4096)


def _adopt(cache: ModelCache, number: int) -> None:
    """Rows and last uses for files that were written there, as downloads would have left them."""
    from model_cache.index.ledger import Ledger

    ctx = cache._ctx
    prepare(ctx)
    ledger = Ledger(ctx.index)
    for place in range(number):
        entry = Entry(f"owner-{place // 100}/name", f"file-{place}.bin")
        found = os.stat(entry.path(ctx.root))
        ledger.rebound(
            entry,
            Installed(found.st_ino, found.st_mtime_ns, 4096, 4096, "0" * 64),
            origin="download",
            etag="e",
            commit=None,
        )
        Path(ctx.places.used + entry.key).touch()
        Path(ctx.places.lock(entry.key)).touch()


def evicting(rounds: int) -> list[Row]:
    """10,000 files of 4 KiB: taken away with every test and durably, beside `rm -rf` of as many."""
    ours, theirs = [], []
    for _ in range(max(rounds // 3, 2)):
        with tempfile.TemporaryDirectory(prefix="model-cache-bench-") as folder:
            root = Path(folder) / "root"
            _models(root, _FILES)
            cache = ModelCache(root, min_idle=0)
            _adopt(cache, _FILES)
            os.sync()
            started = time.perf_counter()
            report = cache.gc(max_size=0)
            ours.append(time.perf_counter() - started)
            assert len(report.evicted) == _FILES, report.spared[:3]
            shutil.rmtree(root)
            _models(root, _FILES)
            os.sync()
            started = time.perf_counter()
            subprocess.run(["rm", "-rf", str(root)], check=True)
            theirs.append(time.perf_counter() - started)
    return [paired("evicting 10,000 files", "rm -rf of as many", series(ours), series(theirs), 4.0)]
