"""Holds stop downloads at a known byte until a test lets them go."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from loopback_equipment import REPO, ask, content, link, open_body

from model_cache.testing import LoopbackHub

LARGE = content(1_500_000)


@pytest.fixture
def served(hub):
    """A hub with a large file."""
    hub.add_repo(REPO, {"model.bin": LARGE, "other.bin": LARGE})
    return hub


@pytest.mark.parametrize(
    ("after", "expected"), [(0, 0), (1000, 1000), (0.1, 150_000), (0.9, 1_350_000), (10**9, 1_500_000)]
)
def test_a_hold_lets_so_many_bytes_out_and_no_more(served, after, expected):
    """Exactly the bytes before the gate are sent while it is closed, and the rest when it opens."""
    hold = served.hold("model.bin", after=after)
    with ThreadPoolExecutor(1) as pool:
        reply = pool.submit(ask, link(served, "model.bin"))
        hold.wait_for(1)
        assert served.body_bytes("model.bin") == expected
        assert not reply.done() or expected == len(LARGE)
        hold.release()
        assert reply.result().body == LARGE


def test_all_requests_wait_at_the_gate(served):
    """Eight requests stand at the gate together, other files pass, and all eight go on when it opens."""
    with ThreadPoolExecutor(8) as pool, served.hold("model.*") as hold:
        replies = [pool.submit(ask, link(served, "model.bin")) for _ in range(8)]
        hold.wait_for(8)
        assert (hold.arrived, hold.held) == (8, 8)
        assert ask(link(served, "other.bin")).body == LARGE
        hold.release()
        assert all(reply.result().body == LARGE for reply in replies)
    assert hold.held == 0


def test_an_open_gate_stays_open(served):
    """Requests that come after the release pass."""
    with served.hold("model.bin") as hold:
        pass
    assert ask(link(served, "model.bin")).body == LARGE
    assert hold.held == 0


def test_a_client_that_leaves_is_held_no_longer(served):
    """When the client closes its connection the gate forgets it, and counts it as one that came."""
    with served.hold("model.bin", after=1000) as hold:
        connection, response = open_body(link(served, "model.bin"))
        hold.wait_for(1)
        response.close()
        connection.close()
        hold.wait_until_left()
        assert (hold.arrived, hold.held) == (1, 0)
        assert served.body_bytes("model.bin") == 1000


def test_nothing_is_sent_to_a_client_that_left_before_the_release(served):
    """A client that has read all it was sent and left just before the release is sent no byte more."""
    for _ in range(20):
        served.reset()
        hold = served.hold("model.bin", after=1000)
        connection, response = open_body(link(served, "model.bin"))
        hold.wait_for(1)
        assert response.read(1000) == LARGE[:1000]
        response.close()
        connection.close()
        served.release()
        hold.wait_until_left()
        assert served.body_bytes("model.bin") == 1000


def test_waiting_for_requests_that_do_not_come_ends(served):
    """`wait_for` raises after its time and says how many came."""
    with served.hold("model.bin") as hold, pytest.raises(TimeoutError, match="0 of 1"):
        hold.wait_for(1, timeout=0.01)


def test_a_hub_with_held_requests_stops():
    """Stopping the hub breaks off the requests that stand at a gate."""
    with LoopbackHub() as hub:
        hub.add_repo(REPO, {"model.bin": LARGE})
        hold = hub.hold("model.bin", after=10)
        connection, response = open_body(link(hub, "model.bin"))
        hold.wait_for(1)
    hold.wait_until_left()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("loopback")]
    response.close()
    connection.close()
