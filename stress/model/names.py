"""The names of steps that the model shares with the code: read from the sources, and which of them it leaves out and why."""

from __future__ import annotations

import ast
from pathlib import Path

from . import fleet, invariants, sharing  # noqa: F401 - they fill the tables of steps
from .steps import STEPS

SOURCES = Path(__file__).resolve().parents[2] / "src" / "model_cache"
_CALLS = ("step", "_step", "transaction", "_pages")

# Steps that the code names and the model does not have.
_INDEX = "the index itself: that it is there, whole, and commits or does not is taken for granted here"
_CENSUS = "counts files of a lost index or placed by hand: no row of the model is lost"
_BOOKS = "bookkeeping that no file depends on"
_OTHER_REPAIR = "a repair whose bytes the Hub has no more, or that does not fit: the sweeps come through it"
_EXPIRY = "quarantine that ages out or makes room: the sweeps come through it"
_LOCAL = "a copy outside of the cache, of a file that is leased meanwhile: the cache is not changed by it"
_LOCKFILE = "lock files: what they bring about is a fetch, a link or a replacement"
_PARTS = (
    "several connections of one download: as `body:open` and `body:write`, with a note that says which bytes are there;"
    " test_parts and the sweeps come through it"
)
LEFT_OUT = {
    "copy:write": "a copy from a lower root, or where nothing can be linked: a download whose bytes come from a file",
    "fix:mode": "repairs the mode of a file or directory: no name, byte or row is another",
    "local:replace": _LOCAL,
    "local:write": _LOCAL,
    "lockfile:write": _LOCKFILE,
    "sync:hash": _LOCKFILE,
    "part:flush": _PARTS,
    "part:note": _PARTS,
    "part:open": _PARTS,
    "part:write": _PARTS,
    "index:backup": _INDEX,
    "index:migrate": _INDEX,
    "index:open": _INDEX,
    "index:restore": _INDEX,
    "index:set-aside": _INDEX,
    "index:upgrade": _INDEX,
    "row:complete": _CENSUS,
    "row:enter": _CENSUS,
    "row:forget": _CENSUS,
    "row:recount": _CENSUS,
    "quarantine:counted": _CENSUS,
    "quarantine:odd": _CENSUS,
    "row:gc": _BOOKS,
    "row:last-use": "a lower bound is raised: the model's evictor always reads the exact last use",
    "row:pin": "a pin only makes an evictor look elsewhere",
    "quarantine:alone": _OTHER_REPAIR,
    "quarantine:drop": _OTHER_REPAIR,
    "quarantine:dropped": _OTHER_REPAIR,
    "quarantine:move": _OTHER_REPAIR,
    "quarantine:gone": _EXPIRY,
    "quarantine:remove": _EXPIRY,
}


def in_model() -> frozenset[str]:
    """The names of all steps of the model."""
    local = frozenset(name for step in STEPS.values() for name in step.names)
    return local.union(*(fleet.names(at) for at in fleet.STEPS))


def in_sources() -> frozenset[str]:
    """The names that the sources pass to `ctx.step`, or to a transaction of the index."""
    found = set()
    for path in SOURCES.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call) and _called(node) in _CALLS:
                found |= {name for argument in node.args if (name := _text(argument)) and ":" in name}
    return frozenset(found)


def _called(call: ast.Call) -> str:
    return getattr(call.func, "attr", getattr(call.func, "id", ""))


def _text(node: ast.expr) -> str:
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""
