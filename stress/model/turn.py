"""One process taking one step: what a step may see and change, in the words of the code it stands for."""

from __future__ import annotations

from typing import NamedTuple

from .state import (
    DEAD,
    HALF_RENAMES,
    NOTHING,
    PLACES,
    Aside,
    Change,
    File,
    Ident,
    Process,
    Row,
    State,
    World,
    name_of,
    put,
)


class Config(NamedTuple):
    """A small world to explore: who runs in it, what may happen to it, and which switch of the protocol is off.

    Attributes:
        name: What it is called in the table.
        programs: Programs, one process each; a program may be followed by `:entry`.
        ready: Entries whose version A is there from the beginning.
        entries: How many entries there are.
        crashes: How many processes may be killed, each at any step.
        losses: How often the power may go.
        events: What else may happen, each once.
        budget: `max_size` in halves of a file, or None.
        twins: Whether all entries have the same bytes on the Hub.
        open_test: Whether the kernel tells who has a file open.
        whole: Whether the entries are a repo that is listed, and handed out as a whole.
        job: The entries that the program `job` fetches together.
        mutant: The name of the mutant, or nothing.
    """

    name: str
    programs: tuple[str, ...]
    ready: tuple[int, ...] = ()
    entries: int = 1
    crashes: int = 0
    losses: int = 0
    events: frozenset[str] = frozenset()
    budget: int | None = None
    twins: bool = False
    open_test: bool = False
    whole: bool = False
    job: tuple[int, ...] = ()
    mutant: str = ""


class Violated(NamedTuple):
    """An invariant that does not hold, and what was seen."""

    invariant: str
    seen: str

    def __str__(self) -> str:
        return f"{self.invariant}: {self.seen}"


class Turn:
    """A copy of a state that one step may change.

    Attributes:
        p: The process whose turn it is.
        w: The world.
        broken: What the step itself did that may never be done.
    """

    def __init__(self, config: Config, state: State, who: int) -> None:
        self.config, self.who = config, who
        self.w: World = state.world
        self.processes = state.processes
        self.p: Process = state.processes[who]
        self.broken: Violated | None = None

    def state(self) -> State:
        """What has become of the state."""
        return State(self.w, (*self.processes[: self.who], self.p, *self.processes[self.who + 1 :]))

    def is_mutant(self, name: str) -> bool:
        """Whether this switch of the protocol is off."""
        return self.config.mutant == name

    # Going on.

    def go(self, at: str) -> None:
        """The step that comes next."""
        self.p = self.p._replace(at=at)

    def end(self) -> None:
        """The program has ended; what it was promised stays promised."""
        p = self.p
        self.p = DEAD._replace(program=p.program, promise=p.promise, promised=p.promised, entry=p.entry)
        if not p.promise:
            self.p = DEAD

    def others(self) -> tuple[Process, ...]:
        """All processes but this one."""
        return self.processes[: self.who] + self.processes[self.who + 1 :]

    # Names and files.

    def _at(self, place: str, entry: int) -> int:
        return name_of(place, entry, self.config.entries)

    def ino(self, place: str, entry: int) -> int:
        """The file that a name leads to, or NOTHING."""
        return self.w.names[self._at(place, entry)]

    def file(self, ino: int) -> File:
        """A file."""
        return self.w.files[ino]

    def ident(self, ino: int) -> Ident | None:
        """Inode and mtime; of no file None."""
        return None if ino == NOTHING else (ino, self.w.files[ino].edits)

    def there(self, place: str, entry: int) -> Ident | None:
        """The identity of what a name leads to."""
        return self.ident(self.ino(place, entry))

    def links(self, ino: int) -> int:
        """How many names a file has."""
        return self.w.names.count(ino)

    def create(self, content: str, *, synced: bool = False) -> int:
        """A new file without a name."""
        self.w = self.w._replace(files=(*self.w.files, File(content, synced)))
        return len(self.w.files) - 1

    def write(self, ino: int, content: str) -> None:
        """Change a file's bytes."""
        self.set_file(ino, self.w.files[ino]._replace(bytes=content, synced=False))

    def set_file(self, ino: int, file: File) -> None:
        """Change a file."""
        self.w = self.w._replace(files=put(self.w.files, ino, file))

    def name(self, place: str, entry: int, ino: int, *, tail: bool = False) -> None:
        """Let a name lead to a file, or (NOTHING) be free."""
        at = self._at(place, entry)
        names = put(self.w.names, at, ino)
        if self.w.losses:
            self.w = self.w._replace(names=names, pending=(*self.w.pending, Change(at, ino, tail)))
        else:
            self.w = self.w._replace(names=names, durable=names)  # nobody will ask what is durable

    def rename(self, old: str, new: str, entry: int) -> None:
        """Rename a file; what had the new name has lost it."""
        self.name(new, entry, self.ino(old, entry))
        self.name(old, entry, NOTHING, tail=True)

    def sync(self, place: str) -> None:
        """Make the changes of one directory durable, and what they must not be durable without."""
        if not self.w.pending:
            return
        first, behind = PLACES.index(place) * self.config.entries, (PLACES.index(place) + 1) * self.config.entries
        keep = [first <= change.name < behind for change in self.w.pending]
        for at, change in enumerate(self.w.pending):
            if change.tail and keep[at]:
                keep[at - 1] = True
            elif change.tail and keep[at - 1] and HALF_RENAMES not in self.w.events:
                keep[at] = True
        durable, rest = list(self.w.durable), []
        for at, (change, now) in enumerate(zip(self.w.pending, keep, strict=True)):
            if now:
                durable[change.name] = change.ino
            else:
                rest.append(change._replace(tail=change.tail and not keep[at - 1]))
        self.w = self.w._replace(durable=tuple(durable), pending=tuple(rest))

    # The index; each call is one transaction.

    def row(self, entry: int) -> Row | None:
        """What the index says of an entry."""
        return self.w.rows[entry]

    def set_row(self, entry: int, row: Row | None) -> None:
        """Write a row; a file that it lets go of is charged to whoever else has it (the triggers of `index/schema.py`)."""
        before = self.w.rows[entry]
        rows = put(self.w.rows, entry, row)
        aside = self.w.aside
        if before is not None and before.charged and before.ident and (row is None or row.ident != before.ident):
            heirs = [
                at
                for at, other in enumerate(rows)
                if at != entry and other is not None and other.ident == before.ident and not other.charged
            ]
            taken = any(
                other is not None and other.ident == before.ident and other.charged
                for at, other in enumerate(rows)
                if at != entry
            )
            kept = aside[entry]
            if heirs:
                rows = put(rows, heirs[0], rows[heirs[0]]._replace(charged=before.charged))  # type: ignore[union-attr]
            elif not taken and kept is not None and kept.ident == before.ident and not kept.charged:
                aside = put(aside, entry, kept._replace(charged=before.charged))
        self.w = self.w._replace(rows=rows, aside=aside)

    def set_aside_row(self, entry: int, row: Aside | None) -> None:
        """Write a row of `quarantine`."""
        self.w = self.w._replace(aside=put(self.w.aside, entry, row))

    def counted(self) -> int:
        """What the index says is there, or promised."""
        rows = sum(row.charged + row.next_charged for row in self.w.rows if row is not None)
        return rows + sum(row.charged for row in self.w.aside if row is not None)

    # Small files.

    def touch(self, entry: int) -> None:
        """Last use = now."""
        self.w = self.w._replace(recent=put(self.w.recent, entry, True))

    def mark(self, entry: int, ident: Ident | None) -> None:
        """Make a damage mark, or (None) remove it."""
        self.w = self.w._replace(marks=put(self.w.marks, entry, ident))

    def note(self, entry: int, version: str) -> None:
        """Write down of which version the partial is."""
        self.w = self.w._replace(notes=put(self.w.notes, entry, version))

    def remember(self, entry: int, *, received: int | None = None, fresh: bool | None = None) -> None:
        """What the invariants remember."""
        if received is not None:
            self.w = self.w._replace(received=put(self.w.received, entry, received))
        if fresh is not None:
            self.w = self.w._replace(fresh=put(self.w.fresh, entry, fresh))

    # Locks.

    def try_write(self, entry: int) -> bool:
        """Take W unless somebody has it."""
        if any(entry in other.writes for other in self.others()):
            return False
        self.p = self.p._replace(writes=self.p.writes | {entry})
        return True

    def release_write(self, entry: int) -> None:
        """Let W go."""
        self.p = self.p._replace(writes=self.p.writes - {entry})

    def open(self, entry: int, ino: int) -> None:
        """Have a file open."""
        self.p = self.p._replace(fd=put(self.p.fd, entry, ino))

    def close(self, entry: int) -> None:
        """Close it, and let its lease go."""
        self.p = self.p._replace(fd=put(self.p.fd, entry, NOTHING), lease=put(self.p.lease, entry, ""))

    def lease(self, entry: int, kind: str) -> None:
        """Hold a lease on the open file."""
        self.p = self.p._replace(lease=put(self.p.lease, entry, kind))

    def leases(self, ino: int) -> set[str]:
        """The leases that others hold on a file."""
        return {
            lease
            for other in self.others()
            for fd, lease in zip(other.fd, other.lease, strict=True)
            if fd == ino and lease
        }

    def is_open(self, ino: int) -> bool:
        """Whether anybody else has a file open."""
        return any(ino in other.fd for other in self.others())

    def is_tested(self, ino: int) -> bool:
        """Whether somebody's open test holds this open up; asking breaks the kernel's lease, which its holder will see."""
        held = False
        processes = list(self.processes)
        for at, other in enumerate(processes):
            for entry, (fd, lease) in enumerate(zip(other.fd, other.lease, strict=True)):
                if at != self.who and fd == ino and lease in ("kernel", "broken"):
                    processes[at] = other._replace(lease=put(other.lease, entry, "broken"))
                    held = True
        self.processes = tuple(processes)
        return held

    def break_by_force(self, ino: int) -> bool:
        """After `lease-break-time` the kernel takes the lease from a holder that does not let go, being stopped somewhere.

        Not between its last look and the rename behind it, which are two system calls in a row.
        """
        return all(
            other.at not in ("evict:rename", "replace:rename")
            for other in self.others()
            for fd, lease in zip(other.fd, other.lease, strict=True)
            if fd == ino and lease == "broken"
        )

    @property
    def first(self) -> int:
        """The first entry of those that are replaced together; else the only one."""
        return self.p.unit[0] if self.p.unit else self.p.entry

    @property
    def later(self) -> int | None:
        """The next entry of those that are replaced together, None behind the last."""
        later = [entry for entry in self.p.unit if entry > self.p.entry]
        return later[0] if later else None

    @property
    def partial(self) -> int:
        """The inode that the entry's partial is, open here."""
        return self.p.partial[self.p.entry]
