"""A neighbour who may write in the root plants something at every place the cache is about to write, read or remove."""

import os
import shutil
import socket
from contextlib import contextmanager, suppress

import pytest
from neighbour_equipment import outside
from support import FILE, REPO, Later, pattern
from verify_equipment import rot

from model_cache import ModelCache, ModelCacheError
from model_cache.layout import Entry, Snapshot
from model_cache.testing import LoopbackHub

BODIES = {FILE: pattern(9000), "b.bin": pattern(9000, 1), "sub/c.bin": pattern(9000, 2), "new.bin": pattern(9000, 3)}
CACHED, NEW = Entry(REPO, FILE), Entry(REPO, "new.bin")
OWN = ".model-cache"
EXAMPLES = int(os.environ.get("MODEL_CACHE_EXAMPLES", "0"))  # more than a few: every cell with every operation

DIRECTORIES = [
    "owner", REPO, f"{REPO}/sub", OWN,
    *(f"{OWN}/{name}" for name in ("locks", "used", "damaged", "listings", "partial", "trash", "quarantine", "backup")),
]  # fmt: skip
FILES = [
    f"{REPO}/{FILE}", f"{REPO}/new.bin", "CACHEDIR.TAG",
    *(f"{OWN}/{name}" for name in ("index.db", "index.db-journal", "index.db-wal", "index.db-shm", "index.lock")),
    *(f"{OWN}/{name}" for name in ("gc.lock", "verify.lock", "config.toml", "config.lock", "backup/index.db")),
    *(f"{OWN}/locks/{entry.key}.{kind}" for entry in (CACHED, NEW) for kind in ("lock", "json")),
    *(f"{OWN}/{name}/{entry.key}" for entry in (CACHED, NEW) for name in ("used", "damaged", "partial", "trash")),
    f"{OWN}/quarantine/{CACHED.key}-1700000000-abcd",
    f"{OWN}/listings/{Snapshot(REPO).key}.json",
]  # fmt: skip

# What is planted: by whom something is found at a place, and what it leads to


def symlink(place, away):
    """A symlink to a file, or to a directory, that is somebody's own."""
    place.symlink_to(away.directory if str(place).endswith(tuple(DIRECTORIES)) else away.file)


def hard_link(place, away):
    """A second name of a file that is somebody's own."""
    os.link(away.file, place)


def fifo(place, away):
    """A FIFO that nobody writes to: who opens it waits for ever."""
    os.mkfifo(place)


def directory(place, away):
    """A directory with something in it."""
    place.mkdir()
    (place / "in the way").write_bytes(b"")


def unix_socket(place, away):
    """A socket, which cannot be opened."""
    here = os.open(place.parent, os.O_RDONLY)
    try:
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(f"/proc/self/fd/{here}/{place.name}")
    finally:
        os.close(here)


def device(place, away):
    """A device: to open one can be an act."""
    os.mknod(place, 0o600 | 0o020000, os.makedev(1, 3))


def file(place, away):
    """A file of nonsense."""
    place.write_bytes(b"nonsense\n")


THINGS = [symlink, hard_link, fifo, directory, unix_socket, device, file]


def plant(place, thing, away):
    """Put it there, in the place of what was."""
    if place.is_dir() and not place.is_symlink():
        shutil.rmtree(place)
    else:
        place.unlink(missing_ok=True)
    thing(place, away)


OPERATIONS = {
    "hit": lambda cache: cache.fetch(REPO, FILE),
    "miss": lambda cache: cache.fetch(REPO, "new.bin"),
    "force": lambda cache: cache.fetch(REPO, FILE, force=True),
    "lease": lambda cache: cache.lease(REPO, FILE).release(),
    "repo": lambda cache: cache.fetch_repo(REPO),
    "pin": lambda cache: cache.pin(REPO) and cache.unpin(REPO),
    "update": lambda cache: cache.update(),
    "usage": lambda cache: (cache.entries(), cache.usage(), cache.is_cached(REPO, FILE)),
    "lock": lambda cache: cache.lock([REPO], cache.root.parent / "models.lock"),
    "sync": lambda cache: cache.sync(cache.root.parent / "models.lock"),
    "verify": lambda cache: cache.verify(repair=True),
    "reconcile": lambda cache: cache.reconcile(),
    "rebuild": lambda cache: cache.reconcile(rebuild=True),
    "remove": lambda cache: cache.remove(REPO, "b.bin", force=True),
    "gc": lambda cache: cache.gc(max_size=0),
}


@pytest.fixture(scope="module")
def own_hub():
    """One hub for all cells."""
    with LoopbackHub() as hub:
        hub.add_repo(REPO, BODIES)
        yield hub


@pytest.fixture(scope="module")
def prepared(own_hub, tmp_path_factory):
    """A root with three files, one of them rotten, and a backup of the index; copied for each cell."""
    root = tmp_path_factory.mktemp("prepared") / "root"
    cache = ModelCache(root, endpoint=own_hub.url, token=False, clock=Later(), min_idle=0)
    for name in (FILE, "b.bin", "sub/c.bin"):
        cache.fetch(REPO, name)
    cache.gc()
    rot(root / REPO / "b.bin")
    cache._ctx.index.close()
    return root


@contextmanager
def begin(root, hub):
    """A cache that somebody makes of a root, for one operation."""
    more = {"min_idle": 0, "touch_interval": 0, "lock_timeout": 1}
    cache = ModelCache(root, endpoint=hub.url, token=False, clock=Later(), **more)
    try:
        yield cache
    finally:
        cache._ctx.close()


def cells(place):
    """What may stand at a place that is not meant to."""
    things = [thing for thing in THINGS if not (place in DIRECTORIES and thing in (directory, hard_link))]
    return [thing for thing in things if thing is not device or os.geteuid() == 0]


def turns(place, thing):
    """The operations of a cell: of symlinks all, of the others a third, so that each meets each thing and each place."""
    if thing is symlink or EXAMPLES:
        return [*OPERATIONS.items()]
    first = ([*DIRECTORIES, *FILES].index(place) + THINGS.index(thing)) % 3
    return [*OPERATIONS.items()][first::3]


@pytest.mark.parametrize("place", [*DIRECTORIES, *FILES])
def test_what_is_planted_is_refused_or_harmless(own_hub, prepared, tmp_path, place):
    """Whatever stands there, each operation ends well or with an error of the family; nothing outside is opened or changed."""
    for thing in cells(place):
        with outside(tmp_path / thing.__name__ / "outside") as away:
            root = tmp_path / thing.__name__ / "root"
            shutil.copytree(prepared, root, symlinks=True)
            for name, operation in turns(place, thing):
                if (root / place).parent.is_dir():
                    plant(root / place, thing, away)
                    away.forget()
                with suppress(ModelCacheError), begin(root, own_hub) as cache:
                    operation(cache)
                assert away.happened() == [], (thing.__name__, name)
