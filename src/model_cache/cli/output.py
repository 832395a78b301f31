"""Printing: JSON, tables, sizes and times; what comes from an index or a Hub is made harmless for a terminal first."""

from __future__ import annotations

import sys
from functools import lru_cache
from itertools import chain, islice

import click

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import Any

_PLAIN = True  # for `click.echo`: in JSON there are no colours, and nobody need look for them in megabytes
_BATCH = 100  # records or lines; larger texts would each be memory that the system gives and takes back


def write_json(document: object) -> None:
    """Print one JSON document; bytes of a path that are no text come out as escapes."""
    import json

    click.echo(json.dumps(document, indent=2))


def write_json_list(
    document: dict[str, object],
    name: str,
    fields: dict[str, Callable[[Sequence[Any]], Iterable[object]]],
    rows: Iterable[Sequence[object]],
) -> None:
    """Print what `write_json` would print of the document with a list as its last field, without holding that list.

    Args:
        document: The fields before it.
        name: Of the list.
        fields: Of each item of the list, with what makes JSON of a column of their values: in a list of a hundred
            thousand the encoder's own walk over each item would take most of the time.
        rows: The values, in the order of the fields.
    """
    import json

    item = "{\n      " + ",\n      ".join(f"{json.dumps(field)}: %s" for field in fields) + "\n    }"
    before, after = json.dumps({**document, name: []}, indent=2).rsplit("]", 1)
    between, end = "\n    ", ""
    remaining = iter(rows)
    while batch := list(islice(remaining, _BATCH)):
        columns = [form(column) for form, column in zip(fields.values(), zip(*batch, strict=True), strict=True)]
        items = ",\n    ".join([item] * len(batch)) % tuple(chain.from_iterable(zip(*columns, strict=True)))
        click.echo(before + between + items, nl=False, color=_PLAIN)
        before, between, end = "", ",\n    ", "\n  "
    click.echo(f"{before}{end}]{after}")


def write_lines(lines: Iterable[str]) -> None:
    """Print many lines as they are, a few hundred at a time."""
    remaining = iter(lines)
    while batch := list(islice(remaining, _BATCH)):
        click.echo("\n".join(batch))


def write_table(
    headers: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[int] = (), *, grouped: bool = False
) -> None:
    """Print a table: in columns for a terminal, aligned plain text for everything else.

    Args:
        headers: One per column.
        rows: Cells as text.
        right: Columns that are aligned to the right.
        grouped: The first column repeats itself; where a terminal has no room for it, it stands above the rows it is of.
    """
    cells = [[one_line(cell) for cell in row] for row in rows]
    if is_terminal():
        from .terminal import write_table

        write_table(headers, cells, right, grouped=grouped)
        return
    widths = [max(map(len, column)) for column in zip(headers, *cells, strict=True)]
    lines = []
    for row in (headers, *cells):
        padded = [
            cell.rjust(width) if index in right else cell.ljust(width)
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(padded).rstrip())
    click.echo("\n".join(lines))


def is_terminal() -> bool:
    """Whether a person reads what is printed."""
    return sys.stdout is not None and sys.stdout.isatty()


def one_line(text: str) -> str:
    """The text with everything escaped that would end the line or steer a terminal."""
    if text.isprintable():
        return text
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape", "surrogatepass").decode("ascii")
        for character in text
    )


def timestamp(seconds: float | None) -> str | None:
    """RFC 3339 in UTC, to the second; None for never, or a time no calendar has."""
    from datetime import UTC, datetime

    if not seconds:
        return None
    try:
        return datetime.fromtimestamp(seconds // 1, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    except (ValueError, OverflowError, OSError):
        return None


def json_timestamps(column: Sequence[float | None]) -> Iterable[str]:
    """The same for a column of a long list, in which many times are in one second, as JSON."""
    return [_json_second(seconds // 1) if seconds else "null" for seconds in column]


@lru_cache(maxsize=4096)
def _json_second(whole: float) -> str:
    return f'"{text}"' if (text := timestamp(whole or 0.1)) else "null"
