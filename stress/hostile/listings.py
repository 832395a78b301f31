"""Lies in JSON and in listings: bombs of any kind, pages without end, and names that are no names."""

from __future__ import annotations

import gzip
import itertools
import json
from typing import Any

from .heads import WAITS
from .server import BODY, COMMIT, FILE, ITEM, JSON, REPO, SHA256, Asked, Reply, Wire, answering, message
from .trial import WHOLE, Case

_SHORT = 0.5
_AGAIN = "try again: the download goes on where it stopped"


def _json(body: bytes, **headers: str) -> Reply:
    return answering(200, {**JSON, **headers}, body)


def _document(value: Any) -> Reply:
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


def _pages(items: bytes, *, ring: int = 0) -> Reply:
    """Pages that never end: each another one, or so many in a ring."""
    count = itertools.count(1)

    def reply(_asked: Asked, wire: Wire) -> bool:
        number = next(count) % ring if ring else next(count)
        link = f'<{wire.hub.url}/api/models/{REPO}/tree/{COMMIT}?cursor={number}>; rel="next"'
        wire.send(message(200, {**JSON, "Link": link}, items))
        return True

    return reply


def _many(total: int, each: int, middle: str = "part") -> Reply:
    """A listing of so many files, so many on a page; their names are made as they are asked for."""

    def reply(asked: Asked, wire: Wire) -> bool:
        # By what was asked: who gave up waiting asks for the same page again.
        page = int(asked.target.partition("cursor=")[2] or 0)
        first = page * each
        names = (f"data/{number:09}/{middle}-{number:09}.parquet" for number in range(first, min(first + each, total)))
        text = ",".join(f'{{"type":"file","path":"{name}","size":1,"oid":"{COMMIT}"}}' for name in names)
        link = f'<{wire.hub.url}/api/models/{REPO}/tree/{COMMIT}?cursor={page + 1}>; rel="next"'
        headers = {**JSON, "Link": link} if first + each < total else JSON
        wire.send(message(200, headers, f"[{text}]".encode()))
        return True

    return reply


def _many_and(last: str, total: int, each: int) -> Reply:
    """A listing of very many files, and one of an odd name on a page of its own."""
    before = _many(total + each, each)
    count = itertools.count(1)

    def reply(asked: Asked, wire: Wire) -> bool:
        if next(count) * each <= total:
            return before(asked, wire)
        return _named(last)(asked, wire)

    return reply


def _named(*names: str) -> Reply:
    return _document([{**ITEM, "path": name} for name in names])


def _whole(name: str, stage: str, reply: Reply, error: str, **more: Any) -> Case:
    return Case(name, more.pop("group", "JSON"), stage, reply, error, command=WHOLE, **more)


_EXCLUDE = "model-cache fetch --exclude leaves it out"
_NAMES = {
    "..": ("../../outside", "'../../outside' has the part '..'"),
    ".. inside": ("a/../../outside", "'a/../../outside' has the part '..'"),
    "absolute": ("/etc/passwd", "'/etc/passwd' is absolute; expected a path inside the repo"),
    "NUL": ("a\0b", "'a\\x00b' has a backslash or a control character"),
    "backslash": ("..\\..\\outside", "'..\\\\..\\\\outside' has a backslash or a control character"),
    "drive letter": ("C:outside", "'C:outside' begins a part with a drive letter"),
    "device": ("sub/CON.txt", "'sub/CON.txt' uses a device name of Windows"),
    "the cache's own": (
        ".model-cache/config.toml",
        "'.model-cache/config.toml' enters .model-cache, which is the cache's own",
    ),
    "the cache's own, in capitals": (
        ".MODEL-CACHE/config.toml",
        "'.MODEL-CACHE/config.toml' enters .model-cache, which is the cache's own",
    ),
    "dot": ("./x", "'./x' has the part '.'"),
    "empty part": ("a//b", "'a//b' has the part ''"),
    "closing slash": ("a/", "'a/' has the part ''"),
    "control character": ("a\x1b[31mb", "'a\\x1b[31mb' has a backslash or a control character"),
    "right to left": (
        "a\u202etxt.exe",
        "'a\\u202etxt.exe' has a character that reorders or breaks text, so that it would be shown as another",
    ),
    "half a surrogate": ("a\ud800b", "'a\\ud800b' is not valid Unicode"),
    "of 300 bytes": (
        "a" * 300,
        f"'{'a' * 116}... has a part of more than 255 bytes",
    ),
    "closing dot": ("a.", "'a.' has a part that ends in a dot or a space"),
}
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
    _whole(
        "endless",
        "commit",
        _flood(b"[" * 2**20),
        "{commit}: an answer of more than 8388608 bytes where a small one was expected",
    ),
    _whole(
        "endless",
        "tree",
        _flood(b" " * 2**20),
        "{tree}: an answer of more than 4194304 bytes where a small one was expected",
    ),
    _whole(
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
    _whole(
        "gzip bomb",
        "commit",
        _json(gzip.compress(b"[" * (64 << 20), 9), **{"Content-Encoding": "gzip"}),
        "{commit}: expected JSON of the Hub's API, found compressed bytes",
        hint="a proxy or login page may have answered; check HF_ENDPOINT and the network",
    ),
    _whole(
        "gzip bomb",
        "tree",
        _json(gzip.compress(b"[" * (64 << 20), 9), **{"Content-Encoding": "gzip"}),
        "{tree}: expected JSON of the Hub's API, found compressed bytes",
        hint="a proxy or login page may have answered; check HF_ENDPOINT and the network",
    ),
    _whole(
        "gzip bomb in Transfer-Encoding",
        "tree",
        _json(gzip.compress(b"[" * (64 << 20), 9), **{"Transfer-Encoding": "gzip"}),
        "{tree}: expected JSON of the Hub's API, found compressed bytes",
        hint="a proxy or login page may have answered; check HF_ENDPOINT and the network",
    ),
    _whole(
        "nested a million deep",
        "tree",
        _json(b"[" * 10**6),
        "{tree}: a document of 1000000 values, where at most 400000 were expected",
    ),
    _whole(
        "nested 300,000 deep",
        "tree",
        _json(b"[" * 300_000),
        "{tree}: expected JSON of the Hub's API, found 300000 bytes of something else",
    ),
    _whole(
        "objects nested a million deep",
        "commit",
        _json(b'{"a":' * 10**6),
        "{commit}: a document of 1000000 values, where at most 400000 were expected",
    ),
    _whole(
        "a million empty lists",
        "tree",
        _json(b"[" + b"[]," * 10**6 + b"[]]"),
        "{tree}: a document of 2000002 values, where at most 400000 were expected",
    ),
    _whole(
        "a million keys",
        "commit",
        _json(b"{" + b",".join(b'"%d":0' % number for number in range(900_000)) + b"}"),
        "{commit}: an answer of more than 8388608 bytes where a small one was expected",
    ),
    _whole(
        "most values that are let pass",
        "commit",
        _json(b"[" + b"[]," * 199_000 + b"[]]"),
        "{commit}: expected a 40-hex commit in `sha`, found None",
    ),
    _whole(
        "one long text of four-byte characters",
        "tree",
        _json(b'["' + "\U0001f600".encode() + b"a" * (4_000_000) + b'"]'),
        f"{{tree}}: expected an item with a path, found '\U0001f600{'a' * 77}…",
    ),
    _whole(
        "one long text of four-byte characters",
        "commit",
        _json(b'{"sha": "\\ud83d\\ude00' + b"a" * (8_000_000) + b'"}'),
        f"{{commit}}: expected a 40-hex commit in `sha`, found '//d83d//de00{'a' * 46}…",
    ),
    _whole(
        "a number of a million digits",
        "commit",
        _json(b'{"sha": ' + b"9" * 10**6 + b"}"),
        "{commit}: expected JSON of the Hub's API, found 1000009 bytes of something else",
    ),
    _whole("NaN", "commit", _json(b'{"sha": NaN}'), "{commit}: expected a 40-hex commit in `sha`, found nan"),
    _whole(
        "no JSON",
        "commit",
        _json(b"\xff\xfe{"),
        "{commit}: expected JSON of the Hub's API, found 3 bytes of something else",
    ),
    _whole(
        "page for people",
        "tree",
        answering(200, {"Content-Type": "text/html"}, b"<html>"),
        "{tree}: expected JSON of the Hub's API, found text/html",
        hint="a proxy or login page may have answered; check HF_ENDPOINT and the network",
    ),
    _whole(
        "commit that is not hex",
        "commit",
        _document({"sha": "../" * 13 + "x"}),
        "{commit}: expected a 40-hex commit in `sha`, found '../../../../../../../../../../../../../x'",
    ),
    _whole(
        "commit in capitals",
        "commit",
        _document({"sha": COMMIT.upper()}),
        "{commit}: expected a 40-hex commit in `sha`, found 'C0FFEEC0FFEEC0FFEEC0FFEEC0FFEEC0FFEECAFE'",
    ),
    _whole(
        "redirect to another host",
        "commit",
        answering(302, {"Location": "http://127.0.0.2:1/api"}),
        "{commit}: the API redirects to another host; that is not followed",
    ),
    *(_whole(name, "tree", _document(value), why) for name, (value, why) in _SHAPES.items()),
    _whole(
        "an oid that is none",
        "tree",
        _document([{**ITEM, "lfs": {"oid": "../..", "size": 1}}]),
        "owner/name model.bin: {hub} listed neither a sha256 nor a git-sha1, so nothing could be verified",
        hint="a mirror must pass on `oid` and `lfs.oid`",
    ),
    _whole(
        "next page is this one",
        "tree",
        _pages(b"[]", ring=1),
        "{tree}: the listing leads back to a page it had",
        group="listing",
    ),
    _whole(
        "ring of 30 pages",
        "tree",
        _pages(b"[]", ring=30),
        "{tree}: the listing leads back to a page it had",
        group="listing",
    ),
    _whole("pages without end", "tree", _pages(b"[]"), "{tree}: the listing has more than 2000 pages", group="listing"),
    _whole(
        "a million files", "tree", _many(10**6, 10_000), "{tree}: the Hub lists more than 100000 files", group="listing"
    ),
    _whole(
        "a million files on one page",
        "tree",
        _many(10**6, 10**6),
        "{tree}: an answer of more than 4194304 bytes where a small one was expected",
        group="listing",
    ),
    Case(
        "lock: a million files",
        "listing",
        "tree",
        _many(10**6, 10_000),
        "{tree}: the Hub lists more than 100000 files",
        command=("lock", REPO, "-o", "models.lock"),
    ),
    _whole(
        "as many files as are let pass, and one odd name",
        "tree",
        _many_and("zz/../x", 99_000, 9_000),
        "filename 'zz/../x' has the part '..'",
        hint=_EXCLUDE,
        code=2,
        group="listing",
        promised=16 << 20,
    ),
    _whole(
        "names of 4000 bytes each",
        "tree",
        _many(10**6, 900, "/".join(["abcdefghi"] * 400)),
        "{tree}: the names of the files take more than 8388608 bytes",
        group="listing",
    ),
    *(
        _whole(f"name: {name}", "tree", _named(value), f"filename {why}", hint=_EXCLUDE, code=2, group="listing")
        for name, (value, why) in _NAMES.items()
    ),
    _whole(
        "names that differ by case",
        "tree",
        _named("Model.bin", "model.bin"),
        "",
        code=0,
        promised=2 * len(BODY),
        group="listing",
    ),
    _whole(
        "names that differ by NFC",
        "tree",
        _named("caf\u00e9.bin", "cafe\u0301.bin"),
        "",
        code=0,
        promised=2 * len(BODY),
        group="listing",
    ),
    _whole(
        "name: of 5000 bytes",
        "tree",
        _named("/".join(["abcdefghi"] * 500)),
        f"{{tree}}: expected a path of at most 4096 characters, found '{('abcdefghi/' * 8)[:79]}…'",
        group="listing",
    ),
    _whole(
        "name: of a megabyte",
        "tree",
        _named("a" * 2**20),
        f"{{tree}}: expected a path of at most 4096 characters, found '{'a' * 79}…'",
        group="listing",
    ),
    _whole(
        "a file that is a directory too",
        "tree",
        _named("a", "a/b"),
        "owner/name: the Hub lists 'a' as a file and as a directory",
        group="listing",
    ),
    _whole("one name twice", "tree", _named("a", "a"), "", code=0, group="listing"),
]
