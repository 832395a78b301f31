"""The race and its oracle: it finds nothing where nothing is amiss, and each invariant's check can fail."""

import itertools
import json
import os
import random
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from xml.etree import ElementTree

import pytest

if sys.platform != "linux":
    pytest.skip("the race needs Linux", allow_module_level=True)

from model_cache import ModelCache
from model_cache.fleet import objects
from model_cache.pace import Pace
from stress.hosts import REFUSAL
from stress.race.chaos import Chaos
from stress.race.ending import Ending
from stress.race.excuses import Known
from stress.race.journal import Journal, Reader
from stress.race.oracle import INVARIANTS, Oracle
from stress.race.picture import Lane, Picture
from stress.race.probe import judge
from stress.race.report import passed
from stress.race.room import occupied
from stress.race.scenario import PROMISE, Setting, choices, named
from stress.race.served import RacedHub
from stress.race.shelf import Shelf
from stress.race.world import World, digest

PATH, BYTES = "race/model-0/file-0.bin", b"the hub's bytes"
GOOD, BAD = digest(BYTES), digest(b"other bytes")
TOP = Path(__file__).parent.parent
SVG = "{http://www.w3.org/2000/svg}"


def known():
    """What may stand at one path."""
    return Known({PATH: {GOOD}}, PROMISE)


def judged(oracle, op="fetch", out="ok", text="", at=1.0, path=PATH, **seen):
    """Let the oracle judge one operation of one worker, and return the invariants that it calls broken."""
    who = {"w": 0, "l": 0, "n": len(oracle.operations)}
    begin = {"e": "begin", "t": at, **who, "op": op, "path": path}
    oracle.read([begin, {"e": "end", "t": at + 0.5, **who, "op": op, "path": path, "out": out, "text": text, **seen}])
    oracle.close()
    return [one.invariant for one in oracle.violations]


def checks(corrupt=(), changed=(), unreadable=()):
    """What a verify wrote down."""
    return {"op": "verify", "checked": 1, "corrupt": corrupt, "changed": changed, "unreadable": unreadable}


HISTORIES = {
    "I1": {"sha": BAD},
    "I3": {"op": "lease", "held": [1.0, 7, 0, "lease"]},
    "I5": {"op": "look", "rowless": [PATH]},
    "I6": checks(corrupt=[[PATH, f"expected sha256 {GOOD}, found {BAD}"]]),
    "I8": {"op": "lease", "held": [1.0, 7, 7, "lease"], "offline": "OfflineMissError: it is not there"},
    "I10": {"out": "!OSError", "text": "nobody expected this"},
}


@pytest.mark.parametrize("invariant", HISTORIES)
def test_a_history_that_breaks_an_invariant_is_told_by_its_name(invariant):
    """Wrong bytes, a lease that did not hold, a file without a row, rot that nobody made: each is called what it is."""
    assert judged(Oracle(known()), **HISTORIES[invariant]) == [invariant]


@pytest.mark.parametrize(
    "seen",
    [
        {"op": "handout", "gone": 0.2, "kept": [1.0, 0.2]},
        {"op": "open", "sha": GOOD, "held": [1.0, 7, 8, "open"]},
        {"op": "mapped", "gone": 0.0},
        {"op": "pin", "held": [1.0, 7, 0, "pin"]},
    ],
)
def test_every_way_of_using_a_file_is_looked_at(seen):
    """A path that was handed out, an open file and a pin are in use as a lease is (I3)."""
    assert judged(Oracle(known()), **seen) == ["I3"]


@pytest.mark.parametrize("verdict", ["changed", "unreadable"])
def test_a_verdict_without_a_cause_is_an_accusation(verdict):
    """A file that nobody wrote to is neither changed nor unreadable (I6)."""
    assert judged(Oracle(known()), **checks(**{verdict: [[PATH, ""]]})) == ["I6"]


def test_what_chaos_did_excuses_what_came_of_it():
    """Bytes that were damaged on purpose may be seen, and be called corrupt; those and no others."""
    facts = known()
    facts.rotten[BAD] = GOOD
    oracle = Oracle(facts)
    assert judged(oracle, sha=BAD, **checks(corrupt=[[PATH, f"expected sha256 {GOOD}, found {BAD}"]])) == []
    assert judged(oracle, sha=digest(b"yet others")) == ["I1"]


def test_a_removal_by_name_excuses_only_while_it_is_under_way():
    """A file may go while somebody removes it by its name, and not after that one was killed (I3)."""
    oracle = Oracle(known())
    who = {"w": 1, "l": 0, "n": 1}
    oracle.read([{"e": "begin", "t": 1.1, **who, "op": "rm", "path": PATH}])
    assert judged(oracle, at=1.0, gone=0.2) == []
    oracle.read([{"e": "died", "t": 2.0, "w": 1, "l": 0, "how": "SIGKILL", "status": 9}])
    assert judged(oracle, at=3.0, gone=0.2) == ["I3"]


@pytest.mark.parametrize(
    "error", ["DownloadError", "IntegrityError", "OfflineMissError", "LockTimeoutError", "StorageError", "InUseError"]
)
def test_a_failure_needs_a_cause(error):
    """With no fault played, no damage and nobody in the way, a fetch has no reason to fail (I10)."""
    assert judged(Oracle(known()), out=error, text="it failed") == ["I10"]


def test_a_worker_that_ends_by_itself_is_a_violation():
    """Nobody killed it, so it should not have died (I10)."""
    oracle = Oracle(known())
    oracle.read([{"e": "died", "t": 1.0, "w": 0, "l": 0, "how": "itself", "status": 256}])
    assert [one.invariant for one in oracle.violations] == ["I10"]


def test_a_killed_operation_is_pending():
    """It has no outcome, and either one is legal."""
    oracle = Oracle(known())
    who = {"w": 0, "l": 0}
    # A death is read from another file, and may be read first.
    begin = {"e": "begin", "t": 1.0, **who, "n": 1, "op": "fetch", "path": PATH}
    oracle.read([{"e": "died", "t": 2.0, **who, "how": "SIGKILL"}, begin])
    assert [operation.over for operation in oracle.pending()] == [2.0]
    assert oracle.violations == []


FETCH = """
import sys
from model_cache import ModelCache
ModelCache(sys.argv[1], endpoint=sys.argv[2], token=False).fetch("race/model-0", "file-0.bin")
"""


def seen_by_the_hub(tmp_path, *fetches, until=""):
    """The violations that the hub sees while these run at the same time, each given its address; held till it said `until`."""
    with RacedHub(Journal(tmp_path / "hub.jsonl"), set(), rate=200_000.0) as hub:
        hub.add_repo("race/model-0", {"file-0.bin": bytes(400_000)})
        if until:
            hub.hold("file-0.bin", after=0.5)
        with ThreadPoolExecutor(2) as threads:
            ended = [threads.submit(fetch, hub.url) for fetch in fetches]
            assert not until or eventually(lambda: until in (tmp_path / "hub.jsonl").read_text())
            hub.release()
            for one in ended:
                one.result()
    oracle = Oracle(known())
    oracle.read(Reader(tmp_path).new())
    return [one.invariant for one in oracle.violations]


def test_two_bodies_of_one_file_at_a_time_are_seen_by_the_hub(tmp_path):
    """Two processes with two roots ask for one file at the same time, as two leaders would (I2)."""

    def elsewhere(name):
        return lambda url: subprocess.run([sys.executable, "-c", FETCH, tmp_path / name, url], check=True)

    assert seen_by_the_hub(tmp_path, elsewhere("a"), elsewhere("b"), until='"e":"overlap"') == ["I2"]


def test_a_process_that_fetches_in_parts_is_one_leader(tmp_path):
    """Several connections of one process get one file at the same time, and that is as it should be."""
    pace = Pace(large=1, window=0.0, fast=1e18, smallest=32 << 10, noted=32 << 10, between=0.0, chunk=8 << 10)

    def in_parts(url):
        cache = ModelCache(tmp_path / "cache", endpoint=url, token=False, connections=3, pace=pace)
        cache.fetch("race/model-0", "file-0.bin")

    assert seen_by_the_hub(tmp_path, in_parts) == []
    assert (tmp_path / "hub.jsonl").read_text().count('"e":"body"') > 1


def test_bytes_over_the_budget_are_counted_once(tmp_path):
    """Every block of models, partials and trash counts, a second name does not, and somebody's own file does not (I4)."""
    (tmp_path / "race/model-0").mkdir(parents=True)
    (tmp_path / ".model-cache/partial").mkdir(parents=True)
    (tmp_path / PATH).write_bytes(bytes(8192))
    os.link(tmp_path / PATH, tmp_path / "race/model-0/twin.bin")
    (tmp_path / ".model-cache/partial/key").write_bytes(bytes(4096))
    (tmp_path / "own.bin").write_bytes(bytes(4096))
    (tmp_path / "race/own.bin").write_bytes(bytes(4096))
    assert occupied(tmp_path, lambda path, _ino: path.endswith("own.bin")) == 8192 + 4096


def test_an_own_file_that_changes_is_seen(tmp_path):
    """Somebody's own file that is gone, or has other bytes, is a violation of I7."""
    journal = Journal(tmp_path / "journal.jsonl")
    chaos = Chaos(tmp_path, known(), journal, random.Random(1))
    chaos.begin()
    assert chaos.look() == []
    (tmp_path / "notes.txt").unlink()
    (tmp_path / "own.bin").write_bytes(b"overwritten")
    assert [one.invariant for one in chaos.look()] == ["I7", "I7"]


def test_a_written_file_that_goes_before_any_reconcile_is_seen(tmp_path):
    """What a user placed by hand stays until a reconcile took it over (I7)."""
    facts = known()
    chaos = Chaos(tmp_path, facts, Journal(tmp_path / "journal.jsonl"), random.Random(1))
    chaos.place()
    (path,) = chaos.mine
    (tmp_path / path).unlink()
    chaos.look()
    assert [one.invariant for one in chaos.look()] == ["I7"]


def test_a_fresh_interpreter_finds_nothing_wrong_with_a_hit(tmp_path, hub):
    """A hit in a new process, with a hub that is not there, does and loads nothing that it may not (I9)."""
    hub.add_repo("race/still", {"still.bin": BYTES})
    ModelCache(tmp_path / "root", endpoint=hub.url, token=False).fetch("race/still", "still.bin")
    assert probed(tmp_path / "root") == {"wrong": ""}


@pytest.mark.parametrize(
    ("first", "second", "loaded"),
    [
        ([("socket.connect", "('127.0.0.1', 9)")], [], []),
        ([("open", "('/root/.model-cache/index.db', 'r')")], [], []),
        ([("open", "('/root/.model-cache/locks/key.lock', 'w')")], [], []),
        ([], [("open", "('/root/model.bin', None)")], []),
        ([], [], ["os", "sqlite3"]),
        ([], [], ["requests"]),
    ],
)
def test_a_hit_that_costs_more_than_it_may_is_told(first, second, loaded):
    """Network, index, write lock, SQL or HTTP code, and a second hit that is more than a stat, are each found (I9)."""
    assert judge(first, second, loaded)


def probed(root):
    """What the probe says of a root."""
    command = [sys.executable, "-m", "stress.race.probe", str(root), "race/still", "still.bin"]
    return json.loads(subprocess.run(command, capture_output=True, check=True, timeout=120).stdout)


@pytest.mark.parametrize(
    ("harm", "broken"),
    [
        (lambda root: (root / "race/model-0/nobody.bin").write_bytes(b"?"), {"I1", "I6", "I5"}),
        (lambda root: (root / PATH).write_bytes(b"wrong"), {"I1"}),
    ],
)
def test_a_root_that_breaks_a_promise_at_rest_is_told(tmp_path, hub, harm, broken):
    """A file that nobody put there and bytes that never were are found by the last look."""
    world = World(1)
    hub.add_repo("race/model-0", world.contents("race/model-0"))
    root = tmp_path / "root"
    ModelCache(root, endpoint=hub.url, token=False).fetch("race/model-0", "file-0.bin")
    setting = Setting(root, tmp_path, hub.url, world.occupied)
    sound = Ending(setting, Known(world.legal, PROMISE), {})
    sound.run()
    assert (sound.violations, {"I1", "I4", "I5", "I6", "I7", "I8", "I9", "I10"} - sound.checks.keys()) == ([], set())
    harm(root)
    ending = Ending(setting, Known(world.legal, PROMISE), {})
    ending.run()
    assert broken & {one.invariant for one in ending.violations}


def test_the_same_seed_makes_the_same_choices():
    """Operations, files, holds and deaths of a worker follow from the seed; another seed makes others."""

    def first(seed):
        scenario = named("mixed", seed=seed)
        return list(itertools.islice(choices(scenario, scenario.world(), 3, 1), 200))

    assert first(5) == first(5)
    assert first(5) != first(6)
    assert any(choice.doom for choice in first(5))
    assert World(5).legal == World(5).legal


def raced(tmp_path, *arguments):
    """Run the command; what it wrote as JSON, and the ids of the lanes that it drew."""
    facts, picture = tmp_path / "facts.json", tmp_path / "picture.svg"
    command = [
        sys.executable,
        "-m",
        "stress",
        "--json",
        str(facts),
        "--picture",
        str(picture),
        "--keep",
        str(tmp_path / "kept"),
        *arguments,
    ]
    run = subprocess.run(command, cwd=TOP, capture_output=True, text=True, timeout=200)
    assert run.returncode == 0, run.stdout + run.stderr
    lanes = {group.get("id") for group in ElementTree.parse(picture).iter(f"{SVG}g")}
    return json.loads(facts.read_text()), lanes


def test_a_short_race_keeps_every_promise(tmp_path):
    """Six processes, eight seconds, one in five operations killed: every invariant is looked at, and none is broken."""
    facts, lanes = raced(tmp_path, "--processes", "6", "--seconds", "8", "--seed", "4")
    assert facts["violations"] == []
    assert {one: counts["checks"] > 0 for one, counts in facts["invariants"].items()} == dict.fromkeys(INVARIANTS, True)
    assert facts["sigkills"] > 0
    assert sum(facts["recovered"].values()) == facts["killed_at_work"] > 0
    assert lanes == {str(slot) for slot in range(6)}


def test_a_short_race_through_a_tier_hands_out_no_wrong_byte(tmp_path):
    """Half of six processes fetch through a folder whose objects are damaged: what is handed out and kept is right."""
    facts, _ = raced(tmp_path, "--scenario", "tier", "--processes", "6", "--seconds", "5", "--seed", "4")
    assert facts["violations"] == []
    assert facts["planted"] > 0


def test_a_short_race_of_two_hosts_on_one_volume_keeps_every_invariant(tmp_path):
    """Of six processes every other one is a host of its own, which may take nothing away: what both do is as promised."""
    facts, lanes = raced(tmp_path, "--scenario", "hosts", "--processes", "6", "--seconds", "5", "--seed", "4")
    assert facts["violations"] == []
    assert facts["sigkills"] > 0
    assert lanes == {str(slot) for slot in range(6)}


@pytest.mark.parametrize(("worker", "broken"), [(1, []), (0, ["I10"])])
def test_only_a_host_that_may_take_nothing_away_is_refused_that(worker, broken):
    """What the guest is told is a promise; the same words to the keeper break one."""
    oracle, who = Oracle(known()), {"w": worker, "l": 0, "n": 0, "op": "gc", "path": PATH}
    said = {"out": "StorageError", "text": f"in /root {REFUSAL} (evictor)"}
    oracle.read([{"e": "begin", "t": 1.0, **who}, {"e": "end", "t": 1.5, **who, **said}])
    oracle.close()
    assert [one.invariant for one in oracle.violations] == broken


@pytest.mark.parametrize(("kept", "broken"), [(BYTES, []), (b"other bytes", ["I1"])])
def test_an_object_with_other_bytes_than_its_name_says_is_told(tmp_path, kept, broken):
    """What the tier of a race holds in the end is read, and compared with its name."""
    name = objects.of_bytes(GOOD, None)
    place, oracle = tmp_path / "shelf", Oracle(known())
    (place / name).parent.mkdir(parents=True)
    (place / name).write_bytes(kept)
    Shelf(place, Journal(tmp_path / "journal.jsonl"), random.Random(1)).judge(oracle)
    assert [one.invariant for one in oracle.violations] == broken
    assert oracle.checks["I1"] == 1


def test_what_was_planted_in_a_tier_is_told_apart_from_what_it_damaged_itself(tmp_path):
    """Damage that the race made itself is no violation."""
    name = objects.of_bytes(GOOD, None)
    place, oracle = tmp_path / "shelf", Oracle(known())
    (place / name).parent.mkdir(parents=True)
    (place / name).write_bytes(BYTES)
    shelf = Shelf(place, Journal(tmp_path / "journal.jsonl"), random.Random(1))
    shelf.plant()
    assert (place / name).read_bytes() != BYTES
    shelf.judge(oracle)
    assert oracle.violations == []


def test_a_herd_makes_one_download(tmp_path):
    """Twelve processes miss one file; the one that downloads is killed, another goes on from there, all have it."""
    facts, lanes = raced(tmp_path, "--scenario", "herd", "--processes", "12")
    assert (facts["served"], facts["bodies"], facts["wrong"]) == (11, 2, [])
    assert facts["starts"][1] > 0
    assert lanes == {str(slot + 1) for slot in range(12)}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_nothing_outlives_a_race_that_is_stopped(tmp_path, number):
    """Workers and hub end with the process that started them, however it ends."""
    mark = f"RACE_MARK={tmp_path}"
    environ = {**os.environ, "RACE_MARK": str(tmp_path)}
    command = [sys.executable, "-m", "stress", "--processes", "4", "--folder", str(tmp_path)]
    race = subprocess.Popen(command, cwd=TOP, env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        assert eventually(lambda: len(marked(mark)) >= 6)
        race.send_signal(number)
        assert race.wait(30) == (130 if number == signal.SIGINT else -number)
        assert eventually(lambda: not marked(mark))
    finally:
        race.kill()
        race.wait()


def eventually(holds):
    """Whether something comes to be true within a minute."""
    until = time.monotonic() + 60
    while not (held := holds()) and time.monotonic() < until:
        time.sleep(0.05)
    return held


def marked(mark):
    """The processes that have this in their environment."""
    found = []
    for process in os.scandir("/proc"):
        if process.name.isdigit():
            try:
                if mark.encode() in Path(process.path, "environ").read_bytes():
                    found.append(process.name)
            except OSError:
                continue
    return found


def test_an_invariant_that_nobody_looked_at_fails_the_race():
    """A check that was never made proves nothing."""
    oracle = Oracle(known())
    oracle.checks.update(dict.fromkeys(INVARIANTS, 1))
    assert passed(oracle)
    del oracle.checks["I6"]
    assert not passed(oracle)


def test_a_picture_escapes_what_it_shows():
    """Labels and texts are text, whatever is in them."""
    drawn = Picture("<a & b>", "'c'", 0.0, 1.0, [Lane('"d"')], [])
    assert "<a & b>" in [text.text for text in ElementTree.fromstring(drawn.svg()).iter(f"{SVG}text")]


def test_a_picture_says_of_each_promise_whether_it_was_kept():
    """What was kept has another sign than what was not, besides another colour, and all of it is inside of the frame."""
    verdicts = [(f"I{number}", number != 7) for number in range(1, 11)]
    drawn = ElementTree.fromstring(Picture("a", "b", 0.0, 1.0, [Lane("c")], [], verdicts=verdicts).svg())
    texts = list(drawn.iter(f"{SVG}text"))
    signs = {
        after.text: (sign.text, sign.get("fill"))
        for sign, after in itertools.pairwise(texts)
        if after.text in dict(verdicts)
    }
    assert len(signs) == 10
    assert [name for name, sign in signs.items() if sign != signs["I1"]] == ["I7"]
    assert signs["I7"][0] != signs["I1"][0]
    assert max(float(text.get("y")) for text in texts) < float(drawn.get("viewBox").split()[3])
