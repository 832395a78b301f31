"""`verify`: what was recorded is read again, and each file gets the class that it deserves."""

import os
import random
import shutil
import subprocess
import sys

import pytest
from support import FILE, REPO, Later, finish, pattern
from verify_equipment import Told, found, rot

from model_cache import IntegrityError, LockTimeoutError, ModelCache, OfflineMissError, StorageError
from model_cache.clock import Clock
from model_cache.index import queries

NAMES = [f"model-{number}.bin" for number in range(6)]


@pytest.fixture
def filled(cache, hub):
    """A cache that has six files, of which each is recorded as it is."""
    hub.add_repo(REPO, {name: pattern(50_000 + number, number) for number, name in enumerate(NAMES)})
    for name in NAMES:
        cache.fetch(REPO, name)
    hub.reset()
    return cache


def test_what_is_as_recorded_is_ok(filled, hub):
    """A run over whole files finds nothing, asks no network, and is complete."""
    report = filled.verify()
    assert (report.checked, report.ok, report.remaining, report.complete) == (6, 6, 0, True)
    assert report.checked_bytes == sum(filled.path(REPO, name).stat().st_size for name in NAMES)
    assert (found(report), report.untracked, report.exit_code()) == ({}, [], 0)
    assert hub.requests == []


def test_each_of_a_thousand_flipped_bytes_is_found(root, hub):
    """One flipped byte in each of 1,000 files, anywhere from the first to the last, size and mtime as before: all found."""
    draw = random.Random(20)
    folder = root / "owner" / "name"
    folder.mkdir(parents=True)
    for number in range(1000):
        (folder / f"{number:04}.bin").write_bytes(draw.randbytes(draw.randint(1, 9000)))
    cache = ModelCache(root, endpoint=hub.url, token=False)
    assert len(cache.reconcile(rebuild=True).adopted) == 1000
    assert cache.verify().ok == 1000
    for number, path in enumerate(sorted(folder.iterdir())):
        size = path.stat().st_size
        offset = {0: 0, 1: size - 1}.get(number % 3, draw.randrange(size))
        rot(path, offset, 1 << draw.randrange(8))
    report = cache.verify()
    assert (len(report.corrupt), report.ok, report.exit_code()) == (1000, 0, 3)


def append(path):
    """Longer than before."""
    with path.open("ab") as file:
        file.write(b"x")


def edit(path):
    """Other bytes of the same length, as an editor writes them: a new file renamed over the old one."""
    new = path.with_suffix(".new")
    new.write_bytes(path.read_bytes()[::-1])
    new.rename(path)


def copy_over(path):
    """`cp -p` of a backup with the same bytes over it."""
    backup = path.parent.parent / "backup"
    shutil.copy2(path, backup)
    path.write_bytes(b"something else")
    subprocess.run(["cp", "-p", backup, path], check=True)
    backup.unlink()


def copy_other_over(path):
    """`cp -p` of another, older file over it."""
    other = path.parent.parent / "other"
    other.write_bytes(pattern(path.stat().st_size, 99))
    os.utime(other, (1_000_000_000, 1_000_000_000))
    subprocess.run(["cp", "-p", other, path], check=True)
    other.unlink()


def rename_and_back(path):
    """Moved away and back."""
    path.rename(path.with_suffix(".away"))
    path.with_suffix(".away").rename(path)


def restore(path):
    """Taken from a backup: a new file with the old bytes and the old mtime, to the second."""
    data, seconds = path.read_bytes(), int(path.stat().st_mtime)
    path.unlink()
    path.write_bytes(data)
    os.utime(path, (seconds, seconds))


def link(path):
    """Another file in its place, through a symlink."""
    path.rename(path.parent.parent / "aside")
    path.symlink_to(path.parent.parent / "aside")


@pytest.mark.parametrize(
    ("act", "verdict"),
    [
        (lambda path: path.touch(), "rebound"),
        (lambda path: os.chmod(path, 0o600), "ok"),
        (copy_over, "ok"),
        (copy_other_over, "changed"),
        (edit, "changed"),
        (lambda path: path.write_bytes(b""), "changed"),
        (append, "changed"),
        (rename_and_back, "ok"),
        (restore, "rebound"),
        (link, "changed"),
        (lambda path: path.unlink(), "missing"),
        (lambda path: (path.unlink(), path.mkdir()), "changed"),
        (lambda path: (path.unlink(), os.mkfifo(path)), "changed"),
        (rot, "corrupt"),
    ],
    ids=[
        *("touch", "chmod", "cp-p", "cp-p-other", "editor", "truncate", "append", "rename-back", "restore"),
        *("symlink", "unlink", "directory", "fifo", "rot"),
    ],
)
def test_each_mishap_has_its_class(filled, act, verdict):
    """Only rot is called corrupt: a file that was touched, restored, edited or removed says so by its inode, size or mtime."""
    act(filled.path(REPO, NAMES[2]))
    told = Told()
    report = filled.verify(progress=told)
    assert dict(told.judged)[NAMES[2]] == verdict
    assert [judged for judged in told.judged if judged[1] != "ok"] == [(NAMES[2], verdict)] * (verdict != "ok")
    assert report.exit_code() == (3 if verdict in ("changed", "corrupt") else 0)


@pytest.mark.skipif(shutil.which("rsync") is None, reason="rsync is not installed")
@pytest.mark.parametrize(("options", "verdict"), [(["-t"], "rebound"), (["-t", "--inplace", "--no-whole-file"], "ok")])
def test_rsync_of_the_same_bytes_is_no_damage(filled, tmp_path, options, verdict):
    """Rsync replaces the file, or rewrites it in place; the bytes are the recorded ones."""
    path = filled.path(REPO, NAMES[0])
    shutil.copy2(path, tmp_path / "copy")
    subprocess.run(["rsync", "--ignore-times", *options, tmp_path / "copy", path], check=True)
    told = Told()
    assert filled.verify(progress=told).exit_code() == 0
    assert dict(told.judged)[NAMES[0]] == verdict


def test_what_was_rebound_is_ok_from_then_on(filled):
    """The new inode and mtime are recorded, so the file can be judged, and evicted, again."""
    restore(filled.path(REPO, NAMES[1]))
    assert filled.verify().rebound == 1
    report = filled.verify()
    assert (report.rebound, report.ok) == (0, 6)


def test_known_damage_fails_every_run_until_it_is_mended(filled, hub):
    """Damage is read first, reported by each run, also by one that had no time left, and gone when it is mended."""
    rot(filled.path(REPO, NAMES[4]), 777)
    assert found(filled.verify()) == {"corrupt": [NAMES[4]]}
    told = Told()
    assert filled.verify(jobs=1, progress=told).exit_code() == 3
    assert told.judged[0] == (NAMES[4], "corrupt")
    limited = filled.verify(time_limit=0)
    assert (limited.checked, found(limited), limited.exit_code()) == (0, {"corrupt": [NAMES[4]]}, 3)
    assert filled.verify(max_age="1h").exit_code() == 3
    assert filled.verify(repair=True).exit_code() == 4
    assert filled.verify().exit_code() == 0


def test_a_damaged_file_is_not_served(filled, hub, root):
    """Once verify knows, a hit fetches the recorded bytes anew; offline it raises, and the file is not `cached`."""
    path = filled.path(REPO, NAMES[3])
    whole = path.read_bytes()
    rot(path, 10)
    filled.verify()
    other = ModelCache(root, endpoint=hub.url, token=False)
    assert not other.is_cached(REPO, NAMES[3])
    with pytest.raises(IntegrityError, match="is damaged"):
        other.fetch(REPO, NAMES[3], offline=True)
    with other.open(REPO, NAMES[3]) as file:
        assert file.read() == whole
    assert filled.fetch(REPO, NAMES[3]).read_bytes() == whole
    assert hub.body_gets(NAMES[3]) == 1
    assert filled.verify().exit_code() == 0


def test_a_mark_says_nothing_of_another_file(filled):
    """Right bytes that somebody puts in the place of damaged ones are a hit at once, without verify or index."""
    path = filled.path(REPO, NAMES[0])
    whole = path.read_bytes()
    rot(path)
    filled.verify()
    path.unlink()
    path.write_bytes(whole)
    assert filled.fetch(REPO, NAMES[0], offline=True).read_bytes() == whole
    assert filled.verify().rebound == 1
    assert os.listdir(filled.root / ".model-cache" / "damaged") == []


def test_verify_leaves_last_uses_alone(filled, root):
    """Neither the marker nor the row of a file that is read and judged becomes younger, nor that of a repaired one."""
    rot(filled.path(REPO, NAMES[5]))
    used = root / ".model-cache" / "used"
    before = {file.name: file.stat().st_mtime_ns for file in used.iterdir()}
    rows = {row.key: row.last_used_at for row in filled.entries()}
    assert filled.verify(repair=True).exit_code() == 4
    assert {file.name: file.stat().st_mtime_ns for file in used.iterdir()} == before
    assert {row.key: row.last_used_at for row in filled.entries()} == rows


def test_names_of_one_file_are_read_once(cache, hub):
    """Two entries with the same bytes are one inode here: hashed once, and both are judged."""
    hub.add_repo(REPO, {FILE: pattern(100_000)})
    hub.add_repo("owner/fork", {FILE: pattern(100_000)})
    cache.fetch(REPO, FILE)
    cache.fetch("owner/fork", FILE)
    report = cache.verify()
    assert (report.checked, report.ok, report.checked_bytes) == (2, 2, 100_000)
    rot(cache.path(REPO, FILE))
    assert len(cache.verify().corrupt) == 2
    assert cache.verify(repair=True).exit_code() == 4
    assert cache.path("owner/fork", FILE).read_bytes() == cache.path(REPO, FILE).read_bytes() == pattern(100_000)


def test_the_order_is_damage_then_never_then_oldest(root, hub):
    """Known damage first, then what nobody verified, then the least recently verified."""
    clock = Later()
    cache = ModelCache(root, endpoint=hub.url, token=False, clock=clock)
    hub.add_repo(REPO, {name: pattern(1000, number) for number, name in enumerate(NAMES)})
    for name in (NAMES[3], NAMES[1], NAMES[0], NAMES[2]):
        cache.fetch(REPO, name)
        clock.ahead += 100
    rot(cache.path(REPO, NAMES[2]))
    cache.verify(REPO, NAMES[2])
    clock.ahead += 100
    with cache._ctx.index.transaction("test:never") as connection:
        connection.execute("UPDATE entries SET verified_at = NULL WHERE filename = ?", (NAMES[0],))
    told = Told()
    cache.verify(jobs=1, progress=told)
    assert [name for name, _ in told.judged] == [NAMES[2], NAMES[0], NAMES[3], NAMES[1]]


def test_a_limit_leaves_the_rest_for_the_next_run(filled):
    """A run that was limited is not complete; the next one reads what is left, and nothing twice."""
    first = filled.verify(byte_limit=100_000, jobs=1)
    assert (first.checked, first.remaining, first.complete, first.exit_code()) == (2, 4, False, 0)
    told = Told()
    second = filled.verify(jobs=1, progress=told)
    assert (second.checked, second.complete, second.resumed is not None) == (4, True, True)
    assert sorted(name for name, _ in told.judged) == NAMES[2:]
    assert filled.verify().checked == 6


def test_max_age_says_what_is_due(root, hub):
    """With an age only older results are due, whatever run they are of."""
    clock = Later()
    cache = ModelCache(root, endpoint=hub.url, token=False, clock=clock)
    hub.add_repo(REPO, {name: pattern(1000, number) for number, name in enumerate(NAMES)})
    cache.fetch(REPO, NAMES[0])
    clock.ahead += 3600
    cache.fetch(REPO, NAMES[1])
    told = Told()
    report = cache.verify(max_age="30m", progress=told)
    assert (told.judged, report.complete) == ([(NAMES[0], "ok")], True)
    assert cache.verify(max_age="30m").checked == 0


def test_the_rate_is_held(root, hub, filled):
    """At 100 kB per second 300 kB take three seconds by the clock that was handed in, whatever the number of readers."""
    clock = Later()
    cache = ModelCache(root, endpoint=hub.url, token=False, clock=clock)
    total = sum(cache.path(REPO, name).stat().st_size for name in NAMES)
    report = cache.verify(rate=100_000, jobs=3)
    assert report.ok == 6
    assert total / 100_000 * 0.9 <= report.seconds
    assert clock.ahead <= total / 100_000 * 1.1 + 1


def test_one_repo_or_one_file(filled, hub, cache):
    """A run over a repo, or a file, reads nothing else; and a name that is nowhere is said to be."""
    hub.add_repo("other/repo", {FILE: b"x" * 100})
    cache.fetch("other/repo", FILE)
    assert (filled.verify("other/repo").checked, filled.verify(REPO, NAMES[1]).checked) == (1, 1)
    with pytest.raises(OfflineMissError, match=r"owner/nothing is not in the cache"):
        filled.verify("owner/nothing")
    with pytest.raises(OfflineMissError, match=r"nothing\.bin is not in the cache"):
        filled.verify(REPO, "nothing.bin")


def test_what_was_never_hashed_is_untracked(filled, root):
    """A file placed by hand is named and not judged; it fails a strict run only."""
    (root / "owner" / "name" / "mine.bin").write_bytes(b"mine")
    report = filled.verify()
    assert (report.checked, report.untracked) == (6, ["owner/name/mine.bin"])
    assert (report.exit_code(), report.exit_code(strict=True)) == (0, 3)
    assert filled.verify(REPO, "mine.bin").untracked == ["owner/name/mine.bin"]


def test_there_must_be_something_to_verify_against(root, hub):
    """Without a root, or without an index, a run does not pass: it says that nothing is recorded, and makes nothing."""
    cache = ModelCache(root, endpoint=hub.url, token=False)
    with pytest.raises(StorageError, match="nothing is recorded"):
        cache.verify()
    assert not root.exists()
    root.mkdir()
    with pytest.raises(StorageError, match="no index"):
        cache.verify()
    assert list(root.iterdir()) == []


def test_runs_do_not_pile_up(filled, root, hub):
    """While one run is under way another one of any kind is refused, and says by whom; the lock goes with its holder."""
    other = ModelCache(root, endpoint=hub.url, token=False)
    refused = []

    def again(_path, _verdict):
        for run in (other.verify, other.reconcile):
            with pytest.raises(LockTimeoutError, match=rf"under way, by {os.getpid()}@") as error:
                run()
            refused.append(error.value.exit_code)

    filled.verify(progress=Told(again))
    assert refused == [11] * 12
    assert other.verify().ok == 6


def test_a_run_that_is_killed_is_gone_on_with(filled, spawn):
    """Killed at each result, and started again until it is complete: what was committed is not read again."""
    code = """
    import signal
    from model_cache.progress import Progress
    class Die(Progress):
        def reading(self, path):
            print(os.path.basename(path), flush=True)
        def verified(self, path, verdict):
            os.kill(os.getpid(), signal.SIGKILL)
    cache.verify(jobs=1, progress=Die())
    """
    began, runs, committed = Clock().time(), 0, set()
    while committed != set(NAMES):
        process = spawn(code)
        out, _ = process.communicate(timeout=120)
        runs += 1
        assert (process.returncode, committed & set(out.split())) == (-9, set())
        committed = {row.filename for row in filled.entries() if (row.verified_at or 0) > began}
    assert 1 < runs <= len(NAMES)
    last = filled.verify()
    assert (last.checked, last.complete) == (0, True)
    assert queries.last_run(filled._ctx.index, "verify_success")


def test_a_run_loads_no_http(filled, environ, root):
    """Reading and comparing needs neither the Hub's client nor a terminal's tables."""
    code = (
        "import sys, model_cache; report = model_cache.ModelCache(sys.argv[1]).verify();"
        " print(report.ok, sorted(name for name in ('requests', 'urllib3', 'click', 'rich') if name in sys.modules))"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(root)], env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert finish(process) == "6 []"
