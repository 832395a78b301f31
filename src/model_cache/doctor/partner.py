"""The other process, from this side: started, asked, killed; nothing waits for it without end.

What it can be asked, and the lines it answers with: `other`.
"""

from __future__ import annotations

import os
import select
import subprocess
import sys
from types import TracebackType

from ..hub.tokens import without_secrets

PATIENCE = 30.0  # seconds for an answer; a network file system may need a few of them for a lock


class PartnerError(OSError):
    """The other process ended, hangs, or could not do what it was asked to."""


class Partner:
    """A context manager: a second Python process whose working directory is `directory`; killed at the end.

    Args:
        directory: Where it works; file names in questions are relative to it.
        patience: Seconds to wait for each answer.

    Raises:
        PartnerError: It does not start.

    Concurrency:
        Locks and descriptors of this process are not inherited. It ends by itself when this process does: its standard
        input ends then. It ignores ^C, which a terminal sends to both: this process ends it.
    """

    def __init__(self, directory: str, patience: float = PATIENCE) -> None:
        self._directory, self._patience = directory, patience
        self._unread = b""

    def __enter__(self) -> Partner:
        # The modules are found where this process found them, and not in the directory where somebody may have put some.
        path = os.pathsep.join(entry for entry in sys.path if entry)
        command = [sys.executable, "-P", "-m", "model_cache.doctor.other"]
        # S603: the command is this very interpreter with a module of this package.
        self._process = subprocess.Popen(  # noqa: S603 # nosec B603 # this interpreter, no shell
            command,
            cwd=self._directory,
            env={**without_secrets(os.environ), "PYTHONPATH": path},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        try:
            self._answer()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()
        for stream in (self._process.stdin, self._process.stdout, self._process.stderr):
            assert stream is not None
            try:
                stream.close()
            except BrokenPipeError:
                continue

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def kill(self) -> None:
        """End it as a crash would, and wait until it has ended."""
        self._process.kill()
        try:
            self._process.wait(self._patience)
        except subprocess.TimeoutExpired:
            return  # stuck in the kernel, as on a server that is gone: nothing ends it, and nobody has to wait for it

    def ask(self, *words: str) -> str:
        """Its answer to one question.

        Raises:
            PartnerError: It ended, does not answer in time, or failed; the message says which.
        """
        self.say(*words)
        return self._answer()

    def say(self, *words: str) -> None:
        """Put a question without waiting for the answer."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(" ".join(words).encode() + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise self._ended() from None

    def _answer(self) -> str:
        assert self._process.stdout is not None
        fd = self._process.stdout.fileno()
        while b"\n" not in self._unread:
            if not _readable(fd, self._patience):
                raise PartnerError(f"the other process did not answer within {self._patience:g} seconds")
            data = os.read(fd, 4096)
            if not data:
                raise self._ended()
            self._unread += data
        line, _, self._unread = self._unread.partition(b"\n")
        kind, _, text = line.decode(errors="replace").partition(" ")
        if kind != "ok":
            raise PartnerError(f"the other process: {text}")
        return text

    def _ended(self) -> PartnerError:
        """What to say of a process that is gone: how it ended, and its last words."""
        assert self._process.stderr is not None
        self.kill()
        words = (
            self._process.stderr.read().decode(errors="replace").strip().splitlines() if self._process.poll() else []
        )
        last = f": {words[-1]}" if words else ""
        return PartnerError(f"the other process ended too early (exit code {self._process.returncode}){last}")


def _readable(fd: int, seconds: float) -> bool:
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    return bool(poll.poll(seconds * 1000))
