"""Every operation of the cache with the root it is done on: what the sweeps kill, fail, and cut the power of."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from model_cache import ModelCache
from model_cache.doctor.fixing import look
from model_cache.download import notes
from model_cache.fleet import objects
from model_cache.hf.local import place_file
from model_cache.layout import Entry
from model_cache.pace import Pace

from .invariants import OWN, path_of
from .older import downgrade
from .site import FOREIGN, HELD, LARGEST, NAMES, NEW, OTHER, REPO, SIZE, THERE, TWIN, WHOLE, Site

_DAY = 86400.0
_BAD = NAMES[0]


def _nothing(_site: Site) -> None:
    pass


class Operation(NamedTuple):
    """One operation.

    Attributes:
        name: What it is called in tables and on the command line.
        act: What is done, with a cache.
        prepare: What is done to the root and the hub before.
        settings: Of the cache that acts.
        ahead: Seconds that its clock is ahead.
        about: (repo, filename) of a file that it is about, and that can be fetched afterwards.
        workers: Threads that download at the same time.
    """

    name: str
    act: Callable[[ModelCache], object]
    prepare: Callable[[Site], None] = _nothing
    settings: Mapping[str, object] = {}
    ahead: float = 0.0
    about: tuple[str, str] = (REPO, _BAD)
    workers: int = 1


def _halted(site: Site) -> None:
    """Half a download that its process left."""

    class Halt(BaseException):
        """Ends a download as an interrupt does."""

    def halt(step: str) -> None:
        if step == "verify:hash":
            raise Halt

    try:
        site.cache(step=halt).fetch(REPO, NEW)
    except Halt:
        (partial,) = (site.own / "partial").iterdir()
        os.truncate(partial, SIZE // 2)


def _gapped(site: Site) -> None:
    """What a process left that fetched over several connections: the first and the third quarter of the bytes."""
    _halted(site)
    (partial,) = (site.own / "partial").iterdir()
    with partial.open("r+b") as file:
        data = file.read()
        file.seek(SIZE // 4)
        file.write(bytes(SIZE // 4))
        file.seek(SIZE // 2)
        file.write(site.bytes(NEW)[SIZE // 2 : SIZE * 3 // 4])
    assert data == site.bytes(NEW)[: SIZE // 2]
    ctx, entry = site.cache()._ctx, Entry(REPO, NEW, "main", "model")
    note = notes.read(ctx, entry)
    notes.describe(note, note.etag, [(0, SIZE // 4), (SIZE // 2, SIZE * 3 // 4)])
    assert notes.write(ctx, entry, note)


def _rotten(site: Site) -> None:
    site.rot()
    site.allow(_BAD)


def _known(site: Site) -> None:
    """Damage that verify has marked; all is pinned."""
    _rotten(site)
    site.cache().verify()
    site.cache().pin(REPO, *NAMES)


def _known_alone(site: Site) -> None:
    _known(site)
    site.forget_commit()


def _aside(site: Site) -> None:
    """Damaged bytes in quarantine."""
    _known(site)
    site.cache().verify(repair=True)
    site.expected.rotten.clear()


def _rearranged(site: Site) -> None:
    """A file that was touched, one that came back from a backup, one that was removed."""
    site.path(NAMES[1]).touch()
    copy = site.path(f"{NAMES[2]}.copy")
    shutil.copyfile(site.path(NAMES[2]), copy)
    os.replace(copy, site.path(NAMES[2]))
    site.path(_BAD).unlink()
    site.allow(_BAD)


def _begun_anew(site: Site) -> None:
    """The same, of which the index knows nothing until every file has been entered again."""
    _rearranged(site)
    site.expected.counted = False


def _backed_up(site: Site) -> None:
    """A backup, a further file that it does not know, and no index."""
    site.cache(ahead=_DAY).gc()
    site.cache().fetch(REPO, NEW)
    _known(site)
    _lose_index(site)


def _lose_index(site: Site) -> None:
    (site.own / "index.db").unlink()
    site.expected.counted = False


def _lose_all(site: Site) -> None:
    """A root of which there is nothing yet but somebody's own file."""
    kept = (site.root / FOREIGN).read_bytes()
    shutil.rmtree(site.root)
    (site.root / FOREIGN).parent.mkdir(parents=True)
    (site.root / FOREIGN).write_bytes(kept)
    site.allow(*NAMES)
    site.expected.optional |= {path_of("sweep/held", _BAD)}


def _full(site: Site) -> None:
    """All but what is held may go."""
    site.allow(*NAMES)


def _dead_partial(site: Site) -> None:
    _halted(site)
    _full(site)


def _older(site: Site) -> None:
    downgrade(site.root)


def _lock_moved(site: Site) -> None:
    """A hub that has moved on: small files of its new commit are fetched to where those of a commit are."""
    site.move()
    repo = site.hub.store.find("model", REPO)
    assert repo is not None
    path = path_of(REPO, NAMES[2]).replace(REPO, f"{REPO}@{repo.refs['main']}", 1)
    site.expected.legal[path] = site.expected.legal[path_of(REPO, NAMES[2])]
    site.expected.optional |= {path}


def _locked_elsewhere(site: Site) -> None:
    """A lock file from another machine: other bytes of all files of a repo, two missing, one whose row is out of date."""
    site.move()
    with tempfile.TemporaryDirectory(prefix="model-cache-sweep-") as elsewhere:
        other = ModelCache(elsewhere, endpoint=site.hub.url, token=False)
        other.lock(REPO, output=_lockfile(site.root))
        for repo in (HELD, OTHER):
            other.lock(repo, output=_lockfile(site.root), add=True)
    site.path(_BAD, HELD).touch()


def _lockfile(root: Path) -> Path:
    return root / OWN / "models.lock"  # where nobody but these operations looks


def _partly(site: Site) -> None:
    """One file of a whole repo is there; what is to be evicted for the others is older than what one is linked to."""
    site.cache().fetch(WHOLE, THERE)
    site.cache().fetch(REPO, _BAD)
    site.allow(*NAMES[1:])


def _halted_whole(site: Site) -> None:
    """A whole repo of which the largest file came by half, when its process ended."""
    _partly(site)

    class Halt(BaseException):
        """Ends a download as an interrupt does."""

    seen = []

    def halt(step: str) -> None:
        seen.append(step)
        if step == "verify:hash" and seen.count(step) == 1:
            raise Halt

    try:
        site.cache(step=halt).fetch_repo(WHOLE, workers=1)
    except Halt:
        (partial,) = (site.own / "partial").iterdir()
        os.truncate(partial, SIZE // 2)


def _moved_whole(site: Site) -> None:
    """A repo that is there as a whole, and has moved at the hub."""
    site.cache().fetch_repo(WHOLE, workers=1)
    site.move_whole()


def _layered(site: Site) -> None:
    """The largest file of a repo is in a lower root, which is beside the site: what is copied of a site shares it."""
    _partly(site)
    site.cache().fetch_repo(WHOLE, include=THERE)
    below = site.root.parent / "below"
    ModelCache(below, endpoint=site.hub.url, token=False).fetch(WHOLE, LARGEST)
    (site.own / "config.toml").write_text(f'lower = "{below}"\n')


def _foreign(site: Site) -> None:
    """A Hugging Face cache beside the site, with a file that the root lacks; what is copied of a site shares it."""
    repo = site.hub.store.find("model", REPO)
    assert repo is not None
    commit, data = repo.refs["main"], site.bytes(NEW)
    top = site.root.parent / "hub" / f"models--{REPO.replace('/', '--')}"
    link = top / "snapshots" / commit / NEW
    blob = top / "blobs" / hashlib.sha256(data).hexdigest()
    for directory in (top / "refs", link.parent, blob.parent):
        directory.mkdir(parents=True, exist_ok=True)
    (top / "refs" / "main").write_text(commit)
    blob.write_bytes(data)
    _note_tree(top, site, commit)
    if not link.is_symlink():
        link.symlink_to(os.path.relpath(blob, link.parent))
    # A copy of the site has the link too; nobody else looks there.
    (site.own / "hub").symlink_to(top.parent)


def _shelved(site: Site) -> None:
    """A tier that has what the root lacks; it is where nobody else looks, so that a copy of the site has one of its own."""
    data = site.bytes(NEW)
    name = objects.of_bytes(hashlib.sha256(data).hexdigest(), None)
    assert name is not None
    shelf = site.own / "shelf" / name
    shelf.parent.mkdir(parents=True, exist_ok=True)
    shelf.write_bytes(data)


def _with_tier(cache: ModelCache) -> object:
    """Fetch with a tier that is a folder; nothing is left to do in a thread when this returns."""
    cache._ctx.settings.tier = f"file://{cache.root / OWN / 'shelf'}"
    try:
        return cache.fetch(REPO, NEW)
    finally:
        cache.wait_for_uploads()


def _note_tree(top: Path, site: Site, commit: str) -> None:
    """The other cache knows what belongs to the commit."""
    store = site.hub.store
    repo = store.find("model", REPO)
    assert repo is not None
    files: dict[str, dict[str, object]] = {}
    for name, content in repo.commits[commit].files.items():
        files[name] = {"size": content.size, "blob_id": store.git_oid(content)}
        if store.is_large(content):
            files[name] |= {"lfs_sha256": content.sha256, "lfs_size": content.size}
    (top / "trees").mkdir(exist_ok=True)
    (top / "trees" / f"{commit}.json").write_text(json.dumps({"format_version": 1, "files": files}))


def _import(*, link: bool = False) -> Callable[[ModelCache], object]:
    return lambda cache: cache.import_hf(cache.root / OWN / "hub", link=link)


def _at_its_commit(site: Site) -> None:
    """The new file may come to stand at its commit."""
    repo = site.hub.store.find("model", REPO)
    assert repo is not None
    path = Entry(REPO, NEW, repo.refs["main"]).relative
    site.expected.legal[path] = frozenset([hashlib.sha256(site.bytes(NEW)).hexdigest()])
    site.expected.optional |= {path}


def _local_dir(cache: ModelCache) -> object:
    """A copy beside the site, of a file that comes at its commit."""
    return place_file(cache, Entry(REPO, NEW), f"{cache.root}.local", force=False, offline=False)


def _open_to_all(site: Site) -> None:
    """Modes that everybody may write by, of a model file, a directory, and files of the cache's own."""
    for path in (site.path(_BAD), site.path(_BAD).parent, site.own / "trash", site.own / "index.db"):
        path.chmod(path.stat().st_mode | 0o022)


def _fix(cache: ModelCache) -> object:
    return look(cache._ctx, fix=True)


# Blocks of what stands in a site, and room for a third of a file, or for one: what else comes takes somebody's place.
_STANDING = 3 * 61440 + 20480
_TIGHT = {"max_size": _STANDING + 20480}
_ROOM_FOR_ONE = {"max_size": _STANDING + 65536 + 3 * 4096}
# A file of a few blocks comes in parts, noted one by one, as one of gigabytes does over slow connections.
_PARTS = {
    "connections": 3,
    "pace": Pace(large=1, window=0.0, fast=1e18, smallest=8192, noted=8192, between=0.0, flushed=8192, chunk=4096),
}
# Of a whole repo one file stands, one is linked, and one of the others has to go for the rest of it.
_TIGHT_FOR_A_WHOLE = {"max_size": _STANDING + 65536 + 4096 + 32768}


def _fetch_repo(workers: int) -> Callable[[ModelCache], object]:
    return lambda cache: cache.fetch_repo(WHOLE, workers=workers)


def _copy(cache: ModelCache) -> object:
    return cache.fetch_repo(WHOLE, include=LARGEST, workers=1)


def _fetch(name: str = NEW, repo: str = REPO, *, force: bool = False) -> Callable[[ModelCache], object]:
    return lambda cache: cache.fetch(repo, name, force=force)


OPERATIONS = {
    one.name: one
    for one in (
        Operation("hit", _fetch(_BAD)),
        Operation("fetch", _fetch(), about=(REPO, NEW)),
        Operation("fetch-first", _fetch(), _lose_all, about=(REPO, NEW)),
        Operation("fetch-shared", _fetch(), _lose_all, {"sharing": "group"}, about=(REPO, NEW)),
        Operation("resume", _fetch(), _halted, about=(REPO, NEW)),
        Operation("ranges", _fetch(), settings=_PARTS, about=(REPO, NEW)),
        Operation("resume-ranges", _fetch(), _gapped, _PARTS, about=(REPO, NEW)),
        Operation("link", _fetch(_BAD, TWIN), about=(TWIN, _BAD)),
        Operation("replace", _fetch(_BAD, force=True), Site.move),
        Operation("update", lambda cache: cache.update(REPO), Site.move),
        Operation("lock", lambda cache: cache.lock(REPO, output=_lockfile(cache.root)), _lock_moved),
        Operation("sync", lambda cache: cache.sync(_lockfile(cache.root)), _locked_elsewhere, about=(OTHER, _BAD)),
        Operation("evict", _fetch(), _full, _TIGHT, about=(REPO, NEW)),
        Operation("reclaim", _fetch(_BAD, OTHER), _dead_partial, _ROOM_FOR_ONE, about=(OTHER, _BAD)),
        Operation("gc", lambda cache: cache.gc(max_size=0), _full),
        Operation("rm", lambda cache: cache.remove(REPO), _full),
        Operation("pin", lambda cache: cache.pin(REPO)),
        Operation("verify", lambda cache: cache.verify(), _rotten),
        Operation("repair", lambda cache: cache.verify(repair=True), _rotten),
        Operation("repair-alone", lambda cache: cache.verify(repair=True), _known_alone),
        Operation("repair-dropped", lambda cache: cache.verify(repair=True), _known, _TIGHT),
        Operation("fetch-damaged", _fetch(_BAD), _known),
        Operation("expire", lambda cache: cache.gc(), _aside, ahead=31 * _DAY),
        Operation("reconcile", lambda cache: cache.reconcile(), _rearranged),
        Operation("rebuild", lambda cache: cache.reconcile(rebuild=True), _begun_anew),
        Operation("migrate", lambda cache: cache.pin(REPO, _BAD), _older),
        Operation("backup", lambda cache: cache.gc(), ahead=_DAY),
        Operation("restore", lambda cache: cache.verify(), _backed_up),
        Operation("fetch-repo", _fetch_repo(1), _partly, _TIGHT_FOR_A_WHOLE, about=(WHOLE, LARGEST)),
        Operation("resume-repo", _fetch_repo(1), _halted_whole, _TIGHT_FOR_A_WHOLE, about=(WHOLE, LARGEST)),
        Operation("copy", _copy, _layered, _TIGHT_FOR_A_WHOLE, about=(WHOLE, LARGEST)),
        Operation("update-repo", lambda cache: cache.update(WHOLE), _moved_whole, about=(WHOLE, LARGEST)),
        Operation("tier", _with_tier, _shelved, about=(REPO, NEW)),
        Operation("offer", _with_tier, about=(REPO, NEW)),
        Operation("import", _import(), _foreign, about=(REPO, NEW)),
        Operation("import-link", _import(link=True), _foreign, about=(REPO, NEW)),
        Operation("local-dir", _local_dir, _at_its_commit, about=(REPO, NEW)),
        Operation("fix", _fix, _open_to_all),
        Operation("crew", _fetch_repo(4), _partly, about=(WHOLE, LARGEST), workers=4),
        Operation("census", _fetch(), _lose_index, {"max_size": "1GB"}, about=(REPO, NEW)),
    )
}
