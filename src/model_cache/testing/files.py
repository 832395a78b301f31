"""How one file is asked for and answered: resolve, redirects, signed links, ranges and conditions of HTTP."""

from __future__ import annotations

import hashlib
import hmac
import re
import time
from dataclasses import dataclass
from urllib.parse import parse_qs, quote, unquote, urlencode

from .access import Access
from .answers import Answer, Request, disposition, redirect, refusal, xml_refusal
from .repos import Commit, Content, Repo, RepoStore

_RANGE = re.compile(r"bytes=(\d*)-(\d*)$")
_COMMIT = re.compile(r"[0-9a-f]{40}$")
_PREFIXES = {"models": "model", "datasets": "dataset", "spaces": "space", "kernels": "kernel"}


@dataclass(frozen=True)
class Asked:
    """What a URL names, decoded; `revision` and `filename` may be empty."""

    repo_type: str
    repo: str
    revision: str = ""
    filename: str = ""


def parse_resolve(path: str) -> Asked | None:
    """`/[datasets/|spaces/|kernels/]{repo}/resolve/{revision}/{filename}`, percent-encoded; None if it is no such path."""
    parts = path.strip("/").split("/")
    repo_type = _PREFIXES.get(parts[0], "model") if parts[0] != "models" else "model"
    parts = parts[1:] if repo_type != "model" else parts
    for length in (1, 2):
        if len(parts) > length + 2 and parts[length] == "resolve":
            return _asked(repo_type, parts[:length], parts[length + 1], parts[length + 2 :])
    return None


def parse_pinned(path: str, top: str) -> Asked | None:
    """`/{top}/{models|datasets|spaces|kernels}/{repo}/{commit}/{filename}`; None if it is no such path."""
    parts = path.removeprefix(f"/{top}/").split("/")
    if not path.startswith(f"/{top}/") or parts[0] not in _PREFIXES:
        return None
    for length in (1, 2):
        if len(parts) > length + 2 and _COMMIT.match(parts[length + 1]):
            return _asked(_PREFIXES[parts[0]], parts[1 : length + 1], parts[length + 1], parts[length + 2 :])
    return None


def _asked(repo_type: str, repo: list[str], revision: str, filename: list[str]) -> Asked:
    return Asked(repo_type, unquote("/".join(repo)), unquote(revision), unquote("/".join(filename)))


class FileProtocol:
    """Answers to requests for files, on both ports.

    Args:
        store: What is served.
        access: Who may see it.
        resolve_cache: Whether small files are redirected to `/api/resolve-cache/…`, as the Hub does today.
        link_lifetime: Seconds for which a signed link works.
        cdn_etag: `opaque`: the second port has an ETag of its own, 64 hex digits that are not the sha256, as the
            Hub's storage has; `sha256`: it is the sha256.

    Attributes:
        cdn_url: The base URL of the second port, set by the server once it is bound.
    """

    def __init__(
        self, store: RepoStore, access: Access, *, resolve_cache: bool, link_lifetime: float, cdn_etag: str
    ) -> None:
        if cdn_etag not in ("opaque", "sha256"):
            raise ValueError(f"cdn_etag={cdn_etag!r}: expected opaque or sha256")
        self.store = store
        self.access = access
        self.resolve_cache = resolve_cache
        self.link_lifetime = link_lifetime
        self.cdn_etag = cdn_etag
        self.cdn_url = ""
        # Known to nobody outside this process, and another one in the next run: no link can be made up.
        self._secret = hashlib.sha256(f"{id(self)} {time.time_ns()}".encode()).digest()

    def resolve(self, request: Request, asked: Asked) -> Answer:
        """The answer to `/…/resolve/…`: a redirect, the file itself, or a refusal."""
        found = self._find(request, asked)
        if isinstance(found, Answer):
            return found
        repo, commit, content = found
        etag, large = self.store.oid(content), self.store.is_large(content)
        linked = {
            "X-Repo-Commit": commit.sha,
            "Accept-Ranges": "bytes",
            "X-Linked-Size": str(content.size),
            "X-Linked-Etag": f'"{etag}"',
        }
        if _names(request.headers.get("if-none-match"), etag):
            return Answer(304, {"X-Repo-Commit": commit.sha, "ETag": f'"{etag}"'})
        if large:
            answer = redirect(302, self._signed_link(repo, commit, asked.filename), linked)
        elif self.resolve_cache:
            # The query is part of the cache's key: a client that drops it asks for something else.
            key = urlencode({unquote(request.path): "", "etag": f'"{etag}"'})
            where = f"/api/resolve-cache/{repo.plural}/{quote(repo.repo_id)}/{commit.sha}/{quote(asked.filename)}"
            answer = redirect(307, f"{where}?{key}", linked)
        else:
            answer = self._bytes(request, content, etag, asked.filename)
            answer.headers["X-Repo-Commit"] = commit.sha
        answer.linked = linked
        return answer

    def cached(self, request: Request, asked: Asked) -> Answer:
        """The answer to `/api/resolve-cache/…`: a small file's bytes."""
        found = self._find(request, asked)
        if isinstance(found, Answer):
            return found
        _, commit, content = found
        etag = self.store.oid(content)
        if parse_qs(request.query).get("etag") != [f'"{etag}"'] and not self.store.is_large(content):
            return refusal(404, "Entry not found", "EntryNotFound", X_Repo_Commit=commit.sha)
        answer = self._bytes(request, content, etag, asked.filename)
        answer.headers["X-Repo-Commit"] = commit.sha
        return answer

    def stored(self, request: Request, asked: Asked) -> Answer:
        """The answer of the second port: a large file's bytes, for a signed link and no token."""
        if "authorization" in request.headers:
            # Object storage accepts one proof of identity, and the link is one.
            return xml_refusal(400, "InvalidArgument", "Only one auth mechanism allowed")
        repo = self.store.find(asked.repo_type, asked.repo)
        commit = repo.resolve(asked.revision) if repo else None
        content = commit.files.get(asked.filename) if commit else None
        if repo is None or commit is None or content is None:
            return xml_refusal(404, "NoSuchKey", "The specified key does not exist.")
        query = {name: values[0] for name, values in parse_qs(request.query).items()}
        expires = query.get("X-Amz-Expires", "")
        signature = self._signature(request.path, expires).encode()
        if not hmac.compare_digest(query.get("X-Amz-Signature", "").encode(), signature):
            return xml_refusal(403, "SignatureDoesNotMatch", "The signature does not match the request.")
        if time.time() > float(expires):
            return xml_refusal(403, "AccessDenied", "Request has expired")
        etag = content.sha256
        if self.cdn_etag == "opaque":
            etag = hashlib.sha256(f"stored {etag}".encode()).hexdigest()
        return self._bytes(request, content, etag, asked.filename)

    def _find(self, request: Request, asked: Asked) -> Answer | tuple[Repo, Commit, Content]:
        repo = self.store.find(asked.repo_type, asked.repo)
        if refused := self.access.refuse_token(request) or self.access.refuse_repo(request, repo):
            return refused
        assert repo is not None
        if refused := self.access.refuse_files(request, repo):
            return refused
        commit = repo.resolve(asked.revision)
        if commit is None:
            return refusal(404, f"Invalid rev id: {asked.revision}", "RevisionNotFound")
        content = commit.files.get(asked.filename)
        if content is None:
            return refusal(404, "Entry not found", "EntryNotFound", X_Repo_Commit=commit.sha)
        return repo, commit, content

    def _signed_link(self, repo: Repo, commit: Commit, filename: str) -> str:
        path = f"/lfs/{repo.plural}/{quote(repo.repo_id)}/{commit.sha}/{quote(filename)}"
        expires = f"{time.time() + self.link_lifetime:.3f}"
        query = {
            "X-Amz-Algorithm": "AWS4-HMAC-SHA256",
            "X-Amz-Expires": expires,
            "X-Amz-Signature": self._signature(path, expires),
            "response-content-disposition": disposition(filename),
        }
        return f"{self.cdn_url}{path}?{urlencode(query)}"

    def _signature(self, path: str, expires: str) -> str:
        return hmac.new(self._secret, f"{path}\n{expires}".encode(), "sha256").hexdigest()

    def _bytes(self, request: Request, content: Content, etag: str, filename: str) -> Answer:
        """The file under an etag: whole, a range of it, or word that it has not changed."""
        headers = {
            "Content-Type": "application/octet-stream" if self.store.is_large(content) else "text/plain; charset=utf-8",
            "Accept-Ranges": "bytes",
            "ETag": f'"{etag}"',
            "Content-Disposition": disposition(filename),
        }
        if _names(request.headers.get("if-none-match"), etag):
            return Answer(304, headers)
        answer = Answer(200, headers, content=content, start=0, stop=content.size)
        wanted = _RANGE.match(request.headers.get("range", ""))
        # If-Range needs the very same strong etag; a date, or any other text, never matches here.
        if wanted is None or request.headers.get("if-range", f'"{etag}"') != f'"{etag}"':
            return answer
        first, last = wanted.groups()
        if first:
            answer.start, answer.stop = int(first), min(int(last) + 1 if last else content.size, content.size)
        elif last:
            answer.start = max(0, content.size - int(last))
        else:
            return answer
        if answer.start >= answer.stop:
            return Answer(416, {**headers, "Content-Range": f"bytes */{content.size}"})
        answer.status = 206
        headers["Content-Range"] = f"bytes {answer.start}-{answer.stop - 1}/{content.size}"
        return answer


def _names(header: str | None, etag: str) -> bool:
    """Whether `If-None-Match` names the etag; weak comparison, as RFC 9110 13.1.2 wants."""
    if header is None:
        return False
    return any(item.strip().removeprefix("W/") in ("*", f'"{etag}"') for item in header.split(","))
