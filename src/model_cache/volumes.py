"""What kind of volume a root is on, as far as it changes what may be done there; pure.

Sources: flock(2), "NFS details"; nfs(5); RFC 1813, 4.1 (a server of NFSv3 knows nothing of who has a file open); RFC 8881, 9.
"""

from __future__ import annotations

import re

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .mounts import Mount

NETWORK = frozenset(["nfs", "nfs4", "cifs", "smb3", "smbfs", "smb2", "afs", "fuse.sshfs"])
CLUSTER = frozenset(
    [
        *("ceph", "fuse.ceph", "fuse.ceph-fuse", "lustre", "beegfs", "gpfs", "gfs2", "ocfs2", "pvfs2", "orangefs"),
        *("fuse.glusterfs", "fuse.juicefs"),
    ]
)
BUCKETS = frozenset(
    f"fuse.{name}" for name in ("s3fs", "gcsfuse", "mountpoint-s3", "goofys", "geesefs", "rclone", "blobfuse2")
)
_SILLY = re.compile(r"\.nfs[0-9a-f]{24}")  # fileid and counter, in hex: fs/nfs/unlink.c


def is_shared(mount: Mount | None) -> bool:
    """Whether other hosts may be at the same files; of what is not known, no."""
    return mount is not None and mount.type in NETWORK | CLUSTER | BUCKETS


def is_stateless(mount: Mount | None) -> bool:
    """Whether the server is not told who has a file open, so that removing it takes it from under readers on other hosts."""
    if mount is None or mount.type not in ("nfs", "nfs4"):
        return False
    versions = [option.partition("=")[2] for option in mount.options if option.startswith(("vers=", "nfsvers="))]
    return any(version.startswith(("2", "3")) for version in versions) or (mount.type == "nfs" and not versions)


def is_silly(name: str) -> bool:
    """Whether an NFS client gave a file this name because somebody has it open and its own name was removed."""
    return _SILLY.fullmatch(name) is not None
