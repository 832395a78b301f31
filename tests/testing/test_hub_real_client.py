"""The loopback hub is right when the newest real client downloads from it unmodified."""

import json
import os
import subprocess
import sys

import pytest
from loopback_equipment import REPO, content

from model_cache.testing import LoopbackHub

LARGE = content(3_000_000)

# What the real client does, in a process of its own: it reads its environment when it is imported.
CLIENT = """
import json, os, sys
from huggingface_hub import HfApi, hf_hub_download, snapshot_download
answers = {}
for name, call in json.loads(sys.argv[1]).items():
    function = {"file": hf_hub_download, "snapshot": snapshot_download}.get(call.pop("call"))
    try:
        path = function(**call)
        if os.path.isdir(path):
            answers[name] = sorted(os.path.relpath(os.path.join(d, f), path) for d, _, fs in os.walk(path) for f in fs)
        else:
            answers[name] = open(path, "rb").read().hex()
    except Exception as error:
        answers[name] = type(error).__name__
print(json.dumps(answers))
"""


@pytest.fixture
def real(tmp_path):
    """Runs calls of the real client against a hub; bytes as hex, listings, or the name of the error."""
    pytest.importorskip("huggingface_hub")

    def call(hub, **calls):
        environ = {"PATH": os.environ["PATH"], "HF_HOME": str(tmp_path), "HF_ENDPOINT": hub.url, "HOME": str(tmp_path)}
        environ |= {"HF_HUB_DISABLE_PROGRESS_BARS": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}
        # -I keeps this directory off its path, where a module of ours could stand in for one of its own.
        done = subprocess.run(
            [sys.executable, "-I", "-c", CLIENT, json.dumps(calls)],
            env=environ,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return call


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
