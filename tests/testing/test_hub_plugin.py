"""The pytest plugin: a fixture for everybody, at no cost for those who do not use it."""

import os
import subprocess
import sys

from model_cache.testing import LoopbackHub


def run(code, *arguments, cwd=None):
    """A fresh interpreter with nothing of the developer's in its environment."""
    environ = {"PATH": os.environ["PATH"], "HOME": os.devnull}
    return subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, env=environ, cwd=cwd, timeout=60
    )


def test_the_fixture_is_a_running_hub(hub):
    """A test that names `hub` gets a started hub with no repos and no requests."""
    assert isinstance(hub, LoopbackHub)
    assert hub.url.startswith("http://127.0.0.1:")
    assert hub.requests == []


def test_the_plugin_loads_no_server():
    """Importing the plugin imports neither the server nor anything for HTTP."""
    code = (
        "import sys, pytest; before = set(sys.modules); import model_cache.testing.plugin\n"
        "new = set(sys.modules) - before\n"
        "print(sorted(name for name in new if name.startswith('model_cache.testing')))\n"
        "print(sorted({'requests', 'sqlite3', 'filelock', 'http.client', 'model_cache.hub'} & new))"
    )
    found = run(code)
    assert found.stdout.splitlines() == ["['model_cache.testing', 'model_cache.testing.plugin']", "[]"], found.stderr


def test_a_project_gets_the_fixture_by_installing(tmp_path):
    """In a project with no configuration of its own, a test that asks for `hub` passes."""
    (tmp_path / "test_mine.py").write_text(
        "from urllib.request import urlopen\n"
        "def test_mine(hub):\n"
        "    hub.add_repo('org/name', {'f': b'1'})\n"
        "    assert urlopen(hub.url + '/org/name/resolve/main/f').read() == b'1'\n"
        "    assert hub.body_gets('f') == 1\n"
    )
    done = run("import sys, pytest; sys.exit(pytest.main(['-q', '-p', 'no:cacheprovider']))", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_package_knows_its_names():
    """What `__all__` lists can be imported, and nothing else is made up."""
    import model_cache.testing as package

    assert all(hasattr(package, name) for name in package.__all__)
    assert not hasattr(package, "Nothing")
