"""Values at random where others write: names from callers, headers and JSON from servers, rows in the index."""

import json
import os
import shutil
import sqlite3
from contextlib import suppress
from ipaddress import ip_address
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from support import FILE, REPO, Later, pattern
from verify_equipment import snapshot

from model_cache import DownloadError, InvalidNameError, ModelCache, ModelCacheError
from model_cache.hub import protocol
from model_cache.hub.addresses import Zone, zone_of
from model_cache.hub.client import HubClient
from model_cache.index import rows
from model_cache.layout import Entry, rivals
from model_cache.testing import LoopbackHub

EXAMPLES = int(os.environ.get("MODEL_CACHE_EXAMPLES", "0"))
COMMIT = "c0ffee" * 6 + "cafe"
HUB = "https://hub.example"


def many(count):
    """So many examples, the same ones each time; many more of them, from random seeds, in the long run."""
    return settings(
        max_examples=max(EXAMPLES, count),
        derandomize=not EXAMPLES,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )


# Names: arbitrary text, and text of the parts that names are made of, so that some are accepted

PARTS = [
    "a",
    "b.bin",
    "onnx",
    "..",
    ".",
    "",
    "main",
    "@",
    "%2F",
    "%",
    "datasets",
    ".model-cache",
    "é",
    "e\u0301",
    "A",
    "x@y",
]
TEXT = st.text(max_size=40) | st.lists(st.sampled_from(PARTS), max_size=5).map("/".join)
REPOS = st.sampled_from(["gpt2", "gpt2/onnx", "a/b", "a", "datasets", "datasets/a", "spaces/a", "A/b"]) | TEXT
REVISIONS = st.sampled_from(["main", COMMIT, "refs/pr/1", "refs%2Fpr%2F1"]) | TEXT
NAMES = st.tuples(REPOS, TEXT, REVISIONS, st.sampled_from(["model", "dataset", "space", "kernel"]) | TEXT)

# Names that are accepted, and are much alike: of these, two often stand for one path.
ALIKE = st.tuples(
    st.sampled_from(["a", "b", "a/b", "a/a", "b/a", "datasets-a", "A"]),
    st.lists(
        st.sampled_from(["a", "b", "b@a", "a@main", "b@a%2Fb", "\u00e9", "e\u0301", "A"]), min_size=1, max_size=3
    ).map("/".join),
    st.sampled_from(["main", "a", "a/b", "a%2Fb", "a%252Fb", "%", "b@a"]),
    st.sampled_from(["model", "dataset", "space", "kernel"]),
)


def entry_of(names):
    """The entry, or None where the names are refused."""
    try:
        return Entry(*names)
    except InvalidNameError as error:
        assert str(error).isprintable() and len(str(error)) < 300
        return None


@many(500)
@given(NAMES)
def test_a_name_is_refused_or_leads_strictly_below_the_root(names):
    """Whatever the text: normalised or not, the path is below the root, outside of the cache's own, and one that UTF-8 has."""
    entry = entry_of(names)
    if entry is None:
        return
    for root in ("/", "/root", "/a/b"):
        with suppress(InvalidNameError):
            path = entry.path(root)
            assert os.path.normpath(path) == path and path.startswith(f"{root.rstrip('/')}/")
            assert not {".model-cache", "..", "."} & {*path.removeprefix(root).lower().split("/")}
            assert path.encode().decode() == path and "\0" not in path


@many(1000)
@given(ALIKE, ALIKE)
@example(("gpt2", "onnx/x", "main", "model"), ("gpt2/onnx", "x", "main", "model"))
@example(("a", "x", "refs/pr/1", "model"), ("a", "x", "refs%2Fpr%2F1", "model"))
def test_two_names_share_a_path_only_as_rivals(one, other):
    """Two entries of one path know of each other, so that the second one is refused; keys never coincide."""
    first, second = entry_of(one), entry_of(other)
    if first is None or second is None or one == other:
        return
    assert first.key != second.key
    if first.relative == second.relative:
        assert second in rivals(first) and first in rivals(second)


@pytest.fixture(scope="module")
def own_hub():
    """One hub for all examples; it knows every repo that is asked for in vain, and one that is there."""
    with LoopbackHub() as hub:
        hub.add_repo(REPO, {FILE: b"x"})
        yield hub


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A directory with a root in it, and something beside that is nobody's business."""
    folder = tmp_path_factory.mktemp("fuzz")
    (folder / "beside").write_text("beside")
    return folder


@many(150)
@given(NAMES)
def test_a_fetch_of_any_name_raises_of_the_family_and_makes_nothing_elsewhere(own_hub, place, names):
    """Refused, or asked for and not found: nothing outside of the root comes or goes, and nothing but the cache's own in it."""
    cache = ModelCache(place / "root", endpoint=own_hub.url, token=False, clock=Later())
    repo, filename, revision, repo_type = names
    with pytest.raises(ModelCacheError) as caught:
        cache.fetch(repo, filename, revision=revision, repo_type=repo_type)
    assert str(caught.value).isprintable()
    with suppress(InvalidNameError):
        assert not cache.is_cached(repo, filename, revision=revision, repo_type=repo_type)
    assert {*os.listdir(place)} <= {"beside", "root"}
    assert snapshot(place / "root") == {}
    cache._ctx.index.close()


# What a server says


def mostly(good, odd):
    """Often right, so that what is odd elsewhere is reached."""
    return st.integers(0, 3).flatmap(lambda number: good if number else odd)


NUMBER = st.integers(-5, 2**70).map(str)
WORDS = st.sampled_from(
    [
        '"x"',
        "W/",
        '""',
        "*",
        "bytes",
        "next",
        "rel=",
        "<",
        ">",
        ";",
        ",",
        "t=",
        "r=0",
        "-",
        "/",
        " ",
        "é",
        "\x00",
        "٣",
        "http://",
    ]
)
VALUE = st.text(max_size=60) | st.lists(WORDS | NUMBER, max_size=8).map("".join) | NUMBER
LINK = st.builds(
    '<{}>; rel="next"'.format, TEXT | VALUE | st.sampled_from([f"{HUB}/x?cursor=2", "//evil/x", "file:///etc/passwd"])
)
DATES = st.sampled_from(
    [
        "Wed, 21 Oct 2015 07:28:00 GMT",
        "Wed, 99 Oct 99999 07:28:00 +9999",
        "0 0 0 0 0 0",
        "Mon, 01 Jan 0001 00:00:00 -2359",
    ]
)
SPECIAL = {
    "X-Repo-Commit": st.just(COMMIT),
    "ETag": st.sampled_from(['"' + "a" * 64 + '"', 'W/"' + "b" * 40 + '"']),
    "Link": LINK,
    "Retry-After": DATES,
    "ratelimit": st.builds('"api";r={};t={}'.format, NUMBER, NUMBER),
    "Content-Range": st.builds("bytes {}-{}/{}".format, NUMBER, NUMBER, NUMBER | st.just("*")),
}
OTHERS = (
    "X-Linked-Etag",
    "X-Linked-Size",
    "Content-Length",
    "Content-Type",
    "Content-Encoding",
    "X-Error-Code",
    "Location",
)
HEADERS = st.fixed_dictionaries(
    {}, optional=dict.fromkeys(OTHERS, VALUE) | {name: mostly(special, VALUE) for name, special in SPECIAL.items()}
)


@many(400)
@given(st.lists(HEADERS, min_size=1, max_size=3), st.booleans())
def test_headers_are_believed_only_as_far_as_they_make_sense(answers, redirected):
    """Every reader of headers gives a value of its kind, or raises DownloadError."""
    with suppress(DownloadError):
        meta = protocol.file_meta(answers, f"{HUB}/x", redirected=redirected)
        assert len(meta.commit) == 40 and 0 < len(meta.etag) <= 256 and meta.etag.isprintable()
        assert meta.size is None or 0 <= meta.size < 2**63
        assert meta.sha256 is None or len(meta.sha256) == 64
    for headers in answers:
        with suppress(DownloadError):
            page = protocol.next_page(headers, f"{HUB}/api/x", HUB)
            assert page is None or protocol.origin(page) == protocol.origin(HUB)
        wait = protocol.retry_after(headers, 1e9)
        assert wait is None or wait >= 0
        span = protocol.content_range(headers)
        assert span is None or 0 <= span[0] < span[1] <= (span[2] or 2**63)
        protocol.is_identity(headers)
        hop = protocol.next_hop(f"{HUB}/x", headers.get("Location"), HUB)
        assert hop.verdict == "refused" or protocol.origin(hop.url)[0] == "https"
        tag = protocol.strong_etag(headers.get("ETag"))
        assert tag is None or (tag.isascii() and tag[0] == tag[-1] == '"' and "\r" not in tag and "\n" not in tag)


@many(400)
@given(st.text(max_size=40) | st.text("0123456789abcdefx.:[]%", max_size=40) | st.ip_addresses().map(str))
def test_every_host_has_a_zone_or_is_a_name(host):
    """Whatever is written as a host is judged without an exception; public is only what has no inner meaning."""
    zone = zone_of(host)
    assert zone is None or isinstance(zone, Zone)
    if zone is Zone.PUBLIC:
        assert ip_address(host.strip("[]").removesuffix(".")).is_global


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["type", "path", "size", "oid", "lfs", "sha", "x"]), inner, max_size=6)
    ),
    max_leaves=12,
)
ITEM = st.fixed_dictionaries(
    {
        "path": mostly(st.just("a.bin"), JSON),
        "size": mostly(st.integers(-1, 2**64), JSON),
        "oid": mostly(st.just("a" * 40), JSON),
    },
    optional={
        "type": mostly(st.sampled_from(["file", "directory"]), JSON),
        "lfs": mostly(st.fixed_dictionaries({"oid": st.just("a" * 64) | JSON, "size": st.integers(0, 2**64)}), JSON),
    },
)


@many(250)
@given(JSON | st.lists(ITEM, max_size=3))
def test_json_is_believed_only_as_far_as_it_makes_sense(document):
    """Commits are 40 hex digits, items have a path, a size and hashes of their length; else DownloadError."""
    with suppress(DownloadError):
        assert len(protocol.commit_of(document, HUB)) == 40
    with suppress(DownloadError):
        for item in protocol.tree_items(document, HUB):
            assert item.path and 0 <= item.size < 2**63
            assert item.sha256 is None or len(item.sha256) == 64


ANSWERED = st.sampled_from([200, 200, 200, 206, 204, 301, 302, 304, 307, 401, 403, 404, 416, 429, 500, 503])


def raw(status, headers, body, line):
    """An answer as bytes that need not be HTTP."""
    lines = [
        line if line is not None else f"HTTP/1.1 {status} Reason",
        *(f"{name}: {value}" for name, value in headers.items()),
    ]
    return "\r\n".join([*lines, "", ""]).encode("utf-8", "surrogatepass") + body


@many(50)
@given(
    ANSWERED, HEADERS, st.binary(max_size=60) | st.builds(lambda one: json.dumps(one).encode(), JSON), st.none() | VALUE
)
def test_any_bytes_on_the_wire_are_an_answer_or_an_error_of_the_family(serving, status, headers, body, line):
    """Through a real socket: metadata, commit, listing and body of whatever a port may answer, in bounded time."""
    serving.reply = lambda _asked, connection: connection.sendall(raw(status, headers, body, line)) or False
    client = serving.client()
    asks = {
        "metadata": lambda: client.metadata("model", REPO, "main", FILE),
        "commit": lambda: client.commit("model", REPO, "main"),
        "tree": lambda: list(client.tree("model", REPO, "main")),
        "body": lambda: client.open_body("model", REPO, COMMIT, FILE).close(),
    }
    for name, ask in asks.items():
        try:
            ask()
        except ModelCacheError as error:
            assert str(error).isprintable(), name
    client.close()


@pytest.fixture(scope="module")
def serving():
    """A raw server whose answer each example sets, and clients that wait for nothing."""
    from hub.hub_equipment import FakeClock, RawServer

    server = RawServer(b"")
    server.client = lambda: HubClient(server.url, token=None, clock=FakeClock(), etag_timeout=2, download_timeout=2)
    yield server
    server.close()


# Rows of the index: anybody who may write the root may have written them

COLUMNS = rows.Row._fields
ODD = (
    st.none()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False)
    | st.binary(max_size=20)
    | st.text(max_size=20)
    | st.sampled_from(
        ["ready", "partial", "downloading", "installing", "deleting", "placed", "adopted", "corrupt", COMMIT]
    )
    | st.sampled_from(
        ["../../beside", "/etc/passwd", REPO, FILE, f"{REPO}/{FILE}", f"{REPO}/b.bin", "a" * 64, "0" * 32]
    )
)
CHANGES = st.lists(st.tuples(st.sampled_from(COLUMNS), ODD), min_size=1, max_size=4)
OPERATIONS = {
    "fetch": lambda cache: cache.fetch(REPO, FILE),
    "force": lambda cache: cache.fetch(REPO, FILE, force=True),
    "miss": lambda cache: cache.fetch(REPO, "c.bin"),
    "lease": lambda cache: cache.lease(REPO, FILE).release(),
    "entries": lambda cache: cache.entries(),
    "usage": lambda cache: cache.usage(),
    "pin": lambda cache: cache.unpin(REPO) and cache.pin(REPO),
    "update": lambda cache: cache.update(),
    "gc": lambda cache: cache.gc(),
    "verify": lambda cache: cache.verify(repair=True),
    "remove": lambda cache: cache.remove(REPO, "b.bin"),
    "evict": lambda cache: cache.gc(max_size=0),
    "reconcile": lambda cache: cache.reconcile(),
}


@pytest.fixture(scope="module")
def prepared(own_hub, tmp_path_factory):
    """A root with two downloads, and a file that somebody placed; copied for each example."""
    folder = tmp_path_factory.mktemp("rows")
    own_hub.add_repo(REPO, {FILE: pattern(9000), "b.bin": pattern(9000, 1), "c.bin": pattern(9000, 2)})
    cache = ModelCache(folder / "root", endpoint=own_hub.url, token=False, min_idle=0)
    for name in (FILE, "b.bin"):
        cache.fetch(REPO, name)
    (folder / "root" / "some" / "body").mkdir(parents=True)
    (folder / "root" / "some" / "body" / "own.bin").write_bytes(b"somebody's own")
    (folder / "beside").write_text("beside")
    cache._ctx.index.close()
    return folder


@many(50)
@given(
    st.booleans(),
    CHANGES,
    st.booleans(),
    st.lists(st.sampled_from([*OPERATIONS]), min_size=1, max_size=6),
    st.booleans(),
)
def test_a_row_of_any_values_costs_nobody_a_file(own_hub, prepared, all_rows, changes, sealed, operations, budget):
    """Every operation gives an answer or an error of the family; what is not the cache's is as it was, here and elsewhere."""
    folder = prepared.parent / f"{prepared.name}-copy"
    shutil.copytree(prepared, folder, copy_function=shutil.copy2)
    try:
        before = snapshot(folder / "root")
        write(folder / "root", changes, all_rows=all_rows, sealed=sealed)
        policy = {"max_size": 25_000} if budget else {}
        cache = ModelCache(
            folder / "root", endpoint=own_hub.url, token=False, clock=Later(), min_idle=0, lock_timeout=1, **policy
        )
        for operation in operations:
            with suppress(ModelCacheError):
                OPERATIONS[operation](cache)
            after = snapshot(folder / "root")
            assert after["some/body/own.bin"] == b"somebody's own", operation
            assert {path for path, body in after.items() if path in before and body != before[path]} == set(), operation
            assert {*after} <= {*before, f"{REPO}/c.bin"}, operation
            assert sorted(os.listdir(folder)) == ["beside", "root"]
            assert (folder / "beside").read_text() == "beside"
        cache._ctx.index.close()
        heal(ModelCache(folder / "root", endpoint=own_hub.url, token=False, clock=Later()))
    finally:
        shutil.rmtree(folder)


def write(root, changes, *, all_rows, sealed):
    """Write into the rows as whoever may write there can; what the schema refuses is left out."""
    connection = sqlite3.connect(root / ".model-cache" / "index.db", isolation_level=None)
    connection.create_function("seal", -1, rows.seal)
    where = "" if all_rows else " WHERE filename = 'model.bin'"
    for column, value in changes:
        with suppress(sqlite3.Error, UnicodeEncodeError, OverflowError):
            connection.execute(f'UPDATE OR IGNORE entries SET "{column}" = ?{where}', (value,))
    if sealed:
        with suppress(sqlite3.Error):
            connection.execute(rows.SEALED)
    connection.close()


def heal(cache):
    """After a rebuild all is well, whatever stood in the index: every file is served, and counted."""
    cache.reconcile(rebuild=True)
    for name in (FILE, "b.bin", "c.bin"):
        path = cache.fetch(REPO, name)
        assert path.read_bytes() in (pattern(9000), pattern(9000, 1), pattern(9000, 2))
    report = cache.verify()
    assert (report.exit_code(strict=True), report.complete) == (0, True)
    assert Path(cache.root, "some", "body", "own.bin").read_bytes() == b"somebody's own"
    cache._ctx.index.close()
