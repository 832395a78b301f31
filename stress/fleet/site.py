"""All of one run: a hub, an S3 server, PostgreSQL, hosts, and files whose hashes are known."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
import urllib.request
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import psycopg

from model_cache.fleet import objects
from model_cache.testing import HubProcess

from .engines import Bucket, Postgres, bucket_environment, wait_until
from .network import SITE, Network
from .process import Process

REPO, LARGE, MIDDLE = "fleet/model", "large.safetensors", "middle.safetensors"
SMALL = [f"small-{number}.safetensors" for number in range(14)]
HOSTS = 4
_MIDDLE, _SMALL = 32 << 20, 64 << 10  # bytes
_BLOCK = 1 << 20
CONNECTIONS = 24  # that the database takes


class Site:
    """What hosts of a fleet reach.

    Args:
        size: Of the large file, in bytes.
        brief: Less is tried, with fewer processes.
    """

    def __init__(self, scratch: Path, network: Network, size: int, brief: bool) -> None:
        self._scratch, self.network, self.size, self.brief = scratch, network, size, brief
        for _ in range(HOSTS):
            network.host()
        self.hub = HubProcess(scratch / "hub", f"--address={SITE}")
        self.bucket = Bucket(scratch / "bucket", SITE)
        self.postgres = Postgres(SITE, (f"max_connections={CONNECTIONS}", "superuser_reserved_connections=0"))
        self._digests: dict[str, str] = {}
        self._roots = 0
        self._processes: list[Process] = []
        self._lives: list[Path] = []

    def fill(self) -> None:
        """Make the files that the hub serves."""
        folder = self._scratch / "hub" / "models" / REPO
        folder.mkdir(parents=True)
        for name in (LARGE, MIDDLE, *SMALL):
            size = {LARGE: self.size, MIDDLE: min(self.size, _MIDDLE)}.get(name, _SMALL)
            digest = hashlib.sha256()
            with (folder / name).open("wb") as file:
                for at in range(0, size, _BLOCK):
                    block = os.urandom(min(_BLOCK, size - at))
                    digest.update(block)
                    file.write(block)
            self._digests[name] = digest.hexdigest()

    @contextmanager
    def serving(self) -> Iterator[None]:
        """Hub and engines serve for the block."""
        with self.hub:
            try:
                self.bucket.run()
                self.postgres.run()
                yield
            finally:
                self.bucket.stop()
                self.postgres.stop()

    def called(self, name: str) -> str:
        """What a file is called in a bucket."""
        found = objects.of_bytes(self._digests[name], None)
        assert found is not None, "a sha256 names an object"
        return found

    def served(self, name: str) -> Path:
        """The file as the hub has it."""
        return self._scratch / "hub" / "models" / REPO / name

    def root(self) -> Path:
        """Of a host that has nothing yet."""
        self._roots += 1
        self._lives.append(self._scratch / f"root{self._roots}")
        return self._lives[-1]

    def process(self, number: int, root: Path, *, tier: bool = True, lead: bool = True, **more: object) -> Process:
        """One more process of a host."""
        settings: dict[str, object] = {"endpoint": self.hub.url, **more}
        environ = {**os.environ, **bucket_environment(self.bucket.port, SITE)}
        lead_address = self.postgres.address
        if self.brief:  # on machines that stand still for longer than a host waits by itself
            lead_address += "?connect_timeout=30"
            environ |= {"HF_HUB_DOWNLOAD_TIMEOUT": "60", "HF_HUB_ETAG_TIMEOUT": "60"}
        if tier:
            settings["tier"] = self.bucket.address
        if lead:
            settings["lead"] = lead_address
        self._processes.append(Process(self.network.inside(number), environ, root, settings))
        return self._processes[-1]

    def wait_for_waiters(self, number: int) -> None:
        """Wait until so many sessions of the database wait for a lead."""
        question = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
        with psycopg.connect(self.postgres.address, autocommit=True) as session:

            def wait_for() -> bool:
                found = session.execute(question).fetchone()
                return found is not None and found[0] >= number

            wait_until(wait_for)

    @contextmanager
    def trial(self) -> Iterator[None]:
        """Something is tried with an empty bucket; what it started ends with it, and what roots held goes."""
        self.bucket.begin()
        self.hub.reset()
        try:
            yield
            for process in self._processes:
                if process.is_alive:
                    process.end()
        finally:
            for process in self._processes:
                if process.is_alive:
                    process.kill()
            self._processes.clear()
            self.hub.reset()
            for root in self._lives:
                shutil.rmtree(root, ignore_errors=True)
            self._lives.clear()
            with contextlib.suppress(FileNotFoundError):
                shutil.rmtree(self.bucket.folder / "fleet" / self.bucket.address.rpartition("/")[2])

    def right(self, processes: Iterable[Process], name: str) -> int:
        """How many of the files that these were handed have the bytes that they should have, each file counted once."""
        paths = {process.path(name) for process in processes}
        return sum(self._digest(path) == self._digests[name] for path in paths)

    @staticmethod
    def _digest(path: str) -> str:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    def bodies(self, name: str = "") -> tuple[int, int]:
        """How many bodies the hub was asked for since the last reset, and how many bytes of them it sent."""
        stats: dict[str, Any] = self.hub.stats()
        found = stats["files"].get(name, {"body_gets": 0, "body_bytes": 0}) if name else stats
        return found["body_gets"], found["body_bytes"]

    def commit(self) -> str:
        """What `main` stands for."""
        with urllib.request.urlopen(f"{self.hub.url}/api/models/{REPO}/revision/main", timeout=30) as answer:
            return str(json.load(answer)["sha"])


@contextmanager
def opened(size: int, place: str | None, *, brief: bool = False) -> Iterator[Site]:
    """A site that serves; for a process that has gone apart."""
    if place is not None:
        Path(place).mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="model-cache-fleet-", dir=place)))
        network = Network()
        made = Site(scratch, network, size, brief)
        made.fill()
        stack.enter_context(made.serving())
        yield made
