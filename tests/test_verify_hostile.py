"""Verify, repair, reconcile and gc on what others planted: nothing hangs, leads out of the root, or costs a file."""

import json
import os
import sqlite3

import pytest
from support import FILE, REPO, Later, pattern
from verify_equipment import found, rot, snapshot

from model_cache import IndexUnavailableError, LockTimeoutError, ModelCache, StorageError, damage
from model_cache.index import quarantine, queries, rows
from model_cache.layout import Entry

BODY = pattern(100_000)
ENTRY = Entry(REPO, FILE)
PATIENCE = 40 * 86400.0  # seconds, beyond which quarantine is emptied


@pytest.fixture
def filled(hub, root):
    """A cache with one file, whose clock can be put forward."""
    hub.add_repo(REPO, {FILE: BODY, "b.json": b"{}"})
    cache = ModelCache(root, endpoint=hub.url, token=False, clock=Later(), min_idle=0)
    cache.fetch(REPO, FILE)
    cache.fetch(REPO, "b.json")
    yield cache
    cache._ctx.index.close()


def write(cache, sql, *values):
    """Write into the index as anybody who may write the root can, its checksums included."""
    cache._ctx.index.close()
    connection = sqlite3.connect(cache._ctx.places.index, isolation_level=None)
    connection.create_function("seal", -1, rows.seal)
    connection.execute(sql, values)
    connection.execute(rows.SEALED)
    connection.close()


@pytest.mark.parametrize("name", ["../../../mine", "{victim}", "..", "a/../../../mine", "", b"\xff", "x\x1b[31m"])
def test_a_name_in_quarantine_never_leads_to_a_file_elsewhere(filled, root, tmp_path, name):
    """What gc unlinks when quarantine ages is in quarantine, whatever a row calls it; the row goes."""
    victim = tmp_path / "mine"
    victim.write_text("mine")
    name = name.format(victim=victim) if isinstance(name, str) else name
    write(
        filled,
        "INSERT INTO quarantine (name, key, repo_type, repo, revision, filename, charged, at)"
        " VALUES (?, '', '', '', '', '', 1, 1000)",
        name,
    )
    filled.gc()
    assert victim.read_text() == "mine"
    assert filled.usage().quarantined == 0
    assert (root / ".model-cache").is_dir() and filled.fetch(REPO, FILE).exists()


@pytest.mark.parametrize("table", ["quarantine", "entries"])
def test_a_key_never_makes_a_file_elsewhere(filled, tmp_path, table):
    """Keys become names of lock files; one that is none makes nothing."""
    before = set(tmp_path.iterdir())
    if table == "quarantine":
        write(
            filled,
            "INSERT INTO quarantine (name, key, repo_type, repo, revision, filename, at)"
            " VALUES ('x', '../../../mine', '', '', '', '', 1000)",
        )
    else:
        write(filled, "UPDATE entries SET key = '../../../mine' WHERE filename = ?", FILE)
    filled.gc(max_size=0)
    filled.verify(repair=True)
    assert set(tmp_path.iterdir()) == before


ODD = [b"\xff\x00", float("inf"), 2**63 - 1, "x\x1b]0;own\x07\n", "../../etc/passwd"]


@pytest.mark.parametrize("column", ["path", "filename", "size", "charged", "sha256", "last_used_at", "verified_at"])
def test_a_row_of_other_kinds_of_values_costs_no_file_and_no_hit(filled, root, column):
    """An index that has what this cache never writes is set aside, or its row not believed; reconcile makes it right."""
    before = snapshot(root)
    for odd in ODD:
        write(filled, f'UPDATE entries SET "{column}" = ? WHERE filename = ?', odd, FILE)
        assert found(filled.verify()).get("corrupt") is None, odd
        filled.gc()
        filled.reconcile()
        assert filled.fetch(REPO, FILE).read_bytes() == BODY
        report = filled.verify()
        assert (report.ok, found(report)) == (2, {}), odd
        assert before == snapshot(root), odd


def test_whoever_cannot_set_a_damaged_index_aside_is_told(filled, root):
    """A reader is neither shown nonsense nor given a traceback: the index is named, and who can mend it."""
    write(filled, "UPDATE entries SET size = ?", b"\xff")
    reader = ModelCache(root, read_only=True)
    with pytest.raises(IndexUnavailableError, match="is damaged") as caught:
        reader.verify()
    assert caught.value.hint.endswith("reconcile")


def test_a_generation_that_nobody_lives_to_see_is_none(filled, root):
    """A number planted beside the index, or in it, does not make every index an older one for good."""
    for planted in ("9" * 100, str(2**62), "٣", "x"):
        (root / ".model-cache" / "index.lock").write_text(planted)
        write(filled, "INSERT OR REPLACE INTO meta VALUES ('generation', ?)", planted)
        filled.reconcile()
        filled.gc()
        assert found(filled.verify()) == {}
        assert queries.entries(filled._ctx.index)[0].origin == "download", planted


def odd_marks(filled):
    """A mark that would fit the file, made senseless in several ways."""
    status = filled.path(REPO, FILE).stat()
    facts = {"ino": status.st_ino, "size": status.st_size, "mtime_ns": status.st_mtime_ns, "etag": None, "commit": "c"}
    facts |= {"sha256": "0" * 64, "found": None}
    yield b"[" * 4000
    yield b"x" * 5000
    yield b"\xff\xfe"
    yield b"null"
    for more in ({"ino": "1"}, {"size": 10**4000}, {"sha256": "\x1b[31m"}, {"sha256": 5}, {"commit": "\ud800"}):
        yield json.dumps(facts | more).encode()


def test_a_mark_that_makes_no_sense_is_none(filled):
    """Depth, size, types, hashes and text of a mark are checked; hits and verify go on."""
    for text in odd_marks(filled):
        with open(filled._ctx.places.damaged + ENTRY.key, "wb") as file:
            file.write(text)
        assert damage.read(filled._ctx, ENTRY.key) is None, text[:80]
        assert filled.verify().ok == 2 and filled.reconcile().damaged == []
        assert filled.fetch(REPO, FILE).read_bytes() == BODY


@pytest.mark.parametrize("kind", ["fifo", "symlink", "directory"])
@pytest.mark.parametrize(
    "name", ["damaged/{key}", "used/{key}", "verify.lock", "quarantine/x", "trash/x", "locks/x.lock"]
)
def test_what_is_no_file_neither_hangs_nor_stops_anything(filled, tmp_path, kind, name):
    """A FIFO, a symlink or a directory in the place of a file of the cache's own is passed over."""
    outside = tmp_path / "outside"
    outside.write_text("outside")
    path = f"{filled._ctx.places.own}/{name.format(key=ENTRY.key)}"
    if os.path.lexists(path):
        os.unlink(path)
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "symlink":
        os.symlink(outside, path)
    else:
        os.mkdir(path)
    filled._ctx.clock.ahead += PATIENCE
    assert filled.verify(repair=True).ok == 2
    assert filled.verify(max_age=0).ok == 2  # in the same process: no lock was left behind
    filled.reconcile()
    filled.gc()
    assert filled.fetch(REPO, FILE).read_bytes() == BODY
    assert outside.read_text() == "outside"


@pytest.mark.parametrize("name", ["index.lock", "gc.lock"])
def test_a_lock_that_is_a_fifo_is_named(filled, name):
    """Locks that everything needs are refused with their path, and hits go on."""
    path = f"{filled._ctx.places.own}/{name}"
    filled.gc()
    filled._ctx.index.close()
    os.unlink(path)
    os.mkfifo(path)
    with pytest.raises((IndexUnavailableError, StorageError), match="regular file"):
        filled.gc()
    assert filled.fetch(REPO, FILE).read_bytes() == BODY


@pytest.mark.parametrize("word", ["\x1b]0;own\x07", "é\n\n", "x" * 5000, "7@host"])
def test_who_holds_the_verify_lock_is_said_harmlessly(filled, spawn, word):
    """What is read from a lock that others can write is a printable word, or `another process`."""
    code = """
        import fcntl
        file = open(arguments["path"], "w")
        fcntl.flock(file, fcntl.LOCK_EX)
        file.write(arguments["word"])
        file.flush()
        print("held", flush=True)
        sys.stdin.read()
    """
    holder = spawn(code, path=filled._ctx.places.verify_lock, word=word)
    assert holder.stdout.readline() == "held\n"
    with pytest.raises(LockTimeoutError) as caught:
        filled.verify()
    assert str(caught.value).isprintable()
    assert str(caught.value).endswith(f"by {word}" if word == "7@host" else "another process") or "é" in word


@pytest.mark.parametrize("name", ["damaged", "quarantine", "backup"])
def test_own_directories_that_are_symlinks_are_refused(filled, tmp_path, name):
    """Nothing is marked, moved or copied through a symlink that somebody put in a directory's place."""
    away = tmp_path / "away"
    away.mkdir()
    path = f"{filled._ctx.places.own}/{name}"
    filled.gc()
    os.rename(path, f"{path}.was")
    os.symlink(away, path)
    for run in (filled.gc, filled.reconcile):
        with pytest.raises(StorageError, match="is a symlink"):
            run()
    rot(filled.path(REPO, FILE))
    assert found(filled.verify()) == {"corrupt": [FILE]}
    assert list(away.iterdir()) == []


def hostile_backup(path, kind, tmp_path):
    """Put something in the place of the newest backup."""
    os.unlink(path)
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "symlink":
        (tmp_path / "other.db").write_bytes(b"")
        os.symlink(tmp_path / "other.db", path)
    elif kind == "noise":
        with open(path, "wb") as file:
            file.write(b"SQLite format 3\0" + bytes(5000))
    else:
        endless = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT x FROM c"
        connection = sqlite3.connect(path)
        connection.execute(f"PRAGMA user_version = {99 if kind == 'newer' else 2}")
        if kind == "views":
            for table in ("entries", "meta", "totals", "events"):
                connection.execute(f"CREATE VIEW {table} AS {endless}")
        else:
            connection.execute("CREATE TABLE meta (name, value)")
            connection.execute("INSERT INTO meta VALUES ('complete', '1')")
            connection.execute("CREATE TABLE taken (x)")
            connection.execute(
                f"CREATE TRIGGER t AFTER DELETE ON meta BEGIN INSERT INTO taken SELECT * FROM ({endless}); END"
            )
        connection.commit()
        connection.close()


@pytest.mark.parametrize("kind", ["fifo", "symlink", "noise", "newer", "views", "triggers"])
def test_a_backup_that_is_none_of_ours_is_not_brought_back(filled, root, tmp_path, kind):
    """Neither a FIFO, a symlink, another schema nor a database that never ends its answer takes the index's place."""
    filled.gc()
    filled._ctx.index.close()
    hostile_backup(f"{filled._ctx.places.backups}/index.db", kind, tmp_path)
    os.unlink(filled._ctx.places.index)
    report = filled.reconcile()
    assert sorted(report.adopted) == [f"{REPO}/b.json", f"{REPO}/{FILE}"]
    assert found(filled.verify()) == {}
    assert filled.fetch(REPO, FILE).read_bytes() == BODY


def plant(root):
    """What a user can make below a root, and no entry is."""
    here = root / "some" / "where"
    here.mkdir(parents=True)
    os.mkfifo(here / "fifo")
    os.symlink(here, here / "loop")
    os.symlink("/etc/passwd", here / "passwd")
    for name in (b"new\nline", b"esc\x1b[31m", b"\xff\xfe", b"x" * 255, "\u202egpj".encode()):
        (root / "some" / "where" / os.fsdecode(name)).write_bytes(b"odd")
    deep = here
    for _ in range(300):
        deep = deep / "deep"
    deep.mkdir(parents=True)
    (deep / "file").write_bytes(b"deep")


def test_a_tree_of_oddities_is_walked_to_its_end(filled, root, tmp_path):
    """Loops, FIFOs, names that are no text and 300 levels are passed over or entered; none is followed or lost."""
    outside = tmp_path / "outside"
    outside.write_bytes(b"outside")
    plant(root)
    os.link(outside, root / "some" / "where" / "linked")
    before = snapshot(root)
    adopted = filled.reconcile().adopted
    assert [path for path in adopted if not path.isprintable() or "\n" in path or "passwd" in path] == []
    assert "some/where/linked" in adopted and sum(path.endswith("deep/file") for path in adopted) == 1
    report = filled.verify()
    assert (report.untracked, found(report)) == ([], {})
    filled._ctx.clock.ahead += PATIENCE
    gone = {row.path for row, _, _ in filled.gc(max_size=0).evicted}
    assert "some/where/linked" not in gone and outside.read_bytes() == b"outside"
    left = snapshot(root)
    assert left == {path: body for path, body in before.items() if path not in gone}


def test_a_directory_that_was_moved_away_and_linked_back_is_not_reached_through(filled, root, tmp_path):
    """What stands behind a symlinked directory is outside the root: not evicted, not quarantined, not replaced."""
    away = tmp_path / "away"
    os.rename(root / REPO, away)
    os.symlink(away, root / REPO)
    rot(away / FILE)
    bad = (away / FILE).read_bytes()
    report = filled.verify(repair=True)
    assert report.repaired == [] and report.exit_code() == 3
    filled._ctx.clock.ahead += PATIENCE
    assert filled.gc(max_size=0).evicted == []
    assert (away / FILE).read_bytes() == bad
    assert quarantine.listed(filled._ctx.index) == []


def test_a_file_in_whose_place_a_symlink_came_is_changed(filled, tmp_path):
    """A symlink is not read, hashed or repaired, wherever it leads."""
    path = filled.path(REPO, FILE)
    os.rename(path, tmp_path / "kept")
    os.symlink("/etc/passwd", path)
    report = filled.verify(repair=True)
    assert found(report) == {"changed": [FILE]} and report.repaired == []
    assert os.readlink(path) == "/etc/passwd"


LIES = {
    **{name: {} for name in ("flip", "hangup", "html", "wrong_length", "no_etag", "compressed")},
    **{status: {"status": int(status), "on": "any"} for status in ("401", "403", "404", "500")},
    "redirect": {"to": "loop"},
    "no_length": {"cut": True},
}


@pytest.mark.parametrize("lie", LIES)
def test_a_hub_that_lies_during_a_repair_makes_nothing_worse(filled, hub, root, lie):
    """Whatever is answered, the path has the damaged bytes or the recorded ones, and the next repair mends."""
    rot(filled.path(REPO, FILE))
    filled.verify()
    before = snapshot(root)
    hub.fault(FILE, "status" if lie.isdecimal() else lie, times=None, **LIES[lie])
    report = filled.verify(repair=True)
    mended = [row.filename for row in report.repaired]
    assert report.exit_code() == (4 if mended else 3)
    # Also of a 404 that does not say what is not there: a proxy's would look like that.
    assert snapshot(root) == ({**before, f"{REPO}/{FILE}": BODY} if mended else before)
    assert mended or [row.filename for row, _ in report.errors] == [FILE]
    hub.clear_faults()
    filled.verify(repair=True)
    assert filled.fetch(REPO, FILE).read_bytes() == BODY
    assert found(filled.verify()) == {}
