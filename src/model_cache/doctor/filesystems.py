"""What is known of file systems by their names: what holds there and what does not.

The trials say what holds between two processes of this host. This says what no trial on one host can: what another host,
a container or a reboot does to it.

Sources: flock(2), "NFS details" and "CIFS details"; nfs(5), "Data and metadata coherence"; fcntl(2), "Leases";
https://docs.kernel.org/filesystems/9p.html; https://docs.ceph.com/en/latest/cephfs/posix/ and .../eviction/;
https://juicefs.com/docs/community/posix_compatibility; sshfs(1), "Caveats"; issue 7004 of docker/for-mac; issue 2137 of
s3fs-fuse/s3fs-fuse; the semantics page of awslabs/mountpoint-s3. None of the network ones was tried.
"""

from __future__ import annotations

from typing import NamedTuple

from ..mounts import Mount
from ..volumes import BUCKETS, CLUSTER
from .check import ELSEWHERE, Check, ok, warn


class Known(NamedTuple):
    """Attributes: `kind`, one word; `holds`, a clause on what holds there and what does not."""

    kind: str
    holds: str


_LOCAL = Known("local", "locks, leases, rename and mmap are the kernel's own")
_FOLDS = Known("local", "it folds case and may have no hard links")
_NFS = Known(
    "network",
    "locks are the server's and hold between hosts that all use its lock service; the open test sees no other host;"
    " a name that another host made can stay unseen for up to a minute; a mapping is not told of changes;"
    " a file that another host removed ends an open one (ESTALE)",
)
_SMB = Known(
    "network",
    "a flock locks the bytes for all others (since Linux 5.5), so a file that is being evicted cannot be read;"
    " the open test depends on what the server granted; case is mostly folded, hard links are the server's to give",
)
_HOST = Known(
    "guest",
    "locks and leases hold inside this guest and mostly not against the host or other guests; a file that the host"
    " removes or replaces can be seen late",
)
_CLUSTER = Known(
    "cluster", "made for locks between hosts, as far as it is mounted with them; the open test sees no other host"
)
_BUCKET = Known(
    "object store",
    "locks hold on this host at most; rename is a copy or refused, there are no hard links, and a file appears when it is closed",
)
_USER_SPACE = Known(
    "user space", "locks, links and rename are what its program makes of them; the open test sees this host alone"
)
_IMAGE = Known("read-only", "nothing can be downloaded; hits work")

KNOWN: dict[str, Known] = {
    **dict.fromkeys(
        ("ext2", "ext3", "ext4", "xfs", "btrfs", "f2fs", "bcachefs", "zfs", "jfs", "nilfs2", "apfs"), _LOCAL
    ),
    **dict.fromkeys(("vfat", "msdos", "exfat", "ntfs", "ntfs3", "hfs", "hfsplus", "fuseblk"), _FOLDS),
    **dict.fromkeys(("squashfs", "erofs", "iso9660", "udf", "cramfs"), _IMAGE),
    **dict.fromkeys(
        ("tmpfs", "ramfs"), Known("memory", "all of it is lost at the next reboot, and models take up memory")
    ),
    "overlay": Known(
        "layers",
        "locks and leases hold inside one mount of it; what is downloaded goes with the container, and no other one sees it",
    ),
    "ecryptfs": Known("local", "names have at most 143 bytes"),
    "nfs": _NFS,
    "nfs4": _NFS,
    **dict.fromkeys(("cifs", "smb3", "smbfs", "smb2"), _SMB),
    "afs": Known("network", "locks are local or the server's, as it is mounted; the open test sees no other host"),
    **dict.fromkeys(("9p", "virtiofs", "vboxsf", "prl_fs", "fuse.vmhgfs-fuse", "fuse.grpcfuse", "fuse.osxfs"), _HOST),
    "fakeowner": Known("guest", "two processes can get one exclusive flock, whatever a short trial says"),
    **dict.fromkeys(CLUSTER, _CLUSTER),  # and of some of them more is known
    "ceph": Known(
        "cluster",
        "locks and mmap hold between hosts; a host that was cut off loses its locks, and reads of those files fail;"
        " the open test sees no other host",
    ),
    "lustre": Known(
        "cluster",
        "locks hold between hosts only where it is mounted with flock; the open test sees no other host",
    ),
    "beegfs": Known(
        "cluster",
        "locks hold on this host alone unless tuneUseGlobalFileLocks is set; the open test sees no other host",
    ),
    "fuse.juicefs": Known(
        "cluster",
        "locks and rename hold between hosts; a change is seen when the file is opened again; the open test sees no other host",
    ),
    "fuse.sshfs": Known(
        "network",
        "locks hold on this host alone; two names of one file look like two files; a name that another host made can stay unseen",
    ),
    **dict.fromkeys(BUCKETS, _BUCKET),
}

# Options of a mount that change what the table says: (type, option) or (type, how an option begins).
_OPTIONS = {
    ("nfs", "local_lock=all"): "locks hold on this host alone",
    ("nfs", "local_lock=flock"): "locks hold on this host alone",
    ("nfs", "nolock"): "locks hold on this host alone",
    ("nfs4", "local_lock=all"): "locks hold on this host alone",
    ("nfs4", "local_lock=flock"): "locks hold on this host alone",
    ("cifs", "nobrl"): "locks hold on this host alone",
    ("smb3", "nobrl"): "locks hold on this host alone",
    ("lustre", "localflock"): "locks hold on this host alone",
    ("lustre", "noflock"): "there are no locks",
    ("gfs2", "localflocks"): "locks hold on this host alone",
    ("9p", "cache=loose"): "changes by the host are not seen",
    ("9p", "cache=fscache"): "changes by the host are not seen",
}


def known(type_: str) -> Known:
    """What is known of a type; of those in user space that have no line of their own, what holds for all."""
    if type_ in KNOWN:
        return KNOWN[type_]
    if type_ == "fuse" or type_.startswith("fuse."):
        return _USER_SPACE
    return Known("unknown", "nothing is known of it here: only what the trials found")


def judge_file_system(mount: Mount | None) -> Check:
    """What it means that the root is on this mount."""
    name = "file-system"
    if mount is None:
        return ok(name, "its type cannot be told here; the trials say what holds")
    found = known(mount.type)
    options = sorted(
        f"{option}: {_OPTIONS[mount.type, option]}" for option in mount.options if (mount.type, option) in _OPTIONS
    )
    what = f"{mount.type} at {mount.point} ({found.kind}): " + "; ".join([found.holds, *options])
    if found.kind == "local":
        return ok(name, what)
    return warn(name, what, "" if found.kind in ("layers", "unknown") else ELSEWHERE)
