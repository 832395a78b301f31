"""Roots that older code made, as that code left them, are opened; one that newer code made is refused, and left as it is.

The archives in `roots/` were made by the code of the commits that `roots/README.md` names, `schema-2` by the newest of them.
"""

import hashlib
import json
import sqlite3
import subprocess
from pathlib import Path

import pytest
from roots.make import KILLED, REPO, repos

from model_cache import ModelCache
from model_cache.cli import run
from model_cache.cli.group import COMMANDS
from model_cache.index import schema

ROOTS = Path(__file__).with_name("roots")
NAMES = sorted(path.name.removesuffix(".tar.gz") for path in ROOTS.glob("*.tar.gz"))
NEWER = [
    f"error: the index was written by a newer model-cache (its schema is {schema.VERSION + 1}, "
    f"this version knows {schema.VERSION})",
    "hint: pip install --upgrade model-cache",
]
# By the command: what it is asked, and whether it can do that without an index.
ASKED = {
    "fetch": [(["--force", "gpt2", "config.json"], False), (["gpt2", "config.json"], True), ([REPO, KILLED], True)],
    "path": [(["gpt2", "config.json"], True)],
    "root": [([], True)],
    "cached": [(["gpt2", "config.json"], True)],
    "ls": [([], False), (["--repos"], False)],
    "status": [([], False)],
    "gc": [([], False), (["--dry-run"], False)],
    "verify": [([], False), (["--repair"], False)],
    "reconcile": [([], False), (["--rebuild"], False)],
    "rm": [(["gpt2", "config.json", "--yes"], False)],
    "update": [([], False)],
    "lock": [(["--from-cache"], False)],
    "pin": [(["gpt2", "config.json"], False)],
    "unpin": [(["gpt2", "config.json"], False)],
    "config": [(["max_size"], True)],
    "report": [(["-o", "page.html"], False), (["--database", "copy.db"], False)],
    "completion": [(["bash"], True)],
}
# Without a lock file, another cache, a bucket: these have nothing to do with the index of this root, or say so (`doctor`).
ELSEWHERE = {"sync", "import-hf", "tier", "doctor", "metrics", "demo"}


def unpack(name, place):
    """A root and what its archive says is in it."""
    subprocess.run(["tar", "-xzf", ROOTS / f"{name}.tar.gz"], cwd=place, check=True)
    return place / "root", json.loads((place / "expected.json").read_text())


@pytest.fixture
def full_hub(hub):
    """The hub that all of them were made with."""
    for repo_type, repo, files in repos():
        hub.add_repo(repo, files, repo_type=repo_type)
    return hub


@pytest.fixture
def newer(tmp_path, monkeypatch):
    """A root whose index says that it is of the next version, and every byte of its files."""
    root, _ = unpack(NAMES[-1], tmp_path)
    with sqlite3.connect(root / ".model-cache" / "index.db") as index:
        index.execute(f"PRAGMA user_version = {schema.VERSION + 1}")
    index.close()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MODEL_CACHE_DIR", str(root))
    return root


def test_each_version_of_the_schema_has_a_root():
    """From the first version to this one there is a root of each, the last being this one's."""
    assert sorted({int(name.split("-")[1]) for name in NAMES}) == list(range(1, schema.VERSION + 1))


@pytest.mark.parametrize("name", NAMES)
def test_a_root_of_an_older_version_opens(name, full_hub, tmp_path):
    """Every row is as it was written, every file is a hit with its bytes, and what was counted is kept."""
    root, expected = unpack(name, tmp_path)
    assert expected["schema"] == int(name.split("-")[1])
    cache = ModelCache(root, endpoint=full_hub.url, token=False)
    rows = cache.entries()
    assert [
        {key: getattr(row, key) for key in one} for row, one in zip(rows, expected["entries"], strict=True)
    ] == expected["entries"]
    for row in rows:
        if row.state == "ready":
            found = cache.fetch(row.repo, row.filename, revision=row.revision, repo_type=row.repo_type, offline=True)
            relative = found.relative_to(root).as_posix()
            assert hashlib.sha256(found.read_bytes()).hexdigest() == expected["files"].pop(relative)
    assert expected["files"] == {}
    cache._ctx.index.close()
    with sqlite3.connect(root / ".model-cache" / "index.db") as index:
        assert index.execute("PRAGMA user_version").fetchone()[0] == schema.VERSION
        kinds = dict(index.execute("SELECT kind, count(*) FROM events GROUP BY kind"))
        counted = dict(index.execute("SELECT kind, events FROM counters"))
    index.close()
    assert {kind: kinds.get(kind) for kind in expected["events"]} == expected["events"]
    assert {kind: counted.get(kind) for kind in expected["events"]} == expected["events"]


@pytest.mark.parametrize("name", NAMES)
def test_what_an_older_version_had_begun_goes_on(name, full_hub, tmp_path):
    """A download that older code was killed in is resumed; then all is verified, and nothing is left to bring into agreement."""
    root, _ = unpack(name, tmp_path)
    cache = ModelCache(root, endpoint=full_hub.url, token=False, min_idle=0)
    data = repos()[0][2][KILLED]
    assert cache.fetch(REPO, KILLED).read_bytes() == data
    assert full_hub.body_bytes(KILLED) < len(data)
    assert cache.verify().exit_code() == 0
    found = cache.reconcile()
    assert (found.adopted, found.dropped) == ([], [])
    assert cache.gc(max_size=0).total_bytes == sum(row.charged for row in cache.entries() if row.pinned)


def test_every_command_is_asked():
    """Each command is in one of the two lists."""
    assert set(ASKED) | ELSEWHERE == set(COMMANDS)
    assert not set(ASKED) & ELSEWHERE


def test_a_root_of_a_newer_version_is_refused(newer, full_hub, monkeypatch, capsys):
    """What needs the index says in one line that it is newer, and a hint; what does not goes on; no byte of the index changes."""
    monkeypatch.setenv("HF_ENDPOINT", full_hub.url)
    own = newer / ".model-cache"
    before = (own / "index.db").read_bytes()
    backups = {path: path.read_bytes() for path in (own / "backup").glob("*")}
    for command, asked in ASKED.items():
        for arguments, goes_on in asked:
            code = run([command, *arguments])
            said = capsys.readouterr()
            if goes_on:
                assert code == 0, (command, arguments, said.err)
            else:
                assert (code, said.out) == (1, ""), (command, arguments)
                # Which of the two lines come last: `verify` says before that it records nothing.
                assert [line.split("written down: ")[-1] for line in said.err.splitlines()][-2:] == [
                    NEWER[0] if command != "fetch" else NEWER[0].removeprefix("error: "),
                    NEWER[1],
                ], (command, arguments)
            assert (own / "index.db").read_bytes() == before, (command, arguments)
    assert {path: path.read_bytes() for path in (own / "backup").glob("*")} == backups
    assert not list(own.glob("index.db-*"))
    assert not list(newer.parent.glob("page.html")) + list(newer.parent.glob("copy.db"))


def test_doctor_and_metrics_say_that_an_index_is_newer(newer, capsys):
    """The one fails at it, for the other it is an index that cannot be read; neither changes it."""
    before = (newer / ".model-cache" / "index.db").read_bytes()
    assert run(["doctor", "--json"]) == 3
    failed = [check for check in json.loads(capsys.readouterr().out)["checks"] if check["status"] == "fail"]
    assert [check["name"] for check in failed] == ["index"]
    assert "newer model-cache" in failed[0]["detail"]
    assert run(["metrics"]) == 1
    said = capsys.readouterr()
    assert [line.rpartition(" ")[2] for line in said.out.splitlines() if line.startswith("model_cache_index_up")] == [
        "0"
    ]
    assert said.err.splitlines() == NEWER
    assert (newer / ".model-cache" / "index.db").read_bytes() == before
