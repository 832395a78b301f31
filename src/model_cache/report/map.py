"""The treemap as SVG: repos as frames, their files as tiles, coloured by last use; pure.

A picture that is scaled down for a telephone would have letters nobody can read, so there is one for each of three widths,
and the style sheet shows the one that fits.
"""

from __future__ import annotations

from ..units import format_size, plural
from .facts import Facts
from .grouping import MANY, OTHER, Group, Tile, groups
from .markup import element, shortened, text, visible
from .treemap import Box, squarify
from .words import ago

WIDTHS = {"wide": (1136, 520, 180), "middle": (680, 520, 110), "narrow": (340, 560, 60)}  # width, height, most parts
_DAY = 86400.0
AGES = ((_DAY, "a day"), (7 * _DAY, "a week"), (30 * _DAY, "30 days"), (90 * _DAY, "90 days"))
_HEAD, _LINE, _LETTER, _GAP = 18.0, 14.0, 11.0, 1.5  # pixels


def treemap(facts: Facts) -> str:
    """What fills the cache, for each width; nothing where nothing does."""
    return "".join(_picture(facts, kind) for kind in WIDTHS) if groups(facts, 1) else ""


def _picture(facts: Facts, kind: str) -> str:
    width, height, most = WIDTHS[kind]
    found = groups(facts, most)
    boxes = squarify([group.size for group in found], Box(0.0, 0.0, float(width), float(height)))
    whole = sum(group.size for group in found)
    drawn = "".join(_group(facts, group, box, whole) for group, box in zip(found, boxes, strict=True))
    title = f"What fills the cache: {format_size(whole)}, {plural(len(found), 'part')}"
    return element(
        "svg",
        element("title", text(title)) + drawn,
        class_=f"map {kind}",
        viewBox=f"0 0 {width} {height}",
        role="img",
    )


def _group(facts: Facts, group: Group, box: Box, whole: int) -> str:
    box = box.inside(_GAP, _GAP, _GAP, _GAP)
    if box.width < 1 or box.height < 1:
        return ""
    share = f"{100 * group.size / whole:.0f} %"
    drawn = element("title", text(f"{group.name}: {format_size(group.size)}, {share}"))
    drawn += _rect(box, "frame")
    label, size = _heading(group.name, box.width - 8), format_size(group.size)
    headed = label and box.height > 2.4 * _HEAD
    if headed:
        drawn += _text(box.x + 4, box.y + 13, label, "head")
        if len(visible(group.name)) + len(size) + 2 < (box.width - 8) / (_LETTER * 0.62):
            drawn += _text(box.x + box.width - 4, box.y + 13, size, "head end")
    inner = box.inside(2, _HEAD if headed else 2, 2, 2)
    boxes = squarify([tile.size for tile in group.tiles], inner)
    tiles = (_tile(facts, group, tile, one) for tile, one in zip(group.tiles, boxes, strict=True))
    return element("g", drawn + "".join(tiles))


def _heading(name: str, room: float) -> str:
    """A repo's name, without its owner where that has no room."""
    label = shortened(name, room, _LETTER)
    return label if not label.startswith("…") else shortened(name.rpartition("/")[2], room, _LETTER) or label


def _tile(facts: Facts, group: Group, tile: Tile, box: Box) -> str:
    box = box.inside(_GAP / 2, _GAP / 2, _GAP / 2, _GAP / 2)
    if box.width < 0.5 or box.height < 0.5:
        return ""
    size = format_size(tile.size)
    used = "" if tile.kind == OTHER else f", {'half of it ' * (tile.kind == MANY)}used {ago(tile.used, facts.now)}"
    marks = "".join(f", {mark}" for mark in tile.marks)
    whole = f"{group.name} {tile.name}".strip()
    kind = OTHER if tile.kind == OTHER else "bad" if tile.is_damaged else _age(tile.used, facts.now)
    drawn = element("title", text(f"{whole}: {size}{used}{marks}")) + _rect(box, f"tile {kind}")
    name = shortened(tile.name, box.width - 8, _LETTER)
    if tile.kind and name.startswith("…"):
        name = ""  # the end of a name tells files apart, not that of a count
    if name and box.height >= _LINE + 4:
        drawn += _text(box.x + 4, box.y + 13, name, f"on-{kind}")
    below = " · ".join((size, *tile.marks))
    if len(below) * _LETTER * 0.62 > box.width - 8:
        below = size
    line = 2 if name else 1
    if len(below) * _LETTER * 0.62 <= box.width - 8 and box.height >= line * _LINE + 4:
        drawn += _text(box.x + 4, box.y + 13 + (line - 1) * _LINE, below, f"on-{kind}")
    return element("g", drawn)


def _age(used: float, now: float) -> str:
    """The class of a colour by last use."""
    return next((f"age{number}" for number, (most, _) in enumerate(AGES) if now - used < most), f"age{len(AGES)}")


def _rect(box: Box, kind: str) -> str:
    x, y, width, height = (float(side) for side in box)
    return element("rect", x=x, y=y, width=width, height=height, class_=kind)


def _text(x: float, y: float, content: str, kind: str) -> str:
    return element("text", text(content), x=float(x), y=float(y), class_=kind)


def legend(facts: Facts) -> str:
    """What the colours mean; those that occur nowhere are left out."""
    names = [f"used within {name}" for _, name in AGES] + ["longer ago, or never"]
    kinds = {_age(file.used, facts.now) for file in facts.files}
    items = [(f"age{number}", name) for number, name in enumerate(names) if f"age{number}" in kinds]
    if any(facts.others.values()):
        items.append((OTHER, "under way or set aside"))
    if any(file.verdict in ("corrupt", "unreadable", "changed") for file in facts.files):
        items.append(("bad", "damaged"))
    swatches = (
        element("li", element("svg", element("rect", width=12, height=12, class_=kind), class_="swatch") + text(name))
        for kind, name in items
    )
    return element("ul", "".join(swatches), class_="legend")
