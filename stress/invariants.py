"""What must hold of a root at rest, each invariant by its name; the sweeps, the power losses and the race ask it.

`at_once` is asked of whatever a crash left, with nothing recovered yet; `settled` after the next operations came by.
Both look from outside: at files, at bytes, at what the public API says of them.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from model_cache import IntegrityError, ModelCache, ModelCacheError, listings
from model_cache.fleet import objects
from model_cache.index import quarantine
from model_cache.index.rows import Row
from model_cache.layout import Entry, Snapshot
from model_cache.stats import allocated, identity

OWN = ".model-cache"
COUNTED = ("partial", "trash", "quarantine")  # of the cache's own directories: what counts against the budget
Identity = tuple[int | None, int | None, int | None]


class Violation(NamedTuple):
    """A promise that was broken: which, and what was seen."""

    invariant: str
    seen: str

    def __str__(self) -> str:
        return f"{self.invariant}: {self.seen}"


@dataclass
class Expected:
    """What may stand below a root.

    Attributes:
        legal: By path below the root: sha256 of each content that the cache may have put there.
        optional: Paths where nothing need stand.
        rotten: By path: sha256 of bytes that were damaged on purpose, and may stand there until they are mended.
        foreign: By path: sha256 of somebody's own bytes, which stay as they are (I7).
        held: By path: the file that somebody holds a lease on (I3).
        counted: Whether the index knows every file: not after it was lost, until a census.
        budget: `max_size` in bytes, None for none.
        commits: By repo that is fetched as a whole: {path: sha256} of each of its commits.
        complete: Of these the ones that must be there as a whole in the end.
        others: Paths whose files another host may have fetched, of which this one's index knows nothing yet.
        spoilt: sha256 of bytes in a tier that are not what their name says.
    """

    legal: dict[str, frozenset[str]]
    optional: frozenset[str] = frozenset()
    rotten: dict[str, str] = field(default_factory=dict)
    foreign: dict[str, str] = field(default_factory=dict)
    held: dict[str, Identity] = field(default_factory=dict)
    counted: bool = True
    budget: int | None = None
    commits: dict[str, list[dict[str, str]]] = field(default_factory=dict)
    complete: frozenset[str] = frozenset()
    others: frozenset[str] = frozenset()
    spoilt: str = ""


def files(root: Path) -> dict[str, os.stat_result]:
    """What stands at entries' paths: {path below the root: status}."""
    found = {}
    for folder, folders, names in os.walk(root):
        if Path(folder) == root:
            folders[:] = [name for name in folders if name != OWN]
        for name in names:
            path = os.path.join(folder, name)
            try:
                status = os.lstat(path)
            except FileNotFoundError:
                continue  # it went while this looked
            if stat.S_ISREG(status.st_mode):
                found[os.path.relpath(path, root)] = status
    found.pop("CACHEDIR.TAG", None)
    return found


def on_disk(root: Path, paths: Mapping[str, os.stat_result]) -> int:
    """Allocated bytes of these files and of everything of the cache's own that counts, each inode once."""
    counted = list(paths.values())
    for name in COUNTED:
        folder = root / OWN / name
        counted += [entry.stat(follow_symlinks=False) for entry in os.scandir(folder)] if folder.is_dir() else []
    return sum({(found.st_dev, found.st_ino): allocated(found) for found in counted}.values())


def sha256(path: Path) -> str:
    """Of a file's bytes, read from the file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def at_once(root: Path, expected: Expected, reader: ModelCache) -> list[Violation]:
    """What a crash may not have broken, before anything recovers: I1, I3, I4, I5, I7, I8, I9.

    Args:
        root: The root, with nobody at work on it.
        expected: What may stand there.
        reader: An offline cache on it.
    """
    there = files(root)
    return [
        *_whole(root, there, expected),
        *_not_ours(root, there, expected),
        *_held(there, expected),
        *_hits(root, there, expected, reader),
        *_of_one_commit(root, expected, reader),
        *_counted(root, there, expected, reader),
    ]


def shelved(shelf: Path, expected: Expected) -> Iterator[Violation]:
    """I1 of a tier that is a folder: an object has the bytes that its name says, unless they were spoilt on purpose."""
    for path in shelf.rglob("*"):
        promised = objects.promised(str(path.relative_to(shelf)))
        if promised is not None and sha256(path) not in (promised[1], expected.spoilt):
            yield Violation("I1", f"{path.name} in the tier has other bytes than its name says")


def settled(root: Path, expected: Expected, cache: ModelCache) -> list[Violation]:
    """What recovery must have brought about in the end: every file its row, every row its file, nothing left over."""
    there = files(root)
    found = [
        *_whole(root, there, expected),
        *_not_ours(root, there, expected),
        *_held(there, expected),
        *_of_one_commit(root, expected, cache, settled=True),
        *_agreement(there, cache.entries()),
        *_leftovers(root, cache),
    ]
    usage, disk = cache.usage().all, on_disk(root, there)
    if usage != disk:
        found.append(Violation("I4", f"{usage} bytes are counted, and {disk} are on disk"))
    report = cache.verify()
    unsound = {name: getattr(report, name) for name in ("corrupt", "changed", "missing", "unreadable", "untracked")}
    found += [Violation("I6", f"verify calls {name}: {value}") for name, value in unsound.items() if value]
    if not report.complete:
        found.append(Violation("I6", f"verify left {report.remaining} files unread"))
    return found


def _whole(root: Path, there: Mapping[str, os.stat_result], expected: Expected) -> Iterator[Violation]:
    """I1: whatever stands at a path is all of one of its contents; I5: nothing that need not go is gone."""
    for path in there:
        if path in expected.foreign:
            continue
        found = sha256(root / path)
        if path not in expected.legal:
            yield Violation("I1", f"nobody put a file at {path}")
        elif found not in expected.legal[path] and found != expected.rotten.get(path):
            yield Violation(
                "I1", f"{path} has the sha256 {found[:12]}, which it never had ({there[path].st_size} bytes)"
            )
    for path in sorted(expected.legal.keys() - there.keys() - expected.optional):
        yield Violation("I5", f"{path} is gone")


def _not_ours(root: Path, there: Mapping[str, os.stat_result], expected: Expected) -> Iterator[Violation]:
    """I7: files that the cache did not make are as they were."""
    for path, content in expected.foreign.items():
        if path not in there:
            yield Violation("I7", f"{path}, which is somebody's own, is gone")
        elif sha256(root / path) != content:
            yield Violation("I7", f"{path}, which is somebody's own, has other bytes")


def _held(there: Mapping[str, os.stat_result], expected: Expected) -> Iterator[Violation]:
    """I3: what is leased is the file that was leased."""
    for path, file in expected.held.items():
        if path not in there or identity(there[path]) != file:
            yield Violation("I3", f"{path} was taken away under its lease")


def _hits(
    root: Path, there: Mapping[str, os.stat_result], expected: Expected, reader: ModelCache
) -> Iterator[Violation]:
    """I8, I9: every whole file is a hit, with no network, and without a byte written to the index."""
    index = Path(reader._ctx.places.index)
    before = _bytes(index)
    for path in there.keys() & expected.legal.keys():
        repo, name = "/".join(path.split("/")[:2]), "/".join(path.split("/")[2:])
        repo, _, revision = repo.partition("@")
        content = sha256(root / path)
        try:
            handed_out = reader.fetch(repo, name, revision=revision or "main")
        except IntegrityError as error:
            if path not in expected.rotten or content in expected.legal[path]:
                yield Violation("I8", f"{path} is whole, and not served: {error}")
        except ModelCacheError as error:
            yield Violation("I8", f"{path} is there, and is no hit: {error}")
        else:
            if handed_out != root / path:
                yield Violation("I8", f"{path} was handed out as {handed_out}")
    if _bytes(index) != before:
        yield Violation("I9", "hits wrote to the index")


def _of_one_commit(root: Path, expected: Expected, reader: ModelCache, *, settled: bool = False) -> Iterator[Violation]:
    """I1 of whole repos: a directory that is handed out without network has every file of one commit, and no other's.

    One that is complete is handed out: in the end always; before, unless an update of it was interrupted.
    """
    for repo, commits in expected.commits.items():
        there = {path for commit in commits for path in commit if (root / path).is_file()}
        found = {path: sha256(root / path) for path in there}
        fitting = [commit for commit in commits if commit.items() <= found.items()]
        listing = listings.read(reader._ctx, Snapshot(repo, "main", "model"))
        try:
            reader.fetch_repo(repo, offline=True)
        except ModelCacheError as error:
            if settled and repo in expected.complete:
                yield Violation("I10", f"{repo} is still not handed out as a whole: {error}")
            elif fitting and listing is not None and not listing.moving:
                yield Violation("I8", f"{repo} is whole, and not handed out: {error}")
        else:
            if not fitting:
                yield Violation("I1", f"{repo} was handed out, and has not all files of one commit: {sorted(there)}")


def _counted(
    root: Path, there: Mapping[str, os.stat_result], expected: Expected, reader: ModelCache
) -> Iterator[Violation]:
    """I4, I5: what the cache has on disk is in a row, is counted, and is under the budget."""
    rows = {row.path for row in reader.entries()}
    strange = expected.foreign.keys() | expected.others
    ours = {path: found for path, found in there.items() if path in rows or path not in strange}
    disk = on_disk(root, ours)
    if expected.budget is not None and disk > expected.budget:
        yield Violation("I4", f"{disk} bytes are on disk, {disk - expected.budget} over the budget")
    if not expected.counted:
        return
    usage = reader.usage().all
    if usage < disk:
        yield Violation("I4", f"{usage} bytes are counted, and {disk} are on disk")
    for path in sorted(ours.keys() - rows):
        yield Violation("I5", f"{path} has no row")


def _agreement(there: Mapping[str, os.stat_result], rows: list[Row]) -> Iterator[Violation]:
    """I5: every row is ready and says which file is there; every file has a row."""
    by_path = {row.path: row for row in rows}
    for path, row in by_path.items():
        if row.state != "ready" or row.next_state is not None:
            yield Violation("I10", f"{path} is still {row.state} ({row.next_state})")
        elif path not in there:
            yield Violation("I5", f"{path} has a row, and no file")
        elif row.identity != identity(there[path]):
            yield Violation("I5", f"the row of {path} speaks of {row.identity}, there is {identity(there[path])}")
    for path in sorted(there.keys() - by_path.keys()):
        yield Violation("I5", f"{path} has no row")


def _leftovers(root: Path, cache: ModelCache) -> Iterator[Violation]:
    """I10: nothing is left half done."""
    own = root / OWN
    for name in ("partial", "trash", "damaged"):
        left = sorted(os.listdir(own / name))
        if left:
            yield Violation("I10", f"{name}/ still has {', '.join(left)}")
    recorded = {aside.name for aside in quarantine.listed(cache._ctx.index)}
    if recorded != set(os.listdir(own / "quarantine")):
        yield Violation("I5", f"quarantine/ has {os.listdir(own / 'quarantine')}, the index {sorted(recorded)}")


def _bytes(path: Path) -> bytes:
    return path.read_bytes() if path.exists() else b""


def path_of(repo: str, filename: str) -> str:
    """Where an entry of the default revision is, below the root."""
    return Entry(repo, filename, "main", "model").relative
