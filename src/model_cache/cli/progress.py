"""Progress of a download on stderr: a bar on a terminal, else one line per 10 % or 30 s."""

from __future__ import annotations

import os
import sys
import time

import click

from ..progress import SILENT, Progress
from ..units import format_duration, format_size, plural
from .output import one_line

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType

    from rich.progress import Progress as Bar
    from rich.progress import TaskID

_STEP = 10  # percent between two lines
_PAUSE = 30.0  # seconds after which there is a line whatever came
_SMALL = 10_000_000  # bytes; below that a line per step would only be noise


class Narrator(Progress):
    """What a command tells on stderr while it downloads; a context manager that leaves the terminal as it was.

    Args:
        bars: False: no running progress, only warnings and, now and then, whom we wait for.
    """

    def __init__(self, *, bars: bool = True) -> None:
        self._bars = bars

    def __enter__(self) -> Narrator:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.finished()

    def say(self, text: str) -> None:
        """One line of its own."""
        click.echo(one_line(text), err=True)

    def warning(self, message: str) -> None:
        """Something a person should know."""
        self.say(f"warning: {message}")


class _Line(Progress):
    """One large file of several, as a bar of its own under that of the whole."""

    def __init__(self, bars: Bars, name: str, total: int) -> None:
        self._bars, self._name, self._total = bars, name, total
        self._task: TaskID | None = None

    def started(self, name: str, total: int | None, done: int) -> None:  # noqa: ARG002 - it was told both before
        """A download begins, or goes on."""
        if self._task is None:
            self._task = self._bars.add(self._name, self._total, done)

    def advanced(self, done: int) -> None:
        """So many bytes are on disk."""
        if self._task is not None:
            self._bars.move(self._task, done)

    def finished(self) -> None:
        """The bar goes away."""
        task, self._task = self._task, None
        if task is not None:
            self._bars.drop(task)


class Lines(Narrator):
    """Lines for a log."""

    def __init__(self, *, bars: bool = True) -> None:
        super().__init__(bars=bars)
        self._name = ""
        self._total: int | None = None
        self._first = self._told = 0
        self._began = self._told_at = time.monotonic()
        self._waiting_for = ""

    def started(self, name: str, total: int | None, done: int) -> None:
        """A download begins, or goes on."""
        self._name, self._total, self._first = name, total, done
        self._began = self._told_at = time.monotonic()
        self._told, self._waiting_for = _share(done, total), ""
        if self._bars:
            self.say(f"resuming {name} at {_amount(done, total)}" if done else f"downloading {name}{_of(total)}")

    def advanced(self, done: int) -> None:
        """So many bytes are on disk."""
        if not self._bars:
            return
        now, share = time.monotonic(), _share(done, self._total)
        stepped = share >= self._told + _STEP and (self._total or 0) >= _SMALL
        if stepped or now - self._told_at >= _PAUSE:
            self._told, self._told_at = share - share % _STEP, now
            rate = (done - self._first) / max(now - self._began, 1e-6)
            self.say(f"{self._name}: {_amount(done, self._total)}, {format_size(rate)}/s")

    def verifying(self, files: int, total: int, what: str = "verifying") -> None:
        """So many files are about to be read."""
        self._name, self._total, self._first = what, total, 0
        self._began = self._told_at = time.monotonic()
        self._told = 0
        if self._bars:
            self.say(f"{what} {plural(files, 'file')}: {format_size(total)}")

    def waiting(self, name: str, holder: str, done: int, total: int | None, seconds: float) -> None:
        """Somebody else downloads it."""
        now, share = time.monotonic(), _share(done, total)
        first = self._waiting_for != holder
        stepped = self._bars and share >= self._told + _STEP
        if first or stepped or now - self._told_at >= _PAUSE:
            self._waiting_for, self._told, self._told_at = holder, share - share % _STEP, now
            self.say(
                f"waiting for {holder or 'another process'}: {name} {_amount(done, total)},"
                f" waited {format_duration(seconds)}"
            )


class Bars(Narrator):
    """A bar on a terminal; gone when the download is over."""

    def __init__(self) -> None:
        super().__init__()
        self._bar: Bar | None = None
        self._task: TaskID | None = None
        self._what = ""

    def started(self, name: str, total: int | None, done: int) -> None:
        """A download begins, or goes on."""
        self._show(name, total, done)

    def advanced(self, done: int) -> None:
        """So many bytes are on disk."""
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=done)

    def part(self, name: str, total: int) -> Progress:
        """A bar for a large file; small ones are gone before anybody could read its name."""
        return _Line(self, name, total) if total >= _SMALL else SILENT

    def add(self, name: str, total: int, done: int) -> TaskID | None:
        """One more bar, under the first."""
        return None if self._bar is None else self._bar.add_task(one_line(name), total=total, completed=done)

    def move(self, task: TaskID, done: int) -> None:
        """One of several bars moves."""
        if self._bar is not None:
            self._bar.update(task, completed=done)

    def drop(self, task: TaskID) -> None:
        """One of several bars goes away."""
        if self._bar is not None:
            self._bar.remove_task(task)

    def verifying(self, files: int, total: int, what: str = "verifying") -> None:
        """So many files are about to be read."""
        self._show(f"{what} {plural(files, 'file')}", total, 0)

    def waiting(self, name: str, holder: str, done: int, total: int | None, seconds: float) -> None:  # noqa: ARG002 - see Progress
        """Somebody else downloads it."""
        what = f"waiting for {holder or 'another process'}: {name}"
        if what != self._what:
            self._show(what, total, done)
        elif self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=done, total=total)

    def finished(self) -> None:
        """The bar goes away."""
        if self._bar is not None:
            self._bar.stop()
        self._bar, self._task, self._what = None, None, ""

    def say(self, text: str) -> None:
        """One line of its own, above the bar if there is one."""
        if self._bar is None:
            super().say(text)
        else:
            self._bar.console.print(one_line(text), markup=False, highlight=False, soft_wrap=True)

    def _show(self, what: str, total: int | None, done: int) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn, TransferSpeedColumn
        from rich.progress import Progress as Bar

        self.finished()
        self._what = what
        # stdout is for data: nothing of it is to be drawn into, or through, the bar.
        self._bar = Bar(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f} %", markup=False),
            DownloadColumn(),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
            console=Console(file=sys.stderr),
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._task = self._bar.add_task(one_line(what), total=total, completed=done)
        self._bar.start()


class Silence(Narrator):
    """Nothing at all, for -q."""

    def say(self, text: str) -> None:
        """Nothing."""


def narrator(*, quiet: bool, no_progress: bool) -> Narrator:
    """Whoever is right for this stderr."""
    if quiet:
        return Silence(bars=False)
    terminal = sys.stderr is not None and sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
    return Bars() if terminal and not no_progress else Lines(bars=not no_progress)


def _share(done: int, total: int | None) -> int:
    """Whole percent; 0 while the total is unknown."""
    return min(done * 100 // total, 100) if total else 0


def _amount(done: int, total: int | None) -> str:
    if not total:
        return format_size(done)
    return f"{_share(done, total)} % ({format_size(done)} of {format_size(total)})"


def _of(total: int | None) -> str:
    return "" if total is None else f": {format_size(total)}"
