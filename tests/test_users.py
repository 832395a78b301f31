"""Who uses a file: real processes that have one leased, open or mapped."""

import os
import subprocess
import sys
import textwrap

import pytest

from model_cache import locks, users

pytestmark = pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="told by /proc")

USES = {
    "open": "file = open(path, 'rb')",
    # Not the module mmap: it keeps a descriptor of its own.
    "mapped": """
        import ctypes
        libc = ctypes.CDLL(None, use_errno=True)
        libc.mmap.restype = ctypes.c_void_p
        libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
        file = open(path, 'rb')
        assert libc.mmap(None, 4096, 1, 1, file.fileno(), 0) != ctypes.c_void_p(-1).value
        file.close()
    """,
    "leased": """
        import fcntl
        file = open(path, 'rb')
        fcntl.flock(file, fcntl.LOCK_SH)
        second = open(path, 'rb')
    """,
}


@pytest.fixture
def file(tmp_path):
    """A file, and the device and inode by which it is known."""
    path = tmp_path / "model.bin"
    path.write_bytes(bytes(10_000))
    return path


@pytest.fixture
def holding():
    """Start a process that does something with a file and keeps at it."""
    started = []

    def start(use, path):
        code = f"import sys; path = sys.argv[1]\n{textwrap.dedent(use)}\nprint('held', flush=True); sys.stdin.read()"
        command = [sys.executable, "-c", code, str(path)]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        started.append(process)
        assert process.stdout.readline() == "held\n"
        return process

    yield start
    for process in started:
        process.communicate()


def identity(path):
    """Device and inode."""
    found = os.stat(path)
    return found.st_dev, found.st_ino


@pytest.mark.parametrize("how", USES)
def test_each_kind_of_use_is_told(file, holding, how):
    """Pid, name of the command, and the most telling thing that it does with the file."""
    process = holding(USES[how], file)
    (found,) = users.survey({identity(file)}).users[identity(file)]
    with open(f"/proc/{process.pid}/comm") as comm:
        name = comm.read().strip()
    assert found == (process.pid, name, how)
    assert str(found) == f"{how} by pid {process.pid} ({name})"


def test_one_pass_answers_for_many_files(tmp_path, holding):
    """Each file has its own users, in the order of their pids; one that nobody uses has none."""
    files = [tmp_path / name for name in "abc"]
    for number, path in enumerate(files):
        path.write_bytes(bytes(number + 1))
    first, second = holding(USES["open"], files[0]), holding(USES["leased"], files[0])
    third = holding(USES["mapped"], files[1])
    found = users.survey({identity(path) for path in files}).users
    assert {file: [(user.pid, user.how) for user in there] for file, there in found.items()} == {
        identity(files[0]): sorted([(first.pid, "open"), (second.pid, "leased")]),
        identity(files[1]): [(third.pid, "mapped")],
    }


def test_this_process_is_among_them(file):
    """A lease that this process itself holds is told, and gone with it."""
    fd = os.open(file, os.O_RDONLY)
    assert locks.try_shared(fd)
    assert [(user.pid, user.how) for user in users.survey({identity(file)}).users[identity(file)]] == [
        (os.getpid(), "leased")
    ]
    locks.release(fd)
    assert users.survey({identity(file)}).users == {}


def test_who_may_not_be_looked_into_is_counted(file, holding):
    """Without the right to look into other users' processes, their leases are seen all the same."""
    if os.geteuid() != 0:
        pytest.skip("needs another user")
    process = holding(USES["leased"], file)
    code = textwrap.dedent("""
        import os, sys
        from model_cache import users
        file = int(sys.argv[1]), int(sys.argv[2])
        os.setgid(65534); os.setuid(65534)
        found = users.survey({file})
        print(found.unseen > 0, [(user.pid, user.how) for user in found.users.get(file, [])])
    """)
    arguments = [str(number) for number in identity(file)]
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True)
    assert done.stdout == f"True [({process.pid}, 'leased')]\n", done.stderr


def test_nothing_is_asked_about_no_files():
    """No file, no user, and no process is looked into."""
    assert users.survey(set()) == ({}, 0)
