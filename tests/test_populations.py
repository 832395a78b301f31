"""Whoever uses one root at once: forked workers, threads, exec'ed and spawned children, a thousand processes."""

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
from support import FILE, REPO, Later, finish, pattern

from model_cache import InUseError, LockTimeoutError, ModelCache, OfflineMissError

BODY = pattern(2_000_000)
COLD = "cold.bin"
SMALL = [f"{letter}.json" for letter in "abcdef"]
CHILDREN, THREADS, CROWD = 8, 32, 1000

pytestmark = pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="looks at /proc")

# For forking parents: run a function in so many children at once, and tell their exit codes.
FORKS = """
import traceback, warnings
warnings.simplefilter("ignore", DeprecationWarning)  # of forking beside threads, which is what is tried here

def fork(count, work, together=True):
    ready, go, children = os.pipe(), os.pipe(), []
    for number in range(count):
        pid = os.fork()
        if not pid:
            code = 1
            try:
                os.close(go[1])
                os.write(ready[1], b".")
                os.read(go[0], 1)  # until every child is there, and the parent lets all go at once
                work(number)
                code = 0
            except BaseException:
                traceback.print_exc()
            finally:
                sys.stderr.flush()
                os._exit(code)
        children.append(pid)
    arrived = 0
    while arrived < count:
        arrived += len(os.read(ready[0], 4096))
    os.close(go[1])
    return children

def join(children):
    return sorted({os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children})
"""


def run(spawn, code, timeout=90):
    """What a program prints that may fork."""
    process = spawn(FORKS + "\n" + code)
    out, err = process.communicate(timeout=timeout)
    assert process.returncode == 0 and "Traceback" not in err, err
    return out.strip()


@pytest.fixture
def served(hub):
    """A repo with a warm file, a cold one, and some small ones."""
    hub.add_repo(REPO, {FILE: BODY, COLD: BODY[::-1], **{name: name.encode() for name in SMALL}})
    return hub


PRELOADED = f"""
cache = ModelCache(arguments["root"], endpoint=arguments["endpoint"], token=False, min_idle=0)
cache.fetch("{REPO}", "{FILE}")
lease = cache.lease("{REPO}", "{FILE}")
entries = cache.entries()
connection = cache._ctx.index._slot.connection
statements = []
connection.set_trace_callback(lambda statement: statements.append(os.getpid()))

def work(number):
    assert cache.fetch("{REPO}", "{FILE}") == lease.path
    cache.fetch("{REPO}", "{COLD}")
    with cache.lease("{REPO}", "{COLD}") as path:
        assert path.stat().st_size == {len(BODY)}
        cache.fetch("{REPO}", f"{{'abcdef'[number % 6]}}.json")
        cache.gc(max_size=0)
        assert path.exists()
    cache.pin("{REPO}", "{FILE}")
    assert len(cache.entries()) and cache.usage().all  # an evictor that looks at a file claims it for a moment
    assert not statements and cache._ctx.index._slot.connection is not connection
    lease.release()  # the parent's: nothing to give back here
"""


def test_workers_forked_from_a_preloaded_parent_share_nothing_with_it(served, spawn):
    """8 workers fetch, hit, lease and evict at once: one download, no statement on the parent's connection, its lease holds."""
    code = f"""{PRELOADED}
codes = join(fork({CHILDREN}, work))
statements.clear()
cache.unpin("{REPO}", "{FILE}")
evictor = ModelCache(arguments["root"], min_idle=0)
evictor.gc(max_size=0)
held = lease.path.exists()
lease.release()
evictor.gc(max_size=0)
print(json.dumps([codes, held, lease.path.exists(), {{*statements}} == {{os.getpid()}}]))
"""
    assert json.loads(run(spawn, code)) == [[0], True, False, True]
    assert served.body_gets(FILE) == served.body_gets(COLD) == 1


def test_a_fork_in_the_middle_of_a_download_neither_ends_nor_repeats_it(served, spawn):
    """Workers forked while a thread of their parent downloads wait for it; those that die let go of nothing of the parent's."""
    code = f"""
try:
    cache.fetch("{REPO}", "{COLD}", timeout=0)
except model_cache.DownloadInProgressError:
    pass
held = cache.lease("{REPO}", "{SMALL[0]}")
sys.stdin.readline()
assert join(fork(2, lambda number: os.abort())) == [-6]
children = fork({CHILDREN}, lambda number: cache.fetch("{REPO}", "{COLD}"))
print("forked", flush=True)
codes = join(children)
print(json.dumps([codes, cache.fetch("{REPO}", "{COLD}").stat().st_size]))
"""
    with served.hold(COLD, after=0.5) as hold:
        process = spawn(FORKS + code)
        hold.wait_for(1)
        print("go", file=process.stdin, flush=True)
        assert process.stdout.readline() == "forked\n"
        hold.release()
        assert json.loads(finish(process)) == [[0], len(BODY)]
    assert served.body_gets(COLD) == 1


def test_a_parent_that_dies_takes_its_leases_along(served, root, spawn):
    """What a killed parent had leased may be evicted, though children that it forked live on."""
    code = f"""
cache.fetch("{REPO}", "{FILE}")
lease = cache.lease("{REPO}", "{FILE}")
fork(3, lambda number: sys.stdin.read())
print("held", flush=True)
sys.stdin.read()
"""
    process = spawn(FORKS + code)
    assert process.stdout.readline() == "held\n"
    evictor = ModelCache(root, min_idle=0, clock=later())
    assert evictor.gc(max_size=0).evicted == []
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert [row.filename for row, _, _ in evictor.gc(max_size=0).evicted] == [FILE]


def later():
    """A clock an hour ahead."""
    clock = Later()
    clock.ahead = 3600
    return clock


def test_threads_that_share_a_cache_cause_one_download(served, cache):
    """32 threads leave a barrier at once: one body, one path."""
    barrier = Barrier(THREADS)

    def fetch(_):
        barrier.wait(30)
        return cache.fetch(REPO, COLD)

    with ThreadPoolExecutor(THREADS) as pool:
        assert len({*pool.map(fetch, range(THREADS), timeout=120)}) == 1
    assert served.body_gets(COLD) == 1


def methods(cache, chance):
    """Each public method, on files that every thread uses."""
    name = chance.choice([FILE, COLD, *SMALL])

    def leased(take):
        with take(REPO, name):
            return cache.is_cached(REPO, name)

    return {
        "fetch": lambda: cache.fetch(REPO, name),
        "force": lambda: cache.fetch(REPO, name, force=True),
        "timeout": lambda: cache.fetch(REPO, name, timeout=30),
        "offline": lambda: cache.fetch(REPO, name, offline=True),
        "lease": lambda: leased(cache.lease),
        "open": lambda: leased(cache.open),
        "pin": lambda: (cache.pin(REPO, name), cache.unpin(REPO, name)),
        "remove": lambda: cache.remove(REPO, name),
        "update": lambda: cache.update(REPO),
        "gc": lambda: cache.gc(max_size=chance.randrange(5_000_000)),
        "verify": lambda: cache.verify(repair=True),
        "reconcile": cache.reconcile,
        "entries": cache.entries,
        "usage": cache.usage,
        "path": lambda: cache.path(REPO, name),
    }


def test_every_method_may_be_called_by_every_thread(served, root):
    """32 threads call all of them in all orders: nothing but what the methods document, no deadlock, and all is right after."""
    cache = ModelCache(root, endpoint=served.url, token=False, min_idle=0)
    cache.fetch(REPO, FILE)
    done = set()

    def work(number):
        chance = random.Random(number)
        for _ in range(10):
            kind, method = chance.choice([*methods(cache, chance).items()])
            # In use, removed by another, another verify or reconcile under way, a force behind somebody's eviction.
            with contextlib.suppress(InUseError, OfflineMissError, LockTimeoutError):
                method()
            done.add(kind)

    with ThreadPoolExecutor(THREADS) as pool:
        assert [*pool.map(work, range(THREADS), timeout=90)] == [None] * THREADS
    assert done == {*methods(cache, random.Random())}
    report = cache.verify(max_age=0)
    assert (report.exit_code(strict=True), report.complete) == (0, True)
    # With the bytes that were to replace a file in use, which are kept beside it.
    assert cache.usage().all == sum(row.charged + row.next_charged for row in cache.entries())


HOLDING = f"""
import ctypes, threading
for name in {SMALL[:3]}:
    cache.fetch("{REPO}", name)
lease, file = cache.lease("{REPO}", "{SMALL[0]}"), cache.open("{REPO}", "{SMALL[1]}")
reader = ModelCache(arguments["root"], read_only=True)
reader.fetch("{REPO}", "{SMALL[2]}")  # keeps a lease, as it cannot touch
cache.entries()
try:
    cache.fetch("{REPO}", "{COLD}", timeout=0)
except model_cache.DownloadInProgressError:
    pass
sys.stdin.readline()
child = "import os, sys; told = [os.path.realpath(f'/proc/self/fd/{{fd}}') for fd in os.listdir('/proc/self/fd')]"
child += "; print(told, flush=True); sys.stdin.read()"
"""
EXECS = {
    "execv": "os.execv(sys.executable, [sys.executable, '-c', child])",
    "child": """
import subprocess
subprocess.Popen([sys.executable, "-c", child], close_fds=False)
os._exit(0)
""",
}


@pytest.mark.parametrize("how", EXECS)
def test_another_program_inherits_nothing(served, root, spawn, how):
    """Leases, open files, write locks and the index are closed by exec: what it left behind may be evicted, and resumed."""
    with served.hold(COLD, after=0.5) as hold:
        process = spawn(HOLDING + EXECS[how])
        hold.wait_for(1)
        print("go", file=process.stdin, flush=True)
        inherited = process.stdout.readline()
        hold.release()
    assert inherited.startswith("[") and str(root) not in inherited
    cache = ModelCache(root, endpoint=served.url, token=False, min_idle=0, clock=later())
    assert cache.fetch(REPO, COLD).read_bytes() == BODY[::-1]
    assert {*SMALL[:3]} <= {row.filename for row, _, _ in cache.gc(max_size=0).evicted}


@pytest.mark.parametrize("method", ["spawn", "forkserver", "fork"])
def test_pools_take_a_cache_along(served, root, spawn, method):
    """A cache that was used and is handed to workers of multiprocessing works in each; one download between them."""
    code = f"""
import multiprocessing, operator
cache.fetch("{REPO}", "{FILE}")
cache.entries()
with multiprocessing.get_context("{method}").Pool({CHILDREN}) as pool:
    paths = pool.map_async(operator.methodcaller("fetch", "{REPO}", "{COLD}"), [cache] * 64, chunksize=1).get(60)
    sizes = pool.map_async(operator.methodcaller("usage"), [cache] * 8).get(60)
print(len(set(paths)), paths[0].stat().st_size, len(set(sizes)))
"""
    assert run(spawn, code) == f"1 {len(BODY)} 1"
    assert served.body_gets(COLD) == 1


@pytest.mark.timeout(300)  # a minute on an idle machine of two processors, of which half is the forking
def test_a_thousand_processes_at_once(served, root, spawn):
    """1,000 forked workers miss one file at one moment: one download, one path, none fails, none grows."""
    code = f"""
import resource
import model_cache.download.miss, model_cache.hub.transport, sqlite_utils, filelock
cache.fetch("{REPO}", "{FILE}")
read, write = os.pipe()
def work(number):
    path = cache.fetch("{REPO}", "{COLD}")
    assert os.stat(path).st_size == {len(BODY)}
    os.write(write, b".")
codes = join(fork({CROWD}, work))
grown = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(json.dumps([codes, len(os.read(read, 4096)), grown < 2]))
"""
    assert json.loads(run(spawn, code, timeout=240)) == [[0], CROWD, True]
    assert served.body_gets(COLD) == 1
    assert served.body_bytes(COLD) == len(BODY)
    assert os.listdir(root / ".model-cache" / "partial") == []


# What each operation, whether it succeeds or fails, may leave open: nothing.
LEAKS = f"""
import itertools, threading
numbers = itertools.count()
tight = ModelCache(arguments["root"], endpoint=arguments["endpoint"], token=False, max_size=1_000_000)
older = ModelCache(arguments["root"] + "/none", endpoint="http://127.0.0.1:9", token=False)

def failing(kind, act):
    def run():
        try:
            act()
        except kind:
            return
        raise AssertionError(f"no {{kind.__name__}}")
    return run

def removed():
    cache.remove("{REPO}", "{COLD}")
    cache.fetch("{REPO}", "{COLD}")

def rotten():
    path = cache.path("{REPO}", "{COLD}")
    status = path.stat()
    with path.open("r+b") as file:
        file.write(b"rot")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert cache.verify(repair=True).repaired

def opened():
    with cache.open("{REPO}", "{SMALL[0]}") as file:
        file.read()

def held():
    with cache.lease("{REPO}", "{SMALL[0]}"):
        failing(model_cache.InUseError, lambda: cache.fetch("{REPO}", "{SMALL[0]}", force=True))()
        assert cache.remove("{REPO}", "{SMALL[0]}").in_use

def background():
    cache.fetch("{REPO}", "{SMALL[1]}")
    cache.remove("{REPO}", "{SMALL[1]}")
    cache.fetch("{REPO}", "{SMALL[1]}", timeout=30)

def reader():
    ModelCache(arguments["root"], read_only=True, offline=True, min_idle=0).fetch("{REPO}", "{SMALL[0]}")

ACTS = dict(
    hit=lambda: cache.fetch("{REPO}", "{SMALL[0]}"),
    slow_hit=lambda: (cache._memory.clear(), cache.fetch("{REPO}", "{SMALL[0]}")),
    lease=lambda: cache.lease("{REPO}", "{SMALL[0]}").release(),
    dropped_lease=lambda: cache.lease("{REPO}", "{SMALL[0]}") and None,
    opened=opened, removed=removed, rotten=rotten, held=held, background=background, reader=reader,
    force=lambda: cache.fetch("{REPO}", "{SMALL[2]}", force=True),
    update=lambda: cache.update("{REPO}"),
    pin=lambda: (cache.pin("{REPO}", "{SMALL[0]}"), cache.unpin("{REPO}", "{SMALL[0]}")),
    gc=lambda: cache.gc(), evict=lambda: cache.gc(max_size=0), verify=lambda: cache.verify(max_age=0),
    reconcile=lambda: cache.reconcile(), rebuild=lambda: cache.reconcile(rebuild=True), entries=lambda: cache.entries(),
    usage=lambda: cache.usage(), is_cached=lambda: cache.is_cached("{REPO}", "{SMALL[0]}"),
    not_found=failing(model_cache.NotFoundError, lambda: cache.fetch("{REPO}", f"none-{{next(numbers)}}.bin")),
    offline=failing(model_cache.OfflineMissError, lambda: cache.fetch("{REPO}", "none.bin", offline=True)),
    broken=failing(model_cache.IntegrityError, lambda: cache.fetch("{REPO}", "flipped.bin")),
    refused=failing(model_cache.DownloadError, lambda: cache.fetch("{REPO}", "refused.bin")),
    full=failing(model_cache.CacheFullError, lambda: tight.fetch("{REPO}", "{FILE}", force=True)),
    unreachable=failing(model_cache.ModelCacheError, lambda: older.fetch("{REPO}", "{FILE}")),
    unknown=failing(model_cache.OfflineMissError, lambda: cache.pin("{REPO}", "none.bin")),
    wrong_name=failing(model_cache.InvalidNameError, lambda: cache.fetch("{REPO}", "../x")),
)

def descriptors():
    for thread in threading.enumerate():
        if thread is not threading.current_thread():
            thread.join(60)  # what worked for a caller has descriptors until its end, which the caller does not wait for
    return len(os.listdir("/proc/self/fd"))

def leaked():
    found = {{}}
    for name, act in ACTS.items():
        cache.fetch("{REPO}", "{FILE}"), cache.fetch("{REPO}", "{COLD}"), cache.fetch("{REPO}", "{SMALL[0]}")
        for _ in range(3):
            act()
        before = descriptors()
        for _ in range(12):
            act()
        if descriptors() != before:
            found[name] = descriptors() - before
    return found

print(json.dumps(leaked()))
"""


def test_no_operation_leaves_a_descriptor_open(served, spawn):
    """Every method, succeeding and failing, repeated: as many descriptors as before."""
    served.add_repo(
        REPO,
        {FILE: BODY, COLD: BODY[::-1], "flipped.bin": BODY + b"f", "refused.bin": BODY + b"r"}
        | {name: name.encode() for name in SMALL},
    )
    served.fault("flipped.bin", "flip", times=None)
    served.fault("refused.bin", "status", status=403, times=None, on="any")
    assert json.loads(finish(spawn(LEAKS, settings={"min_idle": 0, "touch_interval": 0}), timeout=90)) == {}


def test_memory_and_descriptors_do_not_grow():
    """The endurance run in small: resident memory and descriptors stay where the warm-up left them."""
    command = [sys.executable, "-m", "stress.endurance", "--operations", "2000"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stdout + done.stderr
