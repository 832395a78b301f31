"""`ls` and `status`: what the index knows."""

import json
import os
import re
import shutil
import sqlite3

import pytest
from cli_equipment import Shell, pattern, wait_for_partial
from hypothesis import example, given
from hypothesis import strategies as st

from model_cache import ModelCache
from model_cache.cli import output, selection
from model_cache.layout import Entry, check_filename
from model_cache.testing import LoopbackHub

REPO, DATA = "owner/name", "owner/data"
FILES = {"model.bin": pattern(3_000_000), "config.json": b"{}", "onnx/model.onnx": pattern(1_500_000, 7)}


@pytest.fixture(scope="module")
def filled(tmp_path_factory):
    """A root with four files of two repos, and the commit of the first; tests get copies."""
    root = tmp_path_factory.mktemp("filled") / "cache"
    with LoopbackHub() as hub:
        commit = hub.add_repo(REPO, FILES)
        hub.add_repo(DATA, {"data.csv": b"a,b\n"}, repo_type="dataset")
        cache = ModelCache(root, endpoint=hub.url, token=False)
        for name in FILES:
            cache.fetch(REPO, name)
        cache.fetch(DATA, "data.csv", repo_type="dataset")
    return root, commit


@pytest.fixture
def shell(environ, root, filled):
    """The command, on a root with four files of two repos."""
    shutil.copytree(filled[0], root)
    return Shell(environ, root)


@pytest.fixture
def bare(environ, root, hub):
    """The command, on a root that is not there."""
    hub.add_repo(REPO, FILES)
    found = Shell(environ, root, hub)
    yield found
    found.close()


def use(root, path, age):
    """Let a file's last use be so many seconds ago, in the index and beside the model."""
    connection = sqlite3.connect(root / ".model-cache" / "index.db")
    key, moment = connection.execute("SELECT key, last_used_at - ? FROM entries WHERE path = ?", (age, path)).fetchone()
    connection.execute("UPDATE entries SET last_used_at = ? WHERE key = ?", (moment, key))
    connection.commit()
    connection.close()
    os.utime(root / ".model-cache" / "used" / key, (moment, moment))
    return key


def test_the_list_for_people(shell, root):
    """Aligned columns in the order of names, without colours when piped; the sum is no data and goes to stderr."""
    code, out, err = shell.run("ls")
    assert code == 0
    lines = [re.sub(r"[0-9.]+s ago +", "AGO ", line) for line in out.splitlines()]
    assert re.sub(" +", " ", lines[0]) == "REPO FILE SIZE USED STATE"
    assert lines[1:] == [
        "datasets/owner/data  data.csv            4 B  AGO ready",
        "owner/name           config.json         2 B  AGO ready",
        "owner/name           model.bin          3 MB  AGO ready",
        "owner/name           onnx/model.onnx  1.5 MB  AGO ready",
    ]
    assert err == "4 files, 4.5 MB; no budget is set\n"


def test_the_document(shell, root, filled):
    """--json has every documented field; times in RFC 3339, sizes in bytes."""
    document = shell.json("ls", REPO, environ={"MODEL_CACHE_MAX_SIZE": "1GB"})
    assert document["root"] == str(root) and document["budget_bytes"] == 10**9
    assert document["total_bytes"] >= 4_500_000
    entry = {found["filename"]: found for found in document["entries"]}["config.json"]
    for name in ("downloaded_at", "last_used_at", "verified_at"):
        assert re.fullmatch(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ", entry.pop(name))
    assert len(entry.pop("sha256")) == 64 and len(entry.pop("etag")) == 40
    assert entry == {
        "repo": REPO,
        "repo_type": "model",
        "revision": "main",
        "filename": "config.json",
        "path": f"{root}/{REPO}/config.json",
        "size": 2,
        "commit": filled[1],
        "pinned": False,
        "in_use": None,
        "state": "ready",
        "lower": None,
    }


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--filter", "size>1MB"], ["model.bin", "onnx/model.onnx"]),
        (["--filter", "size>=1.5MB", "--filter", "size<2MB"], ["onnx/model.onnx"]),
        (["--filter", "used>30d"], ["config.json"]),
        (["--filter", "used<1h", "--filter", "type=model"], ["model.bin", "onnx/model.onnx"]),
        (["--filter", "type=dataset"], ["data.csv"]),
        (["--filter", "state=partial"], []),
        (["--sort", "size:desc", "--limit", "2"], ["model.bin", "onnx/model.onnx"]),
        (["--sort", "used", "--limit", "1"], ["config.json"]),
        ([DATA], ["data.csv"]),
        (["owner/unknown"], []),
    ],
)
def test_filters_sort_and_limit(shell, root, arguments, expected):
    """All filters must hold; -q prints the paths alone."""
    use(root, f"{REPO}/config.json", 40 * 86400)
    code, out, err = shell.run("ls", "-q", *arguments)
    directory = f"{root}/datasets/{DATA}" if expected == ["data.csv"] else f"{root}/{REPO}"
    assert (code, out, err) == (0, "".join(f"{directory}/{name}\n" for name in expected), "")


def test_a_repo_that_the_index_does_not_know_is_named(shell):
    """Nothing to list is no error, and stderr says that there is nothing of that name."""
    code, out, err = shell.run("ls", "nobody/nothing")
    assert (code, out, err.splitlines()[0]) == (0, "", "nothing of nobody/nothing is in the index")


def test_sums_by_repo(shell, root):
    """--repos has one line per repo: files, bytes, last use of any of them."""
    repos = shell.json("ls", "--repos", "--sort", "size:desc")["repos"]
    assert [(found["repo"], found["repo_type"], found["files"], found["size"]) for found in repos] == [
        (REPO, "model", 3, 4_500_002),
        (DATA, "dataset", 1, 4),
    ]
    assert repos[0]["path"] == f"{root}/{REPO}" and repos[0]["last_used_at"].endswith("Z")
    assert shell.ok("ls", "--repos", "-q") == f"{root}/datasets/{DATA}\n{root}/{REPO}\n"
    assert shell.ok("ls", "--repos").splitlines()[2].startswith("owner/name               3  4.5 MB  ")


def test_the_last_use_is_the_later_of_index_and_file(shell, root):
    """The index has a lower bound; the mtime beside the model is what counts."""
    key = use(root, f"{REPO}/config.json", 86400)
    os.utime(root / ".model-cache" / "used" / key, (1_900_000_000, 1_900_000_000))
    entry = next(found for found in shell.json("ls")["entries"] if found["filename"] == "config.json")
    assert entry["last_used_at"] == "2030-03-17T17:46:40Z"


def test_rows_that_name_no_entry_are_left_out(shell, root):
    """An index can have been written by anybody: a name that leads elsewhere is not shown, and that is said."""
    connection = sqlite3.connect(root / ".model-cache" / "index.db")
    connection.execute("UPDATE entries SET filename = '../../etc/passwd' WHERE filename = 'config.json'")
    connection.execute("UPDATE entries SET size = 'x' WHERE filename = 'model.bin'")
    connection.commit()
    connection.close()
    code, out, err = shell.run("ls")
    assert code == 0 and "passwd" not in out and "model.bin" not in out
    index = root / ".model-cache" / "index.db"
    assert err.splitlines()[0] == f"warning: 2 rows of {index} name no entry, and were left out"


def test_files_without_an_index_are_pointed_to(bare, root):
    """What was placed by hand is found by every fetch, and not listed: that is said."""
    (root / "gpt2").mkdir(parents=True)
    (root / "gpt2" / "x").write_bytes(b"1")
    code, out, err = bare.run("ls")
    assert (code, out) == (0, "")
    assert err.splitlines()[0] == ("there is no index yet: files placed by hand are found all the same, and not listed")
    assert bare.run("ls", "--json", "-q")[2] == ""
    assert os.listdir(root) == ["gpt2"]


def test_an_index_that_is_none_is_a_clear_error(shell, root):
    """Damage is said in one line that names the index; looking changes nothing."""
    index = root / ".model-cache" / "index.db"
    index.write_bytes(b"no database at all" * 100)
    for command in ("ls", "status"):
        code, out, err = shell.run(command)
        assert (code, out) == (1, "")
        assert err.splitlines()[0].startswith(f"error: index {index}: ")
    assert index.read_bytes() == b"no database at all" * 100


ORDER = [
    *("repo", "repo_type", "revision", "filename", "path", "size", "sha256", "etag", "commit"),
    *("downloaded_at", "last_used_at", "verified_at", "pinned", "in_use", "state", "lower"),
]


def add_rows(root, entries):
    """Rows of small ready files, as downloads leave them; the files are not needed for a listing."""
    connection = sqlite3.connect(root / ".model-cache" / "index.db")
    rows = [(one.key, *one.identity, one.relative, size) for size, one in enumerate(entries)]
    connection.executemany(
        "INSERT INTO entries (key, repo_type, repo, revision, filename, path, size, state) VALUES (?, ?, ?, ?, ?, ?, ?, 'ready')",
        rows,
    )
    connection.commit()
    connection.close()


@pytest.mark.parametrize("arguments", [[], ["--in-use"], ["--sort", "size"], ["--limit", "2"], ["nobody/nothing"]])
def test_the_document_is_written_as_any_other(shell, root, arguments):
    """The list comes in pieces, and the text is that of one document with two spaces of indent, field by field."""
    add_rows(root, [Entry(REPO, 'ünïcode/"quotes" {a},{b} [c].bin'), Entry(REPO, "x", revision="refs/pr/1")])
    with (root / REPO / "model.bin").open("rb"):
        out = shell.ok("ls", "--json", *arguments)
    document = json.loads(out)
    assert out == json.dumps(document, indent=2) + "\n"
    assert list(document) == ["root", "total_bytes", "budget_bytes", "entries"]
    assert all(list(entry) == ORDER for entry in document["entries"])
    if arguments == ["--in-use"]:
        used = {entry["filename"]: entry["in_use"] for entry in document["entries"]}
        assert used["config.json"] == [] and f"open by pid {os.getpid()} (" in used["model.bin"][0]


def test_a_long_list_is_complete_and_in_order(shell, root):
    """What is read in pages has every row once, in the order of names; rows that name no entry are counted over all pages."""
    names = [f"owner-{number % 3}/name" for number in range(900)]
    added = [Entry(repo, f"file-{number:04}.bin") for number, repo in enumerate(names)]
    add_rows(root, added)
    connection = sqlite3.connect(root / ".model-cache" / "index.db")
    connection.execute("UPDATE entries SET path = '../' || path WHERE size IN (5, 805)")
    connection.execute("UPDATE entries SET etag = x'00' WHERE size = 300 AND repo = 'owner-0/name'")
    connection.commit()
    connection.close()
    expected = sorted((one.repo, one.filename) for number, one in enumerate(added) if number not in (5, 300, 805))
    code, out, err = shell.run("ls", "--json", "--filter", "type=model", "--filter", "size<1kB")
    listed = [(one["repo"], one["filename"]) for one in json.loads(out)["entries"] if one["repo"] != REPO]
    assert (code, listed) == (0, expected)
    assert err == f"warning: 3 rows of {root}/.model-cache/index.db name no entry, and were left out\n"
    one_repo = shell.json("ls", "owner-1/name", "--sort", "size:desc", "--limit", "290")["entries"]
    left = [number for number in range(898, 0, -3) if number != 805]
    assert [found["size"] for found in one_repo] == left[:290]
    assert len(shell.ok("ls", "-q").splitlines()) == 4 + 897


@given(st.from_regex(selection._HARMLESS.__self__, fullmatch=True))
def test_a_filename_that_is_waved_through_is_valid(filename):
    """The quick look at a filename passes nothing that the full check refuses."""
    check_filename(filename)


@pytest.mark.parametrize(
    "name", ["con.txt", "a/nul", "COM1", "aux.tar.gz", "..", "a/../b", ".model-cache/x", "a b ", "a.", "/a"]
)
def test_a_filename_that_is_refused_is_not_waved_through(name):
    """Device names, dots and the cache's own directory get the full check."""
    assert selection._HARMLESS(name) is None


@given(st.floats(allow_nan=True, allow_infinity=True) | st.floats(-1e6, 4e9))
@example(0.0)
@example(1_699_999_999.9999998)
@example(253_402_300_799.9)
def test_times_of_a_long_list_are_those_of_any_other(seconds):
    """A time that is written once for many is the same to the second."""
    assert list(output.json_timestamps([seconds, None])) == [json.dumps(output.timestamp(seconds)), "null"]


def test_status_of_a_quiet_cache(shell, root):
    """Usage, budget, disk; nothing in flight."""
    document = shell.json("status")
    free = document.pop("free_bytes")
    assert free > 0 and document.pop("total_bytes") >= 4_500_000
    assert document == {
        "root": str(root),
        "entries": 4,
        "reserved_bytes": 0,
        "pinned_bytes": 0,
        "quarantined_bytes": 0,
        "budget_bytes": None,
        "downloads": [],
        "incomplete": [],
        "leases": [],
        "lower": [],
        "by_user": None,
        "last_verify": None,
        "last_gc": None,
        "damaged": {"corrupt": 0, "unreadable": 0, "changed": 0, "missing": 0, "quarantined": 0},
        "regret": {"files": 0, "bytes": 0, "lacking_bytes": 0},
    }
    lines = shell.ok("status").splitlines()
    assert lines[0] == f"root         {root} (from MODEL_CACHE_DIR)"
    assert lines[1] == "entries      4"
    assert lines[3] == "budget       none: nothing is ever evicted to save space"
    assert shell.ok("status", "-q") == ""


def test_status_tells_a_running_download_from_a_stopped_one(bare, root, hub):
    """A download is alive while its lock is held, whatever the index says."""
    with hub.hold("model.bin", after=0.7) as hold:
        process = bare.start("fetch", REPO, "model.bin")
        hold.wait_for(1)
        wait_for_partial(root, 1_000_000)
        document = json.loads(bare.ok("status", "--json"))
        assert document["reserved_bytes"] >= 3_000_000 and document["entries"] == 0
        running = document["downloads"][0]
        assert running["holder"].startswith(f"{process.pid}@") and running["done_bytes"] >= 1_000_000
        assert (running["filename"], running["size"], running["state"]) == ("model.bin", 3_000_000, "running")
        process.kill()
        process.wait()
        stopped = bare.json("status")["downloads"][0]
        assert (stopped["state"], stopped["holder"]) == ("stopped", None)
        assert bare.ok("status").splitlines()[-1].endswith(" of 3 MB, stopped, the next fetch resumes it")
    bare.ok("fetch", REPO, "model.bin")
    assert bare.json("status")["downloads"] == []
