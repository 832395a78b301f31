"""Whole repos beside updates, forced fetches, removals and interrupts: never a directory with files of two commits."""

import threading
from pathlib import Path

import pytest
from support import REPO, pattern

from model_cache import ModelCache, OfflineMissError, StorageError, listings
from model_cache.layout import Snapshot
from model_cache.progress import Progress

KIB = 1 << 10
FIRST = {"a.bin": pattern(90 * KIB), "b.bin": pattern(80 * KIB, 1), "c.json": b"{}"}
SECOND = {"a.bin": pattern(90 * KIB, 2), "b.bin": pattern(80 * KIB, 3), "c.json": b"[]"}


class Interrupt(BaseException):
    """Ends a call as a signal does."""


class Meanwhile(Progress):
    """Lets something happen just before the first byte, once."""

    def __init__(self, happen):
        self.happen = happen

    def started(self, _name, _total, _done):
        """A job begins."""
        happen, self.happen = self.happen, None
        if happen is not None:
            happen()


@pytest.fixture
def open_cache(root, hub):
    """Another cache on the same root, as another process has it."""
    return lambda **more: ModelCache(root, endpoint=hub.url, token=False, min_idle=0, touch_interval=0, **more)


def contents(cache):
    """What stands in the repo's directory."""
    return {name: cache.path(REPO, name).read_bytes() for name in FIRST if cache.path(REPO, name).exists()}


def handed_out(cache):
    """The contents of the directory that is handed out without network, None where it is refused."""
    try:
        cache.fetch_repo(REPO, offline=True)
    except OfflineMissError:
        return None
    return contents(cache)


@pytest.mark.parametrize("workers", [1, 4])
def test_no_update_comes_between_the_files_of_a_fetch(open_cache, hub, workers):
    """An update that begins while files are missing moves those too: what comes afterwards is no file of the old commit."""
    hub.add_repo(REPO, FIRST)
    open_cache().fetch_repo(REPO, include="a.bin")
    hub.add_repo(REPO, SECOND)
    updater = threading.Thread(target=lambda: open_cache().update(REPO))
    open_cache().fetch_repo(REPO, workers=workers, progress=Meanwhile(updater.start))
    updater.join(60)
    assert not updater.is_alive()
    assert handed_out(open_cache()) == SECOND


def test_no_update_comes_between_one_file_and_its_repo(open_cache, hub):
    """The same of one file that is fetched alone, in a repo of which the rest is there."""
    hub.add_repo(REPO, FIRST)
    open_cache().fetch_repo(REPO, exclude="a.bin")
    hub.add_repo(REPO, SECOND)
    updater = threading.Thread(target=lambda: open_cache().update(REPO))
    open_cache().fetch(REPO, "a.bin", progress=Meanwhile(updater.start))
    updater.join(60)
    assert not updater.is_alive()
    assert handed_out(open_cache()) == SECOND


def test_a_forced_fetch_that_is_cut_short_leaves_nothing_whole(open_cache, hub):
    """Of three files one is of the new commit: nobody is handed the directory offline, and the next call moves the rest."""
    hub.add_repo(REPO, FIRST)
    open_cache().fetch_repo(REPO)
    hub.add_repo(REPO, SECOND)

    def cut(step):
        if step == "replace:fsync-directory":
            raise Interrupt

    with pytest.raises(Interrupt):
        open_cache(step=cut).fetch_repo(REPO, force=True, workers=1)
    mixed = contents(open_cache())
    assert mixed not in (FIRST, SECOND)
    assert handed_out(open_cache()) is None
    open_cache().fetch_repo(REPO)
    assert handed_out(open_cache()) == SECOND


def test_a_forced_fetch_of_a_part_moves_the_rest_as_well(open_cache, hub):
    """The files that were not selected and are there are updated: all are of one commit."""
    hub.add_repo(REPO, FIRST)
    open_cache().fetch_repo(REPO)
    hub.add_repo(REPO, SECOND)
    open_cache().fetch_repo(REPO, include="a.bin", force=True)
    assert handed_out(open_cache()) == SECOND


def test_a_forced_fetch_of_the_same_commit_leaves_the_repo_whole(open_cache, hub):
    """The same bytes again need no word to anybody, and nothing but them is asked for."""
    hub.add_repo(REPO, FIRST)
    open_cache().fetch_repo(REPO)
    hub.reset()
    open_cache().fetch_repo(REPO, include="a.bin", force=True)
    assert (hub.body_gets(), handed_out(open_cache())) == (1, FIRST)


@pytest.mark.parametrize("how", ["force", "update"])
def test_a_file_that_moves_alone_leaves_its_repo_to_be_moved(open_cache, hub, how):
    """A directory with one newer file is not whole until the next fetch has moved the others to it."""
    hub.add_repo(REPO, FIRST)
    open_cache().fetch_repo(REPO)
    hub.add_repo(REPO, SECOND)
    if how == "force":
        open_cache().fetch(REPO, "b.bin", force=True)
    else:
        open_cache().update(REPO, "b.bin")
    assert contents(open_cache())["b.bin"] == SECOND["b.bin"]
    assert handed_out(open_cache()) is None
    open_cache().fetch_repo(REPO)
    assert handed_out(open_cache()) == SECOND


def test_a_file_of_the_same_bytes_leaves_its_repo_whole(open_cache, hub):
    """A file that did not change between the commits, forced alone, takes nothing from the repo."""
    hub.add_repo(REPO, FIRST)
    open_cache().fetch_repo(REPO)
    hub.add_repo(REPO, SECOND | {"c.json": FIRST["c.json"]})
    open_cache().fetch(REPO, "c.json", force=True)
    assert handed_out(open_cache()) == FIRST


def test_an_update_of_one_file_that_is_in_use_leaves_the_repo_whole(open_cache, hub):
    """Nothing was replaced, so the directory is what it was."""
    hub.add_repo(REPO, FIRST)
    open_cache().fetch_repo(REPO)
    hub.add_repo(REPO, SECOND)
    with open_cache().lease(REPO, "b.bin"):
        (report,) = open_cache().update(REPO, "b.bin")
    assert len(report.in_use) == 1
    assert handed_out(open_cache()) == FIRST


def test_a_repo_that_is_removed_while_it_is_fetched_comes_again(open_cache, hub):
    """`rm` of what is there, before the first byte of the rest: in the end all of it is there."""
    hub.add_repo(REPO, FIRST)
    open_cache().fetch(REPO, "c.json")
    open_cache().fetch_repo(REPO, progress=Meanwhile(lambda: open_cache().remove(REPO, force=True)))
    assert handed_out(open_cache()) == FIRST


def test_an_update_leaves_out_a_name_that_no_file_can_have(open_cache, hub):
    """A repo that was fetched without a file of an impossible name is updated like any other."""
    hub.add_repo(REPO, FIRST | {"x" * 300: b"?"})
    open_cache().fetch_repo(REPO, exclude="x*")
    hub.add_repo(REPO, SECOND | {"x" * 300: b"!"})
    open_cache().update(REPO)
    assert contents(open_cache()) == SECOND


def test_an_interrupt_in_the_only_thread_waits_for_no_further_file(open_cache, hub):
    """With one worker nothing more is asked for after an interrupt; what had come before is published."""
    hub.add_repo(REPO, {f"{number:02}.bin": pattern(KIB, number) for number in range(40)})
    seen = []

    def cut(step):
        seen.append(step)
        if step == "verify:hash" and seen.count(step) == 5:
            raise Interrupt

    with pytest.raises(Interrupt):
        open_cache(step=cut).fetch_repo(REPO, workers=1)
    assert hub.body_gets() == 5
    assert len([row for row in open_cache().entries() if row.state == "ready"]) == 4
    assert open_cache().fetch_repo(REPO).is_dir()


@pytest.mark.parametrize("given", [0, 2])
def test_a_machine_without_threads_fetches_all_the_same(open_cache, hub, monkeypatch, given):
    """Where no (further) thread can be started, those that there are do the work, or the caller's does."""
    hub.add_repo(REPO, {f"{number:02}.bin": pattern(KIB, number) for number in range(40)})
    start, begun = threading.Thread.start, []

    def limited(thread):
        if thread.name.removeprefix("model-cache ").isdigit():
            if len(begun) == given:
                raise RuntimeError("can't start new thread")
            begun.append(thread)
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", limited)
    assert len(list(open_cache().fetch_repo(REPO, workers=8).iterdir())) == 40
    assert len(begun) == given


def test_a_listing_that_cannot_be_read_stops_what_would_move_its_files(cache, hub):
    """Else it would go on to promise what has been moved: nothing is replaced, and the error names it (I1)."""
    hub.add_repo(REPO, {"a.json": b"1", "b.json": b"2"})
    cache.fetch_repo(REPO)
    hub.add_repo(REPO, {"a.json": b"3", "b.json": b"4"})
    place = Path(listings.place(cache._ctx, Snapshot(REPO)))
    kept = place.read_bytes()
    place.unlink()
    place.mkdir()
    with pytest.raises(StorageError, match=r"cannot read .*listings"):
        cache.update(REPO)
    place.rmdir()
    place.write_bytes(kept)
    assert cache.path(REPO, "a.json").read_bytes() == b"1"
