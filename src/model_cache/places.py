"""Where the cache keeps what it needs beside the files: names only, no I/O."""

from __future__ import annotations

import os

from .layout import OWN


def state_name(root: str) -> str:
    """The name of a root's directory below a `state_dir`, which may be that of several roots."""
    from hashlib import sha256  # only who sets one pays for it

    return f"{os.path.basename(root) or 'root'}-{sha256(os.fsencode(root)).hexdigest()[:16]}"


class Places:
    """Paths below `{root}/.model-cache/`, and of what one host has for itself; names only, no I/O.

    With a `state_dir` the index is no longer where the files are: it and the locks of those who use it are this host's own. What
    hosts tell each other by (write locks, last uses, damage, listings) stays with the files.

    Attributes:
        own: The directory beside the files.
        state: The directory of the index.
        host: What the partials of this host end with, so that no two hosts ever write one file, whatever their locks say; empty
            where there is no `state_dir`, and until the root is prepared.
    """

    def __init__(self, root: str, state_dir: str | None = None) -> None:
        self.root = root
        self.own = own = f"{root}/{OWN}" if root != "/" else f"/{OWN}"
        self.state = state = own if state_dir is None else f"{state_dir}/{state_name(root)}"
        self.host = ""
        self.index = f"{state}/index.db"
        self.index_lock = f"{state}/index.lock"
        self.backups = f"{state}/backup"
        self.evictor_lock = f"{state}/gc.lock"
        self.verify_lock = f"{state}/verify.lock"
        self.used = f"{own}/used/"
        self.damaged = f"{own}/damaged/"
        self.listings = f"{own}/listings/"
        self.partials = f"{own}/partial/"
        self.locks = f"{own}/locks/"
        self.trash = f"{own}/trash/"
        self.quarantine = f"{own}/quarantine/"
        self.engines = f"{own}/engine-"

    def listing(self, key: str) -> str:
        """The listing of a repo."""
        return f"{self.listings}{key}.json"

    def lock(self, key: str) -> str:
        """The write lock of an entry."""
        return f"{self.locks}{key}.lock"

    def note(self, key: str) -> str:
        """What the holder of the write lock tells those who wait."""
        return f"{self.locks}{key}.json"

    def partial(self, key: str) -> str:
        """Bytes of an entry's download that is not complete."""
        return f"{self.partials}{key}{self.host}"
