"""Who uses a file right now, as far as `/proc` tells; for people, never for a decision.

Whether a file may be taken away is decided by its lease and the open test, which cannot be wrong about it. This says
which programs those were. One pass over all processes answers for any number of files; a process that ends or begins
meanwhile may be missed.

Source: proc(5), "/proc/pid/fd", "/proc/pid/fdinfo", "/proc/pid/maps" and "/proc/locks". Other systems have none of
these: nobody is found there.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from typing import NamedTuple

from .platforms import capabilities

File = tuple[int, int]  # device and inode, as `os.stat` gives them

_PROC = "/proc"
_STRENGTH = ("mapped", "open", "leased")  # what a process does with a file, the most telling last


class User(NamedTuple):
    """A process, the name of its command, and what it does with a file: `leased`, `open` or `mapped`."""

    pid: int
    name: str
    how: str

    def __str__(self) -> str:
        return f"{self.how} by pid {self.pid} ({self.name})"


class Survey(NamedTuple):
    """Who uses which file.

    Attributes:
        users: By file, in the order of their pids; files that nobody uses are not in it.
        unseen: Processes that may not be looked into (other users'); None where nothing can be told at all.
    """

    users: dict[File, list[User]]
    unseen: int | None


def survey(files: Collection[File]) -> Survey:
    """Find the users of these files, this process included, in one pass over all processes."""
    if not capabilities.PROC:
        return Survey({}, None)
    uses: dict[tuple[File, int], str] = {}
    unseen = 0
    if files:
        wanted = frozenset(files)
        inodes = frozenset(str(ino).encode() for _, ino in wanted)
        for pid in [int(name) for name in os.listdir(_PROC) if name.isdecimal()]:
            try:
                found = [*_mapped(pid, wanted, inodes), *_opened(pid, wanted)]
            except PermissionError:
                unseen += 1
                continue
            except OSError:
                continue  # it ended
            for file, how in found:
                uses[file, pid] = max(how, uses.get((file, pid), how), key=_STRENGTH.index)
        # Who may not be looked into is in this list all the same.
        uses |= {(file, pid): "leased" for file, pid in _flocks() if file in wanted}
    users: dict[File, list[User]] = {}
    for (file, pid), how in sorted(uses.items()):
        users.setdefault(file, []).append(User(pid, _name(pid), how))
    return Survey(users, unseen)


def _opened(pid: int, wanted: frozenset[File]) -> Iterator[tuple[File, str]]:
    folder = f"{_PROC}/{pid}/fd"
    for name in os.listdir(folder):
        try:
            found = os.stat(f"{folder}/{name}")
            file = found.st_dev, found.st_ino
            if file in wanted:
                yield file, "leased" if _has_flock(pid, name) else "open"
        except OSError:
            continue  # closed meanwhile


def _has_flock(pid: int, fd: str) -> bool:
    with open(f"{_PROC}/{pid}/fdinfo/{fd}", "rb") as file:
        return any(line.startswith(b"lock:") and b" FLOCK " in line for line in file)


def _mapped(pid: int, wanted: frozenset[File], inodes: frozenset[bytes]) -> Iterator[tuple[File, str]]:
    """Files in the address space: the descriptor they were mapped by may be closed long since."""
    with open(f"{_PROC}/{pid}/maps", "rb") as file:
        lines = [fields for line in file if (fields := line.split(maxsplit=5))[4] in inodes]
    for fields in lines:
        major, minor = (int(part, 16) for part in fields[3].split(b":"))
        mapped = os.makedev(major, minor), int(fields[4])
        if mapped not in wanted and len(fields) == 6:
            # Btrfs and overlayfs number the device of a mapping otherwise than `stat` does.
            try:
                found = os.stat(fields[5].rstrip(b"\n"))
            except OSError:
                continue
            mapped = found.st_dev, found.st_ino
        if mapped in wanted:
            yield mapped, "mapped"


def leases(device: int) -> dict[int, list[User]]:
    """Who holds a `flock` on which inode of a device, whatever file it is."""
    found: dict[int, list[User]] = {}
    for (where, ino), pid in sorted(_flocks()):
        if where == device:
            found.setdefault(ino, []).append(User(pid, _name(pid), "leased"))
    return found


def holders(path: str) -> str:
    """Who has a `flock` on the file at a path, for a message: ` by pid 4059 (python)`; empty where that cannot be told."""
    try:
        found = os.stat(path, follow_symlinks=False)
    except OSError:
        return ""
    held = leases(found.st_dev).get(found.st_ino, [])
    return f" by {', '.join(f'pid {user.pid} ({user.name})' for user in held)}" if held else ""


def _flocks() -> Iterator[tuple[File, int]]:
    if not capabilities.PROC:
        return
    try:
        with open(f"{_PROC}/locks", encoding="utf-8") as file:
            lines = [line.split() for line in file]
    except OSError:
        return
    for fields in lines:
        # 1: FLOCK ADVISORY READ 4059 fd:00:1234 0 EOF; who waits for a lock has an arrow in the second place.
        if len(fields) < 6 or fields[1] != "FLOCK" or int(fields[4]) <= 0:
            continue
        major, minor, ino = fields[5].split(":")
        yield (os.makedev(int(major, 16), int(minor, 16)), int(ino)), int(fields[4])


def _name(pid: int) -> str:
    try:
        with open(f"{_PROC}/{pid}/comm", encoding="utf-8", errors="replace") as file:
            name = file.read().rstrip("\n")  # which the process chose itself
        return "".join(character if character.isprintable() else "?" for character in name)
    except OSError:
        return "?"
