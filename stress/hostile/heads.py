"""Lies in what stands before a body: headers without end, redirects in circles and to where no client should go."""

from __future__ import annotations

import itertools

from .server import META, Asked, Reply, Wire, answering, message
from .trial import Case

_SHORT = 0.5
WAITS = "HF_HUB_ETAG_TIMEOUT and HF_HUB_DOWNLOAD_TIMEOUT set the wait, in seconds"


def _flood(head: bytes, more: bytes) -> Reply:
    def reply(_asked: Asked, wire: Wire) -> bool:
        wire.send(head + more)  # at once: what came later could be taken for the next answer, which is another lie
        while True:
            wire.send(more)

    return reply


def _drip(_asked: Asked, wire: Wire) -> bool:
    wire.send(b"HTTP/1.1 200 OK\r\nX-Long: ")
    while not wire.wait(0.02):
        wire.send(b"x")
    return False


def _another_protocol(_asked: Asked, wire: Wire) -> bool:
    wire.send(b"\x1b[31mSSH-2.0-\x07hello\r\n\r\n")
    return False


def _ever_further() -> Reply:
    """Redirects to an address that was not there before, again and again."""
    count = itertools.count()

    def reply(_asked: Asked, wire: Wire) -> bool:
        wire.send(message(302, {"Location": f"/further/{next(count)}"}))
        return True

    return reply


def _to_itself(asked: Asked, wire: Wire) -> bool:
    wire.send(message(302, {"Location": asked.target}))
    return True


def _between_two(asked: Asked, wire: Wire) -> bool:
    wire.send(message(302, {"Location": "/b" if asked.target.startswith("/a") else "/a"}))
    return True


def _to(location: str) -> Reply:
    return answering(302, {"Location": location})


_ELSEWHERE = {
    "file:": ("file:///etc/passwd", "its scheme is 'file', neither https nor http"),
    "ftp:": ("ftp://127.0.0.1/x", "its scheme is 'ftp', neither https nor http"),
    "data:": ("data:application/octet-stream;base64,AAAA", "its scheme is 'data', neither https nor http"),
    "javascript:": ("javascript:alert(1)", "its scheme is 'javascript', neither https nor http"),
    "gopher:": ("gopher://127.0.0.1:70/1", "its scheme is 'gopher', neither https nor http"),
    "unix socket": ("http+unix://%2Fvar%2Frun%2Fdocker.sock/x", "its scheme is 'http+unix', neither https nor http"),
    "user and password": ("http://user:secret@127.0.0.1/x", "its address carries a user name"),
    "nowhere": ("", "it says not where"),
    "no address": ("http://[::1/x", "its address cannot be read"),
    "port 0x50": ("http://127.0.0.1:0x50/x", "its host or port cannot be read"),
    "NUL": ("http://127.0.0.1/\x00", "its address has characters that no address has"),
    "169.254.169.254": (
        "http://169.254.169.254/latest/meta-data/",
        "it leads to the link-local address 169.254.169.254, from a loopback endpoint",
    ),
    "[::ffff:169.254.169.254]": (
        "http://[::ffff:169.254.169.254]/",
        "it leads to the link-local address ::ffff:169.254.169.254, from a loopback endpoint",
    ),
    "[fe80::1]": ("http://[fe80::1]/", "it leads to the link-local address fe80::1, from a loopback endpoint"),
    "2852039166": ("http://2852039166/", "it leads to the link-local address 2852039166, from a loopback endpoint"),
    "0xa9fea9fe": ("http://0xa9fea9fe/", "it leads to the link-local address 0xa9fea9fe, from a loopback endpoint"),
    "0251.0376.0251.0376": (
        "http://0251.0376.0251.0376/",
        "it leads to the link-local address 0251.0376.0251.0376, from a loopback endpoint",
    ),
    "169.16689662": (
        "http://169.16689662/",
        "it leads to the link-local address 169.16689662, from a loopback endpoint",
    ),
    "[fd00:ec2::254]": (
        "http://[fd00:ec2::254]/",
        "it leads to the link-local address fd00:ec2::254, from a loopback endpoint",
    ),
    "255.255.255.255": (
        "http://255.255.255.255/",
        "it leads to the unusable address 255.255.255.255, from a loopback endpoint",
    ),
}

_NO_COMMIT = "{{metadata}}: this is not an answer of the Hub: expected a 40-hex commit, found the commit {!r}"

CASES = [
    Case(
        "endless line",
        "headers",
        "metadata",
        _flood(b"HTTP/1.1 200 OK\r\nX-A: ", b"y" * 65536),
        "127.0.0.1: its answer is not HTTP (LineTooLong) ({metadata})",
        hint="check HF_ENDPOINT and the proxies: what answers there is no web server of the Hub",
    ),
    Case(
        "endless lines",
        "headers",
        "metadata",
        _flood(b"HTTP/1.1 200 OK\r\n", b"X-A: y\r\n" * 1000),
        "127.0.0.1: its answer is not HTTP (HTTPException) ({metadata})",
        hint="check HF_ENDPOINT and the proxies: what answers there is no web server of the Hub",
    ),
    Case(
        "100 of 60 KiB each",
        "headers",
        "metadata",
        answering(200, {**META, **{f"X-{number}": "y" * 60_000 for number in range(90)}}),
        "",
        code=0,
    ),
    Case(
        "endless 100 Continue",
        "headers",
        "metadata",
        _flood(b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
        "127.0.0.1: no whole answer within 3 s ({metadata}); gave up after 6 attempts",
        stalled=(("127.0.0.1: no answer within 0.5 s ({metadata}); gave up after 6 attempts", WAITS),),
        timeout=_SHORT,
    ),
    Case(
        "drip",
        "headers",
        "metadata",
        _drip,
        "127.0.0.1: no whole answer within 3 s ({metadata}); gave up after 6 attempts",
        stalled=(("127.0.0.1: no answer within 0.5 s ({metadata}); gave up after 6 attempts", WAITS),),
        timeout=_SHORT,
    ),
    Case(
        "another protocol",
        "headers",
        "metadata",
        _another_protocol,
        "127.0.0.1: its answer is not HTTP (BadStatusLine) ({metadata})",
        hint="check HF_ENDPOINT and the proxies: what answers there is no web server of the Hub",
    ),
    Case(
        "ETag with slashes",
        "headers",
        "metadata",
        answering(200, {**META, "ETag": '"../../../etc/passwd"'}),
        "owner/name model.bin: {hub} promised neither a sha256 nor a git-sha1, so nothing could be verified",
        hint="a mirror must pass on the headers ETag and X-Linked-Etag",
    ),
    Case(
        "ETag of 60 KiB",
        "headers",
        "metadata",
        answering(200, {**META, "ETag": '"' + "a" * 60_000 + '"'}),
        "owner/name model.bin: {hub} promised neither a sha256 nor a git-sha1, so nothing could be verified",
        hint="a mirror must pass on the headers ETag and X-Linked-Etag",
    ),
    Case(
        "no ETag",
        "headers",
        "metadata",
        answering(200, {"X-Repo-Commit": META["X-Repo-Commit"]}),
        "{metadata}: the Hub's answer has no ETag, so nothing says which bytes these are",
    ),
    Case(
        "commit that is not hex",
        "headers",
        "metadata",
        answering(200, {**META, "X-Repo-Commit": "../" * 13 + "x"}),
        _NO_COMMIT.format("../" * 13 + "x"),
        hint="a proxy or login page may have answered; check HF_ENDPOINT and the network",
    ),
    Case(
        "commit too long",
        "headers",
        "metadata",
        answering(200, {**META, "X-Repo-Commit": "a" * 41}),
        _NO_COMMIT.format("a" * 41),
        hint="a proxy or login page may have answered; check HF_ENDPOINT and the network",
    ),
    Case(
        "Retry-After of a century",
        "headers",
        "metadata",
        answering(503, {"Retry-After": "3153600000"}),
        "repo 'owner/name': the server failed (HTTP 503, {metadata}); gave up after 6 attempts",
        hint="try again later; https://status.huggingface.co shows the Hub's state",
    ),
    Case(
        "loop to itself",
        "redirects",
        "metadata",
        _to_itself,
        "{metadata}: a redirect is refused: it is redirect number 6 in a row",
    ),
    Case(
        "loop to itself, of the body",
        "redirects",
        "body",
        _to_itself,
        "{body}: a redirect is refused: it is redirect number 6 in a row",
    ),
    Case(
        "loop of two",
        "redirects",
        "any",
        _between_two,
        "{hub}/a: a redirect is refused: it is redirect number 6 in a row",
    ),
    Case(
        "ever further",
        "redirects",
        "any",
        _ever_further(),
        "{hub}/further/4: a redirect is refused: it is redirect number 6 in a row",
    ),
    Case(
        "endless text of its own",
        "redirects",
        "metadata",
        _flood(message(302, {"Location": "/x", "Content-Length": str(10**15)}), bytes(65536)),
        "",
        code=0,
    ),
    *(
        Case(f"to {name}", "redirects", "body", _to(where), f"{{body}}: a redirect is refused: {why}")
        for name, (where, why) in _ELSEWHERE.items()
    ),
    *(
        Case(
            f"to {name}, of the metadata",
            "redirects",
            "metadata",
            _to(_ELSEWHERE[name][0]),
            f"{{metadata}}: a redirect is refused: {_ELSEWHERE[name][1]}",
        )
        for name in ("file:", "javascript:", "169.254.169.254")
    ),
]
