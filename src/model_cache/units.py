"""Sizes and durations as people write them, parsed and printed; pure."""

from __future__ import annotations

from .errors import SettingError

_DECIMAL = {"": 1, "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12, "pb": 10**15}
_BINARY = {"kib": 2**10, "mib": 2**20, "gib": 2**30, "tib": 2**40, "pib": 2**50}
# A bare K, M, G or T means the decimal unit, as disk vendors and `df -H` print it.
_SHORT = {"k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}
_SIZES = _DECIMAL | _BINARY | _SHORT
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
LARGEST = 2**63 - 1  # bytes; what SQLite and every file system hold
LONGEST = 1000 * 365 * 86400  # seconds; added to any date it is still one that can be computed with
_DIGITS = 40  # of a number; more are a mistake, and slow to convert


def shown(value: object) -> str:
    """A refused value as a message shows it: quoted, and not longer than a line."""
    try:
        text = repr(value)
    except ValueError:  # Python prints no number of more than 4300 digits
        return "a number that is too long"
    return text if len(text) <= 80 else f"{text[:77]}..."


def printable(text: object, length: int) -> str:
    """A server's text made fit for one line of a terminal: no control characters, at most `length` characters."""
    kept = "".join(character if character.isprintable() else " " for character in str(text)[: 4 * length]).strip()
    return kept if len(kept) <= length else f"{kept[: length - 1]}…"


def _split(text: str) -> tuple[int | float, str]:
    """Separate the number from its unit; raises ValueError where there is no usable number."""
    text = text.strip()
    digits = len(text) - len(text.lstrip("0123456789."))
    if digits > _DIGITS:
        raise ValueError("too long")
    # A whole number stays exact: beyond 2^53 a float would not be.
    number = int(text[:digits]) if text[:digits].isdecimal() else float(text[:digits])
    return number, text[digits:].strip().lower()


def parse_size(value: str | int, what: str = "size") -> int:
    """Bytes from `50GB` (10^9), `50GiB` (2^30), or a plain number of bytes; at most 2^63 - 1.

    Raises:
        SettingError: The text is no size; the message names `what` it was for.
    """
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= LARGEST:
        return value
    try:
        number, unit = _split(str(value))
        size = int(number * _SIZES[unit])
    except (ValueError, KeyError, OverflowError):
        size = -1
    if not 0 <= size <= LARGEST:
        raise SettingError(f"{what}: expected a size such as 500MB, 50GB or 50GiB, found {shown(value)}")
    return size


def parse_budget(value: str | int, what: str = "max_size") -> int | float:
    """A budget: whole bytes (int), or a share of the file system as a fraction (float) from `80%`.

    Raises:
        SettingError: Neither a size nor a percentage above 0 and up to 100.
    """
    if not isinstance(value, str) or not value.strip().endswith("%"):
        return parse_size(value, what)
    try:
        number, unit = _split(value)
    except ValueError:
        number, unit = 0, ""
    if unit != "%" or not 0 < number <= 100:
        raise SettingError(f"{what}: expected a share above 0% and up to 100%, found {shown(value)}")
    return number / 100


def parse_duration(value: str | float, what: str = "duration") -> float:
    """Seconds from `45s`, `10m`, `6h`, `30d`, `8w`, or a plain number of seconds; at most a thousand years.

    Raises:
        SettingError: The text is no duration; the message names `what` it was for.
    """
    if isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value <= LONGEST:
        return float(value)
    try:
        number, unit = _split(str(value))
        seconds = number * _SECONDS[unit or "s"]
    except (ValueError, KeyError):
        seconds = -1
    if not 0 <= seconds <= LONGEST:
        raise SettingError(f"{what}: expected a duration such as 45s, 10m, 6h or 30d, found {shown(value)}")
    return float(seconds)


def check_seconds(value: object, what: str) -> None:
    """Refuse what is no number of seconds, of any length; raises SettingError."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not value >= 0:
        raise SettingError(f"{what}: expected seconds as a number, 0 or more, found {shown(value)}")


def plural(count: int, noun: str) -> str:
    """A count and what is counted: `1 file`, `2 files`, `2 processes`."""
    return f"{count} {noun}" + ("" if count == 1 else "es" if noun.endswith("s") else "s")


def format_size(size: float) -> str:
    """A size for people, in decimal units with three significant figures: `1.23 GB`."""
    if size < 1000:
        return f"{int(size)} B"
    for unit in ("kB", "MB", "GB", "TB"):
        size /= 1000
        if size < 999.5:
            break
    else:
        size, unit = size / 1000, "PB"
    return f"{size:.3g} {unit}"


def format_duration(seconds: float) -> str:
    """A duration for people, the two largest units: `3m 20s`."""
    rest = round(seconds)
    if rest < 1:
        return f"{max(seconds, 0.0):.1f}s"
    parts = []
    for unit, length in (("d", 86400), ("h", 3600), ("m", 60), ("s", 1)):
        count, rest = divmod(rest, length)
        if count:
            parts.append(f"{count}{unit}")
    return " ".join(parts[:2])
