"""Engines that are down, hang, or lie: what they cost the one who meets that first, and everybody after."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple

import psycopg

from model_cache.fleet.bucket import Bucket
from model_cache.fleet.postgres import PostgresFlight

from .engines import Engine, bucket_environment
from .network import SITE
from .process import Process
from .rows import Row, seconds
from .site import MIDDLE, REPO, SMALL, Site

_ONCE, _AFTER = 12.0, 0.1  # seconds that a fetch may take longer: the first one, and each that follows


class _Cost(NamedTuple):
    """Seconds of fetches on one host, each compared with the same one without an engine.

    Attributes:
        first: The first one, which meets the fault.
        same: One of those that follow in that process, on the average.
        other: The first one of another process of that root, which loads what it needs as well.
        later: The next one there.
    """

    first: float
    same: float
    other: float
    later: float


def tried(site: Site) -> Iterator[Row]:
    """Each engine with each fault, against the same fetches without an engine."""
    with site.trial():
        alone = _cost(site, tier=False, lead=False)
    for name, engine in (("bucket", site.bucket), ("PostgreSQL", site.postgres)):
        yield from _compared(site, f"{name} is down at the start", alone, _while(engine.kill, engine.run))
        if not site.brief:
            yield from _compared(site, f"{name} hangs at the start", alone, _while(engine.hang, engine.go_on))
            yield from _waited(site, f"{name} is killed in mid-wait", alone, engine, engine.kill, engine.run)
            yield from _waited(site, f"{name} hangs in mid-wait", alone, engine, engine.hang, engine.go_on)
    for what, lie in list(_LIES.items())[: 1 if site.brief else None]:
        yield from _compared(site, f"bucket: {what}", alone, partial(_lying, lie=lie), works=True)
    if not site.brief:
        yield from _compared(site, "PostgreSQL gives the lead to all who ask", alone, _generous, works=True)


def _compared(
    site: Site, what: str, alone: _Cost, made: Callable[[Site], Callable[[], object]], *, works: bool = False
) -> Iterator[Row]:
    """A host that has nothing comes while something is wrong; where the engine works nonetheless, it is loaded and asked."""
    with site.trial():
        mend = made(site)
        try:
            cost = _cost(site)
        finally:
            mend()
    yield from _rows(what, cost, alone, works=works)


def _rows(what: str, cost: _Cost, alone: _Cost, *, works: bool = False) -> Iterator[Row]:
    yield seconds(f"{what}: the first fetch takes longer by", _ONCE, cost.first - alone.first)
    other = cost.later - alone.later if works else cost.other - alone.other
    yield seconds("– each after it, in this process and in another", _AFTER, max(cost.same - alone.same, other))


def _cost(site: Site, *, tier: bool = True, lead: bool = True) -> _Cost:
    """A host fetches a file of some size, then small ones; another process of its root does, too."""
    root = site.root()
    process, other = (site.process(0, root, tier=tier, lead=lead) for _ in range(2))
    process.wait("ready")
    return _followed(site, process.fetched(REPO, MIDDLE), process, other)


def _followed(site: Site, first: float, process: Process, other: Process) -> _Cost:
    """What the fetches after the first one take, each of which has right bytes."""
    other.wait("ready")
    mine, its = SMALL[2:], SMALL[:2]
    same = statistics.mean(process.fetched(REPO, name) for name in mine)
    cost = _Cost(first, same, *(other.fetched(REPO, name) for name in its))
    for one, names in ((process, [MIDDLE, *mine]), (other, its)):
        for name in names:
            assert site.right([one], name) == 1, f"{name} has the right bytes"
    return cost


def _waited(
    site: Site, what: str, alone: _Cost, engine: Engine, fault: Callable[[], None], mend: Callable[[], None]
) -> Iterator[Row]:
    """Something goes wrong while a host waits for another one that leads; the bucket's fault is met when that lets go."""
    with site.trial():
        root = site.root()
        process, other = site.process(0, root), site.process(0, root)
        process.wait("ready")
        lead = PostgresFlight(site.postgres.address).lead(site.called(MIDDLE), lambda: True)
        assert lead.held, "nobody else leads"
        process.order(REPO, MIDDLE)
        site.wait_for_waiters(1)
        fault()
        began = time.monotonic()
        try:
            if engine is site.bucket:
                lead.release()
            process.done(MIDDLE)
            took = process.wait("done", name=MIDDLE)["at"] - began
            cost = _followed(site, took, process, other)
        finally:
            mend()
            lead.release()
    yield from _rows(what, cost, alone)


def _while(fault: Callable[[], None], mend: Callable[[], None]) -> Callable[[Site], Callable[[], object]]:
    """A fault that lasts for a trial."""

    def made(_: Site) -> Callable[[], object]:
        fault()
        return mend

    return made


def _flipped(held: bytes) -> bytes:
    middle = len(held) // 2
    return held[:middle] + bytes([held[middle] ^ 1]) + held[middle + 1 :]


_LIES: dict[str, Callable[[bytes], bytes | None]] = {
    "one byte of each object is another": _flipped,
    "each object is a byte too short": lambda held: held[:-1],
    "each object is a byte too long": lambda held: held + b"x",
    "each object is empty": lambda _: b"",
    "it has forgotten all, and lists nothing": lambda _: None,
}


def _lying(site: Site, lie: Callable[[bytes], bytes | None]) -> Callable[[], object]:
    """The bucket has objects of other bytes by the right names, as another client put them there."""
    os.environ.update(bucket_environment(site.bucket.port, SITE))
    bucket = Bucket(site.bucket.address)
    for name in (MIDDLE, *SMALL):
        held = lie(site.served(name).read_bytes())
        if held is not None:
            bucket.offer(site.called(name), held, len(held))
    return lambda: None


def _generous(site: Site) -> Callable[[], object]:
    """A function of the database stands in the place of its own, and waits for nobody."""
    with psycopg.connect(site.postgres.address, autocommit=True) as session:
        session.execute("CREATE FUNCTION public.pg_advisory_lock(bigint) RETURNS void LANGUAGE sql AS ''")
        session.execute("ALTER ROLE fleet SET search_path = public, pg_catalog")

    def mend() -> None:
        with psycopg.connect(site.postgres.address, autocommit=True) as session:
            session.execute("ALTER ROLE fleet RESET search_path")
            session.execute("DROP FUNCTION public.pg_advisory_lock(bigint)")

    return mend
