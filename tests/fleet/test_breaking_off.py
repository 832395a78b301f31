"""Transfers to and from a bucket that break off, as a server that is started anew has them break off."""

import pytest
from fleet_equipment import Told, fill
from support import FILE, REPO, Later, pattern

from model_cache.fleet.fleet import Fleet
from model_cache.fleet.protocols import Alone, EngineError, NoTier


def test_body_that_breaks_off_is_asked_for_once_more(wire, bucket, host, hub):
    """Of a file whose transfer breaks off once the rest comes from the tier, too."""
    large = pattern(12_000_000, 5)
    hub.add_repo(REPO, {FILE: large})
    fill(host, hub, bucket.address, [FILE])
    wire.after(6_000_000, wire.cut)
    told, second = Told(), host("second", tier=bucket.address)
    assert second.fetch(REPO, FILE, progress=told).read_bytes() == large
    assert hub.body_bytes() == 0
    assert told.warnings == []


class BreaksOff(NoTier):
    """A bucket to which sending breaks off so many times."""

    def __init__(self, times):
        self.times, self.held = times, {}

    def offer(self, name, data, size):
        """Take the first bytes, and then all."""
        whole = b"".join(data)
        if self.times:
            self.times -= 1
            raise EngineError("the connection was reset")
        self.held[name] = whole


@pytest.mark.parametrize("times", [1, 2])
def test_upload_that_breaks_off_is_sent_once_more(times, tmp_path):
    """What breaks off while it is sent is sent again from its start, once; then the tier is one that fails."""
    tier = BreaksOff(times)
    fleet = Fleet(tier, Alone(), f"{tmp_path}/engine-", 0o600, Later())
    assert fleet.offer("name", lambda: iter([b"one", b"two"]), 6) is (times == 1)
    assert tier.held == ({"name": b"onetwo"} if times == 1 else {})
    assert fleet.has_no_tier is (times == 2)
