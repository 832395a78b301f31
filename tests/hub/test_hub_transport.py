"""HTTP itself: who gets the token, what leaks, what a hostile server can do, threads and forks."""

from __future__ import annotations

import gzip
import json
import logging
import os
import pickle
import socket
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest
from hub_equipment import COMMIT, Asked, FakeClock, RawServer, Reply, message

from model_cache.errors import DownloadError
from model_cache.hub.client import HubClient
from model_cache.testing import LoopbackHub

REPO = "org/name"
SECRET = "hf_SECRETsecretSECRET"
SIGNATURE = "X-Amz-Signature=s1gn4tur3"
LINKED = {"X-Repo-Commit": COMMIT, "X-Linked-Etag": '"abc"', "X-Linked-Size": "3"}
META = {"X-Repo-Commit": COMMIT, "ETag": '"abc"', "Content-Length": "3"}
Connect = Callable[..., HubClient]
Serve = Callable[[Reply | bytes], RawServer]


def replying(answers: dict[str, bytes], default: bytes = b"") -> Reply:
    """Answers by path; an empty answer closes the connection."""

    def reply(asked: Asked, connection: socket.socket) -> bool:
        answer = answers.get(asked.target, default)
        connection.sendall(answer)
        return bool(answer)

    return reply


# The token


def test_the_token_goes_to_the_endpoint_alone(hub: LoopbackHub, connect: Connect) -> None:
    """Every request to the Hub carries the token, none to the storage does."""
    commit = hub.add_repo(REPO, {"model.bin": b"x" * 2_000_000, "small": b"x"})
    client = connect(hub.url, token=SECRET)
    for name in ("model.bin", "small"):
        client.metadata("model", REPO, "main", name)
        client.open_body("model", REPO, commit, name).close()
    list(client.tree("model", REPO, commit))
    assert hub.leaks == []
    assert {("hub", True), ("cdn", False)} == {(record.host, record.authorization) for record in hub.requests}


def test_the_token_stays_behind_for_good(serve: Serve, connect: Connect) -> None:
    """A chain that leaves the endpoint and comes back arrives there without the token."""
    home = serve(b"")
    other = serve(message(302, {"Location": f"{home.url}/back"}))
    away = message(302, {"Location": f"{other.url}/away"})
    home.reply = replying({"/back": message(200, body=b"xyz")}, default=away)
    with connect(home.url, token=SECRET).open_body("model", REPO, COMMIT, "f") as body:
        assert body.total == 3
    assert ["authorization" in asked.headers for asked in home.asked] == [True, False]
    assert ["authorization" in asked.headers for asked in other.asked] == [False]


def test_netrc_is_never_used(serve: Serve, tmp_path: Path) -> None:
    """A .netrc that names the hosts changes nothing: no token, no Authorization; a token, only that."""
    other = serve(message(200, body=b"xyz"))
    home = serve(message(302, {"Location": f"{other.url}/x?{SIGNATURE}", **LINKED}))
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login somebody password pass\n")
    (tmp_path / ".netrc").chmod(0o600)
    script = f"""
from model_cache.clock import Clock
from model_cache.hub.client import HubClient
for token in (None, {SECRET!r}):
    with HubClient({home.url!r}, token=token, clock=Clock()) as client:
        client.metadata("model", {REPO!r}, "main", "f")
        client.open_body("model", {REPO!r}, {COMMIT!r}, "f").close()
"""
    environ = {**os.environ, "HOME": str(tmp_path), "NETRC": str(tmp_path / ".netrc")}
    subprocess.run([sys.executable, "-c", script], env=environ, check=True, timeout=60)
    sent = [asked.headers.get("authorization") for asked in home.asked]
    assert sent == [None, None, f"Bearer {SECRET}", f"Bearer {SECRET}"]
    assert [asked.headers.get("authorization") for asked in other.asked] == [None, None]


def test_cookies_are_not_kept(serve: Serve, connect: Connect) -> None:
    """A cookie set by one answer is not sent with the next request."""
    server = serve(message(200, {**META, "Set-Cookie": "id=1; Path=/"}))
    client = connect(server.url)
    client.metadata("model", REPO, "main", "f")
    client.metadata("model", REPO, "main", "f")
    assert ["cookie" in asked.headers for asked in server.asked] == [False, False]


# Leaks


def _everything_said(error: BaseException) -> str:
    """All an exception could show: itself, its fields, its chain, as a traceback prints them."""
    said = [repr(error), str(error), repr(vars(error)), "".join(traceback.format_exception(error))]
    said += [_everything_said(link) for link in (error.__context__, error.__cause__) if link is not None]
    return "\n".join(said)


@pytest.mark.parametrize(
    "ending",
    ["refused", "hangup", "garbage", "status", "cut", "chunks", "stall", "header-bomb", "redirect-file", "lengths"],
)
def test_signed_addresses_and_tokens_stay_out_of_errors_and_logs(
    serve: Serve, connect: Connect, caplog: pytest.LogCaptureFixture, ending: str
) -> None:
    """However the storage fails, neither error, chain, pickle nor any debug line shows signature or token."""
    caplog.set_level(logging.DEBUG)
    other = serve(b"")
    home = serve(message(302, {**LINKED, "Location": f"{other.url}/file?{SIGNATURE}"}))

    def stall(asked: Asked, connection: socket.socket) -> bool:
        return other.released.wait(30)

    answers: dict[str, Reply | bytes] = {
        "hangup": replying({}),
        "garbage": b"this is no HTTP\r\n\r\n",
        "status": message(503, body=SIGNATURE.encode()),
        "cut": replying({}),
        "chunks": message(200, {"Transfer-Encoding": "chunked"}, b"zz\r\n", length=False),
        "stall": stall,
        "header-bomb": b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 200 + b"\r\n",
        "redirect-file": message(302, {"Location": f"file:///etc/passwd?{SIGNATURE}"}),
        "lengths": message(200, {"Content-Length": "5, 6"}, b"xyz"),
    }
    if ending == "refused":
        other.close()
    else:
        other.reply = answers[ending]
    if ending == "cut":

        def cut(asked: Asked, connection: socket.socket) -> bool:
            connection.sendall(message(200, {"Content-Length": "9"}, b"xyz"))
            return False

        other.reply = cut
    client = connect(home.url, token=SECRET, download_timeout=0.2)
    with pytest.raises(DownloadError) as caught, client.open_body("model", REPO, COMMIT, "f") as body:
        while body.readinto(memoryview(bytearray(100))):
            pass
    said = _everything_said(caught.value) + caplog.text + pickle.dumps(caught.value).decode("latin-1")
    assert "s1gn4tur3" not in said
    assert SECRET not in said
    assert caught.value.__context__ is None
    assert "model_cache.hub" in {record.name for record in caplog.records}


def test_debug_lines_of_others_are_left_alone(caplog: pytest.LogCaptureFixture) -> None:
    """Redaction is on only while a request of ours runs: urllib3 used by somebody else logs as before."""
    caplog.set_level(logging.DEBUG)
    logging.getLogger("urllib3.connectionpool").debug('"%s %s"', "GET", "/x?a=b")
    assert "/x?a=b" in caplog.text


# Hostile servers


def test_redirects_end(serve: Serve, connect: Connect) -> None:
    """The sixth redirect in a row is refused, on the endpoint and away from it."""
    for method in ("HEAD", "GET"):
        server = serve(message(302, {"Location": "/again"}))
        client = connect(server.url)
        with pytest.raises(DownloadError, match="redirect number 6"):
            if method == "HEAD":
                client.metadata("model", REPO, "main", "f")
            else:
                client.open_body("model", REPO, COMMIT, "f")
        assert len(server.asked) == 6


@pytest.mark.parametrize("location", ["file:///etc/passwd", "gopher://127.0.0.1/", "http://u:p@127.0.0.1/", ""])
def test_a_redirect_to_where_no_client_should_go_is_refused(serve: Serve, connect: Connect, location: str) -> None:
    """Other schemes, passwords and nowhere are refused with the reason, and nothing is read there."""
    server = serve(message(302, {"Location": location}))
    with pytest.raises(DownloadError, match="a redirect is refused: "):
        connect(server.url).open_body("model", REPO, COMMIT, "f")
    with pytest.raises(DownloadError, match="a redirect is refused: "):
        connect(server.url).metadata("model", REPO, "main", "f")


def test_the_endless_text_of_a_redirect_is_not_read(serve: Serve, connect: Connect) -> None:
    """A redirect that claims a huge body of its own is cut, not read; the chain goes on."""
    target = message(200, body=b"xyz")
    huge = message(302, {"Location": "/target", "Content-Length": str(10**12)}, b"x" * 1000)
    server = serve(replying({"/target": target}, default=huge))
    with connect(server.url).open_body("model", REPO, COMMIT, "f") as body:
        assert body.total == 3


def test_an_answer_of_a_login_page_is_not_the_hubs(serve: Serve, connect: Connect) -> None:
    """HTML with status 200 is a clear error for metadata, for the commit and for a listing."""
    client = connect(serve(message(200, {"Content-Type": "text/html"}, b"<html>")).url)
    with pytest.raises(DownloadError, match="not an answer of the Hub"):
        client.metadata("model", REPO, "main", "f")
    with pytest.raises(DownloadError, match=r"expected JSON .* found text/html"):
        client.commit("model", REPO, "main")
    with pytest.raises(DownloadError, match=r"expected JSON .* found text/html"):
        list(client.tree("model", REPO, COMMIT))


@pytest.mark.parametrize(
    "body", [b"", b"{", b"\xff\xfe", b"[" * 200_000, b'{"sha": 3}', b"null", b'[{"type": "file"}]', b"NaN"]
)
def test_json_that_is_none_is_a_clear_error(serve: Serve, connect: Connect, body: bytes) -> None:
    """Broken, deep or misshapen JSON raises a DownloadError of one line, with no context."""
    client = connect(serve(message(200, {"Content-Type": "application/json"}, body)).url)
    for ask in (lambda: client.commit("model", REPO, "main"), lambda: list(client.tree("model", REPO, COMMIT))):
        with pytest.raises(DownloadError, match="expected") as caught:
            ask()
        assert caught.value.__context__ is None
        assert "\n" not in str(caught.value)


def test_a_compressed_api_answer_is_refused(serve: Serve, connect: Connect) -> None:
    """What was asked for uncompressed and comes compressed is not unpacked, however large it would become."""
    bomb = gzip.compress(b"[" * 10_000_000)
    client = connect(serve(message(200, {"Content-Type": "application/json", "Content-Encoding": "gzip"}, bomb)).url)
    with pytest.raises(DownloadError, match="compressed"):
        client.commit("model", REPO, "main")


def test_an_endless_api_answer_is_cut(serve: Serve, connect: Connect) -> None:
    """An API answer beyond any real size ends in an error after a bounded number of bytes."""

    def flood(asked: Asked, connection: socket.socket) -> bool:
        connection.sendall(message(200, {"Content-Type": "application/json"}, length=False))
        while True:
            connection.sendall(b"[" * 1_000_000)

    with pytest.raises(DownloadError, match="more than 8388608 bytes"):
        connect(serve(flood).url).commit("model", REPO, "main")


def test_a_listing_that_runs_in_circles_ends(serve: Serve, connect: Connect) -> None:
    """A next page that was there before is an error, not an endless loop; one on another host is refused."""
    page = json.dumps([]).encode()
    server = serve(b"")
    for link, words in (("/b", "leads back"), ("https://other.example/b", "refused")):
        server.reply = message(200, {"Content-Type": "application/json", "Link": f'<{link}>; rel="next"'}, page)
        with pytest.raises(DownloadError, match=words):
            list(connect(server.url).tree("model", REPO, COMMIT))
    assert len(server.asked) == 3


def test_the_api_does_not_lead_elsewhere(serve: Serve, connect: Connect) -> None:
    """The commit and the listing come from the endpoint or not at all."""
    server = serve(message(302, {"Location": "https://other.example/api"}))
    with pytest.raises(DownloadError, match="redirects to another host"):
        connect(server.url).commit("model", REPO, "main")


def test_a_renamed_repo_is_followed(serve: Serve, connect: Connect) -> None:
    """The API's own redirect to the new name of a repo is followed."""
    new = f"/api/models/new/revision/{COMMIT}"
    answer = message(200, {"Content-Type": "application/json"}, json.dumps({"sha": COMMIT}).encode())
    server = serve(replying({new: answer}, default=message(307, {"Location": new})))
    assert connect(server.url).commit("model", REPO, "main") == COMMIT


@pytest.mark.parametrize("etag", ["a/b-1", "é☃".encode().decode("latin-1"), "x" * 5000, "'; DROP TABLE--", "a\tb"])
def test_an_odd_etag_breaks_nothing(serve: Serve, connect: Connect, etag: str) -> None:
    """Whatever the etag holds, metadata is read, it is short, and a resume with it gets a body."""
    server = serve(replying({}, default=message(200, {**META, "ETag": f'"{etag}"'})))
    client = connect(server.url)
    meta = client.metadata("model", REPO, "main", "f")
    assert 0 < len(meta.etag) <= 256
    assert meta.etag.isprintable()
    with client.open_body("model", REPO, COMMIT, "f", offset=1, etag=meta.etag) as body:
        assert body.start == 0


@pytest.mark.parametrize(
    "headers",
    [
        {"Content-Range": "bytes 0-2/9"},
        {"Content-Range": "bytes 5-2/9"},
        {"Content-Range": "bytes 3-5/4"},
        {"Content-Range": "bytes 3-8/9"},
        {"Content-Range": "bytes 3-5/9", "ETag": '"another"'},
        {},
    ],
)
def test_a_range_that_is_not_the_one_asked_for_is_dropped(
    serve: Serve, connect: Connect, headers: dict[str, str]
) -> None:
    """A 206 of other bytes, or of another file, makes the client ask for the whole file."""

    def reply(asked: Asked, connection: socket.socket) -> bool:
        if "range" in asked.headers:
            connection.sendall(message(206, headers, b"xyz"))
        else:
            connection.sendall(message(200, {}, b"whole"))
        return True

    with connect(serve(reply).url).open_body("model", REPO, COMMIT, "f", offset=3, etag="abc") as body:
        assert (body.status, body.start, body.total) == (200, 0, 5)


def test_a_206_nobody_asked_for_is_an_error(serve: Serve, connect: Connect) -> None:
    """A part in answer to a request for the whole is never taken for the whole."""
    server = serve(message(206, {"Content-Range": "bytes 0-2/9"}, b"xyz"))
    with pytest.raises(DownloadError, match="HTTP 206"):
        connect(server.url).open_body("model", REPO, COMMIT, "f")


def test_a_chunked_body_arrives_and_its_cut_is_noticed(serve: Serve, connect: Connect) -> None:
    """Chunked bodies have no total; one that lacks its last chunk is an error."""
    buffer = memoryview(bytearray(100))
    whole = message(200, {"Transfer-Encoding": "chunked"}, b"3\r\nxyz\r\n2\r\nab\r\n0\r\n\r\n", length=False)
    server = serve(whole)
    with connect(server.url).open_body("model", REPO, COMMIT, "f") as body:
        kept = b""
        while count := body.readinto(buffer):
            kept += buffer[:count]
        assert (body.total, kept) == (None, b"xyzab")

    def cut(asked: Asked, connection: socket.socket) -> bool:
        connection.sendall(whole[:-9])
        return False

    server.reply = cut
    with connect(server.url).open_body("model", REPO, COMMIT, "f") as body, pytest.raises(DownloadError) as caught:
        while body.readinto(buffer):
            pass
    assert caught.value.transient


def test_a_server_that_never_answers_is_given_up(serve: Serve, connect: Connect, clock: FakeClock) -> None:
    """No answer within the timeout is a transient error that names the host and the wait."""

    def silent(asked: Asked, connection: socket.socket) -> bool:
        return server.released.wait(30)

    server = serve(silent)
    with pytest.raises(DownloadError, match=r"no answer within 0\.1 s.*gave up after 3 attempts"):
        connect(server.url, etag_timeout=0.1, retries=2).metadata("model", REPO, "main", "f")
    assert len(clock.sleeps) == 2


# The environment


@pytest.fixture
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment without proxies, whatever the developer's has."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


def test_the_proxy_of_the_environment_is_used(
    serve: Serve, connect: Connect, no_proxies: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """HTTP_PROXY is asked for the whole address; a proxy that is not there is named as the cause, its password not."""
    proxy = serve(message(200, META))
    monkeypatch.setenv("HTTP_PROXY", proxy.url)
    assert connect("http://hub.invalid").metadata("model", REPO, "main", "f").commit == COMMIT
    assert proxy.asked[0].target == "http://hub.invalid/org/name/resolve/main/f"
    proxy.close()
    monkeypatch.setenv("HTTP_PROXY", proxy.url.replace("//", "//somebody:passw0rd@"))
    with pytest.raises(DownloadError, match=r"cannot reach hub\.invalid: the proxy: .*refused") as caught:
        connect("http://hub.invalid").metadata("model", REPO, "main", "f")
    assert "passw0rd" not in _everything_said(caught.value)


def test_a_ca_bundle_that_is_not_there_is_named(
    connect: Connect, clock: FakeClock, no_proxies: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """REQUESTS_CA_BUNDLE is honoured; a wrong path is an error of its own, not taken for a lost network."""
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/nowhere/bundle.pem")
    with pytest.raises(DownloadError, match=r"/nowhere/bundle\.pem") as caught:
        connect("https://hub.invalid").metadata("model", REPO, "main", "f")
    assert (caught.value.transient, clock.sleeps) == (False, [])


# Connections


def test_connections_are_reused(serve: Serve, connect: Connect) -> None:
    """Questions and bodies read to their end share one connection."""
    server = serve(message(200, {"X-Repo-Commit": COMMIT, "ETag": '"abc"'}, b""))
    client = connect(server.url)
    for _ in range(3):
        client.metadata("model", REPO, "main", "f")
        with client.open_body("model", REPO, COMMIT, "f") as body:
            assert body.readinto(memoryview(bytearray(10))) == 0
    assert len({asked.peer for asked in server.asked}) == 1


def test_a_body_left_half_read_gives_its_connection_up(hub: LoopbackHub, connect: Connect) -> None:
    """The next request does not find the rest of an abandoned body in its connection."""
    content = bytes(range(256)) * 8000
    commit = hub.add_repo(REPO, {"model.bin": content})
    client = connect(hub.url)
    for _ in range(3):
        with client.open_body("model", REPO, commit, "model.bin") as body:
            buffer = memoryview(bytearray(1000))
            assert content.startswith(bytes(buffer[: body.readinto(buffer)]))
    assert client.metadata("model", REPO, "main", "model.bin").commit == commit


def test_a_client_is_shared_between_threads(hub: LoopbackHub, connect: Connect) -> None:
    """Eight threads with one client each get their own bytes."""
    files = {f"f{n}": bytes([n]) * 1_500_000 for n in range(8)}
    commit = hub.add_repo(REPO, files)
    client = connect(hub.url)
    found: dict[str, bytes] = {}

    def fetch(name: str) -> None:
        buffer = memoryview(bytearray(50_000))
        with client.open_body("model", REPO, commit, name) as body:
            kept = bytearray()
            while count := body.readinto(buffer):
                kept += buffer[:count]
        found[name] = bytes(kept)

    threads = [threading.Thread(target=fetch, args=(name,)) for name in files]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert found == files


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_child_uses_connections_of_its_own(serve: Serve) -> None:
    """After fork the child opens its own connection, refuses the parent's open body, and the parent goes on."""

    def reply(asked: Asked, connection: socket.socket) -> bool:
        connection.sendall(
            message(200, {"X-Repo-Commit": COMMIT, "ETag": '"abc"'}, b"" if asked.method == "HEAD" else b"xyz")
        )
        return True

    server = serve(reply)
    script = f"""
import os
from model_cache.clock import Clock
from model_cache.errors import DownloadError
from model_cache.hub.client import HubClient
client = HubClient({server.url!r}, token=None, clock=Clock())
ask = lambda: client.metadata("model", {REPO!r}, "main", "f")
ask()
body = client.open_body("model", {REPO!r}, {COMMIT!r}, "f")
ask()
pid = os.fork()
if pid == 0:
    status = 1
    try:
        body.readinto(memoryview(bytearray(3)))
    except DownloadError:
        body.close()
        ask()
        status = 0
    os._exit(status)
assert os.waitpid(pid, 0)[1] == 0
buffer = bytearray(9)
assert body.readinto(memoryview(buffer)) == 3 and buffer[:3] == b"xyz", buffer
body.close()
ask()
client.close()
"""
    subprocess.run([sys.executable, "-W", "ignore::DeprecationWarning", "-c", script], check=True, timeout=60)
    peers = [asked.peer for asked in server.asked]
    parent = set(peers[:3]) | {peers[4]}
    assert len(peers) == 5
    assert peers[3] not in parent


def test_importing_the_package_loads_no_http() -> None:
    """The protocol, its errors and the tokens come without requests; only the client brings it."""
    script = """
import sys
import model_cache, model_cache.hub.protocol, model_cache.hub.failures, model_cache.hub.tokens, model_cache.hub.ranges
assert not {"requests", "urllib3"} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)
