"""What this system can do, found out once, at import; the one owner of `fcntl`, `pwd` and `resource`.

What is missing has a fallback, or what needs it is refused: docs/explanation/platforms.md has a row for each capability here.

`MODEL_CACHE_WITHOUT`, names with commas between them, takes capabilities away, so that tests see on one system what is done on
others. It gives none: whatever is set there, the cache does less, or the same with more care.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

try:
    import fcntl as fcntl
except ImportError:
    fcntl = None  # type: ignore[assignment]

_without = frozenset(os.environ.get("MODEL_CACHE_WITHOUT", "").split(","))
FOUND: dict[str, bool] = {}  # each capability by its name: whether it can be used here


def _has(name: str, there: bool) -> bool:
    FOUND[name] = there and name not in _without
    return FOUND[name]


def _has_calls(name: str, *calls: str) -> bool:
    return _has(name, all(hasattr(os, call) for call in calls))


POSIX = os.name == "posix"
# Locks and leases of the kernel
FLOCK = _has("flock", hasattr(fcntl, "flock"))
LEASES = _has("leases", hasattr(fcntl, "F_SETLEASE"))
# Names
AT = _has("at", {os.open, os.stat, os.unlink, os.rename, os.link, os.mkdir, os.rmdir, os.access} <= os.supports_dir_fd)
NO_FOLLOW = _has("no_follow", hasattr(os, "O_NOFOLLOW"))
HARD_LINKS = _has_calls("hard_links", "link")
REPLACE_OPEN = _has("replace_open", POSIX)
DIRECTORY_SYNC = _has("directory_sync", POSIX)
# Files
PROC = _has("proc", os.path.isdir("/proc/self/fd"))
PATH_ONLY = _has_calls("path_only", "O_PATH")
NAMELESS = _has_calls("nameless", "O_TMPFILE") and PROC
POSITIONAL = _has_calls("positional", "pread", "pwrite", "preadv")
DATA_SYNC = _has_calls("data_sync", "fdatasync")
COPY_RANGE = _has_calls("copy_range", "copy_file_range")
REFLINKS = _has("reflinks", fcntl is not None and sys.platform == "linux")
ADVICE = _has_calls("advice", "posix_fadvise")
TIMES = _has("times", os.utime in os.supports_fd and os.utime in os.supports_follow_symlinks)
# Who may do what
USERS = FOUND["users"] = hasattr(os, "geteuid")  # not to be taken away: who may be trusted would be asked less
MODES = _has("modes", hasattr(os, "fchmod") and POSIX)
# The machine
VOLUMES = _has_calls("volumes", "statvfs")
FORK = _has_calls("fork", "register_at_fork")
AFFINITY = _has_calls("affinity", "sched_getaffinity")

# Flags of `os.open` that not all systems have. What is opened is inherited by no child, and its bytes are not translated.
CLOEXEC = getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0) | getattr(os, "O_NOINHERIT", 0)
NONBLOCK = getattr(os, "O_NONBLOCK", 0)  # a FIFO or a device waits for nobody
NOFOLLOW: int = getattr(os, "O_NOFOLLOW", 0) if NO_FOLLOW else 0
DIRECTORY = os.O_RDONLY | getattr(os, "O_DIRECTORY", 0) | CLOEXEC
# To name a place, or something in it: asks for no right to read.
PLACE = (getattr(os, "O_PATH", 0) if PATH_ONLY else NONBLOCK) | CLOEXEC
# For `os.utime`: the times of a symlink and not of what it leads to.
ITSELF: dict[str, Any] = {"follow_symlinks": False} if TIMES else {}


def after_fork(**calls: Callable[[], Any]) -> None:
    """Have functions called around each fork (`before`, `after_in_parent`, `after_in_child`); where nothing forks, never."""
    if FORK:
        os.register_at_fork(**calls)


def user() -> int:
    """Who this process acts as; 0 where users have no numbers: there each file says that it belongs to 0."""
    return os.geteuid() if USERS else 0


def user_name(uid: int) -> str:
    """A user as people know them."""
    try:
        import pwd

        return pwd.getpwuid(uid).pw_name
    except (KeyError, ImportError):
        return f"user {uid}"


def host_name() -> str:
    """The name of this host, as `uname -n` says it."""
    if hasattr(os, "uname"):
        return os.uname().nodename
    import socket

    return socket.gethostname()


def processors() -> int:
    """How many processors this process may use."""
    return len(os.sched_getaffinity(0)) if AFFINITY else os.cpu_count() or 1


def most_open_files() -> int | None:
    """How many files this process may have open; None where nothing limits them."""
    try:
        import resource
    except ImportError:
        return 512  # what the C library of Windows gives
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return None if limit == resource.RLIM_INFINITY else limit
