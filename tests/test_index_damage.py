"""The index is lost, cut, rotten, or older than the disk: no file is lost, no hit fails, no good file is accused (I6, I8)."""

import os
import random
import shutil
import sqlite3

import pytest
from support import REPO, Later, pattern
from verify_equipment import found, rot, snapshot

from model_cache import CacheFullError, ModelCache, StorageError
from model_cache.index import queries, rows
from model_cache.stats import allocated

BODIES = {name: name.encode() * 5000 for name in ("a.bin", "b.bin", "onnx/c.bin")}
HAND = "by/hand/x.bin"
VARIANTS = 30  # of flipped bits, each with a seed of its own


@pytest.fixture
def filled(hub, root):
    """A cache with three downloads, one of them pinned, and a file that somebody placed; all of it known to the index."""
    hub.add_repo(REPO, BODIES)
    cache = ModelCache(root, endpoint=hub.url, token=False, min_idle=0)
    for name in BODIES:
        cache.fetch(REPO, name)
    cache.pin(REPO, "a.bin")
    (root / HAND).parent.mkdir(parents=True)
    (root / HAND).write_bytes(b"placed")
    cache.reconcile()
    yield cache
    cache._ctx.index.close()


def index_of(root):
    """Where the index of a root is."""
    return root / ".model-cache" / "index.db"


def begin(root, hub):
    """A process that comes later, as far as the index is concerned."""
    return ModelCache(root, endpoint=hub.url, token=False, min_idle=0)


def lost(cache, hub, root):
    """The index is removed."""
    cache._ctx.index.close()
    index_of(root).unlink()


def lost_with_its_journal(cache, hub, root):
    """The index is removed, and so is all that SQLite put beside it."""
    cache._ctx.index.close()
    for path in (root / ".model-cache").glob("index.db*"):
        path.unlink()


def truncated(cache, hub, root):
    """The index is cut to nothing."""
    cache._ctx.index.close()
    os.truncate(index_of(root), 0)


def cut(cache, hub, root):
    """The index is cut in its middle."""
    cache._ctx.index.close()
    os.truncate(index_of(root), index_of(root).stat().st_size // 2)


def noise(cache, hub, root):
    """The index is filled with noise."""
    cache._ctx.index.close()
    index_of(root).write_bytes(random.Random(4).randbytes(index_of(root).stat().st_size))


def flipped(cache, hub, root):
    """Every page but the first is flipped."""
    cache._ctx.index.close()
    data = bytearray(index_of(root).read_bytes())
    data[4096:] = bytes(byte ^ 0x5A for byte in data[4096:])
    index_of(root).write_bytes(data)


def rolled_back(cache, hub, root):
    """The index is yesterday's: since then one file came, one was replaced by the Hub's newer one, one was removed."""
    cache._ctx.index.close()
    shutil.copy2(index_of(root), root.parent / "yesterday.db")
    cache._ctx.index.close()
    hub.add_repo(REPO, {**BODIES, "b.bin": b"newer" * 5000, "d.bin": b"came later"})
    cache.fetch(REPO, "b.bin", force=True)
    cache.fetch(REPO, "d.bin")
    cache.remove(REPO, "onnx/c.bin", force=True)
    cache._ctx.index.close()
    os.replace(root.parent / "yesterday.db", index_of(root))


def replaced_under_a_process(cache, hub, root):
    """Another root's index takes the place of this one's, while a process has it open."""
    assert cache.entries()
    other = ModelCache(root.parent / "other", endpoint=hub.url, token=False)
    other.fetch(REPO, "b.bin")
    other._ctx.index.close()
    os.replace(index_of(root.parent / "other"), index_of(root))


KINDS = [lost, lost_with_its_journal, truncated, cut, noise, flipped, rolled_back, replaced_under_a_process]


def check_hits(cache, root):
    """Every file that stands is handed out as it is."""
    for name in ("a.bin", "b.bin", "onnx/c.bin", "d.bin"):
        path = root / REPO / name
        if path.exists():
            before = path.read_bytes()
            assert cache.fetch(REPO, name).read_bytes() == before, name


@pytest.mark.parametrize("backup", [True, False], ids=["backup", "no backup"])
@pytest.mark.parametrize("kind", KINDS, ids=[kind.__name__ for kind in KINDS])
def test_an_index_that_is_lost_or_damaged_costs_nothing(filled, hub, root, kind, backup):
    """Hits go on, verify accuses nobody, gc takes nothing, reconcile enters everything, and verify then finds all right."""
    if backup:
        filled.gc()
    else:
        shutil.rmtree(root / ".model-cache" / "backup", ignore_errors=True)
    kind(filled, hub, root)
    before = snapshot(root)
    for cache in (filled, begin(root, hub)):
        check_hits(cache, root)
    if backup or kind not in (lost, lost_with_its_journal):
        assert found(begin(root, hub).verify()).keys() <= {"missing"}
    else:
        with pytest.raises(StorageError, match="nothing is recorded"):
            begin(root, hub).verify()
    filled.gc()
    check_hits(filled, root)
    begin(root, hub).reconcile()
    report = begin(root, hub).verify()
    assert (report.ok + report.rebound, found(report), report.untracked) == (len(before), {}, [])
    assert snapshot(root) == before
    ready = {row.path for row in queries.entries(filled._ctx.index) if row.state == "ready" and row.is_sealed}
    assert ready == before.keys()


@pytest.mark.parametrize("kind", KINDS, ids=[kind.__name__ for kind in KINDS])
def test_what_was_recorded_comes_back_with_the_backup(filled, hub, root, kind):
    """With a backup, commit and pin of a file that is as it was are known again after a reconcile."""
    filled.gc()
    commits = {row.path: row.commit for row in filled.entries()}
    kind(filled, hub, root)
    begin(root, hub).reconcile()
    known = {row.path: row for row in begin(root, hub).entries()}
    assert known[f"{REPO}/a.bin"].sha256 and known[HAND].sha256
    if kind is not replaced_under_a_process:
        assert known[f"{REPO}/a.bin"].commit == commits[f"{REPO}/a.bin"]
        assert known[f"{REPO}/a.bin"].pinned == 1


@pytest.mark.parametrize("kind", KINDS, ids=[kind.__name__ for kind in KINDS])
def test_damage_is_known_without_the_index(filled, hub, root, kind):
    """A file that was found rotten stays so, whatever becomes of the index: not served, not adopted as right, mended."""
    filled.gc()
    rot(filled.path(REPO, "a.bin"))
    assert found(filled.verify()) == {"corrupt": ["a.bin"]}
    kind(filled, hub, root)
    cache = begin(root, hub)
    assert not cache.is_cached(REPO, "a.bin")
    assert f"{REPO}/a.bin" not in cache.reconcile().adopted
    assert found(cache.verify())["corrupt"] == ["a.bin"]
    assert cache.fetch(REPO, "a.bin").read_bytes() == BODIES["a.bin"]


def flip(data, seed):
    """Flip one to thirty bits of an index, mostly where there is something written."""
    chance = random.Random(seed)
    for _ in range(chance.choice([1, 1, 1, 3, 30])):
        while True:
            at = chance.randrange(len(data))
            if data[at] or chance.random() < 0.02:
                break
        data[at] ^= 1 << chance.randrange(8)


@pytest.mark.parametrize("backup", [True, False], ids=["backup", "no backup"])
def test_bits_that_rot_in_the_index_accuse_nobody(filled, hub, root, backup):
    """Whichever bits flip: hits go on, no file is called corrupt or evicted for it, and reconcile makes it right."""
    if backup:
        filled.gc()
    filled._ctx.index.close()
    good = index_of(root).read_bytes()
    own, kept = root / ".model-cache", root.parent / "own"
    shutil.copytree(own, kept, copy_function=shutil.copy2)
    before = snapshot(root)
    for seed in range(VARIANTS):
        shutil.rmtree(own)
        shutil.copytree(kept, own, copy_function=shutil.copy2)
        data = bytearray(good)
        flip(data, seed)
        index_of(root).write_bytes(data)
        cache = begin(root, hub)
        check_hits(cache, root)
        assert found(cache.verify()).keys() <= {"missing"}, seed
        cache.gc(max_size="1TB")
        cache.reconcile()
        report = cache.verify()
        assert (report.ok + report.rebound, found(report)) == (len(before), {}), seed
        assert snapshot(root) == before, seed
        cache._ctx.index.close()


COLUMNS = [
    "origin",
    "size",
    "sha256",
    "etag",
    "commit",
    "ino",
    "mtime_ns",
    "filename",
    "repo",
    "path",
    "pinned",
    "seal",
]


@pytest.mark.parametrize("column", COLUMNS)
def test_a_row_that_rotted_gets_nobodys_file_evicted(filled, root, column):
    """An eviction goes by the seal: a file of which the row says something else than was written stays."""
    filled.unpin(REPO, "a.bin")
    filled._ctx.index.close()
    connection = sqlite3.connect(index_of(root), isolation_level=None)
    connection.create_function("seal", -1, rows.seal)
    (value,) = connection.execute(f'SELECT "{column}" FROM entries WHERE path = ?', (HAND,)).fetchone()
    rotten = f"{value[:-1]}~" if isinstance(value, str) else (value or 0) ^ 1
    connection.execute("DELETE FROM entries WHERE path <> ?", (HAND,))
    connection.execute(f'UPDATE entries SET "{column}" = ? WHERE path = ?', (rotten, HAND))
    connection.close()
    filled.gc(max_size=0)
    assert (root / HAND).read_bytes() == b"placed"


ROTTEN = {
    "totals": "UPDATE totals SET bytes = bytes + (1 << 45) WHERE state = 'ready'",
    "charged": "UPDATE entries SET charged = charged + (1 << 45) WHERE path LIKE '%a.bin'",
    "pinned": "UPDATE entries SET pinned = 0 WHERE pinned = 1",
}


@pytest.mark.parametrize("what", ROTTEN)
def test_what_is_counted_wrongly_evicts_nothing(filled, root, what):
    """One bit of a total, of what a row is charged or of its pin does not empty a cache that is within its budget."""
    filled._ctx.index.close()
    connection = sqlite3.connect(index_of(root), isolation_level=None)
    connection.execute(ROTTEN[what])
    connection.close()
    filled.gc(max_size=0 if what == "pinned" else "1TB")
    assert {path for path in BODIES if (root / REPO / path).exists()} >= (
        {"a.bin"} if what == "pinned" else BODIES.keys()
    )


def test_a_download_whose_index_was_lost_meanwhile_is_counted_by_the_next(hub, root):
    """Another process began a new index before the bytes had their name: the next admission looks what is on disk (I4)."""
    hub.add_repo(REPO, {name: pattern(size, size) for name, size in (("a", 200_000), ("b", 50_000), ("c", 200_001))})
    policy = {"endpoint": hub.url, "token": False, "max_size": 400_000, "min_idle": 0, "touch_interval": 0}
    lost = []

    def lose(step):
        if step == "publish:fsync-file" and not lost:
            lost.append(index_of(root).unlink())
            ModelCache(root, **policy).fetch(REPO, "b")

    ModelCache(root, step=lose, **policy).fetch(REPO, "a")
    cache = ModelCache(root, **policy)
    with pytest.raises(CacheFullError):
        cache.fetch(REPO, "c")
    assert cache.usage().all == sum(allocated(cache.path(REPO, name).stat()) for name in ("a", "b"))


def test_who_waits_for_room_looks_again_when_the_index_is_lost_meanwhile(hub, root):
    """What a new index does not know is counted before anybody who waited is admitted (I4)."""
    hub.add_repo(REPO, {name: pattern(150_000, number) for number, name in enumerate("abc")})
    policy = {"endpoint": hub.url, "token": False, "max_size": 400_000, "min_idle": "1h", "touch_interval": 0}

    class Losing(Later):
        """A clock during whose first wait the index goes."""

        def sleep(self, seconds):
            """Lose the index, once."""
            if not self.ahead:
                index_of(root).unlink()
            super().sleep(7200.0)

    for name in "ab":
        ModelCache(root, **policy).fetch(REPO, name)
    with pytest.raises(CacheFullError):
        ModelCache(root, clock=Losing(), **policy).fetch(REPO, "c")
    cache = ModelCache(root, **policy)
    assert cache.usage().all == sum(allocated(cache.path(REPO, name).stat()) for name in "ab")
