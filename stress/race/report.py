"""What a race came to: tables for a terminal or a file, and JSON."""

from __future__ import annotations

from collections import Counter
from typing import Any

from rich.console import Console
from rich.table import Table

from .arena import Arena
from .ending import as_json
from .oracle import INVARIANTS, NAMES, Oracle


def as_dict(arena: Arena) -> dict[str, Any]:
    """Everything, as JSON values."""
    oracle, seconds = arena.oracle, arena.seconds
    kills = Counter({how: count for how, count in oracle.deaths.items() if how != "end"})
    pending = oracle.pending()
    return {
        "scenario": arena.scenario.as_json(), "replay": arena.scenario.command, "seconds": round(seconds, 1),
        "budget": arena.budget, "largest": arena.largest,
        "invariants": {
            one: {"checks": oracle.checks[one], "violations": sum(v.invariant == one for v in oracle.violations)}
            for one in INVARIANTS
        },
        "violations": as_json(oracle.violations),
        "operations": _by_kind(oracle.outcomes), "deaths": dict(oracle.deaths),
        "sigkills": kills["SIGKILL"], "sigkills_per_second": round(kills["SIGKILL"] / max(seconds, 0.1), 2),
        "killed_at_work": len(pending), "recovered": recovered(arena), "stops": len(oracle.stops),
        "bodies": sum(event["e"] == "body" for event in oracle.bodies),
        "resumed": sum(event["e"] == "body" and event["start"] > 0 for event in oracle.bodies),
        "faults": dict(oracle.faults), "harm": arena.chaos.counts, "planted": len(arena.shelf.planted),
        "spoilt_met": sum(phase["what"] == "spoilt" for one in oracle.operations.values() for phase in one.phases),
        "moves": sum(arena.world.versions.values()),
        "not_judged": {"late": oracle.late, "removed_by_name": oracle.excused},
        "passed": passed(oracle),
    }  # fmt: skip


def recovered(arena: Arena) -> dict[str, int]:
    """Of the operations that were killed: after how many one went well on the same file, or of the same kind."""
    later: dict[str, float] = {}
    for operation in arena.oracle.operations.values():
        if operation.end is not None and operation.end["out"] == "ok":
            for name in (operation.begin["path"], operation.begin["op"]):
                later[name] = max(later.get(name, 0.0), operation.end["t"])
    pending = arena.oracle.pending()
    during = sum(any(later.get(one.begin[what], 0.0) > (one.over or 0.0) for what in ("path", "op")) for one in pending)
    broken = any(one.invariant in ("I5", "I10") for one in arena.oracle.violations)
    return {"by_a_later_operation": during, "at_the_end": 0 if broken else len(pending) - during}


def passed(oracle: Oracle) -> bool:
    """No violation, and no invariant that was not looked at: a check that was never made proves nothing."""
    return not oracle.violations and all(oracle.checks[one] for one in INVARIANTS)


def _by_kind(outcomes: Counter[tuple[str, str]]) -> dict[str, dict[str, int]]:
    found: dict[str, dict[str, int]] = {}
    for (kind, outcome), count in sorted(outcomes.items()):
        found.setdefault(kind, {})[outcome] = count
    return found


def show(arena: Arena, console: Console) -> None:
    """Print the tables, the violations, and the command that replays."""
    facts = as_dict(arena)
    table = Table("invariant", "", "checks", "violations", title="What was promised")
    for one, counts in facts["invariants"].items():
        style = "red" if counts["violations"] or not counts["checks"] else ""
        table.add_row(one, NAMES[one], f"{counts['checks']:,}", str(counts["violations"]), style=style)
    console.print(table)
    table = Table("operation", "ok", "killed", "else", title="What was done")
    killed = Counter(operation.begin["op"] for operation in arena.oracle.pending())
    for kind, outcomes in facts["operations"].items():
        others = ", ".join(f"{name} {count}" for name, count in outcomes.items() if name != "ok")
        table.add_row(kind, str(outcomes.get("ok", 0)), str(killed[kind]), others)
    console.print(table)
    deaths = ", ".join(f"{count} by {how}" for how, count in sorted(facts["deaths"].items()) if how != "end")
    after, last = facts["recovered"]["by_a_later_operation"], facts["recovered"]["at_the_end"]
    console.print(
        f"{facts['seconds']:g} s; died: {deaths or 'nobody'} ({facts['sigkills_per_second']} SIGKILLs per second);"
        f" {facts['killed_at_work']} in the middle of an operation, {after} recovered by a later one, {last} at the end\n"
        f"bodies {facts['bodies']}, resumed {facts['resumed']}; faults {sum(facts['faults'].values())};"
        f" stopped {facts['stops']}; {facts['harm']}; at most {facts['largest']:,} of {facts['budget']:,} bytes\n",
        highlight=False, soft_wrap=True,
    )  # fmt: skip
    for one in arena.oracle.violations[:40]:
        console.print(str(one), style="red", soft_wrap=True, markup=False, highlight=False)
    if not facts["passed"]:
        console.print(f"replay with: {facts['replay']}", soft_wrap=True, markup=False, highlight=False)


def progress(arena: Arena) -> str:
    """One line on how it goes."""
    oracle = arena.oracle
    import time

    seconds = time.monotonic() - arena.began if arena.began else 0.0
    return (
        f"{min(seconds, arena.scenario.seconds):.0f}/{arena.scenario.seconds:.0f} s  "
        f"{sum(oracle.outcomes.values())} operations  {oracle.deaths['SIGKILL']} killed  "
        f"{sum(oracle.checks.values()):,} checks  {len(oracle.violations)} violations"
    )
