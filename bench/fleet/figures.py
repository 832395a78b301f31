"""The runs that the docs show, and what they came to, in words and in tables."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cache
from typing import NamedTuple

from model_cache.units import format_duration, format_size

from .plan import FOREVER, WAYS, Plan
from .site import Outcome, run

HOSTS = (1, 10, 100, 1000, 10_000)
_LEAD = WAYS[2]


_outcome = cache(run)  # three runs are in both tables


class Run(NamedTuple):
    """A plan, what it is of in a few words, and what it came to."""

    name: str
    plan: Plan
    outcome: Outcome


def sweep(hosts: Iterable[int] = HOSTS) -> Iterator[Run]:
    """Every number of hosts in every way."""
    for number in hosts:
        for way in WAYS:
            plan = Plan(number, way)
            yield Run(way, plan, _outcome(plan))


def cases(hosts: int = 1000) -> Iterator[Run]:
    """What is otherwise than in the sweep, one thing at a time."""
    for name, plan in _cases(hosts):
        yield Run(name, plan, _outcome(plan))


def _cases(hosts: int) -> Iterator[tuple[str, Plan]]:
    for way in WAYS:
        yield f"{way}, and nothing else", Plan(hosts, way)
    for way in WAYS:
        yield f"{way}; hosts begin within an hour", Plan(hosts, way, spread=3600.0)
    lead = Plan(hosts, _LEAD)
    yield "bucket that has the file", Plan(hosts, WAYS[1], warm=True)
    yield "bucket + lead; every second transfer ends with its process", lead._replace(dies=0.5)
    yield "bucket + lead; every second transfer ends with its host", lead._replace(dies=0.5, off=1.0)
    yield "bucket + lead; the bucket is down", lead._replace(bucket_down=(0.0, FOREVER))
    yield "bucket + lead; the bucket is down for a minute, half way", lead._replace(bucket_down=(200.0, 260.0))
    yield "bucket + lead; the bucket's copy is damaged", lead._replace(warm=True, lies=True)
    yield "bucket + lead; the database is down", lead._replace(lead_down=(0.0, FOREVER))
    yield "bucket + lead; the database is started anew while hosts wait", lead._replace(lead_down=(20.0, 25.0))
    yield "bucket + lead; the database takes 97 connections", lead._replace(lead_connections=97)
    yield "bucket that has the file, and sends what is asked for", Plan(10 * hosts, WAYS[1], warm=True, bucket=FOREVER)
    yield "bucket + lead; the bucket sends what is asked for", Plan(10 * hosts, _LEAD, bucket=FOREVER)


def table(runs: Iterable[Run]) -> list[str]:
    """Runs as Markdown."""
    lines = [
        "| hosts | with | from the Hub | bodies | from the bucket | to the bucket | half of the processes | the last |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, plan, found in runs:
        assert found.whole == plan.hosts, "every host has the right bytes"
        sizes = [format_size(found.hub), f"{found.bodies:,}", format_size(found.bucket), format_size(found.offered)]
        cells = [f"{plan.hosts:,}", name, *sizes, format_duration(found.half), format_duration(found.last)]
        lines.append(f"| {' | '.join(cells)} |")
    return lines
