"""Which models the examples use, and how a session is made of a file in the cache.

The names of inputs and outputs stand where they are used. They were not read from the real files: they are what public
programs that run these very files say of them, and the examples ask a session which of its inputs it has.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass

import onnxruntime

from model_cache import ModelCache, ModelCacheError


@dataclass(frozen=True)
class Model:
    """One repo, and the files of it that a category needs."""

    category: str
    repo: str
    files: tuple[str, ...]


DETECTOR = Model("detection", "onnx-community/rtdetr_r50vd", ("onnx/model.onnx",))
PROMPTED = Model("segmentation", "SharpAI/sam2-hiera-tiny-onnx", ("encoder.onnx", "decoder.onnx"))
PANOPTIC = Model("segmentation", "Xenova/detr-resnet-50-panoptic", ("onnx/model.onnx", "config.json"))
MODELS = (DETECTOR, PROMPTED, PANOPTIC)

_sessions: dict[tuple[str, ...], tuple[onnxruntime.InferenceSession, ...]] = {}
_loading = threading.Lock()


def sessions(cache: ModelCache, repo: str, *filenames: str) -> tuple[onnxruntime.InferenceSession, ...]:
    """A session for each file, made on the first call and kept for the life of the process.

    **Concurrency.** The leases keep all the files from eviction and update until every session is made, so that encoder
    and decoder are of one commit; onnxruntime has then read them. Of many processes, and of many threads, one downloads.
    """
    key = tuple(str(cache.path(repo, filename)) for filename in filenames)
    with _loading:
        if key not in _sessions:
            options = onnxruntime.SessionOptions()
            options.log_severity_level = 3  # errors; what the exporter left unused in a graph is of no interest here
            with ExitStack() as leases:
                paths = [leases.enter_context(cache.lease(repo, filename)) for filename in filenames]
                _sessions[key] = tuple(
                    onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
                    for path in paths
                )
        return _sessions[key]


def run(job: Callable[[], int]) -> int:
    """The exit code of a program: as the command's, with one line on stderr and a hint, never a traceback."""
    try:
        return job()
    except ModelCacheError as error:
        print(f"error: {error}", file=sys.stderr)
        if error.hint:
            print(f"hint: {error.hint}", file=sys.stderr)
        return error.exit_code
    except (OSError, ValueError) as error:  # a picture that is not there or is none, a point that is not in it
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
