"""The doctor and the engines: whether the bucket and the database can be used from here, and as they have to be."""

import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest
from fleet_equipment import SECRET, Postgres
from support import Still

from model_cache.context import Context
from model_cache.doctor import Status, examine, fleet
from model_cache.fleet.bucket import Bucket
from model_cache.fleet.protocols import Blob, EngineError
from model_cache.settings import Settings
from stress.fleet.engines import answers, free_port, wait_until

DOWN = "postgresql://fleet:hunter2@127.0.0.1:9/models"


def diagnose(root, names=("tier", "lead"), clock=None, **settings):
    """What the doctor says of the engines: {name: [(status, words), ...]}."""
    found = {}
    for check in examine(Context(Settings({}, root=root, **settings), clock=clock)).checks:
        if check.name in names:
            found.setdefault(check.name, []).append((check.status, f"{check.detail} {check.hint}"))
    return found


@pytest.fixture
def judge(tmp_path):
    """What the doctor says of a bucket that is handed to it."""

    def judged(bucket):
        (check,) = fleet._try(Context(Settings({}, root=tmp_path)), bucket, "the bucket")
        return check.status, check.detail

    return judged


class Odd(Bucket):
    """A bucket in memory with one peculiarity."""

    def __init__(self):
        super().__init__("memory://odd")


class ReadOnly(Odd):
    """Nothing can be put there."""

    def offer(self, name, data, size):
        """Refuse."""
        raise EngineError("403 Forbidden")


class Keeping(Odd):
    """Nothing can be taken away."""

    def drop(self, name):
        """Refuse."""
        raise EngineError("403 Forbidden")


class Mangling(Odd):
    """What is put there changes."""

    def offer(self, name, data, size):
        """Put something else there."""
        super().offer(name, data[:-1] + b"?", size)


class Forgetful(Odd):
    """It lists nothing."""

    def stored(self, prefix):
        """Nothing."""
        return iter(())


class Early(Odd):
    """Its clock is an hour behind."""

    def stored(self, prefix):
        """As they are, but older."""
        return (one._replace(written=one.written - 3600) for one in super().stored(prefix))


def test_nothing_is_said_where_there_is_no_engine(tmp_path):
    """Without a tier and a lead the doctor has no word on them."""
    assert diagnose(tmp_path / "root") == {}


def test_bucket_is_tried_and_left_as_it_was(bucket, tmp_path):
    """On a real S3 server an object is put, listed, read and taken away, and none is left."""
    ((status, words),) = diagnose(tmp_path / "root", tier=bucket.address)["tier"]
    assert (status, "read, written, listed and emptied" in words) == (Status.OK, True)
    assert list(Bucket(bucket.address).stored("doctor")) == []


@pytest.mark.parametrize(
    ("kind", "status", "words"),
    [
        (ReadOnly, Status.WARN, "can be read, and not written"),
        (Keeping, Status.WARN, "nothing can be taken away"),
        (Mangling, Status.FAIL, "does not come back"),
        (Forgetful, Status.FAIL, "is not listed"),
        (Early, Status.WARN, "its clock is 1h behind"),
    ],
)
def test_what_is_odd_about_a_bucket_is_told(judge, kind, status, words):
    """A bucket that cannot be written or emptied, changes or hides what it has, or has another time, is told as that."""
    found, said = judge(kind())
    assert (found, words in said) == (status, True), said


def test_engines_that_are_down_are_told_without_secrets(tmp_path, monkeypatch):
    """What cannot be reached is a failure that names it, and no key and no password."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key-of-tests")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    found = diagnose(tmp_path / "root", tier="s3://fleet/1", lead=DOWN)
    assert [status for one in found.values() for status, _ in one] == [Status.FAIL, Status.FAIL]
    assert not re.search(f"hunter2|{SECRET}", str(found))


def test_engines_are_not_asked_offline(tmp_path):
    """With the network switched off nothing is tried, and that is said."""
    found = diagnose(tmp_path / "root", tier=f"file://{tmp_path}/shelf", lead=DOWN, offline=True)
    assert all("the network is switched off" in words for one in found.values() for _, words in one)
    assert not (tmp_path / "shelf").exists()


def test_lead_without_a_tier_is_told(tmp_path):
    """A database alone is of no use, and is not asked."""
    ((status, words),) = diagnose(tmp_path / "root", lead=DOWN)["lead"]
    assert (status, "without a tier" in words) == (Status.WARN, True)


def test_pause_after_a_failure_is_told(host, hub, data, tmp_path):
    """That downloads of this root do without an engine for a while is said, with how long."""
    from support import FILE, REPO

    clock = Still()
    first = host("first", lead=DOWN, clock=clock)
    first.fetch(REPO, FILE)
    found = diagnose(first.root, tier=f"file://{tmp_path}/shelf", lead=DOWN, clock=clock)
    assert any("failed 1 time: this host goes alone, for 30s more" in words for _, words in found["lead"])


def test_database_is_tried(postgres, tmp_path, shelf):
    """A PostgreSQL that is as it has to be is told with its version and its sessions."""
    ((status, words),) = diagnose(tmp_path / "root", tier=f"file://{shelf}", lead=postgres.address)["lead"]
    assert (status, "PostgreSQL 1" in words, "of 100 sessions" in words) == (Status.OK, True, True), words


@pytest.mark.parametrize(
    ("option", "words"),
    [("max_connections=12", "of 12 sessions are taken"), ("idle_session_timeout=60s", "ended after 1m")],
)
def test_database_that_leads_too_few_or_too_short_is_told(option, words, tmp_path, shelf):
    """One with hardly a session to spare, or that ends idle ones, is a warning."""
    engine = Postgres(options=(option,))
    try:
        engine.run()
        ((status, said),) = diagnose(tmp_path / "root", tier=f"file://{shelf}", lead=engine.address)["lead"]
    finally:
        engine.stop()
    assert (status, words in said) == (Status.WARN, True), said


def test_database_that_hangs_is_told(tmp_path, shelf):
    """One that takes connections and answers nothing is a failure, in a few seconds."""
    engine = Postgres()
    try:
        engine.run()
        engine.hang()
        ((status, said),) = diagnose(tmp_path / "root", tier=f"file://{shelf}", lead=engine.hasty)["lead"]
        engine.go_on()
    finally:
        engine.stop()
    assert (status, "cannot be used" in said) == (Status.FAIL, True), said


@pytest.fixture
def pooler(postgres):
    """PgBouncer in front of the database, in transaction mode: the address of it."""
    program = shutil.which("pgbouncer", path="/usr/sbin:/usr/bin")
    if program is None:
        pytest.skip("PgBouncer is not installed (Debian: pgbouncer)")
    port, place = free_port(), Path(tempfile.mkdtemp(prefix="model-cache-pooler-"))
    place.chmod(0o755)  # it is read by who is not root, whom pytest's own directories keep out
    settings = {
        "listen_addr": "127.0.0.1",
        "listen_port": port,
        "unix_socket_dir": "",
        "auth_type": "any",
        "pool_mode": "transaction",
        "default_pool_size": 1,
        "ignore_startup_parameters": "options",
        "logfile": "",
    }
    target = f"host=127.0.0.1 port={postgres.port} dbname=postgres user=fleet password={SECRET}"
    text = f"[databases]\npostgres = {target}\n[pgbouncer]\n" + "".join(f"{k} = {v}\n" for k, v in settings.items())
    (place / "pooler.ini").write_text(text)
    become = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"] if os.getuid() == 0 else []
    command = [*become, program, "-q", str(place / "pooler.ini")]
    server = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: answers(port), server)
        yield postgres.address.replace(str(postgres.port), str(port))
    finally:
        server.kill()
        server.wait(30)
        shutil.rmtree(place)


def test_pooler_in_transaction_mode_is_found_out(pooler, tmp_path, shelf):
    """Behind PgBouncer in transaction mode two sessions can have one lock: that is a failure which says so."""
    ((status, said),) = diagnose(tmp_path / "root", tier=f"file://{shelf}", lead=pooler)["lead"]
    assert (status, "transaction mode" in said) == (Status.FAIL, True), said


class Swollen(Odd):
    """What was put there comes back with no end to it."""

    def fetch(self, name, offset=0):
        """Say that it is a terabyte."""
        found = super().fetch(name, offset)
        return found and Blob(1 << 40, _never_read())


def _never_read():
    raise AssertionError("it is known by its size")
    yield


class Crowded(Odd):
    """Others have left a great many things beside each other."""

    def stored(self, prefix):
        """Whoever lists more than what is its own would have no end of it."""
        assert re.fullmatch("doctor/[0-9a-f]{16}", prefix)
        return super().stored(prefix)


@pytest.mark.parametrize(("kind", "status"), [(Swollen, Status.FAIL), (Crowded, Status.OK)])
def test_bucket_is_tried_within_bounds(kind, status, judge):
    """Neither is more read than was put there, nor anything listed that others put there."""
    assert judge(kind())[0] == status
