"""What is assumed of a site: how many hosts, how fast its links are, and what goes wrong."""

from __future__ import annotations

from typing import NamedTuple

GB = 10**9
WAYS = ("no tier", "bucket", "bucket + lead")
FOREVER = float("inf")


class Plan(NamedTuple):
    """One run. Sizes are bytes, rates bytes per second, times seconds.

    Attributes:
        hosts, processes: Of the site; of each host, which all want the one file.
        way: What the hosts share, one of `WAYS`.
        size: Of the file.
        spread: The hosts begin at times that are spread evenly, at random, over so long; the processes of one within a second.
        hub: What the site gets from the Hub in all.
        hub_host: What one host gets from it, over all its connections.
        bucket: What the bucket sends in all, and what it takes in all.
        bucket_host: What one host gets from it over the one connection that it uses.
        bucket_sends: What one host sends to it over two.
        hub_latency, bucket_latency, lead_latency: Until a question is answered.
        warm: The bucket has the file and its record before anybody begins.
        lead_connections: How many the database takes.
        dies: The chance that a process dies during a transfer; it begins again `again` later.
        off: The chance that it is the whole host, which the database notices only by and by; it boots for `boot`.
        bucket_down, lead_down: From when to when they refuse, and cut what is going on.
        lies: The bucket sends other bytes than it was given, until it is given them anew.
        seed: Of everything that is random.
    """

    hosts: int
    way: str
    processes: int = 4
    size: int = 5 * GB
    spread: float = 60.0
    hub: float = 1.25 * GB
    hub_host: float = 0.4 * GB
    bucket: float = 12.5 * GB
    bucket_host: float = 0.1 * GB
    bucket_sends: float = 0.2 * GB
    hub_latency: float = 0.1
    bucket_latency: float = 0.02
    lead_latency: float = 0.001
    warm: bool = False
    lead_connections: float = FOREVER
    dies: float = 0.0
    off: float = 0.0
    again: float = 5.0
    boot: float = 120.0
    bucket_down: tuple[float, float] | None = None
    lead_down: tuple[float, float] | None = None
    lies: bool = False
    seed: int = 1
