"""`report`: a page that is written whole or not at all, of a cache that is left as it is."""

import json
import os
import pty
import shutil
import sqlite3
import stat
import subprocess

import pytest
from cli_equipment import COMMAND, Shell, pattern
from verify_equipment import rot

REPO = "owner/name"
NAMES = ["a.bin", "b.bin", "sub/c.bin"]


@pytest.fixture
def shell(environ, root, hub):
    """The command, on a root that is not there yet; ended with the test."""
    hub.add_repo(REPO, {name: pattern(20_000, number) for number, name in enumerate(NAMES)})
    started = Shell(environ, root, hub)
    yield started
    started.close()


@pytest.fixture
def filled(shell, cache):
    """The command, on a root with three files."""
    for name in NAMES:
        cache.fetch(REPO, name)
    return shell


def state(root):
    """{path: (kind, size, mtime)} of everything below a root."""
    return {path: (path.lstat().st_mode, path.lstat().st_size, path.lstat().st_mtime_ns) for path in root.rglob("*")}


def test_it_shows_the_cache_and_leaves_it(filled, root):
    """The page has the files and their repo; nothing below the root is made, changed or touched by it."""
    filled.ok("pin", REPO, "a.bin")
    before = state(root)
    html = filled.ok("report")
    assert html.startswith("<!DOCTYPE html>")
    assert all(text in html for text in (str(root), REPO, *NAMES, "stays: pinned", "stays: used less than 10m ago"))
    assert state(root) == before


def test_a_file_is_replaced_as_a_whole(filled, tmp_path):
    """With -o nothing comes out on stdout, the file has the mode the umask leaves, and is a new one each time."""
    page = tmp_path / "page.html"
    page.write_text("old")
    held = page.open()
    code, out, err = filled.run("report", "-o", str(page), preexec_fn=lambda: os.umask(0o027))
    assert (code, out, err) == (0, "", f"wrote {page}\n")
    assert stat.S_IMODE(page.stat().st_mode) == 0o640
    assert page.read_text().startswith("<!DOCTYPE html>")
    assert held.read() == "old"
    held.close()
    assert filled.ok("report", "-o", "-").startswith("<!DOCTYPE html>")


def test_the_numbers_are_those_of_the_other_commands(filled, root, hub, cache):
    """--json has bytes, repos, what happened, what was found and who would go, and with -o the page is written besides."""
    rot(root / REPO / "a.bin")
    assert filled.run("verify", "-q")[0] == 3
    filled.ok("rm", "--yes", REPO, "b.bin")
    page = root.parent / "page.html"
    found, status = filled.json("report", "-o", str(page)), filled.json("status")
    assert page.is_file()
    assert found["total_bytes"] == status["total_bytes"]
    assert [(one["directory"], one["files"], one["bytes"]) for one in found["repos"]] == [
        (REPO, 2, found["total_bytes"])
    ]
    assert sum(span["came_bytes"] for span in found["history"]) == 60_000
    assert [(span["went_bytes"], span["went_files"]) for span in found["history"] if span["went_files"]] == [
        (20_000, 1)
    ]
    assert found["history"][-1]["total_bytes"] == found["total_bytes"]
    assert found["verification"]["last_verify"] == status["last_verify"]
    assert found["verification"]["damaged"] == [{"directory": REPO, "filename": "a.bin", "verdict": "corrupt"}]
    assert [one["filename"] for one in found["next"]] == ["a.bin", "sub/c.bin"]


def test_the_order_is_that_of_an_eviction(filled, root, cache):
    """Files go in the order that gc takes them, and those it would spare stay."""
    now = root.stat().st_mtime - 1000
    for number, name in enumerate(["sub/c.bin", "a.bin", "b.bin"]):
        (row,) = [row for row in cache.entries() if row.filename == name]
        os.utime(root / ".model-cache" / "used" / row.key, (now + number, now + number))
    cache._ctx.index.close()
    with sqlite3.connect(root / ".model-cache" / "index.db") as index:
        index.execute("UPDATE entries SET last_used_at = 1.0")
    index.close()
    filled.ok("pin", REPO, "a.bin")
    never = {"MODEL_CACHE_MIN_IDLE": "0"}
    found = filled.json("report", environ=never)
    assert [(one["filename"], one["stays"]) for one in found["next"]] == [
        ("sub/c.bin", None),
        ("a.bin", "pinned"),
        ("b.bin", None),
    ]
    went = filled.json("gc", "--max-size", "0", "--dry-run", environ=never)["evicted"]
    assert [one["filename"] for one in went] == ["sub/c.bin", "b.bin"]


def test_what_is_in_use_stays(filled, cache):
    """A file that a program has leased is said to be in use."""
    with cache.lease(REPO, "b.bin"):
        found = filled.json("report", environ={"MODEL_CACHE_MIN_IDLE": "0"})
    assert {one["filename"]: one["stays"] for one in found["next"]}["b.bin"] == "in use"


def test_it_never_makes_a_root(shell, root, tmp_path):
    """Where there is no cache that is an error, and neither the root nor the page is made."""
    for option in ("-o", "--database"):
        code, out, err = shell.run("report", option, str(tmp_path / "made"))
        assert (code, out) == (1, "")
        assert err.startswith(f"error: no cache at {root}")
    assert [path.name for path in tmp_path.iterdir()] == ["home"]


def test_a_root_without_an_index(shell, root, tmp_path):
    """Files that somebody placed are no cache yet: the page says that nothing is recorded, and there is nothing to copy."""
    root.mkdir()
    assert "There is no index" in shell.ok("report")
    code, _, err = shell.run("report", "--database", str(tmp_path / "copy.db"))
    assert code == 1
    assert err.startswith(f"error: nothing is recorded of {root}")
    assert list(root.iterdir()) == []
    assert not (tmp_path / "copy.db").exists()


def test_a_damaged_index_writes_nothing(filled, root, tmp_path):
    """The index cannot be read: one line and a hint, and the page of the day before stays."""
    index, page = root / ".model-cache" / "index.db", tmp_path / "page.html"
    page.write_text("of yesterday")
    index.write_bytes(b"rotten" * 2000)
    for arguments in (("-o", str(page)), ("--database", str(page))):
        code, out, err = filled.run("report", *arguments)
        assert (code, out) == (1, "")
        assert err.startswith(f"error: index {index}: ")
        assert err.count("\n") == 2
    assert page.read_text() == "of yesterday"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cache", "home", "page.html"]


def test_an_index_that_anybody_wrote(filled, root):
    """Values of the wrong kind, names that lead elsewhere and markup in any text: the rest is shown, and nothing runs."""
    with sqlite3.connect(root / ".model-cache" / "index.db") as index:
        index.execute("UPDATE entries SET path = '../../outside' WHERE filename = 'a.bin'")
        index.execute("UPDATE entries SET charged = x'ff', size = 'much' WHERE filename = 'b.bin'")
        index.execute("UPDATE entries SET verdict = '<script>' WHERE filename = 'sub/c.bin'")
        index.execute("INSERT INTO events (at, kind, size) VALUES (9e999, '<script>', 9e999), (1.0, x'ff', 'many')")
        index.execute("INSERT OR REPLACE INTO meta VALUES ('last_verify', '-9e999'), ('last_verify_success', 'x')")
    index.close()
    code, html, err = filled.run("report")
    assert (code, err) == (0, "")
    assert "sub/c.bin" in html
    assert "<script>" not in html
    assert "outside" not in html
    assert "2 rows of the index that made no sense left out" in html
    assert filled.json("report")["verification"]["last_verify"] is None


@pytest.mark.parametrize("option", ["--output", "--database"])
def test_the_caches_own_files_are_not_written_over(filled, root, option):
    """A path in .model-cache, by whatever way, is refused before anything is written."""
    before = state(root)
    for path in (".model-cache/index.db", "owner/../.model-cache/new.html"):
        code, _, err = filled.run("report", option, str(root / path))
        assert code == 1
        assert "expected a place outside" in err
    assert state(root) == before


def test_a_place_that_cannot_be_written(filled, tmp_path):
    """No such directory, or a directory where the file should be: one line each."""
    for option in ("--output", "--database"):
        for path in (tmp_path / "no" / "page", tmp_path):
            code, out, err = filled.run("report", option, str(path))
            assert (code, out, err[:7]) == (1, "", "error: ")


def test_both_at_once_is_misuse(filled):
    """A page and a copy are two runs."""
    assert filled.run("report", "-o", "a", "--database", "b")[0] == 2


def test_a_terminal_is_spared(filled):
    """HTML is not poured over a terminal: exit 2, and the hint says how to keep it."""
    ours, theirs = pty.openpty()
    done = subprocess.run(
        [*COMMAND, "report"],
        env=filled.environ,
        stdin=subprocess.DEVNULL,
        stdout=theirs,
        stderr=subprocess.PIPE,
        text=True,
    )
    os.close(theirs)
    os.close(ours)
    assert done.returncode == 2
    assert "hint: model-cache report -o report.html" in done.stderr


def test_a_root_that_may_only_be_read(filled, root):
    """Who may read the cache and write nothing in it sees the same page."""
    words = ["setpriv", "--bounding-set=-dac_override,-dac_read_search,-fowner"]
    before = filled.json("report")
    for path in (root, *root.rglob("*")):
        path.chmod(path.stat().st_mode & ~0o222)
    tracer = []
    if os.geteuid() == 0:
        if shutil.which("setpriv") is None or subprocess.run([*words, "true"], capture_output=True).returncode:
            pytest.skip("root may write everywhere, and setpriv cannot take that away here")
        tracer = words
    command = [*tracer, *COMMAND, "report", "--json"]
    done = subprocess.run(command, env=filled.environ, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    for path in (root, *root.rglob("*")):
        path.chmod(path.stat().st_mode | 0o200)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["repos"] == before["repos"]


def test_a_copy_for_other_programs(filled, root, tmp_path):
    """--database writes the index as it is, and what Datasette is told under the copy's name; both paths are the output."""
    copy, beside = tmp_path / "my cache.db", tmp_path / "my cache.datasette.json"
    before = state(root)
    code, out, err = filled.run("report", "--database", str(copy))
    assert (code, out) == (0, f"{copy}\n{beside}\n")
    assert err.startswith("look at it with: datasette ")
    assert state(root) == before
    (name,) = json.loads(beside.read_text())["databases"]
    assert name == "my cache"
    with sqlite3.connect(copy) as connection:
        assert connection.execute("SELECT count(*) FROM entries").fetchone() == (3,)
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    connection.close()
    assert filled.json("report", "--database", str(copy)) == {"database": str(copy), "metadata": str(beside)}


def test_each_query_that_is_shipped_runs(filled, tmp_path):
    """The queries for Datasette are SQL that this schema answers, and name tables that it has."""
    copy = tmp_path / "copy.db"
    filled.ok("report", "--database", str(copy))
    described = json.loads((tmp_path / "copy.datasette.json").read_text())["databases"]["copy"]
    with sqlite3.connect(copy) as connection:
        tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")}
        assert set(described["tables"]) <= tables
        rows = {
            name: connection.execute(query["sql"], {"days": ""}).fetchall()
            for name, query in described["queries"].items()
        }
    connection.close()
    assert rows["largest_repos"][0][:4] == ("model", REPO, "main", 3)
    assert [row[1:] for row in rows["by_day"]] == [("download", 3, 60_000)]
