"""Text as HTML that cannot be anything but text, and elements made of it; pure."""

from __future__ import annotations

from html import escape

# What is printable and still turns the writing around or joins what stands beside it (Unicode Standard Annex 9).
_STEERS = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def text(value: object) -> str:
    """The value with everything visible that would steer a terminal, a browser or the direction of writing."""
    return escape(visible(value), quote=True)


def visible(value: object) -> str:
    """The same before it is HTML: escapes in place of what cannot be seen."""
    shown = str(value)
    if shown.isascii() and shown.isprintable():
        return shown
    return "".join(
        character
        if character.isprintable() and character not in _STEERS
        else character.encode("unicode_escape", "surrogatepass").decode("ascii")
        for character in shown
    )


def name(value: object, kind: str = "name") -> str:
    """A name from the cache, in an element that keeps its direction to itself."""
    return f'<bdi class="{kind}">{text(value)}</bdi>'


def element(tag: str, content: str = "", **attributes: object) -> str:
    """An element; `class_` for `class`, `_` for `-`, attributes that are None left out."""
    given = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{number(value)}"'
        for key, value in attributes.items()
        if value is not None
    )
    return f"<{tag}{given}>{content}</{tag}>"


def number(value: object) -> str:
    """An attribute's value, a number to a tenth."""
    return f"{value:.1f}".removesuffix(".0") if isinstance(value, float) else text(value)


def shortened(value: str, room: float, size: float) -> str:
    """As much of a text as fits into `room` in letters of `size` (both in pixels), from its end; empty if too little does.

    The end of a name tells files apart; no letter of a system font is wider than reckoned here but those that are twice
    as wide in every font.
    """
    shown = visible(value)
    widths = [size * (0.62 if character.isascii() else 1.05) for character in shown]
    if sum(widths) <= room:
        return shown
    room -= size * 1.05
    kept = len(shown)
    while kept and widths[kept - 1] <= room:
        room -= widths[kept - 1]
        kept -= 1
    return f"…{shown[kept:]}" if len(shown) - kept >= 4 else ""
