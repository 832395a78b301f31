"""Verify, repair and reconcile between other actors' steps: nobody is accused, nobody's file is lost, every byte counts."""

import os
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from sqlite3 import connect

import pytest
from support import FILE, REPO, Later, pattern
from verify_equipment import Told, found, rot

from model_cache import InUseError, LockTimeoutError, ModelCache, ModelCacheError, StorageError
from model_cache.stats import allocated

SIZE = 100_000
NAMES = ["a.bin", "b.bin", "c.bin"]
BAD = NAMES[0]
FORK = "owner/fork"
LIMIT = 30  # seconds after which a wait of a test has failed
MIB = 1 << 20


class At:
    """A failure point at which another actor acts, the first time that it is reached."""

    def __init__(self, step, act):
        self._step, self._act = step, act
        self.happened = 0

    def __call__(self, step):
        """Let the other actor act if it is that step."""
        if step == self._step and not self.happened:
            self.happened += 1
            self._act()


class Stopped(BaseException):
    """Ends an operation at a step, as an interrupt would."""


def stop():
    """Be the interrupt."""
    raise Stopped


class Reading(Later):
    """A clock by which somebody acts in the middle of a read that a rate slows down."""

    def __init__(self, act):
        super().__init__()
        self._acts = [act]

    def sleep(self, seconds):
        """Act once, and let the time pass."""
        super().sleep(seconds)
        if self._acts:
            self._acts.pop()()


@pytest.fixture
def make(root, hub):
    """Caches as other processes would make them; nothing is protected by recent use."""

    def build(**more):
        return ModelCache(root, endpoint=hub.url, token=False, **{"min_idle": 0, "touch_interval": 0} | more)

    return build


@pytest.fixture
def filled(make, hub):
    """A cache with three files."""
    return fill(make(), hub)


def fill(cache, hub, size=SIZE):
    """Fetch three files."""
    hub.add_repo(REPO, {name: pattern(size, number) for number, name in enumerate(NAMES)})
    for name in NAMES:
        cache.fetch(REPO, name)
    return cache


def move_on(hub, size=SIZE):
    """A new commit in which all three files differ."""
    hub.add_repo(REPO, {name: pattern(size, number + 10) for number, name in enumerate(NAMES)})


def on_disk(root):
    """Bytes that everything which counts occupies: each inode once."""
    own = root / ".model-cache"
    folders = [own / name for name in ("partial", "trash", "quarantine")]
    files = [path for path in root.rglob("*") if own not in path.parents and path.name != "CACHEDIR.TAG"]
    files += [path for folder in folders for path in folder.iterdir()]
    return sum({found.st_ino: allocated(found) for path in files if path.is_file() for found in [path.stat()]}.values())


def damage(cache, name=BAD, repo=REPO):
    """Rot that verify knows of."""
    rot(cache.path(repo, name), 7)
    assert name in found(cache.verify())["corrupt"]


def forget_commit(root):
    """Make the damaged file one of a commit that the Hub does not have any more."""
    (mark,) = (root / ".model-cache" / "damaged").iterdir()
    with closing(connect(root / ".model-cache" / "index.db")) as index, index:
        (old,) = index.execute('SELECT "commit" FROM entries WHERE key = ?', (mark.name,)).fetchone()
        index.execute('UPDATE entries SET "commit" = ? WHERE key = ?', ("0" * 40, mark.name))
    mark.write_text(mark.read_text().replace(old, "0" * 40))


def edit(path):
    """Somebody's edit in place."""
    with path.open("r+b") as file:
        file.write(b"mine")


def restore(path):
    """A copy in a file's place, as a restore from a backup makes it."""
    shutil.copyfile(path, f"{path}.copy")
    os.replace(f"{path}.copy", path)


def busy(run):
    """A run that is refused because another one is under way."""
    with pytest.raises(LockTimeoutError):
        run()


MEANWHILE = {
    "edit": (lambda cache, path, _: edit(path), "changed"),
    "touch": (lambda cache, path, _: path.touch(), "rebound"),
    "restore": (lambda cache, path, _: restore(path), "rebound"),
    "away": (lambda cache, path, _: path.rename(cache.root / "away"), "missing"),
    "away-and-back": (lambda cache, path, _: path.rename(cache.root / "x") and (cache.root / "x").rename(path), "ok"),
    "remove": (lambda cache, path, _: cache.remove(REPO, BAD, force=True), None),
    "again": (lambda cache, path, _: cache.remove(REPO, BAD, force=True) and cache.fetch(REPO, BAD), None),
    "evict": (lambda cache, path, _: cache.gc(max_size=0), "ok"),  # but not what is being read
    "update": (lambda cache, path, hub: move_on(hub, 3 * MIB) or cache.update(REPO), "ok"),  # in use: nothing moves
    "reconcile": (lambda cache, path, _: busy(cache.reconcile), "ok"),
    "verify": (lambda cache, path, _: busy(cache.verify), "ok"),
}


@pytest.mark.parametrize("what", MEANWHILE)
def test_whatever_happens_to_a_file_while_it_is_read_has_its_class(make, hub, what):
    """In the middle of a read the file is changed, moved or taken away: that is what is said, and never that it rotted."""
    cache = fill(make(), hub, 3 * MIB)
    act, verdict = MEANWHILE[what]
    told = Told()
    clock = Reading(lambda: act(cache, cache.path(REPO, BAD), hub))
    report = make(clock=clock).verify(rate=MIB, jobs=1, progress=told)
    assert dict(told.judged).get(BAD) == verdict
    assert (report.corrupt, report.unreadable, report.complete) == ([], [], True)
    assert os.listdir(cache.root / ".model-cache" / "damaged") == []


def test_a_replacement_that_stands_before_its_rename_is_no_damage(filled, make, hub):
    """While another holder of the write lock replaces a file, and after it died there, verify finds nothing wrong."""
    move_on(hub)
    reports = []
    with pytest.raises(Stopped):
        make(step=At("replace:fsync-directory", lambda: reports.append(make().verify()) or stop())).fetch(
            REPO, BAD, force=True
        )
    assert [found(report) for report in (*reports, filled.verify())] == [{}, {}]
    assert filled.path(REPO, BAD).read_bytes() == pattern(SIZE, 10)


def test_of_two_repairs_at_once_one_is_refused_and_a_fetch_waits(filled, make, hub):
    """While a repair downloads, another one is busy; who fetches the file gets what the repair fetched, once."""
    damage(filled)
    hub.reset()
    with hub.hold(BAD, after=0.5) as hold, ThreadPoolExecutor(2) as pool:
        repair = pool.submit(make().verify, repair=True)
        hold.wait_for(1)
        with pytest.raises(LockTimeoutError):
            make().verify(repair=True)
        waits = threading.Event()
        fetch = pool.submit(make(step=lambda step: step == "lock:write" and waits.set()).fetch, REPO, BAD)
        assert waits.wait(LIMIT)
        hold.release()
        assert repair.result(LIMIT).exit_code() == 4
        assert fetch.result(LIMIT).read_bytes() == pattern(SIZE)
    assert hub.body_gets(BAD) == 1


@pytest.mark.parametrize("step", ["publish:link", "publish:fsync-directory", "publish:unlink-partial"])
def test_a_reconcile_while_a_fetch_publishes_leaves_the_row_alone(filled, make, hub, root, step):
    """A file that gets its name just now is the fetch's business, whose row is the one that stays (I5)."""
    hub.add_repo("an/other", {FILE: pattern(SIZE, 5)})
    reports = []
    make(step=At(step, lambda: reports.append(make().reconcile()))).fetch("an/other", FILE)
    assert (reports[0].adopted, reports[0].dropped) == ([], [])
    (row,) = filled.entries("an/other")
    assert (row.state, row.origin, filled.usage().all) == ("ready", "download", on_disk(root))


def test_evictors_press_while_everything_is_verified(make, hub, root):
    """Under a budget of two files that come and go, runs of verify find nothing wrong, and the budget holds (I4, I6)."""
    cache = fill(make(max_size=2 * 110_000), hub)
    with ThreadPoolExecutor(1) as pool:
        runs = pool.submit(lambda: [make(max_size=2 * 110_000).verify(jobs=2) for _ in range(20)])
        while not runs.done():
            for name in NAMES:
                with suppress(ModelCacheError):  # what is being read is not evicted, and leaves no room
                    cache.fetch(REPO, name)
                assert on_disk(root) <= 2 * 110_000
        assert [found(report).keys() - {"missing"} for report in runs.result()] == [set()] * 20
    assert cache.usage().all >= on_disk(root)


@pytest.mark.parametrize("how", ["fetch", "drop"])
def test_a_file_of_somebodys_own_is_never_taken_for_the_damaged_one(filled, make, root, how):
    """Moved to the path at the last moment before the damaged file goes, it stays there (I7)."""
    damage(filled)
    filled.pin(REPO, *NAMES[1:])
    path, mine = filled.path(REPO, BAD), root / "mine"
    mine.write_bytes(b"mine")
    if how == "fetch":
        forget_commit(root)
        cache = make(step=At("quarantine:move", lambda: mine.replace(path)))
    else:
        budget = filled.usage().all + 50_000
        cache = make(max_size=budget, step=At("quarantine:drop", lambda: mine.replace(path)))
    with pytest.raises(StorageError):
        cache.fetch(REPO, BAD)
    assert path.read_bytes() == b"mine"
    assert make().fetch(REPO, BAD) == path
    assert os.listdir(root / ".model-cache" / "quarantine") == []


def test_a_file_of_somebodys_own_is_never_taken_for_the_evicted_one(filled, make, root):
    """Moved to the path at the last moment before an eviction renames it, it stays there (I7)."""
    path, mine = filled.path(REPO, BAD), root / "mine"
    mine.write_bytes(b"mine")
    make(step=At("evict:rename", lambda: mine.replace(path))).gc(max_size=0)
    assert path.read_bytes() == b"mine"
    assert os.listdir(root / ".model-cache" / "trash") == []


def test_damaged_bytes_in_use_are_not_dropped(filled, make):
    """Where old and new do not fit, a file that a program has open stays: its room would not be free (I3, I4)."""
    damage(filled)
    filled.pin(REPO, *NAMES[1:])
    path = filled.path(REPO, BAD)
    cache = make(max_size=filled.usage().all + 50_000)
    with path.open("rb"), pytest.raises(InUseError):
        cache.fetch(REPO, BAD)
    assert path.exists()
    assert cache.fetch(REPO, BAD).read_bytes() == pattern(SIZE)


@pytest.mark.parametrize("how", ["dropped", "alone"])
def test_a_pinned_file_is_pinned_after_it_came_again(filled, make, hub, root, how):
    """Whether its damaged bytes were dropped or moved aside alone, and in its own former room (I3, I4)."""
    damage(filled)
    filled.pin(REPO, *NAMES)
    if how == "alone":
        forget_commit(root)
    cache = make(max_size=filled.usage().all + 50_000)
    assert cache.fetch(REPO, BAD).read_bytes() == pattern(SIZE)
    assert [row.pinned for row in cache.entries()] == [1, 1, 1]
    assert cache.usage().all == on_disk(root)


def linked(cache, hub):
    """Two entries that are two names of one file."""
    for repo in (REPO, FORK):
        hub.add_repo(repo, {FILE: pattern(SIZE)})
        cache.fetch(repo, FILE)
    assert cache.path(REPO, FILE).stat().st_nlink == 2
    return cache


@pytest.mark.parametrize("first", [REPO, FORK])
def test_names_that_a_restore_made_files_of_their_own_count_each(make, hub, root, first):
    """One inode with two names became two files: whichever is verified first, both are charged (I4)."""
    cache = linked(make(), hub)
    for repo in (REPO, FORK):
        restore(cache.path(repo, FILE))
    assert [cache.verify(first, FILE).rebound, cache.verify().rebound] == [1, 1]
    assert cache.usage().all == on_disk(root)


@pytest.mark.parametrize("first", [REPO, FORK])
def test_names_of_a_touched_file_count_once_and_to_the_last(make, hub, root, first):
    """One name of a touched file is verified and removed: the other one is charged for it once it is verified (I4)."""
    cache = linked(make(), hub)
    cache.path(REPO, FILE).touch()
    assert cache.verify(first, FILE).rebound == 1
    cache.remove(first, FILE)
    assert cache.verify().rebound == 1
    assert cache.usage().all == on_disk(root) > 0


def test_names_of_one_damaged_file_count_once_in_quarantine_too(make, hub, root):
    """Two names of one inode were moved aside: the one that stays when the other ages out is charged for it (I4)."""
    cache, later = linked(make(), hub), Later()
    rot(cache.path(REPO, FILE))
    assert cache.verify(repair=True).exit_code() == 4
    assert cache.usage().all == on_disk(root)
    first, second = sorted(path.stat().st_ino for path in (root / ".model-cache" / "quarantine").iterdir())
    assert first == second
    later.ahead = 31 * 86400
    with pytest.raises(Stopped):
        make(clock=later, step=Nth("quarantine:remove", 2)).gc()
    assert cache.usage().all == on_disk(root)


class Nth(At):
    """An interrupt at the n-th time that a step is reached."""

    def __init__(self, step, count):
        super().__init__(step, stop)
        self.happened = -count + 1

    def __call__(self, step):
        """Count, and interrupt."""
        if step == self._step:
            self.happened += 1
            if self.happened == 1:
                self._act()


def test_an_edit_of_a_file_that_has_a_name_in_quarantine_is_counted_to_the_end(filled, make, root):
    """Edited after a repair died, adopted, removed: the bytes that only quarantine has by then count (I4)."""
    damage(filled)
    with pytest.raises(Stopped):
        make(step=At("replace:claim", stop)).fetch(REPO, BAD)
    edit(filled.path(REPO, BAD))
    later = Later()
    later.ahead = 3 * 86400  # the partial of the repair goes
    make(clock=later).gc()
    assert filled.reconcile().adopted == [f"{REPO}/{BAD}"]
    assert filled.usage().all == on_disk(root)
    assert len(filled.remove(REPO, BAD).removed) == 1
    filled.gc()
    assert filled.usage().all == on_disk(root)
