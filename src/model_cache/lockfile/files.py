"""Lock files on disk: read as a whole, replaced as a whole, and nothing but a lock file is ever overwritten (I7)."""

from __future__ import annotations

import os
import stat

from .. import disk
from ..context import Context
from ..errors import LockFileError, StorageError, quoted
from ..platforms import at
from ..platforms.capabilities import user
from .format import Locked, dump, parse

_LIMIT = 64 << 20  # bytes; a hundred thousand files take a quarter of it
_MODE = 0o644


def read(path: str | os.PathLike[str]) -> list[Locked]:
    """The files that a lock file names.

    Symlinks are followed: Kubernetes mounts a ConfigMap as such.

    Raises:
        LockFileError: It cannot be read, or makes no sense.
    """
    name = os.fsdecode(path)
    try:
        text = disk.read_small(at.real_path(name), _LIMIT).decode()
    except UnicodeDecodeError:
        raise LockFileError(f"lock file {name}: it is no text in UTF-8", path=name) from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise LockFileError(f"lock file {name}: {reason}", path=name) from None
    return parse(text, name)


def check_target(path: str | os.PathLike[str], *, force: bool = False) -> str:
    """The path without symlinks, where a lock file may be written.

    Args:
        force: Any regular file may be overwritten.

    Raises:
        LockFileError: There is a file that is no lock file.
        StorageError: There is something that is no regular file.
    """
    name = os.fsdecode(path)
    try:
        target = at.real_path(name)
        _refuse_foreign_link(name)
        mode = os.stat(target).st_mode
    except FileNotFoundError:
        return target
    except OSError as error:
        raise disk.storage_error(error, "cannot write", name) from None
    except ValueError as error:
        raise LockFileError(f"lock file {name!r}: {error}", path=name) from None
    if not stat.S_ISREG(mode):
        raise StorageError(f"{name} is no regular file, and is not replaced", hint=f"ls -ld {quoted(name)}", path=name)
    if not force:
        try:
            read(target)
        except LockFileError as error:
            raise LockFileError(
                f"{name} is there and is not overwritten: {error}",
                hint="name another file, or add --force to overwrite this one",
                path=name,
            ) from None
    return target


def _refuse_foreign_link(name: str) -> None:
    """Who made a symlink chose the file that would be written, with the rights of whoever writes."""
    found = os.lstat(name)
    if stat.S_ISLNK(found.st_mode) and found.st_uid not in (0, user()):
        raise StorageError(
            f"{name} is a symlink that another user made, and is not followed", hint=f"ls -ld {quoted(name)}", path=name
        )


def write(ctx: Context, path: str | os.PathLike[str], files: list[Locked], *, force: bool = False) -> None:
    """Write a lock file; readers, and whoever comes after a crash, see the one before or this one.

    Raises:
        LockFileError: There is a file that is no lock file, and `force` is not given.
        StorageError: It cannot be written.
    """
    text = dump(files)
    target = check_target(path, force=force)
    try:
        mode = stat.S_IMODE(os.stat(target).st_mode)
    except OSError:
        mode = _MODE
    ctx.step("lockfile:write")
    try:
        disk.write_small(target, text.encode(), mode, durable=True)
    except OSError as error:
        raise disk.storage_error(error, "cannot write", os.fsdecode(path)) from None
