"""The pytest plugin: fixture `hub`, a loopback hub that runs for one test.

Loaded in every pytest run where this package is installed, so it imports the server only when a test uses the fixture.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from .server import LoopbackHub


@pytest.fixture
def hub() -> Iterator[LoopbackHub]:
    """A Hub on 127.0.0.1 with no repos, which runs for this test: `model_cache.testing.LoopbackHub`."""
    from .server import LoopbackHub

    with LoopbackHub() as running:
        yield running
