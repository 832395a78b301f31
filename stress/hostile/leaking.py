"""`python -m stress.hostile.leaking FOLDER ENDPOINT`: use the cache in every way, and write down all that it shows.

What was shown goes to files in FOLDER/seen, one for each place; `tokens` looks for the secret there, on disk and on the wire.
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
import os
import pickle
import sys
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from model_cache import ModelCache, ModelCacheError
from model_cache.cli import run
from model_cache.clock import Clock

from .server import REPO

# What the hub of `tokens` does with each is told by its name.
FILES = ("good", "back", "401", "403", "404", "429", "500", "hangup", "cut", "html", "wrong", "expired", "file", "dead")
_COMMANDS = (
    f"fetch {REPO} good.bin",
    f"fetch {REPO} good.bin --json",
    f"fetch {REPO} 401.bin",
    f"fetch {REPO} file.bin --json",
    f"fetch {REPO} --include good.bin",
    f"fetch {REPO} --revision other",
    f"cached {REPO} good.bin",
    f"path {REPO} good.bin",
    "root",
    "ls --json",
    "ls",
    "status --json",
    "status",
    f"pin {REPO} good.bin",
    f"unpin {REPO} good.bin",
    f"update {REPO}",
    f"lock {REPO} --include good.bin -o models.lock",
    "sync models.lock",
    "verify --json",
    "verify --repair",
    "reconcile",
    "gc --dry-run --json",
    "gc",
    "config",
    "metrics",
    "metrics --textfile cache.prom",
    "report -o report.html",
    "report --database copy.db",
    "import-hf empty",
    "doctor",
    "doctor --json",
    f"rm {REPO} 401.bin --yes",
    "--version",
)


class _Hurried(Clock):
    """Waits pass at once."""

    ahead = 0.0

    def monotonic(self) -> float:
        """Seconds, and all that were slept."""
        return super().monotonic() + self.ahead

    def sleep(self, seconds: float) -> None:
        """Let the time pass."""
        self.ahead += seconds


class _Seen:
    """What was shown, by place."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir()

    def add(self, place: str, text: object) -> None:
        """Something was shown there."""
        with (self._folder / place).open("a") as file:
            file.write(f"{text}\n")


def _error(seen: _Seen, error: BaseException, *, variables: bool = True) -> None:
    """All forms in which an error is shown or handed on."""
    seen.add("errors", f"{error} {error!r} {vars(error)!r}")
    seen.add("errors", "".join(traceback.format_exception(error)))
    with contextlib.suppress(Exception):
        seen.add("pickles", pickle.dumps(error))
    if variables:
        told = traceback.TracebackException.from_exception(error, capture_locals=True)
        seen.add("variables", "".join(told.format()))


def _objects(seen: _Seen, cache: ModelCache) -> None:
    """What the objects say of themselves, down to the one that has the token."""
    ctx: Any = cache._ctx
    found: list[Any] = [cache, ctx, ctx.settings, ctx.access.token, ctx.hub]
    found += [*vars(ctx.hub).values(), *cache.entries(), cache.usage()]
    for one in found:
        seen.add("objects", f"{one!r} {one}")
        with contextlib.suppress(TypeError, AttributeError):
            seen.add("pickles", pickle.dumps(one))


def _made(seen: _Seen, root: Path, given: dict[str, Any]) -> ModelCache | None:
    """A cache; None where what is given is refused."""
    try:
        cache = ModelCache(root, clock=_Hurried(), download_timeout=1, etag_timeout=1, **given)
        _ = cache._ctx.hub
    except ModelCacheError as error:
        _error(seen, error, variables=False)
        return None
    return cache


def _python(seen: _Seen, cache: ModelCache) -> None:
    """The Python face: one file after the other, most of which cannot be had, and the rest of what asks the Hub."""
    uses: list[Callable[[], object]] = [partial(cache.fetch, REPO, f"{name}.bin") for name in FILES]
    uses += [
        lambda: cache.fetch(REPO, "good.bin", force=True),
        lambda: cache.fetch_repo(REPO),
        lambda: cache.fetch_repo(REPO, include="good.bin"),
        lambda: cache.fetch_repo(REPO, revision="listing"),
        lambda: cache.update(REPO),
        lambda: cache.verify(repair=True),
    ]
    for use in uses:
        try:
            seen.add("objects", repr(use()))
        except ModelCacheError as error:
            _error(seen, error)
    _objects(seen, cache)


def _commands(seen: _Seen) -> None:
    """Every command, in this process; only what it prints is of interest."""
    for line in _COMMANDS:
        out = io.TextIOWrapper(io.BytesIO(), write_through=True)
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out), contextlib.suppress(SystemExit):
            run(line.split())
        seen.add("commands", f"$ model-cache {line}\n{_text(out)}")


def _text(out: io.TextIOWrapper) -> str:
    buffer = out.buffer
    assert isinstance(buffer, io.BytesIO)
    return buffer.getvalue().decode(errors="replace")


def main() -> None:
    """Do all of it, with everything logged and every child's command line and environment written down."""
    folder, given = Path(sys.argv[1]), json.loads(sys.argv[2])
    seen = _Seen(folder / "seen")

    def audited(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "subprocess.Popen":
            _, command, _, environ = arguments
            seen.add("children", f"{command} {os.environ if environ is None else environ}")

    sys.addaudithook(audited)
    logging.basicConfig(level=logging.DEBUG, filename=folder / "seen" / "log", force=True)
    if "token file" in given:
        given["token"] = Path(given.pop("token file")).read_text()
    cache = _made(seen, folder / "root", given)
    if cache is not None:
        _python(seen, cache)
    _commands(seen)


if __name__ == "__main__":
    main()
