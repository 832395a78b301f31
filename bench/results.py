"""What was measured before and what is measured now: kept as JSON, compared, and written out for the docs."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from .cases import Row

HOME = Path(__file__).resolve().parent.parent
RESULTS = HOME / "bench" / "results.json"
PAGE = HOME / "docs" / "reference" / "benchmarks.md"
MARGIN = 1.25  # times the ratio of before; what is within it is the machine's
_PEERS = ("huggingface_hub", "pooch")
_PROGRAMS = {"curl": "--version", "aria2c": "--version", "openssl": "version"}


def describe() -> dict[str, str]:
    """The machine and what stood beside us, as far as it matters for the figures."""
    found = {"system": f"{platform.system()} {platform.machine()}, {os.cpu_count()} processors"}
    found["Python"] = platform.python_version()
    for name in _PEERS:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    for name, option in _PROGRAMS.items():
        try:
            first = subprocess.run([name, option], capture_output=True, text=True, check=True).stdout.split("\n")[0]
        except (OSError, subprocess.CalledProcessError):
            continue
        found[name] = next((word for word in first.split() if word[0].isdigit()), first)
    return found


def read() -> dict[str, Any]:
    """The results of before: `machine`, and `cases` with the rows of each."""
    try:
        found: dict[str, Any] = json.loads(RESULTS.read_text())
    except FileNotFoundError:
        return {"machine": {}, "cases": {}}
    return found


def as_json(row: Row) -> dict[str, Any]:
    """A row with what its figures come to, in four digits: more of them are the machine's."""
    fields = {**row._asdict(), "ratio": row.ratio}
    return {name: float(f"{value:.4g}") if isinstance(value, float) else value for name, value in fields.items()}


def save(measured: dict[str, list[Row]]) -> dict[str, Any]:
    """Put the cases that were measured in the place of their results of before; returns all results."""
    found = read()
    found["machine"] = describe()
    for case, rows in measured.items():
        found["cases"][case] = [as_json(row) for row in rows]
    RESULTS.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n")
    return found


def judge(case: str, row: Row, before: dict[str, Any]) -> tuple[str, bool]:
    """How a row's ratio moved, in words, and whether that is worse than it may be.

    Worse is: over what is asked; or over the ratio of before by more than the margin, the best pair of runs included. Where
    nothing is asked, the row is there for comparison, and may move.
    """
    known = next((one for one in before["cases"].get(case, []) if _same(one, row)), None)
    words = [] if known is None else [f"{known['ratio']:.3g} before"]
    bad = False
    if row.asked is None:
        return ", ".join(words) or "new", False
    if row.ratio > row.asked:
        words.append(f"over the {row.asked:.3g} that is asked")
        bad = True
    if known is not None and min(row.ratio, row.low or row.ratio) > known["ratio"] * MARGIN:
        words.append(f"worse by more than {MARGIN:.2f} ×")
        bad = True
    return ", ".join(words) or "new", bad


def _same(known: dict[str, Any], row: Row) -> bool:
    return bool(known["name"] == row.name and known["peer"] == row.peer)


def quantity(value: float, unit: str) -> str:
    """Seconds for people with three digits; a count as it is."""
    if not unit:
        return f"{value:g}"
    for name, size in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if value >= size:
            break
    return f"{value / size:.3g} {name}"


def table(rows: list[dict[str, Any]]) -> list[str]:
    """Rows as Markdown: the ratio is what counts, the times are those of one machine."""
    lines = [
        "| what | ours | beside | its | ratio | best to worst pair | asked | |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        asked = "" if row["asked"] is None else f"≤ {row['asked']:.3g}"
        spread = "" if row["low"] is None else f"{row['low']:.3g} – {row['high']:.3g}"
        ours, theirs = (quantity(row[name], row["unit"]) for name in ("ours", "theirs"))
        what = f"{row['name']}<br>`{row['command']}`" if row["command"] else row["name"]
        lines.append(
            f"| {what} | {ours} | {row['peer']} | {theirs} | {row['ratio']:.3g} × | {spread} | {asked} | {row['note']} |"
        )
    return lines


def write_page(found: dict[str, Any]) -> None:
    """The page of the docs with all results."""
    machine = ", ".join(f"{name} {value}" if name != "system" else value for name, value in found["machine"].items())
    lines = [
        "# Benchmarks",
        "",
        "Written by `make bench ARGS=--save`, not by hand. What the cases are and what bounds each stands in",
        "[bench/README.md](../../bench/README.md), what it means in [performance](../explanation/performance.md).",
        "",
        f"Measured on: {machine}.",
        "",
        "![Ratios of our time to that of the peer, and what is asked.](../images/bench.svg)",
    ]
    for case, rows in found["cases"].items():
        lines += ["", f"## {case}", "", *table(rows)]
    PAGE.write_text("\n".join(lines) + "\n")
