"""What a program meets of this package: whatever the file system refuses, anywhere below, is one of the family's errors."""

from __future__ import annotations

from functools import wraps

from .disk import storage_error
from .errors import ModelCacheError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import ParamSpec, TypeVar

    P = ParamSpec("P")
    T = TypeVar("T")


def in_family(call: Callable[P, T]) -> Callable[P, T]:
    """Have what a program calls raise the family's errors alone: any step can meet a file system that refuses.

    Not for a pipe that broke: that is the caller's own output.
    """

    @wraps(call)
    def called(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return call(*args, **kwargs)
        except (ModelCacheError, BrokenPipeError):
            raise
        except OSError as error:
            named = isinstance(error.filename, str)
            raise storage_error(error, "cannot use", error.filename if named else "the cache's directory") from error

    return called
