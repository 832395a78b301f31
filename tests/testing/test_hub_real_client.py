"""The loopback hub is right when the newest real client downloads from it unmodified."""

import pytest
from loopback_equipment import REPO, content
from real_client import real_client

from model_cache.testing import LoopbackHub

LARGE = content(3_000_000)


@pytest.fixture
def real(tmp_path):
    """Runs calls of the real client against a hub."""
    return lambda hub, **calls: real_client(tmp_path, hub.url, calls)


def test_the_real_client_downloads_single_files(real, hub):
    """Small and large files, other revisions, datasets and renamed repos arrive whole, and no token leaks."""
    first = hub.add_repo(REPO, {"config.json": b"{1}"})
    hub.tag(REPO, "v1")
    hub.add_repo(REPO, {"config.json": b"{2}", "sub/model.bin": LARGE})
    hub.add_repo("org/data", {"d.csv": b"a,b"}, repo_type="dataset")
    hub.add_repo("old/name", {"f": b"moved"})
    hub.rename("old/name", "new/name")
    found = real(
        hub,
        small={"call": "file", "repo_id": REPO, "filename": "config.json", "token": "x"},
        large={"call": "file", "repo_id": REPO, "filename": "sub/model.bin", "token": "x"},
        tag={"call": "file", "repo_id": REPO, "filename": "config.json", "revision": "v1"},
        commit={"call": "file", "repo_id": REPO, "filename": "config.json", "revision": first},
        dataset={"call": "file", "repo_id": "org/data", "filename": "d.csv", "repo_type": "dataset"},
        moved={"call": "file", "repo_id": "old/name", "filename": "f"},
    )
    assert {name: bytes.fromhex(value) for name, value in found.items()} == {
        "small": b"{2}",
        "large": LARGE,
        "tag": b"{1}",
        "commit": b"{1}",
        "dataset": b"a,b",
        "moved": b"moved",
    }
    assert hub.leaks == []
    assert hub.body_gets("sub/model.bin") == 1


def test_the_real_client_downloads_a_snapshot(real):
    """A whole repo arrives, its listing read in several pages."""
    with LoopbackHub(page_size=7) as hub:
        files = {f"d{i % 3}/f{i}": b"%d" % i for i in range(20)} | {"model.bin": LARGE}
        hub.add_repo(REPO, files)
        assert real(hub, all={"call": "snapshot", "repo_id": REPO}) == {"all": sorted(files)}
        assert hub.count("GET", "/tree/") == 4
        assert hub.body_gets() == len(files)


def test_the_real_client_understands_the_refusals(real):
    """Missing repos, revisions and files, and gated ones, become the errors that the real Hub causes."""
    with LoopbackHub(token="right", guest_tokens=["guest"]) as hub:
        hub.add_repo(REPO, {"f": b"1"})
        hub.add_repo("org/gated", {"f": b"1"}, gated=True)
        found = real(
            hub,
            repo={"call": "file", "repo_id": "org/none", "filename": "f", "token": "right"},
            revision={"call": "file", "repo_id": REPO, "filename": "f", "revision": "none"},
            entry={"call": "file", "repo_id": REPO, "filename": "none"},
            gated={"call": "file", "repo_id": "org/gated", "filename": "f", "token": "guest"},
            opened={"call": "file", "repo_id": "org/gated", "filename": "f", "token": "right"},
        )
        assert found == {
            "repo": "RepositoryNotFoundError",
            "revision": "RevisionNotFoundError",
            "entry": "RemoteEntryNotFoundError",
            "gated": "GatedRepoError",
            "opened": b"1".hex(),
        }


@pytest.mark.parametrize("kind", ["flip", "other_bytes"])
def test_the_real_client_accepts_wrong_bytes(real, hub, kind):
    """A flipped byte, and other bytes after a cut, pass the real client unseen: why hashes are checked here."""
    large = content(24 << 20)  # it keeps of a broken download whole blocks of 10 MiB only
    hub.add_repo(REPO, {"model.bin": large})
    hub.fault("model.bin", kind)
    found = bytes.fromhex(real(hub, file={"call": "file", "repo_id": REPO, "filename": "model.bin"})["file"])
    assert len(found) == len(large)
    assert found != large
