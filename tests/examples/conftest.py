"""What the tests of the examples need: the small graphs on a hub, the drawn picture, the examples as programs."""

import subprocess
import sys

import picture_graphs
import picture_scene
import pytest
from picture_equipment import EXAMPLES

from model_cache import ModelCache


@pytest.fixture(scope="module")
def graphs():
    """The small graphs under the real names."""
    return picture_graphs.repos()


@pytest.fixture(scope="module")
def scene():
    """The drawn picture."""
    return picture_scene.drawn()


@pytest.fixture
def served(hub, graphs):
    """A hub that serves them."""
    for repo, files in graphs.items():
        hub.add_repo(repo, files)
    return hub


@pytest.fixture
def models_cache(served, root):
    """An empty cache on that hub."""
    return ModelCache(root, endpoint=served.url, token=False)


@pytest.fixture
def run(served, root, environ):
    """Start one of the examples, or a snippet beside them, in a process of its own; ended with the test."""
    started = []
    environ |= {
        "HF_ENDPOINT": served.url,
        "MODEL_CACHE_DIR": str(root),
        "PYTHONPATH": str(EXAMPLES),
        "OMP_NUM_THREADS": "1",
        # Eight of these at once on a busy machine can be slower than a user's network may be.
        "HF_HUB_DOWNLOAD_TIMEOUT": "60",
        "HF_HUB_ETAG_TIMEOUT": "60",
    }

    def start(*arguments, **more):
        process = subprocess.Popen(
            [sys.executable, *map(str, arguments)],
            env=environ | more,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()
