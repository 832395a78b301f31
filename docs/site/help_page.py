"""Writes docs/reference/help.md, the help texts of the command: `python docs/site/help_page.py`."""

from __future__ import annotations

from pathlib import Path

import click

from model_cache.cli.group import group

PAGE = Path(__file__).resolve().parent.parent / "reference" / "help.md"
HEAD = """# Help texts

What `model-cache COMMAND --help` prints in a terminal of 80 columns. What each option does in full, with the fields of
`--json`: [command](command.md).
"""


def text_of(command: click.Command, name: str, above: click.Context | None = None) -> str:
    """The help text of a command, as a terminal of 80 columns shows it."""
    with click.Context(command, info_name=name, parent=above, terminal_width=80, max_content_width=80) as ctx:
        return command.get_help(ctx)


def page() -> str:
    """The whole page."""
    parts = [HEAD, f"## model-cache\n\n```text\n{text_of(group, 'model-cache')}\n```\n"]
    ctx = click.Context(group, info_name="model-cache")
    for name in group.list_commands(ctx):
        command = group.get_command(ctx, name)
        assert command is not None, "it is listed"
        parts.append(f"## {name}\n\n```text\n{text_of(command, name, ctx)}\n```\n")
    return "\n".join(parts)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
