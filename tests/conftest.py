"""What many tests need: a root, a cache on a loopback hub, other processes."""

import gc
import importlib
import json
import os
import pkgutil
import shutil
import subprocess
import sys
import textwrap

import pytest
from hypothesis import HealthCheck, settings
from support import PATIENT

import model_cache
from model_cache import ModelCache, hit, locks

# A machine may have a proxy, settings or a token of its own: nothing on loopback is asked for through the one, and no test
# means the others.
for _name in [name for name in os.environ if name.startswith(("HF_", "HUGGING_FACE_", "MODEL_CACHE_"))]:
    if _name != "MODEL_CACHE_EXAMPLES":
        del os.environ[_name]
for _name in ("no_proxy", "NO_PROXY"):
    os.environ[_name] = ",".join(filter(None, [os.environ.get(_name), "127.0.0.1", "localhost"]))

# No example fails for the time it takes, and those of one run are those of every other.
settings.register_profile(
    "any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True, database=None
)
settings.load_profile("any machine")

# All of it, so that no test depends on what others had loaded: Hypothesis draws from the constants of what is loaded, and what
# pytest parses in several threads at once, as the first one to import it, Python 3.11 can fail at (SystemError).
for _module in pkgutil.walk_packages(model_cache.__path__, "model_cache."):
    if not _module.name.endswith("__main__"):
        importlib.import_module(_module.name)

# What a worker process always has at hand.
PRELUDE = """
import json, os, sys
import model_cache
from model_cache import ModelCache
arguments = json.loads(sys.argv[1])
settings = arguments.get("settings", {})
cache = ModelCache(arguments["root"], endpoint=arguments["endpoint"], token=False, **settings)
"""


@pytest.fixture(autouse=True)
def no_lock_is_left():
    """Each test starts with no lock, and leaves none; leases that a reader keeps for `min_idle` are let go after it."""
    yield
    assert sys.exc_info()[1] is None, "what was handled is over"
    while hit._kept:
        locks.release(hit._kept.pop()[1])
    if locks._held:
        gc.collect()  # a traceback and its frames refer to each other
    held, names = set(locks._held), [os.path.realpath(f"/proc/self/fd/{fd}") for fd in locks._held]
    locks._held.clear()  # what one test leaves is not to be said of the next
    assert not held, names


@pytest.fixture
def root(tmp_path):
    """Where a cache may be made."""
    return tmp_path / "cache"


@pytest.fixture
def cache(root, hub):
    """A cache on the loopback hub."""
    return ModelCache(root, endpoint=hub.url, token=False)


@pytest.fixture
def environ(tmp_path):
    """An environment with nothing of the developer's in it."""
    home = tmp_path / "home"
    home.mkdir(exist_ok=True)
    return {"PATH": os.environ["PATH"], "HOME": str(home), "LANG": "C.UTF-8", "PYTHONWARNINGS": "error"}


@pytest.fixture
def spawn(root, hub, environ):
    """Start another process that runs a snippet with a `cache` of its own; ended with the test."""
    started = []

    def start(code, tracer="", **more):
        given = json.dumps({"root": str(root), "endpoint": hub.url, **more})
        process = subprocess.Popen(
            [*tracer.split(), sys.executable, "-c", PRELUDE + textwrap.dedent(code), given],
            env=PATIENT | environ,
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


@pytest.fixture(scope="module")
def browser():
    """Chromium; for tests of the engines."""
    found = shutil.which("chromium") or shutil.which("google-chrome")
    if found is None:
        pytest.skip("needs Debian's package chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as started:
        running = started.chromium.launch(executable_path=found, args=["--no-sandbox"] if os.geteuid() == 0 else [])
        yield running
        running.close()
