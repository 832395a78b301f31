"""Names, bytes and waits that many tests share."""

import os
import subprocess
from contextlib import contextmanager

from model_cache.clock import Clock

REPO, FILE = "owner/name", "model.bin"


class Later(Clock):
    """A clock that is ahead by `ahead` seconds, and whose waits pass at once."""

    def __init__(self):
        self.ahead = 0.0

    def time(self):
        """Wall-clock seconds, so much later."""
        return super().time() + self.ahead

    def monotonic(self):
        """Seconds, so much later."""
        return super().monotonic() + self.ahead

    def sleep(self, seconds):
        """Let the time pass."""
        self.ahead += seconds


def pattern(size, seed=0):
    """Bytes in which every position differs from its neighbours, so that shifts and cuts show."""
    block = bytes((seed + i * 131 + (i >> 8) * 17) & 0xFF for i in range(65521))
    return (block * (size // len(block) + 1))[:size]


@contextmanager
def nested(directory):
    """Directories in one another, more than Python calls functions, while the block lasts; `shutil` could not remove them."""
    directory.mkdir()
    fd = os.open(directory, os.O_RDONLY)
    for _ in range(1100):
        os.mkdir("d", dir_fd=fd)
        inner = os.open("d", os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = inner
    os.close(fd)
    try:
        yield
    finally:
        subprocess.run(["rm", "-rf", str(directory)], check=True)


def finish(process, timeout=60):
    """Wait for a process that must succeed; its output."""
    out, err = process.communicate(timeout=timeout)
    assert process.returncode == 0, err
    return out.strip()
