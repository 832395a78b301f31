"""Which calls not each system has, and that one package alone makes them."""

import ast
import re
import subprocess
import sys
from pathlib import Path

from platform_equipment import table

import model_cache
from model_cache.platforms import capabilities

SOURCE = Path(model_cache.__file__).parent
# What Python's documentation of `os` says is not available on Windows, or not on macOS.
NAMES = """
O_CLOEXEC O_DIRECTORY O_NOFOLLOW O_NONBLOCK O_PATH O_TMPFILE O_DIRECT O_DSYNC O_SYNC O_BINARY O_NOINHERIT SEEK_DATA
SEEK_HOLE ST_RDONLY POSIX_FADV_DONTNEED chown chroot copy_file_range fchdir fchmod fchown fdatasync fork forkpty
getegid geteuid getgid getgroups getuid getxattr killpg lchown link lockf mkfifo mknod nice pathconf pidfd_open
posix_fadvise posix_fallocate pread preadv pwrite pwritev register_at_fork rename replace sched_getaffinity sendfile
setsid setxattr statvfs supports_dir_fd supports_effective_ids supports_fd supports_follow_symlinks sync sysconf
uname unlink wait3 wait4
"""
ELSEWHERE = frozenset(NAMES.split())
MODULES = frozenset(
    ["fcntl", "pwd", "grp", "resource", "termios", "tty", "msvcrt", "winreg", "ctypes", "posix", "nt", "syslog"]
)
# Both read what the kernel tells of all processes and mounts, each behind `capabilities.PROC`.
READS_PROC = frozenset(["mounts.py", "users.py"])


def modules():
    """(path below the package, its tree) of each module; the loopback hub is test equipment, which goes by none of this."""
    for path in sorted(SOURCE.rglob("*.py")):
        name = path.relative_to(SOURCE).as_posix()
        if not name.startswith(("platforms/", "testing/")):
            yield name, ast.parse(path.read_text())


def foreign(name, tree):
    """What a module does that not each system can."""
    for node in ast.walk(tree):
        match node:
            case ast.Attribute(value=ast.Name(id="os"), attr=attr) if attr in ELSEWHERE:
                yield f"os.{attr}"
            case ast.Attribute(value=ast.Attribute(value=ast.Name(id="os")), attr="realpath"):
                yield "os.path.realpath"  # which has other separators on Windows
            case ast.Call(func=ast.Name(id="hasattr" | "getattr"), args=[ast.Name(id="os" | "sys"), *_]):
                yield "asks os for an attribute"
            case (
                ast.Attribute(value=ast.Name(id="sys"), attr="platform")
                | ast.Attribute(value=ast.Name(id="os"), attr="name")
            ):
                yield "asks which system it is"
            case ast.keyword(arg="dir_fd" | "src_dir_fd" | "dst_dir_fd" | "effective_ids"):
                yield node.arg
            case ast.Import(names=names):
                yield from (one.name for one in names if one.name in MODULES)
            case ast.ImportFrom(module=module, level=0) if module in MODULES:
                yield module
            case ast.Constant(value=str() as text) if re.match(r"/(proc|dev|sys)\b", text) and name not in READS_PROC:
                yield text


def test_what_not_each_system_has_is_called_in_one_package():
    """No other module calls it, imports what it comes from, or asks which system it runs on."""
    assert {name: found for name, tree in modules() if (found := sorted(set(foreign(name, tree))))} == {}


def test_who_reads_what_the_kernel_tells_of_processes_asks_first_whether_it_does():
    """Each of the two modules that know files below /proc looks at the capability."""
    for name in READS_PROC:
        assert "capabilities.PROC" in (SOURCE / name).read_text()


def test_the_page_has_a_row_for_each_capability():
    """In the order of the source, with all columns filled; what is there on Linux is what was found here."""
    rows = table()
    assert sorted(rows) == sorted(capabilities.FOUND)
    assert [name for name, cells in rows.items() if len(cells) != 7 or not all(cells)] == []
    assert {name for name, cells in rows.items() if cells[2] == "yes"} == set(capabilities.FOUND)
    assert {cell for cells in rows.values() for cell in cells[2:5]} == {"yes", "no"}


def test_what_is_taken_away_is_gone_and_an_unknown_name_gives_nothing(environ):
    """Each name of the variable takes that capability away and no other; whom a root is trusted with cannot be taken away."""
    code = "from model_cache.platforms import capabilities; print(*(n for n, there in capabilities.FOUND.items() if not there))"
    for names in ("flock", "at,leases", "users", "unheard_of"):
        ran = subprocess.run(
            [sys.executable, "-c", code],
            env=environ | {"MODEL_CACHE_WITHOUT": names},
            capture_output=True,
            text=True,
            check=True,
        )
        assert set(ran.stdout.split()) == set(names.split(",")) - {"users", "unheard_of"}
