"""`python -m tests.release.versions [PYTEST ARGUMENT…]`: the suite on every Python that is supported and can be found.

Looked for on PATH, among those of `pyenv`, and among those that `uv python install` has brought. The last lines say of each
how it went, and which were not found: for these it has not been shown.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from .environments import make, suite, uv

SUPPORTED = ("3.11", "3.12", "3.13", "3.14")


def main(arguments: list[str]) -> int:
    """All of it; 1 if the suite fails on one."""
    verdicts = {}
    for version in SUPPORTED:
        interpreter = find(version)
        if interpreter is None:
            verdicts[version] = "not found here"
            continue
        print(f"Python {version}: {interpreter}", flush=True)
        verdicts[version] = "passed" if suite(make(f".venv-{version}", interpreter), arguments) == 0 else "FAILED"
    for version, verdict in verdicts.items():
        print(f"Python {version}: {verdict}")
    return 1 if "FAILED" in verdicts.values() else 0


def find(version: str) -> str | None:
    """An interpreter of this version that starts; a shim of a version that is not chosen does not."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    managed = Path(uv("python", "dir").strip())
    candidates = [
        shutil.which(f"python{version}"),
        *sorted(pyenv.glob(f"{version}.*/bin/python")),
        *sorted(managed.glob(f"cpython-{version}.*/bin/python{version}")),
    ]
    for candidate in candidates:
        if candidate is not None and says(str(candidate)) == version:
            return str(candidate)
    return None


def says(interpreter: str) -> str:
    """The version that an interpreter says it is; empty where it does not start."""
    code = "import sys; print('%d.%d' % sys.version_info[:2])"
    done = subprocess.run([interpreter, "-I", "-c", code], capture_output=True, text=True)
    return done.stdout.strip() if done.returncode == 0 else ""


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
