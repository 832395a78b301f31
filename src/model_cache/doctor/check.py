"""What one check found."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

# What still holds where locks do not exclude; the same words wherever that is found.
WITHOUT_LOCKS = "reads and downloads go on; gc, rm, update and repair refuse"
ELSEWHERE = "export MODEL_CACHE_DIR=/path/on/a/local/file/system"


class Status(StrEnum):
    """How a check came out: `fail` means that something here does not work as the documentation says."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


class Check(NamedTuple):
    """One finding.

    Attributes:
        name: What was looked at; several findings may share it.
        status: How it came out.
        detail: One sentence: what was found, and what does or does not hold then.
        hint: A command that can be run; empty if there is none.
    """

    name: str
    status: Status
    detail: str
    hint: str = ""


def ok(name: str, detail: str) -> Check:
    """A finding that needs nothing."""
    return Check(name, Status.OK, detail)


def warn(name: str, detail: str, hint: str = "") -> Check:
    """A finding that somebody should know of."""
    return Check(name, Status.WARN, detail, hint)


def fail(name: str, detail: str, hint: str = "") -> Check:
    """A finding because of which something does not work."""
    return Check(name, Status.FAIL, detail, hint)
