"""The oracle: reads what everybody wrote down, and says of each invariant how often it was looked at and what broke it.

A killed operation is *pending*: it may have taken effect or not, and either is legal. What chaos does to files (rot,
edits, files placed by hand) is written down before it is done, so the oracle knows it. A line is judged one look after
it was read: whatever could excuse it was written down before it happened, and has been read by then.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from ..invariants import Violation
from .excuses import Known, excuse
from .journal import Event

INVARIANTS = tuple(f"I{number}" for number in range(1, 11))
NAMES = {
    "I1": "whole", "I2": "single-flight", "I3": "in use", "I4": "budget", "I5": "ledger", "I6": "honest verify",
    "I7": "not ours", "I8": "disposable index", "I9": "cheap hit", "I10": "any instant",
}  # fmt: skip
_MENDING = 5.0  # seconds in which damaged bytes may be on their way out
_WAYS = {"lease": "leased", "open": "open through the cache", "mapped": "open", "pin": "pinned"}


_SENDING = 5.0  # seconds that a body takes at most, until somebody who still receives it is told


@dataclass
class Operation:
    """One operation of one worker.

    Attributes:
        begin, end: Its lines; `end` None while it is under way, or for good if it was killed.
        over: When it ended or was killed, None while it is under way.
        phases: What it wrote on its way.
    """

    begin: Event
    end: Event | None = None
    over: float | None = None
    phases: list[Event] = field(default_factory=list)

    def overlaps(self, first: float, last: float) -> bool:
        """Whether it was under way at some time between the two."""
        return bool(self.begin["t"] <= last and (self.over is None or self.over >= first))


class Oracle:
    """Judges a history, line by line.

    Args:
        known: What may stand where, and what was done to files on purpose.

    Attributes:
        checks: How often each invariant was looked at.
        violations: What broke one.
        operations: All that were begun, by (worker, life, number).
        lives: (worker, life): [born, died or None, how].
    """

    def __init__(self, known: Known) -> None:
        self.known = known
        self.checks: Counter[str] = Counter()
        self.violations: list[Violation] = []
        self.operations: dict[tuple[int, int, int], Operation] = {}
        self.lives: dict[tuple[int, int], list[Any]] = {}
        self.outcomes: Counter[tuple[str, str]] = Counter()
        self.deaths: Counter[str] = Counter()
        self.bodies: list[Event] = []
        self.faults: Counter[str] = Counter()
        self.stops: list[Event] = []
        self.late = self.excused = 0  # looks at I3 from which nothing is learnt: too late, or removed by name
        self._waiting: list[Event] = []
        self._removals: dict[str, list[Operation]] = defaultdict(list)
        self._pins: dict[str, list[Operation]] = defaultdict(list)
        self._current: dict[tuple[int, int], Operation] = {}

    def read(self, events: Iterable[Event]) -> None:
        """Take what was read in one look at the journals, and judge what was read in the one before."""
        judged, self._waiting = self._waiting, []
        # A death is read from another file than what the dead wrote, and perhaps before it.
        for event in sorted(events, key=_time):
            handler = getattr(self, f"_on_{event['e'].replace('-', '_')}", None)
            if handler is not None:
                handler(event)
        for event in judged:
            self._judge(event)

    def close(self) -> None:
        """Judge what is left."""
        self.read(())

    def note(self, invariant: str, seen: str = "") -> None:
        """Count a look at an invariant, with what broke it if something did."""
        self.checks[invariant] += 1
        if seen:
            self.violations.append(Violation(invariant, seen))

    # What is read.

    def _on_born(self, event: Event) -> None:
        self.lives[event["w"], event["l"]] = [event["t"], None, ""]

    def _on_begin(self, event: Event) -> None:
        operation = Operation(event)
        self.operations[event["w"], event["l"], event["n"]] = operation
        self._current[event["w"], event["l"]] = operation
        if event["op"] in ("rm", "import"):
            self._removals[event["path"]].append(operation)
        if event["op"] in ("pin", "unpin"):
            self._pins[_repo(event["path"])].append(operation)
        if event["op"] in ("reconcile", "rebuild"):
            self.known.reconciles.append(event["t"])

    def _on_phase(self, event: Event) -> None:
        operation = self.operations.get((event["w"], event["l"], event["n"]))
        if operation is not None:
            operation.phases.append(event)
            if event["what"] == "room":
                self.known.waits[_repo(operation.begin["path"])].append(event["t"])

    def _on_end(self, event: Event) -> None:
        operation = self.operations[event["w"], event["l"], event["n"]]
        operation.end, operation.over = event, event["t"]
        self._current.pop((event["w"], event["l"]), None)
        self._waiting.append(event)

    def _on_died(self, event: Event) -> None:
        key = (event["w"], event["l"])
        self.lives.setdefault(key, [event["t"], None, ""])[1:] = [event["t"], event["how"]]
        pending = self._current.pop(key, None)
        if pending is not None:
            pending.over = event["t"]
        self.deaths[event["how"]] += 1
        if event["how"] == "itself":
            self.note("I10", f"worker {key[0]} ended by itself with {event['status']}: see worker-{key[0]:03}.stderr")

    def _on_body(self, event: Event) -> None:
        self.note("I2")
        self.bodies.append(event)

    def _on_sent(self, event: Event) -> None:
        self.bodies.append(event)

    def _on_overlap(self, event: Event) -> None:
        # Who makes a lock file of one commit may fetch a small file at that commit while others fetch it at `main`: two
        # entries, which the hub cannot tell from each other.
        path, when = event["path"], event["t"]
        syncs = (other for other in self.operations.values() if other.begin["op"] == "sync")
        about = (other for other in syncs if _repo(other.begin["path"]) == _repo(path))
        if event["small"] and any(other.overlaps(when - _SENDING, when) for other in about):
            self.excused += 1
            return
        self.violations.append(
            Violation("I2", f"{event['path']} was sent to {event['others'] + 1} living clients at a time")
        )

    def _on_fault(self, event: Event) -> None:
        self.faults[event["kind"]] += 1
        self.known.faulted(event["path"], event["kind"])

    def _on_stop(self, event: Event) -> None:
        self.stops.append(event)

    # What is judged.

    def _judge(self, end: Event) -> None:
        operation = self.operations[end["w"], end["l"], end["n"]]
        self.outcomes[end["op"], end["out"]] += 1
        where = f"worker {end['w']}.{end['l']}.{end['n']} {end['op']} {end['path']}"
        if end["out"] not in ("ok", "terminated"):
            reason = excuse(end, self.known)
            self.note("I10", "" if reason else f"{where} failed with {end['out']}: {end.get('text', '')}")
            return
        self.note("I10")
        if "sha" in end:
            good = self.known.is_legal(end["path"], end["sha"])
            self.note("I1", "" if good else f"{where}: the bytes have sha256 {end['sha'][:12]}, which were never there")
        self._judge_use(where, operation.begin, end)
        if "checked" in end:
            self._judge_verify(where, end)
        if "offline" in end:
            self._judge_offline(where, end)
        if "rowless" in end:
            lost = [path for path in end["rowless"] if not self.known.may_lack_row(path)]
            self.note("I5", f"{where}: no row for {', '.join(lost)}" if lost else "")

    def _judge_use(self, where: str, begin: Event, end: Event) -> None:
        """I3: what is held stays where it is, and so does what was handed out, for as long as is promised."""
        path, first, last = end["path"], begin["t"], end["t"]
        if "held" in end:
            since, before, after, way = end["held"]
            pin = way == "pin"
            seen = f"{where}: {_WAYS[way]} for {last - since:.3f} s, inode {before} is now {after or 'gone'}"
            kept = after == before or (pin and (after or not before))
            let_go = pin and (self._removed(path, first, last) or self._unpinned(begin, last))
            self._note_use(seen if not kept else "", excused=let_go or (path, before) in self.known.damaged)
        if "kept" in end and end["kept"][1] > self.known.promise:
            self.late += 1  # this process was stopped or late itself: the promise is over, and nothing is learnt
        elif "sha" in end or "gone" in end:
            gone = f"{where}: gone {end['gone']:.3f} s after it was handed out" if "gone" in end else ""
            damaged = self.known.rotted_at(path, last, first - _MENDING)
            self._note_use(gone, excused=self._removed(path, first, last) or damaged)

    def _note_use(self, seen: str, *, excused: bool) -> None:
        if excused:
            self.excused += 1
        else:
            self.note("I3", seen)

    def _removed(self, path: str, first: float, last: float) -> bool:
        """Whether somebody removed the entry by its name, from which recent use does not protect."""
        return any(removal.overlaps(first, last) for removal in self._removals[path])

    def _unpinned(self, begin: Event, last: float) -> bool:
        """Whether somebody else may have taken the pin away meanwhile."""
        others = self._pins[_repo(begin["path"])]
        return any(other.begin is not begin and other.overlaps(begin["t"], last) for other in others)

    def _judge_verify(self, where: str, end: Event) -> None:
        """I6: damage only where bytes rotted, change only where somebody wrote."""
        self.checks["I6"] += end["checked"]
        for path, detail in end["corrupt"]:
            if not self.known.may_be_corrupt(path, detail, end["t"]):
                self.violations.append(Violation("I6", f"{where} calls {path} corrupt, which nobody damaged: {detail}"))
        for path, detail in end["changed"]:
            if not self.known.may_be_changed(path):
                self.violations.append(Violation("I6", f"{where} calls {path} changed, which nobody did: {detail}"))
        for path, detail in end["unreadable"]:
            self.violations.append(Violation("I6", f"{where} calls {path} unreadable: {detail}"))

    def _judge_offline(self, where: str, end: Event) -> None:
        """I8: a file that is there and whole is a hit, whatever became of the index."""
        failed = end["offline"] and (end["path"], end["held"][1]) not in self.known.damaged
        self.note("I8", f"{where}: leased, and no hit: {end['offline']}" if failed else "")

    def current(self) -> Iterable[Operation]:
        """Operations that are under way."""
        return self._current.values()

    def forget(self, begin: Event) -> None:
        """An operation is not waited for any more."""
        self._current.pop((begin["w"], begin["l"]), None)

    def pending(self) -> list[Operation]:
        """Operations that were killed."""
        return [operation for operation in self.operations.values() if operation.end is None and operation.over]


def _repo(path: str) -> str:
    return "/".join(path.split("/")[:2])


def _time(event: Event) -> float:
    return float(event["t"])
