"""Transfers to and from a bucket that break off, as a server that is started anew has them break off."""

from contextlib import nullcontext

import pytest
from fleet_equipment import Told, fill
from support import FILE, REPO, Later, Still, pattern

from model_cache.fleet.fleet import Fleet
from model_cache.fleet.protocols import Alone, Blob, EngineError, NoTier


def test_body_that_breaks_off_is_asked_for_once_more(wire, bucket, host, hub):
    """Of a file whose transfer breaks off once the rest comes from the tier, too."""
    large = pattern(12_000_000, 5)
    hub.add_repo(REPO, {FILE: large})
    fill(host, hub, bucket.address, [FILE])
    wire.after(6_000_000, wire.cut)
    told, second = Told(), host("second", tier=bucket.address, clock=Still())
    assert second.fetch(REPO, FILE, progress=told).read_bytes() == large
    assert hub.body_bytes() == 0
    assert told.warnings == []


def test_body_that_drips_is_left_for_the_hub(wire, bucket, host, hub):
    """A bucket from which hardly a byte comes holds no download: the Hub goes on from there, and the bucket is done without."""
    large = pattern(12_000_000, 6)
    hub.add_repo(REPO, {FILE: large})
    fill(host, hub, bucket.address, [FILE])
    clock = Later()
    wire.after(6_000_000, lambda: wire.drip(lambda: clock.sleep(1)))
    told, second = Told(), host("second", tier=bucket.address, clock=clock)
    assert second.fetch(REPO, FILE, progress=told).read_bytes() == large
    assert 0 < hub.body_bytes() < len(large)
    assert len(told.warnings) == 1
    assert "less than 256 KiB in 10 s" in told.warnings[0]


class Comes(NoTier):
    """A bucket whose objects come in pieces of so many bytes, with so many seconds between them."""

    def __init__(self, clock, size, seconds):
        self._clock, self._size, self._seconds = clock, size, seconds

    def fetch(self, name, offset=0):
        """Twenty pieces."""
        return Blob(20 * self._size, self._pieces())

    def _pieces(self):
        for _ in range(20):
            self._clock.sleep(self._seconds)
            yield bytes(self._size)


@pytest.mark.parametrize(
    ("size", "seconds", "comes"), [(1, 0.1, 20), (1, 4.0, 2), (128 << 10, 4.0, 20), (60 << 10, 4.0, 2)]
)
def test_slow_is_not_dripping(size, seconds, comes, tmp_path):
    """A body is left once ten seconds of waiting bring less than 256 KiB, however its pieces come."""
    clock, came = Later(), 0
    fleet = Fleet(Comes(clock, size, seconds), Alone(), f"{tmp_path}/engine-", 0o600, clock)
    with nullcontext() if comes == 20 else pytest.raises(EngineError):
        for _ in fleet.read("name").chunks:
            came += 1
    assert came == comes
    assert fleet.has_no_tier is (comes < 20)


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
