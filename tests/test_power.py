"""Power losses: every operation is recovered from every state that it may leave on a disk; and losses are noticed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from stress.power.__main__ import SWEPT
from stress.power.calls import split
from stress.power.effects import Effect, Names, Sync, Write
from stress.power.image import Image
from stress.power.states import ABSENT, TORN, ZEROS, History, State, parse, states

_HOME = Path(__file__).resolve().parent.parent
_LIMIT = 560.0  # seconds for one run, several times of what it takes


def _lose(tmp_path: Path, *options: str) -> tuple[int, str, list[dict[str, Any]]]:
    """Run it: (exit status, what it said, what it wrote)."""
    path = tmp_path / "power.json"
    environ = os.environ | {"PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-m", "stress.power", "--json", str(path), *options]
    done = subprocess.run(command, cwd=_HOME, env=environ, capture_output=True, text=True, timeout=_LIMIT)
    assert not done.stderr
    if done.stdout.startswith("skipped"):
        pytest.skip(done.stdout.strip())
    return done.returncode, done.stdout, json.loads(path.read_text()) if path.exists() else []


def _invariants(found: Sequence[dict[str, Any]]) -> set[str]:
    return {broken["violation"][0] for one in found for broken in one["broken"]}


@pytest.mark.timeout(600)
def test_every_operation_is_recovered_from_what_a_power_loss_leaves(tmp_path: Path) -> None:
    """At every call of every operation; of what is distinct every eighth state is tried here, and each by `make sweeps`."""
    status, said, found = _lose(tmp_path, "--outstanding", "2", "--every", "8")
    assert (status, _invariants(found)) == (0, set()), said
    assert {one["operation"] for one in found} == set(SWEPT)
    assert all(one["distinct"] >= 2 for one in found)
    assert sum(one["states"] for one in found) > 50_000


def test_bytes_that_were_not_fsynced_before_their_name_are_noticed(tmp_path: Path) -> None:
    """I1: without the fsync of the partial, a published file can be empty, zeros, or half of what it should be."""
    status, said, found = _lose(tmp_path, "--operation", "fetch", "--without-fsync", ".model-cache/partial/*")
    assert status == 1
    assert "I1" in _invariants(found)
    seen = " ".join(broken["words"] for broken in found[0]["broken"])
    assert all(way in seen for way in ("as zeros", "its first half survives", "lost: write 60000 bytes")), said


def test_a_name_that_was_not_fsynced_is_noticed_when_the_operation_has_returned(tmp_path: Path) -> None:
    """I10: without the fsync of its directory, a file that `fetch` returned can be gone."""
    status, said, found = _lose(tmp_path, "--operation", "fetch", "--without-fsync", "sweep/model", "--limit", "0")
    assert status == 1
    (broken,) = found[0]["broken"]
    assert broken["violation"] == ["I10", "it is not durable"], said
    assert broken["words"].endswith("as root/sweep/model/new.bin")


def test_an_evicted_file_that_comes_back_without_a_row_is_noticed(tmp_path: Path) -> None:
    """I5: without the fsync of both its directories, either of which is enough, an evicted file can come back without a row."""
    status, said, found = _lose(tmp_path, "--operation", "gc", "--without-fsync", "sweep/*", ".model-cache/trash")
    assert status == 1
    assert "I5" in _invariants(found), said


def test_a_violation_is_replayed_by_the_command_that_is_printed_with_it(tmp_path: Path) -> None:
    """`--at` recovers from the one state that it names, and finds the same."""
    without = ("--without-fsync", ".model-cache/partial/*")
    _, _, found = _lose(tmp_path, "--operation", "fetch", *without)
    (tmp_path / "power.json").unlink()
    broken = found[0]["broken"][0]
    status, said, _ = _lose(tmp_path, *without, "--at", f"fetch:{broken['state']}")
    assert status == 1
    assert broken["violation"][1] in said


def _history() -> History:
    """A file (inode 3) that gets two blocks and is named (in directory 2), with an fsync of neither, then of both."""
    base = Image({(1, "models"): 2, (2, "partial"): 3}, {1, 2}, {3: b""}, {3: 0})
    effects = [Write(3, 0, b"x" * 8192, 5), Names(((2, "model", 3),)), Sync(3), Sync(2)]
    return History(base, [Effect(what, "") for what in effects])


def test_a_name_can_be_durable_before_the_bytes_it_leads_to() -> None:
    """Every way in which one of two outstanding effects is lost is enumerated, and what it leaves is right."""
    history = _history()
    found = {str(state) for state in states(history, 4, frozenset())}
    assert found == {"0", "1", "1-1", "1-1z", "1-1t", "2", "2-1", "2-1z", "2-1t", "2-2", "2-1,2", "2-1z,2"}
    contents = {way: history.file(3, State(2, ((1, way),))) for way in (ABSENT, ZEROS, TORN)}
    assert contents == {ABSENT: (b"", 0), ZEROS: (bytes(8192), 5), TORN: (b"x" * 4096 + bytes(4096), 5)}
    assert list(history.tree(parse("2-1"))) == ["models", "models/model", "models/partial"]
    assert list(history.tree(parse("2-2"))) == ["models", "models/partial"]


def test_an_fsync_makes_bytes_or_names_durable_and_not_both() -> None:
    """The fsync of a file leaves its name outstanding, and that of the directory makes it durable."""
    history = _history()
    assert [history.outstanding(cut) for cut in range(5)] == [[], [1], [1, 2], [2], []]


def test_states_are_named_as_they_are_printed() -> None:
    """What `--at` is given is what was printed; anything else is refused."""
    state = State(57, ((54, ABSENT), (55, ZEROS), (56, TORN)))
    assert str(state) == "57-54,55z,56t"
    assert parse(str(state)) == state
    with pytest.raises(ValueError, match="is no state"):
        parse("57-")


def test_arguments_are_split_at_the_commas_between_them() -> None:
    """Structures and lists that strace writes are one argument."""
    text = 'AT_FDCWD<\\x2f>, "\\x61", [{tv_sec=1, tv_nsec=2}, {tv_sec=3, tv_nsec=4}], {st_dev=makedev(0, 0x1), a}, 0'
    assert [one[:9] for one in split(text)] == ["AT_FDCWD<", '"\\x61"', "[{tv_sec=", "{st_dev=m", "0"]
