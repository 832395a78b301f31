"""Names, bytes and waits that many tests share."""

import hashlib
import os
import subprocess
from contextlib import contextmanager

from model_cache.clock import Clock
from model_cache.errors import DownloadError
from model_cache.hub.client import FileMeta
from model_cache.progress import Progress

REPO, FILE = "owner/name", "model.bin"
# For processes that tests start: machines that run the suite can stand still for longer than a user's network may.
PATIENT = {"HF_HUB_DOWNLOAD_TIMEOUT": "60", "HF_HUB_ETAG_TIMEOUT": "60"}


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


class Still(Later):
    """A clock by which time passes in waits alone, however long the machine stands still."""

    def __init__(self):
        super().__init__()
        self._began = Clock.time(self), Clock.monotonic(self)

    def time(self):
        """When it was made, and the waits."""
        return self._began[0] + self.ahead

    def monotonic(self):
        """As `time`, in seconds that never go back."""
        return self._began[1] + self.ahead


class Impatient(Clock):
    """A clock whose waits are over at once."""

    def sleep(self, seconds):
        """Do not."""


class Told(Progress):
    """Keeps the warnings."""

    def __init__(self):
        self.warnings = []

    def warning(self, message):
        """Keep it."""
        self.warnings.append(message)


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


def finish(process, timeout=120):
    """Wait for a process that must succeed; its output."""
    out, err = process.communicate(timeout=timeout)
    assert process.returncode == 0, err
    return out.strip()


class CutShort:
    """A body that always begins at the start of the file and ends before its end."""

    start, total = 0, None

    def __init__(self, left):
        self._left = left

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        """Let it go."""

    def readinto(self, view):
        """The next zero bytes, or the cut."""
        if not self._left:
            raise DownloadError("the connection ended", transient=True)
        count = min(len(view), self._left)
        self._left -= count
        return count


class NeverWhole:
    """A Hub that ignores ranges and always sends a part of the file, small and large by turns."""

    def __init__(self):
        self.bodies = 0

    def metadata(self, *_, **__):
        """Of a file larger than what comes."""
        digest = hashlib.sha256(bytes(10 << 20)).hexdigest()
        return FileMeta(commit="0" * 40, etag=digest, size=10 << 20, sha256=digest, git_sha1=None)

    def open_body(self, *_, **__):
        """From the start, whatever was asked for."""
        self.bodies += 1
        assert self.bodies < 200, "there is no end to it"
        return CutShort((3 << 20, 6 << 20)[self.bodies % 2])
