"""What is measured, each case beside its peers."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from model_cache.testing import HubProcess

from .timing import Sample, Series, cpu_of, in_turns, python, run, series

REPO, FILE = "owner/name", "model.bin"


class Row(NamedTuple):
    """One line of the table.

    Attributes:
        name, peer: What was measured, and beside what.
        ours, theirs: In seconds, medians (or another unit, which the note says).
        asked: The ratio that is asked for, None where the row is for comparison only.
        note: What else is to be known, such as peak memory.
        low, high: The ratios of the best and of the worst pair of runs; None where they were not run in pairs.
        command: What exactly was run, where a name does not say it.
        unit: `s`, or empty where things were counted.
    """

    name: str
    peer: str
    ours: float
    theirs: float
    asked: float | None
    note: str = ""
    low: float | None = None
    high: float | None = None
    command: str = ""
    unit: str = "s"

    @property
    def ratio(self) -> float:
        """How many times the peer's time we take."""
        return self.ours / self.theirs


def paired(
    name: str, peer: str, ours: Series, theirs: Series, asked: float | None, note: str = "", command: str = ""
) -> Row:
    """A row of two series that were run in turns: its spread is that of the ratios of the pairs."""
    ratios = [one / other for one, other in zip(ours.values, theirs.values, strict=False)]
    return Row(name, peer, ours.median, theirs.median, asked, note, min(ratios), max(ratios), command)


@contextmanager
def served(size: int) -> Iterator[tuple[Path, str]]:
    """A working folder, and the address of a hub in another process that serves one file of so many bytes."""
    with served_by(size) as (folder, hub):
        yield folder, hub.url


@contextmanager
def served_by(size: int) -> Iterator[tuple[Path, HubProcess]]:
    """The same with the hub itself, which counts what it is asked."""
    with tempfile.TemporaryDirectory(prefix="model-cache-bench-") as name:
        folder = Path(name)
        model = folder / "hub" / "models" / REPO / FILE
        model.parent.mkdir(parents=True)
        with model.open("wb") as file:
            block = os.urandom(1 << 20)
            for _ in range(size >> 20):
                file.write(block)
        with HubProcess(folder / "hub") as hub:
            # The hub hashes what it serves once, at the first request; nobody's run should pay for that.
            run(["curl", "-sfL", "-o", os.devnull, f"{hub.url}/{REPO}/resolve/main/{FILE}"])
            yield folder, hub


def imports(rounds: int) -> list[Row]:
    """Start-up: the seconds of a processor that a program pays before its first call."""
    bare, ours, click, path = in_turns(
        rounds,
        lambda: python("pass"),
        lambda: python("import model_cache"),
        lambda: python("import click"),
        lambda: run([str(Path(sys.executable).parent / "model-cache"), "path", REPO, FILE]),
        of=cpu_of,
    )
    return [
        Row("import model_cache", "bare interpreter + 15 ms", ours.median, bare.median + 0.015, 1.0,
            f"{(ours.median - bare.median) * 1e3:.1f} ms over it"),
        paired("model-cache path, CPU", "python -c 'import click'", path, click, 2.5),
    ]  # fmt: skip


def command(rounds: int) -> list[Row]:
    """Seconds of a processor that the command takes where there is nothing to do, beside the Hub's own command."""
    with tempfile.TemporaryDirectory(prefix="model-cache-bench-") as folder:
        root, home, programs = Path(folder) / "root", Path(folder) / "home", Path(sys.executable).parent
        for place in (root, home / "hub"):
            place.mkdir(parents=True)
        quiet = {"HF_HOME": str(home), "HF_HUB_DISABLE_UPDATE_CHECK": "1", "HF_HUB_OFFLINE": "1"}
        version, their_version, ls, their_ls = in_turns(
            max(rounds, 5),
            lambda: run([str(programs / "model-cache"), "--version"]),
            lambda: run([str(programs / "hf"), "--version"], quiet),
            lambda: run([str(programs / "model-cache"), "--root", str(root), "ls", "-q"]),
            lambda: run([str(programs / "hf"), "cache", "ls"], quiet),
            of=cpu_of,
        )
    return [
        paired("model-cache --version, CPU", "hf --version", version, their_version, 0.4),
        paired("model-cache ls of an empty cache, CPU", "hf cache ls", ls, their_ls, 0.4),
    ]


_WARM = """
import os, sys, timeit
from bench.timing import loop, loops
mode, place, url = sys.argv[1:]
if mode == "ours":
    from model_cache import ModelCache
    cache = ModelCache(place, endpoint=url, token=False)
    path = cache.fetch("owner/name", "model.bin")
    call = lambda: cache.fetch("owner/name", "model.bin")
elif mode == "module":
    import model_cache
    model_cache.configure(root=place, endpoint=url, token=False)
    path = model_cache.fetch("owner/name", "model.bin")
    call = lambda: model_cache.fetch("owner/name", "model.bin")
elif mode == "hf":
    from huggingface_hub import hf_hub_download
    path = hf_hub_download("owner/name", "model.bin", cache_dir=place)
    call = lambda: hf_hub_download("owner/name", "model.bin", cache_dir=place, local_files_only=True)
else:
    import hashlib, pooch
    digest = sys.argv[3].rsplit("#", 1)[1]
    source = sys.argv[3].rsplit("#", 1)[0]
    call = lambda: pooch.retrieve(source, known_hash=digest, path=place, fname="model.bin")
    pooch.get_logger().setLevel("ERROR")
    path = call()
text = str(path)
stat = lambda: os.stat(text)
print(*(loops(stat, call)[::-1] if mode in ("ours", "module") else (loop(call), loop(stat))))
"""


def warm_hits(rounds: int) -> list[Row]:
    """A file that is already there, asked for again in the same process."""
    rows = []
    with served(8 << 20) as (folder, url):
        digest = hashlib.sha256((folder / "hub" / "models" / REPO / FILE).read_bytes()).hexdigest()
        environ = {"HF_ENDPOINT": url, "HF_HOME": str(folder / "hf-home"), "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
        for mode, name, asked in (
            ("ours", "repeated warm hit, ModelCache.fetch", 2.5),
            ("module", "repeated warm hit, model_cache.fetch", None),
            ("hf", "hf_hub_download, local_files_only (for comparison)", None),
            ("pooch", "pooch.retrieve, 8 MiB (for comparison)", None),
        ):
            source = f"{url}/{REPO}/resolve/main/{FILE}#sha256:{digest}" if mode == "pooch" else url
            found = [_warm(mode, str(folder / mode), source, environ) for _ in range(rounds)]
            ours, stat = series([one[0] for one in found]), series([one[1] for one in found])
            rows.append(paired(name, "os.stat", ours, stat, asked))
    return rows


def _warm(mode: str, place: str, url: str, environ: dict[str, str]) -> tuple[float, float]:
    command = [sys.executable, "-c", _WARM, mode, place, url]
    done = subprocess.run(command, env={**os.environ, **environ}, capture_output=True, text=True, check=True)
    call, stat = done.stdout.split()[-2:]
    return float(call), float(stat)


_COLD_HF = """
import sys
from huggingface_hub import hf_hub_download
hf_hub_download("owner/name", "model.bin", cache_dir=sys.argv[1])
"""
_COLD_POOCH = """
import sys, pooch
pooch.get_logger().setLevel("ERROR")
pooch.retrieve(sys.argv[2], known_hash=sys.argv[3], path=sys.argv[1], fname="model.bin")
"""


def cold(rounds: int, size: int = 1 << 30, *, peers: bool = False) -> list[Row]:
    """One large file that is not there yet, hash and fsync included on our side."""
    with served(size) as (folder, url):
        address = f"{url}/{REPO}/resolve/main/{FILE}"
        digest = hashlib.file_digest((folder / "hub" / "models" / REPO / FILE).open("rb"), "sha256").hexdigest()
        command = str(Path(sys.executable).parent / "model-cache")
        hf = {"HF_ENDPOINT": url, "HF_HOME": str(folder / "hf-home"), "HF_HUB_DISABLE_PROGRESS_BARS": "1"}

        def anew(place: str, measure: Callable[[str], Sample]) -> Callable[[], Sample]:
            def once() -> Sample:
                shutil.rmtree(folder / place, ignore_errors=True)
                (folder / place).mkdir()
                os.sync()
                return measure(str(folder / place))

            return once

        if peers:
            curl, theirs, pooch = in_turns(
                rounds,
                anew("curl", lambda place: run(["curl", "-sfL", "-o", f"{place}/model.bin", address])),
                anew("hf", lambda place: python(_COLD_HF, place, environ=hf)),
                anew("pooch", lambda place: python(_COLD_POOCH, place, address, f"sha256:{digest}")),
            )
            return [
                paired("hf_hub_download, cold 1 GiB (no hash)", "curl -o", theirs, curl, None,
                       f"peak {theirs.peak:.0f} MiB"),
                paired("pooch.retrieve, cold 1 GiB (hash)", "curl -o", pooch, curl, None, f"peak {pooch.peak:.0f} MiB"),
            ]  # fmt: skip
        # One round is not counted: whoever first touches a page of this machine's memory pays for it.
        curl, ours = in_turns(
            rounds,
            anew("curl", lambda place: run(["curl", "-sfL", "-o", f"{place}/model.bin", address])),
            anew(
                "ours", lambda place: run([command, "--root", place, "fetch", REPO, FILE, "-q"], {"HF_ENDPOINT": url})
            ),
        )
    name = f"cold {size >> 20} MiB, hash and fsync included"
    peak = f"peak memory {ours.peak:.1f} MiB (asked: 45)"
    return [paired(name, "curl -o", ours, curl, 1.4, peak)]


_FIRST = """
import sys, time
from model_cache import ModelCache
began = time.perf_counter()
cache = ModelCache(sys.argv[1])
made = time.perf_counter()
cache.fetch("owner/name", "model.bin")
print(time.perf_counter() - made, made - began)
"""


def first_hit(rounds: int) -> list[Row]:
    """The first hit of a process: neither the import nor the making of the ModelCache is counted, the latter is told."""
    with served(1 << 20) as (folder, url):
        root = str(folder / "root")
        fill = (
            "import sys; from model_cache import ModelCache; ModelCache(sys.argv[1]).fetch('owner/name', 'model.bin')"
        )
        python(fill, root, environ={"HF_ENDPOINT": url})
        found = []
        for _ in range(max(3 * rounds, 9)):
            done = subprocess.run([sys.executable, "-c", _FIRST, root], capture_output=True, text=True, check=True)
            found.append([float(text) for text in done.stdout.split()])
    hit, made = series([first for first, _ in found]), series([second for _, second in found])
    limit, ordered = 1e-4, sorted(hit.values)
    tenth = len(ordered) // 10  # of so many processes one or another was not given a processor: that is no hit's time
    note = f"making the ModelCache before it: {made.median * 1e3:.1f} ms, most of it for `import pathlib`"
    return [
        Row(
            "first hit in a process",
            "0.1 ms",
            hit.median,
            limit,
            1.0,
            note,
            ordered[tenth] / limit,
            ordered[-1 - tenth] / limit,
        )
    ]


CASES: dict[str, Callable[[int], list[Row]]] = {
    "start-up": imports,
    "command": command,
    "warm": warm_hits,
    "first-hit": first_hit,
    "cold": cold,
    "cold-peers": lambda rounds: cold(rounds, peers=True),
}
