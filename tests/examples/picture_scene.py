"""The picture that the examples are shown on, drawn: a beach where each thing has a colour that nothing else has.

`python tests/examples/picture_scene.py examples/beach.png` draws it again.
"""

import math
import sys

from PIL import Image, ImageDraw

WIDTH, HEIGHT, FINE = 960, 600, 4  # drawn four times as large, so that edges are smooth

# (number among COCO's 80 classes, number among DETR's panoptic ones, colour, how far a colour may be from it in 0…1)
THINGS = {
    "boat": (8, 9, (200, 48, 42), 0.16),
    "kite": (33, 38, (168, 54, 150), 0.16),
    "umbrella": (25, 28, (246, 190, 40), 0.12),
    "sports ball": (32, 37, (34, 140, 84), 0.16),
    "bird": (14, 16, (38, 42, 60), 0.16),
    "surfboard": (37, 42, (240, 122, 60), 0.12),
}
# (number among DETR's panoptic classes, colour, how far)
STUFF = {
    "sky-other-merged": (187, (178, 216, 238), 0.24),
    "sea": (155, (38, 128, 160), 0.28),
    "sand": (154, (233, 212, 168), 0.14),
}
HORIZON, SHORE = 300, 420


def drawn():
    """The scene."""
    image = Image.new("RGB", (WIDTH * FINE, HEIGHT * FINE))
    pen = ImageDraw.Draw(image)
    _sky_and_sea(pen)
    for paint in (_boat, _kite, _birds, _umbrella, _ball, _surfboard):
        paint(pen)
    return image.resize((WIDTH, HEIGHT), Image.Resampling.BOX)


def _colour(name):
    return THINGS[name][2]


def _at(*points):
    """Points in pixels of the finished picture, as the pen wants them."""
    return [(x * FINE, y * FINE) for x, y in points]


def _mixed(first, second, share):
    return tuple(round(a + (b - a) * share) for a, b in zip(first, second, strict=True))


def _sky_and_sea(pen):
    """Two gradients, the sun, hills of cloud, and a shore with foam."""
    for y in range(HEIGHT * FINE):
        row = y / FINE
        if row < HORIZON:
            colour = _mixed((140, 196, 232), (214, 232, 240), row / HORIZON)
        else:
            colour = _mixed((24, 104, 146), (64, 158, 176), min(1, (row - HORIZON) / (SHORE - HORIZON)))
        pen.line([(0, y), (WIDTH * FINE, y)], fill=colour)
    pen.ellipse(_at((96, 44), (176, 124)), fill=(255, 246, 214))
    for x, y, size in ((330, 92, 30), (372, 80, 40), (418, 94, 28), (640, 196, 22), (676, 188, 30), (712, 198, 20)):
        pen.ellipse(_at((x - 1.5 * size, y - 0.7 * size), (x + 1.5 * size, y + 0.7 * size)), fill=(222, 236, 243))
    for number in range(26):
        x, y = (number * 173) % WIDTH, HORIZON + 14 + (number * 37) % 92
        pen.line(_at((x, y), (x + 26, y)), fill=(96, 172, 190), width=2 * FINE)
    wave = [(x, SHORE + 12 * math.sin(x / 90) + 5 * math.sin(x / 31)) for x in range(0, WIDTH + 1, 4)]
    pen.polygon(_at(*[(x, y - 9) for x, y in wave], (WIDTH, HEIGHT), (0, HEIGHT)), fill=(206, 230, 228))
    pen.polygon(_at(*wave, (WIDTH, HEIGHT), (0, HEIGHT)), fill=(233, 212, 168))
    for number in range(420):
        x, y = (number * 397.3) % WIDTH, SHORE + 28 + (number * 61.7) % (HEIGHT - SHORE - 28)
        pen.ellipse(_at((x, y), (x + 2.4, y + 1.6)), fill=(220, 196, 150))


def _boat(pen):
    pen.polygon(_at((478, 330), (690, 330), (656, 372), (512, 372)), fill=_colour("boat"))
    pen.line(_at((584, 334), (584, 150)), fill=_colour("boat"), width=6 * FINE)
    pen.polygon(_at((592, 158), (592, 318), (682, 318)), fill=_colour("boat"))
    pen.polygon(_at((576, 186), (576, 318), (500, 318)), fill=_colour("boat"))
    pen.line(_at((492, 344), (676, 344)), fill=(250, 246, 236), width=5 * FINE)


def _kite(pen):
    pen.polygon(_at((806, 40), (862, 92), (824, 190), (768, 116)), fill=_colour("kite"))
    pen.line(_at((806, 40), (824, 190)), fill=(250, 246, 236), width=3 * FINE)
    pen.line(_at((768, 116), (862, 92)), fill=(250, 246, 236), width=3 * FINE)
    tail = [(824 + 14 * math.sin(step / 7), 190 + step) for step in range(0, 90, 2)]
    pen.line(_at(*tail), fill=_colour("kite"), width=5 * FINE, joint="curve")


def _birds(pen):
    """One bird: its wings, drawn as two arcs that meet in the body."""
    for side in (-1, 1):
        wing = [(236 + side * step, 212 - 26 * math.sin(step / 46 * math.pi * 0.8)) for step in range(0, 47, 2)]
        under = [(x, y + 12 - 0.15 * abs(x - 236)) for x, y in reversed(wing)]
        pen.polygon(_at(*wing, *under), fill=_colour("bird"))
    pen.ellipse(_at((229, 206), (243, 232)), fill=_colour("bird"))


def _umbrella(pen):
    pen.line(_at((226, 412), (252, 560)), fill=_colour("umbrella"), width=9 * FINE)
    pen.polygon(
        _at(*[(214 + 138 * math.cos(a / 40 * math.pi), 440 - 108 * math.sin(a / 40 * math.pi)) for a in range(41)]),
        fill=_colour("umbrella"),
    )
    for start, end in ((-84, -38), (40, 86)):
        pen.polygon(_at((214, 333), (214 + start, 440), (214 + end, 440)), fill=(250, 246, 236))


def _ball(pen):
    box = _at((404, 494), (476, 566))
    pen.ellipse(box, fill=_colour("sports ball"))
    for start in (20, 140, 260):
        pen.pieslice(box, start, start + 60, fill=(250, 246, 236))
    pen.ellipse(box, outline=_colour("sports ball"), width=5 * FINE)
    pen.ellipse(_at((434, 524), (446, 536)), fill=_colour("sports ball"))


def _surfboard(pen):
    outline = [
        (x, 512 + side * 30 * math.sin((x - 640) / 236 * math.pi) ** 0.6 - (x - 640) * 0.16)
        for side, xs in ((-1, range(640, 877, 4)), (1, range(876, 639, -4)))
        for x in xs
    ]
    pen.polygon(_at(*outline), fill=_colour("surfboard"))
    pen.line(_at((652, 510), (864, 476)), fill=(250, 246, 236), width=4 * FINE)


if __name__ == "__main__":
    drawn().save(sys.argv[1], optimize=True)
