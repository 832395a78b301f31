"""What is in a tier, whether it is what its name says, and what goes: for people, never on the way of a download."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, NamedTuple

from . import objects
from .protocols import Stored

if TYPE_CHECKING:
    from .protocols import BlobTier


class Judged(NamedTuple):
    """An object that was read, and what is wrong with it; empty if nothing is."""

    stored: Stored
    damage: str


def everything(tier: BlobTier) -> list[Stored]:
    """All objects of this layout, in the order of their names; raises EngineError."""
    return sorted(tier.stored(f"{objects.VERSION}/"))


def judge(tier: BlobTier, stored: Iterable[Stored]) -> Iterator[Judged]:
    """Read each, and compare its bytes with its name, or a record with its own hash; raises EngineError."""
    for one in stored:
        yield Judged(one, _damage(tier, one))


def _damage(tier: BlobTier, stored: Stored) -> str:
    found = tier.fetch(stored.name)
    if found is None:
        return ""  # taken away meanwhile
    if stored.name.startswith(objects.RECORDS):
        if found.size > objects.LARGEST_LISTING:
            return f"it has {found.size} bytes, more than any record"
        return "" if objects.unpack(b"".join(found.chunks)) is not None else "it is not as it was written"
    promised = objects.promised(stored.name)
    if promised is None:
        return "its name is none of this layout"
    kind, expected = promised
    # git-sha1 is what names small files; it guards against rot, not against an attacker.
    digest = hashlib.sha256() if kind == "sha256" else hashlib.sha1(b"blob %d\0" % found.size, usedforsecurity=False)
    for chunk in found.chunks:
        digest.update(chunk)
    return "" if digest.hexdigest() == expected else f"expected {kind} {expected}, found {digest.hexdigest()}"


def plan(stored: Iterable[Stored], now: float, older_than: float | None, max_size: int | None) -> list[Stored]:
    """What goes, the oldest first: what was written longer ago than so many seconds, and what does not fit; pure."""
    kept = sorted(stored, key=lambda one: (one.written, one.name))
    total, going = sum(one.size for one in kept), []
    for one in kept:
        aged = older_than is not None and now - one.written > older_than
        if not aged and (max_size is None or total <= max_size):
            break
        going.append(one)
        total -= one.size
    return going
