"""`local_dir`: plain copies of files in a directory of the caller's, brought to what the Hub has now.

The bytes come through the cache, so that they are downloaded once for all who want them, and verified; the copy shares
blocks with the cached file where the file system can. The directory is the caller's: what stands at a file's place there
is replaced, nothing else in it is looked at, and nothing is kept in it but the files.

Filesystems:
    A copy is written beside its place and renamed over it: a reader sees the old file or the new one. What a killed
    process leaves is `NAME.….incomplete`.
"""

from __future__ import annotations

import os
import shutil
import stat
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

from .. import disk
from ..cache import ModelCache
from ..download.repo import check_workers
from ..errors import AccessError, DownloadError, NotFoundError, OfflineMissError
from ..layout import Entry, Snapshot
from ..platforms import at, opened
from ..surface import in_family
from . import promised
from .promised import Promised

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..selection import Patterns

_BEGUN = 200  # bytes of a file's name in that of its unfinished copy, which may have 255


@in_family
def place_file(cache: ModelCache, entry: Entry, local_dir: str, *, force: bool, offline: bool) -> str:
    """The path of a file in `local_dir`, as the Hub has it now.

    Where the Hub cannot be reached, what is there is handed out as it is.

    Raises:
        OfflineMissError: It is not there, and nothing may be asked.
        DownloadError: It is not there, and the Hub cannot be reached; or the Hub refuses.
    """
    target = f"{local_dir}/{entry.filename}"
    held = os.path.isfile(target)
    if offline:
        return target if held else _missing(target)
    try:
        want = promised.file(cache, entry)
    except DownloadError as error:
        if force or not held or isinstance(error, (NotFoundError, AccessError)):
            raise
        return target
    _bring(cache, want, local_dir, force=force)
    return target


@in_family
def place_repo(
    cache: ModelCache,
    snapshot: Snapshot,
    local_dir: str,
    allow: Patterns,
    ignore: Patterns,
    *,
    force: bool,
    offline: bool,
    workers: int,
) -> str:
    """`local_dir`, once all that the patterns leave is there as the Hub has it now; raises as `place_file`.

    Without the Hub a directory that is not empty is handed out as it is; whether it is whole nobody knows then.
    """
    held = os.path.isdir(local_dir) and bool(os.listdir(local_dir))
    if offline:
        return local_dir if held else _missing(local_dir)
    try:
        wanted = promised.repo(cache, snapshot, allow, ignore)
    except DownloadError as error:
        if force or not held or isinstance(error, (NotFoundError, AccessError)):
            raise
        return local_dir
    failed = threading.Event()

    def bring(want: Promised) -> None:
        if failed.is_set():
            return  # who gets an error gets it now, not after all the rest
        try:
            _bring(cache, want, local_dir, force=force)
        except BaseException:
            failed.set()
            raise

    with ThreadPoolExecutor(check_workers(workers)) as pool:
        try:
            for done in [pool.submit(bring, want) for want in wanted]:
                done.result()
        except BaseException:
            failed.set()  # also where the caller was interrupted
            raise
    return local_dir


def _missing(path: str) -> str:
    raise OfflineMissError(f"{path} is not there, and the network is switched off", hint="ls -l what is above it")


def is_current(cache: ModelCache, want: Promised, local_dir: str) -> bool:
    """Whether the copy is there as promised; one that is as it was copied is not read again."""
    target = f"{local_dir}/{want.entry.filename}"
    try:
        here, there = os.stat(target), os.stat(want.entry.path(cache._ctx.root))
    except OSError:
        return want.is_at(target)
    return (here.st_size, here.st_mtime_ns) == (there.st_size, there.st_mtime_ns) or want.is_at(target)


def _bring(cache: ModelCache, want: Promised, local_dir: str, *, force: bool) -> None:
    if not force and is_current(cache, want, local_dir):
        return
    entry = want.entry
    names = {"revision": entry.revision, "repo_type": entry.repo_type}
    with cache.lease(entry.repo, entry.filename, force=force, **names) as path:
        _copy(cache, os.fspath(path), local_dir, entry.filename)


def _made(local_dir: str) -> int:
    """The mode of `local_dir`, which is made, durably, where it is missing; directories in it get the same."""
    missing, path = [], local_dir
    while not os.path.isdir(path):
        missing.append(path)
        path = os.path.dirname(path)
    for path in reversed(missing):
        with suppress(FileExistsError):
            os.mkdir(path)
        disk.fsync_directory(os.path.dirname(path))
    return stat.S_IMODE(os.stat(local_dir).st_mode)


def _copy(cache: ModelCache, source: str, local_dir: str, filename: str) -> None:
    """Put a copy of a file at its place, with the time of the original: whoever changes it changes that."""
    mode = _made(local_dir)
    name = filename.rpartition("/")[2]
    begun = name.encode()[:_BEGUN].decode(errors="ignore")
    unfinished = f"{begun}.{os.getpid()}-{os.urandom(4).hex()}.incomplete"
    temporary = f"{local_dir}/{filename.removesuffix(name)}{unfinished}"
    directory = disk.open_parent(local_dir, filename, mode)
    try:
        cache._ctx.step("local:write")
        with open(source, "rb") as original, open(temporary, "xb") as copy:
            try:
                if not opened.clone(original.fileno(), copy.fileno()):
                    shutil.copyfileobj(original, copy, 1 << 20)
                copy.flush()
                when = os.fstat(original.fileno())
                opened.set_time(copy.fileno(), temporary, (when.st_atime_ns, when.st_mtime_ns))
                opened.sync(copy.fileno())
                cache._ctx.step("local:replace")
                disk.put(copy.fileno(), temporary, name, directory)
            except BaseException:
                disk.remove(temporary)
                raise
        disk.sync(directory)
    finally:
        at.close(directory)
