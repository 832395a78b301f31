"""What the command says of roots that several users share: modes, whose files, repos that not everybody may read, refusals."""

import os
import pwd
import re

import pytest
from cli_equipment import Shell, pattern

REPO, FILE, GATED, HIDDEN = "owner/name", "model.bin", "owner/gated", "owner/hidden"
BODY = pattern(100_000)
TOKEN = "hf_loopback"


@pytest.fixture
def shell(environ, root, hub):
    """The command, with a hub that has a public, a gated and a private repo; ended with the test."""
    for repo, access in ((REPO, {}), (GATED, {"gated": True}), (HIDDEN, {"private": True})):
        hub.add_repo(repo, {FILE: BODY}, **access)
    started = Shell(environ, root, hub)
    yield started
    started.close()


@pytest.fixture
def shared(shell):
    """The same, where a group shares the root."""
    shell.ok("config", "-q", "sharing=group")
    return shell


def me():
    """This user's name."""
    return pwd.getpwuid(os.geteuid()).pw_name


# Modes


def test_modes_are_repaired_and_told(shared, root):
    """--fix gives what the cache made the modes of the group, says so on stderr, and the next one finds nothing."""
    shared.ok("fetch", "-q", REPO, FILE)
    (root / REPO / FILE).chmod(0o600)
    (root / REPO).chmod(0o755)
    (root / ".model-cache" / "used").chmod(0o3777)
    code, out, err = shared.run("doctor")
    (found,) = [line for line in out.splitlines() if line.startswith("permissions")]
    assert found.split(maxsplit=2)[1:] == [
        "warn",
        f"{root}/.model-cache/used (mode 3777): every user can write it, and so decide what a model is, and likewise 2 others",
    ]
    assert "hint: permissions: model-cache doctor --fix\n" in err
    code, out, err = shared.run("doctor", "--fix")
    assert (code, sorted(line for line in err.splitlines() if line.startswith("fixed"))) == (
        0,
        [
            f"fixed: {root}/.model-cache/used: mode 3777 is 2775 now (every user can write it, and so decide what a model"
            " is)",
            f"fixed: {root}/{REPO}/{FILE}: mode 600 is 664 now (its group cannot use it, and sharing is group)",
            f"fixed: {root}/{REPO}: mode 755 is 2775 now (it is not setgid: what is made in it belongs to other groups)",
        ],
    )
    assert (root / REPO / FILE).stat().st_mode & 0o7777 == 0o664
    assert (root / REPO).stat().st_mode & 0o7777 == 0o2775
    assert "nothing to fix: everything that the cache made has its mode\n" in shared.run("doctor", "--fix")[2]


def test_the_document_has_what_was_repaired(shell, root):
    """--json has the modes before and after as text in octal, and whose the file is."""
    shell.ok("fetch", "-q", REPO, FILE)
    (root / REPO / FILE).chmod(0o666)
    document = shell.json("doctor", "--fix")
    assert document["not_fixed"] == []
    assert document["fixed"] == [
        {
            "path": f"{root}/{REPO}/{FILE}",
            "why": "every user can write it, and so decide what a model is",
            "before": "0666",
            "after": "0600",
            "owner": me(),
            "elsewhere": False,
        }
    ]


def test_what_the_cache_did_not_make_keeps_its_mode(shared, root):
    """A file placed by hand, its directory, the policy, and a file of the cache with a second name elsewhere stay as they are."""
    shared.ok("fetch", "-q", REPO, FILE)
    (root / REPO / "mine.bin").write_bytes(b"mine")
    (root / "hand" / "made").mkdir(parents=True)
    (root / "hand" / "made" / FILE).write_bytes(b"mine")
    (root / ".model-cache" / "config.toml").chmod(0o644)
    (used,) = (root / ".model-cache" / "used").iterdir()
    os.link(used, root.parent / "second")
    places = [root / REPO / "mine.bin", root / "hand", root / "hand" / "made", root / "hand" / "made" / FILE, used]
    places += [root / REPO, root / ".model-cache" / "config.toml"]
    for path in places:
        path.chmod(0o700 if path.is_dir() else 0o600)
    assert shared.json("doctor", "--fix")["fixed"] == []
    assert {path.stat().st_mode & 0o7777 for path in places} == {0o700, 0o600}


def test_nothing_is_repaired_where_nothing_may_be_written(shell, root):
    """--fix with MODEL_CACHE_READ_ONLY is an error, and without a root too."""
    code, out, err = shell.run("doctor", "--fix")
    assert (code, out, err.splitlines()[0]) == (1, "", f"error: no cache at {root} (from MODEL_CACHE_DIR)")
    shell.ok("root")
    assert shell.run("doctor", "--fix", environ={"MODEL_CACHE_READ_ONLY": "1"}) == (
        1,
        "",
        "error: MODEL_CACHE_READ_ONLY is set, and --fix writes\nhint: unset MODEL_CACHE_READ_ONLY\n",
    )


# Whose files


def test_whose_files_fill_the_cache(shell):
    """One line for each user, who has most first; JSON has it with --by-user alone."""
    shell.ok("fetch", "-q", REPO, FILE)
    assert [line for line in shell.ok("status", "--by-user").splitlines() if line.startswith("user")] == [
        f"user         {me()}: 102 kB, 1 file"
    ]
    assert "user " not in shell.ok("status")
    (found,) = shell.json("status", "--by-user")["by_user"]
    assert found == {"user": me(), "uid": os.geteuid(), "files": 1, "bytes": found["bytes"]}
    assert found["bytes"] >= len(BODY)
    assert shell.json("status")["by_user"] is None


def test_whose_files_and_which_are_lacking_are_two_questions(shell):
    """--by-user with --require is usage."""
    assert shell.run("status", "--by-user", "--require", "models.lock") == (
        2,
        "",
        "error: --by-user looks into all files, --require only at those of a lock file\nhint: leave one out\n",
    )


# Repos that not everybody may read


@pytest.mark.parametrize(("repo", "state"), [(GATED, "is gated"), (HIDDEN, "is private, or does not exist")])
@pytest.mark.parametrize("what", [[FILE], []], ids=["a file", "the whole repo"])
def test_what_not_everybody_may_read_is_refused_where_a_group_shares_the_root(shared, root, hub, repo, state, what):
    """No token is sent, no byte comes, and the hint names a root of this user alone; with --share-gated it comes."""
    home, token = shared.environ["HOME"], {"HF_TOKEN": TOKEN}
    hub.reset()
    code, out, err = shared.run("fetch", repo, *what, environ=token)
    error, hint = err.splitlines()
    assert (code, out) == (1, "")
    assert error.startswith(
        f"error: repo '{repo}' {state}, and {root} is shared by a group: no token is sent, as what it may"
    )
    assert hint == (
        f"hint: model-cache --root {home}/.cache/model-cache fetch {repo} has it for you alone; fetch --share-gated"
        " (share_gated=True) sends the token from here too"
    )
    assert all("authorization" not in request.headers for request in hub.requests)
    assert hub.body_gets() == 0
    shared.ok("fetch", "-q", "--share-gated", repo, *what, environ=token)
    assert (root / repo / FILE).read_bytes() == BODY


def test_what_everybody_may_read_costs_no_further_request(shell, shared, hub):
    """A public file is asked for as often in a group's root as in a private one."""
    hub.reset()
    shared.ok("fetch", "-q", REPO, FILE, environ={"HF_TOKEN": TOKEN})
    asked = [(request.method, request.path) for request in hub.requests]
    hub.reset()
    shell.ok("fetch", "-q", "--root", f"{shell.environ['HOME']}/own", REPO, FILE, environ={"HF_TOKEN": TOKEN})
    assert asked == [(request.method, request.path) for request in hub.requests]


def test_the_policy_can_let_them_in(shared, root):
    """`share_gated` holds for all who use the root, and is shown as the flag it is."""
    assert shared.run("config", "share_gated=yes")[2] == (
        f"share_gated is now true (from share_gated in {root}/.model-cache/config.toml)\n"
    )
    assert shared.ok("config", "share_gated") == "true\n"
    assert shared.ok("config", "evict_untested") == "off\n"
    assert shared.json("config", "share_gated")["value"] is True
    refused = {"HF_TOKEN": TOKEN, "MODEL_CACHE_SHARE_GATED": "0"}  # who does not leave that to the others
    assert shared.run("fetch", "-q", GATED, FILE, environ=refused)[0] == 1
    shared.ok("fetch", "-q", GATED, FILE, environ={"HF_TOKEN": TOKEN})
    assert shared.run("config", "share_gated=perhaps")[:2] == (2, "")


def test_a_foreign_cache_gives_a_groups_root_only_what_everybody_may_read(shared, root, hub, tmp_path):
    """import-hf leaves out a gated repo, and says why; with share_gated it comes, and nobody is asked."""
    commit = hub.store.find("model", GATED).refs["main"]
    top = tmp_path / "hub" / "models--owner--gated"
    for part in (top / "refs", top / "blobs", top / "snapshots" / commit):
        part.mkdir(parents=True)
    (top / "refs" / "main").write_text(commit)
    oid = hub.store.find("model", GATED).commits[commit].files[FILE].git_sha1
    (top / "blobs" / oid).write_bytes(BODY)
    (top / "snapshots" / commit / FILE).symlink_to(f"../../blobs/{oid}")
    document = shared.json("import-hf", str(tmp_path / "hub"))
    assert document["imported"] == []
    assert re.match(rf"repo '{GATED}' is gated, and {root} is shared by a group", document["skipped"][0]["reason"])
    hub.reset()
    allowed = {"MODEL_CACHE_SHARE_GATED": "1"}
    assert len(shared.json("import-hf", str(tmp_path / "hub"), environ=allowed)["imported"]) == 1
    assert hub.requests == []


# Roots that are refused


def test_a_root_that_every_user_can_write_is_refused(shell, root):
    """Hits, misses and what only looks end with 1 and one hint; doctor fails; with a sticky bit it is as any other."""
    shell.ok("fetch", "-q", REPO, FILE)
    root.chmod(0o777)
    said = (
        f"error: {root} is writable by every user of this machine (mode 777): refused, as anybody could put files into"
        f" it\nhint: chmod o-w {root}, or name a directory in it that only you or your group can write\n"
    )
    for words in (["fetch", REPO, FILE], ["fetch", REPO], ["cached", REPO, FILE], ["ls"], ["gc"], ["pin", REPO]):
        assert shell.run(*words) == (1, "", said), words
    code, out, _ = shell.run("doctor", "-q")
    assert (code, out) == (3, "root\n")
    root.chmod(0o1777)
    shell.ok("fetch", "-q", REPO, FILE)


@pytest.mark.root
def test_a_root_that_is_another_users_symlink_is_refused(shell, root):
    """Who owns the link can point it elsewhere; the directory itself is taken, and so is a link of one's own or root's."""
    if os.geteuid() != 0:
        pytest.skip("gives a link to another user")
    shell.ok("fetch", "-q", REPO, FILE)
    link = root.parent / "link"
    link.symlink_to(root)
    shell.ok("fetch", "-q", "--root", str(link), REPO, FILE)
    os.chown(link, 60_001, 60_001, follow_symlinks=False)
    assert shell.run("fetch", "--root", str(link), REPO, FILE) == (
        1,
        "",
        f"error: {link} is a symlink of user 60001, who can point it elsewhere at any time: refused\n"
        f"hint: name the directory itself: {root}\n",
    )


@pytest.mark.root
def test_another_users_file_is_spared_with_the_way_to_have_it_evicted(shared, root):
    """A user who may not make the open test is told by gc and rm who can; --force and the policy do without."""
    if os.geteuid() != 0:
        pytest.skip("takes rights away from itself")
    shared.ok("fetch", "-q", REPO, FILE)
    os.chown(root / REPO / FILE, 60_001, -1)
    bare = ["setpriv", "--bounding-set=-lease", "--inh-caps=-lease"]
    code, out, err = without_lease(shared, bare, "gc", "--max-size", "0", MODEL_CACHE_MIN_IDLE="0")
    assert code == 0
    assert "kept: only user 60001 or root can test whether a program has it open" in " ".join(out.split())
    assert err.splitlines()[-1] == (
        "hint: 1 file of user 60001 stayed: run gc as user 60001 or root (from cron), or allow it untested: model-cache"
        " config evict_untested=true"
    )
    code, out, err = without_lease(shared, bare, "rm", "--yes", REPO, FILE)
    assert (code, out, err.splitlines()) == (
        11,
        "",
        [
            f"error: {REPO}: {FILE} (only user 60001 or root can test whether a program has it open) stayed",
            "hint: have one of them do it, or --force: who has a file open keeps its bytes",
        ],
    )
    allowed = {"MODEL_CACHE_MIN_IDLE": "0", "MODEL_CACHE_EVICT_UNTESTED": "true"}
    code, out, _ = without_lease(shared, bare, "gc", "-q", "--max-size", "0", **allowed)
    assert (code, out) == (0, f"{root}/{REPO}/{FILE}\n")


def without_lease(shell, bare, *words, **environ):
    """Run the command as root, but for the right to make the open test on another user's file."""
    import shutil
    import subprocess

    from cli_equipment import COMMAND

    if shutil.which("setpriv") is None or subprocess.run([*bare, "true"], capture_output=True).returncode:
        pytest.skip("this machine does not let us drop rights")
    done = subprocess.run(
        [*bare, *COMMAND, *words], env={**shell.environ, **environ}, capture_output=True, text=True, timeout=60
    )
    return done.returncode, done.stdout, done.stderr
