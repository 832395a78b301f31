"""Which command is in which module, and the group that loads only the one that is asked for."""

from __future__ import annotations

import click

from .. import __version__
from . import known
from .command import EXIT_CODES, UsageMistake, write_exit_codes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from click.shell_completion import CompletionItem

# Name: (module of this package, what the command does). In the module the command is a function of that name, with
# `_` for `-`.
COMMANDS = {
    "fetch": ("fetch", "Download what is missing; print absolute paths."),
    "path": ("look", "Print where a file is or would be."),
    "root": ("look", "Print the root, made if absent."),
    "cached": ("look", "Say by the exit code whether a file is there."),
    "ls": ("listing", "List what is in the cache."),
    "status": ("probe", "Usage against the budget, free disk, downloads in flight."),
    "gc": ("gc", "Evict down to the budget, expire, remove what died."),
    "verify": ("verify", "Re-read files against what was recorded; --repair mends."),
    "reconcile": ("reconcile", "Bring the index into agreement with the disk."),
    "rm": ("remove", "Remove files, never one in use unless forced."),
    "update": ("update", "Move files to the Hub's current commit."),
    "lock": ("lock", "Write down commit, size and sha256 of what a deployment needs."),
    "sync": ("sync", "Make the cache hold what a lock file names, or fail."),
    "import-hf": ("import_hf", "Take the files of a Hugging Face cache over."),
    "tier": ("tier", "List, verify or thin out the bucket that hosts share."),
    "pin": ("pins", "Keep files from eviction."),
    "unpin": ("pins", "Let pinned files be evicted again."),
    "doctor": ("doctor", "Try whether the cache works on this file system."),
    "config": ("config", "Show or set the policy of a root."),
    "metrics": ("metrics", "Print metrics for Prometheus, or write them for its node exporter."),
    "report": ("report", "Write a page that shows what fills the cache, and how that went."),
    "completion": ("completion", "Print what makes a shell complete commands, repos and files."),
    "demo": ("demo", "The whole life of a cache in half a minute, on this machine."),
}


class LazyGroup(click.Group):
    """A group whose commands are imported one at a time."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - as click calls it
        """All names, in the order of the help text."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - as click calls it
        """The command of this name, its module loaded now."""
        if cmd_name not in COMMANDS:
            return None
        from importlib import import_module

        module = import_module(f"{__package__}.{COMMANDS[cmd_name][0]}")
        found = getattr(module, cmd_name.replace("-", "_"))
        assert isinstance(found, click.Command), f"{module.__name__} has no command {cmd_name}"
        return found

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command of the first argument; an unknown one is answered with all that there are."""
        if args[0] not in COMMANDS:
            from difflib import get_close_matches

            near = get_close_matches(args[0], COMMANDS, 1)
            hint = f"model-cache {near[0]} --help" if near else "model-cache --help"
            raise UsageMistake(f"unknown command {args[0]!r}; expected one of {', '.join(COMMANDS)}", hint, ctx)
        return super().resolve_command(ctx, args)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem[str]]:
        """Commands and options that begin so, without loading any command."""
        from click.shell_completion import CompletionItem

        options = click.Command.shell_complete(self, ctx, incomplete)
        named = [(name, text) for name, (_, text) in COMMANDS.items() if name.startswith(incomplete)]
        return [*(CompletionItem(name, help=text) for name, text in named), *options]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - as click calls it
        """The list of commands, without loading any."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - as click calls it
        """The table of exit codes, and where settings come from."""
        write_exit_codes(formatter, tuple(EXIT_CODES))
        with formatter.section("Root"):
            formatter.write_text(
                "--root, else MODEL_CACHE_DIR, else CACHE_DIRECTORY (systemd), else the user's cache directory."
                " `model-cache root` prints it."
            )


@click.command(cls=LazyGroup, no_args_is_help=False, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="model-cache", message="%(prog)s %(version)s")
@click.option(
    "--root", metavar="DIR", shell_complete=known.directories, help="The cache directory; before or after the command."
)
@click.pass_context
def group(ctx: click.Context, root: str | None) -> None:
    """A cache on disk for files from the Hugging Face Hub, shared by any number of processes.

    A file is downloaded once, verified, and then found again without the network. Data goes to stdout, everything else
    to stderr; every command has --json.
    """
    values: dict[str, Any] = ctx.ensure_object(dict)
    values["root"] = root
