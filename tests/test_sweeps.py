"""The sweeps: operations killed before each of their steps and failed at each of their system calls, and that this can fail."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from stress.operations import OPERATIONS
from stress.site import NAMES, REPO
from stress.sweep import seccomp
from stress.sweep.calls import Call
from stress.sweep.doomed import Zygote
from stress.sweep.points import FAULTS, SHORT, Point, faults, lasts, parse, suited
from stress.sweep.sweep import Piece, Worker, scratch
from stress.sweep.trial import Bench

HOME = Path(__file__).resolve().parent.parent
linux = pytest.mark.skipif(sys.platform != "linux", reason="the sweeps run on Linux")
calls = pytest.mark.skipif(bool(seccomp.missing()), reason=seccomp.missing() or "-")
pytestmark = linux
# Every operation is swept by `python -m stress.sweep`; of these the suite sweeps every call.
SMALL = ["hit", "pin", "migrate", "rm", "fetch"]
FAILED = ["hit", "pin"]
UNNAMED = ["hit", "tier-verify", "tier-gc"]  # nothing of a root is changed, and no step is named


@pytest.fixture(scope="module")
def worker():
    """What sweeps, for all tests of this module."""
    with Worker() as found:
        yield found


@pytest.fixture
def bench(request):
    """A bench for the operation that the test names."""
    folder = scratch()
    with Zygote() as zygote, Bench(request.param, folder / "bench", zygote) as found:
        found.rehearse()
        yield found
    shutil.rmtree(folder)


def said(found):
    """What the command would print of violations."""
    return [f"{one.operation} at {one.spec} ({one.hit}): {one.violation}" for one in found]


@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_kill_before_any_named_step_is_recovered_from(worker, operation):
    """Whatever operation comes next, nothing is lost, every byte counts, and everything is right in the end."""
    result = worker.do(Piece("named", operation))
    assert said(result.found) == []
    assert result.points > 0 or operation in UNNAMED


@pytest.mark.parametrize("operation", ["fetch", "replace", "gc"])
def test_a_kill_during_the_recovery_from_a_kill_is_recovered_from(worker, operation):
    """Two processes in a row die: the third one has everything right."""
    result = worker.do(Piece("pairs", operation))
    assert (said(result.found), result.points) == ([], 7)


@calls
@pytest.mark.parametrize("operation", SMALL)
def test_a_kill_before_any_call_that_changes_something_is_recovered_from(worker, operation):
    """Every system call on something below the root, inside SQLite too."""
    result = worker.do(Piece("calls", operation))
    assert said(result.found) == []
    assert result.points > 0


@calls
@pytest.mark.parametrize("operation", FAILED)
def test_a_failed_call_ends_in_an_error_of_the_family_or_in_success(worker, operation):
    """And nothing is broken by it: each call of the operation fails once, with errors that it can have."""
    result = worker.do(Piece("fault", operation))
    assert said(result.found) == []
    assert result.points > 0


@calls
@pytest.mark.parametrize("bench", ["fetch"], indirect=True)
@pytest.mark.parametrize("error", FAULTS["fsync"])
def test_a_failed_fsync_discards_the_partial(bench, error):
    """The bytes may be lost though they can still be read: the next fetch has all of them sent again."""
    whole = bench.rehearse().calls
    (place,) = [n for n, call in enumerate(whole, 1) if call.name == "fsync" and "/partial/" in call.path]
    outcome, found = bench.fail(Point("call", place, error), every=True)
    assert (outcome.ending, found) == ("refused", [])


@calls
@pytest.mark.parametrize("bench", ["fetch-damaged"], indirect=True)
def test_a_mark_that_cannot_be_read_costs_the_damaged_file_no_row(bench):
    """What is said of damage is asked for again under the write lock: unreadable there, and nothing is done to the file."""
    whole = bench.rehearse().calls
    places = [n for n, call in enumerate(whole, 1) if call.name == "openat" and "/damaged/" in call.path]
    endings = []
    for place in places:
        outcome, found = bench.fail(Point("call", place, "EIO"), every=True)
        endings.append(outcome.error)
        assert found == []
    assert "StorageError" in endings


@calls
@pytest.mark.parametrize(
    ("bench", "name", "part", "ending"),
    [
        ("gc", "openat", "/locks/", "refused"),
        ("verify", "pwrite64", "/verify.lock", "done"),
        ("link", "preadv", "/a.bin", "done"),
    ],
    indirect=["bench"],
)
def test_a_process_that_lives_on_keeps_no_lock_of_what_failed(bench, name, part, ending):
    """I10: a lock file that cannot be opened, a holder's name that cannot be written, bytes that cannot be read to be linked."""
    whole = bench.rehearse().calls
    places = [n for n, call in enumerate(whole, 1) if call.name.startswith(name) and part in f"/{call.path}"]
    tried = [bench.fail(Point("call", place, "EIO"), every=True) for place in places]
    assert [found for _, found in tried if found] == []
    assert ending in [outcome.ending for outcome, _ in tried]


@calls
@pytest.mark.parametrize("bench", ["gc"], indirect=True)
def test_a_process_is_killed_before_the_call_and_not_after_it(bench):
    """Killed at the unlink, the file is still there."""
    whole = bench.rehearse().calls
    place, call = next((n, one) for n, one in enumerate(whole, 1) if one.name == "unlinkat" and "/trash/" in one.path)
    with bench._site() as site:
        outcome = bench._run(site, Point("call", place))
        assert (outcome.ending, outcome.call) == ("killed", call)
        assert (site.root / call.path).exists()


@calls
@pytest.mark.parametrize("bench", ["fetch"], indirect=True)
def test_a_short_write_has_written_half(bench):
    """The kernel's answer is the truth: half of the bytes are in the file, and the rest follows."""
    whole = bench.rehearse().calls
    place = next(n for n, call in enumerate(whole, 1) if call.name == "pwrite64" and "/partial/" in call.path)
    with bench._site() as site:
        outcome = bench._run(site, Point("call", place, SHORT))
        assert outcome.ending == "done"
        halves = [about for about in outcome.let_go if about[0] == "pwrite64" and "/partial/" in about[1]]
        assert [about[-1] for about in halves] == [SHORT, 30_000]


@calls
@pytest.mark.parametrize("bench", ["fetch"], indirect=True)
def test_a_call_that_is_failed_is_not_done(bench):
    """Nothing of the file it was to write is there."""
    whole = bench.rehearse().calls
    place = next(n for n, call in enumerate(whole, 1) if call.name == "linkat")
    with bench._site() as site:
        outcome = bench._run(site, Point("call", place, "EIO"))
        assert (outcome.ending, site.path("new.bin", REPO).exists()) == ("refused", False)


@calls
@pytest.mark.parametrize("bench", ["fetch"], indirect=True)
def test_steps_and_calls_come_in_one_order(bench):
    """The same operation makes the same calls on the same files each time: a point can be replayed."""
    first, second = ([(call.name, call.changes) for call in bench.rehearse().calls] for _ in range(2))
    assert first == second


@pytest.mark.parametrize(
    "point",
    [
        Point("step", 7),
        Point("call", 12),
        Point("call", 3, "EIO"),
        Point("call", 3, "ENOSPC", True),
        Point("call", 1, SHORT),
    ],
)
def test_a_point_is_read_as_it_is_written(point):
    """What a violation prints can be given back to the command."""
    assert parse(str(point)) == point


@pytest.mark.parametrize("spec", ["", "call", "call:x", "unlink:1", "call:1:eio"])
def test_what_is_no_point_is_refused(spec):
    """The message has an example."""
    with pytest.raises(ValueError, match="such as step:7"):
        parse(spec)


def test_a_call_is_not_interrupted_for_ever():
    """Python repeats it each time: the operation would not end."""
    assert ("EINTR", False) in faults("write") and ("EINTR", True) not in faults("write")


@pytest.mark.parametrize("name", FAULTS)
def test_another_call_than_was_expected_fails_as_its_kind_can(name):
    """Threads come in another order now and then: the call that stands there instead is not interrupted for ever either."""
    for point in (Point("call", 1, error, on) for error in FAULTS["openat"] for on in (False, True)):
        assert (suited(point, name), lasts(point, name)) in faults(name)
        assert lasts(point, name) == (point.on and not name.startswith("preadv"))
    assert suited(Point("call", 1), name) == ""


def test_calls_on_the_index_are_told_from_others():
    """Of SQLite's calls one error does for the others."""
    assert Call("pwrite64", ".model-cache/index.db-journal", True, ()).on_index
    assert Call("pwrite64", ".model-cache/hosts/guest/root-0123/index.db", True, ()).on_index
    assert not Call("pwrite64", ".model-cache/hosts/guest/root-0123/host", True, ()).on_index
    assert not Call("write", f"{REPO}/{NAMES[0]}", True, ()).on_index


def broken(tmp_path, module, old, new):
    """A copy of the sources in which something is broken."""
    for name in ("src", "stress"):
        shutil.copytree(HOME / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    path = tmp_path / "src" / "model_cache" / module
    text = path.read_text()
    assert text.count(old) == 1
    path.write_text(text.replace(old, new))
    return os.environ | {"PYTHONPATH": f"{tmp_path / 'src'}{os.pathsep}{tmp_path}"}


@calls
@pytest.mark.parametrize(
    ("module", "old", "new", "arguments", "invariant"),
    [
        (
            "recovery.py",
            "finding = None if row is None else decide(row, there)",
            "finding = None",
            "kill --points named --operation fetch",
            "I10",
        ),
        (
            "download/staging.py",
            "    return isinstance(error, (DownloadError, InUseError, LockTimeoutError))\n",
            "    return True\n",
            "fault --operation fetch --at FSYNC",
            "I1",
        ),
        (
            "surface.py",
            "        except OSError as error:\n",
            "        except ZeroDivisionError as error:\n",
            "fault --operation gc --at LOCK",
            "family",
        ),
        (
            "download/linking.py",
            "            if sha256 is None:\n                locks.release(fd)\n",
            "            pass\n",
            "fault --operation link --at SOURCE",
            "I10",
        ),
    ],
    ids=["recovery", "fsync", "surface", "lease"],
)
def test_a_sweep_fails_where_something_is_broken(tmp_path, worker, module, old, new, arguments, invariant):
    """In a copy without recovery; where the partial of a failed fsync is kept; where errors escape; where a lease is kept."""
    environ = broken(tmp_path, module, old, new)
    places = {
        "FSYNC": ("fetch", "fsync", "/partial/"),
        "LOCK": ("gc", "openat", "/gc.lock"),
        "SOURCE": ("link", "preadv", "/a.bin"),
    }
    for name in places.keys() & set(arguments.split()):
        arguments = arguments.replace(name, place(worker, *places[name]))
    command = [sys.executable, "-m", "stress.sweep", *arguments.split()]
    done = subprocess.run(command, cwd=tmp_path, env=environ, capture_output=True, text=True, timeout=200)
    assert done.returncode == 1, done.stdout + done.stderr
    assert invariant in done.stdout


def place(worker, operation, name, part):
    """Where a call of an operation can be failed."""
    with Bench(operation, worker.folder / operation, worker.zygote) as bench:
        whole = bench.rehearse().calls
    return f"call:{next(n for n, call in enumerate(whole, 1) if call.name.startswith(name) and part in call.path)}:EIO"


@calls
@pytest.mark.parametrize("bench", ["pin"], indirect=True)
def test_a_process_that_ends_otherwise_than_by_the_sweep_is_a_violation(bench):
    """Only the kill that was asked for is one."""
    outcome = bench._zygote.run("pin", bench._first.root, bench.hub.url, Point("step", 99))
    assert outcome.ending == "done"
    with bench._site() as site:
        died = bench._run(site, Point("step", 1))
    assert (died.ending, died.said) == ("killed", f"it ended with the status {-signal.SIGKILL}")
