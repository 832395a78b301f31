"""A bucket between the local disk and the Hub: what one host downloaded the others need not."""

import json
import subprocess
import sys
import threading

import pytest
from fleet_equipment import SIZE, SMALL, Told, bytes_of, fill, objects_in
from support import FILE, REPO, Later, finish, pattern

from model_cache import DownloadError, IntegrityError, ModelCache, SettingError
from model_cache.fleet import objects
from model_cache.fleet.bucket import Bucket


def commit_of(hub):
    """What `main` stands for."""
    return hub.store.find("model", REPO).refs["main"]


def object_of(shelf, kind="sha256"):
    """The file of a folder that an object is."""
    (path,) = (path for path in (shelf / "v1" / kind).rglob("*") if path.is_file())
    return path


def test_what_one_host_downloaded_comes_from_the_bucket(bucket, host, hub, data):
    """The body of a file that a first host downloaded comes to a second one from an S3 bucket, and not from the Hub."""
    fill(host, hub, bucket.address)
    path = host("second", tier=bucket.address).fetch(REPO, FILE)
    assert path.read_bytes() == data
    assert hub.body_bytes() == 0


def test_objects_are_called_by_what_they_hold(bucket, host, hub, data):
    """Large files are called by their sha256, small ones by their git-sha1, and records by their names at a commit."""
    fill(host, hub, bucket.address)
    kinds = sorted(name.split("/")[1] for name in objects_in(bucket))
    assert kinds == ["git", "record", "record", "sha256"]
    assert all(objects.promised(name) for name in objects_in(bucket) if "record" not in name)


def test_large_object_is_sent_in_parts(bucket, host, hub):
    """A file that is larger than one part of an upload arrives whole."""
    large = pattern(20_000_000, 3)
    hub.add_repo(REPO, {FILE: large})
    first = host("first", tier=bucket.address)
    first.fetch(REPO, FILE)
    assert first.wait_for_uploads(60) == 0
    assert host("second", tier=bucket.address).fetch(REPO, FILE).read_bytes() == large
    assert hub.body_gets(FILE) == 1


def test_pinned_commit_needs_no_request(host, hub, data):
    """With a pinned commit a warm bucket spares every request to the Hub, of large files and of small ones."""
    fill(host, hub)
    second = host("second", endpoint="http://127.0.0.1:9")
    assert second.fetch(REPO, FILE, revision=commit_of(hub)).read_bytes() == data
    assert second.fetch(REPO, SMALL, revision=commit_of(hub)).read_bytes() == b'{"small": true}'
    assert hub.requests == []


def test_repo_comes_from_the_tier(host, hub, data):
    """The files of a whole repo come from the tier, and only its listing from the Hub."""
    fill(host, hub)
    told = host("second").fetch_repo(REPO)
    assert (told / FILE).read_bytes() == data
    assert hub.body_bytes() == 0


def test_command_says_where_a_file_came_from(host, hub, data, environ, tmp_path, shelf):
    """`fetch --json` has `tier` as the source, and the first host's command ended after its upload."""
    environ |= {"MODEL_CACHE_TIER": f"file://{shelf}", "HF_ENDPOINT": hub.url}
    sources = []
    for name in ("first", "second"):
        command = [sys.executable, "-m", "model_cache", "--root", str(tmp_path / name), "fetch", REPO, FILE, "--json"]
        done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        sources.append(json.loads(done.stdout)["files"][0]["source"])
    assert sources == ["download", "tier"]


def test_program_that_ends_has_uploaded(host, hub, data, spawn, shelf):
    """A program that ends right after its fetch has offered the file to the others."""
    finish(spawn(f"print(cache.fetch({REPO!r}, {FILE!r}))", settings={"tier": f"file://{shelf}"}))
    assert object_of(shelf).read_bytes() == data


def flipped(held):
    """One byte is another one."""
    middle = len(held) // 2
    return held[:middle] + bytes([held[middle] ^ 1]) + held[middle + 1 :]


def shortened(held):
    """The last byte is gone."""
    return held[:-1]


def lengthened(held):
    """A byte is too many."""
    return held + b"x"


def emptied(held):
    """Nothing is left."""
    return b""


@pytest.mark.parametrize("damage", [flipped, shortened, lengthened, emptied])
def test_damaged_object_is_reported_and_replaced(bucket, host, hub, data, damage):
    """An object with other bytes than its name says is reported, the Hub is used, and the object is right afterwards."""
    fill(host, hub, bucket.address)
    (name,) = (name for name in objects_in(bucket) if "sha256" in name)
    bad = damage(data)
    Bucket(bucket.address).offer(name, bad, len(bad))
    told, second = Told(), host("second", tier=bucket.address)
    assert second.fetch(REPO, FILE, progress=told).read_bytes() == data
    assert any("the tier's" in message and "replaced" in message for message in told.warnings)
    assert second.wait_for_uploads(60) == 0
    assert bytes_of(bucket, name) == data
    assert hub.body_gets(FILE) == 1


@pytest.mark.parametrize("damage", [flipped, shortened, emptied])
def test_damaged_record_is_none(host, hub, data, shelf, damage):
    """A record that is not as it was written is passed over, and the Hub is asked."""
    fill(host, hub)
    for path in (shelf / "v1" / "record").iterdir():
        path.write_bytes(damage(path.read_bytes()))
    assert host("second").fetch(REPO, FILE, revision=commit_of(hub)).read_bytes() == data
    assert hub.body_bytes() == 0


def test_record_that_lies_costs_a_question(host, hub, data, shelf):
    """A record that promises other bytes than the Hub has is dropped, and the file is had by what the Hub promises."""
    fill(host, hub)
    commit = commit_of(hub)
    place = shelf / objects.of_record("model", REPO, commit, FILE)
    facts = objects.unpack(place.read_bytes()) | {"sha256": "0" * 64, "etag": "0" * 64}
    place.write_bytes(objects.pack(facts))
    second = host("second")
    assert second.fetch(REPO, FILE, revision=commit).read_bytes() == data
    assert second.wait_for_uploads(60) == 0
    assert objects.unpack(place.read_bytes())["sha256"] != "0" * 64


def test_promise_of_a_lock_file_is_not_bent(host, hub, data, shelf, tmp_path):
    """What a lock file promises is not given up for what the tier or the Hub says."""
    first = fill(host, hub)
    lockfile = first.lock(REPO, FILE, output=tmp_path / "models.lock") and tmp_path / "models.lock"
    text = lockfile.read_text()
    digest = next(entry.sha256 for entry in first.entries() if entry.filename == FILE)
    lockfile.write_text(text.replace(digest, "0" * 64))
    with pytest.raises(IntegrityError):
        host("second").sync(lockfile)


def test_partial_of_the_hub_is_completed_by_the_tier(host, hub, data, shelf):
    """Of a file that came by half from the Hub only the other half is read from the tier."""
    fill(host, hub)
    second = host("second", tier=None, clock=Later())
    hub.fault(FILE, "cut", times=None, at=SIZE // 2)
    with pytest.raises(DownloadError):
        second.fetch(REPO, FILE)
    hub.clear_faults()
    hub.reset()
    resumed = ModelCache(second.root, endpoint=hub.url, token=False, tier=f"file://{shelf}")
    assert resumed.fetch(REPO, FILE).read_bytes() == data
    assert hub.body_bytes() == 0


def test_force_asks_the_hub(host, hub, data, shelf):
    """A forced fetch takes the bytes from the Hub, and gives the tier what came."""
    first = fill(host, hub)
    object_of(shelf).write_bytes(flipped(data))
    first.fetch(REPO, FILE, force=True)
    assert hub.body_gets(FILE) == 1
    assert first.wait_for_uploads(60) == 0
    assert object_of(shelf).read_bytes() == data


def test_offline_asks_no_tier(host, hub, data):
    """Offline means no network, and a tier is one."""
    fill(host, hub)
    with pytest.raises(FileNotFoundError):
        host("second").fetch(REPO, FILE, offline=True)


def test_file_that_somebody_wrote_to_is_not_offered(host, hub, data, shelf):
    """What was written to between its verification and its upload does not get into the tier."""
    fetched = threading.Event()

    def edit(step):
        if step == "tier:offer":
            assert fetched.wait(30)
            path.write_bytes(b"mine")

    first = host("first", step=edit)
    path = first.fetch(REPO, FILE)
    fetched.set()
    assert first.wait_for_uploads(60) == 0
    assert not (shelf / "v1" / "sha256").exists()


def test_forked_child_does_without(host, hub, data, spawn, shelf):
    """A child that was forked after the tier was used downloads from the Hub, and does not hang."""
    out = finish(
        spawn(
            f"""
            import warnings
            warnings.simplefilter("ignore", DeprecationWarning)  # of a fork beside threads
            cache.fetch({REPO!r}, {FILE!r})
            cache.wait_for_uploads()
            if (child := os.fork()) == 0:
                os._exit(0 if cache.fetch({REPO!r}, {SMALL!r}).read_bytes() else 1)
            print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
            """,
            settings={"tier": f"file://{shelf}"},
        )
    )
    assert out == "0"


def test_nothing_of_an_engine_is_loaded_without_one(hub, data, spawn):
    """With no tier and no lead a download loads neither an engine nor a line of the code that would."""
    out = finish(
        spawn(
            f"""
            cache.fetch({REPO!r}, {FILE!r})
            cache.fetch_repo({REPO!r})
            print([name for name in sys.modules if name.startswith(("obstore", "psycopg", "model_cache.fleet"))])
            """
        )
    )
    assert out == "[]"


def test_lead_alone_loads_nothing(hub, data, spawn):
    """A lead without a tier, where nobody could look, loads nothing either."""
    out = finish(
        spawn(
            f"""
            cache.fetch({REPO!r}, {FILE!r})
            print([name for name in sys.modules if name.startswith(("obstore", "psycopg", "model_cache.fleet.fleet"))])
            """,
            settings={"lead": "postgresql://127.0.0.1:9/fleet"},
        )
    )
    assert out == "[]"


def test_engine_that_is_down_is_left_alone(wire, bucket, host, hub, data, tmp_path):
    """An engine that is down is asked once, by one process of a root, until its pause is over."""
    wire.close()
    told, first = Told(), host("first", tier=bucket.address)
    assert first.fetch(REPO, FILE, progress=told).read_bytes() == data
    assert any("asked again in" in message for message in told.warnings)
    told, other = Told(), host("first", tier=bucket.address)
    assert other.fetch(REPO, SMALL, progress=told).read_bytes() == b'{"small": true}'
    assert told.warnings == []


def test_engine_that_recovered_is_used_again(bucket, host, hub, data, monkeypatch):
    """Once its pause is over an engine is tried again, and nothing is left of its failure when it answers."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    clock = Later()
    first = host("first", tier=bucket.address, clock=clock)
    first.fetch(REPO, SMALL)
    assert first.wait_for_uploads(60) == 0  # or it would try the engine once more, at the later time
    (remembered,) = (first.root / ".model-cache").glob("engine-*")
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{bucket.port}")
    clock.ahead += 31
    again = host("first", tier=bucket.address, clock=clock)
    again.fetch(REPO, FILE)
    assert again.wait_for_uploads(60) == 0
    assert not remembered.exists()
    assert any("sha256" in name for name in objects_in(bucket))


def test_wrong_credentials_cost_a_warning(bucket, host, hub, data, monkeypatch):
    """A bucket that refuses these credentials is as one that is down; the message has no secret."""
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "not-the-secret")
    told = Told()
    assert host("first", tier=bucket.address).fetch(REPO, FILE, progress=told).read_bytes() == data
    assert told.warnings
    assert "not-the-secret" not in str(told.warnings)


@pytest.mark.parametrize("fault", ["kill", "hang"])
def test_engine_that_fails_in_mid_transfer(fault, own, host, hub):
    """Of a file whose bucket is killed, or hangs, in mid-transfer the Hub sends the rest."""
    server, wire = own
    large = pattern(12_000_000, 5)
    hub.add_repo(REPO, {FILE: large})
    fill(host, hub, server.address, [FILE])
    wire.after(6_000_000, getattr(server, fault))
    second = host("second", tier=server.address)
    assert second.fetch(REPO, FILE).read_bytes() == large
    assert 0 < hub.body_bytes(FILE) < 12_000_000


def test_tier_that_hangs_from_the_start(own, host, hub, data):
    """A bucket that takes connections and answers nothing costs a time-out, and then nothing."""
    server, wire = own
    server.hang()
    first = host("first", tier=server.address)
    assert first.fetch(REPO, FILE).read_bytes() == data
    before = wire.connections
    assert first.fetch(REPO, SMALL).read_bytes() == b'{"small": true}'
    assert wire.connections == before


@pytest.mark.parametrize(
    "value",
    [
        "bucket",
        "s3://",
        "ftp://host/x",
        "s3://user:hunter2@bucket",
        "s3://bucket?key=hunter2",
        "file://relative",
        "s3://a/../b",
    ],
)
def test_tier_of_another_form_is_refused(value, tmp_path):
    """An address that cannot be used is refused before anything is made, without repeating what may be a secret."""
    with pytest.raises(SettingError, match="tier") as caught:
        ModelCache(tmp_path / "x", tier=value)
    assert "hunter2" not in str(caught.value)
    assert not (tmp_path / "x").exists()


def test_password_of_the_lead_is_not_shown(tmp_path, environ):
    """`config` shows the lead's address without its password."""
    environ["MODEL_CACHE_LEAD"] = "postgresql://fleet:hunter2@db/models?sslmode=hunter3"
    for more in ([], ["--json"], ["lead"]):
        command = [sys.executable, "-m", "model_cache", "--root", str(tmp_path / "x"), "config", *more]
        done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0
        assert "@db/models" in done.stdout
        assert "hunter" not in done.stdout + done.stderr


def test_tier_that_others_may_have_named_is_not_used(host, hub, data, shelf, tmp_path):
    """A tier in a policy file that others can write is not used: this user's credentials and files are not for it."""
    own = tmp_path / "first" / ".model-cache"
    own.mkdir(parents=True)
    (own / "config.toml").write_text(f'tier = "file://{shelf}"\n')
    (own / "config.toml").chmod(0o666)
    cache = ModelCache(tmp_path / "first", endpoint=hub.url, token=False)
    told = Told()
    cache.fetch(REPO, FILE, progress=told)
    assert cache.wait_for_uploads(60) == 0
    assert not shelf.exists()
    assert ["not used" in message for message in told.warnings] == [True]


def test_stalled_uploads_of_many_caches_are_waited_for_once(spawn):
    """A program whose caches all have an upload that stalls ends after one wait for them together, and says how many."""
    out = finish(
        spawn(
            """
            import logging
            from concurrent.futures import Future
            from model_cache.fleet import uploads

            class Never:
                def submit(self, call):
                    return Future()

            logging.basicConfig(format="%(message)s")
            every = [uploads.Uploads(Never(), stalled=1.0) for _ in range(200)]
            for one in every:
                one.submit(print, "nothing")
            print("over")
            """
        )
    )
    assert out == "over"
