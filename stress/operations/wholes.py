"""What is done about whole repos, and about lock files."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

from model_cache import ModelCache

from ..invariants import OWN, path_of
from ..site import HELD, LARGEST, NAMES, OTHER, REPO, SIZE, THERE, WHOLE, Site
from .operation import BAD, STANDING, Operation


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
    site.path(BAD, HELD).touch()


def _lockfile(root: Path) -> Path:
    return root / OWN / "models.lock"  # where nobody but these operations looks


def _partly(site: Site) -> None:
    """One file of a whole repo is there; what is to be evicted for the others is older than what one is linked to."""
    site.cache().fetch(WHOLE, THERE)
    site.cache().fetch(REPO, BAD)
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


def _fetch_repo(workers: int) -> Callable[[ModelCache], object]:
    return lambda cache: cache.fetch_repo(WHOLE, workers=workers)


def _copy(cache: ModelCache) -> object:
    return cache.fetch_repo(WHOLE, include=LARGEST, workers=1)


# Of a whole repo one file stands, one is linked, and one of the others has to go for the rest of it.
_TIGHT_FOR_A_WHOLE = {"max_size": STANDING + 65536 + 4096 + 32768}

OPERATIONS = (
    Operation("update", lambda cache: cache.update(REPO), Site.move),
    Operation("lock", lambda cache: cache.lock(REPO, output=_lockfile(cache.root)), _lock_moved),
    Operation("sync", lambda cache: cache.sync(_lockfile(cache.root)), _locked_elsewhere, about=(OTHER, BAD)),
    Operation("fetch-repo", _fetch_repo(1), _partly, _TIGHT_FOR_A_WHOLE, about=(WHOLE, LARGEST)),
    Operation("resume-repo", _fetch_repo(1), _halted_whole, _TIGHT_FOR_A_WHOLE, about=(WHOLE, LARGEST)),
    Operation("copy", _copy, _layered, _TIGHT_FOR_A_WHOLE, about=(WHOLE, LARGEST)),
    Operation("update-repo", lambda cache: cache.update(WHOLE), _moved_whole, about=(WHOLE, LARGEST)),
    Operation("crew", _fetch_repo(4), _partly, about=(WHOLE, LARGEST)),
)
