"""Records the system calls of a process that change files, by strace, and reads what strace wrote."""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

# All that can change names, bytes, sizes or times; what says which file a descriptor is, and where it stands; and what
# tells of inodes and mtimes. A `?` where not every kind of machine has the call.
_TRACED = (
    "?open,openat,?openat2,?creat,close,?dup,?dup2,dup3,fcntl,lseek,read,?readv,mmap,"
    "write,pwrite64,writev,pwritev,?pwritev2,?sendfile,?splice,copy_file_range,ioctl,"
    "truncate,ftruncate,fallocate,fsync,fdatasync,sync_file_range,sync,syncfs,"
    "?rename,renameat,?renameat2,?link,linkat,?unlink,unlinkat,?mkdir,mkdirat,?rmdir,?mknod,mknodat,?symlink,symlinkat,"
    "?utime,?utimes,?futimesat,utimensat,?chmod,fchmod,fchmodat,?fchmodat2,"
    "?stat,?lstat,fstat,?newfstatat,?fstatat64,?statx"
)
_BEGUN = re.compile(r"^(\d+) +(\d+\.\d+) (\w+)\((.*)$")
_RESUMED = re.compile(r"^(\d+) +(\d+\.\d+) <\.\.\. (\w+) resumed>(.*)$")
_ENDED = re.compile(r"^(.*)\)\s+= (-?\w+)(.*)$")
_UNFINISHED = " <unfinished ...>"
_STRING = re.compile(r'^"((?:\\x[0-9a-f]{2})*)"$')
_WAIT = 20.0  # seconds for strace to attach, and to end


class Call(NamedTuple):
    """One system call that succeeded.

    Attributes:
        name: The call.
        args: Its arguments as strace writes them.
        result: What it returned.
        at: When, in seconds since the epoch.
        detail: What strace writes behind the result.
    """

    name: str
    args: tuple[str, ...]
    result: int
    at: float
    detail: str

    def text(self, index: int) -> bytes:
        """An argument that is a string."""
        found = _STRING.match(self.args[index])
        if found is None:
            raise ValueError(f"no whole string: {self.args[index][:200]}")
        return bytes.fromhex(found[1].replace("\\x", ""))

    def fd(self, index: int) -> int:
        """An argument that is a descriptor; -100 for AT_FDCWD."""
        word = self.args[index].partition("<")[0]
        return -100 if word == "AT_FDCWD" else int(word)

    def number(self, index: int) -> int:
        """An argument that is a number."""
        return int(self.args[index], 0)


def record(act: Callable[[], object]) -> list[Call]:
    """Do it in a forked child, and return the calls it made, in their order.

    Raises:
        RuntimeError: It raised, or strace could not be attached.
    """
    gate, opener = os.pipe()
    pid = os.fork()
    if not pid:
        status = 1
        try:
            os.close(opener)
            os.read(gate, 1)
            os.close(gate)
            act()
            status = 0
        finally:
            os._exit(status)
    os.close(gate)
    with tempfile.NamedTemporaryFile(prefix="model-cache-strace-", dir="/dev/shm") as file:
        tracer = _attach(pid, file.name)
        try:
            os.write(opener, b"!")
        finally:
            os.close(opener)
            _, status = os.waitpid(pid, 0)
            _, said = tracer.communicate(timeout=_WAIT)
        if status:
            raise RuntimeError(f"the recorded operation failed with status {status}; strace: {said}")
        return list(parse(Path(file.name)))


def _attach(pid: int, output: str) -> subprocess.Popen[str]:
    command = ["strace", "-f", "-v", "-y", "-xx", "-s", "10000000", "-ttt", "-e", f"trace={_TRACED}"]
    # Signals do not interest; -o alone would let strace write to the terminal of who is traced.
    command += ["-e", "signal=none", "-o", output, "-p", str(pid)]
    tracer = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    assert tracer.stderr is not None
    first = tracer.stderr.readline()
    if "attached" not in first:
        os.kill(pid, 9)
        raise RuntimeError(f"strace: {first.strip()}")
    return tracer


def parse(path: Path) -> Iterator[Call]:
    """The calls in a file that strace wrote which succeeded; in the order in which they ended, as one after another."""
    begun: dict[str, tuple[str, str]] = {}
    with path.open(encoding="ascii") as lines:
        for line in map(str.rstrip, lines):
            resumed = _RESUMED.match(line)
            if resumed is not None:
                pid, at, name, rest = resumed.groups()
                name, start = begun.pop(pid)
                rest = start + rest
            else:
                found = _BEGUN.match(line)
                if found is None:
                    continue  # a process ended
                pid, at, name, rest = found.groups()
                if rest.endswith(_UNFINISHED):
                    begun[pid] = name, rest.removesuffix(_UNFINISHED)
                    continue
            ended = _ENDED.match(rest)
            if ended is not None and ended[2] != "?" and not ended[2].startswith("-"):
                yield Call(name, tuple(split(ended[1])), int(ended[2], 0), float(at), ended[3])


def split(text: str) -> Iterator[str]:
    """Arguments at the commas between them; all strings are in hex, so no comma or bracket is in one."""
    depth = start = 0
    for found in re.finditer(r"[(\[{}\]),]", text):
        at, character = found.start(), found[0]
        if character in "([{":
            depth += 1
        elif character in ")]}":
            depth -= 1
        elif not depth:
            yield text[start:at].strip()
            start = at + 1
    if text[start:].strip():
        yield text[start:].strip()
