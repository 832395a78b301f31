"""Lies in JSON: bombs of any kind, and values of the wrong shape."""

from __future__ import annotations

import gzip
import json
from typing import Any

from .heads import WAITS
from .server import COMMIT, FILE, ITEM, JSON, SHA256, Asked, Reply, Wire, answering, message
from .trial import WHOLE, Case

_SHORT = 0.5
_AGAIN = "try again: the download goes on where it stopped"


def _json(body: bytes, **headers: str) -> Reply:
    return answering(200, {**JSON, **headers}, body)


def document(value: Any) -> Reply:
    """An answer of the API that says this."""
    return _json(json.dumps(value).encode())


def _flood(piece: bytes) -> Reply:
    def reply(_asked: Asked, wire: Wire) -> bool:
        wire.send(message(200, JSON, length=False))
        while True:
            wire.send(piece)

    return reply


def _drip(_asked: Asked, wire: Wire) -> bool:
    wire.send(message(200, {**JSON, "Content-Length": "1000000"}))
    while not wire.wait(0.02):
        wire.send(b" " * 100)
    return False


def _case(name: str, stage: str, reply: Reply, error: str, **more: Any) -> Case:
    return Case(name, "JSON", stage, reply, error, command=WHOLE, **more)


_ODD_SIZE = f"{{tree}}: expected `size` and `oid` of 'model.bin', found {{'oid': '{SHA256}', 'si…"
_SHAPES: dict[str, Any] = {
    "a number": (1, "{tree}: expected a list of files, found int"),
    "null": (None, "{tree}: expected a list of files, found NoneType"),
    "a string": ("x" * 100, "{tree}: expected a list of files, found str"),
    "an object": ({"error": "x"}, "{tree}: expected a list of files, found dict"),
    "items that are no objects": ([1, 2, 3], "{tree}: expected an item with a path, found 1"),
    "an item without a path": ([{"type": "file"}], "{tree}: expected an item with a path, found {'type': 'file'}"),
    "a path that is a list": (
        [{"path": ["a"]}],
        "{tree}: expected an item with a path, found {'path': ['a']}",
    ),
    "a size that is text": (
        [{"path": FILE, "size": "1", "oid": COMMIT}],
        f"{{tree}}: expected `size` and `oid` of 'model.bin', found {{'path': 'model.bin', 'size': '1', 'oid': '{COMMIT[:36]}…",
    ),
    "a negative size": (
        [{**ITEM, "lfs": {"oid": SHA256, "size": -1}}],
        _ODD_SIZE,
    ),
    "a size beyond any": (
        [{**ITEM, "lfs": {"oid": SHA256, "size": 2**64}}],
        _ODD_SIZE,
    ),
    "a size with a fraction": (
        [{**ITEM, "lfs": {"oid": SHA256, "size": 1.5}}],
        _ODD_SIZE,
    ),
    "a size that is true": (
        [{**ITEM, "lfs": {"oid": SHA256, "size": True}}],
        _ODD_SIZE,
    ),
    "lfs that is a list": ([{**ITEM, "lfs": []}], "{tree}: expected `size` and `oid` of 'model.bin', found []"),
}

CASES = [
    _case(
        "endless",
        "commit",
        _flood(b"[" * 2**20),
        "{commit}: an answer of more than 8388608 bytes where a small one was expected",
    ),
    _case(
        "endless",
        "tree",
        _flood(b" " * 2**20),
        "{tree}: an answer of more than 4194304 bytes where a small one was expected",
    ),
    _case(
        "drip",
        "tree",
        _drip,
        "{tree}: the answer was not complete in 3 s after {some} bytes; gave up after 6 attempts",
        stalled=(
            ("{tree}: no byte for 0.5 s after {some} bytes; gave up after 6 attempts", _AGAIN),
            ("{tree}: less than 1024 bytes in 3 s after {some} bytes; gave up after 6 attempts", _AGAIN),
            ("127.0.0.1: no answer within 0.5 s ({tree}); gave up after 6 attempts", WAITS),
        ),
        hint=_AGAIN,
        timeout=_SHORT,
    ),
    _case(
        "gzip bomb",
        "commit",
        _json(gzip.compress(b"[" * (64 << 20), 9), **{"Content-Encoding": "gzip"}),
        "{commit}: expected JSON of the Hub's API, found compressed bytes",
        hint="a proxy or login page may have answered; check HF_ENDPOINT and the network",
    ),
    _case(
        "gzip bomb",
        "tree",
        _json(gzip.compress(b"[" * (64 << 20), 9), **{"Content-Encoding": "gzip"}),
        "{tree}: expected JSON of the Hub's API, found compressed bytes",
        hint="a proxy or login page may have answered; check HF_ENDPOINT and the network",
    ),
    _case(
        "gzip bomb in Transfer-Encoding",
        "tree",
        _json(gzip.compress(b"[" * (64 << 20), 9), **{"Transfer-Encoding": "gzip"}),
        "{tree}: expected JSON of the Hub's API, found compressed bytes",
        hint="a proxy or login page may have answered; check HF_ENDPOINT and the network",
    ),
    _case(
        "nested a million deep",
        "tree",
        _json(b"[" * 10**6),
        "{tree}: a document of 1000000 values, where at most 400000 were expected",
    ),
    _case(
        "nested 300,000 deep",
        "tree",
        _json(b"[" * 300_000),
        "{tree}: expected JSON of the Hub's API, found 300000 bytes of something else",
    ),
    _case(
        "objects nested a million deep",
        "commit",
        _json(b'{"a":' * 10**6),
        "{commit}: a document of 1000000 values, where at most 400000 were expected",
    ),
    _case(
        "a million empty lists",
        "tree",
        _json(b"[" + b"[]," * 10**6 + b"[]]"),
        "{tree}: a document of 2000002 values, where at most 400000 were expected",
    ),
    _case(
        "a million keys",
        "commit",
        _json(b"{" + b",".join(b'"%d":0' % number for number in range(900_000)) + b"}"),
        "{commit}: an answer of more than 8388608 bytes where a small one was expected",
    ),
    _case(
        "most values that are let pass",
        "commit",
        _json(b"[" + b"[]," * 199_000 + b"[]]"),
        "{commit}: expected a 40-hex commit in `sha`, found None",
    ),
    _case(
        "one long text of four-byte characters",
        "tree",
        _json(b'["' + "\U0001f600".encode() + b"a" * (4_000_000) + b'"]'),
        f"{{tree}}: expected an item with a path, found '\U0001f600{'a' * 77}…",
    ),
    _case(
        "one long text of four-byte characters",
        "commit",
        _json(b'{"sha": "\\ud83d\\ude00' + b"a" * (8_000_000) + b'"}'),
        f"{{commit}}: expected a 40-hex commit in `sha`, found '//d83d//de00{'a' * 46}…",
    ),
    _case(
        "a number of a million digits",
        "commit",
        _json(b'{"sha": ' + b"9" * 10**6 + b"}"),
        "{commit}: expected JSON of the Hub's API, found 1000009 bytes of something else",
    ),
    _case("NaN", "commit", _json(b'{"sha": NaN}'), "{commit}: expected a 40-hex commit in `sha`, found nan"),
    _case(
        "no JSON",
        "commit",
        _json(b"\xff\xfe{"),
        "{commit}: expected JSON of the Hub's API, found 3 bytes of something else",
    ),
    _case(
        "page for people",
        "tree",
        answering(200, {"Content-Type": "text/html"}, b"<html>"),
        "{tree}: expected JSON of the Hub's API, found text/html",
        hint="a proxy or login page may have answered; check HF_ENDPOINT and the network",
    ),
    _case(
        "commit that is not hex",
        "commit",
        document({"sha": "../" * 13 + "x"}),
        "{commit}: expected a 40-hex commit in `sha`, found '../../../../../../../../../../../../../x'",
    ),
    _case(
        "commit in capitals",
        "commit",
        document({"sha": COMMIT.upper()}),
        "{commit}: expected a 40-hex commit in `sha`, found 'C0FFEEC0FFEEC0FFEEC0FFEEC0FFEEC0FFEECAFE'",
    ),
    _case(
        "redirect to another host",
        "commit",
        answering(302, {"Location": "http://127.0.0.2:1/api"}),
        "{commit}: the API redirects to another host; that is not followed",
    ),
    *(_case(name, "tree", document(value), why) for name, (value, why) in _SHAPES.items()),
    _case(
        "an oid that is none",
        "tree",
        document([{**ITEM, "lfs": {"oid": "../..", "size": 1}}]),
        "owner/name model.bin: {hub} listed neither a sha256 nor a git-sha1, so nothing could be verified",
        hint="a mirror must pass on `oid` and `lfs.oid`",
    ),
]
