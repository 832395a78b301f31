"""The small worlds that are explored, the mutants of the protocol that must fail in them, and what is taken for granted.

A mutant is one switch. It is explored in the worlds that are named beside it, one after the other, until an invariant
fails; the invariant that fails must be the one that the switch is there for.
"""

from __future__ import annotations

from typing import NamedTuple

from .fleet import Fleet
from .fleets import FLEETS
from .state import ANY_MOMENT, HALF_RENAMES
from .turn import Config


def _worlds() -> dict[str, Config]:
    def events(*names: str) -> frozenset[str]:
        return frozenset(names)

    worlds = (
        Config("readers, evictor", ("read", "lease", "evict", "evict"), ready=(0,), crashes=2, events=events("age")),
        Config("open test", ("outsider", "read", "evict"), ready=(0,), crashes=1, open_test=True, events=events("age")),
        Config("evictor, fetch", ("evict", "fetch", "read"), ready=(0,), crashes=2, events=events("age")),
        Config("three fetches", ("fetch",) * 3, crashes=2, events=events("cut", "full disk")),
        Config("two fetches", ("fetch", "fetch"), events=events("age", "cut")),
        Config("two fetches, power", ("fetch", "fetch"), crashes=1, losses=1),
        Config("fetches, evictor, power", ("fetch", "fetch", "evict"), crashes=1, losses=1),
        Config("two power losses", ("evict", "fetch"), ready=(0,), losses=2),
        Config("fetch, evictor", ("fetch", "evict"), crashes=2, events=events("age", "cut")),
        Config("evictor, fetch, power", ("evict", "fetch"), ready=(0,), crashes=1, losses=1),
        Config(
            "link, evictor", ("fetch:1", "evict"), ready=(0,), entries=2, crashes=1, twins=True, events=events("age")
        ),
        Config(
            "link, update", ("fetch:1", "update"), ready=(0,), entries=2, crashes=1, twins=True, events=events("move")
        ),
        Config("link, power", ("fetch:1",), ready=(0,), entries=2, crashes=1, losses=1, twins=True),
        Config("linked, evictor", ("evict", "read:1"), ready=(0, 1), entries=2, crashes=1, losses=1, twins=True),
        Config("admission", ("fetch:0", "fetch:1"), entries=2, crashes=1, budget=3, events=events("age", "cut")),
        Config(
            "admission of three",
            ("fetch:1", "fetch:2", "read:0"),
            ready=(0,),
            entries=3,
            crashes=1,
            budget=4,
            events=events("age"),
        ),
        Config(
            "update, lease",
            ("update", "lease:1", "read"),
            ready=(0, 1),
            entries=2,
            crashes=1,
            events=events("move", "cut"),
        ),
        Config(
            "update, outsider",
            ("update", "outsider"),
            ready=(0,),
            crashes=1,
            open_test=True,
            events=events("move", "age"),
        ),
        Config(
            "update, evictor, fetch", ("update", "evict", "fetch"), ready=(0,), crashes=1, events=events("move", "age")
        ),
        Config("update, evictor, power", ("update", "evict"), ready=(0,), crashes=1, losses=1, events=events("move")),
        Config("update, power", ("update",), ready=(0, 1), entries=2, crashes=1, losses=1, events=events("move")),
        Config(
            "verify, update, evictor",
            ("verify", "update", "evict"),
            ready=(0,),
            crashes=1,
            events=events("move", "misread", "rot"),
        ),
        Config("verify, edit", ("verify", "fetch"), ready=(0,), crashes=1, events=events("edit", "remove", "misread")),
        Config("repair, fetch", ("repair", "fetch", "read"), ready=(0,), crashes=2, budget=4, events=events("rot")),
        Config(
            "verify, repair", ("verify", "repair"), ready=(0,), crashes=1, budget=4, events=events("rot", "misread")
        ),
        Config("repair, power", ("repair",), ready=(0,), crashes=1, losses=1, budget=4, events=events("rot")),
        Config("own file, fetch", ("fetch", "fetch"), crashes=1, events=events("own", "cut")),
        Config("a copy, fetch", ("fetch", "fetch"), crashes=1, events=events("copy")),
        Config("a copy, evictor", ("fetch", "fetch", "evict"), crashes=1, events=events("copy", "age")),
        Config("own file, evictor", ("evict", "read"), ready=(0,), crashes=1, events=events("own", "edit")),
        Config("own file, power", ("evict", "fetch"), ready=(0,), crashes=1, losses=1, events=events("own")),
        Config(
            "own file, update", ("update",), ready=(0,), crashes=1, open_test=True, events=events("own", "edit", "move")
        ),
        Config("job, fetch", ("job", "fetch:3"), entries=4, crashes=1, budget=6, job=(0, 1, 2), events=events("cut")),
        Config("two jobs", ("job", "job"), entries=2, crashes=2, job=(0, 1)),
        Config("job, power", ("job",), entries=2, crashes=1, losses=1, job=(0, 1)),
        Config(
            "job, update",
            ("job", "update"),
            ready=(0,),
            entries=2,
            crashes=1,
            whole=True,
            job=(0, 1),
            events=events("move"),
        ),
        Config(
            "whole, update, lease",
            ("update", "lease:1"),
            ready=(0, 1),
            entries=2,
            crashes=2,
            whole=True,
            events=events("move", "cut"),
        ),
    )
    return {world.name: world for world in worlds}


_LOCAL = _worlds()
WORLDS: dict[str, Config | Fleet] = {**_LOCAL, **{fleet.name: fleet for fleet in FLEETS}}


class Mutant(NamedTuple):
    """One switch of the protocol that is off: the invariants that may catch it, and the worlds it is looked for in."""

    name: str
    invariants: tuple[str, ...]
    worlds: tuple[str, ...]

    def configs(self) -> list[Config | Fleet]:
        """What is explored."""
        return [WORLDS[world]._replace(mutant=self.name) for world in self.worlds]


MUTANTS = (
    # Named by issue 5.
    Mutant("an eviction takes no exclusive lease", ("I3",), ("readers, evictor",)),
    Mutant("a replacement takes no exclusive lease", ("I3",), ("update, lease",)),
    Mutant("the row goes first", ("I5",), ("evictor, fetch",)),
    Mutant("no intent row", ("I5",), ("fetch, evictor",)),
    Mutant("the file is not fsynced", ("I1",), ("two fetches, power",)),
    Mutant("the directory of a new name is not fsynced", ("I5",), ("two fetches, power",)),
    Mutant("an eviction fsyncs nothing", ("I5",), ("evictor, fetch, power",)),
    Mutant("no inode check", ("I3",), ("readers, evictor",)),
    Mutant("recovery does not compare the inode", ("I5",), ("update, power",)),
    Mutant("last use is read before the lock", ("I3",), ("readers, evictor",)),
    Mutant("no touch at publish", ("I3",), ("fetch, evictor",)),
    Mutant("recovery trashes what was being deleted", ("I3",), ("readers, evictor",)),
    Mutant("the row goes before the trash is unlinked", ("I5",), ("evictor, fetch",)),
    Mutant("the row goes before the unlink is durable", ("I5",), ("evictor, fetch, power",)),
    # Further ones.
    Mutant("no W", ("I2", "I5"), ("three fetches",)),
    Mutant("no resume", ("I2",), ("three fetches",)),
    Mutant("no second look", ("I2", "I5"), ("two fetches",)),
    Mutant("no recovery", ("I10", "I5"), ("three fetches",)),
    Mutant("recovery does not fsync", ("I5",), ("evictor, fetch, power",)),
    Mutant("no hash", ("I1",), ("two fetches, power",)),
    Mutant("no open test", ("I3",), ("open test",)),
    Mutant("a broken kernel lease is not noticed", ("I3",), ("open test",)),
    Mutant("no row `deleting`", ("I5",), ("evictor, fetch",)),
    Mutant("an eviction does not try W", ("I10",), ("verify, update, evictor",)),
    Mutant("rows are settled without trying W", ("I5",), ("fetch, evictor",)),
    Mutant("room is not reserved", ("I4",), ("admission",)),
    Mutant("reservations are not counted", ("I4",), ("admission",)),
    Mutant("the row of a partial goes before its file", ("I5",), ("admission",)),
    Mutant("update renames before all are claimed", ("I3",), ("update, lease",)),
    Mutant("verify trusts the row that it began with", ("I6",), ("verify, update, evictor",)),
    Mutant("verify records whatever the row says by now", ("I6",), ("verify, repair",)),
    Mutant("verify does not look whether the file held still", ("I6",), ("verify, edit",)),
    Mutant("verify reads once", ("I6",), ("verify, update, evictor",)),
    Mutant("quarantine is charged before it has the file alone", ("I4",), ("repair, fetch",)),
    Mutant("no row before the name in quarantine", ("I5",), ("repair, fetch",)),
    Mutant("publish replaces what is there", ("I7",), ("own file, fetch",)),
    Mutant("a replacement does not compare the old file", ("I7",), ("own file, update",)),
    Mutant("an eviction never compares the file", ("I7",), ("own file, evictor",)),
    Mutant("what was renamed is not looked at", ("I7",), ("own file, evictor",)),
    Mutant("recovery leaves somebody's own file in the trash", ("I7",), ("own file, evictor",)),
    # Several files, and whole repos.
    Mutant("only the first file of several is charged", ("I4",), ("job, fetch",)),
    Mutant("the carrier takes what is left with it", ("I4",), ("job, fetch",)),
    Mutant("partials come before their rows", ("I5",), ("two jobs",)),
    Mutant("a group is ready before its names are durable", ("I5",), ("job, power",)),
    Mutant("an update writes its listing only at its end", ("I1",), ("whole, update, lease",)),
    Mutant("a job does not share the lock of its repo", ("I1",), ("job, update",)),
    Mutant("an eviction does not know its own partials again", ("I10",), ("two fetches, power",)),
    # Hosts that share a tier.
    Mutant("who is deceived behind the lead goes alone", ("I2",), ("fleet, engines fail",)),
    Mutant("no look behind the lead", ("I2",), ("fleet, cold",)),
    Mutant("the lead goes before the upload", ("I2",), ("fleet, cold",)),
    Mutant("the damaged object is read again, without the lead", ("I2",), ("fleet, damaged",)),
    Mutant("an object that is there is not replaced", ("I2",), ("fleet, damaged",)),
    Mutant("what a tier sends is not hashed", ("I1",), ("fleet, damaged",)),
    Mutant("the error of an engine is one of the fetch", ("I10",), ("fleet, engines fail",)),
    Mutant("an upload that fails keeps the lead", ("I10",), ("fleet, engines fail",)),
    Mutant("who fails keeps the lead", ("I10",), ("fleet, Hub fails",)),
    Mutant("nobody finds out that a leader is dead", ("I10",), ("fleet, killed",)),
)


class Gap(NamedTuple):
    """Something that is taken for granted, and a world where it is not so: what comes of it there is shown as well."""

    name: str
    says: str
    config: Config


GAPS = (
    Gap(
        "an own file under a rename",
        "nobody moves a file to a path between the last look of a replacement and its rename",
        _LOCAL["own file, update"]._replace(events=frozenset(["own", "move", ANY_MOMENT])),
    ),
    Gap(
        "half a rename",
        "a rename is atomic over a power loss",
        _LOCAL["evictor, fetch, power"]._replace(events=frozenset([HALF_RENAMES])),
    ),
)
