"""`doctor`: what it prints, how it exits, and what it says of file systems on which something does not work."""

import json
import os
import shutil
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
from cli_equipment import COMMAND, Shell

# A file system that lacks something, to one process and its children: the call is answered as such a one answers it.
FAULTS = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

static int fault(const char *name) { const char *set = getenv("FAULT"); return set && !strcmp(set, name); }
static int refuse(int error) { errno = error; return -1; }

int flock(int fd, int operation) {
    int (*real)(int, int) = dlsym(RTLD_NEXT, "flock");
    if (fault("nfs-flock") && (operation & LOCK_EX) && (fcntl(fd, F_GETFL) & O_ACCMODE) == O_RDONLY)
        return refuse(EBADF);
    if (fault("flock-lies")) return 0;
    return real(fd, operation);
}

static int lease(int command) {
    if (command != F_SETLEASE) return 1;
    if (fault("no-lease")) return refuse(EINVAL);
    if (fault("lease-refused")) return refuse(EAGAIN);
    return fault("lease-lies") ? 0 : 1;
}

#define FCNTL(name) \
    int name(int fd, int command, ...) { \
        int (*real)(int, int, void *) = dlsym(RTLD_NEXT, #name); \
        va_list more; va_start(more, command); void *argument = va_arg(more, void *); va_end(more); \
        int answer = lease(command); \
        return answer == 1 ? real(fd, command, argument) : answer; \
    }
FCNTL(fcntl)
FCNTL(fcntl64)

int renameat(int here, const char *from, int there, const char *to) {
    int (*real)(int, const char *, int, const char *) = dlsym(RTLD_NEXT, "renameat");
    static int stood;
    if (fault("rename-by-copy")) { unlinkat(there, to, 0); usleep(1000); }
    if (fault("rename-stands") && strstr(from, "renamed") && !stood++) raise(SIGSTOP);
    return real(here, from, there, to);
}
"""


@pytest.fixture
def shell(environ, root):
    """The command, on a root that is there; ended with the test."""
    started = Shell(environ, root)
    started.ok("root")
    yield started
    started.close()


def rows(out):
    """{check: (status, what was found)} of the table."""
    header, *lines = out.splitlines()
    assert header.split() == ["CHECK", "STATUS", "FOUND"]
    return {line.split()[0]: (line.split()[1], line.split(maxsplit=2)[2]) for line in lines}


def left_behind(place):
    """Names below a directory that a doctor made."""
    return [name for _, names, more in os.walk(place) for name in (*names, *more) if "doctor" in name]


def test_it_says_what_was_tried(shell, root):
    """One line for each check, and on stderr the hints and how many there were."""
    code, out, err = shell.run("doctor")
    assert code == 0
    found = rows(out)
    assert found["root"] == ("ok", f"{root} (from MODEL_CACHE_DIR)")
    assert found["permissions"] == ("ok", "this user may read and write everything of the cache's own")
    assert found["budget"] == ("ok", "none: nothing is ever evicted to save space")
    assert found["flock"] == ("ok", "shared beside shared, exclusive beside neither, free when its holder is killed")
    assert found["write-lock"] == ("ok", "one process at a time, free when its holder is killed")
    assert found["hard-links"] == ("ok", "publish is one step, and never replaces a file")
    assert found["long-names"] == ("ok", "255 bytes")
    assert found["index"] == ("ok", "none yet")
    warned = sum(status == "warn" for status, _ in found.values())
    assert err.splitlines()[-1] == f"23 checks: 0 failed, {warned} warning{'' if warned == 1 else 's'}"
    assert left_behind(root) == []


def test_the_document(shell, root):
    """--json has the root, its file system, and each check with the four fields of the contract."""
    document = shell.json("doctor")
    assert list(document) == ["root", "filesystem", "fixed", "not_fixed", "checks"]
    assert document["root"] == str(root)
    assert list(document["filesystem"] or {}) in ([], ["type", "mount_point", "source"])
    assert {tuple(check) for check in document["checks"]} == {("name", "status", "detail", "hint")}
    assert {check["status"] for check in document["checks"]} <= {"ok", "warn"}


def test_quiet_is_silent_while_nothing_fails(shell):
    """With -q there is nothing to say of what works or warns."""
    assert shell.run("doctor", "-q") == (0, "", "")


def test_quiet_names_what_failed(shell, root):
    """Each name once, however many findings it has, and nothing else."""
    own = root / ".model-cache"
    for name in ("locks", "used"):
        (own / name).rmdir()
        (own / name).symlink_to(root)
    assert shell.run("doctor", "-q") == (3, "permissions\n", "")


def test_a_root_that_is_not_there_is_a_warning(environ, tmp_path):
    """Nothing is made, and the file system of the place where it would be is tried."""
    missing = tmp_path / "a" / "b"
    code, out, err = Shell(environ, missing).run("doctor")
    assert (code, sorted(os.listdir(tmp_path))) == (0, ["home"])
    assert rows(out)["root"] == (
        "warn",
        f"none at {missing} (from MODEL_CACHE_DIR) yet: {tmp_path} was looked at, where a fetch would make it",
    )
    assert err.splitlines()[-1].startswith("19 checks: 0 failed, ")


def test_a_damaged_index_fails_with_a_hint(shell, root):
    """The exit code is 3, the hint on stderr names the check."""
    (root / ".model-cache" / "index.db").write_bytes(b"noise" * 1000)
    code, out, err = shell.run("doctor")
    assert (code, rows(out)["index"][0]) == (3, "fail")
    assert "hint: index: " in err


def test_a_policy_that_cannot_be_read_is_one_line(shell, root):
    """As with every command: what is wrong with it, and nothing tried."""
    (root / ".model-cache" / "config.toml").write_text("max_size = ")
    code, out, err = shell.run("doctor")
    assert (code, out) == (2, "")
    assert err.startswith(f"error: policy file {root}/.model-cache/config.toml: ")


@pytest.fixture
def strace(shell):
    """Run the command with a system call made to fail, in it and in its child."""
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed")
    trial = ["strace", "-f", "-o", "/dev/null", "-e", "trace=flock", "true"]
    if subprocess.run(trial, capture_output=True).returncode:
        pytest.skip("strace may not trace here")

    def run(fault, *arguments):
        call = fault.partition(":")[0]
        command = ["strace", "-f", "-o", "/dev/null", "-e", f"trace={call}", "-e", f"inject={fault}", *COMMAND]
        done = subprocess.run([*command, *arguments], env=shell.environ, capture_output=True, text=True, timeout=100)
        return done.returncode, done.stdout, done.stderr

    return run


@pytest.mark.parametrize("error", ["ENOSYS", "EOPNOTSUPP", "ENOLCK"])
def test_without_flock_it_says_what_goes_on_and_what_refuses(strace, root, error):
    """Both locks fail, in the words of the documentation; everything else is tried all the same."""
    code, out, err = strace(f"flock:error={error}", "doctor")
    found = rows(out)
    words = "reads and downloads go on; gc, rm, update and repair refuse"
    assert found["flock"] == ("fail", f"this file system has no flock: {words}")
    assert found["write-lock"] == (
        "fail",
        "the write lock of an entry excludes nobody: each process downloads for itself, and nothing is resumed; "
        + words,
    )
    assert found["rename"][0] == "ok"
    assert (code, "hint: flock: export MODEL_CACHE_DIR=/path/on/a/local/file/system\n" in err) == (3, True)
    assert strace(f"flock:error={error}", "doctor", "-q") == (3, "flock\nwrite-lock\n", "")
    assert left_behind(root) == []


@pytest.mark.parametrize(
    ("fault", "check", "status", "words"),
    [
        ("fsync:error=EIO", "fsync", "fail", "could not be tried: Input/output error"),
        ("fsync:error=EINVAL:when=2", "fsync", "fail", "a directory cannot be made durable here"),
        ("linkat:error=EPERM", "hard-links", "warn", "there are none here"),
    ],
)
def test_a_system_call_that_fails_is_a_finding(strace, fault, check, status, words):
    """Never a traceback: the check that needs the call says what is lost."""
    code, out, err = strace(fault, "doctor")
    found = rows(out)[check]
    assert (found[0], found[1].startswith(words)) == (status, True)
    assert (code, "Traceback" in err) == (3 if status == "fail" else 0, False)


@pytest.fixture(scope="session")
def faults(tmp_path_factory):
    """A library that stands before the C library's own calls; see FAULTS."""
    if sys.platform != "linux" or shutil.which("gcc") is None:
        pytest.skip("needs Linux and gcc to build what answers in place of another file system")
    place = tmp_path_factory.mktemp("faults")
    (place / "faults.c").write_text(FAULTS)
    command = ["gcc", "-shared", "-fPIC", "-o", f"{place}/faults.so", f"{place}/faults.c", "-ldl"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"gcc cannot build a library here: {done.stderr}")
    return f"{place}/faults.so"


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        ("nfs-flock", {"flock": ("ok", "shared beside shared, exclusive beside neither")}),
        ("flock-lies", {"flock": ("fail", "flock is granted to everybody"), "write-lock": ("fail", "the write lock")}),
        ("no-lease", {"open-test": ("warn", "the kernel does not tell who has a file open here")}),
        ("lease-refused", {"open-test": ("fail", "the kernel says that a file is open which nobody has open")}),
        (
            "lease-lies",
            {"open-test": ("fail", "the kernel says that nobody has a file open while another process has")},
        ),
        ("rename-by-copy", {"rename": ("fail", "rename is not atomic: ")}),
    ],
)
def test_a_file_system_that_differs_is_found_out(shell, root, faults, fault, expected):
    """NFS, a lock or a lease that is none, a lease without a delegation, a rename in two steps: each has its words."""
    code, out, err = shell.run("doctor", environ={"LD_PRELOAD": faults, "FAULT": fault})
    found = rows(out)
    assert {
        name: (found[name][0], found[name][1][: len(words)]) for name, (_, words) in expected.items()
    } == expected, err
    others = {name for name, (status, _) in found.items() if status == "fail"} - set(expected)
    assert others == set()
    assert code == (3 if any(status == "fail" for status, _ in expected.values()) else 0)
    assert "Traceback" not in err
    assert left_behind(root) == []


def test_what_nfs_refuses_on_a_read_only_file_is_had_on_a_writable_one(shell, root, faults):
    """Where the exclusive lock needs a file that is open for writing, as on NFS, `gc` evicts all the same."""
    path = root / "owner" / "name" / "model.bin"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"placed, and adopted")
    shell.ok("reconcile")
    nfs = {"LD_PRELOAD": faults, "FAULT": "nfs-flock", "MODEL_CACHE_MIN_IDLE": "0s"}
    assert shell.json("gc", "--max-size", "0", environ=nfs)["spared"] == []
    assert not path.exists()


def children(pid):
    """Processes whose parent this is."""
    found = []
    for name in os.listdir("/proc"):
        try:
            text = Path(f"/proc/{name}/stat").read_text(errors="replace") if name.isdecimal() else ""
        except OSError:
            continue
        # The name of the command, in parentheses, may have spaces in it.
        if text and int(text.rpartition(")")[2].split()[1]) == pid:
            found.append(int(name))
    return found


@pytest.mark.skipif(sys.platform != "linux", reason="children are looked up in /proc")
def test_killing_the_other_process_again_and_again_does_not_hang_it(shell, root):
    """Whenever the other process dies, it is a finding at most, and nothing is left behind."""
    process = shell.start("doctor")
    killed = set()
    while process.poll() is None:
        for child in children(process.pid):
            with suppress(ProcessLookupError):  # it ended by itself meanwhile
                os.kill(child, signal.SIGKILL)
                killed.add(child)
    out, err = process.communicate()
    assert killed
    assert process.returncode in (0, 3)
    assert "Traceback" not in err
    assert rows(out)["hard-links"][0] == "ok"
    assert left_behind(root) == []


def test_an_interrupt_leaves_nothing_behind(shell, root, faults):
    """^C in the middle of a trial: 130, and the directory of the trials is gone."""
    process = shell.start("doctor", environ={"LD_PRELOAD": faults, "FAULT": "rename-stands"}, start_new_session=True)
    os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal sends it: to the other process too
    os.killpg(process.pid, signal.SIGCONT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (130, "")
    assert err == "error: interrupted\n"
    assert left_behind(root) == []


@pytest.fixture
def mounted(tmp_path):
    """Mount a tmpfs with some options; unmounted with the test."""
    if os.geteuid() != 0:
        pytest.skip("mounts a small file system, which needs root")
    place = tmp_path / "mounted"
    place.mkdir()
    made = []

    def mount(options):
        command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(place)]
        if subprocess.run(command, capture_output=True).returncode:
            pytest.skip("this machine does not let us mount a file system")
        made.append(place)
        return place

    yield mount
    for one in made:
        subprocess.run(["umount", "--lazy", str(one)], check=True, stdout=sys.stderr)


@pytest.mark.root
def test_on_a_file_system_in_memory_it_warns(environ, mounted):
    """A tmpfs is known by its name, everything works there, and a hint names what to do."""
    place = mounted("size=20m")
    shell = Shell(environ, place / "root")
    shell.ok("root")
    code, out, _ = shell.run("doctor")
    assert code == 0
    assert rows(out)["file-system"] == (
        "warn",
        f"tmpfs at {place} (memory): all of it is lost at the next reboot, and models take up memory",
    )
    assert shell.json("doctor")["filesystem"] == {"type": "tmpfs", "mount_point": str(place), "source": "tmpfs"}


@pytest.mark.root
def test_on_a_full_file_system_it_fails(environ, mounted):
    """Not a byte free: that is what fails, with every trial that needs one, and still nothing is left behind."""
    place = mounted("size=3m")
    shell = Shell(environ, place / "root")
    shell.ok("root")
    with pytest.raises(OSError, match="No space"), open(place / "large", "wb", buffering=0) as large:
        while True:
            large.write(bytes(1 << 20))
    code, out, _ = shell.run("doctor")
    found = rows(out)
    assert code == 3
    assert found["space"] == ("fail", "0 B free of 3.15 MB: nothing can be downloaded")
    assert found["fsync"] == ("fail", "could not be tried: No space left on device")
    assert found["flock"][0] == "ok"
    assert left_behind(place) == []


@pytest.mark.root
def test_without_a_free_inode_it_fails(environ, mounted):
    """No directory can be made for the trials; the inodes say why."""
    place = mounted("size=3m,nr_inodes=20")
    shell = Shell(environ, place / "root")
    shell.ok("root")
    with pytest.raises(OSError, match="No space"):
        for number in range(20):
            (place / str(number)).touch()
    code, out, _ = shell.run("doctor")
    found = rows(out)
    assert (code, found["inodes"][0], found["trials"][0]) == (3, "fail", "fail")


@pytest.mark.root
def test_on_a_read_only_mount_it_says_how_to_mean_it(environ, mounted):
    """What cannot be written fails, with the setting that makes a promise of it; with that set nothing fails."""
    place = mounted("size=3m")
    shell = Shell(environ, place / "root")
    shell.ok("root")
    subprocess.run(["mount", "-o", "remount,ro", str(place)], check=True)
    code, out, err = shell.run("doctor")
    failed = [line.split()[0] for line in out.splitlines() if " fail " in line]
    assert (code, failed) == (3, ["trials"])  # one finding, and not one for each file that cannot be written
    assert rows(out)["permissions"] == ("ok", "this user may read everything of the cache's own")
    assert "hint: trials: export MODEL_CACHE_READ_ONLY=1\n" in err
    assert shell.run("doctor", "-q", environ={"MODEL_CACHE_READ_ONLY": "1"}) == (0, "", "")
    code, _, err = shell.run("gc")
    assert (code, err.splitlines()[1]) == (1, f"hint: findmnt -T {place}/root")


def test_in_a_root_that_this_user_may_not_write_it_fails(environ, root, bound):
    """The permissions and the trials fail, in words that name the directory."""
    root.mkdir()
    root.chmod(0o555)
    command = [*bound, *COMMAND, "--root", str(root), "doctor", "--json"]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=60)
    checks = json.loads(done.stdout)["checks"]
    assert {check["name"]: check["detail"] for check in checks if check["status"] == "fail"} == {
        "permissions": f"this user may not write {root}: a hit needs to read, a download to write as well",
        "trials": f"nothing can be made in {root} (Permission denied): hits go on, downloads fail; nothing was tried",
    }
    assert (done.returncode, "Traceback" in done.stderr) == (3, False)
