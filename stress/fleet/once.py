"""One body for the whole fleet, and none for hosts that come later."""

from __future__ import annotations

import sys
from collections.abc import Iterator

from .process import Process
from .rows import Row
from .site import HOSTS, LARGE, REPO, Site


def tried(site: Site) -> Iterator[Row]:
    """A fleet that begins with nothing, and two that begin with a bucket that has the file."""
    commit = site.commit()
    what = f"{HOSTS} hosts × {_processes(site)} processes"
    with site.trial():
        right = _fetched(site, "main")
        bodies, sent = site.bodies(LARGE)
        share = sent / site.size
        yield Row(f"{what}, cold", "right bytes in all", f"in {right} of {HOSTS} hosts", right == HOSTS)
        yield Row("– from the Hub", "1.00 × the file", f"{share:.2f} ×", sent == site.size)
        yield Row("– asked for a body", "once", f"{bodies} ×", bodies == 1)
        if not site.brief:
            site.hub.reset()
            right = _fetched(site, "main")
            bodies, sent = site.bodies()
            yield Row(
                f"{what}, new ones, warm bucket", "right bytes in all", f"in {right} of {HOSTS} hosts", right == HOSTS
            )
            yield Row("– from the Hub", "0 bytes", f"{sent} bytes", sent == 0)
        site.hub.reset()
        right = _fetched(site, commit)
        asked = site.hub.stats()["count"]
        yield Row(
            f"{what}, new ones, pinned commit", "right bytes in all", f"in {right} of {HOSTS} hosts", right == HOSTS
        )
        yield Row("– requests to the Hub", "0", f"{asked}", asked == 0)


def _fetched(site: Site, revision: str) -> int:
    """All processes of all hosts at once; returns how many hosts have the right bytes when their uploads are over."""
    roots = [site.root() for _ in range(HOSTS)]
    # Over one connection each, so that a download is a body, and bytes are counted that arrived.
    processes: list[Process] = [
        site.process(number, roots[number], connections=1) for number in range(HOSTS) for _ in range(_processes(site))
    ]
    for process in processes:
        process.wait("ready")
    for process in processes:
        process.order(REPO, LARGE, revision)
    for process in processes:
        process.done(LARGE)
    for process in processes:
        process.end()
    for process in processes:
        for warning in process.told("warning"):
            print(f"a host says: {warning['text']}", file=sys.stderr)
    return site.right(processes, LARGE)


def _processes(site: Site) -> int:
    return 2 if site.brief else 4
