"""I9 in a fresh interpreter: a hit does no network, loads no SQL or HTTP code, writes nothing but a last use.

Run as `python -m stress.race.probe ROOT REPO FILE`; prints what was wrong as JSON, and nothing if all was right.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from typing import Any

Call = tuple[str, str]

_HEAVY = ("requests", "urllib3", "sqlite3", "sqlite_utils", "filelock", "http.client", "ssl")
_WATCHED = ("socket.connect", "socket.__new__", "sqlite3.connect", "open", "os.rename", "os.remove", "os.link")
_NOT_OPENED = ("index", ".lock")
_NOBODY = "http://127.0.0.1:9"  # the discard port, where nobody listens


def judge(first: list[Call], second: list[Call], loaded: Iterable[str]) -> str:
    """What a hit did that it may not do; empty if it did nothing of the kind.

    Args:
        first, second: What CPython audited during a hit, and during the same hit again: (event, its arguments).
        loaded: The modules that are loaded after both.
    """
    heavy = sorted(set(_HEAVY) & set(loaded))
    if heavy:
        return f"loaded {', '.join(heavy)}"
    wrong = [call for call in first if call[0] != "open" or any(name in call[1] for name in _NOT_OPENED)]
    if wrong:
        return f"did {wrong}"
    return f"did more than a stat the second time: {second}" if second else ""


def main() -> None:
    """Hit twice, and watch every call that CPython audits."""
    calls: list[Call] = []
    watching = False

    def audit(event: str, arguments: tuple[Any, ...]) -> None:
        if watching and event in _WATCHED:
            calls.append((event, str(arguments[:2])))

    sys.addaudithook(audit)
    from model_cache import ModelCache
    from model_cache.errors import ModelCacheError

    root, repo, name = sys.argv[1:]
    cache = ModelCache(root, endpoint=_NOBODY, token=False)
    if not cache.is_cached(repo, name):
        print(json.dumps({"wrong": "", "absent": True}))
        return
    try:
        watching = True
        cache.fetch(repo, name)
        first, calls[:] = list(calls), []
        cache.fetch(repo, name)
        watching = False
        wrong = judge(first, calls, sys.modules)
    except ModelCacheError as error:
        wrong = f"failed: {error!r}"
    print(json.dumps({"wrong": wrong}))


if __name__ == "__main__":
    main()
