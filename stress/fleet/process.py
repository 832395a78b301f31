"""A process of a host, from outside: what it is told to do, and what it told."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

_LONGEST = 240.0  # seconds that anything may take


class Process:
    """One that was started on a host.

    Args:
        inside: What stands before a command that runs on that host.
        settings: As `ModelCache` takes them.
    """

    def __init__(self, inside: list[str], environ: dict[str, str], root: Path, settings: dict[str, object]) -> None:
        command = [*inside, sys.executable, "-m", "stress.fleet.child", str(root), json.dumps(settings)]
        self._process = subprocess.Popen(
            command, env=environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        self._told: list[dict[str, Any]] = []
        self._changed = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        threading.Thread(target=self._drain, daemon=True).start()
        self._errors = ""
        self.root = root

    def order(self, repo: str, name: str, revision: str = "main") -> None:
        """Have it fetch a file."""
        assert self._process.stdin is not None, "it was asked for"
        self._process.stdin.write(json.dumps({"repo": repo, "name": name, "revision": revision}) + "\n")
        self._process.stdin.flush()

    def told(self, event: str, name: str = "") -> list[dict[str, Any]]:
        """What it told of an event so far, of one file or of all."""
        with self._changed:
            return [one for one in self._told if one["event"] == event and name in ("", one.get("name"))]

    def wait(self, *events: str, name: str = "") -> dict[str, Any]:
        """Wait until it tells the first of these.

        Raises:
            RuntimeError: It ended, or told nothing for long.
        """
        end = time.monotonic() + _LONGEST
        while True:
            with self._changed:
                for one in self._told:
                    if one["event"] in events and name in ("", one.get("name")):
                        return one
                if self._process.poll() is not None and not self._reader.is_alive():
                    raise RuntimeError(f"a process of a host ended: {self._errors}")
                if time.monotonic() >= end:
                    raise RuntimeError(f"{events}: not told within {_LONGEST:g} s, but {self._told}")
                self._changed.wait(0.5)

    def fetched(self, repo: str, name: str, revision: str = "main") -> float:
        """Have it fetch a file that it has not; the seconds it took."""
        self.order(repo, name, revision)
        return self.done(name)

    def done(self, name: str) -> float:
        """Wait until it has a file; the seconds it took. Raises RuntimeError where it has an error instead."""
        one = self.wait("done", "failed", name=name)
        if one["event"] == "failed":
            raise RuntimeError(f"{name}: a fetch failed: {one['text']}")
        return float(one["seconds"])

    def pause(self) -> None:
        """Until it tells something, or for a moment."""
        with self._changed:
            self._changed.wait(0.02)

    def forget(self) -> None:
        """What it told so far."""
        with self._changed:
            self._told.clear()

    def path(self, name: str) -> str:
        """Where it was told that a file is."""
        return str(self.told("done", name)[-1]["path"])

    def kill(self) -> float:
        """SIGKILL; returns when."""
        self._process.kill()
        at = time.monotonic()
        self._process.wait(30)
        return at

    def end(self) -> None:
        """Let it end, after its uploads."""
        assert self._process.stdin is not None, "it was asked for"
        self._process.stdin.close()
        self._process.wait(_LONGEST)

    @property
    def is_alive(self) -> bool:
        """Whether it runs."""
        return self._process.poll() is None

    def _read(self) -> None:
        assert self._process.stdout is not None, "it was asked for"
        for line in self._process.stdout:
            with self._changed:
                self._told.append(json.loads(line))
                self._changed.notify_all()

    def _drain(self) -> None:
        assert self._process.stderr is not None, "it was asked for"
        for line in self._process.stderr:
            self._errors = (self._errors + line)[-4000:]
