"""The `conftest.py` that the peer's source distribution lacks: fixtures, and whose functions its tests call.

Read from the environment: `PEER_SIDE`, `theirs` or `ours`; `PEER_OUTCOMES`, a file for the outcome of each test;
`PEER_RUN`, the tests to run as JSON, or empty for all.
"""

from __future__ import annotations

import json
import os
from contextlib import contextmanager
from types import SimpleNamespace

from model_cache.testing import LoopbackHub

TOKEN = "hf_HubCITokenXXXXXXXXXXXXXXXXXXXXX"  # as the peer's tests have it; it opens nothing but the hub below
OTHER_TOKEN = "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"
HUB = LoopbackHub(token=TOKEN, guest_tokens=[OTHER_TOKEN]).start()
os.environ["HF_ENDPOINT"] = HUB.url  # read when huggingface_hub is imported

import pytest  # noqa: E402
from huggingface_hub import HfApi, constants  # noqa: E402
from peer_hub import Store, api_class, furnish, gate  # noqa: E402

from model_cache import hf  # noqa: E402

SIDE = os.environ["PEER_SIDE"]
STORE = Store(HUB)
furnish(STORE)
API = api_class(STORE) if SIDE == "theirs" else api_class(STORE, hf.hf_hub_download, hf.snapshot_download)
OUTCOMES: dict[str, str] = {}
RepoFactory = object  # a type that the tests name


@contextmanager
def offline(mode: object = None, timeout: float = 0.0):
    """No network for a client that none of its functions could be patched of: the hub is gone, silent, or not to be asked."""
    name = getattr(mode, "name", "CONNECTION_FAILS")
    changed = {"HF_HUB_OFFLINE": "1"} if name == "HF_HUB_OFFLINE_SET_TO_1" else {"HF_HUB_ETAG_TIMEOUT": "0.2"}
    before = {key: os.environ.get(key) for key in changed}
    os.environ.update(changed)
    if name == "CONNECTION_FAILS":
        HUB.stop()
    if name == "CONNECTION_TIMES_OUT":
        HUB.latency = 2.0
    try:
        yield
    finally:
        HUB.latency = 0.0
        HUB.start()
        for key, value in before.items():
            os.environ.pop(key) if value is None else os.environ.update({key: value})


def _substitute(module: object) -> None:
    """Put names into a test module's own namespace; nothing else of anybody's is changed."""
    names: dict[str, object] = {
        "HfApi": API,
        "ENDPOINT_PRODUCTION": HUB.url,
        "ENDPOINT_STAGING": HUB.url,
        "get_session": lambda: SimpleNamespace(put=lambda url, **_: gate(STORE, url)),
        "hf_raise_for_status": lambda _: None,
    }
    if SIDE == "ours":
        names |= {"hf_hub_download": hf.hf_hub_download, "snapshot_download": hf.snapshot_download, "offline": offline}
    for name, value in names.items():
        if hasattr(module, name):
            setattr(module, name, value)


def pytest_collection_modifyitems(config, items):
    """Leave the tests that are asked for, on the side that is asked for."""
    for module in {item.module for item in items}:
        _substitute(module)
    wanted = os.environ["PEER_RUN"] and set(json.loads(os.environ["PEER_RUN"]))
    OUTCOMES.update({item.nodeid: "collected" for item in items})
    left = [item for item in items if not wanted or item.nodeid in wanted]
    config.hook.pytest_deselected(items=[item for item in items if item not in left])
    items[:] = left


def pytest_runtest_logreport(report):
    """What became of a test: the worst of its phases."""
    worse = report.failed or (report.skipped and OUTCOMES.get(report.nodeid) != "failed")
    if worse or (report.when == "call" and report.passed):
        OUTCOMES[report.nodeid] = report.outcome


def pytest_sessionfinish():
    """Hand the outcomes over."""
    with open(os.environ["PEER_OUTCOMES"], "w", encoding="utf-8") as file:
        json.dump(OUTCOMES, file)
    HUB.stop()


@pytest.fixture(scope="session")
def api() -> HfApi:
    """An account on the hub."""
    return API(endpoint=constants.ENDPOINT, token=TOKEN)


@pytest.fixture
def repo_factory(api: HfApi, request):
    """Make repos, each with a name of its own."""

    def make(**options: object) -> object:
        return api.create_repo(f"repo-{next(STORE.numbers)}", **options)

    return make
