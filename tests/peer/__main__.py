"""`python -m tests.peer`: the own tests of `huggingface_hub` for the two downloads, against it and against `model_cache.hf`.

They come from its source distribution, of the release that is installed, and stay outside of this repository. What is
not applicable or fails is in `explained.toml`, with the reason; anything else that does not pass is an error, and so is
an explained failure that passes.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
import tempfile
import tomllib
from importlib.metadata import version
from pathlib import Path

if __package__:
    from .verdict import Table, Verdict, judge
else:
    from verdict import Table, Verdict, judge

HERE = Path(__file__).resolve().parent
DOCS = HERE.parents[1] / "docs/reference/drop-in.md"
PEER = "huggingface_hub"
INI = """[pytest]
addopts = --strict-markers -p no:cacheprovider -q --tb=short
timeout = 120
markers =
    api
    transfer
    inference
    xet
    no_xet
    production
    deprecated
    git_lfs
"""


def main() -> int:
    """Run both sides, print the figures; 0 where all is as the table says."""
    document = tomllib.loads((HERE / "explained.toml").read_text())
    table, release = Table.of(document), version(PEER)
    with tempfile.TemporaryDirectory(prefix="model-cache-peer-") as scratch:
        place = Path(scratch)
        unnamed = lay_out(source(release, place), place / "run", document)
        collected = run(place, "theirs", "--collect-only")
        applicable = [test for test in collected if table.kind(test) is None]
        theirs = run(place, "theirs", wanted=applicable)
        ours = run(place, "ours", wanted=applicable)
    verdict = judge(table, theirs, ours)
    verdict.problems += [f"{name}: calls the functions, and explained.toml does not say what of it" for name in unnamed]
    if figure(verdict) not in DOCS.read_text():
        verdict.problems.append(f"{DOCS.name} does not say: {figure(verdict)}")
    show(release, verdict)
    return 1 if verdict.problems else 0


def source(release: str, place: Path) -> Path:
    """The source distribution of a release, from the package index."""
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    subprocess.run([*pip, "--no-binary", PEER, "--dest", str(place), f"{PEER}=={release}"], check=True)
    return next(place.glob(f"{PEER}-*.tar.gz"))


def lay_out(archive: Path, run: Path, document: dict[str, dict[str, object]]) -> list[str]:
    """Make a package of the tests that are run; returns the files that call the functions and are in no list."""
    tests = run / "tests"
    tests.mkdir(parents=True)
    unnamed = []
    with tarfile.open(archive) as opened:
        for member in opened.getmembers():
            parts = Path(member.name).parts
            if len(parts) != 3 or parts[1] != "tests" or not member.isfile():
                continue
            data = opened.extractfile(member)
            assert data is not None
            text = data.read()
            if parts[2] in document["run"]["files"] or not parts[2].startswith("test_"):
                (tests / parts[2]).write_bytes(text)
            elif parts[2] not in document["not_run"] and (b"hf_hub_download" in text or b"snapshot_download" in text):
                unnamed.append(parts[2])
    (tests / "__init__.py").touch()
    (tests / "conftest.py").write_text("from peer_conftest import *  # noqa: F403\n")
    (run / "pytest.ini").write_text(INI)
    return unnamed


def run(place: Path, side: str, *options: str, wanted: list[str] | None = None) -> dict[str, str]:
    """The outcome of each test, with the functions of one side."""
    outcomes, home = place / "outcomes.json", Path(tempfile.mkdtemp(dir=place))
    outcomes.unlink(missing_ok=True)
    environ = {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "HF_HOME": str(home / "hf"),
        "MODEL_CACHE_DIR": str(home / "model-cache"),
        "PYTHONPATH": str(HERE),
        "PEER_SIDE": side,
        "PEER_OUTCOMES": str(outcomes),
        "PEER_RUN": json.dumps([f"tests/{test}" for test in wanted]) if wanted else "",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    }
    command = [sys.executable, "-m", "pytest", "-c", "pytest.ini", *options, "tests"]
    done = subprocess.run(command, cwd=place / "run", env=environ, capture_output=True, text=True)
    if not options:
        print(f"== {side}\n{done.stdout}{done.stderr}")
    if not outcomes.is_file():
        raise SystemExit(f"{side}: pytest ended with {done.returncode}\n{done.stdout}{done.stderr}")
    found = json.loads(outcomes.read_text())
    return {test.removeprefix("tests/"): outcome for test, outcome in found.items()}


def show(release: str, verdict: Verdict) -> None:
    """Say how it went."""
    for test, why in verdict.explained.items():
        print(f"fails, explained: {test}: {why}")
    for problem in verdict.problems:
        print(f"PROBLEM: {problem}")
    kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(verdict.kinds.items()))
    print(
        f"not applicable: {sum(verdict.kinds.values())} ({kinds}); skipped by the peer itself: {len(verdict.skipped)}"
    )
    share = 100 * len(verdict.passed) / max(1, len(verdict.applicable))
    print(f"{PEER} {release}: {figure(verdict)} with model_cache.hf ({share:.0f} %)")


def figure(verdict: Verdict) -> str:
    """Passed and applicable, in words."""
    return f"{len(verdict.passed)} of {len(verdict.applicable)} applicable tests pass"


if __name__ == "__main__":
    sys.exit(main())
