"""The README's table says what was seen: outcomes of trials, which `make test-engines` tries again, and links."""

import pytest

from bench.peers import __main__ as peers
from bench.peers import words
from bench.peers.tools import TOOLS
from bench.peers.trials import TRIALS

KEPT = peers.read()


def test_the_table_of_the_readme_is_that_of_the_outcomes():
    """No cell says more than was seen; `make peers ARGS=--save` writes the table anew."""
    text = peers.README.read_text(encoding="utf-8")
    assert peers.with_table(text, KEPT) == text


def test_the_readme_names_the_versions_that_were_tried():
    """What another release does is not what the table says."""
    text = peers.README.read_text(encoding="utf-8").split("## Beside others")[1].split(words.BEGIN)[0]
    assert [name for name, version in KEPT["versions"].items() if f"`{name}` {version}" not in text] == []


def test_each_thing_is_tried_with_each_tool_and_has_a_row():
    """Nothing is left out where a tool would look good, and no row is of a trial that is not there."""
    assert list(KEPT["outcomes"]) == list(TRIALS)
    assert set(words.ROWS) == set(TRIALS)
    assert {tuple(found) for found in KEPT["outcomes"].values()} == {tuple(tool.name for tool in TOOLS)}


def test_an_outcome_that_has_no_words_is_no_cell():
    """A tool that does something new cannot be told in old words."""
    with pytest.raises(KeyError):
        words.cell("flipped", TOOLS[0].name, "something else")
