"""Lies about a body: endless, too long, too short, dripped, compressed, badly framed, or of no stated length."""

from __future__ import annotations

import gzip
import hashlib
import zlib

from .server import BODY, FILE, META, SHA256, Asked, Reply, Wire, answering, message
from .trial import Case

_SHORT = 0.5  # seconds of both time-outs, where a case is to run into them
_AGAIN = "try again: the download goes on where it stopped"
_UNSAID = 128 << 20  # bytes that a file of which nobody says the length may have
_NO_LENGTH = {name: value for name, value in META.items() if name != "Content-Length"}
_BLOCK = bytes(1 << 20)


def _endless(head: bytes, block: bytes = _BLOCK) -> Reply:
    """A head, and then the same for ever."""

    def reply(_asked: Asked, wire: Wire) -> bool:
        wire.send(head)
        while True:
            wire.send(block)

    return reply


def _dripping(head: bytes, drop: bytes, pause: float = 0.02) -> Reply:
    """A head, and then a drop now and then: often enough for any time-out of a socket."""

    def reply(_asked: Asked, wire: Wire) -> bool:
        wire.send(head)
        while not wire.wait(pause):
            wire.send(drop)
        return False

    return reply


def _unsaid(body: Reply) -> Reply:
    """No length in the promise either."""

    def reply(asked: Asked, wire: Wire) -> bool:
        if asked.method == "HEAD":
            wire.send(message(200, _NO_LENGTH, length=False))
            return False
        return body(asked, wire)

    return reply


def _silent(_asked: Asked, wire: Wire) -> bool:
    wire.wait()
    return False


_UNFRAMED = message(200, _NO_LENGTH, length=False)
_CHUNKED = message(200, {**_NO_LENGTH, "Transfer-Encoding": "chunked"})
_WHOLE = b"%x\r\n%s\r\n" % (len(BODY), BODY)
_BOMB = gzip.compress(bytes(64 << 20), 9)
_RAW = zlib.compress(bytes(64 << 20), 9)

CASES = [
    Case(
        "endless, no length",
        "body",
        "body",
        _endless(_UNFRAMED),
        "owner/name model.bin: more than the promised 524288 bytes",
    ),
    Case(
        "endless, in chunks",
        "body",
        "body",
        _endless(_CHUNKED, b"100000\r\n%s\r\n" % _BLOCK),
        "owner/name model.bin: more than the promised 524288 bytes",
    ),
    Case("endless, right length", "body", "body", _endless(message(200, META), BODY), "", code=0),
    Case(
        "endless, length never said",
        "body",
        "any",
        _unsaid(_endless(_UNFRAMED)),
        "owner/name model.bin: more than 134217728 bytes came, and neither promise nor answer says how many there are",
        hint="a mirror must pass on Content-Length or X-Linked-Size",
        promised=_UNSAID,
    ),
    Case(
        "length too large",
        "body",
        "body",
        answering(200, {**META, "Content-Length": str(10**15)}, BODY),
        "owner/name model.bin: expected 524288 bytes, the server offers 1000000000000000",
    ),
    Case(
        "length too small",
        "body",
        "body",
        answering(200, {**META, "Content-Length": "1000"}, BODY),
        "owner/name model.bin: expected 524288 bytes, the server offers 1000",
    ),
    Case(
        "length negative",
        "body",
        "body",
        answering(200, {**META, "Content-Length": "-1"}, BODY, length=False),
        "",
        code=0,
    ),
    Case(
        "two lengths",
        "body",
        "body",
        answering(200, {**META, "Content-Length": "5, 6"}, BODY),
        "cannot ask 127.0.0.1: InvalidHeader ({body})",
        hint="check HF_ENDPOINT, HTTPS_PROXY and REQUESTS_CA_BUNDLE",
    ),
    Case(
        "no bytes at all",
        "body",
        "body",
        answering(200, {**META, "Content-Length": "0"}),
        "owner/name model.bin: expected 524288 bytes, the server offers 0",
    ),
    Case(
        "other bytes",
        "body",
        "body",
        answering(200, META, bytes(len(BODY))),
        f"owner/name model.bin: expected sha256 {SHA256}, received bytes with {hashlib.sha256(bytes(len(BODY))).hexdigest()}",
    ),
    Case(
        "drip",
        "body",
        "body",
        _dripping(message(200, META), b"x"),
        "{body}: less than 1024 bytes in 3 s after {some} bytes",
        stalled=(("{body}: no byte for 0.5 s after {some} bytes", _AGAIN),),
        hint=_AGAIN,
        timeout=_SHORT,
    ),
    Case(
        "drip, in chunks",
        "body",
        "body",
        _dripping(_CHUNKED, b"1\r\nx\r\n"),
        "{body}: less than 1024 bytes in 3 s after {some} bytes",
        stalled=(("{body}: no byte for 0.5 s after {some} bytes", _AGAIN),),
        hint=_AGAIN,
        timeout=_SHORT,
    ),
    Case(
        "drip of a chunk's length",
        "body",
        "body",
        _dripping(_CHUNKED, b"0"),
        "{body}: less than 1024 bytes in 3 s after {some} bytes",
        stalled=(("{body}: no byte for 0.5 s after {some} bytes", _AGAIN),),
        hint=_AGAIN,
        timeout=_SHORT,
    ),
    Case(
        "silence",
        "body",
        "body",
        _silent,
        "127.0.0.1: no answer within 0.5 s ({body})",
        hint="HF_HUB_ETAG_TIMEOUT and HF_HUB_DOWNLOAD_TIMEOUT set the wait, in seconds",
        timeout=_SHORT,
    ),
    Case(
        "endless line before a chunk",
        "body",
        "body",
        _endless(_CHUNKED, b"1;" + b"x" * 60_000),
        "{body}: its answer is not HTTP (LineTooLong) after {some} bytes",
        hint=_AGAIN,
    ),
    Case("endless trailers", "body", "body", _endless(_CHUNKED + _WHOLE + b"0\r\n", b"X-A: y\r\n" * 1000), "", code=0),
    Case(
        "chunk of a negative length",
        "body",
        "body",
        _endless(_CHUNKED, b"-5\r\n"),
        "{body}: its answer is not HTTP (HTTPException) after {some} bytes",
        hint=_AGAIN,
    ),
    Case(
        "gzip bomb",
        "body",
        "body",
        answering(200, {**META, "Content-Encoding": "gzip"}, _BOMB),
        "{body}: 'model.bin' comes with Content-Encoding 'gzip'; expected its bytes as they are",
        hint="a proxy or mirror on the way compresses; it must not",
    ),
    Case(
        "deflate bomb",
        "body",
        "body",
        answering(200, {**META, "Content-Encoding": "deflate"}, _RAW),
        "{body}: 'model.bin' comes with Content-Encoding 'deflate'; expected its bytes as they are",
        hint="a proxy or mirror on the way compresses; it must not",
    ),
    Case(
        "bomb in Transfer-Encoding",
        "body",
        "body",
        answering(200, {**META, "Transfer-Encoding": "gzip"}, _BOMB),
        "{body}: 'model.bin' comes with Transfer-Encoding 'gzip'; expected its bytes as they are",
        hint="a proxy or mirror on the way compresses; it must not",
    ),
    Case(
        "page for people",
        "body",
        "body",
        answering(200, {"Content-Type": "text/html"}, b"<html>"),
        "{body}: an HTML page came in place of 'model.bin'",
        hint="a proxy or login page may have answered; check HF_ENDPOINT and the network",
    ),
    Case(
        "206 that nobody asked for",
        "body",
        "body",
        answering(206, {"Content-Range": "bytes 5-9/10"}, b"xyzab"),
        "repo 'owner/name': the server gave an answer that is of no use (HTTP 206, {body})",
    ),
    Case(
        f"length of {FILE} beyond any disk",
        "promise",
        "metadata",
        answering(200, {**META, "Content-Length": str(2**62)}),
        "owner/name model.bin needs 1.15e+03 PB more, and {root} has {some} free",
        hint="free some space there, set MODEL_CACHE_DIR to another file system, or set a max_size",
        code=12,
    ),
    Case(
        "silence",
        "promise",
        "metadata",
        _silent,
        "127.0.0.1: no answer within 0.5 s ({metadata}); gave up after 6 attempts",
        hint="HF_HUB_ETAG_TIMEOUT and HF_HUB_DOWNLOAD_TIMEOUT set the wait, in seconds",
        timeout=_SHORT,
    ),
]
