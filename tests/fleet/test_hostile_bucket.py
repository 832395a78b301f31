"""A bucket that lies, or into which somebody put odd things: bounded memory and time, harmless messages, right bytes."""

import contextlib
import http.server
import itertools
import os
import signal
import subprocess
import sys
import threading

import pytest
from fleet_equipment import SIZE, Told, fill
from support import FILE, REPO, Later

from model_cache import DownloadError, ModelCache
from model_cache.fleet import keeping, objects
from model_cache.fleet.bucket import Bucket
from model_cache.fleet.protocols import EngineError, Stored

TOKEN = "token-of-a-session"
RECORD = objects.of_record("model", REPO, "0" * 40, FILE)
WRITTEN = "2020-01-01T00:00:00.000Z"
PLENTY = bytes(1 << 20)


def listed(*names, more=""):
    """A page of a listing; with `more`, there is another."""
    keys = "".join(
        f"<Contents><Key>{name}</Key><LastModified>{WRITTEN}</LastModified><Size>5</Size></Contents>" for name in names
    )
    goes_on = f"<IsTruncated>true</IsTruncated><NextContinuationToken>{more}</NextContinuationToken>" if more else ""
    return f"<ListBucketResult><Name>b</Name>{goes_on}{keys}</ListBucketResult>".encode()


class Server(http.server.ThreadingHTTPServer):
    """Speaks as much of S3 as a lie takes: `answer(handler, is_listing)` says what is answered to a question.

    Attributes:
        asked: Set once there were three questions.
    """

    daemon_threads = True

    def __init__(self, answer):
        super().__init__(("127.0.0.1", 0), Handler)
        self.answer, self.asked, self._count = answer, threading.Event(), itertools.count(1)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def counted(self):
        """There was one more."""
        if next(self._count) == 3:
            self.asked.set()

    @property
    def environment(self):
        """What names it."""
        return {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{self.server_address[1]}",
            "AWS_ACCESS_KEY_ID": "key-of-tests",
            "AWS_SECRET_ACCESS_KEY": "secret-of-tests",
            "AWS_SESSION_TOKEN": TOKEN,
            "AWS_REGION": "us-east-1",
        }


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers one connection."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments):
        """Say nothing."""

    def do_GET(self):
        """Answer."""
        self.server.counted()
        with contextlib.suppress(OSError):
            self.server.answer(self, "list-type=2" in self.path)

    def say(self, body, code=200, **headers):
        """Say it."""
        self.send_response(code)
        given = {"Last-Modified": "Wed, 21 Oct 2015 07:28:00 GMT", "ETag": '"x"', "Content-Length": str(len(body))}
        for name, value in (given | {name.replace("_", "-"): value for name, value in headers.items()}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def go_on(self):
        """Say more, and more."""
        while True:
            self.wfile.write(PLENTY)


@pytest.fixture
def serve(monkeypatch):
    """Makes a server, which the environment names."""
    made = []

    def make(answer):
        made.append(Server(answer))
        for name, value in made[-1].environment.items():
            monkeypatch.setenv(name, value)
        return made[-1]

    yield make
    for one in made:
        one.shutdown()
        one.server_close()


def command(server, environ, tmp_path, *arguments):
    """`model-cache tier`, begun."""
    words = [sys.executable, "-m", "model_cache", "--root", str(tmp_path / "none"), "tier", *arguments]
    given = {"MODEL_CACHE_TIER": "s3://b/p", **server.environment, **environ}
    return subprocess.Popen(words, env=given, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.parametrize(
    "arguments", [("ls", "-q"), ("ls",), ("verify",), ("verify", "-q"), ("gc", "--max-size=0", "--dry-run")]
)
def test_name_of_an_object_steers_no_terminal(arguments, serve, environ, tmp_path):
    """What somebody called an object is printed with escapes, one line for each."""
    hostile = "v1/record/\x9b31m\u202ered"
    server = serve(lambda asked, is_listing: asked.say(listed(f"p/{hostile}") if is_listing else b"hello"))
    out, err = command(server, environ, tmp_path, *arguments).communicate(timeout=60)
    assert r"\x9b31m\u202ered" in out
    assert (out + err).replace("\n", "").isprintable()


@pytest.mark.parametrize("name", ["v1/record/a&#10;b", "v1//x"])
def test_name_that_nobody_can_use_is_told(name, serve):
    """One object with such a name ends every listing: it is told that, and that other tools have to remove it."""
    serve(lambda asked, _: asked.say(listed(f"p/{name}")))
    with pytest.raises(EngineError, match="is in the way, to be removed with other tools") as caught:
        keeping.everything(Bucket("s3://b/p"))
    assert str(caught.value).isprintable()


def test_listing_without_objects_or_end_is_interrupted(serve, environ, tmp_path):
    """^C is heard while a server answers with empty pages for ever."""
    server = serve(lambda asked, _: asked.say(listed(more="x")))
    running = command(server, environ, tmp_path, "ls")
    assert server.asked.wait(60)
    running.send_signal(signal.SIGINT)
    _, err = running.communicate(timeout=60)
    assert (running.returncode, err) == (130, "error: interrupted\n")


def test_huge_record_is_not_read(serve):
    """`tier verify` takes an object that is larger than any record for damaged, without reading it into memory."""

    def answer(asked, _):
        asked.say(b"", Content_Length=str(1 << 40))
        asked.go_on()

    serve(answer)
    ((_, damage),) = keeping.judge(Bucket("s3://b/p"), [Stored(RECORD, 5, 0.0)])
    assert "more than any record" in damage


@pytest.mark.parametrize("is_refusal", [True, False])
def test_what_a_server_repeats_is_not_repeated(is_refusal, serve):
    """A server that quotes what it was sent has no secret printed; the code of its error is."""

    def answer(asked, _):
        heard = f"{asked.headers['x-amz-security-token']} {asked.headers['authorization']} \x1b[31m"
        body = f'<?xml version="1.0"?>\n<Error><Code>SignatureDoesNotMatch</Code><Message>{heard}</Message></Error>'
        asked.say((body if is_refusal else heard).encode(), 403 if is_refusal else 200)

    serve(answer)
    with pytest.raises(EngineError) as caught:
        keeping.everything(Bucket("s3://b/p"))
    said = str(caught.value)
    assert said.isprintable()
    assert TOKEN not in said
    if is_refusal:
        assert said.endswith("403 Forbidden (SignatureDoesNotMatch)")


def test_bytes_behind_the_end_are_not_waited_for(serve, host, hub, data):
    """A server that sends more than was asked for, without end, has the file all the same."""
    second = host("second", tier=None, clock=Later())
    hub.fault(FILE, "cut", times=None, at=SIZE // 2)
    with pytest.raises(DownloadError):
        second.fetch(REPO, FILE)
    hub.clear_faults()

    def answer(asked, _):
        begin = asked.headers.get("Range", "").removeprefix("bytes=").removesuffix("-")
        if not begin:
            asked.say(b"", 404)
            return
        rest = data[int(begin) :]
        given = {"Content_Range": f"bytes {begin}-{SIZE - 1}/{SIZE}", "Content_Length": str(1 << 40)}
        asked.say(rest, 206, **given)
        asked.go_on()

    serve(answer)
    hub.reset()
    told = Told()
    resumed = ModelCache(second.root, endpoint=hub.url, token=False, tier="s3://b/p")
    assert resumed.fetch(REPO, FILE, progress=told).read_bytes() == data
    assert hub.body_bytes() == 0


@pytest.mark.parametrize("make", [os.mkfifo, lambda path: path.symlink_to("/dev/zero"), os.mkdir])
def test_what_is_no_file_in_a_folder_is_not_opened(make, host, hub, data, shelf):
    """A FIFO, a symlink or a directory in the place of an object is none: nobody waits for it, and the Hub is asked."""
    fill(host, hub)
    for path in [path for path in shelf.rglob("*") if path.is_file()]:
        path.unlink()
        make(path)
    told = Told()
    assert host("second").fetch(REPO, FILE, progress=told).read_bytes() == data
    assert hub.body_gets(FILE) == 1
    assert not told.warnings
