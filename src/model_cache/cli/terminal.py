"""Tables and facts on a terminal: as wide as it is, names never cut, colour where something wants to be seen.

Loaded only where a person reads: the library it is made with takes longer to import than most commands take to run.
"""

from __future__ import annotations

import sys

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

_GAP = 2  # spaces between two columns
# Words of a last column that are more than a matter of course.
_LOUD = {
    **dict.fromkeys(("corrupt", "unreadable", "changed", "fail", "damage"), "bold red"),
    **dict.fromkeys(("downloading", "installing", "partial", "deleting", "warn", "regret", "incomplete"), "yellow"),
    **dict.fromkeys(("pinned", "leased", "open", "mapped", "lease", "download"), "cyan"),
}
_GAUGE = 24  # cells


def write_table(
    headers: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[int], *, grouped: bool = False
) -> None:
    """Print a table of cells that are one line each.

    Args:
        headers, rows, right, grouped: As `output.write_table`.
    """
    if grouped and _width(headers, rows) > Console(file=sys.stdout).width:
        _write_under_heads(headers, rows, right)
        return
    table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, _GAP, 0, 0))
    for index, header in enumerate(headers):
        # Folded, never cut: a name that cannot be copied whole is of no use.
        table.add_column(header, justify="right" if index in right else "left", overflow="fold")
    before = ""
    for row in rows:
        styled = [_styled(cell, last=index == len(row) - 1) for index, cell in enumerate(row)]
        if grouped and row[0] == before:
            styled[0].stylize("dim")
        before = row[0]
        table.add_row(*styled)
    Console(file=sys.stdout).print(table)


def _width(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> int:
    return sum(max(map(cell_len, column)) + _GAP for column in zip(headers, *rows, strict=True)) - _GAP


def _write_under_heads(headers: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[int]) -> None:
    """Print the first column as lines of its own above the rows it is of; what has no room even so runs on."""
    console = Console(file=sys.stdout, soft_wrap=True)
    table = [[f"{headers[0]} / {headers[1]}", *headers[2:]], *([f"  {second}", *rest] for _, second, *rest in rows)]
    widths = [max(map(cell_len, column)) for column in zip(*table, strict=True)]
    before = None
    for number, cells in enumerate(table):
        line = Text()
        for index, (cell, width) in enumerate(zip(cells, widths, strict=True)):
            space = " " * (width - cell_len(cell))
            last = index == len(cells) - 1
            styled = _styled(cell, last=last)
            aligned = [Text(space), styled] if index + 1 in right else [styled, Text("" if last else space)]
            line.append_text(Text("" if index == 0 else " " * _GAP)).append_text(Text("").join(aligned))
        if number and rows[number - 1][0] != before:
            before = rows[number - 1][0]
            console.print(Text(before, "bold"))
        if not number:
            line.stylize("bold")
        console.print(line)


def _styled(cell: str, *, last: bool) -> Text:
    text = Text(cell)
    for word in cell.replace(",", " ").split() if last else ():
        if word in _LOUD:
            text.highlight_words([word], _LOUD[word])
    return text


def write_facts(lines: Sequence[str], label: int, gauge: tuple[str, float] | None) -> None:
    """Print lines that begin with a name.

    Args:
        lines: One line each.
        label: Characters that the names have.
        gauge: The name below whose line a bar is drawn, and how full it is: 1 is full.
    """
    console = Console(file=sys.stdout, soft_wrap=True)
    for line in lines:
        name = line[:label].strip()
        text = Text(line)
        text.stylize(_LOUD.get(name, "bold"), 0, label)
        console.print(text, overflow="ignore", no_wrap=True)
        if gauge is not None and gauge[0] == name:
            console.print(Text(" " * label).append_text(_bar(gauge[1], ascii_only=console.options.ascii_only)))


def _bar(share: float, *, ascii_only: bool) -> Text:
    full_cell, empty_cell = "#-" if ascii_only else "█░"
    full = round(min(max(share, 0.0), 1.0) * _GAUGE)
    style = "red" if share > 1 else "yellow" if share > 0.95 else "green"
    return (
        Text(full_cell * full, style)
        .append(empty_cell * (_GAUGE - full), "dim")
        .append(f" {100 * share:.0f} %", "default")
    )
