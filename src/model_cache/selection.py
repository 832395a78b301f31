"""Which files of a repo are meant by patterns; pure."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase

from .errors import SettingError
from .units import shown

_LONGEST = 4096  # characters: no path is longer
Patterns = str | Sequence[str] | None


def select(
    paths: Sequence[str], include: Patterns = None, exclude: Patterns = None, *, loose: bool = False
) -> list[str]:
    """The paths that some pattern of `include` matches (all of them, without one) and none of `exclude`, in their order.

    A pattern is matched with the whole path, as the shell does it but for `/`, which `*` matches too; one that ends in `/`
    means everything below that directory. `loose` patterns may leave nothing at all.

    Raises:
        SettingError: A pattern of `include` matches no path at all, or all that was included is excluded. One of `exclude`
            may match none: what many repos have is left out of one that does not have it, too.
    """
    wanted, unwanted = _patterns(include, "include"), _patterns(exclude, "exclude")
    for pattern in wanted:
        if not loose and not any(_matches(path, pattern) for path in paths):
            raise SettingError(f"include: expected a pattern that matches a file, {shown(pattern)} matches none")
    found = [
        path
        for path in paths
        if (not wanted or any(_matches(path, pattern) for pattern in wanted))
        and not any(_matches(path, pattern) for pattern in unwanted)
    ]
    if unwanted and not found and not loose:
        raise SettingError(f"exclude: nothing is left without what matches {', '.join(map(shown, unwanted))}")
    return found


def check_patterns(include: Patterns, exclude: Patterns) -> None:
    """Refuse what are no patterns, before there are paths to match; raises SettingError."""
    _patterns(include, "include")
    _patterns(exclude, "exclude")


def _matches(path: str, pattern: str) -> bool:
    return fnmatchcase(path, f"{pattern}*" if pattern.endswith("/") else pattern)


def _patterns(given: Patterns, what: str) -> list[str]:
    if given is None:
        return []
    if not isinstance(given, str | list | tuple):
        raise SettingError(f"{what}: expected patterns as texts, found {shown(given)}")
    patterns = [given] if isinstance(given, str) else list(given)
    for pattern in patterns:
        if not isinstance(pattern, str) or not pattern:
            raise SettingError(f"{what}: expected a pattern such as '*.json' or 'onnx/', found {shown(pattern)}")
        if len(pattern) > _LONGEST:  # to compile one takes the longer the longer it is
            raise SettingError(f"{what}: expected a pattern of at most {_LONGEST} characters, found {len(pattern)}")
    return patterns
