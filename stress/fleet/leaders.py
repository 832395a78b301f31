"""Leaders that die or are cut off in mid-download: who leads next, how soon, and whether everybody has the file."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from .process import Process
from .rows import Row, seconds
from .site import HOSTS, LARGE, REPO, Site

_PROCESSES = 2  # of each host
_FROM_HUB = ("body:open", "part:open")
_KILLED, _CUT = 1.0, 15.0  # seconds until the next one leads


def tried(site: Site) -> Iterator[Row]:
    """The process that leads is killed; then its whole host is cut off, and comes back."""
    with site.trial():
        yield from _killed(site)
    if not site.brief:
        with site.trial():
            yield from _cut(site)
        with site.trial():
            yield from _cut_in_line(site)


def _killed(site: Site) -> Iterator[Row]:
    with _led(site) as (hosts, leader):
        at = next(process for process in hosts[leader] if _leads(process)).kill()
        site.hub.release()
        others = [process for host in hosts for process in host if process.is_alive]
        next_led = _next(others, at)
        for process in others:
            process.done(LARGE)
        right = site.right(others, LARGE)
        yield seconds("leader killed: the next one leads", _KILLED, next_led - at)
        yield Row("– all others have right bytes", "in all", f"in {right} of {HOSTS} hosts", right == HOSTS)


def _cut(site: Site) -> Iterator[Row]:
    with _led(site) as (hosts, leader):
        site.network.cut(leader)
        at = time.monotonic()
        site.hub.release()
        others = [process for host in hosts for process in host if host is not hosts[leader]]
        next_led = _next(others, at)
        for process in others:
            process.done(LARGE)
        right = site.right(others, LARGE)
        yield seconds("leader's host cut off: the next one leads", _CUT, next_led - at)
        yield Row("– all others have right bytes", "in all", f"in {right} of {HOSTS - 1} hosts", right == HOSTS - 1)
        site.network.join(leader)
        back = [_again(process) for process in hosts[leader]]
        right = site.right(back, LARGE)
        yield Row("– and the host, once it is back", "right bytes", f"in {right} of 1 hosts", right == 1)


def _cut_in_line(site: Site) -> Iterator[Row]:
    """A host is given the lead when it is gone already: what the server sent it must not be waited for either."""
    leader, next_one, last = (site.process(number, site.root()) for number in range(3))
    for process in (leader, next_one, last):
        process.wait("ready")
    site.hub.hold(LARGE, 0.5)
    leader.order(REPO, LARGE)
    leader.wait("third")
    next_one.order(REPO, LARGE)
    site.wait_for_waiters(1)
    site.network.cut(1)
    at = leader.kill()
    last.order(REPO, LARGE)
    next_led = _next([last], at)
    site.hub.release()
    last.done(LARGE)
    site.network.join(1)
    right = site.right([last, _again(next_one)], LARGE)
    yield seconds("leader killed, and the next in line cut off: another one leads", _CUT, next_led - at)
    yield Row("– both have right bytes", "in all", f"in {right} of 2 hosts", right == 2)


@contextmanager
def _led(site: Site) -> Iterator[tuple[list[list[Process]], int]]:
    """Hosts of which one leads and is held by the hub in mid-download, and all others wait; and which one that is."""
    hosts = []
    for number in range(HOSTS):
        root = site.root()
        hosts.append([site.process(number, root) for _ in range(_PROCESSES)])
    everybody = [process for host in hosts for process in host]
    for process in everybody:
        process.wait("ready")
    site.hub.hold(LARGE, 0.5)
    for process in everybody:
        process.order(REPO, LARGE)
    leader = _first(everybody, "third")
    for host in hosts:
        if leader not in host:
            _first(host, "waits")
    yield hosts, next(number for number, host in enumerate(hosts) if leader in host)


def _first(processes: list[Process], event: str) -> Process:
    """Which of these tells it first; in a host the others stand behind that one."""
    end = time.monotonic() + 120
    while time.monotonic() < end:
        for process in processes:
            if process.told(event):
                return process
        processes[0].pause()
    raise RuntimeError(f"{event}: nobody told it")


def _leads(process: Process) -> bool:
    return bool(process.told("third"))


def _next(others: list[Process], since: float) -> float:
    """When one of these first asked the hub for a body."""
    for process in others:
        process.wait(*_FROM_HUB, "done")
    times = [one["at"] for process in others for event in _FROM_HUB for one in process.told(event)]
    return min((at for at in times if at >= since), default=float("inf"))


def _again(process: Process) -> Process:
    """Let it have the file; once more if it gave up while it was cut off."""
    if process.wait("done", "failed", name=LARGE)["event"] == "failed":
        process.forget()
        process.fetched(REPO, LARGE)
    return process
