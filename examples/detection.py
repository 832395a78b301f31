"""Where the objects of a picture are: RT-DETR, fetched on the first call and run with onnxruntime.

    python examples/detection.py photo.jpg boxes.png

The model is `onnx/model.onnx` of `onnx-community/rtdetr_r50vd` (about 175 MB). What is known of it, and from where:

| what | | from |
|---|---|---|
| input | `pixel_values` (1, 3, 640, 640) float32 | `RTDetrForObjectDetection` in transformers and transformers.js |
| outputs | `logits` (1, 300, 80), `pred_boxes` (1, 300, 4) as centre x, centre y, width, height in 0…1 | the same |
| scores | sigmoid, one per class; no suppression of overlapping boxes is needed | the same |
| classes | the 80 of COCO, in this order | the `id2label` of its `config.json` |
| values | 0…1: it does not normalise unless it is told to | transformers' `RTDetrImageProcessor` |

The picture is letterboxed at the top left and normalised as ImageNet's pixels are. `normalise=False` (`--plain`) gives the
values that transformers' preprocessor would: compare both on your pictures.
"""

from __future__ import annotations

import argparse
import sys

import numpy as np
from models import DETECTOR, run, sessions
from pictures import Detection, Floats, Picture, opened, resized, sigmoid, tensor, with_boxes
from PIL import Image

from model_cache import ModelCache

SIDE = 640
MIN_SCORE = 0.5
# fmt: off
LABELS = (
    "person", "bicycle", "car", "motorcycle", "airplane", "bus", "train", "truck", "boat", "traffic light",
    "fire hydrant", "stop sign", "parking meter", "bench", "bird", "cat", "dog", "horse", "sheep", "cow", "elephant",
    "bear", "zebra", "giraffe", "backpack", "umbrella", "handbag", "tie", "suitcase", "frisbee", "skis", "snowboard",
    "sports ball", "kite", "baseball bat", "baseball glove", "skateboard", "surfboard", "tennis racket", "bottle",
    "wine glass", "cup", "fork", "knife", "spoon", "bowl", "banana", "apple", "sandwich", "orange", "broccoli",
    "carrot", "hot dog", "pizza", "donut", "cake", "chair", "couch", "potted plant", "bed", "dining table", "toilet",
    "tv", "laptop", "mouse", "remote", "keyboard", "cell phone", "microwave", "oven", "toaster", "sink",
    "refrigerator", "book", "clock", "vase", "scissors", "teddy bear", "hair drier", "toothbrush",
)
# fmt: on


def detect(
    picture: Picture, *, cache: ModelCache | None = None, min_score: float = MIN_SCORE, normalise: bool = True
) -> list[Detection]:
    """The objects of a picture, the surest first.

    Args:
        picture: A path, or a Pillow image in any mode.
        cache: Where the model is or comes to; None for the root and the settings of the environment.
        min_score: Detections below it are left out.
        normalise: By ImageNet's mean and deviation; False leaves values in 0…1.

    Raises:
        ModelCacheError: The model is not in the cache and does not come.
    """
    image = opened(picture)
    (session,) = sessions(cache or ModelCache(), DETECTOR.repo, DETECTOR.files[0])
    boxed, width, height = letterboxed(image)
    outputs = session.run(["logits", "pred_boxes"], {"pixel_values": tensor(boxed, normalise=normalise)})
    return detections(outputs[0][0], outputs[1][0], image.size, (width, height), min_score)


def letterboxed(image: Image.Image) -> tuple[Image.Image, int, int]:
    """The picture at the top left of a black square, its long side as long as the square's; its width and height there."""
    scale = SIDE / max(image.size)
    width, height = (max(1, round(length * scale)) for length in image.size)
    square = Image.new("RGB", (SIDE, SIDE))
    square.paste(resized(image, width, height))
    return square, width, height


def detections(
    logits: Floats, boxes: Floats, size: tuple[int, int], inner: tuple[int, int], min_score: float
) -> list[Detection]:
    """What the queries found: the best class of each, where it is sure enough and its box has an area in the picture.

    Args:
        logits: (queries, classes).
        boxes: (queries, 4): centre x, centre y, width, height as shares of the square.
        size: Width and height of the picture.
        inner: Width and height of the picture in the square.
        min_score: Of a detection.
    """
    scores = sigmoid(logits)
    best = scores.argmax(1)
    to_picture = SIDE * np.array(size, np.float64) / np.array(inner, np.float64)
    limit = np.array(size, np.float64)
    found = []
    for query in np.flatnonzero(scores.max(1) >= min_score):
        centre, extent = boxes[query, :2].astype(np.float64), boxes[query, 2:].astype(np.float64)
        left, top = ((centre - extent / 2) * to_picture).clip(0, limit).tolist()
        right, bottom = ((centre + extent / 2) * to_picture).clip(0, limit).tolist()
        if left < right and top < bottom:
            score = float(scores[query, best[query]])
            found.append(Detection(LABELS[best[query]], score, (left, top, right, bottom)))
    return sorted(found, key=lambda detection: -detection.score)


def main() -> int:
    """The program."""
    parser = argparse.ArgumentParser(description="Draw a box around each object of a picture.")
    parser.add_argument("picture")
    parser.add_argument("output", nargs="?", help="where the picture with boxes is written")
    parser.add_argument("--min-score", type=float, default=MIN_SCORE, metavar="SCORE")
    parser.add_argument("--plain", action="store_true", help="values in 0…1, not normalised")
    given = parser.parse_args()
    image = opened(given.picture)
    found = detect(image, min_score=given.min_score, normalise=not given.plain)
    for detection in found:
        print(f"{detection.label}  {detection.score:.2f}  " + " ".join(f"{edge:.1f}" for edge in detection.box))
    if given.output:
        with_boxes(image, found).save(given.output)
    return 0


if __name__ == "__main__":
    sys.exit(run(main))
