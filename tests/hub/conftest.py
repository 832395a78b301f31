"""Fixtures: clock, raw servers and clients, all stopped after the test."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import pytest
from hub_equipment import FakeClock, RawServer, Reply

from model_cache.hub.client import HubClient


@pytest.fixture
def clock() -> FakeClock:
    """A clock that does not wait."""
    return FakeClock()


@pytest.fixture
def serve() -> Iterator[Callable[[Reply | bytes], RawServer]]:
    """Starts raw servers, stopped after the test."""
    with contextlib.ExitStack() as stack:

        def start(reply: Reply | bytes) -> RawServer:
            server = RawServer(reply)
            stack.callback(server.close)
            return server

        yield start


@pytest.fixture
def connect(clock: FakeClock) -> Iterator[Callable[..., HubClient]]:
    """Makes clients with the fake clock, closed after the test."""
    with contextlib.ExitStack() as stack:

        def make(endpoint: str, *, token: str | None = None, **settings: float) -> HubClient:
            return stack.enter_context(HubClient(endpoint, token=token, clock=clock, **settings))

        yield make
