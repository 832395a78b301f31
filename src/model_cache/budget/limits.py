"""How much there is: the ceiling of a root in bytes, and what the file system must keep free."""

from __future__ import annotations

from .. import stats
from ..context import Context

# Where `gc` starts and stops: above the high mark it evicts down to the low one, so that it need not run for each file.
HIGH_WATERMARK, LOW_WATERMARK = 0.95, 0.85
MOST = 1 << 60  # bytes; what is said to be larger fits nowhere, and sums of it into no row
BLOCK = 4096  # bytes; the allocation unit of the file systems this runs on


def ceiling(ctx: Context) -> int | None:
    """The budget in bytes, None where there is none; a share is taken of the whole file system."""
    limit = ctx.settings.max_size
    if isinstance(limit, float):
        whole = stats.total_bytes(ctx.root)
        return None if whole is None else int(limit * whole)
    return limit


def blocks(size: int) -> int:
    """The most bytes the file system will allocate for a file of so many bytes.

    Whole blocks, and what maps them: ext4 and XFS keep four extents in the inode, and one block of extents for each few
    hundred more; a file that was written in one go into a fragmented file system still needs less than one in 1024.
    """
    data = -(-size // BLOCK) * BLOCK
    extents = 0 if size <= 4 * BLOCK else BLOCK * (1 + size // (BLOCK << 10))
    return min(data + extents, MOST)
