"""What happens to processes: death, power loss, time, people, the Hub. Each may come between any two steps."""

from __future__ import annotations

from collections.abc import Iterator

from .state import (
    ANY_MOMENT,
    DEAD,
    EMPTY,
    FULL,
    NOTHING,
    OWN,
    PLACES,
    ROT,
    File,
    Process,
    Row,
    State,
    World,
    after_power_loss,
)
from .turn import Config

# Where each program begins, and where a hit that was found, and a miss, go on.
_BEGINNINGS = {
    "fetch": ("(open)", "(handed out)", "lock:write"),
    "read": ("(open)", "(handed out)", "(missed)"),
    "lease": ("(open)", "(hold)", "(missed)"),
    "outsider": ("(outsider opens)", "", ""),
    "update": ("(repo lock)/update", "", ""),
    "job": ("(repo lock)/job", "", ""),
    "repair": ("(list)", "", ""),
    "verify": ("(list)", "", ""),
    "evict": ("lock:evictor", "", ""),
    "settle": ("lock:evictor", "", ""),
}
USER = frozenset(["own", "copy", "edit", "remove"])
# From the last use being set until the file is handed out: `min_idle` is longer than that.
_PUBLISHING = frozenset(
    [
        "row:installing",
        "row:installing/link",
        "publish:link",
        "row:carry",
        "row:installing/job",
        "publish:link/job",
        "publish:fsync-directory/job",
        "publish:unlink-partial/job",
        "row:ready/job",
        "link:link",
        "publish:fsync-directory",
        "link:fsync-directory",
        "publish:unlink-partial",
        "row:ready",
        "row:ready/link",
        "replace:claim",
        "(still sole)/replace",
        "replace:rename",
        "replace:fsync-directory",
    ]
)
# Between these no system call can tell what a rename will replace: see GAPS in `mutants.py`.
REPLACING = frozenset(["(still sole)/replace", "replace:rename"])


def beginning(config: Config, program: str) -> Process:
    """A process that has not taken a step yet; `program:entry` for another entry than the first."""
    name, _, number = program.partition(":")
    at, then, otherwise = _BEGINNINGS[name]
    entry = int(number or 0)
    none = (NOTHING,) * config.entries
    return Process(
        name,
        at,
        entry,
        entry,
        partial=none,
        fd=none,
        lease=("",) * config.entries,
        rows=(None,) * config.entries,
        then=then,
        otherwise=otherwise,
    )


def initial(config: Config) -> State:
    """The state in which an exploration begins."""
    entries = config.entries
    files: list[File] = []
    names = [NOTHING] * (len(PLACES) * entries)
    rows: list[Row | None] = [None] * entries
    for entry in config.ready:
        if not (config.twins and files):
            files.append(File("A", synced=True))
        names[entry] = len(files) - 1
        charged = 0 if config.twins and entry != config.ready[0] else FULL
        rows[entry] = Row("ready", "A", (len(files) - 1, 0), charged)
    world = World(
        files=tuple(files),
        names=tuple(names),
        durable=tuple(names),
        pending=(),
        rows=tuple(rows),
        aside=(None,) * entries,
        recent=(False,) * entries,
        marks=(None,) * entries,
        notes=(EMPTY,) * entries,
        hub=("A",) * entries,
        received=(0,) * entries,
        fresh=(False,) * entries,
        returned=frozenset(),
        crashes=config.crashes,
        losses=config.losses,
        events=config.events,
        listing="A" if config.whole and config.ready else "",
    )
    return State(world, tuple(beginning(config, program) for program in config.programs))


def user_came(config: Config, world: World) -> bool:
    """Whether somebody did something to the files by hand."""
    return bool((config.events - world.events) & USER)


def happenings(config: Config, state: State) -> Iterator[tuple[str, State]]:
    """Everything that may happen to this state by itself."""
    world = state.world
    for who, process in enumerate(state.processes):
        if world.crashes and process.at != DEAD.at:
            processes = (*state.processes[:who], DEAD, *state.processes[who + 1 :])
            yield (
                f"SIGKILL of {config.programs[who]} {who}",
                State(world._replace(crashes=world.crashes - 1), processes),
            )
    if world.losses:
        anew = tuple(beginning(config, program) for program in config.programs)
        for left in after_power_loss(world):
            yield "power loss, and everybody begins anew", State(left, anew)
    for event in sorted(world.events):
        happened = _EVENTS.get(event)
        if happened is not None and (after := happened(config, state)) is not None:
            yield _SAID[event], after._replace(world=after.world._replace(events=after.world.events - {event}))


def _age(config: Config, state: State) -> State | None:
    if any(process.at in _PUBLISHING and process.program != "repair" for process in state.processes):
        return None
    never = (False,) * config.entries
    rows = tuple(row and row._replace(used=False) for row in state.world.rows)
    processes = tuple(
        (DEAD if process.at == DEAD.at else process._replace(promise="", promised=None))
        if process.promise == "handed"
        else process
        for process in state.processes
    )
    return State(state.world._replace(recent=never, fresh=never, rows=rows), processes)


def _rot(_config: Config, state: State) -> State | None:
    ino = state.world.names[0]
    if ino == NOTHING or state.world.files[ino].bytes == OWN:
        return None
    return State(_with_file(state.world, ino, state.world.files[ino]._replace(bytes=ROT, synced=True)), state.processes)


def _move(config: Config, state: State) -> State | None:
    return state._replace(world=state.world._replace(hub=("B",) * config.entries))


def _own(config: Config, state: State) -> State | None:
    """Somebody moves a file of their own to the path, durably."""
    return _moved_there(config, state, OWN)


def _copy(config: Config, state: State) -> State | None:
    """Somebody places the right bytes, which they have from elsewhere."""
    return _moved_there(config, state, "A")


def _moved_there(config: Config, state: State, content: str) -> State | None:
    if ANY_MOMENT not in config.events and any(process.at in REPLACING for process in state.processes):
        return None
    world = state.world
    if world.names[0] != NOTHING and world.files[world.names[0]].bytes == OWN:
        return None  # they would replace their own
    ino = len(world.files)
    world = world._replace(files=(*world.files, File(content, synced=True, edits=1)))
    return _forgotten(state._replace(world=_with_path(world, ino)))


def _edit(_config: Config, state: State) -> State | None:
    """Somebody changes the file in place; while the kernel tests it they would wait."""
    ino = state.world.names[0]
    if ino == NOTHING:
        return None
    for process in state.processes:
        if any(
            fd == ino and lease in ("kernel", "broken") for fd, lease in zip(process.fd, process.lease, strict=True)
        ):
            return None
    file = state.world.files[ino]
    world = _with_file(state.world, ino, file._replace(bytes=OWN, edits=file.edits + 1, synced=True))
    return _forgotten(state._replace(world=world))


def _remove(_config: Config, state: State) -> State | None:
    """Somebody removes the file."""
    ino = state.world.names[0]
    if ino == NOTHING or state.world.files[ino].bytes == OWN:
        return None  # their own they may remove: there is nothing to see
    return _forgotten(state._replace(world=_with_path(state.world, NOTHING)))


_EVENTS = {"age": _age, "rot": _rot, "move": _move, "own": _own, "copy": _copy, "edit": _edit, "remove": _remove}
_SAID = {
    "age": "min_idle passes without a use",
    "rot": "the bytes of entry 0 rot",
    "move": "the Hub moves on to version B",
    "own": "somebody moves a file of their own to the path of entry 0",
    "copy": "somebody moves a file with the right bytes to the path of entry 0",
    "edit": "somebody edits the file of entry 0",
    "remove": "somebody removes the file of entry 0",
}


def _with_file(world: World, ino: int, file: File) -> World:
    return world._replace(files=(*world.files[:ino], file, *world.files[ino + 1 :]))


def _with_path(world: World, ino: int) -> World:
    """The path of entry 0 leads there, durably: what a person does is not what is checked."""
    pending = tuple(change for change in world.pending if change.name != 0)
    return world._replace(
        names=(ino, *world.names[1:]),
        durable=(ino, *world.durable[1:]),
        pending=tuple(change._replace(tail=False) for change in pending),
    )


def _forgotten(state: State) -> State:
    """A person has decided: what was promised of entry 0 is void."""
    world = state.world._replace(fresh=(False, *state.world.fresh[1:]), received=(0, *state.world.received[1:]))
    return state._replace(world=world)
