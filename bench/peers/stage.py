"""Where a trial happens: one tool, a place for its files, and a hub that serves it one repo and counts what it asks."""

from __future__ import annotations

import hashlib
import random
import subprocess
from pathlib import Path
from typing import Any

from model_cache.testing import LoopbackHub

from .tools import REPO, Call, Tool, environ

MIB = 1 << 20
FILE = "model.bin"


class Bench:
    """One tool, a place for its files, and a hub that serves one repo.

    Args:
        tool: What is tried.
        folder: Where it may write.
        hub: Fresh, and started.
    """

    def __init__(self, tool: Tool, folder: Path, hub: LoopbackHub) -> None:
        self.tool, self.hub, self.place = tool, hub, folder / tool.name
        self.files: dict[str, bytes] = {}

    def serve(
        self, *sizes: int, salt: str = "", names: tuple[str, ...] = (FILE, "other.bin", "third.bin", "last.bin")
    ) -> None:
        """The repo has files of these sizes, and no others."""
        pairs = zip(names, sizes, strict=False)
        self.files = {name: random.Random(f"{name}{salt}").randbytes(size) for name, size in pairs}
        self.hub.add_repo(REPO, self.files)

    def sha256(self, file: str = FILE) -> str:
        """Of the bytes that the repo has now."""
        return hashlib.sha256(self.files[file]).hexdigest()

    def call(self, file: str = FILE, **more: Any) -> Call:
        """A process that waits to be let go."""
        if file in self.files:
            more.setdefault("sha256", self.sha256(file))
        return Call(self.tool, self.place, self.hub.url, file, **more).ready()

    def get(self, file: str = FILE, **more: Any) -> dict[str, Any]:
        """What a process finds that has the file to itself."""
        return self.call(file, **more).go().end()

    def good(self, found: dict[str, Any], file: str = FILE) -> bool:
        """Whether it was given the right bytes."""
        return found.get("sha256") == self.sha256(file)

    def asked(self) -> int:
        """Requests about the repo and its files since the hub's log was emptied."""
        return sum(record.repo == REPO for record in self.hub.requests)

    def largest(self) -> Path:
        """The file on disk that has the bytes."""
        stored = [path for path in self.place.rglob("*") if path.is_file() and not path.is_symlink()]
        return max(stored, key=lambda path: path.stat().st_size)

    def occupied(self) -> int:
        """Bytes of all files below the place that are models, whole or in part, each inode once."""
        stored = {path.stat().st_ino: path.stat() for path in self.place.rglob("*") if path.is_file()}
        return sum(status.st_size for status in stored.values() if status.st_size >= MIB)

    def command(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run a command of the tool's environment."""
        return subprocess.run(
            [str(self.tool.home / "bin" / words[0]), *words[1:]],
            env=environ(self.hub.url, self.place.with_name(f"{self.place.name}.home")),
            stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
        )  # fmt: skip

    def code(self, code: str) -> str:
        """Run code in the tool's environment; what it prints."""
        return self.command("python", "-c", code, str(self.place)).stdout.strip()
