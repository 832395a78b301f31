"""The threat model's pages point to tests that exist, and to every test that was written for it."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "explanation" / "threat-model.md"
PROOFS = ("test_neighbour.py", "test_neighbour_acts.py", "test_names.py")


def named():
    """Every test that the page names: (file, function)."""
    return re.findall(r"`(test_\w+\.py)::(test_\w+)`", PAGE.read_text())


def functions_of(file):
    """The names of the test functions of a file."""
    tree = ast.parse((ROOT / "tests" / file).read_text())
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")}


@pytest.mark.parametrize(("file", "name"), named())
def test_each_proof_that_is_named_exists(file, name):
    """A line of the threat model is a test, of this name in this file."""
    assert name in functions_of(file)


def test_every_line_of_what_holds_names_its_proof():
    """No row of the tables after the first one is without a test."""
    tables = PAGE.read_text().split("## A neighbour in the root", 1)[1]
    lines = [line for line in tables.splitlines() if line.startswith("| ") and "proven by" not in line]
    assert len(lines) > 15
    assert [line for line in lines if "::test_" not in line] == []


@pytest.mark.parametrize("file", PROOFS)
def test_every_proof_is_named(file):
    """What was written to prove the threat model stands in it, so that no line is lost; of the generator only its size."""
    assert functions_of(file) - {name for _, name in named()} <= {"test_there_are_enough_of_them"}
