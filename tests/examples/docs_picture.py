"""Draws the picture of the docs: the scene, its boxes, the object at a point, and its regions.

`PYTHONPATH=examples python tests/examples/docs_picture.py docs/images/beach.png` draws it again.
"""

import sys
import tempfile

import picture_graphs
import picture_scene
from detection import detect
from pictures import with_boxes, with_masks, with_object
from PIL import Image
from segmentation import segment, segment_panoptic

from model_cache import ModelCache
from model_cache.testing import LoopbackHub

POINT = (640, 280)  # in the boat's sail
GAP = 16


def drawn(cache):
    """Four pictures in one, with a cache that has the models or gets them."""
    scene = picture_scene.drawn()
    panels = [
        scene,
        with_boxes(scene, detect(scene, cache=cache)),
        with_object(scene, segment(scene, POINT, cache=cache), POINT),
        with_masks(scene, segment_panoptic(scene, cache=cache)),
    ]
    width, height = scene.size
    sheet = Image.new("RGB", (2 * width + GAP, 2 * height + GAP), "white")
    for number, panel in enumerate(panels):
        sheet.paste(panel, (number % 2 * (width + GAP), number // 2 * (height + GAP)))
    return sheet


if __name__ == "__main__":
    with LoopbackHub() as hub, tempfile.TemporaryDirectory() as root:
        for repo, files in picture_graphs.repos().items():
            hub.add_repo(repo, files)
        drawn(ModelCache(root, endpoint=hub.url, token=False)).save(sys.argv[1], optimize=True)
