"""OpenStack Swift on one node, spoken to by its S3 API: the tier's own kind of server, without a cloud."""

from __future__ import annotations

import getpass
from pathlib import Path

from .cluster import Cluster
from .engines import KEY, SECRET, free_port

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


class Swift(Cluster):
    """Account, container and object server of one device, and a proxy that speaks S3."""

    key = _ACCESS

    def run(self) -> None:
        """Make a ring and a container, unless that was done already, and serve them; raises LackingError."""
        servers = [f"swift-{name}-server" for name in (*_KINDS, "proxy")]
        self.need(("swift-ring-builder", *servers), "swift and PasteDeploy, of the extra `test`")
        if not self._etc.exists():
            for name in ("etc", "srv/one", "log"):
                (self.folder / name).mkdir(parents=True)
            (self._etc / "swift.conf").write_text(_HASH)
            for name in _KINDS:
                self._make_ring(name, free_port(self.host))
            self._configure("proxy", self.port, self._proxy())
        for name in (*_KINDS, "proxy"):
            self.serve(f"swift-{name}-server", str(self._etc / f"{name}.conf"))
        self.wait()

    @property
    def _etc(self) -> Path:
        return self.folder / "etc"

    def _make_ring(self, name: str, port: int) -> None:
        self._configure(name, port, f"use = egg:swift#{name}\nfallocate_reserve = 0\n\n[{name}-replicator]\n")
        device = f"r1z1-{self.host}:{port}/one"
        for arguments in (["create", "4", "1", "1"], ["add", device, "1"], ["rebalance"]):
            done = self.call("swift-ring-builder", str(self._etc / f"{name}.builder"), *arguments)
            assert done.returncode < 2, done.stderr  # 1 is a warning: one device cannot hold replicas

    def _configure(self, name: str, port: int, own: str) -> None:
        common = {
            "bind_ip": self.host,
            "bind_port": port,
            "user": getpass.getuser(),
            "swift_dir": self._etc,
            "devices": self.folder / "srv",
            "mount_check": "false",
            "workers": 0,
            "disable_fallocate": "true",
            "recon_cache_path": self.folder / "log",
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
