"""What a caller asks of one fetch, and what it gets."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from ..hit import Found
from ..progress import SILENT, Progress

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..hub.client import FileMeta


@dataclass
class Request:
    """How one fetch is to be done.

    Attributes:
        force: Download again even if the file is there.
        offline: Never ask the network.
        deadline: By the monotonic clock, when the caller stops waiting; None: it waits as long as something moves.
        progress: Who is told.
        promise: What the file has to be, where that is known already (a listing, a lock file): the Hub is not asked.
        exact: With `force`: not again if the index knows that the bytes of the promise stand there by then.
    """

    force: bool = False
    offline: bool = False
    deadline: float | None = None
    progress: Progress = field(default=SILENT)
    promise: FileMeta | None = None
    exact: bool = False


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
