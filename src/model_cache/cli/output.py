"""Printing: JSON, tables, sizes and times; what comes from an index or a Hub is made harmless for a terminal first."""

from __future__ import annotations

import sys

import click

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


def write_json(document: object) -> None:
    """Print one JSON document; bytes of a path that are no text come out as escapes."""
    import json

    click.echo(json.dumps(document, indent=2))


def write_table(headers: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[int] = ()) -> None:
    """Print a table: in columns for a terminal, aligned plain text for everything else.

    Args:
        headers: One per column.
        rows: Cells as text.
        right: Columns that are aligned to the right.
    """
    cells = [[one_line(cell) for cell in row] for row in rows]
    if sys.stdout is not None and sys.stdout.isatty():
        _rich_table(headers, cells, right)
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


def _rich_table(headers: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[int]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 2, 0, 0))
    for index, header in enumerate(headers):
        # Folded, never cut: a name that cannot be copied whole is of no use.
        table.add_column(header, justify="right" if index in right else "left", overflow="fold")
    for row in rows:
        table.add_row(*[Text(cell) for cell in row])
    Console(file=sys.stdout).print(table)


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
        return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    except (ValueError, OverflowError, OSError):
        return None
