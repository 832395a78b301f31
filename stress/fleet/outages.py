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

_Fault = Callable[[Site], Callable[[], object]]  # what is done, and what mends it
_OTHERS = 3  # processes of that host that come later


class _Cost(NamedTuple):
    """Seconds that fetches of one host took longer than the same ones of another host, which has no engine.

    Attributes:
        first: The first one, which meets the fault.
        same: One of those that follow in that process.
        other: The first one of another process of that root, which loads what it needs as well.
        later: The next one there.
    """

    first: float
    same: float
    other: float
    later: float


class _Host:
    """A process that fetches first, and others of its root."""

    def __init__(self, site: Site, number: int, *, engines: bool) -> None:
        root = site.root()
        self.process, *self.others = (
            site.process(number, root, tier=engines, lead=engines) for _ in range(1 + _OTHERS)
        )
        for one in (self.process, *self.others):
            one.wait("ready")

    def first(self) -> float:
        """Fetch what nobody here has."""
        return self.process.fetched(REPO, MIDDLE)


def tried(site: Site) -> Iterator[Row]:
    """Each engine with each fault."""
    for name, engine in (("bucket", site.bucket), ("PostgreSQL", site.postgres)):
        yield from _compared(site, f"{name} is down at the start", _while(engine.kill, engine.run))
        if not site.brief:
            yield from _compared(site, f"{name} hangs at the start", _while(engine.hang, engine.go_on))
            yield from _waited(site, f"{name} is killed in mid-wait", engine, _while(engine.kill, engine.run))
            yield from _waited(site, f"{name} hangs in mid-wait", engine, _while(engine.hang, engine.go_on))
    for what, lie in list(_LIES.items())[: 1 if site.brief else None]:
        yield from _compared(site, f"bucket: {what}", partial(_lying, lie=lie), works=True, told=what not in _UNSEEN)
    if not site.brief:
        yield from _compared(site, "PostgreSQL gives the lead to all who ask", _generous, works=True, told=False)


def _compared(site: Site, what: str, fault: _Fault, *, works: bool = False, told: bool = True) -> Iterator[Row]:
    """A host that has nothing comes while something is wrong, and tells it.

    Where the engine works nonetheless, it is loaded and asked; what cannot be told from an engine that is right is not told.
    """
    with site.trial():
        calm, host = _Host(site, 1, engines=False), _Host(site, 0, engines=True)
        alone = calm.first()
        mend = fault(site)
        try:
            cost = _followed(site, host.first() - alone, calm, host)
            assert bool(host.process.told("warning")) == told, f"{what}: it was met"
        finally:
            mend()
    yield from _rows(what, cost, works=works)


def _waited(site: Site, what: str, engine: Engine, fault: _Fault) -> Iterator[Row]:
    """Something goes wrong while a host waits for another one that leads; the bucket's fault is met when that lets go."""
    with site.trial():
        calm, host = _Host(site, 1, engines=False), _Host(site, 0, engines=True)
        alone = calm.first()
        lead = PostgresFlight(site.postgres.address).lead(site.called(MIDDLE), lambda: True)
        assert lead.held, "nobody else leads"
        host.process.order(REPO, MIDDLE)
        site.wait_for_waiters(1)
        mend = fault(site)
        began = time.monotonic()
        try:
            if engine is site.bucket:
                lead.release()
            took = host.process.wait("done", "failed", name=MIDDLE)["at"] - began
            cost = _followed(site, took - alone, calm, host)
            assert host.process.told("warning"), f"{what}: it was met"
        finally:
            mend()
            lead.release()
    yield from _rows(what, cost)


def _followed(site: Site, first: float, calm: _Host, host: _Host) -> _Cost:
    """What the fetches after the first one take, each of which has right bytes; of several alike the one in the middle."""
    same = statistics.median(_longer(calm.process, host.process, name) for name in SMALL[2 * _OTHERS :])
    times = []
    for number, (alone, other) in enumerate(zip(calm.others, host.others, strict=True)):
        times.append([_longer(alone, other, name) for name in SMALL[2 * number : 2 * number + 2]])
    for one in (host.process, *host.others):
        for told in one.told("done"):
            assert site.right([one], told["name"]) == 1, f"{told['name']} has the right bytes"
    return _Cost(first, same, *map(statistics.median, zip(*times, strict=True)))


def _longer(alone: Process, process: Process, name: str) -> float:
    without = alone.fetched(REPO, name)
    return process.fetched(REPO, name) - without


def _rows(what: str, cost: _Cost, *, works: bool = False) -> Iterator[Row]:
    yield seconds(f"{what}: the first fetch takes longer by", _ONCE, cost.first)
    yield seconds("– each after it", _AFTER, cost.same)
    yield seconds("– in another process of that host", _AFTER, cost.later if works else cost.other)


def _while(fault: Callable[[], None], mend: Callable[[], None]) -> _Fault:
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
_UNSEEN = ("it has forgotten all, and lists nothing",)


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
