"""Which listed entries are shown and in which order: `--filter`, `--sort`; pure."""

from __future__ import annotations

import operator
import re
from hashlib import blake2b
from itertools import groupby
from typing import TYPE_CHECKING, Any, NamedTuple

from ..errors import InvalidNameError, SettingError
from ..index.queries import LISTED
from ..layout import DEFAULT_REVISION, PREFIXES, check_filename, repo_directory
from ..units import parse_duration, parse_size

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

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
    "type": tuple(PREFIXES),
    "state": ("ready", "corrupt", "unreadable", "changed", "downloading", "installing", "partial", "deleting"),
}
SORT_KEYS = ("repo", "file", "size", *_TIMES)
FILTER_HELP = (
    "size>1GB, used>30d (not for 30 days), downloaded<1d, verified>8w, type=dataset, state=partial; all must hold."
)


class Listed(NamedTuple):
    """What is shown of an entry, as `--json` names it; sizes in bytes, times in seconds since the epoch, an absolute path.

    `lower` is the lower root that it is in.
    """

    repo: str
    repo_type: str
    revision: str
    filename: str
    path: str
    size: int | None
    sha256: str | None
    etag: str | None
    commit: str | None
    downloaded_at: float | None
    last_used_at: float
    verified_at: float | None
    pinned: bool
    in_use: list[str] | None
    state: str
    lower: str | None = None

    @property
    def directory(self) -> str:
        """The repo as its directory below the root is called, the revision as it was given."""
        revision = "" if self.revision == DEFAULT_REVISION else f"@{self.revision}"
        return f"{PREFIXES[self.repo_type]}{self.repo}{revision}"

    def time(self, key: str) -> float:
        """When it was used, downloaded or verified; 0 for never."""
        found = {"used": self.last_used_at, "downloaded": self.downloaded_at, "verified": self.verified_at}[key]
        return found or 0.0


_REPO = operator.itemgetter(0, 1, 2)  # of a row: its type, its id and its revision

# Filenames that `check_filename` passes, as nearly all are: each part begins with a stem that is no device's name.
_HARMLESS = re.compile(
    r"(?:(?:[\w-]{5,99}|[\w-]{3}[a-z_-])(?:\.[\w-]{1,30}){0,3}/)*(?:[\w-]{5,99}|[\w-]{3}[a-z_-])(?:\.[\w-]{1,30}){0,3}",
    re.ASCII,
).fullmatch


def sound(rows: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """Those of some rows of the columns `LISTED` that name an entry, and have texts and numbers where they should be.

    Anybody may have written the index: names may stand for no path, and a path or key that does not follow from the names
    would lead elsewhere. The rules are those of `Entry`; what is the same for a whole directory is looked at once.
    """
    if not _are_plain(rows):
        rows = [row for row in rows if _are_plain([row])]
    passed = []
    for (repo_type, repo, revision), files in groupby(rows, _REPO):
        try:
            directory = repo_directory(repo, revision, repo_type) + "/"
        except InvalidNameError:
            continue
        started = blake2b(f"{repo_type}\0{repo}\0{revision}\0".encode(), digest_size=16)
        for row in files:
            filename, path, key = row[3:6]
            digest = started.copy()
            digest.update(filename.encode())
            if key == digest.hexdigest() and path == directory + filename and _is_filename(filename):
                passed.append(row)
    return passed


def _is_filename(text: str) -> bool:
    if _HARMLESS(text):
        return True
    try:
        check_filename(text)
    except InvalidNameError:
        return False
    return True


_NUMBER, _TEXT, _NOTHING = frozenset([int, float]), frozenset([str]), frozenset([type(None)])
_KINDS: dict[str, frozenset[type]] = {
    **dict.fromkeys(LISTED, _TEXT),
    **dict.fromkeys(("last_used_at", "pinned"), _NUMBER),
    **dict.fromkeys(("size", "downloaded_at", "verified_at"), _NUMBER | _NOTHING),
    **dict.fromkeys(("sha256", "etag", "commit"), _TEXT | _NOTHING),
}
_INFINITE = float("inf")


def _are_plain(rows: list[tuple[object, ...]]) -> bool:
    """Whether in all these rows of the columns `LISTED` texts and numbers are where they should be.

    SQLite keeps a BLOB in any column, and infinities, which JSON has no word for.
    """
    for allowed, column in zip(_KINDS.values(), zip(*rows, strict=True), strict=True):
        kinds = set(map(type, column))
        if not kinds <= allowed or (float in kinds and (_INFINITE in column or -_INFINITE in column)):
            return False
    return True


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
        return lambda listed: value == (listed.repo_type if key == "type" else listed.state)
    if key == "size":
        size = parse_size(value, f"--filter {text}")
        return lambda listed: compare(listed.size or 0, size)
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


def arrange(listed: Iterable[Listed], sort: tuple[str, bool] | None) -> Iterable[Listed]:
    """In the order asked for; ties, and everything without an order, as they come: by name."""
    if sort is None:
        return listed
    key, descending = sort
    return sorted(listed, key=lambda one: _value(one, key), reverse=descending)


def first(listed: Iterable[Listed], limit: int | None) -> Iterable[Listed]:
    """So many of them, or all; the rest is read too, for what is to be said of it."""
    if limit is None:
        return listed
    return (one for number, one in enumerate(listed) if number < limit)


def _value(one: Listed, key: str) -> str | float:
    if key in _TIMES:
        return one.time(key)
    if key == "size":
        return one.size or 0
    return one.repo if key == "repo" else one.filename
