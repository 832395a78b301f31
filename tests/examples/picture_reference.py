"""What the small graphs and the examples around them must find, computed in NumPy in double precision, by other ways.

Nothing here imports the examples or onnxruntime. Distances are taken directly, boxes from the pixels that are near, masks row
by row with `np.interp`, regions pixel by pixel from all planes at once.
"""

import numpy as np
from picture_graphs import DEVIATION, MEAN, REGIONS, SHARPNESS, THINGS, THRESHOLDS
from PIL import Image


def pixels(image, width, height):
    """An RGB picture in this size as the models see it: (height, width, 3)."""
    values = np.asarray(image.resize((width, height), Image.Resampling.BILINEAR), np.float64)
    return (values / 255 - MEAN) / DEVIATION


def distance(values, colour):
    """The squared distance of each pixel from a colour in 0…255."""
    return ((values - (np.array(colour) / 255 - MEAN) / DEVIATION) ** 2).sum(2)


def limit(reach):
    """The squared distance within which a pixel counts as of the colour."""
    return (reach / DEVIATION.mean()) ** 2


def boxes(image, min_score=0.5):
    """{label: (score, left, top, right, bottom)} of the scene's things."""
    scale = 640 / max(image.size)
    width, height = (max(1, round(side * scale)) for side in image.size)
    square = np.broadcast_to(-MEAN / DEVIATION, (640, 640, 3)).copy()
    square[:height, :width] = pixels(image, width, height)
    found = {}
    for name, (_, _, colour, reach) in THINGS.items():
        rows, columns = np.nonzero(distance(square, colour) < limit(reach))
        area = len(rows) / 640**2
        score = 1 / (1 + np.exp(6 - 10 * area / (area + 0.0003)))
        if len(rows) and score >= min_score:
            across, down = image.width / width, image.height / height
            edges = (columns.min() * across, rows.min() * down, (columns.max() + 1) * across, (rows.max() + 1) * down)
            found[name] = (score, *np.clip(edges, 0, (*image.size, *image.size)))
    return found


def enlarged(plane, height, width):
    """A plane in another size, one line after the other."""
    across = (np.arange(width) + 0.5) * plane.shape[1] / width - 0.5
    down = (np.arange(height) + 0.5) * plane.shape[0] / height - 0.5
    rows = np.array([np.interp(across, np.arange(plane.shape[1]), row) for row in plane])
    return np.array([np.interp(down, np.arange(plane.shape[0]), column) for column in rows.T]).T


def object_at(image, point):
    """(score, logits of each pixel) of what looks as the picture does at the point."""
    values = pixels(image, 1024, 1024)
    small = values.reshape(256, 4, 256, 4, 3).mean((1, 3))
    grid = (np.arange(256) + 0.5) / 256
    across, down = (
        np.exp(-(((grid - at / side) / SHARPNESS) ** 2) / 2) for at, side in zip(point, image.size, strict=True)
    )
    weights = down[:, None] * across
    there = (small * weights[..., None]).sum((0, 1)) / weights.sum()
    off = ((small - there) ** 2).sum(2)
    # Of the three candidates the middle one has the best score. Channels beyond the three colours are zero.
    logits = np.clip(8 * (THRESHOLDS[1] - off) / THRESHOLDS[1], -8, 8)
    mean = small.mean()
    score = 0.93 + 0.02 * np.tanh(mean * 3 / 256 + mean * 3 / 64)
    return score, enlarged(logits, image.height, image.width)


def regions(image):
    """{number of the class: (score, mask)} of the scene's things and stuff."""
    scale = min(800 / min(image.size), 1333 / max(image.size))
    fourth = pixels(image, *(max(1, round(side * scale)) for side in image.size))[::4, ::4]
    planes, scores = [], []
    for _, colour, reach in REGIONS:
        share = distance(fourth, colour) / limit(reach)
        area = (share < 1).mean()
        evidence = np.exp(12 * area / (area + 0.0004))
        scores.append(evidence / (evidence + np.exp(4) + 249))
        planes.append(1 / (1 + np.exp(-enlarged(np.clip(6 * (1 - share), -6, 6), image.height, image.width))))
    planes, scores = np.array(planes), np.array(scores)
    taking = np.where((planes >= 0.5) & (scores >= 0.5)[:, None, None], planes * scores[:, None, None], 0)
    owner = np.where(taking.max(0) > 0, taking.argmax(0), -1)
    found = {}
    for query, (number, _, _) in enumerate(REGIONS):
        if scores[query] >= 0.5 and (owner == query).sum() > 0.8 * (planes[query] >= 0.5).sum():
            found[number] = (scores[query], owner == query)
    return found
