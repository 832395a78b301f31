"""What the Hub said of a file, or of a repo, at a commit: kept in the tier, because it never changes.

A record is believed, as the Hub is: what it names is still hashed. So whoever may write into the bucket decides what a
pinned commit consists of for all who read it. It says whether a token was sent with the question: what may have needed one is
not taken into a root that a group shares and that sends none.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from .. import listings
from ..context import Context
from ..fleet import objects
from ..hub.client import FileMeta
from ..hub.protocol import normal_etag
from ..layout import Entry, Snapshot, is_commit, is_sha256
from ..listings import Listing
from ..units import LARGEST

if TYPE_CHECKING:
    from ..fleet.fleet import Fleet


class _Subject(NamedTuple):
    """What a record is of: a file at a commit, or the whole repo where there is no filename."""

    repo_type: str
    repo: str
    commit: str
    filename: str = ""

    @property
    def record(self) -> str:
        """What the record is called."""
        return objects.of_record(*self)


def _of_file(entry: Entry, commit: str) -> _Subject:
    return _Subject(entry.repo_type, entry.repo, commit, entry.filename)


def _of_repo(snapshot: Snapshot, commit: str) -> _Subject:
    return _Subject(snapshot.repo_type, snapshot.repo, commit)


def _facts(ctx: Context, subject: _Subject, limit: int) -> dict[str, Any] | None:
    """What a record says, if it is of this, and this root may have it; None too where the tier is not asked."""
    if not is_commit(subject.commit) or ctx.fleet is None:
        return None
    ctx.step("tier:open")
    facts = ctx.fleet.facts(subject.record, limit)
    if facts is None or any(facts.get(name) != value for name, value in subject._asdict().items()):
        return None
    # A group, whose root sends no token, is not to have what may be there for one user alone.
    return None if ctx.settings.sends == "nothing" and facts.get("token") is not False else facts


def find(ctx: Context, entry: Entry, commit: str) -> FileMeta | None:
    """What a file has to be at a commit, by the tier; None where it does not say, or is not asked."""
    facts = _facts(ctx, _of_file(entry, commit), objects.LARGEST_RECORD)
    if facts is None:
        return None
    etag, size, sha256, git_sha1 = (facts.get(name) for name in ("etag", "size", "sha256", "git_sha1"))
    if not isinstance(etag, str) or etag != normal_etag(etag) or type(size) is not int or not 0 <= size <= LARGEST:
        return None
    if not (sha256 is None or is_sha256(sha256)) or not (git_sha1 is None or is_commit(git_sha1)):
        return None
    if sha256 is None and git_sha1 is None:
        return None
    return FileMeta(commit, etag, size, sha256, git_sha1)


def find_listing(ctx: Context, snapshot: Snapshot, commit: str) -> Listing | None:
    """What a repo consists of at a commit, by the tier; None where it does not say, or is not asked."""
    facts = _facts(ctx, _of_repo(snapshot, commit), objects.LARGEST_LISTING)
    if facts is None:
        return None
    try:
        found = Listing(commit, [listings.listed(*row) for row in facts["files"]])
    except (KeyError, TypeError, ValueError):
        return None
    return found if len({file.path for file in found.files}) == len(found.files) else None


def offer_listing(ctx: Context, snapshot: Snapshot, listing: Listing) -> None:
    """Write what the Hub listed, while nobody waits for it."""
    fleet = ctx.fleet
    if fleet is None:
        return
    subject, step, token = _of_repo(snapshot, listing.commit), ctx.step, ctx.has_token
    rows = [(file.path, file.size, file.sha256, file.git_sha1) for file in listing.files]

    def offered() -> None:
        step("tier:offer")
        data = objects.pack({**subject._asdict(), "token": token, "files": rows})
        if len(data) <= objects.LARGEST_LISTING:
            fleet.offer(subject.record, data, len(data))

    fleet.uploads.submit(offered, snapshot)


def drop_listing(ctx: Context, snapshot: Snapshot, commit: str) -> None:
    """Take a listing away that did not hold what it promised."""
    if ctx.fleet is not None:
        ctx.fleet.drop(_of_repo(snapshot, commit).record)


def settle(fleet: Fleet, entry: Entry, meta: FileMeta, *, token: bool) -> None:
    """See to it that there is a record of a file whose bytes were in the tier already."""
    if fleet.facts(_of_file(entry, meta.commit).record) is None:
        offer(fleet, entry, meta, token=token)


def drop(ctx: Context, entry: Entry, commit: str) -> None:
    """Take a record away that did not hold what it promised."""
    if ctx.fleet is not None:
        ctx.fleet.drop(_of_file(entry, commit).record)


def offer(fleet: Fleet, entry: Entry, meta: FileMeta, *, token: bool) -> None:
    """Write the record of a file that was verified; `token`: one was sent with the question."""
    if not is_commit(meta.commit):
        return
    subject = _of_file(entry, meta.commit)
    promised = {"etag": meta.etag, "size": meta.size, "sha256": meta.sha256, "git_sha1": meta.git_sha1}
    data = objects.pack({**subject._asdict(), **promised, "token": token})
    fleet.offer(subject.record, data, len(data))
