"""`ls` and `status` on terminals: everything fits, nothing is cut, and a pipe gets plain text whatever stands around it."""

import os
import pty
import re
import subprocess
import termios

import pytest
from cli_equipment import COMMAND, Shell, pattern
from verify_equipment import rot

REPO = "some-organisation/a-model-with-a-name-that-is-rather-long"
NAMES = ["config.json", "onnx/decoder_model_merged_quantized.onnx", "tokenizer.json"]
STEERING = re.compile(r"\x1b\[[\d;]*m")


@pytest.fixture
def shell(environ, root, hub):
    """The command, on a root that is not there yet; ended with the test."""
    hub.add_repo(REPO, {name: pattern(20_000, number) for number, name in enumerate(NAMES)})
    started = Shell({**environ, "TERM": "xterm-256color"}, root, hub)
    yield started
    started.close()


@pytest.fixture
def filled(shell, cache):
    """The command, on a root with three files."""
    for name in NAMES:
        cache.fetch(REPO, name)
    return shell


def on_terminal(shell, columns, *arguments, **more):
    """What the command shows on a terminal of so many columns, with what steers it."""
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (40, columns))
    process = subprocess.Popen(
        [*COMMAND, *arguments], env={**shell.environ, **more}, stdin=subprocess.DEVNULL, stdout=theirs, stderr=theirs
    )
    os.close(theirs)
    shell._started.append(process)
    shown = b""
    while True:
        try:
            piece = os.read(ours, 65536)
        except OSError:  # on Linux the end of a terminal is an error
            break
        if not piece:
            break
        shown += piece
    os.close(ours)
    assert process.wait(60) == 0, shown
    return shown.decode().replace("\r\n", "\n")


def plain(text):
    """The lines without what steers the terminal."""
    return [line.rstrip() for line in STEERING.sub("", text).splitlines()]


def test_where_there_is_room_each_row_is_whole(filled):
    """At 160 columns repo, file, size, use and state stand side by side, as in a pipe."""
    wide = plain(on_terminal(filled, 160, "ls"))
    assert [re.split(r"  +", line)[:2] for line in wide[1:4]] == [[REPO, name] for name in NAMES]
    assert [re.split(r"  +", line)[0] for line in filled.ok("ls").splitlines()[1:]] == [REPO] * 3


@pytest.mark.parametrize("columns", [80, 100])
def test_where_there_is_none_the_repo_stands_above_its_files(filled, columns):
    """At 80 columns the repo is said once, its files follow, and no name is folded or cut."""
    lines = plain(on_terminal(filled, columns, "ls"))
    assert lines[1] == REPO
    assert [line.split()[0] for line in lines[2:5]] == NAMES
    assert all(line.endswith("ready") for line in lines[2:5])
    assert max(map(len, lines[:5])) <= columns


def test_damage_wants_to_be_seen(filled, root):
    """A damaged file is red, a pinned one has a colour of its own, one that is well has none; NO_COLOR takes them away."""
    rot(root / REPO / NAMES[0])
    assert filled.run("verify", "-q")[0] == 3
    filled.ok("pin", REPO, NAMES[2])
    shown = on_terminal(filled, 160, "ls")
    assert "\x1b[1;31mcorrupt\x1b[0m" in shown
    assert "ready, \x1b[36mpinned\x1b[0m" in shown
    assert "31m" not in on_terminal(filled, 160, "ls", NO_COLOR="1")
    assert "\x1b[1;31mdamage" in on_terminal(filled, 160, "status")
    assert "\x1b" not in filled.ok("ls") + filled.ok("status")


@pytest.mark.parametrize("columns", [80, 120])
@pytest.mark.parametrize("budget", [123_000_000, 100_000])
def test_status_draws_how_full_it_is(filled, columns, budget):
    """Below the budget stands a bar of 24 cells; the other lines are those that a pipe gets."""
    filled.ok("config", f"max_size={budget}")
    share = filled.json("status")["total_bytes"] / budget
    full = round(24 * share)
    lines = plain(on_terminal(filled, columns, "status"))
    bars = [line.strip() for line in lines if "░" in line]
    assert bars == [f"{'█' * full}{'░' * (24 - full)} {100 * share:.0f} %"]
    steady = [line for line in lines if "░" not in line and not line.startswith("disk")]
    assert steady == [line for line in filled.ok("status").splitlines() if not line.startswith("disk")]


def test_a_terminal_that_knows_ascii_alone_gets_that(filled):
    """Where the locale has no blocks the bar is made of signs that it has."""
    filled.ok("config", "max_size=100kB")
    shown = on_terminal(filled, 80, "status", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0", LC_ALL="POSIX")
    (bar,) = [line.strip() for line in plain(shown) if line.endswith(" %")]
    assert re.fullmatch(r"#+-+ \d+ %", bar)


def test_an_empty_cache(shell, root):
    """With nothing in it there is no table, and no bar without a budget."""
    root.mkdir()
    assert plain(on_terminal(shell, 80, "ls"))[-1] == "0 files, 0 B; no budget is set"
    assert "%" not in on_terminal(shell, 80, "status")
