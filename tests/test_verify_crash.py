"""Verify, repair, reconcile, backups and quarantine, killed before each of their steps: the next run sets everything right.

One process that has everything imported forks the ones that die, so that hundreds of them take seconds.
"""

import json
import os
import shutil
import signal
from contextlib import nullcontext

import pytest
from support import REPO, Later, pattern
from verify_equipment import found, rot

from model_cache import CacheFullError, ModelCache
from model_cache.index import quarantine
from model_cache.stats import allocated
from model_cache.testing import LoopbackHub

SIZE = 60_000
NAMES = ["a.bin", "b.bin", "sub/c.bin"]
BAD = NAMES[0]
MINE = b"somebody's own"

DYING = """
import signal
import model_cache.download.miss, model_cache.hub.transport, model_cache.integrity.repairing
import model_cache.integrity.reconcile, model_cache.operations, sqlite_utils.migrations
from model_cache.clock import Clock

class Later(Clock):
    def time(self):
        return super().time() + self.ahead

def run(root, step, count, code, ahead, settings):
    seen = []
    def die(name):
        seen.append(name)
        if seen.count(step) == count and name == step:
            os.kill(os.getpid(), signal.SIGKILL)
    clock = Later()
    clock.ahead = ahead
    settings = {"min_idle": 0, "touch_interval": 0, "clock": clock, **settings}
    cache = ModelCache(root, endpoint=arguments["endpoint"], token=False, step=die, **settings)
    exec(code, {"cache": cache})
    return seen

for line in sys.stdin:
    pid = os.fork()
    if not pid:
        try:
            print(json.dumps(run(*json.loads(line))), flush=True)
        except BaseException as error:
            print(json.dumps(repr(error)), flush=True)
        os._exit(0)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    print(json.dumps(status), flush=True)
"""


@pytest.fixture
def doomed(spawn):
    """Run code on a root in a process that dies before a step: what it told, its steps or its error, and its exit status."""
    zygote = spawn(DYING)

    def run(root, step, count, case):
        asked = [str(root), step, count, case.code, case.ahead, case.settings]
        print(json.dumps(asked), file=zygote.stdin, flush=True)
        told = json.loads(zygote.stdout.readline())
        return [told] if isinstance(told, int) else [told, json.loads(zygote.stdout.readline())]

    return run


class Case:
    """One operation that is killed.

    Args:
        code: What is done, with a `cache`.
        prepare: Called with a cache beforehand.
        ahead: Seconds that the clock of whoever dies is ahead.
        lost: The index is lost: usage is known again after a census only.
        alone: The Hub has other files by now, and does not know the recorded commit.
        until: The step after which another case goes on alike.
        settings: Of the cache.
    """

    def __init__(self, code, prepare, ahead=0, *, lost=False, alone=False, until="", **settings):
        self.code, self.prepare, self.ahead, self.settings = code, prepare, ahead, settings
        self.lost, self.alone, self.until = lost, alone, until


def known(cache, hub):
    """One rotten file that is marked; all are pinned."""
    rot(cache.path(REPO, BAD), 1234)
    assert found(cache.verify()) == {"corrupt": [BAD]}
    cache.pin(REPO, *NAMES)


def lose(cache, hub):
    """A backup, a further file that it does not know, and no index; damage that has a mark."""
    back_up(cache)
    hub.add_repo("an/other", {"d.bin": pattern(SIZE, 9)})
    cache.fetch("an/other", "d.bin")
    known(cache, hub)
    (cache.root / ".model-cache" / "index.db").unlink()


DAY = 86400
FETCH = f"cache.fetch('{REPO}', '{BAD}')"
# What `stress.sweep` has no operation for; it kills the others before each step and each system call.
CASES = {
    "fetch-alone": Case(FETCH, known, alone=True),
    "restore-fetch": Case(FETCH, lose, lost=True, until="row:reserve", max_size="1GB"),
    "restore-reconcile": Case("cache.reconcile()", lose, lost=True),
}


class Root:
    """One root that a case is killed on, and what must hold of it."""

    def __init__(self, path, hub, case):
        self.path, self.case = path, case
        self.own = path / ".model-cache"
        before = LoopbackHub() if case.alone else nullcontext(hub)
        offset = 50 if case.alone else 0
        with before as old:
            old.add_repo(REPO, {name: pattern(SIZE, number) for number, name in enumerate(NAMES)})
            cache = ModelCache(path, endpoint=old.url, token=False, min_idle=0, touch_interval=0)
            for name in NAMES:
                cache.fetch(REPO, name)
            case.prepare(cache, old)
        self.whole = {f"{REPO}/{name}": {pattern(SIZE, number)} for number, name in enumerate(NAMES)}
        self.whole[f"{REPO}/{BAD}"] |= {pattern(SIZE, offset)}
        self.whole |= {"an/other/d.bin": {pattern(SIZE, 9)}, "some/body/own.bin": {MINE}}
        hub.add_repo(REPO, {name: pattern(SIZE, offset + number) for number, name in enumerate(NAMES)})
        self.url = hub.url

    def cache(self, ahead=0, **more):
        """A cache as another process makes it."""
        settings = {"min_idle": 0, "touch_interval": 0, "clock": Later()} | self.case.settings | more
        settings["clock"].ahead = ahead
        return ModelCache(self.path, endpoint=self.url, token=False, **settings)

    def files(self):
        """What stands at entries' paths: {path below the root: status}."""
        paths = [path for path in self.path.rglob("*") if path.is_file() and self.own not in path.parents]
        return {str(path.relative_to(self.path)): path.stat() for path in paths if path.name != "CACHEDIR.TAG"}

    def on_disk(self):
        """Bytes that everything which counts occupies, each inode once; what was placed by hand counts once seen."""
        rows = {row.path for row in self.cache().entries()}
        counted = [status for path, status in self.files().items() if path in rows or self.whole[path] != {MINE}]
        counted += [file.stat() for name in ("partial", "trash", "quarantine") for file in (self.own / name).iterdir()]
        return sum({found.st_ino: allocated(found) for found in counted}.values())

    def check_at_once(self):
        """After the kill: nothing is lost, everything whole is a hit, and no byte is uncounted."""
        reader = self.cache(offline=True)
        for path, whole in self.whole.items():
            repo, name = "/".join(path.split("/")[:2]), "/".join(path.split("/")[2:])
            if path not in self.files():
                assert name == BAD or whole == {MINE} or (repo == "an/other" and self.case.prepare is not lose)
            elif (self.path / path).read_bytes() in whole:
                assert reader.fetch(repo, name) == self.path / path
            else:
                assert name == BAD and not reader.is_cached(repo, name)
        assert self.case.lost or reader.usage().all >= self.on_disk()

    def check_settled(self):
        """In the end: every row has its file and every file its row, nothing is left over, usage is what is on disk."""
        cache = self.cache(ahead=3 * DAY)
        cache.gc()
        report = cache.verify()
        assert (report.exit_code(strict=True), report.complete) == (0, True)
        rows = {row.path: row for row in cache.entries()}
        assert {(row.state, row.next_state, row.verdict in ("ok", "rebound")) for row in rows.values()} == {
            ("ready", None, True)
        }
        there = self.files()
        assert {path: row.identity for path, row in rows.items()} == {
            path: (status.st_ino, status.st_size, status.st_mtime_ns) for path, status in there.items()
        }
        assert all((self.path / path).read_bytes() in self.whole[path] for path in there)
        assert [os.listdir(self.own / name) for name in ("partial", "trash", "damaged")] == [[], [], []]
        kept = {aside.name for aside in quarantine.listed(cache._ctx.index)}
        assert kept == set(os.listdir(self.own / "quarantine"))
        assert cache.usage().all == self.on_disk()


NEXT = [
    lambda cache: cache.verify(repair=True),
    lambda cache: cache.fetch(REPO, BAD),
    lambda cache: cache.reconcile(),
    lambda cache: cache.gc(),
]


@pytest.mark.parametrize("name", CASES)
def test_a_kill_before_any_step_is_recovered_from(name, hub, doomed, tmp_path):
    """Whatever operation comes next: no whole file is lost, every byte counts, and a verify passes in the end."""
    case = CASES[name]
    whole = Root(tmp_path / "whole", hub, case)
    steps, _ = doomed(whole.path, "", 0, case)
    assert isinstance(steps, list), steps
    steps = steps[: steps.index(case.until) + 1] if case.until else steps
    points = [(step, count) for step in dict.fromkeys(steps) for count in (1, 2) if steps.count(step) >= count]
    for number, (step, count) in enumerate(points):
        root = Root(tmp_path / str(number), hub, case)
        status = doomed(root.path, step, count, case)[-1]
        assert status == -signal.SIGKILL or (status, count) == (0, 2)  # results are written one or more at a time
        root.check_at_once()
        NEXT[number % len(NEXT)](root.cache())
        root.cache().reconcile()
        root.cache().verify(repair=True)
        root.cache().fetch(REPO, BAD)
        root.check_settled()


def back_up(cache):
    """Keep a copy of the index as it is now."""
    cache._ctx.index.back_up(0)


def roll_back(cache):
    """Put the copy in the index's place."""
    own = cache.root / ".model-cache"
    shutil.copyfile(own / "backup" / "index.db", own / "copy")
    os.replace(own / "copy", own / "index.db")


def lose_index(cache):
    """Leave the copy alone."""
    (cache.root / ".model-cache" / "index.db").unlink()


def missed(root, hub):
    """A cache under a budget, after a download that had to know what there is."""
    cache = root.cache(max_size="1GB")
    hub.add_repo("x/y", {"e.bin": pattern(SIZE, 5)})
    root.whole["x/y/e.bin"] = {pattern(SIZE, 5)}
    cache.fetch("x/y", "e.bin")
    return cache


GO_BACK = pytest.mark.parametrize("go_back", [roll_back, lose_index])


@pytest.fixture
def root_of(tmp_path, hub):
    """A root with three files."""
    return Root(tmp_path / "cache", hub, Case("", lambda cache, hub: None))


@GO_BACK
def test_the_first_download_under_an_older_index_keeps_the_budget(root_of, hub, go_back):
    """What that index does not know is counted before anything is admitted, and not evicted (I4, I8)."""
    cache = root_of.cache()
    cache.pin(REPO, *NAMES)
    back_up(cache)
    hub.add_repo("an/other", {"d.bin": pattern(SIZE, 9)})
    cache.fetch("an/other", "d.bin")
    go_back(cache)
    later = root_of.cache(max_size=5 * SIZE)
    hub.add_repo("x/y", {"e.bin": pattern(2 * SIZE, 5)})
    with pytest.raises(CacheFullError):
        later.fetch("x/y", "e.bin")
    assert later.usage().all == root_of.on_disk() <= 5 * SIZE


@GO_BACK
def test_what_was_updated_since_is_nobodys_edit(root_of, hub, go_back):
    """An older index knows other bytes at the same paths: files that this cache replaced itself accuse nobody (I6)."""
    cache = root_of.cache()
    back_up(cache)
    hub.add_repo(REPO, {name: pattern(SIZE, 30 + number) for number, name in enumerate(NAMES)})
    cache.update(REPO)
    go_back(cache)
    assert found(cache.verify()) == {}
    assert cache.reconcile().busy == []
    assert cache.verify().exit_code(strict=True) == 0


@GO_BACK
def test_damage_is_mended_as_it_was_recorded_last(root_of, hub, go_back):
    """The bytes of the mark are fetched, and not those that an older row has at the same path (I8)."""
    cache = root_of.cache()
    back_up(cache)
    hub.add_repo(REPO, {name: pattern(SIZE, 30 + number) for number, name in enumerate(NAMES)})
    cache.update(REPO)
    rot(cache.path(REPO, BAD))
    cache.verify()
    go_back(cache)
    assert missed(root_of, hub).fetch(REPO, BAD).read_bytes() == pattern(SIZE, 30)


@pytest.mark.parametrize("step", ["verify:hash", "publish:unlink-partial", "evict:lease", "evict:row"])
@GO_BACK
def test_what_an_older_index_calls_under_way_is_counted(root_of, hub, go_back, step):
    """Copied while a file came or went: when that index is back, the file that came, or came again, is not lost to it (I4)."""
    hub.add_repo("an/other", {"d.bin": pattern(SIZE, 9)})
    cache = root_of.cache(step=lambda name: name == step and back_up(root_of.cache()))
    cache.fetch("an/other", "d.bin")
    if step.startswith("evict"):
        cache.remove("an/other", "d.bin")
        root_of.cache().fetch("an/other", "d.bin")
    go_back(cache)
    assert missed(root_of, hub).usage().all == root_of.on_disk()


def test_an_eviction_drops_no_row_of_an_index_that_was_made_anew_meanwhile(root_of):
    """Rebuilt between the files going and their rows: numbers that were given anew mean other files by then (I5)."""
    first = min(root_of.cache().entries(), key=lambda row: row.id)
    cache = root_of.cache(step=lambda name: name == "evict:row" and root_of.cache().reconcile(rebuild=True))
    cache.remove(REPO, first.filename)
    assert {row.filename for row in cache.entries()} == {*NAMES} - {first.filename}
    assert cache.usage().all == root_of.on_disk()
