"""A copy of the index for other programs: they may hold it open, lock it and write to it, and no download waits for them.

Concurrency:
    The copy is made of one moment, under SQLite's own shared lock; a writer waits for it as it waits for a reader. The copy
    gets its name when it is whole.
"""

from __future__ import annotations

import os

from .. import disk
from ..errors import IndexUnavailableError, quoted
from .connection import Index


def export(index: Index, path: str) -> bool:
    """Write a copy of the index to an absolute path, in the place of what is there; False where there is no index.

    Raises:
        IndexUnavailableError: It cannot be read, or copied to there.
        OSError: The copy cannot get its name.
    """
    temporary = f"{path}.{os.getpid()}-{os.urandom(4).hex()}"
    folder = os.path.dirname(path)
    if not os.access(folder, os.W_OK | os.X_OK):
        # SQLite would only say that it cannot open the database.
        raise IndexUnavailableError(
            f"no copy of the index in {folder}: it cannot be written", hint=f"ls -ld {quoted(folder)}"
        )
    try:
        with index.reading() as connection:
            if connection is None:
                return False
            connection.execute("VACUUM INTO ?", (temporary,))
        disk.set_aside(temporary, path)
    finally:
        disk.remove(temporary)
    return True
