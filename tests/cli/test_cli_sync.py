"""`sync`, `status --require` and `verify --lock`: the cache holds what a lock file names, or it is said what it does not."""

import hashlib
import os
import signal
import subprocess
import sys

import pytest
from cli_equipment import Shell, pattern, wait_for_partial
from verify_equipment import rot, snapshot

from model_cache import ModelCache

REPO, BIG, SMALL = "owner/name", "model.bin", "onnx/config.json"
BYTES = {BIG: pattern(3_000_000), SMALL: b"{}", "z.bin": pattern(1_200_000, 7)}
LINES = "".join("{root}/" + f"{REPO}/{name}\n" for name in sorted(BYTES))


@pytest.fixture
def shell(environ, root, hub, tmp_path):
    """The command, on an empty root, a hub with one repo, and a lock file that was made elsewhere."""
    hub.commit = hub.add_repo(REPO, BYTES)
    found = Shell(environ, root, hub)
    found.lockfile = str(tmp_path / "models.lock")
    found.ok("--root", str(tmp_path / "elsewhere"), "lock", REPO, "-o", found.lockfile)
    hub.reset()
    yield found
    found.close()


def stands(root):
    """{path: bytes} of the pinned repo."""
    return {name: (root / REPO / name).read_bytes() for name in BYTES if (root / REPO / name).exists()}


def test_it_fetches_what_is_missing_and_prints_the_paths(shell, root, hub):
    """One body per file, no question about any of them, and a second run asks nobody."""
    code, out, err = shell.run("sync", shell.lockfile)
    assert (code, out) == (0, LINES.format(root=root)), err
    assert err.splitlines()[-1] == f"3 files as {shell.lockfile} has them: 3 downloaded (4.2 MB)"
    assert stands(root) == BYTES
    assert [hub.body_gets(name) for name in BYTES] == [1, 1, 1]
    hub.reset()
    expected = f"3 files as {shell.lockfile} has them: 3 there\n"
    assert shell.run("sync", shell.lockfile) == (0, LINES.format(root=root), expected)
    assert shell.run("sync", shell.lockfile, "-q", "--offline") == (0, LINES.format(root=root), "")
    assert hub.count() == 0


def test_the_document(shell, root, hub):
    """As that of `fetch`, with the names of each file: sha256, etag and how it came."""
    shell.ok("fetch", REPO, SMALL)
    document = shell.json("sync", shell.lockfile)
    assert {name: document[name] for name in ("root", "lockfile", "dry_run")} == {
        "root": str(root),
        "lockfile": shell.lockfile,
        "dry_run": False,
    }
    assert document["bytes_downloaded"] == len(BYTES[BIG]) + len(BYTES["z.bin"])
    git = hashlib.sha1(b"blob 2\0{}", usedforsecurity=False).hexdigest()
    names = {"repo": REPO, "repo_type": "model", "revision": "main", "commit": hub.commit}
    assert document["files"][1] == {
        **names,
        "filename": SMALL,
        "path": f"{root}/{REPO}/{SMALL}",
        "size": 2,
        "source": "hit",
        "replaced": False,
        "sha256": hashlib.sha256(b"{}").hexdigest(),
        "etag": git,
    }
    assert [file["source"] for file in document["files"]] == ["download", "hit", "download"]
    assert shell.ok("update", REPO) == ""  # what the index recorded is what the Hub is asked about


def test_other_bytes_of_the_cache_are_replaced(shell, root, hub):
    """A cache that is at another commit is brought to that of the lock file, and says so of files that are the same."""
    locked = hub.commit
    moved = {**BYTES, BIG: pattern(3_000_000, 1), SMALL: b"[]"}
    hub.add_repo(REPO, moved)
    shell.ok("fetch", REPO, *BYTES)
    assert stands(root) == moved
    plan = shell.run("sync", shell.lockfile, "--dry-run")
    rows = [f"replace  {REPO} {BIG}  3 MB", f"replace  {REPO} {SMALL}  2 B"]
    assert [" ".join(line.split()) for line in plan[1].splitlines()[1:]] == [" ".join(row.split()) for row in rows]
    assert plan[2] == f"2 of 3 files of {shell.lockfile} would be fetched: 3 MB\n"
    assert stands(root) == moved
    document = shell.json("sync", shell.lockfile)
    assert stands(root) == BYTES
    assert [file["replaced"] for file in document["files"]] == [True, True, False]
    assert {row.commit for row in ModelCache(root).entries()} == {locked}
    assert shell.run("verify", "-q")[0] == 0


def test_other_bytes_in_use_stay_and_exit_11(shell, root, hub):
    """A program that has leased a file keeps it; what else was fetched stays fetched."""
    hub.add_repo(REPO, {**BYTES, BIG: b"other" * 300_000})
    shell.ok("fetch", REPO, BIG)
    with ModelCache(root).lease(REPO, BIG) as path:
        code, out, err = shell.run("sync", shell.lockfile)
        assert (code, out) == (11, "")
        assert f"error: {path} is in use by a running program and was not replaced\n" in err
        assert path.read_bytes() == b"other" * 300_000
    shell.ok("sync", shell.lockfile)
    assert stands(root) == BYTES


@pytest.mark.parametrize("how", ["placed", "edited"])
def test_bytes_of_somebody_are_left_alone_and_named(shell, root, hub, how):
    """What a user placed or edited is never overwritten, and nothing else is fetched first (I7)."""
    if how == "edited":
        shell.ok("fetch", REPO, BIG)
        hub.reset()
    (root / REPO).mkdir(parents=True, exist_ok=True)
    (root / REPO / BIG).write_bytes(b"mine")
    code, out, err = shell.run("sync", shell.lockfile)
    path = f"{root}/{REPO}/{BIG}"
    assert (code, out) == (1, "")
    assert err == (
        f"error: other bytes than those of the lock file stand at the path of {REPO} {BIG}, and this cache did not put them"
        f" there: somebody did, or changed them; nothing was changed\nhint: move it away: mv {path} {path}.mine\n"
    )
    assert hub.count() == 0 and stands(root) == {BIG: b"mine"}


def test_right_bytes_that_somebody_placed_are_hashed_and_kept(shell, root, hub):
    """A file of the right bytes is as good wherever it came from, and stays that very file."""
    (root / REPO).mkdir(parents=True)
    (root / REPO / BIG).write_bytes(BYTES[BIG])
    before = (root / REPO / BIG).stat().st_ino
    shell.ok("sync", shell.lockfile)
    assert (root / REPO / BIG).stat().st_ino == before
    assert hub.body_gets(BIG) == 0 and stands(root) == BYTES


def test_a_touched_file_is_hashed_before_it_counts(shell, root):
    """Other mtime, same bytes: right. Other bytes of the same size and mtime, which the index does not know of: not."""
    shell.ok("sync", shell.lockfile)
    (root / REPO / BIG).touch()
    assert shell.run("sync", shell.lockfile)[0] == 0
    found = (root / REPO / BIG).stat()
    copy = root / REPO / "copy"
    copy.write_bytes(pattern(3_000_000, 9))
    os.utime(copy, ns=(found.st_atime_ns, found.st_mtime_ns))
    os.replace(copy, root / REPO / BIG)
    assert shell.run("sync", shell.lockfile)[0] == 1


def test_a_damaged_file_is_mended(shell, root):
    """What verify found to be rotten counts as missing, and comes again."""
    shell.ok("sync", shell.lockfile)
    rot(root / REPO / BIG)
    assert shell.run("verify", "-q")[0] == 3
    assert shell.run("status", "--require", shell.lockfile)[0] == 10
    assert shell.run("sync", shell.lockfile, "--offline")[0] == 10
    shell.ok("sync", shell.lockfile)
    assert stands(root) == BYTES
    assert shell.run("status", "--require", shell.lockfile)[0] == 0


def test_offline_what_is_missing_is_named(shell, root):
    """10, and which files; a cache that has them all needs no network."""
    shell.ok("fetch", REPO, SMALL)
    code, out, err = shell.run("sync", shell.lockfile, "--offline")
    assert (code, out) == (10, "")
    assert err == (
        f"error: 2 files of the lock file not in the cache {root}, and the network is switched off:"
        f" {REPO} {BIG}, {REPO} z.bin\nhint: sync once with the network\n"
    )
    assert shell.run("sync", shell.lockfile, environ={"HF_HUB_OFFLINE": "1"})[0] == 10


def test_a_budget_that_is_too_small_exits_12_before_anything_goes(shell, root, hub):
    """Nothing is evicted or fetched for files that can never fit together."""
    shell.ok("fetch", REPO, "z.bin")
    shell.ok("config", "max_size=4MB")
    hub.reset()
    code, out, err = shell.run("sync", shell.lockfile)
    assert (code, out) == (12, "")
    assert err.startswith("error: the files of the lock file need 4.2 MB, and max_size is 4 MB\nhint: ")
    assert hub.count() == 0 and list(stands(root)) == ["z.bin"]


def test_bytes_that_the_hub_does_not_have_are_refused(shell, root):
    """A lock file that names other hashes than the Hub's bytes have: nothing of them is published."""
    with open(shell.lockfile, encoding="utf-8") as file:
        text = file.read()
    with open(shell.lockfile, "w", encoding="utf-8") as file:
        file.write(text.replace(hashlib.sha256(BYTES["z.bin"]).hexdigest(), "0" * 64))
    code, _, err = shell.run("sync", shell.lockfile)
    assert code == 1
    assert f"{REPO} z.bin: expected sha256 {'0' * 64}, received bytes with " in err
    assert "z.bin" not in stands(root)


def test_two_processes_that_sync_at_once_fetch_once(shell, root, hub):
    """Missing or to be replaced: one body of each file, and both end well (I2)."""
    hub.add_repo(REPO, {**BYTES, SMALL: b"[]", BIG: pattern(3_000_000, 1)})
    shell.ok("fetch", REPO, BIG, SMALL)
    hub.reset()
    with hub.hold("*") as hold:
        processes = [shell.start("sync", shell.lockfile) for _ in range(2)]
        hold.wait_for(1)
        hold.release()
        ended = [(process.communicate(timeout=60), process.returncode) for process in processes]
    assert [code for _, code in ended] == [0, 0], ended
    assert [hub.body_gets(name) for name in BYTES] == [1, 1, 1]
    assert stands(root) == BYTES


def test_a_killed_sync_is_gone_on_with(shell, root, hub):
    """After a SIGKILL half way through a file the next one resumes it, and asks for nothing that is there."""
    with hub.hold(BIG, after=0.5) as hold:
        process = shell.start("sync", shell.lockfile)
        hold.wait_for(1)
        wait_for_partial(root, 1_000_000)
        process.send_signal(signal.SIGKILL)
        process.wait()
        hold.release()
    document = shell.json("sync", shell.lockfile)
    assert {file["filename"]: file["source"] for file in document["files"]}[BIG] == "resume"
    assert stands(root) == BYTES
    assert document["bytes_downloaded"] < sum(map(len, BYTES.values()))


def test_two_fresh_roots_have_the_same_tree(shell, tmp_path, hub):
    """However the branch moved meanwhile: what an image is built from is what the lock file names."""
    first, second = tmp_path / "first", tmp_path / "second"
    shell.ok("--root", str(first), "sync", shell.lockfile)
    hub.add_repo(REPO, {"other.bin": b"moved on"})
    shell.ok("--root", str(second), "sync", shell.lockfile)
    assert snapshot(first) == snapshot(second) == {f"{REPO}/{name}": data for name, data in BYTES.items()}


def test_every_repo_type_and_revision_is_synced(shell, tmp_path, root, hub):
    """Datasets, spaces, branches with a slash and commits stand where `path` says, from one lock file."""
    lockfile = str(tmp_path / "all.lock")
    commit = hub.add_repo("a/b", {"x": b"1"}, repo_type="dataset", revision="refs/pr/1")
    hub.add_repo("a/b", {"x": b"2"}, repo_type="space")
    for kind, repo in (("dataset", "a/b@refs/pr/1"), ("dataset", f"a/b@{commit}"), ("space", "a/b")):
        shell.ok("lock", repo, "--repo-type", kind, "-o", lockfile, "--add")
    expected = {f"datasets/a/b@{commit}/x": b"1", "datasets/a/b@refs%2Fpr%2F1/x": b"1", "spaces/a/b/x": b"2"}
    shell.ok("sync", lockfile)
    assert snapshot(root) == expected
    assert shell.run("status", "-q", "--require", lockfile)[0] == 0
    assert shell.run("verify", "-q", "--strict", "--lock", lockfile) == (0, "", "")
    with open(lockfile, encoding="utf-8") as file:
        assert shell.ok("lock", "--from-cache") == file.read()


def test_a_lock_file_that_makes_no_sense_changes_nothing(shell, root, tmp_path):
    """Each of the three commands that read one ends with 2 and one line."""
    bad = tmp_path / "bad.lock"
    bad.write_text("version = 7\n")
    for command in (["sync", str(bad)], ["status", "--require", str(bad)], ["verify", "--lock", str(bad)]):
        code, out, err = shell.run(*command)
        assert (code, out) == (2, "")
        assert err.startswith(f"error: lock file {bad} is of version 7, and this model-cache knows version 1\nhint: ")
    assert not root.exists()


# `status --require`


def test_a_probe_says_what_is_lacking(shell, root):
    """0 if every file stands there with its size; else 10, and each file with the reason."""
    code, out, err = shell.run("status", "--require", shell.lockfile)
    assert (code, len(out.splitlines())) == (10, 4)
    assert not root.exists()
    shell.ok("sync", shell.lockfile)
    assert shell.run("status", "--require", shell.lockfile) == (0, "", f"3 files of {shell.lockfile} in {root}\n")
    assert shell.run("status", "--require", shell.lockfile, "-q") == (0, "", "")
    (root / REPO / SMALL).write_bytes(b"other")
    (root / REPO / "z.bin").unlink()
    code, out, err = shell.run("status", "--require", shell.lockfile)
    assert (code, out) == (
        10,
        f"LACKING                    FILE\nexpected 2 bytes, found 5  {REPO} {SMALL}\nmissing                    {REPO} z.bin\n",
    )
    expected = f"2 of 3 files of {shell.lockfile} not in {root}\nhint: model-cache sync {shell.lockfile}\n"
    assert err == expected
    assert shell.run("status", "--require", shell.lockfile, "-q") == (
        10,
        f"{root}/{REPO}/{SMALL}\n{root}/{REPO}/z.bin\n",
        "",
    )


def test_the_document_of_a_probe(shell, root):
    """--json says whether all is there, and what is not."""
    shell.ok("sync", shell.lockfile)
    ready = {"root": str(root), "lockfile": shell.lockfile, "files": 3}
    assert shell.json("status", "--require", shell.lockfile) == {**ready, "ready": True, "lacking": []}
    (root / REPO / SMALL).unlink()
    code, out, _ = shell.run("status", "--require", shell.lockfile, "--json")
    assert code == 10
    assert '"ready": false' in out and f'"filename": "{SMALL}"' in out and '"reason": "missing"' in out


def test_a_probe_looks_where_a_hit_looks(shell, root, tmp_path):
    """A link inside the root is followed; a file that a link leads out of it to is not in the cache."""
    shell.ok("sync", shell.lockfile)
    os.rename(root / REPO / BIG, root / REPO / "real.bin")
    (root / REPO / BIG).symlink_to("real.bin")
    assert shell.run("status", "--require", shell.lockfile)[0] == 0
    os.rename(root / REPO, tmp_path / "outside")
    (root / REPO).symlink_to(tmp_path / "outside")
    code, out, _ = shell.run("status", "--require", shell.lockfile, "-q")
    assert (code, len(out.splitlines())) == (10, 3)


def test_a_probe_loads_next_to_nothing(shell, environ, root):
    """No SQL, HTTP, TOML, JSON or terminal code: only what `path` loads, and the modules that read a lock file."""
    shell.ok("sync", shell.lockfile)
    code = (
        "import sys\n"
        "from model_cache.cli import run\n"
        "assert run(['path', 'a/b', 'c', '-q']) == 0\n"
        "before = set(sys.modules)\n"
        "assert run(['status', '-q', '--require', sys.argv[1]]) == 0\n"
        "print(sorted(set(sys.modules) - before))\n"
        "print(sorted({name.split('.')[0] for name in sys.modules} & {'requests', 'urllib3', 'sqlite3', 'sqlite_utils', 'rich',"
        " 'filelock', 'tomllib', 'json', 'logging'}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, shell.lockfile],
        env={**environ, "MODEL_CACHE_DIR": str(root)},
        capture_output=True,
        text=True,
    )
    own = ["cli.probe", "lockfile", "lockfile.files", "lockfile.format", "lockfile.probe"]
    assert done.stdout.splitlines()[1:] == [str([f"model_cache.{name}" for name in own]), "[]"], done.stderr


# `verify --lock`


def test_bytes_are_compared_with_the_lock_file_and_not_the_index(shell, root):
    """Who replaces a model and its hash in the index is found; so are missing files, and each is named."""
    shell.ok("sync", shell.lockfile)
    code, out, err = shell.run("verify", "--lock", shell.lockfile)
    assert (code, out) == (0, "")
    assert err.splitlines()[0] == "verifying 3 files: 4.2 MB"
    assert err.splitlines()[-1].startswith(f"verified 3 files of {shell.lockfile}, 4.2 MB in ")
    assert err.endswith(": 3 ok\n")
    evil = pattern(3_000_000, 66)
    (root / REPO / BIG).write_bytes(evil)
    shell.ok("reconcile")  # the index says that all is well
    assert shell.run("verify", "-q")[0] == 0
    (root / REPO / SMALL).unlink()
    code, out, err = shell.run("verify", "--lock", shell.lockfile)
    assert code == 3
    wanted, found = (hashlib.sha256(data).hexdigest()[:12] for data in (BYTES[BIG], evil))
    assert [" ".join(line.split()) for line in out.splitlines()] == [
        "FOUND FILE DETAIL",
        f"changed {REPO} {BIG} expected sha256 {wanted}…, found {found}…",
        f"missing {REPO} {SMALL}",
    ]
    assert err.splitlines()[-1] == f"hint: model-cache sync {shell.lockfile} fetches what is missing"
    assert shell.run("verify", "-q", "--lock", shell.lockfile) == (
        3,
        f"{root}/{REPO}/{BIG}\n{root}/{REPO}/{SMALL}\n",
        "",
    )


def test_the_document_of_a_check(shell, root):
    """The fields are those of `verify`; what a lock file says nothing about is empty."""
    shell.ok("sync", shell.lockfile)
    (root / REPO / "more.py").write_bytes(b"import os")
    document = shell.json("verify", "--lock", shell.lockfile)
    assert set(document) - {"lockfile"} == set(shell.json("verify"))
    assert (document["checked"], document["ok"], document["checked_bytes"]) == (3, 3, sum(map(len, BYTES.values())))
    assert document["untracked"] == [{"path": f"{root}/{REPO}/more.py"}]
    assert shell.run("verify", "-q", "--strict", "--lock", shell.lockfile) == (3, f"{root}/{REPO}/more.py\n", "")


def test_a_rotten_file_is_read_twice_and_a_link_is_no_file(shell, root, tmp_path):
    """One flipped bit is found without the index; a directory that is a link to elsewhere holds none of the files."""
    shell.ok("sync", shell.lockfile)
    rot(root / REPO / "z.bin")
    document = shell_json(shell, 3, "verify", "--lock", shell.lockfile)
    assert [one["filename"] for one in document["changed"]] == ["z.bin"]
    assert document["checked_bytes"] == sum(map(len, BYTES.values())) + len(BYTES["z.bin"])
    rot(root / REPO / "z.bin")
    assert shell.run("verify", "--lock", shell.lockfile)[0] == 0
    os.rename(root / REPO, tmp_path / "outside")
    (root / REPO).symlink_to(tmp_path / "outside")
    document = shell_json(shell, 3, "verify", "--lock", shell.lockfile)
    assert {one["detail"] for one in document["changed"]} == {"it is no regular file of this root"}


def shell_json(shell, code, *arguments):
    """The document of a run that ends with this code."""
    import json

    found, out, err = shell.run(*arguments, "--json")
    assert found == code, err
    return json.loads(out)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([REPO], "--lock is about the files that the lock file names, and a REPO is given"),
        (["--repair"], "--lock reads all files of the lock file and writes nothing, and --repair is given"),
        (
            ["--time-limit", "1h"],
            "--lock reads all files of the lock file and writes nothing, and --time-limit is given",
        ),
        (["--skip-if-busy"], "--lock reads all files of the lock file and writes nothing, and --skip-if-busy is given"),
        (["--revision", "v1"], "--revision and --repo-type are about one repo, and no REPO is given"),
    ],
)
def test_what_a_lock_file_leaves_no_choice_about_is_refused(shell, arguments, message):
    """A run of a part of the files would prove nothing."""
    code, out, err = shell.run("verify", "--lock", shell.lockfile, *arguments)
    assert (code, out) == (2, "")
    assert err.splitlines()[0] == f"error: {message}"
