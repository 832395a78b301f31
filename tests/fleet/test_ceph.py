"""Ceph's gateway as the tier; the tests of every server run on it too, where engines are tested."""

import pytest
from fleet_equipment import SLOW, SMALL, Ceph, name_bucket, objects_in
from support import FILE, REPO, pattern

pytestmark = SLOW
# In parts of 8 MiB this is two and a bit.
LARGE = pattern(20_000_000, 7)


@pytest.fixture
def ceph(tmp_path, monkeypatch):
    """Ceph of the test's own."""
    server = Ceph(tmp_path / "ceph")
    try:
        server.run()
        name_bucket(monkeypatch.setenv, server)
        yield server
    finally:
        server.stop()


def test_what_ceph_has_outlives_its_processes(ceph, host, hub):
    """While all of Ceph is dead the Hub does; started again it has every file, and a host with a pinned commit needs no Hub."""
    hub.add_repo(REPO, {FILE: LARGE, SMALL: b'{"small": true}'})
    first = host("first", tier=ceph.address)
    for name in (FILE, SMALL):
        first.fetch(REPO, name)
    assert first.wait_for_uploads(60) == 0
    ceph.kill()
    assert host("alone", tier=ceph.address).fetch(REPO, FILE).read_bytes() == LARGE
    assert hub.body_gets(FILE) == 2
    ceph.run()
    kinds = sorted(name.split("/")[1] for name in objects_in(ceph))
    assert kinds == ["git", "record", "record", "sha256"]
    commit = hub.store.find("model", REPO).refs["main"]
    second = host("second", tier=ceph.address, endpoint="http://127.0.0.1:9")
    assert second.fetch(REPO, FILE, revision=commit).read_bytes() == LARGE
    assert second.fetch(REPO, SMALL, revision=commit).read_bytes() == b'{"small": true}'
