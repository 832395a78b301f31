"""One root that several hosts share: what each keeps for itself, who may take files away, and what is done without locks."""

import os
import shutil
import socket
import threading

import pytest
from job_equipment import until
from sshfs_equipment import Mounts
from support import FILE, REPO, Later, finish, pattern

from model_cache import CacheFullError, InUseError, LockTimeoutError, ModelCache, StorageError, operations
from model_cache.context import Context
from model_cache.doctor import Status, examine, sharing
from model_cache.download import miss
from model_cache.download.request import Request
from model_cache.layout import Entry
from model_cache.mounts import Mount
from model_cache.preparing import prepare
from model_cache.settings import Settings
from model_cache.volumes import is_shared, is_silly, is_stateless

BIG = pattern(3 << 20)
SILLY = ".nfs" + "0" * 10 + "a3c4f1" + "0000002b"
HERE = socket.gethostname()

FETCH = """
print("ready", flush=True)
input()
print(cache.fetch("owner/name", "model.bin"), flush=True)
"""


def mounted(kind, *options):
    """A mount of this type at the top of everything."""
    return Mount((0, 1), "/", kind, "server:/export", frozenset(options))


def host(root, hub, state, **settings):
    """A cache as one host has it, with a state directory of its own."""
    return ModelCache(root, endpoint=hub.url, token=False, state_dir=str(state), **settings)


def context(root, hub, mount, **settings):
    """What an operation is handed on a volume of this kind."""
    return Context(Settings({}, root=root, endpoint=hub.url, **settings), token=False, mount=mount, clock=Later())


def started(spawn, number, **settings):
    """Hosts that are ready to fetch one file, each with what `settings` makes of its number."""
    hosts = [spawn(FETCH, **{name: value(one) for name, value in settings.items()}) for one in range(number)]
    for process in hosts:
        assert process.stdout.readline() == "ready\n"
    for process in hosts:
        process.stdin.write("\n")
        process.stdin.flush()
    return hosts


@pytest.mark.parametrize(
    "mount, shared, stateless",
    [
        (None, False, False),
        (mounted("ext4"), False, False),
        (mounted("nfs", "vers=3"), True, True),
        (mounted("nfs"), True, True),
        (mounted("nfs4", "vers=4.1"), True, False),
        (mounted("nfs", "vers=4.2"), True, False),
        (mounted("ceph"), True, False),
        (mounted("lustre", "flock"), True, False),
        (mounted("fuse.sshfs"), True, False),
        (mounted("fuse.unheard-of"), False, False),
    ],
)
def test_the_kind_of_volume_is_told_from_its_mount(mount, shared, stateless):
    """Whether other hosts can be at a volume, and whether its server knows what they have open, follows from the mount."""
    assert (is_shared(mount), is_stateless(mount)) == (shared, stateless)


def test_each_host_has_an_index_of_its_own(root, hub, tmp_path):
    """With a `state_dir` the index and the locks of its users are there, what hosts tell each other stays with the files."""
    hub.add_repo(REPO, {FILE: BIG, "other.json": b"{}"})
    one, two = (host(root, hub, tmp_path / name) for name in ("one", "two"))
    assert one.fetch(REPO, FILE).read_bytes() == BIG
    hub.reset()
    assert two.fetch(REPO, FILE).read_bytes() == BIG
    assert two.fetch(REPO, "other.json").read_bytes() == b"{}"
    assert hub.body_gets(FILE) == 0
    assert [row.filename for row in one.entries()] == [FILE]
    assert [row.filename for row in two.entries()] == ["other.json"]
    (state,) = (tmp_path / "one").iterdir()
    assert {"index.db", "index.lock", "backup", "host"} <= set(os.listdir(state))
    assert {"locks", "used", "damaged", "listings", "partial", "trash", "quarantine"} == {
        path.name for path in (root / ".model-cache").iterdir() if path.is_dir()
    }
    assert not [name for name in os.listdir(root / ".model-cache") if name.startswith(("index", "gc", "verify"))]


def test_hosts_with_their_own_indexes_share_one_download(root, hub, tmp_path, spawn):
    """Where locks exclude between hosts, four that want a file at once cost the Hub one body."""
    hub.add_repo(REPO, {FILE: BIG})
    held = hub.hold(FILE, after=0.5)
    hosts = started(spawn, 4, settings=lambda one: {"state_dir": str(tmp_path / f"state-{one}")})
    hub.wait_until(lambda: hub.body_gets(FILE) == 1)
    held.release()
    for process in hosts:
        finish(process)
    assert (root / REPO / FILE).read_bytes() == BIG
    assert hub.body_gets(FILE) == 1


def test_no_host_writes_in_anothers_partial(root, hub, tmp_path, spawn):
    """What a killed host leaves is resumed by that host, and never touched by another; nothing but the file is left."""
    hub.add_repo(REPO, {FILE: BIG})
    held = hub.hold(FILE, after=0.5)
    (process,) = started(spawn, 1, settings=lambda _: {"state_dir": str(tmp_path / "one")})
    partials = root / ".model-cache" / "partial"
    until(lambda: partials.exists() and any(file.stat().st_size for file in partials.iterdir()), "bytes came")
    process.kill()
    process.communicate()
    held.release()
    (left,) = partials.iterdir()
    before = left.stat()
    hub.reset()
    assert host(root, hub, tmp_path / "two").fetch(REPO, FILE).read_bytes() == BIG
    assert hub.body_bytes(FILE) == len(BIG)
    assert left.stat().st_mtime_ns == before.st_mtime_ns
    os.unlink(root / REPO / FILE)
    hub.reset()
    assert host(root, hub, tmp_path / "two").fetch(REPO, FILE).read_bytes() == BIG
    assert os.listdir(partials) == [left.name]


@pytest.fixture
def elsewhere(root, hub, tmp_path):
    """A root with one file, of a repo that has another, larger one."""
    hub.add_repo(REPO, {FILE: BIG, "large.bin": pattern(9 << 20)})
    cache = ModelCache(root, endpoint=hub.url, token=False)
    cache.fetch(REPO, FILE)
    return root


def test_a_host_that_may_not_make_room_refuses(elsewhere, hub):
    """A download that does not fit fails where another host evicts, names it, and deletes nothing."""
    cache = ModelCache(elsewhere, endpoint=hub.url, token=False, max_size="10MB", min_idle=0, evictor="other")
    with pytest.raises(CacheFullError, match="only the host other makes room"):
        cache.fetch(REPO, "large.bin")
    with pytest.raises(StorageError, match="only the host other"):
        cache.fetch(REPO, FILE, force=True)
    assert (elsewhere / REPO / FILE).read_bytes() == BIG
    there = ModelCache(elsewhere, endpoint=hub.url, token=False, max_size="10MB", min_idle=0, evictor=HERE)
    assert there.fetch(REPO, "large.bin").exists()
    assert not (elsewhere / REPO / FILE).exists()


def test_over_nfs_3_every_file_may_be_open(elsewhere, hub):
    """Where the server is not told of open files, eviction, removal and replacing spare all; `rm --force` does not."""
    ctx = context(elsewhere, hub, mounted("nfs", "vers=3"), min_idle=0)
    assert [spared.reason for spared in operations.gc(ctx, 0, None, None, dry_run=False).spared] == ["open"]
    assert [one.reason for one in operations.remove(ctx, REPO, [FILE], "main", "model", force=False).in_use] == ["open"]
    hub.add_repo(REPO, {FILE: pattern(1 << 20, 7)})
    cache = ModelCache(elsewhere, endpoint=hub.url, token=False)
    with pytest.raises(InUseError):
        miss.fetch(ctx, Entry(REPO, FILE), Request(force=True))
    assert cache.fetch(REPO, FILE).read_bytes() == BIG
    assert operations.remove(ctx, REPO, [FILE], "main", "model", force=True).removed
    ctx.close()


@pytest.mark.skipif(shutil.which("strace") is None, reason="needs strace")
def test_an_exclusive_lock_that_needs_a_writable_file_is_had(root, hub, spawn, environ, tmp_path):
    """Where a read-only descriptor cannot have the exclusive lease (EBADF, as on NFS), eviction opens it for writing too."""
    hub.add_repo(REPO, {FILE: BIG})
    path = ModelCache(root, endpoint=hub.url, token=False).fetch(REPO, FILE)
    trace = f"strace -f -qq -e trace=flock -P {path} -e inject=flock:error=EBADF:when=1 -o {tmp_path / 'calls'}"
    code = "report = cache.gc(max_size=0); print(len(report.evicted), [one.reason for one in report.spared])"
    assert finish(spawn(code, tracer=trace, settings={"min_idle": 0})) == "1 []"
    assert "INJECTED" in (tmp_path / "calls").read_text()
    assert not path.exists()


@pytest.mark.skipif(shutil.which("strace") is None, reason="needs strace")
def test_the_directory_is_opened_again_before_the_last_look(root, hub, spawn, tmp_path):
    """Once the write lock is had, the directory is opened before the path is looked at: an NFS client then asks its server."""
    hub.add_repo(REPO, {FILE: BIG})
    path = root / REPO / FILE
    path.parent.mkdir(parents=True)
    finish(spawn("cache.fetch('owner/name', 'model.bin')", tracer=f"strace -f -qq -o {tmp_path / 'calls'}"))
    calls = (tmp_path / "calls").read_text().splitlines()
    locked = next(at for at, call in enumerate(calls) if "flock(" in call and "LOCK_EX" in call)
    asked = next(at for at, call in enumerate(calls) if at > locked and "connect(" in call and "AF_INET" in call)
    looks = calls[locked:asked]
    reopened = next(at for at, call in enumerate(looks) if '".", O_RDONLY|O_CLOEXEC|O_DIRECTORY' in call)
    assert any(f'"{path.name}"' in call or f'"{path}"' in call for call in looks[reopened + 1 :])


def test_what_an_nfs_client_keeps_for_readers_is_nobodys_entry(root, hub):
    """`.nfs…` files are neither adopted nor counted nor removed, wherever they are; another name of that kind is a file."""
    hub.add_repo(REPO, {FILE: BIG})
    cache = ModelCache(root, endpoint=hub.url, token=False)
    cache.fetch(REPO, FILE)
    own = root / ".model-cache"
    places = [root / REPO / SILLY, own / "trash" / SILLY, own / "partial" / SILLY, own / "used" / SILLY]
    for place in places:
        place.write_bytes(b"open somewhere")
        os.utime(place, (0, 0))
    (root / REPO / ".nfs-notes").write_bytes(b"a file of the repo")
    assert [str(one) for one in cache.reconcile().adopted] != []
    assert sorted(row.filename for row in cache.entries()) == [".nfs-notes", FILE]
    assert not cache.verify().untracked
    cache.gc(max_size=0)
    assert all(place.exists() for place in places)
    assert is_silly(SILLY)


@pytest.mark.parametrize("kind", ["nfs4", "ext4"])
def test_a_holder_that_is_gone_for_good_is_waited_for_and_then_done_without(root, hub, spawn, kind):
    """On a shared volume a download whose lock never comes free goes on alone after `lock_timeout`; on a local one it fails."""
    hub.add_repo(REPO, {FILE: BIG})
    entry = Entry(REPO, FILE)
    (root / ".model-cache" / "locks").mkdir(parents=True)
    holder = spawn(
        f"""
        from model_cache import locks
        fd = locks.try_write(arguments["root"] + "/.model-cache/locks/{entry.key}.lock", 0o600)
        print("held", flush=True)
        input()
        """
    )
    assert holder.stdout.readline() == "held\n"
    # Its clock is the real one: the wait is for the lock of a living process.
    settings = Settings({}, root=root, endpoint=hub.url, lock_timeout="1s")
    ctx = Context(settings, token=False, mount=mounted(kind))
    if kind == "nfs4":
        assert miss.fetch(ctx, entry, Request()).found.text == str(root / REPO / FILE)
        assert (root / REPO / FILE).read_bytes() == BIG
    else:
        with pytest.raises(LockTimeoutError):
            miss.fetch(ctx, entry, Request())
        assert not (root / REPO / FILE).exists()
    ctx.close()
    assert os.listdir(root / ".model-cache" / "partial") == []


def test_the_doctor_says_what_a_shared_volume_wants(root, hub, tmp_path):
    """It names what is missing of `state_dir` and `evictor`, what NFSv3 cannot, and a state directory that is shared too."""
    root.mkdir()

    def said(mount, state=None, **settings):
        ctx = context(root, hub, mount, **settings)
        return [(check.status, check.detail) for check in sharing.judge_sharing(ctx, mount, state)]

    assert said(mounted("ext4")) == []
    bare = said(mounted("nfs4", "vers=4.1"))
    assert [status for status, _ in bare] == [Status.WARN, Status.WARN]
    assert "SQLite" in bare[0][1]
    assert "any host may evict" in bare[1][1]
    full = {"state_dir": str(tmp_path / "state"), "evictor": HERE}
    assert [status for status, _ in said(mounted("nfs4", "vers=4.1"), mounted("ext4"), **full)] == [Status.OK]
    assert any("NFSv3" in text for _, text in said(mounted("nfs", "vers=3"), mounted("ext4"), **full))
    assert "state_dir" in said(mounted("ext4"), mounted("nfs4"), **full)[1][1]
    assert "by other alone" in said(mounted("ext4"), evictor="other")[0][1]


@pytest.fixture
def mounts(tmp_path):
    """Two mounts of one directory."""
    with Mounts(tmp_path / "volume") as mounts:
        yield mounts


def test_where_locks_do_not_exclude_the_bytes_are_right(tmp_path, hub, mounts, spawn):
    """Hosts that do not see each other's locks download the same file at once: each has it whole, and nobody sees a part."""
    files = {FILE: BIG}
    hub.add_repo(REPO, files)
    held = hub.hold(FILE, after=0.5)
    seen, over = [], threading.Event()
    path = mounts.backing / "cache" / REPO / FILE

    def watch():
        while not over.wait(0.002):
            if path.exists():
                seen.append(path.read_bytes() == BIG)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        hosts = started(
            spawn,
            4,
            root=lambda one: str(mounts.points[one % 2] / "cache"),
            settings=lambda one: {"state_dir": str(tmp_path / f"state-{one % 2}")},
        )
        hub.wait_until(lambda: hub.body_gets(FILE) == 2)  # one per mount: on each its own locks exclude
        held.release()
        for process in hosts:
            with open(finish(process), "rb") as file:
                assert file.read() == BIG
    finally:
        over.set()
        watcher.join()
    assert hub.body_gets(FILE) == 2
    assert all(seen)
    assert path.read_bytes() == BIG
    assert os.listdir(mounts.backing / "cache" / ".model-cache" / "partial") == []
    for number, point in enumerate(mounts.points):
        report = host(point / "cache", hub, tmp_path / f"state-{number}").verify()
        assert not report.corrupt
        assert not report.changed


def test_whole_repos_over_two_mounts_are_whole(tmp_path, hub, mounts, spawn):
    """A repo that both hosts bring at the same time is complete and right on both."""
    files = {f"part-{number}.bin": pattern(100_000, number) for number in range(12)} | {FILE: BIG}
    hub.add_repo(REPO, files)
    code = FETCH.replace('fetch("owner/name", "model.bin")', 'fetch_repo("owner/name")')
    hosts = [
        spawn(code, root=str(point / "cache"), settings={"state_dir": str(tmp_path / f"state-{number}")})
        for number, point in enumerate(mounts.points)
    ]
    for process in hosts:
        assert process.stdout.readline() == "ready\n"
    for process in hosts:
        process.stdin.write("\n")
        process.stdin.flush()
    for process in hosts:
        finish(process)
    found = mounts.backing / "cache" / REPO
    assert {path.name: path.read_bytes() for path in found.iterdir()} == files


def test_the_doctor_knows_sshfs(tmp_path, hub, mounts):
    """On a real mount it says what kind it is, that other hosts may be at it, and what its policy lacks."""
    ctx = Context(Settings({}, root=mounts.points[0] / "cache", endpoint=hub.url), token=False)
    prepare(ctx)
    report = examine(ctx)
    ctx.close()
    assert report.mount.type == "fuse.sshfs"
    found = [check.detail for check in report.checks if check.name in ("file-system", "sharing")]
    assert "locks hold on this host alone" in found[0]
    assert len(found) == 3
