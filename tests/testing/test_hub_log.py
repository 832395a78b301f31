"""What the loopback hub remembers of the requests it answered."""

import socket
import threading
from urllib.parse import urlsplit

import pytest
from loopback_equipment import REPO, ask, content, link, open_body, resolve

LARGE = content(1_500_000)


@pytest.fixture
def served(hub):
    """A hub with a large and a small file."""
    hub.add_repo(REPO, {"model.bin": LARGE, "config.json": b"{}"})
    return hub


def test_a_request_is_recorded_with_what_it_asked_and_got(served):
    """A record holds method, path, range, status, bytes, agent, and whether a token came with it."""
    url = link(served, "model.bin")
    served.reset()
    ask(url, Range="bytes=10-19", User_Agent="tester/1")
    [record] = served.requests
    assert (record.method, record.path, record.host) == ("GET", urlsplit(url).path, "cdn")
    assert (record.kind, record.repo, record.filename, record.repo_type) == ("body", REPO, "model.bin", "model")
    assert (record.range, record.status, record.bytes_sent) == ("bytes=10-19", 206, 10)
    assert (record.authorization, record.user_agent, record.fault) == (False, "tester/1", "")
    assert record.request_id


def test_a_token_is_recorded_as_present(served):
    """The record says that there was a token."""
    ask(resolve(served, "config.json"), "HEAD", Authorization="Bearer x")
    assert [record.authorization for record in served.requests] == [True]
    assert served.leaks == []


def test_bodies_are_counted_apart_from_metadata(served):
    """HEADs and redirects are metadata; a GET that is answered with a file's bytes is a body."""
    location = ask(resolve(served, "config.json")).headers["location"]
    ask(served.url + location, "HEAD")
    assert (served.body_gets(), served.count(kind="metadata")) == (0, 2)
    ask(served.url + location)
    ask(link(served, "model.bin"))
    assert (served.body_gets(), served.body_gets("model.bin"), served.body_gets("*.json")) == (2, 1, 1)
    assert (served.body_bytes("model.bin"), served.body_bytes()) == (len(LARGE), len(LARGE) + 2)
    assert (served.body_gets(repo=REPO), served.body_gets(repo="org/other")) == (2, 0)


def test_requests_are_counted_by_method_path_and_kind(served):
    """`count` takes a method, a part of the path, and a kind, alone or together."""
    ask(resolve(served, "model.bin"), "HEAD")
    ask(f"{served.url}/api/models/{REPO}")
    assert (served.count(), served.count("HEAD"), served.count("GET", "/api/")) == (2, 1, 1)
    assert (served.count(kind="api"), served.count("HEAD", kind="api")) == (1, 0)


def test_bytes_that_were_not_sent_are_not_counted(served):
    """An answer that a hold stopped half way counts the half that went out."""
    with served.hold("model.bin", after=0.5) as hold:
        connection, response = open_body(link(served, "model.bin"))
        hold.wait_for(1)
        assert served.body_bytes("model.bin") == len(LARGE) // 2
        assert not served.requests[-1].done
        response.close()
        connection.close()


def test_what_a_client_has_received_is_counted(served):
    """Whoever has the whole body finds all of it in the log at once, every time."""
    url = link(served, "model.bin")
    for _ in range(200):
        served.reset()
        ask(url, Range="bytes=0-99")
        assert [(record.bytes_sent, record.done) for record in served.requests] == [(100, True)]


def test_a_test_can_wait_for_the_log(served):
    """`wait_until` wakes when a request of another thread makes the condition true, and gives up in time."""
    thread = threading.Thread(target=ask, args=(link(served, "model.bin"),))
    thread.start()
    served.wait_until(lambda: served.body_bytes("model.bin") == len(LARGE))
    thread.join()
    with pytest.raises(TimeoutError):
        served.wait_until(lambda: served.body_gets() == 2, timeout=0.01)


def test_what_a_client_that_is_gone_had_asked_for_is_in_the_log(served):
    """After `settle` the log has every request of those who left before any of it was read, every time."""
    url = urlsplit(resolve(served, "model.bin"))
    for _ in range(50):
        served.reset()
        for client in [socket.create_connection((url.hostname, url.port)) for _ in range(8)]:
            client.sendall(f"HEAD {url.path} HTTP/1.1\r\n\r\n".encode())
            client.close()
        served.settle()
        assert served.count("HEAD") == 8


def test_reset_forgets_requests_and_keeps_repos(served):
    """After `reset` the log is empty and the files are still served."""
    ask(resolve(served, "model.bin"), "HEAD")
    served.reset()
    assert served.requests == []
    assert ask(link(served, "model.bin")).body == LARGE


def test_the_log_can_be_read_as_json(served):
    """`/.hub/stats` gives the totals, those by file, and every request, and is itself in no log."""
    ask(link(served, "model.bin"))
    stats = served.stats()
    assert stats["files"] == {"model.bin": {"body_gets": 1, "body_bytes": len(LARGE)}}
    assert (stats["count"], stats["leaks"], len(stats["requests"])) == (2, 0, 2)
    assert ask(f"{served.url}/.hub/stats").status == 200
    assert served.count() == 2
