"""Which files of a repo are meant: `include` and `exclude` patterns over their paths; pure."""

from __future__ import annotations

from fnmatch import fnmatchcase

from .errors import SettingError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


def select(
    paths: Iterable[str], include: str | Sequence[str] | None = None, exclude: str | Sequence[str] | None = None
) -> list[str]:
    """The paths that a pattern of `include` fits (all, without one) and none of `exclude`, in their order.

    A pattern is a shell pattern over the whole path (`*` goes over `/`); one that ends in `/` means everything below.

    Raises:
        SettingError: A pattern of `include` fits nothing.
    """
    found = list(paths)
    wanted = set(found)
    if include is not None:
        fitting = [(pattern, {path for path in found if _fits(path, pattern)}) for pattern in _patterns(include)]
        for pattern, some in fitting:
            if not some:
                raise SettingError(f"include: no file of the repo fits {pattern!r}")
        wanted = set().union(*(some for _, some in fitting))
    unwanted = [] if exclude is None else _patterns(exclude)
    return [path for path in found if path in wanted and not any(_fits(path, pattern) for pattern in unwanted)]


def _patterns(given: str | Sequence[str]) -> list[str]:
    return [given] if isinstance(given, str) else list(given)


def _fits(path: str, pattern: str) -> bool:
    return fnmatchcase(path, f"{pattern}*" if pattern.endswith("/") else pattern)
