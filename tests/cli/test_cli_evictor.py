"""The command where one host of several takes files away: what the others say, and with which exit code."""

import os
import socket

import pytest
from cli_equipment import Shell
from support import FILE, REPO, pattern

from model_cache import ModelCache

BIG = pattern(3 << 20)
HERE = socket.gethostname()


@pytest.fixture
def elsewhere(root, hub):
    """A root with one file."""
    hub.add_repo(REPO, {FILE: BIG})
    ModelCache(root, endpoint=hub.url, token=False).fetch(REPO, FILE)
    return root


@pytest.mark.parametrize(
    "command",
    [("gc", "--max-size", "0"), ("rm", REPO, "--yes"), ("rm", REPO, "--yes", "--force"), ("update", REPO)],
    ids=" ".join,
)
def test_only_the_designated_host_takes_files_away(elsewhere, hub, environ, command):
    """Elsewhere `gc`, `rm` and `update` fail with 1, say who may, and change nothing; there they do it."""
    path = elsewhere / REPO / FILE
    shell = Shell(environ, elsewhere, hub)
    hub.add_repo(REPO, {FILE: pattern(1 << 20, 7)})
    code, _, err = shell.run(*command, environ={"MODEL_CACHE_EVICTOR": "other.example"})
    assert code == 1
    assert "only the host other.example" in err
    assert "hint: " in err
    assert path.read_bytes() == BIG
    shell.ok("config", f"evictor={HERE}")
    code, _, err = shell.run(*command, environ={"MODEL_CACHE_MIN_IDLE": "0s"})
    assert code == 0, err
    assert not path.exists() or path.read_bytes() != BIG
    shell.close()


def test_repair_is_for_the_designated_host(elsewhere, hub, environ):
    """Elsewhere `verify` finds damage, and `--repair` says who mends it and leaves the bytes as they are (3)."""
    path = elsewhere / REPO / FILE
    was = path.stat()
    with open(path, "r+b") as file:
        file.seek(1000)
        file.write(b"rot")
    os.utime(path, ns=(was.st_atime_ns, was.st_mtime_ns))
    shell = Shell({**environ, "MODEL_CACHE_EVICTOR": "other.example"}, elsewhere, hub)
    code, _, err = shell.run("verify", "--repair")
    assert code == 3
    assert "other.example" in err
    assert path.read_bytes() != BIG
    code, _, err = shell.run("verify", "--repair", environ={"MODEL_CACHE_EVICTOR": HERE.upper()})
    assert code == 4, err
    assert path.read_bytes() == BIG
    shell.close()
