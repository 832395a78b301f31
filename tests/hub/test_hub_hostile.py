"""A server that never ends its answer, says what is no HTTP, or repeats the token: bounded, permanent, not shown."""

from __future__ import annotations

import hashlib
import itertools
import time

import pytest
from hub_equipment import COMMIT, message

from model_cache import DownloadInProgressError, ModelCache, NotFoundError
from model_cache.clock import Clock
from model_cache.download import miss
from model_cache.download.request import Request
from model_cache.errors import DownloadError
from model_cache.hub.client import HubClient
from model_cache.hub.retries import repeat
from model_cache.hub.watch import Watch
from model_cache.layout import Entry

ASKED = ("model", "owner/name", "main", "f")
SECRET = "hf_SECRETsecretSECRET"
SOON = 0.4  # seconds; the time-outs of these clients are much longer
LATE = 20.0  # seconds: shorter than a time-out, and longer than a machine stands still


def endless_continue(_asked, connection):
    """100 Continue, for ever."""
    while True:
        connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n" * 50)


def dripped_headers(server):
    """A header that grows by a byte now and then, until the test is over."""

    def reply(_asked, connection):
        connection.sendall(b"HTTP/1.1 200 OK\r\nX-Long: ")
        while not server[0].released.wait(0.02):
            connection.sendall(b"X")
        return False

    return reply


def silent(server):
    """Nothing."""
    return lambda _asked, _connection: server[0].released.wait(30) and False


@pytest.fixture
def ask():
    """A client that waits much longer than the deadline, on the real clock."""
    clients = []

    def make(server):
        clients.append(HubClient(server.url, token=None, clock=Clock(), etag_timeout=30, download_timeout=30))
        return clients[-1]

    yield make
    for client in clients:
        client.close()


@pytest.mark.parametrize("kind", ["continue", "drip", "silent"])
@pytest.mark.parametrize("what", ["metadata", "open_body", "commit"])
def test_a_deadline_holds_whatever_the_server_does(serve, ask, kind, what):
    """Endless interim answers, dripped headers and silence end at the deadline, with an error that can be tried again."""
    box = []
    box.append(serve({"continue": endless_continue, "drip": dripped_headers(box), "silent": silent(box)}[kind]))
    client, times = ask(box[0]), 0
    names = {"metadata": ASKED, "open_body": ("model", "owner/name", COMMIT, "f"), "commit": ASKED[:3]}[what]
    while not box[0].asked and times < 10:  # a machine can stand still until it is too late to ask
        times, began = times + 1, time.monotonic()
        with pytest.raises(DownloadError) as caught:
            getattr(client, what)(*names, deadline=began + SOON)
        assert caught.value.transient and SOON * 0.9 <= time.monotonic() - began < LATE
    assert 1 <= len(box[0].asked) <= times


def test_a_body_ends_at_the_deadline(serve, ask):
    """A body that stands still is cut at the deadline, not after the download's own longer time-out."""
    box = []

    def half(asked, connection):
        connection.sendall(message(200, {"Content-Length": "1000"}, b"x" * 500))
        return silent(box)(asked, connection)

    box.append(serve(half))
    began = time.monotonic()
    with ask(box[0]).open_body("model", "owner/name", COMMIT, "f", deadline=began + 2) as body:
        view = memoryview(bytearray(1000))
        assert body.readinto(view) == 500
        with pytest.raises(DownloadError):
            body.readinto(view)
    assert time.monotonic() - began < LATE


def test_a_connection_serves_again_after_a_deadline_that_was_kept(serve, ask):
    """A watch that was not needed leaves the connection as it was."""
    headers = {"X-Repo-Commit": COMMIT, "ETag": f'"{"a" * 64}"', "Content-Length": "5"}
    server = serve(message(200, headers))
    client = ask(server)
    for _ in range(3):
        client.metadata(*ASKED, deadline=time.monotonic() + 30)
    assert len({asked.peer for asked in server.asked}) == 1


def test_headers_that_never_end_are_given_up_without_a_deadline_too(serve, connect):
    """An exchange may take six time-outs, whatever keeps coming."""
    client = connect(serve(endless_continue).url, etag_timeout=0.1, retries=0)
    for _ in range(20):
        with pytest.raises(DownloadError) as caught:
            client.metadata(*ASKED)
        if "no answer within 0.1 s" not in str(caught.value):
            break  # else the machine is so busy that the server itself paused
    assert "no whole answer within 0.6 s" in str(caught.value)


def test_a_watch_that_was_stopped_leaves_no_thread():
    """A program that forks after a request has no thread of ours."""
    import threading

    before = set(threading.enumerate())
    watch = Watch(60)
    watch.extend(60)
    watch.stop()
    left = set(threading.enumerate()) - before  # or of another test, whose threads end or begin meanwhile
    assert not [thread for thread in left if thread.name == "model-cache watch"] and not watch.over


def test_no_wait_between_attempts_goes_beyond_the_deadline(clock):
    """Repetitions stop where the next one could not begin in time."""

    def fail():
        raise DownloadError("busy", transient=True, retry_after=5.0)

    with pytest.raises(DownloadError):
        repeat(fail, clock, 5, clock.now + 12)
    assert len(clock.sleeps) == 2 and sum(clock.sleeps) < 12


@pytest.mark.parametrize("method", ["HEAD", "GET"])
def test_a_fetch_with_a_deadline_ends_in_time(serve, tmp_path, method):
    """`fetch --timeout` is honoured while the Hub is asked, with the error that says it can be asked again."""
    box = []
    body = b"x" * 1000
    headers = {"X-Repo-Commit": COMMIT, "ETag": f'"{hashlib.sha256(body).hexdigest()}"', "Content-Length": "1000"}

    def reply(asked, connection):
        if asked.method == method:
            return silent(box)(asked, connection)
        connection.sendall(message(200, headers))
        return True

    box.append(serve(reply))
    cache = ModelCache(tmp_path, endpoint=box[0].url, token=False)
    began = time.monotonic()
    with pytest.raises(DownloadInProgressError) as caught:
        miss.fetch(cache._ctx, Entry("owner/name", "f"), Request(deadline=began + SOON))
    assert caught.value.exit_code == 11 and time.monotonic() - began < LATE


# What is not HTTP

NO_HTTP = {
    "long header": b"HTTP/1.1 200 OK\r\nX-A: " + b"y" * 100_000 + b"\r\n\r\n",
    "many headers": b"HTTP/1.1 200 OK\r\n" + b"".join(b"X-%d: 1\r\n" % number for number in range(500)) + b"\r\n",
    "another protocol": b"\x1b[31mSSH-2.0-\x07hello\r\n\r\n",
}


@pytest.mark.parametrize("kind", NO_HTTP)
def test_an_answer_that_is_no_http_is_asked_for_once(serve, connect, kind):
    """It would be the same again; the message has nothing of it that steers a terminal."""
    server = serve(NO_HTTP[kind])
    with pytest.raises(DownloadError) as caught:
        connect(server.url).metadata(*ASKED)
    assert not caught.value.transient and len(server.asked) == 1
    assert str(caught.value).isprintable() and "HF_ENDPOINT" in caught.value.hint


def test_a_connection_without_an_answer_is_worth_another_try(serve, connect):
    """A server that was restarted just now is not one that speaks another protocol."""
    server = serve(lambda *_: False)
    with pytest.raises(DownloadError) as caught:
        connect(server.url).metadata(*ASKED)
    assert caught.value.transient and len(server.asked) > 1


# The token


@pytest.mark.parametrize("where", ["X-Error-Message", "X-Request-Id", "Location", "body", "escaped"])
def test_a_token_that_the_server_repeats_is_not_shown(serve, connect, where):
    """Neither header, address nor body, cut short or escaped, brings the token into an error."""
    times = itertools.count()

    def reply(asked, connection):
        token = asked.headers.get("authorization", f"Bearer {SECRET}")
        if where == "Location" and not next(times):
            connection.sendall(message(302, {"Location": f"/x/{SECRET}"}))
        elif where in ("body", "escaped"):
            text = token if where == "body" else token.replace("S", "\\u0053")
            said = f'{{"error": "{"-" * 180}{text}"}}'.encode()
            connection.sendall(message(400, {"Content-Type": "application/json"}, said))
        else:
            connection.sendall(message(404, {where: "-" * 180 + token} if where.startswith("X-E") else {where: token}))
        return True

    client = connect(serve(reply).url, token=SECRET)
    with pytest.raises(DownloadError) as caught:
        client.commit(*ASKED[:3])
    shown = str(caught.value) + repr(vars(caught.value))
    assert SECRET[:8] not in shown


def test_a_short_token_is_not_looked_for(serve, connect):
    """A token of a few characters is found in any text; taking it out would make the text nonsense."""
    client = connect(serve(message(404, {"X-Error-Code": "RepoNotFound"})).url, token="o")
    with pytest.raises(NotFoundError, match="no repo 'owner/name'"):
        client.metadata(*ASKED)
