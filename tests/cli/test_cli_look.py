"""`path`, `root`, `cached`: where something is, and whether."""

import os
import subprocess
import sys

import pytest
from cli_equipment import Shell


@pytest.fixture
def shell(environ, root):
    """The command, on a root that is not there."""
    return Shell(environ, root)


def test_path_prints_and_touches_nothing(shell, root):
    """The path is the documented one, for every repo type and revision."""
    assert shell.run("path", "gpt2", "onnx/x.onnx") == (0, f"{root}/gpt2/onnx/x.onnx\n", "")
    assert shell.ok("path", "a/b", "c", "--revision", "pr/1") == f"{root}/a/b@pr%2F1/c\n"
    assert shell.ok("path", "a/b", "c", "--repo-type", "dataset", "-q") == f"{root}/datasets/a/b/c\n"
    assert shell.json("path", "a/b", "c") == {"path": f"{root}/a/b/c"}
    assert not root.exists()


def test_root_can_be_given_before_and_after_the_command(shell, tmp_path):
    """--root after the command beats --root before it, which beats the environment."""
    before, after = f"{tmp_path}/before", f"{tmp_path}/after"
    assert shell.ok("--root", before, "path", "gpt2", "x") == f"{before}/gpt2/x\n"
    assert shell.ok("--root", before, "path", "gpt2", "x", "--root", after) == f"{after}/gpt2/x\n"


def test_root_makes_and_prints_it(shell, root):
    """`root` is there afterwards, marked as a cache."""
    assert shell.run("root") == (0, f"{root}\n", "")
    assert (root / "CACHEDIR.TAG").is_file()
    assert shell.json("root") == {"root": str(root), "source": "MODEL_CACHE_DIR"}


def test_a_read_only_root_is_not_made(shell, root):
    """MODEL_CACHE_READ_ONLY keeps even `root` and `config` from writing."""
    for arguments in (["root"], ["config", "min_idle=1m"]):
        code, out, err = shell.run(*arguments, environ={"MODEL_CACHE_READ_ONLY": "1"})
        assert (code, out) == (1, "")
        assert err.startswith(
            f"error: cannot write in {root} (from MODEL_CACHE_DIR): MODEL_CACHE_READ_ONLY is set\nhint: "
        )
    assert not root.exists()


def test_cached_answers_by_exit_code(shell, root):
    """0 for a file at its path, placed by hand or not; 10 without one; never a word."""
    assert shell.run("cached", "gpt2", "x") == (10, "", "")
    assert not root.exists()
    (root / "gpt2").mkdir(parents=True)
    (root / "gpt2" / "x").write_bytes(b"1")
    assert shell.run("cached", "gpt2", "x") == (0, "", "")
    assert shell.run("cached", "gpt2", "x", "--revision", "v1")[0] == 10
    assert shell.json("cached", "gpt2", "x") == {"cached": True, "path": f"{root}/gpt2/x"}


@pytest.mark.skipif(sys.platform != "linux", reason="a file name need not be text only there")
def test_a_path_that_is_no_text_comes_out_as_it_is(shell, tmp_path):
    """A root with bytes that no encoding knows is printed byte for byte."""
    odd = os.fsencode(tmp_path) + b"/caf\xe9"
    process = shell.start("path", "gpt2", "x", environ={"MODEL_CACHE_DIR": os.fsdecode(odd)}, text=False)
    assert process.communicate()[0] == odd + b"/gpt2/x\n"


def test_path_loads_next_to_nothing(shell, environ, root):
    """Where a file would be is known without HTTP, SQL, TOML, JSON or terminal code."""
    code = (
        "import sys; sys.argv = ['x', 'path', 'gpt2', 'x']\n"
        "from model_cache.cli import run\n"
        "assert run(sys.argv[1:]) == 0\n"
        "print(sorted({name.split('.')[0] for name in sys.modules} & set(sys.argv[2:] and "
        "['requests', 'urllib3', 'sqlite3', 'sqlite_utils', 'rich', 'filelock', 'tomllib', 'json', 'logging'])))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env={**environ, "MODEL_CACHE_DIR": str(root)}, capture_output=True
    )
    assert done.stdout.decode() == f"{root}/gpt2/x\n[]\n", done.stderr.decode()
