"""Web workers that race for a cold model, in the real gunicorn: what its download cost, and who was told to come again.

The application is the one of docs/how-to/gunicorn.md. `request`: the workers are up at once, and their views wait two
seconds for the model. `boot`: each worker fetches the model as it starts. `blocking`: views wait for the model for as long as
it takes, so gunicorn kills their workers; those requests fail, and successors go on. The model comes at so many bytes per
second, over one connection.
"""

from __future__ import annotations

import argparse
import http.client
import os
import re
import select
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from model_cache.testing import HubProcess

REPO, FILE = "openai-community/gpt2", "model.safetensors"
_PAGE = Path(__file__).resolve().parent.parent / "docs" / "how-to" / "gunicorn.md"
# What each way makes of the page's application.
_WAYS: dict[str, Callable[[str], str]] = {
    "request": lambda page: page,
    "boot": lambda page: f"{page}\n\nmodel(*MODEL)\n",
    "blocking": lambda page: page.replace("model(*MODEL, timeout=2)", "model(*MODEL)"),
}
# Which process answered: the page's application does not say.
_TOLD = """
import os
from app import application as answer

def application(environ, start_response):
    return answer(environ, lambda status, headers: start_response(status, [*headers, ("X-Worker", str(os.getpid()))]))
"""
_LONGEST = 300.0  # seconds until a measurement is given up


def snippet(name: str) -> str:
    """The code of the page that begins with this file's name."""
    found = re.search(
        rf"^```python\n(# {re.escape(name)}\n.*?)^```$", _PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL
    )
    assert found is not None, f"{_PAGE} has no {name}"
    return found[1]


def write_application(place: Path, way: str) -> None:
    """Put the page's application there, and what tells which worker answered."""
    (place / "app.py").write_text(_WAYS[way](snippet("app.py")), "utf-8")
    (place / "told.py").write_text(_TOLD, "utf-8")


def command(workers: int, timeout: int) -> list[str]:
    """Gunicorn with so many sync workers and this time-out in seconds, on a free port that it prints."""
    options = ["--workers", str(workers), "--timeout", str(timeout), "--bind", "127.0.0.1:0", "--graceful-timeout", "2"]
    return [sys.executable, "-m", "gunicorn", "told:application", *options]


class Seen(NamedTuple):
    """What one measurement saw.

    Attributes:
        serving: Workers that answered with the model.
        statuses: How often each status came; 0: no answer.
        bodies: Requests for the model's bytes, resumed ones included.
        share: Bytes that the hub sent, as a share of the model's.
        killed: Workers that gunicorn killed for their time.
        seconds: Until the last worker had answered.
    """

    serving: int
    statuses: Counter[int]
    bodies: int
    share: float
    killed: int
    seconds: float

    @property
    def failed(self) -> int:
        """Requests that ended in anything but the model or the intended 503."""
        return sum(count for status, count in self.statuses.items() if status not in (200, 503))

    def wrong(self, way: str, workers: int) -> str:
        """What is not as asked, empty if all is: a request fails only with the worker that was killed at it."""
        if self.failed > (self.killed if way == "blocking" else 0):
            return f"{self.failed} requests failed: {dict(self.statuses)}"
        if self.bodies > 1 and way != "blocking":
            return f"the model was asked for {self.bodies} times"
        if self.serving < workers:
            return f"{self.serving} of {workers} workers served"
        return "" if self.share <= 1.15 else f"{self.share:.2f} times the model's bytes were sent"


def ask(port: int) -> tuple[int, str]:
    """One request: its status (0: no answer) and the worker that answered."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_LONGEST)
    try:
        connection.request("GET", "/")
        response = connection.getresponse()
        response.read()
        return response.status, response.getheader("X-Worker", "")
    except (OSError, http.client.HTTPException):
        return 0, ""
    finally:
        connection.close()


def _until_all_serve(port: int, workers: int) -> tuple[set[str], Counter[int]]:
    """Ask from as many clients as there are workers until each has served, or time is up."""
    serving: set[str] = set()
    statuses: Counter[int] = Counter()
    until = time.monotonic() + _LONGEST

    def client() -> None:
        while len(serving) < workers and time.monotonic() < until:
            status, worker = ask(port)
            statuses[status] += 1
            if status == 200:
                serving.add(worker)

    clients = [threading.Thread(target=client) for _ in range(workers)]
    for thread in clients:
        thread.start()
    for thread in clients:
        thread.join()
    return serving, statuses


def measure(place: Path, way: str, workers: int, *, size: int, rate: float, timeout: int) -> Seen:
    """Start hub and workers on an empty cache, and ask until all workers serve."""
    model = place / "hub" / "models" / REPO / FILE
    model.parent.mkdir(parents=True)
    with model.open("wb") as file:
        for _ in range(size >> 20):
            file.write(os.urandom(1 << 20))
    write_application(place, way)
    with HubProcess(place / "hub") as hub, (place / "log").open("w+") as log:
        hub.traffic(rate=rate)
        environ = {**os.environ, "HF_ENDPOINT": hub.url, "MODEL_CACHE_DIR": str(place / "cache")}
        environ |= {"MODEL_CACHE_CONNECTIONS": "1", "PYTHONUNBUFFERED": "1"}
        began = time.monotonic()
        server = subprocess.Popen(command(workers, timeout), cwd=place, env=environ, stdout=log, stderr=log)
        try:
            serving, statuses = _until_all_serve(_port(place / "log", server), workers)
            seconds = time.monotonic() - began
        finally:
            server.terminate()
            server.wait(30)
        told, stats = (place / "log").read_text(), hub.stats()
    sent = sum(one["bytes_sent"] for one in stats["requests"] if one["filename"] == FILE and one["method"] == "GET")
    return Seen(len(serving), statuses, stats["body_gets"], sent / size, told.count("WORKER TIMEOUT"), seconds)


def _port(log: Path, server: subprocess.Popen[bytes]) -> int:
    while server.poll() is None:
        found = re.search(r"Listening at: http://127\.0\.0\.1:(\d+)", log.read_text())
        if found:
            return int(found[1])
        select.select([], [], [], 0.02)
    raise RuntimeError(f"gunicorn did not start:\n{log.read_text()}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure each way with each number of workers, print a table; 1 if something is not as asked."""
    parser = argparse.ArgumentParser(prog="python -m stress.serving", description=__doc__.splitlines()[0])
    parser.add_argument("--workers", type=int, nargs="+", default=[4, 16])
    parser.add_argument("--way", nargs="+", choices=list(_WAYS), default=list(_WAYS))
    parser.add_argument("--size", type=int, default=256 << 20, help="bytes of the model (256 MiB)")
    parser.add_argument("--rate", type=float, default=20e6, help="bytes per second of its download (20 MB/s)")
    parser.add_argument("--timeout", type=int, default=5, help="gunicorn's, in seconds (5)")
    given = parser.parse_args(arguments)
    print("| way | workers | serving | body GETs | bytes sent | killed by the time-out | 503 | failed | seconds |")
    print("|---|---|---|---|---|---|---|---|---|")
    wrong = []
    for way in given.way:
        for workers in given.workers:
            with tempfile.TemporaryDirectory(prefix="model-cache-stress-") as name:
                seen = measure(Path(name), way, workers, size=given.size, rate=given.rate, timeout=given.timeout)
            row = way, workers, seen.serving, seen.bodies, f"{seen.share:.3f} ×", seen.killed, seen.statuses[503]
            print("| " + " | ".join(map(str, (*row, seen.failed, f"{seen.seconds:.1f}"))) + " |", flush=True)
            if problem := seen.wrong(way, workers):
                wrong.append(f"{way} with {workers} workers: {problem}")
    print("\n".join(wrong), end="\n" if wrong else "")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
