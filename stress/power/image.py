"""A small file system as data: inodes, their bytes and times, and the names they have; taken from a disk and put on one."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

TOP = 1  # the inode of the directory that a tmpfs is mounted on


@dataclass
class Image:
    """What a disk holds.

    Attributes:
        names: By (inode of a directory, name): the inode of that name.
        folders: The inodes that are directories.
        contents: By inode: a file's bytes, or the path that a symlink leads to.
        links: The inodes that are symlinks. Nobody makes one: they stand there before.
        mtimes: By inode: when a file was last changed, in ns since the epoch.
        modes: By inode: its permissions.
    """

    names: dict[tuple[int, str], int] = field(default_factory=dict)
    folders: set[int] = field(default_factory=lambda: {TOP})
    contents: dict[int, bytes] = field(default_factory=dict)
    mtimes: dict[int, int] = field(default_factory=dict)
    modes: dict[int, int] = field(default_factory=dict)
    links: set[int] = field(default_factory=set)

    def tree(self) -> dict[str, int]:
        """The inode of every path that can be reached; directories come before what is in them."""
        return tree(self.names, self.folders)

    def path_of(self, ino: int) -> str:
        """A path of an inode, for people."""
        return next((path for path, found in self.tree().items() if found == ino), "a file without a name")


def tree(names: dict[tuple[int, str], int], folders: set[int]) -> dict[str, int]:
    """The inode of every path that can be reached from the top; directories come before what is in them."""
    inside: dict[int, list[tuple[str, int]]] = {}
    for (folder, name), ino in names.items():
        inside.setdefault(folder, []).append((name, ino))
    found: dict[str, int] = {}

    def enter(folder: int, prefix: str) -> None:
        for name, ino in sorted(inside.get(folder, ())):
            found[prefix + name] = ino
            if ino in folders:
                enter(ino, f"{prefix}{name}/")

    enter(TOP, "")
    return found


def take(top: Path) -> Image:
    """What is on a disk."""
    image = Image()
    for folder, path, status in _walk(top, TOP):
        ino = status.st_ino
        image.names[folder, path.name] = ino
        image.modes[ino] = stat.S_IMODE(status.st_mode)
        if stat.S_ISDIR(status.st_mode):
            image.folders.add(ino)
        else:
            image.contents[ino], image.mtimes[ino] = _content(path, status), status.st_mtime_ns
            if stat.S_ISLNK(status.st_mode):
                image.links.add(ino)
    return image


def _content(path: Path, status: os.stat_result) -> bytes:
    if stat.S_ISLNK(status.st_mode):
        return os.fsencode(os.readlink(path))
    assert stat.S_ISREG(status.st_mode), f"{path} is neither a file, a directory nor a symlink"
    return path.read_bytes()


def _walk(folder: Path, ino: int) -> Iterator[tuple[int, Path, os.stat_result]]:
    for name in sorted(os.listdir(folder)):
        path = folder / name
        status = path.lstat()
        yield ino, path, status
        if stat.S_ISDIR(status.st_mode):
            yield from _walk(path, status.st_ino)


def put(image: Image, top: Path) -> None:
    """Make it on a tmpfs that was just mounted, each inode with its own number.

    Raises:
        RuntimeError: The kernel numbers its inodes otherwise.
    """
    paths: dict[int, list[str]] = {}
    for path, ino in image.tree().items():
        paths.setdefault(ino, []).append(path)
    made = TOP
    for ino in sorted(paths):
        while made < ino:
            name = top / f".{ino}"
            if made + 1 < ino or ino not in image.folders | image.links:
                name.touch()
            elif ino in image.links:
                os.symlink(image.contents[ino], name)
            else:
                name.mkdir()
            made += 1
            if made < ino:
                name.unlink()
        if name.lstat().st_ino != ino:
            raise RuntimeError(f"inode {name.lstat().st_ino} came where {ino} should have")
    _name(image, top, paths)


def _name(image: Image, top: Path, paths: dict[int, list[str]]) -> None:
    """Give the inodes that were made their names, then their bytes, then their times."""
    for path, ino in image.tree().items():
        if ino in image.folders:
            os.rename(top / f".{ino}", top / path)
            os.chmod(top / path, image.modes[ino])
    for ino in paths.keys() - image.folders:
        for path in paths[ino]:
            os.link(top / f".{ino}", top / path, follow_symlinks=False)
        os.unlink(top / f".{ino}")
        if ino in image.links:
            continue
        _write(top / paths[ino][0], image.contents[ino])
        os.chmod(top / paths[ino][0], image.modes[ino])
        os.utime(top / paths[ino][0], ns=(image.mtimes[ino], image.mtimes[ino]))


def _write(path: Path, content: bytes) -> None:
    """Zeros at the end have no blocks: where only the size survived, none were allocated."""
    with path.open("r+b") as file:
        file.write(content.rstrip(b"\0"))
        file.truncate(len(content))
