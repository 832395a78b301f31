"""Opening, locking and surviving: one connection per process and thread, short transactions, damage set aside.

Concurrency:
    A rollback journal, not WAL: WAL loses writes when the file is replaced under it, needs shared memory, and does not
    work on network file systems. Writers wait at one `flock` on `index.lock`; SQLite's own locks are the second line.
    Before each transaction the path's inode is compared with the one that was opened, so an index that somebody
    replaced or set aside is never written by mistake. No transaction spans network, hashing or file I/O.

    Fork: a child neither uses nor closes its parent's connections; closing would drop the parent's POSIX locks.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from urllib.parse import quote

from .. import disk
from ..clock import Clock
from ..errors import IndexUnavailableError, LockTimeoutError, quoted
from ..locks import FileMutex
from ..platforms.capabilities import after_fork
from . import backup, rows, schema, state
from .handle import connect
from .rows import Provenance

_MUTEX_TIMEOUT = 60.0  # seconds to wait for other writers, each of which takes about a millisecond
_LOCK_LIMIT = 4096  # bytes of the lock's file; it holds a number
# Looks at an index before it is called damaged: SQLite calls a page malformed too that could not be read this once.
_LOOKS = 2
_BUSY_TIMEOUT = 5.0  # seconds for a foreign program (Datasette, a backup) that has the file locked

# Held around everything that enters SQLite, after the index lock, and over each fork: a child that is forked while another
# thread is inside SQLite would inherit its mutexes locked, and its idea of who has the file locked.
_inside = threading.RLock()
after_fork(before=_inside.acquire, after_in_parent=_inside.release, after_in_child=_inside.release)

_abandoned: list[sqlite3.Connection] = []  # connections inherited over a fork: kept, so that nothing closes them


class _Slot(threading.local):
    """The connection of one thread."""

    connection: sqlite3.Connection | None = None
    pid = 0
    identity: tuple[int, int] | None = None


class Index:
    """The SQLite index of one root.

    Args:
        path: Of `index.db`.
        lock_path: Of `index.lock`.
        mode: Of the files that are made.
        clock: Source of time.
        step: Called with the name of each step just before it is done.
        read_only: Nothing is written beside it or into it: neither migrated nor brought back from its backup.
    """

    def __init__(
        self,
        path: str,
        lock_path: str,
        mode: int,
        clock: Clock,
        step: Callable[[str], None],
        *,
        read_only: bool = False,
    ) -> None:
        self.path, self._lock_path, self._mode, self._read_only = path, lock_path, mode, read_only
        self.clock, self._step = clock, step
        self._slot = _Slot()

    @contextmanager
    def transaction(self, step: str) -> Iterator[sqlite3.Connection]:
        """One durable write transaction; rolled back if the block raises.

        Args:
            step: The name under which the failure points know this transaction.

        Raises:
            IndexUnavailableError: It cannot be opened, locked, understood or written; it may have been set aside.
        """
        with self._locked() as mutex:
            connection = self._writable()
            connection.execute("BEGIN IMMEDIATE")
            try:
                generation = rows.next_generation(connection, int(mutex.word) if mutex.word.isdecimal() else 0)
                yield connection
                self._step(step)
                connection.execute("COMMIT")
            except BaseException as error:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                if state.is_damage(error):
                    self._drop()
                    if self._is_damaged(thorough=True):
                        self._set_aside()
                raise
            with suppress(OSError):  # committed is committed: a count beside it that lags behind accuses nobody
                mutex.word = str(generation)

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection | None]:
        """A connection for statements that only read, or None where there is no index; creates nothing.

        Raises:
            IndexUnavailableError: It is there and cannot be read; or it is an older version's and cannot be written.
        """
        with self._errors():
            if not self._read_only and self._is_old():
                with self.transaction("index:upgrade"):
                    pass  # opening it to be written migrates it
            if not self._read_only and self._is_lost():
                with suppress(IndexUnavailableError):  # who may not write goes without
                    self.open()
        with self._errors(), _inside:
            connection = self._current()
            if connection is None and state.identity(self.path) is not None:
                connection = self._open(write=False)
                if schema.version(connection) == 0:
                    self._drop()  # made, and killed before its first transaction
                    connection = None
            yield connection

    def _is_old(self) -> bool:
        """Whether the index is of an older version, looked at when it is opened; not under the lock that a writer waits for."""
        with _inside:
            if self._current() is not None or state.identity(self.path) is None:
                return False
            found = schema.version(self._open(write=False))
            if found < schema.VERSION:
                self._drop()
            return 0 < found < schema.VERSION

    def _is_lost(self) -> bool:
        """Whether there was an index, and there is only a backup of it."""
        kept = (f"{self._backups}/{name}" for name in (backup.NEWEST, backup.BEFORE))
        return state.is_empty(self.path) and any(map(os.path.exists, kept))

    def _current(self) -> sqlite3.Connection | None:
        """This thread's connection, if it is of this process and still of the file at the path."""
        slot = self._slot
        if slot.connection is None:
            return None
        if slot.pid != os.getpid():
            _abandoned.append(slot.connection)
        elif slot.identity == state.identity(self.path):
            state.refuse_foreign_journal(self.path)
            return slot.connection
        else:
            slot.connection.close()
        slot.connection = None
        return None

    def _writable(self) -> sqlite3.Connection:
        """A connection to an index of this version, made or migrated where needed; the index lock is held."""
        connection = self._current()
        if connection is not None:
            return connection
        for _ in range(_LOOKS):
            try:
                return self._open(write=True)
            except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
                if not state.is_unusable(error):
                    raise
        self._set_aside()
        return self._open(write=True)

    @property
    def _backups(self) -> str:
        return f"{os.path.dirname(self.path)}/backup"

    def _open(self, *, write: bool, restore: bool = True) -> sqlite3.Connection:
        state.refuse_odd(self.path)
        state.refuse_odd(f"{self.path}-journal")
        if write and state.is_stranded(f"{self.path}-journal"):
            disk.remove(f"{self.path}-journal")
        state.refuse_foreign_journal(self.path)
        if write and state.is_empty(self.path) and not (restore and self._restore()):
            self._create_file()
        uri = f"file:{quote(self.path)}?mode={'ro' if self._read_only else 'rw'}"
        connection = connect(uri, _BUSY_TIMEOUT)
        try:
            connection.text_factory = rows.text
            connection.create_function("seal", -1, rows.seal, deterministic=True)
            if not self._read_only:
                connection.execute("PRAGMA journal_mode = PERSIST")
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("PRAGMA trusted_schema = OFF")
            connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, schema.LONGEST_ROW)
            schema.refuse_planted(connection)
            if write and schema.version(connection) != schema.VERSION:
                connection.execute("BEGIN IMMEDIATE")
                schema.migrate(connection)
                self._step("index:migrate")
                connection.execute("COMMIT")
            elif schema.version(connection) > schema.VERSION:
                schema.migrate(connection)  # refuses
        except BaseException:
            connection.close()
            raise
        slot = self._slot
        slot.connection, slot.pid, slot.identity = connection, os.getpid(), state.identity(self.path)
        return connection

    def _restore(self) -> bool:
        """Bring the newest sound copy back in the place of an index that is gone."""
        return backup.restore(self._backups, self.path, self._mode, schema.VERSION, self._step)

    def _create_file(self) -> None:
        """Make an empty file of the right mode."""
        with suppress(FileExistsError):
            os.close(disk.create(self.path, self._mode))

    def back_up(self, max_age: float) -> bool:
        """Keep a copy of the index, unless there is one that is younger than `max_age` seconds; whether one was made.

        Raises:
            IndexUnavailableError: The index cannot be read, or the copy not written.
        """
        with self._locked():
            try:
                age = self.clock.time() - os.stat(f"{self._backups}/{backup.NEWEST}").st_mtime
            except OSError:
                age = max_age
            if 0 <= age < max_age:
                return False
            try:
                return backup.keep(self._writable(), self._backups, self._mode, self._step)
            except OSError as error:
                raise IndexUnavailableError(
                    f"no backup of the index in {self._backups}: {error.strerror}",
                    hint=f"ls -ld {quoted(self._backups)}",
                ) from None

    def open(self) -> None:
        """Open it to be written: made or brought back where it is gone, and called stale if it is an older one."""
        with self.transaction("index:open"):
            pass

    @property
    def seen(self) -> int:
        """Transactions that were counted beside the index; read without the lock, for a first look."""
        try:
            word = disk.read_small(self._lock_path, _LOCK_LIMIT).decode("ascii", "replace").strip()
        except OSError:
            return 0
        return int(word) if word.isdecimal() else 0

    def remembered(self) -> dict[str, Provenance]:
        """Where files came from, by path, as the newest sound backup has it."""
        return backup.remembered(self._backups, schema.VERSION)

    def rebuild(self) -> None:
        """Set the index aside, whatever its state, so that the next transaction begins an empty one."""
        with self._locked():
            self._drop()
            if state.identity(self.path) is not None:
                self._set_aside("replaced")
            self._open(write=True, restore=False)

    def mend(self, *, thorough: bool = False) -> bool:
        """Look whether the index is damaged, and set it aside if it is; the next transaction makes a new one.

        Returns:
            Whether it was set aside.

        Raises:
            IndexUnavailableError: It cannot even be looked at.
        """
        with self._locked():
            self._drop()
            damaged = self._is_damaged(thorough=thorough)
            if damaged:
                self._set_aside()
            return damaged

    @contextmanager
    def _locked(self) -> Iterator[FileMutex]:
        """The index lock, for work on the file as a whole."""
        if self._read_only:
            raise IndexUnavailableError(f"index {self.path}: this root is only read")
        mutex = FileMutex(self._lock_path, self._mode, self.clock)
        with self._errors():
            mutex.acquire(_MUTEX_TIMEOUT)
            try:
                with _inside:  # whatever ends the wait for another thread: the lock is let go
                    yield mutex
            finally:
                mutex.release()

    def _is_damaged(self, *, thorough: bool) -> bool:
        return all(self._looks_damaged(thorough=thorough) for _ in range(_LOOKS))

    def _looks_damaged(self, *, thorough: bool) -> bool:
        if state.identity(self.path) is None:
            return False
        try:
            return not backup.is_sound(self._open(write=False), thorough=thorough)
        except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
            if not state.is_unusable(error):
                raise
            return True
        finally:
            self._drop()

    def _set_aside(self, why: str = "damaged") -> None:
        """Rename an index out of the way, its journal with it; the index lock is held (I8)."""
        aside = f"{self.path}.{why}-{int(self.clock.time())}-{os.urandom(2).hex()}"
        self._step("index:set-aside")
        for suffix in ("-journal", ""):
            if os.path.exists(self.path + suffix):
                disk.set_aside(self.path + suffix, aside + suffix)

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """Whatever SQLite or the file system says, as one class of our own."""
        try:
            yield
        except (sqlite3.Error, UnicodeDecodeError) as error:
            self._drop()
            hint = f"ls -l {quoted(self.path)}*"
            if state.is_damage(error):
                hint = "no model file is affected; model-cache verify, or the next download, brings its backup back"
            raise IndexUnavailableError(f"index {self.path}: {error}", hint=hint) from None
        except LockTimeoutError as error:
            raise IndexUnavailableError(f"index {self.path}: {error}", hint=error.hint, exit_code=11) from None
        except OSError as error:
            if error.filename not in (self.path, f"{self.path}-journal", self._lock_path):
                raise
            hint = f"ls -l {quoted(self.path)}*"
            raise IndexUnavailableError(f"index {self.path}: {error.strerror}", hint=hint) from None

    def _drop(self) -> None:
        """Forget this thread's connection: after an error its state is not to be relied on."""
        slot = self._slot
        if slot.connection is not None and slot.pid == os.getpid():
            slot.connection.close()
        slot.connection = None

    def close(self) -> None:
        """Close this thread's connection."""
        with _inside:
            self._drop()
