"""What the Hub said of a file, or of a repo, at a commit: kept in the tier, because it never changes.

A record is believed, as the Hub is: what it names is still hashed. So whoever may write into the bucket decides what a
pinned commit consists of for all who read it. It says whether a token was sent with the question: what may have needed one is
not taken into a root that a group shares and that sends none.
"""

from __future__ import annotations

from .. import listings
from ..context import Context
from ..fleet import objects
from ..hub.client import FileMeta
from ..layout import Entry, Snapshot, is_commit, is_sha256
from ..listings import Listing
from ..log import logger
from ..units import LARGEST

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ..fleet.fleet import Fleet


def find(ctx: Context, entry: Entry, commit: str) -> FileMeta | None:
    """What a file has to be at a commit, by the tier; None where it does not say, or is not asked."""
    if not is_commit(commit) or ctx.fleet is None:
        return None
    ctx.step("tier:open")
    facts = ctx.fleet.facts(objects.of_record(entry.repo_type, entry.repo, commit, entry.filename))
    names = {"repo_type": entry.repo_type, "repo": entry.repo, "commit": commit, "filename": entry.filename}
    if facts is None or _is_withheld(ctx, facts) or any(facts.get(name) != value for name, value in names.items()):
        return None
    etag, size, sha256, git_sha1 = (facts.get(name) for name in ("etag", "size", "sha256", "git_sha1"))
    if not isinstance(etag, str) or type(size) is not int or not 0 <= size <= LARGEST:
        return None
    if not (is_sha256(sha256) if sha256 is not None else is_commit(git_sha1)):
        return None
    return FileMeta(commit, etag, size, sha256, git_sha1)


def find_listing(ctx: Context, snapshot: Snapshot, commit: str) -> Listing | None:
    """What a repo consists of at a commit, by the tier; None where it does not say, or is not asked."""
    if not is_commit(commit) or ctx.fleet is None:
        return None
    ctx.step("tier:open")
    facts = ctx.fleet.facts(_of_listing(snapshot, commit), objects.LARGEST_LISTING)
    if facts is None or _is_withheld(ctx, facts):
        return None
    if any(facts.get(name) != value for name, value in _names(snapshot, commit).items()):
        return None
    try:
        files = [listings.listed(*row) for row in facts["files"]]
    except (KeyError, TypeError, ValueError):
        return None
    return Listing(commit, files)


def offer_listing(ctx: Context, snapshot: Snapshot, listing: Listing) -> None:
    """Write what the Hub listed, while nobody waits for it."""
    fleet = ctx.fleet
    if fleet is None:
        return
    name, step, token = _of_listing(snapshot, listing.commit), ctx.step, ctx.has_token
    rows = [(file.path, file.size, file.sha256, file.git_sha1) for file in listing.files]

    def offered() -> None:
        step("tier:offer")
        data = objects.pack({**_names(snapshot, listing.commit), "token": token, "files": rows})
        if len(data) <= objects.LARGEST_LISTING:
            fleet.offer(name, data, len(data))

    try:
        fleet.uploads.submit(offered)
    except RuntimeError as error:  # no thread is to be had
        logger.warning("%s: its listing is not offered to the tier: %s", snapshot, error)


def drop_listing(ctx: Context, snapshot: Snapshot, commit: str) -> None:
    """Take a listing away that did not hold what it promised."""
    if ctx.fleet is not None:
        ctx.fleet.drop(_of_listing(snapshot, commit))


def _is_withheld(ctx: Context, facts: dict[str, Any]) -> bool:
    """Whether a group, whose root sends no token, is not to have what may be there for one user alone."""
    return ctx.settings.sends == "nothing" and facts.get("token") is not False


def _of_listing(snapshot: Snapshot, commit: str) -> str:
    return objects.of_record(snapshot.repo_type, snapshot.repo, commit, "")


def _names(snapshot: Snapshot, commit: str) -> dict[str, str]:
    return {"repo_type": snapshot.repo_type, "repo": snapshot.repo, "commit": commit, "filename": ""}


def settle(fleet: Fleet, entry: Entry, meta: FileMeta, *, token: bool) -> None:
    """See to it that there is a record of a file whose bytes were in the tier already."""
    if fleet.facts(objects.of_record(entry.repo_type, entry.repo, meta.commit, entry.filename)) is None:
        offer(fleet, entry, meta, token=token)


def drop(ctx: Context, entry: Entry, commit: str) -> None:
    """Take a record away that did not hold what it promised."""
    if ctx.fleet is not None:
        ctx.fleet.drop(objects.of_record(entry.repo_type, entry.repo, commit, entry.filename))


def offer(fleet: Fleet, entry: Entry, meta: FileMeta, *, token: bool) -> None:
    """Write the record of a file that was verified; `token`: one was sent with the question."""
    if not is_commit(meta.commit):
        return
    name = objects.of_record(entry.repo_type, entry.repo, meta.commit, entry.filename)
    facts = {
        "repo_type": entry.repo_type,
        "repo": entry.repo,
        "commit": meta.commit,
        "filename": entry.filename,
        "etag": meta.etag,
        "size": meta.size,
        "sha256": meta.sha256,
        "git_sha1": meta.git_sha1,
        "token": token,
    }
    data = objects.pack(facts)
    fleet.offer(name, data, len(data))
