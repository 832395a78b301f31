"""Hosts of a fleet: each with a root of its own, one bucket, one database, one hub."""

import pytest
from fleet_equipment import SERVERS, SIZE, SMALL, Postgres, Wire, name_bucket
from support import FILE, REPO, pattern

from model_cache import ModelCache


@pytest.fixture(scope="module", params=SERVERS)
def served(request, tmp_path_factory):
    """Of each kind of S3 server one for the tests of a module."""
    bucket = request.param(tmp_path_factory.mktemp("bucket"))
    try:
        bucket.run()
        yield bucket
    finally:
        bucket.stop()


@pytest.fixture
def bucket(served, monkeypatch):
    """The S3 server with nothing in it, named by the environment."""
    served.begin()
    name_bucket(monkeypatch.setenv, served)
    return served


@pytest.fixture
def wire(bucket, monkeypatch):
    """A wire to the S3 server, which the environment names in its place."""
    wire = Wire(bucket.port)
    name_bucket(monkeypatch.setenv, bucket, wire.port)
    yield wire
    wire.close()


@pytest.fixture(params=SERVERS)
def own(request, tmp_path, monkeypatch):
    """An S3 server of the test's own, and the wire to it that the environment names."""
    server = request.param(tmp_path / "own")
    try:
        server.run()
        wire = Wire(server.port)
        name_bucket(monkeypatch.setenv, server, wire.port)
        yield server, wire
        wire.close()
    finally:
        server.stop()


@pytest.fixture(scope="module")
def postgres():
    """One PostgreSQL for the tests of a module."""
    engine = Postgres()
    try:
        engine.run()
        yield engine
    finally:
        engine.stop()


@pytest.fixture
def data(hub):
    """The bytes of a large file that the hub has, beside a small one."""
    data = pattern(SIZE)
    hub.add_repo(REPO, {FILE: data, SMALL: b'{"small": true}'})
    return data


@pytest.fixture
def shelf(tmp_path):
    """A folder as a tier."""
    return tmp_path / "shelf"


@pytest.fixture
def host(tmp_path, hub, shelf):
    """Makes a host; when the test ends, none of them is still uploading."""
    made = []

    def make(name, tier=f"file://{shelf}", **settings):
        given = {"endpoint": hub.url, "token": False, **settings}
        made.append(ModelCache(tmp_path / name, tier=tier, **given))
        return made[-1]

    yield make
    for one in made:
        one.wait_for_uploads(30)
