"""`lock`: what is written down, from the Hub or from the cache, and what is never overwritten."""

import hashlib
import os
import stat

import pytest
from cli_equipment import Shell, pattern
from verify_equipment import rot

from model_cache import ModelCache
from model_cache.lockfile.files import read

REPO, BIG, SMALL = "owner/name", "model.bin", "onnx/config.json"
BYTES = {BIG: pattern(1_500_000), SMALL: b"{}", "README.md": b"# It\n"}
SHA256 = {name: hashlib.sha256(data).hexdigest() for name, data in BYTES.items()}
GIT = {
    name: hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()
    for name, data in BYTES.items()
}
HEAD = "# Files from the Hugging Face Hub, each with its bytes. Made by model-cache lock, for model-cache sync.\nversion = 1\n"


@pytest.fixture
def shell(environ, root, hub):
    """The command, on an empty root and a loopback hub with one repo."""
    hub.commit = hub.add_repo(REPO, BYTES)
    found = Shell(environ, root, hub)
    yield found
    found.close()


def table(hub, *names, revision="main", commit=None):
    """The text of one repo's table."""
    lines = [
        f'repo = "{REPO}"',
        'repo_type = "model"',
        f'revision = "{revision}"',
        f'commit = "{commit or hub.commit}"',
    ]
    files = []
    for name in names:
        git = "" if name == BIG else f', git_sha1 = "{GIT[name]}"'
        files.append(f'  {{ path = "{name}", size = {len(BYTES[name])}, sha256 = "{SHA256[name]}"{git} }},')
    return "\n[[repo]]\n" + "\n".join([*lines, "files = [", *files, "]"]) + "\n"


def test_it_prints_commit_size_and_sha256(shell, hub):
    """On stdout the whole lock file; of large files nothing is downloaded, of small ones the bytes are hashed."""
    code, out, err = shell.run("lock", REPO)
    assert (code, out) == (0, HEAD + table(hub, "README.md", BIG, SMALL))
    assert err.splitlines()[-1] == "locked 3 files, 1.5 MB"
    assert (hub.body_gets(BIG), hub.body_gets(SMALL), hub.body_gets("README.md")) == (0, 1, 1)


def test_a_second_lock_of_the_same_commit_is_the_same_file(shell, hub, tmp_path):
    """Byte for byte, from another machine, through the branch or the commit, with no small file downloaded again here."""
    first = shell.ok("lock", REPO)
    hub.reset()
    assert shell.ok("lock", REPO) == first
    assert hub.body_gets(SMALL) == 0
    elsewhere = shell.ok("--root", str(tmp_path / "elsewhere"), "lock", REPO)
    assert elsewhere == first
    at_commit = shell.ok("lock", f"{REPO}@{hub.commit}")
    assert at_commit == HEAD + table(hub, "README.md", BIG, SMALL, revision=hub.commit)


def test_files_and_patterns_choose(shell, hub):
    """A FILE that is named, a pattern, everything below a directory, all but a pattern."""
    one = HEAD + table(hub, SMALL)
    assert shell.ok("lock", REPO, SMALL) == one
    assert shell.ok("lock", REPO, "--include", "onnx/") == one
    assert shell.ok("lock", REPO, "--include", "*.json") == one
    assert shell.ok("lock", REPO, "--exclude", "*.md", "--exclude", "*.bin") == one


def test_a_lock_file_takes_more_repos_with_add(shell, hub, tmp_path):
    """--add keeps other repos and revisions, and replaces the one that is named; without it the file begins anew."""
    hub.add_repo("gpt2", {"x.bin": b"1"})
    path = str(tmp_path / "models.lock")
    shell.ok("lock", REPO, "-o", path, "--add")
    shell.ok("lock", "gpt2", "-o", path, "--add")
    shell.ok("lock", f"{REPO}@{hub.commit}", SMALL, "-o", path, "--add")
    shell.ok("lock", REPO, BIG, "-o", path, "--add")
    names = [(str(file.entry), file.git_sha1 is None) for file in read(path)]
    assert names == [
        ("gpt2 x.bin", False),
        (f"{REPO}@{hub.commit} {SMALL}", False),
        (f"{REPO} {BIG}", True),
    ]
    assert shell.run("lock", "gpt2", "-o", path) == (0, "", f"locked 1 file, 1 B in {path}\n")
    assert [file.entry.repo for file in read(path)] == ["gpt2"]


def test_two_entries_that_share_a_path_are_refused(shell, hub, tmp_path):
    """They could not be in one cache; the lock file stays as it was."""
    hub.add_repo("gpt2", {"onnx/x": b"1"})
    hub.add_repo("gpt2/onnx", {"x": b"2"})
    path = tmp_path / "models.lock"
    shell.ok("lock", "gpt2", "-o", str(path))
    before = path.read_bytes()
    code, out, err = shell.run("lock", "gpt2/onnx", "-o", str(path), "--add")
    assert (code, out) == (2, "")
    expected = f"error: lock file {path}: it has gpt2 onnx/x and gpt2/onnx x, which share the path gpt2/onnx/x"
    assert err.splitlines()[-1] == expected
    assert path.read_bytes() == before


def test_the_document(shell, hub, tmp_path):
    """--json has every file with its names, commit, size and hashes."""
    document = shell.json("lock", REPO, SMALL, BIG)
    names = {"repo": REPO, "repo_type": "model", "revision": "main"}
    small = {"filename": SMALL, "commit": hub.commit, "size": 2, "sha256": SHA256[SMALL], "git_sha1": GIT[SMALL]}
    assert document["lockfile"] is None
    assert document["files"][1] == {**names, **small}
    path = str(tmp_path / "models.lock")
    assert shell.json("lock", REPO, BIG, "-o", path)["lockfile"] == path


def test_what_is_no_lock_file_is_not_overwritten(shell, tmp_path, hub):
    """Somebody's own file stays as it is, before anybody is asked; --force overwrites it, and keeps its mode (I7)."""
    path = tmp_path / "notes.txt"
    path.write_text("mine\n")
    path.chmod(0o640)
    code, out, err = shell.run("lock", REPO, "-o", str(path))
    assert (code, out) == (2, "")
    assert err.startswith(f"error: {path} is there and is not overwritten: lock file {path}: expected TOML: ")
    assert err.endswith("hint: name another file, or add --force to overwrite this one\n")
    assert (path.read_text(), hub.count()) == ("mine\n", 0)
    shell.ok("lock", REPO, SMALL, "-o", str(path), "--force")
    assert path.read_text() == HEAD + table(hub, SMALL)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert os.listdir(tmp_path / "home") == [] and sorted(os.listdir(tmp_path)) == ["cache", "home", "notes.txt"]


def test_a_link_is_written_through_and_a_directory_refused(shell, tmp_path, hub):
    """The file that a symlink leads to is replaced, not the link; a directory is in the way."""
    link, target = tmp_path / "link", tmp_path / "models.lock"
    link.symlink_to(target)
    shell.ok("lock", REPO, SMALL, "-o", str(link))
    assert link.is_symlink() and target.read_text() == HEAD + table(hub, SMALL)
    code, _, err = shell.run("lock", REPO, SMALL, "-o", str(tmp_path))
    assert (code, err.splitlines()[0]) == (1, f"error: {tmp_path} is no regular file, and is not replaced")


def test_what_stands_at_the_revision_is_not_mixed(shell, hub, root):
    """A cache that is at another commit keeps its files; new small files go where those of the commit are."""
    old = hub.commit
    shell.ok("fetch", REPO, SMALL)
    hub.commit = hub.add_repo(REPO, {**BYTES, SMALL: b"[]"})
    (file,) = shell.json("lock", REPO, SMALL)["files"]
    assert (file["commit"], file["sha256"]) == (hub.commit, hashlib.sha256(b"[]").hexdigest())
    assert (root / REPO / SMALL).read_bytes() == b"{}"
    assert (root / f"{REPO}@{hub.commit}" / SMALL).read_bytes() == b"[]"
    assert old != hub.commit


def test_somebodys_file_at_the_path_is_not_believed(shell, hub, root):
    """A file placed by hand has its name alone: the sha256 is that of the Hub's bytes."""
    (root / REPO / "onnx").mkdir(parents=True)
    (root / REPO / SMALL).write_bytes(b"evil")
    assert shell.ok("lock", REPO, SMALL) == HEAD + table(hub, SMALL)
    assert (root / REPO / SMALL).read_bytes() == b"evil"


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ([], 2, "no REPO given: expected a repo, or --from-cache"),
        (["owner/name@"], 2, "expected a revision behind the @, found 'owner/name@'"),
        (["owner/name", "--include", "*.txt"], 2, "include: expected a pattern that matches a file, '*.txt' matches none"),
        (["owner/name", "x", "--include", "*"], 2, "include, exclude: expected no pattern where files are named"),
        (["owner/name", "../x"], 2, "filename '../x' has the part '..'"),
        (["owner/name", "--used-within", "30d"], 2,
         "used_within: expected together with from_cache: the Hub does not know what was used"),
        (["owner/name", "--add"], 2, "add: expected the path of a lock file to add to"),
        (["--from-cache", "owner/name"], 1, "no cache at {root} (from MODEL_CACHE_DIR)"),
    ],
)  # fmt: skip
def test_what_cannot_be_meant_is_refused(shell, root, arguments, code, message):
    """One line that says what was expected, and nothing on stdout."""
    found, out, err = shell.run("lock", *arguments)
    assert (found, out) == (code, ""), err
    assert err.splitlines()[0] == f"error: {message.format(root=root)}"


def test_a_file_that_the_repo_has_not_is_named(shell, hub):
    """Which file, and at which commit."""
    code, out, err = shell.run("lock", REPO, "none.bin")
    assert (code, out, err) == (1, "", f"error: {REPO} has no file 'none.bin' at commit {hub.commit[:12]}\n")


def test_offline_it_says_how_to_do_without(shell):
    """The Hub cannot be asked: 10, and a way that asks nobody."""
    code, out, err = shell.run("lock", REPO, environ={"HF_HUB_OFFLINE": "1"})
    assert (code, out) == (10, "")
    assert err == (
        f"error: {REPO}: the Hub is to be asked for its files, and the network is switched off\n"
        "hint: --from-cache locks what is in the cache\n"
    )


def test_from_the_cache_it_is_the_same(shell, hub):
    """After a sync, what is in the cache gives the very lock file, with no request."""
    expected = shell.ok("lock", REPO)
    shell.ok("fetch", REPO, *BYTES)
    hub.reset()
    assert shell.ok("lock", "--from-cache") == expected
    assert shell.ok("lock", "--from-cache", REPO) == expected
    assert shell.ok("lock", "--from-cache", REPO, SMALL) == HEAD + table(hub, SMALL)
    assert shell.ok("lock", "--from-cache", "--include", "*.json") == HEAD + table(hub, SMALL)
    assert hub.count() == 0


def test_only_what_was_used(shell, hub, root):
    """--used-within leaves out what nobody asked for since, by the mtime beside the file."""
    shell.ok("fetch", REPO, *BYTES)
    cache = ModelCache(root)
    for row in cache.entries():
        if row.filename != SMALL:
            os.utime(root / ".model-cache" / "used" / row.key, (1e9, 1e9))
    hour = ("--from-cache", "--used-within", "1h")
    assert shell.json("lock", *hour)["files"] != []  # the index has when they came
    age(root)
    assert shell.ok("lock", *hour) == HEAD + table(hub, SMALL)
    for row in cache.entries():
        os.utime(root / ".model-cache" / "used" / row.key, (1e9, 1e9))
    code, out, err = shell.run("lock", *hour)
    assert (code, out, err) == (10, "", f"error: nothing in the cache {root} was used in that time\n")


def age(root):
    """Have the index forget when files came: its lower bound of their last use is long ago."""
    with ModelCache(root)._ctx.index.transaction("test:age") as connection:
        connection.execute("UPDATE entries SET last_used_at = 1e9")


def test_what_nobody_can_vouch_for_is_refused_by_name(shell, root):
    """Damaged, changed and placed files are each named with the reason; without them the rest is locked."""
    shell.ok("fetch", REPO, *BYTES)
    rot(root / REPO / BIG)
    assert shell.run("verify", "-q")[0] == 3
    (root / REPO / "README.md").write_bytes(b"edited")
    (root / REPO / "mine.txt").write_bytes(b"by hand")
    code, out, err = shell.run("lock", "--from-cache")
    assert (code, out) == (1, "")
    message = err.splitlines()[0].removeprefix("error: not known to be as the Hub has them: ")
    assert sorted(message.split(", ")) == [
        f"{REPO} README.md (changed since)",
        f"{REPO} mine.txt (never hashed: placed by hand)",
        f"{REPO} model.bin (damaged)",
    ]
    code, out, err = shell.run("lock", "--from-cache", "--include", "onnx/")
    assert (code, err) == (0, "locked 1 file, 2 B\n")
    shell.ok("reconcile")
    code, out, err = shell.run("lock", "--from-cache", REPO, "mine.txt")
    assert (code, out) == (1, "")
    assert f"{REPO} mine.txt (not from the Hub: adopted by hand)" in err


def test_from_the_cache_what_is_not_there_exits_10(shell, root):
    """A file that is named and not in the cache is missing, not left out."""
    shell.ok("fetch", REPO, SMALL)
    for arguments in ([REPO, BIG], ["owner/other"]):
        code, out, err = shell.run("lock", "--from-cache", *arguments)
        assert (code, out) == (10, "")
        assert err.startswith(f"error: {' '.join(arguments)} is not in the cache {root}\n")


def test_a_listing_with_a_hostile_name_is_refused(shell, hub):
    """The Hub's word is checked as anybody's: a name that no path can have ends it, and --exclude leaves it out."""
    hub.add_repo(REPO, {**BYTES, "aux.txt": b"x"})
    code, out, err = shell.run("lock", REPO)
    assert (code, out) == (2, "")
    assert err.splitlines()[0] == "error: filename 'aux.txt' uses a device name of Windows"
    assert shell.run("lock", REPO, "--exclude", "aux.txt")[0] == 0
