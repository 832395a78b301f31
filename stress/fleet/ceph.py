"""Ceph of one monitor and one disk, spoken to by its gateway's S3 API: what many run in their own halls."""

from __future__ import annotations

import uuid

from .cluster import Cluster
from .engines import KEY, SECRET, free_port

_PROGRAMS = ("ceph-mon", "ceph-osd", "radosgw", "radosgw-admin", "ceph", "monmaptool")
_HINT = "Debian: ceph-mon ceph-osd radosgw ceph-common"
_GIB = 1 << 30


class Ceph(Cluster):
    """A monitor, one store of objects in a sparse file, and the gateway; nobody has to prove who he is."""

    def run(self) -> None:
        """Make the monitor, the store and a user, unless that was done already, and serve; raises LackingError."""
        self.need(_PROGRAMS, _HINT)
        new = not self.folder.joinpath("ceph.conf").exists()
        identity = str(uuid.uuid4())
        if new:
            self._make_monitor()
        self.serve("ceph-mon", *self._configured, "-f", "-i", "a")
        if new:
            self._call("ceph", "osd", "new", identity)
            self._call("ceph-osd", "-i", "0", "--mkfs", "--osd-uuid", identity)
        self.serve("ceph-osd", *self._configured, "-f", "-i", "0")
        if new:
            keys = ("--access-key", KEY, "--secret-key", SECRET)
            self._call("radosgw-admin", "user", "create", "--uid=tests", "--display-name=tests", *keys)
        self.serve("radosgw", *self._configured, "-f", "-n", "client.rgw")
        self.wait()

    @property
    def _configured(self) -> tuple[str, str]:
        return ("-c", str(self.folder / "ceph.conf"))

    def _make_monitor(self) -> None:
        for name in ("mon", "osd", "log", "run"):
            (self.folder / name).mkdir(parents=True)
        cluster, monitor = str(uuid.uuid4()), f"[v2:{self.host}:{free_port(self.host)}]"
        lines = [f"{key} = {value}" for key, value in self._settings(cluster, monitor).items()]
        (self.folder / "ceph.conf").write_text("\n".join(["[global]", *lines, ""]))
        self._call("monmaptool", "--create", "--fsid", cluster, "--addv", "a", monitor, "monmap")
        self._call("ceph-mon", "--mkfs", "-i", "a", "--monmap", "monmap")

    def _settings(self, cluster: str, monitor: str) -> dict[str, object]:
        return {
            "fsid": cluster,
            "mon_host": monitor,
            "ms_bind_msgr1": "false",
            "public_addr": self.host,
            "cluster_addr": self.host,
            **{f"auth_{which}_required": "none" for which in ("cluster", "service", "client")},
            "ms_mon_client_mode": "crc",  # the gateway would have it encrypted, for which it needs a key
            "mon_data": self.folder / "mon",
            "osd_data": self.folder / "osd",
            "run_dir": self.folder / "run",
            "crash_dir": self.folder / "log",
            "log_file": self.folder / "log" / "$type.log",
            "mon_cluster_log_file": self.folder / "log" / "cluster.log",
            "admin_socket": "",
            # There is one disk: nothing can be on two, and one placement group serves a pool.
            "osd_pool_default_size": 1,
            "osd_pool_default_min_size": 1,
            "osd_pool_default_pg_num": 1,
            "osd_pool_default_pg_autoscale_mode": "off",
            "rgw_rados_pool_pg_num_min": 1,
            "osd_crush_chooseleaf_type": 0,
            "mon_allow_pool_size_one": "true",
            "paxos_propose_interval": 0.05,
            "bluestore_block_size": 4 * _GIB,
            "rgw_frontends": f"beast endpoint={self.host}:{self.port}",
            "rgw_thread_pool_size": 32,
        }

    def _call(self, name: str, *arguments: str) -> None:
        given = () if name == "monmaptool" else self._configured
        done = self.call(name, *given, *arguments)
        assert done.returncode == 0, f"{name}: {done.stderr}"
