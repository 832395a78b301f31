"""One case: the command in a process of its own against a server that lies, and what of it was seen."""

from __future__ import annotations

import os
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from .server import BODY, COMMIT, FILE, REPO, RawHub, Reply

MEMORY = 100 << 20  # bytes that a process may have at most
SLACK = 1 << 20  # bytes on disk beyond what was promised
_HARD = 300  # seconds after which a case has not ended
AT_ONCE = 8  # they mostly wait
# How a line on stderr may begin: anything else, such as a traceback, is a fault.
_TOLD = ("error: ", "hint: ", "warning: ", f"downloading {REPO}", f"downloaded {REPO}", f"{REPO} at ")
ONE, WHOLE = ("fetch", REPO, FILE), ("fetch", REPO)


@dataclass(frozen=True)
class Case:
    """A lie, and what is to come of it.

    Attributes:
        name: What the server does, in a few words.
        group: Under which heading it stands.
        stage, reply: As `RawHub` takes them.
        error: The line on stderr without `error: `, in the words of `_told`; empty where nothing is amiss.
        hint: The line after it, without `hint: `.
        stalled: Other pairs of the two, for a machine so busy that the server itself pauses for a whole time-out.
        code: The exit code.
        command: What is run.
        promised: Bytes that the Hub promised.
        timeout: Seconds, of both time-outs; None: the default ones.
        environ: More of the environment.
        listen: The address of the server.
        called: Its name in the endpoint, where that is another.
    """

    name: str
    group: str
    stage: str
    reply: Reply
    error: str
    hint: str = ""
    stalled: tuple[tuple[str, str], ...] = ()
    code: int = 1
    command: tuple[str, ...] = ONE
    promised: int = len(BODY)
    timeout: float | None = None
    environ: dict[str, str] = field(default_factory=dict)
    listen: str = "127.0.0.1"
    called: str = ""


@dataclass(frozen=True)
class Seen:
    """What came of a case; `faults` are empty where all is as it should be."""

    name: str
    group: str
    code: int
    said: str
    seconds: float
    memory: int
    disk: int
    promised: int
    requests: int
    faults: tuple[str, ...]


def run(case: Case) -> Seen:
    """Try one case."""
    folder = Path(tempfile.mkdtemp(prefix="model-cache-hostile-"))
    try:
        with RawHub(case.stage, case.reply, case.listen, case.called) as hub:
            return _tried(case, hub, folder)
    finally:
        shutil.rmtree(folder)


def run_all(cases: list[Case]) -> list[Seen]:
    """Try all, several at once."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return list(pool.map(run, cases))


def _tried(case: Case, hub: RawHub, folder: Path) -> Seen:
    root = folder / "root"
    for name in ("home", "tmp", "work"):
        (folder / name).mkdir()
    environ = {
        "PATH": os.environ["PATH"],
        "HOME": f"{folder}/home",
        "TMPDIR": f"{folder}/tmp",
        "LANG": "C.UTF-8",
        "MODEL_CACHE_DIR": str(root),
        "HF_ENDPOINT": hub.url,
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONWARNINGS": "error",
        **case.environ,
    }
    if case.timeout is not None:
        environ |= {name: str(case.timeout) for name in ("HF_HUB_ETAG_TIMEOUT", "HF_HUB_DOWNLOAD_TIMEOUT")}
    allowed = case.promised + SLACK
    began = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "stress.hostile.child", f"{folder}/report", *case.command],
        cwd=folder / "work",
        env=environ,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    if hasattr(resource, "prlimit"):  # no file may ever be larger, not for an instant
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (allowed, allowed))
    try:
        _, said = process.communicate(timeout=_HARD)
    except subprocess.TimeoutExpired:
        process.kill()
        said = process.communicate()[1] + "\n(killed: it did not end)"
    seconds = time.monotonic() - began
    report = folder / "report"
    memory = int(report.read_text()) * 1024 if report.exists() else 0
    report.unlink(missing_ok=True)
    disk = sum(path.lstat().st_size for path in root.rglob("*") if path.is_file())
    said = _told(said, hub.url, str(root))
    faults = [*_amiss(case, process.returncode, said, root, folder)]
    if not 0 < memory <= MEMORY:
        faults.append(f"{memory / 2**20:.0f} MiB of memory")
    if disk > allowed:
        faults.append(f"{disk} bytes on disk")
    return Seen(
        case.name,
        case.group,
        process.returncode,
        said,
        seconds,
        memory,
        disk,
        case.promised,
        len(hub.asked),
        tuple(faults),
    )


def _told(said: str, hub: str, root: str) -> str:
    """What was said, with words for what differs each time, and for the long addresses."""
    words = {
        f"{hub}/{REPO}/resolve/{COMMIT}/{FILE}": "{body}",
        f"{hub}/{REPO}/resolve/main/{FILE}": "{metadata}",
        f"{hub}/api/models/{REPO}/revision/main": "{commit}",
        f"{hub}/api/models/{REPO}/tree/{COMMIT}?…": "{tree}",
        hub: "{hub}",
        root: "{root}",
    }
    for text, word in words.items():
        said = said.replace(text, word)
    said = re.sub(r"has \S+ \S+ free", "has {some} free", said)
    return re.sub(r"after \d+ (of \d+ )?bytes of this answer", "after {some} bytes", said)


def _amiss(case: Case, code: int, said: str, root: Path, folder: Path) -> list[str]:
    """What is not as it should be in what was said and what is on disk."""
    faults = []
    if code != case.code:
        faults.append(f"exit code {code}, expected {case.code}")
    lines = said.splitlines()
    found = [line for line in lines if line.startswith(("error: ", "hint: "))]
    ways = [(case.error, case.hint), *case.stalled]
    if found not in [
        [f"{kind}: {text}" for kind, text in zip(("error", "hint"), way, strict=True) if text] for way in ways
    ]:
        faults.append(f"it said {said!r}")
    faults += [f"unexpected: {line!r}" for line in lines if not line.startswith(_TOLD)]
    published = [path for path in root.rglob("*") if path.is_file() and ".model-cache" not in path.parts]
    published = [path for path in published if path.name != "CACHEDIR.TAG"]
    if bool(published) != (case.code == 0):
        faults.append(f"published: {[str(path.relative_to(root)) for path in published]}")
    outside = [path for name in ("home", "tmp", "work") for path in (folder / name).rglob("*")]
    others = [path for path in folder.iterdir() if path.name not in ("root", "home", "tmp", "work")]
    if outside or others:
        faults.append(f"outside of the root: {[str(path.relative_to(folder)) for path in outside + others]}")
    return faults
