"""Hashes of open files against those of the whole bytes, at each edge of a block."""

import hashlib
import os

import pytest
from support import pattern

from model_cache.digest import blocks, git_sha1, sha256

BLOCK = 1 << 20


@pytest.fixture
def opened(tmp_path):
    """Make a file of so many bytes, and open it: (descriptor, bytes)."""
    fds = []

    def open_file(size):
        data = pattern(size)
        (tmp_path / "file").write_bytes(data)
        fds.append(os.open(tmp_path / "file", os.O_RDONLY))
        return fds[-1], data

    yield open_file
    for fd in fds:
        os.close(fd)


@pytest.mark.parametrize("size", [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK + 7])
def test_a_file_of_any_size_is_hashed_whole(size, opened):
    """The sha256, the size and git's name are those of all bytes, and each block is announced before it is hashed."""
    fd, data = opened(size)
    announced = []
    assert sha256(fd, announced.append) == (hashlib.sha256(data).hexdigest(), size)
    assert sum(announced) == size and all(0 < count <= BLOCK for count in announced)
    assert sha256(fd) == (hashlib.sha256(data).hexdigest(), size)
    assert git_sha1(fd, size) == hashlib.sha1(b"blob %d\0" % size + data).hexdigest()
    assert os.lseek(fd, 0, os.SEEK_CUR) == 0


@pytest.mark.parametrize(
    ("start", "end"),
    [
        (0, 0),
        (0, 1),
        (5, 5),
        (5, 9),
        (9, 5),
        (0, BLOCK),
        (1, BLOCK + 1),
        (3, 2 * BLOCK),
        (0, 9 * BLOCK),
        (9 * BLOCK, None),
        (7, None),
    ],
)
def test_a_part_of_a_file_is_read_from_its_first_to_before_its_last_byte(start, end, opened):
    """The blocks are the bytes from `start` up to `end`, or as far as the file goes, none of them longer than a read."""
    fd, data = opened(2 * BLOCK + 7)
    read = [bytes(block) for block in blocks(fd, start, end)]
    assert b"".join(read) == data[start:end]
    assert all(0 < len(block) <= BLOCK for block in read)


def test_a_file_with_a_byte_too_many_has_another_name_in_git(opened):
    """A file that is longer than was said is another object, though it begins the same; and not all of it is read."""
    fd, data = opened(101)
    assert git_sha1(fd, 100) == hashlib.sha1(b"blob 100\0" + data).hexdigest()
    assert git_sha1(fd, 99) == hashlib.sha1(b"blob 99\0" + data[:100]).hexdigest()


def test_what_the_caller_raises_ends_the_reading(opened):
    """A reading that is no longer wanted ends before the next block is hashed."""
    fd, _ = opened(3 * BLOCK)
    seen = []

    def stop(count):
        seen.append(count)
        raise InterruptedError

    with pytest.raises(InterruptedError):
        sha256(fd, stop)
    assert seen == [BLOCK]
