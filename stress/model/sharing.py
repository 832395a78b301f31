"""The steps of a host that shares a tier and a lead, in the order of `download/sharing.py`."""

from __future__ import annotations

from collections.abc import Callable

from .fleet import BAD, GOOD, NONE, Turn, step
from .turn import Violated

_TURNS = 2  # as often a host that is deceived waits for who replaces the object; then it goes alone


@step("(begin)")
def _begin(t: Turn) -> None:
    """Take W; a partial that is whole is only to be verified."""
    whole = t.h.partial in (GOOD, BAD)
    t.go("verify:hash/hub" if whole else "tier:open")


def _look(t: Turn, without: Callable[[Turn], None]) -> None:
    """Ask the tier: it answers, fails, says that nothing is there, or will send other bytes."""
    if not t.h.tier:
        without(t)
        return
    for other in t.harm():
        other.h = other.h._replace(tier=False)
        without(other)
    for other in t.harm():
        without(other)
    for other in t.harm():
        other.go("tier:write", sends=BAD, found=t.w.version)
    if t.w.bucket in (GOOD, BAD):
        t.go("tier:write", sends=t.w.bucket, found=t.w.version)
    else:
        without(t)  # one of another size is reported, and as good as none


def _to_lead(t: Turn) -> None:
    t.go("(lead)", sends=NONE, found=0, turns=t.h.turns + 1)


def _download(t: Turn) -> None:
    """From the Hub; and what comes is offered."""
    t.go("body:open", sends=NONE, found=0, offers=True)


def _deceived(t: Turn) -> None:
    """What was found has other bytes: have a turn, and another one, so that one host alone replaces it."""
    t.h = t.h._replace(damaged=t.h.found)
    alone = t.h.turns == _TURNS or (t.h.turns and t.is_mutant("who is deceived behind the lead goes alone"))
    (_download if alone else _to_lead)(t)


@step("tier:open")
def _first_look(t: Turn) -> None:
    """Look whether the tier has it."""
    _look(t, _to_lead)


@step("tier:write")
def _write(t: Turn) -> None:
    """Write what the tier sends into the partial, which may have half of it."""
    for other in t.harm():
        other.h = other.h._replace(tier=False)
        if t.is_mutant("the error of an engine is one of the fetch"):
            other.let_go()
            other.end()
        else:
            (_download if t.h.turns else _to_lead)(other)
    for other in t.harm():  # it ends too early
        _deceived(other)
    t.write(t.h.sends)
    t.go("verify:hash/tier" if t.h.partial in (GOOD, BAD) else "tier:write")


@step("verify:hash/tier")
def _verify(t: Turn) -> None:
    """Compare the hash of what the tier sent."""
    if t.h.partial == GOOD or t.is_mutant("what a tier sends is not hashed"):
        t.go("(publish)")
    else:
        t.h = t.h._replace(partial=NONE)
        _deceived(t)


def _is_new(t: Turn) -> bool:
    """Whether there is an object that this host did not find damaged."""
    return t.w.bucket in (GOOD, BAD) and t.w.version != t.h.damaged


@step("(lead)")
def _lead(t: Turn) -> bool | None:
    """Wait until nobody leads; alone where nobody can say who does, and when patience ends."""
    if not (t.config.leads and t.h.tier and t.h.lead):
        _download(t)
        return None
    for other in t.harm():
        other.h = other.h._replace(lead=False)
        _download(other)
    if _is_new(t):
        for other in t.harm():  # the last look, of one that gave up
            other.h = other.h._replace(lead=False)
            other.go("tier:write", sends=t.w.bucket, found=t.w.version)
    if not t.take_lead():
        for other in t.harm():  # patience ends
            _download(other)
        if _is_new(t):
            t.also().go("tier:write", sends=t.w.bucket, found=t.w.version)  # who waits looks for itself now and then
        return False
    if t.is_mutant("no look behind the lead"):
        _download(t)
    else:
        t.go("tier:open/again")
    return None


@step("tier:open/again")
def _look_again(t: Turn) -> None:
    """Look again: who led before has put it there. What is still the damaged one is replaced, with the lead."""
    _look(t, _download)
    for turn in (t, *t.others):
        if turn.h.at != "tier:write":
            if not turn.h.tier:
                turn.let_go()  # of what comes without the tier nobody else has anything
            continue
        if turn.h.found == turn.h.damaged and not t.is_mutant("the damaged object is read again, without the lead"):
            _download(turn)
        else:
            turn.let_go()


@step("body:open")
def _ask(t: Turn) -> None:
    """Ask the Hub for what is missing."""
    t.w = t.w._replace(asked=t.w.asked + 1)
    for other in t.harm() if t.config.hub else ():
        if not t.is_mutant("who fails keeps the lead"):
            other.let_go()
        other.h = other.h._replace(refused=True)
        other.end()
    t.go("body:write")


@step("body:open/anew")
def _ask_anew(t: Turn) -> None:
    """Ask for all of it: the same download, that went on from half a lie."""
    t.go("body:write")


@step("body:write")
def _receive(t: Turn) -> None:
    """Write what the Hub sends into the partial."""
    t.write(GOOD)
    t.go("verify:hash/hub" if t.h.partial in (GOOD, BAD) else "body:write")


@step("verify:hash/hub")
def _verify_hub(t: Turn) -> None:
    """Compare the hash; a partial that began with wrong bytes comes again from its beginning."""
    if t.h.partial == GOOD:
        t.go("(publish)")
    else:
        t.go("body:open/anew", partial=NONE)


@step("(publish)")
def _publish(t: Turn) -> None:
    """Give the bytes their name; the fetch is over, and an upload goes on."""
    if t.h.partial != GOOD:
        t.broken = Violated("I1", "bytes are published that are not the promised ones")
    t.h = t.h._replace(served=True, partial=NONE)
    if not t.h.offers:
        t.end()
        return
    if t.is_mutant("the lead goes before the upload"):
        t.let_go()
    t.go("tier:offer")


@step("tier:offer")
def _offer(t: Turn) -> None:
    """Put it there, whatever is; it may fail, or keep something else."""
    if not t.h.tier:
        t.go("(let go)")
        return
    for other in t.harm():
        other.go("(let go)", tier=False)
        if t.is_mutant("an upload that fails keeps the lead"):
            other.end()
    for other in t.harm():
        other.w = other.w._replace(bucket=BAD, version=t.w.version + 1)
        other.go("(let go)")
    if t.w.bucket == NONE or not t.is_mutant("an object that is there is not replaced"):
        t.w = t.w._replace(bucket=GOOD, version=t.w.version + 1)
    t.go("(let go)")


@step("(let go)")
def _release(t: Turn) -> None:
    """Let the next one lead."""
    t.let_go()
    t.end()
