"""The page on celery: its module runs in the real worker on a real broker, and one download survives whatever is killed."""

import os
import re
import shutil
import signal
import sys
import tempfile
from pathlib import Path

import pytest
from celery import Celery
from celery.app.defaults import NAMESPACES
from job_equipment import Program, children
from support import PATIENT, pattern
from test_processes import wait_for_partial

from model_cache import ModelCache

PAGE = Path(__file__).resolve().parent.parent / "docs" / "how-to" / "celery.md"
(MODULE,) = re.findall(
    r"^```python\n(# tasks.py\n.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
)
HELD = "openai-community/gpt2", "model.safetensors"  # what the page prefetches
COLD = "owner/cold", "model.bin"
BIG = pattern(32_000_000)

# What a test changes of the page's module, in a module of its own.
SOFT = """
from celery.exceptions import SoftTimeLimitExceeded
from tasks import app, cache

@app.task(soft_time_limit=2, autoretry_for=(SoftTimeLimitExceeded,), default_retry_delay=0, max_retries=None)
def limited(repo, filename):
    return cache.fetch(repo, filename).stat().st_size
"""
HARD = """
from tasks import app, cache

@app.task(time_limit=3)
def limited(repo, filename):
    return cache.fetch(repo, filename).stat().st_size
"""
REDELIVERED = """
from model_cache.progress import Progress
from tasks import app, cache
app.conf.broker_transport_options = {"visibility_timeout": 1, "unacked_restore_interval": 1, "unacked_restore_throttle": 1}

class Telling(Progress):
    def waiting(self, *_):
        print("joins", flush=True)

@app.task
def told(repo, filename):
    return cache.fetch(repo, filename, progress=Telling()).stat().st_size
"""
IN_CHILDREN = """
from celery import signals
from tasks import app, cache, prefetch
signals.worker_init.disconnect(prefetch)
app.conf.worker_proc_alive_timeout = 3

@signals.worker_process_init.connect
def too_early(**_):
    cache.fetch("owner/cold", "model.bin")
"""

pytestmark = pytest.mark.skipif(shutil.which("redis-server") is None, reason="needs redis-server")


@pytest.fixture
def broker():
    """The address of a Redis of this test's own, on a socket."""
    # pytest's own directories have names that are too long for the address of a socket.
    with tempfile.TemporaryDirectory() as place:
        options = ["--port", "0", "--unixsocket", f"{place}/redis", "--save", "", "--dir", place]
        server = Program(["redis-server", *options])
        server.wait_for("accept connections")
        yield f"redis+socket://{place}/redis"
        server.kill()


@pytest.fixture
def worker(broker, hub, root, environ, tmp_path):
    """Start a real worker with the page's module, or with one that changes it; ended with the test."""
    hub.add_repo(HELD[0], {HELD[1]: pattern(3_000_000)})
    hub.add_repo(COLD[0], {COLD[1]: BIG})
    (tmp_path / "tasks.py").write_text(MODULE, encoding="utf-8")
    del environ["PYTHONWARNINGS"]  # celery's own are not ours
    environ |= {"CELERY_BROKER_URL": broker, "CELERY_RESULT_BACKEND": broker, "PYTHONUNBUFFERED": "1", **PATIENT}
    environ["MODEL_CACHE_CONNECTIONS"] = "1"  # so that bodies can be counted, however slow this machine is
    environ |= {"HF_ENDPOINT": hub.url, "MODEL_CACHE_DIR": str(root), "MODEL_CACHE_MIN_IDLE": "0s"}
    started = []

    def start(changes=None, concurrency=1):
        name = "tasks" if changes is None else "changed"
        (tmp_path / "changed.py").write_text(changes or "", encoding="utf-8")
        options = [f"--concurrency={concurrency}", "--loglevel=INFO", f"--hostname=w{len(started)}@localhost"]
        options += ["--pool=prefork", "--without-gossip", "--without-mingle", "--without-heartbeat"]
        started.append(
            Program([sys.executable, "-m", "celery", "-A", name, "worker", *options], cwd=tmp_path, env=environ)
        )
        return started[-1]

    yield start
    for program in started:
        program.kill()


@pytest.fixture
def ask(broker):
    """Put a task into the queue; its result to be."""
    with Celery(broker=broker, backend=broker) as app:
        yield lambda name, model=COLD: app.send_task(name, model)
        app.backend.result_consumer.stop()
        app.backend.client.close()


def at_the_gate(hold, root, share=0.5):
    """Block until a download stands at the gate and has written what came before it."""
    hold.wait_for(1)
    wait_for_partial(root, int(len(BIG) * share) - (1 << 20))


def test_eight_tasks_for_one_cold_file_cause_one_download(worker, ask, hub):
    """Eight children that want the same file at once are handed what one of them downloads; no task fails."""
    with hub.hold(COLD[1], after=0.5) as hold:
        program = worker(concurrency=8)
        results = [ask("tasks.size") for _ in range(8)]
        program.wait_for("tasks.size", 9)  # in the list of tasks, and received
        hold.wait_for(1)
        hold.release()
        assert [result.get(timeout=120) for result in results] == [len(BIG)] * 8
    assert hub.body_gets(COLD[1]) == hub.body_gets(HELD[1]) == 1


def test_what_worker_init_leases_stays_as_long_as_the_worker(worker, ask, hub, root):
    """The prefetch takes its time before there is a child; nothing evicts the model until the worker has ended."""
    cache = ModelCache(root, endpoint=hub.url, token=False, min_idle="0s")
    with hub.hold(HELD[1], after=0.5) as hold:
        program = worker()
        hold.wait_for(1)
        assert children(program.process.pid) == []
        hold.release()
        program.wait_for("ready.")
    assert ask("tasks.size", HELD).get(timeout=120) == 3_000_000
    assert [spared.reason for spared in cache.gc(max_size=0).spared] == ["leased"]
    assert program.end() == 0
    assert [row.filename for row, _, _ in cache.gc(max_size=0).evicted] == [HELD[1]]
    assert hub.body_gets(HELD[1]) == 1


def test_a_worker_without_its_models_does_not_start(worker, hub):
    """A prefetch that fails ends the worker with its reason, where celery would log it and go on."""
    hub.fault(HELD[1], "status", status=404, times=None, on="any")
    program = worker()
    assert program.process.wait(120) == 1
    program.wait_for("prefetch: ")
    assert "Traceback" not in program.output


def test_a_new_child_that_downloads_in_its_init_is_killed(worker, ask, hub, root):
    """`worker_process_init` of a child that replaces another has 4 seconds (here 3) until a SIGKILL; its bytes are kept."""
    assert NAMESPACES["worker"]["proc_alive_timeout"].default == 4.0
    with hub.hold(COLD[1], after=0.5) as hold:
        program = worker(IN_CHILDREN)
        program.wait_for("ready.")  # the first children are not asked whether they are up
        at_the_gate(hold, root)
        (first,) = children(program.process.pid)
        os.kill(first, signal.SIGKILL)
        program.wait_for("Timed out waiting for UP message")
        hold.release()
    assert ask("tasks.size").get(timeout=120) == len(BIG)
    assert hub.body_bytes(COLD[1]) <= 1.2 * len(BIG)


def test_a_child_that_is_killed_is_succeeded_by_one_that_resumes(worker, ask, hub, root):
    """After a SIGKILL in mid-download the task goes back to the queue, and its next run goes on; it never fails."""
    with hub.hold(COLD[1], after=0.5) as hold:
        program = worker()
        result = ask("tasks.size")
        at_the_gate(hold, root)
        (child,) = children(program.process.pid)
        os.kill(child, signal.SIGKILL)
        hold.wait_until_left()
        hold.release()
        assert result.get(timeout=120) == len(BIG)
    assert hub.body_bytes(COLD[1]) <= 1.1 * len(BIG)


def test_a_worker_that_is_killed_is_succeeded_by_another_that_resumes(worker, ask, hub, root):
    """A whole worker dies in mid-download; the broker redelivers its task, and another worker asks for the rest only."""
    with hub.hold(COLD[1], after=0.5) as hold:
        first = worker(REDELIVERED)
        result = ask("changed.told")
        at_the_gate(hold, root)
        first.kill()
        hold.wait_until_left()
        hold.release()
        worker(REDELIVERED)
        assert result.get(timeout=120) == len(BIG)
    assert hub.body_bytes(COLD[1]) <= 1.1 * len(BIG)


def test_a_redelivered_task_joins_the_first_ones_download(worker, ask, hub):
    """A task that takes longer than `visibility_timeout` runs a second time, and waits for the download of its first run."""
    with hub.hold(COLD[1], after=0.5) as hold:
        first = worker(REDELIVERED)
        result = ask("changed.told")
        hold.wait_for(1)
        second = worker(REDELIVERED)
        second.wait_for("joins")
        assert hold.arrived == 1
        hold.release()
        assert result.get(timeout=120) == len(BIG)
        for program in (first, second):
            program.wait_for("succeeded in")
    assert hub.body_gets(COLD[1]) == 1


def test_a_soft_time_limit_ends_the_fetch_and_the_next_run_resumes(worker, ask, hub, root):
    """`SoftTimeLimitExceeded` is no broken connection: it leaves `fetch`, the task is asked again and gets its file."""
    with hub.hold(COLD[1], after=0.5) as hold:
        program = worker(SOFT)
        result = ask("changed.limited")
        at_the_gate(hold, root)
        program.wait_for("SoftTimeLimitExceeded()")
        hold.release()
        assert result.get(timeout=120) == len(BIG)
    _, *others = [record.range for record in hub.requests if record.kind == "body" and record.filename == COLD[1]]
    assert others and all(others)
    assert hub.body_bytes(COLD[1]) <= 1.4 * len(BIG)  # each run that is cut short leaves unread what was on its way


def test_a_hard_time_limit_leaves_what_the_next_task_resumes(worker, ask, hub, root):
    """Celery gives up a task that it killed; the next one goes on with its bytes."""
    with hub.hold(COLD[1], after=0.5) as hold:
        worker(HARD)
        kept = 0
        # Once, if the machine does not stand still for as long as a task may take.
        while kept < len(BIG) // 2 - (1 << 20):
            result = ask("changed.limited")
            assert type(result.get(timeout=120, propagate=False)).__name__ == "TimeLimitExceeded"
            kept = sum(file.stat().st_size for file in (root / ".model-cache" / "partial").glob("*"))
        hold.wait_until_left()
        hold.release()
        sent = hub.body_bytes(COLD[1])
        assert ask("tasks.size").get(timeout=120) == len(BIG)
    assert hub.body_bytes(COLD[1]) - sent + kept <= 1.1 * len(BIG)


def test_a_patient_task_leaves_its_child_to_others(worker, ask, hub):
    """With a timeout the task is asked again while the download goes on, another runs meanwhile, and there is one GET."""
    with hub.hold(COLD[1], after=0.5) as hold:
        program = worker()
        result = ask("tasks.patient")
        program.wait_for("Retry in")
        assert ask("tasks.size", HELD).get(timeout=120) == 3_000_000
        hold.release()
        assert result.get(timeout=120) == len(BIG)
    assert hub.body_gets(COLD[1]) == 1
