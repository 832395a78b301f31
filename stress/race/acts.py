"""What a worker can do, operation by operation, and what it looks at afterwards; the oracle judges what was seen.

Every act takes the worker and its choice, and returns the facts that go into the journal: `sha` of the bytes that a path
led to, `held` = [inode at the start, inode at the end, seconds], and so on.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from model_cache.errors import ModelCacheError
from model_cache.integrity.report import VerifyReport

from ..invariants import files
from .scenario import Choice

if TYPE_CHECKING:
    from .worker import Worker

Seen = dict[str, Any]


def _ino(path: Path) -> int:
    try:
        return os.stat(path).st_ino
    except FileNotFoundError:
        return 0


def look(path: Path) -> Seen:
    """Open a path that was handed out, now, and hash what it leads to."""
    try:
        with path.open("rb") as file:
            return {"sha": hashlib.file_digest(file, "sha256").hexdigest(), "ino": os.fstat(file.fileno()).st_ino}
    except FileNotFoundError:
        return {"gone": 0.0}


def _fetch(worker: Worker, choice: Choice) -> Seen:
    return look(worker.cache.fetch(choice.file.repo, choice.file.name, progress=worker.progress))


def _force(worker: Worker, choice: Choice) -> Seen:
    return look(worker.cache.fetch(choice.file.repo, choice.file.name, force=True, progress=worker.progress))


def _brief(worker: Worker, choice: Choice) -> Seen:
    """Somebody with little time: the download goes on without them."""
    return look(worker.cache.fetch(choice.file.repo, choice.file.name, timeout=0.01 + 0.5 * choice.share))


def _repo(worker: Worker, choice: Choice) -> Seen:
    """A whole repo, or one file of it by a pattern; the file is looked at."""
    include = choice.file.name if choice.share < 0.5 else None
    directory = worker.cache.fetch_repo(choice.file.repo, include=include, workers=4, progress=worker.progress)
    return look(directory / choice.file.name)


def _sync(worker: Worker, choice: Choice) -> Seen:
    """A lock file of one file or its whole repo, as old as it may be, is made true again; the file is looked at."""
    names = () if choice.share < 0.3 else (choice.file.name,)
    lockfile = (
        worker.lockfiles / f"worker-{worker.slot:03}-{'-'.join((choice.file.repo, *names)).replace('/', '-')}.lock"
    )
    if not lockfile.exists():
        worker.cache.lock(choice.file.repo, *names, output=lockfile, workers=4)
    worker.cache.sync(lockfile, workers=4)
    return look(worker.cache.path(choice.file.repo, choice.file.name))


def _hit(worker: Worker, choice: Choice) -> Seen:
    return look(worker.cache.fetch(choice.file.repo, choice.file.name, offline=True))


def _handout(worker: Worker, choice: Choice) -> Seen:
    """A path is kept for a while, without a lease, and opened within the time that is promised."""
    path = worker.cache.fetch(choice.file.repo, choice.file.name, progress=worker.progress)
    began = time.monotonic()
    time.sleep(choice.seconds)
    asked = time.monotonic() - began
    seen = look(path)
    if "gone" in seen:
        seen["gone"] = asked
    return seen | {"kept": [began, asked]}


def _lease(worker: Worker, choice: Choice) -> Seen:
    """A lease, and a hit without network while it is held."""
    file = choice.file
    with worker.cache.lease(file.repo, file.name, progress=worker.progress) as path:
        held, first = time.monotonic(), _ino(path)
        time.sleep(choice.seconds)
        try:
            worker.cache.fetch(file.repo, file.name, offline=True)
            offline = ""
        except ModelCacheError as error:
            offline = f"{type(error).__name__}: {error}"
        seen = look(path)
        return seen | {"held": [held, first, _ino(path), "lease"], "offline": offline}


def _below(worker: Worker, choice: Choice) -> Seen:
    """From another root, to which this one is a lower root: a lease here, or a part of a repo, copied where it must be."""
    file, above = choice.file, worker.above
    shutil.rmtree(above.root, ignore_errors=True)  # of the last time
    if choice.share < 0.6:
        with above.lease(file.repo, file.name) as path:
            held, first = time.monotonic(), _ino(path)
            time.sleep(choice.seconds)
            return look(path) | {"held": [held, first, _ino(path), "lease"]}
    directory = above.fetch_repo(file.repo, include=(file.name, "*-0.bin"), workers=2)
    return look(directory / file.name)


def _import(worker: Worker, choice: Choice) -> Seen:
    """The file is in a Hugging Face cache as well, is removed here, and is taken over from there."""
    file, path = choice.file, worker.cache.fetch(choice.file.repo, choice.file.name, progress=worker.progress)
    row = next((row for row in worker.cache.entries(file.repo) if row.filename == file.name), None)
    if row is None or not row.commit or not row.etag:
        return look(path)  # somebody's own
    shutil.rmtree(worker.other, ignore_errors=True)  # of the last time
    top = worker.other / f"models--{file.repo.replace('/', '--')}"
    link, blob = top / "snapshots" / row.commit / file.name, top / "blobs" / row.etag
    for directory in (top / "refs", link.parent, blob.parent):
        directory.mkdir(parents=True)
    try:
        shutil.copyfile(path, blob)
    except FileNotFoundError:
        return {"gone": 0.0}
    link.symlink_to(os.path.relpath(blob, link.parent))
    (top / "refs" / "main").write_text(row.commit)
    worker.cache.remove(file.repo, file.name)
    report = worker.cache.import_hf(worker.other)
    return look(path) | {"imported": 1} if report.imported else {"imported": 0}


def _open(worker: Worker, choice: Choice) -> Seen:
    with worker.cache.open(choice.file.repo, choice.file.name, progress=worker.progress) as file:
        held, first = time.monotonic(), os.fstat(file.fileno()).st_ino
        sha = hashlib.sha256(file.read()).hexdigest()
        time.sleep(choice.seconds)
        return {"sha": sha, "held": [held, first, _ino(Path(file.name)), "open"]}


def _mapped(worker: Worker, choice: Choice) -> Seen:
    """A program that never heard of leases: it opens what it was handed, at once, and keeps it open."""
    path = worker.cache.fetch(choice.file.repo, choice.file.name, progress=worker.progress)
    try:
        file = path.open("rb")
    except FileNotFoundError:
        return {"gone": 0.0}
    with file:
        held, first = time.monotonic(), os.fstat(file.fileno()).st_ino
        if _ino(path) != first:
            return {"gone": 0.0} if not _ino(path) else {"replaced": True}
        held = time.monotonic()
        time.sleep(choice.seconds)
        last = _ino(path)
        return {"sha": hashlib.file_digest(file, "sha256").hexdigest(), "held": [held, first, last, "mapped"]}


def _gc(worker: Worker, choice: Choice) -> Seen:
    wanted = None if choice.share < 0.4 else int(worker.budget * (choice.share - 0.4))
    report = worker.cache.gc(max_size=wanted)
    return {"evicted": len(report.evicted), "spared": len(report.spared)}


def _rm(worker: Worker, choice: Choice) -> Seen:
    report = worker.cache.remove(choice.file.repo, choice.file.name)
    return {"removed": [row.path for row in report.removed], "in_use": [s.reason for s in report.in_use]}


def _pin(worker: Worker, choice: Choice) -> Seen:
    """A pin, and a look at whether it kept the file."""
    rows = worker.cache.pin(choice.file.repo, choice.file.name)
    path = worker.cache.path(choice.file.repo, choice.file.name)
    held, first = time.monotonic(), _ino(path)
    time.sleep(choice.seconds)
    seen = {"pinned": len(rows), "held": [held, first, _ino(path), "pin"]}
    worker.cache.unpin(choice.file.repo, choice.file.name)
    return seen


def _unpin(worker: Worker, choice: Choice) -> Seen:
    return {"unpinned": len(worker.cache.unpin(choice.file.repo))}


def _update(worker: Worker, choice: Choice) -> Seen:
    names = (choice.file.name,) if choice.share < 0.5 else ()
    (report,) = worker.cache.update(choice.file.repo, *names, progress=worker.progress) or (None,)
    return {} if report is None else {"updated": [row.path for row in report.updated], "in_use": len(report.in_use)}


def _judged(report: VerifyReport) -> Seen:
    found: Seen = {
        name: [[one.row.path, one.detail] for one in getattr(report, name)]
        for name in ("corrupt", "changed", "unreadable")
    }
    errors = [[row.path, f"{type(error).__name__}: {error}"] for row, error in report.errors]
    return found | {"checked": report.checked, "repaired": [row.path for row in report.repaired], "errors": errors}


def _verify(worker: Worker, choice: Choice) -> Seen:
    return _judged(worker.cache.verify(time_limit=0.2 + choice.share, jobs=1))


def _repair(worker: Worker, _choice: Choice) -> Seen:
    return _judged(worker.cache.verify(repair=True, jobs=1))


def _reconcile(worker: Worker, _choice: Choice) -> Seen:
    report = worker.cache.reconcile()
    return {"adopted": report.adopted, "dropped": report.dropped, "index": report.index}


def _rebuild(worker: Worker, _choice: Choice) -> Seen:
    return {"index": worker.cache.reconcile(rebuild=True).index}


def _look(worker: Worker, _choice: Choice) -> Seen:
    """Is every file that stood there the whole time in the index?"""
    before = files(worker.cache.root)
    rows = {row.path for row in worker.cache.entries()}
    after = files(worker.cache.root)
    stood = [path for path, found in before.items() if path in after and after[path].st_ino == found.st_ino]
    return {"stood": len(stood), "rowless": [path for path in stood if path not in rows]}


ACTS: dict[str, Callable[[Worker, Choice], Seen]] = {
    "fetch": _fetch, "force": _force, "brief": _brief, "repo": _repo, "sync": _sync, "hit": _hit, "handout": _handout,
    "lease": _lease, "open": _open, "mapped": _mapped, "gc": _gc, "rm": _rm, "pin": _pin, "unpin": _unpin, "update": _update,
    "verify": _verify, "repair": _repair, "reconcile": _reconcile, "rebuild": _rebuild, "look": _look, "below": _below,
    "import": _import,
}  # fmt: skip
