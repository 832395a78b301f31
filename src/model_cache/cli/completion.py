"""`completion`: what a shell reads once to complete our commands, and the answer to each Tab."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, ClassVar

import click
from click.shell_completion import BashComplete, FishComplete, ZshComplete

from . import output
from .command import Run, UsageMistake, command

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem, ShellComplete

VARIABLE = "_MODEL_CACHE_COMPLETE"  # the name that click gives it

_BASH = r"""%(complete_func)s() {
    local line type
    COMPREPLY=()
    while IFS= read -r line; do
        type=${line%%%%,*}
        case $type in
            dir) compopt -o dirnames ;;
            file) compopt -o default ;;
            *) COMPREPLY+=("${line#*,}") ;;
        esac
    done < <(IFS=$'\n'; COMP_WORDS="${COMP_WORDS[*]}" COMP_CWORD=$COMP_CWORD %(complete_var)s=bash_complete "$1")
}

complete -o nosort -F %(complete_func)s %(prog_name)s
"""


class Bash(BashComplete):
    """Bash takes what it is offered into the line as it is: so a name is offered as it has to stand there.

    That of click takes a name as a pattern, and one with a space as it is: two words.
    """

    source_template: ClassVar[str] = _BASH

    def source(self) -> str:
        """The script; unlike that of click without starting a bash first to ask for its version."""
        return self.source_template % self.source_vars()

    def format_completion(self, item: CompletionItem[str]) -> str:
        """Kind and name, with a backslash before whatever bash would not take literally."""
        return f"{item.type},{re.sub(r'([^A-Za-z0-9_@%+=:,./-])', _escaped, item.value)}"


def _escaped(found: re.Match[str]) -> str:
    return f"\\{found[0]}" if found[0].isascii() else found[0]


SHELLS: dict[str, type[ShellComplete]] = {"bash": Bash, "zsh": ZshComplete, "fish": FishComplete}


@command()
@click.argument("shell", type=click.Choice(list(SHELLS)), required=False)
def completion(run: Run, shell: str | None) -> int | None:
    """Print what makes Tab complete commands, options, and the repos and files in the cache.

    \b
    bash: eval "$(model-cache completion bash)" in ~/.bashrc
    zsh:  eval "$(model-cache completion zsh)" in ~/.zshrc, after compinit
    fish: model-cache completion fish > ~/.config/fish/completions/model-cache.fish

    Without a name it is for the shell of $SHELL. Bash has to be of version 4.4 or later.
    """  # noqa: D301 - click looks for the character itself, as what keeps lines as they are
    chosen = shell or os.path.basename(os.environ.get("SHELL", ""))
    if chosen not in SHELLS:
        raise UsageMistake(
            f"$SHELL is {os.environ.get('SHELL', '')!r}; expected {', '.join(SHELLS)}", "model-cache completion bash"
        )
    script = _of(chosen).source()
    if run.json:
        output.write_json({"shell": chosen, "script": script})
    else:
        click.echo(script, nl=False)
    return None


def answer(instruction: str) -> int:
    """Answer a Tab. Whatever goes wrong, the user is typing, and has asked for no message: then nothing is offered."""
    shell, _, act = instruction.partition("_")
    if shell not in SHELLS or act not in ("complete", "source"):
        return 1
    try:
        asked = _of(shell)
        text = asked.source() if act == "source" else asked.complete()
    except Exception:  # noqa: BLE001 - a defect of ours among them
        return 1
    click.echo(text, nl=bool(text))
    return 0


def _of(shell: str) -> ShellComplete:
    from .group import group

    return SHELLS[shell](group, {}, "model-cache", VARIABLE)
