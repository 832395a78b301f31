"""The verdict on a run of the peer's own tests: what is applicable, what is explained, and what makes the command fail."""

import tomllib
from pathlib import Path

import pytest
from peer.verdict import Table, judge

DOCS = Path(__file__).parents[1] / "docs/reference/drop-in.md"
EXPLAINED = Path(__file__).parent / "peer/explained.toml"
TABLE = Table({"test_a.py::TestInner::*": "private"}, {"test_a.py::test_known": "it is meant so"})
THEIRS = dict.fromkeys(["test_a.py::TestInner::test_x[1]", "test_a.py::test_known", "test_a.py::test_new"], "passed")
OURS = {"test_a.py::test_known": "failed", "test_a.py::test_new": "passed"}


def test_a_run_that_is_as_the_table_says_has_no_problem():
    """Passed and applicable are counted, an explained failure among them, and what is not applicable by its kind."""
    verdict = judge(TABLE, THEIRS, OURS)
    assert verdict.problems == []
    assert (verdict.passed, len(verdict.applicable)) == (["test_a.py::test_new"], 2)
    assert verdict.explained == {"test_a.py::test_known": "it is meant so"}
    assert verdict.kinds == {"private": 1}


@pytest.mark.parametrize(
    ("theirs", "ours", "expected"),
    [
        ({}, {"test_a.py::test_new": "failed"}, "test_a.py::test_new: failed, and nothing explains it"),
        ({}, {"test_a.py::test_new": "skipped"}, "test_a.py::test_new: skipped, and nothing explains it"),
        (
            {},
            {"test_a.py::test_known": "passed"},
            "test_a.py::test_known: passes now, and the table says that it fails",
        ),
        ({"test_a.py::test_new": "failed"}, {}, "test_a.py::test_new: failed with the peer's own functions"),
        ({"test_b.py::test_more": "passed"}, {}, "test_b.py::test_more: not run, and nothing explains it"),
    ],
)
def test_what_is_not_as_the_table_says_is_a_problem(theirs, ours, expected):
    """A failure that is new, one that is gone, and a test that the peer's own functions fail, are each one problem."""
    (problem,) = judge(TABLE, THEIRS | theirs, OURS | ours).problems
    assert problem.startswith(expected)


def test_a_table_that_names_what_is_not_there_is_a_problem():
    """A pattern that fits no test, and an explained failure that is no applicable test, are told."""
    table = Table({"test_a.py::TestGone::*": "private"}, {"test_a.py::TestInner::test_x": "why"})
    problems = judge(table, THEIRS, dict.fromkeys(THEIRS, "passed")).problems
    assert [problem.partition(": ")[0] for problem in problems] == [
        "test_a.py::TestGone::*",
        "test_a.py::TestInner::test_x",
    ]


def test_the_page_names_each_explained_failure():
    """Who reads what differs from huggingface_hub finds every test that fails for it."""
    failed = Table.of(tomllib.loads(EXPLAINED.read_text())).failed
    assert failed
    assert [test for test in failed if test.rpartition("::")[2] not in DOCS.read_text()] == []
