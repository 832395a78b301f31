"""The Hub, the bucket and the database of a site, as far as hosts notice them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

from model_cache.fleet.protocols import Blob, EngineError, FullError, LostError, NoLead, Stored

from .memory import Bytes
from .network import Link
from .plan import Plan
from .virtual import Signal, Time

if TYPE_CHECKING:
    from .host import Host

_SMALL = 1 << 16  # bytes; what is not more is a record, which takes a question's time
_REFUSED = 0.5  # seconds until a closed port was asked twice
_SILENT = 5.0  # seconds until a body that stopped is given up
_LOOK = (
    10.0  # seconds between two questions whether to go on waiting; real hosts ask more often, and are answered alike
)
_CONNECT = 3  # answers that opening a session takes


class Hub:
    """Where every host can have everything."""

    def __init__(self, time: Time, plan: Plan) -> None:
        self._time, self._latency = time, plan.hub_latency
        self._link = Link(time, plan.hub, plan.hub_host)
        self.requests = self.bodies = self.sent = 0

    @property
    def link(self) -> Link:
        """To the site."""
        return self._link

    def ask(self) -> None:
        """One question."""
        self.requests += 1
        self._time.sleep(self._latency)

    def send(self, host: Host, right: Bytes, begin: int) -> Iterator[memoryview]:
        """The rest of the file; the process that reads may die on the way."""
        self.ask()
        self.bodies += 1
        with host.transfer(right.size - begin) as amount:
            received = self._link.carry(amount)
            self.sent += received
            yield right.part(begin, begin + received)


class Server:
    """Object storage: what it has, and its connection.

    Attributes:
        sent, taken: Bytes of bodies.
    """

    def __init__(self, time: Time, plan: Plan, right: Bytes, wrong: Bytes) -> None:
        self._time, self._plan = time, plan
        self._right, self._wrong = right, wrong
        self._down = plan.bucket_down
        self.out = Link(time, plan.bucket, plan.bucket_host)
        self.into = Link(time, plan.bucket, plan.bucket_sends)
        self._files: dict[str, Bytes] = {}
        self._records: dict[str, bytes] = {}
        self.requests = self.sent = self.taken = 0
        if self._down is not None:
            time.after(self._down[0], self.out.cut)
            time.after(self._down[0], self.into.cut)

    def keep(self, name: str, data: Bytes | bytes) -> None:
        """Have an object without a transfer."""
        if isinstance(data, bytes):
            self._records[name] = data
        else:
            self._files[name] = data

    def fetch(self, host: Host, name: str, offset: int) -> Blob | None:
        """As `BlobTier`."""
        self._ask()
        if (record := self._records.get(name)) is not None:
            return Blob(len(record), iter([record[offset:]]))
        if (file := self._files.get(name)) is None:
            return None
        return Blob(file.size, self._send(host, file, offset), file.stamp.decode())  # type: ignore[arg-type] # a part of a map stands for bytes

    def _send(self, host: Host, file: Bytes, begin: int) -> Iterator[memoryview]:
        with host.transfer(file.size - begin) as amount:
            received = self.out.carry(amount)
            self.sent += received
            yield file.part(begin, begin + received)
        if received < amount:
            self._fail()

    def offer(self, host: Host, name: str, data: bytes | Iterable[bytes], size: int) -> None:
        """As `BlobTier`; of a large object the first block says which bytes it has."""
        self._ask()
        if size <= _SMALL:
            self._records[name] = data if isinstance(data, bytes) else b"".join(data)
            return
        block = data if isinstance(data, bytes) else next(iter(data))
        assert block == self._right.stamp, "only the right bytes are offered"
        with host.transfer(size) as amount:
            taken = self.into.carry(amount)
            self.taken += taken
        if taken < amount:
            self._fail()
        self._files[name] = self._right

    def drop(self, name: str) -> None:
        """As `BlobTier`."""
        self._ask()
        self._files.pop(name, None)
        self._records.pop(name, None)

    def _ask(self) -> None:
        self.requests += 1
        self._time.sleep(self._plan.bucket_latency)
        if self._down is not None and self._down[0] <= self._time.time() < self._down[1]:
            self._time.sleep(_REFUSED)
            raise EngineError("the connection was refused")

    def _fail(self) -> None:
        self._time.sleep(_SILENT)
        raise EngineError("the body stopped")


class Bucket:
    """The bucket as one host has it; see `BlobTier`."""

    def __init__(self, server: Server, host: Host) -> None:
        self._server, self._host = server, host

    def fetch(self, name: str, offset: int = 0) -> Blob | None:
        """The bytes of an object from `offset`."""
        return self._server.fetch(self._host, name, offset)

    def offer(self, name: str, data: bytes | Iterable[bytes], size: int) -> None:
        """Put an object there."""
        self._server.offer(self._host, name, data, size)

    def drop(self, name: str) -> None:
        """Take an object away."""
        self._server.drop(name)

    def stored(self, prefix: str) -> Iterator[Stored]:  # noqa: ARG002 - no download lists what there is
        """Nobody asks."""
        return iter(())


class Database:
    """Leads by the sessions of a server; who leads, and who waits for it.

    Attributes:
        most: Sessions at one time.
    """

    def __init__(self, time: Time, plan: Plan) -> None:
        self._time, self._plan = time, plan
        self._down = plan.lead_down
        self._line: dict[str, deque[Session]] = {}  # the first leads
        self._open = 0
        self.most = self.refused = 0
        if self._down is not None:
            time.after(self._down[0], self._stop)

    def lead(self, host: Host, key: str, go_on: Callable[[], bool]) -> Session | NoLead:
        """As `Flight`."""
        self._time.sleep(self._plan.lead_latency)
        if self._down is not None and self._down[0] <= self._time.time() < self._down[1]:
            raise EngineError("the connection was refused")
        if self._open >= self._plan.lead_connections:
            self.refused += 1
            raise FullError("too many clients")
        self._open += 1
        self.most = max(self.most, self._open)
        session = Session(self, host, key, Signal(self._time))
        self._time.sleep((_CONNECT - 1) * self._plan.lead_latency)
        line = self._line.setdefault(key, deque())
        line.append(session)
        if line[0] is session:
            session.turn.come()
        while not session.turn.wait(_LOOK):
            if not go_on():
                self.close(session)
                return NoLead()
        self._time.sleep(self._plan.lead_latency)
        if session.is_broken:
            raise LostError("the server closed the connection")
        session.held = True
        return session

    def close(self, session: Session) -> None:
        """A session ended: the next one leads."""
        if session.is_closed:
            return
        session.is_closed = True
        self._open -= 1
        line = self._line[session.key]
        line.remove(session)
        if line:
            line[0].turn.come()

    def let_go(self, session: Session) -> None:
        """Close it, at once or when the server notices that its host is gone."""
        self._time.after(session.host.noticed_after, lambda: self.close(session))

    def _stop(self) -> None:
        sessions = [session for line in self._line.values() for session in line]
        self._line.clear()
        self._open = 0
        for session in sessions:
            session.is_broken = session.is_closed = True
            session.turn.come()


class Session:
    """A connection to the database, and the right to lead once it is its turn; see `Lead`."""

    held = is_closed = is_broken = False

    def __init__(self, database: Database, host: Host, key: str, turn: Signal) -> None:
        self._database = database
        self.host, self.key, self.turn = host, key, turn

    def release(self) -> None:
        """Let the next one lead."""
        self.held = False
        self._database.let_go(self)


class Flight:
    """The database as one host has it; see `model_cache.fleet.protocols.Flight`."""

    def __init__(self, database: Database, host: Host) -> None:
        self._database, self._host = database, host

    def lead(self, key: str, go_on: Callable[[], bool]) -> Session | NoLead:
        """Wait until nobody leads this key, and lead it."""
        return self._database.lead(self._host, key, go_on)
