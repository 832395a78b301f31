"""`reconcile`: the index is brought into agreement with the disk; no file is touched."""

import os
import shutil

import pytest
from support import FILE, REPO, Later, pattern
from verify_equipment import Told, found, rot, snapshot

from model_cache import DownloadError, ModelCache

NAMES = [f"model-{number}.bin" for number in range(4)]


@pytest.fixture
def filled(cache, hub):
    """A cache with four files of a repo."""
    hub.add_repo(REPO, {name: pattern(40_000 + number, number) for number, name in enumerate(NAMES)})
    for name in NAMES:
        cache.fetch(REPO, name)
    return cache


def place(root, relative, data=b"placed by hand"):
    """A file that somebody put there."""
    path = root / relative
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def rows(cache):
    """{filename: (origin, verdict, commit known)} of what the index knows."""
    return {row.filename: (row.origin, row.verdict, row.commit is not None) for row in cache.entries()}


def test_where_all_agrees_there_is_nothing_to_do(filled, root):
    """A second look changes neither rows nor files."""
    before, files = filled.entries(), snapshot(root)
    report = filled.reconcile()
    assert (report.adopted, report.rebound, report.dropped, report.index) == ([], [], [], "sound")
    assert (filled.entries(), snapshot(root)) == (before, files)


def test_a_placed_file_is_hashed_and_entered(filled, root):
    """What somebody placed gets a row with its sha256, is verified from then on, and is not touched."""
    path = place(root, "owner/name/sub/extra.bin")
    before = path.stat()
    told = Told()
    report = filled.reconcile(progress=told)
    assert report.adopted == ["owner/name/sub/extra.bin"]
    assert rows(filled)["sub/extra.bin"] == ("adopted", "ok", False)
    assert path.stat() == before
    assert filled.verify().ok == 5
    rot(path)
    assert found(filled.verify()) == {"corrupt": ["sub/extra.bin"]}


def test_an_edit_is_accepted(filled, root):
    """A file that somebody changed is recorded as it is now: verify passes, and no commit is claimed for it."""
    filled.path(REPO, NAMES[1]).write_bytes(b"mine")
    assert filled.verify().exit_code() == 3
    assert filled.reconcile().adopted == [f"owner/name/{NAMES[1]}"]
    assert rows(filled)[NAMES[1]] == ("adopted", "ok", False)
    assert (filled.verify().exit_code(), filled.path(REPO, NAMES[1]).read_bytes()) == (0, b"mine")


def test_a_root_that_was_restored_from_a_backup_is_rebound(filled, root, tmp_path):
    """New inodes and whole-second mtimes, the same bytes: every row keeps its commit and learns where its file is."""
    shutil.copytree(root, tmp_path / "backup")
    shutil.rmtree(root)
    shutil.copytree(tmp_path / "backup", root)
    for path in (root / "owner" / "name").iterdir():
        os.utime(path, (1_700_000_000, 1_700_000_000))
    report = filled.reconcile()
    assert (len(report.rebound), report.adopted, report.dropped) == (4, [], [])
    assert set(rows(filled).values()) == {("download", "ok", True)}
    assert filled.verify().ok == 4


def test_rows_without_files_are_dropped(filled):
    """A file that somebody removed is not counted any more."""
    filled.path(REPO, NAMES[0]).unlink()
    assert filled.reconcile().dropped == [f"owner/name/{NAMES[0]}"]
    assert filled.usage().files == 3
    assert filled.usage().all == sum(row.charged for row in filled.entries())


def test_known_damage_is_not_adopted_as_right(filled, root):
    """A damaged file stays damaged though its row is lost: its mark still has the hash that was recorded."""
    rot(filled.path(REPO, NAMES[2]))
    filled.verify()
    (root / ".model-cache" / "index.db").unlink()
    report = filled.reconcile()
    assert (report.damaged, len(report.adopted)) == ([f"owner/name/{NAMES[2]}"], 3)
    assert found(filled.verify()) == {"corrupt": [NAMES[2]]}
    assert filled.verify(repair=True).exit_code() == 4


def test_rot_is_not_adopted_as_an_edit(filled):
    """A file of the recorded identity is not hashed, so what rotted unseen is still found by verify."""
    rot(filled.path(REPO, NAMES[3]))
    assert filled.reconcile().adopted == []
    assert found(filled.verify()) == {"corrupt": [NAMES[3]]}


def test_an_adopted_file_may_be_evicted_and_a_placed_one_may_not(root, hub):
    """Under a budget only what was adopted makes room; files that nobody hashed count and stay."""
    clock = Later()
    hub.add_repo(REPO, {FILE: pattern(300_000)})
    path = place(root, "owner/other/mine.bin", pattern(300_000, 1))
    cache = ModelCache(root, endpoint=hub.url, token=False, max_size=500_000, clock=clock, min_idle=0)
    with pytest.raises(Exception, match="that nobody adopted yet"):
        cache.fetch(REPO, FILE)
    cache.reconcile()
    clock.ahead += 3600
    cache.fetch(REPO, FILE)
    assert not path.exists()


def test_a_name_that_was_guessed_wrongly_gives_way(root, hub):
    """`gpt2/onnx/model.bin` can be two things; the one it is used as counts, and it is not evicted while in use as that."""
    clock = Later()
    hub.add_repo("gpt2", {"onnx/model.bin": pattern(300_000)})
    hub.add_repo(REPO, {FILE: pattern(300_000, 1)})
    path = place(root, "gpt2/onnx/model.bin", pattern(300_000))
    cache = ModelCache(root, endpoint=hub.url, token=False, max_size=500_000, clock=clock, min_idle=0)
    cache.reconcile(rebuild=True)
    assert [(row.repo, row.filename) for row in cache.entries()] == [("gpt2/onnx", "model.bin")]
    assert cache.fetch("gpt2", "onnx/model.bin") == path
    clock.ahead += 3600
    with pytest.raises(Exception, match="needs"):
        cache.fetch(REPO, FILE)
    path.unlink()
    assert cache.fetch("gpt2", "onnx/model.bin").read_bytes() == pattern(300_000)
    assert [(row.repo, row.filename) for row in cache.entries()] == [("gpt2", "onnx/model.bin")]


def test_a_rebuild_keeps_what_the_hashes_confirm(filled, root):
    """A new index has every file, hashed; commits and pins are taken over from the old one, and the old one is kept."""
    filled.pin(REPO, NAMES[0])
    place(root, "owner/name/extra.bin")
    filled.path(REPO, NAMES[1]).write_bytes(b"mine")
    report = filled.reconcile(rebuild=True)
    assert (report.index, len(report.rebound), sorted(report.adopted)) == (
        "rebuilt",
        3,
        ["owner/name/extra.bin", f"owner/name/{NAMES[1]}"],
    )
    assert rows(filled)[NAMES[0]] == ("download", "ok", True)
    assert [row.filename for row in filled.entries() if row.pinned] == [NAMES[0]]
    assert len([name for name in os.listdir(root / ".model-cache") if name.startswith("index.db.replaced-")]) == 2


def test_a_file_that_is_not_an_entry_is_left_alone(filled, root):
    """What cannot be a model's path, is a symlink, or no file at all, is neither entered nor touched."""
    place(root, "README.txt")
    (root / "owner" / "name" / "link.bin").symlink_to(filled.path(REPO, NAMES[0]))
    os.mkfifo(root / "owner" / "name" / "fifo")
    assert filled.reconcile().adopted == []
    assert (root / "README.txt").exists() and (root / "owner" / "name" / "link.bin").is_symlink()


def test_gc_keeps_two_backups_of_the_index(root, hub):
    """Each gc copies the index, at most once an hour; the copy before the newest is kept too."""
    clock = Later()
    cache = ModelCache(root, endpoint=hub.url, token=False, clock=clock)
    hub.add_repo(REPO, {FILE: pattern(1000)})
    cache.fetch(REPO, FILE)
    backups = root / ".model-cache" / "backup"
    cache.gc()
    assert os.listdir(backups) == ["index.db"]
    first = (backups / "index.db").stat().st_ino
    cache.gc()
    assert (backups / "index.db").stat().st_ino == first
    clock.ahead += 3601
    cache.gc()
    assert sorted(os.listdir(backups)) == ["index.1.db", "index.db"]
    assert (backups / "index.1.db").stat().st_ino == first


def test_a_reader_brings_a_lost_index_back_from_its_backup(filled, hub, root):
    """Listing after the index was deleted shows what the backup knew, pins included."""
    filled.pin(REPO, NAMES[0])
    filled.gc()
    before = [row.filename for row in filled.entries()]
    (root / ".model-cache" / "index.db").unlink()
    fresh = ModelCache(root, endpoint=hub.url, token=False)
    assert [row.filename for row in fresh.entries()] == before
    assert [row.filename for row in fresh.entries() if row.pinned] == [NAMES[0]]


def test_a_file_that_came_beside_a_partial_is_entered_and_stays_known(filled, root, hub, cache):
    """A file that somebody put there after a download of it had broken off has a row, also once the partial is given up."""
    hub.add_repo(REPO, {"late.bin": pattern(3_000_000)})
    hub.fault("late.bin", "cut", times=None, at=0.5)
    with pytest.raises(DownloadError):
        filled.fetch(REPO, "late.bin")
    place(root, "owner/name/late.bin")
    assert filled.reconcile().adopted == ["owner/name/late.bin"]
    clock = Later()
    clock.ahead = 4 * 86400
    later = ModelCache(root, clock=clock, min_idle=0)
    later.gc()
    assert rows(later)["late.bin"][0] == "adopted"
    assert (later.reconcile().adopted, (root / "owner/name/late.bin").read_bytes()) == ([], b"placed by hand")
    assert later.verify().untracked == []
