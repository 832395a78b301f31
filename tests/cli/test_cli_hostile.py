"""The command on a root that others can write: what they plant there neither hangs it nor shows up as nonsense."""

import os
import signal
import sqlite3

import pytest
from cli_equipment import Shell, pattern

from model_cache import StorageError
from model_cache.cli.listing import is_sound
from model_cache.layout import Entry

REPO, FILE = "owner/name", "model.bin"
BIG = pattern(2_000_000)
ENTRY = Entry(REPO, FILE)


@pytest.fixture
def shell(environ, root, hub):
    """The command, on an empty root and a loopback hub with one repo."""
    hub.add_repo(REPO, {FILE: BIG, "config.json": b"{}"})
    found = Shell(environ, root, hub)
    yield found
    found.close()


@pytest.mark.parametrize("arguments", [("config",), ("config", "max_size=1GB"), ("ls",)])
def test_a_policy_file_that_is_a_fifo_does_not_hang(shell, root, arguments):
    """A FIFO in the place of config.toml is named, by every command that reads it."""
    (root / ".model-cache").mkdir(parents=True)
    os.mkfifo(root / ".model-cache" / "config.toml")
    code, _, err = shell.run(*arguments)
    assert code in (1, 2) and "config.toml" in err and "regular file" in err


def test_a_lock_that_is_a_fifo_or_a_directory_does_not_hang(cache, hub, shell):
    """`status` passes over it, and a fetch says what stands in the way and how to look at it."""
    with hub.hold(FILE, after=0.5) as hold:
        process = shell.start("fetch", REPO, FILE)
        hold.wait_for(1)
        process.kill()
        process.wait()
    lock = cache._ctx.places.lock(ENTRY.key)
    os.unlink(lock)
    os.mkfifo(lock)
    assert [found["state"] for found in shell.json("status")["downloads"]] == ["unknown"]
    os.unlink(lock)
    os.mkdir(lock)
    with pytest.raises(StorageError, match="cannot lock") as caught:
        cache.fetch(REPO, FILE)
    assert caught.value.hint == f"ls -l {lock}"


ODD = [
    ("etag", b"\xff"),
    ("commit", b"\x00"),
    ("last_used_at", float("-inf")),
    ("downloaded_at", float("inf")),
    ("size", float("inf")),
    ("pinned", "x"),
    ("holder", b"z"),
    ("sha256", b"1"),
]


def test_rows_with_values_of_other_kinds_are_left_out(cache, hub, shell):
    """SQLite keeps BLOBs and infinities in any column; JSON has no word for either."""
    cache.fetch(REPO, FILE)
    (row,) = cache.entries()
    assert is_sound(row)
    for name, value in ODD:
        assert not is_sound(row._replace(**{name: value})), name
    cache._ctx.index.close()
    with sqlite3.connect(cache._ctx.places.index) as connection:
        connection.execute("UPDATE entries SET etag = ?", (b"\xff",))
    connection.close()
    assert shell.json("fetch", REPO, FILE)["files"][0]["etag"] is None
    assert shell.json("ls")["entries"] == []


def test_an_interrupt_says_one_line(shell, hub):
    """Ctrl-C in a download is one line and a hint on stderr and exit code 130, with no empty line before it."""
    with hub.hold(FILE, after=0.5) as hold:
        process = shell.start("fetch", "-q", REPO, FILE)
        hold.wait_for(1)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (
        130,
        "error: interrupted\nhint: what has arrived is kept; the same command goes on from there\n",
    )


def test_a_token_that_is_kept_back_is_told_of(shell, root, hub):
    """A token that does not go where a writable policy file says is a warning on stderr, so that a refusal is understood."""
    (root / ".model-cache").mkdir(parents=True)
    path = root / ".model-cache" / "config.toml"
    path.write_text(f'endpoint = "{hub.url}"\n')
    path.chmod(0o664)
    code, _, err = shell.run("fetch", REPO, FILE, environ={"HF_ENDPOINT": None, "HF_TOKEN": "hf_SECRETsecret"})
    assert code == 0 and "warning: HF_TOKEN is not sent to" in err and "hf_SECRET" not in err
    assert not any(record.authorization for record in hub.requests)
