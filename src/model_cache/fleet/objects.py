"""What things are called in a bucket, and what is in the small ones; pure.

Bytes are called by their hash, so an object never changes and whoever writes one writes the same: two hosts that upload at
once do no harm, on a server with conditional writes or without. A record is called by what it is of (repo, commit, file), which
never changes either. It carries a hash over itself: one that was cut or has rotted is none.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

VERSION = "v1"
RECORDS = f"{VERSION}/record/"
LARGEST_RECORD = 1 << 16  # bytes; a record has some three hundred
LARGEST_LISTING = 64 << 20  # bytes; of a repo with as many files as may be listed
# Bytes for each mark that begins a value. A listing has more than eleven; where a record has fewer it is made to take memory,
# for each value is an object of some sixty bytes.
_DENSEST = 8
_HEX = frozenset("0123456789abcdef")


def of_bytes(sha256: str | None, git_sha1: str | None) -> str | None:
    """The name of the bytes with this hash; None where neither is known."""
    if sha256 and _is_hex(sha256, 64):
        return f"{VERSION}/sha256/{sha256[:2]}/{sha256}"
    return f"{VERSION}/git/{git_sha1}" if git_sha1 and _is_hex(git_sha1, 40) else None


def promised(name: str) -> tuple[str, str] | None:
    """Which hash the bytes of an object have to have, as (`sha256` or `git-sha1`, digits); None for what is no such object."""
    last = name.rpartition("/")[2]
    for kind, digits in (("sha256", 64), ("git-sha1", 40)):
        hashes = (last, None) if kind == "sha256" else (None, last)
        if _is_hex(last, digits) and of_bytes(*hashes) == name:
            return kind, last
    return None


def of_record(repo_type: str, repo: str, commit: str, filename: str) -> str:
    """The name of the record of a file at a commit; of the whole repo where `filename` is empty."""
    text = "\0".join((repo_type, repo, commit, filename))
    return f"{RECORDS}{hashlib.sha256(text.encode()).hexdigest()}.json"


def pack(facts: dict[str, Any]) -> bytes:
    """A record of these facts."""
    text = json.dumps(facts, sort_keys=True, separators=(",", ":"))
    return json.dumps({"facts": text, "sha256": hashlib.sha256(text.encode()).hexdigest()}).encode()


def unpack(data: bytes) -> dict[str, Any] | None:
    """The facts of a record, None if it is not as it was written."""
    if sum(map(data.count, (b",", b"[", b"{"))) > len(data) // _DENSEST + 64:
        return None
    try:
        found = json.loads(data)
        text = found["facts"]
        if hashlib.sha256(text.encode()).hexdigest() != found["sha256"]:
            return None
        facts = json.loads(text)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    return facts if isinstance(facts, dict) else None


def _is_hex(text: str, digits: int) -> bool:
    return len(text) == digits and _HEX.issuperset(text)
