"""What a caller asks of one fetch, in the form that its parts can be replaced in."""

from __future__ import annotations

from dataclasses import dataclass, field

from ..progress import SILENT, Progress
from .asked import Asked, Outcome

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from ..hub.client import FileMeta
    from .linking import Source

__all__ = ["Outcome", "Request"]


class Slots:
    """Connections of files that come at one time; one who cannot have a slot for its first connection has that without.

    So every file moves, and there are never more connections than slots, or files where those are more: several for one
    file are of use where the files that come do not fill them. What is not free is not waited for: a download asks again
    now and then. Who fetches many files hands all of them one `Slots`:

        request = Request(slots=Slots(ctx.settings.connections))
        fetch(ctx, entry, replace(request, promise=meta))  # in each worker; `replace` keeps the very same slots

    Concurrency:
        A list's `pop` and `append` are single steps: no lock that a fork could find held.
    """

    def __init__(self, number: int) -> None:
        self._free = [None] * number

    def take(self) -> bool:
        """Have a slot, if one is free."""
        try:
            self._free.pop()
        except IndexError:
            return False
        return True

    def give(self) -> None:
        """Give it back."""
        self._free.append(None)


@dataclass
class Request(Asked):
    """How one fetch is to be done; see `Asked`.

    Attributes:
        slots: Connections that this and other requests share; None: as many as the setting `connections` says, for this
            one alone.
        source: Opens a file outside of this cache that has the promised bytes, once W is held.
        anew: Whatever keeps answers on the way is to ask the Hub again: what it gave was wrong.
        exact: With `force`: not again if the index knows that the bytes of the promise stand there by then.
    """

    force: bool = False
    offline: bool = False
    deadline: float | None = None
    progress: Progress = field(default=SILENT)
    promise: FileMeta | None = None
    slots: Slots | None = None
    source: Callable[[], Source | None] | None = None
    anew: bool = False
    exact: bool = False


def request(asked: Asked) -> Request:
    """What was asked, for those who lead."""
    if isinstance(asked, Request):
        return asked
    return Request(asked.force, asked.offline, asked.deadline, asked.progress, asked.promise)
