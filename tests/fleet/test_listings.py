"""What a repo consists of at a commit is in the bucket too: a new host needs no Hub for the whole of it."""

import pytest
from fleet_equipment import SMALL, Told
from support import FILE, REPO

from model_cache.fleet import objects
from model_cache.fleet.bucket import Bucket

NOBODY = "http://127.0.0.1:9"


@pytest.fixture
def commit(host, hub, data):
    """Of a repo that a first host has fetched as a whole; what the hub saw of it is forgotten."""
    first = host("first")
    first.fetch_repo(REPO)
    assert first.wait_for_uploads(60) == 0
    hub.reset()
    return hub.store.find("model", REPO).refs["main"]


@pytest.fixture
def listing(shelf, commit):
    """Reads what the listing says, and has it say something else."""

    def change(**facts):
        bucket, name = Bucket(f"file://{shelf}"), objects.of_record("model", REPO, commit, "")
        found = objects.unpack(b"".join(bucket.fetch(name).chunks))
        packed = objects.pack({**found, **facts})
        if facts:
            bucket.offer(name, packed, len(packed))
        return found

    return change


def test_whole_repo_at_a_pinned_commit_needs_no_request(host, hub, data, commit):
    """With a warm bucket a new host has all files of a pinned commit, and the Hub is not asked once."""
    directory = host("second", endpoint=NOBODY).fetch_repo(REPO, revision=commit)
    assert sorted(path.name for path in directory.iterdir()) == sorted([FILE, SMALL])
    assert (directory / FILE).read_bytes() == data
    assert hub.requests == []


def test_whole_repo_of_a_branch_costs_one_request(host, hub, data, commit):
    """What a branch stands for is asked of the Hub; what that consists of, and its bytes, are not."""
    directory = host("second").fetch_repo(REPO)
    assert (directory / FILE).read_bytes() == data
    assert len(hub.requests) == 1


def test_a_pinned_repo_is_whole_offline_afterwards(host, commit):
    """A repo whose listing came from the bucket is known to be whole: a later call needs neither Hub nor bucket."""
    host("second", endpoint=NOBODY).fetch_repo(REPO, revision=commit)
    again = host("second", tier=None, endpoint=NOBODY, offline=True)
    assert (again.fetch_repo(REPO, revision=commit) / FILE).exists()


@pytest.mark.parametrize(
    "facts",
    [
        {"files": None},
        {"files": [[FILE, 3]]},
        {"files": [[FILE, -1, "a" * 64, None]]},
        {"files": [[FILE, 3, "a" * 64, "b" * 40]]},
        {"files": [[FILE, 3, None, None]]},
        {"files": [["x", 3, "a" * 64, None], ["x/y", 3, "a" * 64, None]]},
        {"commit": "a" * 40},
        {"repo": "another/repo"},
        {"filename": FILE},
    ],
)
def test_listing_that_makes_no_sense_is_none(host, hub, data, commit, listing, facts):
    """A listing of the wrong shape, or of something else, is passed over: the Hub is asked, and it is written anew."""
    before = listing(**facts)
    second = host("second")
    assert (second.fetch_repo(REPO, revision=commit) / FILE).read_bytes() == data
    assert second.wait_for_uploads(60) == 0
    assert listing() == before
    assert hub.body_bytes() == 0


def test_listing_that_promises_other_bytes_is_refuted(host, data, commit, listing):
    """Where the Hub has other bytes than the bucket's listing says, that is written anew, and all is had from the Hub."""
    before = listing(files=[[FILE, len(data), "a" * 64, None]])
    second, told = host("second"), Told()
    directory = second.fetch_repo(REPO, revision=commit, progress=told)
    assert (directory / SMALL).read_bytes() == b'{"small": true}'
    assert (directory / FILE).read_bytes() == data
    assert any("the tier's listing" in message for message in told.warnings)
    assert second.wait_for_uploads(60) == 0
    assert listing() == before


def test_file_alone_is_not_held_to_a_wrong_listing(host, data, commit, listing):
    """Of a repo whose listing came from the bucket and is wrong, a file that is asked for alone has the Hub's bytes."""
    files = listing()["files"]
    listing(
        files=[[path, size, "a" * 64, None] if path == FILE else [path, size, *hashes] for path, size, *hashes in files]
    )
    second = host("second")
    second.fetch_repo(REPO, revision=commit, include=SMALL)
    assert second.fetch(REPO, FILE, revision=commit).read_bytes() == data


def test_what_is_forced_comes_from_the_hub(host, hub, data, commit, listing):
    """`force` asks the Hub for the listing too."""
    listing(files=[])
    directory = host("second").fetch_repo(REPO, revision=commit, force=True)
    assert (directory / FILE).read_bytes() == data
