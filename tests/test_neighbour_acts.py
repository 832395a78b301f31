"""What a neighbour who may write in the root does at the worst moment, or once and for all; and what an index of theirs does."""

import os
import shutil
import socket
import sqlite3
import struct
import subprocess
import sys

import pytest
from cli.cli_equipment import Shell
from neighbour_equipment import outside
from support import FILE, REPO, Later, pattern
from test_neighbour import plant

from model_cache import IndexUnavailableError, LockTimeoutError, ModelCache, ModelCacheError, StorageError
from model_cache.index import rows
from model_cache.layout import Entry

BODIES = {FILE: pattern(9000), "b.bin": pattern(9000, 1)}
ENTRY = Entry(REPO, FILE)
HOLD = """
import fcntl, os, sys
fd = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT)
fcntl.flock(fd, fcntl.LOCK_EX)
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def filled(hub, root):
    """A cache with two downloads, whose clock waits for nothing."""
    hub.add_repo(REPO, BODIES)
    more = {"min_idle": 0, "touch_interval": 0, "lock_timeout": 1}
    cache = ModelCache(root, endpoint=hub.url, token=False, clock=Later(), **more)
    for name in BODIES:
        cache.fetch(REPO, name)
    yield cache
    cache._ctx.close()


@pytest.fixture
def away(tmp_path):
    """Something of somebody's own, watched."""
    with outside(tmp_path / "outside") as watched:
        yield watched


# At the worst moment


def at(step, act):
    """A failure point that lets somebody act just before a step, once."""
    done = []

    def reached(name):
        if name == step and not done:
            done.append(name)
            act()

    return reached


def lead_away(place, away):
    """Put a symlink to a directory of somebody's own in the place of one."""
    shutil.move(place, f"{place}.moved")
    os.symlink(away.directory, place)


STEPS = {
    "publish:link": ("owner", "partial", "used"),
    "publish:touch": ("used",),
    "publish:unlink-partial": ("partial",),
    "evict:rename": ("owner", "trash"),
    "evict:fsync": ("owner", "trash"),
    "evict:unlink": ("trash",),
    "evict:row": ("owner", "used"),
    "replace:rename": ("owner", "partial"),
    "replace:fsync-directory": ("owner",),
    "listing:write": ("listings",),
}
ACTS = {
    "publish": lambda cache: cache.fetch(REPO, "new.bin"),
    "evict": lambda cache: cache.gc(max_size=0),
    "replace": lambda cache: cache.fetch(REPO, FILE, force=True),
    "listing": lambda cache: cache.fetch_repo(REPO),
}


@pytest.mark.parametrize(("step", "name"), [(step, name) for step, names in STEPS.items() for name in names])
def test_a_directory_that_becomes_a_symlink_between_two_steps_leads_nowhere(filled, hub, root, away, step, name):
    """Every name is given, taken and removed in the directory that was opened part by part: nothing outside is touched."""
    hub.add_repo(REPO, {**BODIES, "new.bin": pattern(9000, 2), FILE: pattern(9000, 3)})
    place = root / (name if name == "owner" else f".model-cache/{name}")
    cache = ModelCache(
        root,
        endpoint=hub.url,
        token=False,
        clock=Later(),
        min_idle=0,
        touch_interval=0,
        step=at(step, lambda: lead_away(place, away)),
    )
    away.forget()
    try:
        ACTS[step.partition(":")[0]](cache)
    except (ModelCacheError, OSError) as error:
        assert str(error)
    cache._ctx.close()
    assert place.is_symlink(), "the step was reached"
    assert away.happened() == []


def test_a_partial_that_is_exchanged_after_it_was_verified_is_not_published(hub, root):
    """What gets the name is the open file that was hashed, whatever the partial's path leads to by then."""
    hub.add_repo(REPO, BODIES)

    def exchange():
        partial = root / ".model-cache" / "partial" / ENTRY.key
        partial.rename(partial.with_suffix(".theirs"))
        partial.write_bytes(b"evil")

    cache = ModelCache(root, endpoint=hub.url, token=False, step=at("publish:link", exchange))
    assert cache.fetch(REPO, FILE).read_bytes() == BODIES[FILE]
    cache._ctx.close()


def test_a_partial_that_is_exchanged_before_it_replaces_a_file_replaces_nothing(filled, hub, root):
    """A replacement is refused where the partial is another file than the one that was hashed; the old file stays."""
    hub.add_repo(REPO, {FILE: pattern(9000, 5)})

    def exchange():
        partial = root / ".model-cache" / "partial" / ENTRY.key
        partial.rename(partial.with_suffix(".theirs"))
        partial.write_bytes(b"evil")

    cache = ModelCache(root, endpoint=hub.url, token=False, min_idle=0, step=at("replace:rename", exchange))
    with pytest.raises(StorageError, match="replaced by another file"):
        cache.fetch(REPO, FILE, force=True)
    cache._ctx.close()
    assert (root / REPO / FILE).read_bytes() == BODIES[FILE]


def test_what_is_in_the_trash_is_not_moved_out_of_the_root(filled, root, away):
    """A row that says `deleting`, a file in the trash, and a symlink for its directory put no file where the symlink leads."""
    with filled._ctx.index.transaction("test") as connection:
        connection.execute("UPDATE entries SET state = 'deleting' WHERE key = ?", (ENTRY.key,))
    (root / ".model-cache" / "trash" / ENTRY.key).write_bytes(b"evil")
    shutil.rmtree(root / REPO)
    (root / REPO).symlink_to(away.directory)
    away.forget()
    with pytest.raises(StorageError, match="is a symlink"):
        filled.fetch(REPO, FILE)
    filled.gc()
    assert away.happened() == []


# Once and for all: locks


@pytest.fixture
def hold():
    """Hold a lock in another process, for as long as the test lasts."""
    started = []

    def begin(path):
        process = subprocess.Popen(
            [sys.executable, "-c", HOLD, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        started.append(process)
        assert process.stdout.readline() == "held\n"
        return process.pid

    yield begin
    for process in started:
        process.kill()
        process.communicate()


HELD = {
    "index.lock": lambda cache: cache.pin(REPO),
    "gc.lock": lambda cache: cache.gc(),
    "verify.lock": lambda cache: cache.verify(),
    f"locks/{Entry(REPO, 'new.bin').key}.lock": lambda cache: cache.fetch(REPO, "new.bin"),
}


@pytest.mark.parametrize("name", HELD)
def test_a_lock_that_is_held_for_ever_ends_a_wait_with_the_name_of_who_holds_it(filled, hub, root, hold, name):
    """Each wait is bounded and ends with 11; the kernel says whose the lock is, not a file that anybody wrote."""
    hub.add_repo(REPO, {**BODIES, "new.bin": b"new"})
    pid = hold(root / ".model-cache" / name)
    with pytest.raises((LockTimeoutError, IndexUnavailableError)) as caught:
        HELD[name](filled)
    assert caught.value.exit_code == 11
    if name != "verify.lock":  # that one is not waited for
        assert f"pid {pid} (" in str(caught.value)


def test_a_model_file_that_is_locked_for_ever_is_a_bounded_wait(filled, root, hold):
    """A hit gives up after ten seconds, and names the holder."""
    pid = hold(root / REPO / FILE)
    with pytest.raises(LockTimeoutError, match=f"by pid {pid} "):
        filled.fetch(REPO, FILE)


def test_with_the_index_locked_for_ever_a_download_still_comes(filled, hub, root, hold):
    """A fetch goes on without the index (I8)."""
    hub.add_repo(REPO, {**BODIES, "new.bin": b"new"})
    hold(root / ".model-cache" / "index.lock")
    assert filled.fetch(REPO, "new.bin").read_bytes() == b"new"


# An index that somebody else made


def theirs(root):
    """A connection of somebody who may write the index, and knows how its facts are sealed."""
    connection = sqlite3.connect(root / ".model-cache" / "index.db", isolation_level=None)
    connection.create_function("seal", -1, rows.seal)
    return connection


def super_journal(path):
    """The end of a journal that says: this transaction was over several files, and here is the list of them."""
    name = os.fsencode(path)
    signed = sum(byte if byte < 128 else byte - 256 for byte in name) & 0xFFFFFFFF
    magic = bytes.fromhex("d9d505f920a163d7")
    return struct.pack(">I", 0x40000000 // 4096 + 1) + name + struct.pack(">II", len(name), signed) + magic


@pytest.mark.parametrize("already_open", [True, False])
def test_a_journal_that_names_a_file_of_somebodys_has_nobody_remove_it(filled, root, away, already_open):
    """SQLite takes such a journal back and then removes the file it names; it does not come to that."""
    if not already_open:
        filled._ctx.close()
    pages = (root / ".model-cache" / "index.db").stat().st_size // 4096
    magic = bytes.fromhex("d9d505f920a163d7")
    header = (magic + struct.pack(">IIIII", 0, 0, pages, 512, 4096)).ljust(512, b"\0")
    journal = root / ".model-cache" / "index.db-journal"
    journal.write_bytes(header + super_journal(away.file))
    for operation in (filled.entries, filled.gc, filled.verify, lambda: filled.pin(REPO), filled.reconcile):
        with pytest.raises(IndexUnavailableError, match="names another file"):
            operation()
    assert filled.fetch(REPO, FILE).read_bytes() == BODIES[FILE]
    assert away.happened() == []
    journal.unlink()
    assert filled.verify().exit_code() == 0


FOREVER = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT x FROM n"
PLANTED = {
    "a trigger": "CREATE TRIGGER more AFTER UPDATE ON entries BEGIN DELETE FROM entries WHERE id <> NEW.id; END",
    "a view without end": f"ALTER TABLE entries RENAME TO kept; CREATE VIEW entries AS {FOREVER}",
    "a virtual table": "DROP TABLE counters; CREATE VIRTUAL TABLE counters USING fts5(kind, events, bytes)",
    "a huge value": "UPDATE entries SET holder = printf('%.*c', 3000000, 'x')",
    "a huge number of times": "UPDATE meta SET value = printf('%.*c', 100000, '9')",
    "another kind of value": "UPDATE entries SET last_used_at = 'never', size = 'much'",
}


@pytest.mark.parametrize("what", PLANTED)
def test_an_index_that_somebody_prepared_is_a_damaged_one(filled, root, what):
    """It is set aside by whoever writes next, or is an error; hits go on, and after `reconcile` all is well."""
    filled._ctx.close()
    with theirs(root) as connection:
        connection.executescript(PLANTED[what])
    connection.close()
    for operation in (
        filled.entries,
        filled.usage,
        lambda: filled.pin(REPO),
        filled.verify,
        lambda: filled.gc(max_size="1TB"),
    ):
        try:
            operation()
        except ModelCacheError as error:
            assert str(error).isprintable() and len(str(error)) < 500
    for name, body in BODIES.items():
        assert filled.fetch(REPO, name).read_bytes() == body
    filled.reconcile(rebuild=True)
    report = filled.verify()
    assert (report.checked, report.exit_code(strict=True)) == (2, 0)


PATHS = ["../outside/file", "{away}/file", "owner/../../outside/file", "own\0er/x", ".model-cache/index.db", ""]
AFTER = {
    "entries": lambda cache: cache.entries(),
    "verify": lambda cache: cache.verify(repair=True),
    "remove": lambda cache: cache.remove(REPO, force=True),
    "update": lambda cache: cache.update(),
    "gc": lambda cache: cache.gc(max_size=0),
    "reconcile": lambda cache: cache.reconcile(),
}
COLUMNS = ["path", "filename", "repo", "key", "revision"]


@pytest.mark.parametrize("column", COLUMNS)
def test_a_path_in_the_index_is_checked_before_it_is_used(filled, hub, root, away, column):
    """Absolute, `..`, NUL, the cache's own: such a row is nobody's file, for every operation there is."""
    copy = root.parent / "copy"
    filled._ctx.close()
    shutil.copytree(root, copy)
    for path in PATHS:
        shutil.rmtree(root)
        shutil.copytree(copy, root, symlinks=True)
        with theirs(root) as connection:
            value = path.format(away=away.folder)
            connection.execute(f'UPDATE OR IGNORE entries SET "{column}" = ? WHERE filename = ?', (value, FILE))
            found = os.stat(away.file)
            facts = (found.st_ino, found.st_size, found.st_mtime_ns)
            connection.execute("UPDATE entries SET ino = ?, size = ?, mtime_ns = ? WHERE id = 1", facts)
            connection.execute(rows.SEALED)
        connection.close()
        cache = ModelCache(root, endpoint=hub.url, token=False, clock=Later(), min_idle=0)
        away.forget()
        for operation in AFTER.values():
            try:
                operation(cache)
            except ModelCacheError as error:
                assert str(error).isprintable()
        cache._ctx.close()
        assert away.happened() == [], path


# Files that a command is told to write


OUTPUTS = [
    ("metrics", "--textfile"),
    ("report", "-o"),
    ("report", "--database"),
    ("lock", REPO, "--from-cache", "-o"),
    ("lock", REPO, "--from-cache", "--force", "-o"),
]


def bound(place):
    """A socket, which is there though nobody listens."""
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(place))


def foreign(place, away):
    """A symlink of another user, where this one can make such."""
    place.symlink_to(away.file)
    if os.geteuid() == 0:
        os.lchown(place, 65534, 65534)


MADE = {
    "symlink": foreign,
    "hard link": lambda place, away: os.link(away.file, place),
    "FIFO": lambda place, _: os.mkfifo(place),
    "directory": lambda place, _: place.mkdir(),
    "socket": lambda place, _: bound(place),
}


@pytest.mark.parametrize("thing", MADE)
def test_an_output_file_goes_through_nothing_that_somebody_planted(filled, hub, environ, root, tmp_path, away, thing):
    """What stands there and is no file is left; a second name is not written to; a lock file is not written through a symlink.

    Of one's own symlink that holds for what is written: it is followed to a lock file, to be replaced, and to no other.
    """
    place = tmp_path / "out"
    shell = Shell(environ, root, hub)
    for arguments in OUTPUTS:
        plant(place, MADE[thing], away)
        away.forget()
        shell.run(*arguments, str(place))
        happened = [word for word in away.happened() if os.geteuid() == 0 or not word.startswith(("read", "opened"))]
        assert happened == [], arguments
    shell.close()
