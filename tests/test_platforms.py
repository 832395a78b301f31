"""What is done where a system lacks something: each capability is taken away, and real processes run without it."""

import pytest
from platform_equipment import NEW, OLD, live
from support import FILE, REPO

# Of these each has an order of calls of its own; the others only read, write or ask in another way.
NAMES_AND_LOCKS = ["leases", "at", "no_follow", "hard_links", "directory_sync", "proc"]
OTHERS = [
    "path_only",
    "nameless",
    "positional",
    "data_sync",
    "copy_range",
    "reflinks",
    "advice",
    "modes",
    "times",
    "volumes",
    "fork",
    "affinity",
]


@pytest.mark.parametrize("missing", [*NAMES_AND_LOCKS, ",".join(OTHERS), ",".join(NAMES_AND_LOCKS + OTHERS)])
def test_without_it_a_file_is_fetched_once_used_kept_while_leased_updated_and_evicted(
    hub, root, spawn, environ, missing
):
    """Four processes download once, the bytes are right, what is leased stays, what is not is replaced and evicted (I2, I3)."""
    environ["MODEL_CACHE_WITHOUT"] = missing
    first, last = live(hub, root, spawn)
    assert first == {"hits": 1, "verified": [1, 0, 0, 0], "evicted in use": 0, "removed in use": 0, "there": True}
    assert last == {"updated": 1, "seed": 1, "evicted": 1, "there": False}
    assert hub.body_gets(FILE) == 2
    assert hub.body_bytes(FILE) == len(OLD) + len(NEW)


@pytest.mark.parametrize("missing", ["flock", "replace_open", "flock,replace_open"])
def test_where_nothing_can_be_removed_safely_that_is_refused_and_files_are_fetched_and_verified(
    hub, root, spawn, environ, missing
):
    """Without locks, or where an open file keeps its name, downloads are right and whatever takes files away says no (I3)."""
    environ["MODEL_CACHE_WITHOUT"] = missing
    first, last = live(hub, root, spawn)
    print(first, last)
    assert first["hits"] == 1 and first["verified"] == [1, 0, 0, 0]
    for said in (first["evicted in use"], first["removed in use"], last["updated"], last["evicted"]):
        assert said.startswith("StorageError: this system ") and "safely" in said
    assert first["there"] and last["there"] and last["seed"] == 0
    assert [path for path in (root / REPO).rglob("*") if path.is_file()] == [root / REPO / FILE]
    assert list((root / ".model-cache" / "partial").iterdir()) == []
