"""`python -m tests.release.lowest [PYTEST ARGUMENT…]`: the suite on the lowest release of each dependency that is allowed.

First it asks the index what these are: where the lowest that can be installed is another than pyproject.toml says, the
bound there is a claim that nobody can have tested, and an error. What they need in turn is the newest; the newest of all is
what `make test` takes.
"""

from __future__ import annotations

import re
import sys
import tempfile
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from .environments import make, project, suite, uv

EXTRAS = ("s3", "postgres")  # what users install; the others are for those who work on this project


def main(arguments: list[str]) -> int:
    """All of it."""
    bounds = lower_bounds()
    options = [word for extra in EXTRAS for word in ("--extra", extra)]
    interpreter = sys.executable
    text = uv(
        *("pip", "compile", "--quiet", "--resolution", "lowest-direct", "--python", interpreter),
        *("--no-annotate", "--no-header", *options, "pyproject.toml"),
    )
    found = {
        canonicalize_name(name): Version(version) for name, version in re.findall(r"^([\w.-]+)==(\S+)", text, re.M)
    }
    wrong = [
        f"{name}: pyproject.toml allows {bounds[name]}, the lowest there is is {found[name]}"
        for name in bounds
        if found[name] != bounds[name]
    ]
    for line in wrong:
        print(f"error: {line}", file=sys.stderr)
    if wrong:
        return 1
    print("lowest:", ", ".join(f"{name} {version}" for name, version in bounds.items()), flush=True)
    with tempfile.TemporaryDirectory(prefix="model-cache-lowest-") as scratch:
        constraints = Path(scratch) / "constraints.txt"
        constraints.write_text("".join(f"{name}=={found[name]}\n" for name in bounds))
        python = make(".venv-lowest", interpreter, constraints)
    return suite(python, arguments)


def lower_bounds() -> dict[str, Version]:
    """The `>=` of each requirement that users install."""
    described = project()
    extras = described["optional-dependencies"]
    listed = described["dependencies"]
    assert isinstance(extras, dict)
    assert isinstance(listed, list)
    bounds = {}
    for text in (*listed, *(one for extra in EXTRAS for one in extras[extra])):
        requirement = Requirement(text)
        (specifier,) = (one for one in requirement.specifier if one.operator == ">=")
        bounds[canonicalize_name(requirement.name)] = Version(specifier.version)
    return bounds


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
