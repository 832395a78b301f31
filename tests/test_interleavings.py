"""What threads and processes do between each other's steps: stopped at one, somebody else goes on, then they do too."""

import os
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest
from support import FILE, REPO, Impatient, NeverWhole, finish, pattern

from model_cache import DownloadError, IntegrityError, InUseError, ModelCache, ModelCacheError, StorageError

BIG = pattern(3_000_000)
MIB = 1 << 20
LIMIT = 60  # seconds after which a wait of a test has failed


class Gate:
    """A failure point that stops whoever comes to one step until the gate opens."""

    def __init__(self, name):
        self._name = name
        self._reached, self._open = threading.Event(), threading.Event()

    def __call__(self, step):
        """Stand here if it is that step."""
        if step == self._name:
            self._reached.set()
            assert self._open.wait(LIMIT)

    def wait(self):
        """Until somebody stands there."""
        assert self._reached.wait(LIMIT)

    def open(self):
        """Let everybody pass from now on."""
        self._open.set()


@contextmanager
def stopped_at(step, hub, root, **how):
    """A cache's fetch in a thread, standing at a step; gives the gate and what will come of it."""
    gate = Gate(step)
    cache = ModelCache(root, endpoint=hub.url, token=False, step=gate)
    with ThreadPoolExecutor(1) as pool:
        outcome = pool.submit(cache.fetch, REPO, FILE, **how)
        try:
            gate.wait()
            yield gate, outcome
        finally:
            gate.open()


def settled(root, hub):
    """The only row of a root after a forced download, which needs all that was left behind to be settled."""
    cache = ModelCache(root, endpoint=hub.url, token=False)
    path = cache.fetch(REPO, FILE, force=True)
    (row,) = cache.entries()
    assert (row.state, row.next_state, row.ino, row.size) == ("ready", None, path.stat().st_ino, path.stat().st_size)
    assert os.listdir(root / ".model-cache" / "partial") == []
    assert cache.usage().all == cache.usage().ready == row.charged
    return row


@pytest.mark.parametrize("how", ["removed", "moved"])
def test_only_the_bytes_that_were_hashed_are_published(hub, root, tmp_path, how):
    """A partial of somebody else's at the same path is never given the name, however the directories were changed (I1)."""
    hub.add_repo(REPO, {FILE: BIG})
    own, path = root / ".model-cache", root / REPO / FILE
    with stopped_at("publish:link", hub, root) as (gate, first):
        shutil.rmtree(own) if how == "removed" else own.rename(tmp_path / "moved")
        with hub.hold(FILE, after=0.2) as hold, ThreadPoolExecutor(1) as pool:
            second = pool.submit(ModelCache(root, endpoint=hub.url, token=False).fetch, REPO, FILE)
            hold.wait_for(1)
            gate.open()
            error = first.exception(LIMIT)
            assert error is None or isinstance(error, StorageError)
            assert not path.exists() or path.read_bytes() == BIG
            hold.release()
            assert second.result(LIMIT).read_bytes() == BIG
    settled(root, hub)


FORK = """
import signal, sqlite3, threading, warnings
from model_cache.index import connection
warnings.simplefilter("ignore", DeprecationWarning)

def child(name, seconds):
    pid = os.fork()
    if pid:
        return pid
    try:
        signal.alarm(seconds)
        place = ModelCache(arguments["root"], endpoint=arguments["endpoint"], token=False, max_size="1GB")
        assert place.fetch("owner/name", name).read_bytes() == name.encode()
        assert len(cache.entries()) > 0
        os._exit(0)
    except BaseException as error:
        print(repr(error), file=sys.stderr, flush=True)
        os._exit(1)

def end(pid):
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

def check():
    index = sqlite3.connect(arguments["root"] + "/.model-cache/index.db")
    (found,) = index.execute("PRAGMA integrity_check")
    index.close()
    return [*found, *sorted({row.state for row in cache.entries()})]
"""


def test_a_child_forked_from_within_an_index_transaction_works_at_once(hub, spawn):
    """Whoever forks while another thread writes the index gets a child that writes it too, without a time-out."""
    hub.add_repo(REPO, {name: name.encode() for name in ("a", "b", "c")})
    code = f"""
    cache.fetch("{REPO}", "a")
    inside, forking = threading.Event(), threading.Event()
    os.register_at_fork(before=forking.set)  # comes before the hooks that were there already

    def step(name):
        if name == "row:installing":
            inside.set()
            forking.wait({LIMIT})

    writer = ModelCache(arguments["root"], endpoint=arguments["endpoint"], token=False, step=step)
    thread = threading.Thread(target=writer.fetch, args=("{REPO}", "b"))
    thread.start()
    assert inside.wait({LIMIT})
    print(end(child("c", 50)))  # less than the time-out for the index lock; after that of SQLite its row would be missing
    thread.join()
    print(*check(), len(cache.entries()))
    """
    assert finish(spawn(FORK + code.replace("\n    ", "\n"))) == "0\nok ready 3"


def test_children_forked_while_a_thread_writes_without_end_all_work(hub, spawn):
    """At whatever instant a process forks, its child downloads, writes the index, and leaves the parent's whole."""
    names = [f"file-{number}" for number in range(13)]
    hub.add_repo(REPO, {name: name.encode() for name in names})
    code = f"""
    cache.fetch("{REPO}", "file-0")
    stop = threading.Event()

    def write():
        while not stop.is_set():
            cache.pin("{REPO}", "file-0")

    thread = threading.Thread(target=write)
    thread.start()
    print({{end(child(f"file-{{number}}", 80)) for number in range(1, 13)}})
    stop.set()
    thread.join()
    print(*check(), len(cache.entries()))
    """
    process = spawn(FORK + code.replace("\n    ", "\n"))
    out, err = process.communicate(timeout=110)
    assert out == "{0}\nok ready 13\n", err


def test_a_hit_during_a_replacement_waits_for_its_end(hub, root, spawn):
    """A reader that comes while a replacement holds the file for itself looks again until it may have it."""
    hub.add_repo(REPO, {FILE: BIG})
    ModelCache(root, endpoint=hub.url, token=False).fetch(REPO, FILE)
    code = f"""
    from model_cache.clock import Clock

    class Telling(Clock):
        def sleep(self, seconds):
            print("waits", flush=True)
            super().sleep(seconds)

    reader = ModelCache(arguments["root"], offline=True, clock=Telling())
    print(reader.fetch("{REPO}", "{FILE}").stat().st_size)
    """
    with stopped_at("replace:rename", hub, root, force=True) as (gate, replacement):
        reader = spawn(code)
        assert reader.stdout.readline() == "waits\n"
        gate.open()
        assert finish(reader).split()[-1] == str(len(BIG))
        error = replacement.exception(LIMIT)
        assert error is None or isinstance(error, InUseError)
    settled(root, hub)


def test_a_server_that_starts_over_again_and_again_is_given_up(root):
    """Bytes that were there before are no progress, so a download that only seems to move ends."""
    hub = NeverWhole()
    with pytest.raises(DownloadError):
        ModelCache(root, hub=hub, clock=Impatient()).fetch(REPO, FILE)
    assert hub.bodies <= 10


def test_a_bad_mirror_fails_nobody_who_asks_a_good_one(hub, root, spawn):
    """Who began to wait before the attempt shares its failure, but only if it asked the same endpoint."""
    from model_cache.testing import LoopbackHub

    hub.add_repo(REPO, {FILE: BIG})
    # What a dead download left gives the leader a step between its lock and its attempt.
    code = f"""
    die = lambda step: step == "body:open" and os.kill(os.getpid(), 9)
    ModelCache(arguments["root"], endpoint=arguments["endpoint"], token=False, step=die).fetch("{REPO}", "{FILE}")
    """
    assert spawn(code).wait(LIMIT) == -9
    code = f"""
    tell = lambda step: step == "lock:write" and print("waits", flush=True)
    print(ModelCache(arguments["root"], endpoint=arguments["endpoint"], token=False, step=tell).fetch("{REPO}", "{FILE}"))
    """
    with LoopbackHub() as bad:
        bad.add_repo(REPO, {FILE: BIG})
        bad.fault(FILE, "flip", times=None)
        with stopped_at("recover:settle", bad, root) as (gate, leader):
            waiters = [spawn(code) for _ in range(3)]
            assert [waiter.stdout.readline() for waiter in waiters] == ["waits\n"] * 3
            gate.open()
            assert isinstance(leader.exception(LIMIT), IntegrityError)
            assert [finish(waiter) for waiter in waiters] == [str(root / REPO / FILE)] * 3
    assert hub.body_gets(FILE) == 1


def test_a_thread_that_cannot_start_costs_only_that_call(cache, hub):
    """When the system has no thread to give, the next call with a timeout tries again."""
    hub.add_repo(REPO, {FILE: BIG})
    usual = threading.stack_size((1 << 47) - 4096)  # no address space has room for that
    try:
        with pytest.raises(RuntimeError):
            cache.fetch(REPO, FILE, timeout=LIMIT)
    finally:
        threading.stack_size(usual)
    assert cache.fetch(REPO, FILE, timeout=LIMIT).read_bytes() == BIG


@pytest.mark.parametrize("timeout", [1e10, float("inf")])
def test_a_timeout_may_be_longer_than_the_system_can_wait(cache, hub, timeout):
    """Endless patience is no error."""
    hub.add_repo(REPO, {FILE: BIG})
    assert cache.fetch(REPO, FILE, timeout=timeout).read_bytes() == BIG


def test_a_directory_removed_before_the_name_is_made_again(hub, root):
    """Somebody who removes the repo's empty directory at the last moment does not fail a download."""
    hub.add_repo(REPO, {FILE: BIG})
    removed = []

    def step(name):
        if name == "publish:link" and not removed:
            removed.append(shutil.rmtree(root / "owner"))

    cache = ModelCache(root, endpoint=hub.url, token=False, step=step)
    assert cache.fetch(REPO, FILE).read_bytes() == BIG
    settled(root, hub)


def test_verified_bytes_outlive_a_directory_that_is_removed_again_and_again(hub, root):
    """When a name cannot be given the error says so, and the next call needs no byte from the network."""
    hub.add_repo(REPO, {FILE: BIG})

    def step(name):
        if name == "publish:link":
            shutil.rmtree(root / "owner")

    vandal = ModelCache(root, endpoint=hub.url, token=False, step=step)
    with pytest.raises(StorageError):
        vandal.fetch(REPO, FILE)
    (partial,) = (root / ".model-cache" / "partial").iterdir()
    assert partial.read_bytes() == BIG
    hub.reset()
    assert ModelCache(root, endpoint=hub.url, token=False).fetch(REPO, FILE).read_bytes() == BIG
    assert hub.body_bytes(FILE) == 0
    settled(root, hub)


def test_a_root_removed_during_a_download_is_an_error_of_the_family(hub, root):
    """Whatever becomes of a download whose root vanishes, it is said in the cache's own words, and the next one works."""
    hub.add_repo(REPO, {FILE: BIG})

    def step(name):
        if name == "row:installing" and root.exists():
            shutil.rmtree(root)

    with pytest.raises(ModelCacheError):
        ModelCache(root, endpoint=hub.url, token=False, step=step).fetch(REPO, FILE)
    assert ModelCache(root, endpoint=hub.url, token=False).fetch(REPO, FILE).read_bytes() == BIG


def test_a_root_that_is_pointed_elsewhere_is_followed(tmp_path):
    """A symlink to the root may be changed while a process lives: its next hit comes from where it leads now."""
    for name in ("first", "second"):
        (tmp_path / name / REPO).mkdir(parents=True)
        (tmp_path / name / REPO / FILE).write_text(name)
    link = tmp_path / "link"
    link.symlink_to("first")
    cache = ModelCache(link, offline=True)
    assert cache.fetch(REPO, FILE).read_text() == "first"
    link.unlink()
    link.symlink_to("second")
    assert cache.fetch(REPO, FILE).read_text() == "second"
