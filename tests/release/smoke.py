"""What somebody does with a fresh install, who has nothing of ours but the package: `python -I smoke.py [--demo]`.

Run by the interpreter of an environment that holds the package and what it needs, and no more. Exits 1 at the first thing
that comes out other than it should.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import tempfile
from importlib.metadata import distributions, version
from importlib.util import find_spec
from pathlib import Path

import model_cache
from model_cache.testing import HubProcess

COMMAND = [str(Path(sysconfig.get_path("scripts")) / "model-cache")]
REPO, FILE, BYTES = "owner/name", "model.bin", bytes(range(256)) * 1000
ABSENT = ("pytest", "hypothesis", "obstore", "psycopg", "huggingface_hub", "numpy")


def main() -> None:
    """All of it, in the order a user would."""
    check_install()
    with tempfile.TemporaryDirectory(prefix="model-cache-smoke-") as scratch:
        place = Path(scratch)
        file = place / "hub" / "models" / REPO / FILE
        file.parent.mkdir(parents=True)
        file.write_bytes(BYTES)
        with HubProcess(place / "hub") as hub:
            use(place, {"HF_ENDPOINT": hub.url, "MODEL_CACHE_DIR": str(place / "cache"), "HOME": str(place)})
            use_the_drop_in(place, hub.url)
    if "--demo" in sys.argv:
        said = run({}, "demo").stdout
        assert "All of it came out as promised" in said, said


def check_install() -> None:
    """The package is the installed one, whole, and nothing of the extras is there."""
    place = Path(model_cache.__file__).parent
    assert place.is_relative_to(sysconfig.get_path("purelib")), place
    assert (place / "py.typed").is_file(), "type checkers find no marker"
    assert model_cache.__version__ == version("model-cache"), version("model-cache")
    found = [name for name in ABSENT if find_spec(name)]
    assert not found, f"not alone: {found} in {sorted(one.name for one in distributions())}"


def run(
    environ: dict[str, str], *arguments: str, code: int = 0, program: list[str] = COMMAND
) -> subprocess.CompletedProcess[str]:
    """One command, which must end with this exit code and without a traceback."""
    own = {"PATH": os.environ["PATH"], "LANG": "C.UTF-8", "PYTHONWARNINGS": "error"}
    done = subprocess.run([*program, *arguments], env=own | environ, capture_output=True, text=True, timeout=120)
    assert done.returncode == code, f"{arguments} ended with {done.returncode}: {done.stdout}{done.stderr}"
    assert "Traceback" not in done.stderr, done.stderr
    return done


def use(place: Path, environ: dict[str, str]) -> None:
    """Fetch, hit, verify, evict; what an extra would be needed for says which."""
    said = run(environ, "--version").stdout
    assert said == f"model-cache {model_cache.__version__}\n", said
    assert run(environ, "--version", program=[sys.executable, "-I", "-m", "model_cache"]).stdout == said
    first, second = (json.loads(run(environ, "fetch", REPO, FILE, "--json").stdout)["files"][0] for _ in range(2))
    assert (first["source"], second["source"]) == ("download", "hit"), (first, second)
    assert Path(first["path"]).read_bytes() == BYTES
    assert json.loads(run(environ, "verify", "--json").stdout)["ok"] == 1
    assert REPO in run(environ, "ls").stdout
    assert "_model_cache_completion" in run(environ, "completion", "bash").stdout
    assert run(environ, "report", "-o", str(place / "page.html")).returncode == 0
    for idle, verdict in (("10m", "spared"), ("0s", "evicted")):  # what was just used stays, unless told otherwise
        report = json.loads(run(environ | {"MODEL_CACHE_MIN_IDLE": idle}, "gc", "--max-size", "1", "--json").stdout)
        assert [one["filename"] for one in report[verdict]] == [FILE], report
    far = environ | {"MODEL_CACHE_TIER": "s3://bucket/prefix"}
    lacking = run(far, "fetch", "--force", REPO, FILE, code=2).stderr.splitlines()
    assert len(lacking) == 2, lacking
    assert "needs the extra 's3'" in lacking[0], lacking
    assert lacking[1] == "hint: pip install 'model-cache[s3]'", lacking


def use_the_drop_in(place: Path, url: str) -> None:
    """The face of `huggingface_hub`, which is not installed."""
    from model_cache.hf import hf_hub_download

    found = hf_hub_download(REPO, FILE, cache_dir=place / "other", endpoint=url, token=False)
    assert Path(found).read_bytes() == BYTES
    try:
        hf_hub_download(REPO, "none.bin", cache_dir=place / "other", endpoint=url, token=False, local_files_only=True)
    except model_cache.OfflineMissError:
        return
    raise AssertionError("a miss without the network was none")


if __name__ == "__main__":
    main()
