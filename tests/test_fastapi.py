"""The page on FastAPI: its application runs in the real uvicorn, and one download survives whatever goes away."""

import http.client
import inspect
import json
import os
import re
import select
import signal
import sys
import threading
from pathlib import Path

import pytest
from job_equipment import Program, downloader, until
from support import PATIENT, pattern
from test_processes import wait_for_partial
from uvicorn import Config

from model_cache import ModelCache

PAGE = Path(__file__).resolve().parent.parent / "docs" / "how-to" / "fastapi.md"
(MODULE,) = re.findall(r"^```python\n(# main.py\n.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
MODEL = "openai-community/gpt2", "model.safetensors"
OTHER = "sshleifer/tiny-gpt2", "pytorch_model.bin"
BIG = pattern(24_000_000)
TOLD = """
import os
from main import app

@app.middleware("http")
async def told(request, answer):
    response = await answer(request)
    response.headers["X-Worker"] = str(os.getpid())
    return response
"""


@pytest.fixture
def serve(hub, root, environ, tmp_path):
    """Start uvicorn with the page's application; ended with the test."""
    hub.add_repo(MODEL[0], {MODEL[1]: BIG})
    hub.add_repo(OTHER[0], {OTHER[1]: pattern(len(BIG), 1)})
    (tmp_path / "main.py").write_text(MODULE, encoding="utf-8")
    (tmp_path / "told.py").write_text(TOLD, encoding="utf-8")
    del environ["PYTHONWARNINGS"]  # uvicorn's own are not ours
    environ |= {"HF_ENDPOINT": hub.url, "MODEL_CACHE_DIR": str(root), "MODEL_CACHE_MIN_IDLE": "0s"}
    environ |= {"MODEL_CACHE_CONNECTIONS": "1", "PYTHONUNBUFFERED": "1", **PATIENT}
    started = []

    def start(workers=2):
        options = ["--host", "127.0.0.1", "--port", "0", "--workers", str(workers)]
        if "timeout_worker_healthcheck" in inspect.signature(Config).parameters:
            options.append(
                "--timeout-worker-healthcheck=60"
            )  # a machine can stand still for longer than the usual five seconds
        command = [sys.executable, "-m", "uvicorn", "told:app", *options]
        started.append(Program(command, cwd=tmp_path, env=environ))
        return started[-1]

    yield start
    for program in started:
        program.kill()


def port_of(program):
    """Where it listens."""
    (line,) = program.wait_for("running on")
    return int(re.search(r"127\.0\.0\.1:(\d+)", line)[1])


def ready(program, workers):
    """Where it listens, once so many workers do: before that a connection is refused."""
    program.wait_for("Application startup complete", workers)
    return port_of(program)


def ask(port, path="/"):
    """One request: its status, its headers, what it says."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.headers, json.loads(response.read())
    finally:
        connection.close()


def until_served(port, path, workers=1):
    """Ask until so many workers have answered 200; the statuses that came."""
    serving, statuses = set(), []
    while len(serving) < workers:
        assert len(statuses) < 3000, f"only {len(serving)} of {workers} serve: {statuses[-5:]}"
        status, headers, said = ask(port, path)
        statuses.append(status)
        if status == 200:
            assert said == {"bytes": len(BIG)}
            serving.add(headers["X-Worker"])
        else:
            select.select([], [], [], 0.05)  # as a client that was told to come again
    return statuses


def test_workers_that_start_cold_share_one_download(serve, hub):
    """The lifespan of each of four workers waits for the one download; no request fails."""
    assert set(until_served(ready(serve(4), 4), "/", 4)) == {200}
    assert hub.body_gets(MODEL[1]) == 1


def test_a_worker_that_is_killed_as_it_starts_is_followed_by_one_that_goes_on(serve, hub, root):
    """Uvicorn replaces a worker that was killed in its lifespan; what it had comes once, no request fails."""
    with hub.hold(MODEL[1], after=0.5) as hold:
        program = serve(2)
        hold.wait_for(1)
        wait_for_partial(root, len(BIG) // 2 - (1 << 20))
        worker = downloader(root)
        os.kill(worker, signal.SIGKILL)
        until(lambda: not Path(f"/proc/{worker}").exists(), "the worker is gone")
        hold.release()
    assert set(until_served(ready(program, 2), "/", 2)) == {200}
    assert hub.body_bytes(MODEL[1]) <= 1.15 * len(BIG)


def test_requests_that_come_too_early_are_told_when_to_come_again(serve, hub):
    """Eight requests at once for a cold model: 503 with Retry-After each, one download, then the model."""
    port = ready(serve(), 2)
    answers = []
    with hub.hold(OTHER[1], after=0.5) as hold:
        clients = [threading.Thread(target=lambda: answers.append(ask(port, "/other/small"))) for _ in range(8)]
        for client in clients:
            client.start()
        hold.wait_for(1)
        for client in clients:
            client.join()
        assert ask(port)[0] == 200  # other requests are served meanwhile
        hold.release()
    for status, headers, said in answers:
        assert status == 503 and int(headers["Retry-After"]) > 0
        assert "is being downloaded by" in said["detail"]
    assert set(until_served(port, "/other/small", 2)) <= {200, 503}
    assert hub.body_gets(OTHER[1]) == 1


def test_a_client_that_hangs_up_leaves_the_download_to_others(serve, hub):
    """A request that goes away does not take the download with it."""
    port = ready(serve(1), 1)
    with hub.hold(OTHER[1], after=0.5) as hold:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
        connection.request("GET", "/other/small")
        hold.wait_for(1)
        connection.close()
        hold.release()
        assert set(until_served(port, "/other/small")) <= {200, 503}
    assert hub.body_gets(OTHER[1]) == 1


def test_a_name_that_is_not_listed_is_not_fetched(serve, hub):
    """What a request names is looked up; nothing is asked of the Hub."""
    port = ready(serve(1), 1)
    asked = len(hub.requests)
    assert ask(port, "/other/large")[0] == 404
    assert len(hub.requests) == asked


def test_what_the_lifespan_leases_stays_until_the_worker_ends(serve, hub, root):
    """An evictor that presses takes nothing from under a worker, and takes it once the worker has ended in peace."""
    cache = ModelCache(root, endpoint=hub.url, token=False, min_idle="0s")
    program = serve(1)
    port = ready(program, 1)
    assert [one.reason for one in cache.gc(max_size=0).spared] == ["leased"]
    until_served(port, "/")
    program.end()
    assert [row.filename for row, _, _ in cache.gc(max_size=0).evicted] == [MODEL[1]]
