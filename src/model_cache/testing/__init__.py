"""A Hub on 127.0.0.1 for tests: the real protocol, no network, every request counted, faults on demand.

`LoopbackHub` runs in this process, `HubProcess` (or `python -m model_cache.testing FOLDER`) in one of its own, and the
pytest fixture `hub` is a running `LoopbackHub` for one test:

    def test_loads(hub, tmp_path):
        hub.add_repo("org/name", {"config.json": b"{}"})
        cache = ModelCache(tmp_path, endpoint=hub.url)
        assert cache.fetch("org/name", "config.json").read_bytes() == b"{}"
        assert hub.body_gets("config.json") == 1

Faults, ordered by `hub.fault(pattern, kind, times=1, at=0.5, …)`; `at` is where in the body, `on` which requests:

| kind | what happens | parameters | unless `on` says otherwise |
|---|---|---|---|
| `cut` | the connection ends at `at` | | body |
| `reset` | a TCP reset at `at` | | body |
| `stall` | nothing more is sent from `at` on; the connection stays open | | body |
| `hangup` | the connection ends without an answer | | any |
| `flip` | the byte at `at` has one bit flipped | | body |
| `slow` | so many bytes per second | `rate` (64 KiB) | body |
| `drip` | a few bytes, a pause, and so on | `bytes` (1), `seconds` (0.05) | body |
| `latency` | a pause before the answer | `seconds` (0.1) | any |
| `status` | this status instead of the answer | `status` (503), `retry_after`, `ratelimit` (seconds), `headers` | any |
| `expired` | 403, as for a signed link past its time | | body |
| `html` | 200 with a sign-in page instead of the file | | body |
| `redirect` | a redirect elsewhere; `to="loop"` to the same URL | `to`, `status` (302) | metadata |
| `wrong_length` | the announced length is wrong by so many bytes | `by` (100) | body |
| `no_length` | no `Content-Length`; with `cut=True` it ends at `at` and looks complete | `cut` | body |
| `range_ignored` | 200 with the whole file for a range | | body |
| `other_bytes` | a cut at `at`, and then a range with bytes of another content under the same ETag | | body |
| `changed` | a cut at `at`, after which the file has other bytes and another ETag | | body |
| `compressed` | `Content-Encoding: gzip` | | body |
| `no_etag` | neither `ETag` nor `X-Linked-Etag` | | metadata |

`latency`, `slow` and `drip` combine with others on one request; of the rest one plays at a time, in the order they were
ordered in.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .faults import Fault
    from .holds import Hold
    from .process import HubProcess
    from .records import Record
    from .server import LoopbackHub

__all__ = ["Fault", "Hold", "HubProcess", "LoopbackHub", "Record"]

_HOMES = {"Fault": "faults", "Hold": "holds", "HubProcess": "process", "LoopbackHub": "server", "Record": "records"}


def __getattr__(name: str) -> object:
    # pytest loads the plugin of this package in every run of every project: it must not load the server with it.
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f".{_HOMES[name]}", __name__), name)
