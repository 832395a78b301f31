"""Histories as pictures: who waited, downloaded, took over, held, hit, died, and when."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from .journal import Event
from .oracle import INVARIANTS, NAMES
from .picture import INK, Bar, Lane, Mark, Note, Picture

if TYPE_CHECKING:
    from .arena import Arena
    from .herd import Herd
    from .oracle import Operation

WAIT, DOWN, OVER, HELD, EVICT, VERIFY = "#c9d1d9", "#0969da", "#1a7f37", "#9ecbff", "#d4a72c", "#8250df"
DEAD, STOP = "#cf222e", "#57606a"
_MIB = 1 << 20
_SHOWN = 12.0  # seconds of a race that are shown
_KINDS = {
    "gc": EVICT, "rm": EVICT, "verify": VERIFY, "repair": VERIFY, "reconcile": VERIFY, "rebuild": VERIFY, "update": DOWN,
}  # fmt: skip


def of_herd(herd: Herd) -> str:
    """Everybody on one file, one killed, one that took over; as SVG."""
    lanes: dict[int, Lane] = {}
    events: dict[int, list[Event]] = defaultdict(list)
    for event in herd.events:
        if "w" in event:
            events[event["w"]].append(event)
    for slot in sorted(events):
        lanes[slot] = _herd_lane(slot, events[slot])
    downloads = [event for event in herd.of("phase") if event["what"] == "download"]
    killed = next((event for event in herd.of("died") if event["how"] == "SIGKILL"), None)
    published = [event["t"] for event in herd.of("phase") if event["what"] == "publish"]
    left = [event["t"] for event in herd.of("phase") if event["what"] == "left"]
    notes = []
    if killed is not None and len(downloads) > 1:
        share = downloads[1]["done"] / herd.size
        notes.append(Note(killed["t"], f"process {killed['w'] + 1} is killed at {share:.0%}", DEAD, 2))
        taker, done = downloads[1]["w"] + 1, downloads[1]["done"] / _MIB
        notes.append(Note(downloads[1]["t"], f"process {taker} takes over, and goes on from {done:.1f} MiB", OVER, 1))
    if published:
        notes.append(Note(published[-1], "published: all leave with it", INK, 0))
    sent = sum(event["bytes"] for event in herd.of("sent")) / _MIB
    return Picture(
        title=f"{len(lanes)} processes, 1 download",
        subtitle=f"All ask for the same file of {herd.size / _MIB:.0f} MiB at once, nobody has it yet, and the one that"
        f" downloads is killed half way.\n{sent:.2f} MiB came over the network, {len(left)} processes have the file,"
        " byte for byte.",
        first=herd.began - 0.05,
        last=max([*left, herd.began + 0.1]) + 0.15,
        lanes=list(lanes.values()),
        legend=[
            ("bar", WAIT, "waits"), ("bar", HELD, "leads: asks the hub"), ("bar", DOWN, "downloads"),
            ("cross", DEAD, "killed (SIGKILL)"), ("bar", OVER, "took over, resumes"), ("tick", INK, "has the file"),
        ],
        notes=notes,
        curve=_bytes(herd, downloads),
        curve_label="bytes on disk",
        pitch=6.5,
    ).svg()  # fmt: skip


def _herd_lane(slot: int, events: list[Event]) -> Lane:
    lane, since, colour = Lane(str(slot + 1)), 0.0, WAIT
    for event in events:
        if event["e"] == "begin":
            since = event["t"]
        elif event.get("what") in ("lead", "download"):
            lane.bars.append(Bar(since, event["t"], colour, 0.55 if colour == WAIT else 1.0))
            since, colour = event["t"], HELD if event["what"] == "lead" else OVER if event["done"] else DOWN
        elif event.get("what") == "left":
            lane.bars.append(Bar(since, event["t"], colour, 0.55 if colour == WAIT else 1.0))
            lane.marks.append(Mark(event["t"], "tick", INK))
        elif event["e"] == "died" and event["how"] == "SIGKILL":
            lane.bars.append(Bar(since, event["t"], colour))
            lane.marks.append(Mark(event["t"], "cross", DEAD))
    return lane


def _bytes(herd: Herd, downloads: list[Event]) -> list[tuple[float, float, str]]:
    """How much was there when: of the one that was killed, and from where the other went on."""
    taken = downloads[1]["t"] if len(downloads) > 1 else float("inf")
    sizes = [(event["t"], event["bytes"] / herd.size) for event in herd.of("size")]
    sizes += [(event["t"], event["done"] / herd.size) for event in downloads]
    last = max((event["t"] for event in herd.of("phase")), default=herd.began)
    found = [(herd.began, 0.0, DOWN)]
    for at, share in sorted([*sizes, (last, found[-1][1])]):
        found.append((at, max(min(share, 1.0), found[-1][1]), DOWN if at < taken else OVER))
    return found


def of_race(arena: Arena) -> str:
    """Some seconds from the middle of a race; as SVG."""
    oracle, began = arena.oracle, arena.began
    first = began + max(0.0, (arena.seconds - _SHOWN) / 2)
    last = first + min(_SHOWN, arena.seconds)
    lanes = {slot: Lane(str(slot)) for slot in range(arena.scenario.processes)}
    for operation in oracle.operations.values():
        over = operation.over or last
        if operation.begin["t"] < last and over > first:
            lanes[operation.begin["w"]].bars += _bars(operation, over)
    for stop in oracle.stops:
        lanes[stop["w"]].bars.append(Bar(stop["t"], stop["t"] + stop["seconds"], STOP, 0.35, "stopped"))
    for (slot, _), (_, died, how) in oracle.lives.items():
        if died is not None and how in ("SIGKILL", "SIGTERM"):
            lanes[slot].marks.append(Mark(died, "cross", DEAD))
    deaths = sum(first <= (died or 0.0) <= last and how != "end" for _, died, how in oracle.lives.values())
    broken = {violation.invariant for violation in oracle.violations}
    held = {one for one in INVARIANTS if oracle.checks[one] and one not in broken}
    return Picture(
        title=f"{arena.scenario.processes} processes race for the same files, and are killed",
        subtitle=f"{last - first:.0f} seconds out of {arena.seconds:.0f}, in which {deaths} died; each was replaced at once."
        f" In the whole race {oracle.deaths['SIGKILL']:,} died by SIGKILL,\nand {sum(oracle.checks.values()):,} looks at"
        f" what is promised found {len(oracle.violations)} violations. Below: how often each promise was looked at.",
        first=first,
        last=last,
        lanes=list(lanes.values()),
        legend=[
            ("bar", WAIT, "waits"), ("bar", DOWN, "downloads"), ("bar", OVER, "took over, resumed"),
            ("bar", HELD, "holds a file"), ("bar", EVICT, "evicts"), ("bar", VERIFY, "verifies"),
            ("tick", INK, "hit"), ("bar", STOP, "stopped"), ("cross", DEAD, "killed"),
        ],
        verdicts=[
            (f"{one} {NAMES[one]}: {oracle.checks[one]:,}", one in held) for one in INVARIANTS
        ],
        pitch=13,
    ).svg()  # fmt: skip


def _bars(operation: Operation, over: float) -> list[Bar]:
    """What one operation was at, from phase to phase."""
    begin, end = operation.begin, operation.end or {}
    hint = f"{begin['op']} {begin['path']}: {end.get('out', 'killed')}"
    colour, since, bars = _KINDS.get(begin["op"], ""), begin["t"], []
    height = 0.7 if colour else 1.0
    for phase in operation.phases:
        if phase["what"] == "wait" and colour in ("", WAIT):
            colour, since, height = WAIT, phase["t"], 0.5
        elif phase["what"] == "download" and colour in ("", WAIT, DOWN):
            if colour == WAIT:
                bars.append(Bar(since, phase["t"], WAIT, 0.5, hint))
            colour, since, height = OVER if phase["done"] else DOWN, phase["t"], 0.9
        elif phase["what"] == "let-go" and colour in (WAIT, DOWN, OVER) and begin["op"] != "update":
            bars.append(Bar(since, phase["t"], colour, height, hint))
            colour, since = "", phase["t"]
    if "held" in end:
        bars += [Bar(since, end["held"][0], colour, height, hint)] if colour else []
        return [*bars, Bar(end["held"][0], over, HELD, 0.6, hint)]
    if "kept" in end:
        bars += [Bar(since, end["kept"][0], colour, height, hint)] if colour else []
        return [*bars, Bar(end["kept"][0], over, HELD, 0.3, hint)]
    if colour:
        return [*bars, Bar(since, over, colour, height, hint)]
    return [*bars, Bar(over, over, INK, 0.8, hint)]
