"""What is done with what hosts share: a tier, and what keeps it; the root itself."""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Callable
from pathlib import Path

from model_cache import ModelCache, StorageError, cli
from model_cache.fleet import objects

from .. import hosts
from ..hosts import GUEST
from ..invariants import OWN, path_of
from ..site import FOREIGN, NEW, OTHER, REPO, Site, content, digest
from .operation import BAD, Operation, allow_all, fetch

SHELF = f"{OWN}/shelf"  # where nobody else looks, so that a copy of a site has a tier of its own


def _put(site: Site, data: bytes, under: bytes) -> None:
    """An object in the tier, under the name of these bytes or of others."""
    name = objects.of_bytes(digest(under), None)
    assert name is not None
    shelf = site.root / SHELF / name
    shelf.parent.mkdir(parents=True, exist_ok=True)
    shelf.write_bytes(data)


def _shelved(site: Site) -> None:
    """A tier that has what the root lacks."""
    _put(site, site.bytes(NEW), site.bytes(NEW))


def _spoilt(site: Site) -> None:
    """A tier whose object has other bytes than its name says, and one that is as it should be."""
    wrong = site.bytes(NEW)[::-1]
    _put(site, wrong, site.bytes(NEW))
    site.expected.spoilt = digest(wrong)
    _put(site, content(60), content(60))


def _tier(root: Path | str) -> str:
    return f"file://{root}/{SHELF}"


def _with_tier(cache: ModelCache) -> object:
    """Fetch with a tier that is a folder; nothing is left to do in a thread when this returns."""
    cache._ctx.settings.tier = _tier(cache.root)
    try:
        return cache.fetch(REPO, NEW)
    finally:
        cache.wait_for_uploads()


def _keep(*words: str) -> Callable[[ModelCache], object]:
    """What people call to look after a tier; raises what its exit code says."""

    def act(cache: ModelCache) -> object:
        os.environ["MODEL_CACHE_TIER"] = _tier(cache.root)
        said = io.StringIO()
        try:
            with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
                code = cli.run(["--root", str(cache.root), "tier", *words])
        finally:
            del os.environ["MODEL_CACHE_TIER"]
        assert "unexpected" not in said.getvalue(), said.getvalue()
        if code not in (0, 4):  # 4: there was damage, and it is mended
            raise StorageError(said.getvalue())
        return None

    return act


def _joined(site: Site) -> None:
    """A root that is shared from now on; the host that keeps it has looked at every file."""
    hosts.settle(site.root)
    for name in ("index.db", "index.lock"):
        (site.own / name).unlink()
    site.cache().reconcile()


def _visited(site: Site) -> None:
    """The same, and whatever another host leaves is in no index of the one that comes next."""
    _joined(site)
    site.expected.counted = False


def _fetched_there(site: Site) -> None:
    """A root of which one file was fetched by another host."""
    _joined(site)
    site.cache(host=GUEST).fetch(REPO, NEW)
    site.expected.others |= {path_of(REPO, NEW)}


def _all_idle(site: Site) -> None:
    """The same, and all may go: somebody's own file too, which the host that keeps the root has taken over."""
    _fetched_there(site)
    allow_all(site)
    site.expected.legal[FOREIGN] = frozenset([site.expected.foreign.pop(FOREIGN)])
    site.expected.optional |= {FOREIGN}


OPERATIONS = (
    Operation("tier", _with_tier, _shelved, about=(REPO, NEW)),
    Operation("offer", _with_tier, about=(REPO, NEW)),
    Operation("tier-replace", _with_tier, _spoilt, about=(REPO, NEW)),
    Operation("tier-verify", _keep("verify", "--remove"), _spoilt, about=(OTHER, BAD)),
    Operation("tier-gc", _keep("gc", "--max-size", "0"), _spoilt, about=(OTHER, BAD)),
    Operation("host-fetch", fetch(), _visited, about=(REPO, NEW), host=GUEST),
    Operation("host-gc", lambda cache: cache.gc(max_size=0), _all_idle),
    Operation("host-reconcile", lambda cache: cache.reconcile(), _fetched_there),
)
