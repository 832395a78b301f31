"""`demo`: the whole life of a cache, told and checked, against a hub on this machine or the real one."""

from __future__ import annotations

import os
import tempfile
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import click

from ..errors import ModelCacheError
from ..units import format_duration, format_size
from . import output
from .command import Run, command
from .demo_stage import Stage, Unexpected, local_stage, online_stage

if TYPE_CHECKING:
    from collections.abc import Callable

_PROCESSES = 8
_ROUNDS, _CALLS = 5, 2000  # a timing is the best of the rounds


@command()
@click.option("--online", is_flag=True, help="Against the real Hub: 91 MB are downloaded three times.")
@click.option("--keep", is_flag=True, help="Leave the cache that was made, to look around in.")
def demo(run: Run, online: bool, keep: bool) -> int | None:
    """Show and check the life of a cache: a cold fetch, eight processes racing for one download, a warm hit, offline, a
    damaged download refused, a killed one resumed.

    Works in a temporary directory of its own, whatever --root says, and, unless --online is given, with a hub on this
    machine: no network. Exits 1 if anything comes out other than it should.
    """
    began = time.monotonic()
    tell = None if run.json or run.quiet else click.echo
    results: list[dict[str, Any]] = []
    with ExitStack() as stack:
        folder = tempfile.mkdtemp(prefix="model-cache-demo-")
        if not keep:
            stack.callback(_remove, folder)
        stage = stack.enter_context(online_stage(folder, tell) if online else local_stage(folder, tell))
        for title, step in _STEPS:
            if online and step in _LOCAL_ONLY:
                continue
            results.append(_play(stage, len(results) + 1, title, step))
            if not results[-1]["ok"]:
                break
    failed = [result for result in results if not result["ok"]]
    seconds = time.monotonic() - began
    if run.json:
        output.write_json({"ok": not failed, "seconds": round(seconds, 3), "steps": results})
    if failed:
        raise ModelCacheError(f"the demo failed at {failed[0]['name']!r}: {failed[0]['detail']}")
    stage.tell(
        f"\nAll of it came out as promised, in {format_duration(seconds)}." + (f" Kept: {folder}" if keep else "")
    )
    return None


def _remove(folder: str) -> None:
    from shutil import rmtree

    rmtree(folder, ignore_errors=True)


def _play(stage: Stage, number: int, title: str, step: Callable[[Stage], str]) -> dict[str, Any]:
    stage.tell(f"\n{number}. {title}")
    began = time.monotonic()
    try:
        detail, ok = step(stage), True
    except Unexpected as error:
        detail, ok = str(error), False
    stage.tell(_wrapped(f"{'OK' if ok else 'FAILED'}: {detail}"))
    return {"name": title, "ok": ok, "detail": detail, "seconds": round(time.monotonic() - began, 3)}


def _wrapped(text: str) -> str:
    from textwrap import fill

    return fill(
        text, 110, initial_indent="   ", subsequent_indent="   ", break_long_words=False, break_on_hyphens=False
    )


def _cold(stage: Stage) -> str:
    """A first fetch, with its progress to be seen."""
    stage.slow_down(2.5)
    found = stage.command("first", "fetch", stage.repo, stage.file, watch=True).expect(0)
    path, size = found.out.strip(), stage.size("first")
    stage.check(path == stage.path("first"), f"the path printed was {path!r}")
    return (
        f"{format_size(size)} in {format_duration(found.seconds)}. They were written under another name, compared with"
        " the sha256 that the hub had promised, made durable, and only then given this one."
    )


def _race(stage: Stage) -> str:
    """Many processes that want one file at the same moment, in a cache that does not have it."""
    stage.slow_down(3.0)
    stage.forget_requests()
    stage.tell(
        f"   $ for i in 1 .. {_PROCESSES}: model-cache fetch {stage.repo} {stage.file} &   (another, empty cache)"
    )
    documents = stage.race("second", _PROCESSES)
    size = stage.size("second")
    downloads = stage.downloads(documents)
    received = sum(document["bytes_downloaded"] for document in documents)
    paths = {document["path"] for document in documents}
    stage.check(len(paths) == 1, f"they were given {len(paths)} different paths")
    stage.check(downloads == 1, f"{_PROCESSES} processes, {downloads} downloads")
    stage.check(received == size, f"{received} bytes were downloaded for a file of {size}")
    return (
        f"{_PROCESSES} processes, {downloads} download: {format_size(received)} for a file of {format_size(size)}."
        " One process downloaded, the others waited for it, and all were given the same path."
    )


def _warm(stage: Stage) -> str:
    """What it costs to be given a file that is there."""
    from timeit import repeat

    from ..cache import ModelCache

    cache = ModelCache(stage.root("first"))
    path = os.fspath(cache.fetch(stage.repo, stage.file))
    hit = min(repeat(lambda: cache.fetch(stage.repo, stage.file), number=_CALLS, repeat=_ROUNDS)) / _CALLS
    look = min(repeat(lambda: os.stat(path), number=_CALLS, repeat=_ROUNDS)) / _CALLS
    stage.tell(f'   >>> model_cache.fetch("{stage.repo}", "{stage.file}")')
    return (
        f"a repeated hit takes {hit * 1e6:.1f} microseconds, {hit / look:.1f} x one os.stat of the file"
        f" ({look * 1e6:.1f}): no network, no lock file, no index."
    )


def _offline(stage: Stage) -> str:
    """With the network switched off: what is there is found, what is not is a clear miss."""
    stage.forget_requests()
    hit = stage.command("first", "fetch", stage.repo, stage.file, MODEL_CACHE_OFFLINE="1").expect(0)
    stage.check(hit.out.strip() == stage.path("first"), f"the path printed was {hit.out.strip()!r}")
    stage.command("first", "fetch", stage.repo, stage.small, MODEL_CACHE_OFFLINE="1").expect(10)
    asked = stage.requests()
    stage.check(not asked, f"the hub was asked {asked} times")
    return "the file that is there was found, the other one is a miss with an exit code of its own (10)" + (
        "" if asked is None else ", and the hub saw no request."
    )


def _flipped(stage: Stage) -> str:
    """One bit changed on the way, at each attempt; then an honest download."""
    assert stage.hub is not None, "only a hub of our own can be told to lie"
    stage.hub.fault(stage.small, "flip", times=None)
    stage.command("first", "fetch", stage.repo, stage.small).expect(1)
    left = stage.path("first", stage.small)
    stage.check(not os.path.lexists(left), f"{left} was published")
    stage.hub.clear_faults()
    stage.command("first", "fetch", stage.repo, stage.small).expect(0)
    return (
        "wrong bytes were noticed, asked for once more, and refused; nothing was published until the right ones came."
    )


def _killed(stage: Stage) -> str:
    """SIGKILL in the middle of a download; the next fetch goes on from there."""
    arrived = stage.kill_half_way("third")
    if arrived is None:
        return "the download was over before it could be killed: nothing to show on a network this fast."
    size = stage.known_size
    stage.tell(f"   ... killed (SIGKILL) with {format_size(arrived)} of {format_size(size)} on disk; and again:")
    document = stage.fetch_json("third")
    received = document["bytes_downloaded"]
    stage.check(document["files"][0]["source"] == "resume", f"its source was {document['files'][0]['source']}")
    stage.check(received <= size - arrived, f"{received} bytes were downloaded where {size - arrived} were missing")
    return f"only the {format_size(received)} that were missing came over the network, and the whole was verified."


def _look(stage: Stage) -> str:
    """What is there now, as anybody sees it."""
    stage.command("first", "ls").expect(0)
    return "plain files under plain names, which any program can open."


_STEPS: list[tuple[str, Callable[[Stage], str]]] = [
    ("A cold fetch: the file is not there, so it is downloaded", _cold),
    ("Eight processes want the same file at the same moment", _race),
    ("A warm hit: the file is there", _warm),
    ("Offline", _offline),
    ("A bit is flipped on the way", _flipped),
    ("A download is killed half way", _killed),
    ("What is in the cache now", _look),
]
_LOCAL_ONLY = (_flipped,)
