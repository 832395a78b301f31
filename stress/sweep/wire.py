"""Messages between a worker, the process that forks, and the one that dies: JSON, one datagram each.

They go by sendmsg and recvmsg, which nobody stops: the one that dies can tell until the end.
"""

from __future__ import annotations

import json
import socket
from typing import Any

_LARGEST = 150_000  # bytes; the kernel keeps a little more for a socket


def send(channel: socket.socket, *descriptors: int, **message: object) -> None:
    """Send one message, and descriptors with it."""
    data = json.dumps(message).encode()
    assert len(data) <= _LARGEST, f"a message of {len(data)} bytes"
    socket.send_fds(channel, [data], descriptors)


def receive(channel: socket.socket) -> dict[str, Any]:
    """The next message, a descriptor in it under `fd`; an empty one when the other side is gone."""
    data, descriptors, _, _ = socket.recv_fds(channel, _LARGEST, 1)
    message = dict(json.loads(data)) if data else {}
    return message | {"fd": descriptors[0]} if descriptors else message
