"""Lies in listings: pages without end, and names that are no names."""

from __future__ import annotations

import itertools
from typing import Any

from .documents import document
from .server import BODY, COMMIT, ITEM, JSON, REPO, Asked, Reply, Wire, message
from .trial import WHOLE, Case


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


def _one_page(total: int) -> Reply:
    """A listing of so many files on one page, which are sent as they are made."""

    def reply(_asked: Asked, wire: Wire) -> bool:
        wire.send(message(200, JSON, length=False))
        for first in range(0, total, 1000):
            items = (
                f'{{"type":"file","path":"{number:09}","size":1,"oid":"{COMMIT}"}}'
                for number in range(first, first + 1000)
            )
            wire.send(f"{',' if first else '['}{','.join(items)}".encode())
        wire.send(b"]")
        return False

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
    return document([{**ITEM, "path": name} for name in names])


def _case(name: str, reply: Reply, error: str, **more: Any) -> Case:
    return Case(name, "listing", "tree", reply, error, **{"command": WHOLE, **more})


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

CASES = [
    _case(
        "next page is this one",
        _pages(b"[]", ring=1),
        "{tree}: the listing leads back to a page it had",
    ),
    _case(
        "ring of 30 pages",
        _pages(b"[]", ring=30),
        "{tree}: the listing leads back to a page it had",
    ),
    _case("pages without end", _pages(b"[]"), "{tree}: the listing has more than 2000 pages"),
    _case("a million files", _many(10**6, 10_000), "{tree}: the Hub lists more than 100000 files"),
    _case(
        "a million files on one page",
        _one_page(10**6),
        "{tree}: an answer of more than 4194304 bytes where a small one was expected",
    ),
    _case(
        "lock: a million files",
        _many(10**6, 10_000),
        "{tree}: the Hub lists more than 100000 files",
        command=("lock", REPO, "-o", "models.lock"),
    ),
    _case(
        "as many files as are let pass, and one odd name",
        _many_and("zz/../x", 99_000, 9_000),
        "filename 'zz/../x' has the part '..'",
        hint=_EXCLUDE,
        code=2,
        promised=16 << 20,
    ),
    _case(
        "names of 4000 bytes each",
        _many(10**6, 900, "/".join(["abcdefghi"] * 400)),
        "{tree}: the names of the files take more than 8388608 bytes",
    ),
    *(
        _case(f"name: {name}", _named(value), f"filename {why}", hint=_EXCLUDE, code=2)
        for name, (value, why) in _NAMES.items()
    ),
    _case(
        "names that differ by case",
        _named("Model.bin", "model.bin"),
        "",
        code=0,
        promised=2 * len(BODY),
    ),
    _case(
        "names that differ by NFC",
        _named("caf\u00e9.bin", "cafe\u0301.bin"),
        "",
        code=0,
        promised=2 * len(BODY),
    ),
    _case(
        "name: of 5000 bytes",
        _named("/".join(["abcdefghi"] * 500)),
        f"{{tree}}: expected a path of at most 4096 characters, found '{('abcdefghi/' * 8)[:79]}…'",
    ),
    _case(
        "name: of a megabyte",
        _named("a" * 2**20),
        f"{{tree}}: expected a path of at most 4096 characters, found '{'a' * 79}…'",
    ),
    _case(
        "a file that is a directory too",
        _named("a", "a/b"),
        "owner/name: the Hub lists 'a' as a file and as a directory",
    ),
    _case("one name twice", _named("a", "a"), "", code=0),
]
