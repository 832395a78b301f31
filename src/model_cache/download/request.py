"""What a caller asks of one fetch, in the form that its parts can be replaced in."""

from __future__ import annotations

from dataclasses import dataclass, field

from ..progress import SILENT, Progress
from .asked import Asked, Outcome

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..hub.client import FileMeta

__all__ = ["Outcome", "Request"]


@dataclass
class Request(Asked):
    """How one fetch is to be done; see `Asked`."""

    force: bool = False
    offline: bool = False
    deadline: float | None = None
    progress: Progress = field(default=SILENT)
    promise: FileMeta | None = None


def request(asked: Asked) -> Request:
    """What was asked, for those who lead."""
    if isinstance(asked, Request):
        return asked
    return Request(asked.force, asked.offline, asked.deadline, asked.progress, asked.promise)
