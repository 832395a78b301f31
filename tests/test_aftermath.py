"""What is left by who was killed, interrupted or refused, and how the next operation settles it."""

import os
import signal
import sys
import threading
from contextlib import contextmanager, suppress

import pytest
from support import FILE, REPO, finish, pattern

from model_cache import InUseError, ModelCache, StorageError, disk, locks, write_lock

BIG = pattern(3_000_000)


def fresh(hub, root):
    """A cache as another process would make it."""
    return ModelCache(root, endpoint=hub.url, token=False)


def assert_whole(cache, path):
    """One file, one row that says exactly what stands there, and nothing else that counts."""
    (row,) = cache.entries()
    found = path.stat()
    assert (row.state, row.next_state, row.next_charged) == ("ready", None, 0)
    assert (row.ino, row.size, row.mtime_ns) == (found.st_ino, found.st_size, found.st_mtime_ns)
    assert row.sha256 and row.etag and row.commit and row.verdict == "ok"
    assert os.listdir(cache.root / ".model-cache" / "partial") == []
    usage = cache.usage()
    assert (usage.files, usage.all) == (1, row.charged)


def killed_at(step, spawn, **how):
    """Run a download in a process that dies at a step."""
    code = f"""
    import signal
    def die(step):
        if step == "{step}":
            os.kill(os.getpid(), signal.SIGKILL)
    cache = ModelCache(arguments["root"], endpoint=arguments["endpoint"], token=False, step=die)
    cache.fetch("{REPO}", "{FILE}", **{how!r})
    """
    process = spawn(code)
    process.communicate(timeout=120)
    assert process.returncode == -signal.SIGKILL


def test_a_miss_after_a_stopped_replacement_has_a_row_of_its_own(cache, hub):
    """What a replacement that did not happen had promised is not taken for what is there now."""
    hub.add_repo(REPO, {FILE: BIG})
    path = cache.fetch(REPO, FILE)
    with path.open("rb"), pytest.raises(InUseError):
        cache.fetch(REPO, FILE, force=True)
    path.unlink()
    assert cache.fetch(REPO, FILE).read_bytes() == BIG
    assert_whole(cache, path)
    cache.fetch(REPO, FILE, force=True)
    assert_whole(cache, path)


@contextmanager
def tracing(trace):
    """Have one function told what this thread does; whatever it raises comes as an interrupt would."""
    before = sys.gettrace()
    sys.settrace(trace)
    try:
        yield
    finally:
        sys.settrace(before)


@pytest.mark.parametrize("call", ["publish", "replace"])
def test_an_interrupt_just_after_the_name_was_given_is_settled_by_the_next_operation(hub, root, call):
    """A ^C that comes as link or rename returns loses nothing: the file is a hit, and can be replaced (I10)."""
    hub.add_repo(REPO, {FILE: BIG})
    cache = fresh(hub, root)
    expected = BIG
    if call == "replace":
        cache.fetch(REPO, FILE)
        expected = pattern(2_000_000, seed=3)
        hub.add_repo(REPO, {FILE: expected})
    code = getattr(disk, call).__code__

    def interrupt(frame, event, _):
        if frame.f_code is not code:
            return None
        if event == "return":
            raise KeyboardInterrupt
        return interrupt

    with tracing(interrupt), pytest.raises(KeyboardInterrupt):
        cache.fetch(REPO, FILE, force=call == "replace")
    (row,) = fresh(hub, root).entries()
    assert (row.state, row.next_state) == (("installing", None) if call == "publish" else ("ready", "installing"))
    path = root / REPO / FILE
    assert path.read_bytes() == expected
    again = fresh(hub, root)
    hub.reset()
    assert again.fetch(REPO, FILE) == path
    assert hub.body_gets() == 0
    again.fetch(REPO, FILE, force=True)
    assert path.read_bytes() == expected
    assert_whole(again, path)


LOCKS = (locks.__file__, write_lock.__file__)


def test_an_interrupt_at_any_line_of_the_locks_leaves_no_closed_descriptor_behind(hub, tmp_path):
    """What a forked child will close is open: a number that was closed may be a stranger's file by then."""
    hub.add_repo(REPO, {FILE: b"small"})
    lines = set()

    def collect(frame, event, _):
        if frame.f_code.co_filename not in LOCKS or frame.f_code.co_name == "__del__":
            return None  # what comes while Python collects is told, and not raised
        if event == "line":
            lines.add((frame.f_code, frame.f_lineno))
        return collect

    def traced(root, trace):
        cache = fresh(hub, root)
        cache.fetch(REPO, FILE)
        with tracing(trace), suppress(KeyboardInterrupt):
            cache.fetch(REPO, FILE, force=True)

    def run(*arguments):
        # Python 3.11 takes what was being handled at such a line for handled ever after, until the thread ends.
        thread = threading.Thread(target=traced, args=arguments)
        thread.start()
        thread.join()

    run(tmp_path / "whole", collect)
    assert len(lines) > 30 and locks._held == set()
    for number, (code, line) in enumerate(sorted(lines, key=lambda found: found[1])):

        def interrupt(frame, event, _, code=code, line=line):
            if frame.f_code is not code:
                return None if frame.f_code.co_filename not in LOCKS else interrupt
            if event == "line" and frame.f_lineno == line:
                raise KeyboardInterrupt
            return interrupt

        run(tmp_path / str(number), interrupt)
        stale = {fd for fd in locks._held if not is_open(fd)}
        # An interrupt just before a release leaves the lock to the process: not to the next test.
        for fd in locks._held - stale:
            locks.release(fd)
        locks._held.clear()
        assert stale == set(), f"{code.co_name}, line {line}"


def is_open(fd):
    """Whether a descriptor of this process is open."""
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


def test_bytes_that_have_another_name_are_not_written_to(hub, root, spawn):
    """After a kill between the two names of one inode, and a move of the file, both fetches to come leave it alone."""
    hub.add_repo(REPO, {FILE: BIG})
    killed_at("publish:unlink-partial", spawn)
    moved = root / "moved.bin"
    (root / REPO / FILE).rename(moved)
    path = fresh(hub, root).fetch(REPO, FILE)
    assert path.read_bytes() == moved.read_bytes() == BIG
    assert path.stat().st_ino != moved.stat().st_ino
    assert_whole(fresh(hub, root), path)


def test_a_backup_by_hard_links_is_not_written_to(hub, root, tmp_path, spawn):
    """A partial that a backup has linked is left to the backup; the download begins anew."""
    hub.add_repo(REPO, {FILE: BIG})
    killed_at("verify:hash", spawn)
    (partial,) = (root / ".model-cache" / "partial").iterdir()
    os.truncate(partial, 1_000_000)
    backup = tmp_path / "backup"
    os.link(partial, backup)
    cache = fresh(hub, root)
    assert cache.fetch(REPO, FILE).read_bytes() == BIG
    assert backup.read_bytes() == BIG[:1_000_000]
    assert_whole(cache, root / REPO / FILE)


def test_a_file_placed_after_a_killed_download_stays_whose_it_is(hub, root, spawn):
    """Force does not replace it, asks for none of its bytes, and makes no row say that the cache made it (I7)."""
    hub.add_repo(REPO, {FILE: BIG})
    killed_at("verify:hash", spawn)
    path = root / REPO / FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"mine")
    hub.reset()
    for _ in range(2):
        with pytest.raises(StorageError):
            fresh(hub, root).fetch(REPO, FILE, force=True)
        assert path.read_bytes() == b"mine"
        assert [row.state for row in fresh(hub, root).entries()] != ["ready"]
    assert hub.body_gets() == 0
    assert fresh(hub, root).fetch(REPO, FILE).read_bytes() == b"mine"


def test_an_inode_that_came_to_hold_other_bytes_is_not_taken_for_the_download(hub, root, spawn):
    """The number of an inode proves nothing: a file system gives it to the next file at once."""
    hub.add_repo(REPO, {FILE: BIG})
    killed_at("publish:link", spawn)
    (partial,) = (root / ".model-cache" / "partial").iterdir()
    path = root / REPO / FILE
    partial.rename(path)
    path.write_bytes(b"mine")
    with pytest.raises(StorageError):
        fresh(hub, root).fetch(REPO, FILE, force=True)
    assert path.read_bytes() == b"mine"
    assert [row.state for row in fresh(hub, root).entries()] != ["ready"]


def test_an_index_killed_before_its_first_migration_is_none(hub, root, spawn):
    """However often it is read there are no entries and no error, and a download makes it whole."""
    hub.add_repo(REPO, {FILE: BIG})
    killed_at("index:migrate", spawn)
    assert (root / ".model-cache" / "index.db").exists()
    cache = fresh(hub, root)
    for _ in range(3):
        assert cache.usage().all == 0
        assert cache.entries() == []
    assert_whole(cache, cache.fetch(REPO, FILE))


def test_every_file_of_a_groups_root_can_be_written_by_the_group(hub, root, spawn):
    """Under the usual umask 022 the cache's own files, a partial under way and the model file are the group's."""
    hub.add_repo(REPO, {FILE: BIG})
    code = f"""
    os.umask(0o022)
    cache.fetch("{REPO}", "{FILE}")
    """
    with hub.hold(FILE, after=0.5) as hold:
        process = spawn(code, settings={"sharing": "group"})
        hold.wait_for(1)
        during = modes(root)
        hold.release()
        finish(process)
    assert {"partial", "locks", "index.db", "index.lock"} <= {name.split("/")[0] for name in during}
    after = modes(root)
    assert {"used", "locks", "index.db", "index.lock"} <= {name.split("/")[0] for name in after}
    wrong = {name: oct(mode) for name, mode in (during | after).items() if mode & 0o060 != 0o060}
    assert wrong == {}
    assert (root / REPO / FILE).stat().st_mode & 0o060 == 0o060
    for directory in (
        root,
        root / REPO,
        root / ".model-cache",
        *filter(os.path.isdir, (root / ".model-cache").iterdir()),
    ):
        assert directory.stat().st_mode & 0o070 == 0o070, directory


def modes(root):
    """The permissions of each file of the cache's own, by its name in `.model-cache`."""
    own = root / ".model-cache"
    found = {}
    for path in own.rglob("*"):
        with suppress(FileNotFoundError):  # the note's temporary name
            if path.is_file():
                found[str(path.relative_to(own))] = path.stat().st_mode
    return found
