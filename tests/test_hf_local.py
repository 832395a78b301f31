"""`local_dir` and `dry_run` of the drop-in: what is copied out of the cache, and what would be."""

import os
import subprocess
import sys
import threading

import huggingface_hub
import pytest
from huggingface_hub import errors
from support import pattern

from model_cache import ModelCache, ModelCacheError
from model_cache.hf import hf_hub_download, snapshot_download
from model_cache.hf.local import place_file
from model_cache.layout import Entry
from model_cache.testing import LoopbackHub

REPO = "owner/name"
FILES = {"config.json": b"{}", "sub/weights.bin": pattern(40_000, 1)}
MOVED = FILES | {"config.json": b"[]"}


@pytest.fixture
def local(tmp_path):
    """A directory of the caller's."""
    return tmp_path / "local"


@pytest.fixture
def given(hub, root, local):
    """The arguments that every call here needs; the hub has the repo."""
    hub.add_repo(REPO, FILES)
    return {"cache_dir": root, "endpoint": hub.url, "token": False, "local_dir": local}


def held(local):
    """The files of a directory."""
    return {path.relative_to(local).as_posix(): path.read_bytes() for path in local.rglob("*") if path.is_file()}


def test_a_file_is_copied_to_its_place(given, local):
    """What is returned is the path in the directory, which holds that file and nothing else."""
    assert hf_hub_download(REPO, "sub/weights.bin", **given) == str(local / "sub/weights.bin")
    assert held(local) == {"sub/weights.bin": FILES["sub/weights.bin"]}


def test_a_repo_is_copied_file_by_file(given, local, hub):
    """All that the patterns leave is there, downloaded once, and a second call downloads and writes nothing."""
    assert snapshot_download(REPO, **given) == str(local)
    assert held(local) == FILES
    inodes = {path: path.stat().st_ino for path in local.rglob("*")}
    assert snapshot_download(REPO, **given) == str(local)
    assert {path: path.stat().st_ino for path in local.rglob("*")} == inodes
    assert [hub.body_gets(name) for name in FILES] == [1, 1]
    snapshot_download(REPO, **given | {"local_dir": local / "part"}, allow_patterns="*.json")
    assert held(local / "part") == {"config.json": b"{}"}


def test_a_copy_is_brought_to_what_the_hub_has_now(given, local, hub):
    """A file that was edited, and one that moved at the Hub, are replaced; others' files stay."""
    snapshot_download(REPO, **given)
    (local / "sub/weights.bin").write_bytes(b"edited")
    (local / "mine.txt").write_bytes(b"mine")
    hub.add_repo(REPO, MOVED)
    snapshot_download(REPO, **given)
    assert held(local) == MOVED | {"mine.txt": b"mine"}


def test_a_copy_is_no_second_name_of_the_cached_file(given, local, root):
    """What a caller writes to a copy does not reach the cache."""
    with open(hf_hub_download(REPO, "config.json", **given), "r+b") as file:
        file.write(b"[]")
    assert [path.read_bytes() for path in root.rglob("config.json")] == [b"{}"]


def test_a_copy_follows_the_umask(given, local):
    """The directories and files that are made have the modes that the umask leaves."""
    before = os.umask(0o027)
    try:
        path = hf_hub_download(REPO, "sub/weights.bin", **given)
    finally:
        os.umask(before)
    modes = [os.stat(made).st_mode & 0o777 for made in (local, local / "sub", path)]
    assert modes == [0o750, 0o750, 0o640]


def test_a_file_in_the_place_of_the_directory_is_refused(given, local):
    """Where `local_dir` is a file, the error names it, and the file stays."""
    local.write_bytes(b"mine")
    with pytest.raises(ModelCacheError, match=str(local)):
        hf_hub_download(REPO, "config.json", **given)
    assert local.read_bytes() == b"mine"


def test_right_bytes_that_were_there_are_not_downloaded(given, local, hub):
    """A file that somebody else has put there stays, where it has the bytes that the Hub promises."""
    local.mkdir()
    (local / "config.json").write_bytes(b"{}")
    hf_hub_download(REPO, "config.json", **given)
    assert hub.body_gets() == 0
    hf_hub_download(REPO, "config.json", force_download=True, **given)
    assert hub.body_gets() == 1


@pytest.mark.parametrize("gone", ["switched off", "not reached"])
def test_without_the_hub_the_directory_alone_counts(given, local, hub, gone):
    """What is in the directory is handed out as it is, and a miss there is a LocalEntryNotFoundError, whatever is cached."""
    snapshot_download(REPO, **given)
    (local / "config.json").write_bytes(b"edited")
    given |= {"local_files_only": gone == "switched off"}
    hub.stop()
    assert hf_hub_download(REPO, "config.json", **given) == str(local / "config.json")
    assert snapshot_download(REPO, **given) == str(local)
    assert (local / "config.json").read_bytes() == b"edited"
    given["local_dir"] = local / "empty"
    for call in (lambda: hf_hub_download(REPO, "config.json", **given), lambda: snapshot_download(REPO, **given)):
        with pytest.raises(errors.LocalEntryNotFoundError):
            call()


def test_a_hub_that_says_no_is_heard(given, local):
    """A file that the Hub does not have raises, even where the directory has one of that name."""
    local.mkdir()
    (local / "none.json").write_bytes(b"mine")
    with pytest.raises(errors.RemoteEntryNotFoundError):
        hf_hub_download(REPO, "none.json", **given)
    assert held(local) == {"none.json": b"mine"}


def test_no_name_leads_out_of_the_directory(given, local, tmp_path):
    """A symlinked directory is not followed, and a symlink at a file's place is replaced, not written through."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "mine").write_bytes(b"mine")
    local.mkdir()
    os.symlink(outside, local / "sub")
    os.symlink(outside / "mine", local / "config.json")
    with pytest.raises(Exception, match="a symlink, where a directory is needed"):
        hf_hub_download(REPO, "sub/weights.bin", **given)
    hf_hub_download(REPO, "config.json", **given)
    assert held(outside) == {"mine": b"mine"}
    assert not (local / "config.json").is_symlink()
    with pytest.raises(errors.HFValidationError):
        hf_hub_download(REPO, "../mine", **given)


def test_many_who_copy_to_one_directory_agree(given, local, hub):
    """Eight threads that bring the same repo into one directory download it once, and leave whole files alone."""
    met = threading.Barrier(8)

    def bring():
        met.wait(30)
        snapshot_download(REPO, **given)

    threads = [threading.Thread(target=bring) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert held(local) == FILES
    assert [hub.body_gets(name) for name in FILES] == [1, 1]


@pytest.mark.parametrize("step", ["local:write", "local:replace"])
def test_a_copy_that_was_interrupted_is_made_anew(hub, root, local, step):
    """Whatever step the process dies at, what stood at the place stands there, and the next call puts the file there."""
    hub.add_repo(REPO, FILES)
    local.mkdir()
    (local / "config.json").write_bytes(b"old")

    def die(now):
        if now == step:
            raise KeyboardInterrupt

    def bring(at):
        return place_file(
            ModelCache(root, endpoint=hub.url, token=False, step=at),
            Entry(REPO, "config.json"),
            str(local),
            force=False,
            offline=False,
        )

    with pytest.raises(KeyboardInterrupt):
        bring(die)
    assert held(local) == {"config.json": b"old"}
    assert bring(None) == str(local / "config.json")
    assert held(local) == {"config.json": b"{}"}


def test_the_longest_names_have_room_for_a_copy(given, local, hub):
    """A name of as many bytes as a file system takes is copied, also where each character has several."""
    files = {"a" * 255: b"1", f"sub/{'é' * 127}": b"2"}
    hub.add_repo(REPO, files)
    snapshot_download(REPO, **given)
    assert held(local) == files


def test_after_an_error_no_further_file_is_begun(given, local, hub):
    """What cannot be copied ends the call, before the rest is downloaded."""
    files = {"0/file.bin": b"1"} | {f"{number}.bin": pattern(1_000, number) for number in range(1, 5)}
    hub.add_repo(REPO, files)
    local.mkdir()
    (local / "0").write_bytes(b"in the way")
    with pytest.raises(ModelCacheError, match="a file, where a directory is needed"):
        snapshot_download(REPO, **given, max_workers=1)
    assert not any(hub.body_gets(name) for name in files if name != "0/file.bin")


def test_a_dry_run_says_what_would_come(given, hub, root, local):
    """It tells commit, size and place of each file, and whether it would be downloaded; nothing is made."""
    commit = hub.add_repo(REPO, FILES)
    given.pop("local_dir")
    found = hf_hub_download(REPO, "config.json", dry_run=True, **given)
    path = str(root / REPO / "config.json")
    assert found == huggingface_hub.DryRunFileInfo(commit, 2, "config.json", path, is_cached=False, will_download=True)
    assert (root.exists(), hub.body_gets()) == (False, 0)
    hf_hub_download(REPO, "config.json", **given)
    both = snapshot_download(REPO, dry_run=True, **given)
    assert [(one.filename, one.is_cached, one.will_download) for one in both] == [
        ("config.json", True, False),
        ("sub/weights.bin", False, True),
    ]
    assert hf_hub_download(REPO, "config.json", dry_run=True, force_download=True, **given).will_download


def test_a_dry_run_knows_a_copy(given, local):
    """With a local_dir the place is there, and what is there or in the cache would not be downloaded."""
    hf_hub_download(REPO, "config.json", **given)
    found = hf_hub_download(REPO, "config.json", dry_run=True, **given)
    assert (found.local_path, found.is_cached, found.will_download) == (str(local / "config.json"), True, False)
    other = snapshot_download(REPO, dry_run=True, allow_patterns="sub/", **given)
    assert [(one.local_path, one.will_download) for one in other] == [(str(local / "sub/weights.bin"), True)]


def test_a_dry_run_without_the_hub_is_a_local_entry_not_found(root):
    """A dry run asks the Hub: without one it raises, as `huggingface_hub` has it of a file that is not cached."""
    with LoopbackHub() as gone:
        url = gone.url
    for more in ({"local_files_only": True}, {}):
        with pytest.raises(errors.LocalEntryNotFoundError):
            hf_hub_download(REPO, "config.json", cache_dir=root, endpoint=url, token=False, dry_run=True, **more)


def test_a_dry_run_without_huggingface_hub_has_the_same_fields(given, environ):
    """Where `huggingface_hub` cannot be imported, a dry run returns a class of the same name and fields."""
    code = (
        "import sys; sys.modules['huggingface_hub'] = None\n"
        "from model_cache.hf import hf_hub_download\n"
        f"found = hf_hub_download({REPO!r}, 'config.json', cache_dir={str(given['cache_dir'])!r},"
        f" endpoint={given['endpoint']!r}, token=False, dry_run=True)\n"
        "print(type(found).__name__, *vars(found))"
    )
    done = subprocess.run([sys.executable, "-c", code], env=environ, capture_output=True, text=True, timeout=120)
    fields = " ".join(huggingface_hub.DryRunFileInfo.__dataclass_fields__)
    assert (done.stdout, done.stderr) == (f"DryRunFileInfo {fields}\n", "")
