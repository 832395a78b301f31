"""`metrics`: the numbers are those of the cache, and the file is replaced as a whole or not at all."""

import os
import resource
import sqlite3
import stat
import subprocess
from contextlib import closing

import pytest
from cli_equipment import COMMAND, Shell, pattern
from prometheus_client.parser import text_string_to_metric_families
from verify_equipment import rot

from model_cache import ModelCache

REPO = "owner/name"
SIZE = 20_000
NAMES = ["a.bin", "b.bin", "c.bin"]


@pytest.fixture
def shell(environ, root, hub):
    """The command, on a root that is not there yet; ended with the test."""
    hub.add_repo(REPO, {name: pattern(SIZE, number) for number, name in enumerate(NAMES)})
    started = Shell(environ, root, hub)
    yield started
    started.close()


@pytest.fixture
def filled(shell, cache):
    """The command, on a root with three files."""
    for name in NAMES:
        cache.fetch(REPO, name)
    return shell


def read(text):
    """{name: {the labels but the root, as a tuple of their contents: value}} of the text format."""
    return {
        sample.name.removeprefix("model_cache_"): {
            tuple(content for label, content in one.labels.items() if label != "root"): one.value
            for one in family.samples
        }
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def metrics(shell, *arguments):
    """What the command prints, read."""
    return read(shell.ok("metrics", *arguments))


def test_it_says_what_status_says(filled):
    """Bytes, files, pins, budget and disk are the numbers of the other commands."""
    filled.ok("pin", REPO, "a.bin")
    filled.ok("config", "max_size=1GB")
    found, status = metrics(filled), filled.json("status")
    assert found["files"][("ready",)] == status["entries"] == 3
    assert sum(found["size_bytes"].values()) == status["total_bytes"]
    assert found["pinned_bytes"] == {(): status["pinned_bytes"]}
    assert found["budget_bytes"] == {(): 1_000_000_000}
    assert 0 < found["filesystem_free_bytes"][()] < found["filesystem_size_bytes"][()]
    assert (found["downloads_total"], found["downloaded_bytes_total"]) == ({(): 3}, {(): 3 * SIZE})


def test_it_says_what_verify_found(filled, root):
    """Each damaged file counts for its reason until it is mended; a run with damage ends, and is no success."""
    before = metrics(filled)
    assert "last_verify_timestamp_seconds" not in before
    assert before["never_verified_files"] == {(): 0}
    rot(root / REPO / "a.bin")
    (root / REPO / "b.bin").write_bytes(b"edited")
    (root / REPO / "c.bin").unlink()
    assert filled.run("verify", "-q")[0] == 3
    found = metrics(filled)
    assert found["failed_files"] == {
        ("corrupt",): 1,
        ("unreadable",): 0,
        ("changed",): 1,
        ("missing",): 1,
        ("quarantined",): 0,
    }
    assert "last_verify_timestamp_seconds" in found
    assert "last_verify_success_timestamp_seconds" not in found
    filled.run("verify", "-q", "--repair")
    filled.ok("reconcile", "-q")
    filled.ok("verify", "-q")
    found = metrics(filled)
    assert set(found["failed_files"].values()) == {0}
    assert found["repairs_total"] == {(): 1}
    assert found["last_verify_success_timestamp_seconds"][()] > before["oldest_verify_timestamp_seconds"][()]


def test_what_the_hub_has_no_more_stays_a_failure(filled, root, hub, cache):
    """Of the files in quarantine, whose bytes count, those fail that nothing took the place of."""
    rot(root / REPO / "a.bin")
    filled.run("verify", "-q", "--repair")
    found = metrics(filled)
    assert (found["failed_files"][("quarantined",)], found["files"][("quarantined",)]) == (0, 1)
    hub.add_repo(REPO, {"b.bin": pattern(SIZE, 9)})
    with cache._ctx.index.transaction("test:commit") as index:
        index.execute('UPDATE entries SET "commit" = ?', ("0" * 40,))
        index.execute(
            'UPDATE entries SET seal = seal(key, origin, size, sha256, etag, "commit", ino, mtime_ns, pinned)'
        )
    rot(root / REPO / "b.bin")
    assert filled.run("verify", "-q", "--repair")[0] == 3
    found = metrics(filled)
    assert (found["failed_files"][("quarantined",)], found["files"][("quarantined",)]) == (1, 2)
    assert found["size_bytes"][("quarantined",)] >= 2 * SIZE


def test_it_says_what_went_and_what_came_back(shell, root, hub):
    """Evictions by why, removals, collections, and what was downloaded again too soon."""
    cache = ModelCache(root, endpoint=hub.url, token=False, max_size=60_000, min_idle=0)
    for name in (*NAMES, "a.bin"):
        cache.fetch(REPO, name)
    shell.ok("gc", "-q", "--max-size", "30kB", environ={"MODEL_CACHE_MIN_IDLE": "0s"})
    shell.ok("rm", "-q", "--yes", REPO, "a.bin")
    found = metrics(shell)
    assert found["files"][("ready",)] == 0
    assert found["evictions_total"] == {("budget",): 2, ("age",): 0, ("asked",): 1}
    assert found["evicted_bytes_total"] == {("budget",): 2 * SIZE, ("age",): 0, ("asked",): SIZE}
    assert (found["downloads_total"], found["removals_total"]) == ({(): 4}, {(): 1})
    assert (found["regrets_total"], found["regret_bytes_total"]) == ({(): 1}, {(): SIZE})
    assert "last_gc_timestamp_seconds" in found


def test_repos_on_request(filled, hub, cache):
    """With --by-repo each repo has its files and bytes, all revisions together."""
    hub.add_repo("gpt2", {"config.json": b"{}"})
    cache.fetch("gpt2", "config.json")
    assert "repo_files" not in metrics(filled)
    found = metrics(filled, "--by-repo")
    assert found["repo_files"] == {("model", "gpt2"): 1, ("model", REPO): 3}
    assert sum(found["repo_size_bytes"].values()) == found["size_bytes"][("ready",)]


def test_the_document(filled, root):
    """--json has the same metrics, with their types and helps."""
    document = filled.json("metrics")
    assert list(document) == ["root", "metrics"]
    assert document["root"] == str(root)
    assert {tuple(metric) for metric in document["metrics"]} == {("name", "type", "help", "samples")}
    assert {metric["type"] for metric in document["metrics"]} == {"gauge", "counter"}
    files = next(metric for metric in document["metrics"] if metric["name"] == "model_cache_files")
    assert files["samples"][0] == {"labels": {"state": "ready", "root": str(root)}, "value": 3}


def test_a_root_that_is_no_text(environ, tmp_path):
    """The output is UTF-8 whatever the path and the locale."""
    odd = os.fsencode(tmp_path) + b"/caf\xe9"
    os.makedirs(odd)
    command = [*COMMAND, "metrics"]
    done = subprocess.run(
        command,
        env={
            **environ,
            "MODEL_CACHE_DIR": os.fsdecode(odd),
            "LC_ALL": "C",
            "PYTHONUTF8": "0",
            "PYTHONCOERCECLOCALE": "0",
        },
        capture_output=True,
        timeout=60,
    )
    assert read(done.stdout.decode("utf-8"))["index_up"] == {(): 0}
    assert "Traceback" not in done.stderr.decode("utf-8", "replace")


def test_the_file_is_for_everybody_and_nothing_is_printed(filled, tmp_path):
    """With --textfile: mode 0644 whatever the umask and the old file, no output, and nothing else in the directory."""
    folder = tmp_path / "collected"
    folder.mkdir()
    (folder / "m.prom").touch(0o600)
    assert filled.run("metrics", "--textfile", str(folder / "m.prom"), umask=0o077) == (0, "", "")
    assert stat.S_IMODE((folder / "m.prom").stat().st_mode) == 0o644
    assert os.listdir(folder) == ["m.prom"]
    assert read((folder / "m.prom").read_text())["files"][("ready",)] == 3


def test_a_path_is_taken_from_where_the_command_runs(filled, tmp_path):
    """A name alone is a file in the working directory."""
    assert filled.run("metrics", "--textfile", "m.prom", cwd=tmp_path) == (0, "", "")
    assert (tmp_path / "m.prom").is_file()


def test_the_document_beside_the_file(filled, tmp_path):
    """--json with --textfile: the file has the text, stdout the document."""
    assert filled.json("metrics", "--textfile", str(tmp_path / "m.prom"))["metrics"]
    assert (tmp_path / "m.prom").read_text().startswith("# HELP ")


def test_who_reads_the_old_file_reads_it_whole(filled, tmp_path):
    """The file is replaced, not written over: what was open stays what it was."""
    path = tmp_path / "m.prom"
    path.write_text("old\n")
    with path.open() as before:
        filled.ok("metrics", "--textfile", str(path))
        assert before.read() == "old\n"
    assert path.read_text().startswith("# HELP ")


def test_a_write_that_fails_leaves_the_old_file(filled, tmp_path):
    """No room in the middle of it: one line, exit code 1, the old file, and nothing beside it."""
    folder = tmp_path / "collected"
    folder.mkdir()
    (folder / "m.prom").write_text("old\n")
    path = folder / "m.prom"

    def limited():
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))

    environ = {"PYTHONDONTWRITEBYTECODE": "1"}
    code, out, err = filled.run("metrics", "--textfile", str(path), preexec_fn=limited, environ=environ)
    assert (code, out) == (1, "")
    assert err == f"error: cannot write {path}: File too large\nhint: ls -ld {folder}\n"
    assert (os.listdir(folder), path.read_text()) == (["m.prom"], "old\n")


def test_a_directory_that_takes_no_file(filled, tmp_path, bound):
    """One that is not there, is a file, or may not be written: one line, exit code 1, nothing left behind."""
    (tmp_path / "file").touch()
    (tmp_path / "closed").mkdir(mode=0o555)
    for folder, reason in (
        ("gone", "No such file or directory"),
        ("file", "Not a directory"),
        ("closed", "Permission denied"),
    ):
        path = tmp_path / folder / "m.prom"
        command = [*bound, *COMMAND, "metrics", "--textfile", str(path)]
        done = subprocess.run(command, env=filled.environ, capture_output=True, text=True, timeout=60)
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr == f"error: cannot write {path}: {reason}\nhint: ls -ld {path.parent}\n"
    assert not (tmp_path / "gone").exists()
    assert os.listdir(tmp_path / "closed") == []


@pytest.mark.parametrize("kind", ["directory", "symlink", "FIFO", "device"])
def test_only_a_file_is_replaced(filled, tmp_path, kind):
    """What is no regular file stays what it is, with a line that says so."""
    path = tmp_path / "there"
    if kind == "directory":
        path.mkdir()
    elif kind == "symlink":
        path.symlink_to(tmp_path / "elsewhere")
    elif kind == "FIFO":
        os.mkfifo(path)
    else:
        path = "/dev/null"
    before = os.lstat(path)
    assert filled.run("metrics", "--textfile", str(path)) == (
        1,
        "",
        f"error: --textfile {path}: expected a file or nothing there, found a {kind}; it is not replaced\n"
        f"hint: ls -ld {path}\n",
    )
    assert (os.lstat(path).st_ino, os.lstat(path).st_mode) == (before.st_ino, before.st_mode)
    assert not (tmp_path / "elsewhere").exists()


def spoil(index, how):
    """Make an index that cannot be read, or none."""
    if how == "noise":
        index.write_bytes(pattern(20_000))
    elif how == "empty":
        index.write_bytes(b"")
    elif how == "gone":
        index.unlink()
    else:
        with closing(sqlite3.connect(index)) as connection:
            connection.execute(f"PRAGMA user_version = {how}")


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("noise", "index {index}: file is not a database"),
        ("empty", "nothing is recorded of {root} (from MODEL_CACHE_DIR): there is no index"),
        ("gone", "nothing is recorded of {root} (from MODEL_CACHE_DIR): there is no index"),
        ("99", "the index was written by a newer model-cache (its schema is 99, this version knows "),
    ],
)
def test_an_index_that_cannot_be_read(filled, root, tmp_path, how, words):
    """What is known all the same is printed and written, with `index_up` 0; one line and exit code 1 say the rest."""
    index = root / ".model-cache" / "index.db"
    spoil(index, how)
    before = index.read_bytes() if index.exists() else None
    code, out, err = filled.run("metrics")
    assert code == 1
    assert err.startswith(f"error: {words.format(index=index, root=root)}")
    assert len(err.splitlines()) == 2
    assert set(read(out)) == {"info", "index_up", "filesystem_free_bytes", "filesystem_size_bytes"}
    assert read(out)["index_up"] == {(): 0}
    code, out, _ = filled.run("metrics", "--textfile", str(tmp_path / "m.prom"))
    assert (code, out) == (1, "")
    assert read((tmp_path / "m.prom").read_text())["index_up"] == {(): 0}
    assert (index.read_bytes() if index.exists() else None) == before


def test_without_a_root_nothing_is_made(shell, root, tmp_path):
    """No root, no metrics of one: exit code 1, and neither the root nor the file is there afterwards."""
    path = tmp_path / "m.prom"
    code, out, err = shell.run("metrics", "--textfile", str(path))
    assert (code, out) == (1, "")
    assert err.startswith(f"error: no cache at {root} (from MODEL_CACHE_DIR)\n")
    assert not root.exists()
    assert not path.exists()


def test_looking_changes_nothing(filled, root):
    """Neither a last use nor the index changes."""
    own = root / ".model-cache"

    def state():
        return {path: path.stat().st_mtime_ns for path in own.rglob("*")}

    before = state()
    filled.ok("metrics", "--by-repo")
    assert state() == before
