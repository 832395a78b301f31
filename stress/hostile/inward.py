"""Redirects that lead inside, in a network of its own with names of its own: `python -m stress.hostile.inward`.

There the endpoint can have a public address, the metadata service of a cloud one that answers, and a name another address at
each look-up. Behind every address a server waits that has the right bytes: what keeps them away is the client alone.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path
from typing import NamedTuple

from .server import RawHub, answering
from .trial import AT_ONCE, Case, Seen, run

PUBLIC, PRIVATE, BESIDE, METADATA = "8.8.4.4", "10.9.9.9", "10.9.9.10", "169.254.169.254"
_INSIDE = "fd00::9"
# Without privileges in a namespace of users; where those are not to be had, as root.
_APART = (("unshare", "--map-root-user", "--net", "--mount"), ("unshare", "--net", "--mount"))
_NEEDS = ("unshare", "ip", "mount")
# What the names stand for, one look-up after the other; the last answer stays.
_ZONE = {
    "mirror.example": [[PRIVATE]],
    "storage.example": [[BESIDE]],
    "cdn.example": [[PUBLIC]],
    "inner.example": [[PRIVATE]],
    "this.example": [["127.0.0.1"]],
    "mapped.example": [["::ffff:10.9.9.9"]],
    "six.example": [[_INSIDE]],
    "metadata.example": [[METADATA]],
    "mixed.example": [[PUBLIC, "127.0.0.1"]],
    "turning.example": [[PUBLIC], ["127.0.0.1"]],
}


_HINT = "if that host is meant to serve files, HF_ENDPOINT has to name a mirror in the same network"


class _Lie(NamedTuple):
    """A redirect from an endpoint to a host, and why it is refused; empty: it is followed."""

    endpoint: str
    target: str
    refused: str = ""
    knocks: int = 0  # connections that are made to the target nonetheless, and closed with nothing sent


def _from(zone: str, kind: str, address: str) -> str:
    return f"it leads to the {kind} address {address}, from a {zone} endpoint"


_LIES = [
    _Lie(PUBLIC, "127.0.0.1", _from("public", "loopback", "127.0.0.1")),
    _Lie(PUBLIC, "localhost", _from("public", "loopback", "localhost")),
    _Lie(PUBLIC, "127.1", _from("public", "loopback", "127.1")),
    _Lie(PUBLIC, "2130706433", _from("public", "loopback", "2130706433")),
    _Lie(PUBLIC, "0x7f.0.0.1", _from("public", "loopback", "0x7f.0.0.1")),
    _Lie(PUBLIC, "0", _from("public", "loopback", "0")),
    _Lie(PUBLIC, "[::1]", _from("public", "loopback", "::1")),
    _Lie(PUBLIC, "[::ffff:127.0.0.1]", _from("public", "loopback", "::ffff:127.0.0.1")),
    _Lie(PUBLIC, "127\u30020\u30020\u30021", _from("public", "loopback", "127.0.0.1")),
    _Lie(PUBLIC, PRIVATE, _from("public", "private", PRIVATE)),
    _Lie(PUBLIC, METADATA, _from("public", "link-local", METADATA)),
    _Lie(PUBLIC, "this.example", _from("public", "loopback", "127.0.0.1 of this.example")),
    _Lie(PUBLIC, "inner.example", _from("public", "private", f"{PRIVATE} of inner.example")),
    _Lie(PUBLIC, "mapped.example", _from("public", "private", f"::ffff:{PRIVATE} of mapped.example")),
    _Lie(PUBLIC, "six.example", _from("public", "private", f"{_INSIDE} of six.example")),
    _Lie(PUBLIC, "metadata.example", _from("public", "link-local", f"{METADATA} of metadata.example")),
    _Lie(PUBLIC, "mixed.example", _from("public", "loopback", "127.0.0.1 of mixed.example")),
    _Lie(PUBLIC, "turning.example", _from("public", "loopback", "127.0.0.1 of turning.example"), knocks=1),
    _Lie("cdn.example", "inner.example", _from("public", "private", f"{PRIVATE} of inner.example")),
    _Lie(PRIVATE, "127.0.0.1", _from("private", "loopback", "127.0.0.1")),
    _Lie("mirror.example", "this.example", _from("private", "loopback", "127.0.0.1 of this.example")),
    _Lie("mirror.example", "metadata.example", _from("private", "link-local", f"{METADATA} of metadata.example")),
    _Lie("127.0.0.1", "metadata.example", _from("loopback", "link-local", f"{METADATA} of metadata.example")),
    _Lie(PUBLIC, "cdn.example"),
    _Lie(PRIVATE, BESIDE),
    _Lie("mirror.example", "storage.example"),
    _Lie("mirror.example", BESIDE),
    _Lie("mirror.example", "cdn.example"),
    _Lie("127.0.0.1", "storage.example"),
]


def lacking() -> str:
    """Why a network of its own cannot be had; empty if it can."""
    missing = [name for name in _NEEDS if shutil.which(name, path=_path()) is None]
    if missing:
        return f"needs {', '.join(missing)}"
    return "" if _apart() else "no namespaces are to be had here"


def _apart() -> tuple[str, ...]:
    """The command before a command that is to have a network of its own; empty if there is none."""
    for command in _APART:
        tried = subprocess.run([*command, "true"], env={"PATH": _path()}, capture_output=True, check=False)
        if not tried.returncode:
            return command
    return ()


def run_apart() -> list[Seen]:
    """Try all redirects, in namespaces that go away with the process."""
    environ = {**os.environ, "PATH": _path(), "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [*_apart(), sys.executable, "-P", "-m", "stress.hostile.inward"]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=600, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr)
    return [Seen(**{**one, "faults": tuple(one["faults"])}) for one in json.loads(done.stdout)]


def _path() -> str:
    return f"{os.environ['PATH']}:/usr/sbin:/sbin"


def _try(lie: _Lie) -> Seen:
    with RawHub(host="") as trap:
        return _tried(lie, trap)


def _tried(lie: _Lie, trap: RawHub) -> Seen:
    """One redirect; a fault where the server that waits there was reached and should not have been, or the reverse."""
    called = "" if lie.endpoint[0].isdigit() else lie.endpoint
    location = f"http://{lie.target}:{trap.port}/inside"
    looked_up = " of " in lie.refused
    where = location if looked_up else "{body}"  # what is written as an address is judged where it is written
    case = Case(
        f"{lie.endpoint} to {lie.target}",
        "inside",
        "body",
        answering(302, {"Location": location}),
        f"{where}: a redirect is refused: {lie.refused}" if lie.refused else "",
        code=1 if lie.refused else 0,
        listen=_ZONE[called][0][0] if called else lie.endpoint,
        called=called,
        hint=_HINT if looked_up else "",
    )
    seen = run(case)
    faults = list(seen.faults)
    if bool(trap.asked) == bool(lie.refused):
        faults.append(f"{len(trap.asked)} requests arrived inside")
    if lie.refused and trap.knocked != lie.knocks:
        faults.append(f"{trap.knocked} connections were made to the inside, expected {lie.knocks}")
    return replace(seen, faults=tuple(faults))


class _Names(threading.Thread):
    """A server of names on port 53, which answers from `_ZONE`."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 53))
        self._asked: Counter[tuple[str, int]] = Counter()

    def run(self) -> None:
        """Answer for ever."""
        while True:
            query, client = self._socket.recvfrom(4096)
            self._socket.sendto(self._answer(query), client)

    def _answer(self, query: bytes) -> bytes:
        labels, at = [], 12
        while query[at]:
            labels.append(query[at + 1 : at + 1 + query[at]].decode())
            at += query[at] + 1
        kind = struct.unpack("!H", query[at + 1 : at + 3])[0]
        name = ".".join(labels).lower()
        rounds = _ZONE.get(name, [[]])
        addresses = rounds[min(self._asked[name, kind], len(rounds) - 1)]
        self._asked[name, kind] += 1
        family, wanted = (socket.AF_INET6, True) if kind == 28 else (socket.AF_INET, False)
        packed = [socket.inet_pton(family, one) for one in addresses if (":" in one) == wanted and kind in (1, 28)]
        records = b"".join(struct.pack("!HHHIH", 0xC00C, kind, 1, 0, len(one)) + one for one in packed)
        code = 0 if name in _ZONE else 3
        return query[:2] + struct.pack("!HHHHH", 0x8180 | code, 1, len(packed), 0, 0) + query[12 : at + 5] + records


def _set_up(folder: Path) -> None:
    """Addresses and names, in namespaces that are this process's alone."""
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    for address in (PUBLIC, PRIVATE, BESIDE, METADATA):
        subprocess.run(["ip", "address", "add", f"{address}/32", "dev", "lo"], check=True)
    subprocess.run(["ip", "address", "add", f"{_INSIDE}/128", "dev", "lo"], check=False)  # a kernel may lack IPv6
    (folder / "resolv.conf").write_text("nameserver 127.0.0.1\n")
    subprocess.run(["mount", "--bind", f"{folder}/resolv.conf", "/etc/resolv.conf"], check=True)
    _Names().start()


def main() -> None:
    """Set the network up, try all, print what was seen as JSON."""
    with tempfile.TemporaryDirectory(prefix="model-cache-inward-") as folder, ThreadPoolExecutor(AT_ONCE) as pool:
        _set_up(Path(folder))
        print(json.dumps([asdict(seen) for seen in pool.map(_try, _LIES)]))


if __name__ == "__main__":
    main()
