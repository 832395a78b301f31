"""What all commands share: options, exit codes in the help text, and the root they act on."""

from __future__ import annotations

import os

import click

from ..context import Context
from ..errors import OfflineMissError, SettingError, StorageError, quoted
from ..layout import PREFIXES
from ..platforms.space import is_read_only
from ..preparing import prepare
from ..settings import Settings
from ..units import parse_duration, parse_size
from . import known

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

# Every exit code and what it means, for the help texts; the errors know their own (see `errors`).
EXIT_CODES = {
    0: "done",
    1: "the operation failed: network, authorisation, not found, I/O",
    2: "usage: an unknown name, option or value; nothing was changed",
    3: "verify found damage that remains; doctor found a failure",
    4: "verify --repair found damage and mended all of it",
    10: "not in the cache",
    11: "busy: a lock was not free in time, or the entry is in use",
    12: "no room: the budget or the disk cannot hold it",
    130: "interrupted",
}


class UsageMistake(click.UsageError):
    """Misuse with a hint of its own."""

    def __init__(self, message: str, hint: str, ctx: click.Context | None = None) -> None:
        super().__init__(message, ctx)
        self.hint = hint


class Interrupted(click.Abort):
    """^C, and what to do next."""

    def __init__(self, hint: str) -> None:
        super().__init__()
        self.hint = hint


class Run:
    """One run of a command: the root it acts on and how it is to speak.

    Attributes:
        root: The directory given by --root, or None.
        json: Print one JSON document.
        quiet: Print only what a script would need.
    """

    def __init__(self, root: str | None, *, json: bool, quiet: bool) -> None:
        self.root, self.json, self.quiet = root, json, quiet
        self._contexts: list[Context] = []

    def context(self, **arguments: object) -> Context:
        """The root and its policy; touches nothing.

        Raises:
            SettingError: A setting cannot be used, or no root can be found.
        """
        settings = Settings(os.environ, root=self.root, **arguments)
        if self.root is not None:
            settings.root_source = "--root"
        self._contexts.append(Context(settings))
        return self._contexts[-1]

    def finish(self) -> None:
        """Wait for what other hosts are to have of this one's downloads, as long as it moves."""
        for fleet in [fleet for ctx in self._contexts for fleet in ctx.fleets]:
            try:
                left = fleet.uploads.wait()
            except KeyboardInterrupt:
                fleet.uploads.abandon()
                raise
            if left:
                fleet.uploads.abandon()
                self.note(f"warning: {left} uploads to the tier were not complete; another host downloads these")
            for message in fleet.news():
                self.note(f"warning: {message}")

    def existing(self) -> Context:
        """The root, for commands that only look.

        Raises:
            StorageError: There is none, or this user may not search it.
        """
        ctx = self.context()
        if not os.path.isdir(ctx.root):
            is_other = os.path.lexists(ctx.root)
            raise StorageError(
                f"no cache at {ctx.root} (from {ctx.settings.root_source}){': it is no directory' if is_other else ''}",
                hint=f"{'' if is_other else 'model-cache fetch makes it; '}--root or MODEL_CACHE_DIR names another",
                path=ctx.root,
            )
        if not os.access(ctx.root, os.X_OK):
            # Nothing could be seen of it: it must not pass for an empty one.
            raise StorageError(
                f"cannot look into {ctx.root} (from {ctx.settings.root_source}): Permission denied",
                hint=f"ls -ld {quoted(ctx.root)}",
                path=ctx.root,
            )
        ctx.refuse_distrusted()
        return ctx

    def prepared(self, **arguments: object) -> Context:
        """The root, made where it is missing, for commands that write and do not download.

        Raises:
            StorageError: It cannot be made or written.
        """
        ctx = self.context(**arguments)
        try:
            prepare(ctx)
        except OfflineMissError as error:
            hint = f"ls -ld {quoted(ctx.root)} {quoted(ctx.places.own)}"
            if ctx.settings.read_only:
                hint = "unset MODEL_CACHE_READ_ONLY"
            elif is_read_only(ctx.root):
                hint = f"findmnt -T {quoted(ctx.root)}"  # no permission changes that
            raise StorageError(
                f"cannot write in {ctx.root} (from {ctx.settings.root_source}): {error.reason}",
                hint=hint,
                path=ctx.root,
            ) from None
        return ctx

    def note(self, text: str) -> None:
        """Say something on stderr that is not data and no error."""
        if not self.quiet:
            from .output import one_line

            click.echo(one_line(text), err=True)


def command(*exits: int, interrupted: str = "", **more: Any) -> Callable[[Callable[..., int | None]], click.Command]:
    """Make a command of a function `f(run, ...)` that returns its exit code (None: 0).

    Args:
        *exits: The exit codes it can have besides 0, 1, 2 and 130, for its help text.
        interrupted: The hint that follows a ^C.
        **more: Further arguments of `click.command`.
    """
    listed = tuple(sorted({0, 1, 2, 130, *exits}))

    def decorate(function: Callable[..., int | None]) -> click.Command:
        def call(root: str | None, as_json: bool, quiet: bool, **values: object) -> int | None:
            before = click.get_current_context().find_object(dict) or {}
            chosen = root if root is not None else before.get("root")
            run = Run(chosen, json=as_json, quiet=quiet)
            try:
                try:
                    return function(run, **values)
                finally:
                    run.finish()
            except KeyboardInterrupt:
                raise Interrupted(interrupted) from None  # of an interrupt itself click makes an empty line

        call.__doc__ = function.__doc__
        # click collects the parameters of stacked decorators here, the last applied first.
        call.__click_params__ = [  # type: ignore[attr-defined]
            click.Option(["-q", "--quiet"], is_flag=True, help="Print only what a script would need."),
            click.Option(["--json", "as_json"], is_flag=True, help="Print one JSON document: bytes, RFC 3339 times."),
            click.Option(["--root"], metavar="DIR", shell_complete=known.directories, help="The cache directory."),
            *getattr(function, "__click_params__", ()),
        ]
        made = click.command(function.__name__.replace("_", "-"), cls=_Command, **more)(call)
        assert isinstance(made, _Command), "cls says so"
        made.exits = listed
        return made

    return decorate


class _Command(click.Command):
    """A command whose help ends with its exit codes."""

    exits: tuple[int, ...] = ()

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - as click calls it
        write_exit_codes(formatter, self.exits)


def write_exit_codes(formatter: click.HelpFormatter, codes: tuple[int, ...]) -> None:
    """A section of a help text."""
    with formatter.section("Exit codes"):
        formatter.write_dl([(str(code), EXIT_CODES[code]) for code in codes])


def names(function: Callable[..., int | None]) -> Callable[..., int | None]:
    """The options that, with a repo and a filename, name an entry."""
    function = click.option(
        "--repo-type", type=click.Choice(list(PREFIXES)), default="model", help="model unless given."
    )(function)
    return click.option("--revision", metavar="REV", default="main", help="Branch, tag or commit; main unless given.")(
        function
    )


def duration(_ctx: click.Context, parameter: click.Parameter, value: str | None) -> float | None:
    """Read an option such as `--timeout 10m` (a click callback); raises SettingError."""
    return None if value is None else parse_duration(value, parameter.opts[-1])


def size(_ctx: click.Context, parameter: click.Parameter, value: str | None) -> int | None:
    """Read an option such as `--min-free 50GB` (a click callback); raises SettingError."""
    return None if value is None else parse_size(value, parameter.opts[-1])


def rate(_ctx: click.Context, parameter: click.Parameter, value: str | None) -> int | None:
    """Read an option such as `--rate 200MB` or `200MB/s` (a click callback); raises SettingError."""
    if value is None:
        return None
    found = parse_size(value.removesuffix("/s"), parameter.opts[-1])
    if found == 0:
        raise SettingError(f"{parameter.opts[-1]}: expected more than 0 bytes per second, found {value!r}")
    return found
