"""OpenStack Swift on one node, with its S3 API: a store that keeps each object in three servers' words, as in production."""

import contextlib
import getpass
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from fleet_equipment import Engine, answers, free_port, wait_until

KEY, SECRET = "test:tester", "testing"
_HASH = "[swift-hash]\nswift_hash_path_suffix = models\n[storage-policy:0]\nname = gold\ndefault = yes\n"
_PIPELINE = "catch_errors gatekeeper healthcheck cache bulk s3api tempauth slo dlo proxy-server"
_FILTERS = {
    "catch_errors": "",
    "gatekeeper": "",
    "healthcheck": "",
    "cache": "memcache_servers = 127.0.0.1:1",
    "bulk": "",
    "s3api": "s3_acl = false",
    "tempauth": "user_test_tester = testing .admin",
    "slo": "",
    "dlo": "",
}


class Swift(Engine):
    """Account, container and object server, and a proxy that speaks S3."""

    address = "s3://fleet/models"

    def __init__(self, place):
        self._place = Path(place)
        self.ports = {name: free_port() for name in ("account", "container", "object", "proxy")}
        self.port = self.ports["proxy"]
        self._servers = []

    def run(self):
        """Make a ring of one device, and start the four."""
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        found = shutil.which("swift-proxy-server", path=path)
        if found is None:
            pytest.skip("swift is not installed (extra `engines`)")
        self._environ = os.environ | {"PATH": path}
        for name in ("etc", "srv/d1", "log"):
            (self._place / name).mkdir(parents=True)
        (self._place / "etc" / "swift.conf").write_text(_HASH)
        for name, port in self.ports.items():
            self._configure(name, port)
        for name, port in self.ports.items():
            self._serve(name, port)

    def signal(self, number):
        """To all four."""
        for server in self._servers:
            os.killpg(server.pid, number)

    def stop(self):
        """End them."""
        for server in self._servers:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(server.pid, signal.SIGKILL)
            server.wait(30)
        self._servers = []

    def _configure(self, name, port):
        etc = self._place / "etc"
        common = {
            "bind_ip": "127.0.0.1",
            "bind_port": port,
            "user": getpass.getuser(),
            "swift_dir": etc,
            "devices": self._place / "srv",
            "mount_check": "false",
            "workers": 0,
            "disable_fallocate": "true",
            "recon_cache_path": self._place / "log",
        }
        own = "account_autocreate = true" if name == "proxy" else "fallocate_reserve = 0"
        text = "[DEFAULT]\n" + "".join(f"{key} = {value}\n" for key, value in common.items())
        text += f"[pipeline:main]\npipeline = {_PIPELINE if name == 'proxy' else f'{name}-server'}\n"
        text += f"[app:{name}-server]\nuse = egg:swift#{name}\n{own}\n"
        if name == "proxy":
            text += "".join(f"[filter:{one}]\nuse = egg:swift#{one}\n{more}\n" for one, more in _FILTERS.items())
        else:
            text += f"[{name}-replicator]\n"
            self._ring(f"{name}.builder", "create", "4", "1", "1")
            self._ring(f"{name}.builder", "add", f"r1z1-127.0.0.1:{port}/d1", "1")
            self._ring(f"{name}.builder", "rebalance")
        (etc / f"{name}.conf").write_text(text)

    def _ring(self, *arguments):
        command = ["swift-ring-builder", *arguments]
        done = subprocess.run(
            command,
            cwd=self._place / "etc",
            env=self._environ,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=60,
        )
        assert done.returncode < 2, done.stderr  # 1 is a warning: a ring of one device has no replicas

    def _serve(self, name, port):
        with open(self._place / "log" / f"{name}.log", "wb") as log:
            server = subprocess.Popen(
                [f"swift-{name}-server", str(self._place / "etc" / f"{name}.conf")],
                env=self._environ,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._servers.append(server)
        wait_until(lambda: answers(port), server)
