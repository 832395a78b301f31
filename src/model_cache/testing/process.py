"""A loopback hub in a process of its own, so that what it costs is not counted with what is measured."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import stat
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Sequence
from typing import Any

from ..hub.tokens import without_secrets
from .repos import LFS_THRESHOLD
from .server import LoopbackHub

_SECONDS = 3600.0  # a hub that everybody forgot ends after an hour
_LOOK = 0.5  # seconds between two looks at whether the parent is still there
_REQUEST = 30.0  # seconds for a request to the hub's own pages


class HubProcess:
    """A context manager: `python -m model_cache.testing FOLDER` as a child, which ends with it or with this process.

        with HubProcess(folder) as hub:
            subprocess.run(["curl", "-sSLo", "out", f"{hub.url}/org/name/resolve/main/model.bin"], check=True)
            assert hub.stats()["body_gets"] == 1

    Args:
        folder: The directory to serve, as for `LoopbackHub`.
        *options: Further arguments of the command (`--help` lists them), such as `--lfs-threshold=1000`.

    Attributes:
        url: The endpoint.
        pid: The child's process id.
    """

    def __init__(self, folder: str | os.PathLike[str], *options: str) -> None:
        self.url = ""
        self.pid = 0
        self._command = [sys.executable, "-m", "model_cache.testing", os.fspath(folder), *options]
        self._child: subprocess.Popen[str] | None = None
        # An http_proxy in the environment is not meant for 127.0.0.1.
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def __enter__(self) -> HubProcess:
        # S603: the command is this very interpreter with a module of this package.
        self._child = subprocess.Popen(  # noqa: S603 # nosec B603 # this interpreter, no shell
            self._command, env=without_secrets(os.environ), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self._child.stdout is not None
        self.pid, self.url = self._child.pid, self._child.stdout.readline().strip()
        if not self.url:
            self.__exit__()
            raise RuntimeError(f"the hub did not start: {' '.join(self._command)}")
        return self

    def __exit__(self, *_: object) -> None:
        if self._child is not None:
            # Closing its stdin is what ends the child.
            self._child.communicate(timeout=_REQUEST)
            self._child = None

    def stats(self) -> dict[str, Any]:
        """The child's `LoopbackHub.stats`."""
        return self._ask("stats", None)

    def fault(self, pattern: str, kind: str, **options: Any) -> None:
        """Orders a fault in the child, as `LoopbackHub.fault`."""
        self._ask("faults", {"pattern": pattern, "kind": kind, **options})

    def hold(self, pattern: str, after: int | float = 0) -> None:
        """Puts up a gate in the child, as `LoopbackHub.hold`; `release` opens it."""
        self._ask("holds", {"pattern": pattern, "after": after})

    def release(self) -> None:
        """Opens every gate in the child."""
        self._ask("release", {})

    def traffic(self, *, latency: float = 0.0, rate: float | None = None) -> None:
        """Sets the child's latency (seconds) and its rate per connection (bytes per second, None for no limit)."""
        self._ask("traffic", {"latency": latency, "rate": rate})

    def reset(self) -> None:
        """Makes the child forget its requests, faults and gates."""
        self._ask("reset", {})

    def _ask(self, page: str, order: dict[str, Any] | None) -> dict[str, Any]:
        data = None if order is None else json.dumps(order).encode()
        with self._opener.open(f"{self.url}/.hub/{page}", data, _REQUEST) as response:
            answer: dict[str, Any] = json.load(response)
            return answer


def main(arguments: Sequence[str] | None = None) -> int:
    """Serves a folder until stdin closes, the parent dies, or the time is up; prints the URL on stdout."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if not os.path.isdir(options.folder):
        parser.error(f"folder {options.folder}: no such directory")
    with LoopbackHub(
        options.folder,
        token=options.token,
        page_size=options.page_size,
        lfs_threshold=options.lfs_threshold,
        resolve_cache=not options.no_resolve_cache,
        cdn_etag=options.cdn_etag,
        latency=options.latency,
        rate=options.rate,
        address=options.address,
    ) as hub:
        print(hub.url, flush=True)
        if options.port_file:  # last: who has waited for it may read the other as well
            _write_port(options.port_file, hub.url.rpartition(":")[2])
        try:
            _wait(options.seconds)
        finally:
            if options.port_file:  # or who starts the next one would read this port
                with contextlib.suppress(OSError):
                    os.unlink(options.port_file)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m model_cache.testing",
        description="Serves a folder by the Hub's protocol on 127.0.0.1, and prints the endpoint's URL. "
        "Ends when stdin (if it is a pipe or a terminal) closes, when its parent ends, or when the time is up.",
    )
    parser.add_argument("folder", help="holds models/{repo}/…, datasets/{repo}/…, spaces/{repo}/…, kernels/{repo}/…")
    parser.add_argument("--port-file", help="a file that has the port while the hub serves, written in one step")
    parser.add_argument("--seconds", type=float, default=_SECONDS, help="how long to serve at most (%(default)g)")
    parser.add_argument("--token", help="the token that opens gated and private repos (any)")
    parser.add_argument("--page-size", type=int, default=1000, help="items on a page of a listing (%(default)d)")
    parser.add_argument("--lfs-threshold", type=int, default=LFS_THRESHOLD, help="bytes of a large file (%(default)d)")
    parser.add_argument("--no-resolve-cache", action="store_true", help="serve small files without a redirect")
    parser.add_argument("--cdn-etag", choices=("opaque", "sha256"), default="opaque", help="(%(default)s)")
    parser.add_argument("--latency", type=float, default=0.0, help="seconds before each answer")
    parser.add_argument("--rate", type=float, help="bytes per second for each connection (no limit)")
    parser.add_argument("--address", default="127.0.0.1", help="where to listen (%(default)s)")
    return parser


def _write_port(path: str, port: str) -> None:
    partial = f"{path}.{os.getpid()}"
    with open(partial, "w", encoding="ascii") as file:
        file.write(f"{port}\n")
    os.replace(partial, path)


def _wait(seconds: float) -> None:
    over = threading.Event()
    parent = os.getppid()
    if _closes(sys.stdin.fileno()):
        threading.Thread(target=_drain, args=(over,), daemon=True).start()
    rest = seconds
    try:
        while rest > 0 and os.getppid() == parent and not over.wait(min(_LOOK, rest)):
            rest -= _LOOK
    except KeyboardInterrupt:
        return


def _closes(descriptor: int) -> bool:
    # /dev/null or a file ends at once and says nothing about who started the hub.
    mode = os.fstat(descriptor).st_mode
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode) or os.isatty(descriptor)


def _drain(over: threading.Event) -> None:
    with contextlib.suppress(OSError):
        while os.read(0, 4096):
            pass
    over.set()
