"""`import-hf`: a cache that the real client made is taken over, verified, without a network."""

import json
import os
import shutil
import subprocess
import sys

import pytest
from support import PATIENT, nested, pattern

from model_cache import ModelCache, OfflineMissError, StorageError, locks
from model_cache.doctor.fixing import look
from model_cache.layout import Snapshot
from model_cache.operations import hf_directory

REPO = "owner/name"
FILES = {"config.json": b"{}", "onnx/model.onnx": pattern(2 << 20, 1), "weights.bin": pattern(1 << 20, 2)}
CLIENT = """
import json, sys
from huggingface_hub import snapshot_download
for repo, kind, revision in json.loads(sys.argv[1]):
    snapshot_download(repo, repo_type=kind, revision=revision, cache_dir=sys.argv[2], token=False)
"""


@pytest.fixture
def other(tmp_path, hub, environ):
    """A function that has the real client fetch repos into a cache of its own; where that is."""
    directory = tmp_path / "hub"

    def fetch(*repos):
        more = {"HF_ENDPOINT": hub.url, "HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
        subprocess.run(
            [sys.executable, "-W", "ignore", "-c", CLIENT, json.dumps(repos), str(directory)],
            env=environ | more | PATIENT,
            check=True,
            timeout=200,
        )
        hub.reset()
        return directory

    return fetch


def reasons(report):
    """Why files were skipped, by their names."""
    return {os.path.basename(one.path): one.reason for one in report.skipped}


@pytest.mark.parametrize("link", [False, True])
def test_a_cache_of_300_files_is_taken_over(cache, hub, other, link):
    """Every file of a repo of 300 stands at its path with its bytes, nothing is downloaded, and with `link` nothing copied."""
    files = {f"part-{n:03}.bin": pattern(2_000 + n, n) for n in range(150)}
    files |= {f"sub/text-{n:03}.json": b'{"n": %d}' % n for n in range(150)}
    commit = hub.add_repo(REPO, files)
    directory = other((REPO, "model", "main"))
    report = cache.import_hf(directory, link=link)
    assert (len(report.imported), report.skipped) == (300, [])
    assert report.copied == (0 if link else sum(map(len, files.values())))
    assert {name: cache.path(REPO, name).read_bytes() for name in files} == files
    assert {(row.state, row.commit) for row in cache.entries()} == {("ready", commit)}
    assert not any(path.is_symlink() for path in cache.root.rglob("*"))
    assert not hub.requests
    assert cache.verify(max_age=0).exit_code(strict=True) == 0


def test_revisions_and_other_repo_types_keep_their_names(cache, hub, other):
    """A branch, a dataset, a space and a kernel stand where a fetch of them would have put them."""
    hub.add_repo(REPO, {"a.txt": b"main"})
    hub.add_repo(REPO, {"a.txt": b"branch"}, revision="feature/x")
    hub.add_repo("owner/data", {"d.txt": b"data"}, repo_type="dataset")
    hub.add_repo("owner/app", {"s.txt": b"space"}, repo_type="space")
    hub.add_repo("owner/op", {"k.py": b"kernel"}, repo_type="kernel")
    wanted = [(REPO, "model", "main"), (REPO, "model", "feature/x"), ("owner/data", "dataset", "main")]
    report = cache.import_hf(other(*wanted, ("owner/app", "space", "main"), ("owner/op", "kernel", "main")))
    assert report.skipped == []
    assert cache.fetch(REPO, "a.txt", offline=True).read_bytes() == b"main"
    assert cache.fetch(REPO, "a.txt", revision="feature/x", offline=True).read_bytes() == b"branch"
    assert cache.fetch("owner/data", "d.txt", repo_type="dataset", offline=True).read_bytes() == b"data"
    assert cache.fetch("owner/app", "s.txt", repo_type="space", offline=True).read_bytes() == b"space"
    assert cache.fetch("owner/op", "k.py", repo_type="kernel", offline=True).read_bytes() == b"kernel"


def test_a_snapshot_without_a_name_is_its_commit(cache, hub, other):
    """What was fetched by its commit is had by its commit."""
    commit = hub.add_repo(REPO, FILES)
    cache.import_hf(other((REPO, "model", commit)))
    assert cache.is_cached(REPO, "config.json", revision=commit)
    assert not cache.is_cached(REPO, "config.json")


def test_what_cannot_be_trusted_is_skipped_with_the_reason(cache, hub, other, tmp_path):
    """Rotten blobs, links that lead out or nowhere, plain files and incomplete blobs are left, and the rest comes."""
    names = ("good", "rotten", "outside", "nowhere", "plain", "named")
    hub.add_repo(REPO, {name: pattern(5_000, n) for n, name in enumerate(names)})
    directory = other((REPO, "model", "main"))
    (snapshot,) = (directory / "models--owner--name/snapshots").iterdir()
    (snapshot / "rotten").resolve().write_bytes(pattern(5_000, 99))
    (tmp_path / "secret").write_bytes(b"secret")
    for name, target in (
        ("outside", tmp_path / "secret"),
        ("nowhere", "../../blobs/none"),
        ("plain", None),
        ("named", "../../blobs/x"),
    ):
        (snapshot / name).unlink()
        if target is None:
            (snapshot / name).write_bytes(b"who knows")
        else:
            (snapshot / name).symlink_to(target)
    blobs = directory / "models--owner--name/blobs"
    (blobs / "x").write_bytes(b"x")
    (blobs / "abc.incomplete").write_bytes(b"half")
    report = cache.import_hf(directory)
    assert [one.entry.filename for one in report.imported] == ["good"]
    found = reasons(report)
    assert set(found) - {"abc.incomplete"} - {os.path.basename((snapshot / "rotten").resolve())} == set(names) - {
        "good",
        "rotten",
    }
    assert "leads out" in found["outside"]
    assert "nowhere" in found["nowhere"]
    assert "no link" in found["plain"]
    assert "neither a sha256" in found["named"]
    assert "not complete" in found["abc.incomplete"]
    assert any("expected" in reason for reason in found.values())
    assert not cache.is_cached(REPO, "rotten")
    assert not list((cache.root / ".model-cache/partial").iterdir())


@pytest.mark.parametrize("link", [False, True])
def test_rotten_blobs_are_not_linked_either(cache, hub, other, link):
    """A blob whose bytes are not those of its name gets no name here, copied or linked."""
    hub.add_repo(REPO, {"a.bin": pattern(9_000, 1)})
    directory = other((REPO, "model", "main"))
    (blob,) = (path for path in (directory / "models--owner--name/blobs").iterdir())
    blob.write_bytes(pattern(9_000, 2))
    report = cache.import_hf(directory, link=link)
    assert report.imported == []
    assert not cache.path(REPO, "a.bin").exists()


def test_blobs_in_the_shared_store_come_too(cache, hub, other):
    """A blob that is itself a link into the store which all repos share is verified against its own name."""
    hub.add_repo(REPO, FILES)
    directory = other((REPO, "model", "main"))
    (snapshot,) = (directory / "models--owner--name/snapshots").iterdir()
    blob = snapshot / "weights.bin"
    blob = directory / "models--owner--name/blobs" / os.path.basename(os.readlink(blob))
    store = directory / "blobs/cf"
    store.mkdir(parents=True)
    os.replace(blob, store / ("cf" * 32))
    blob.symlink_to(os.path.relpath(store / ("cf" * 32), blob.parent))
    report = cache.import_hf(directory)
    assert report.skipped == []
    assert cache.path(REPO, "weights.bin").read_bytes() == FILES["weights.bin"]


def test_what_is_there_is_not_overwritten(cache, hub, other, root):
    """A second run takes nothing, and a file that somebody placed keeps its bytes."""
    hub.add_repo(REPO, FILES)
    directory = other((REPO, "model", "main"))
    (root / REPO).mkdir(parents=True)
    (root / REPO / "config.json").write_bytes(b"mine")
    assert len(cache.import_hf(directory).imported) == 2
    again = cache.import_hf(directory)
    assert (again.imported, len(again.skipped)) == ([], 3)
    assert (root / REPO / "config.json").read_bytes() == b"mine"


def test_two_commits_are_not_mixed(cache, hub, other):
    """A repo that this cache has at another commit keeps that alone."""
    hub.add_repo(REPO, FILES)
    directory = other((REPO, "model", "main"))
    hub.add_repo(REPO, FILES | {"config.json": b"[2]"})
    cache.fetch(REPO, "config.json")
    report = cache.import_hf(directory)
    assert report.imported == []
    assert all("another commit" in one.reason for one in report.skipped)


def test_a_repo_that_was_whole_there_is_whole_here(cache, hub, other):
    """What the other cache knows to belong to a commit makes the repo a hit as a whole, offline and with no request."""
    hub.add_repo(REPO, FILES)
    cache.import_hf(other((REPO, "model", "main")))
    directory = cache.fetch_repo(REPO, offline=True)
    assert {name: (directory / name).read_bytes() for name in FILES} == FILES
    assert hub.requests == []


def test_a_repo_that_lacks_a_file_is_not_whole(cache, hub, other):
    """A file that could not be taken over is missing, and the repo is not handed out without it."""
    hub.add_repo(REPO, FILES)
    directory = other((REPO, "model", "main"))
    (snapshot,) = (directory / "models--owner--name/snapshots").iterdir()
    (snapshot / "weights.bin").unlink()
    cache.import_hf(directory)
    with pytest.raises(OfflineMissError, match="2 of 3 files"):
        cache.fetch_repo(REPO, offline=True)


@pytest.mark.parametrize(
    ("change", "skipped"),
    [
        (lambda tree: tree["files"].pop("config.json"), True),
        (lambda tree: tree["files"]["config.json"].update(blob_id="0" * 40), True),
        (lambda tree: tree["files"]["weights.bin"].update(lfs_size=7, size=7), True),
        (lambda tree: tree.update(format_version=2), False),
        (lambda tree: tree.update(files=[1]), False),
        (lambda tree: tree["files"].update(x={"size": -1, "blob_id": "0" * 40}), False),
        (lambda tree: tree["files"].update(x=7), False),
    ],
)
def test_a_listing_that_contradicts_the_blobs_is_not_believed(cache, hub, other, change, skipped):
    """Files come; that they are all of the repo is believed of no listing that lacks one, has other bytes, or is broken."""
    hub.add_repo(REPO, FILES)
    directory = other((REPO, "model", "main"))
    (tree,) = (directory / "models--owner--name/trees").iterdir()
    document = json.loads(tree.read_text())
    change(document)
    tree.write_text(json.dumps(document))
    report = cache.import_hf(directory)
    assert len(report.imported) == 3
    assert [one.path for one in report.skipped] == ([str(tree)] if skipped else [])
    with pytest.raises(OfflineMissError, match="not known to be in the cache as a whole"):
        cache.fetch_repo(REPO, offline=True)


def test_no_update_comes_between_the_files(hub, other, root):
    """While files of a commit are taken over, nobody can hold the repo's lock alone, as who moves it must."""
    hub.add_repo(REPO, FILES)
    directory = other((REPO, "model", "main"))
    seen = set()

    def step(name):
        fd = locks.try_write(cache._ctx.places.lock(Snapshot(REPO).key), 0o600, shared=False)
        seen.add((name, fd is None))
        if fd is not None:
            locks.release(fd)

    cache = ModelCache(root, endpoint=hub.url, token=False, step=step)
    cache.import_hf(directory)
    assert ("row:ready", True) in seen
    assert ("row:ready", False) not in seen


def test_a_dry_run_changes_nothing(cache, hub, other, root):
    """A dry run says what would come, and makes no file."""
    hub.add_repo(REPO, FILES)
    report = cache.import_hf(other((REPO, "model", "main")), dry_run=True)
    assert {one.entry.filename for one in report.imported} == set(FILES)
    assert not (root / REPO).exists()


def test_the_budget_holds(root, hub, other):
    """What can never fit is skipped, and the cache stays under its ceiling."""
    hub.add_repo(REPO, FILES)
    cache = ModelCache(root, endpoint=hub.url, token=False, max_size=1_500_000)
    report = cache.import_hf(other((REPO, "model", "main")))
    assert "onnx/model.onnx" not in {one.entry.filename for one in report.imported}
    assert cache.usage().all <= 1_500_000


def test_linked_files_are_counted_and_not_evicted_while_the_other_cache_has_them(root, hub, other):
    """A hard link counts in full, `gc` spares it while evicting would free nothing, and frees it once the other name is gone."""
    hub.add_repo(REPO, FILES)
    directory = other((REPO, "model", "main"))
    cache = ModelCache(root, endpoint=hub.url, token=False, min_idle=0)
    cache.import_hf(directory, link=True)
    counted = cache.usage().all
    assert counted == sum(cache.path(REPO, name).stat().st_blocks * 512 for name in FILES)
    spared = cache.gc(max_size=0)
    assert (spared.evicted, {one.reason for one in spared.spared}) == ([], {"linked"})
    shutil.rmtree(directory)
    report = cache.gc(max_size=0)
    gone = {row.filename for row, *_ in report.evicted}
    assert (gone, report.freed_bytes) == (set(FILES), counted)
    assert cache.usage().all == 0


def blobs(directory):
    """The files of the other cache."""
    return [path for path in directory.glob("models--*/blobs/*") if path.is_file()]


def test_a_blob_that_is_closed_to_the_group_is_copied_into_its_root(root, hub, other):
    """With `link` too: a second name would have the mode of the first, and shut out all others who share the root."""
    hub.add_repo(REPO, FILES)
    directory = other((REPO, "model", "main"))
    for path in blobs(directory):
        path.chmod(0o600)
    cache = ModelCache(root, endpoint=hub.url, token=False, sharing="group")
    assert {one.way for one in cache.import_hf(directory, link=True).imported} == {"copy"}
    assert {cache.path(REPO, name).stat().st_mode & 0o777 for name in FILES} == {0o664}
    assert {path.stat().st_mode & 0o777 for path in blobs(directory)} == {0o600}


def test_a_blob_that_the_group_may_use_is_linked_into_its_root(root, hub, other):
    """Where mode and group are those of the root, `link` copies nothing."""
    hub.add_repo(REPO, FILES)
    directory = other((REPO, "model", "main"))
    root.mkdir(exist_ok=True)
    for path in blobs(directory):
        os.chown(path, -1, root.stat().st_gid)
        path.chmod(0o664)
    cache = ModelCache(root, endpoint=hub.url, token=False, sharing="group")
    assert {one.way for one in cache.import_hf(directory, link=True).imported} == {"link"}


def test_a_groups_root_asks_nothing_while_the_network_is_off(root, hub, other):
    """Whether everybody may read a repo is not asked then, and its files are skipped with that reason."""
    hub.add_repo(REPO, FILES)
    directory = other((REPO, "model", "main"))
    report = ModelCache(root, endpoint=hub.url, sharing="group", offline=True).import_hf(directory)
    assert (report.imported, len(report.skipped)) == ([], len(FILES))
    assert all("the network is switched off" in one.reason for one in report.skipped)
    assert not hub.requests


def test_no_repair_of_modes_reaches_the_other_cache(root, hub, other):
    """What was linked has a name that is not this cache's: a mode that is wrong here is told, and left as it is there."""
    hub.add_repo(REPO, FILES)
    directory = other((REPO, "model", "main"))
    for path in blobs(directory):
        path.chmod(0o600)
    ModelCache(root, endpoint=hub.url, token=False).import_hf(directory, link=True)
    found = look(ModelCache(root, sharing="group")._ctx, fix=True)
    assert {one.path for one in found.left} == {f"{root}/{REPO}/{name}" for name in FILES}
    assert all(one.elsewhere for one in found.left)
    assert {path.stat().st_mode & 0o777 for path in blobs(directory)} == {0o600}


def test_directories_without_end_in_the_other_cache_are_no_error(cache, hub, other):
    """What is nested deeper than Python calls functions is walked all the same."""
    commit = hub.add_repo(REPO, FILES)
    directory = other((REPO, "model", "main"))
    with nested(next(directory.glob(f"models--*/snapshots/{commit}")) / "d"):
        assert len(cache.import_hf(directory).imported) == len(FILES)


def test_what_is_no_hugging_face_cache_is_refused(cache, tmp_path):
    """A directory without repos, and one that is not there, end in one error that names it."""
    for directory in (tmp_path, tmp_path / "none"):
        with pytest.raises(StorageError, match="Hugging Face cache"):
            cache.import_hf(directory)


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({"HF_HUB_CACHE": "/a"}, "/a"),
        ({"HF_HOME": "/h"}, "/h/hub"),
        ({"XDG_CACHE_HOME": "/x"}, "/x/huggingface/hub"),
    ],
)
def test_the_default_is_where_the_client_has_it(environ, expected):
    """Without a directory it is the one that `huggingface_hub` would use."""
    assert hf_directory(environ) == expected


def test_the_command_says_what_came(hub, other, root, environ):
    """`import-hf --json` lists what was imported, with its size and how, and what was skipped with the reason."""
    hub.add_repo(REPO, FILES)
    command = [
        sys.executable,
        "-m",
        "model_cache",
        "--root",
        str(root),
        "import-hf",
        "--json",
        str(other((REPO, "model", "main"))),
    ]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=120)
    found = json.loads(done.stdout)
    assert {one["filename"]: (one["size"], one["source"]) for one in found["imported"]} == {
        name: (len(data), "copy") for name, data in FILES.items()
    }
    assert (found["skipped"], done.returncode) == ([], 0)
