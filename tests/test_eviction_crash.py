"""An evictor that is killed before any of its steps: nothing is lost, everything is counted, and the next run recovers."""

import os
import signal

import pytest
from support import REPO, pattern

from model_cache import ModelCache
from model_cache.stats import allocated

NAMES = ["a.bin", "sub/b.bin", "c.bin"]
STEPS = [
    "lock:evictor",
    "evict:deleting",
    "row:deleting",
    "evict:lease",
    "evict:open-test",
    "evict:last-use",
    "evict:rename",
    "evict:fsync",
    "evict:unlink",
    "evict:row",
    "row:gone",
    "row:gc",
]


@pytest.fixture
def cache(hub, root):
    """Three files that may be evicted at once."""
    hub.add_repo(REPO, {name: pattern(100_000, number) for number, name in enumerate(NAMES)})
    cache = ModelCache(root, endpoint=hub.url, token=False, min_idle=0, touch_interval=0)
    for name in NAMES:
        cache.fetch(REPO, name)
    return cache


def assert_whole(cache):
    """Every ready row has its file, every file its row, nothing is left over, and usage is what is on disk."""
    rows = cache.entries()
    assert {row.state for row in rows} <= {"ready"}
    there = {name for name in NAMES if cache.is_cached(REPO, name)}
    assert {row.filename for row in rows} == there
    assert os.listdir(cache.root / ".model-cache" / "trash") == []
    assert cache.usage().all == sum(allocated(os.stat(cache.path(REPO, name))) for name in there)


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("step", STEPS)
def test_a_killed_evictor_is_recovered_from(cache, root, spawn, step, count):
    """Before a step, the first or second time: the next run settles what was left, and can evict the rest."""
    process = spawn(f"""
    import signal
    left = {count}
    def die(step):
        global left
        left -= step == "{step}"
        if left == 0 and step == "{step}":
            os.kill(os.getpid(), signal.SIGKILL)
    ModelCache(arguments["root"], min_idle=0, touch_interval=0, step=die).gc(max_size=0)
    """)
    process.communicate(timeout=120)
    assert process.returncode in (-signal.SIGKILL, 0 if count == 2 else None)
    files = [path for path in root.rglob("*.bin") if ".model-cache" not in path.parts]
    trash = list((root / ".model-cache" / "trash").iterdir())
    on_disk = sum(allocated(path.stat()) for path in [*files, *trash])
    assert cache.usage().all >= on_disk  # too high, never too low
    cache.gc()
    assert_whole(cache)
    assert len(cache.entries()) >= len(files)
    for name in NAMES:
        cache.fetch(REPO, name)
    assert_whole(cache)
    cache.gc(max_size=0)
    assert cache.entries() == [] and cache.usage().all == 0
    assert_whole(cache)
