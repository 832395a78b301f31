"""Any sequence of operations and of what the world does meanwhile: the cache agrees with a dictionary after each.

`MODEL_CACHE_EXAMPLES=500` makes the long run of it, from random seeds.
"""

import io
import os
import shutil
from dataclasses import replace
from hashlib import sha256
from itertools import count

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from world_equipment import FILES, LFS_THRESHOLD, Known, Mark, World, content, promise

from model_cache import CacheFullError, InUseError, OfflineMissError, StorageError
from model_cache.testing import LoopbackHub

EXAMPLES = int(os.environ.get("MODEL_CACHE_EXAMPLES", "0"))
BLOCKS = 8192  # bytes that each file takes on disk
HOUR, DAY = 3600.0, 86400.0
NUMBERS = st.integers(0, 4)  # of contents; few, so that equal bytes meet under several names
ANY = st.integers(0, 3)  # one of the four names
NUMBER = st.tuples(*[NUMBERS] * len(FILES))


@pytest.fixture(scope="module")
def own_hub():
    """A hub to which files of a few kilobytes can be large."""
    with LoopbackHub(lfs_threshold=LFS_THRESHOLD) as hub:
        yield hub


class Machine(RuleBasedStateMachine):
    """Operations of one process, acts of the world, and the invariants that hold after each."""

    budget = None
    hub = folder = None
    numbers = count()

    def __init__(self):
        super().__init__()
        number = next(self.numbers)
        policy = {} if self.budget is None else {"max_size": self.budget}
        self.world = World(self.hub, self.folder / str(number), [f"one/r{number}", f"two/r{number}"], **policy)
        self.cache = self.world.cache

    @initialize(one=NUMBER, two=NUMBER, whiches=st.sets(ANY))
    def begin(self, one, two, whiches):
        """There are two repos, and some of their files were fetched."""
        for repo, numbers in zip(self.world.commits, (one, two), strict=True):
            self.world.publish(repo, numbers)
        for which in whiches:
            self.fetch(which)

    def teardown(self):
        """Give everything back."""
        for leases in self.world.leases.values():
            give_back(leases)
        self.cache._ctx.index.close()
        shutil.rmtree(self.world.root, ignore_errors=True)

    # Acts of the world

    @rule(repo=st.integers(0, 1), numbers=NUMBER)
    def hub_moves(self, repo, numbers):
        """The Hub has other bytes under the same names."""
        self.world.publish(list(self.world.commits)[repo], numbers)

    @precondition(lambda self: len(self.world.there) < len(self.world.names))
    @rule(data=st.data(), number=NUMBERS)
    def place(self, data, number):
        """A file is placed by hand, with bytes that the Hub may have too."""
        free = [name for name in self.world.names if name not in self.world.there]
        self.world.place(data.draw(st.sampled_from(free)), content(number))

    @precondition(lambda self: self.world.there)
    @rule(data=st.data(), number=NUMBERS)
    def edit(self, data, number):
        """A file is edited."""
        self.world.overwrite(self._one_there(data), content(number), quietly=False)

    @precondition(lambda self: self.world.there)
    @rule(data=st.data(), bit=st.sampled_from([1, 2]))
    def rot(self, data, bit):
        """A bit of a file rots, or turns back."""
        name = self._one_there(data)
        first, *rest = self.world.there[name]
        self.world.overwrite(name, bytes([first ^ bit, *rest]), quietly=True)

    def _one_there(self, data):
        return data.draw(st.sampled_from(sorted(self.world.there)))

    @precondition(lambda self: self.world.there)
    @rule(data=st.data())
    def restore(self, data):
        """A file comes back from somebody's backup."""
        self.world.restore(self._one_there(data))

    @precondition(lambda self: self.world.there)
    @rule(data=st.data())
    def delete(self, data):
        """A file is removed by hand."""
        self.world.delete(self._one_there(data))

    @precondition(lambda self: self.world.rows)
    @rule(rarely=st.integers(0, 7))
    def lose_index(self, rarely):
        """The index is gone, with its backup; the next collection looks at every file, and takes none."""
        if rarely:
            return
        self.world.lose_index()
        self.cache.gc()
        self.world.counted = True

    @rule(seconds=st.sampled_from([60, 2 * HOUR, 40 * DAY]))
    def wait(self, seconds):
        """Time passes."""
        self.world.clock.ahead += seconds

    # Operations

    @rule(which=ANY)
    def fetch(self, which):
        """A file that is there and not damaged is handed out; else it comes from the Hub."""
        self._fetch(self.world.names[which], self.cache.fetch)

    def _fetch(self, name, fetch):
        world, removable = self.world, self.world.removable()
        if name in world.there and not world.is_damaged(name):
            assert fetch(*name) == world.path(name)
            mark = world.marks.get(name)
            if mark and mark.identity != world.identity(name) and len(mark.found) == len(world.there[name]):
                del world.marks[name]  # other bytes have its place: it is not asked again
            return True
        damaged, legal, held = world.is_damaged(name), world.sources(name), world.is_held(name)
        try:
            path = fetch(*name)
        except CacheFullError:
            assert self.budget is not None
            world.note_gone(removable)
            if world.read(name) is None:
                world.there.pop(name, None)
            return False
        except StorageError:
            # Damage of what somebody had placed is nobody's to mend.
            assert damaged and not world.marks[name].commit
            return False
        except InUseError:
            # Where the recorded bytes cannot be had, the path would be taken away.
            assert damaged and held and not world.stands(name)
            return False
        assert path == world.path(name)
        world.note_gone(removable - {name})
        if damaged and world.stands(name):
            mark = world.marks.pop(name)
            legal = {mark.commit: mark.data} if mark.commit else world.sources(name, head=True)
            assert mark.data in legal.values()
        elif damaged:
            del world.marks[name]
        world.record(name, legal)
        return True

    @rule(which=ANY)
    def force(self, which):
        """The current bytes take the place of what this cache put there; a user's file stays, and so does one in use."""
        world, name = self.world, self.world.names[which]
        if world.is_damaged(name):
            return
        removable = world.removable() - ({name} if name in world.there else set())
        free, stands, held = name not in world.there, world.stands(name), world.is_held(name)
        try:
            self.cache.fetch(*name, force=True)
        except CacheFullError:
            assert self.budget is not None
            world.note_gone(removable)
        except InUseError:
            assert stands and held
            world.note_gone(removable)
        except StorageError:
            assert not free and not stands
            world.note_gone(removable)
        else:
            assert free or (stands and not held)
            world.note_gone(removable - {name})
            world.record(name, world.sources(name, head=True))

    @rule(which=ANY, opened=st.booleans())
    def lease(self, which, opened):
        """A file is fetched and held."""
        name = self.world.names[which]
        kept = []
        take = self.cache.open if opened else self.cache.lease

        def fetch(*names):
            kept.append(take(*names))
            return self.world.path(names) if not opened else type(self.world.root)(kept[0].name)

        if self._fetch(name, fetch):
            self.world.leases.setdefault(name, []).append(kept[0])

    @precondition(lambda self: self.world.leases)
    @rule(data=st.data())
    def release(self, data):
        """What was held is given back; an open file has the bytes of the file that was opened."""
        name = data.draw(st.sampled_from(sorted(self.world.leases)))
        give_back(self.world.leases.pop(name))

    @rule(which=ANY, pinned=st.booleans())
    def pin(self, which, pinned):
        """What the index knows can be pinned, and unpinned."""
        name, act = self.world.names[which], self.cache.pin if pinned else self.cache.unpin
        try:
            act(*name)
        except OfflineMissError:
            assert name not in self.world.rows
        else:
            (self.world.pins.add if pinned else self.world.pins.discard)(name)
            self.world.ever_pinned |= {name} if pinned else set()

    @rule(which=ANY, force=st.booleans())
    def remove(self, which, force):
        """A recorded file goes, unless it is pinned or held, or a user has changed it."""
        world, name = self.world, self.world.names[which]
        changed = name not in world.rows or (name in world.there and not world.stands(name))
        stays = changed or (not force and (name in world.pins or world.is_held(name)))
        try:
            report = self.cache.remove(*name, force=force)
        except OfflineMissError:
            assert name not in world.rows
            return
        assert not changed or name not in world.there or world.read(name) is not None, "I7: a changed file was removed"
        assert [row.filename for row, _ in report.in_use] == ([name[1]] if stays else [])
        if not stays:
            assert world.read(name) is None
            world.forget(name)

    @rule(repo=st.integers(0, 1))
    def update(self, repo):
        """All files of a repo move to the current commit, or none."""
        world, repo = self.world, list(self.world.commits)[repo]
        known = [name for name in world.rows if name[0] == repo]
        mine = [name for name in known if name in world.there]
        removable = world.removable() - {*mine}
        legal = {name: world.sources(name, head=True) for name in mine}
        commit = list(world.commits[repo])[-1]
        behind = [name for name in mine if world.rows[name].data != legal[name][commit]]
        # What was adopted has no ETag, so that a small file cannot be compared without its bytes.
        behind += [n for n in mine if n not in behind and not world.row(n).etag and not promise(legal[n][commit])]
        stand, held = all(map(world.stands, behind)), any(map(world.is_held, behind))
        try:
            reports = self.cache.update(repo)
        except OfflineMissError:
            assert not known
            return
        except CacheFullError:
            assert self.budget is not None
            world.note_gone(removable)
            return
        except StorageError:
            assert not stand
            world.note_gone(removable)
            return
        world.note_gone(removable)
        if reports and reports[0].in_use:
            assert held
            return
        assert not held
        for name in mine:
            if name in behind:
                world.record(name, legal[name])
            else:
                world.rows[name] = Known(world.rows[name].data, commit, world.rows[name].identity)

    @rule(blocks=st.integers(0, 4))
    def gc(self, blocks):
        """Down to the budget, as far as there is anything that may go, and no further."""
        world, removable, limit = self.world, self.world.removable(), blocks * BLOCKS
        report = self.cache.gc(max_size=limit)
        world.note_gone(removable)
        world.counted = True
        # Beside a file, by whatever of its names, there can be the bytes that were to replace it: both are kept for a day.
        behind = {name for name in world.rows if world.row(name).next_state}
        left = [
            name for name in world.removable() if name in world.there and not behind.intersection(world.names_of(name))
        ]
        assert world.cache.usage().all <= limit or not left
        assert report.total_bytes == world.cache.usage().all

    @rule(repair=st.booleans())
    def verify(self, repair):
        """Each file has the verdict that its bytes and its identity call for; what can be repaired is."""
        world, removable = self.world, self.world.removable()
        expected = {name: world.verdict(name) for name in world.rows}
        files = {name: world.identity(name) for name in world.there}
        untracked = {"/".join(name) for name in world.there if name not in world.rows}
        try:
            report = self.cache.verify(repair=repair)
        except StorageError:
            assert not (world.root / ".model-cache" / "index.db").exists()
            return
        for verdict in ("corrupt", "changed", "missing"):
            said = {(one.row.repo, one.row.filename) for one in getattr(report, verdict)}
            assert said == {name for name, one in expected.items() if one == verdict}, verdict
        assert (report.unreadable, report.complete) == ([], True)
        verdicts = [*expected.values()]
        assert (report.ok, report.rebound) == (verdicts.count("ok"), verdicts.count("rebound"))
        assert {*report.untracked} == untracked
        for name, verdict in expected.items():
            if verdict in ("rebound", "corrupt"):
                world.rows[name] = replace(world.rows[name], identity=files[name])
            if verdict in ("ok", "rebound"):
                world.marks.pop(name, None)
            if verdict == "corrupt":
                row = world.rows[name]
                world.marks[name] = Mark(row.identity, world.there[name], row.data, row.commit)
        world.counted = True
        if repair:
            self._repaired(report, [name for name, verdict in expected.items() if verdict == "corrupt"], removable)

    def _repaired(self, report, corrupt, removable):
        world = self.world
        mended = {(row.repo, row.filename) for row in report.repaired}
        world.note_gone(removable - {*corrupt})
        for name in corrupt:
            row = world.rows[name]
            legal = {row.commit: row.data} if row.commit else world.sources(name, head=True)
            if row.data not in legal.values():
                assert name not in mended
                assert world.read(name) == world.there[name]
            elif self.budget is None or name in mended:
                assert name in mended, report.errors
                del world.marks[name]
                world.record(name, legal)
                assert world.there[name] == row.data
            elif world.read(name) is None:
                del world.there[name]  # dropped to make room for what then did not come

    @rule(rebuild=st.booleans())
    def reconcile(self, rebuild):
        """Every file has a row that tells of its bytes; one that is known to be damaged, of those it should have."""
        world = self.world
        self.cache.reconcile(rebuild=rebuild)
        world.counted = True
        for name in {*world.rows, *world.pins} - world.there.keys():
            world.forget(name)
        for name in world.there:
            if world.stands(name) and not rebuild:
                continue
            mark, row, data = world.marks.get(name), world.rows.get(name), world.there[name]
            known = row.commit if row and row.data == data else None
            if mark and (mark.identity == world.identity(name) or mark.found == data):
                data, known = mark.data, mark.commit
            found = world.row(name)
            # Without a row a backup may remember the commit, and the pin.
            assert found.commit == known or (row is None and world.commits[name[0]][found.commit][name[1]] == data)
            if row is None and found.pinned and name in world.ever_pinned:
                world.pins.add(name)
            world.rows[name] = Known(data, found.commit, world.identity(name))

    # What holds after each

    @invariant()
    def all_agrees(self):
        """Files, rows and sums."""
        self.every_file_has_the_bytes_it_should_have()
        self.the_index_knows_what_it_should_know()
        self.what_is_counted_is_what_is_on_disk()

    def every_file_has_the_bytes_it_should_have(self):
        """Nothing came, went or changed but as the dictionary says; hits are those that should be."""
        world = self.world
        for name in world.names:
            assert world.read(name) == world.there.get(name), name
            mark = world.marks.get(name)
            damaged = mark is not None and world.identity(name) == mark.identity
            assert self.cache.is_cached(*name) == (name in world.there and not damaged), name
        for name, leases in world.leases.items():
            for lease in leases:
                assert os.fstat(lease.fileno()).st_size, name

    def the_index_knows_what_it_should_know(self):
        """Rows, recorded hashes, commits, pins and identities; what is there beside them was placed by hand."""
        world = self.world
        rows = {(row.repo, row.filename): row for row in self.cache.entries()}
        assert {row.state for row in rows.values()} <= {"ready"}
        assert {row.next_state for row in rows.values()} <= {None, "partial"}
        ours = {name: row for name, row in rows.items() if row.origin != "placed"}
        assert {name: (row.sha256, row.commit, row.identity) for name, row in ours.items()} == {
            name: (sha256(row.data).hexdigest(), row.commit, row.identity) for name, row in world.rows.items()
        }
        assert {name for name, row in rows.items() if row.pinned} == world.pins

    def what_is_counted_is_what_is_on_disk(self):
        """To the byte, each inode once, as far as no hand was at a file that the cache has not looked at since (I4)."""
        if self.world.counted and all(map(self.world.stands, self.world.rows)):
            rows = {(row.repo, row.filename): row for row in self.cache.entries()}
            placed = [name for name in rows if name not in self.world.rows]
            if all(rows[name].identity == self.world.identity(name) for name in placed):
                assert self.cache.usage().all == self.world.on_disk()


def give_back(leases):
    """Let go of leases and leased files."""
    for lease in leases:
        lease.close() if isinstance(lease, io.IOBase) else lease.release()


def run(machine, hub, folder):
    """Many sequences; the same ones each time, but in the long run."""
    how = settings(
        max_examples=EXAMPLES or 40,
        stateful_step_count=30,
        derandomize=not EXAMPLES,
        deadline=None,
        database=None,
        print_blob=True,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate, Phase.shrink] if EXAMPLES else [Phase.generate],
    )
    kind = type(machine.__name__, (machine,), {"hub": hub, "folder": folder})
    run_state_machine_as_test(kind, settings=how)


class First:
    """Draws the first that there is."""

    def draw(self, strategy):
        """The first of what could be sampled."""
        return strategy.elements[0]


FIRST = {"data": First()}
EQUAL, MOVED = {"one": (1, 1), "two": (2, 3), "whiches": {0, 1}}, ("hub_moves", {"repo": 0, "numbers": (2, 4)})
ALL_GONE = ("gc", {"blocks": 0})
# What random steps come to seldom, and what the long runs found.
FOUND = {
    "a pinned file, and a budget of nothing": [
        ("pin", {"which": 0, "pinned": True}),
        ALL_GONE,
        ("fetch", {"which": 1}),
    ],
    "a leased file, and a budget of nothing": [
        ("lease", {"which": 1, "opened": True}),
        ALL_GONE,
        ("release", FIRST),
        ALL_GONE,
    ],
    "an edited file, and a budget of nothing": [("edit", FIRST | {"number": 3}), ALL_GONE, ("force", {"which": 0})],
    "a rotten file that comes back from a backup": [
        *(("rot", FIRST | {"bit": 1}), ("verify", {"repair": False}), ("restore", FIRST), ("verify", {"repair": True})),
        *(("fetch", {"which": 0}), ALL_GONE, ("wait", {"seconds": 40 * DAY}), ALL_GONE),
    ],
    "an update of two names of one file": [MOVED, ("update", {"repo": 0})],
    "an update of two names of one file that is held": [
        *(MOVED, ("lease", {"which": 1, "opened": False}), ("update", {"repo": 0})),
        *(("release", FIRST), ("update", {"repo": 0}), ALL_GONE),
    ],
    "an update that was to replace one name of a file of two repos, and a budget": [
        *(("hub_moves", {"repo": 0, "numbers": (1, 2)}), ("update", {"repo": 0})),
        *(("hub_moves", {"repo": 1, "numbers": (1, 4)}), ("fetch", {"which": 2})),
        *(("lease", {"which": 1, "opened": False}), ("hub_moves", {"repo": 0, "numbers": (3, 0)})),
        *(("update", {"repo": 0}), ("gc", {"blocks": 3})),
        *(("release", FIRST), ALL_GONE, ("wait", {"seconds": 40 * DAY}), ALL_GONE),
    ],
    "an update of a repo that a file was removed from": [
        *(("delete", FIRST), MOVED, ("update", {"repo": 0}), ("fetch", {"which": 0})),
    ],
    "bytes that were to replace a file, and no index": [
        *(("lease", {"which": 0, "opened": True}), ("force", {"which": 0}), ("lose_index", {"rarely": 0})),
    ],
    "bytes that were to replace a file, and a new index": [
        *(("lease", {"which": 0, "opened": False}), MOVED, ("update", {"repo": 0}), ("reconcile", {"rebuild": True})),
    ],
    "bytes that were to replace a file which somebody removed": [
        *(("lease", {"which": 0, "opened": False}), ("force", {"which": 0}), ("delete", FIRST)),
        ("reconcile", {"rebuild": False}),
    ],
}


@pytest.mark.parametrize("what", FOUND)
def test_some_sequences_agree_with_a_dictionary(own_hub, tmp_path, what):
    """Two files of a repo with the same bytes, and then these steps."""
    machine = type("Found", (Machine,), {"hub": own_hub, "folder": tmp_path})()
    try:
        for name, given in [("begin", EQUAL), *FOUND[what]]:
            getattr(machine, name)(**given)
            machine.all_agrees()
    finally:
        machine.teardown()


@pytest.mark.timeout(0 if EXAMPLES else 300)
def test_a_cache_agrees_with_a_dictionary(own_hub, tmp_path):
    """Without a budget nothing goes but what was named; every other promise after each of any 30 steps."""
    run(Machine, own_hub, tmp_path)


class Tight(Machine):
    """The same under a budget for three of four files."""

    budget = 3 * BLOCKS


@pytest.mark.timeout(0 if EXAMPLES else 300)
def test_a_cache_agrees_with_a_dictionary_under_a_budget(own_hub, tmp_path):
    """What has to go is what may go: nothing pinned, held, changed or placed."""
    run(Tight, own_hub, tmp_path)
