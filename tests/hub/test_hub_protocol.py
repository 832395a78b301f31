"""The rules of the protocol, as tables."""

from __future__ import annotations

import pytest

from model_cache.errors import DownloadError
from model_cache.hub import protocol
from model_cache.hub.protocol import FileMeta, TreeItem

HUB = "https://hub.example"
COMMIT = "0123456789" * 4
SHA256 = "ab" * 32
SHA1 = "cd" * 20


@pytest.mark.parametrize(
    ("repo_type", "repo", "revision", "filename", "url"),
    [
        ("model", "gpt2", "main", "config.json", f"{HUB}/gpt2/resolve/main/config.json"),
        ("model", "org/name", "refs/pr/1", "a/b.onnx", f"{HUB}/org/name/resolve/refs%2Fpr%2F1/a/b.onnx"),
        ("dataset", "org/name", COMMIT, "x y.txt", f"{HUB}/datasets/org/name/resolve/{COMMIT}/x%20y.txt"),
        ("space", "org/name", "v1#2", "50%?#.bin", f"{HUB}/spaces/org/name/resolve/v1%232/50%25%3F%23.bin"),
        (
            "model",
            "org/name",
            "main",
            "größe/模型.bin",
            f"{HUB}/org/name/resolve/main/gr%C3%B6%C3%9Fe/%E6%A8%A1%E5%9E%8B.bin",
        ),
    ],
)
def test_a_file_has_one_address(repo_type: str, repo: str, revision: str, filename: str, url: str) -> None:
    """Prefix, quoted revision and quoted filename make the address of a file."""
    assert url == protocol.resolve_url(HUB, repo_type, repo, revision, filename)


def test_the_api_has_plural_names() -> None:
    """Revisions and trees are asked for below /api/{models,datasets,spaces}."""
    assert f"{HUB}/api/models/gpt2/revision/a%2Fb" == protocol.revision_url(HUB, "model", "gpt2", "a/b")
    assert f"{HUB}/api/datasets/o/n/tree/main?recursive=true" == protocol.tree_url(HUB, "dataset", "o/n", "main")


@pytest.mark.parametrize(
    ("value", "etag"),
    [
        (None, ""),
        ('"abc"', "abc"),
        ('W/"abc"', "abc"),
        ("abc", "abc"),
        ('  "a/b-1"  ', "a/b-1"),
        ('"', '"'),
        ('"a\x1b[31mb\x00"', "a[31mb"),
        ('"\xe9 x"', "\xe9 x"),
    ],
)
def test_an_etag_loses_its_quotes_and_weakness(value: str | None, etag: str) -> None:
    """Etags are compared without W/ and quotes, and hold nothing a terminal would obey."""
    assert etag == protocol.normal_etag(value)


def test_a_long_etag_is_folded_and_is_no_hash() -> None:
    """Etags beyond 256 characters stay distinct, short, and are not taken for a file's sha256."""
    first, second = protocol.normal_etag("x" * 5000 + "1"), protocol.normal_etag("x" * 5000 + "2")
    assert first != second
    assert len(first) <= 256
    assert protocol.hashes(first) == (None, None)


@pytest.mark.parametrize(
    ("value", "strong"),
    [
        ('"abc"', '"abc"'),
        ("abc", '"abc"'),
        ('W/"abc"', None),
        ('"a b"', None),
        ('"a\r\nX: y"', None),
        ('"\xe9"', None),
        ('"' + "x" * 300 + '"', None),
        (None, None),
    ],
)
def test_only_strong_plain_etags_are_sent_back(value: str | None, strong: str | None) -> None:
    """If-Range takes strong etags of visible ASCII; others would be refused or split the header."""
    assert strong == protocol.strong_etag(value)


@pytest.mark.parametrize(
    ("current", "location", "endpoint", "verdict"),
    [
        (f"{HUB}/a", "/b?x=1", HUB, "same-origin"),
        (f"{HUB}/a", f"{HUB}:443/b", HUB, "same-origin"),
        (f"{HUB}/a", "HTTPS://HUB.EXAMPLE/b", HUB, "same-origin"),
        (f"{HUB}/a", "https://cdn.example/b?sig=1", HUB, "other-origin"),
        (f"{HUB}/a", "//cdn.example/b", HUB, "other-origin"),
        (f"{HUB}/a", f"{HUB}:8443/b", HUB, "other-origin"),
        ("https://cdn.example/b", f"{HUB}/c", HUB, "same-origin"),
        ("http://127.0.0.1:1/a", "http://127.0.0.1:2/b", "http://127.0.0.1:1", "other-origin"),
        ("http://127.0.0.1:1/a", "https://cdn.example/b", "http://127.0.0.1:1", "other-origin"),
        ("http://mirror.example/a", "http://cdn.example/b", "http://mirror.example", "other-origin"),
        # Refused from here on.
        (f"{HUB}/a", "http://hub.example/b", HUB, "refused"),
        (f"{HUB}/a", "http://127.0.0.1/b", HUB, "refused"),
        ("https://cdn.example/a", "http://mirror.example/b", "http://mirror.example", "refused"),
        (f"{HUB}/a", "file:///etc/passwd", HUB, "refused"),
        (f"{HUB}/a", "ftp://hub.example/b", HUB, "refused"),
        (f"{HUB}/a", "data:text/plain,x", HUB, "refused"),
        (f"{HUB}/a", "https://user:pw@cdn.example/b", HUB, "refused"),
        (f"{HUB}/a", "https://hub.example\\@evil.example/b", HUB, "refused"),
        (f"{HUB}/a", "https://cdn.example/b c", HUB, "refused"),
        (f"{HUB}/a", "https://cdn.example:99999/b", HUB, "refused"),
        (f"{HUB}/a", "https://[::1", HUB, "refused"),
        (f"{HUB}/a", "", HUB, "refused"),
        (f"{HUB}/a", None, HUB, "refused"),
        (f"{HUB}/a", "https://localhost/b", HUB, "refused"),
        (f"{HUB}/a", "https://10.0.0.8/b", HUB, "refused"),
        (f"{HUB}/a", "https://169.254.169.254/latest", HUB, "refused"),
        (f"{HUB}/a", "https://[::1]/b", HUB, "refused"),
        (f"{HUB}/a", "https://[::ffff:127.0.0.1]/b", HUB, "refused"),
        (f"{HUB}/a", "https://127.1/b", HUB, "refused"),
        (f"{HUB}/a", "https://0x7f000001/b", HUB, "refused"),
        (f"{HUB}/a", "https://2130706433/b", HUB, "refused"),
    ],
)
def test_redirects_are_judged(current: str, location: str | None, endpoint: str, verdict: str) -> None:
    """Only https, or http on an http chain; no other scheme, no password, no local address from a remote Hub."""
    hop = protocol.next_hop(current, location, endpoint)
    assert verdict == hop.verdict, hop
    assert bool(hop.reason) == (verdict == "refused")


def test_a_relative_redirect_keeps_its_query() -> None:
    """The address of a relative redirect is made absolute and keeps the query."""
    assert f"{HUB}/api/cache/x?etag=%221%22" == protocol.next_hop(f"{HUB}/a/b", "/api/cache/x?etag=%221%22", HUB).url


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://u:pw@cdn.example:1/p/f.bin?X-Amz-Signature=s3cret&b=1#frag", "https://cdn.example:1/p/f.bin?…"),
        ("https://cdn.example/p", "https://cdn.example/p"),
        ("https://[::1/p?s3cret", "(an address that cannot be read)"),
        ("https://cdn.example/\x1b[31mp", "https://cdn.example/ [31mp"),
    ],
)
def test_a_redacted_address_keeps_host_and_path_only(url: str, shown: str) -> None:
    """User, password, query and fragment can be secrets and are not shown."""
    assert shown == protocol.redact(url)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"Retry-After": "7"}, 7.0),
        ({"Retry-After": "-7"}, None),
        ({"Retry-After": "soon"}, None),
        ({"Retry-After": "9" * 40}, None),
        ({"Retry-After": "Mon, 12 Jan 1970 13:46:45 GMT"}, 5.0),
        ({"Retry-After": "Mon, 12 Jan 1970 13:46:35 GMT"}, 0.0),
        ({"Retry-After": "Mon, 99 Foo 1970 13:46:35 GMT"}, None),
        ({"ratelimit": '"api";r=0;t=55'}, 55.0),
        ({"ratelimit": '"api"; t=3; r=0'}, 3.0),
        ({"ratelimit": '"api";r=20;t=55'}, None),
        ({"ratelimit": "nonsense"}, None),
        ({"Retry-After": "2", "ratelimit": '"api";r=0;t=55'}, 2.0),
    ],
)
def test_the_wait_a_server_asks_for_is_read(headers: dict[str, str], seconds: float | None) -> None:
    """Retry-After in both forms, and the reset time of `ratelimit` once nothing remains."""
    assert seconds == protocol.retry_after(headers, now=1_000_000.0)


@pytest.mark.parametrize(
    ("link", "url"),
    [
        ("", None),
        (f'<{HUB}/api/p?cursor=2>; rel="next"', f"{HUB}/api/p?cursor=2"),
        ("</api/p?cursor=2>; rel=next", f"{HUB}/api/p?cursor=2"),
        (f'<{HUB}/1>; rel="prev", <{HUB}/3>; title="a,b"; rel="next last"', f"{HUB}/3"),
        (f'<{HUB}/1>; rel="prev"', None),
        ("garbage", None),
    ],
)
def test_the_next_page_is_found(link: str, url: str | None) -> None:
    """The address with relation `next` is the next page."""
    assert url == protocol.next_page({"Link": link}, f"{HUB}/api/p", HUB)


@pytest.mark.parametrize("target", ["https://evil.example/p", "http://hub.example/p", "file:///p"])
def test_the_next_page_stays_on_the_endpoint(target: str) -> None:
    """A page elsewhere is refused, because the token would be sent there."""
    with pytest.raises(DownloadError, match="refused"):
        protocol.next_page({"Link": f'<{target}>; rel="next"'}, f"{HUB}/api/p", HUB)


def test_metadata_of_a_large_file_is_on_the_redirect() -> None:
    """X-Linked-* describe the file; the redirect's own length and etag do not."""
    headers = {
        "X-Repo-Commit": COMMIT,
        "X-Linked-Etag": f'"{SHA256}"',
        "X-Linked-Size": "1048576",
        "ETag": '"other"',
        "Content-Length": "99",
    }
    assert FileMeta(COMMIT, SHA256, 1048576, SHA256, None) == protocol.file_meta([headers], HUB, redirected=True)


def test_metadata_of_a_small_file_may_be_spread_over_a_relative_redirect() -> None:
    """What the last answer lacks is taken from the redirects of the endpoint before it."""
    passed = {"X-Repo-Commit": COMMIT, "Content-Length": "5"}
    last = {"ETag": f'W/"{SHA1}"', "Content-Length": "12"}
    assert FileMeta(COMMIT, SHA1, 12, None, SHA1) == protocol.file_meta([passed, last], HUB, redirected=False)


def test_a_redirect_without_linked_size_says_no_size() -> None:
    """The length of a redirect's own text is never the file's."""
    headers = {"X-Repo-Commit": COMMIT, "X-Linked-Etag": "odd/etag", "Content-Length": "99"}
    assert FileMeta(COMMIT, "odd/etag", None, None, None) == protocol.file_meta([headers], HUB, redirected=True)


@pytest.mark.parametrize(
    ("headers", "words"),
    [
        ({"ETag": '"x"', "Content-Type": "text/html"}, "no X-Repo-Commit.*text/html"),
        ({"ETag": '"x"', "X-Repo-Commit": "main"}, "40-hex commit"),
        ({"ETag": '"x"', "X-Repo-Commit": "../../etc"}, "40-hex commit"),
        ({"X-Repo-Commit": COMMIT}, "no ETag"),
        ({"X-Repo-Commit": COMMIT, "ETag": '""'}, "no ETag"),
        ({"X-Repo-Commit": COMMIT, "ETag": '"x"', "X-Linked-Size": "-1"}, "X-Linked-Size"),
        ({"X-Repo-Commit": COMMIT, "ETag": '"x"', "X-Linked-Size": "9" * 30}, "X-Linked-Size"),
        ({"X-Repo-Commit": COMMIT, "ETag": '"x"', "X-Linked-Size": "1e9"}, "X-Linked-Size"),
    ],
)
def test_metadata_that_cannot_be_used_is_an_error(headers: dict[str, str], words: str) -> None:
    """Without commit, etag and a real length there is nothing to hold a download to."""
    with pytest.raises(DownloadError, match=words):
        protocol.file_meta([headers], HUB, redirected=False)


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ("bytes 5-9/10", (5, 10, 10)),
        ("bytes 5-9/*", (5, 10, None)),
        ("bytes 9-5/10", None),
        ("bytes 5-10/10", None),
        ("bytes */10", None),
        ("bytes 5-/10", None),
        ("items 5-9/10", None),
        ("", None),
    ],
)
def test_content_ranges_make_sense_or_are_none(value: str, found: object) -> None:
    """A range is believed only if first, last and size agree."""
    assert found == protocol.content_range({"Content-Range": value})


def test_a_listing_has_files_with_their_hash() -> None:
    """Large files have the sha256 of `lfs`, small ones their git-sha1; directories are left out."""
    page = [
        {"type": "directory", "path": "onnx", "oid": SHA1, "size": 0},
        {"type": "file", "path": "onnx/m.onnx", "oid": SHA1, "size": 7, "lfs": {"oid": SHA256, "size": 7}},
        {"type": "file", "path": "config.json", "oid": SHA1, "size": 3},
    ]
    assert [
        TreeItem("onnx/m.onnx", 7, SHA256, None),
        TreeItem("config.json", 3, None, SHA1),
    ] == protocol.tree_items(page, HUB)


@pytest.mark.parametrize(
    "page",
    [
        {"error": "x"},
        None,
        ["x"],
        [{"type": "file"}],
        [{"type": "file", "path": 3, "oid": SHA1, "size": 1}],
        [{"type": "file", "path": "", "oid": SHA1, "size": 1}],
        [{"type": "file", "path": "a", "oid": SHA1, "size": -1}],
        [{"type": "file", "path": "a", "oid": SHA1, "size": True}],
        [{"type": "file", "path": "a", "oid": SHA1, "size": "1"}],
        [{"type": "file", "path": "a", "oid": SHA1, "size": 2**70}],
        [{"type": "file", "path": "a", "oid": None, "size": 1}],
        [{"type": "file", "path": "a", "oid": SHA1, "size": 1, "lfs": "x"}],
    ],
)
def test_a_listing_of_another_shape_is_an_error(page: object) -> None:
    """JSON of the wrong shape raises one clear error, never a TypeError."""
    with pytest.raises(DownloadError, match="expected"):
        protocol.tree_items(page, HUB)


@pytest.mark.parametrize("document", [None, [], {}, {"sha": None}, {"sha": "main"}, {"sha": COMMIT.upper() + "0"}])
def test_a_revision_without_a_commit_is_an_error(document: object) -> None:
    """The API's `sha` is 40 hex digits or the answer is refused."""
    with pytest.raises(DownloadError, match="40-hex"):
        protocol.commit_of(document, HUB)
