"""What a hit asks of the system, by its system calls."""

import re
import shutil

import pytest
from support import FILE, REPO, finish

pytestmark = pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")

# Python's own memory, which is neither a write nor a lock.
MEMORY = frozenset(["brk", "mmap", "munmap", "madvise", "mremap"])
BEGIN, END = "/begin-of-the-hits", "/end-of-the-hits"


@pytest.fixture
def traced(root, spawn, tmp_path):
    """The calls that a process makes of the system between two marks: (name, the rest of the line)."""
    (root / REPO).mkdir(parents=True)
    (root / REPO / FILE).write_bytes(b"placed by hand")

    def trace(before, between):
        out = tmp_path / "calls"
        code = f'{before}\nos.path.exists("{BEGIN}")\n{between}\nos.path.exists("{END}")'
        process = spawn(code, tracer=f"strace -f -qq -o {out}")
        finish(process)
        lines = [line.split(" ", 1)[1].strip() for line in out.read_text().splitlines()]
        first, last = (next(n for n, line in enumerate(lines) if mark in line) for mark in (BEGIN, END))
        found = [re.match(r"(\w+)\((.*)", line) for line in lines[first + 1 : last]]
        return [call.groups() for call in found if call is not None and call[1] not in MEMORY]

    return trace


def test_a_repeated_hit_is_one_stat_and_nothing_else(traced, root):
    """Hits after the first write nothing, lock nothing and open nothing: each is one stat of the file's path (I9)."""
    hit = f'cache.fetch("{REPO}", "{FILE}")'
    calls = traced(hit, f"for _ in range(5): {hit}")
    assert len(calls) == 5
    for name, arguments in calls:
        assert name in ("stat", "newfstatat", "statx")
        assert str(root / REPO / FILE) in arguments


def test_a_first_hit_takes_a_shared_lease_and_touches_the_last_use(traced, root):
    """The first hit of a process locks the model file alone, shared; what it changes is the time of one file (I3, I9).

    That file, and the model, are reached by places that were opened one from the other: no symlink leads elsewhere.
    """
    hit = f'cache.fetch("{REPO}", "{FILE}")'
    other = f'ModelCache(arguments["root"], offline=True).fetch("{REPO}", "{FILE}")'
    (root / ".model-cache" / "used").mkdir(parents=True)
    calls = traced(f'{other}\ncache = ModelCache(arguments["root"], offline=True)', hit)
    locks = [arguments for name, arguments in calls if name in ("flock", "fcntl")]
    assert ["LOCK_SH|LOCK_NB" in locks[0], "LOCK_UN" in locks[1], len(locks)] == [True, True, 2]
    changes = [
        name for name, _ in calls if name in ("utimensat", "write", "rename", "unlink", "link", "mkdir", "fchmod")
    ]
    assert changes == ["utimensat"]
    opened = [arguments for name, arguments in calls if name in ("open", "openat")]
    places = [arguments for arguments in opened if "O_PATH" in arguments]
    assert len(places) == 1 and str(root / REPO / FILE) in places[0]
    read = [arguments for arguments in opened if "O_PATH" not in arguments]
    assert len(read) == 1 and "/proc/self/fd/" in read[0] and "O_RDONLY" in read[0]
    assert len(calls) == 12
