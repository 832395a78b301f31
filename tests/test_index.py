"""The index is disposable: whatever happens to it, hits go on and downloads succeed."""

import gc
import os
import sqlite3
import subprocess
import sys
from contextlib import contextmanager

import pytest
from support import FILE, REPO, Later, Told, finish, pattern

from model_cache import CacheFullError, DownloadError, IndexUnavailableError, ModelCache
from model_cache.index import queries, schema
from model_cache.index.handle import connect
from model_cache.stats import allocated

NAMES = ["a.json", "b.json", "c.json"]


@pytest.fixture
def filled(cache, hub):
    """A cache with one file."""
    hub.add_repo(REPO, {name: name.encode() for name in NAMES})
    cache.fetch(REPO, "a.json")
    return cache


def test_a_database_that_cannot_be_opened_says_so_once(tmp_path):
    """What is left of the connection that came to nothing prints no traceback when it is collected."""
    with pytest.raises(sqlite3.OperationalError, match="unable to open"):
        connect(f"file:{tmp_path}/none/index.sqlite3?mode=ro", timeout=0.0)
    gc.collect()


def damage(index, kind):
    """Do to an index what disks and people do."""
    if kind == "missing":
        index.unlink()
    elif kind == "empty":
        index.write_bytes(b"")
    elif kind == "noise":
        index.write_bytes(os.urandom(20_000))
    elif kind == "flipped pages":
        data = bytearray(index.read_bytes())
        data[4096:] = bytes(byte ^ 0x5A for byte in data[4096:])
        index.write_bytes(data)
    elif kind == "a directory":
        index.unlink()
        index.mkdir()


@pytest.mark.parametrize("kind", ["missing", "empty", "noise", "flipped pages"])
def test_a_damaged_index_is_set_aside_and_the_download_succeeds(filled, hub, root, kind):
    """Hits need no index; a download makes a new one, and keeps the damaged one for whoever wants to look (I8)."""
    index = root / ".model-cache" / "index.db"
    damage(index, kind)
    fresh = ModelCache(root, endpoint=hub.url, token=False)
    assert fresh.fetch(REPO, "a.json").read_bytes() == b"a.json"
    assert fresh.fetch(REPO, "b.json").read_bytes() == b"b.json"
    assert "b.json" in [row.filename for row in queries.entries(fresh._ctx.index)]
    aside = [name for name in os.listdir(index.parent) if name.startswith("index.db.damaged")]
    assert bool(aside) == (kind in ("noise", "flipped pages"))


def test_an_index_that_cannot_be_used_costs_a_warning(filled, hub, root):
    """With no budget a download goes on without the index, and says so; hits say nothing."""
    damage(root / ".model-cache" / "index.db", "a directory")
    listening = Told()
    fresh = ModelCache(root, endpoint=hub.url, token=False)
    assert fresh.fetch(REPO, "a.json", progress=listening).exists()
    assert listening.warnings == []
    assert fresh.fetch(REPO, "b.json", progress=listening).read_bytes() == b"b.json"
    assert len(listening.warnings) == 1 and "index" in listening.warnings[0]


@contextmanager
def unwritable(root):
    """For the block the index can be read, and not written: nobody can take its lock."""
    lock = root / ".model-cache" / "index.lock"
    kept = lock.read_bytes()
    lock.unlink()
    lock.mkdir()
    try:
        yield
    finally:
        lock.rmdir()
        lock.write_bytes(kept)


def test_what_a_download_did_without_the_index_is_entered_by_reconcile(cache, hub, root):
    """A resumed file, of which the index still says that it is a partial, gets its row with the next reconcile (I5)."""
    hub.add_repo(REPO, {FILE: pattern(3_000_000)})
    hub.fault(FILE, "cut", at=0.5, times=None)
    with pytest.raises(DownloadError):
        ModelCache(root, endpoint=hub.url, token=False, clock=Later()).fetch(REPO, FILE)
    hub.clear_faults()
    assert cache.entries()[0].state == "partial"
    with unwritable(root):
        path = cache.fetch(REPO, FILE)
    assert cache.entries()[0].state == "partial"
    assert cache.reconcile().adopted == [f"{REPO}/{FILE}"]
    assert [row.state for row in cache.entries()] == ["ready"]
    assert cache.usage().all == allocated(path.stat())
    assert cache.verify().ok == 1


@pytest.mark.parametrize("other", ["owner/aaa", "owner/zzz"])
def test_another_name_of_a_file_that_is_known_counts_nothing(cache, hub, root, other):
    """A link that the index could not be told of is entered with nothing to charge, whichever name comes first (I4)."""
    for repo in (REPO, other):
        hub.add_repo(repo, {FILE: pattern(300_000)})
    path = cache.fetch(REPO, FILE)
    with unwritable(root):
        assert cache.fetch(other, FILE).samefile(path)
    assert cache.reconcile().adopted == [f"{other}/{FILE}"]
    assert cache.usage().all == allocated(path.stat())


@pytest.mark.parametrize("how", ["force", "update"])
def test_nothing_is_replaced_without_its_row(filled, hub, root, how):
    """Or the new file would be taken for an edit of the old one: it is refused, and done once the index can be written."""
    path = filled.path(REPO, "a.json")
    hub.add_repo(REPO, {name: name.upper().encode() for name in NAMES})

    def replace():
        return filled.update(REPO) if how == "update" else filled.fetch(REPO, "a.json", force=True)

    with unwritable(root):
        with pytest.raises(IndexUnavailableError, match=r"a\.json is not replaced .*index\.db"):
            replace()
        assert path.read_bytes() == b"a.json"
        assert hub.body_gets("a.json") == 1
    replace()
    assert path.read_bytes() == b"A.JSON"


def test_a_replacement_whose_end_cannot_be_written_down_is_settled_by_the_next(filled, hub, root):
    """From the rename on nothing is undone: the index is told by whoever takes the write lock next (I10)."""
    hub.add_repo(REPO, {"a.json": b"new bytes"})
    lock = root / ".model-cache" / "index.lock"

    def close(step):
        if step == "replace:fsync-directory":
            lock.unlink()
            lock.mkdir()

    cache = ModelCache(root, endpoint=hub.url, token=False, step=close)
    assert cache.fetch(REPO, "a.json", force=True).read_bytes() == b"new bytes"
    lock.rmdir()
    assert filled.fetch(REPO, "a.json", force=True).read_bytes() == b"new bytes"
    assert [(row.state, row.next_state) for row in filled.entries()] == [("ready", None)]


def test_nothing_is_replaced_that_the_index_cannot_be_told_of(filled, hub, root):
    """The new file would be taken for somebody's own from then on: the old one stays, and the error says why (I5)."""
    hub.add_repo(REPO, {"a.json": b"moved"})
    index = root / ".model-cache" / "index.db"

    def break_index(step):
        if step == "publish:fsync-file":
            index.rename(root / "index.db")
            index.mkdir()

    with pytest.raises(IndexUnavailableError, match=r"a\.json is not replaced while that cannot be written down"):
        ModelCache(root, endpoint=hub.url, token=False, step=break_index).fetch(REPO, "a.json", force=True)
    assert (root / REPO / "a.json").read_bytes() == b"a.json"
    index.rmdir()
    (root / "index.db").rename(index)
    assert ModelCache(root, endpoint=hub.url, token=False).fetch(REPO, "a.json", force=True).read_bytes() == b"moved"


def test_under_a_budget_an_index_that_cannot_be_used_fails_a_miss_and_names_it(filled, hub, root):
    """What cannot be counted is not downloaded under a max_size; hits go on."""
    damage(root / ".model-cache" / "index.db", "a directory")
    fresh = ModelCache(root, endpoint=hub.url, token=False, max_size="1GB")
    assert fresh.fetch(REPO, "a.json").exists()
    with pytest.raises(CacheFullError, match=r"index\.db"):
        fresh.fetch(REPO, "b.json")
    assert not fresh.is_cached(REPO, "b.json")


def test_an_index_locked_by_a_foreign_program_does_not_fail_a_download(filled, hub, root):
    """A program that holds SQLite's lock for good costs the wait and a warning."""
    foreign = sqlite3.connect(root / ".model-cache" / "index.db", isolation_level=None)
    foreign.execute("BEGIN EXCLUSIVE")
    listening = Told()
    try:
        fresh = ModelCache(root, endpoint=hub.url, token=False)
        assert fresh.fetch(REPO, "b.json", progress=listening).exists()
    finally:
        foreign.close()
    assert "locked" in listening.warnings[0]


def test_a_newer_schema_is_refused_politely(filled, root):
    """An index of a later version is neither written nor set aside, and the error says which version is needed."""
    connection = sqlite3.connect(root / ".model-cache" / "index.db")
    connection.execute(f"PRAGMA user_version = {schema.VERSION + 1}")
    connection.close()
    with pytest.raises(IndexUnavailableError, match="newer model-cache") as caught:
        queries.entries(ModelCache(root)._ctx.index)
    assert "upgrade" in caught.value.hint
    assert [name for name in os.listdir(root / ".model-cache") if "damaged" in name and "index" in name] == []


def test_an_index_replaced_under_a_running_process_is_opened_again(filled, root, hub):
    """A process that lives on after somebody replaced the index writes into the new one."""
    (root / ".model-cache" / "index.db").unlink()
    filled.fetch(REPO, "b.json")
    assert [row.filename for row in queries.entries(ModelCache(root)._ctx.index)] == ["b.json"]


def test_the_totals_are_the_sums_of_the_rows(filled, hub):
    """The running totals that admission reads agree with the rows they sum up."""
    for name in NAMES:
        filled.fetch(REPO, name)
    found = queries.totals(filled._ctx.index)
    rows = queries.entries(filled._ctx.index)
    assert (found.files, found.ready) == (3, sum(row.charged for row in rows))
    assert (found.reserved, found.partial, found.deleting) == (0, 0, 0)


def test_the_views_answer_what_people_ask(filled, root):
    """The sqlite-utils command shows sizes by repo from a copy of the index."""
    program = [sys.executable, "-m", "sqlite_utils", "rows", str(root / ".model-cache" / "index.db"), "size_by_repo"]
    done = subprocess.run(program, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert '"files": 1' in done.stdout and f'"repo": "{REPO}"' in done.stdout


def test_hostile_rows_are_not_turned_into_paths(filled, root):
    """A row whose names do not pass the gate, or do not make its path, stands for no entry."""
    connection = sqlite3.connect(root / ".model-cache" / "index.db")
    connection.execute("UPDATE entries SET filename = '../../etc/passwd', path = '../../etc/passwd'")
    connection.commit()
    connection.close()
    (row,) = queries.entries(filled._ctx.index)
    assert row.entry() is None


def test_a_crash_at_any_step_of_a_download_is_recovered_by_the_next_one(hub, root, spawn):
    """Killed before each named step in turn, the next process ends with the right bytes, one row and no leftovers (I10)."""
    hub.add_repo(REPO, {FILE: bytes(2_000_000)})
    steps = finish(
        spawn(
            f"""
            steps = []
            ModelCache(arguments["root"] + "-steps", endpoint=arguments["endpoint"], step=steps.append).fetch("{REPO}", "{FILE}")
            print(json.dumps(steps))
            """
        )
    )
    count = len(__import__("json").loads(steps))
    assert count >= 10
    code = f"""
    import itertools, signal
    for number in range({count}):
        place = arguments["root"] + str(number)
        steps = itertools.count()
        def die(step):
            if next(steps) == number:
                os.kill(os.getpid(), signal.SIGKILL)
        pid = os.fork()
        if pid == 0:
            ModelCache(place, endpoint=arguments["endpoint"], step=die).fetch("{REPO}", "{FILE}")
            os._exit(0)
        assert os.waitpid(pid, 0)[1] == signal.SIGKILL, number
    print("killed")
    """
    assert finish(spawn(code)) == "killed"
    for number in range(count):
        place = f"{root}{number}"
        again = ModelCache(place, endpoint=hub.url, token=False)
        assert again.fetch(REPO, FILE).read_bytes() == bytes(2_000_000)
        again.fetch(REPO, FILE, force=True)
        rows = queries.entries(again._ctx.index)
        assert [(row.state, row.next_state) for row in rows] == [("ready", None)], number
        assert os.listdir(f"{place}/.model-cache/partial") == [], number
