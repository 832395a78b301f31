"""What the Hub says that a repo consists of, and what it thereby promises of each file."""

from __future__ import annotations

from collections.abc import Collection

from ..context import Context
from ..errors import IntegrityError, ModelCacheError
from ..hub.client import FileMeta, TreeItem
from ..layout import Snapshot
from ..listings import Listed, Listing


def promise(listing: Listing, file: Listed) -> FileMeta:
    """What a file of a listing has to be."""
    return FileMeta(listing.commit, file.etag, file.size, file.sha256, file.git_sha1)


def ask(
    ctx: Context, snapshot: Snapshot, commit: str | None, deadline: float | None, *, afresh: bool = False
) -> Listing:
    """What the repo consists of, at a commit or at the one that its revision stands for now.

    What a commit consists of never changes: where the tier knows it, the Hub is not asked, unless `afresh`.

    Raises:
        NotFoundError, AccessError, DownloadError: The Hub does not say.
        IntegrityError: It says of a file no hash that could be verified.
    """
    commit = commit or ctx.hub.commit(snapshot.repo_type, snapshot.repo, snapshot.revision, deadline=deadline)
    if ctx.settings.tier is None:
        return _listed(ctx, snapshot, commit, deadline)
    from . import records

    known = None if afresh else records.find_listing(ctx, snapshot, commit)
    if known is None or _clash({file.path for file in known.files}) is not None:
        known = _listed(ctx, snapshot, commit, deadline)
        records.offer_listing(ctx, snapshot, known)
    return known


def is_refuted(ctx: Context, snapshot: Snapshot, listing: Listing, deadline: float | None) -> bool:
    """Whether a listing, which may be the tier's, is not what the Hub has of its commit; no, if the Hub does not say."""
    if ctx.settings.tier is None:
        return False
    try:
        now = ask(ctx, snapshot, listing.commit, deadline, afresh=True)
    except ModelCacheError:
        return False
    told, found = ([(file.path, file.size, file.etag) for file in one.files] for one in (listing, now))
    return told != found


def _listed(ctx: Context, snapshot: Snapshot, commit: str, deadline: float | None) -> Listing:
    files: dict[str, Listed] = {}
    for item in ctx.hub.tree(snapshot.repo_type, snapshot.repo, commit, deadline=deadline):
        files[item.path] = _checked(ctx, snapshot, item)
    if (clash := _clash(files)) is not None:
        raise IntegrityError(f"{snapshot}: the Hub lists {clash!r} as a file and as a directory")
    return Listing(commit, files.values())


def _clash(paths: Collection[str]) -> str | None:
    """A path that is a file and a directory: no repo has one, and begun, such a listing could not be ended."""
    for path in paths:
        at = path.find("/")
        while at > 0:
            if path[:at] in paths:
                return path[:at]
            at = path.find("/", at + 1)
    return None


def _checked(ctx: Context, snapshot: Snapshot, item: TreeItem) -> Listed:
    if item.sha256 is None and item.git_sha1 is None:
        raise IntegrityError(
            f"{snapshot} {item.path}: {ctx.settings.endpoint} listed neither a sha256 nor a git-sha1, so nothing could be"
            " verified",
            hint="a mirror must pass on `oid` and `lfs.oid`",
        )
    return Listed(*item)
