"""What a Hugging Face cache holds: which of its files can stand for which entries, and why the others cannot; only reads.

The layout is that of `huggingface_hub` (https://huggingface.co/docs/huggingface_hub/guides/manage-cache): a link
`models--owner--name/snapshots/COMMIT/FILE` leads to `blobs/ETAG`, whose name says what its bytes have to be; since 2.x that
may be a link into `blobs/` beside the repos, which all of them share. `refs/NAME` holds the commit of a branch or tag.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from .. import disk
from ..errors import InvalidNameError, StorageError
from ..hub.client import FileMeta
from ..hub.protocol import hashes
from ..layout import PREFIXES, Entry, is_commit
from ..platforms import at

_REF_LIMIT = 256  # bytes; a commit has 40


class Candidate(NamedTuple):
    """A file that can be taken over.

    Attributes:
        entry: What it becomes.
        meta: What its bytes have to be, by the name of its blob.
        path: Where they are: the blob itself, no link.
        tree: Where the other cache would have noted what else belongs to this commit.
    """

    entry: Entry
    meta: FileMeta
    path: str
    tree: str


class Skipped(NamedTuple):
    """A path that is not taken over, and why."""

    path: str
    reason: str


@dataclass(frozen=True)
class _Repo:
    """One repo of the other cache; `top` is that cache, with no symlink in it."""

    top: str
    path: str
    repo: str
    repo_type: str


def survey(directory: str) -> Iterator[Candidate | Skipped]:
    """Every file of every repo in the order of the names, once per revision that has it.

    Raises:
        StorageError: There is no directory, or nothing in it is of a Hugging Face cache.
    """
    try:
        names = sorted(os.listdir(directory))
    except OSError as error:
        raise StorageError(
            f"{directory}: expected a Hugging Face cache, found {os.strerror(error.errno or 0)}",
            hint="name its directory, which holds models--owner--name",
            path=directory,
        ) from None
    top = at.real_path(directory)
    found = [repo for name in names if (repo := _repo(top, name)) is not None]
    if not found:
        raise StorageError(
            f"{directory}: expected a Hugging Face cache, found no models--…, datasets--… or the like in it",
            hint="it is the directory hub below HF_HOME",
            path=directory,
        )
    for repo in found:
        yield from _files(repo)


def _repo(top: str, name: str) -> _Repo | None:
    kind, *parts = name.split("--")
    repo_type = kind.removesuffix("s")
    if repo_type not in PREFIXES or kind != f"{repo_type}s" or not parts or not os.path.isdir(f"{top}/{name}"):
        return None
    return _Repo(top, f"{top}/{name}", "/".join(parts), repo_type)


def _files(repo: _Repo) -> Iterator[Candidate | Skipped]:
    refs = _refs(repo)
    for commit in _listed(f"{repo.path}/snapshots"):
        if not is_commit(commit):
            yield Skipped(f"{repo.path}/snapshots/{commit}", "its name is no commit")
            continue
        revisions = sorted(name for name, at in refs.items() if at == commit) or [commit]
        for path in _below(f"{repo.path}/snapshots/{commit}"):
            yield from _as_entries(repo, commit, revisions, path)
    for name in _listed(f"{repo.path}/blobs"):
        if name.endswith(".incomplete"):
            yield Skipped(f"{repo.path}/blobs/{name}", "its download is not complete")


def _refs(repo: _Repo) -> dict[str, str]:
    """Names of branches and tags, and the commits they stood for."""
    found = {}
    for path in _below(f"{repo.path}/refs"):
        try:
            # What is no regular file could keep us waiting, or lead anywhere.
            commit = disk.read_small(path, _REF_LIMIT).decode("ascii", "replace").strip()
        except OSError:
            continue  # its snapshot is taken over under its commit
        if is_commit(commit):
            found[os.path.relpath(path, f"{repo.path}/refs")] = commit
    return found


def _as_entries(repo: _Repo, commit: str, revisions: list[str], path: str) -> Iterator[Candidate | Skipped]:
    found = _blob(repo, path)
    if isinstance(found, str):
        yield Skipped(path, found)
        return
    blob, etag, size = found
    filename = os.path.relpath(path, f"{repo.path}/snapshots/{commit}")
    for revision in revisions:
        try:
            entry = Entry(repo.repo, filename, revision, repo.repo_type)
        except InvalidNameError as error:
            yield Skipped(path, str(error))
            continue
        yield Candidate(entry, FileMeta(commit, etag, size, *hashes(etag)), blob, f"{repo.path}/trees/{commit}.json")


def _blob(repo: _Repo, path: str) -> tuple[str, str, int] | str:
    """Where the bytes are, the name that says what they are, and how many; or why they cannot be taken over."""
    try:
        if not os.path.islink(path):
            return "it is no link to a blob, so nothing says what its bytes have to be"
        named = os.path.normpath(os.path.join(os.path.dirname(path), os.readlink(path)))
        real = at.real_path(path, strict=True)
        status = os.stat(real)
    except FileNotFoundError:
        return "its link leads nowhere"
    except OSError as error:
        return f"it cannot be read: {os.strerror(error.errno or 0)}"
    if not real.startswith(f"{repo.top}/") or os.path.dirname(named) != f"{repo.path}/blobs":
        return "its link leads out of the cache's blobs"
    if not stat.S_ISREG(status.st_mode):
        return "it is no regular file"
    etag = os.path.basename(named)
    if hashes(etag) == (None, None):
        return "its blob's name is neither a sha256 nor a git-sha1"
    return real, etag, status.st_size


def _listed(directory: str) -> list[str]:
    try:
        return sorted(os.listdir(directory))
    except OSError:
        return []


def _below(directory: str) -> Iterator[str]:
    """The paths of all that is no directory, in order; links to directories are not followed."""
    waiting = [directory]
    while waiting:  # no recursion: whoever may write there decides how deep it is
        at = waiting.pop()
        inner = []
        for name in _listed(at):
            path = f"{at}/{name}"
            if os.path.isdir(path) and not os.path.islink(path):
                inner.append(path)
            else:
                yield path
        waiting += reversed(inner)
