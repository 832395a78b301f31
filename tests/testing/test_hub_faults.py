"""Each fault of the loopback hub does to an answer what its name says, as often as it was ordered, and nothing else."""

import gzip
import threading
import time

import pytest
from loopback_equipment import PATIENCE, REPO, ask, content, link, open_body, resolve

from model_cache.testing import LoopbackHub

LARGE = content(1_500_000)
HALF = len(LARGE) // 2


@pytest.fixture
def served(hub):
    """A hub with a large and a small file."""
    hub.add_repo(REPO, {"model.bin": LARGE, "config.json": b'{"a": 1}'})
    return hub


def body(hub, filename="model.bin", **headers):
    """The bytes of a file by the way that it is served."""
    location = ask(resolve(hub, filename), "HEAD").headers["location"]
    return ask(location if location.startswith("http") else hub.url + location, **headers)


@pytest.fixture(params=["memory", "file"])
def either(hub, request, tmp_path):
    """The same file from memory and from disk, which are sent in different ways."""
    (tmp_path / "model.bin").write_bytes(LARGE)
    hub.add_repo(REPO, {"model.bin": LARGE if request.param == "memory" else tmp_path / "model.bin"})
    return hub


@pytest.mark.parametrize(("kind", "broken"), [("cut", "IncompleteRead"), ("reset", "ConnectionResetError")])
def test_a_body_ends_early_once(either, kind, broken):
    """A cut or reset answer sends what stands before `at` and no more; the next one is whole."""
    either.fault("model.bin", kind, at=1000)
    reply = body(either)
    assert reply.broken in (broken, "short")
    assert len(reply.body) <= 1000
    assert kind == "reset" or reply.body == LARGE[:1000]
    assert either.body_bytes() == 1000
    assert body(either).body == LARGE
    assert [record.fault for record in either.requests if record.kind == "body"] == [kind, ""]


def test_a_fault_can_last(either):
    """With `times=None` a fault strikes every time, until faults are cleared."""
    either.fault("model.bin", "cut", times=None)
    assert [len(body(either).body) for _ in range(3)] == [HALF] * 3
    either.clear_faults()
    assert body(either).body == LARGE


def test_faults_play_in_the_order_they_were_ordered(served):
    """Of two cuts the first plays first, and `skip` lets requests pass before."""
    served.fault("model.bin", "cut", at=10)
    served.fault("model.bin", "cut", at=20, skip=1)
    assert [len(body(served).body) for _ in range(4)] == [10, len(LARGE), 20, len(LARGE)]


def test_a_fault_strikes_only_what_it_names(served):
    """Other files, and other requests for the same file, are left alone; the pattern may name the repo too."""
    served.fault("other.bin", "cut", times=None)
    served.fault(f"{REPO}/config.*", "cut", at=1)
    assert body(served).body == LARGE
    assert len(body(served, "config.json").body) == 1


def test_one_byte_is_flipped(either):
    """A flipped answer differs in one bit of one byte, at `at`."""
    either.fault("model.bin", "flip", at=0.5)
    found = body(either).body
    assert [i for i in range(0, len(LARGE), 1) if found[i] != LARGE[i]] == [HALF]
    assert found[HALF] == LARGE[HALF] ^ 1


def test_a_stalled_answer_keeps_the_connection_open(served):
    """After `at` nothing more comes, and no end either, until the client leaves."""
    served.fault("model.bin", "stall", at=100)
    connection, response = open_body(link(served, "model.bin"))
    assert response.read(100) == LARGE[:100]
    connection.sock.settimeout(0.2)
    with pytest.raises(TimeoutError):
        response.read(1)
    response.close()
    connection.close()


def test_a_stall_ends_with_the_hub():
    """Stopping the hub breaks a stalled answer off at once."""
    with LoopbackHub() as hub:
        hub.add_repo(REPO, {"model.bin": LARGE})
        hub.fault("model.bin", "stall", at=100)
        connection, response = open_body(link(hub, "model.bin"))
        response.read(100)
        began = time.monotonic()
    assert time.monotonic() - began < PATIENCE
    response.close()
    connection.close()


@pytest.mark.parametrize(
    ("kind", "more"), [("slow", {"rate": 2_000_000}), ("drip", {"bytes": 300_000, "seconds": 0.1})]
)
def test_a_slow_body_takes_its_time_and_is_whole(served, kind, more):
    """A rate, or pauses between pieces, stretch an answer and change no byte of it."""
    served.fault("model.bin", kind, **more)
    began = time.monotonic()
    assert body(served).body == LARGE
    assert time.monotonic() - began > 0.3


def test_traffic_of_the_whole_hub_can_be_slowed(served):
    """`rate` and `latency` of the hub hold for every answer from then on."""
    served.rate, served.latency = 2_000_000, 0.05
    began = time.monotonic()
    assert body(served).body == LARGE
    assert time.monotonic() - began > 0.7


def test_shaping_combines_with_another_fault(served):
    """A slowed answer can be cut as well."""
    served.fault("model.bin", "latency", seconds=0.01, times=None)
    served.fault("model.bin", "slow", rate=50_000_000)
    served.fault("model.bin", "cut")
    assert len(body(served).body) == HALF
    assert served.requests[-1].fault == "latency slow cut"


@pytest.mark.parametrize("status", [429, 500, 503, 404])
def test_a_status_comes_instead_of_the_answer(served, status):
    """A status fault answers with that status and the waits it was given, once."""
    served.fault("model.bin", "status", status=status, retry_after=7, ratelimit=55)
    reply = ask(resolve(served, "model.bin"), "HEAD")
    assert (reply.status, reply.headers["retry-after"]) == (status, "7")
    assert reply.headers["ratelimit"] == '"api";r=0;t=55'
    assert ask(resolve(served, "model.bin"), "HEAD").status == 302


def test_the_api_can_be_struck_too(served):
    """A fault with `on="api"` strikes by the URL's path."""
    served.fault("/api/models/*/tree/*", "status", on="api", status=500)
    assert ask(f"{served.url}/api/models/{REPO}").status == 200
    assert ask(f"{served.url}/api/models/{REPO}/tree/main").status == 500


def test_a_body_is_refused_where_its_metadata_was_given(served):
    """A status on the body leaves HEAD alone, and counts as no body."""
    served.fault("*", "status", on="body", status=503)
    assert body(served).status == 503
    assert served.body_gets() == 0


def test_an_expired_link_gets_a_fresh_one(served):
    """The link is refused with 403, and the next one works."""
    served.fault("model.bin", "expired")
    assert body(served).status == 403
    assert body(served).body == LARGE


def test_a_sign_in_page_comes_instead_of_the_file(served):
    """The page is 200 and `text/html`, and is counted as no body of the file."""
    served.fault("model.bin", "html")
    reply = body(served)
    assert (reply.status, reply.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert b"<html>" in reply.body
    assert served.body_gets() == 0


@pytest.mark.parametrize(
    ("to", "expected"), [("file:///etc/passwd", "file:///etc/passwd"), ("loop", "/{repo}/resolve/main/model.bin")]
)
def test_a_redirect_leads_elsewhere(served, to, expected):
    """A redirect goes to any URL, or to itself for ever, with the file's metadata on it."""
    served.fault("model.bin", "redirect", to=to, times=None)
    reply = ask(resolve(served, "model.bin"), "HEAD")
    assert (reply.status, reply.headers["location"]) == (302, expected.format(repo=REPO))
    assert reply.headers["x-linked-size"] == str(len(LARGE))


@pytest.mark.parametrize("by", [100, -100])
def test_a_body_announces_a_wrong_length(either, by):
    """The announced length is off; of a longer body the client sees the announced part, of a shorter one its end."""
    either.fault("model.bin", "wrong_length", by=by)
    reply = body(either)
    assert reply.headers["content-length"] == str(len(LARGE) + by)
    assert reply.body == LARGE[: len(LARGE) + by]


def test_metadata_can_announce_a_wrong_length(served):
    """On the metadata the fault changes `X-Linked-Size`."""
    served.fault("model.bin", "wrong_length", on="metadata", by=1)
    assert ask(resolve(served, "model.bin"), "HEAD").headers["x-linked-size"] == str(len(LARGE) + 1)


@pytest.mark.parametrize(("cut", "length"), [(False, len(LARGE)), (True, HALF)])
def test_a_body_without_a_length_looks_complete_however_short(served, cut, length):
    """Without `Content-Length` a body that was cut short raises nothing in the client."""
    served.fault("model.bin", "no_length", cut=cut)
    reply = body(served)
    assert "content-length" not in reply.headers
    assert (reply.broken, reply.body) == ("", LARGE[:length])


def test_a_range_is_ignored(served):
    """The whole file comes with 200 for a range; a request without a range does not use the fault up."""
    served.fault("model.bin", "range_ignored")
    assert body(served).status == 200
    reply = body(served, Range="bytes=100-")
    assert (reply.status, reply.body) == (200, LARGE)
    assert body(served, Range="bytes=100-").status == 206


def test_the_rest_after_a_cut_has_other_bytes(either):
    """First a cut; the range that resumes gets 206 with the same etag and other bytes; then all is well."""
    either.fault("model.bin", "other_bytes")
    first = body(either)
    rest = body(either, Range=f"bytes={HALF}-", If_Range=first.headers["etag"])
    assert (first.body, rest.status, len(rest.body)) == (LARGE[:HALF], 206, len(LARGE) - HALF)
    assert rest.headers["etag"] == first.headers["etag"]
    assert all(a != b for a, b in zip(rest.body[::997], LARGE[HALF::997], strict=True))
    assert body(either, Range=f"bytes={HALF}-").body == LARGE[HALF:]
    assert body(either).body == LARGE


def test_a_file_changes_during_its_download(either):
    """First a cut; from then on the file is another one of the same length, so `If-Range` gets all of it."""
    either.fault("model.bin", "changed")
    before = ask(resolve(either, "model.bin"), "HEAD").headers
    first = body(either)
    after = ask(resolve(either, "model.bin"), "HEAD").headers
    assert after["x-linked-etag"] != before["x-linked-etag"]
    assert after["x-linked-size"] == before["x-linked-size"]
    rest = body(either, Range=f"bytes={HALF}-", If_Range=first.headers["etag"])
    assert (first.body, rest.status, len(rest.body)) == (LARGE[:HALF], 200, len(LARGE))
    assert rest.body[:1000] != LARGE[:1000]


def test_a_body_comes_compressed(either):
    """The body is gzip whatever the client accepts, and unpacks to the file."""
    either.fault("model.bin", "compressed")
    reply = body(either, Accept_Encoding="identity")
    assert reply.headers["content-encoding"] == "gzip"
    assert gzip.decompress(reply.body) == LARGE


def test_metadata_comes_without_an_etag(served):
    """Neither etag header is there, for as long as the fault lasts."""
    served.fault("model.bin", "no_etag", times=None)
    headers = ask(resolve(served, "model.bin"), "HEAD").headers
    assert not {"etag", "x-linked-etag"} & set(headers)


def test_a_connection_ends_without_an_answer(served):
    """A hang-up sends not even a status line."""
    served.fault("model.bin", "hangup")
    with pytest.raises(ConnectionError):
        ask(resolve(served, "model.bin"), "HEAD")
    assert ask(resolve(served, "model.bin"), "HEAD").status == 302


@pytest.mark.parametrize(("kind", "more"), [("none", {}), ("cut", {"on": "nothing"})])
def test_a_fault_that_does_not_exist_is_refused(hub, kind, more):
    """An unknown kind, or an unknown sort of request, is a `ValueError` that names what there is."""
    with pytest.raises(ValueError, match="expected"):
        hub.fault("*", kind, **more)


def test_one_fault_strikes_one_of_many(served):
    """Of eight requests at once, a fault ordered once strikes exactly one."""
    served.fault("model.bin", "cut")
    sizes = []
    threads = [threading.Thread(target=lambda: sizes.append(len(body(served).body))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(sizes) == [HALF] + [len(LARGE)] * 7
