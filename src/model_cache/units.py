"""Sizes and durations as people write them, parsed and printed; pure."""

from __future__ import annotations

from .errors import SettingError

_DECIMAL = {"": 1, "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12, "pb": 10**15}
_BINARY = {"kib": 2**10, "mib": 2**20, "gib": 2**30, "tib": 2**40, "pib": 2**50}
# A bare K, M, G or T means the decimal unit, as disk vendors and `df -H` print it.
_SHORT = {"k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}
_SIZES = _DECIMAL | _BINARY | _SHORT
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}


def _split(text: str) -> tuple[float, str]:
    """Separate the number from its unit; raises ValueError where there is no usable number."""
    text = text.strip()
    digits = len(text) - len(text.lstrip("0123456789."))
    number = float(text[:digits])
    if number < 0 or number == float("inf"):
        raise ValueError(text)
    return number, text[digits:].strip().lower()


def parse_size(value: str | int, what: str = "size") -> int:
    """Bytes from `50GB` (10^9), `50GiB` (2^30), or a plain number of bytes.

    Raises:
        SettingError: The text is no size; the message names `what` it was for.
    """
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    try:
        number, unit = _split(str(value))
        return int(number * _SIZES[unit])
    except (ValueError, KeyError):
        raise SettingError(f"{what}: expected a size such as 500MB, 50GB or 50GiB, found {value!r}") from None


def parse_budget(value: str | int, what: str = "max_size") -> int | float:
    """A budget: whole bytes (int), or a share of the file system as a fraction (float) from `80%`.

    Raises:
        SettingError: Neither a size nor a percentage above 0 and up to 100.
    """
    text = str(value).strip()
    if not text.endswith("%"):
        return parse_size(value, what)
    try:
        share = float(text[:-1]) / 100
    except ValueError:
        share = 0.0
    if not 0 < share <= 1:
        raise SettingError(f"{what}: expected a share above 0% and up to 100%, found {value!r}")
    return share


def parse_duration(value: str | float, what: str = "duration") -> float:
    """Seconds from `45s`, `10m`, `6h`, `30d`, `8w`, or a plain number of seconds.

    Raises:
        SettingError: The text is no duration; the message names `what` it was for.
    """
    if isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < float("inf"):
        return float(value)
    try:
        number, unit = _split(str(value))
        return number * _SECONDS[unit or "s"]
    except (ValueError, KeyError):
        raise SettingError(f"{what}: expected a duration such as 45s, 10m, 6h or 30d, found {value!r}") from None


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
