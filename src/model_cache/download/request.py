"""What a caller asks of one fetch, and what it gets."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from ..hit import Found
from ..progress import SILENT, Progress

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..hub.client import FileMeta


class Slots:
    """Connections that downloads may have beyond the first one of each file; shared by files that come at one time.

    The first connection of a file needs no slot, so every file moves. What is not free is not waited for: a download asks
    again now and then. Who fetches many files hands all of them one `Slots`:

        request = Request(slots=Slots(ctx.settings.connections - 1))
        fetch(ctx, entry, replace(request, promise=meta))  # in each worker; `replace` keeps the very same slots

    Then there are never more connections than workers and slots together.

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
class Request:
    """How one fetch is to be done.

    Attributes:
        force: Download again even if the file is there.
        offline: Never ask the network.
        deadline: By the monotonic clock, when the caller stops waiting; None: it waits as long as something moves.
        progress: Who is told.
        slots: Connections beyond the first of each file that this and other requests share; None: as many as the setting
            `connections` says, for this one alone.
        promise: What the file has to be, where that is known already (a listing, a lock file): the Hub is not asked.
    """

    force: bool = False
    offline: bool = False
    deadline: float | None = None
    progress: Progress = field(default=SILENT)
    promise: FileMeta | None = None
    slots: Slots | None = None


class Outcome(NamedTuple):
    """A file that was handed out.

    Attributes:
        found: The file.
        source: `hit`, `download`, `resume` or `link`.
        downloaded: Bytes that this call received from the network.
    """

    found: Found
    source: str
    downloaded: int
