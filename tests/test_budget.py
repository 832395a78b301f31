"""A budget that holds: who may come in, who goes, and who stays."""

import mmap
import os
import subprocess
import sys

import pytest
from support import FILE, REPO, Later, finish, pattern

from model_cache import CacheFullError, FileTooLargeError, ModelCache

MIB = 1 << 20


def files(hub, count, size=MIB):
    """A repo of so many different files."""
    names = [f"file-{number:03}.bin" for number in range(count)]
    hub.add_repo(REPO, {name: pattern(size, seed=number) for number, name in enumerate(names)})
    return names


@pytest.fixture
def make(root, hub):
    """A cache under a policy, with a clock that can be turned."""

    def build(**policy):
        clock = Later()
        return ModelCache(root, endpoint=hub.url, token=False, clock=clock, **policy), clock

    return build


def present(cache, names):
    """Which of the files are there."""
    return [name for name in names if cache.is_cached(REPO, name)]


def test_the_least_recently_used_goes_and_no_more_than_is_needed(make, hub):
    """Room for one file costs exactly the file that was not used for longest."""
    names = files(hub, 5)
    cache, clock = make(max_size=4 * (MIB + 8192))
    for name in names[:4]:
        cache.fetch(REPO, name)
        clock.ahead += 10
    use(cache, names[0], 700)
    clock.ahead += 1000
    cache.fetch(REPO, names[4])
    assert present(cache, names) == [names[0], names[2], names[3], names[4]]
    assert cache.usage().all <= 4 * (MIB + 8192)


def use(cache, name, ahead):
    """Set a file's last use to so many seconds from now."""
    row = next(row for row in cache.entries() if row.filename == name)
    used = cache.root / ".model-cache" / "used" / row.key
    when = used.stat().st_mtime + ahead
    os.utime(used, (when, when))


def test_a_file_that_can_never_fit_is_refused_before_anything_goes(make, hub):
    """A file larger than the whole budget is refused with both numbers, and nothing is deleted for it."""
    names = files(hub, 2)
    hub.add_repo("owner/huge", {"huge.bin": pattern(9 * MIB)})
    cache, clock = make(max_size=4 * MIB)
    for name in names:
        cache.fetch(REPO, name)
    clock.ahead += 1000
    with pytest.raises(FileTooLargeError) as caught:
        cache.fetch("owner/huge", "huge.bin")
    assert caught.value.needed > caught.value.available == 4 * MIB
    assert present(cache, names) == names
    assert hub.body_gets("huge.bin") == 0


def test_nothing_goes_for_a_file_that_would_not_fit_anyway(make, hub):
    """What does not suffice is not taken: with the rest pinned, the one file that could go stays."""
    names = files(hub, 4)
    hub.add_repo("owner/other", {"big.bin": pattern(3 * MIB)})
    cache, clock = make(max_size=4 * (MIB + 8192))
    for name in names:
        cache.fetch(REPO, name)
    cache.pin(REPO, *names[:3])
    clock.ahead += 1000
    with pytest.raises(CacheFullError, match=r"pinned \(3 files\)"):
        cache.fetch("owner/other", "big.bin")
    assert present(cache, names) == names
    cache.unpin(REPO, names[0])
    cache.unpin(REPO, names[1])
    cache.fetch("owner/other", "big.bin")
    assert present(cache, names) == [names[2]]


def test_recent_files_are_waited_for_aloud(make, hub):
    """When only recently used files hold the room, the download waits until the first of them may go."""
    names = files(hub, 3)
    cache, clock = make(max_size=2 * (MIB + 8192), min_idle="5m")
    before = clock.time()
    for name in names[:2]:
        cache.fetch(REPO, name)
    assert clock.ahead == 0
    cache.fetch(REPO, names[2])
    assert clock.time() - before >= 299
    assert clock.ahead <= 310
    assert present(cache, names) == names[1:]


def test_a_deadline_ends_the_wait_for_recent_files(make, hub):
    """A caller that cannot wait that long is told at once when the first of the room frees."""
    names = files(hub, 3)
    cache, _ = make(max_size=2 * (MIB + 8192), min_idle="5m")
    for name in names[:2]:
        cache.fetch(REPO, name)
    from model_cache.download.miss import fetch
    from model_cache.download.request import Request
    from model_cache.layout import Entry

    ctx = cache._ctx
    with pytest.raises(CacheFullError, match=r"2 files; the first may go in"):
        fetch(ctx, Entry(REPO, names[2]), Request(deadline=ctx.clock.monotonic() + 10))
    assert present(cache, names) == names[:2]


HOLDERS = {
    "open": "file = open(path, 'rb')",
    "mapped": """
        import mmap
        file = open(path, 'rb')
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        file.close()
    """,
}


@pytest.mark.parametrize("how", ["open", "mapped", "leased", "opened here", "pinned"])
def test_a_file_in_use_is_not_evicted(make, hub, root, how, tmp_path):
    """Open in or mapped by a program that never heard of this cache, leased, or pinned: it stays (I3)."""
    names = files(hub, 3)
    cache, clock = make(max_size=2 * (MIB + 8192))
    for name in names[:2]:
        cache.fetch(REPO, name)
        clock.ahead += 10
    holder = None
    if how in HOLDERS:
        import textwrap

        code = f"import sys; path = sys.argv[1]\n{textwrap.dedent(HOLDERS[how])}\nprint('held', flush=True); sys.stdin.read()"
        command = [sys.executable, "-c", code, str(cache.path(REPO, names[0]))]
        holder = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert holder.stdout.readline() == "held\n"
    elif how == "leased":
        lease = cache.lease(REPO, names[0])
    elif how == "opened here":
        lease = cache.open(REPO, names[0])
        assert lease.read(4) == pattern(MIB)[:4]
    else:
        cache.pin(REPO, names[0])
    clock.ahead += 10_000
    cache.fetch(REPO, names[2])
    assert present(cache, names) == [names[0], names[2]]
    if holder is not None:
        holder.communicate()
    elif how == "leased":
        lease.release()
    elif how == "opened here":
        lease.close()


def test_a_mapping_keeps_its_bytes(make, hub):
    """A mapped file is open in the sense of the open test, also when this process itself mapped it."""
    names = files(hub, 2)
    cache, clock = make(max_size=MIB + 8192)
    path = cache.fetch(REPO, names[0])
    with path.open("rb") as file:
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    clock.ahead += 10_000
    with pytest.raises(CacheFullError, match="leased or open"):
        cache.fetch(REPO, names[1])
    mapped.close()
    cache.fetch(REPO, names[1])
    assert present(cache, names) == [names[1]]


def test_gc_evicts_to_the_low_watermark_and_says_what_it_did(make, hub):
    """Above the high watermark, gc evicts the oldest until usage is below the low one."""
    names = files(hub, 10)
    cache, clock = make()
    for name in names:
        cache.fetch(REPO, name)
        clock.ahead += 10
    clock.ahead += 1000
    budget = 10 * (MIB + 4096)
    tight = ModelCache(cache.root, clock=clock, max_size=budget)
    plan = tight.gc(dry_run=True)
    assert present(cache, names) == names
    done = tight.gc()
    assert [row.filename for row, _, _ in plan.evicted] == [row.filename for row, _, _ in done.evicted] == names[:2]
    assert done.total_bytes <= 0.85 * budget
    assert (plan.freed_bytes, plan.total_bytes) == (done.freed_bytes, done.total_bytes)


def test_gc_expires_what_was_not_used_for_long(make, hub):
    """With an age, what was last used before that goes, whatever the budget; without any policy nothing ever goes."""
    names = files(hub, 3)
    cache, clock = make()
    for name in names:
        cache.fetch(REPO, name)
    clock.ahead += 10 * 86400
    ModelCache(cache.root, clock=clock).fetch(REPO, names[1])
    use(cache, names[1], 10 * 86400)
    assert cache.gc().evicted == []
    assert [row.filename for row, _, _ in cache.gc(older_than="7d").evicted] == [names[0], names[2]]


def test_rm_removes_what_is_named_unless_it_is_in_use(make, hub):
    """A recently used entry can be removed by name, a leased one only by force."""
    names = files(hub, 3)
    cache, _ = make()
    for name in names:
        cache.fetch(REPO, name)
    with cache.lease(REPO, names[0]) as path:
        report = cache.remove(REPO)
        assert [row.filename for row in report.removed] == names[1:]
        assert [(spared.row.filename, spared.reason) for spared in report.in_use] == [(names[0], "leased")]
        assert cache.remove(REPO, names[0], force=True).removed[0].filename == names[0]
        assert not path.exists()
    assert cache.entries() == []
    assert not (cache.root / "owner").exists()


def test_what_somebody_changed_or_linked_is_not_evicted(make, hub):
    """An edited file is somebody's own, and one with a name elsewhere frees nothing: both stay (I7)."""
    names = files(hub, 4)
    cache, clock = make(max_size=3 * (MIB + 8192))
    for name in names[:3]:
        cache.fetch(REPO, name)
        clock.ahead += 10
    with cache.path(REPO, names[0]).open("ab") as file:
        file.write(b"edited")
    os.link(cache.path(REPO, names[1]), cache.root / "elsewhere")
    clock.ahead += 1000
    cache.fetch(REPO, names[3])
    assert present(cache, names) == [names[0], names[1], names[3]]


def test_the_reservation_of_a_dead_process_is_taken_back(make, hub, root, spawn):
    """What a killed download had reserved is counted as what it left, and its partial is the first to go."""
    import signal

    names = files(hub, 3, 2 * MIB)
    budget = 2 * (2 * MIB + 8192)
    cache, _ = make(max_size=budget)
    cache.fetch(REPO, names[0])
    with hub.hold(names[1], after=0.5) as hold:
        process = spawn(f'cache.fetch("{REPO}", "{names[1]}")', settings={"max_size": budget})
        hold.wait_for(1)
        process.send_signal(signal.SIGKILL)
        process.wait()
        hold.release()
    assert cache.usage().reserved > 0
    cache.fetch(REPO, names[2])
    assert present(cache, names) == [names[0], names[2]]
    assert os.listdir(root / ".model-cache" / "partial") == []
    assert cache.usage().reserved == 0


def test_two_evictors_at_once_keep_the_budget(hub, root, spawn):
    """Processes that make room at the same time take exactly what each needs, one after the other."""
    names = files(hub, 12)
    budget = 6 * (MIB + 8192)
    settings = {"max_size": budget, "min_idle": 0, "touch_interval": 0}
    cache = ModelCache(root, endpoint=hub.url, token=False, **settings)
    for name in names[:6]:
        cache.fetch(REPO, name)
    racing = [spawn(f'cache.fetch("{REPO}", "{name}")', settings=settings) for name in names[6:]]
    for process in racing:
        finish(process)
    assert len(present(cache, names)) == 6
    assert cache.usage().all <= budget


def test_the_same_bytes_under_another_name_are_linked_not_downloaded(make, hub):
    """A second name for bytes that are there costs no body and no room, and is recorded as a link."""
    data = pattern(2 * MIB)
    hub.add_repo("owner/one", {"a.bin": data, "small.json": b"{}"})
    hub.add_repo("owner/two", {"b.bin": data, "same.json": b"{}"})
    cache, _ = make(max_size=3 * MIB)
    one = cache.fetch("owner/one", "a.bin")
    two = cache.fetch("owner/two", "b.bin")
    assert two.read_bytes() == data and two.stat().st_ino == one.stat().st_ino
    cache.fetch("owner/one", "small.json")
    assert cache.fetch("owner/two", "same.json").stat().st_nlink == 2
    assert hub.body_gets("b.bin") == hub.body_gets("same.json") == 0
    assert cache.usage().all < 3 * MIB
    assert sorted(row.origin for row in cache.entries()) == ["download", "download", "link", "link"]


def test_a_damaged_source_is_not_linked(make, hub):
    """Bytes that rotted are found out before they get another name, and the file is downloaded instead."""
    data = pattern(2 * MIB)
    hub.add_repo("owner/one", {"a.bin": data})
    hub.add_repo("owner/two", {"b.bin": data})
    cache, _ = make()
    one = cache.fetch("owner/one", "a.bin")
    before = one.stat()
    with one.open("r+b") as file:
        file.write(b"rot")
    os.utime(one, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert cache.fetch("owner/two", "b.bin").read_bytes() == data
    assert hub.body_gets("b.bin") == 1


def test_linked_names_are_recent_together_and_go_together(make, hub):
    """The use of one name keeps the other, and eviction frees the inode once, with all its names."""
    data = pattern(2 * MIB)
    hub.add_repo("owner/one", {"a.bin": data})
    hub.add_repo("owner/two", {"b.bin": data})
    names = files(hub, 3)
    cache, clock = make(max_size=3 * MIB + 4 * 8192)
    one = cache.fetch("owner/one", "a.bin")
    clock.ahead += 10
    cache.fetch(REPO, names[0])
    two = cache.fetch("owner/two", "b.bin")
    clock.ahead += 700
    use(cache, "b.bin", 100)
    cache.fetch(REPO, names[1])
    assert (one.exists(), two.exists(), cache.is_cached(REPO, names[0])) == (True, True, False)
    clock.ahead += 10_000
    cache.fetch(REPO, names[0])
    assert (one.exists(), two.exists()) == (False, False)
    rows = cache.entries()
    assert cache.usage().ready == sum(row.charged for row in rows) > 0


def test_removing_one_name_of_two_leaves_the_other_and_its_charge(make, hub):
    """The bytes still count after the name they were counted under is gone."""
    data = pattern(2 * MIB)
    hub.add_repo("owner/one", {"a.bin": data})
    hub.add_repo("owner/two", {"b.bin": data})
    cache, _ = make()
    cache.fetch("owner/one", "a.bin")
    two = cache.fetch("owner/two", "b.bin")
    before = cache.usage().all
    assert [row.filename for row in cache.remove("owner/one").removed] == ["a.bin"]
    assert two.read_bytes() == data and two.stat().st_nlink == 1
    assert cache.usage().all == before == cache.entries()[0].charged


def test_a_partials_name_that_came_back_keeps_no_file(cache, hub, root):
    """A power loss can undo the removal of a published partial's name: the file is evicted all the same, and the name goes."""
    hub.add_repo(REPO, {FILE: pattern(50_000)})
    path = cache.fetch(REPO, FILE)
    (row,) = cache.entries()
    partial = root / ".model-cache" / "partial" / row.key
    os.link(path, partial)
    later = ModelCache(root, min_idle=0, touch_interval=0)
    assert len(later.gc(max_size=0, dry_run=True).evicted) == 1
    assert path.exists() and partial.exists()
    assert len(later.gc(max_size=0).evicted) == 1
    assert not path.exists() and not partial.exists()
    assert later.usage().all == 0
