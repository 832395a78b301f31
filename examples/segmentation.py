"""Which pixels belong together: the object at a point with SAM 2, or everything with DETR, fetched on the first call.

    python examples/segmentation.py photo.jpg mask.png --point 320 240
    python examples/segmentation.py photo.jpg regions.png --panoptic

What is known of the files, and from where:

| file | inputs and outputs | from |
|---|---|---|
| `SharpAI/sam2-hiera-tiny-onnx` `encoder.onnx` (128 MB) | `image` (1, 3, 1024, 1024) float32 → `high_res_feats_0` (1, 32, 256, 256), `high_res_feats_1` (1, 64, 128, 128), `image_embed` (1, 256, 64, 64) | samexporter, which writes such files, and programs that run this one |
| `decoder.onnx` (20 MB) | those three, `point_coords` (1, n, 2) in pixels of the 1024 × 1024 picture, `point_labels` (1, n): 1 for in it, `mask_input` (1, 1, 256, 256), `has_mask_input` (1) → `masks` (1, 3, 256, 256) logits, `iou_predictions` (1, 3) | the same; other exports ask for `orig_im_size`, which is given where it is asked for |
| `Xenova/detr-resnet-50-panoptic` `onnx/model.onnx` (172 MB) | `pixel_values` (1, 3, height, width) float32, `pixel_mask` (1, 64, 64) int64 → `logits` (1, 100, 251), the last one for no object, `pred_boxes` (1, 100, 4), `pred_masks` (1, 100, height / 4, width / 4) logits | transformers.js, whose exports these are and which gives a mask of this shape |
| `config.json` | `id2label`; names from 183 on are placeholders (`LABEL_187`) | programs that run it; the names are those of COCO's panoptic categories |

SAM 2 sees the picture squashed to 1024 × 1024, as its own transforms do; DETR with a short side of 800 and a long one of 1333
at most. Both want values normalised as ImageNet's pixels are.
"""  # noqa: E501 - a table's row is one line

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping

import numpy as np
from models import PANOPTIC, PROMPTED, run, sessions
from pictures import (
    Floats,
    Picture,
    Segment,
    enlarged,
    opened,
    resized,
    sigmoid,
    softmax,
    tensor,
    with_masks,
    with_object,
)

from model_cache import ModelCache

SIDE = 1024
SHORT, LONG = 800, 1333
MIN_SCORE = 0.5
MIN_LEFT = 0.8  # a region that loses more than a fifth of its pixels to surer ones is a double
STUFF = {
    184: "tree-merged",
    185: "fence-merged",
    186: "ceiling-merged",
    187: "sky-other-merged",
    188: "cabinet-merged",
    189: "table-merged",
    190: "floor-other-merged",
    191: "pavement-merged",
    192: "mountain-merged",
    193: "grass-merged",
    194: "dirt-merged",
    195: "paper-merged",
    196: "food-other-merged",
    197: "building-other-merged",
    198: "rock-merged",
    199: "wall-other-merged",
    200: "rug-merged",
}


def segment(picture: Picture, point: tuple[float, float] | None = None, *, cache: ModelCache | None = None) -> Segment:
    """The object at a point of a picture, in its middle if none is given; its label is empty, its score the model's own.

    Raises:
        ModelCacheError: A file is not in the cache and does not come.
        ValueError: The point is not in the picture.
    """
    score, logits = mask_logits(picture, point, cache=cache)
    return Segment("", score, logits > 0)


def mask_logits(
    picture: Picture, point: tuple[float, float] | None = None, *, cache: ModelCache | None = None
) -> tuple[float, Floats]:
    """As `segment`: the score, and for each pixel of the picture how much it belongs to the object (above 0: it does)."""
    image = opened(picture)
    prompt = prompted(point or (image.width / 2, image.height / 2), image.size)
    encoder, decoder = sessions(cache or ModelCache(), PROMPTED.repo, *PROMPTED.files)
    names = [output.name for output in encoder.get_outputs()]
    features = dict(zip(names, encoder.run(names, {"image": tensor(resized(image, SIDE, SIDE))}), strict=True))
    given = {**features, **prompt}
    asked = {wanted.name: given[wanted.name] for wanted in decoder.get_inputs()}
    masks, scores = decoder.run(["masks", "iou_predictions"], asked)
    best = int(scores[0].argmax())
    return float(scores[0, best]), enlarged(masks[0, best], image.height, image.width)


def prompted(point: tuple[float, float], size: tuple[int, int]) -> dict[str, np.ndarray]:
    """The decoder's inputs for a point of a picture of this width and height; there is no mask from before."""
    if not (0 <= point[0] < size[0] and 0 <= point[1] < size[1]):
        raise ValueError(
            f"point {point[0]:g} {point[1]:g}: expected one in the picture, which is {size[0]} × {size[1]}"
        )
    squashed = [[[point[0] * SIDE / size[0], point[1] * SIDE / size[1]]]]
    return {
        "point_coords": np.array(squashed, np.float32),
        "point_labels": np.ones((1, 1), np.float32),
        "mask_input": np.zeros((1, 1, 256, 256), np.float32),
        "has_mask_input": np.zeros(1, np.float32),
        "orig_im_size": np.array([SIDE, SIDE], np.int32),
    }


def segment_panoptic(
    picture: Picture, *, cache: ModelCache | None = None, min_score: float = MIN_SCORE
) -> list[Segment]:
    """The regions of a picture with their names, the surest first; no pixel is in two of them.

    Raises:
        ModelCacheError: A file is not in the cache and does not come.
    """
    image = opened(picture)
    cache = cache or ModelCache()
    with cache.open(PANOPTIC.repo, "config.json") as file:
        labels = json.load(file)["id2label"]
    (session,) = sessions(cache, PANOPTIC.repo, PANOPTIC.files[0])
    pixels = tensor(resized(image, *fitted(*image.size)))
    logits, masks = session.run(
        ["logits", "pred_masks"], {"pixel_values": pixels, "pixel_mask": np.ones((1, 64, 64), np.int64)}
    )
    return regions(logits[0], masks[0], (image.height, image.width), labels, min_score)


def fitted(width: int, height: int) -> tuple[int, int]:
    """The width and height with the short side as DETR wants it, unless the long one would then be too long."""
    scale = min(SHORT / min(width, height), LONG / max(width, height))
    return max(1, round(width * scale)), max(1, round(height * scale))


def regions(
    logits: Floats, masks: Floats, shape: tuple[int, int], labels: Mapping[str, str], min_score: float
) -> list[Segment]:
    """What the queries found: each pixel goes to the query whose score times probability is the highest.

    Only queries that are sure enough of a class take part, and only with pixels that they find more likely than not.
    The planes are enlarged one by one: all of them in a large picture's size would be gigabytes.

    Args:
        logits: (queries, classes + 1), the last for no object.
        masks: (queries, height, width), in the size of the model.
        shape: Height and width of the picture.
        labels: Names of the classes, by their number as text.
        min_score: Of a query.
    """
    scores = softmax(logits)[:, :-1]
    queries = [query for query in np.argsort(-scores.max(1), kind="stable") if scores[query].max() >= min_score]
    surest, owner, areas = np.zeros(shape, np.float32), np.full(shape, -1, np.int32), {}
    for query in queries:
        likely = sigmoid(enlarged(masks[query], *shape))
        inside = likely >= 0.5
        areas[query] = int(inside.sum())
        weight = likely * scores[query].max()
        wins = inside & (weight > surest)
        surest[wins], owner[wins] = weight[wins], query
    found = []
    for query in queries:
        mask = owner == query
        if mask.sum() > MIN_LEFT * areas[query]:
            best = int(scores[query].argmax())
            found.append(Segment(name_of(best, labels), float(scores[query, best]), mask))
    return found


def name_of(number: int, labels: Mapping[str, str]) -> str:
    """The name of a class; where the repo has only a placeholder, that of COCO's panoptic categories."""
    name = labels.get(str(number), f"LABEL_{number}")
    return STUFF.get(number, name) if name.startswith("LABEL_") else name


def main() -> int:
    """The program."""
    parser = argparse.ArgumentParser(description="Tint the object at a point of a picture, or all of its regions.")
    parser.add_argument("picture")
    parser.add_argument("output", nargs="?", help="where the picture with masks is written")
    parser.add_argument("--point", nargs=2, type=float, metavar=("X", "Y"), help="in pixels; the middle if not given")
    parser.add_argument("--panoptic", action="store_true", help="all regions, with their names")
    given = parser.parse_args()
    image = opened(given.picture)
    point = tuple(given.point or (image.width / 2, image.height / 2))
    found = segment_panoptic(image) if given.panoptic else [segment(image, point)]
    for part in found:
        print(f"{part.label or 'object'}  {part.score:.2f}  {part.mask.mean():.1%} of the picture")
    if given.output:
        drawn = with_masks(image, found) if given.panoptic else with_object(image, found[0], point)
        drawn.save(given.output)
    return 0


if __name__ == "__main__":
    sys.exit(run(main))
