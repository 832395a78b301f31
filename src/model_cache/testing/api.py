"""The Hub's JSON API as far as downloads use it: what a repo is, and which files it holds, in pages."""

from __future__ import annotations

import hashlib
import json
from urllib.parse import parse_qs, unquote, urlencode

from .access import Access
from .answers import Answer, Request, json_answer, refusal
from .files import Asked
from .repos import Commit, Content, Repo, RepoStore

_TYPES = {"models": "model", "datasets": "dataset", "spaces": "space", "kernels": "kernel"}
_WORDS = ("revision", "tree", "paths-info")
_DATE = "2026-01-01T00:00:00.000Z"


def parse_api(path: str) -> tuple[Asked, str] | None:
    """`/api/{models|datasets|spaces|kernels}/{repo}[/{word}/{revision}[/{path}]]`: what it names, and the word.

    The word is `revision`, `tree`, `paths-info`, or empty. None if it is no such path.
    """
    parts = path.strip("/").split("/")
    if len(parts) < 3 or parts[0] != "api" or parts[1] not in _TYPES:
        return None
    repo_type, parts = _TYPES[parts[1]], parts[2:]
    length = 1 if len(parts) == 1 or parts[1] in _WORDS else 2
    repo, rest = unquote("/".join(parts[:length])), parts[length:]
    if not rest:
        return Asked(repo_type, repo, "main"), ""
    if rest[0] not in _WORDS or len(rest) < 2:
        return None
    return Asked(repo_type, repo, unquote(rest[1]), unquote("/".join(rest[2:]))), rest[0]


class ApiProtocol:
    """Answers to requests for metadata of repos.

    Args:
        store: What is served.
        access: Who may see it.
        page_size: Items on one page of a listing, at most.

    Attributes:
        url: The base URL of the hub, set by the server once it is bound.
    """

    def __init__(self, store: RepoStore, access: Access, *, page_size: int) -> None:
        self.store = store
        self.access = access
        self.page_size = page_size
        self.url = ""

    def whoami(self, request: Request) -> Answer:
        """The answer to `/api/whoami-v2`."""
        if request.token is None:
            return refusal(401, "Invalid username or password.")
        return self.access.refuse_token(request) or json_answer({"type": "user", "name": "loopback", "orgs": []})

    def answer(self, request: Request, asked: Asked, word: str) -> Answer:
        """The answer about a repo, its tree, or some of its paths."""
        repo = self.store.find(asked.repo_type, asked.repo)
        if refused := self.access.refuse_token(request) or self.access.refuse_repo(request, repo):
            return refused
        assert repo is not None
        commit = repo.resolve(asked.revision)
        if commit is None:
            return refusal(404, f"Invalid rev id: {asked.revision}", "RevisionNotFound")
        if word == "tree":
            return self._tree(request, asked, commit)
        if word == "paths-info":
            return self._paths_info(request, commit)
        return json_answer(self._about(request, repo, commit))

    def _about(self, request: Request, repo: Repo, commit: Commit) -> dict[str, object]:
        siblings: list[dict[str, object]] = []
        detailed = "blobs" in parse_qs(request.query)
        for name, content in commit.files.items():
            sibling: dict[str, object] = {"rfilename": name}
            if detailed:
                sibling |= {"size": content.size, "blobId": self.store.git_oid(content)}
                if self.store.is_large(content):
                    pointer = len(content.pointer)
                    sibling["lfs"] = {"sha256": content.sha256, "size": content.size, "pointerSize": pointer}
            siblings.append(sibling)
        return {
            "_id": hashlib.sha1(f"{repo.repo_type} {repo.repo_id}".encode(), usedforsecurity=False).hexdigest()[:24],
            "id": repo.repo_id,
            f"{repo.repo_type}Id": repo.repo_id,
            "author": repo.repo_id.rpartition("/")[0] or None,
            "sha": commit.sha,
            "lastModified": _DATE,
            "createdAt": _DATE,
            "private": repo.private,
            "gated": "auto" if repo.gated else False,
            "disabled": False,
            "downloads": 0,
            "likes": 0,
            "tags": [],
            "siblings": siblings,
        }

    def _tree(self, request: Request, asked: Asked, commit: Commit) -> Answer:
        query = {name: values[0] for name, values in parse_qs(request.query).items()}
        items = self._items(commit, asked.filename.strip("/"), query.get("recursive", "").lower() in ("true", "1"))
        if not items and asked.filename:
            return refusal(404, f"{asked.filename} does not exist on {asked.revision}", "EntryNotFound")
        cursor, limit = query.get("cursor", "0"), query.get("limit", str(self.page_size))
        if not (cursor.isdecimal() and limit.isdecimal()):
            return refusal(400, f"cursor={cursor!r} limit={limit!r}: expected numbers")
        start = int(cursor)
        stop = start + max(1, min(int(limit), self.page_size))
        answer = json_answer(items[start:stop])
        if stop < len(items):
            following = f"{self.url}{request.path}?{urlencode({**query, 'cursor': stop})}"
            answer.headers["Link"] = f'<{following}>; rel="next"'
        return answer

    def _items(self, commit: Commit, folder: str, recursive: bool) -> list[dict[str, object]]:
        prefix = f"{folder}/" if folder else ""
        items: dict[str, dict[str, object]] = {}
        for name, content in commit.files.items():
            if not name.startswith(prefix):
                continue
            parts = name.removeprefix(prefix).split("/")
            for depth in range(1, len(parts)) if recursive else range(1, min(2, len(parts))):
                path = prefix + "/".join(parts[:depth])
                oid = hashlib.sha1(f"{commit.sha} {path}".encode(), usedforsecurity=False).hexdigest()
                items.setdefault(path, {"type": "directory", "oid": oid, "size": 0, "path": path})
            if recursive or len(parts) == 1:
                items[name] = self._item(name, content)
        return list(items.values())

    def _item(self, name: str, content: Content) -> dict[str, object]:
        item: dict[str, object] = {
            "type": "file",
            "oid": self.store.git_oid(content),
            "size": content.size,
            "path": name,
        }
        if self.store.is_large(content):
            item["lfs"] = {"oid": content.sha256, "size": content.size, "pointerSize": len(content.pointer)}
        return item

    def _paths_info(self, request: Request, commit: Commit) -> Answer:
        wanted = parse_qs(request.body.decode("utf-8", "replace")).get("paths", [])
        if "json" in request.headers.get("content-type", ""):
            try:
                wanted = [str(path) for path in json.loads(request.body)["paths"]]
            except (ValueError, KeyError, TypeError):
                return refusal(400, "expected a JSON object with a list of paths")
        known = {str(item["path"]): item for item in self._items(commit, "", recursive=True)}
        return json_answer([known[path] for path in wanted if path in known])
