"""The rules of the Hub's protocol: addresses, redirects, headers and JSON; pure, no I/O.

Everything that a server says passes through here before the rest of the package believes it. The protocol is that of
https://huggingface.co/docs/hub/api and of `huggingface_hub`, its own client.
"""

from __future__ import annotations

import hashlib
import re
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Literal, NamedTuple
from urllib.parse import quote, urljoin, urlsplit, urlunsplit

from ..errors import DownloadError
from ..layout import PREFIXES, is_commit, is_sha256
from ..units import printable
from .addresses import allows, why_not, zone_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .addresses import Zone

MAX_HOPS = 5  # redirects in one chain; the Hub needs two
REDIRECTS = frozenset([301, 302, 303, 307, 308])

_PORTS = {"http": 80, "https": 443}
_ETAG_LENGTH = 256  # a sha256 has 64; longer ones are folded, so that an index row stays small
_PATH_LENGTH = 4096  # of a file in a repo; git itself could not check a longer one out
_MAX_SIZE = 2**63 - 1  # what SQLite holds; a length beyond it is nonsense anyway
_ETAG_TEXT = re.compile(r"[!#-~]+")  # RFC 9110, 8.8.3, without the obsolete high half
_RANGE = re.compile(r"bytes (\d{1,19})-(\d{1,19})/(\d{1,19}|\*)")
_LINK = re.compile(r"<([^<>]*)>((?:[^,<\"]|\"[^\"]*\")*)")
_RELATION = re.compile(r";\s*rel\s*=\s*(?:\"([^\"]*)\"|([^\s;,]+))", re.IGNORECASE)


class FileMeta(NamedTuple):
    r"""What a file is to be: the Hub promises one of the two hashes at most, a lock file the sha256 and perhaps both.

    Attributes:
        commit: The 40-hex commit that the revision stands for now.
        etag: The Hub's identifier of the bytes, without quotes.
        size: Bytes, None if the server does not say.
        sha256: 64 hex digits (large files).
        git_sha1: 40 hex digits, over `blob {size}\0` and the content (small files).
    """

    commit: str
    etag: str
    size: int | None
    sha256: str | None
    git_sha1: str | None


class TreeItem(NamedTuple):
    """One file of a repo as its listing has it; `path` is the server's word and is to be checked before use."""

    path: str
    size: int
    sha256: str | None
    git_sha1: str | None


class Hop(NamedTuple):
    """What to do with a redirect: `url` is the absolute address to go to, `reason` says why it is refused."""

    verdict: Literal["same-origin", "other-origin", "refused"]
    url: str
    reason: str


# Addresses


def resolve_url(endpoint: str, repo_type: str, repo: str, revision: str, filename: str) -> str:
    """The address of a file: metadata by HEAD, bytes by GET."""
    return f"{endpoint}/{PREFIXES[repo_type]}{repo}/resolve/{quote(revision, safe='')}/{quote(filename)}"


def revision_url(endpoint: str, repo_type: str, repo: str, revision: str) -> str:
    """The API's address of a revision; its answer has the commit."""
    return f"{endpoint}/api/{repo_type}s/{repo}/revision/{quote(revision, safe='')}"


def tree_url(endpoint: str, repo_type: str, repo: str, revision: str) -> str:
    """The API's address of the first page of a repo's listing."""
    return f"{endpoint}/api/{repo_type}s/{repo}/tree/{quote(revision, safe='')}?recursive=true"


def page_url(endpoint: str, repo_type: str, repo: str) -> str:
    """The page for people, where a licence is accepted."""
    return f"{endpoint}/{PREFIXES[repo_type]}{repo}"


def origin(url: str) -> tuple[str, str, int]:
    """Scheme, host and port of an address; raises ValueError, whose text repeats no part of it but the scheme."""
    try:
        parts = urlsplit(url)
        scheme, host, port = parts.scheme.lower(), (parts.hostname or "").lower(), parts.port
        host = host if host.isascii() else host.encode("idna").decode("ascii")
    except ValueError:  # UnicodeError is one
        raise ValueError("its host or port cannot be read") from None
    if scheme not in _PORTS:
        raise ValueError(f"its scheme is {printable(scheme, 20)!r}, neither https nor http")
    if not host:
        raise ValueError("it names no host")
    return scheme, host, port or _PORTS[scheme]


def redact(url: str) -> str:
    """An address as messages and logs may show it: no user, no password, no query (it can be a signature)."""
    try:
        parts = urlsplit(url)
        host = parts.netloc.rpartition("@")[2]
        shown = urlunsplit((parts.scheme, host, parts.path, "", ""))
    except ValueError:
        return "(an address that cannot be read)"
    return printable(shown + ("?…" if parts.query else ""), 500)


def next_hop(current: str, location: str | None, endpoint: str, seen: Zone | None = None) -> Hop:
    """Judge a redirect from `current` to `location`.

    Only https, or http where the chain was http already (so the endpoint is): a downgrade is refused. Never another
    scheme, an address with a password, or one further inside than the endpoint (see `addresses`), whose zone is the one it
    was `seen` in, or the one its address has as it is written.
    """
    if not location:
        return Hop("refused", "", "it says not where")
    if any(character <= " " or character in '\\\x7f"<>' for character in location):
        return Hop("refused", "", "its address has characters that no address has")
    try:
        url = urljoin(current, location)
    except ValueError:
        return Hop("refused", "", "its address cannot be read")
    try:
        target, here, home = origin(url), origin(current), origin(endpoint)
    except ValueError as error:
        return Hop("refused", url, str(error))
    if "@" in urlsplit(url).netloc:
        return Hop("refused", url, "its address carries a user name")
    if target[0] == "http" and "https" in (here[0], home[0]):
        return Hop("refused", url, "it leads from https to http")
    near, zone = seen or zone_of(home[1]), zone_of(target[1])
    if target[1] != home[1] and not allows(near, zone):
        return Hop("refused", url, why_not(zone, printable(target[1], 60), near))
    return Hop("same-origin" if target == home else "other-origin", url, "")


# Headers


def normal_etag(value: str | None) -> str:
    """An ETag without `W/` and quotes; always printable and at most 256 characters."""
    if value is None:
        return ""
    text = value.strip()
    if text[:2] in ("W/", "w/"):
        text = text[2:]
    if len(text) >= 2 and text[0] == text[-1] == '"':
        text = text[1:-1]
    text = "".join(character for character in text if character.isprintable())
    if len(text) > _ETAG_LENGTH:
        # Still one name for one etag; never mistaken for a file's own sha256.
        return f"folded:{hashlib.sha256(text.encode(errors='replace')).hexdigest()}"
    return text


def strong_etag(value: str | None) -> str | None:
    """The ETag as `If-Range` may send it back, quotes included; None for weak ones and odd characters (RFC 9110)."""
    if value is None:
        return None
    text = value.strip().strip('"')
    if value.lstrip()[:2].upper() == "W/" or len(text) > _ETAG_LENGTH or not _ETAG_TEXT.fullmatch(text):
        return None
    return f'"{text}"'


def parse_size(value: str | None) -> int | None:
    """A length in bytes; None where the header is absent or no length."""
    if value is None or not value.isascii() or not value.isdecimal() or len(value) > 19:
        return None
    size = int(value)
    return size if size <= _MAX_SIZE else None


def hashes(etag: str) -> tuple[str | None, str | None]:
    """The hash that an etag is: (sha256, None), (None, git-sha1), or (None, None)."""
    lower = etag.lower()
    if is_sha256(lower):
        return lower, None
    if is_commit(lower):
        return None, lower
    return None, None


def file_meta(answers: list[Mapping[str, str]], url: str, *, redirected: bool) -> FileMeta:
    """Read a file's metadata from the headers of a chain of answers, the last one first.

    Args:
        answers: Headers of each answer of the endpoint, in order.
        url: Address asked, for messages.
        redirected: The last answer is itself a redirect: its own length is not the file's.

    Raises:
        DownloadError: No commit, no etag, or a length that is none.
    """

    def first(name: str) -> str | None:
        return next((headers[name] for headers in reversed(answers) if name in headers), None)

    last = answers[-1]
    commit = (first("X-Repo-Commit") or "").strip().lower()
    if not is_commit(commit):
        kind = printable(last.get("Content-Type", "no type"), 60)
        found = f"the commit {printable(commit, 60)!r}" if commit else f"no X-Repo-Commit ({kind})"
        raise DownloadError(
            f"{redact(url)}: this is not an answer of the Hub: expected a 40-hex commit, found {found}",
            hint="a proxy or login page may have answered; check HF_ENDPOINT and the network",
            url=redact(url),
        )
    etag = normal_etag(first("X-Linked-Etag") or last.get("ETag") or first("ETag"))
    if not etag:
        raise DownloadError(f"{redact(url)}: the Hub's answer has no ETag, so nothing says which bytes these are")
    linked = first("X-Linked-Size")
    size = parse_size(linked)
    if linked is not None and size is None:
        raise DownloadError(f"{redact(url)}: expected a length in bytes, found X-Linked-Size {printable(linked, 40)!r}")
    if size is None and not redirected and is_identity(last):
        size = parse_size(last.get("Content-Length"))
    return FileMeta(commit, etag, size, *hashes(etag))


def is_identity(headers: Mapping[str, str]) -> bool:
    """Whether a body comes as it is, not compressed: only then are its length and hash the file's."""
    content, transfer = (headers.get(name, "").strip().lower() for name in ("Content-Encoding", "Transfer-Encoding"))
    return content in ("", "identity") and transfer in ("", "identity", "chunked")


def content_range(headers: Mapping[str, str]) -> tuple[int, int, int | None] | None:
    """`Content-Range` as (first byte, one past the last, size of the whole or None); None if it makes no sense."""
    match = _RANGE.fullmatch(headers.get("Content-Range", "").strip())
    if match is None:
        return None
    start, end = int(match[1]), int(match[2]) + 1
    total = None if match[3] == "*" else int(match[3])
    if start >= end or end > (_MAX_SIZE if total is None else total):
        return None
    return start, end, total


def retry_after(headers: Mapping[str, str], now: float) -> float | None:
    """Seconds that a server asks to wait: `Retry-After` (seconds or a date) or the `t` of `ratelimit`.

    The latter is draft-ietf-httpapi-ratelimit-headers as the Hub uses it, `"api";r=0;t=55`; with requests remaining
    it is no reason to wait.
    """
    value = headers.get("Retry-After", "").strip()
    if value.isascii() and value.isdecimal() and len(value) < 10:
        return float(value)
    if value:
        try:
            return max(0.0, parsedate_to_datetime(value).timestamp() - now)
        except (ValueError, TypeError, OverflowError, IndexError):
            pass
    fields = dict(re.findall(r";\s*([rt])\s*=\s*(\d{1,9})", headers.get("ratelimit", "")))
    if "t" in fields and int(fields.get("r", "0")) == 0:
        return float(fields["t"])
    return None


def next_page(headers: Mapping[str, str], current: str, endpoint: str) -> str | None:
    """The address of the next page of a listing (RFC 8288); None on the last.

    Raises:
        DownloadError: It leaves the endpoint, where the token would have to follow.
    """
    for target, parameters in _LINK.findall(headers.get("Link", "")):
        if any("next" in (quoted or bare).lower().split() for quoted, bare in _RELATION.findall(parameters)):
            hop = next_hop(current, target.strip(), endpoint)
            if hop.verdict != "same-origin":
                reason = hop.reason or "it is on another host"
                raise DownloadError(f"{redact(current)}: the next page of the listing is refused: {reason}")
            return hop.url
    return None


# JSON


def commit_of(document: object, url: str) -> str:
    """The commit in the API's answer about a revision; raises DownloadError."""
    sha = document.get("sha") if isinstance(document, dict) else None
    if not isinstance(sha, str) or not is_commit(sha):
        raise DownloadError(f"{redact(url)}: expected a 40-hex commit in `sha`, found {printable(repr(sha), 60)}")
    return sha


def tree_items(document: object, url: str) -> list[TreeItem]:
    """The files on one page of a listing; directories are left out.

    Raises:
        DownloadError: The JSON has another shape.
    """
    if not isinstance(document, list):
        raise DownloadError(f"{redact(url)}: expected a list of files, found {type(document).__name__}")
    return [_tree_item(item, url) for item in document if not isinstance(item, dict) or item.get("type") != "directory"]


def _tree_item(item: object, url: str) -> TreeItem:
    if not isinstance(item, dict) or not isinstance(item.get("path"), str) or not item["path"]:
        raise DownloadError(f"{redact(url)}: expected an item with a path, found {printable(repr(item), 80)}")
    if len(item["path"]) > _PATH_LENGTH:
        name = printable(item["path"], 80)
        raise DownloadError(f"{redact(url)}: expected a path of at most {_PATH_LENGTH} characters, found {name!r}")
    lfs = item.get("lfs")
    details = item if lfs is None else lfs
    size = details.get("size", item.get("size")) if isinstance(details, dict) else None
    oid = details.get("oid") if isinstance(details, dict) else None
    if type(size) is not int or not 0 <= size <= _MAX_SIZE or not isinstance(oid, str):
        name = printable(item["path"], 80)
        raise DownloadError(
            f"{redact(url)}: expected `size` and `oid` of {name!r}, found {printable(repr(details), 80)}"
        )
    sha256, git_sha1 = hashes(oid.removeprefix("sha256:"))
    return TreeItem(item["path"], size, sha256, None if lfs is not None else git_sha1)
