"""A large file over several connections: when it does, what a kill or a failure leaves, and that nothing else changes."""

import json
import os
import signal
import threading
from dataclasses import replace
from time import monotonic

import pytest
from support import FILE, REPO, Impatient, NeverWhole, pattern

from model_cache import ModelCache, ModelCacheError
from model_cache.download import notes
from model_cache.download.miss import fetch
from model_cache.download.request import Request, Slots
from model_cache.errors import DownloadError, DownloadInProgressError
from model_cache.layout import Entry
from model_cache.pace import Pace

BIG = pattern(6 << 20, 7)
RATE = 6e6  # bytes per second that the hub allows each connection, where it counts how many there are
ENTRY = Entry(REPO, FILE, "main", "model")
# Any connection is slow, and a file of some MiB is large.
PACE = Pace(
    large=1 << 20,
    window=0.01,
    fast=1e12,
    smallest=64 << 10,
    noted=64 << 10,
    between=0.0,
    flushed=256 << 10,
    chunk=32 << 10,
)
SPAWNED = f"""
from model_cache.pace import Pace
PACE = Pace{tuple(PACE)!r}
"""


@pytest.fixture
def served(hub):
    """The hub, with the file."""
    hub.add_repo(REPO, {FILE: BIG})
    return hub


def connect(hub, root, **more):
    """A cache that takes several connections for a file of some MiB."""
    patient = {"download_timeout": 60, "etag_timeout": 60}  # a machine may stand still for longer than a user's network
    return ModelCache(root, endpoint=hub.url, token=False, **{"pace": PACE, "connections": 4, **patient, **more})


def lead(cache, **request):
    """A fetch in this very thread."""
    return fetch(cache._ctx, ENTRY, Request(**request))


def ours():
    """Names of the threads of downloads."""
    return [thread.name for thread in threading.enumerate() if ENTRY.key in thread.name]


def partial(root):
    """Bytes of the one partial, none if there is none."""
    files = list((root / ".model-cache" / "partial").iterdir())
    return files[0].read_bytes() if files else b""


def note(root):
    """What the note says."""
    return json.loads((root / ".model-cache" / "locks" / f"{ENTRY.key}.json").read_text())


def test_a_slow_link_gets_as_many_connections_as_are_set(served, root):
    """Four answers are under way at one time, and together they bring the file once."""
    served.rate = RATE
    with served.hold(FILE, after=0.5) as gate:
        thread = threading.Thread(target=lead, args=(connect(served, root),))
        thread.start()
        gate.wait_for(4)
        assert gate.held == 4 and len(ours()) == 4
    thread.join(30)
    assert (root / REPO / FILE).read_bytes() == BIG
    assert served.body_bytes(FILE) <= 1.1 * len(BIG)
    assert ours() == [] and partial(root) == b"" and note(root)["parts"] is None


def test_a_fast_link_keeps_its_one_connection(served, root):
    """What one connection brings as fast as a disk takes it is not divided; the hash is beside it."""
    cache = connect(served, root, pace=PACE._replace(fast=1.0))
    assert lead(cache).downloaded == len(BIG)
    assert (root / REPO / FILE).read_bytes() == BIG and served.body_gets(FILE) == 1


@pytest.mark.parametrize("how", [{"connections": 1}, {"pace": PACE._replace(large=len(BIG) + 1)}], ids=["one", "small"])
def test_a_small_file_or_a_setting_of_one_is_one_connection(served, root, how):
    """Below what is worth it, or where the policy says so, there is one request."""
    served.rate = 4 * RATE
    assert lead(connect(served, root, **how)).downloaded == len(BIG)
    assert served.body_gets(FILE) == 1 and (root / REPO / FILE).read_bytes() == BIG


def test_slots_bound_the_connections_of_files_that_come_together(served, root):
    """A file always has one connection, with or without a slot; one more only where a slot is free."""
    served.rate = RATE
    slots = Slots(2)
    with served.hold(FILE, after=0.9) as gate:
        thread = threading.Thread(target=lead, args=(connect(served, root),), kwargs={"slots": slots})
        thread.start()
        gate.wait_for(2)
        assert len(ours()) == 2 and not slots.take()
    thread.join(30)
    assert [slots.take() for _ in range(3)] == [True, True, False]
    assert replace(Request(slots=slots), force=True).slots is slots
    assert (root / REPO / FILE).read_bytes() == BIG


def test_a_server_without_ranges_is_read_by_one(served, root):
    """Whoever asks for a part and is sent the whole leaves it; one connection goes on, or begins once more."""
    served.rate = 2 * RATE
    served.fault(FILE, "range_ignored", times=None, on="any")
    cache = connect(served, root)
    assert lead(cache).downloaded <= 2 * len(BIG)
    assert (root / REPO / FILE).read_bytes() == BIG and ours() == []


@pytest.mark.parametrize("fast", [1e12, 1.0], ids=["slow", "fast"])
def test_a_server_without_ranges_that_always_cuts_is_given_up(root, fast):
    """It begins again at zero each time, in threads or not: there is an end to it."""
    hub = NeverWhole()
    with pytest.raises(DownloadError):
        lead(ModelCache(root, hub=hub, clock=Impatient(), pace=PACE._replace(window=0.0, fast=fast), connections=4))
    assert hub.bodies <= 40 and ours() == []


FAULTS = [
    ("cut", {}),
    ("reset", {}),
    ("other_bytes", {}),
    ("changed", {}),
    ("flip", {}),
    ("status", {"status": 503}),
    ("status", {"status": 429, "retry_after": 1}),
    ("status", {"status": 416}),
    ("status", {"status": 404}),
    ("expired", {}),
    ("html", {}),
    ("range_ignored", {}),
    ("wrong_length", {"by": 5000}),
    ("wrong_length", {"by": -5000}),
]


@pytest.mark.parametrize("times", [1, None], ids=["once", "always"])
@pytest.mark.parametrize(("kind", "more"), FAULTS, ids=lambda value: value if isinstance(value, str) else "")
def test_a_fault_on_a_part_is_survived_or_an_error_of_ours(served, root, kind, more, times):
    """Whatever the second connection meets, no wrong byte is published, no thread is left, and the next caller succeeds."""
    served.rate = 2 * RATE
    served.fault(FILE, kind, times=times, skip=1, **more)
    cache = connect(served, root, clock=Impatient())
    try:
        lead(cache)
    except ModelCacheError:
        assert not (root / REPO / FILE).exists()
    else:
        assert (root / REPO / FILE).read_bytes() == BIG
    assert ours() == []
    served.clear_faults()
    served.rate = None
    there = connect(served, root).fetch(REPO, FILE, force=kind == "changed").read_bytes()
    assert there == BIG or kind == "changed"
    assert partial(root) == b""


def test_a_stalled_part_is_asked_for_again(served, root, monkeypatch):
    """No byte for the time allowed ends the connection, not the download."""
    monkeypatch.setenv("HF_HUB_DOWNLOAD_TIMEOUT", "0.5")
    served.rate = RATE
    served.fault(FILE, "stall", skip=1)
    lead(connect(served, root))
    assert (root / REPO / FILE).read_bytes() == BIG and served.body_bytes(FILE) <= 1.3 * len(BIG)


@pytest.mark.parametrize("moment", [3, 30, 100, 150])
def test_what_a_killed_process_had_in_parts_is_resumed(served, root, spawn, moment):
    """SIGKILL between any two writes: an older version sees no etag, this one asks for what the note does not have."""
    served.rate = RATE
    code = f"""
    import threading
    count, since, changed = 0, 0, threading.Condition()
    def die(step):
        global count, since
        with changed:
            if step == "part:note":
                since = 0
                changed.notify_all()
            if step == "part:write":
                assert changed.wait_for(lambda: since < 6, 60), "notes come while bytes do"
                count, since = count + 1, since + 1
                if count == {moment}:
                    os.kill(os.getpid(), 9)
    ModelCache(arguments["root"], endpoint=arguments["endpoint"], token=False, pace=PACE, step=die).fetch({REPO!r}, {FILE!r})
    """
    process = spawn(SPAWNED + code.replace("\n    ", "\n"))
    _, err = process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL, err
    left = note(root)
    assert left["etag"] == "" and left["parts"]["ranges"]
    there = partial(root)
    assert all(there[start:end] == BIG[start:end] for start, end in left["parts"]["ranges"])
    assert not (root / REPO / FILE).exists()
    block = 4096
    written = sum(there[at : at + block] == BIG[at : at + block] for at in range(0, len(BIG), block)) * block
    assert lead(connect(served, root)).downloaded + written <= 1.1 * len(BIG)
    assert (root / REPO / FILE).read_bytes() == BIG


def gapped(cache, root, ranges):
    """Leave a partial with these ranges of the file, and what a note says of them."""

    class Halt(BaseException):
        """Ends a download as an interrupt does."""

    def halt(step):
        if step == "verify:hash":
            raise Halt

    with pytest.raises(Halt):
        ModelCache(root, endpoint=cache._ctx.settings.endpoint, token=False, step=halt).fetch(REPO, FILE)
    (file,) = (root / ".model-cache" / "partial").iterdir()
    data = bytearray(max(end for _, end in ranges))
    for start, end in ranges:
        data[start:end] = BIG[start:end]
    file.write_bytes(data)
    ctx = cache._ctx
    left = notes.read(ctx, ENTRY)
    notes.describe(left, left.etag, ranges)
    assert notes.write(ctx, ENTRY, left)
    return file


def test_one_connection_fills_the_gaps_that_several_left(served, root):
    """Each gap is one request of exactly its bytes; what is there does not come again."""
    cache = connect(served, root, connections=1)
    mib = 1 << 20
    gapped(cache, root, [(0, mib), (2 * mib, 3 * mib), (4 * mib, 5 * mib)])
    before, sent = served.body_gets(FILE), served.body_bytes(FILE)
    outcome = lead(cache)
    assert (outcome.source, outcome.downloaded) == ("resume", 3 * mib)
    assert served.body_gets(FILE) - before == 3 and served.body_bytes(FILE) - sent == 3 * mib
    assert (root / REPO / FILE).read_bytes() == BIG


def test_what_has_arrived_is_told_without_the_gaps(served, root):
    """A partial with gaps is as long as its last byte is far; who asks how much is there is told what is."""
    cache = connect(served, root)
    file = gapped(cache, root, [(0, 1 << 20), (5 << 20, (5 << 20) + 4096)])
    assert file.stat().st_size == (5 << 20) + 4096
    assert notes.arrived(cache._ctx, ENTRY) == (1 << 20) + 4096
    with pytest.raises(DownloadInProgressError) as caught:
        lead(cache, deadline=monotonic())
    assert caught.value.done == (1 << 20) + 4096


def test_a_partial_with_gaps_and_no_note_begins_anew(served, root):
    """Nobody knows which of its bytes are any, so none is believed."""
    cache = connect(served, root, connections=1)
    gapped(cache, root, [(0, 1 << 20), (2 << 20, 3 << 20)])
    os.unlink(cache._ctx.places.note(ENTRY.key))
    assert lead(cache).downloaded == len(BIG)
    assert (root / REPO / FILE).read_bytes() == BIG


def test_a_note_that_calls_gaps_bytes_is_found_out_by_the_hash(served, root):
    """Zeros where bytes were promised: the file comes once more from the start, and is right."""
    cache = connect(served, root, connections=1)
    gapped(cache, root, [(0, 1 << 20), (2 << 20, 3 << 20)])
    left = notes.read(cache._ctx, ENTRY)
    left.parts["ranges"] = [[0, 3 << 20]]
    assert notes.write(cache._ctx, ENTRY, left)
    assert lead(cache).downloaded == len(BIG) + 3 * (1 << 20)
    assert (root / REPO / FILE).read_bytes() == BIG


def test_a_callers_deadline_ends_all_connections(served, root):
    """The threads are gone when the error is raised, and what they brought is resumed."""
    served.rate = RATE / 10
    cache = connect(served, root)
    with pytest.raises(DownloadInProgressError) as caught:
        lead(cache, deadline=monotonic() + 0.7)
    assert ours() == [] and 0 < caught.value.done < len(BIG)
    kept = notes.arrived(cache._ctx, ENTRY)
    assert kept >= caught.value.done
    served.rate = None
    assert lead(cache).downloaded == len(BIG) - kept


@pytest.mark.parametrize("step", ["part:open", "part:write", "part:note"])
def test_what_is_raised_in_a_thread_reaches_the_caller(served, root, step):
    """Whatever it is, the caller gets it when no thread is left; the next caller goes on."""

    class Stop(BaseException):
        """Nothing that anybody expects."""

    def stop(name):
        if name == step:
            raise Stop

    served.rate = RATE
    with pytest.raises(Stop):
        lead(connect(served, root, step=stop))
    assert ours() == []
    served.rate = None
    assert connect(served, root).fetch(REPO, FILE).read_bytes() == BIG


def test_an_interrupt_leaves_no_thread_and_a_partial(served, root, spawn):
    """Ctrl-C while four connections wait for bytes: they are cut at once, and what came is noted."""
    served.rate = RATE
    code = f"""
    import threading
    try:
        ModelCache(arguments["root"], endpoint=arguments["endpoint"], token=False, pace=PACE).fetch({REPO!r}, {FILE!r})
    except KeyboardInterrupt:
        print([thread.name for thread in threading.enumerate()])
    """
    with served.hold(FILE, after=0.5) as gate:
        process = spawn(SPAWNED + code.replace("\n    ", "\n"))
        gate.wait_for(4)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=5)
    assert out.strip() == "['MainThread']", err
    kept = notes.arrived(connect(served, root)._ctx, ENTRY)
    assert kept
    served.rate = None
    outcome = lead(connect(served, root))
    assert outcome.downloaded == len(BIG) - kept and (root / REPO / FILE).read_bytes() == BIG


def test_a_file_system_that_refuses_a_part_is_said_in_one_line(served, root, spawn):
    """A write that fails in a thread is the caller's error; nobody can resume it, so nothing stays."""
    served.rate = RATE
    code = f"""
    import resource, threading
    from model_cache import StorageError
    resource.setrlimit(resource.RLIMIT_FSIZE, (3 << 20, 3 << 20))
    try:
        ModelCache(arguments["root"], endpoint=arguments["endpoint"], token=False, pace=PACE).fetch({REPO!r}, {FILE!r})
    except StorageError as error:
        print(str(error).count("\\n"), "File too large" in str(error), threading.active_count())
    """
    out, err = spawn(SPAWNED + code.replace("\n    ", "\n")).communicate(timeout=60)
    assert out.strip() == "0 True 1", err
    assert partial(root) == b""
    assert connect(served, root).fetch(REPO, FILE).read_bytes() == BIG


def test_one_core_is_enough(served, root, spawn):
    """Where there is no core to spare, several connections bring the file all the same."""
    served.rate = RATE
    code = f"""
    cache = ModelCache(arguments["root"], endpoint=arguments["endpoint"], token=False, pace=PACE)
    print(os.path.getsize(cache.fetch({REPO!r}, {FILE!r})), len(os.sched_getaffinity(0)))
    """
    out, err = spawn(SPAWNED + code.replace("\n    ", "\n"), tracer="taskset -c 0").communicate(timeout=60)
    assert out.split() == [str(len(BIG)), "1"], err
    assert served.body_gets(FILE) > 1 and (root / REPO / FILE).read_bytes() == BIG


def test_many_connections_take_little_memory(hub, root, spawn):
    """Each has a small buffer, and nothing waits in memory to be hashed or written."""
    hub.add_repo(REPO, {FILE: pattern(48 << 20)})
    hub.rate = 8e6
    code = f"""
    import resource
    from model_cache.download import miss  # what any download loads
    import model_cache.hub.client, model_cache.index
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    cache = ModelCache(arguments["root"], endpoint=arguments["endpoint"], token=False, connections=16)
    cache.fetch({REPO!r}, {FILE!r})
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
    """
    out, err = spawn(code).communicate(timeout=60)
    assert int(out) < 20 << 10, (out, err)  # KiB
    assert hub.body_gets(FILE) >= 16
