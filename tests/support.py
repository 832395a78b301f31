"""Names, bytes and waits that many tests share."""

REPO, FILE = "owner/name", "model.bin"


def pattern(size, seed=0):
    """Bytes in which every position differs from its neighbours, so that shifts and cuts show."""
    block = bytes((seed + i * 131 + (i >> 8) * 17) & 0xFF for i in range(65521))
    return (block * (size // len(block) + 1))[:size]


def finish(process, timeout=60):
    """Wait for a process that must succeed; its output."""
    out, err = process.communicate(timeout=timeout)
    assert process.returncode == 0, err
    return out.strip()
