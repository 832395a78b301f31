"""Records that somebody else wrote into a bucket: no odd value of one reaches the index or the user, and none fails a fetch."""

import json

import pytest
from fleet_equipment import SMALL, Told, fill
from support import FILE, REPO

from model_cache import CacheFullError
from model_cache.budget.limits import MOST, blocks
from model_cache.fleet import objects

LAST = 2**63 - 1


@pytest.fixture
def pinned(host, hub, data, shelf):
    """A commit that the tier has whole; says another thing of one of its files, or (of "") of what it consists of."""
    first = fill(host, hub)
    commit = hub.store.find("model", REPO).refs["main"]
    first.fetch_repo(REPO, revision=commit)
    first.fetch(REPO, FILE, revision=commit)
    assert first.wait_for_uploads(60) == 0
    hub.reset()

    def lie(filename, **facts):
        place = shelf / objects.of_record("model", REPO, commit, filename)
        before = objects.unpack(place.read_bytes())
        place.write_bytes(objects.pack({**before, **facts}))
        return before

    lie.commit = commit
    return lie


@pytest.mark.parametrize(
    "facts",
    [
        {"etag": "\x1b[31m\r\nX: y"},
        {"etag": "e" * 60_000},
        {"etag": "\ud800"},
        {"git_sha1": {"a": [1]}},
        {"git_sha1": "x" * 50_000},
        {"size": LAST},
        {"size": 2**40},
        {"size": True},
    ],
    ids=[
        "etag-steers",
        "etag-long",
        "etag-surrogate",
        "hash-dict",
        "hash-long",
        "size-last",
        "size-large",
        "size-bool",
    ],
)
def test_record_of_odd_values_costs_a_question(facts, pinned, host, hub, data):
    """What no Hub would say, or there is no room for, is asked of the Hub; the index has what that said."""
    pinned(FILE, **facts)
    second = host("second", max_size="1GB")
    assert second.fetch(REPO, FILE, revision=pinned.commit).read_bytes() == data
    (entry,) = second.entries()
    assert entry.etag == entry.sha256
    assert hub.body_bytes() == 0


def test_room_that_a_true_record_needs_is_an_error(pinned, host, hub):
    """Where the Hub says the same as the record, the file is too large; the record stays, and nothing is said of it."""
    told = Told()
    with pytest.raises(CacheFullError):
        host("second", max_size="1MB").fetch(REPO, FILE, revision=pinned.commit, progress=told)
    assert pinned(FILE)["filename"] == FILE
    assert not told.warnings


@pytest.mark.parametrize(
    "row",
    [
        ["../../evil", 3, None, "0" * 40],
        ["/etc/evil", 3, None, "0" * 40],
        ["a\0b", 3, None, "0" * 40],
        ["a\ud800b", 3, None, "0" * 40],
        [".model-cache/config.toml", 3, None, "0" * 40],
        ["x" * 300, 3, None, "0" * 40],
        ["extra.bin", 3, None, "0" * 40],
        [FILE, 3, None, "0" * 40],
        ["large.bin", LAST, None, "0" * 40],
    ],
    ids=["outside", "absolute", "nul", "surrogate", "own", "long", "extra", "twice", "large"],
)
def test_listing_with_an_odd_file_is_refuted(row, pinned, host, data):
    """A file that cannot be, or that the Hub does not have, fails no fetch of the whole repo."""
    files = pinned("")["files"]
    pinned("", files=[*files, row])
    second = host("second")
    directory = second.fetch_repo(REPO, revision=pinned.commit)
    assert sorted(path.name for path in directory.rglob("*") if path.is_file()) == sorted([FILE, SMALL])
    assert (directory / FILE).read_bytes() == data
    assert second.wait_for_uploads(60) == 0
    assert pinned("")["files"] == files


def test_record_that_is_made_to_take_memory_is_none():
    """Ever so many values in a few bytes are no listing; a real one, with short names in it, is one."""
    files = [[f"{number:x}", number, None, f"{number:040x}"] for number in range(1000)]
    assert objects.unpack(objects.pack({"files": files})) == {"files": files}
    assert objects.unpack(objects.pack({"files": [[]] * 10_000})) is None
    assert objects.unpack(json.dumps({"facts": "{}", "more": [0] * 10_000}).encode()) is None


def test_room_for_what_cannot_be_is_a_number_that_fits():
    """Whatever size somebody promises, what is reserved for it can be added up and written down."""
    assert blocks(LAST) == MOST
    assert blocks(1) < blocks(10**15) < MOST
