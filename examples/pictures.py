"""Pictures as models want them and as people want them: pixels to tensors, boxes and masks onto pixels.

Everything but `opened` is a pure function; arrays are `(height, width)` and boxes `(left, top, right, bottom)` in pixels.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageColor, ImageDraw, ImageFilter, ImageFont, ImageOps

Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]
Picture = Image.Image | str | os.PathLike[str]

MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet's pixels in 0…1, red, green, blue
PALETTE = ("#4059ad", "#e4572e", "#a23bb2", "#f2b134", "#1b6ca8", "#2ec4d6", "#3f9b3f", "#ff8552", "#d6a800", "#6b4e71")


@dataclass(frozen=True)
class Detection:
    """An object: what it is, how sure that is (0…1), and its box in pixels of the picture."""

    label: str
    score: float
    box: tuple[float, float, float, float]


@dataclass(frozen=True)
class Segment:
    """A region: what it is, how sure that is (0…1), and a mask of the picture's size that is true in it."""

    label: str
    score: float
    mask: Mask


def opened(picture: Picture) -> Image.Image:
    """The picture upright, in RGB; what is transparent is white."""
    if not isinstance(picture, Image.Image):
        with Image.open(picture) as image:
            return opened(image)
    upright = ImageOps.exif_transpose(picture)
    if upright.mode.startswith("I"):  # grey of two bytes per pixel, which `convert` would cut off at 255
        return Image.fromarray((np.asarray(upright) // 256).clip(0, 255).astype(np.uint8)).convert("RGB")
    if upright.has_transparency_data:
        upright = upright.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", upright.size, "white"), upright).convert("RGB")
    return upright.convert("RGB")


def resized(image: Image.Image, width: int, height: int) -> Image.Image:
    """The picture in another size, bilinear."""
    return image.resize((width, height), Image.Resampling.BILINEAR)


def tensor(image: Image.Image, *, normalise: bool = True) -> Floats:
    """An RGB picture as float32 of shape (1, 3, height, width), in 0…1 or by ImageNet's mean and deviation."""
    values: Floats = np.asarray(image, np.float32) / np.float32(255)
    if normalise:
        mean, deviation = np.array([MEAN, DEVIATION], np.float32)
        values = (values - mean) / deviation
    return np.ascontiguousarray(values.transpose(2, 0, 1)[None])


def sigmoid(values: Floats) -> Floats:
    """Logits as probabilities, without overflow."""
    return np.tanh(values / np.float32(2)) / np.float32(2) + np.float32(0.5)  # type: ignore[no-any-return]


def softmax(values: Floats) -> Floats:
    """Logits as probabilities that sum to 1 over the last axis."""
    raised: Floats = np.exp(values - values.max(-1, keepdims=True))
    return raised / raised.sum(-1, keepdims=True)  # type: ignore[no-any-return]


def enlarged(plane: Floats, height: int, width: int) -> Floats:
    """A plane of logits in another size, bilinear between the centres of its pixels, as PyTorch's `interpolate` does."""

    def between(old: int, new: int) -> tuple[Any, Any, Any]:
        centres = ((np.arange(new) + 0.5) * old / new - 0.5).clip(0, old - 1)
        low = np.floor(centres).astype(np.intp)
        return low, np.minimum(low + 1, old - 1), (centres - low).astype(np.float32)

    low, high, share = between(plane.shape[0], height)
    rows: Floats = plane[low] * (1 - share)[:, None] + plane[high] * share[:, None]
    low, high, share = between(plane.shape[1], width)
    columns: Floats = rows[:, low] * (1 - share) + rows[:, high] * share
    return columns


def colours(labels: Sequence[str]) -> dict[str, tuple[int, int, int]]:
    """A colour for each label, the same for all that have it."""
    distinct = dict.fromkeys(labels)
    return {
        label: ImageColor.getcolor(PALETTE[number % len(PALETTE)], "RGB")[:3]  # type: ignore[index,misc]
        for number, label in enumerate(distinct)
    }


def with_boxes(image: Image.Image, detections: Sequence[Detection]) -> Image.Image:
    """A copy with a box around each detection and a label on it; the surest is drawn last, on top."""
    drawn = image.copy()
    pen = ImageDraw.Draw(drawn)
    line = max(2, round(min(image.size) / 200))
    colour = colours(sorted(detection.label for detection in detections))
    for detection in reversed(detections):
        left, top, right, bottom = detection.box
        pen.rounded_rectangle(
            (left, top, max(left, right - 1), max(top, bottom - 1)),
            2 * line,
            outline=colour[detection.label],
            width=line,
        )
        _chip(pen, (left, top), f"{detection.label} {detection.score:.0%}", colour[detection.label], image.size)
    return drawn


def with_masks(image: Image.Image, segments: Sequence[Segment], strength: float = 0.6) -> Image.Image:
    """A copy in which each segment is tinted and has an outline, and its label in its middle."""
    pixels = np.asarray(image, np.float32)
    colour = colours(sorted(segment.label for segment in segments))
    for segment in segments:
        inside = _softened(segment.mask)
        pixels = pixels + strength * inside * (np.array(colour[segment.label], np.float32) - pixels)
    for segment in segments:
        pixels = _outlined(pixels, segment.mask)
    drawn = Image.fromarray(pixels.round().astype(np.uint8))
    pen = ImageDraw.Draw(drawn)
    for segment in segments:
        if segment.mask.any():
            _chip(pen, _middle(segment.mask), segment.label, colour[segment.label], image.size)
    return drawn


def with_object(image: Image.Image, segment: Segment, point: tuple[float, float]) -> Image.Image:
    """A copy in which all but the segment is pale and grey, with an outline around it and a ring at the point."""
    pixels = np.asarray(image, np.float32)
    pale = 150 + 0.4 * np.asarray(image.convert("L"), np.float32)[..., None]
    pixels = _outlined(pale + _softened(segment.mask) * (pixels - pale), segment.mask)
    drawn = Image.fromarray(pixels.round().astype(np.uint8))
    radius = max(4, round(min(image.size) / 60))
    x, y = point
    pen = ImageDraw.Draw(drawn)
    for size, fill in ((radius, "white"), (0.62 * radius, PALETTE[0])):
        pen.ellipse((x - size, y - size, x + size, y + size), fill=fill)
    return drawn


def _softened(mask: Mask) -> Floats:
    """A mask as shares in 0…1 with a soft edge, of shape (height, width, 1)."""
    blurred = Image.fromarray(mask.astype(np.uint8) * 255).filter(ImageFilter.GaussianBlur(min(mask.shape) / 400))
    return np.asarray(blurred, np.float32)[..., None] / np.float32(255)


def _outlined(pixels: Floats, mask: Mask) -> Floats:
    """Pixels with a white line where the mask ends, strongest where its soft edge is half."""
    inside = _softened(mask)
    return pixels + 4 * inside * (1 - inside) * (255 - pixels)


def _middle(mask: Mask) -> tuple[float, float]:
    """A point in the mask for its label: in the middle of the longest run of its middle row."""
    rows = np.flatnonzero(mask.any(1))
    row = int(rows[len(rows) // 2])
    runs = np.flatnonzero(np.diff(np.concatenate(([0], mask[row].astype(np.int8), [0]))))
    left, right = max(runs.reshape(-1, 2).tolist(), key=lambda run: run[1] - run[0])
    return (left + right) / 2, float(row)


def _chip(
    pen: ImageDraw.ImageDraw, at: tuple[float, float], text: str, colour: tuple[int, int, int], size: tuple[int, int]
) -> None:
    """A label on a plate of its colour, moved so that it is in the picture as far as it fits."""
    font = ImageFont.load_default(max(10, round(min(size) / 36)))
    left, top, right, bottom = pen.textbbox((0, 0), text, font=font)
    space = round(0.35 * (bottom - top))
    width, height = right - left + 2 * space, bottom - top + 2 * space
    x = min(max(0.0, at[0]), max(0.0, size[0] - width))
    y = min(max(0.0, at[1] - height), max(0.0, size[1] - height))
    pen.rounded_rectangle((x, y, x + width, y + height), space, fill=colour)
    dark = 0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2] > 150
    pen.text((x + space - left, y + space - top), text, font=font, fill="#1c1c1c" if dark else "white")
