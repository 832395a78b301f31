"""The model of the protocol: no state of it breaks an invariant, every mutant does, and the code takes the same steps."""

import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from support import FILE, REPO, pattern

from model_cache import ModelCache
from model_cache.layout import Entry
from stress.model import fleet, mutants
from stress.model.__main__ import caught, is_caught
from stress.model.conformance import before_death, refused
from stress.model.explore import explore
from stress.model.fleets import FLEETS
from stress.model.mutants import GAPS, MUTANTS, WORLDS
from stress.model.names import LEFT_OUT, in_model, in_sources
from stress.model.steps import STEPS
from stress.model.tracing import told
from stress.model.turn import Config
from stress.site import rot

HERE = Path(mutants.__file__).parent
LARGE = pattern(1_500_000)  # comes in two pieces
TWIN = "owner/twin"


@pytest.mark.parametrize("world", WORLDS)
def test_no_state_of_a_world_breaks_an_invariant(world):
    """Whatever the order of steps, crashes and power losses, every invariant holds, and recovery settles what is left."""
    found = explore(WORLDS[world])
    assert found.violated is None, "\n".join(told(found))
    assert found.states > 100


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_every_mutant_is_caught(mutant):
    """With one switch of the protocol off, the invariant that needs it fails, and the way there is told."""
    found = caught(mutant)
    assert is_caught(mutant, found), found.violated or "it survives"
    assert f"so {found.violated}" in told(found)


@pytest.mark.parametrize("gap", GAPS, ids=lambda gap: gap.name)
def test_what_is_taken_for_granted_is_needed(gap):
    """Each assumption that the tables name is one without which an invariant fails."""
    assert explore(gap.config).violated is not None


def test_every_step_of_the_model_is_come_through():
    """No step of the model is never done in any world."""
    done = frozenset().union(*(explore(world).steps for name, world in WORLDS.items() if name not in _BESIDE_OTHERS))
    assert (STEPS.keys() | fleet.STEPS.keys()) - done == set()


# The largest, which have no step alone.
_BESIDE_OTHERS = {
    "admission of three",
    "verify, update, evictor",
    "own file, power",
    "fetches, evictor, power",
    "two power losses",
    "a copy, evictor",
    *(world.name for world in FLEETS if world.name != "fleet, killed, fail"),
}


def test_each_switch_is_a_mutant_and_each_mutant_a_switch():
    """No mutant is named that the model does not know, and no switch is never off."""
    text = "".join(path.read_text("utf-8") for path in HERE.glob("*.py") if path.name != "mutants.py")
    switches = set(re.findall(r'is_mutant\(\s*"([^"]+)"', text)) | {"recovery does not compare the inode"}
    assert switches == {mutant.name for mutant in MUTANTS}
    assert len(MUTANTS) == len(switches)


def test_every_name_in_the_model_is_one_of_the_code():
    """Model and code share the names of the steps."""
    assert in_model() - in_sources() == set()


def test_every_step_of_the_code_is_in_the_model_or_left_out_for_a_reason():
    """A new step in the code must come into the model, or into the list that says why not."""
    assert in_sources() - in_model() == LEFT_OUT.keys()
    assert not in_model() & LEFT_OUT.keys()
    assert all(len(reason) > 20 for reason in LEFT_OUT.values())


def test_the_command_tells_a_trace_and_refuses_an_unknown_one():
    """`--trace` tells the steps of one mutant; of a name that there is not it says which there are."""
    command = [sys.executable, "-m", "stress.model", "--trace"]
    told_at_night = subprocess.run(
        [*command, "no inode check"], cwd=HERE.parents[1], capture_output=True, text=True, timeout=60
    )
    assert told_at_night.returncode == 0
    assert "mutant: no inode check" in told_at_night.stdout and "evict:rename" in told_at_night.stdout
    unknown = subprocess.run([*command, "none"], cwd=HERE.parents[1], capture_output=True, text=True, timeout=120)
    assert unknown.returncode == 2 and "no inode check" in unknown.stderr


# The code takes the steps of the model, in an order that the model allows.


@pytest.fixture
def recorded():
    """The names that the operations of a test passed."""
    return []


@pytest.fixture
def open_cache(root, hub, recorded):
    """A cache that records its steps, with nothing too recent to go."""
    return lambda: ModelCache(root, endpoint=hub.url, token=False, step=recorded.append, min_idle=0, touch_interval=0)


def conforms(recorded, *programs, **world):
    """Assert that the model's programs, one after the other, may take these steps."""
    events = frozenset(world.pop("events", ()))
    assert recorded
    assert refused(Config("recorded", programs, events=events, open_test=True, **world), recorded) is None


def test_a_fetch_takes_the_steps_of_the_model(hub, open_cache, recorded):
    """A miss, from the lock to its release."""
    hub.add_repo(REPO, {FILE: LARGE})
    open_cache().fetch(REPO, FILE)
    conforms(recorded, "fetch")
    assert "publish:link" in recorded


def test_an_order_of_steps_that_the_model_does_not_know_is_refused(hub, open_cache, recorded):
    """Two neighbours of a real recording exchanged, or one left out, and the model refuses it."""
    hub.add_repo(REPO, {FILE: LARGE})
    open_cache().fetch(REPO, FILE)
    steps = [name for name in dict.fromkeys(recorded) if name not in LEFT_OUT]
    config = Config("recorded", ("fetch",), open_test=True)
    assert refused(config, steps) is None
    for at in range(len(steps)):
        assert refused(config, steps[:at] + steps[at + 1 :]) is not None
    for at in range(len(steps) - 1):
        assert refused(config, [*steps[:at], steps[at + 1], steps[at], *steps[at + 2 :]]) is not None


def test_a_link_takes_the_steps_of_the_model(hub, open_cache, recorded):
    """The same bytes under another name."""
    for repo in (REPO, TWIN):
        hub.add_repo(repo, {FILE: LARGE})
    open_cache().fetch(REPO, FILE)
    recorded.clear()
    open_cache().fetch(TWIN, FILE)
    conforms(recorded, "fetch:1", ready=(0,), entries=2, twins=True)
    assert "link:link" in recorded


def test_an_update_takes_the_steps_of_the_model(hub, open_cache, recorded):
    """Two files that move together."""
    hub.add_repo(REPO, {"a.bin": LARGE, "b.bin": LARGE[1:]})
    for name in ("a.bin", "b.bin"):
        open_cache().fetch(REPO, name)
    hub.add_repo(REPO, {"a.bin": LARGE[2:], "b.bin": LARGE[3:]})
    recorded.clear()
    open_cache().update(REPO)
    conforms(recorded, "update", ready=(0, 1), entries=2, events=("move",))
    assert recorded.count("replace:rename") == 2


def test_a_whole_repo_takes_the_steps_of_the_model(hub, open_cache, recorded):
    """Two files with one admission, which are published as one group."""
    hub.add_repo(REPO, {"a.bin": LARGE, "b.bin": LARGE[1:]})
    open_cache().fetch_repo(REPO, workers=1)
    conforms(recorded, "job", entries=2, job=(0, 1), whole=True)
    assert (recorded.count("row:installing"), recorded.count("publish:link")) == (1, 2)


def test_an_update_of_a_whole_repo_takes_the_steps_of_the_model(hub, open_cache, recorded):
    """Its listing is written before the first file is replaced, and after the last."""
    hub.add_repo(REPO, {"a.bin": LARGE, "b.bin": LARGE[1:]})
    open_cache().fetch_repo(REPO)
    hub.add_repo(REPO, {"a.bin": LARGE[2:], "b.bin": LARGE[3:]})
    recorded.clear()
    open_cache().update(REPO)
    conforms(recorded, "update", ready=(0, 1), entries=2, whole=True, events=("move",))
    assert recorded.count("listing:write") == 2


@pytest.mark.parametrize("leased", [0, 1])
def test_an_update_that_meets_a_lease_takes_the_steps_of_the_model(hub, open_cache, recorded, leased):
    """One of two files is in use: both partials stay, and nothing is renamed."""
    hub.add_repo(REPO, {"a.bin": LARGE, "b.bin": LARGE[1:]})
    cache = open_cache()
    names = sorted(("a.bin", "b.bin"), key=lambda name: Entry(REPO, name, "main", "model").key)
    for name in names:
        cache.fetch(REPO, name)
    hub.add_repo(REPO, {"a.bin": LARGE[2:], "b.bin": LARGE[3:]})
    with cache.lease(REPO, names[leased]):
        recorded.clear()
        open_cache().update(REPO)
    conforms(recorded, "update", f"lease:{leased}", ready=(0, 1), entries=2, events=("move",))
    assert recorded.count("replace:claim") == leased + 1 and "replace:rename" not in recorded


def test_an_eviction_takes_the_steps_of_the_model(hub, open_cache, recorded):
    """One idle file, from G to the row that goes."""
    hub.add_repo(REPO, {FILE: LARGE})
    open_cache().fetch(REPO, FILE)
    recorded.clear()
    open_cache().gc(max_size=0)
    conforms(recorded, *collections(recorded, "evict"), ready=(0,))
    assert "evict:rename" in recorded


def test_an_eviction_that_spares_takes_the_steps_of_the_model(hub, open_cache, recorded):
    """A leased file, and one that somebody has open."""
    hub.add_repo(REPO, {FILE: LARGE})
    path = open_cache().fetch(REPO, FILE)
    recorded.clear()
    with path.open("rb"):
        open_cache().gc(max_size=0)
    assert "evict:rename" not in recorded
    conforms(recorded, *collections(recorded, "evict"), "outsider", ready=(0,))
    recorded.clear()
    with open_cache().lease(REPO, FILE):
        open_cache().gc(max_size=0)
    assert "evict:lease" in recorded and "evict:open-test" not in recorded
    conforms(recorded, *collections(recorded, "evict"), "lease", ready=(0,))


def test_a_verify_and_a_repair_take_the_steps_of_the_model(hub, open_cache, recorded):
    """Of a sound file, and of one that has rotted, which is mended."""
    hub.add_repo(REPO, {FILE: LARGE})
    path = open_cache().fetch(REPO, FILE)
    recorded.clear()
    open_cache().verify()
    conforms(recorded, *collections(recorded), "verify", ready=(0,))
    rot(path)
    recorded.clear()
    assert open_cache().verify(repair=True).repaired
    conforms(recorded, *collections(recorded), "repair", ready=(0,), events=("rot",))


def collections(recorded, last="settle"):
    """The programs of one gc: where the index may not know every file a census settles first, under a G of its own."""
    count = recorded.count("lock:evictor")
    return ["settle"] * (count - 1) + [last] * (count > 0)


FETCH = [
    "row:reserve",
    "body:open",
    "body:write",
    "verify:hash",
    "publish:fsync-file",
    "publish:touch",
    "row:installing",
]
PUBLISH = ["publish:link", "publish:fsync-directory", "publish:unlink-partial", "row:ready", "lock:release"]
EVICT = [
    "evict:deleting",
    "row:deleting",
    "evict:lease",
    "evict:rename",
    "evict:fsync",
    "evict:unlink",
    "evict:row",
    "row:gone",
]
REPLACE = [
    "row:reserve",
    "body:open",
    "row:installing",
    "replace:claim",
    "replace:rename",
    "replace:fsync-directory",
    "row:ready",
]

KILLED = """
import os, signal
steps = open(arguments["steps"], "w")
def step(name):
    print(name, file=steps, flush=True)
    if name == arguments["kill"]:
        os.kill(os.getpid(), signal.SIGKILL)
cache = ModelCache(arguments["root"], endpoint=arguments["endpoint"], token=False, step=step, min_idle=0, touch_interval=0)
"""


@pytest.fixture
def kill(spawn, tmp_path):
    """Run a snippet in a process that is killed before a step; what it had done until then."""

    def run(code, step):
        steps = tmp_path / "steps"
        process = spawn(KILLED + code, kill=step, steps=str(steps))
        _, err = process.communicate(timeout=120)
        assert process.returncode == -signal.SIGKILL, err
        return before_death(steps.read_text().split())

    return run


@pytest.mark.parametrize("step", [*FETCH, *PUBLISH])
def test_what_follows_on_a_killed_fetch_is_what_the_model_does(hub, kill, open_cache, recorded, step):
    """The next fetch, or gc: it settles and resumes by the steps of the model."""
    hub.add_repo(REPO, {FILE: LARGE})
    done = kill(f'cache.fetch("{REPO}", "{FILE}")', step)
    open_cache().gc() if step in PUBLISH else open_cache().fetch(REPO, FILE)
    after = collections(recorded) if step in PUBLISH else ["fetch"]
    conforms([*done, *recorded], "fetch", *after, crashes=1)


@pytest.mark.parametrize("step", EVICT)
def test_what_follows_on_a_killed_eviction_is_what_the_model_does(hub, kill, open_cache, recorded, step):
    """The next gc settles what was being deleted, and evicts it anew if it is still there."""
    hub.add_repo(REPO, {FILE: LARGE})
    open_cache().fetch(REPO, FILE)
    done = kill("cache.gc(max_size=0)", step)
    recorded.clear()
    open_cache().gc(max_size=0)
    before = ["settle"] * (done.count("lock:evictor") - 1)
    conforms([*done, *recorded], *before, "evict", *collections(recorded, "evict"), ready=(0,), crashes=1)


@pytest.mark.parametrize("step", REPLACE)
def test_what_follows_on_a_killed_update_is_what_the_model_does(hub, kill, open_cache, recorded, step):
    """The next gc keeps the old file, or promotes the new one."""
    hub.add_repo(REPO, {FILE: LARGE})
    open_cache().fetch(REPO, FILE)
    hub.add_repo(REPO, {FILE: LARGE[1:]})
    done = kill(f'cache.update("{REPO}")', step)
    recorded.clear()
    open_cache().gc()
    conforms([*done, *recorded], "update", *collections(recorded), ready=(0,), crashes=1, events=("move",))


def test_somebodys_own_file_is_not_left_in_the_trash(hub, kill, open_cache, root, tmp_path):
    """Renamed by an evictor that died at once, while its path was taken again: it gets a name beside it (I7)."""
    hub.add_repo(REPO, {FILE: LARGE})
    path = open_cache().fetch(REPO, FILE)
    kill("cache.gc(max_size=0)", "evict:fsync")
    (trash,) = (root / ".model-cache" / "trash").iterdir()
    (tmp_path / "mine").write_bytes(b"mine")
    (tmp_path / "mine").replace(trash)
    path.write_bytes(b"mine too")
    open_cache().gc()
    open_cache().gc()
    assert sorted(file.read_bytes() for file in path.parent.iterdir()) == [b"mine", b"mine too"]
