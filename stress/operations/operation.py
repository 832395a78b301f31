"""What an operation of the sweeps is, and what several of them are made of."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from model_cache import ModelCache

from ..site import NAMES, NEW, REPO, Site

DAY = 86400.0
BAD = NAMES[0]
# Blocks of what stands in a site, and room for a third of a file, or for one: what else comes takes somebody's place.
STANDING = 3 * 61440 + 20480
TIGHT: Mapping[str, object] = {"max_size": STANDING + 20480}


def nothing(_site: Site) -> None:
    """The root is as it is made."""


class Operation(NamedTuple):
    """One operation.

    Attributes:
        name: What it is called in tables and on the command line.
        act: What is done, with a cache.
        prepare: What is done to the root and the hub before.
        settings: Of the cache that acts.
        ahead: Seconds that its clock is ahead.
        about: (repo, filename) of a file that it is about, and that can be fetched afterwards.
        host: Which of the hosts that share the root does it; empty: the one that does all the rest.
    """

    name: str
    act: Callable[[ModelCache], object]
    prepare: Callable[[Site], None] = nothing
    settings: Mapping[str, object] = {}
    ahead: float = 0.0
    about: tuple[str, str] = (REPO, BAD)
    host: str = ""


def fetch(name: str = NEW, repo: str = REPO, *, force: bool = False) -> Callable[[ModelCache], object]:
    """Fetch one file."""
    return lambda cache: cache.fetch(repo, name, force=force)


def allow_all(site: Site) -> None:
    """All but what is held may go."""
    site.allow(*NAMES)
