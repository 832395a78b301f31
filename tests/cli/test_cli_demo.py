"""`demo`: every promise it shows holds."""

import json
import os

import pytest
from cli_equipment import Shell, pattern

REAL = "sentence-transformers/all-MiniLM-L6-v2"


@pytest.fixture
def shell(environ, root, tmp_path):
    """The command, with a temporary directory of its own."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    found = Shell({**environ, "TMPDIR": str(folder)}, root)
    yield found
    found.close()


def test_the_demo_holds_on_this_machine(shell, root, tmp_path):
    """Every step comes out as promised with no network, and nothing is left behind."""
    document = shell.json("demo", environ={"MODEL_CACHE_OFFLINE": "1", "http_proxy": "http://127.0.0.1:9"})
    assert document["ok"] and [step["ok"] for step in document["steps"]] == [True] * 7
    assert document["steps"][1]["detail"].startswith("8 processes, 1 download: ")
    assert os.listdir(tmp_path / "temporary") == [] and not root.exists()


def test_the_online_demo_is_told_for_newcomers(shell, hub, tmp_path):
    """Against whatever HF_ENDPOINT names: commands, what they print, and what it means; --keep leaves the cache."""
    hub.add_repo(REAL, {"model.safetensors": pattern(6_000_000), "tokenizer.json": b"{}"})
    hub.rate = 12_000_000
    out = shell.ok("demo", "--online", "--keep", environ={"HF_ENDPOINT": hub.url})
    assert f"   $ model-cache fetch {REAL} model.safetensors\n" in out
    assert out.count("   OK: ") == 6 and "8 processes, 1 download" in out and "FAILED" not in out
    (kept,) = os.listdir(tmp_path / "temporary")
    assert out.splitlines()[-1].endswith(f" Kept: {tmp_path}/temporary/{kept}")
    assert (tmp_path / "temporary" / kept / "first" / REAL / "model.safetensors").stat().st_size == 6_000_000


def test_a_demo_that_fails_says_where(shell, tmp_path):
    """What does not come out as promised ends the demo with 1 and the step's name."""
    code, out, err = shell.run("demo", "--online", "--json", environ={"HF_ENDPOINT": "http://127.0.0.1:9"})
    assert code == 1
    assert err.startswith("error: the demo failed at 'A cold fetch: the file is not there, so it is downloaded': ")
    assert not json.loads(out)["ok"]
    assert os.listdir(tmp_path / "temporary") == []
