"""Faults that a loopback hub plays on demand: which request one strikes, and what it makes of the answer."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

from .answers import Answer, Request, json_answer, redirect, xml_refusal
from .repos import Content

# Kinds that only shape the traffic combine with others on one request; of the rest, one plays at a time.
SHAPING = frozenset(["latency", "slow", "drip"])
_HTML = b"<!doctype html><html><head><title>Sign in</title></head><body>Please sign in to this network.</body></html>\n"
_ANY = frozenset(["metadata", "body", "api", "other"])


@dataclass
class Fault:
    """One fault as it was ordered. `LoopbackHub.fault` says what the fields and parameters mean."""

    pattern: str
    kind: str
    times: int | None = 1
    at: int | float = 0.5
    skip: int = 0
    on: str = ""
    method: str = ""
    params: dict[str, Any] = field(default_factory=dict)
    played: int = 0
    prepared: int = 0

    @property
    def spent(self) -> bool:
        """Whether it has played as often as it was ordered to."""
        return self.times is not None and self.played >= self.times

    def offset(self, length: int) -> int:
        """`at` as an offset in a body of `length` bytes, at most that of its last byte."""
        offset = int(self.at * length) if isinstance(self.at, float) else self.at
        return max(0, min(offset, length - 1))

    def strikes(self, request: Request, answer: Answer) -> bool:
        """Whether this request, which would get this answer, is one that the fault is for."""
        stages = _ANY if self.on == "any" else frozenset([self.on])
        if answer.stage not in stages or (self.method and self.method != request.method):
            return False
        names = (answer.filename, f"{answer.repo}/{answer.filename}", request.path)
        return any(name == self.pattern or fnmatchcase(name, self.pattern) for name in names)


class FaultPlan:
    """The faults that were ordered, in that order; safe to change and to consult from any thread."""

    def __init__(self) -> None:
        self._faults: list[Fault] = []
        self._lock = threading.Lock()

    def order(self, fault: Fault) -> Fault:
        """Appends a fault; one for the same request plays after those ordered before it are spent."""
        if fault.kind not in KINDS:
            raise ValueError(f"fault {fault.kind!r}: expected one of {', '.join(sorted(KINDS))}")
        fault.on = fault.on or KINDS[fault.kind][0]
        if fault.on not in _ANY | {"any"}:
            raise ValueError(f"on={fault.on!r}: expected any, metadata, body, api or other")
        with self._lock:
            self._faults.append(fault)
        return fault

    def withdraw(self) -> None:
        """Forgets all faults."""
        with self._lock:
            self._faults = []

    def strike(self, request: Request, answer: Answer) -> list[Fault]:
        """The faults to play on this request, each counted as played: the shaping ones, and at most one other."""
        chosen: list[Fault] = []
        with self._lock:
            for fault in self._faults:
                taken = any(other.kind not in SHAPING for other in chosen)
                if (taken and fault.kind not in SHAPING) or not fault.strikes(request, answer):
                    continue
                if fault.kind in _TWO_STEPS and not answer.start:
                    # The first step (break the download off) makes the request come that the fault is really for.
                    if fault.times is None or fault.prepared < fault.times:
                        fault.prepared += 1
                        chosen.append(fault)
                elif fault.spent:
                    continue
                elif fault.skip > 0:
                    fault.skip -= 1
                elif fault.kind != "range_ignored" or "range" in request.headers:
                    fault.played += 1
                    chosen.append(fault)
        return chosen


def play(faults: list[Fault], request: Request, answer: Answer) -> Answer:
    """What the faults make of the answer; latency is the caller's to wait for."""
    for fault in faults:
        answer = KINDS[fault.kind][1](fault, request, answer)
    return answer


def _instead(answer: Answer, other: Answer) -> Answer:
    # The answer is not the file any more, so it is no body of it either.
    stage = "metadata" if answer.stage == "body" else answer.stage
    other.about(stage, answer.repo_type, answer.repo, answer.filename)
    other.shape.rate, other.shape.piece, other.shape.pause = answer.shape.rate, answer.shape.piece, answer.shape.pause
    return other


def _ending(fault: Fault, _request: Request, answer: Answer) -> Answer:
    answer.shape.end = fault.kind if fault.kind in ("reset", "stall") else "cut"
    answer.shape.end_at = fault.offset(answer.length)
    return answer


def _changed(fault: Fault, request: Request, answer: Answer) -> Answer:
    answer.replaced = True
    return _ending(fault, request, answer)


def _hangup(_fault: Fault, _request: Request, answer: Answer) -> Answer:
    answer.hangup = True
    return answer


def _flip(fault: Fault, _request: Request, answer: Answer) -> Answer:
    answer.shape.flip_at = fault.offset(answer.length)
    return answer


def _slow(fault: Fault, _request: Request, answer: Answer) -> Answer:
    answer.shape.rate = float(fault.params.get("rate", 64 * 1024))
    return answer


def _drip(fault: Fault, _request: Request, answer: Answer) -> Answer:
    answer.shape.piece = int(fault.params.get("bytes", 1))
    answer.shape.pause = float(fault.params.get("seconds", 0.05))
    return answer


def _latency(_fault: Fault, _request: Request, answer: Answer) -> Answer:
    return answer


def _status(fault: Fault, _request: Request, answer: Answer) -> Answer:
    status = int(fault.params.get("status", 503))
    other = json_answer({"error": f"played by the loopback hub: {status}"}, status)
    if (wait := fault.params.get("retry_after")) is not None:
        other.headers["Retry-After"] = str(wait)
    if (wait := fault.params.get("ratelimit")) is not None:
        other.headers["RateLimit"] = f'"api";r=0;t={wait}'
        other.headers["RateLimit-Policy"] = '"fixed window";"api";q=500;w=300'
    other.headers.update(fault.params.get("headers", {}))
    return _instead(answer, other)


def _expired(_fault: Fault, _request: Request, answer: Answer) -> Answer:
    return _instead(answer, xml_refusal(403, "AccessDenied", "Request has expired"))


def _html(_fault: Fault, _request: Request, answer: Answer) -> Answer:
    return _instead(answer, Answer(200, {"Content-Type": "text/html; charset=utf-8"}, _HTML))


def _redirect(fault: Fault, request: Request, answer: Answer) -> Answer:
    location = str(fault.params.get("to", "loop"))
    location = request.target if location == "loop" else location
    return _instead(answer, redirect(int(fault.params.get("status", 302)), location, dict(answer.linked)))


def _wrong_length(fault: Fault, _request: Request, answer: Answer) -> Answer:
    by = int(fault.params.get("by", 100))
    if "X-Linked-Size" in answer.headers:
        answer.headers["X-Linked-Size"] = str(max(0, int(answer.headers["X-Linked-Size"]) + by))
    if answer.content is not None:
        answer.shape.declared = max(0, answer.length + by)
        answer.close = True
    return answer


def _no_length(fault: Fault, request: Request, answer: Answer) -> Answer:
    # A body that only the end of the connection delimits: cut short, it looks complete.
    answer.shape.unframed = answer.close = True
    return _ending(fault, request, answer) if fault.params.get("cut") else answer


def _range_ignored(_fault: Fault, _request: Request, answer: Answer) -> Answer:
    if answer.content is not None and answer.status in (206, 416):
        answer.status, answer.start, answer.stop = 200, 0, answer.content.size
        answer.headers.pop("Content-Range", None)
    return answer


def _other_bytes(fault: Fault, request: Request, answer: Answer) -> Answer:
    if not answer.start or answer.content is None:
        return _ending(fault, request, answer)
    answer.content = answer.content.altered()
    return answer


def _compressed(_fault: Fault, _request: Request, answer: Answer) -> Answer:
    if answer.content is not None:
        packed = gzip.compress(b"".join(answer.content.blocks(answer.start, answer.stop)), compresslevel=1, mtime=0)
        answer.content, answer.start, answer.stop = Content(packed), 0, len(packed)
        answer.headers["Content-Encoding"] = "gzip"
    return answer


def _no_etag(_fault: Fault, _request: Request, answer: Answer) -> Answer:
    for name in ("ETag", "X-Linked-Etag"):
        answer.headers.pop(name, None)
    return answer


_Play = Callable[[Fault, Request, Answer], Answer]
# Each kind: which requests it is for unless `on` says otherwise, and what it does to the answer.
KINDS: dict[str, tuple[str, _Play]] = {
    "latency": ("any", _latency),
    "slow": ("body", _slow),
    "drip": ("body", _drip),
    "cut": ("body", _ending),
    "reset": ("body", _ending),
    "stall": ("body", _ending),
    "flip": ("body", _flip),
    "hangup": ("any", _hangup),
    "status": ("any", _status),
    "expired": ("body", _expired),
    "html": ("body", _html),
    "redirect": ("metadata", _redirect),
    "wrong_length": ("body", _wrong_length),
    "no_length": ("body", _no_length),
    "range_ignored": ("body", _range_ignored),
    "other_bytes": ("body", _other_bytes),
    "changed": ("body", _changed),
    "compressed": ("body", _compressed),
    "no_etag": ("metadata", _no_etag),
}
_TWO_STEPS = frozenset(["other_bytes"])
