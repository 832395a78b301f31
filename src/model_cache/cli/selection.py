"""Which listed entries are shown and in which order: `--filter`, `--sort`; pure."""

from __future__ import annotations

import operator
import re
from typing import TYPE_CHECKING, Any, NamedTuple

from ..errors import SettingError
from ..units import parse_duration, parse_size

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from ..index.rows import Row

_COMPARISONS: dict[str, Callable[[Any, Any], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
    "=": operator.eq,
}
_FILTER = re.compile(r"\s*([a-z]+)\s*(>=|<=|>|<|=)\s*(.*?)\s*")
_TIMES = ("used", "downloaded", "verified")
_WORDS = {
    "type": ("model", "dataset", "space"),
    "state": ("ready", "downloading", "installing", "partial", "deleting"),
}
SORT_KEYS = ("repo", "file", "size", *_TIMES)
FILTER_HELP = (
    "size>1GB, used>30d (not for 30 days), downloaded<1d, verified>8w, type=dataset, state=partial; all must hold."
)


class Listed(NamedTuple):
    """A row and what is not in it."""

    row: Row
    path: str
    last_used_at: float
    in_use: list[str] | None = None

    def time(self, key: str) -> float:
        """When it was used, downloaded or verified; 0 for never."""
        found = {"used": self.last_used_at, "downloaded": self.row.downloaded_at, "verified": self.row.verified_at}[key]
        return found or 0.0


def parse_filter(text: str, now: float) -> Callable[[Listed], bool]:
    """A test such as `size>1GB` or `used>30d`.

    Raises:
        SettingError: It is none.
    """
    found = _FILTER.fullmatch(text)
    if found is None or found[1] not in ("size", *_TIMES, *_WORDS) or (found[1] in _WORDS and found[2] != "="):
        raise SettingError(
            "--filter: expected a test such as 'size>1GB' or 'used>30d', of size, used, downloaded or verified, or"
            f" type=… or state=…, found {text!r}"
        )
    key, compare, value = found[1], _COMPARISONS[found[2]], found[3]
    if key in _WORDS:
        if value not in _WORDS[key]:
            raise SettingError(f"--filter: {key} is one of {', '.join(_WORDS[key])}, found {text!r}")
        return lambda listed: value == (listed.row.repo_type if key == "type" else listed.row.state)
    if key == "size":
        size = parse_size(value, f"--filter {text}")
        return lambda listed: compare(listed.row.size or 0, size)
    # An age: what never happened is older than anything.
    age = parse_duration(value, f"--filter {text}")
    return lambda listed: compare(now - listed.time(key), age)


def parse_sort(text: str) -> tuple[str, bool]:
    """(key, descending) from `size:desc`.

    Raises:
        SettingError: No such key or direction.
    """
    key, _, direction = text.partition(":")
    if key not in SORT_KEYS or direction not in ("", "asc", "desc"):
        raise SettingError(f"--sort: expected one of {', '.join(SORT_KEYS)}, with :asc or :desc, found {text!r}")
    return key, direction == "desc"


def arrange(listed: Iterable[Listed], sort: tuple[str, bool] | None) -> list[Listed]:
    """In the order asked for; ties, and everything without an order, by name."""
    by_name = sorted(listed, key=lambda one: (one.row.repo_type, one.row.repo, one.row.revision, one.row.filename))
    if sort is None:
        return by_name
    key, descending = sort
    return sorted(by_name, key=lambda one: _value(one, key), reverse=descending)


def _value(one: Listed, key: str) -> str | float:
    if key in _TIMES:
        return one.time(key)
    if key == "size":
        return one.row.size or 0
    return one.row.repo if key == "repo" else one.row.filename
