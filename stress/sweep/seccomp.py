"""Stopping another process before chosen system calls, by seccomp's user notification (Linux 5.5, no privilege needed).

The process installs a filter on itself (`listen`) and hands its descriptor to another, which is told of each such call
before it runs (`receive`), and says what becomes of it (`answer`). Thirty microseconds per call, where a tracer stops the
process twice at every call of any kind; and one order over all threads.

Sources: seccomp_unotify(2), seccomp(2), linux/seccomp.h, linux/audit.h.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import platform
import struct
from typing import NamedTuple

_X86_64 = {
    "read": 0, "write": 1, "ioctl": 16, "pread64": 17, "pwrite64": 18, "fcntl": 72, "flock": 73, "fsync": 74,
    "fdatasync": 75, "ftruncate": 77, "rename": 82, "mkdir": 83, "rmdir": 84, "link": 86, "unlink": 87, "chmod": 90,
    "fchmod": 91, "openat": 257, "mkdirat": 258, "unlinkat": 263, "renameat": 264, "linkat": 265, "fchmodat": 268,
    "utimensat": 280, "preadv": 295, "renameat2": 316, "copy_file_range": 326, "preadv2": 327,
}  # fmt: skip
_ARM64 = {
    "fcntl": 25, "ioctl": 29, "flock": 32, "mkdirat": 34, "unlinkat": 35, "linkat": 37, "renameat": 38, "ftruncate": 46,
    "fchmod": 52, "fchmodat": 53, "openat": 56, "read": 63, "write": 64, "pread64": 67, "pwrite64": 68, "preadv": 69,
    "fsync": 82, "fdatasync": 83, "utimensat": 88, "renameat2": 276, "copy_file_range": 285, "preadv2": 286,
}  # fmt: skip
_MACHINES = {"x86_64": (_X86_64, 317, 0xC000003E), "aarch64": (_ARM64, 277, 0xC00000B7)}
NUMBERS, _SECCOMP, _ARCH = _MACHINES.get(platform.machine(), ({}, 0, 0))
NAMES = {number: name for name, number in NUMBERS.items()}

_SET_MODE_FILTER, _NEW_LISTENER = 1, 8
_ALLOW, _USER_NOTIF = 0x7FFF0000, 0x7FC00000
_LOAD, _IF_EQUAL, _RETURN = 0x20, 0x15, 0x06  # BPF_LD|BPF_W|BPF_ABS, BPF_JMP|BPF_JEQ|BPF_K, BPF_RET|BPF_K
_NO_NEW_PRIVS = 38
_RECV, _SEND = 0xC0502100, 0xC0182101
_CONTINUE = 1
_PIDFD_GETFD = 438  # the same number everywhere
_libc = ctypes.CDLL(None, use_errno=True)


class Notice(NamedTuple):
    """A system call that waits to be decided."""

    id: int
    tid: int
    name: str
    args: tuple[int, ...]


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_void_p))


def listen() -> int:
    """Have every call in `NUMBERS` of this process wait for an answer; the descriptor by which it is given."""
    numbers = list(NUMBERS.values())
    jumps = [struct.pack("HBBI", _IF_EQUAL, len(numbers) - place, 0, number) for place, number in enumerate(numbers)]
    load = struct.pack("HBBI", _LOAD, 0, 0, 0)  # offsetof(struct seccomp_data, nr)
    ends = [struct.pack("HBBI", _RETURN, 0, 0, what) for what in (_ALLOW, _USER_NOTIF)]
    code = ctypes.create_string_buffer(b"".join([load, *jumps, *ends]))
    program = _Program(1 + len(jumps) + len(ends), ctypes.addressof(code))
    if _libc.prctl(_NO_NEW_PRIVS, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "PR_SET_NO_NEW_PRIVS")
    fd = int(_libc.syscall(_SECCOMP, _SET_MODE_FILTER, _NEW_LISTENER, ctypes.byref(program)))
    if fd < 0:
        raise OSError(ctypes.get_errno(), f"seccomp: {os.strerror(ctypes.get_errno())}")
    return fd


def receive(fd: int) -> Notice | None:
    """The next call that waits; None if its thread is gone meanwhile."""
    data = bytearray(80)  # struct seccomp_notif
    try:
        fcntl.ioctl(fd, _RECV, data)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.EINTR):
            return None
        raise
    number, tid, _, call, arch, _, *args = struct.unpack("QIIiIQ6Q", data)
    assert arch == _ARCH, "a program of this machine's own kind"
    return Notice(number, tid, NAMES[call], tuple(args))


def answer(fd: int, notice: Notice, *, error: int = 0, value: int | None = None) -> None:
    """Let the call run; or have it return an error, or a value, without it being run."""
    go_on = _CONTINUE if not error and value is None else 0
    try:
        fcntl.ioctl(fd, _SEND, bytearray(struct.pack("QqiI", notice.id, value or 0, -error, go_on)))
    except OSError as failed:
        if failed.errno != errno.ENOENT:  # else the thread is gone
            raise


def borrowed(pid: int, fd: int) -> int:
    """A descriptor of another process, as one of this process: the same open file, with the same offset."""
    handle = os.pidfd_open(pid)
    try:
        found = int(_libc.syscall(_PIDFD_GETFD, handle, fd, 0))
    finally:
        os.close(handle)
    if found < 0:
        raise OSError(ctypes.get_errno(), f"pidfd_getfd: {os.strerror(ctypes.get_errno())}")
    return found


def missing() -> str:
    """Why calls cannot be stopped here, or nothing."""
    if not NUMBERS:
        return f"system calls are known by number on x86_64 and aarch64 only, and this is {platform.machine()}"
    pid = os.fork()
    if not pid:
        try:
            listen()
        except OSError as error:
            os._exit(error.errno or 1)
        finally:
            os._exit(0)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return f"seccomp's user notification is not to be had here: {os.strerror(status)}" if status else ""
