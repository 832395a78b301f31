"""OpenStack Swift on one node, spoken to by its S3 API: the tier's own kind of server, without a cloud."""

from __future__ import annotations

import contextlib
import getpass
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

from .engines import KEY, SECRET, Engine, LackingError, answers, free_port, rclone, wait_until

_USER = KEY.replace("-", "")
_ACCESS = f"{_USER}:tests"
_KINDS = ("account", "container", "object")
_HASH = "[swift-hash]\nswift_hash_path_suffix = models\n\n[storage-policy:0]\nname = one\ndefault = yes\n"
# Of the proxy's pipeline: which code each is, and what it is told.
_FILTERS = {
    "catch_errors": ("catch_errors",),
    "gatekeeper": ("gatekeeper",),
    "cache": ("memcache", "memcache_servers = 127.0.0.1:1"),  # nobody is there: it does without
    "bulk": ("bulk",),
    "s3api": ("s3api", "s3_acl = false", "check_bucket_owner = false"),
    "tempauth": ("tempauth", f"user_{_USER}_tests = {SECRET} .admin"),
    "slo": ("slo", "allow_async_delete = false"),
    "dlo": ("dlo",),
}


class Swift(Engine):
    """Account, container and object server of one device, and a proxy that speaks S3."""

    key = _ACCESS

    def __init__(self, folder: str | os.PathLike[str], host: str = "127.0.0.1") -> None:
        super().__init__(host)
        self._place = Path(folder)
        self._programs = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        self._servers: list[subprocess.Popen[bytes]] = []
        self._prefix = 0

    def begin(self) -> None:
        """A prefix under which nothing is yet."""
        self._prefix += 1

    @property
    def address(self) -> str:
        """The setting `tier` that means it."""
        return f"s3://fleet/{self._prefix}"

    def run(self) -> None:
        """Make a ring and a container, unless that was done already, and serve them; raises LackingError."""
        if shutil.which("swift-proxy-server", path=self._programs) is None:
            raise LackingError("OpenStack Swift is not installed (swift and PasteDeploy, of the extra `test`)")
        if not self._etc.exists():
            for name in ("etc", "srv/one", "log"):
                (self._place / name).mkdir(parents=True)
            (self._etc / "swift.conf").write_text(_HASH)
            for name in _KINDS:
                self._make_ring(name, free_port(self.host))
            self._configure("proxy", self.port, self._proxy())
        self._serve()

    def signal(self, number: int) -> None:
        """To all four."""
        for server in self._servers:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(server.pid, number)

    def kill(self) -> None:
        """End them, whatever state they are in; what they have stays."""
        self.signal(signal.SIGKILL)
        for server in self._servers:
            server.wait(30)
        self._servers = []

    @property
    def _etc(self) -> Path:
        return self._place / "etc"

    def _make_ring(self, name: str, port: int) -> None:
        self._configure(name, port, f"use = egg:swift#{name}\nfallocate_reserve = 0\n\n[{name}-replicator]\n")
        device = f"r1z1-{self.host}:{port}/one"
        for arguments in (["create", "4", "1", "1"], ["add", device, "1"], ["rebalance"]):
            done = self._call(self._program("swift-ring-builder"), f"{name}.builder", *arguments)
            assert done.returncode < 2, done.stderr  # 1 is a warning: one device cannot hold replicas

    def _configure(self, name: str, port: int, own: str) -> None:
        common = {
            "bind_ip": self.host,
            "bind_port": port,
            "user": getpass.getuser(),
            "swift_dir": self._etc,
            "devices": self._place / "srv",
            "mount_check": "false",
            "workers": 0,
            "disable_fallocate": "true",
            "recon_cache_path": self._place / "log",
        }
        pipeline = " ".join([*_FILTERS, "proxy-server"]) if name == "proxy" else f"{name}-server"
        lines = [f"{key} = {value}" for key, value in common.items()]
        head = ["[DEFAULT]", *lines, "", "[pipeline:main]", f"pipeline = {pipeline}", "", f"[app:{name}-server]"]
        (self._etc / f"{name}.conf").write_text("\n".join([*head, own]))

    @staticmethod
    def _proxy() -> str:
        filters = [
            "\n".join([f"[filter:{name}]", f"use = egg:swift#{code}", *told, ""])
            for name, (code, *told) in _FILTERS.items()
        ]
        return "\n".join(["use = egg:swift#proxy\naccount_autocreate = true\n", *filters])

    def _serve(self) -> None:
        for name in (*_KINDS, "proxy"):
            with open(self._place / "log" / f"{name}.log", "ab") as log:
                server = subprocess.Popen(
                    [self._program(f"swift-{name}-server"), str(self._etc / f"{name}.conf")],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
            self._servers.append(server)
        wait_until(lambda: answers(self.port, self.host), self._servers[-1])
        wait_until(self._has_container, self._servers[-1])

    def _has_container(self) -> bool:
        """Whether the container can be made, or was: all four servers work then."""
        options = {"provider": "Other", "endpoint": f"http://{self.host}:{self.port}", "region": "us-east-1"}
        options |= {"access-key-id": _ACCESS, "secret-access-key": SECRET}
        given = [f"--s3-{name}={value}" for name, value in options.items()]
        made = self._call(
            rclone(), "mkdir", *given, "--retries=1", "--low-level-retries=1", "--config", os.devnull, ":s3:fleet"
        )
        return made.returncode == 0

    def _call(self, program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [program, *arguments],
            check=False,
            cwd=self._etc,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
        )

    def _program(self, name: str) -> str:
        found = shutil.which(name, path=self._programs)
        assert found is not None, f"{name} comes with the others"
        return found
