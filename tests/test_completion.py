"""A Tab completes what is in the cache: asked of real shells, in the way that a person's shell asks."""

import json
import os
import pty
import select
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from model_cache.cli.completion import SHELLS
from model_cache.cli.group import COMMANDS

BIN = Path(sys.executable).parent

# What the shell calls at a Tab, called by hand: the words of a line, of which the last is not finished.
ASK = """
eval "$(model-cache completion bash)"
COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
_model_cache_completion model-cache
for reply in "${COMPREPLY[@]}"; do printf '%s\\n' "$reply"; done
"""


@pytest.fixture
def filled(root):
    """A cache of files placed by hand, as hits may be."""
    for name in (
        "gpt2/config.json",
        "owner/name/config.json",
        "owner/name/onnx/a model.onnx",
        "owner/name/onnx/star[1]*.onnx",
        "owner/name/.model-cache/never",
        "owner/other@v1/tagged.bin",
        "owner/-refused/x",
        "datasets/owner/rows/train.csv",
        ".model-cache/config.toml",
    ):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (root / "owner/name/line\nbreak").touch()
    (root / "outside").symlink_to("/usr")
    return root


@pytest.fixture
def shell_environ(environ, filled, tmp_path):
    """Of a person whose cache this is, and whose directory has files that a pattern would find."""
    (tmp_path / "star1.onnx").touch()
    more = {"MODEL_CACHE_DIR": str(filled), "PATH": f"{BIN}{os.pathsep}{environ['PATH']}", "TERM": "dumb"}
    return environ | more


@pytest.fixture
def ask(shell_environ, tmp_path):
    """What bash would be offered for the words of a line."""

    def offered(*words):
        run = subprocess.run(
            ["bash", "--norc", "-c", ASK, "bash", "model-cache", *words],
            env=shell_environ,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert (run.returncode, run.stderr) == (0, ""), run.stderr
        return run.stdout.splitlines()

    return offered


def test_bash_is_offered_commands_and_options(ask):
    """Names of commands, options and choices that begin so; those of the policy for `config`."""
    assert ask("ver") == ["verify"]
    assert ask("ls", "--so") == ["--sort"]
    assert ask("tier", "v") == ["verify"]
    assert ask("config", "max_") == ["max_size", "max_age"]


def test_bash_is_offered_the_repos_in_the_cache(ask):
    """Repos with and without an owner, of the type that was asked for; nothing that is refused as a name, or a symlink."""
    assert ask("fetch", "") == ["gpt2", "owner/name", "owner/other"]
    assert ask("rm", "owner/na") == ["owner/name"]
    assert ask("pin", "--repo-type", "dataset", "") == ["owner/rows"]


def test_bash_is_offered_the_files_of_a_repo(ask):
    """Files at the revision that was given, escaped so that the shell reads them as they are, and none twice."""
    everything = ["config.json", r"onnx/a\ model.onnx", r"onnx/star\[1\]\*.onnx"]
    assert ask("rm", "owner/name", "") == everything
    assert ask("rm", "owner/name", "config.json", "") == everything[1:]
    assert ask("path", "owner/name", "onnx/a ") == everything[1:2]
    assert ask("path", "--revision", "v1", "owner/other", "") == ["tagged.bin"]
    assert ask("lock", "owner/other@v1", "") == ["tagged.bin"]


def test_nothing_is_offered_where_nothing_can_be_known(ask, tmp_path):
    """Another root, a root that cannot be used, a name that is refused: the line stays as it is, and nobody is told off."""
    assert ask("--root", str(tmp_path / "none"), "fetch", "") == []
    assert ask("rm", "--root", "bad\nname", "") == []
    assert ask("rm", "..", "") == []
    assert not (tmp_path / "none").exists()


def test_a_tab_changes_nothing_and_loads_neither_sql_nor_http(shell_environ, filled):
    """For every command, the modules that a Tab loads have no HTTP in them; for a repo, none of SQL, and no file is made."""
    before = sorted(filled.rglob("*"))
    code = """if True:
        import os, sys
        from model_cache.cli import run
        os.environ["_MODEL_CACHE_COMPLETE"] = "bash_complete"
        for command in sys.argv[1:]:
            os.environ.update(COMP_WORDS=f"model-cache {command} ow", COMP_CWORD="2")
            assert run() == 0, command
            loaded = {"requests", "urllib3", "sqlite3"} & set(sys.modules)
            print(command, *sorted(loaded), file=sys.stderr)
        """
    # Those that load SQL to be told their options come last, and never open an index.
    first = ["fetch", "path", "cached", "status", "lock", "sync", "config", "doctor"]
    run = subprocess.run(
        [sys.executable, "-c", code, *first, *(name for name in COMMANDS if name not in first)],
        env=shell_environ,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert run.returncode == 0, run.stderr
    loaded = dict(line.partition(" ")[::2] for line in run.stderr.splitlines())
    assert list(loaded) == [*first, *(name for name in COMMANDS if name not in first)]
    assert all(loaded[name] == "" for name in first), loaded
    assert set(loaded.values()) <= {"", "sqlite3"}, loaded
    assert sorted(filled.rglob("*")) == before


def press(shell, setup, line, expected, environ):
    """Type a line into a shell on a terminal, press Tab, and wait until it shows what is expected."""
    master, slave = pty.openpty()
    process = subprocess.Popen(shell, stdin=slave, stdout=slave, stderr=slave, env=environ, start_new_session=True)
    os.close(slave)
    shown = b""

    def until(text):
        nonlocal shown
        deadline = time.monotonic() + 60
        while text.encode() not in shown:
            if not select.select([master], [], [], max(0, deadline - time.monotonic()))[0]:
                raise AssertionError(f"{shell[0]} showed {shown!r}, and not {text!r}")
            shown += os.read(master, 65536)

    try:
        os.write(master, f"{setup}; printf '%s-%s\\n' it stands\n".encode())
        until("it-stands")
        os.write(master, f"{line}\t".encode())
        until(expected)
    finally:
        process.kill()
        process.wait()
        os.close(master)


@pytest.mark.parametrize(
    "shell, setup",
    [
        (["bash", "--norc", "--noprofile", "-i"], 'eval "$(model-cache completion bash)"'),
        (["zsh", "-f", "-i"], 'autoload -U compinit; compinit -u -D; eval "$(model-cache completion zsh)"'),
    ],
    ids=["bash", "zsh"],
)
def test_a_tab_on_a_terminal_completes_a_name(shell, setup, shell_environ):
    """In a real interactive shell the one repo that begins so is completed, as far as its last letter."""
    if shutil.which(shell[0]) is None:
        pytest.skip(f"needs Debian's package {shell[0]}")
    press(shell, setup, "model-cache verify owner/na", "owner/name ", shell_environ)


def test_fish_completes_a_file(shell_environ):
    """Fish, asked what it would offer, has the files of the repo."""
    if shutil.which("fish") is None:
        pytest.skip("needs Debian's package fish")
    asked = "model-cache completion fish | source; complete -C " + shlex.quote("model-cache rm owner/name onnx/a")
    run = subprocess.run(["fish", "-c", asked], env=shell_environ, capture_output=True, text=True, timeout=120)
    assert run.stdout.split("\t")[0].strip() == "onnx/a model.onnx", run.stderr


@pytest.mark.parametrize("shell", SHELLS)
def test_the_script_is_printed_as_data(shell, shell_environ):
    """For a shell by name, for that of $SHELL, and as JSON: the same script."""
    command = [BIN / "model-cache", "completion"]
    environ = shell_environ | {"SHELL": f"/usr/bin/{shell}"}
    named, own, as_json = (
        subprocess.run([*command, *more], env=environ, capture_output=True, text=True, check=True).stdout
        for more in ([shell], [], [shell, "--json"])
    )
    assert named == own
    assert json.loads(as_json) == {"shell": shell, "script": named}
    assert "_MODEL_CACHE_COMPLETE" in named


def test_an_unknown_shell_is_refused(shell_environ):
    """Where $SHELL is none of the three, one line says so, and names what can be said instead."""
    environ = shell_environ | {"SHELL": "/bin/dash"}
    run = subprocess.run([BIN / "model-cache", "completion"], env=environ, capture_output=True, text=True)
    assert (run.returncode, run.stdout) == (2, "")
    assert run.stderr.splitlines() == [
        "error: $SHELL is '/bin/dash'; expected bash, zsh, fish",
        "hint: model-cache completion bash",
    ]
