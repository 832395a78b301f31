"""What is tried with each tool: a mishap, a hub that sees it, and one word for what the tool did.

Each trial takes a `Bench` and returns an outcome. Nothing here is timed: the hub holds an answer back until the processes
are where they should be.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from model_cache.testing import LoopbackHub

from .stage import FILE, MIB, Bench
from .tools import DISKCACHE, HUB, OURS, REPO, Tool

HERD = 8
_SETTLE = 5.0  # seconds in which whoever would ask the hub does


def flipped(bench: Bench) -> str:
    """One bit of the body is flipped on the way, once."""
    bench.serve(2 * MIB)
    bench.hub.fault(FILE, "flip")
    return _noticed(bench)


def _noticed(bench: Bench) -> str:
    """What a call makes of a damage."""
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
    return _noticed(bench)


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
    found = bench.get(want="offline")
    return "refused" if "error" in found else "handed out"


def durable(bench: Bench) -> str:
    """Whether the bytes are made durable (fsync) before the path is handed out."""
    bench.serve(2 * MIB)
    log = bench.place.with_name(f"{bench.tool.name}.strace")
    tracer = ("strace", "-f", "-qq", "-y", "-e", "trace=fsync,fdatasync", "-o", str(log))
    assert bench.good(bench.get(tracer=tracer))
    synced = re.findall(rf"sync\(\d+<({re.escape(str(bench.place))}/[^>]*)>", log.read_text())
    return "yes" if any(not re.search(r"\.db(-\w+)?$", path) and not Path(path).is_dir() for path in synced) else "no"


def uploads(bench: Bench) -> str:
    """Whether the tool has anything by such a name."""
    code = (
        f"import {bench.tool.module} as m; print('names', *[one for one in dir(m) if 'upload' in one or 'push' in one])"
    )
    names = bench.code(code).split()
    assert names, f"{bench.tool.name} cannot be imported"
    return "yes" if names[1:] else "no"


class _Plain(BaseHTTPRequestHandler):
    """Any server that has a file."""

    def do_HEAD(self) -> None:
        """Its length and ETag."""
        self.send_response(200)
        self.send_header("Content-Length", str(MIB))
        self.send_header("ETag", '"1"')
        self.end_headers()

    def do_GET(self) -> None:
        """And its bytes."""
        self.do_HEAD()
        self.wfile.write(bytes(MIB))

    def log_message(self, *_: object) -> None:
        """Nothing."""


def sources(bench: Bench) -> str:
    """A file of a server that is no Hub, by its address."""
    sha256 = hashlib.sha256(bytes(MIB)).hexdigest()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Plain)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        address = f"http://127.0.0.1:{server.server_port}/file.bin"
        found = bench.get("file.bin", want="address", address=address, sha256=sha256)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    return "yes" if found.get("sha256") == sha256 else "no"


TRIALS: dict[str, Callable[[Bench], str]] = {
    trial.__name__: trial
    for trial in (
        flipped, herd, killed, durable, rotted, checked, removed, budget, repo, part, warm, unreachable, moved, place,
        uploads, sources,
    )
}  # fmt: skip


def run(name: str, tool: Tool, folder: Path) -> str:
    """Try one thing with one tool, on a hub and in a place of its own."""
    with LoopbackHub() as hub:
        return TRIALS[name](Bench(tool, folder, hub))
