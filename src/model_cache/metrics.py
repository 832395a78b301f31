"""What a monitoring system is told of a cache, in the text format of Prometheus; pure: numbers in, text out.

Base units, `_total` for what only grows, and one label that all have: the root. Two roots on one machine are two files for
the node exporter, and samples that differ in nothing would make it refuse both. For the same reason no help text differs
between roots. What is not known has no sample: a zero would say that all is well.

The format: https://prometheus.io/docs/instrumenting/exposition_formats/
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from math import isfinite
from typing import NamedTuple

# What `files` and `size_bytes` are told by: the states of the index, a download's and a replacement's together.
_STATES = {
    "ready": ("ready",),
    "reserved": ("downloading", "installing", "next"),
    "partial": ("partial",),
    "deleting": ("deleting",),
    "quarantined": ("quarantined",),
}
REASONS = ("corrupt", "unreadable", "changed", "missing", "quarantined")  # why a file counts as failed
_EVICTIONS = {"budget": "evict", "age": "expire", "asked": "asked"}  # why files were evicted: the kind of event
_DOWNLOADS = ("download", "resume")


class Sample(NamedTuple):
    """One number and what tells it from the others of its metric."""

    labels: dict[str, str]
    value: float


class Metric(NamedTuple):
    """One metric: `gauge` or `counter`."""

    name: str
    type: str
    help: str
    samples: list[Sample]


@dataclass(frozen=True)
class Recorded:
    """What the index knows. Sizes in bytes, times in seconds since the epoch.

    Attributes:
        states: Files and bytes by the index's own states.
        pinned: Bytes of pinned files.
        runs: When `verify`, `verify_success` and `gc` last ended, or None.
        failed: Files by why they fail.
        oldest: When the file that was verified longest ago was; None if none was.
        never: Files that were not verified since they were entered.
        counters: How often each kind of event was, and the sizes of its files.
        repos: Files and bytes by type and name of the repo; None where that was not asked for.
    """

    states: Mapping[str, tuple[int, int]]
    pinned: int
    runs: Mapping[str, float | None]
    failed: Mapping[str, int]
    oldest: float | None
    never: int
    counters: Mapping[str, tuple[int, int]]
    repos: Mapping[tuple[str, str], tuple[int, int]] | None = None


@dataclass(frozen=True)
class Reading:
    """What is known of one root now; sizes in bytes, None where that cannot be told.

    Attributes:
        root: Its path.
        version: Of this program.
        budget: The ceiling; None where there is none.
        free, size: Of the file system.
        recorded: None where the index could not be read, or there is none.
    """

    root: str
    version: str
    budget: int | None = None
    free: int | None = None
    size: int | None = None
    recorded: Recorded | None = None


def collect(reading: Reading) -> list[Metric]:
    """The metrics of a root; those without a sample are left out."""
    made = [*_always(reading)]
    if reading.recorded is not None:
        made += [*_now(reading.recorded), *_runs(reading.recorded), *_over_life(reading.recorded)]
    named = (_of_root(metric, reading.root) for metric in made)
    return [metric for metric in named if metric.samples]


def _of_root(metric: Metric, root: str) -> Metric:
    samples = [Sample({**labels, "root": root}, value) for labels, value in metric.samples if isfinite(value)]
    return metric._replace(name=f"model_cache_{metric.name}", samples=samples)


def render(metrics: Iterable[Metric]) -> bytes:
    """The text format, version 0.0.4, in UTF-8."""
    lines = []
    for name, kind, text, samples in metrics:
        lines += [f"# HELP {name} {_escaped(text)}", f"# TYPE {name} {kind}"]
        for labels, value in samples:
            pairs = ",".join(f'{label}="{_quoted(content)}"' for label, content in labels.items())
            lines.append(f"{name}{{{pairs}}} {value!r}" if pairs else f"{name} {value!r}")
    return "".join(f"{line}\n" for line in lines).encode()


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace("\n", r"\n")


def _quoted(text: str) -> str:
    # A path need not be text: bytes that are none come out as escapes, as the format is UTF-8 throughout.
    sound = text.encode("utf-8", "backslashreplace").decode("utf-8")
    return _escaped(sound).replace('"', r"\"")


def _gauge(name: str, text: str, *values: float | None, **labels: str) -> Metric:
    return Metric(name, "gauge", text, [Sample(labels, value) for value in values if value is not None])


def _by(name: str, kind: str, text: str, label: str, values: Mapping[str, float]) -> Metric:
    return Metric(name, kind, text, [Sample({label: content}, value) for content, value in values.items()])


def _always(reading: Reading) -> Iterator[Metric]:
    up = int(reading.recorded is not None)
    yield _gauge("info", "The version of model-cache that wrote this.", 1, version=reading.version)
    text = "1 if the index could be read, which does not say that it is whole; 0: what it knows is absent."
    yield _gauge("index_up", text, up)
    yield _gauge("budget_bytes", "The ceiling that max_size sets; absent where there is none.", reading.budget)
    yield _gauge("filesystem_free_bytes", "What this user may still write on the root's file system.", reading.free)
    yield _gauge("filesystem_size_bytes", "Size of the root's file system.", reading.size)


def _now(recorded: Recorded) -> Iterator[Metric]:
    sums = {name: _sum(recorded.states, states) for name, states in _STATES.items()}
    text = "by state; reserved is for downloads and replacements under way or killed."
    yield _by("files", "gauge", f"Files {text}", "state", {name: files for name, (files, _) in sums.items()})
    text = "Bytes that count against the budget, " + text
    yield _by("size_bytes", "gauge", text, "state", {name: size for name, (_, size) in sums.items()})
    yield _gauge("pinned_bytes", "Bytes of ready files that are pinned.", recorded.pinned)
    failed = {reason: recorded.failed.get(reason, 0) for reason in REASONS}
    text = "Files that are not as recorded, as far as verify has looked; quarantined: damaged, with nothing in their place."
    yield _by("failed_files", "gauge", text, "reason", failed)
    for name, what, column in (("files", "Ready files", 0), ("size_bytes", "Bytes of ready files", 1)):
        samples = [
            Sample({"repo_type": repo_type, "repo": repo}, numbers[column])
            for (repo_type, repo), numbers in (recorded.repos or {}).items()
        ]
        yield Metric(f"repo_{name}", "gauge", f"{what}, by repo.", samples)


def _runs(recorded: Recorded) -> Iterator[Metric]:
    never = "absent if never: alert on model_cache_index_up unless on (instance, root) this."
    for name, what in (
        ("verify", "When a verify of the whole cache last ended, whatever it found"),
        ("verify_success", "When a verify last came to the end of all that was due, with no damage left"),
        ("gc", "When gc last ended"),
    ):
        yield _gauge(f"last_{name}_timestamp_seconds", f"{what}; {never}", recorded.runs.get(name))
    text = "When the file that was verified longest ago was, its download included; absent without files."
    yield _gauge("oldest_verify_timestamp_seconds", text, recorded.oldest)
    text = "Files with a recorded hash that were not compared with it yet."
    yield _gauge("never_verified_files", text, recorded.never)


def _over_life(recorded: Recorded) -> Iterator[Metric]:
    evicted = {why: recorded.counters.get(kind, (0, 0)) for why, kind in _EVICTIONS.items()}
    text = "Files evicted for the budget, for their age, or because gc was asked to."
    yield _by("evictions_total", "counter", text, "reason", {why: count for why, (count, _) in evicted.items()})
    text = "Sizes of files evicted."
    yield _by("evicted_bytes_total", "counter", text, "reason", {why: size for why, (_, size) in evicted.items()})
    for name, (what, kinds) in {
        "downloads": ("Files downloaded, resumed ones included; not updates and repairs", _DOWNLOADS),
        "removals": ("Files that rm removed", ("remove",)),
        "updates": ("Files replaced by newer ones", ("update",)),
        "repairs": ("Damaged files that got their recorded bytes again", ("repair",)),
        "regrets": ("Files downloaded within a day of their eviction", ("regret",)),
    }.items():
        count, size = _sum(recorded.counters, kinds)
        yield Metric(f"{name}_total", "counter", f"{what}.", [Sample({}, count)])
        if name in _SIZED:
            yield Metric(f"{_SIZED[name]}_bytes_total", "counter", f"{what}: their sizes.", [Sample({}, size)])


_SIZED = {"downloads": "downloaded", "regrets": "regret"}


def _sum(numbers: Mapping[str, tuple[int, int]], names: Iterable[str]) -> tuple[int, int]:
    found = [numbers.get(name, (0, 0)) for name in names]
    return sum(count for count, _ in found), sum(size for _, size in found)
