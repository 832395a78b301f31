"""`verify` and `reconcile` as a person and as cron read them."""

import hashlib
import json
import re

import pytest
from cli_equipment import Shell, pattern
from verify_equipment import rot

from model_cache import ModelCache

REPO = "owner/name"
FILES = {"a.bin": pattern(20_000), "b.bin": pattern(30_000, 1), "c.bin": pattern(10_000, 2)}
TOOK = r"[\d.]+s"


@pytest.fixture
def shell(environ, root, hub):
    """The command on a root with three files."""
    hub.add_repo(REPO, FILES)
    cache = ModelCache(root, endpoint=hub.url, token=False)
    for name in FILES:
        cache.fetch(REPO, name)
    found = Shell(environ, root, hub)
    yield found
    found.close()


def says(text, *lines):
    """Whether the text is these lines, each a pattern."""
    return re.fullmatch("".join(f"{line}\n" for line in lines), text) is not None


def test_a_healthy_cache(shell):
    """Nothing on stdout, what was read on stderr; with -q nothing at all."""
    code, out, err = shell.run("verify")
    assert (code, out) == (0, "")
    assert says(err, r"verifying 3 files: 60 kB", rf"verified 3 files, 60 kB in {TOOK}: 3 ok"), err
    assert shell.run("verify", "-q") == (0, "", "")


def test_what_was_found_is_told_with_what_to_do(shell, root):
    """A table on stdout, one line per file with its class; on stderr the sum, and a command for each kind of trouble."""
    folder = root / "owner" / "name"
    rot(folder / "a.bin", 5)
    (folder / "b.bin").write_bytes(b"mine")
    (folder / "c.bin").unlink()
    (folder / "new.bin").write_bytes(b"new")
    code, out, err = shell.run("verify")
    short = {name: hashlib.sha256(data).hexdigest()[:12] for name, data in FILES.items()}
    assert code == 3
    assert says(
        out,
        r"FOUND    REPO        FILE   DETAIL",
        rf"corrupt  owner/name  a\.bin  expected sha256 {short['a.bin']}…, found [0-9a-f]{{12}}…",
        rf"changed  owner/name  b\.bin  expected sha256 {short['b.bin']}…, found {hashlib.sha256(b'mine').hexdigest()[:12]}…",
        r"missing  owner/name  c\.bin",
    ), out
    assert says(
        err,
        r"verifying 3 files: 60 kB",
        rf"verified 3 files, 40 kB in {TOOK}: 0 ok, 1 corrupt, 1 changed, 1 missing, 1 untracked",
        r"hint: model-cache verify --repair fetches the recorded bytes of what is damaged",
        r"hint: model-cache reconcile accepts what was changed; once it is moved away, fetch brings the Hub's back",
        r"hint: model-cache fetch owner/name c\.bin downloads it again; reconcile drops it",
        r"hint: model-cache reconcile hashes and enters what is untracked",
    ), err
    quiet = shell.run("verify", "-q")
    assert quiet == (3, f"{folder}/a.bin\n{folder}/b.bin\n", "")
    strict = shell.run("verify", "-q", "--strict")
    assert strict == (3, "".join(f"{folder}/{name}\n" for name in ("a.bin", "b.bin", "c.bin", "new.bin")), "")


def test_strict_fails_for_what_is_missing(shell, root):
    """A file that is gone is reported and no failure, unless somebody asked to be strict."""
    (root / "owner" / "name" / "c.bin").unlink()
    assert shell.run("verify", "-q") == (0, "", "")
    assert shell.run("verify", "-q", "--strict") == (3, f"{root}/owner/name/c.bin\n", "")


def test_repair_ends_with_4_and_then_with_0(shell, root):
    """All damage was mended: 4 once, so that somebody hears of it; the next run is clean."""
    rot(root / "owner" / "name" / "a.bin", 5)
    code, out, err = shell.run("verify", "--repair")
    assert (code, out) == (4, "FOUND    REPO        FILE   DETAIL\ncorrupt  owner/name  a.bin  repaired\n")
    assert re.search(rf"^verified 3 files, 80 kB in {TOOK}: 2 ok, 1 corrupt, 1 repaired$", err, re.MULTILINE), err
    assert f"\nthe damaged bytes (20.5 kB) are kept in {root}/.model-cache/quarantine/ for 30 days\n" in err
    assert shell.run("verify", "-q") == (0, "", "")


def test_the_document_has_every_field(shell, root):
    """One JSON document, sizes in bytes, every class a list of entries, also where it is empty."""
    rot(root / "owner" / "name" / "a.bin", 5)
    (root / "owner" / "name" / "new.bin").write_bytes(b"new")
    code, out, _ = shell.run("verify", "--json", "--repair")
    assert code == 4
    document = json.loads(out)
    assert list(document) == [
        *("root", "checked", "checked_bytes", "ok", "rebound", "corrupt", "unreadable", "changed", "missing"),
        *("untracked", "quarantined", "repaired", "errors", "remaining", "complete", "resumed", "seconds"),
    ]
    (corrupt,) = document["corrupt"]
    assert (corrupt["repo"], corrupt["filename"], corrupt["path"]) == (REPO, "a.bin", f"{root}/owner/name/a.bin")
    assert corrupt["detail"].startswith(f"expected sha256 {hashlib.sha256(FILES['a.bin']).hexdigest()}, found ")
    assert document["untracked"] == [{"path": f"{root}/owner/name/new.bin"}]
    assert [one["filename"] for one in document["repaired"]] == ["a.bin"]
    (kept,) = document["quarantined"]
    assert (kept["filename"], kept["mended"], kept["size"]) == ("a.bin", True, 20_000)
    assert kept["path"].startswith(f"{root}/.model-cache/quarantine/")
    assert (document["remaining"], document["complete"], document["resumed"]) == (0, True, None)


def test_a_limited_run_says_what_remains_and_the_next_one_goes_on(shell):
    """Exit 0 with `remain`; the run after it says that it went on."""
    code, _, err = shell.run("verify", "--byte-limit", "1", "--jobs", "1")
    assert code == 0 and err.endswith("1 ok\n2 files remain for the next run\n")
    code, _, err = shell.run("verify")
    assert re.search(r"^went on with the run of \S+Z; what that one verified was not read again$", err, re.MULTILINE)
    assert "verified 2 files" in err


def test_no_root_is_made_and_none_is_no_success(environ, tmp_path):
    """Under another user, or without HOME, there is nothing to verify, and that is a failure that says where it looked."""
    absent = Shell(environ, tmp_path / "absent")
    for command in ("verify", "reconcile", "gc", "metrics"):
        code, out, err = absent.run(command)
        assert (code, out) == (1, "")
        assert err.startswith(f"error: no cache at {tmp_path / 'absent'} (from MODEL_CACHE_DIR)\nhint: ")
    code, out, err = absent.run("verify", "-q", environ={"MODEL_CACHE_DIR": None, "HOME": None})
    assert (code, out, err.startswith("error: no ")) == (1, "", True)
    assert not (tmp_path / "absent").exists()


def test_an_empty_directory_is_not_verified(environ, tmp_path):
    """A directory that was never a cache has no index; nothing is made in it, by reconcile neither."""
    place = tmp_path / "place"
    place.mkdir()
    shell = Shell(environ, place)
    code, _, err = shell.run("verify")
    assert (code, err.splitlines()[0]) == (
        1,
        f"error: nothing is recorded of {place} (from MODEL_CACHE_DIR): there is no index to verify against",
    )
    code, _, err = shell.run("reconcile")
    assert (code, err) == (
        1,
        f"error: {place} (from MODEL_CACHE_DIR) was never used as a cache\n"
        f"hint: if its files are those of a cache: model-cache --root {place} reconcile --rebuild\n",
    )
    assert list(place.iterdir()) == []


HOLD = """
import sys
from model_cache.progress import Progress
class Hold(Progress):
    def verified(self, path, verdict):
        print("verifying", flush=True)
        sys.stdin.read()
cache.verify(jobs=1, progress=Hold())
"""


def test_runs_that_overlap_do_not_pile_up(shell, root, spawn):
    """While one run is under way another exits 11 and says whose it is, or 0 with --skip-if-busy."""
    holder = spawn(HOLD)
    assert holder.stdout.readline() == "verifying\n"
    for command in ("verify", "reconcile"):
        code, out, err = shell.run(command)
        assert (code, out) == (11, "")
        assert re.fullmatch(
            rf"error: another verify or reconcile of {root} is under way, by {holder.pid}@\S+\n"
            r"hint: wait for it, or add --skip-if-busy, with which this is no failure\n",
            err,
        ), err
        assert shell.run(command, "--skip-if-busy", "-q") == (0, "", "")
        assert shell.json(command, "--skip-if-busy")["skipped"] is True
    holder.communicate("")
    assert shell.run("verify", "-q") == (0, "", "")


def test_reconcile_says_what_it_did(shell, root):
    """One line per file that was entered, told again or dropped; nothing to do is said too."""
    folder = root / "owner" / "name"
    (folder / "new.bin").write_bytes(b"new")
    (folder / "a.bin").touch()
    (folder / "b.bin").unlink()
    code, out, err = shell.run("reconcile")
    assert (code, out) == (
        0,
        "DONE     FILE\nadopted  owner/name/new.bin\nrebound  owner/name/a.bin\ndropped  owner/name/b.bin\n",
    )
    assert says(err, "hashing 2 files: 20 kB", rf"1 adopted, 1 rebound, 1 dropped, in {TOOK}"), err
    assert says(shell.run("reconcile")[2], rf"nothing to do, in {TOOK}")
    assert shell.run("reconcile", "-q") == (0, "", "")
    document = shell.json("reconcile", "--rebuild")
    assert (document["index"], len(document["rebound"]), document["adopted"]) == ("rebuilt", 3, [])


def test_status_tells_of_verify_and_quarantine(shell, root):
    """When it was last verified, what is known to be damaged, and what is kept aside."""
    assert shell.json("status")["last_verify"] is None
    rot(root / "owner" / "name" / "a.bin", 5)
    shell.run("verify")
    document = shell.json("status")
    assert document["last_verify"] is not None
    assert document["damaged"] == {"corrupt": 1, "unreadable": 0, "changed": 0, "missing": 0, "quarantined": 0}
    assert re.search(
        r"^damage +1 corrupt: model-cache verify says which and what to do$", shell.ok("status"), re.MULTILINE
    )
    shell.run("verify", "--repair")
    document = shell.json("status")
    assert (document["quarantined_bytes"] >= 20_000, document["damaged"]["corrupt"]) == (True, 0)


def test_ls_says_what_is_damaged(shell, root):
    """A file that verify found corrupt is listed as that, and can be filtered by it."""
    rot(root / "owner" / "name" / "a.bin", 5)
    shell.run("verify")
    states = {entry["filename"]: entry["state"] for entry in shell.json("ls")["entries"]}
    assert states == {"a.bin": "corrupt", "b.bin": "ready", "c.bin": "ready"}
    assert shell.ok("ls", "-q", "--filter", "state=corrupt") == f"{root}/owner/name/a.bin\n"
