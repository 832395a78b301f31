"""Engines that are away for a moment, or full, while several hosts wait or read: who goes to the Hub nonetheless."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import psycopg

from .process import Process
from .rows import Row
from .site import CONNECTIONS, HOSTS, LARGE, REPO, Site

_LEFT = 2  # sessions of a full database: one leads, one waits


def tried(site: Site) -> Iterator[Row]:
    """PostgreSQL is full, or started anew in mid-wait; the bucket is started anew before an upload, and in mid-transfer."""
    yield from _full(site)
    yield from _restarted(site)
    if not site.brief:
        yield from _away_for_upload(site)
        yield from _away_for_reading(site)


def _full(site: Site) -> Iterator[Row]:
    with site.trial(), ExitStack() as sessions:
        for _ in range(CONNECTIONS - _LEFT):
            sessions.enter_context(psycopg.connect(site.postgres.address, autocommit=True))
        with _led(site) as hosts:
            for host in hosts:
                host.wait("waits")
        yield _outcome(site, hosts, f"PostgreSQL has {_LEFT} sessions left for {HOSTS} hosts", 1)


def _restarted(site: Site) -> Iterator[Row]:
    with site.trial():
        with _led(site) as hosts:
            site.wait_for_waiters(HOSTS - 1)
            site.postgres.kill()
            site.postgres.run()
            site.wait_for_waiters(HOSTS - 2)  # one of them leads now, beside the one who lost that
        yield _outcome(site, hosts, "PostgreSQL is started anew in mid-wait", 2)


def _away_for_upload(site: Site) -> Iterator[Row]:
    with site.trial():
        with _led(site) as hosts:
            site.wait_for_waiters(HOSTS - 1)
            site.bucket.kill()
        hosts[0].wait("tier:offer")
        site.bucket.run()
        yield _outcome(site, hosts, "the bucket is started anew when the leader has the file", 1)


def _away_for_reading(site: Site) -> Iterator[Row]:
    with site.trial():
        with _led(site) as hosts:
            site.wait_for_waiters(HOSTS - 1)
        hosts[1].wait("tier:write")
        began = time.monotonic()
        site.bucket.kill()
        site.bucket.run()
        away = time.monotonic() - began
        row = _outcome(site, hosts, "the bucket is started anew while hosts read", 1)
        # How soon it is back, and how far each host is by then, a busy machine decides.
        yield row._replace(measured=f"{row.measured}; it was away for {away:.1f} s", timed=True)


@contextmanager
def _led(site: Site) -> Iterator[list[Process]]:
    """Hosts with a process each, of which the first leads; the hub holds its body for the block."""
    hosts = [site.process(number, site.root(), connections=1) for number in range(HOSTS)]
    for host in hosts:
        host.wait("ready")
    site.hub.hold(LARGE, 0.5)
    hosts[0].order(REPO, LARGE)
    hosts[0].wait("third")
    for host in hosts[1:]:
        host.order(REPO, LARGE)
    yield hosts
    site.hub.release()


def _outcome(site: Site, hosts: list[Process], what: str, most: int) -> Row:
    for host in hosts:
        host.done(LARGE)
    right = site.right(hosts, LARGE)
    bodies, _ = site.bodies(LARGE)
    asked = f"right bytes in all, {'one body' if most == 1 else f'≤ {most} bodies'} from the Hub"
    return Row(what, asked, f"in {right} of {HOSTS}, {bodies}", right == HOSTS and bodies <= most)
