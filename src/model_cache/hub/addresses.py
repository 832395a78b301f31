"""Which addresses a redirect may lead to: a server must not make this machine ask its own network; pure, no I/O.

Addresses lie in zones. A redirect may lead to the endpoint's own zone, to a zone around it, and to the endpoint's own
address: storage beside a mirror is reached, a router or a cloud's metadata service is not.

Not guaranteed: behind a proxy nobody here sees which address a name stands for, so only what is written in the redirect
itself is judged.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from enum import Enum

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class Zone(Enum):
    """Where an address lies; `NOWHERE` is where no server is."""

    PUBLIC = "public"
    PRIVATE = "private"
    LOOPBACK = "loopback"
    LINK = "link-local"
    NOWHERE = "unusable"


# From which zone of the endpoint which others are reached.
_REACH = {
    Zone.PUBLIC: {Zone.PUBLIC},
    Zone.PRIVATE: {Zone.PUBLIC, Zone.PRIVATE},
    Zone.LOOPBACK: {Zone.PUBLIC, Zone.PRIVATE, Zone.LOOPBACK},
    Zone.LINK: {Zone.PUBLIC, Zone.PRIVATE, Zone.LINK},
    Zone.NOWHERE: {Zone.PUBLIC},
}
# Where clouds tell a machine its own credentials, outside of 169.254.0.0/16: of AWS over IPv6, Alibaba and Oracle.
_METADATA = frozenset(map(ipaddress.ip_address, ("fd00:ec2::254", "100.100.100.200", "192.0.0.192")))
_NAT64 = ipaddress.ip_network("64:ff9b::/96")  # RFC 6052
_COMPATIBLE = ipaddress.ip_network("::/96")  # RFC 4291, 2.5.5.1
_NUMBER = re.compile(r"(0x[0-9a-f]*|\d+)(\.(0x[0-9a-f]*|\d+))*")


def zone_of(host: str) -> Zone | None:
    """The zone of an address as it is written; None for a name, which only a look-up can tell.

    What the C library takes for an address is one: `127.1`, `0x7f000001` and `2130706433` are loopback. A public address in
    such a spelling is written by nobody with good intentions, and is taken for a private one.
    """
    host = host.strip("[]").removesuffix(".").lower()  # the root of DNS: the same host
    if host == "localhost" or host.endswith(".localhost"):
        return Zone.LOOPBACK
    try:
        return _zone(ipaddress.ip_address(host))
    except ValueError:
        pass
    if not _NUMBER.fullmatch(host):
        return None
    try:
        zone = _zone(ipaddress.IPv4Address(socket.inet_aton(host)))
    except OSError:
        return Zone.NOWHERE
    return Zone.PRIVATE if zone is Zone.PUBLIC else zone


def _zone(address: _Address) -> Zone:
    inner = _embedded(address)
    if inner is not None:
        return _zone(inner)
    if address.is_link_local or address in _METADATA:
        return Zone.LINK
    # 0.0.0.0 and :: connect to this machine.
    if address.is_loopback or address.is_unspecified:
        return Zone.LOOPBACK
    if address.is_multicast or (address.version == 4 and address.is_reserved):
        return Zone.NOWHERE
    return Zone.PUBLIC if address.is_global else Zone.PRIVATE


def _embedded(address: _Address) -> ipaddress.IPv4Address | None:
    """The IPv4 address to which packets for an IPv6 address go in the end; None if it stands for itself."""
    if not isinstance(address, ipaddress.IPv6Address):
        return None
    if address in _NAT64 or (address in _COMPATIBLE and int(address) > 1):
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour


def allows(endpoint: Zone | None, target: Zone | None) -> bool:
    """Whether a server in one zone may lead to one in another; a name that nobody looked up yet has none."""
    return target is None or target in _REACH[endpoint or Zone.PUBLIC]


def why_not(target: Zone | None, host: str, endpoint: Zone | None) -> str:
    """The reason why a redirect to a host is refused."""
    kind = "unknown" if target is None else target.value
    return f"it leads to the {kind} address {host}, from a {(endpoint or Zone.PUBLIC).value} endpoint"
