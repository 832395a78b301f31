"""What one operation is handed: the places below a root, the policy, the clock, the failure points, the index, the Hub."""

from __future__ import annotations

import os

from . import disk, trust
from .access import Access
from .clock import Clock
from .layout import OWN, Entry
from .places import Places
from .platforms import at

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from .errors import StorageError
    from .fleet.fleet import Fleet
    from .hub.client import Hub
    from .index import Index
    from .mounts import Mount
    from .pace import Pace
    from .settings import Settings


def no_failure_points(_step: str) -> None:
    """The failure points of normal operation: nothing happens at any step."""


class Context:
    """One root as operations see it.

    Args:
        settings: Root and policy.
        token: A token for the Hub, False for none, None to look where the Hub's own client looks.
        clock: Source of time.
        step: Called with the name of each step just before it is done; tests kill or fail there.
        hub: Stands in for the client of `settings.endpoint`.
        pace: When a file comes over several connections, if not as `Pace` says.
        mount: What the root is on, if not what the kernel says.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        token: str | bool | None = None,
        clock: Clock | None = None,
        step: Callable[[str], None] | None = None,
        hub: Hub | None = None,
        pace: Pace | None = None,
        mount: Mount | None = None,
    ) -> None:
        self.settings = settings
        self.places = Places(settings.root, settings.state_dir)
        self.clock = clock or Clock()
        self.step = step or no_failure_points
        self.pace = pace
        self.access = Access(settings, self.clock, token, hub)
        self._mount = mount
        self._index: Index | None = None
        self._fleets: dict[tuple[str | None, str | None], Fleet] = {}  # by the settings they were made of
        self._root_path: Path | None = None
        self._real_root = ""
        self._distrust: StorageError | None = None
        self._folds: bool | None = None
        self._lower: tuple[Context, ...] = ()
        self._lower_roots: tuple[str, ...] = ()  # what `_lower` was made of
        self.told: set[str] = set()  # lower roots that something has been said of

    @property
    def root(self) -> str:
        """Absolute path of the root."""
        return self.settings.root

    @property
    def root_path(self) -> Path:
        """The root as programs are handed it; a path below it is made faster from this than from its text."""
        if self._root_path is None:
            from pathlib import Path

            self._root_path = Path(self.root)
        return self._root_path

    @property
    def lower(self) -> tuple[Context, ...]:
        """The roots below this one, which are only read; not this very root, and none twice, by whatever name."""
        if self._lower_roots is not self.settings.lower:
            real: dict[str, str] = {}
            for root in self.settings.lower:
                real.setdefault(at.real_path(root), root)
            real.pop(at.real_path(self.root), None)
            self._lower = tuple(
                Context(self.settings.below(root), clock=self.clock, step=self.step) for root in real.values()
            )
            self._lower_roots = self.settings.lower
        return self._lower

    def path(self, entry: Entry) -> Path:
        """The entry's place, as programs are handed it; raises InvalidNameError where it is longer than a path may be."""
        entry.path(self.root)
        return self.root_path / entry.relative

    @property
    def real_root(self) -> str:
        """The root without symlinks; known once it exists."""
        if not self._real_root:
            self._real_root = disk.real_directory(self.root)
            self._distrust = trust.distrust(self.root)
        return self._real_root

    def refuse_distrusted(self) -> None:
        """Refuse a root that somebody else can change at will: looked at when it is first used, which a hit does not pay.

        Raises:
            StorageError: Every user may write it, or it is a symlink of another user.
        """
        if self.real_root and self._distrust is not None:
            raise self._distrust

    @property
    def mount(self) -> Mount | None:
        """What the existing root is on, None where this system does not tell; looked for once."""
        if self._mount is None:
            from .mounts import find

            self._mount = find(self.root)
        return self._mount

    @property
    def folds(self) -> bool:
        """Whether the file system takes names that differ by case for one; asked once, of the cache's own directory."""
        if self._folds is None and os.path.isdir(self.places.own):
            self._folds = os.path.isdir(f"{self.root}/{OWN.upper()}")
        return bool(self._folds)

    def forget_real_root(self) -> None:
        """Look again where the root leads."""
        self._real_root = ""

    @property
    def hub(self) -> Hub:
        """The Hub's client, made on first use: a hit loads no HTTP code."""
        return self.access.hub

    @property
    def has_token(self) -> bool:
        """Whether a token goes with what the Hub is asked."""
        return self.access.token is not None

    @property
    def index(self) -> Index:
        """The index, made on first use: a hit loads no SQL code."""
        if self._index is None:
            from .index import Index

            self._index = Index(
                self.places.index,
                self.places.index_lock,
                self.settings.file_mode,
                self.clock,
                self.step,
                read_only=self.settings.read_only,
            )
        return self._index

    @property
    def fleet(self) -> Fleet | None:
        """What is shared with other hosts, made on first use; None, and nothing of it loaded, where no setting names it."""
        engines = (self.settings.tier, self.settings.lead)
        if engines[0] is None:
            return None
        if engines not in self._fleets:
            from .fleet import fleet

            usable = engines if not (said := self.settings.foreign_engines) else (None, None)
            made = fleet.opened(*usable, self.places.engines, self.settings.file_mode, self.clock)
            if said:
                made.tell(said)
            self._fleets.setdefault(engines, made)  # of threads that come at once, one made it
        return self._fleets[engines]

    @property
    def fleets(self) -> list[Fleet]:
        """Those that were made so far."""
        return list(self._fleets.values())

    def close(self) -> None:
        """Close this thread's connections to the indexes, if there are any: not when a thread's locals are torn down."""
        for ctx in (self, *self._lower):
            if ctx._index is not None:
                ctx._index.close()
