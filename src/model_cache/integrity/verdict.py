"""What a reading means; pure.

| the file | its hash | verdict |
|---|---|---|
| is the one that was recorded (inode, size, mtime) | as recorded | ok |
| the same | differs, twice | corrupt |
| is another, or has another mtime | as recorded | rebound |
| the same | differs | changed: somebody's edit; corrupt, if these bytes were found damaged before |
| cannot be read, twice | | unreadable |
| is not there | | missing |

I6: a file that moved while it was read has no verdict; it is read again.
"""

from __future__ import annotations

from typing import NamedTuple

from .. import stats
from ..index.rows import Row


class Reading(NamedTuple):
    """What was seen of the file at a path.

    Attributes:
        identity: Of the file that was opened; None where there was none that could be.
        steady: It was the same file, unchanged, and still at its path, after the last byte.
        sha256: Of its bytes; where they differed from what was expected, of the second reading.
        charged: Bytes that the file system has allocated for it.
        links: How many names it has.
        size: Bytes that were hashed, second readings included.
        missing: Nothing is at the path.
        odd: What is at the path is no regular file.
        error: Why it could not be read, or 0 (errno).
        wavered: The first reading was wrong or failed, and the second was right.
    """

    identity: stats.Identity | None = None
    steady: bool = True
    sha256: str = ""
    charged: int = 0
    links: int = 1
    size: int = 0
    missing: bool = False
    odd: bool = False
    error: int = 0
    wavered: bool = False


def decide(row: Row, reading: Reading, rotten: bool = False) -> str | None:
    """The verdict, or None if the file must be read again; `unknown` where the row cannot be believed.

    Args:
        rotten: These bytes were found to be damaged before, in a file that had been recorded.
    """
    if reading.missing:
        return "missing"
    if not reading.steady:
        return None
    if reading.error:
        return "unreadable"
    if reading.odd:
        return "changed"
    right = reading.sha256 == row.sha256
    if not row.is_sealed:
        return "rebound" if right else "unknown"
    if reading.identity == row.identity:
        return "ok" if right else "corrupt"
    return "rebound" if right else "corrupt" if rotten else "changed"
