"""The client against a loopback hub: metadata, bytes, listings, refusals, faults."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import pytest
from hub_equipment import FakeClock

import model_cache
from model_cache.errors import AccessError, DownloadError, NotFoundError, SettingError
from model_cache.hub.client import Body, HubClient
from model_cache.testing import LoopbackHub

REPO = "org/name"
LARGE = bytes(range(256)) * 12_000  # 3 MB: above the threshold for the second port
SMALL = b'{"a": 1}\n' * 100
SECRET = "hf_SECRETsecretSECRET"
Connect = Callable[..., HubClient]


def read(body: Body, size: int = 1 << 20) -> bytes:
    """All bytes of a body, which is closed."""
    buffer = memoryview(bytearray(size))
    kept = b""
    with body:
        while count := body.readinto(buffer):
            kept += buffer[:count]
    return kept


@pytest.fixture
def commit(hub: LoopbackHub) -> str:
    """A repo with one large and one small file; its commit."""
    return hub.add_repo(REPO, {"model.bin": LARGE, "sub dir/größe.json": SMALL, "empty": b""})


def test_every_request_says_who_asks(hub: LoopbackHub, commit: str, connect: Connect) -> None:
    """The Hub and the storage behind it see this package's name and version."""
    read(connect(hub.url).open_body("model", REPO, commit, "model.bin"))
    assert {record.user_agent for record in hub.requests} == {f"model-cache/{model_cache.__version__}"}


def test_metadata_of_a_large_file_has_its_sha256(hub: LoopbackHub, commit: str, connect: Connect) -> None:
    """A large file's metadata comes from the redirect, which is not followed: one request, none to the second port."""
    meta = connect(hub.url).metadata("model", REPO, "main", "model.bin")
    sha256 = hashlib.sha256(LARGE).hexdigest()
    assert (commit, sha256, len(LARGE), sha256, None) == meta
    assert [record.method for record in hub.requests] == ["HEAD"]


@pytest.mark.parametrize("resolve_cache", [True, False])
def test_metadata_of_a_small_file_has_its_git_sha1(resolve_cache: bool, connect: Connect) -> None:
    """Whether served directly or over a relative redirect, the etag is the git-sha1 and the size the file's."""
    with LoopbackHub(resolve_cache=resolve_cache) as hub:
        commit = hub.add_repo(REPO, {"sub dir/größe.json": SMALL})
        meta = connect(hub.url).metadata("model", REPO, "main", "sub dir/größe.json")
    sha1 = hashlib.sha1(b"blob %d\0" % len(SMALL) + SMALL).hexdigest()
    assert (commit, sha1, len(SMALL), None, sha1) == meta


@pytest.mark.parametrize("repo_type", ["dataset", "space", "kernel"])
def test_datasets_and_spaces_have_their_own_addresses(hub: LoopbackHub, repo_type: str, connect: Connect) -> None:
    """All four questions work for every repo type, and for a revision with a slash."""
    commit = hub.add_repo(REPO, {"model.bin": LARGE, "x": b"x"}, repo_type=repo_type, revision="refs/pr/1")
    client = connect(hub.url)
    assert commit == client.metadata(repo_type, REPO, "refs/pr/1", "model.bin").commit
    assert commit == client.commit(repo_type, REPO, "refs/pr/1")
    assert {"model.bin", "x"} == {item.path for item in client.tree(repo_type, REPO, commit)}
    assert read(client.open_body(repo_type, REPO, commit, "model.bin")) == LARGE


def test_bodies_arrive_whole(hub: LoopbackHub, commit: str, connect: Connect) -> None:
    """Large, small and empty files arrive byte for byte, with their size said beforehand."""
    client = connect(hub.url)
    for name, content in (("model.bin", LARGE), ("sub dir/größe.json", SMALL), ("empty", b"")):
        body = client.open_body("model", REPO, commit, name)
        assert (200, 0, len(content)) == (body.status, body.start, body.total)
        assert read(body, 100_003) == content


def test_a_listing_goes_over_all_pages(connect: Connect) -> None:
    """Pages are followed to the last, each file comes once with size and hash."""
    with LoopbackHub(page_size=3) as hub:
        commit = hub.add_repo(REPO, {f"d{n}/f{n}": b"x" * n for n in range(10)} | {"model.bin": LARGE})
        items = {item.path: item for item in connect(hub.url).tree("model", REPO, commit)}
        assert hub.count(kind="api") >= 4
    assert len(items) == 11
    assert hashlib.sha256(LARGE).hexdigest() == items["model.bin"].sha256
    assert (items["d7/f7"].size, items["d7/f7"].sha256) == (7, None)
    assert items["d7/f7"].git_sha1 is not None


# Ranges


@pytest.mark.parametrize("name", ["model.bin", "sub dir/größe.json"])
def test_a_range_goes_on_where_the_bytes_stopped(hub: LoopbackHub, commit: str, connect: Connect, name: str) -> None:
    """With the Hub's etag, the rest of a file comes from the storage and from the Hub itself."""
    content = LARGE if name == "model.bin" else SMALL
    client = connect(hub.url)
    etag = client.metadata("model", REPO, "main", name).etag
    body = client.open_body("model", REPO, commit, name, offset=100, etag=etag)
    assert (206, 100, len(content)) == (body.status, body.start, body.total)
    assert read(body) == content[100:]
    body = client.open_body("model", REPO, commit, name, offset=100, end=300, etag=etag)
    assert read(body) == content[100:300]


def test_if_range_carries_the_etag_of_the_server_that_reads_it(hub: LoopbackHub, commit: str, connect: Connect) -> None:
    """The endpoint gets the Hub's etag; the storage its own, once an answer of it said which."""
    client = connect(hub.url)
    etag = client.metadata("model", REPO, "main", "model.bin").etag
    client.open_body("model", REPO, commit, "model.bin", offset=9, etag=etag).close()
    client.open_body("model", REPO, commit, "model.bin", offset=9, etag=etag).close()
    sent = [(record.host, record.headers.get("if-range")) for record in hub.requests if record.method == "GET"]
    own = hashlib.sha256(f"stored {etag}".encode()).hexdigest()
    assert [("hub", f'"{etag}"'), ("cdn", None), ("hub", f'"{etag}"'), ("cdn", f'"{own}"')] == sent


@pytest.mark.parametrize("etag", [None, "0" * 64, 'odd "etag"\r\nX: y', "é"])
def test_without_a_matching_etag_the_whole_file_comes(
    hub: LoopbackHub, commit: str, connect: Connect, etag: str | None
) -> None:
    """Where nothing vouches that the rest belongs to what is there, the body starts at 0."""
    for name, content in (("model.bin", LARGE), ("sub dir/größe.json", SMALL)):
        body = connect(hub.url).open_body("model", REPO, commit, name, offset=50, etag=etag)
        assert (200, 0, len(content)) == (body.status, body.start, body.total)
        assert read(body) == content


@pytest.mark.parametrize("name", ["model.bin", "sub dir/größe.json"])
def test_an_ignored_range_gives_the_whole_file(hub: LoopbackHub, commit: str, connect: Connect, name: str) -> None:
    """A server without ranges answers 200, and the body says that it starts at 0."""
    client = connect(hub.url)
    etag = client.metadata("model", REPO, "main", name).etag
    hub.fault(name, "range_ignored")
    body = client.open_body("model", REPO, commit, name, offset=50, etag=etag)
    assert (body.status, body.start) == (200, 0)
    body.close()


@pytest.mark.parametrize("name", ["model.bin", "sub dir/größe.json"])
def test_a_refused_range_starts_over(hub: LoopbackHub, commit: str, connect: Connect, name: str) -> None:
    """416 (we have more than there is) makes the client ask for the whole file, once."""
    client = connect(hub.url)
    etag = client.metadata("model", REPO, "main", name).etag
    body = client.open_body("model", REPO, commit, name, offset=len(LARGE) + 5, etag=etag)
    assert (body.status, body.start) == (200, 0)
    body.close()
    assert 416 in [record.status for record in hub.requests]


# Refusals


def test_a_missing_repo_file_or_revision_is_named(hub: LoopbackHub, commit: str, connect: Connect) -> None:
    """404 says which of the three is missing, with the name, the request id and where to look."""
    client = connect(hub.url, token=SECRET)
    with pytest.raises(NotFoundError, match="no repo 'org/nothing' on the Hub") as caught:
        client.metadata("model", "org/nothing", "main", "x")
    assert (caught.value.status, caught.value.request_id in str(caught.value)) == (404, True)
    assert caught.value.request_id
    with pytest.raises(NotFoundError, match="'org/name' has no revision 'v9'") as caught:
        client.metadata("model", REPO, "v9", "model.bin")
    with pytest.raises(NotFoundError, match=r"has no file 'nothing.bin' at revision 'main'") as caught:
        client.metadata("model", REPO, "main", "nothing.bin")
    assert f"{hub.url}/org/name/tree/main" in caught.value.hint
    with pytest.raises(NotFoundError, match="has no file"):
        client.open_body("model", REPO, commit, "nothing.bin")
    with pytest.raises(NotFoundError, match="'org/name' has no revision 'v9'"):
        client.commit("model", REPO, "v9")


def test_a_401_without_token_says_both_things_it_can_mean(hub: LoopbackHub, connect: Connect) -> None:
    """Without a token the Hub does not tell private from missing, so the message says both."""
    hub.add_repo("org/private", {"x": b"x"}, private=True)
    with pytest.raises(AccessError, match="private or does not exist") as caught:
        connect(hub.url).metadata("model", "org/private", "main", "x")
    assert caught.value.status == 401
    assert "HF_TOKEN" in caught.value.hint


def test_a_gated_repo_says_where_its_licence_is() -> None:
    """Gated: accept the licence on the repo's page, then set a token; with a token without access, the same page."""
    with LoopbackHub(token=SECRET, guest_tokens=["hf_guest"]) as hub:
        hub.add_repo("org/gated", {"x": b"x"}, gated=True)
        for token, words in ((None, "gated, and no token is set"), ("hf_guest", "this token has no access")):
            with HubClient(hub.url, token=token, clock=FakeClock()) as client:
                with pytest.raises(AccessError, match=words) as caught:
                    client.metadata("model", "org/gated", "main", "x")
                assert f"{hub.url}/org/gated" in caught.value.hint
        with HubClient(hub.url, token=SECRET, clock=FakeClock()) as client:
            assert client.metadata("model", "org/gated", "main", "x").size == 1


def test_a_token_that_is_not_accepted_is_not_shown() -> None:
    """The message speaks of the token, and does not repeat it."""
    with LoopbackHub(token="hf_another") as hub:
        hub.add_repo(REPO, {"x": b"x"})
        with HubClient(hub.url, token=SECRET, clock=FakeClock()) as client:
            with pytest.raises(AccessError, match="token is not accepted") as caught:
                client.metadata("model", REPO, "main", "x")
            assert SECRET not in repr(client) + repr(vars(client)) + repr(vars(client._transport))
    assert SECRET not in repr(caught.value.__dict__)


def test_a_429_is_waited_out(hub: LoopbackHub, commit: str, connect: Connect, clock: FakeClock) -> None:
    """`ratelimit` and Retry-After decide the wait of a question; a body passes them on in the error."""
    client = connect(hub.url)
    hub.fault("model.bin", "status", status=429, ratelimit=7)
    assert client.metadata("model", REPO, "main", "model.bin").commit == commit
    assert 7 <= clock.sleeps[0] <= 8
    hub.fault("model.bin", "status", status=429, retry_after=12, on="any")
    with pytest.raises(DownloadError, match=r"too many requests.*12 s") as caught:
        client.open_body("model", REPO, commit, "model.bin")
    assert (caught.value.transient, caught.value.retry_after, caught.value.status) == (True, 12.0, 429)
    assert len(clock.sleeps) == 1


def test_a_failing_server_is_asked_again(hub: LoopbackHub, commit: str, connect: Connect, clock: FakeClock) -> None:
    """Questions outlive a few 503 and lost connections; one that lasts ends in a clear error."""
    client = connect(hub.url)
    hub.fault("model.bin", "status", status=503, times=2)
    hub.fault("model.bin", "hangup", times=1)
    assert client.metadata("model", REPO, "main", "model.bin").commit == commit
    assert len(clock.sleeps) == 3
    hub.fault("*/revision/*", "status", status=500, times=1)
    assert client.commit("model", REPO, "main") == commit
    hub.fault("model.bin", "status", status=502, times=None)
    with pytest.raises(DownloadError, match=r"server failed.*HTTP 502.*gave up after 6 attempts"):
        client.metadata("model", REPO, "main", "model.bin")


# Faults in a body


def _count_until_error(body: Body) -> tuple[int, DownloadError]:
    buffer = memoryview(bytearray(1 << 20))
    count = 0
    with body, pytest.raises(DownloadError) as caught:
        while got := body.readinto(buffer):
            count += got
    with pytest.raises(DownloadError) as again:
        body.readinto(buffer)
    assert again.value is caught.value
    return count, caught.value


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("cut", "ended early after 1000000 of 3072000 bytes"),
        ("stall", r"no byte for 2 s after 1000000 of 3072000"),
        ("reset", "after .* of 3072000 bytes"),
    ],
)
def test_a_broken_body_hands_over_what_came_then_says_so(
    hub: LoopbackHub, commit: str, connect: Connect, kind: str, words: str
) -> None:
    """Cut, reset and stall are transient errors; the bytes before them are delivered first."""
    # Long enough for a machine that stands still, and for a stall no longer than has to be waited for.
    client = connect(hub.url, download_timeout=2 if kind == "stall" else 30)
    hub.fault("model.bin", kind, at=1_000_000)
    count, error = _count_until_error(client.open_body("model", REPO, commit, "model.bin"))
    assert error.transient
    # A reset makes the kernel drop what it had not delivered yet.
    assert count == 1_000_000 or (kind == "reset" and count <= 1_000_000)
    with pytest.raises(DownloadError, match=words):
        raise error


def test_what_the_caller_is_handling_is_no_reason(hub: LoopbackHub, commit: str, connect: Connect) -> None:
    """Who asks where a local file was not found, as one does, is told what the Hub did, and nothing of that file."""
    client = connect(hub.url, download_timeout=30)
    hub.fault("model.bin", "reset", at=1_000_000)
    with LoopbackHub() as other:
        gone = connect(other.url)
    try:
        raise FileNotFoundError(2, "No such file or directory")
    except FileNotFoundError:
        _, error = _count_until_error(client.open_body("model", REPO, commit, "model.bin"))
        with pytest.raises(DownloadError, match=r"cannot reach .*: Connection refused; gave up"):
            gone.metadata("model", REPO, "main", "x")
    assert "No such file" not in str(error)


def test_a_truncated_body_is_never_an_end(hub: LoopbackHub, commit: str, connect: Connect) -> None:
    """Fewer bytes than Content-Length said are an error, even where the connection is closed in good order."""
    hub.fault("*.json", "wrong_length", by=100)
    count, error = _count_until_error(connect(hub.url).open_body("model", REPO, commit, "sub dir/größe.json"))
    assert (len(SMALL), True) == (count, error.transient)


def test_a_body_without_length_ends_with_the_connection(hub: LoopbackHub, commit: str, connect: Connect) -> None:
    """Nothing tells a cut from the end there; `total` is None, so the caller's length and hash decide."""
    hub.fault("model.bin", "no_length", cut=True, at=5000)
    body = connect(hub.url).open_body("model", REPO, commit, "model.bin")
    assert body.total is None
    assert read(body) == LARGE[:5000]


def test_a_slow_line_gives_control_back(hub: LoopbackHub, commit: str, connect: Connect) -> None:
    """A large buffer is not waited for: what came within a fraction of a second is handed over."""
    hub.fault("model.bin", "drip", bytes=100, seconds=0.02)
    with connect(hub.url).open_body("model", REPO, commit, "model.bin") as body:
        count = body.readinto(memoryview(bytearray(1 << 20)))
    assert 0 < count < 100_000


def test_compressed_bytes_are_refused(hub: LoopbackHub, commit: str, connect: Connect) -> None:
    """Length and hash are those of the file as it is: Content-Encoding is an error that asking again does not mend."""
    hub.fault("model.bin", "compressed")
    with pytest.raises(DownloadError, match="Content-Encoding 'gzip'") as caught:
        connect(hub.url).open_body("model", REPO, commit, "model.bin")
    assert not caught.value.transient


@pytest.mark.parametrize("name", ["model.bin", "sub dir/größe.json"])
def test_a_page_in_place_of_the_file_is_refused(hub: LoopbackHub, commit: str, connect: Connect, name: str) -> None:
    """A login page with status 200 is recognised before its bytes are taken for the file's."""
    hub.fault(name, "html")
    with pytest.raises(DownloadError, match="an HTML page came in place of"):
        connect(hub.url).open_body("model", REPO, commit, name)


def test_a_file_that_is_a_page_is_no_login_page(hub: LoopbackHub, connect: Connect) -> None:
    """A repo's own HTML files arrive."""
    commit = hub.add_repo("org/site", {"index.html": b"<html>"})
    assert read(connect(hub.url).open_body("model", "org/site", commit, "index.html")) == b"<html>"


def test_an_expired_link_is_replaced_by_asking_again(hub: LoopbackHub, commit: str, connect: Connect) -> None:
    """The storage's refusal is transient and speaks of the link, not of rights; the next call gets a new link."""
    client = connect(hub.url)
    hub.fault("model.bin", "expired")
    with pytest.raises(DownloadError, match=r"link .* may have expired") as caught:
        client.open_body("model", REPO, commit, "model.bin")
    assert caught.value.transient
    assert not isinstance(caught.value, AccessError)
    assert read(client.open_body("model", REPO, commit, "model.bin")) == LARGE


# Misuse and connections


def test_bytes_are_asked_for_at_a_commit_only(hub: LoopbackHub, connect: Connect) -> None:
    """A branch could move between metadata and bytes, so open_body takes no branch."""
    with pytest.raises(DownloadError, match="40-hex"):
        connect(hub.url).open_body("model", REPO, "main", "model.bin")
    assert hub.requests == []


@pytest.mark.parametrize("endpoint", ["ftp://hub.example", "hub.example", "https://", "https://host:x"])
def test_an_endpoint_that_is_none_is_refused(endpoint: str, clock: FakeClock) -> None:
    """The address of the Hub is checked when the client is made."""
    with pytest.raises(SettingError, match="endpoint"):
        HubClient(endpoint, token=None, clock=clock)


@pytest.mark.parametrize("setting", ["etag_timeout", "download_timeout"])
def test_a_timeout_of_nothing_is_refused(setting: str, clock: FakeClock) -> None:
    """Zero seconds would mean no waiting to some libraries and endless waiting to others."""
    with pytest.raises(SettingError, match=setting):
        HubClient("https://hub.example", token=None, clock=clock, **{setting: 0.0})


def test_a_host_that_is_not_there_is_named(connect: Connect, clock: FakeClock) -> None:
    """Without network the error names the host, its port if it is no usual one, and the cause, and hints at working offline."""
    with LoopbackHub() as hub:
        url = hub.url
    with pytest.raises(
        DownloadError, match=rf"cannot reach 127\.0\.0\.1, port {url.rpartition(':')[2]}: .*refused"
    ) as caught:
        connect(url).metadata("model", REPO, "main", "x")
    assert "MODEL_CACHE_OFFLINE" in caught.value.hint
    assert caught.value.unreachable
    assert sum(clock.sleeps) < 2
    with pytest.raises(DownloadError, match=r"cannot reach nothing\.invalid: .*resolved"):
        connect("http://nothing.invalid").commit("model", REPO, "main")
