"""`python -m tests.release.dist`: build wheel and sdist, look at what is in them, and use each where nothing else is.

What is left in `dist/` is what a release publishes. Needs `build`, `twine` and `uv` beside its interpreter, as `make dist`
has them, and the package index.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import tomllib
import zipfile
from email.parser import HeaderParser
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DIST = ROOT / "dist"
SMOKE = Path(__file__).with_name("smoke.py")
# Of the metadata directory of a wheel; licence texts are among them.
INFO = ("METADATA", "RECORD", "WHEEL", "entry_points.txt", "licenses/LICENSE")


def main() -> int:
    """All of it; the names and sizes of what was built."""
    shutil.rmtree(DIST, ignore_errors=True)
    call("build", "--installer", "uv", "--outdir", DIST, ROOT)  # the wheel from the sdist, as an index would
    wheel, sdist = one("*.whl"), one("*.tar.gz")
    call("twine", "check", "--strict", wheel, sdist)
    version = metadata(wheel)["Version"]
    complaints = [*of_wheel(wheel, version), *of_sdist(sdist, version), *of_metadata(metadata(wheel))]
    for complaint in complaints:
        print(f"error: {complaint}", file=sys.stderr)
    if complaints:
        return 1
    use(wheel, "--demo")
    use(sdist)
    for path in (wheel, sdist):
        print(f"{path.relative_to(ROOT)}: {path.stat().st_size // 1000} kB, installed alone and used")
    return 0


def call(module: str, *arguments: object) -> None:
    """Run a tool that stands beside this interpreter; what it says is only shown where it fails."""
    command = [sys.executable, "-m", module, *map(str, arguments)]
    environ = os.environ | {"PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])}
    done = subprocess.run(command, env=environ, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"error: {' '.join(command)} ended with {done.returncode}\n{done.stdout}{done.stderr}")


def one(pattern: str) -> Path:
    """The one file of this pattern that was built."""
    (found,) = DIST.glob(pattern)
    return found


def tracked(*below: str) -> set[str]:
    """The files of the repository below these places: what is lying about besides has no place in a release."""
    listed = subprocess.run(["git", "ls-files", "-z", *below], cwd=ROOT, capture_output=True, text=True, check=True)
    return {name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()}


def difference(what: str, found: set[str], expected: set[str]) -> list[str]:
    """What is in it and should not be, and the other way round."""
    extra = [f"{what} has {name}, which should not ship" for name in sorted(found - expected)]
    return extra + [f"{what} lacks {name}" for name in sorted(expected - found)]


def of_wheel(wheel: Path, version: str) -> list[str]:
    """The package as it is in the repository, its metadata, and nothing else: no tests, no docs."""
    with zipfile.ZipFile(wheel) as archive:
        found = set(archive.namelist())
    package = {name.removeprefix("src/") for name in tracked("src/model_cache")}
    assert "model_cache/py.typed" in package
    return difference("the wheel", found, package | {f"model_cache-{version}.dist-info/{name}" for name in INFO})


def of_sdist(sdist: Path, version: str) -> list[str]:
    """Every tracked file that the build's own list names, and what the build adds."""
    with tarfile.open(sdist) as archive:
        found = {member.name.removeprefix(f"model_cache-{version}/") for member in archive if not member.isdir()}
    with (ROOT / "pyproject.toml").open("rb") as file:
        listed = tomllib.load(file)["tool"]["hatch"]["build"]["targets"]["sdist"]["include"]
    return difference("the sdist", found, tracked(*listed) | {"PKG-INFO", "pyproject.toml", "LICENSE", ".gitignore"})


def metadata(wheel: Path) -> dict[str, str]:
    """The first of each header of a wheel's metadata."""
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        return dict(reversed(HeaderParser().parsestr(archive.read(name).decode()).items()))


def of_metadata(headers: dict[str, str]) -> list[str]:
    """What an index shows of it."""
    expected = {
        "Name": "model-cache",
        "License-Expression": "Apache-2.0",
        "Description-Content-Type": "text/markdown",
        "Requires-Python": ">=3.11",
    }
    return [
        f"{key} is {headers.get(key)!r}, expected {value!r}"
        for key, value in expected.items()
        if headers.get(key) != value
    ]


def use(built: Path, *options: str) -> None:
    """Install it where there is nothing else, and do there what a user would."""
    with tempfile.TemporaryDirectory(prefix="model-cache-alone-") as scratch:
        environment = Path(scratch) / "environment"
        python = environment / "bin" / "python"
        call("uv", "venv", "--quiet", "--python", sys.executable, environment)
        call("uv", "pip", "install", "--quiet", "--python", python, built)
        subprocess.run([python, "-I", SMOKE, *options], cwd=scratch, check=True)


if __name__ == "__main__":
    raise SystemExit(main())
