"""What is done with what hosts share: a tier, or the root itself."""

from __future__ import annotations

import hashlib

from model_cache import ModelCache
from model_cache.fleet import objects

from ..invariants import OWN
from ..site import NEW, REPO, Site
from .operation import Operation


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


OPERATIONS = (
    Operation("tier", _with_tier, _shelved, about=(REPO, NEW)),
    Operation("offer", _with_tier, about=(REPO, NEW)),
)
