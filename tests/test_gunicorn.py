"""The page on gunicorn: its application runs in the real server, and one download survives whatever is killed."""

import os
import re
import select
import signal
import subprocess
from pathlib import Path

import pytest
from job_equipment import Program, downloader, until
from support import PATIENT, pattern
from test_processes import wait_for_partial

from model_cache import ModelCache
from stress import serving

REPO, FILE = serving.REPO, serving.FILE
BIG = pattern(24_000_000)


@pytest.fixture
def serve(hub, root, environ, tmp_path):
    """Start gunicorn with the page's application, in one of its ways; ended with the test."""
    hub.add_repo(REPO, {FILE: BIG})
    del environ["PYTHONWARNINGS"]  # gunicorn's own are not ours
    environ |= {"HF_ENDPOINT": hub.url, "MODEL_CACHE_DIR": str(root), "MODEL_CACHE_MIN_IDLE": "0s"}
    environ |= {"MODEL_CACHE_CONNECTIONS": "1", "PYTHONUNBUFFERED": "1", **PATIENT}
    started = []

    def start(*options, way="request", workers=2, timeout=30):
        serving.write_application(tmp_path, way)
        started.append(Program([*serving.command(workers, timeout), *options], cwd=tmp_path, env=environ))
        return started[-1]

    yield start
    for program in started:
        program.kill()


def port_of(program):
    """Where it listens."""
    (line,) = program.wait_for("Listening at")
    return int(re.search(r"127\.0\.0\.1:(\d+)", line)[1])


def until_all_serve(port, workers):
    """Ask until so many workers have served; the statuses that came."""
    serving_ones, statuses = set(), []
    while len(serving_ones) < workers:
        assert len(statuses) < 3000, f"only {len(serving_ones)} of {workers} serve: {statuses[-5:]}"
        status, worker = serving.ask(port)
        statuses.append(status)
        if status == 200:
            serving_ones.add(worker)
        elif status == 503:
            select.select([], [], [], 0.05)  # as a client that was told to come again
    return statuses, serving_ones


def all_served(program, statuses):
    """Each request was answered, but for those whose workers gunicorn killed for their time, as it tells."""
    failed = [status for status in statuses if status != 200]
    assert set(failed) <= {0, 500}
    program.wait_for("WORKER TIMEOUT", len(failed))


def at_the_gate(hold, root, share=0.5):
    """Block until a download stands at the gate and has written what came before it."""
    hold.wait_for(1)
    wait_for_partial(root, int(len(BIG) * share) - (1 << 20))


@pytest.mark.parametrize("kind", [[], ["--worker-class", "gthread", "--threads", "4"]], ids=["sync", "gthread"])
def test_workers_that_start_cold_share_one_download(serve, hub, kind):
    """Four workers that fetch as they are imported serve after one download, and no request fails meanwhile."""
    statuses, _ = until_all_serve(port_of(serve(*kind, way="boot", workers=4)), 4)
    assert set(statuses) == {200} and hub.body_gets(FILE) == 1


def test_a_request_that_comes_too_early_is_told_when_to_come_again(serve, hub, root):
    """The view answers 503 with Retry-After and how far the download is; the download goes on, once."""
    with hub.hold(FILE, after=0.5) as hold:
        port = port_of(serve())
        answers = [subprocess.run(["curl", "-si", f"http://127.0.0.1:{port}/"], capture_output=True, text=True).stdout]
        at_the_gate(hold, root)
        answers.append(
            subprocess.run(["curl", "-si", f"http://127.0.0.1:{port}/"], capture_output=True, text=True).stdout
        )
        hold.release()
    for answer in answers:
        assert answer.startswith("HTTP/1.1 503 ")
        assert re.search(r"^Retry-After: \d+$", answer, re.MULTILINE)
    assert re.search(
        rf"^{REPO} {FILE} is being downloaded by \S+: [\d.]+ MB of 24 MB \(\d+ %\)", answers[1], re.MULTILINE
    )
    statuses, _ = until_all_serve(port, 2)
    assert set(statuses) <= {200, 503} and hub.body_gets(FILE) == 1


def test_a_worker_that_is_killed_by_its_timeout_leaves_the_rest_to_its_successor(serve, hub, root):
    """A view without a time-out costs its request; what came is gone on with, and comes once."""
    with hub.hold(FILE, after=0.5) as hold:
        program = serve(way="blocking", workers=1, timeout=2)
        port = port_of(program)
        statuses, kept = [], 0
        while kept < len(BIG) // 2 - (
            1 << 20
        ):  # once, but where the machine stands still for as long as this worker may
            statuses.append(serving.ask(port)[0])
            kept = sum(file.stat().st_size for file in (root / ".model-cache" / "partial").glob("*"))
        hold.wait_until_left()
        hold.release()
    assert 200 not in statuses
    sent = hub.body_bytes(FILE)
    statuses += until_all_serve(port, 1)[0]
    all_served(program, statuses)
    assert hub.body_bytes(FILE) - sent + kept <= 1.15 * len(BIG)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM], ids=["killed", "ended"])
def test_a_worker_that_dies_while_it_downloads_loses_nothing(serve, hub, root, number):
    """Of two workers the one whose thread downloads is killed between requests: no request fails, the other goes on."""
    with hub.hold(FILE, after=0.5) as hold:
        port = port_of(serve())
        assert serving.ask(port)[0] == 503
        at_the_gate(hold, root)
        worker = downloader(root)
        os.kill(worker, number)
        until(lambda: not Path(f"/proc/{worker}").exists(), "the worker ends: what it has not read was not sent to it")
        hold.release()
    statuses, _ = until_all_serve(port, 2)
    assert set(statuses) <= {200, 503}
    assert hub.body_bytes(FILE) <= 1.15 * len(BIG)


def test_a_reload_in_mid_download_loses_nothing(serve, hub, root):
    """SIGHUP replaces every worker; the new ones go on with what the old ones had."""
    with hub.hold(FILE, after=0.5) as hold:
        program = serve()
        port = port_of(program)
        assert serving.ask(port)[0] == 503
        at_the_gate(hold, root)
        worker = downloader(root)
        program.process.send_signal(signal.SIGHUP)
        until(lambda: not Path(f"/proc/{worker}").exists(), "the worker ends: what it has not read was not sent to it")
        hold.release()
    until_all_serve(port, 2)
    assert hub.body_bytes(FILE) <= 1.15 * len(BIG)


def test_a_worker_that_opens_its_file_later_than_min_idle_finds_it(serve, hub, root):
    """An evictor that presses takes nothing that a living worker has leased, and takes it once all have ended."""
    cache = ModelCache(root, endpoint=hub.url, token=False, min_idle="0s")
    program = serve()
    port = port_of(program)
    until_all_serve(port, 2)
    assert [one.reason for one in cache.gc(max_size=0).spared] == ["leased"]
    until_all_serve(port, 2)
    assert program.end() == 0
    assert [row.filename for row, _, _ in cache.gc(max_size=0).evicted] == [FILE]
    assert hub.body_gets(FILE) == 1


def test_a_master_that_has_loaded_the_application_keeps_the_model_for_all_its_workers(serve, hub, root):
    """With --preload the master leases it before it forks; workers that are killed and replaced find it and ask nobody."""
    cache = ModelCache(root, endpoint=hub.url, token=False, min_idle="0s")
    program = serve("--preload", way="boot")
    port = port_of(program)
    _, first = until_all_serve(port, 2)
    asked = len(hub.requests)
    for worker in first:
        os.kill(int(worker), signal.SIGKILL)
    program.wait_for("Booting worker", 4)
    assert [one.reason for one in cache.gc(max_size=0).spared] == ["leased"]
    statuses, second = until_all_serve(port, 2)
    assert set(statuses) == {200} and first.isdisjoint(second)
    assert len(hub.requests) == asked and hub.body_gets(FILE) == 1


def test_recycled_workers_find_their_model(serve, hub):
    """A worker that ends after two requests is replaced by one that serves at once, from the same file."""
    statuses, _ = until_all_serve(port_of(serve("--max-requests", "2", way="boot")), 6)
    assert set(statuses) == {200} and hub.body_gets(FILE) == 1


@pytest.fixture
def prefetched(hub, tmp_path):
    """The page's configuration, and a lock file of the model."""
    hub.add_repo(REPO, {FILE: BIG})
    ModelCache(tmp_path / "elsewhere", endpoint=hub.url, token=False).lock(REPO, output=tmp_path / "models.lock")
    Path(tmp_path / "gunicorn.conf.py").write_text(serving.snippet("gunicorn.conf.py"), encoding="utf-8")
    hub.reset()


def test_the_models_are_there_before_the_port_is_open(prefetched, serve, hub):
    """`on_starting` syncs the lock file before there is a worker, however long that takes."""
    with hub.hold(FILE, after=0.5) as hold:
        program = serve(timeout=1)
        hold.wait_for(1)
        assert "Listening" not in program.output
        hold.release()
        statuses, _ = until_all_serve(port_of(program), 2)
    all_served(program, statuses)
    assert hub.body_gets(FILE) == 1


def test_a_server_whose_models_cannot_be_had_does_not_start(prefetched, serve, hub):
    """A prefetch that fails ends gunicorn with one line that says why."""
    hub.fault(FILE, "status", status=404, times=None, on="any")
    program = serve()
    assert program.process.wait(120) == 1
    program.wait_for("prefetch: ")
    assert "Traceback" not in program.output


@pytest.mark.parametrize("way", ["request", "boot", "blocking"])
def test_what_a_cold_model_costs_is_measured_with_the_real_server(tmp_path, way):
    """`python -m stress.serving`, small: all workers serve, nothing comes twice, no request fails but with its worker."""
    # A view that waits for two seconds needs no short time-out to show it: a machine can stand still for longer.
    seen = serving.measure(tmp_path, way, 4, size=16 << 20, rate=4e6, timeout=30 if way == "request" else 3)
    assert seen.wrong("request" if way == "request" else "blocking", 4) == ""
    assert seen.bodies == 1 or way == "blocking"
    assert seen.statuses[503] > 0 or way != "request"
