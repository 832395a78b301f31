"""The examples find what a NumPy reference finds, whatever the picture."""

import json

import detection
import models
import numpy as np
import picture_reference as reference
import picture_scene
import pictures
import pytest
import segmentation
from docs_picture import POINT, drawn
from picture_equipment import EXAMPLES, NUMBERS, ROOT
from PIL import Image


def assert_boxes_as_computed(found, image, **options):
    """The detections are those of the reference, to 1e-4."""
    expected = reference.boxes(image, **options)
    assert {one.label for one in found} == set(expected)
    for one in found:
        score, *box = expected[one.label]
        assert one.box == pytest.approx(box, abs=1e-4)
        assert one.score == pytest.approx(score, abs=1e-4)
    assert [one.score for one in found] == sorted((one.score for one in found), reverse=True)


@pytest.mark.parametrize("size", [None, (961, 601), (333, 517), (1400, 90), (31, 17)], ids=str)
def test_boxes_are_those_that_numpy_computes(models_cache, scene, size):
    """Labels, scores and boxes in pixels are those of the reference to 1e-4, whatever the shape of the picture."""
    image = scene if size is None else scene.resize(size)
    found = detection.detect(image, cache=models_cache)
    assert_boxes_as_computed(found, image)
    assert size is not None or {one.label for one in found} == set(picture_scene.THINGS)


@pytest.mark.parametrize("size", [None, (961, 601), (333, 517), (31, 17)], ids=str)
def test_the_mask_at_a_point_is_the_one_that_numpy_computes(models_cache, scene, size):
    """The logits of each pixel of the picture are those of the reference to 1e-4, and so is the score."""
    image = scene if size is None else scene.resize(size)
    point = (POINT[0] * image.width / 960, POINT[1] * image.height / 600)
    score, logits = segmentation.mask_logits(image, point, cache=models_cache)
    expected_score, expected = reference.object_at(image, point)
    assert logits.shape == (image.height, image.width)
    assert np.abs(logits - expected).max() <= 1e-4
    assert score == pytest.approx(expected_score, abs=1e-4)
    found = segmentation.segment(image, point, cache=models_cache)
    assert np.array_equal(found.mask, logits > 0)
    assert found.mask[int(point[1]), int(point[0])]


@pytest.mark.parametrize("size", [None, (961, 601), (333, 517), (1400, 90)], ids=str)
def test_regions_are_those_that_numpy_computes(models_cache, scene, size):
    """Names, scores and masks are those of the reference; of a million pixels, one in 10,000 may fall the other way."""
    image = scene if size is None else scene.resize(size)
    found = segmentation.segment_panoptic(image, cache=models_cache)
    expected = reference.regions(image)
    assert {NUMBERS[part.label] for part in found} == set(expected)
    for part in found:
        score, mask = expected[NUMBERS[part.label]]
        assert part.score == pytest.approx(score, abs=1e-4)
        assert np.mean(part.mask != mask) <= 1e-4
    assert sum(part.mask.astype(int) for part in found).max() == 1
    assert size is not None or {part.label for part in found} == set(NUMBERS)


def test_a_picture_may_have_any_mode(scene):
    """Grey, with a palette, with an alpha channel, in four inks: `opened` gives RGB, and white where it is transparent."""
    grey = scene.convert("L")
    assert np.array_equal(np.asarray(pictures.opened(grey)), np.asarray(grey)[..., None].repeat(3, 2))
    clear = scene.convert("RGBA")
    clear.paste((10, 20, 30, 0), (0, 0, 50, 40))
    clear.paste((0, 0, 0, 128), (50, 0, 100, 40))
    seen = np.asarray(pictures.opened(clear))
    assert (seen[:40, :50] == 255).all() and (np.abs(seen[:40, 50:100] - 127.0) <= 1).all()
    assert np.array_equal(seen[40:], np.asarray(scene)[40:])
    for mode in ("P", "CMYK", "1", "LA", "YCbCr"):
        opened = pictures.opened(scene.convert(mode))
        assert (opened.mode, opened.size) == ("RGB", scene.size)


def test_a_grey_picture_may_have_sixteen_bits(scene, tmp_path):
    """Of two bytes per pixel the upper one is looked at."""
    grey = np.asarray(scene.convert("L"))
    Image.fromarray(grey.astype(np.uint16) * 256 + 200).save(tmp_path / "deep.png")
    assert np.array_equal(np.asarray(pictures.opened(tmp_path / "deep.png")), grey[..., None].repeat(3, 2))


def test_values_are_normalised_unless_they_are_not_to_be(scene):
    """A tensor has shape (1, 3, height, width), and values in 0…1 or by ImageNet's mean and deviation."""
    image = scene.resize((5, 4))
    plain = pictures.tensor(image, normalise=False)
    assert plain.shape == (1, 3, 4, 5) and plain.dtype == np.float32
    assert plain[0, :, 2, 1].tolist() == pytest.approx([value / 255 for value in image.getpixel((1, 2))], abs=1e-6)
    usual = (plain[0].transpose(1, 2, 0) - reference.MEAN) / reference.DEVIATION
    assert np.abs(pictures.tensor(image)[0].transpose(1, 2, 0) - usual).max() < 1e-5


def test_a_session_is_kept_and_its_file_is_not(models_cache, scene, served):
    """After the first call nothing holds the model's file: it can be removed, and later calls neither want nor fetch it."""
    first = detection.detect(scene, cache=models_cache)
    removed = models_cache.remove(models.DETECTOR.repo)
    assert len(removed.removed) == 1 and removed.in_use == []
    assert detection.detect(scene, cache=models_cache) == first
    assert served.body_gets() == 1


def test_a_grey_and_a_transparent_picture_are_looked_at(models_cache, scene):
    """What is found in a grey picture and in one with an alpha channel is what the reference finds in what is seen of it."""
    found = detection.detect(scene.convert("L"), cache=models_cache)
    assert_boxes_as_computed(found, scene.convert("L").convert("RGB"))
    clear = scene.convert("RGBA")
    clear.putalpha(Image.new("L", scene.size, 255))
    clear.paste((200, 48, 42, 0), (0, 0, 960, 140))
    found = detection.detect(clear, cache=models_cache)
    assert_boxes_as_computed(found, pictures.opened(clear))
    assert {one.label for one in found} >= {"boat", "umbrella"}


@pytest.mark.parametrize(
    ("orientation", "turn"),
    [
        (3, Image.Transpose.ROTATE_180),
        (6, Image.Transpose.ROTATE_90),
        (8, Image.Transpose.ROTATE_270),
        (2, Image.Transpose.FLIP_LEFT_RIGHT),
    ],
)
def test_a_picture_that_lies_on_its_side_is_turned_upright(models_cache, scene, tmp_path, orientation, turn):
    """A picture stored turned, with an EXIF orientation, gives the boxes of the upright one."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    scene.transpose(turn).save(tmp_path / "turned.png", exif=exif)
    assert detection.detect(tmp_path / "turned.png", cache=models_cache) == detection.detect(scene, cache=models_cache)


@pytest.mark.parametrize("size", [(1, 1), (3, 2), (1, 500), (2000, 1)], ids=str)
def test_a_tiny_picture_is_one_thing(models_cache, size):
    """A picture of a few pixels of one colour is one object, one region, and one box of its size."""
    image = Image.new("RGB", size, picture_scene.THINGS["kite"][2])
    (found,) = detection.detect(image, cache=models_cache)
    assert (found.label, found.box) == ("kite", pytest.approx((0, 0, *size), abs=1e-3))
    assert segmentation.segment(image, cache=models_cache).mask.all()
    (part,) = segmentation.segment_panoptic(image, cache=models_cache)
    assert part.label == "kite" and part.mask.shape == (size[1], size[0]) and part.mask.all()
    drawn_on = [pictures.with_boxes(image, [found]), pictures.with_masks(image, [part])]
    assert {picture.size for picture in [*drawn_on, pictures.with_object(image, part, (0, 0))]} == {size}


def test_what_is_not_sure_enough_is_left_out(models_cache, scene):
    """`min_score` decides which detections and regions are returned."""
    found = detection.detect(scene, cache=models_cache, min_score=0.96)
    assert_boxes_as_computed(found, scene, min_score=0.96)
    assert 0 < len(found) < len(picture_scene.THINGS)
    surest = segmentation.segment_panoptic(scene, cache=models_cache, min_score=0.998)
    assert {part.label for part in surest} == {"sky-other-merged", "sand", "sea"}


def test_a_region_that_surer_ones_cover_is_left_out():
    """Of two queries that found the same pixels the surer one has them, and the other one is not returned."""
    logits = np.full((3, 4), -9.0, np.float32)
    logits[[0, 1, 2], [0, 1, 3]] = 0, 9, 9
    masks = np.full((3, 2, 4), 5.0, np.float32)
    logits[0, 0] = -6
    (found,) = segmentation.regions(logits, masks, (4, 8), {"1": "second"}, 0.5)
    assert found.label == "second" and found.mask.all()


def test_a_box_ends_where_the_picture_does():
    """A box over an edge is cut there, one in the padding or without an area is left out, and the surest comes first."""
    logits = np.full((4, 80), -9.0, np.float32)
    logits[[0, 1, 2, 3], [0, 1, 2, 3]] = 1, 3, 2, 2
    boxes = np.array([[0.5, 0.25, 0.5, 1], [0, 0, 0.5, 0.5], [0.5, 0.9, 0.2, 0.1], [0.5, 0.2, 0, 0.1]], np.float32)
    found = detection.detections(logits, boxes, (1280, 640), (640, 320), 0.5)
    assert [(one.label, one.box) for one in found] == [
        ("bicycle", (0, 0, 320, 320)),
        ("person", (320, 0, 960, 640)),
    ]


def test_overflow_does_not_come_of_large_logits():
    """`sigmoid` and `softmax` hold for logits at which e to the power of them is infinite."""
    assert pictures.sigmoid(np.array([-2000, 0, 2000], np.float32)).tolist() == [0, 0.5, 1]
    assert pictures.softmax(np.array([[2000, 0, 2000]], np.float32)).tolist() == [[0.5, 0, 0.5]]


@pytest.mark.parametrize("point", [(-1, 5), (5, 600), (960, 0)])
def test_a_point_beside_the_picture_is_refused(models_cache, scene, served, point):
    """The error names the point and the size, and nothing was downloaded for it."""
    with pytest.raises(
        ValueError, match=f"point {point[0]} {point[1]}: expected one in the picture, which is 960 × 600"
    ):
        segmentation.segment(scene, point, cache=models_cache)
    assert served.requests == []


def test_placeholders_of_the_panoptic_repo_have_names(graphs):
    """A class that the repo calls `LABEL_187` is called what COCO calls it, any other what the repo calls it."""
    labels = json.loads(graphs["Xenova/detr-resnet-50-panoptic"]["config.json"])["id2label"]
    assert labels["187"] == "LABEL_187"
    assert segmentation.name_of(187, labels) == "sky-other-merged"
    assert segmentation.name_of(155, labels) == "sea"
    assert segmentation.name_of(999, labels) == "LABEL_999"


def test_the_classes_are_cocos():
    """80 names, each once, in the order of the model's own numbers."""
    assert len(detection.LABELS) == len(set(detection.LABELS)) == 80
    assert [detection.LABELS[row[0]] for row in picture_scene.THINGS.values()] == list(picture_scene.THINGS)


def near(first, second):
    """Whether two pictures look the same: other versions of Pillow draw edges and letters a little differently."""
    return first.size == second.size and np.abs(np.asarray(first, float) - np.asarray(second, float)).mean() < 1.5


def test_the_picture_in_the_docs_is_what_the_examples_draw(models_cache, scene):
    """The scene and the picture that are checked in are those that the code draws now."""
    with Image.open(EXAMPLES / "beach.png") as image:
        assert near(image.convert("RGB"), scene)
    with Image.open(ROOT / "docs" / "images" / "beach.png") as image:
        assert near(image.convert("RGB"), drawn(models_cache))
