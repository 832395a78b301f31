"""What is tried with each tool: a mishap, a hub that sees it, and one word for what the tool did.

Each trial takes a `Bench` and returns an outcome. Nothing here is timed: the hub holds an answer back until the processes
are where they should be.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import random
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

from model_cache.testing import LoopbackHub

from .tools import DISKCACHE, HUB, OURS, REPO, Call, Tool, environ

MIB = 1 << 20
FILE = "model.bin"
HERD = 8
_SETTLE = 5.0  # seconds in which whoever would ask the hub does


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
        sha256 = "" if more.get("want", "file") != "file" else more.pop("sha256", self.sha256(file))
        return Call(self.tool, self.place, self.hub.url, file, sha256=sha256, **more).ready()

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


def flipped(bench: Bench) -> str:
    """One bit of the body is flipped on the way, once."""
    bench.serve(2 * MIB)
    bench.hub.fault(FILE, "flip")
    found = bench.get()
    if "error" in found:
        return "refused"
    return "mended" if bench.good(found) else "handed out"


def herd(bench: Bench) -> str:
    """Eight processes want one file that nobody has; bodies are held back until all who would ask have asked."""
    bench.serve(2 * MIB)
    calls = [bench.call() for _ in range(HERD)]
    with bench.hub.hold(FILE, after=0.5) as hold:
        for call in calls:
            call.go()
        with contextlib.suppress(TimeoutError):  # whoever waits for another does not ask
            hold.wait_for(HERD, timeout=_SETTLE)
        hold.release()
        found = [call.end() for call in calls]
    assert all(bench.good(one) for one in found), found
    bodies = bench.hub.body_gets(FILE)
    return "one" if bodies == 1 else "each" if bodies == HERD else "some"


def killed(bench: Bench) -> str:
    """The process is killed when 30 of 40 MiB have come, and another one asks for the file."""
    bench.serve(40 * MIB)
    call = bench.call()
    with bench.hub.hold(FILE, after=0.75) as hold:
        call.go()
        hold.wait_for(1)
        _until_written(bench)
        call.kill()
        hold.release()
    bench.hub.reset()
    assert bench.good(bench.get())
    ranges = [record.range for record in bench.hub.requests if record.kind == "body"]
    return "resumes" if all(re.fullmatch(r"bytes=[1-9]\d*-.*", one) for one in ranges) else "starts over"


def _until_written(bench: Bench) -> None:
    # What a tool keeps in memory until the end never comes to the disk: then this ends when its time is up.
    with contextlib.suppress(TimeoutError):
        bench.hub.wait_until(lambda: bench.place.exists() and bench.occupied() >= 8 * MIB, timeout=_SETTLE)


def _rot(path: Path) -> None:
    status = path.stat()
    with path.open("r+b") as file:
        file.seek(status.st_size // 2)
        byte = file.read(1)[0]
        file.seek(status.st_size // 2)
        file.write(bytes([byte ^ 1]))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def rotted(bench: Bench) -> str:
    """A bit flips on the disk, size and mtime stay; the file is asked for again."""
    bench.serve(2 * MIB)
    bench.get()
    _rot(bench.largest())
    found = bench.get()
    if "error" in found:
        return "refused"
    return "mended" if bench.good(found) else "handed out"


def checked(bench: Bench) -> str:
    """The same, and the tool's own check is run, where it has one; then the file is asked for again."""
    bench.serve(2 * MIB)
    bench.get()
    _rot(bench.largest())
    bench.hub.reset()
    if bench.tool is OURS:
        found = bench.command("model-cache", "--root", str(bench.place), "verify").returncode == 3
    elif bench.tool is HUB:
        done = bench.command("hf", "cache", "verify", REPO, "--cache-dir", str(bench.place))
        found = done.returncode != 0 and "Checksum verification failed" in done.stdout
    elif bench.tool is DISKCACHE:
        found = bench.code("import diskcache, sys; print(len(diskcache.Cache(sys.argv[1]).check()))") != "0"
    else:
        return "no check"
    if not found:
        return "missed"
    asked = "asking" if bench.asked() else "alone"
    again = bench.get()
    stopped = "error" in again or bench.good(again)
    return f"found {asked}, {'stopped' if stopped else 'handed out'}"


def warm(bench: Bench) -> str:
    """Requests of a call for a file that is there."""
    bench.serve(2 * MIB)
    bench.get()
    bench.hub.reset()
    assert bench.good(bench.get())
    return str(bench.asked())


def unreachable(bench: Bench) -> str:
    """The hub is gone, the file is there."""
    bench.serve(2 * MIB)
    bench.get()
    bench.hub.stop()
    return "found" if bench.good(bench.get()) else "error"


def moved(bench: Bench) -> str:
    """The repo has new bytes under the same name: what does the next call give?"""
    bench.serve(2 * MIB)
    before = bench.sha256()
    bench.get()
    bench.serve(2 * MIB, salt="new")
    found = bench.get(sha256=before)
    return "new" if bench.good(found) else "old" if found.get("sha256") == before else "error"


def place(bench: Bench) -> str:
    """Where the bytes are that a call gives a path to."""
    bench.serve(2 * MIB)
    path = bench.get()["path"]
    if path is None:
        return "bytes"
    if Path(path).is_symlink():
        return "link"
    below = Path(path).relative_to(bench.place).as_posix()
    return "layout" if below == f"{REPO}/{FILE}" else "named" if below == FILE else "hashed"


def budget(bench: Bench) -> str:
    """Four files of 2 MiB are fetched into room for 5 MiB; looked at when most of each is there, and after each."""
    if not bench.tool.limited:
        module, name = bench.tool.call.split(":")
        parameters = bench.code(
            f"import inspect, {module} as m; print(*inspect.signature(m.{name}).parameters)"
        ).split()
        assert parameters, f"{bench.tool.name}: no parameters of {name}"
        return "unknown" if any(re.search("size|limit|max", one) for one in parameters) else "no limit"
    limit, most = 5 * MIB, 0
    bench.serve(*[2 * MIB] * 4)
    for file in bench.files:
        call = bench.call(file, budget=limit)
        with bench.hub.hold(file, after=0.9) as hold:
            call.go()
            hold.wait_for(1)
            most = max(most, bench.occupied())
            hold.release()
        found = call.end()
        assert bench.good(found, file), found
        most = max(most, bench.occupied())
    return "kept" if most <= limit else "passed"


def removed(bench: Bench) -> str:
    """Another process has the file open while it is removed by the tool's own means."""
    if bench.tool not in (OURS, HUB, DISKCACHE):
        return "no removal"
    bench.serve(2 * MIB)
    bench.get()
    path = bench.largest()
    with path.open("rb"):
        if bench.tool is OURS:
            bench.command("model-cache", "--root", str(bench.place), "rm", REPO, "--yes")
        elif bench.tool is HUB:
            bench.command("hf", "cache", "rm", f"model/{REPO}", "--cache-dir", str(bench.place), "--yes")
        else:
            bench.code("import diskcache, sys; diskcache.Cache(sys.argv[1]).clear()")
        return "kept" if path.exists() else "gone"


def repo(bench: Bench) -> str:
    """A whole repo by one call."""
    if not bench.tool.repo:
        return "no repos"
    bench.serve(2 * MIB, MIB, MIB)
    found = bench.get(want="repo")
    have = {name: (Path(found["path"]) / name).read_bytes() for name in bench.files}
    return "whole" if have == bench.files else "in part"


def part(bench: Bench) -> str:
    """Without a network, the whole repo is asked for where one of its files is there."""
    if not bench.tool.repo:
        return "no repos"
    bench.serve(2 * MIB, MIB, MIB)
    bench.get()
    bench.hub.stop()
    found = bench.get(want="offline_repo")
    return "refused" if "error" in found else "handed out"


def durable(bench: Bench) -> str:
    """Whether the bytes are made durable (fsync) before the path is handed out."""
    bench.serve(2 * MIB)
    log = bench.place.with_name(f"{bench.tool.name}.strace")
    tracer = ("strace", "-f", "-qq", "-y", "-e", "trace=fsync,fdatasync", "-o", str(log))
    assert bench.good(bench.get(tracer=tracer))
    synced = re.findall(rf"sync\(\d+<({re.escape(str(bench.place))}/[^>]*)>", log.read_text())
    return "yes" if any(not re.search(r"\.db(-\w+)?$", path) and not Path(path).is_dir() for path in synced) else "no"


TRIALS: dict[str, Callable[[Bench], str]] = {
    trial.__name__: trial
    for trial in (
        flipped, herd, killed, durable, rotted, checked, removed, budget, repo, part, warm, unreachable, moved, place,
    )
}  # fmt: skip


def run(name: str, tool: Tool, folder: Path) -> str:
    """Try one thing with one tool, on a hub and in a place of its own."""
    with LoopbackHub() as hub:
        return TRIALS[name](Bench(tool, folder, hub))
