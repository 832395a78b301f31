"""Misuse of verify, reconcile, doctor and gc: one line and a hint, the right exit code, nothing changed, no root made."""

import json
import os
import resource
import shutil
import signal
import sqlite3
import subprocess

import pytest
from cli_equipment import COMMAND, Shell, pattern

REPO, FILE = "owner/name", "model.bin"
# Root without the right to pass over permissions: what it does not own it may only use as others may.
WITHOUT_RIGHTS = ["setpriv", "--bounding-set=-dac_override,-dac_read_search,-fowner"]
COMMANDS = [["verify"], ["verify", "--repair"], ["reconcile"], ["reconcile", "--rebuild"], ["gc"]]
SIZE, AGE = "expected a size such as 500MB, 50GB or 50GiB", "expected a duration such as 45s, 10m, 6h or 30d"


@pytest.fixture
def shell(environ, root, hub):
    """The command, on a root that is not there."""
    found = Shell(environ, root, hub)
    yield found
    found.close()


@pytest.fixture
def filled(shell, hub, root):
    """The command, on a root with two files."""
    hub.add_repo(REPO, {FILE: pattern(3_000_000), "config.json": b"{}"})
    shell.ok("fetch", REPO, FILE, "config.json", "-q")
    return shell


def state(root):
    """{path: bytes} of everything below a root but its index, last uses and locks."""
    files = [path for path in root.rglob("*") if path.is_file() and ".model-cache" not in path.parts]
    return {str(path.relative_to(root)): path.read_bytes() for path in files}


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["verify", "--rate", "0"], "--rate: expected more than 0 bytes per second, found '0'"),
        (["verify", "--rate", "-1"], f"--rate: {SIZE}, found '-1'"),
        (["verify", "--rate", "fast"], f"--rate: {SIZE}, found 'fast'"),
        (["verify", "--byte-limit", ""], f"--byte-limit: {SIZE}, found ''"),
        (["verify", "--byte-limit", "9" * 26 + "TB"], f"--byte-limit: {SIZE}, found '{'9' * 26}TB'"),
        (["verify", "--time-limit", "1e400s"], f"--time-limit: {AGE}, found '1e400s'"),
        (["verify", "--time-limit", "inf"], f"--time-limit: {AGE}, found 'inf'"),
        (["verify", "--max-age", "nan"], f"--max-age: {AGE}, found 'nan'"),
        (["verify", "--max-age", "-1s"], f"--max-age: {AGE}, found '-1s'"),
        (["verify", "--max-age", "9" * 20 + "d"], f"--max-age: {AGE}, found '{'9' * 20}d'"),
        (["verify", "--jobs", "0"], "invalid value for '--jobs': 0 is not in the range 1<=x<=64"),
        (["verify", "--jobs", "9" * 20], f"invalid value for '--jobs': {'9' * 20} is not in the range 1<=x<=64"),
        (["verify", "--jobs", "two"], "invalid value for '--jobs': 'two' is not a valid integer range"),
        (
            ["verify", "--repo-type", "film", "a"],
            "invalid value for '--repo-type': 'film' is not one of 'model', 'dataset',",
        ),
        (["verify", "--revision", "v1"], "--revision and --repo-type are about one repo, and no REPO is given"),
        (["verify", "--repo-type", "dataset"], "--revision and --repo-type are about one repo, and no REPO is given"),
        (["verify", ""], "repo '' is not of the form name or owner/name"),
        (["verify", "a/b/c"], "repo 'a/b/c' is not of the form name or owner/name"),
        (["verify", "a/b", "../x"], "filename '../x' has the part '..'"),
        (["verify", "a/b", "x\x1b[31m"], "filename 'x\\x1b[31m' has a backslash or a control character"),
        (["verify", "a/b", os.fsdecode(b"\xff")], "filename '\\udcff' is not valid Unicode"),
        (["verify", "a/b", "x", "y"], "got unexpected extra argument (y)"),
        (["reconcile", "a/b"], "got unexpected extra argument (a/b)"),
        (["reconcile", "--dry-run"], "no such option '--dry-run'"),
        (["doctor", "now"], "got unexpected extra argument (now)"),
        (["gc", "--older-than", "1e308d"], f"--older-than: {AGE}, found '1e308d'"),
        (["gc", "--max-size", "1e400"], f"--max-size: {SIZE}, found '1e400'"),
        (["gc", "--repair"], "no such option '--repair'"),
        (["doctor", "--root", ""], "the argument root: expected the path of a directory, found ''"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(shell, root, arguments, expected):
    """Each bad value is named with what was expected in its place."""
    code, out, err = shell.run(*arguments)
    assert (code, out) == (2, "")
    assert err.splitlines()[0].startswith(f"error: {expected}")
    assert all(line.startswith("hint: ") for line in err.splitlines()[1:])
    assert err.isascii() and err.replace("\n", "").isprintable()
    assert not root.exists()


@pytest.mark.parametrize("arguments", [*COMMANDS, ["doctor"]])
def test_no_root_is_made(shell, root, arguments):
    """Where there is no root, or a file in its place, that is exit code 1 (a doctor's 3), and nothing is there afterwards."""
    code, _, err = shell.run(*arguments)
    assert code == (0 if arguments == ["doctor"] else 1) and not root.exists()
    if arguments != ["doctor"]:
        hint = "hint: model-cache fetch makes it; --root or MODEL_CACHE_DIR names another\n"
        assert err == f"error: no cache at {root} (from MODEL_CACHE_DIR)\n{hint}"
    root.write_text("mine")
    code, _, err = shell.run(*arguments)
    assert code == (3 if arguments == ["doctor"] else 1) and "Traceback" not in err
    assert root.read_text() == "mine"


@pytest.mark.parametrize("arguments", [*COMMANDS, ["doctor"]])
def test_without_a_home_no_root_is_guessed(shell, tmp_path, arguments):
    """As cron runs it, with neither HOME nor a user that has one: the command does not pass on an empty cache."""
    environ = dict.fromkeys(("MODEL_CACHE_DIR", "HOME", "XDG_CACHE_HOME"))
    code, _, err = shell.run(*arguments, environ={**environ, "HOME": str(tmp_path / "nobody")})
    assert code == (0 if arguments == ["doctor"] else 1)
    assert f"{tmp_path}/nobody/.cache/model-cache" in err or arguments == ["doctor"]
    assert not (tmp_path / "nobody").exists()


@pytest.fixture
def foreign(filled, root):
    """The command without rights, on a root that belongs to somebody else."""
    if os.getuid() or shutil.which("setpriv") is None or subprocess.run([*WITHOUT_RIGHTS, "true"]).returncode:
        pytest.skip("takes rights away from root")
    for path in [root, *root.rglob("*")]:
        os.chown(path, 65534, 65534)
        path.chmod(0o755 if path.is_dir() else 0o644)

    def run(*arguments):
        """(exit code, stdout, stderr)."""
        done = subprocess.run(
            [*WITHOUT_RIGHTS, *COMMAND, *arguments], env=filled.environ, capture_output=True, text=True, timeout=60
        )
        return done.returncode, done.stdout, done.stderr

    return run


@pytest.mark.parametrize("arguments", COMMANDS)
def test_whoever_may_only_read_changes_nothing_and_is_told(foreign, root, arguments):
    """`verify` reads and says that it cannot record; whatever must write says where it may not."""
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*")}
    code, _, err = foreign(*arguments)
    if arguments[0] == "verify":
        assert code == 0 and "2 ok" in err
        assert err.startswith(f"warning: {root} cannot be written (Permission denied); results are not recorded")
    else:
        hint = f"hint: ls -ld {root} {root}/.model-cache\n"
        assert (code, err) == (1, f"error: cannot write in {root} (from MODEL_CACHE_DIR): Permission denied\n{hint}")
    assert before == {path: path.stat().st_mtime_ns for path in root.rglob("*")}


@pytest.mark.parametrize("arguments", COMMANDS)
def test_a_root_that_may_not_be_searched_does_not_pass_for_an_empty_one(foreign, root, arguments):
    """Run as another user than the cache's, a nightly job fails instead of finding nothing wrong with nothing."""
    root.chmod(0o700)
    code, out, err = foreign(*arguments)
    assert (code, out) == (1, "")
    assert err == f"error: cannot look into {root} (from MODEL_CACHE_DIR): Permission denied\nhint: ls -ld {root}\n"


def test_files_that_may_not_be_read_are_unreadable_and_not_damaged(foreign, root, filled):
    """They fail the run, with the reason; nothing is marked, quarantined or repaired."""
    (root / REPO / FILE).chmod(0o600)
    code, out, _ = foreign("verify", "--json")
    document = json.loads(out)
    assert code == 3
    assert [(one["filename"], one["detail"]) for one in document["unreadable"]] == [(FILE, "Permission denied")]
    assert os.listdir(root / ".model-cache" / "damaged") == []
    (root / REPO / FILE).chmod(0o644)
    assert filled.run("verify", "-q") == (0, "", "")


def test_a_damaged_index_that_may_not_be_set_aside_is_named(foreign, root):
    """A reader cannot mend it, and is told who can."""
    connection = sqlite3.connect(root / ".model-cache" / "index.db", isolation_level=None)
    connection.execute("UPDATE entries SET size = x'ff', path = 'x\x1b[31m' WHERE filename = ?", (FILE,))
    connection.close()
    code, out, err = foreign("verify", "-q", "--strict")
    assert (code, out) == (1, "")
    assert err == (
        f"error: index {root}/.model-cache/index.db is damaged: it has what this cache never writes\n"
        f"hint: whoever may write there sets it aside: model-cache --root {root} reconcile\n"
    )


def test_names_from_a_hostile_index_do_not_reach_a_terminal(filled, root):
    """Paths that no entry has are neither listed nor printed for scripts, with -q as with --json."""
    filled.ok("gc", "-q")
    for column in ("path", "filename", "verdict", "holder"):
        connection = sqlite3.connect(root / ".model-cache" / "index.db", isolation_level=None)
        connection.execute(f"UPDATE entries SET \"{column}\" = 'x\x1b]0;own\x07', verdict = 'corrupt' WHERE id = 1")
        connection.close()
        for arguments in (["verify", "-q", "--strict"], ["verify", "--json"], ["verify"], ["reconcile"], ["gc"]):
            code, out, err = filled.run(*arguments)
            assert "\x1b" not in out + err, (column, arguments)
            assert code in (0, 3) and "Traceback" not in err and "unexpected" not in err


def few_descriptors():
    """`ulimit -n 32`."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (32, 32))


@pytest.mark.parametrize("arguments", [["verify"], ["reconcile"], ["gc"], ["doctor"]])
def test_output_that_goes_nowhere_is_no_traceback(filled, root, arguments):
    """Closed streams, a reader that is gone, a full disk, few descriptors: one line at most, and the work is done."""
    before = state(root)
    allowed = {"doctor": {0, 3}}.get(arguments[0], {0})
    for closed in (0, 1):
        code, _, err = filled.run(*arguments, preexec_fn=lambda fd=closed: os.close(fd))
        assert code in allowed and "Traceback" not in err, closed
    with open("/dev/full", "w") as full:
        code, _, err = filled.run(*arguments, "--json", stdout=full)
        assert code == 1 and err.endswith("could not be written: No space left on device\n")
    reader, writer = os.pipe()
    os.close(reader)
    code, _, err = filled.run(*arguments, "--json", "-q", stdout=writer)
    os.close(writer)
    assert (code, err) == (1, "")
    code, _, err = filled.run(*arguments, preexec_fn=few_descriptors)
    assert code in allowed and "Traceback" not in err
    assert state(root) == before


@pytest.mark.parametrize("arguments", [["verify", "--rate", "100kB"], ["verify", "--rate", "100kB", "--repair"]])
def test_an_interrupt_is_one_line_and_the_next_run_goes_on(filled, root, arguments):
    """^C in the middle of a file ends at once with 130; nothing is changed, and nobody is accused."""
    before = state(root)
    process = filled.start(*arguments)
    assert process.stderr.readline().startswith("verifying 2 files")
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err.splitlines()[-2:] == ["error: interrupted", "hint: the next verify goes on where this one was"]
    assert filled.json("verify")["complete"] is True
    assert state(root) == before


def test_what_is_not_in_the_cache_is_10(filled, root):
    """A repo or a file that is not there is no success of having verified nothing."""
    hint = f"hint: model-cache --root {root} ls\n"
    for names in (["owner/other"], [REPO, "other"], [REPO, "--revision", "v1"], [REPO, "--repo-type", "dataset"]):
        code, out, err = filled.run("verify", *names)
        assert (code, out) == (10, "") and err.endswith(f" is not in the cache {root}\n{hint}"), names


def test_a_root_with_files_and_no_index_is_not_taken_for_verified(shell, root):
    """What was never recorded cannot be verified; reconcile asks to be told that it is a cache at all."""
    (root / REPO).mkdir(parents=True)
    (root / REPO / FILE).write_text("mine")
    for arguments in (["verify"], ["verify", "--strict", "-q"], ["reconcile"]):
        code, out, err = shell.run(*arguments)
        assert (code, out, len(err.splitlines())) == (1, "", 2)
        assert f"model-cache --root {root} reconcile --rebuild" in err.splitlines()[1]
    assert [path.name for path in root.iterdir()] == ["owner"]
