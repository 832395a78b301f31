"""A request as read and an answer as planned: plain values that pass between protocol, faults and sockets; no I/O."""

from __future__ import annotations

import html
import json
from dataclasses import dataclass, field
from urllib.parse import quote

from .repos import Content

REASONS = {
    200: "OK",
    206: "Partial Content",
    301: "Moved Permanently",
    302: "Found",
    303: "See Other",
    304: "Not Modified",
    307: "Temporary Redirect",
    308: "Permanent Redirect",
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    408: "Request Timeout",
    410: "Gone",
    416: "Range Not Satisfiable",
    429: "Too Many Requests",
    500: "Internal Server Error",
    502: "Bad Gateway",
    503: "Service Unavailable",
    504: "Gateway Timeout",
}


@dataclass
class Request:
    """One request: `path` still percent-encoded and without the query, header names in lower case."""

    method: str
    path: str
    query: str
    headers: dict[str, str]
    body: bytes = b""
    version: str = "HTTP/1.1"
    host: str = "hub"  # which of the two ports it came in on: hub or cdn

    @property
    def target(self) -> str:
        """Path and query as requested."""
        return f"{self.path}?{self.query}" if self.query else self.path

    @property
    def token(self) -> str | None:
        """The bearer token, "" for `Authorization` of another kind, None without."""
        value = self.headers.get("authorization")
        if value is None:
            return None
        scheme, _, token = value.partition(" ")
        return token.strip() if scheme.lower() == "bearer" else ""


@dataclass
class Shape:
    """How a body goes out, where it is not simply sent. Offsets are bytes of this answer's body.

    Attributes:
        rate: Bytes per second on this connection; None is as fast as it goes.
        piece: Bytes per write while `pause` is set.
        pause: Seconds after each piece.
        flip_at: Offset of the byte that goes out with its lowest bit flipped.
        end: What happens at `end_at` instead of the rest: `cut`, `reset` or `stall`; empty for nothing.
        end_at: Offset at which it happens.
        declared: `Content-Length` if it is not the body's own length; the connection is closed after the body.
        unframed: No `Content-Length`: the end of the connection is the end of the body.
    """

    rate: float | None = None
    piece: int = 1
    pause: float = 0.0
    flip_at: int | None = None
    end: str = ""
    end_at: int = 0
    declared: int | None = None
    unframed: bool = False

    @property
    def plain(self) -> bool:
        """Whether the bytes can be handed to the kernel as they are, at full speed."""
        return self.rate is None and not self.pause and self.flip_at is None


@dataclass
class Answer:
    """One answer, complete but for the bytes of the file it serves.

    Attributes:
        status: The HTTP status.
        headers: In the order sent; `Content-Length`, `Date` and `X-Request-Id` are added on the way out.
        body: The body, if it is not (part of) a file.
        content: The file served, or None.
        start: First byte of it that is sent, an offset in the file.
        stop: The offset after the last one.
        stage: What was asked for: `metadata` (of a file), `body` (of a file), `api`, `other`.
        repo_type: Of the repo asked for, or empty.
        repo: Its id, or empty.
        filename: Of the file asked for, or empty.
        linked: Headers that describe the file (commit, etag, size), for faults that answer in its place.
        shape: How the body goes out.
        close: Whether the connection ends after this answer.
        hangup: Whether it ends without any answer.
        replaced: Whether the file becomes another one, of the same length, once this answer is on its way.
    """

    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    content: Content | None = None
    start: int = 0
    stop: int = 0
    stage: str = "other"
    repo_type: str = ""
    repo: str = ""
    filename: str = ""
    linked: dict[str, str] = field(default_factory=dict)
    shape: Shape = field(default_factory=Shape)
    close: bool = False
    hangup: bool = False
    replaced: bool = False

    @property
    def length(self) -> int:
        """Bytes of the body."""
        return len(self.body) if self.content is None else self.stop - self.start

    def about(self, stage: str, repo_type: str = "", repo: str = "", filename: str = "") -> Answer:
        """Says what the answer is about; returns it."""
        self.stage, self.repo_type, self.repo, self.filename = stage, repo_type, repo, filename
        return self


def json_answer(value: object, status: int = 200, **headers: str) -> Answer:
    """An answer with a JSON document."""
    body = json.dumps(value).encode()
    return Answer(status, {"Content-Type": "application/json; charset=utf-8", **_named(headers)}, body)


def refusal(status: int, message: str, code: str = "", **headers: str) -> Answer:
    """A refusal as the Hub words it: the message as JSON and in `X-Error-Message`, the code in `X-Error-Code`."""
    answer = json_answer({"error": message}, status, **headers)
    if code:
        answer.headers["X-Error-Code"] = code
    answer.headers["X-Error-Message"] = message
    return answer


def xml_refusal(status: int, code: str, message: str) -> Answer:
    """A refusal as object storage words it."""
    body = f"<Error><Code>{code}</Code><Message>{html.escape(message)}</Message></Error>"
    return Answer(status, {"Content-Type": "application/xml"}, body.encode())


def redirect(status: int, location: str, headers: dict[str, str] | None = None) -> Answer:
    """A redirect with a short text of its own, whose length is nothing like the file's."""
    body = f"{REASONS.get(status, 'Redirect')}. Redirecting to {location}".encode()
    return Answer(status, {"Content-Type": "text/plain; charset=utf-8", **(headers or {}), "Location": location}, body)


def disposition(filename: str) -> str:
    """A `Content-Disposition` that names the file."""
    name = filename.rsplit("/", 1)[-1]
    return f"inline; filename*=UTF-8''{quote(name)}; filename=\"{quote(name)}\";"


def _named(headers: dict[str, str]) -> dict[str, str]:
    return {name.replace("_", "-"): value for name, value in headers.items()}
