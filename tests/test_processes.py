"""Many processes: one download, whoever dies."""

import os
import select
import signal

import pytest
from support import FILE, REPO, finish, pattern

from model_cache import ModelCache
from model_cache.index import queries

BIG = pattern(4_000_000)
FETCH = f'print(cache.fetch("{REPO}", "{FILE}"))'


@pytest.mark.parametrize("count", [8, 32])
def test_any_number_of_processes_cause_one_download(hub, root, spawn, count):
    """Of N processes that miss one file at once one downloads it, and all get the same path (I2)."""
    hub.add_repo(REPO, {FILE: BIG})
    with hub.hold(FILE) as hold:
        processes = [spawn(FETCH) for _ in range(count)]
        hold.wait_for(1)
        hold.release()
        paths = {finish(process) for process in processes}
    assert paths == {str(root / REPO / FILE)}
    assert hub.body_gets(FILE) == 1
    assert hub.body_bytes(FILE) == len(BIG)
    assert (root / REPO / FILE).read_bytes() == BIG


def test_who_waits_for_a_download_loads_neither_http_nor_sql(hub, root, spawn):
    """A process that is handed what another one downloaded never loads what only a downloader needs."""
    hub.add_repo(REPO, {FILE: BIG})
    code = f"""
    from model_cache.progress import Progress

    class Telling(Progress):
        def waiting(self, *_):
            print("waits", flush=True)

    cache.fetch("{REPO}", "{FILE}", progress=Telling())
    heavy = {{"filelock", "requests", "urllib3", "ssl", "sqlite3", "sqlite_utils", "logging", "dataclasses"}}
    print(sorted(heavy & set(sys.modules)))
    """
    with hub.hold(FILE) as hold:
        leader = spawn(FETCH)
        hold.wait_for(1)
        waiter = spawn(code)
        assert waiter.stdout.readline() == "waits\n"
        hold.release()
        assert finish(waiter).splitlines()[-1] == "[]"
        finish(leader)
    assert hub.body_gets(FILE) == 1


def test_the_lock_of_who_leads_is_filelocks_own(root, tmp_path):
    """What one process holds through `filelock` no other gets directly, and the other way round: it is one lock."""
    from filelock import FileLock, Timeout

    from model_cache import locks, write_lock

    path = str(tmp_path / "key.lock")
    lock = write_lock.WriteLock(path, 0o600)
    assert lock.acquire()
    assert locks.try_write(path, 0o600) is None
    with pytest.raises(Timeout):
        FileLock(path, thread_local=False).acquire(blocking=False)
    lock.release()
    fd = locks.try_write(path, 0o600)
    assert not write_lock.WriteLock(path, 0o600).acquire()
    locks.release(fd)
    with FileLock(path, thread_local=False).acquire(blocking=False):
        assert not lock.acquire()


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_a_killed_leader_is_succeeded_by_one_that_resumes(hub, root, spawn, share):
    """After a SIGKILL at any share of the body a waiting process goes on where the dead one was (I2, I10)."""
    large = pattern(32_000_000)
    hub.add_repo(REPO, {FILE: large})
    one = {"connections": 1}  # what is held looks slow, and of what comes over several more is on its way
    with hub.hold(FILE, after=share) as hold:
        leader = spawn(FETCH, settings=one)
        hold.wait_for(1)
        waiter = spawn('print("waiting", flush=True)\n' + FETCH, settings=one)
        assert waiter.stdout.readline() == "waiting\n"
        wait_for_partial(root, int(len(large) * share) - (1 << 20))
        leader.send_signal(signal.SIGKILL)
        leader.wait()
        hold.release()
        assert finish(waiter) == str(root / REPO / FILE)
    assert (root / REPO / FILE).read_bytes() == large
    assert hub.body_bytes(FILE) <= 1.1 * len(large)
    assert os.listdir(root / ".model-cache" / "partial") == []
    assert [row.state for row in queries.entries(ModelCache(root)._ctx.index)] == ["ready"]


def wait_for_partial(root, size):
    """Block until a partial has at least so many bytes; bounded by the number of looks."""
    folder = root / ".model-cache" / "partial"
    for _ in range(30_000):
        if sum(file.stat().st_size for file in folder.iterdir()) >= size:
            return
        select.select([], [], [], 0.002)
    raise AssertionError(f"no partial of {size} bytes")


def test_an_interrupted_command_leaves_a_partial_that_another_process_resumes(hub, root, spawn):
    """^C keeps what has arrived: the next process asks for the rest only."""
    hub.add_repo(REPO, {FILE: BIG})
    with hub.hold(FILE, after=0.5) as hold:
        process = spawn(FETCH)
        hold.wait_for(1)
        wait_for_partial(root, len(BIG) // 2 - (1 << 20))
        process.send_signal(signal.SIGINT)
        process.wait()
        hold.release()
    hub.reset()
    finish(spawn(FETCH))
    assert hub.body_bytes(FILE) < len(BIG)
    assert (root / REPO / FILE).read_bytes() == BIG


def test_what_a_signal_handler_raises_is_no_broken_connection(hub, root, spawn):
    """An exception of the program's own, raised while bytes are awaited, leaves `fetch` at once; the bytes are kept."""
    hub.add_repo(REPO, {FILE: BIG})
    code = f"""
    import signal

    class OutOfTime(Exception):
        pass

    def over(*_):
        raise OutOfTime

    signal.signal(signal.SIGUSR1, over)
    try:
        cache.fetch("{REPO}", "{FILE}")
    except OutOfTime:
        print("left")
    """
    with hub.hold(FILE, after=0.5) as hold:
        process = spawn(code)
        hold.wait_for(1)
        wait_for_partial(root, len(BIG) // 2 - (1 << 20))
        process.send_signal(signal.SIGUSR1)
        assert finish(process) == "left"
        assert hold.arrived == 1
    hub.reset()
    finish(spawn(FETCH))
    assert hub.body_bytes(FILE) < len(BIG)


def test_those_who_waited_share_the_leaders_failure(hub, root, spawn):
    """A failure is told to who waited for that attempt: N processes do not repeat it one by one."""
    hub.add_repo(REPO, {FILE: BIG})
    hub.fault(FILE, "flip", times=None)
    code = f"""
    from model_cache.progress import Progress

    class Telling(Progress):
        def waiting(self, *_):
            print("waits", flush=True)

    try:
        cache.fetch("{REPO}", "{FILE}", progress=Telling())
    except model_cache.IntegrityError as error:
        print("refused", error.expected)
    """
    with hub.hold(FILE) as hold:
        leader = spawn(code)
        hold.wait_for(1)
        waiters = [spawn(code) for _ in range(5)]
        for process in waiters:
            assert process.stdout.readline() == "waits\n"
        hold.release()
        outputs = {finish(process).splitlines()[-1] for process in (leader, *waiters)}
    assert len(outputs) == 1 and "refused" in outputs.pop()
    # Twice by the leader, and twice by one of those who came after its attempt had begun: the others waited before that one's.
    assert hub.body_gets(FILE) == 4
    assert not (root / REPO / FILE).exists()


def test_many_processes_open_a_new_root_at_once(hub, root, spawn):
    """32 processes that make the root, the index and their files at once all succeed, and every file has its row."""
    names = [f"file-{number}.json" for number in range(32)]
    hub.add_repo(REPO, {name: name.encode() for name in names})
    processes = [spawn(f'cache.fetch("{REPO}", "{name}")') for name in names]
    for process in processes:
        finish(process)
    found = queries.entries(ModelCache(root)._ctx.index)
    assert sorted(row.filename for row in found) == sorted(names)
    assert {row.state for row in found} == {"ready"}


def test_a_forked_child_uses_the_cache_of_its_parent(hub, spawn):
    """An object inherited over fork works in the child: locks, connections and the index are its own."""
    hub.add_repo(REPO, {"a": b"a" * 100, "b": b"b" * 100, "c": b"c" * 100})
    code = f"""
    cache.fetch("{REPO}", "a")
    children = []
    for name in "bc":
        pid = os.fork()
        if pid == 0:
            try:
                cache.fetch("{REPO}", name)
                cache.fetch("{REPO}", "a")
                os._exit(0)
            except BaseException as error:
                print(repr(error), file=sys.stderr, flush=True)
                os._exit(1)
        children.append(pid)
    print([os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children])
    cache.fetch("{REPO}", "b")
    """
    process = spawn(
        "import warnings; warnings.simplefilter('ignore', DeprecationWarning)\n" + code.replace("\n    ", "\n")
    )
    out, err = process.communicate(timeout=120)
    assert out.strip() == "[0, 0]", err


def test_threads_of_one_process_cause_one_download(cache, hub):
    """Threads that share a cache exclude each other as processes do."""
    from concurrent.futures import ThreadPoolExecutor

    hub.add_repo(REPO, {FILE: BIG})
    with ThreadPoolExecutor(16) as pool:
        paths = set(pool.map(lambda _: cache.fetch(REPO, FILE), range(16)))
    assert len(paths) == 1
    assert hub.body_gets(FILE) == 1


def test_a_holder_that_makes_no_progress_is_not_waited_for_for_ever(hub, root, spawn):
    """`lock_timeout` runs while nothing moves, then the error names the holder."""
    hub.add_repo(REPO, {FILE: BIG})
    with hub.hold(FILE, after=0.5) as hold:
        leader = spawn(FETCH)
        hold.wait_for(1)
        code = f"""
        try:
            cache.fetch("{REPO}", "{FILE}")
        except model_cache.LockTimeoutError as error:
            print(error)
        """
        message = finish(spawn(code, settings={"lock_timeout": "0.5s"}))
        hold.release()
        finish(leader)
    assert f"process {leader.pid}@" in message and "nothing moved" in message
