"""One process: a miss is downloaded, verified and published; a hit is handed out."""

import hashlib
import os
import stat
import sys

import pytest
from support import FILE, REPO, pattern

from model_cache import (
    AccessError,
    DownloadError,
    DownloadInProgressError,
    IntegrityError,
    InvalidNameError,
    ModelCache,
    NotFoundError,
    OfflineMissError,
    StorageError,
)
from model_cache.index import Index, queries
from model_cache.progress import Progress

BIG = pattern(3_000_000)  # served by redirect, as large files are
SMALL = b'{"model": "small"}'


def rows(cache):
    """The rows of a cache's index."""
    return queries.entries(cache._ctx.index)


def test_a_miss_is_downloaded_and_published_at_its_predictable_path(cache, hub, root):
    """The path is the root, the repo and the filename, and holds the real bytes in a plain file."""
    hub.add_repo(REPO, {FILE: BIG, "sub/config.json": SMALL})
    path = cache.fetch(REPO, FILE)
    assert path == root / "owner" / "name" / FILE
    assert path.read_bytes() == BIG
    assert stat.S_ISREG(path.lstat().st_mode) and path.stat().st_nlink == 1
    assert cache.fetch(REPO, "sub/config.json").read_bytes() == SMALL


def test_the_index_records_what_was_verified(cache, hub):
    """A row has the ETag, the sha256 (of small files too), the size and the commit."""
    commit = hub.add_repo(REPO, {FILE: BIG, "config.json": SMALL})
    for name in (FILE, "config.json"):
        cache.fetch(REPO, name)
    found = {row.filename: row for row in rows(cache)}
    assert found[FILE].etag == found[FILE].sha256 == hashlib.sha256(BIG).hexdigest()
    assert found["config.json"].sha256 == hashlib.sha256(SMALL).hexdigest()
    assert found["config.json"].etag == hashlib.sha1(b"blob %d\0" % len(SMALL) + SMALL).hexdigest()
    assert {row.state for row in found.values()} == {"ready"}
    assert {row.commit for row in found.values()} == {commit}
    assert found[FILE].size == len(BIG) and found[FILE].charged >= len(BIG)


def test_nothing_but_the_file_and_its_row_is_left(cache, hub, root):
    """After a download there is no partial, and the lock is free."""
    hub.add_repo(REPO, {FILE: BIG})
    cache.fetch(REPO, FILE)
    assert os.listdir(root / ".model-cache" / "partial") == []
    assert (root / "CACHEDIR.TAG").read_text().startswith("Signature: 8a477f597d28d172789f06886806bc55")


def test_a_hit_asks_nothing(cache, hub):
    """A second fetch, and one by another object, make no request at all."""
    hub.add_repo(REPO, {FILE: BIG})
    cache.fetch(REPO, FILE)
    hub.reset()
    assert cache.fetch(REPO, FILE) == ModelCache(cache.root, endpoint=hub.url).fetch(REPO, FILE)
    assert hub.requests == []


def test_a_hit_after_the_file_was_removed_is_a_miss(cache, hub):
    """What a process remembers of a file is checked against the disk each time."""
    hub.add_repo(REPO, {FILE: BIG})
    cache.fetch(REPO, FILE).unlink()
    assert cache.fetch(REPO, FILE).read_bytes() == BIG
    assert hub.body_gets(FILE) == 2


def test_revisions_and_repo_types_live_side_by_side(cache, hub, root):
    """A branch, a commit and a dataset each have their own file."""
    first = hub.add_repo(REPO, {FILE: SMALL})
    hub.add_repo(REPO, {FILE: BIG}, revision="dev")
    hub.add_repo(REPO, {FILE: b"data"}, repo_type="dataset")
    assert cache.fetch(REPO, FILE, revision="dev").read_bytes() == BIG
    assert cache.fetch(REPO, FILE, revision=first).read_bytes() == SMALL
    assert cache.fetch(REPO, FILE, repo_type="dataset") == root / "datasets" / "owner" / "name" / FILE
    assert not cache.is_cached(REPO, FILE)


def test_further_files_of_a_repo_come_from_the_commit_of_the_first(cache, hub):
    """Weights and tokenizer match: after the Hub moved on, the next file is still that of the recorded commit."""
    hub.add_repo(REPO, {FILE: BIG, "config.json": b"old"})
    cache.fetch(REPO, FILE)
    hub.add_repo(REPO, {FILE: BIG, "config.json": b"new", "added.json": b"later"})
    assert cache.fetch(REPO, "config.json").read_bytes() == b"old"
    assert cache.fetch(REPO, "added.json").read_bytes() == b"later"


def test_an_empty_file_is_a_file(cache, hub):
    """A file of zero bytes is fetched like any other."""
    hub.add_repo(REPO, {"empty": b""})
    assert cache.fetch(REPO, "empty").read_bytes() == b""
    assert rows(cache)[0].size == 0


def test_force_replaces_what_the_cache_made(cache, hub):
    """With `force` the file is downloaded again, and who has the old one open keeps it."""
    hub.add_repo(REPO, {FILE: b"one"})
    old = cache.fetch(REPO, FILE)
    hub.add_repo(REPO, {FILE: b"two"})
    assert cache.fetch(REPO, FILE, force=True).read_bytes() == b"two"
    assert old.read_bytes() == b"two"
    assert [row.next_state for row in rows(cache)] == [None]


def test_force_does_not_replace_what_somebody_placed_there(cache, hub, root):
    """A file that this cache did not make is never overwritten (I7)."""
    hub.add_repo(REPO, {FILE: b"theirs"})
    (root / "owner" / "name").mkdir(parents=True)
    (root / "owner" / "name" / FILE).write_bytes(b"mine")
    with pytest.raises(StorageError, match="was not made by this cache"):
        cache.fetch(REPO, FILE, force=True)
    assert cache.fetch(REPO, FILE).read_bytes() == b"mine"


def test_force_does_not_replace_what_somebody_edited(cache, hub):
    """A file that was changed after its download is somebody's own (I7)."""
    hub.add_repo(REPO, {FILE: b"theirs"})
    path = cache.fetch(REPO, FILE)
    path.write_bytes(b"mine, edited")
    with pytest.raises(StorageError, match="somebody changed it"):
        cache.fetch(REPO, FILE, force=True)
    assert path.read_bytes() == b"mine, edited"


def test_offline_hands_out_hits_and_raises_on_misses(cache, hub):
    """Offline is no reason to fail where the file is there, and a FileNotFoundError where it is not."""
    hub.add_repo(REPO, {FILE: SMALL})
    path = cache.fetch(REPO, FILE)
    hub.reset()
    offline = ModelCache(cache.root, endpoint=hub.url, offline=True)
    assert offline.fetch(REPO, FILE) == path
    with pytest.raises(OfflineMissError, match="is not in the cache"):
        offline.fetch(REPO, "other")
    with pytest.raises(FileNotFoundError):
        cache.fetch(REPO, "other", offline=True)
    assert hub.requests == []


@pytest.mark.parametrize(
    ("repo", "filename", "revision", "kind"),
    [
        ("owner/missing", FILE, "main", DownloadError),
        (REPO, "missing", "main", NotFoundError),
        (REPO, FILE, "missing", NotFoundError),
        ("owner/gated", FILE, "main", AccessError),
    ],
)
def test_what_the_hub_refuses_is_said_and_leaves_nothing(cache, hub, root, repo, filename, revision, kind):
    """A missing repo, file or revision and a gated repo end in their own error, and no file is made for them."""
    hub.add_repo(REPO, {FILE: SMALL})
    hub.add_repo("owner/gated", {FILE: SMALL}, gated=True)
    with pytest.raises(kind) as caught:
        cache.fetch(repo, filename, revision=revision)
    assert filename in str(caught.value) or repo in str(caught.value)
    assert sorted(os.listdir(root)) == [".model-cache", "CACHEDIR.TAG"]
    assert os.listdir(root / ".model-cache" / "partial") == []


def test_a_hub_that_promises_no_hash_is_refused(cache, hub):
    """Bytes that nothing could verify are not published (I1)."""
    hub.add_repo(REPO, {FILE: SMALL})
    hub.fault(FILE, "no_etag", times=None)
    with pytest.raises((IntegrityError, DownloadError)):
        cache.fetch(REPO, FILE)
    assert not cache.is_cached(REPO, FILE)


def test_files_placed_by_hand_are_hits_without_any_of_the_caches_own_files(tmp_path):
    """A file at its expected path needs no index, no network, no configuration, and gets none."""
    for name in ("facebook/sam2.1-hiera-tiny/sam2.1_hiera_tiny.encoder.onnx", "owner/name/onnx/encoder.onnx"):
        place = tmp_path / name
        place.parent.mkdir(parents=True)
        place.write_bytes(b"onnx")
    cache = ModelCache(tmp_path, endpoint="http://127.0.0.1:1")
    assert cache.fetch("facebook/sam2.1-hiera-tiny", "sam2.1_hiera_tiny.encoder.onnx").read_bytes() == b"onnx"
    assert cache.fetch("owner/name", "onnx/encoder.onnx").read_bytes() == b"onnx"
    assert cache.is_cached("owner/name", "onnx/encoder.onnx")
    assert not (tmp_path / ".model-cache").exists()


def test_two_names_for_one_path_are_refused(cache, hub):
    """`gpt2` with `onnx/x` and `gpt2/onnx` with `x` would share a path: the second one is an error, never the other's bytes."""
    hub.add_repo("gpt2", {"onnx/x": b"one"})
    hub.add_repo("gpt2/onnx", {"x": b"two"})
    assert cache.fetch("gpt2", "onnx/x").read_bytes() == b"one"
    with pytest.raises(InvalidNameError, match="share the path"):
        cache.fetch("gpt2/onnx", "x")


def test_a_file_where_a_directory_is_needed_is_an_error(cache, hub):
    """`gpt2` with the file `onnx` leaves no room for a repo `gpt2/onnx`; the error says so, and nothing changes."""
    hub.add_repo("gpt2", {"onnx": b"one"})
    hub.add_repo("gpt2/onnx", {"x": b"two"})
    cache.fetch("gpt2", "onnx")
    with pytest.raises(StorageError, match="a directory is needed"):
        cache.fetch("gpt2/onnx", "x")
    assert cache.fetch("gpt2", "onnx").read_bytes() == b"one"


def test_a_symlink_inside_the_root_is_not_followed_out_of_it(cache, hub, root, tmp_path):
    """Neither reading nor writing leaves the root through a link."""
    hub.add_repo(REPO, {FILE: SMALL})
    hub.add_repo("other/name", {FILE: SMALL})
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / FILE).write_bytes(b"secret")
    (root / "owner").mkdir(parents=True)
    (root / "owner" / "name").symlink_to(outside)
    (root / "other").symlink_to(outside)
    assert not cache.is_cached(REPO, FILE)
    with pytest.raises(InvalidNameError, match="leads out of the root"):
        cache.fetch(REPO, FILE)
    with pytest.raises(StorageError, match="is a symlink"):
        cache.fetch("other/name", FILE)
    assert os.listdir(outside) == [FILE]


@pytest.mark.parametrize("kind", ["directory", "fifo"])
def test_what_is_no_regular_file_is_an_error_and_does_not_hang(cache, hub, root, kind):
    """A directory or a FIFO at an entry's path is reported, not read."""
    place = root / "owner" / "name" / FILE
    place.parent.mkdir(parents=True)
    place.mkdir() if kind == "directory" else os.mkfifo(place)
    with pytest.raises(StorageError, match="is not a regular file"):
        cache.fetch(REPO, FILE)


def test_a_last_use_is_noted_beside_the_file_and_not_on_it(cache, hub, root):
    """The model file's own times stay those of its bytes; the last use is the mtime of a file of its own."""
    hub.add_repo(REPO, {FILE: SMALL})
    path = cache.fetch(REPO, FILE)
    (used,) = (root / ".model-cache" / "used").iterdir()
    os.utime(used, (1, 1))
    os.utime(path, (5, 5))
    ModelCache(root).fetch(REPO, FILE)
    assert used.stat().st_mtime > 1_000_000_000
    assert path.stat().st_mtime == 5


def test_the_caller_of_a_timeout_leaves_and_the_download_goes_on(cache, hub):
    """With `timeout` the caller gets a percentage and leaves; the next one joins the same download."""
    hub.add_repo(REPO, {FILE: BIG})
    with hub.hold(FILE, after=0.5) as hold:
        with pytest.raises(DownloadInProgressError):
            cache.fetch(REPO, FILE, timeout=0)
        hold.wait_for(1)
        with pytest.raises(DownloadInProgressError) as caught:
            cache.fetch(REPO, FILE, timeout=0.1)
        assert caught.value.total == len(BIG)
        hold.release()
        assert cache.fetch(REPO, FILE, timeout=30).read_bytes() == BIG
    assert hub.body_gets(FILE) == 1


def test_progress_is_told_in_order(cache, hub):
    """Whoever watches hears of the start, rising byte counts up to the size, and the end."""
    heard = []

    class Watch(Progress):
        def started(self, name, total, done):
            heard.append(("started", total, done))

        def advanced(self, done):
            heard.append(("advanced", done))

        def finished(self):
            heard.append(("finished",))

    hub.add_repo(REPO, {FILE: BIG})
    cache.fetch(REPO, FILE, progress=Watch())
    counts = [what[1] for what in heard[1:-1]]
    assert heard[0] == ("started", len(BIG), 0) and heard[-1] == ("finished",)
    assert counts == sorted(counts) and counts[-1] == len(BIG)


def test_no_room_on_the_disk_is_said_before_the_first_byte(hub, root, tmp_path):
    """A file larger than what is free is refused with both numbers; no body is asked for."""
    from model_cache import CacheFullError
    from model_cache.hub.client import FileMeta

    class Huge:
        """A hub that promises more than any disk holds."""

        def metadata(self, *names, deadline=None):
            return FileMeta("0" * 40, "a" * 64, 1 << 60, "a" * 64, None)

        def open_body(self, *names, **more):
            raise AssertionError("no body may be asked for")

    with pytest.raises(CacheFullError) as caught:
        ModelCache(root, hub=Huge()).fetch(REPO, FILE)
    assert caught.value.needed >= 1 << 60 > caught.value.available
    assert os.listdir(root / ".model-cache" / "partial") == []


def test_an_unhashable_name_is_bad_input_like_any_other(cache):
    """A name of the wrong type is refused by the gate, not by a dictionary."""
    with pytest.raises(InvalidNameError):
        cache.fetch(["owner", "name"], FILE)


def test_importing_the_package_loads_no_heavy_module(spawn):
    """Neither importing nor a hit loads HTTP, SQL, lock-file or command-line code (I9)."""
    code = """
    os.makedirs(arguments["root"] + "/owner/name")
    open(arguments["root"] + "/owner/name/model.bin", "w").close()
    cache.fetch("owner/name", "model.bin")
    print(sorted({"requests", "sqlite3", "sqlite_utils", "filelock", "click", "rich", "ssl", "logging"} & set(sys.modules)))
    """
    out, err = spawn(code).communicate(timeout=120)
    assert out.strip() == "[]", err
    assert Index.__module__ in sys.modules  # this process, unlike that one, has it


def test_names_that_the_file_system_would_fold_are_refused(cache, hub, root):
    """Where the file system folds, a second name that it would take for the first is an error, never the other's bytes."""
    hub.add_repo(REPO, {"Model.bin": b"upper", "model.bin": b"lower", "other.bin": b"other"})
    assert cache.fetch(REPO, "Model.bin").read_bytes() == b"upper"
    # What this file system does is known; one that folds differs from it in this answer alone.
    cache._ctx._folds = True
    with pytest.raises(InvalidNameError, match=r"'model\.bin' and 'Model\.bin'"):
        cache.fetch(REPO, "model.bin")
    assert cache.fetch(REPO, "other.bin").read_bytes() == b"other"
    assert cache.fetch(REPO, "Model.bin", force=True).read_bytes() == b"upper"
