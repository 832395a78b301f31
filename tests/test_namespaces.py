"""One root seen from several pid and mount namespaces, and by several users: what a pid or an owner says is not believed."""

import json
import os
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path

import pytest
from support import FILE, REPO, Later, finish, pattern

from model_cache import ModelCache
from model_cache.index import queries

BODY = pattern(4_000_000)
OTHER = "other.bin"
APART = "unshare --mount --pid --fork --kill-child --mount-proc"
FETCH = f'print(cache.fetch("{REPO}", "{FILE}"))'
GROUP, FIRST, SECOND, STRANGER = 60_000, 60_001, 60_002, 60_003  # ids that nobody has

pytestmark = pytest.mark.root


@pytest.fixture
def apart(spawn, root, tmp_path):
    """Start a process in namespaces of its own, where it is pid 1 and the root is mounted at another path too."""
    if os.geteuid() != 0 or subprocess.run([*APART.split(), "true"], capture_output=True).returncode:
        pytest.skip("makes namespaces, which needs root")
    mounted = tmp_path / "mounted"
    mounted.mkdir()
    root.mkdir()
    mount = f"import subprocess; subprocess.run(['mount', '--bind', '{root}', '{mounted}'], check=True)\n"

    def start(code, *, elsewhere=False, **given):
        more = {"root": str(mounted), **given} if elsewhere else given
        return spawn(f"{mount if elsewhere else ''}assert os.getpid() == 1\n{code}", tracer=APART, **more)

    return start


def later():
    """A clock an hour ahead: nothing is recent any more."""
    clock = Later()
    clock.ahead = 3600
    return clock


def killed_half_way(hub, start):
    """A download that was killed in its middle; who began it called itself pid 1."""
    hub.add_repo(REPO, {FILE: BODY, OTHER: BODY[::-1]})
    with hub.hold(FILE, after=0.5) as hold:
        process = start(FETCH)
        hold.wait_for(1)
        # Unlike a signal to `unshare`, this is over when it returns: the namespace's init is the download itself.
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        os.kill(int(children[0]), signal.SIGKILL)
        process.wait()
        hold.release()


@pytest.mark.parametrize("where", ["the same pid in another namespace", "pid 1 of this one"])
def test_a_dead_downloader_is_not_believed_alive_for_its_pid(hub, root, spawn, apart, where):
    """A process of the same pid lives, the dead one's lock does not: its download is taken over at once."""
    killed_half_way(hub, apart)
    (row,) = queries.unsettled(ModelCache(root)._ctx.index)
    assert row.holder.startswith("1@")
    start = apart if where.startswith("the same") else spawn
    found = finish(start(FETCH, settings={"lock_timeout": "5s"}))
    assert found == str(root / REPO / FILE)
    assert (root / REPO / FILE).read_bytes() == BODY
    assert queries.unsettled(ModelCache(root)._ctx.index) == []


def test_room_of_the_dead_is_taken_back_though_its_pid_lives(hub, root, apart):
    """An evictor that is pid 1 itself gives away what the dead pid 1 of another namespace had reserved."""
    killed_half_way(hub, apart)
    fetch = f'print(cache.fetch("{REPO}", "{OTHER}").stat().st_size)'
    # Room for one: however little the dead one had written, it is in the way.
    assert finish(apart(fetch, settings={"max_size": 4_020_000})) == str(len(BODY))
    assert os.listdir(root / ".model-cache" / "partial") == []


@pytest.mark.parametrize("downloads_apart", [True, False])
def test_a_live_downloader_is_not_believed_dead_for_its_pid(hub, root, spawn, apart, downloads_apart):
    """Where its pid means nothing its lock does: others wait for it, and no evictor takes its partial or its reservation."""
    hub.add_repo(REPO, {FILE: BODY, OTHER: BODY[::-1]})
    leader, other = (apart, spawn) if downloads_apart else (spawn, apart)
    rival = f"""
    try:
        cache.fetch("{REPO}", "{OTHER}")
    except model_cache.CacheFullError as error:
        print("full", cache.gc().partials_removed, len(os.listdir(cache.root / ".model-cache" / "partial")))
    """
    with hub.hold(FILE, after=0.5) as hold:
        leading = leader(FETCH, settings={"max_size": 5_000_000})
        hold.wait_for(1)
        rival = "\n".join(line[4:] for line in rival.splitlines())
        assert finish(other(rival, settings={"max_size": 5_000_000, "min_idle": 0})) == "full 0 1"
        waiting = [other(f'print("asked", flush=True)\n{FETCH}') for _ in range(3)]
        assert [process.stdout.readline() for process in waiting] == ["asked\n"] * 3
        hold.release()
        assert {finish(process) for process in (leading, *waiting)} == {str(root / REPO / FILE)}
    assert hub.body_gets(FILE) == 1
    assert (root / REPO / FILE).read_bytes() == BODY


def test_processes_of_many_namespaces_cause_one_download(hub, root, spawn, apart):
    """Single-flight holds between pid namespaces, and between two mounts of one root."""
    hub.add_repo(REPO, {FILE: BODY})
    with hub.hold(FILE) as hold:
        processes = [apart(FETCH, elsewhere=number % 2 == 1) for number in range(4)] + [spawn(FETCH) for _ in range(2)]
        hold.wait_for(1)
        hold.release()
        paths = {finish(process) for process in processes}
    assert paths == {str(root / REPO / FILE), str(root.parent / "mounted" / REPO / FILE)}
    assert hub.body_gets(FILE) == 1


USES = {
    "leased": f'kept = cache.lease("{REPO}", "{FILE}")',
    "open": f'kept = open(cache.fetch("{REPO}", "{FILE}"), "rb")',
}
SPARED = """
import time
from model_cache.clock import Clock
class Later(Clock):
    def time(self):
        return super().time() + 3600
evictor = ModelCache(arguments["root"], clock=Later())
report = evictor.gc(max_size=0)
print(json.dumps([len(report.evicted), sorted(spared.reason for spared in report.spared)]))
"""


@pytest.mark.parametrize("holds_apart", [True, False])
@pytest.mark.parametrize("how", USES)
def test_what_is_used_in_one_namespace_is_not_evicted_from_another(hub, root, spawn, apart, how, holds_apart):
    """Leases and open files are seen through pid and mount namespaces, and gone when their process is."""
    hub.add_repo(REPO, {FILE: BODY})
    keep = f'{USES[how]}\nprint("held", flush=True)\nsys.stdin.read()'
    holder = apart(keep, elsewhere=True) if holds_apart else spawn(keep)
    assert holder.stdout.readline() == "held\n"
    evict = (lambda: spawn(SPARED)) if holds_apart else (lambda: apart(SPARED, elsewhere=True))
    assert json.loads(finish(evict())) == [0, [how]]
    finish(holder)
    assert json.loads(finish(evict())) == [1, []]
    assert not (root / REPO / FILE).exists()


# Several users


@pytest.fixture
def shared():
    """A directory that every user can reach, as pytest's own cannot be."""
    if os.geteuid() != 0:
        pytest.skip("becomes other users")
    place = Path(tempfile.mkdtemp(prefix="model-cache-users-"))
    place.chmod(0o755)
    (place / "cache").mkdir()
    yield place / "cache"
    shutil.rmtree(place)


@pytest.fixture
def as_user(spawn, shared):
    """Start a process as one of the users, each of whom is in a group of their own and perhaps in the shared one."""

    def start(code, uid, *, member=True, sharing="group", **settings):
        become = f"""
import concurrent.futures.thread, filelock, importlib, pkgutil, shlex, sqlite_utils.migrations
for module in pkgutil.walk_packages(model_cache.__path__, "model_cache."):  # as that user the interpreter may be closed
    if not module.name.endswith(("__main__", ".plugin")):
        importlib.import_module(module.name)
os.setgroups([{GROUP if member else ""}]); os.setgid({uid}); os.setuid({uid}); os.umask(0o022)
"""
        return spawn(become + code, root=str(shared), settings={"sharing": sharing, "min_idle": 0, **settings})

    return start


def shared_by_group(shared):
    """Give a root to the group."""
    os.chown(shared, FIRST, GROUP)
    shared.chmod(0o2775)


def all_of(place):
    """Everything below a directory, and when it was last changed."""
    found = {path: path.lstat() for path in place.rglob("*")}
    return {path: (one.st_ino, one.st_mode, one.st_uid, one.st_size, one.st_ctime_ns) for path, one in found.items()}


def test_a_private_root_is_closed_to_other_users(hub, shared, as_user):
    """Another user is told so by errors of the family, whatever is asked; nothing of the root changes."""
    hub.add_repo(REPO, {FILE: BODY})
    os.chown(shared, FIRST, FIRST)
    shared.chmod(0o700)
    finish(as_user(FETCH, FIRST, sharing="private"))
    before = all_of(shared)
    code = f"""
asked = {{
    "fetch": lambda: cache.fetch("{REPO}", "{FILE}"), "is_cached": lambda: cache.is_cached("{REPO}", "{FILE}"),
    "lease": lambda: cache.lease("{REPO}", "{FILE}"), "force": lambda: cache.fetch("{REPO}", "{FILE}", force=True),
    "remove": lambda: cache.remove("{REPO}", "{FILE}", force=True), "gc": lambda: cache.gc(max_size=0),
    "verify": lambda: cache.verify(repair=True), "reconcile": lambda: cache.reconcile(rebuild=True),
    "update": lambda: cache.update("{REPO}"), "pin": lambda: cache.pin("{REPO}"),
}}
for name, act in asked.items():
    try:
        print(name, act())
    except model_cache.ModelCacheError as error:
        assert arguments["root"] in str(error), name
"""
    assert finish(as_user(code, SECOND, member=False, sharing="private")) == ""
    assert all_of(shared) == before
    assert hub.body_gets() == 1


def test_users_of_a_group_share_downloads_hits_and_leases(hub, shared, as_user):
    """What one user's killed download left another resumes; who did not download a file hits, touches and leases it."""
    shared_by_group(shared)
    hub.add_repo(REPO, {FILE: pattern(12_000_000)})  # too small for several connections, whose bodies would be counted
    with hub.hold(FILE, after=0.5) as hold:
        first = as_user(FETCH, FIRST)
        hold.wait_for(1)
        first.kill()
        first.wait()
        hold.release()
    hub.reset()
    assert finish(as_user(FETCH, SECOND)) == str(shared / REPO / FILE)
    assert hub.body_gets(FILE) == 1
    code = f"""
from model_cache import hit
before = os.stat(next(os.scandir(arguments["root"] + "/.model-cache/used"))).st_mtime_ns
with cache.lease("{REPO}", "{FILE}") as path:
    print(os.stat(next(os.scandir(arguments["root"] + "/.model-cache/used"))).st_mtime_ns > before, hit._kept)
"""
    assert finish(as_user(code, FIRST)) == "True []"
    assert hub.body_gets(FILE) == 1


def test_any_user_of_a_group_verifies_and_updates_what_another_owns_and_evicts_it_where_that_is_allowed(
    hub, shared, as_user
):
    """The kernel has the open test for owners: others spare what they cannot test, unless the policy says otherwise."""
    shared_by_group(shared)
    hub.add_repo(REPO, {FILE: BODY, OTHER: BODY[::-1]})
    finish(as_user(f'cache.fetch("{REPO}", "{FILE}"); cache.fetch("{REPO}", "{OTHER}")', FIRST))
    holder = as_user(f'kept = cache.lease("{REPO}", "{FILE}")\nprint("held", flush=True)\nsys.stdin.read()', STRANGER)
    assert holder.stdout.readline() == "held\n"
    commit = hub.add_repo(REPO, {FILE: BODY, OTHER: BODY[::-1] + b"more"})
    code = f"""
path = cache.path("{REPO}", "{FILE}")
print(cache.verify().ok, [spared.reason for spared in cache.gc(max_size=0).spared if spared.row.filename == "{FILE}"])
cache.fetch("{REPO}", "{OTHER}")
print(cache.update("{REPO}")[0].commit, os.stat(cache.path("{REPO}", "{OTHER}")).st_uid)
"""
    first, second = finish(as_user(code, SECOND)).splitlines()
    assert first == "2 ['leased']"
    assert second == f"{commit} {SECOND}"
    finish(holder)
    left = """
report = cache.gc(max_size=0)
print([row.filename for row, _, _ in report.evicted], cache.usage().all, *{spared.reason for spared in report.spared})
"""
    assert finish(as_user(left, STRANGER)).startswith("[] ")
    assert finish(as_user(left, STRANGER)).endswith(" untested")
    evicted = finish(as_user(left, STRANGER, evict_untested=True))
    assert evicted in (f"['{FILE}', '{OTHER}'] 0", f"['{OTHER}', '{FILE}'] 0")


def test_a_reader_outside_of_the_group_is_served_and_protected(hub, shared, as_user):
    """A user who may read and not write hits what is there, keeps a lease in place of a touch, and changes nothing."""
    shared_by_group(shared)
    hub.add_repo(REPO, {FILE: BODY})
    finish(as_user(FETCH, FIRST))
    keep = f'{FETCH}\nprint("held", flush=True)\nsys.stdin.read()'
    reader = as_user(keep, STRANGER, member=False, min_idle="1h")
    assert [reader.stdout.readline() for _ in range(2)] == [f"{shared / REPO / FILE}\n", "held\n"]
    assert [one.reason for one in ModelCache(shared, min_idle=0, clock=later()).gc(max_size=0).spared] == ["leased"]
    finish(reader)
    assert len(ModelCache(shared, min_idle=0, clock=later()).gc(max_size=0).evicted) == 1
