"""What a repo consists of at a commit, as the other cache noted it when the Hub was asked; only reads.

`huggingface_hub` keeps each listing that it got as `models--owner--name/trees/COMMIT.json` (its module `_tree_cache`, 2.4).
Nothing proves one, as nothing proves the names of the blobs: it is believed where it agrees with all of them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable

from .. import disk
from ..listings import LIMIT, Listed, Listing, listed
from .foreign import Candidate

_VERSION = 1


def read(path: str, commit: str) -> Listing | None:
    """The listing of this commit; None if it is not there, or is none that can be read."""
    try:
        found = json.loads(disk.read_small(path, LIMIT))
        if found["format_version"] != _VERSION:
            return None
        return Listing(commit, [_file(name, has) for name, has in found["files"].items()])
    except (OSError, ValueError, RecursionError, KeyError, TypeError, AttributeError):
        return None


def _file(name: object, has: dict[str, object]) -> Listed:
    sha256 = has.get("lfs_sha256")
    if sha256 is None:
        return listed(name, has["size"], None, has["blob_id"])
    return listed(name, has.get("lfs_size", has["size"]), sha256, None)


def disagreement(listing: Listing, candidates: Iterable[Candidate]) -> str | None:
    """The first of a snapshot's files that the listing lacks, or has with other bytes; None if there is none."""
    for one in candidates:
        file = listing.file(one.entry.filename)
        if file is None or (file.etag, file.size) != (one.meta.etag, one.meta.size):
            return one.entry.filename
    return None
