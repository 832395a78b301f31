"""The tier on OpenStack Swift through its S3 API, which is none of Amazon's and no toy."""

import subprocess
import sys
import urllib.request

import pytest
from fleet_equipment import SMALL, name_bucket
from support import FILE, REPO, pattern
from swift_equipment import KEY, SECRET, Swift

from model_cache.fleet.bucket import Bucket

pytestmark = pytest.mark.engine


@pytest.fixture(scope="module")
def swift(tmp_path_factory):
    """One Swift, with a container."""
    engine = Swift(tmp_path_factory.mktemp("swift"))
    try:
        engine.run()
        url = f"http://127.0.0.1:{engine.port}"
        asked = urllib.request.Request(f"{url}/auth/v1.0", headers={"X-Auth-User": KEY, "X-Auth-Key": SECRET})
        with urllib.request.urlopen(asked, timeout=30) as answer:
            token, account = answer.headers["X-Auth-Token"], answer.headers["X-Storage-Url"]
        for name in ("fleet", "fleet+segments"):
            made = urllib.request.Request(f"{account}/{name}", method="PUT", headers={"X-Auth-Token": token})
            urllib.request.urlopen(made, timeout=30).close()
        yield engine
    finally:
        engine.stop()


@pytest.fixture(autouse=True)
def named(swift, monkeypatch):
    """The environment names it."""
    name_bucket(monkeypatch.setenv, swift.port)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)


def test_second_host_needs_no_hub(swift, host, hub):
    """A large file in parts, a small one, and a pinned commit: all of it comes from Swift to a host without a Hub."""
    large = pattern(30_000_000, 7)
    hub.add_repo(REPO, {FILE: large, SMALL: b"{}"})
    first = host("first", tier=swift.address)
    for name in (FILE, SMALL):
        first.fetch(REPO, name)
    assert first.wait_for_uploads(100) == 0
    commit = hub.store.find("model", REPO).refs["main"]
    second = host("second", tier=swift.address, endpoint="http://127.0.0.1:9")
    assert second.fetch(REPO, FILE, revision=commit).read_bytes() == large
    assert second.fetch(REPO, SMALL, revision=commit).read_bytes() == b"{}"


def test_damaged_object_is_replaced(swift, host, hub, data):
    """An object that Swift has other bytes of is reported, and right after the next download."""
    first = host("first", tier=swift.address)
    first.fetch(REPO, FILE)
    assert first.wait_for_uploads(100) == 0
    bucket = Bucket(swift.address)
    (name,) = (one.name for one in bucket.stored("v1/sha256") if one.size == len(data))
    bucket.offer(name, data[:-1] + b"?", len(data))
    second = host("second", tier=swift.address)
    assert second.fetch(REPO, FILE).read_bytes() == data
    assert second.wait_for_uploads(100) == 0
    assert b"".join(bucket.fetch(name).chunks) == data


def test_command_reads_and_empties_it(swift, environ, tmp_path):
    """`tier verify` finds all of it sound, and `tier gc` leaves nothing."""
    environ |= {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{swift.port}", "AWS_REGION": "us-east-1"}
    environ |= {"AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": SECRET, "MODEL_CACHE_TIER": swift.address}
    for arguments in (["verify"], ["gc", "--max-size", "0"]):
        command = [sys.executable, "-m", "model_cache", "--root", str(tmp_path), "tier", *arguments]
        done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=100)
        assert done.returncode == 0, done.stderr
    assert list(Bucket(swift.address).stored("v1/")) == []
