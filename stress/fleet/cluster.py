"""An S3 server that is several processes, with its bucket made."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

from .engines import SECRET, LackingError, Server, answers, rclone, wait_until

# Beside this Python, and where administrators' programs are.
_PATH = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"], "/usr/sbin"])


class Cluster(Server):
    """Servers that are started one after the other and ended together; the last one speaks S3.

    Their logs are in the folder, too.
    """

    def __init__(self, folder: str | os.PathLike[str], host: str = "127.0.0.1") -> None:
        super().__init__(folder, host)
        self._servers: list[subprocess.Popen[bytes]] = []

    def serve(self, name: str, *arguments: str) -> None:
        """Start one of the servers."""
        logs = self.folder / "log"
        logs.mkdir(parents=True, exist_ok=True)
        with open(logs / f"{name}.out", "ab") as log:
            server = subprocess.Popen(
                [self.program(name), *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._servers.append(server)

    def wait(self) -> None:
        """Wait until the last one listens and the bucket is made, or was: all of them work then."""
        wait_until(lambda: answers(self.port, self.host), self._servers[-1])
        wait_until(self._has_bucket, self._servers[-1])

    def signal(self, number: int) -> None:
        """To all of them."""
        for server in self._servers:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(server.pid, number)

    def kill(self) -> None:
        """End them, whatever state they are in; what they have stays."""
        self.signal(signal.SIGKILL)
        for server in self._servers:
            server.wait(30)
        self._servers = []

    @staticmethod
    def need(programs: tuple[str, ...], hint: str) -> None:
        """Raises LackingError, with where to get them, unless all programs are installed."""
        lacking = [name for name in programs if shutil.which(name, path=_PATH) is None]
        if lacking:
            raise LackingError(f"{lacking[0]} is not installed ({hint})")

    @staticmethod
    def program(name: str) -> str:
        """Where a program is that `need` found."""
        found = shutil.which(name, path=_PATH)
        assert found is not None, f"{name} is installed"
        return found

    def call(self, name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a program to its end, in the folder."""
        return subprocess.run(
            [self.program(name), *arguments],
            check=False,
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
        )

    def _has_bucket(self) -> bool:
        options = {"provider": "Other", "endpoint": f"http://{self.host}:{self.port}", "region": "us-east-1"}
        options |= {"access-key-id": self.key, "secret-access-key": SECRET}
        given = [f"--s3-{name}={value}" for name, value in options.items()]
        once = ["--retries=1", "--low-level-retries=1", "--config", os.devnull]
        return self.call(rclone(), "mkdir", *given, *once, ":s3:fleet").returncode == 0
