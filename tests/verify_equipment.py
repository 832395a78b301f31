"""What the tests of verify share: damage as a disk does it, and reports as plain names."""

import os

from model_cache.progress import Progress


def rot(path, offset=0, bit=1):
    """Flip bits of one byte in place; size and mtime stay what they were."""
    found = path.stat()
    with path.open("r+b") as file:
        file.seek(offset)
        byte = file.read(1)[0]
        file.seek(offset)
        file.write(bytes([byte ^ bit]))
    os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))


def found(report):
    """{class: filenames} of what a report says is wrong."""
    classes = ("corrupt", "changed", "missing", "unreadable")
    return {name: [one.row.filename for one in getattr(report, name)] for name in classes if getattr(report, name)}


def snapshot(root):
    """{path: bytes} of everything below a root that is not the cache's own."""
    files = [path for path in root.rglob("*") if path.is_file() and ".model-cache" not in path.parts]
    return {str(path.relative_to(root)): path.read_bytes() for path in files if path.name != "CACHEDIR.TAG"}


class Told(Progress):
    """Keeps what a run tells, and calls `then` on the way."""

    def __init__(self, then=None):
        self.judged, self.warnings, self.read = [], [], 0
        self._then = then

    def verified(self, path, verdict):
        """Keep it, and go on as was asked."""
        self.judged.append((os.path.basename(path), verdict))
        if self._then is not None:
            self._then(path, verdict)

    def advanced(self, done):
        """Keep the last."""
        self.read = done

    def warning(self, message):
        """Keep it."""
        self.warnings.append(message)
