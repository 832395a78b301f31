"""`verify --repair`: damaged files get their recorded bytes again, and what was damaged is kept aside."""

import mmap
import os
import shutil

import pytest
from support import FILE, REPO, Later, finish, pattern
from verify_equipment import Told, found, rot

from model_cache import IntegrityError, ModelCache, StorageError
from model_cache.index import quarantine

SIZE = 300_000
WHOLE = pattern(SIZE)


@pytest.fixture
def damaged(cache, hub):
    """A cache with one file, a byte of which has rotted; the Hub has it."""
    hub.add_repo(REPO, {FILE: WHOLE})
    rot(cache.fetch(REPO, FILE), 1000)
    hub.reset()
    return cache


def aside(cache):
    """What is in quarantine, by the index; the files and the sum of the charges agree with it."""
    rows = quarantine.listed(cache._ctx.index)
    assert sorted(row.name for row in rows) == sorted(os.listdir(cache.root / ".model-cache" / "quarantine"))
    assert cache.usage().quarantined == sum(row.charged for row in rows)
    return rows


def test_a_repair_brings_the_recorded_bytes_of_the_recorded_commit(damaged, hub):
    """Though the repo has moved on, the bytes that come are those that were recorded, and the damaged ones are kept."""
    (before,) = damaged.entries()
    hub.add_repo(REPO, {FILE: pattern(SIZE, 7)})
    report = damaged.verify(repair=True)
    assert (found(report), [row.filename for row in report.repaired], report.exit_code()) == (
        {"corrupt": [FILE]},
        [FILE],
        4,
    )
    assert damaged.path(REPO, FILE).read_bytes() == WHOLE
    (row,) = damaged.entries()
    assert (row.sha256, row.commit, row.verdict) == (before.sha256, before.commit, "ok")
    (kept,) = aside(damaged)
    assert (kept.ino, kept.mended, kept.charged) == (before.ino, 1, before.charged)
    assert (damaged.root / ".model-cache" / "quarantine" / kept.name).read_bytes() != WHOLE
    assert os.listdir(damaged.root / ".model-cache" / "damaged") == []
    assert damaged.verify().exit_code() == 0


def test_who_has_the_file_mapped_is_not_disturbed(damaged):
    """A leased, mapped file is repaired beside its readers: they keep the old bytes, whoever opens it next has the new."""
    with damaged.open(REPO, FILE) as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as view:
        old = view[:]
        assert damaged.verify(repair=True).exit_code() == 4
        assert view[:] == old != WHOLE
        assert damaged.path(REPO, FILE).read_bytes() == WHOLE


def test_what_the_hub_does_not_have_any_more_is_quarantined_alone(damaged, hub):
    """The damaged file leaves its path and is reported by every run, until a fetch brings the Hub's current bytes."""
    (row,) = damaged.entries()
    hub.add_repo(REPO, {FILE: pattern(SIZE, 7)})
    with damaged._ctx.index.transaction("test:commit") as connection:
        connection.execute('UPDATE entries SET "commit" = ?', ("0" * 40,))
        connection.execute(
            'UPDATE entries SET seal = seal(key, origin, size, sha256, etag, "commit", ino, mtime_ns, pinned)'
        )
    told = Told()
    report = damaged.verify(repair=True, progress=told)
    assert (report.exit_code(), report.repaired, [one.filename for one in report.quarantined]) == (3, [], [FILE])
    assert any("the Hub has other bytes than were recorded" in warning for warning in told.warnings)
    assert not damaged.path(REPO, FILE).exists() and damaged.entries() == []
    (kept,) = aside(damaged)
    assert (kept.mended, kept.charged, damaged.usage().all) == (0, row.charged, row.charged)
    assert damaged.verify().exit_code() == 3
    assert damaged.fetch(REPO, FILE).read_bytes() == pattern(SIZE, 7)
    assert damaged.verify().exit_code() == 0
    assert [one.mended for one in aside(damaged)] == [1]


def test_a_file_in_use_that_cannot_be_mended_stays(damaged, hub):
    """Where nothing can take its place, a damaged file is not taken from under a running program."""
    hub.add_repo(REPO, {FILE: pattern(SIZE, 7)})
    with damaged._ctx.index.transaction("test:commit") as connection:
        connection.execute('UPDATE entries SET "commit" = ?', ("0" * 40,))
        connection.execute(
            'UPDATE entries SET seal = seal(key, origin, size, sha256, etag, "commit", ino, mtime_ns, pinned)'
        )
    with damaged.path(REPO, FILE).open("rb"):
        report = damaged.verify(repair=True)
    assert (report.exit_code(), type(report.errors[0][1]).__name__) == (3, "InUseError")
    assert damaged.path(REPO, FILE).exists() and aside(damaged) == []


def test_without_the_hub_damage_stays_as_it_is(damaged, root):
    """Nothing is moved while nothing can be fetched: the file stays, marked, and the run fails."""
    for settings in ({"endpoint": "http://127.0.0.1:9"}, {"offline": True}):
        cache = ModelCache(root, token=False, **settings)
        report = cache.verify(repair=True)
        assert (report.exit_code(), len(report.errors), found(report)) == (3, 1, {"corrupt": [FILE]})
    assert damaged.path(REPO, FILE).exists() and aside(damaged) == []
    assert damaged.verify(repair=True).exit_code() == 4


def test_an_edit_is_not_repaired_unasked(cache, hub):
    """What somebody changed is reported, never replaced, moved or removed."""
    hub.add_repo(REPO, {FILE: WHOLE})
    cache.fetch(REPO, FILE).write_bytes(b"mine")
    report = cache.verify(repair=True)
    assert (found(report), report.repaired, report.exit_code()) == ({"changed": [FILE]}, [], 3)
    assert cache.path(REPO, FILE).read_bytes() == b"mine" and aside(cache) == []


def test_what_was_placed_by_hand_never_enters_quarantine(root, cache, hub):
    """A damaged file that was adopted is replaced if the Hub has its recorded bytes, else left alone and named."""
    hub.add_repo(REPO, {FILE: pattern(SIZE, 7)})
    path = root / "owner" / "name" / FILE
    path.parent.mkdir(parents=True)
    path.write_bytes(WHOLE)
    cache.reconcile(rebuild=True)
    rot(path)
    rotten = path.read_bytes()
    report = cache.verify(repair=True)
    assert (report.exit_code(), "placed by hand" in str(report.errors[0][1])) == (3, True)
    with pytest.raises(StorageError, match="placed by hand"):
        cache.fetch(REPO, FILE)
    assert path.read_bytes() == rotten and aside(cache) == []
    hub.add_repo(REPO, {FILE: WHOLE})
    assert cache.verify(repair=True).exit_code() == 4
    assert path.read_bytes() == WHOLE and aside(cache) == []


def test_another_entry_with_the_same_bytes_is_enough(cache, hub):
    """Where the cache has the recorded bytes elsewhere, and they hash right, nothing is downloaded."""
    hub.add_repo(REPO, {FILE: WHOLE})
    hub.add_repo("owner/fork", {FILE: WHOLE})
    path = cache.fetch(REPO, FILE)
    own = path.with_suffix(".copy")
    shutil.copy2(path, own)
    cache.fetch("owner/fork", FILE)
    own.rename(path)  # the two names are two files now
    cache.verify()
    rot(path)
    hub.reset()
    assert cache.verify(repair=True).exit_code() == 4
    assert path.read_bytes() == WHOLE and hub.body_gets(FILE) == 0


def test_quarantine_counts_and_ages_out(root, hub):
    """Damaged bytes are charged against the budget until gc lets them go after thirty days."""
    clock = Later()
    cache = ModelCache(root, endpoint=hub.url, token=False, clock=clock)
    hub.add_repo(REPO, {FILE: WHOLE})
    rot(cache.fetch(REPO, FILE))
    cache.verify(repair=True)
    (row,) = cache.entries()
    assert cache.usage().all == 2 * row.charged
    clock.ahead += 29 * 86400
    assert cache.gc().quarantine_removed == 0
    clock.ahead += 2 * 86400
    report = cache.gc()
    assert (report.quarantine_removed, report.freed_bytes, aside(cache)) == (1, row.charged, [])
    assert cache.usage().all == row.charged


def test_where_both_do_not_fit_the_damaged_bytes_are_dropped(root, hub):
    """Under a budget with room for one of them the file is mended, nothing is kept aside, and that is said."""
    cache = ModelCache(root, endpoint=hub.url, token=False, max_size=SIZE + 100_000)
    hub.add_repo(REPO, {FILE: WHOLE})
    rot(cache.fetch(REPO, FILE))
    told = Told()
    assert cache.verify(repair=True, progress=told).exit_code() == 4
    assert cache.path(REPO, FILE).read_bytes() == WHOLE and aside(cache) == []
    assert any("dropped to make room, not kept in quarantine" in warning for warning in told.warnings)
    assert cache.usage().all == sum(row.charged for row in cache.entries())


def test_quarantine_gives_way_to_a_download(root, hub):
    """Before a download fails for want of room, what is in quarantine goes, the oldest first."""
    cache = ModelCache(root, endpoint=hub.url, token=False, max_size=2 * SIZE + 100_000, min_idle="1h")
    hub.add_repo(REPO, {FILE: WHOLE, "other.bin": pattern(SIZE, 3)})
    rot(cache.fetch(REPO, FILE))
    assert cache.verify(repair=True).exit_code() == 4 and len(aside(cache)) == 1
    assert cache.fetch(REPO, "other.bin").read_bytes() == pattern(SIZE, 3)
    assert aside(cache) == [] and cache.usage().files == 2


# A file is opened by its name in its directory, and then met by its whole path.
TRACE = "strace -f -qq -e trace={calls} -P {path} -P {path.name} -e inject={calls}:error=EIO:when={when} -o /dev/null"
READS = "preadv,preadv2"
VERIFY = """
from model_cache.progress import Progress
class Told(Progress):
    def verified(self, path, verdict):
        print(verdict, flush=True)
    def warning(self, message):
        print(message, flush=True)
print(cache.verify(jobs=1, progress=Told()).exit_code())
"""


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
@pytest.mark.parametrize(
    ("fails", "when", "lines"),
    [
        (READS, "1", ["was read wrongly once", "ok", "0"]),
        (READS, "1+", ["unreadable", "3"]),
        ("openat", "1", ["ok", "0"]),
        ("openat", "1+", ["unreadable", "3"]),
    ],
)
def test_a_read_that_fails_once_accuses_nobody(cache, hub, spawn, fails, when, lines):
    """After one EIO the file is opened or read again and is right; what goes on failing is unreadable, and not served."""
    hub.add_repo(REPO, {FILE: WHOLE})
    path = cache.fetch(REPO, FILE)
    out = finish(spawn(VERIFY, tracer=TRACE.format(calls=fails, path=path, when=when))).splitlines()
    assert [want in line for want, line in zip(lines, out, strict=True)] == [True] * len(lines), out
    assert cache.is_cached(REPO, FILE) is (when == "1")
    assert cache.verify().exit_code() == 0  # the disk gives the bytes again
    assert cache.is_cached(REPO, FILE)


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
def test_without_flock_nothing_is_repaired(damaged, spawn):
    """Where the file system has no locks verify reads and judges, and repair is refused with the reason."""
    code = """
    print(cache.verify().exit_code())
    report = cache.verify(repair=True)
    print(report.exit_code(), report.errors[0][1])
    """
    trace = "strace -f -qq -e trace=flock -e inject=flock:error=ENOSYS -o /dev/null"
    first, second = finish(spawn(code, tracer=trace)).splitlines()
    assert (first, second[:2], "has no file locks" in second) == ("3", "3 ", True)
    assert damaged.path(REPO, FILE).read_bytes() != WHOLE


def test_a_touch_or_a_copy_does_not_hide_known_damage(damaged, hub, root, tmp_path):
    """Damaged bytes under another mtime or inode are still known: not served, not called an edit, and repaired."""
    damaged.verify()
    damaged.path(REPO, FILE).touch()
    shutil.copytree(root, tmp_path / "copy")
    copy = ModelCache(tmp_path / "copy", endpoint=hub.url, token=False)
    for cache in (damaged, copy):
        with pytest.raises(IntegrityError):
            cache.fetch(REPO, FILE, offline=True)
        assert cache.reconcile().adopted == []
        report = cache.verify(repair=True)
        assert (found(report), report.exit_code()) == ({"corrupt": [FILE]}, 4)
        assert cache.path(REPO, FILE).read_bytes() == WHOLE


def test_what_was_dropped_and_did_not_come_again_is_missing(root, hub):
    """Where the damaged bytes had to go first and the download then fails, every run says what is missing."""
    cache = ModelCache(root, endpoint=hub.url, token=False, max_size=SIZE + 100_000)
    hub.add_repo(REPO, {FILE: WHOLE})
    rot(cache.fetch(REPO, FILE))
    hub.fault(FILE, "flip", times=None)
    report = cache.verify(repair=True)
    assert (report.exit_code(), len(report.errors)) == (3, 1)
    assert found(cache.verify()) == {"missing": [FILE]}
    assert cache.usage().ready == 0
    hub.clear_faults()
    assert cache.fetch(REPO, FILE).read_bytes() == WHOLE
    assert cache.verify().ok == 1
