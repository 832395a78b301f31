"""The loopback hub as a process of its own, and beside forks: steered from outside, and never left behind."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
from job_equipment import until
from loopback_equipment import REPO, ask, content, link, refuses, resolve

from model_cache.testing import HubProcess, LoopbackHub

LARGE = content(1_500_000)
COMMAND = [sys.executable, "-m", "model_cache.testing"]


@pytest.fixture
def folder(tmp_path):
    """A folder with one repo in it."""
    repo = tmp_path / "hub" / "models" / REPO
    repo.mkdir(parents=True)
    (repo / "model.bin").write_bytes(LARGE)
    (repo / "config.json").write_bytes(b"{}")
    return tmp_path / "hub"


def test_a_hub_process_serves_counts_and_ends(folder):
    """The child serves the folder, tells its statistics, and is gone with its `with` block."""
    with HubProcess(folder) as hub:
        assert ask(link(hub, "model.bin")).body == LARGE
        stats = hub.stats()
        assert (stats["body_gets"], stats["body_bytes"]) == (1, len(LARGE))
        assert stats["requests"][0]["method"] == "HEAD"
        url = hub.url
    assert refuses(url)


def test_a_hub_process_is_steered_from_outside(folder):
    """Faults, gates, traffic and reset work over HTTP, and what cannot be done is refused."""
    with HubProcess(folder, "--lfs-threshold=2", "--no-resolve-cache") as hub:
        hub.fault("model.bin", "cut", at=7)
        hub.fault("config.json", "status", status=418)
        assert ask(link(hub, "model.bin")).body == LARGE[:7]
        assert ask(resolve(hub, "config.json")).status == 418
        hub.hold("model.bin")
        hub.release()
        hub.traffic(latency=0.001, rate=None)
        assert ask(link(hub, "model.bin")).body == LARGE
        hub.reset()
        assert hub.stats()["count"] == 0
        for page, order in [("faults", {"pattern": "*", "kind": "none"}), ("faults", {}), ("faults", []), ("none", {})]:
            assert ask(f"{hub.url}/.hub/{page}", "POST", json.dumps(order)).status in (400, 404)


def test_a_hub_process_serves_no_folder_that_is_not_there(tmp_path):
    """It says so and ends with 2, where everything that is asked of it would be a 404."""
    done = subprocess.run([*COMMAND, str(tmp_path / "none")], stdin=subprocess.DEVNULL, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.endswith(f"error: folder {tmp_path / 'none'}: no such directory\n")


def test_a_hub_process_ends_when_its_stdin_closes(folder, tmp_path):
    """The port file is there, behind the printed address, while it serves; closing stdin ends both, with 0."""
    port, printed = tmp_path / "port", tmp_path / "printed"
    command = [*COMMAND, str(folder), "--port-file", str(port)]
    with printed.open("w") as out, subprocess.Popen(command, stdin=subprocess.PIPE, stdout=out) as child:
        until(port.exists, "the port was written")
        url = printed.read_text().strip()
        assert url == f"http://127.0.0.1:{port.read_text().strip()}"
        child.stdin.close()
        assert child.wait(30) == 0
    assert (refuses(url), port.exists()) == (True, False)


def test_a_hub_process_ends_when_its_time_is_up(folder):
    """With `--seconds` it ends by itself, even with a stdin that says nothing."""
    done = subprocess.run([*COMMAND, str(folder), "--seconds", "0.2"], stdin=subprocess.DEVNULL, timeout=30)
    assert done.returncode == 0


def test_a_hub_process_ends_with_the_process_that_started_it(folder):
    """Killed with SIGKILL, the parent takes its hub with it."""
    code = (
        "import sys, signal; from model_cache.testing import HubProcess\n"
        f"with HubProcess({str(folder)!r}) as hub: print(hub.url, flush=True); signal.pause()"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as parent:
        url = parent.stdout.readline().strip()
        assert ask(resolve(type("", (), {"url": url}), "model.bin"), "HEAD").status == 302
        parent.send_signal(signal.SIGKILL)
        # The hub shares the parent's stdout no more than its stdin: this end of file is the parent's.
        assert parent.stdout.read() == ""
    over = time.monotonic() + 30
    while not refuses(url):
        assert time.monotonic() < over


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_child_holds_none_of_the_sockets(served_and_child):
    """While a forked child lives, the stopped hub's port is closed all the same."""
    url, child = served_and_child
    assert refuses(url)
    os.close(child)


@pytest.fixture
def served_and_child():
    """The URL of a hub that was stopped while a child forked from its process lives, and the child's leash."""
    hub = LoopbackHub().start()
    hub.add_repo(REPO, {"f": b"1"})
    reader, leash = os.pipe()
    child = _fork(reader, leash)
    assert ask(resolve(hub, "f"), "HEAD").status == 307
    hub.stop()
    os.close(reader)
    yield hub.url, leash
    os.waitpid(child, 0)


def _fork(reader, leash):
    import warnings

    with warnings.catch_warnings():
        # Newer interpreters warn of a fork beside threads: that is what is tried here.
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        os.close(leash)
        os.read(reader, 1)
        os._exit(0)
    return child
