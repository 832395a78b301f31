"""Bad input: one line on stderr that names the value and what was expected, the right exit code, nothing changed."""

import os

import pytest
from cli_equipment import Shell

from model_cache.cli.group import COMMANDS

KEYS = (
    "max_size, min_free, max_age, min_idle, touch_interval, lock_timeout, connections, sharing, endpoint, lower, state_dir,"
    " evictor, evict_untested, share_gated, tier, lead"
)


@pytest.fixture
def shell(environ, root):
    """The command, on a root that is not there."""
    return Shell(environ, root)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["ftech"], "error: unknown command 'ftech'; expected one of fetch, path, root, "),
        ([], "error: missing command\nhint: model-cache --help\n"),
        (["fetch"], "error: missing argument 'REPO'\nhint: model-cache fetch --help\n"),
        (
            ["fetch", "gpt2", "config.json", "--include", "*.json"],
            "error: --include and --exclude choose from the whole repo: expected no FILE beside them\n"
            "hint: model-cache fetch gpt2 --include '*.json'\n",
        ),
        (["fetch", "a/b/c", "x"], "error: repo 'a/b/c' is not of the form name or owner/name\n"),
        (
            ["fetch", "https://huggingface.co/openai-community/gpt2", "x"],
            "error: repo 'https://huggingface.co/openai-community/gpt2' is not of the form name or owner/name\n"
            "hint: the repo is openai-community/gpt2\n",
        ),
        (
            ["fetch", "https://huggingface.co/datasets/a/b/resolve/main/x"],
            "error: repo 'https://huggingface.co/datasets/a/b/resolve/main/x' is not of the form name or owner/name\n"
            "hint: the repo is a/b, with --repo-type dataset, and a filename is an argument of its own\n",
        ),
        (
            ["fetch", "hf://a/b"],
            "error: repo 'hf://a/b' is not of the form name or owner/name\nhint: the repo is a/b\n",
        ),
        (["fetch", "http://?"], "error: repo 'http://?' is not of the form name or owner/name\n"),
        (
            ["fetch", "gpt2@v1", "x"],
            "error: repo 'gpt2@v1' has characters other than letters, digits, '-', '_' and '.'\n"
            "hint: a revision is an option of its own (--revision)\n",
        ),
        (
            ["config", "evictor=off"],
            "error: evictor: expected the name of a host, found 'off'\nhint: model-cache config evictor=\n",
        ),
        (
            ["config", "max_size", "1GB"],
            "error: expected one KEY=VALUE, found 'max_size 1GB'\nhint: model-cache config max_size=1GB\n",
        ),
        (
            ["config", "max_size", "=", "1GB"],
            "error: expected one KEY=VALUE, found 'max_size = 1GB'\nhint: model-cache ",
        ),
        (
            ["config", "max_size=1GB", "max_age=1d"],
            "error: expected one KEY=VALUE, found 'max_size=1GB max_age=1d'\nhint: model-cache config max_size=1GB\n",
        ),
        (["lock", "gpt2", "-o", ""], "error: --output: expected the path of a file, found ''\n"),
        (
            ["lock", "", "-o", "x.lock"],
            "error: no REPO given: expected a repo, or --from-cache\nhint: model-cache lock ",
        ),
        (["fetch", "gpt2", "ok", "../x"], "error: filename '../x' has the part '..'\n"),
        (
            ["fetch", "gpt2", "x", "--revision", "a b"],
            "error: revision 'a b' has a character git does not allow in a name",
        ),
        (
            ["fetch", "gpt2", "x", "--repo-type", "film"],
            "error: invalid value for '--repo-type': 'film' is not one of ",
        ),
        (
            ["fetch", "gpt2", "x", "--timeout", "soon"],
            "error: --timeout: expected a duration such as 45s, 10m, 6h or 30d, found 'soon'\n",
        ),
        (
            ["path", "gpt2", "/etc/passwd"],
            "error: filename '/etc/passwd' is absolute; expected a path inside the repo\n",
        ),
        (["path", "gpt2", "a\nb"], "error: filename 'a\\nb' has a backslash or a control character\n"),
        (["path", "gpt2"], "error: missing argument 'FILE'\nhint: model-cache path --help\n"),
        (["path", "gpt2", "x", "--root", ""], "error: the argument root: expected the path of a directory, found ''\n"),
        (["cached", "gpt2", ".model-cache/x"], "error: filename '.model-cache/x' enters .model-cache, which is the "),
        (["root", "extra"], "error: got unexpected extra argument (extra)\nhint: model-cache root --help\n"),
        (
            ["ls", "--filter", "bigness>3"],
            "error: --filter: expected a test such as 'size>1GB' or 'used>30d', of size, used, downloaded or verified,",
        ),
        (
            ["ls", "--filter", "state=foo"],
            "error: --filter: state is one of ready, corrupt, unreadable, changed, downloading, installing, partial, ",
        ),
        (
            ["ls", "--filter", "type=foo"],
            "error: --filter: type is one of model, dataset, space, kernel, found 'type=foo'\n",
        ),
        (
            ["ls", "--filter", "size>big"],
            "error: --filter size>big: expected a size such as 500MB, 50GB or 50GiB, found ",
        ),
        (
            ["ls", "--filter", "used>1y"],
            "error: --filter used>1y: expected a duration such as 45s, 10m, 6h or 30d, found ",
        ),
        (
            ["ls", "--sort", "colour"],
            "error: --sort: expected one of repo, file, size, used, downloaded, verified, with ",
        ),
        (["ls", "--limit", "0"], "error: invalid value for '--limit': 0 is not in the range x>=1\n"),
        (["ls", "a/b/c"], "error: repo 'a/b/c' is not of the form name or owner/name\n"),
        (
            ["config", "max_sise=1GB"],
            f"error: unknown policy key 'max_sise'; expected one of {KEYS}\nhint: model-cache ",
        ),
        (["config", "max_size=lots"], "error: max_size: expected a size such as 500MB, 50GB or 50GiB, found 'lots'\n"),
        (["config", "max_size=120%"], "error: max_size: expected a share above 0% and up to 100%, found '120%'\n"),
        (["config", "connections=0"], "error: connections: expected a whole number from 1 to 64, found '0'\n"),
        (
            ["config", "endpoint=https://u:secret@h"],
            "error: endpoint: expected an address such as https://huggingface.co",
        ),
        (["status", "--frob"], "error: no such option"),
        (["ls", "--repos", "--in-use"], "error: --in-use is about files, and cannot be summed by --repos\n"),
        (
            ["gc", "--max-size", "lots"],
            "error: --max-size: expected a size such as 500MB, 50GB or 50GiB, found 'lots'\n",
        ),
        (["gc", "--max-size", "120%"], "error: --max-size: expected a share above 0% and up to 100%, found '120%'\n"),
        (["gc", "--min-free", "-1"], "error: --min-free: expected a size such as 500MB, 50GB or 50GiB, found '-1'\n"),
        (
            ["gc", "--older-than", "old"],
            "error: --older-than: expected a duration such as 45s, 10m, 6h or 30d, found 'old'\n",
        ),
        (["gc", "extra"], "error: got unexpected extra argument (extra)\nhint: model-cache gc --help\n"),
        (["rm"], "error: missing argument 'REPO'\nhint: model-cache rm --help\n"),
        (["rm", "gpt2", "../x", "--yes"], "error: filename '../x' has the part '..'\n"),
        (["rm", "gpt2"], "error: rm asks before it removes, and there is no terminal to ask on\nhint: add --yes"),
        (["pin", "a/b/c"], "error: repo 'a/b/c' is not of the form name or owner/name\n"),
        (["unpin", "gpt2", "--revision", "a b"], "error: revision 'a b' has a character git does not allow in a name"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(shell, root, arguments, expected):
    """Misuse says what was wrong and what was expected, and makes nothing."""
    code, out, err = shell.run(*arguments)
    assert (code, out) == (2, "")
    assert err.startswith(expected)
    assert len(err.splitlines()) == (2 if "\nhint: " in err else 1)
    assert "secret" not in err
    assert not root.exists()


@pytest.mark.parametrize(
    "arguments",
    [["ls"], ["status"], ["gc"], ["gc", "--dry-run"], ["rm", "gpt2", "--yes"], ["pin", "gpt2"], ["unpin", "gpt2"]],
)
def test_commands_that_only_look_make_no_root(shell, root, arguments):
    """Where there is no root they say so, with the path and the setting it came from."""
    code, out, err = shell.run(*arguments)
    hint = "hint: model-cache fetch makes it; --root or MODEL_CACHE_DIR names another\n"
    assert (code, out, err) == (1, "", f"error: no cache at {root} (from MODEL_CACHE_DIR)\n{hint}")
    code, _, err = shell.run(*arguments, "--root", f"{root}/other")
    assert (code, err) == (1, f"error: no cache at {root}/other (from --root)\n{hint}")
    assert not root.exists()


def test_a_bad_variable_is_named(shell):
    """A value in the environment that cannot be used is an error that says which variable has it."""
    code, out, err = shell.run("root", environ={"MODEL_CACHE_MIN_IDLE": "often"})
    assert (code, out) == (2, "")
    assert err == "error: MODEL_CACHE_MIN_IDLE: expected a duration such as 45s, 10m, 6h or 30d, found 'often'\n"


def test_no_home_and_no_root_is_a_clear_error(shell):
    """Without anything that names a root the message says how to name one."""
    code, _, err = shell.run("path", "gpt2", "x", "--root", "~nobody-here/x")
    assert code == 2
    assert err == (
        "error: the argument root: no home directory is known for '~nobody-here/x'\nhint: give an absolute path\n"
    )


@pytest.mark.parametrize("damage", [b"max_size = ", b"\xff\xfe", b"max_size = 'lots'\n"])
def test_a_damaged_policy_file_stops_every_command(shell, root, damage):
    """A policy that cannot be understood is not guessed at; the file is named and left as it is."""
    (root / ".model-cache").mkdir(parents=True)
    policy = root / ".model-cache" / "config.toml"
    policy.write_bytes(damage)
    for arguments in (["ls"], ["fetch", "gpt2", "x"], ["config"]):
        code, out, err = shell.run(*arguments)
        assert (code, out) == (2, "")
        assert str(policy) in err.splitlines()[0]
    assert policy.read_bytes() == damage


def test_a_root_that_is_a_file_is_named(shell, root):
    """What stands in the way of the root is said in one line."""
    root.write_text("")
    for arguments in (["root"], ["config", "min_idle=1m"], ["fetch", "gpt2", "x"]):
        code, out, err = shell.run(*arguments, environ={"HF_ENDPOINT": "http://127.0.0.1:9"})
        assert (code, out) == (1, "")
        assert err.splitlines()[0].startswith(f"error: cannot make the root {root} (from ")
        assert str(root) in err and len(err.splitlines()) == 2
    code, _, err = shell.run("ls")
    assert (code, err.splitlines()[0]) == (1, f"error: no cache at {root} (from MODEL_CACHE_DIR): it is no directory")
    assert "fetch" not in err


def test_a_reader_that_goes_away_is_no_error_message(shell):
    """`model-cache … | head -0`: quiet, whatever was still to be printed."""
    reader, writer = os.pipe()
    os.close(reader)
    code, _, err = shell.run("config", stdout=writer)
    os.close(writer)
    assert (code, err) == (1, "")


def test_output_that_cannot_be_written_is_an_error(shell):
    """A full disk behind `> file` does not look like success."""
    with open("/dev/full", "w") as full:
        code, _, err = shell.run("config", stdout=full)
    assert (code, err) == (1, "error: what was printed could not be written: No space left on device\n")


def test_a_closed_stdout_is_no_traceback(shell):
    """`>&-` leaves nothing to write to; what the command does is done all the same."""
    code, _, err = shell.run("path", "gpt2", "x", stdout=None, preexec_fn=lambda: os.close(1))
    assert (code, err) == (0, "")


def test_tracebacks_are_for_those_who_ask(shell):
    """MODEL_CACHE_DEBUG adds the traceback; the line and the exit code stay."""
    code, _, err = shell.run("path", "gpt2", "..", environ={"MODEL_CACHE_DEBUG": "1"})
    assert code == 2
    assert err.startswith("Traceback") and err.endswith("error: filename '..' has the part '..'\n")


def test_every_command_explains_itself(shell):
    """--help of each command ends with the exit codes it can have."""
    top = shell.ok("--help")
    assert "12   no room" in top
    for name in COMMANDS:
        assert f"\n  {name} " in top
        text = shell.ok(name, "--help")
        assert text.startswith(f"Usage: model-cache {name} ") and "\nExit codes:\n  0    done\n" in text
        assert "--json" in text and "--quiet" in text and "--root" in text
    assert shell.ok("--version").startswith("model-cache ")
