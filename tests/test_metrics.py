"""The text format: what a monitoring system reads is what was known, and what is not known is not said."""

import re
from dataclasses import replace

import pytest
from prometheus_client.parser import text_string_to_metric_families

from model_cache.metrics import REASONS, Reading, Recorded, collect, render

RECORDED = Recorded(
    states={
        "ready": (3, 3000),
        "downloading": (1, 100),
        "installing": (1, 10),
        "next": (0, 1),
        "partial": (2, 20),
        "quarantined": (1, 7),
    },
    pinned=1000,
    runs={"verify": 1_800_000_000.25, "verify_success": 1_700_000_000.0, "gc": 1_600_000_000.5},
    failed={"ok": 2, "corrupt": 1, "quarantined": 1},
    oldest=1_500_000_000.5,
    never=4,
    counters={
        "download": (5, 500),
        "resume": (1, 50),
        "evict": (2, 20),
        "expire": (3, 30),
        "asked": (4, 40),
        "remove": (6, 60),
        "update": (7, 70),
        "repair": (8, 80),
        "regret": (9, 90),
        "link": (11, 110),
    },
    repos={("model", "owner/name"): (3, 3000), ("dataset", "owner/name"): (1, 5)},
)
READING = Reading("/srv/models", "1.2.3", budget=10**12, free=10**9, size=2**62 + 1, recorded=RECORDED)

# The grammar of one line, as the format's page has it, narrower where this program never uses what it allows.
COMMENT = re.compile(r"# (HELP|TYPE) (model_cache_[a-z_]+) (.+)")
SAMPLE = re.compile(r'(model_cache_[a-z_]+)\{((?:[a-z_]+="(?:[^"\\\n]|\\["\\n])*",?)+)\} (-?[0-9.e+]+)')


def values(reading, name):
    """{the labels but the root, as a tuple of their contents: the value} of one metric; None if it is not there."""
    for metric in collect(reading):
        if metric.name == f"model_cache_{name}":
            return {
                tuple(content for label, content in labels.items() if label != "root"): value
                for labels, value in metric.samples
            }
    return None


def test_every_line_is_one_of_the_format():
    """HELP, TYPE and then the samples of each metric, in one piece, with a line feed after the last."""
    text = render(collect(READING)).decode()
    assert text.endswith("\n")
    seen = []
    for line in text.removesuffix("\n").split("\n"):
        if comment := COMMENT.fullmatch(line):
            seen.append((comment[1], comment[2]))
        else:
            sample = SAMPLE.fullmatch(line)
            assert sample, line
            if seen[-1] != ("sample", sample[1]):
                seen.append(("sample", sample[1]))
    names = [name for kind, name in seen if kind == "HELP"]
    assert seen == [(kind, name) for name in names for kind in ("HELP", "TYPE", "sample")]
    assert len(set(names)) == len(names) == len(collect(READING))


def test_the_reference_parser_reads_what_was_known():
    """Each name, type, help, label and value comes back as it went in."""
    metrics = collect(READING)
    families = list(text_string_to_metric_families(render(metrics).decode()))
    assert [(one.type, one.documentation) for one in families] == [(one.type, one.help) for one in metrics]
    assert [[(one.name, one.labels, one.value) for one in family.samples] for family in families] == [
        [(metric.name, labels, value) for labels, value in metric.samples] for metric in metrics
    ]


@pytest.mark.parametrize(
    ("root", "expected"),
    [
        ('/a "b" \\ c', '/a "b" \\ c'),
        ("/new\nline\\n", "/new\nline\\n"),
        ("/trailing\\", "/trailing\\"),
        ("/tab\t, brace} = 1 # é 🤗", "/tab\t, brace} = 1 # é 🤗"),
        ("/no text \udce9", "/no text \\udce9"),
    ],
)
def test_a_label_may_have_anything_in_it(root, expected):
    """A path with quotes, backslashes and line feeds comes back whole; what is no text comes out as escapes, in UTF-8."""
    text = render(collect(replace(READING, root=root))).decode("utf-8")
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    assert {sample.labels["root"] for sample in samples} == {expected}
    assert len(text.split("\n")) == len(render(collect(READING)).decode().split("\n"))


def test_names_tell_the_unit():
    """What only grows ends in `_total`, and nothing else does; a gauge is of bytes, files, or seconds since the epoch."""
    for metric in collect(READING):
        assert (metric.type == "counter") == metric.name.endswith("_total")
        if metric.type == "gauge":
            assert re.search(r"_(bytes|files|timestamp_seconds|info|up)$", metric.name), metric.name


def test_files_and_bytes_are_told_by_state():
    """Reserved is all that downloads and replacements may still come to occupy; together it is what the budget counts."""
    files = {("ready",): 3, ("reserved",): 2, ("partial",): 2, ("deleting",): 0, ("quarantined",): 1}
    size = {("ready",): 3000, ("reserved",): 111, ("partial",): 20, ("deleting",): 0, ("quarantined",): 7}
    assert values(READING, "files") == files
    assert values(READING, "size_bytes") == size
    assert sum(size.values()) == sum(bytes_ for _, bytes_ in RECORDED.states.values())


def test_each_reason_of_a_failure_is_always_there():
    """A reason that no file has is a 0, so that an alert can tell it from what is not known."""
    assert values(READING, "failed_files") == {(reason,): reason in ("corrupt", "quarantined") for reason in REASONS}
    assert values(replace(READING, recorded=replace(RECORDED, failed={})), "failed_files") == {
        (reason,): 0 for reason in REASONS
    }


def test_what_never_was_is_absent():
    """No run, no file and no budget make no sample: 1970 would be a time, and 0 a budget."""
    never = replace(RECORDED, runs={"verify": None, "verify_success": None, "gc": None}, oldest=None)
    names = {metric.name for metric in collect(READING)}
    left = {metric.name for metric in collect(replace(READING, budget=None, free=None, size=None, recorded=never))}
    assert {name.removeprefix("model_cache_") for name in names - left} == {
        "budget_bytes",
        "filesystem_free_bytes",
        "filesystem_size_bytes",
        "last_verify_timestamp_seconds",
        "last_verify_success_timestamp_seconds",
        "last_gc_timestamp_seconds",
        "oldest_verify_timestamp_seconds",
    }


def test_without_an_index_nothing_is_said_of_what_it_knows():
    """No zeros that look like health: what is left is the version, the budget, the disk, and that the index is down."""
    down = replace(READING, recorded=None)
    assert [metric.name.removeprefix("model_cache_") for metric in collect(down)] == [
        "info",
        "index_up",
        "budget_bytes",
        "filesystem_free_bytes",
        "filesystem_size_bytes",
    ]
    assert (values(READING, "index_up"), values(down, "index_up")) == ({(): 1}, {(): 0})


def test_a_time_that_no_clock_has_is_absent():
    """An index can have been written by anybody: infinity is no time, and JSON has no word for it."""
    odd = replace(RECORDED, runs={"gc": float("inf")}, oldest=float("nan"))
    assert values(replace(READING, recorded=odd), "last_gc_timestamp_seconds") is None
    assert values(replace(READING, recorded=odd), "oldest_verify_timestamp_seconds") is None


def test_the_counters():
    """Each kind of event is counted where its name says, with the sizes of its files."""
    assert values(READING, "evictions_total") == {("budget",): 2, ("age",): 3, ("asked",): 4}
    assert values(READING, "evicted_bytes_total") == {("budget",): 20, ("age",): 30, ("asked",): 40}
    names = ("downloads", "downloaded_bytes", "removals", "updates", "repairs", "regrets", "regret_bytes")
    assert [values(READING, f"{name}_total") for name in names] == [{(): value} for value in (6, 550, 6, 7, 8, 9, 90)]


def test_repos_are_told_only_where_they_were_asked_for():
    """By default no label has a repo in it; else each has its files and bytes, and a dataset is another than a model."""
    plain = collect(replace(READING, recorded=replace(RECORDED, repos=None)))
    labels = {label for metric in plain for sample in metric.samples for label in sample.labels}
    assert labels == {"root", "version", "state", "reason"}
    assert values(READING, "repo_files") == {("model", "owner/name"): 3, ("dataset", "owner/name"): 1}
    assert values(READING, "repo_size_bytes") == {("model", "owner/name"): 3000, ("dataset", "owner/name"): 5}


def test_two_roots_can_be_collected_on_one_machine():
    """No sample of one root is one of another, and no help text differs: the node exporter would refuse both files."""
    other = collect(replace(READING, root="/srv/other", budget=1, recorded=replace(RECORDED, never=0)))
    mine = collect(READING)
    assert [(one.name, one.type, one.help) for one in mine] == [(one.name, one.type, one.help) for one in other]

    def series(metrics):
        return {(metric.name, *labels.items()) for metric in metrics for labels, _ in metric.samples}

    assert series(mine) & series(other) == set()


def test_a_number_of_bytes_is_exact():
    """Beyond 2^53 a float would not be."""
    assert b'filesystem_size_bytes{root="/srv/models"} 4611686018427387905\n' in render(collect(READING))
