"""What was done to files and downloads on purpose, and which failures that explains (I10: no other may happen)."""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass, field

from ..hosts import REFUSAL, is_guest
from .journal import Event
from .scenario import LOCK_TIMEOUT

# Faults after which the bytes or the promise are not the file's own; a download may fail on them for good.
_FALSE = frozenset(["flip", "other_bytes", "wrong_length", "no_length", "html", "compressed", "cut", "expired"])
_COMMIT = re.compile(r"@[0-9a-f]{40}(?=/)")  # of a path: a lock file has had a file fetched at its commit
_FOUND = re.compile(r"expected sha256 ([0-9a-f]{64}), found ([0-9a-f]{64})")


@dataclass
class Known:
    """What the oracle goes by.

    Attributes:
        legal: By path: sha256 of each content that the hub had there so far.
        promise: Seconds that a path which was handed out stays.
        hosts: Whether there are two: what one replaced is, to the other, changed by somebody until it reconciles.
        rotten: By sha256 of damaged bytes: that of the bytes before.
        rotted: By path: when it was damaged.
        damaged: (path, inode) of each file that was damaged.
        written: By path: sha256 of what somebody wrote there by hand.
        placed: Paths of files that the cache did not make.
        edited: (path, inode) of files that somebody wrote into: theirs, and counted once the cache has seen it.
        reconciles: When each reconcile began: it makes the cache's what was written by hand.
        losses: When the index was lost, damaged or put back.
        waits: By repo: when somebody who holds a write lock of it said that there is no room yet.
        faults: By path: kinds of faults that were played.
    """

    legal: dict[str, set[str]]
    promise: float
    hosts: bool = False
    rotten: dict[str, str] = field(default_factory=dict)
    rotted: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    damaged: set[tuple[str, int]] = field(default_factory=set)
    written: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    placed: set[str] = field(default_factory=set)
    edited: set[tuple[str, int]] = field(default_factory=set)
    reconciles: list[float] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    waits: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    faults: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))

    def faulted(self, path: str, kinds: str) -> None:
        """A fault was played on a request for this file."""
        self.faults[path].update(kinds.split())

    def allowed(self, path: str) -> set[str]:
        """The sha256 of what may stand at a path, of the default revision or of a commit."""
        return self.legal.get(_COMMIT.sub("", path), set()) | self.written.get(path, set())

    def is_legal(self, path: str, sha: str) -> bool:
        """I1: whether these bytes may stand at the path, damaged ones included."""
        allowed = self.allowed(path)
        return sha in allowed or self.rotten.get(sha) in allowed

    def rotted_at(self, path: str, until: float, since: float = 0.0) -> bool:
        """Whether the file was damaged between the two times."""
        return any(since <= when <= until for when in self.rotted.get(path, ()))

    def may_be_corrupt(self, path: str, detail: str, until: float) -> bool:
        """I6: whether these very bytes were damaged; where the report does not say which, whether any of this file were."""
        found = _FOUND.match(detail)
        if found:
            expected, sha = found.groups()
            return self.rotten.get(sha) == expected
        return self.rotted_at(path, until)

    def may_be_changed(self, path: str) -> bool:
        """I6: whether somebody wrote there."""
        return path in self.written or self.hosts

    def is_own(self, path: str, ino: int) -> bool:
        """I4: whether the file is somebody's own by now, and not among what the cache has promised to keep under a budget."""
        return path in self.placed or (path, ino) in self.edited

    def may_lack_row(self, path: str) -> bool:
        """I5: whether the file need not be in the index: somebody placed or changed it, or the index was lost.

        A changed file whose eviction was killed before it was seen to be changed is nobody's any more, but its owner's.
        """
        return path in self.placed or path in self.written or bool(self.losses)


# What this host's index does not know is not replaced: to it, another host's file is somebody's own.
_ANOTHERS = ("this cache did not put them there", "is not known to the index", "is not as it was downloaded")


def excuse(end: Event, known: Known) -> str:
    """Why an operation may have failed as it did; empty if nothing explains it."""
    kind, text, path, op = end["out"], end.get("text", ""), end["path"], end["op"]
    repo = "/".join(path.split("/")[:2])
    of_repo = [other for other in known.faults if other.startswith(f"{repo}/")]
    damaged = any(other.startswith(f"{repo}/") for other in known.rotted)
    touched = any(other.startswith(f"{repo}/") for other in known.written)
    if kind == "CacheFullError":
        return "the budget"
    if kind == "DownloadError" and of_repo:
        return "a fault of the hub"
    if kind == "AccessError":
        return "a link that expired" if any("expired" in known.faults[other] for other in of_repo) else ""
    if kind == "IntegrityError":
        lied = any(known.faults[other] & _FALSE for other in of_repo)
        if op == "below" and "received bytes with" in text:
            return "it was moved or changed below while it was copied"
        return "the hub lied" if lied else "it was damaged" if damaged else ""
    if kind == "DownloadInProgressError":
        return "little time" if op == "brief" else ""
    if kind == "LockTimeoutError":
        if op in ("verify", "repair", "reconcile", "rebuild"):
            return "one at a time" if "under way" in text else ""
        if op == "sync" and "did not keep the bytes" in text:
            return "others had the file at other commits"
        if "another process has been" in text:
            return "the repo was busy"
        waited = any(end["t"] - 2 * LOCK_TIMEOUT <= when <= end["t"] for when in known.waits[repo])
        return "the holder waits for room" if "nothing moved" in text and waited else ""
    if kind == "OfflineMissError":
        return "it is not there" if op in ("hit", "below", "rm", "import", "pin", "unpin", "update") else ""
    if kind == "InUseError":
        return "in use" if op in ("force", "repo", "sync") or damaged else ""
    if kind == "StorageError" and is_guest(end["w"]) and REFUSAL in text:
        return "another host alone takes files away"
    if kind == "StorageError" and known.hosts and op in ("verify", "repair") and "nothing is recorded of" in text:
        return "this host has fetched nothing yet"
    if kind == "StorageError" and known.hosts and any(words in text for words in _ANOTHERS):
        return "another host put it there"
    if kind == "StorageError":
        return _storage(text, op, known, touched=touched, damaged=damaged)
    if kind == "IndexUnavailableError":
        return "the index was lost" if known.losses else ""
    return ""


def _storage(text: str, op: str, known: Known, *, touched: bool, damaged: bool) -> str:
    """Somebody's own file is in the way, or the index that knew the file was lost."""
    if touched and any(
        said in text
        for said in ("somebody changed it", "somebody did", "is not known to the index", "was placed by hand")
    ):
        return "somebody's own file"
    if op in ("force", "update") and known.losses and "index" in text:
        return "the index was lost"
    if "vanished" in text and damaged:
        return "its damaged bytes were moved aside"
    return ""
