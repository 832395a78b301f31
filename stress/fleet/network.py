"""Hosts as network namespaces, joined by a bridge to the one where the engines are; a host can be cut off."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

from .engines import LackingError, postgres_programs, rclone

SITE = "10.77.0.1"  # where hub and engines listen
_BRIDGE = "fleet"
_APART = ("unshare", "--net", "--pid", "--fork", "--kill-child", "--mount-proc")
_NEEDS = ("unshare", "nsenter", "ip", "setpriv")
_SBIN = "/usr/sbin:/sbin"


def lacking() -> str:
    """Why a fleet cannot be had here; empty if it can."""
    missing = [name for name in _NEEDS if shutil.which(name, path=_path()) is None]
    if missing:
        return f"needs {', '.join(missing)}"
    try:
        rclone()
        postgres_programs()
    except LackingError as error:
        return str(error)
    if os.geteuid() != 0:
        return "makes network namespaces for hosts, and becomes another user for PostgreSQL: needs root"
    tried = "ip link add fleet-try type veth peer name fleet-tried && ip link add fleet type bridge"
    done = subprocess.run([*_APART, "sh", "-c", tried], env=_environ(), capture_output=True, text=True, check=False)
    return f"no network of its own is to be had here: {done.stderr.strip()}" if done.returncode else ""


def go_apart(module: str, arguments: list[str]) -> None:
    """Be this module in a network of its own, in which nothing that it starts outlives it; does not return."""
    environ = {**_environ(), "PYTHONPATH": os.pathsep.join(filter(None, [os.getcwd(), *sys.path]))}
    os.execvpe(_APART[0], [*_APART, sys.executable, "-m", module, *arguments], environ)


class Network:
    """The bridge, and the hosts on it; for a process that has gone apart."""

    def __init__(self) -> None:
        _do("ip", "link", "set", "lo", "up")
        _do("ip", "link", "add", _BRIDGE, "type", "bridge")
        _do("ip", "address", "add", f"{SITE}/24", "dev", _BRIDGE)
        _do("ip", "link", "set", _BRIDGE, "up")
        self._holders: list[subprocess.Popen[str]] = []

    def host(self) -> int:
        """One more host; returns its number."""
        number = len(self._holders)
        holder = subprocess.Popen(
            ["unshare", "--net", "sh", "-c", "echo; exec cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert holder.stdout is not None, "it was asked for"
        holder.stdout.readline()  # now its network is its own
        self._holders.append(holder)
        inside = ("nsenter", f"--net=/proc/{holder.pid}/ns/net", "ip")
        _do("ip", "link", "add", f"host{number}", "type", "veth", "peer", "name", "wire", "netns", str(holder.pid))
        _do(*inside, "link", "set", "lo", "up")
        _do(*inside, "address", "add", f"10.77.0.{10 + number}/24", "dev", "wire")
        _do(*inside, "link", "set", "wire", "up")
        _do("ip", "link", "set", f"host{number}", "master", _BRIDGE, "up")
        return number

    def inside(self, number: int) -> list[str]:
        """What stands before a command that runs on a host; it becomes the command, with its pid."""
        return ["nsenter", f"--net=/proc/{self._holders[number].pid}/ns/net"]

    def cut(self, number: int) -> None:
        """Nothing comes from the host, and nothing gets there; nobody is told."""
        _do("ip", "link", "set", f"host{number}", "down")

    def join(self, number: int) -> None:
        """It is there again."""
        _do("ip", "link", "set", f"host{number}", "up")


def _do(*command: str) -> None:
    subprocess.run(command, env=_environ(), check=True, timeout=60)


def _environ() -> dict[str, str]:
    return {**os.environ, "PATH": _path()}


def _path() -> str:
    return f"{os.environ['PATH']}:{_SBIN}"
