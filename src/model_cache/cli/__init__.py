"""The command `model-cache`: here every error becomes one line on stderr, a hint, and an exit code.

`group` knows which module has which command and loads it when it is asked for; `command` is what all commands share.
"""

from __future__ import annotations

import os
import sys
from gc import freeze
from typing import NoReturn

import click

from ..errors import ModelCacheError
from ..platforms.capabilities import POSIX

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command and end the process with its exit code."""
    code = run(arguments)
    # Python looks through every object for garbage as it ends: for all that was imported that takes as long as a command.
    freeze()
    sys.exit(code)


def run(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code. Nothing a user can cause ends in a traceback."""
    try:
        _take_any_path(sys.stdout)
        if asked := os.environ.get("_MODEL_CACHE_COMPLETE"):  # by a shell, for a Tab
            from .completion import answer

            return answer(asked)
        from .group import group

        code = group.main(arguments, prog_name="model-cache", standalone_mode=False)
        if sys.stdout is not None:
            sys.stdout.flush()
        return int(code or 0)
    except (KeyboardInterrupt, click.Abort) as error:
        return _fail("interrupted", str(getattr(error, "hint", "")), 130)
    except click.UsageError as error:
        return _fail(_usage(error), _usage_hint(error), 2)
    except click.ClickException as error:
        return _fail(error.format_message(), "", 1)
    except ModelCacheError as error:
        return _fail(str(error), error.hint, error.exit_code)
    except BrokenPipeError:
        return _no_reader()
    except OSError as error:
        where = f"{error.filename}: " if isinstance(error.filename, str) else ""
        where = where or ("what was printed could not be written: " if _is_unwritten() else "")
        return _fail(f"{where}{error.strerror or error}", "", 1)
    except Exception as error:  # noqa: BLE001 - a defect of ours: still one line, and where to see more
        return _fail(
            f"unexpected {type(error).__name__}: {error}", "MODEL_CACHE_DEBUG=1 shows where; please report it", 1
        )


def _take_any_path(stdout: object) -> None:
    """Let paths leave as the bytes they are on disk, whatever the locale says."""
    if POSIX and hasattr(stdout, "reconfigure"):
        stdout.reconfigure(encoding=sys.getfilesystemencoding(), errors=sys.getfilesystemencodeerrors())


def _fail(message: str, hint: str, code: int) -> int:
    from .output import one_line

    if os.environ.get("MODEL_CACHE_DEBUG"):
        import traceback

        traceback.print_exc()
    try:
        click.echo(f"error: {one_line(message)}", err=True)
        if hint:
            click.echo(f"hint: {one_line(hint)}", err=True)
        if sys.stdout is not None:
            sys.stdout.flush()
    except BrokenPipeError:
        _no_reader()
    except OSError:
        _discard_output()  # the output that could not be written is what this failure is about
    return code


def _is_unwritten() -> bool:
    """Whether stdout is what failed; the disk of the cache would be thought of first."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError:
        return True
    return False


def _no_reader() -> int:
    """Whoever read our output is gone (`| head`): nothing is wrong enough to talk about."""
    _discard_output()
    return 1


def _discard_output() -> None:
    # The interpreter flushes both once more at its end, and would complain there.
    for stream in (sys.stdout, sys.stderr):
        try:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
        except (OSError, ValueError, AttributeError):
            continue


def _usage(error: click.UsageError) -> str:
    """The message of click in our form: one line, no capital, no full stop."""
    text = " ".join(error.format_message().split()).rstrip(".")
    return text[:1].lower() + text[1:] if text[1:2].islower() else text


def _usage_hint(error: click.UsageError) -> str:
    hint = getattr(error, "hint", "")
    return str(hint) or f"{error.ctx.command_path if error.ctx else 'model-cache'} --help"
