"""What the Hub says that a repo consists of, and what it thereby promises of each file."""

from __future__ import annotations

from collections.abc import Mapping

from ..context import Context
from ..errors import IntegrityError
from ..hub.client import FileMeta, TreeItem
from ..layout import Snapshot
from ..listings import Listed, Listing


def promise(listing: Listing, file: Listed) -> FileMeta:
    """What a file of a listing has to be."""
    return FileMeta(listing.commit, file.etag, file.size, file.sha256, file.git_sha1)


def ask(ctx: Context, snapshot: Snapshot, commit: str | None, deadline: float | None) -> Listing:
    """What the repo consists of, at a commit or at the one that its revision stands for now.

    Raises:
        NotFoundError, AccessError, DownloadError: The Hub does not say.
        IntegrityError: It says of a file no hash that could be verified.
    """
    hub, names = ctx.hub, (snapshot.repo_type, snapshot.repo)
    commit = commit or hub.commit(*names, snapshot.revision, deadline=deadline)
    files: dict[str, Listed] = {}
    for item in hub.tree(*names, commit, deadline=deadline):
        files[item.path] = _checked(ctx, snapshot, item)
    _refuse_clash(snapshot, files)
    return Listing(commit, files.values())


def _refuse_clash(snapshot: Snapshot, files: Mapping[str, object]) -> None:
    """No repo has a file and a directory of one name; begun, such a listing could not be ended."""
    for path in files:
        at = path.find("/")
        while at > 0:
            if path[:at] in files:
                raise IntegrityError(f"{snapshot}: the Hub lists {path[:at]!r} as a file and as a directory")
            at = path.find("/", at + 1)


def _checked(ctx: Context, snapshot: Snapshot, item: TreeItem) -> Listed:
    if item.sha256 is None and item.git_sha1 is None:
        raise IntegrityError(
            f"{snapshot} {item.path}: {ctx.settings.endpoint} listed neither a sha256 nor a git-sha1, so nothing could be"
            " verified",
            hint="a mirror must pass on `oid` and `lfs.oid`",
        )
    return Listed(*item)
