"""Who leads, by advisory locks of PostgreSQL; the one owner of psycopg.

A lock belongs to a session of its own, which no transaction pooler may stand in front of. The server frees it when the session
ends, so a leader that is killed is succeeded at once. For one whose host lost its power the server has to find out: it is told
to ask after 5 s, and three times every 2 s, while a system's own default is two hours.

What it sent to a host that is gone by then, such as the lead, it waits for no longer than that either.

A wait is asked for in slices of 2 s, which the server ends by itself: a server that hangs is told from a leader that is busy.
One that ends, refuses for a moment, or has no session left says so, and that is told apart as well: it is worth asking again.

Concurrency:
    A lead may be released from any thread. A forked child closes its copy of the connection, or the lead would last as long
    as the child.
"""

from __future__ import annotations

import hashlib
import math
import os
import select
import time
import weakref
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

import psycopg
from psycopg import conninfo
from psycopg.pq import ConnStatus, ExecStatus

from ..address import without_secrets
from ..platforms.capabilities import after_fork
from ..units import printable
from .protocols import EngineError, FullError, Lead, LostError, NoLead, Seen

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from psycopg.pq.abc import PGconn, PGresult

_CONNECT = 2  # seconds
_SLICE = 2.0  # seconds that the server lets one wait take
_ANSWER = 5.0  # seconds beyond that after which it hangs
_LOOK = 0.5  # seconds between two questions whether to go on
_MOST = 256  # reads of one answer, and parts of it: an honest one has two or three, in as many packets
_NOT_AVAILABLE = b"55P03"  # lock_not_available: https://www.postgresql.org/docs/current/errcodes-appendix.html
_GOING = (b"57P01", b"57P02", b"57P03")  # admin_shutdown, crash_shutdown, cannot_connect_now
# What a server answers who connects comes without a code, as a text alone: PostgreSQL's, and poolers' in session mode.
_FULL = ("too many clients", "too many connections", "remaining connection slots", "no more connections allowed")
_RETURNING = ("is starting up", "is shutting down", "is in recovery mode")
_KEEPALIVES = {"keepalives": 1, "keepalives_idle": 5, "keepalives_interval": 2, "keepalives_count": 3}
_OPTIONS = (
    "-c tcp_keepalives_idle=5 -c tcp_keepalives_interval=2 -c tcp_keepalives_count=3 -c tcp_user_timeout=11000"
    f" -c statement_timeout=0 -c lock_timeout={int(_SLICE * 1000)}"
)

# `pg_stat_activity` shows of other users' sessions that they are there, which is all that is counted.
_HOW = (
    "SELECT current_setting('server_version'), (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'),"
    " current_setting('max_connections'),"
    " (SELECT coalesce(max(setting::bigint), 0) / 1000.0 FROM pg_settings WHERE name = 'idle_session_timeout')"
)

_sessions: weakref.WeakSet[_Session] = weakref.WeakSet()


class PostgresFlight:
    """Leads of one database.

    Args:
        address: As the setting `lead` has it, or a `conninfo`; what it lacks comes from the environment (`PGPASSWORD`, …).
    """

    def __init__(self, address: str) -> None:
        self._name = without_secrets(address)
        try:
            given = conninfo.conninfo_to_dict(address)
        except psycopg.Error:
            raise EngineError(f"{self._name} is not understood as an address of PostgreSQL") from None
        options = f"{given.pop('options', None) or ''} {_OPTIONS}".strip()
        chosen = {"connect_timeout": _CONNECT, "application_name": "model-cache", **given}
        self._passwords = [str(word) for word in (given.get("password"), os.environ.get("PGPASSWORD")) if word]
        self._conninfo = conninfo.make_conninfo("", **chosen, **_KEEPALIVES, options=options)

    def lead(self, key: str, go_on: Callable[[], bool]) -> Lead:
        """Wait until nobody leads this key, and lead it."""
        session = self._connected()
        try:
            with self._named():
                if session.wait(number(key), go_on):
                    return session
        except BaseException:
            session.release()
            raise
        session.release()
        return NoLead()

    def look(self) -> Seen:
        """How it is; two sessions ask for one lock meanwhile."""
        with closing(self._connected()) as one, closing(self._connected()) as other, self._named():
            version, *figures = one.ask(_HOW, columns=4)
            sessions, most, idle = map(_figure, figures)
            lock = str(int.from_bytes(os.urandom(7), "big"))
            one.ask("SELECT pg_advisory_lock($1::bigint)", lock)
            (also,) = other.ask("SELECT pg_try_advisory_lock($1::bigint)", lock)
            # Behind a pooler the session goes on, with its locks.
            for each in (one, other) if also == "t" else (one,):
                each.ask("SELECT pg_advisory_unlock($1::bigint)", lock)
        return Seen(f"PostgreSQL {printable(version, 40)}", int(sessions), int(most), idle, excludes=also == "f")

    def _connected(self) -> _Session:
        try:
            return _Session(psycopg.connect(self._conninfo, autocommit=True))
        except (psycopg.Error, OSError, ValueError) as error:  # a name that is no host is a ValueError
            raise _kind(str(error))(f"{self._name}: {self._plain(_text(error))}") from None

    @contextmanager
    def _named(self) -> Iterator[None]:
        """What goes wrong is told of this server."""
        try:
            yield
        except EngineError as error:
            raise type(error)(f"{self._name}: {self._plain(str(error))}") from None
        except (psycopg.Error, OSError) as error:
            raise LostError(f"{self._name}: {self._plain(_text(error))}") from None

    def _plain(self, said: str) -> str:
        """A text without the password, which a server that was sent it can repeat."""
        for password in self._passwords:
            said = said.replace(password, "…")
        return said


def number(key: str) -> int:
    """The lock of a key: 64 bits of its hash; two keys that share them wait for each other, and nothing worse."""
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big", signed=True)


class _Session:
    """A connection, and the one lock that it may hold."""

    held = False

    def __init__(self, connection: psycopg.Connection) -> None:
        self._connection = connection
        self._pid = os.getpid()
        _sessions.add(self)

    def wait(self, lock: int, go_on: Callable[[], bool]) -> bool:
        """Have the lock, or (False) be told to go on without; raises EngineError, or psycopg.Error where the connection broke."""
        raw = self._connection.pgconn
        while go_on():
            raw.send_query_params(b"SELECT pg_advisory_lock($1::bigint)", [str(lock).encode()])
            raw.flush()
            state, why = None, b""
            for result in _answer(raw, go_on):
                if result is None:
                    return False
                state, why = result.status, result.error_field(psycopg.pq.DiagnosticField.SQLSTATE) or b""
            if state == ExecStatus.TUPLES_OK:
                self.held = True
                return True
            if why != _NOT_AVAILABLE:
                kind = LostError if why in _GOING or raw.status == ConnStatus.BAD else EngineError
                raise kind(f"the lock was refused (SQLSTATE {printable(why.decode(errors='replace'), 5) or 'unknown'})")
        return False

    def ask(self, question: str, *given: str, columns: int = 1) -> list[str]:
        """The one row of an answer, as texts; raises as `wait`, also for one with more or fewer columns."""
        raw = self._connection.pgconn
        raw.send_query_params(question.encode(), [one.encode() for one in given])
        raw.flush()
        row: list[str] = []
        for result in _answer(raw, lambda: True):
            if result is None or result.status != ExecStatus.TUPLES_OK:
                said = (result and result.error_message) or b"an answer without a row: is it PostgreSQL?"
                raise EngineError(_text(psycopg.OperationalError(said.decode(errors="replace"))))
            row = [(result.get_value(0, column) or b"").decode(errors="replace") for column in range(result.nfields)]
        if len(row) != columns:
            raise EngineError(f"an answer of {len(row)} columns instead of {columns}: is it PostgreSQL?")
        return row

    def close(self) -> None:
        """As `release`."""
        self.release()

    def release(self) -> None:
        """End the session, and with it the lock."""
        self.held = False
        if self._pid == os.getpid():
            self._connection.close()

    def forget(self) -> None:
        """In a forked child: close the copy of the socket, which says nothing to the server."""
        if not self._connection.closed:
            os.close(self._connection.pgconn.socket)


def _answer(raw: PGconn, go_on: Callable[[], bool]) -> Iterator[PGresult | None]:
    """The parts of an answer, up to its end; None, and no more, when told not to wait.

    Without looking whether it is busy before each `get_result` the library itself waits, for as long as it takes. What is no
    answer, such as notices, does not extend the time; an answer without end fills no memory until the time is over.

    Raises:
        EngineError: Its end does not come in time, or ever more comes before it.
    """
    poll, now = select.poll(), time.monotonic()
    poll.register(raw.socket, select.POLLIN)
    end, look, came = now + _SLICE + _ANSWER, now + _LOOK, 0
    while came < _MOST:
        if not raw.is_busy():
            if (result := raw.get_result()) is None:
                return
            came += 1
            yield result
            continue
        if poll.poll(_LOOK * 1000):
            raw.consume_input()
            came += 1
            while raw.notifies():  # nobody asked for any, and the library keeps them
                pass
        now = time.monotonic()
        if now >= end and raw.is_busy():
            raise EngineError(f"no answer for {_SLICE + _ANSWER:g} s")
        if now >= look and raw.is_busy():
            look = now + _LOOK
            if not go_on():
                yield None
                return
    raise EngineError("its answer has no end")


def _figure(text: str) -> float:
    """A number of an answer; raises EngineError."""
    try:
        found = float(text[:40])
    except ValueError:
        found = math.inf
    if not abs(found) < 1e15:
        raise EngineError(f"{printable(text, 40)!r} is no figure: is it PostgreSQL?")
    return found


def _kind(text: str) -> type[EngineError]:
    """What a refusal to connect means, by its words; in another language than English it means to go alone."""
    if any(words in text for words in _FULL):
        return FullError
    return LostError if any(words in text for words in _RETURNING) else EngineError


def _text(error: BaseException) -> str:
    """The first line of what the library or the server says; it names host, user and database."""
    return printable(str(error).strip().split("\n", 1)[0], 300) or type(error).__name__


def _close_inherited() -> None:
    for session in list(_sessions):
        session.forget()
    _sessions.clear()


after_fork(after_in_child=_close_inherited)
