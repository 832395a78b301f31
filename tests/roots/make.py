"""Makes a root by the code of a commit: `python tests/roots/make.py COMMIT NAME` writes `NAME.tar.gz` beside this file.

The package is taken out of the history, and a process of its own runs it: what is in the archive is what that version of
the schema really left, with a download that was killed half way. Beside the root lies `expected.json`: the rows as that code's
index has them, and the sha256 of each file.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
import tarfile
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
REPO, KILLED = "owner/name", "killed.bin"
COLUMNS = ("repo_type", "repo", "revision", "filename", "state", "size", "sha256", "etag", "commit", "origin", "pinned")


def content(name: str, size: int) -> bytes:
    """What the hub has under a name: short blocks, so that an archive of them stays small."""
    return (hashlib.sha256(name.encode()).digest() * (size // 32 + 1))[:size]


def repos() -> list[tuple[str, str, dict[str, bytes]]]:
    """(repo type, repo, files) of all that was on the hub; the test needs them once more."""
    small = {
        name: content(name, 3000 + 7 * len(name))
        for name in ("config.json", "model.bin", "onnx/encoder.onnx", "old.bin")
    }
    return [
        ("model", REPO, small | {KILLED: content(KILLED, 2_000_000)}),
        ("model", "gpt2", {"config.json": content("gpt2", 500)}),
        ("dataset", "owner/rows", {"data/train.csv": content("rows", 900)}),
    ]


def main(commit: str, name: str) -> None:
    """Make one archive."""
    with tempfile.TemporaryDirectory(prefix="model-cache-root-") as scratch:
        place = Path(scratch)
        archived = subprocess.run(
            ["git", "archive", commit, "src"], cwd=HERE.parents[1], check=True, stdout=subprocess.PIPE
        )
        subprocess.run(["tar", "-x"], cwd=place, input=archived.stdout, check=True)
        environ = os.environ | {"PYTHONPATH": str(place / "src"), "PYTHONDONTWRITEBYTECODE": "1"}
        subprocess.run([sys.executable, __file__, "--inside", place], env=environ, check=True)
        expected = {"commit": commit, **described(place / "root")}
        (place / "expected.json").write_text(json.dumps(expected, indent=1) + "\n")
        with tarfile.open(HERE / f"{name}.tar.gz", "w:gz", format=tarfile.PAX_FORMAT) as archive:
            for part in ("expected.json", "root"):
                archive.add(place / part, part, filter=nobody)


def nobody(member: tarfile.TarInfo) -> tarfile.TarInfo:
    """Whose files they were is nobody's concern."""
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    return member


def described(root: Path) -> dict[str, object]:
    """What stands there, read without any code of ours."""
    index = sqlite3.connect(f"file:{root}/.model-cache/index.db?mode=ro", uri=True)
    version = index.execute("PRAGMA user_version").fetchone()[0]
    names = ", ".join(f'"{name}"' for name in COLUMNS)
    rows = index.execute(f"SELECT {names} FROM entries ORDER BY path").fetchall()
    kinds = dict(index.execute("SELECT kind, count(*) FROM events GROUP BY kind").fetchall())
    index.close()
    files = {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file() and ".model-cache" not in path.parts and path.name != "CACHEDIR.TAG"
    }
    return {
        "schema": version,
        "entries": [dict(zip(COLUMNS, row, strict=True)) for row in rows],
        "events": kinds,
        "files": files,
    }


def inside(place: Path) -> None:
    """By the code of that commit: what a cache goes through."""
    import model_cache
    from model_cache.testing import LoopbackHub

    assert Path(model_cache.__file__).is_relative_to(place), model_cache.__file__
    with LoopbackHub() as hub:
        for repo_type, repo, files in repos():
            hub.add_repo(repo, files, repo_type=repo_type)
        cache = model_cache.ModelCache(place / "root", endpoint=hub.url, token=False)
        for repo_type, repo, files in repos():
            for name in files:
                if name != KILLED:
                    cache.fetch(repo, name, repo_type=repo_type)
        hub.tag("gpt2", "v1")
        cache.fetch("gpt2", "config.json", revision="v1")
        # What the first of all had not yet.
        if hasattr(cache, "pin"):
            cache.pin(REPO, "config.json")
            cache.remove(REPO, "old.bin")
            cache.gc()
        if hasattr(cache, "verify"):
            cache.verify()
        killed(place, hub)


def killed(place: Path, hub: object) -> None:
    """A download that is killed when half of it has come."""
    hub.fault(KILLED, "stall", at=0.5)
    code = "import sys, model_cache; model_cache.ModelCache(sys.argv[1], endpoint=sys.argv[2], token=False).fetch(*sys.argv[3:])"
    process = subprocess.Popen([sys.executable, "-c", code, place / "root", hub.url, REPO, KILLED])
    partials = place / "root" / ".model-cache" / "partial"
    while not any(path.stat().st_size > 900_000 for path in partials.iterdir()):
        assert process.poll() is None, "it ended"
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()


if __name__ == "__main__":
    if sys.argv[1] == "--inside":
        inside(Path(sys.argv[2]))
    else:
        main(*sys.argv[1:])
