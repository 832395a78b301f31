"""A process that lives on after an interrupt keeps nothing of what it was at: no lock, no open file, no thread."""

import gc
import os
import shutil
import signal
import sys
import threading
from contextlib import suppress

import pytest
from support import FILE, REPO

from model_cache import CacheFullError, InvalidNameError, ModelCache, hit, locks
from model_cache.download.crew import Crew
from model_cache.layout import Entry, rivals
from model_cache.testing import LoopbackHub
from stress.operations import OPERATIONS
from stress.site import LFS_THRESHOLD, Site
from stress.sweep.acts import act
from stress.sweep.living import open_below
from stress.sweep.sweep import scratch
from stress.sweep.twin import twin

STRANGER = 60_003  # whom nobody is
linux = pytest.mark.skipif(sys.platform != "linux", reason="what is open is looked up in /proc")
INTERRUPTED = ["fetch", "replace", "evict", "crew", "reconcile"]


@pytest.fixture(scope="module")
def busy_hub():
    """One hub for all operations of this module."""
    with LoopbackHub(lfs_threshold=LFS_THRESHOLD) as hub:
        yield hub


def do(site, name, step=None, then=""):
    """Do an operation in this very process."""
    what = act(name, then)
    with suppress(*what.legal):
        what.perform(site.root, site.hub.url, step)


class Interrupt:
    """Raised at the step of a number, in whatever thread comes to it."""

    def __init__(self, number):
        self._left, self._lock = number, threading.Lock()
        self.at = None

    def __call__(self, step):
        """Count, and raise when it is time."""
        with self._lock:
            self._left -= 1
            if self._left:
                return
            self.at = step
        raise KeyboardInterrupt


@linux
@pytest.mark.parametrize("name", INTERRUPTED)
def test_who_is_interrupted_at_any_step_keeps_nothing_and_can_do_it_again(busy_hub, name):
    """After a ^C at each step of an operation no lock, file or thread of it is left, and the same process can do it again."""
    folder = scratch()
    try:
        first = Site(folder / "first", busy_hub)
        OPERATIONS[name].prepare(first)
        number = 0
        while True:
            number += 1
            site = twin(first, folder / str(number))
            before = set(threading.enumerate())
            interrupt = Interrupt(number)
            with suppress(KeyboardInterrupt):
                do(site, name, interrupt)
                assert interrupt.at is None, f"went on after {interrupt.at}"
            if interrupt.at is None:
                break
            gc.collect()  # a traceback and its frames refer to each other
            mine = [one.name for one in set(threading.enumerate()) - before if one.name.startswith("model-cache")]
            assert (open_below(site.root), locks._held, hit._kept, mine) == ([], set(), [], []), interrupt.at
            do(site, name, then="again")
            shutil.rmtree(site.root)
        assert number > 3, "it has steps"
    finally:
        shutil.rmtree(folder)


def is_interrupted(number, code, do):
    """Do something, with a ^C as a function is called for the so many-th time; False if it is not called so often."""

    def trace(frame, event, _):
        nonlocal number
        if event == "call" and frame.f_code is code:
            number -= 1
            if not number:
                raise KeyboardInterrupt

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        do()
    except KeyboardInterrupt:
        return True
    finally:
        sys.settrace(before)
    return False


@linux
def test_an_interrupt_before_any_lock_is_let_go_leaves_no_lock_to_the_process(hub, root):
    """W, the index lock, G: none outlives the call whose end was interrupted, and the same process goes on at once."""
    hub.add_repo(REPO, {FILE: b"bytes"})
    cache = ModelCache(root, endpoint=hub.url, token=False, min_idle=0, touch_interval=0)
    number = 1
    while True:
        cache.fetch(REPO, FILE)
        if not is_interrupted(number, locks.Hold.release.__code__, lambda: cache.gc(max_size=0)):
            break
        gc.collect()
        assert locks._held == set(), number
        number += 1
    assert number > 5 and cache.entries() == [], "each lock of the eviction was let go"


@linux
def test_the_index_lock_is_let_go_by_who_stops_waiting_for_another_thread(hub, root):
    """A signal's exception in the wait for a thread that reads the index does not keep all writers of the machine waiting."""
    hub.add_repo(REPO, {FILE: b"bytes"})
    cache = ModelCache(root, endpoint=hub.url, token=False)
    cache.fetch(REPO, FILE)
    index, reads, ends = cache._ctx.index, threading.Event(), threading.Event()
    mine = threading.get_ident()

    def read():
        with index.reading():
            reads.set()
            ends.wait(120)
        index.close()

    def interrupt():
        while not locks._held:  # the writer has the index lock, and waits for the reader
            pass
        signal.pthread_kill(mine, signal.SIGUSR1)

    def stop(*_):
        raise TimeoutError

    before = signal.signal(signal.SIGUSR1, stop)
    threads = [threading.Thread(target=read), threading.Thread(target=interrupt)]
    try:
        threads[0].start()
        assert reads.wait(120)
        threads[1].start()
        with pytest.raises(TimeoutError):
            index.open()
    finally:
        ends.set()
        for thread in threads:
            thread.join()
        signal.signal(signal.SIGUSR1, before)
    assert locks._held == set()
    cache.pin(REPO, FILE)


@linux
def test_a_file_that_may_not_be_taken_away_keeps_no_other_from_it(hub):
    """Where a directory is another user's its file is spared, with the reason, and what else is old makes the room."""
    repos = ["owner/fixed", "owner/older", "owner/newer", "owner/wanted"]
    for repo in repos:
        hub.add_repo(repo, {FILE: repo.encode() * 5000})
    hub.add_repo("a/twin", {FILE: repos[0].encode() * 5000})  # another name of the first, that may not be taken
    folder = scratch()
    policy = {"endpoint": hub.url, "token": False, "min_idle": 0, "touch_interval": 0}
    warm = ModelCache(folder / "warm", **policy)  # what it takes is loaded while this process may read it
    warm.fetch(repos[0], FILE)
    warm.gc(max_size=0)
    root, user = folder / "root", os.geteuid()
    root.mkdir()
    directory, first = root / "a/twin", root / repos[0] / FILE
    try:
        if not user:
            folder.chmod(0o755)
            os.chown(root, STRANGER, -1)
            os.seteuid(STRANGER)
        cache = ModelCache(root, **policy)
        size = sum(cache.fetch(repo, FILE).stat().st_blocks * 512 for repo in repos[:3])
        twin = cache.fetch("a/twin", FILE)
        assert twin.samefile(first)
        os.seteuid(user)
        os.chown(directory, user, -1)
        directory.chmod(0o555)
        os.seteuid(user or STRANGER)
        assert ModelCache(root, **policy, max_size=size).fetch(repos[3], FILE).exists()
        assert (directory / FILE).exists() and not (root / repos[1] / FILE).exists()
        report = cache.gc(max_size=0)
        assert [one.reason for one in report.spared] == ["refused"]
        assert {(row.repo, row.state) for row in cache.entries()} == {("a/twin", "ready"), (repos[0], "ready")}
        assert twin.samefile(first)
        with pytest.raises(CacheFullError) as full:
            ModelCache(root, **policy, max_size=size // 2).fetch(repos[3], FILE)
        assert str(full.value).endswith("57.3 kB that this user may not take away (1 file)")
        assert full.value.hint == f"model-cache --root {root} gc, run by root"
    finally:
        os.seteuid(user)
        directory.chmod(0o755)
        shutil.rmtree(folder)


def test_a_lease_that_cannot_be_noted_as_a_use_is_let_go(hub, root):
    """Whatever is said of the last use at the end of a lease, the file is not kept for as long as the process lives."""
    hub.add_repo(REPO, {FILE: b"bytes"})
    cache = ModelCache(root, endpoint=hub.url, token=False)
    lease = cache.lease(REPO, FILE)
    entry = Entry(REPO, FILE)
    used = root / ".model-cache" / "used"
    (used / entry.key).unlink()
    (used / next(iter(rivals(entry))).key).touch()
    with pytest.raises(InvalidNameError):
        lease.release()
    assert locks._held == set()


def test_a_receiver_is_waited_for_though_an_interrupt_came_while_it_was_started():
    """No thread writes to what the caller closes next, whenever the ^C came."""
    left, ended = threading.Event(), []

    def receive(work):
        left.wait(0.5)
        ended.append(work)

    def trace(frame, event, _):
        if frame.f_code is not threading.Thread.start.__code__:
            return None
        if event == "return":
            raise KeyboardInterrupt
        return trace

    before = sys.gettrace()
    with pytest.raises(KeyboardInterrupt), Crew(receive, 2, lambda: None) as crew:
        sys.settrace(trace)
        try:
            crew.give("a file", large=False)
        finally:
            sys.settrace(before)
    assert ended == ["a file"]
    left.set()
