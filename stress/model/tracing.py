"""A way to a violation, told step by step: who, which step, in words, and what it changed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from . import fleet, fleets
from .explore import AnyConfig, Explored
from .fleet import Fleet
from .state import NOTHING, PLACES, Row, World
from .steps import STEPS


def told(found: Explored) -> list[str]:
    """Lines that tell a counterexample."""
    if found.violated is None:
        return [f"{found.config.name}: {found.states} states, no violation"]
    world = found.config
    lines = [
        f"{found.violated}",
        f"{'mutant: ' + world.mutant if world.mutant else 'the protocol as it is'}; world: {world.name};"
        f" {len(found.way) - 1} steps, {found.states} states seen before",
        "",
    ]
    before: Any = found.way[0].state.world
    lines += [f"{'':3}  {'in the beginning':21} {text}" for text in _shown(before)]
    for number, moment in enumerate(found.way[1:], 1):
        after = moment.state.world
        does = said(found.config, moment.did)
        name = moment.did if does else moment.did.upper()
        lines.append(f"{number:3}  {moment.who:12} {name:28} {does}")
        lines += [f"{'':18}-> {text}" for text in _changes(before, after)]
        before = after
    return [*lines, "", f"so {found.violated}"]


def said(config: AnyConfig, at: str) -> str:
    """What a step does, in words; nothing of what happens by itself."""
    if isinstance(config, Fleet):
        return fleet.says(at) if at in fleet.STEPS else ""
    return STEPS[at].says if at in STEPS else ""


def _changes(before: Any, after: Any) -> Iterator[str]:
    old = set(_shown(before))
    yield from (text for text in _shown(after) if text not in old)
    if isinstance(after, World) and len(after.pending) < len(before.pending):
        yield f"{len(after.pending)} changes of names are not durable"


def _shown(world: World | fleet.World) -> Iterator[str]:
    return _shown_here(world) if isinstance(world, World) else fleets.shown(world)


def _shown_here(world: World) -> Iterator[str]:
    entries = len(world.rows)
    for at, ino in enumerate(world.names):
        where = f"{PLACES[at // entries]}/{at % entries}"
        if ino == NOTHING:
            yield f"{where}: nothing"
        else:
            file = world.files[ino]
            yield f"{where}: file {ino}, bytes {file.bytes or 'none'}{'' if file.synced else ', not durable'}"
    for entry, row in enumerate(world.rows):
        yield f"row/{entry}: {_row(row)}"
        yield f"used/{entry}: {'just now' if world.recent[entry] else 'long ago'}"
        if (aside := world.aside[entry]) is not None:
            yield f"quarantine row/{entry}: file {aside.ident[0]}, {aside.charged} halves charged"
        if (mark := world.marks[entry]) is not None:
            yield f"damaged/{entry}: file {mark[0]}"
        yield f"the Hub has version {world.hub[entry]} of entry {entry}"


def _row(row: Row | None) -> str:
    if row is None:
        return "none"
    said = (
        f"{row.state}, version {row.version}, file {row.ident[0] if row.ident else '?'}, {row.charged} halves charged"
    )
    if row.next_state:
        file = row.next_ident[0] if row.next_ident else "?"
        said += f"; next: {row.next_state}, version {row.next_version}, file {file}, {row.next_charged} halves charged"
    return said if row.verdict == "ok" else f"{said}; {row.verdict}"
