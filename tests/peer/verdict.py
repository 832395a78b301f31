"""Which of the peer's tests are applicable, and whether a run is as `explained.toml` says; pure, no I/O."""

from __future__ import annotations

from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any


@dataclass
class Table:
    """What is known of the peer's tests.

    Attributes:
        not_applicable: Pattern of tests to the kind of reason.
        failed: Test to the reason why it fails here.
    """

    not_applicable: dict[str, str]
    failed: dict[str, str]

    @classmethod
    def of(cls, document: dict[str, Any]) -> Table:
        """The table in a parsed `explained.toml`."""
        kinds = document["not_applicable"].items()
        return cls({test: kind for kind, group in kinds for test in group["tests"]}, dict(document["failed"]))

    def kind(self, test: str) -> str | None:
        """Why a test is not applicable; None where it is."""
        name = test.partition("[")[0]
        return next((kind for pattern, kind in self.not_applicable.items() if fnmatchcase(name, pattern)), None)


@dataclass
class Verdict:
    """A run, judged: the figures, and what is not as the table says."""

    applicable: list[str] = field(default_factory=list)
    passed: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    explained: dict[str, str] = field(default_factory=dict)
    kinds: dict[str, int] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)


def judge(table: Table, theirs: dict[str, str], ours: dict[str, str]) -> Verdict:
    """Judge the outcomes (`passed`, `failed`, `skipped`) of the applicable tests on both sides.

    Args:
        theirs: By test, with the peer's own functions: what does not pass there proves nothing here.
        ours: By test, with this project's.
    """
    verdict = Verdict()
    for test in sorted(theirs):
        kind = table.kind(test)
        if kind is not None:
            verdict.kinds[kind] = verdict.kinds.get(kind, 0) + 1
        elif theirs[test] == "skipped":
            verdict.skipped.append(test)
        else:
            verdict.applicable.append(test)
            _judge_one(table, test, theirs[test], ours.get(test, "not run"), verdict)
    stale = [pattern for pattern in table.not_applicable if not any(_names(pattern, test) for test in theirs)]
    stale += [test for test in table.failed if test not in verdict.applicable]
    verdict.problems += [f"{name}: the table names it, and no applicable test is called so" for name in stale]
    return verdict


def _judge_one(table: Table, test: str, theirs: str, ours: str, verdict: Verdict) -> None:
    why = table.failed.get(test)
    if theirs != "passed":
        verdict.problems.append(
            f"{test}: {theirs} with the peer's own functions: the harness, or it needs the live Hub"
        )
    elif ours == "passed":
        verdict.passed.append(test)
        if why is not None:
            verdict.problems.append(f"{test}: passes now, and the table says that it fails: {why}")
    elif why is not None:
        verdict.explained[test] = why
    else:
        verdict.problems.append(f"{test}: {ours}, and nothing explains it")


def _names(pattern: str, test: str) -> bool:
    return fnmatchcase(test.partition("[")[0], pattern)
