"""The tools that stand side by side: how each is called to have one file or a whole repo, in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import PathDistribution
from pathlib import Path
from typing import Any

HOME = Path(__file__).resolve().parents[2]
# cached-path asks for other versions of what it shares with the rest, so it has an environment of its own.
BENCH, CACHED_PATH = HOME / ".venv-bench", HOME / ".venv-bench-cached-path"
REPO = "owner/name"

# A tool's `prepare` comes first; then all of its processes wait until their standard input is closed.
_PROGRAM = """
import hashlib, json, os, sys
place, url, file, sha256, want, budget, address = sys.argv[1:8]
{prepare}
print("ready", flush=True)
sys.stdin.read()
try:
    got = {call}
    data = got if isinstance(got, bytes) else open(got, "rb").read() if want != "directory" else b""
    found = {{"sha256": hashlib.sha256(data).hexdigest(), "path": None if isinstance(got, bytes) else str(got)}}
except Exception as error:
    found = {{"error": f"{{type(error).__name__}}: {{error}}"}}
print(json.dumps(found), flush=True)
"""


@dataclass(frozen=True)
class Tool:
    """One of them.

    Attributes:
        name: Of its distribution.
        home: The virtual environment that has it.
        prepare, file: Code: what is done before anything is timed or counted; an expression for a path, or for the bytes.
        repo: An expression for the directory of a whole repo; empty where there is no such call.
        offline_repo: The same with the network switched off, where that is another call.
        address: The same as `file`, of a file at any address; empty where `file` takes one.
        limited: Whether `budget` bytes can be set as its size.
        call: `module:function` of what `file` calls, where it is not limited.
    """

    name: str
    home: Path
    prepare: str
    file: str
    repo: str = ""
    offline_repo: str = ""
    address: str = ""
    limited: bool = False
    call: str = ""

    @property
    def python(self) -> Path:
        """Its interpreter."""
        return self.home / "bin" / "python"

    @property
    def module(self) -> str:
        """What is imported."""
        return self.name.replace("-", "_")

    @property
    def version(self) -> str:
        """Of what is installed; empty where it is not."""
        for found in self.home.glob(f"lib/python*/site-packages/{self.module}-*.dist-info"):
            return str(PathDistribution(found).version)
        return ""


OURS = Tool(
    "model-cache",
    BENCH,
    "from model_cache import ModelCache\n"
    "more = {'max_size': int(budget), 'min_idle': 0} if budget else {}\n"
    "cache = ModelCache(place, endpoint=url, token=False, **more)",
    "cache.fetch('owner/name', file)",
    repo="cache.fetch_repo('owner/name')",
    offline_repo="cache.fetch_repo('owner/name', offline=True)",
    address="cache.fetch(address, file)",
    limited=True,
)
HUB = Tool(
    "huggingface_hub",
    BENCH,
    "from huggingface_hub import hf_hub_download, snapshot_download",
    "hf_hub_download('owner/name', file, cache_dir=place)",
    repo="snapshot_download('owner/name', cache_dir=place)",
    offline_repo="snapshot_download('owner/name', cache_dir=place, local_files_only=True)",
    address="hf_hub_download(address, file, cache_dir=place)",
    call="huggingface_hub:hf_hub_download",
)
POOCH = Tool(
    "pooch",
    BENCH,
    "import pooch; pooch.get_logger().setLevel('ERROR')",
    "pooch.retrieve(address, 'sha256:' + sha256, file, place)",
    call="pooch:retrieve",
)
# It downloads nothing itself: memoized is what a program would otherwise call.
DISKCACHE = Tool(
    "diskcache",
    BENCH,
    "import diskcache, requests\n"
    "cache = diskcache.Cache(place, **({'size_limit': int(budget)} if budget else {}))\n"
    "@cache.memoize(name='download')\n"
    "def download(address):\n"
    "    answer = requests.get(address, timeout=60)\n"
    "    answer.raise_for_status()\n"
    "    return answer.content",
    "download(address)",
    limited=True,
)
CACHED = Tool(
    "cached-path",
    CACHED_PATH,
    "import logging; logging.disable()\nfrom cached_path import cached_path",
    "cached_path(address, cache_dir=place, quiet=True)",
    call="cached_path:cached_path",
)
TOOLS = (OURS, HUB, POOCH, DISKCACHE, CACHED)


def environ(url: str, home: Path) -> dict[str, str]:
    """Nothing of the developer's; bytes come by plain HTTP, and nobody looks for updates."""
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "HF_HOME": str(home / "hf"),
        "HF_ENDPOINT": url,
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_UPDATE_CHECK": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "NO_COLOR": "1",
    }


class Call:
    """A process of a tool: imported and waiting until `go`; `end` is what it found."""

    def __init__(
        self,
        tool: Tool,
        place: Path,
        url: str,
        file: str,
        *,
        want: str = "file",
        address: str = "",
        sha256: str = "",
        budget: int = 0,
        tracer: Sequence[str] = (),
    ) -> None:
        at = address or f"{url}/{REPO}/resolve/main/{file}"
        expressions = {
            "file": tool.file,
            "repo": tool.repo,
            "offline": tool.offline_repo,
            "address": tool.address or tool.file,
        }
        code = _PROGRAM.format(prepare=tool.prepare, call=expressions[want])
        given = "directory" if want in ("repo", "offline") else "file"
        command = [*tracer, str(tool.python), "-c", code, str(place), url, file, sha256, given, str(budget or ""), at]
        self._home = place.with_name(f"{place.name}.home")
        self._home.mkdir(exist_ok=True)
        self.process = subprocess.Popen(
            command, env=environ(url, self._home), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def ready(self) -> Call:
        """Wait until everything is imported."""
        assert self.process.stdout is not None
        if self.process.stdout.readline() != "ready\n":
            raise RuntimeError("the tool did not start")
        return self

    def go(self) -> Call:
        """Let it call."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.stdin = None  # there is nothing more to flush at its end
        return self

    def end(self, timeout: float = 120) -> dict[str, Any]:
        """Wait for its end: `sha256` and `path` of what it was given, or `error`."""
        try:
            found: dict[str, Any] = json.loads(self.process.communicate(timeout=timeout)[0])
        finally:
            self.kill()
        return found

    def kill(self) -> None:
        """End it at once."""
        self.process.kill()
        with self.process:  # closes its pipes
            self.process.wait()
