"""What a caller asks of one fetch, and what it gets; loads nothing, because who only waits for another comes here too."""

from __future__ import annotations

from ..progress import SILENT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..hit import Found
    from ..hub.client import FileMeta
    from ..progress import Progress


class Asked:
    """How one fetch is to be done; `Request` is the same for those who lead.

    Attributes:
        force: Download again even if the file is there.
        offline: Never ask the network.
        deadline: By the monotonic clock, when the caller stops waiting; None: it waits as long as something moves.
        progress: Who is told.
        promise: What the file has to be, where that is known already (a listing, a lock file): the Hub is not asked.
    """

    deadline: float | None = None
    promise: FileMeta | None = None

    def __init__(self, force: bool = False, offline: bool = False, progress: Progress = SILENT) -> None:
        self.force, self.offline, self.progress = force, offline, progress


class Outcome:
    """A file that was handed out.

    Attributes:
        found: The file.
        source: `hit`, `download`, `resume`, `link`, `copy` for a file that stands in a lower root, or `tier` for one that
            another host had brought.
        downloaded: Bytes that this call received from the network.
    """

    def __init__(self, found: Found, source: str, downloaded: int) -> None:
        self.found, self.source, self.downloaded = found, source, downloaded
