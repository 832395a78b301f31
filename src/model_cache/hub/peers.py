"""Who is really at the other end: names that a redirect leads to are looked up, and connections' addresses checked.

A name is looked up before anything is sent to it, so that nothing inside is even knocked at. What the connection is then
made to can be another address, for a second look-up may have another answer; so its peer is checked too, before a byte is
sent. Connections by a proxy lead to the proxy and are left alone.
"""

from __future__ import annotations

import functools
import socket
import threading
from typing import Any

from ..errors import DownloadError
from .addresses import Zone, allows, why_not, zone_of

# The gate of the exchange that this thread is in; connections that are made pass it.
_current = threading.local()


class Gate:
    """What the connections of one exchange may be made to.

    Args:
        zone: Of the endpoint; None if it is not known.
        address: Where the endpoint was last seen, which is always allowed.
        home: This exchange is with the endpoint itself, wherever that is.
        shown: The address asked, as messages may show it.

    Attributes:
        peer: The address of the connection that was made; empty if an old one served, or a proxy.
    """

    def __init__(self, zone: Zone | None, address: str, *, home: bool, shown: str) -> None:
        self._zone, self._address, self._home, self._shown = zone, address, home, shown
        self.peer = ""

    def __enter__(self) -> Gate:
        _current.gate = self
        return self

    def __exit__(self, *exc: object) -> None:
        _current.gate = None

    def look_up(self, host: str, port: int) -> None:
        """Refuse a name that stands for an address which is not allowed; one that cannot be found is left to who connects."""
        if self._home:
            return
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError):
            return
        for *_, address in found:
            self._judge(host, str(address[0]))

    def connected(self, host: str, made: socket.socket) -> None:
        """Refuse a connection that was made to an address which is not allowed."""
        self.peer = str(made.getpeername()[0])
        if not self._home:
            self._judge(host, self.peer)

    def _judge(self, host: str, address: str) -> None:
        zone = zone_of(address)
        if allows(self._zone, zone) or address == self._address:
            return
        where = address if address == host else f"{address} of {host}"
        raise DownloadError(
            f"{self._shown}: a redirect is refused: {why_not(zone, where, self._zone)}",
            hint="if that host is meant to serve files, HF_ENDPOINT has to name a mirror in the same network",
            url=self._shown,
        )


def check_all(manager: Any) -> None:
    """Have every connection that a pool manager of urllib3 makes pass the gate of its exchange."""
    manager.pool_classes_by_scheme = {scheme: _checked(pool) for scheme, pool in manager.pool_classes_by_scheme.items()}


@functools.cache
def _checked(pool: Any) -> Any:
    """A kind of pool whose connections are checked."""
    if issubclass(pool.ConnectionCls, _Checked):
        return pool
    connection = type(pool.ConnectionCls.__name__, (_Checked, pool.ConnectionCls), {})
    return type(pool.__name__, (pool,), {"ConnectionCls": connection})


class _Checked:
    """What is put before urllib3's kinds of connection."""

    host: str
    port: int

    def _new_conn(self) -> socket.socket:
        """Connect, between the two looks; TLS and the request come after it."""
        gate: Gate | None = getattr(_current, "gate", None)
        if gate is not None:
            gate.look_up(self.host, self.port)
        made: socket.socket = super()._new_conn()  # type: ignore[misc]  # of the class that this one is put before
        try:
            if gate is not None:
                gate.connected(self.host, made)
        except BaseException:
            made.close()
            raise
        return made
