"""The doctor: what it makes of a file system, of outcomes that no file system here has, and that it leaves nothing behind."""

import os
import signal
import subprocess
import sys
from types import SimpleNamespace

import pytest
from job_equipment import until
from support import Later, nested

from model_cache import ModelCache, locks, mounts
from model_cache.context import Context
from model_cache.doctor import Status, environment, examine, exclusion, files, filesystems, ownership, space
from model_cache.doctor.exclusion import Flock, OpenTest
from model_cache.doctor.files import Linked, Watched
from model_cache.doctor.fixing import look
from model_cache.doctor.partner import Partner, PartnerError
from model_cache.platforms import opened
from model_cache.preparing import prepare
from model_cache.settings import Settings

OK, WARN, FAIL = Status.OK, Status.WARN, Status.FAIL
GB = 10**9

MOUNTINFO = rb"""22 27 0:21 / /proc rw,relatime - proc proc rw
27 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw,discard
40 27 8:1 / /data rw shared:2 master:1 - xfs /dev/sda1 rw,attr2
41 40 0:50 / /data/my\040models ro,nosuid - nfs4 server:/export/a\134b rw,vers=4.2,local_lock=none
42 40 0:51 / /data/my\040models rw - tmpfs tmpfs rw,size=10k
43 27 0:52 / /database rw - fuse.sshfs me@host:/ rw,user_id=0
no line of this file at all
44 27 x:y / /odd rw - ext4 /dev/odd rw
45 27 0:53 / /short rw
"""


def diagnose(root, *, clock=None, environ=None, **arguments):
    """The report on a root."""
    return examine(Context(Settings(environ or {}, root=root, **arguments), clock=clock))


def by_name(report):
    """{name of a check: its findings}."""
    found = {}
    for check in report.checks:
        found.setdefault(check.name, []).append(check)
    return found


def left_behind(place):
    """Names below a directory that a doctor made."""
    return [name for _, names, more in os.walk(place) for name in (*names, *more) if "doctor" in name]


def test_mountinfo_is_read_as_it_is_written():
    """Optional fields, octal escapes and options come out right; lines that are none are left out."""
    found = mounts.parse(MOUNTINFO)
    assert [mount.point for mount in found] == [
        *("/proc", "/", "/data", "/data/my models", "/data/my models", "/database"),
    ]
    assert found[3].source == "server:/export/a\\b"
    assert found[3].device == (0, 50)
    assert {"ro", "nosuid", "vers=4.2", "local_lock=none"} <= found[3].options
    assert (found[2].type, found[5].type) == ("xfs", "fuse.sshfs")
    assert mounts.parse(b"") == []


@pytest.mark.parametrize(
    ("path", "device", "point", "type_"),
    [
        ("/", (254, 0), "/", "ext4"),
        ("/home/me", (254, 0), "/", "ext4"),
        ("/data", (8, 1), "/data", "xfs"),
        ("/datafile", (254, 0), "/", "ext4"),
        ("/data/my models/x", (0, 51), "/data/my models", "tmpfs"),
        ("/data/my models/x", (0, 50), "/data/my models", "nfs4"),
        ("/data/my models/x", (0, 99), "/data/my models", "tmpfs"),
        ("/data/my models/x", (8, 1), "/data", "xfs"),
    ],
)
def test_the_mount_of_a_path_is_found(path, device, point, type_):
    """The longest mount point of the path's device; of two on one point the later; without the device the longest of all."""
    found = mounts.holding(mounts.parse(MOUNTINFO), path, device)
    assert (found.point, found.type) == (point, type_)


def test_where_nothing_is_mounted_nothing_is_found():
    """No mounts, no mount."""
    assert mounts.holding([], "/", (0, 0)) is None


@pytest.mark.parametrize(
    ("type_", "options", "status", "words"),
    [
        ("ext4", (), OK, "(local)"),
        ("tmpfs", (), WARN, "lost at the next reboot"),
        ("overlay", (), WARN, "goes with the container"),
        ("nfs4", ("local_lock=none",), WARN, "hold between hosts"),
        ("nfs", ("local_lock=all",), WARN, "local_lock=all: locks hold on this host alone"),
        ("cifs", ("nobrl",), WARN, "nobrl: locks hold on this host alone"),
        ("fuse.gcsfuse", (), WARN, "rename is a copy"),
        ("fuse.whatever", (), WARN, "what its program makes of them"),
        ("squashfs", (), WARN, "nothing can be downloaded"),
        ("brandnewfs", (), WARN, "only what the trials found"),
    ],
)
def test_a_file_system_is_known_by_its_type(type_, options, status, words):
    """Local ones are fine; of each other kind it is said what does not hold there, the mount's options included."""
    check = filesystems.judge_file_system(mounts.Mount((0, 1), "/mnt", type_, "it", frozenset(options)))
    assert check.status == status
    assert words in check.detail
    assert check.detail.startswith(f"{type_} at /mnt")


def test_a_system_that_tells_no_mounts_is_no_failure():
    """Elsewhere than on Linux the trials alone decide."""
    assert filesystems.judge_file_system(None).status == OK


@pytest.mark.parametrize(
    ("found", "status", "words"),
    [
        (Flock(True, True, False, False, True), OK, "shared beside shared"),
        (Flock(there=False), FAIL, "reads and downloads go on; gc, rm, update and repair refuse"),
        (Flock(True, True, True, False, True), FAIL, "granted to everybody"),
        (Flock(True, True, False, True, True), FAIL, "granted to everybody"),
        (Flock(True, False, False, False, True), FAIL, "readers wait for each other"),
        (Flock(True, True, False, False, False), FAIL, "after its holder was killed"),
    ],
)
def test_what_flock_does_is_judged(found, status, words):
    """Each way in which flock can be of no use has its own words."""
    check = exclusion.judge_flock(found)
    assert (check.status, words in check.detail) == (status, True)
    assert bool(check.hint) == (status == FAIL)


@pytest.mark.parametrize(
    ("answer", "beside", "after", "status"),
    [
        ("yes", False, True, OK),
        ("unlocked", True, True, FAIL),
        ("yes", True, True, FAIL),
        ("no", True, True, FAIL),
        ("yes", False, False, FAIL),
    ],
)
def test_what_the_write_lock_does_is_judged(answer, beside, after, status):
    """It is fine only if one process had it and the other got it after the first one's death."""
    assert exclusion.judge_write_lock(answer, beside=beside, after=after).status == status


@pytest.mark.parametrize(
    ("found", "status", "words"),
    [
        (OpenTest(True, False, False, True), OK, "is seen"),
        (OpenTest(None), WARN, "does not tell"),
        (OpenTest(False), FAIL, "rm wants --force"),
        (OpenTest(True, False, False, False), FAIL, "rm wants --force"),
        (OpenTest(True, True, True, True), FAIL, "nobody has a file open"),
        (OpenTest(True, False, True, True), WARN, "mapped"),
    ],
)
def test_what_the_open_test_does_is_judged(found, status, words):
    """Untestable is a warning; a kernel that is wrong about open files is a failure."""
    check = exclusion.judge_open_test(found)
    assert (check.status, words in check.detail) == (status, True)


@pytest.mark.parametrize(
    ("check", "status"),
    [
        (files.judge_rename(Watched(300, 1000, 0, 0)), OK),
        (files.judge_rename(Watched(300, 1000, 1, 0)), FAIL),
        (files.judge_rename(Watched(300, 1000, 0, 1)), FAIL),
        (files.judge_fsync(0.01, 0.99), OK),
        (files.judge_fsync(1.01, 0.0), WARN),
        (files.judge_fsync(0.0, 1.01), WARN),
        (files.judge_hard_links(Linked(True, True, True)), OK),
        (files.judge_hard_links(Linked(False, False, True)), WARN),
        (files.judge_hard_links(Linked(True, False, True)), WARN),
        (files.judge_hard_links(Linked(True, True, False)), FAIL),
        (files.judge_reflinks(shared=False, same=False), OK),
        (files.judge_reflinks(shared=True, same=True), OK),
        (files.judge_reflinks(shared=True, same=False), FAIL),
        (files.judge_names(case=False, composition=False), OK),
        (files.judge_names(case=True, composition=False), WARN),
        (files.judge_names(case=True, composition=True), WARN),
        (files.judge_names(case=False, composition=True), WARN),
        (environment.judge_clock(1.9), OK),
        (environment.judge_clock(2.1), WARN),
        (environment.judge_filelock("4.2.0"), OK),
        (environment.judge_filelock("10.0"), OK),
        (environment.judge_filelock("4.1.9"), FAIL),
        (environment.judge_filelock(""), WARN),
        (environment.judge_kernel("Linux", "6.1"), OK),
        (environment.judge_kernel("Darwin", "24"), WARN),
        (space.judge_space(100 * GB, 10 * GB, "/r"), OK),
        (space.judge_space(100 * GB, 10 * GB - 1, "/r"), WARN),
        (space.judge_space(100 * GB, 0, "/r"), FAIL),
        (space.judge_inodes(100, 5, "/r"), OK),
        (space.judge_inodes(100, 4, "/r"), WARN),
        (space.judge_inodes(100, 0, "/r"), FAIL),
        (space.judge_inodes(0, 0, "/r"), OK),
        (space.judge_budget(None, None, 100, 50), OK),
        (space.judge_budget(100, 50, 100, 50), OK),
        (space.judge_budget(101, None, 100, 50), WARN),
        (space.judge_budget(None, 101, 100, 50), WARN),
        (space.judge_budget(None, 51, 100, 50), WARN),
    ],
)
def test_everything_else_is_judged(check, status):
    """The limits are where the documentation says, and only what breaks something fails."""
    assert check.status == status
    assert check.detail


@pytest.mark.parametrize(
    ("mode", "sharing", "words"),
    [
        (0o40700, "private", None),
        (0o40775, "private", None),
        (0o40777, "private", "every user"),
        (0o100666, "group", "every user"),
        (0o42775, "group", None),
        (0o40755, "group", "the group cannot write"),
    ],
)
def test_a_mode_is_judged_by_how_the_root_is_shared(mode, sharing, words):
    """Writable by everybody is a warning always; closed to the group where the group shares the root."""
    check = ownership.judge_mode("/r", SimpleNamespace(st_mode=mode), sharing)
    assert (check is None) == (words is None)
    assert words is None or (check.status == WARN and words in check.detail)


def test_an_owner_is_judged_by_how_the_root_is_shared():
    """Another user's directory is a warning, unless the group shares the root."""
    theirs = SimpleNamespace(st_uid=1234567)
    assert ownership.judge_owner("/r", theirs, 1234567, "private") is None
    assert ownership.judge_owner("/r", theirs, 0, "group") is None
    check = ownership.judge_owner("/r", theirs, 1234568, "private")
    assert check.status == WARN
    assert check.detail.startswith("/r belongs to user 1234567, and this is user 1234568")


def test_a_healthy_root_has_no_failure_and_is_left_as_it_was(root):
    """Every check is made, none fails, and no file is there that was not there before."""
    prepare(ModelCache(root)._ctx)
    before = sorted(str(path) for path in root.rglob("*"))
    report = diagnose(root)
    assert [check for check in report.checks if check.status == FAIL] == []
    assert list(by_name(report)) == [
        *("root", "file-system", "permissions", "parents", "space", "inodes", "budget"),
        *("flock", "write-lock", "open-test", "rename", "fsync", "hard-links", "reflinks", "names", "long-names"),
        *("clock", "last-uses", "index", "python", "kernel", "sqlite", "filelock"),
    ]
    assert sorted(str(path) for path in root.rglob("*")) == before


def test_two_doctors_at_once_do_not_disturb_each_other(root, spawn):
    """Each has a directory of its own."""
    code = """
    from model_cache.doctor import examine
    from model_cache.preparing import prepare

    prepare(cache._ctx)
    print([check for check in examine(cache._ctx).checks if check.status == "fail"])
    """
    doctors = [spawn(code) for _ in range(3)]
    assert [doctor.communicate(timeout=120)[0] for doctor in doctors] == ["[]\n"] * 3
    assert left_behind(root) == []


def test_a_root_that_is_not_there_is_not_made(tmp_path):
    """The nearest directory above is tried in its place, and a warning says so."""
    report = diagnose(tmp_path / "a" / "b")
    found = by_name(report)
    assert found["root"][0].status == WARN
    assert f"{tmp_path} was looked at" in found["root"][0].detail
    assert found["flock"][0].status == OK
    assert {"permissions", "index", "last-uses"}.isdisjoint(found)
    assert os.listdir(tmp_path) == []


def test_a_root_of_files_placed_by_hand_is_not_changed(root):
    """Without a `.model-cache` the trials go to the root itself, and no `.model-cache` is made."""
    root.mkdir()
    assert [check for check in diagnose(root).checks if check.status == FAIL] == []
    assert os.listdir(root) == []


def test_a_file_in_the_place_of_the_root_fails(root):
    """It is said what stands there."""
    root.write_bytes(b"")
    check = by_name(diagnose(root))["root"][0]
    assert (check.status, "is no directory" in check.detail) == (FAIL, True)


def test_a_symlink_in_the_place_of_a_directory_fails(root, tmp_path):
    """What is the cache's own is never reached through a symlink; nothing is written behind it either."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    prepare(ModelCache(root)._ctx)
    (root / ".model-cache" / "locks").rmdir()
    (root / ".model-cache" / "locks").symlink_to(elsewhere)
    (check,) = by_name(diagnose(root))["permissions"]
    assert (check.status, f"is a symlink to {elsewhere}" in check.detail) == (FAIL, True)
    assert check.hint == f"ls -ld {root}/.model-cache/locks"


def test_a_symlink_in_the_place_of_everything_fails(root, tmp_path):
    """A `.model-cache` that leads out of the root is not followed."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    root.mkdir()
    (root / ".model-cache").symlink_to(elsewhere)
    os.utime(elsewhere, (1, 1))
    (check,) = by_name(diagnose(root))["permissions"]
    assert check.status == FAIL
    assert elsewhere.stat().st_mtime == 1


def test_a_file_in_the_place_of_a_directory_fails(root):
    """A file called `used` is found."""
    prepare(ModelCache(root)._ctx)
    (root / ".model-cache" / "used").rmdir()
    (root / ".model-cache" / "used").write_bytes(b"")
    checks = by_name(diagnose(root))["permissions"]
    assert [(check.status, "is a file, where a directory is needed" in check.detail) for check in checks] == [
        (FAIL, True)
    ]


def test_modes_that_let_everybody_in_are_told(root):
    """What the cache made has one finding, and the command that repairs it."""
    prepare(ModelCache(root)._ctx)
    (root / ".model-cache").chmod(0o777)
    policy = root / ".model-cache" / "config.toml"
    policy.write_text('min_idle = "1m"\n')
    policy.chmod(0o666)
    checks = by_name(diagnose(root))["permissions"]
    assert [(check.status, check.hint) for check in checks] == [
        (WARN, f"chmod o-w {policy}"),
        (WARN, "model-cache doctor --fix"),
    ]
    assert checks[1].detail.startswith(f"{root}/.model-cache (mode 777): every user can write it")


def test_a_file_with_several_names_is_repaired_if_all_are_recorded(cache, hub, root, tmp_path):
    """Names that share their bytes here are no reason to leave a mode; a further name somewhere else is one."""
    hub.add_repo("owner/name", {"a.bin": b"same", "b.bin": b"same"})
    paths = [cache.fetch("owner/name", name) for name in ("a.bin", "b.bin")]
    assert paths[0].samefile(paths[1])
    shared = ModelCache(root, sharing="group")._ctx
    (tmp_path / "elsewhere").hardlink_to(paths[0])
    assert {one.path for one in look(shared, fix=True).left} == set(map(str, paths))
    checks = by_name(examine(shared))["permissions"]
    assert any("outside of this cache" in check.detail and check.hint == f"rm {paths[0]}" for check in checks)
    assert paths[0].stat().st_mode & 0o777 == 0o600
    (tmp_path / "elsewhere").unlink()
    assert look(shared, fix=True).left == []
    assert paths[0].stat().st_mode & 0o777 == 0o664


def test_directories_without_end_are_no_error(cache, hub, root):
    """What a neighbour nested deeper than Python calls functions keeps no mode from being looked at and repaired."""
    hub.add_repo("owner/name", {"a.bin": b"1"})
    path = cache.fetch("owner/name", "a.bin")
    path.chmod(0o666)
    with nested(root / ".model-cache" / "planted"):
        assert str(path) in {one.path for one in look(cache._ctx, fix=True).fixed}
    assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("damage", [b"SQLite format 3\0" + bytes(range(256)) * 40, b"no index at all" * 100])
def test_a_damaged_index_fails(cache, hub, root, damage):
    """A header with noise behind it, and noise alone."""
    hub.add_repo("owner/name", {"model.bin": b"1"})
    cache.fetch("owner/name", "model.bin")
    assert by_name(diagnose(root))["index"][0].status == OK
    (root / ".model-cache" / "index.db").write_bytes(damage)
    check = by_name(diagnose(root))["index"][0]
    assert (check.status, bool(check.hint)) == (FAIL, True)


def test_one_flipped_page_of_the_index_fails(cache, hub, root):
    """What opens and is not whole is found by SQLite's own check."""
    hub.add_repo("owner/name", {f"{number}.bin": b"1" for number in range(20)})
    for number in range(20):
        cache.fetch("owner/name", f"{number}.bin")
    index = root / ".model-cache" / "index.db"
    content = bytearray(index.read_bytes())
    for page in range(2 * 4096, len(content), 4096):
        content[page : page + 64] = bytes(64)
    index.write_bytes(content)
    assert by_name(diagnose(root))["index"][0].status == FAIL


def test_a_last_use_in_the_future_is_told(root):
    """As many as there are, and by how much."""
    prepare(ModelCache(root)._ctx)
    clock = Later()
    for name in ("a", "b"):
        (root / ".model-cache" / "used" / name).write_bytes(b"")
    assert by_name(diagnose(root))["last-uses"][0].status == OK
    clock.ahead = -7230.0
    found = by_name(diagnose(root, clock=clock))
    assert found["last-uses"][0].status == WARN
    assert found["last-uses"][0].detail.startswith("2 last uses in the future, by up to 2h")
    assert found["clock"][0].status == WARN


def test_a_budget_that_the_file_system_cannot_hold_is_told(root):
    """More than all of it, in bytes; 100 % of it is fine, for a root that is not there too."""
    assert by_name(diagnose(root, max_size="900PB"))["budget"][0].status == WARN
    assert by_name(diagnose(root, max_size="100%"))["budget"][0].status == OK


def test_a_root_that_is_only_read_is_only_looked_at(root):
    """With MODEL_CACHE_READ_ONLY nothing is written, not even for a trial, and that nothing may be is no failure."""
    root.mkdir()
    os.utime(root, (1, 1))
    report = diagnose(root, environ={"MODEL_CACHE_READ_ONLY": "1"})
    assert by_name(report)["trials"][0].status == WARN
    assert "flock" not in by_name(report)
    assert report.failed == []
    assert root.stat().st_mtime == 1


def test_what_a_killed_doctor_left_behind_is_removed_by_a_later_one(root):
    """An old directory of its name goes, with the files in it; a young one, and anything else, stays."""
    prepare(ModelCache(root)._ctx)
    own = root / ".model-cache"
    old, young, other = (own / f".model-cache-doctor-{name}" for name in ("0" * 16, "1" * 16, "mine"))
    for directory in (old, young, other):
        directory.mkdir()
        (directory / "file").write_bytes(b"1")
    for directory in (old, other):
        os.utime(directory, (1, 1))
    diagnose(root)
    assert (old.exists(), young.exists(), other.exists()) == (False, True, True)


@pytest.fixture
def partner(tmp_path):
    """A second process, which has a file to work with."""
    (tmp_path / "file").write_bytes(b"1")
    with Partner(str(tmp_path)) as started:
        yield started


def test_the_other_process_does_what_it_is_asked(partner, tmp_path):
    """It leases, refuses what is leased, lets go; what it cannot do is an error that says why."""
    fd = os.open(tmp_path / "file", os.O_RDONLY)
    assert locks.try_exclusive(fd)
    assert partner.ask("shared", "file") == "no"
    locks.release(fd)
    assert partner.ask("shared", "file") == "yes"
    assert partner.ask("drop") == ""
    with pytest.raises(PartnerError, match="No such file"):
        partner.ask("open", "nothing")
    assert partner.ask("open", "file") == ""


def test_an_other_process_that_was_killed_is_an_error(partner):
    """Nobody waits for the answer of a process that has ended."""
    os.kill(partner.pid, signal.SIGKILL)
    with pytest.raises(PartnerError, match="ended too early"):
        partner.ask("shared", "file")


def test_an_other_process_that_hangs_is_an_error(tmp_path):
    """A stopped process is waited for as long as it was said, and ended all the same."""
    with Partner(str(tmp_path), patience=60) as stopped:
        stopped._patience = 0.05
        os.kill(stopped.pid, signal.SIGSTOP)
        with pytest.raises(PartnerError, match=r"did not answer within 0\.05 seconds"):
            stopped.ask("drop")
        stopped._patience = 60
    with pytest.raises(ProcessLookupError):
        os.kill(stopped.pid, 0)


def test_an_other_process_that_does_not_start_is_an_error(tmp_path):
    """An interpreter that ends at once is told by its exit code and its last words."""
    code = (
        "import sys; from model_cache.doctor.partner import Partner\n"
        "sys.executable = sys.argv[1]\n"
        f"Partner({str(tmp_path)!r}).__enter__()\n"
    )
    broken = tmp_path / "python"
    broken.write_text("#!/bin/sh\necho first >&2; echo last words >&2; exit 3\n")
    broken.chmod(0o755)
    done = subprocess.run([sys.executable, "-c", code, broken], capture_output=True, text=True, timeout=120)
    assert done.stderr.endswith("PartnerError: the other process ended too early (exit code 3): last words\n")


def test_the_other_process_ends_with_its_parent(tmp_path):
    """A doctor that is killed leaves no process behind."""
    code = (
        "import os, signal; from model_cache.doctor.partner import Partner\n"
        f"with Partner({str(tmp_path)!r}) as other:\n"
        "    print(other.pid, flush=True)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    pid = int(done.stdout)
    until(lambda: not os.path.exists(f"/proc/{pid}/exe"), "the other process ended")


def test_a_reflink_has_the_same_bytes_or_is_refused(tmp_path):
    """Where the file system has none, nothing is copied and nothing raised."""
    (tmp_path / "source").write_bytes(b"1" * 9000)
    with open(tmp_path / "source", "rb") as source, open(tmp_path / "target", "w+b") as target:
        expected = b"1" * 9000 if opened.clone(source.fileno(), target.fileno()) else b""
        assert target.read() == expected
        with pytest.raises(OSError, match="Bad file descriptor"):
            opened.clone(source.fileno(), 999_999)
