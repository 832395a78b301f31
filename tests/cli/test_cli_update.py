"""`update`: what moved, what is current, and what is in use."""

import pytest
from cli_equipment import Shell

from model_cache import ModelCache

REPO = "owner/name"


@pytest.fixture
def shell(environ, root, hub):
    """The command on a root with two files, of which one changed on the Hub."""
    hub.add_repo(REPO, {"a.bin": b"one", "b.bin": b"same"})
    cache = ModelCache(root, endpoint=hub.url, token=False)
    for name in ("a.bin", "b.bin"):
        cache.fetch(REPO, name)
    hub.add_repo(REPO, {"a.bin": b"two", "b.bin": b"same"})
    found = Shell(environ, root, hub)
    yield found
    found.close()


def test_update_prints_the_paths_that_were_replaced(shell, root):
    """Data on stdout, the count on stderr, and a second run has nothing to do."""
    code, out, err = shell.run("update", REPO)
    assert (code, out) == (0, f"{root}/{REPO}/a.bin\n")
    assert err == "downloading owner/name a.bin: 3 B\n1 file updated, 1 current\n"
    assert shell.run("update") == (0, "", "0 files updated, 2 current\n")


def test_update_of_a_file_in_use_exits_11_and_changes_nothing(shell, root):
    """The document says which file was in the way, and the old bytes stay."""
    with ModelCache(root).lease(REPO, "a.bin") as path:
        code, _, err = shell.run("update", REPO, "--json")
        assert code == 11
        assert "\nerror: owner/name a.bin is in use; nothing of its repo was replaced\nhint: " in err
        assert path.read_bytes() == b"one"
    document = shell.json("update", REPO)
    assert [one["filename"] for one in document["updated"]] == ["a.bin"]
    assert [one["filename"] for one in document["current"]] == ["b.bin"]
    assert (document["in_use"], document["gone"]) == ([], [])


def test_update_of_what_is_not_there_exits_10(shell):
    """A repo that is not in the index cannot be updated."""
    code, out, err = shell.run("update", "owner/other")
    assert (code, out) == (10, "")
    assert "owner/other" in err
