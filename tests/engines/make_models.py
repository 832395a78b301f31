"""`python make_models.py FOLDER`: small models as the libraries save them, one repo per folder; run in a process of its own."""

import sys
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from sentence_transformers import SentenceTransformer
from sentence_transformers import models as parts
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import TemplateProcessing
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

WORDS = [
    "[PAD]",
    "[UNK]",
    "[CLS]",
    "[SEP]",
    *["a", "cache", "of", "model", "files", "shared", "by", "many", "processes"],
]


def tokenizer():
    """A tokenizer that knows a few words, and brackets each text."""
    made = Tokenizer(WordLevel({word: number for number, word in enumerate(WORDS)}, unk_token="[UNK]"))
    made.pre_tokenizer = Whitespace()
    brackets = [(word, WORDS.index(word)) for word in ("[CLS]", "[SEP]")]
    made.post_processor = TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=brackets)
    names = {"unk_token": "[UNK]", "pad_token": "[PAD]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    return PreTrainedTokenizerFast(tokenizer_object=made, model_max_length=32, **names)


def bert():
    """A BERT of two layers with weights that a seed makes."""
    torch.manual_seed(7)
    shape = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
    return BertModel(BertConfig(vocab_size=len(WORDS), max_position_embeddings=32, **shape)).eval()


def graph(folder):
    """A matrix product whose weights lie in a file beside the graph, as those of large models do."""
    weights = np.arange(4096, dtype=np.float32).reshape(64, 64) / 4096
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, (1, 64)) for name in "xy")
    made = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])], "small", [x], [y], [numpy_helper.from_array(weights, "w")]
    )
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    folder.mkdir()
    onnx.save_model(
        model, folder / "model.onnx", save_as_external_data=True, location="model.onnx_data", size_threshold=0
    )


def main(folder):
    """Save one of each."""
    for name, options in (("whole", {}), ("shards", {"max_shard_size": "20KB"})):
        bert().save_pretrained(folder / name, **options)
        tokenizer().save_pretrained(folder / name)
    transformer = parts.Transformer(str(folder / "whole"), max_seq_length=32)
    pooling = parts.Pooling(transformer.get_embedding_dimension())
    SentenceTransformer(modules=[transformer, pooling], device="cpu").save(str(folder / "sentences"))
    graph(folder / "graph")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
