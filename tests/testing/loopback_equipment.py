"""A plain HTTP client for the tests of the loopback hub: follows nothing, retries nothing, hides nothing."""

import http.client
import socket
from dataclasses import dataclass
from urllib.parse import urlsplit

PATIENCE = 20  # seconds for a single read
REPO = "org/name"


def content(size, seed=0):
    """Bytes in which every position differs from its neighbours."""
    block = bytes((seed + i * 131 + (i >> 8) * 17) & 0xFF for i in range(65521))
    return (block * (size // len(block) + 1))[:size]


@dataclass
class Reply:
    """What came back; `broken` names the exception that ended the body before its announced end."""

    status: int
    headers: dict
    body: bytes
    broken: str = ""


def ask(url, method="GET", body=None, **headers):
    """One request; header names take `_` for `-`."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=PATIENCE)
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    try:
        connection.request(method, f"{parts.path}?{parts.query}" if parts.query else parts.path, body, named)
        response = connection.getresponse()
        found = {name.lower(): value for name, value in response.getheaders()}
        return Reply(response.status, found, *_read(response))
    finally:
        connection.close()


def _read(response):
    pieces = []
    try:
        while piece := response.read1(65536):
            pieces.append(piece)
    except (OSError, http.client.HTTPException) as error:
        return b"".join(pieces), type(error).__name__
    short = response.length not in (None, 0) and response.headers["Content-Length"] and pieces
    return b"".join(pieces), "short" if short else ""


def resolve(hub, filename, revision="main", repo=REPO, prefix=""):
    """The URL of a file on the hub."""
    return f"{hub.url}/{prefix}{repo}/resolve/{revision}/{filename}"


def link(hub, filename):
    """The signed link of a large file."""
    return ask(resolve(hub, filename), "HEAD").headers["location"]


def open_body(url, **headers):
    """A connection that has read an answer's headers and nothing of its body: (connection, response)."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=PATIENCE)
    connection.request("GET", f"{parts.path}?{parts.query}", headers=headers)
    return connection, connection.getresponse()


def refuses(url):
    """Whether nobody listens there."""
    parts = urlsplit(url)
    try:
        socket.create_connection((parts.hostname, parts.port), timeout=PATIENCE).close()
    except ConnectionRefusedError:
        return True
    except ConnectionResetError:  # it is just closing
        return False
    return False
