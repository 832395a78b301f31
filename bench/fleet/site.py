"""A site runs from the first host that begins to the last process that has the file; what it took is counted."""

from __future__ import annotations

import os
import resource
import tempfile
from pathlib import Path
from random import Random, seed
from types import SimpleNamespace
from typing import NamedTuple, cast

from model_cache.download import records
from model_cache.fleet import objects
from model_cache.fleet.fleet import Fleet
from model_cache.hub.protocol import FileMeta
from model_cache.layout import Entry

from .engines import Database, Hub, Server
from .host import Host
from .memory import Bytes
from .plan import Plan
from .virtual import Time

_OTHER_FILES = 100
_COMMIT, _SHA256 = "c" * 40, "5" * 64


class Outcome(NamedTuple):
    """What a run came to; sizes in bytes, times in seconds since the run began.

    Attributes:
        hub, bucket, offered: Bytes that the Hub sent, that the bucket sent, and that the bucket was sent.
        carried: The same three in all, by the rates of the links over time.
        received: Bytes that came to hosts.
        bodies, hub_requests, bucket_requests: How often the Hub was asked for bytes, for anything; and the bucket.
        last, half: When the last process, and half of them, had the file.
        whole: Hosts that have the right bytes.
        finished: Processes that were handed them.
        died: Transfers during which a process died.
        sessions, refused: With the database at one time; and those it did not take.
        happened: Things that happened, for who wants to know what a run costs.
    """

    hub: int
    bucket: int
    offered: int
    carried: float
    received: int
    bodies: int
    hub_requests: int
    bucket_requests: int
    last: float
    half: float
    whole: int
    finished: int
    died: int
    sessions: int
    refused: int
    happened: int


class Site:
    """All of one run."""

    def __init__(self, plan: Plan, scratch: Path) -> None:
        self.plan, self.scratch, self.root = plan, scratch, f"{scratch}/root"
        self.time = Time()
        self.entry = Entry("org/model", "model.safetensors", _COMMIT)
        self.meta = FileMeta(_COMMIT, _SHA256, plan.size, _SHA256, None)
        self.right, wrong = Bytes(scratch / "right", plan.size), Bytes(scratch / "wrong", plan.size)
        path = Path(self.entry.path(self.root))  # on every host; who offers it opens it
        path.parent.mkdir(parents=True)
        path.write_bytes(self.right.stamp)
        self.file_descriptor = os.open(path, os.O_RDONLY)
        self.hub, self.database = Hub(self.time, plan), Database(self.time, plan)
        self.bucket = Server(self.time, plan, self.right, wrong)
        self.died = 0
        self.hosts = [Host(self, number) for number in range(plan.hosts)]
        if plan.warm or plan.lies:
            name = objects.of_bytes(self.meta.sha256, None)
            assert name is not None, "the file has a hash"
            self.bucket.keep(name, wrong if plan.lies else self.right)
            keeping = SimpleNamespace(offer=lambda name, data, _: self.bucket.keep(name, data))
            records.offer(cast(Fleet, keeping), self.entry, self.meta, token=False)

    def run(self) -> Outcome:
        """Until nothing happens any more."""
        _allow_files(self.plan.hosts + _OTHER_FILES)
        random = Random(self.plan.seed)
        seed(self.plan.seed)  # of what the package draws itself, to spread hosts out
        for host in self.hosts:
            begin = random.uniform(0.0, self.plan.spread)
            for _ in range(self.plan.processes):
                self.time.start(host.process, begin + random.random())
        happened = self.time.run()
        os.close(self.file_descriptor)
        return self._counted(happened)

    def _counted(self, happened: int) -> Outcome:
        hub, bucket, hosts = self.hub, self.bucket, self.hosts
        done = sorted(at for host in hosts for at in host.done)
        return Outcome(
            hub=hub.sent,
            bucket=bucket.sent,
            offered=bucket.taken,
            carried=hub.link.carried + bucket.out.carried + bucket.into.carried,
            received=sum(host.received for host in hosts),
            bodies=hub.bodies,
            hub_requests=hub.requests,
            bucket_requests=bucket.requests,
            last=done[-1],
            half=done[len(done) // 2],
            whole=sum(host.has_right_bytes for host in hosts),
            finished=len(done),
            died=self.died,
            sessions=self.database.most,
            refused=self.database.refused,
            happened=happened,
        )


def run(plan: Plan) -> Outcome:
    """One run, in a directory of its own."""
    with tempfile.TemporaryDirectory(prefix="model-cache-fleet-") as scratch:
        return Site(plan, Path(scratch)).run()


def _allow_files(number: int) -> None:
    """Every host that offers the file has it open at that time, as a real one has."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < number:
        raise SystemExit(f"{number} open files are needed, and this user may have {hard}: ulimit -Hn")
    if soft != resource.RLIM_INFINITY and soft < number:
        resource.setrlimit(resource.RLIMIT_NOFILE, (number, hard))
