"""The log of a loopback hub: who asked for what, what was answered, how many bytes of which file went out."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import partial
from typing import Any


@dataclass
class Record:
    """One request and its answer. It is in the log from the request's arrival on, and grows while the answer goes out.

    Attributes:
        method: `HEAD`, `GET`, `POST`.
        path: As requested, percent-encoded, without the query.
        query: As requested, without the `?`.
        host: `hub`, or `cdn` for the second port.
        kind: `metadata` (HEAD, redirect or refusal of a file), `body` (a GET answered with a file's bytes), `api`,
            `other`.
        repo_type: Of the repo asked for; empty if none.
        repo: Its id; empty if none.
        filename: Of the file asked for; empty if none.
        range: The `Range` header; empty if none.
        status: Of the answer; 0 while there is none.
        bytes_sent: Bytes of the answer's body handed to the kernel, headers not counted.
        authorization: Whether the request carried `Authorization`.
        leak: Whether it did so where no token belongs: on the second port.
        user_agent: The `User-Agent` header; empty if none.
        request_id: The answer's `X-Request-Id`.
        fault: The kind of fault that was played, empty if none.
        headers: Of the request, names in lower case.
        done: Whether the answer went out to its end; False while it does, and for good if it was broken off.
        settling: Held by the thread that sends, from before bytes leave until they are counted; never while it waits.
    """

    method: str
    path: str
    query: str
    host: str
    kind: str = "other"
    repo_type: str = ""
    repo: str = ""
    filename: str = ""
    range: str = ""
    status: int = 0
    bytes_sent: int = 0
    authorization: bool = False
    leak: bool = False
    user_agent: str = ""
    request_id: str = ""
    fault: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    done: bool = False
    settling: threading.Lock = field(default_factory=threading.Lock, repr=False, compare=False)

    def as_json(self) -> dict[str, Any]:
        """The record as JSON values."""
        return {name: value for name, value in vars(self).items() if name != "settling"}


class RequestLog:
    """All records since the start or the last `reset`, in order of arrival; safe to read from any thread.

    **Concurrency.** Whoever reads the log after a client has received some bytes finds them counted: a sender counts
    under the record's `settling` lock, and readers pass through it. Order of locks: a record's, then the log's own.
    """

    def __init__(self) -> None:
        self._records: list[Record] = []
        self._version = 0
        self._changed = threading.Condition()

    def add(self, record: Record) -> None:
        """Appends a record."""
        with self._changed:
            self._records.append(record)
            self._version += 1
            self._changed.notify_all()

    def change(self, record: Record, **fields: object) -> None:
        """Sets fields of a record and wakes those who wait for a change."""
        with self._changed:
            for name, value in fields.items():
                setattr(record, name, value)
            self._version += 1
            self._changed.notify_all()

    def reset(self) -> None:
        """Forgets all records; answers that are under way no longer count."""
        with self._changed:
            self._records = []

    def snapshot(self) -> list[Record]:
        """The records so far, a new list."""
        with self._changed:
            records = list(self._records)
        for record in records:
            with record.settling:
                pass
        return records

    def wait_until(self, condition: Callable[[], bool], timeout: float = 60.0) -> bool:
        """Blocks until `condition()` is true after some change, at most `timeout` seconds; returns whether it is."""
        deadline = time.monotonic() + timeout
        while True:
            with self._changed:
                seen = self._version
            if condition():  # not under the log's lock: it may pass through records' locks, which come first
                return True
            with self._changed:
                if not self._changed.wait_for(partial(self._moved, seen), deadline - time.monotonic()):
                    return condition()

    def _moved(self, seen: int) -> bool:
        return self._version != seen

    def count(self, method: str | None = None, path_contains: str | None = None, kind: str | None = None) -> int:
        """The number of requests with this method, this text in their path, and of this kind; None means any."""
        return sum(
            method in (None, record.method)
            and (path_contains is None or path_contains in record.path)
            and kind in (None, record.kind)
            for record in self.snapshot()
        )

    def bodies(self, filename: str | None = None, repo: str | None = None) -> list[Record]:
        """The requests that were answered with a file's bytes; `filename` may be a shell pattern."""
        return [
            record
            for record in self.snapshot()
            if record.kind == "body"
            and (filename is None or record.filename == filename or fnmatchcase(record.filename, filename))
            and repo in (None, record.repo)
        ]

    def summary(self) -> dict[str, Any]:
        """The log as JSON values: every record, and per file the body GETs and the bytes they sent."""
        records = self.snapshot()
        files: dict[str, dict[str, int]] = {}
        for record in records:
            if record.kind == "body":
                totals = files.setdefault(record.filename, {"body_gets": 0, "body_bytes": 0})
                totals["body_gets"] += 1
                totals["body_bytes"] += record.bytes_sent
        return {
            "count": len(records),
            "leaks": sum(record.leak for record in records),
            "body_gets": sum(totals["body_gets"] for totals in files.values()),
            "body_bytes": sum(totals["body_bytes"] for totals in files.values()),
            "files": files,
            "requests": [record.as_json() for record in records],
        }
