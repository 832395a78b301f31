"""Lock files from Python: what is returned, and what holds when others are at work or something was lost."""

import hashlib
import threading

import pytest
from support import REPO, pattern
from verify_equipment import snapshot

from model_cache import (
    LockFileError,
    LockTimeoutError,
    ModelCache,
    OfflineMissError,
    SettingError,
    StorageError,
)
from model_cache.clock import Clock
from model_cache.index.ledger import Ledger
from model_cache.lockfile.files import read
from model_cache.lockfile.format import dump
from model_cache.progress import Progress

BIG, SMALL = "model.bin", "onnx/config.json"
BYTES = {BIG: pattern(1_500_000), SMALL: b"{}"}
MOVED = {BIG: pattern(1_500_000, 1), SMALL: b"[]"}


class Halt(BaseException):
    """Ends an operation as an interrupt does."""


@pytest.fixture
def lockfile(hub, tmp_path):
    """A lock file of a repo with a large and a small file, made on another machine."""
    hub.add_repo(REPO, BYTES)
    path = tmp_path / "models.lock"
    ModelCache(tmp_path / "elsewhere", endpoint=hub.url, token=False).lock(REPO, output=path)
    hub.reset()
    return path


def stands(root):
    """{name: bytes} of the repo's files."""
    return {path.removeprefix(f"{REPO}/"): data for path, data in snapshot(root).items() if path.startswith(REPO)}


def test_lock_returns_what_it_writes(cache, hub, tmp_path):
    """Each file with its names, commit, size and hashes; without an output nothing is written but what was fetched."""
    commit = hub.add_repo(REPO, BYTES)
    files = cache.lock(REPO, include=["*.bin", "onnx/"])
    assert [(file.entry.filename, file.commit, file.size) for file in files] == [
        (BIG, commit, 1_500_000),
        (SMALL, commit, 2),
    ]
    assert [file.sha256 for file in files] == [hashlib.sha256(data).hexdigest() for data in BYTES.values()]
    assert files[0].git_sha1 is None and files[1].etag == files[1].git_sha1
    assert cache.lock(REPO, output=tmp_path / "models.lock") == files
    assert (tmp_path / "models.lock").read_text() == dump(files)


def test_sync_reports_how_each_file_came(cache, lockfile):
    """A dry run has nothing to show of what it would fetch; then downloads, then hits."""
    assert [outcome for _, outcome in cache.sync(lockfile, dry_run=True).files] == [None, None]
    assert not cache.root.exists()
    report = cache.sync(lockfile)
    assert [outcome.source for _, outcome in report.files] == ["download", "download"]
    assert (report.downloaded, report.replaced) == (1_500_002, [])
    assert [outcome.source for _, outcome in cache.sync(lockfile).files] == ["hit", "hit"]


def test_the_etag_stays_what_update_compares(cache, lockfile, hub):
    """After a sync an update finds everything current: the row has git's name of a small file as its etag."""
    cache.sync(lockfile)
    (report,) = cache.update(REPO)
    assert (len(report.current), report.updated) == (2, [])
    hub.add_repo(REPO, {**BYTES, SMALL: b"[]"})
    (report,) = cache.update(REPO)
    assert [row.filename for row in report.updated] == [SMALL]


def test_a_lost_index_costs_a_hash_and_no_download(cache, lockfile, root, hub):
    """What nothing is recorded of is hashed; right bytes are right (I8)."""
    cache.sync(lockfile)
    (root / ".model-cache" / "index.db").unlink()
    hub.reset()
    seen = []
    report = ModelCache(root, endpoint=hub.url, token=False, step=seen.append).sync(lockfile)
    assert [outcome.source for _, outcome in report.files] == ["hit", "hit"]
    assert (seen.count("sync:hash"), hub.count()) == (2, 0)
    seen.clear()
    ModelCache(root, endpoint=hub.url, token=False, step=seen.append).reconcile()
    ModelCache(root, endpoint=hub.url, token=False, step=seen.append).sync(lockfile)
    assert "sync:hash" not in seen


def test_a_read_only_root_that_has_all_is_in_sync(cache, lockfile, root, hub):
    """Nothing is written where nothing is lacking; what is lacking is a miss."""
    cache.sync(lockfile)
    before = sorted((str(path), path.stat().st_mtime_ns) for path in root.rglob("*"))
    reader = ModelCache(root, endpoint=hub.url, token=False, read_only=True)
    assert len(reader.sync(lockfile).files) == 2
    assert sorted((str(path), path.stat().st_mtime_ns) for path in root.rglob("*")) == before
    (root / REPO / SMALL).unlink()
    with pytest.raises(OfflineMissError):
        reader.sync(lockfile)


def test_what_reconcile_adopted_is_the_caches_own(cache, lockfile, root):
    """Somebody's other bytes are left alone until reconcile took them over; from then on they are replaced."""
    (root / REPO).mkdir(parents=True)
    (root / REPO / BIG).write_bytes(b"mine")
    with pytest.raises(StorageError, match=r"somebody did, or changed them; nothing was changed"):
        cache.sync(lockfile)
    cache.reconcile(rebuild=True)
    report = cache.sync(lockfile)
    assert [file.entry.filename for file in report.replaced] == [BIG]
    assert stands(root) == BYTES


def test_nobody_downloads_what_another_sync_just_replaced(cache, lockfile, root, hub):
    """Who looked before another process replaced a file, and has its lock after that, finds it right (I2)."""
    hub.add_repo(REPO, MOVED)
    for name in MOVED:
        cache.fetch(REPO, name)
    hub.reset()
    other = ModelCache(root, endpoint=hub.url, token=False)
    raced, one_at_a_time = [], threading.Lock()

    def race(step):
        if step == "lock:write":
            with one_at_a_time:  # The other files' threads too stop here until the other sync is done.
                if not raced:
                    raced.append(other.sync(lockfile))

    report = ModelCache(root, endpoint=hub.url, token=False, step=race).sync(lockfile)
    assert [outcome.source for _, outcome in raced[0].files] == ["download", "download"]
    assert [outcome.source for _, outcome in report.files] == ["hit", "hit"]
    assert [hub.body_gets(name) for name in BYTES] == [1, 1]
    assert stands(root) == BYTES


class Closing(Clock):
    """A clock during whose first wait somebody closes a file."""

    def __init__(self, file):
        self.file, self.waits = file, 0

    def sleep(self, _seconds):
        """Close it."""
        self.waits += 1
        self.file.close()


def test_who_has_a_file_open_for_a_moment_fails_no_sync(cache, lockfile, root, hub):
    """Other bytes that are open when they are to be replaced are tried once more: another sync looks at them for a moment."""
    hub.add_repo(REPO, MOVED)
    path = cache.fetch(REPO, BIG)
    hub.reset()
    clock = Closing(path.open("rb"))
    ModelCache(root, endpoint=hub.url, token=False, clock=clock).sync(lockfile)
    assert clock.waits == 1
    assert hub.body_gets(BIG) == 1
    assert stands(root) == BYTES


def test_a_small_file_that_goes_before_it_is_hashed_is_fetched_again(cache, hub, root):
    """What is fetched to be hashed may be taken away in between; it is had once more."""
    hub.add_repo(REPO, BYTES)
    small, taken = root / REPO / SMALL, []

    class Taking(Progress):
        def finished(self):
            if small.exists() and not taken:
                taken.append(small.read_bytes())
                small.unlink()

    files = cache.lock(REPO, progress=Taking())
    assert taken == [BYTES[SMALL]] and hub.body_gets(SMALL) == 2
    assert files[1].sha256 == hashlib.sha256(BYTES[SMALL]).hexdigest()


def test_a_file_that_an_evictor_has_claimed_is_not_somebodys_own(lockfile, root, hub):
    """Other bytes whose row says `deleting` for a moment are this cache's, and are replaced (I10)."""
    hub.add_repo(REPO, MOVED)
    ModelCache(root, endpoint=hub.url, token=False).fetch(REPO, BIG)
    seen = []

    def look(step):
        if step == "evict:lease":
            seen.extend(ModelCache(root, endpoint=hub.url, token=False).sync(lockfile, dry_run=True).replaced)

    ModelCache(root, endpoint=hub.url, token=False, min_idle=0, step=look).gc(max_size=0)
    assert [file.entry.filename for file in seen] == [BIG]


@pytest.mark.parametrize(
    ("step", "moved"),
    [
        ("publish:fsync-directory", False),
        ("row:ready", False),
        ("row:ready", True),
        ("replace:rename", True),
        ("replace:fsync-directory", True),
    ],
)
def test_what_a_dead_sync_left_is_not_somebodys_own(lockfile, root, hub, cache, step, moved):
    """Killed between a name and its row, the next sync knows the file for this cache's, and ends well (I10)."""
    if moved:
        hub.add_repo(REPO, MOVED)
        for name in MOVED:
            cache.fetch(REPO, name)

    def halt(name):
        if name == step:
            raise Halt

    with pytest.raises(Halt):
        ModelCache(root, endpoint=hub.url, token=False, step=halt).sync(lockfile)
    report = ModelCache(root, endpoint=hub.url, token=False).sync(lockfile)
    assert len(report.files) == 2 and stands(root) == BYTES


def test_other_bytes_that_two_lock_files_want_end_in_an_error(cache, lockfile, root, hub, tmp_path):
    """Two syncs of different lock files into one root do not go on for ever."""
    hub.add_repo(REPO, MOVED)
    quarrel = tmp_path / "other.lock"
    cache.lock(REPO, output=quarrel)
    other = ModelCache(root, endpoint=hub.url, token=False)

    def fight(step):
        if step == "lock:write":
            other.sync(quarrel)

    mine = ModelCache(root, endpoint=hub.url, token=False, step=fight)
    with pytest.raises(LockTimeoutError, match="did not keep the bytes of the lock file: another program replaces"):
        mine.sync(lockfile)


def test_a_crash_leaves_the_lock_file_before(cache, lockfile, hub):
    """Until the new one is whole the old one stands there."""
    before = lockfile.read_bytes()
    hub.add_repo(REPO, MOVED)

    def halt(name):
        if name == "lockfile:write":
            raise Halt

    with pytest.raises(Halt):
        ModelCache(cache.root, endpoint=hub.url, token=False, step=halt).lock(REPO, output=lockfile)
    assert lockfile.read_bytes() == before
    assert len(cache.lock(REPO, output=lockfile)) == 2 and lockfile.read_bytes() != before


def test_verify_lock_reports_by_class(cache, lockfile, root):
    """Other bytes, missing and unnamed files, and what exit code that is."""
    cache.sync(lockfile)
    report = cache.verify_lock(lockfile)
    assert (report.checked, report.ok, report.failed, report.exit_code()) == (2, 2, [], 0)
    (root / REPO / "more.bin").write_bytes(b"1")
    report = cache.verify_lock(lockfile)
    assert (report.untracked, report.exit_code(), report.exit_code(strict=True)) == ([f"{REPO}/more.bin"], 0, 3)
    (root / REPO / BIG).write_bytes(b"other")
    (root / REPO / SMALL).unlink()
    report = cache.verify_lock(lockfile, rate="1GB", jobs=2, direct=True)
    assert [one.file.entry.filename for one in report.changed] == [BIG]
    assert [one.file.entry.filename for one in report.missing] == [SMALL]
    assert report.exit_code() == 3


def test_a_commit_is_not_noted_of_a_file_that_changed(cache, hub, lockfile):
    """A row that speaks of another file by now keeps the commit that this one came from."""
    cache.sync(lockfile)
    (row,) = [row for row in cache.entries() if row.filename == SMALL]
    ledger = Ledger(cache._ctx.index)
    ledger.at_commit([row._replace(ino=row.ino + 1)], "f" * 40)
    assert {row.commit for row in cache.entries()} == {read(lockfile)[0].commit}
    ledger.at_commit([row], "f" * 40)
    changed = next(row for row in cache.entries() if row.filename == SMALL)
    assert changed.commit == "f" * 40 and changed.is_sealed


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"repo": None}, "repo: expected the name of a repo, or from_cache"),
        (
            {"repo": None, "from_cache": True, "revision": "v1"},
            "repo: expected the name of a repo with files, a revision or",
        ),
        ({"repo": REPO, "include": 5}, "include: expected patterns as texts, found 5"),
        ({"repo": REPO, "used_within": "30d"}, "used_within: expected together with from_cache"),
        ({"repo": REPO, "used_within": "soon", "from_cache": True}, "used_within: expected a duration"),
        ({"repo": REPO, "workers": 0}, "workers: expected a whole number from 1 to 64, found 0"),
    ],
)
def test_arguments_that_cannot_be_meant_are_refused(cache, hub, arguments, message):
    """Before anything is asked or written."""
    with pytest.raises(SettingError, match=message):
        cache.lock(**arguments)
    assert hub.count() == 0 and not cache.root.exists()


def test_a_lock_file_that_is_not_there_is_an_error_of_the_family(cache, tmp_path):
    """Of each of the three that read one."""
    for call in (cache.sync, cache.verify_lock):
        with pytest.raises(LockFileError, match=r"none\.lock: No such file or directory"):
            call(tmp_path / "none.lock")
