"""`model-cache tier`: what people do with a bucket that hosts share."""

import json
import os
import subprocess
import sys

import pytest
from fleet_equipment import SMALL, objects_in
from support import FILE, REPO

from model_cache.fleet import objects
from model_cache.fleet.bucket import Bucket
from model_cache.fleet.keeping import plan
from model_cache.fleet.protocols import Stored


@pytest.fixture
def filled(host, data):
    """A tier with a large object, a small one, and two records."""
    first = host("first")
    for name in (FILE, SMALL):
        first.fetch(REPO, name)
    assert first.wait_for_uploads(60) == 0


@pytest.fixture
def tier(environ, shelf, tmp_path):
    """Run the command: its exit code, stdout and stderr."""

    def run(*arguments):
        command = [sys.executable, "-m", "model_cache", "--root", str(tmp_path / "none"), "tier", *arguments]
        given = {"MODEL_CACHE_TIER": f"file://{shelf}"} | environ
        done = subprocess.run(command, env=given, capture_output=True, text=True, timeout=60)
        assert "Traceback" not in done.stderr
        return done.returncode, done.stdout, done.stderr

    return run


def test_objects_are_listed(filled, tier, data):
    """`ls` names each object with its size, and makes no root."""
    code, out, _ = tier("ls", "--json")
    document = json.loads(out)
    assert code == 0
    assert sorted(one["name"].split("/")[1] for one in document["objects"]) == ["git", "record", "record", "sha256"]
    assert document["total_bytes"] == sum(one["size"] for one in document["objects"]) > len(data)


def test_damaged_objects_are_found_and_removed(filled, tier, shelf):
    """`verify` names the objects and records that are damaged (3), and takes them away when told to (4)."""
    assert tier("verify")[0] == 0
    (large,) = (path for path in (shelf / "v1" / "sha256").rglob("*") if path.is_file())
    (small,) = (shelf / "v1" / "git").iterdir()
    record = next((shelf / "v1" / "record").iterdir())
    for path in (large, small, record):
        path.write_bytes(path.read_bytes()[:-1] + b"?")
    code, out, _ = tier("verify", "--json")
    names = {str(path.relative_to(shelf)) for path in (large, small, record)}
    assert code == 3
    assert {one["name"] for one in json.loads(out)["damaged"]} == names
    assert tier("verify", "-q", "--remove")[0] == 4
    assert not large.exists()
    assert tier("verify")[0] == 0


def test_oldest_objects_go_first(filled, tier, shelf):
    """`gc` takes away what is old or too much, and with --dry-run only says so."""
    code, out, _ = tier("gc", "--max-size", "0", "--dry-run")
    assert (code, len(out.splitlines())) == (0, 4)
    assert len(tier("ls", "-q")[1].splitlines()) == 4
    assert tier("gc", "--older-than", "1h")[1] == ""
    assert json.loads(tier("gc", "--max-size", "0", "--json")[1])["total_bytes"] == 0
    assert tier("ls", "-q")[1] == ""


def test_command_works_on_servers(bucket, host, data, tier, environ):
    """On an S3 server too a damaged object is found and removed, and `gc` leaves nothing."""
    environ |= {name: value for name, value in os.environ.items() if name.startswith("AWS_")}
    environ["MODEL_CACHE_TIER"] = bucket.address
    first = host("first", tier=bucket.address)
    first.fetch(REPO, FILE)
    assert first.wait_for_uploads(60) == 0
    assert tier("verify")[0] == 0
    (name,) = (name for name in objects_in(bucket) if "sha256" in name)
    Bucket(bucket.address).offer(name, data[:-1] + b"?", len(data))
    assert tier("verify", "-q", "--remove")[0] == 4
    assert name not in objects_in(bucket)
    assert tier("gc", "--max-size", "0")[0] == 0
    assert objects_in(bucket) == []


@pytest.mark.parametrize(
    "arguments", [("gc",), ("ls", "--remove"), ("verify", "--older-than", "1d"), ("ls", "--dry-run"), ("burn",)]
)
def test_misuse_is_refused(tier, arguments):
    """An option of another action, no limit, or no such action is usage (2)."""
    code, out, err = tier(*arguments)
    assert (code, out) == (2, "")
    assert "hint:" in err


def test_bucket_that_does_not_answer_is_an_error(tier, environ):
    """A bucket that is not there is one line on stderr, and 1."""
    environ |= {"MODEL_CACHE_TIER": "s3://x/y", "AWS_ENDPOINT_URL": "http://127.0.0.1:9", "AWS_ACCESS_KEY_ID": "x"}
    environ["AWS_SECRET_ACCESS_KEY"] = "hunter2"
    code, _, err = tier("ls")
    assert code == 1
    assert err.startswith("error: s3://x/y: ")
    assert "hunter2" not in err


def test_no_tier_is_an_error(tier, environ):
    """Without a tier there is nothing to look after (2)."""
    environ["MODEL_CACHE_TIER"] = ""
    code, _, err = tier("ls")
    assert code == 2
    assert "no tier is set" in err


def test_plan_is_by_age_and_then_by_size():
    """The oldest go until what is left is young enough, and fits."""
    stored = [Stored("new", 10, 90.0), Stored("old", 10, 10.0), Stored("middle", 10, 50.0)]
    assert [one.name for one in plan(stored, 100.0, 45.0, None)] == ["old", "middle"]
    assert [one.name for one in plan(stored, 100.0, None, 15)] == ["old", "middle"]
    assert plan(stored, 100.0, None, 30) == plan(stored, 100.0, 1000.0, 30) == []


def test_record_survives_its_own_packing_and_nothing_else():
    """A record is read as it was written; with any byte changed it is none."""
    facts = {"repo": "owner/name", "size": 3, "sha256": None}
    packed = objects.pack(facts)
    assert objects.unpack(packed) == facts
    for at in range(len(packed)):
        changed = objects.unpack(packed[:at] + bytes([packed[at] ^ 1]) + packed[at + 1 :])
        assert changed in (None, facts)


def test_names_say_what_they_promise():
    """Only a name of this layout promises a hash."""
    name = objects.of_bytes("ab" * 32, None)
    assert objects.promised(name) == ("sha256", "ab" * 32)
    assert objects.promised(objects.of_bytes(None, "cd" * 20)) == ("git-sha1", "cd" * 20)
    assert objects.of_bytes("AB" * 32, None) is None
    assert [objects.promised(other) for other in ("", "v1/sha256/aa/" + "ab" * 32, "x/" + name, name + "/")] == [
        None
    ] * 4
