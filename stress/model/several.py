"""Several files of one repo: one admission, whose room a carrier is charged for, and groups that are published together.

The program `job` is `download/flight.py` with one worker, which holds at most two W; its listing and the repo's lock are
`download/repo.py` and `download/moving.py`.
"""

from __future__ import annotations

from collections.abc import Iterable

from .state import FULL, MOVING, NOTHING, PARTIAL, PATH, Row, put
from .steps import step
from .turn import Turn

_HELD = 2  # write locks at a time


@step("(repo lock)/update")
def repo_lock_update(t: Turn) -> bool | None:
    """The repo alone, before any W."""
    if t.config.whole:
        if any(other.repo for other in t.others()) and not t.is_mutant("a job does not share the lock of its repo"):
            return False
        t.p = t.p._replace(repo="alone", version=t.w.hub[0])
    t.go("lock:write")
    return None


@step("(repo lock)/job")
def repo_lock_job(t: Turn) -> bool | None:
    """The repo shared, so that it stays at its commit; without a listing it is asked for first."""
    if any(other.repo == "alone" for other in t.others()) and not t.is_mutant(
        "a job does not share the lock of its repo"
    ):
        return False
    if not t.w.listing:
        t.go("listing:write/job")
        return None
    if t.w.listing == MOVING:
        t.end()  # the update is gone on with, before anything else
        return None
    t.p = t.p._replace(repo="shared", version=t.w.listing)
    t.go("(take)")
    return None


@step("listing:write/job")
def listing_write(t: Turn) -> None:
    """What the repo consists of is kept, durably."""
    if not t.w.listing:
        t.w = t.w._replace(listing=t.w.hub[0])
    t.go("(repo lock)/job")


@step("listing:write/moving")
def listing_moving(t: Turn) -> None:
    """The listing of the commit to come, as one that is not there yet."""
    if not t.is_mutant("an update writes its listing only at its end"):
        t.w = t.w._replace(listing=MOVING)
    t.go("publish:fsync-file")


@step("listing:write/undo")
def listing_undo(t: Turn) -> None:
    """Nothing was replaced: the listing is what it was."""
    row = t.p.rows[t.first]
    t.w = t.w._replace(listing="A" if row is None else row.version)
    t.go("row:stopped")


@step("listing:write/there")
def listing_there(t: Turn) -> None:
    """Everything is in its place."""
    t.w = t.w._replace(listing=t.p.version)
    t.go("lock:release")


@step("(take)")
def take(t: Turn) -> None:
    """Try W of the next file, as long as there are not too many; what is not simply missing is left to others."""
    entry = next((entry for entry in t.config.job if entry not in t.p.tried), None)
    if entry is None or len(t.p.writes) >= _HELD:
        _begin(t)
        return
    t.p = t.p._replace(tried=(*t.p.tried, entry), target=entry)
    if t.try_write(entry):
        t.p = t.p._replace(back="(taken)")
        t.go("(recover)")


@step("(taken)")
def taken(t: Turn) -> None:
    """Under W: is it still missing."""
    if t.ino(PATH, t.p.target) == NOTHING:
        t.p = t.p._replace(unit=(*t.p.unit, t.p.target))
    else:
        t.release_write(t.p.target)
    t.go("(take)")


def _begin(t: Turn) -> None:
    left = [entry for entry in t.p.unit if entry not in t.p.begun]
    if left and t.is_mutant("partials come before their rows") and t.p.partial[left[-1]] == NOTHING:
        ino = t.create("a")
        t.name(PARTIAL, left[-1], ino)
        t.p = t.p._replace(partial=put(t.p.partial, left[-1], ino))
    if left:
        t.go("row:reserve/sum" if t.p.carrier == NOTHING else "row:reserve/several")
    elif t.p.begun:
        _receive(t)
    else:
        t.end()


def _charged(t: Turn, entry: int) -> int:
    row = t.row(entry)
    return 0 if row is None else row.charged


@step("row:reserve/sum")
def reserve_sum(t: Turn) -> None:
    """Row of the carrier: `downloading`, with the bytes that all of the files may come to occupy, if they fit."""
    carrier, budget = t.p.unit[0], t.config.budget
    spare = sum(FULL - _charged(t, entry) for entry in t.p.unit[1:])
    spare += FULL * sum(entry not in t.p.tried for entry in t.config.job)
    charged = FULL if t.is_mutant("only the first file of several is charged") else FULL + spare
    if budget is not None and t.counted() - _charged(t, carrier) + charged > budget:
        t.go("row:stopped/job")
        return
    t.set_row(carrier, Row("downloading", t.p.version, charged=charged))
    t.p = t.p._replace(carrier=carrier, spare=spare, begun=(carrier,))
    _begin(t)


@step("row:reserve/several")
def reserve_several(t: Turn) -> None:
    """Rows: `downloading`, charged with what the carrier's row holds for them; beyond that only what fits."""
    spare, budget = t.p.spare, t.config.budget
    for entry in [entry for entry in t.p.unit if entry not in t.p.begun]:
        new = max(FULL - _charged(t, entry), 0)
        beyond = max(new - spare, 0)
        if budget is not None and beyond and t.counted() - (t.p.spare - spare) + beyond > budget:
            t.release_write(entry)
            t.p = t.p._replace(unit=tuple(other for other in t.p.unit if other != entry))
            continue
        spare -= new - beyond
        t.set_row(entry, Row("downloading", t.p.version, charged=FULL))
        t.p = t.p._replace(begun=(*t.p.begun, entry))
    _carry(t, t.p.carrier, spare - t.p.spare)
    t.p = t.p._replace(spare=spare)
    _begin(t)


def _carry(t: Turn, entry: int, more: int) -> None:
    row = t.row(entry)
    if row is not None and row.state == "downloading":
        t.set_row(entry, row._replace(charged=row.charged + more))


def _receive(t: Turn) -> None:
    entry = next((entry for entry in t.p.begun if entry not in t.p.complete), None)
    if entry is None:
        t.go("(publish)")
    else:
        t.p = t.p._replace(entry=entry)
        t.go("(open partial)")


@step("(next)")
def next_file(t: Turn) -> Iterable[Turn]:
    """Publish what is complete, or receive another one first."""
    others = []
    if set(t.p.begun) - set(t.p.complete):
        other = Turn(t.config, t.state(), t.who)
        _receive(other)
        others.append(other)
    t.go("(publish)")
    return others


@step("(publish)")
def publish(t: Turn) -> None:
    """Of what is complete the carrier waits, as long as it carries and nobody else can."""
    if t.p.carrier in t.p.complete and t.p.spare:
        heirs = set(t.p.begun) - set(t.p.complete)
        later = set(t.config.job) - set(t.p.tried)
        if heirs or not later:
            t.go("row:installing/job" if t.is_mutant("the carrier takes what is left with it") else "row:carry")
            return
        if t.p.complete == (t.p.carrier,):
            t.go("(take)")
            return
    t.go("row:installing/job")


@step("row:carry")
def row_carry(t: Turn) -> None:
    """Another row is charged for what is left, or none is."""
    heirs = sorted(set(t.p.begun) - set(t.p.complete))
    _carry(t, t.p.carrier, -t.p.spare)
    if heirs:
        _carry(t, heirs[0], t.p.spare)
    t.p = t.p._replace(carrier=heirs[0] if heirs else t.p.carrier, spare=t.p.spare if heirs else 0)
    t.go("row:installing/job")


def _group(t: Turn) -> list[int]:
    """What is published together."""
    later = set(t.config.job) - set(t.p.tried)
    heirs = set(t.p.begun) - set(t.p.complete)
    waits = t.p.carrier if t.p.spare and later and not heirs else NOTHING
    return [entry for entry in t.p.complete if entry != waits]


@step("row:installing/job")
def installing(t: Turn) -> None:
    """Rows: these inodes are about to stand at their paths."""
    for entry in _group(t):
        row = t.row(entry)
        assert row is not None, "it was begun"
        t.set_row(entry, row._replace(state="installing", ident=t.ident(t.p.partial[entry]), charged=FULL))
    t.p = t.p._replace(entry=_group(t)[0])
    t.go("publish:link/job")


def _on(t: Turn, again: str, then: str) -> None:
    group = _group(t)
    at = group.index(t.p.entry) + 1
    t.p = t.p._replace(entry=group[at] if at < len(group) else group[0])
    t.go(again if at < len(group) else then)


@step("publish:link/job")
def link(t: Turn) -> None:
    """Give the bytes of one file their name."""
    t.name(PATH, t.p.entry, t.p.partial[t.p.entry])
    t.remember(t.p.entry, fresh=True)
    early = t.is_mutant("a group is ready before its names are durable")
    _on(t, "publish:link/job", "publish:unlink-partial/job" if early else "publish:fsync-directory/job")


@step("publish:fsync-directory/job")
def fsync_directory(t: Turn) -> None:
    """Make all their names durable."""
    t.sync(PATH)
    t.go(
        "(let go)/job" if t.is_mutant("a group is ready before its names are durable") else "publish:unlink-partial/job"
    )


@step("publish:unlink-partial/job")
def unlink_partial(t: Turn) -> None:
    """Remove one partial's name."""
    t.name(PARTIAL, t.p.entry, NOTHING)
    _on(t, "publish:unlink-partial/job", "row:ready/job")


@step("row:ready/job")
def ready(t: Turn) -> None:
    """Rows: `ready`."""
    for entry in _group(t):
        row = t.row(entry)
        if row is not None:
            t.set_row(entry, row._replace(state="ready", used=True))
    early = t.is_mutant("a group is ready before its names are durable")
    t.go("publish:fsync-directory/job" if early else "(let go)/job")


@step("(let go)/job")
def let_go(t: Turn) -> None:
    """Let W of what is published go, and take others."""
    group = _group(t)
    for entry in group:
        t.release_write(entry)
    kept = {name: tuple(e for e in getattr(t.p, name) if e not in group) for name in ("unit", "begun", "complete")}
    t.p = t.p._replace(unit=kept["unit"], begun=kept["begun"], complete=kept["complete"])
    t.go("(take)")


@step("row:stopped/job")
def stopped(t: Turn) -> None:
    """Rows: what is left of each is a partial, or nothing; all W go."""
    for entry in t.p.begun:
        ino, row = t.ino(PARTIAL, entry), t.row(entry)
        left = 0 if ino == NOTHING else t.file(ino).size
        if ino != NOTHING and not left:
            t.name(PARTIAL, entry, NOTHING)
        if row is not None:
            t.set_row(entry, row._replace(state="partial", charged=left) if left else None)
    t.p = t.p._replace(writes=frozenset())
    t.end()
