"""What the loopback hub serves: contents with their hashes, commits, branches and tags; no sockets."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

LFS_THRESHOLD = 1 << 20  # bytes; at this size and above the Hub keeps a file in LFS and serves it by redirect
REPO_TYPES = ("model", "dataset", "space", "kernel")
_BLOCK = 1 << 20
_SHORT_COMMIT = 7  # the Hub resolves abbreviated commits from this many digits on


class Content:
    """The bytes of one file, held in memory or read from disk, with hashes computed once.

    Args:
        source: The bytes, or the path of a file that stays as it is while it is served.
        key: Each byte is XORed with it (0 to 255): another content of the same length, without a copy.
    """

    def __init__(self, source: bytes | str | os.PathLike[str], *, key: int = 0) -> None:
        self.data = source if isinstance(source, bytes) else None
        self.path = None if isinstance(source, bytes) else os.fspath(source)
        self.key = key
        self.size = len(source) if isinstance(source, bytes) else os.stat(source).st_size
        self._hashes: dict[str, str] = {}
        self._lock = threading.Lock()

    @property
    def sha256(self) -> str:
        """The sha256 of the bytes, 64 hex digits."""
        return self._hash("sha256", b"")

    @property
    def git_sha1(self) -> str:
        """The git blob id of the bytes: sha1 of `blob {length}`, a NUL and the content, 40 hex digits."""
        return self._hash("sha1", b"blob %d\0" % self.size)

    @property
    def pointer(self) -> bytes:
        """The LFS pointer file that git keeps in place of the bytes."""
        return b"version https://git-lfs.github.com/spec/v1\noid sha256:%s\nsize %d\n" % (
            self.sha256.encode(),
            self.size,
        )

    def altered(self) -> Content:
        """Another content of the same length, different in every byte."""
        source = self.data if self.path is None else self.path
        assert source is not None
        return Content(source, key=(self.key + 0x35) % 256)

    def blocks(self, start: int, stop: int, size: int = _BLOCK) -> Iterator[bytes]:
        """The bytes from `start` up to `stop` (offsets in bytes), in blocks of at most `size` bytes."""
        table = bytes(value ^ self.key for value in range(256)) if self.key else None
        for block in self._raw(start, stop, size):
            yield block.translate(table) if table else block

    def read(self) -> bytes:
        """All bytes at once."""
        return b"".join(self.blocks(0, self.size))

    def _raw(self, start: int, stop: int, size: int) -> Iterator[bytes]:
        if self.data is not None:
            for position in range(start, stop, size):
                yield self.data[position : min(position + size, stop)]
            return
        assert self.path is not None
        with open(self.path, "rb") as file:
            file.seek(start)
            while start < stop and (block := file.read(min(size, stop - start))):
                start += len(block)
                yield block

    def _hash(self, algorithm: str, prefix: bytes) -> str:
        with self._lock:
            if algorithm not in self._hashes:
                digest = hashlib.new(algorithm, prefix, usedforsecurity=False)
                for block in self.blocks(0, self.size):
                    digest.update(block)
                self._hashes[algorithm] = digest.hexdigest()
            return self._hashes[algorithm]


@dataclass
class Commit:
    """One state of a repo: its 40-hex id and its files by name (with `/` between the parts)."""

    sha: str
    files: dict[str, Content]


@dataclass
class Repo:
    """One repo: its commits, and the branches and tags that name them.

    Attributes:
        repo_type: `model`, `dataset`, `space` or `kernel`.
        repo_id: `name` or `owner/name`.
        gated: Files want a token with access; the metadata is public.
        private: Without a token with access the repo does not exist.
    """

    repo_type: str
    repo_id: str
    gated: bool = False
    private: bool = False
    commits: dict[str, Commit] = field(default_factory=dict)
    refs: dict[str, str] = field(default_factory=dict)

    @property
    def plural(self) -> str:
        """The repo type as the Hub's API spells it: `models`, `datasets`, `spaces`."""
        return f"{self.repo_type}s"

    def resolve(self, revision: str) -> Commit | None:
        """The commit that a branch, a tag, a commit id or its first 7 or more digits name; None if there is none."""
        sha = self.refs.get(revision, revision)
        if sha in self.commits:
            return self.commits[sha]
        if len(sha) < _SHORT_COMMIT:
            return None
        return next((commit for full, commit in self.commits.items() if full.startswith(sha)), None)


class RepoStore:
    """All repos of a hub: those added, and those found in a folder.

    Args:
        folder: A directory with `models/{repo}/…`, `datasets/{repo}/…`, `spaces/{repo}/…`, `kernels/{repo}/…`; a
            repo in it is read when it is first asked for, served as `main`, and not read again.
        lfs_threshold: Files of this many bytes or more are large.
    """

    def __init__(self, folder: str | os.PathLike[str] | None = None, *, lfs_threshold: int = LFS_THRESHOLD) -> None:
        self.folder = None if folder is None else os.fspath(folder)
        self.lfs_threshold = lfs_threshold
        self._repos: dict[tuple[str, str], Repo] = {}
        self._moved: dict[tuple[str, str], str] = {}
        self._lock = threading.RLock()

    def is_large(self, content: Content) -> bool:
        """Whether the Hub would keep the file in LFS and serve it by redirect to another host."""
        return content.size >= self.lfs_threshold

    def oid(self, content: Content) -> str:
        """The etag of a file, without quotes: sha256 of a large one, git blob id of a small one."""
        return content.sha256 if self.is_large(content) else content.git_sha1

    def git_oid(self, content: Content) -> str:
        """The id git itself knows the file by: of a large one, that of its LFS pointer."""
        return Content(content.pointer).git_sha1 if self.is_large(content) else content.git_sha1

    def add(
        self,
        repo_id: str,
        files: Mapping[str, bytes | str | os.PathLike[str]],
        *,
        repo_type: str = "model",
        revision: str = "main",
        gated: bool = False,
        private: bool = False,
    ) -> str:
        """Makes a commit with exactly these files and moves the branch to it; returns the commit's id.

        The id follows from the names and contents: the same files give the same commit.
        """
        if repo_type not in REPO_TYPES:
            raise ValueError(f"repo type {repo_type!r}: expected one of {', '.join(REPO_TYPES)}")
        contents = {name: Content(source) for name, source in sorted(files.items())}
        digest = hashlib.sha1(f"{repo_type} {repo_id}\n".encode(), usedforsecurity=False)
        for name, content in contents.items():
            digest.update(f"{self.oid(content)} {name}\n".encode())
        sha = digest.hexdigest()
        with self._lock:
            repo = self._repos.setdefault((repo_type, repo_id), Repo(repo_type, repo_id))
            repo.gated, repo.private = gated, private
            repo.commits[sha] = Commit(sha, contents)
            repo.refs[revision] = sha
        return sha

    def tag(self, repo_id: str, name: str, revision: str = "main", *, repo_type: str = "model") -> str:
        """Names the commit of `revision` (a branch, a tag or a commit) also `name`; returns the commit's id."""
        with self._lock:
            repo = self.find(repo_type, repo_id)
            commit = repo.resolve(revision) if repo else None
            if repo is None or commit is None:
                raise KeyError(f"{repo_type} {repo_id} has no revision {revision!r} to tag")
            repo.refs[name] = commit.sha
            return commit.sha

    def rename(self, repo_type: str, repo_id: str, new_id: str) -> None:
        """Moves a repo to another id, and remembers where it went."""
        with self._lock:
            repo = self.find(repo_type, repo_id)
            if repo is None:
                raise KeyError(f"there is no {repo_type} {repo_id} to rename")
            repo.repo_id = new_id
            self._repos[repo_type, new_id] = self._repos.pop((repo_type, repo_id))
            self._moved[repo_type, repo_id] = new_id

    def moved(self, repo_type: str, repo_id: str) -> str | None:
        """The id that a renamed repo has now; None for any other."""
        with self._lock:
            return self._moved.get((repo_type, repo_id))

    def replace(self, repo_type: str, repo_id: str, old: Content, new: Content) -> None:
        """Puts other bytes in the place of a file, under the commits that hold it: what no honest hub does."""
        with self._lock:
            repo = self.find(repo_type, repo_id)
            for commit in repo.commits.values() if repo else ():
                commit.files.update({name: new for name, content in commit.files.items() if content is old})

    def find(self, repo_type: str, repo_id: str) -> Repo | None:
        """The repo of this type and id, read from the folder if it was not added; None if there is none."""
        with self._lock:
            repo = self._repos.get((repo_type, repo_id))
            if (repo_type, repo_id) in self._moved:
                return repo
            if repo is None and (files := self._folder_files(repo_type, repo_id)):
                self.add(repo_id, files, repo_type=repo_type)
                repo = self._repos[repo_type, repo_id]
            return repo

    def _folder_files(self, repo_type: str, repo_id: str) -> dict[str, Path]:
        parts = repo_id.split("/")
        if self.folder is None or any(part in ("", ".", "..") or "\\" in part or "\0" in part for part in parts):
            return {}
        top = Path(self.folder, f"{repo_type}s", *parts)
        # `models/org` holds repos, not files of a repo called `org`: those have files of their own at the top.
        if len(parts) == 1 and top.is_dir() and not any(item.is_file() for item in top.iterdir()):
            return {}
        return {path.relative_to(top).as_posix(): path for path in top.rglob("*") if path.is_file()}
