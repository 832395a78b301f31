"""The budget under pressure: many processes, a full disk, files of unknown size, and what gc sweeps up."""

import hashlib
import json
import os
import random
import subprocess
import sys
import time
from contextlib import suppress

import pytest
from support import REPO, Later, finish, pattern

from model_cache import CacheFullError, ModelCache
from stress.budget import run as race

MIB = 1 << 20


def test_no_block_over_the_budget_while_processes_race_for_it():
    """Four processes, 24 files, room for five: at no step and at no instant is more allocated than max_size (I4)."""
    seen = race(processes=4, files=24, room=5, largest=4, extra=4, seed=7)
    assert seen["over_budget"] <= 0, json.dumps(seen, indent=2)
    assert (seen["error"], seen["vanished"], seen["served"]) == (0, 0, 24)
    assert seen["ok"] >= 0.9 * seen["calls"]
    assert all("needs" in reason for reason in seen["reasons"])


HOLD = """
import mmap
kind, path = arguments["kind"], str(cache.fetch("owner/name", arguments["name"]))
if kind == "leased":
    held = cache.lease("owner/name", arguments["name"])
else:
    file = open(path, "rb")
    if kind == "mapped":
        held = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        file.close()
print("held", flush=True)
sys.stdin.read()
"""


def test_what_is_in_use_stays_while_eight_processes_press(hub, root, spawn):
    """Leased, open, mapped, pinned and just fetched files all survive eight processes that need their room (I3)."""
    kinds = ["leased", "open", "mapped", "pinned", "recent"]
    hub.add_repo(REPO, {name: pattern(MIB, seed) for seed, name in enumerate(kinds)})
    hub.add_repo("owner/more", {f"{number}.bin": pattern(MIB, 10 + number) for number in range(16)})
    policy = {"max_size": 8 * (MIB + 8192), "min_idle": "1s", "touch_interval": "0.2s", "lock_timeout": "5s"}
    cache = ModelCache(root, endpoint=hub.url, token=False, **policy)
    holders = [spawn(HOLD, kind=kind, name=kind, settings=policy) for kind in kinds[:3]]
    assert [holder.stdout.readline() for holder in holders] == ["held\n"] * 3
    for kind in kinds[3:]:
        cache.fetch(REPO, kind)
    cache.pin(REPO, "pinned")
    press = """
    for number in range(2):
        try:
            cache.fetch("owner/more", f"{arguments['first'] + number}.bin")
        except model_cache.CacheFullError:
            pass
    """
    pressing = [spawn(press, first=2 * number, settings=policy) for number in range(8)]
    ours = ModelCache(root, endpoint=hub.url, token=False, **policy)
    longest, last = 0.0, time.monotonic()
    ended = False
    while not ended:
        ended = all(process.poll() is not None for process in pressing)
        with suppress(CacheFullError):
            ours.fetch(REPO, "recent")
        longest, last = max(longest, time.monotonic() - last), time.monotonic()
    for process in pressing:
        finish(process)
    # Where this very process stood still for that long, the file was no recent one any more.
    kept = kinds if longest < 0.7 else kinds[:4]
    assert all(cache.is_cached(REPO, kind) for kind in kept)
    assert hub.body_gets("recent") == 1 or longest >= 0.7
    assert cache.usage().all <= policy["max_size"]


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_real_files_go_in_the_order_of_an_exact_oracle(hub, root, seed):
    """With random touches since, gc takes files in exactly the order of their last uses."""
    chance = random.Random(seed)
    names = [f"file-{number:02}.bin" for number in range(30)]
    hub.add_repo(REPO, {name: name.encode() * 100 for name in names})
    clock = Later()
    cache = ModelCache(root, endpoint=hub.url, token=False, clock=clock)
    for name in names:
        cache.fetch(REPO, name)
    uses = {}
    for row in cache.entries():
        used = root / ".model-cache" / "used" / row.key
        uses[row.filename] = used.stat().st_mtime + chance.choice([0, chance.uniform(1, 5000)])
        os.utime(used, (uses[row.filename],) * 2)
    clock.ahead += 10_000
    lower = {row.filename: max(row.last_used_at, uses[row.filename]) for row in cache.entries()}
    oracle = sorted(lower, key=lambda name: lower[name])
    went = []
    while len(went) < len(names):
        step = cache.gc(max_size=max(cache.usage().all - 4096, 0))
        went += [row.filename for row, _, _ in step.evicted]
    assert went == oracle


class Sizeless:
    """A hub that does not say how large its file is."""

    def __init__(self, hub):
        self._hub = hub

    def metadata(self, *names, **more):
        """What the Hub promises, less the size."""
        return self._hub.metadata(*names, **more)._replace(size=None)

    def __getattr__(self, name):
        return getattr(self._hub, name)


def test_a_file_of_unknown_size_gets_what_is_left_and_no_more(hub, root):
    """Without a size all that is left is promised: what fits is published, what does not is cut off and refused."""
    from model_cache.clock import Clock
    from model_cache.hub.client import HubClient

    hub.add_repo(REPO, {"small.bin": pattern(MIB), "large.bin": pattern(4 * MIB)})
    sizeless = Sizeless(HubClient(hub.url, token=None, clock=Clock()))
    cache = ModelCache(root, hub=sizeless, max_size=3 * MIB)
    assert cache.fetch(REPO, "small.bin").read_bytes() == pattern(MIB)
    with pytest.raises(CacheFullError, match="unknown size"):
        cache.fetch(REPO, "large.bin")
    assert cache.is_cached(REPO, "small.bin")
    assert cache.usage().all <= 3 * MIB
    assert os.listdir(root / ".model-cache" / "partial") == []


def test_gc_sweeps_what_belongs_to_nothing(cache, hub, root):
    """Lock files and notes of entries that are gone, old last uses and torn temporaries go; live ones stay."""
    hub.add_repo(REPO, {"a.bin": b"a", "b.bin": b"b"})
    for name in ("a.bin", "b.bin"):
        cache.fetch(REPO, name)
    gone, kept = (next(row for row in cache.entries() if row.filename == name) for name in ("a.bin", "b.bin"))
    cache.remove(REPO, "a.bin")
    own = root / ".model-cache"
    for place in (own / "used" / gone.key, own / "locks" / "torn.json.1-ab", own / "partial" / gone.key):
        place.write_bytes(b"")
        os.utime(place, (1, 1))
    cache.gc()
    assert sorted(os.listdir(own / "locks")) == [f"{kept.key}.json", f"{kept.key}.lock"]
    assert os.listdir(own / "used") == [kept.key]
    assert os.listdir(own / "partial") == []


@pytest.fixture
def small_disk(tmp_path):
    """Mount a file system of so many MiB; unmounted with the test."""
    if os.geteuid() != 0:
        pytest.skip("mounts a small file system, which needs root")
    place = tmp_path / "small"
    place.mkdir()
    mounted = []

    def mount(size):
        command = ["mount", "-t", "tmpfs", "-o", f"size={size}m", "tmpfs", str(place)]
        if subprocess.run(command, capture_output=True).returncode:
            pytest.skip("this machine does not let us mount a file system")
        mounted.append(place)
        return place / "root"

    yield mount
    for one in mounted:
        subprocess.run(["umount", "--lazy", str(one)], check=True, stdout=sys.stderr)


@pytest.mark.root
def test_a_full_disk_is_an_error_with_a_hint_and_loses_nothing(hub, small_disk):
    """On a file system of 3 MiB a file of 8 MiB is refused (12), what is there stays, and small files still come."""
    hub.add_repo(REPO, {"first.bin": pattern(MIB), "large.bin": pattern(8 * MIB), "small.json": b"{}"})
    root = small_disk(3)
    cache = ModelCache(root, endpoint=hub.url, token=False)
    cache.fetch(REPO, "first.bin")
    with pytest.raises(CacheFullError) as caught:
        cache.fetch(REPO, "large.bin")
    assert caught.value.exit_code == 12 and caught.value.hint
    assert cache.fetch(REPO, "small.json").read_bytes() == b"{}"
    assert cache.fetch(REPO, "first.bin").read_bytes() == pattern(MIB)
    assert os.listdir(root / ".model-cache" / "partial") == []


@pytest.mark.root
def test_min_free_keeps_room_for_others(hub, small_disk):
    """With `min_free` the file system never has less than that left, and the least recently used make the room."""
    names = [f"{number}.bin" for number in range(8)]
    hub.add_repo(REPO, {name: pattern(MIB, seed) for seed, name in enumerate(names)})
    root = small_disk(8)
    clock = Later()
    cache = ModelCache(root, endpoint=hub.url, token=False, min_free=4 * MIB, clock=clock)
    for name in names:
        cache.fetch(REPO, name)
        clock.ahead += 1000
        free = os.statvfs(root)
        assert free.f_bavail * free.f_frsize >= 4 * MIB
    kept = [name for name in names if cache.is_cached(REPO, name)]
    assert kept == names[-len(kept) :] and len(kept) >= 2


def test_where_no_link_can_be_made_the_bytes_are_copied(cache, hub, root):
    """A copy of bytes that are there fills the partial whole, and is verified like a download."""
    from model_cache.download.partial import Partial
    from model_cache.layout import Entry
    from model_cache.write_lock import WriteLock

    hub.add_repo(REPO, {"a.bin": pattern(3 * MIB)})
    path = cache.fetch(REPO, "a.bin")
    entry = Entry("owner/other", "b.bin")
    lock = WriteLock(cache._ctx.places.lock(entry.key), 0o600)
    assert lock.acquire()
    partial = Partial(cache._ctx, entry, lock)
    with path.open("rb") as source:
        partial.copy(source.fileno())
    partial.hash_up_to(partial.size)
    assert partial.sha256 == hashlib.sha256(pattern(3 * MIB)).hexdigest()
    partial.close()
    lock.release()


def test_a_new_index_counts_what_is_there_before_it_admits(make_lost, hub):
    """After the index was lost, files without rows count against the budget, and are neither evicted nor removed (I4, I7)."""
    cache, path = make_lost
    hub.add_repo("owner/more", {"large.bin": pattern(3 * MIB), "small.bin": pattern(MIB, 5)})
    with pytest.raises(CacheFullError, match=r"nobody adopted yet \(1 file\)"):
        cache.fetch("owner/more", "large.bin")
    assert cache.fetch("owner/more", "small.bin").exists()
    assert path.exists()
    assert cache.usage().all >= 3 * MIB
    assert [spared.reason for spared in cache.remove(REPO, force=True).in_use] == ["placed"]
    assert path.read_bytes() == pattern(2 * MIB)


@pytest.fixture
def make_lost(root, hub):
    """A cache with a budget of 4 MiB and a file of 2 MiB, whose index was overwritten with noise."""
    hub.add_repo(REPO, {"kept.bin": pattern(2 * MIB)})
    path = ModelCache(root, endpoint=hub.url, token=False).fetch(REPO, "kept.bin")
    (root / ".model-cache" / "index.db").write_bytes(os.urandom(20_000))
    return ModelCache(root, endpoint=hub.url, token=False, max_size=4 * MIB, clock=Later()), path
