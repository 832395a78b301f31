"""Bodies in chunks: every cut of the stream gives the same payload, and nothing that is no such body hangs or is believed."""

import http.client
import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model_cache.hub.chunks import Chunks


class Trickle(io.RawIOBase):
    """A connection that hands out so many bytes at a time."""

    def __init__(self, data, piece):
        self._data, self._piece = data, piece

    def readable(self):
        """It is."""
        return True

    def readinto(self, buffer):
        """The next few bytes."""
        count = min(self._piece, len(buffer), len(self._data))
        buffer[:count], self._data = self._data[:count], self._data[count:]
        return count


def payload(data, piece=1 << 16, room=100):
    """The payload of a stream; the number of calls is bounded by the number of its bytes."""
    chunks = Chunks(io.BufferedReader(Trickle(data, piece)))
    kept, view = b"", memoryview(bytearray(room))
    for _ in range(2 * len(data) + 10):
        count = chunks.readinto(view)
        if count == 0:
            assert chunks.ended
            return kept
        kept += bytes(view[: count or 0])
    raise AssertionError("it goes on and on")


def coded(pieces, extension=b"", trailers=b"", end=b"\r\n"):
    """The pieces as chunks."""
    lines = [b"%x%s%s%s%s" % (len(piece), extension, end, piece, end) for piece in pieces]
    return b"".join([*lines, b"0", end, trailers, end])


QUICK = settings(max_examples=150, derandomize=True, database=None, deadline=None)


@QUICK
@given(
    st.lists(st.binary(min_size=1, max_size=300), max_size=5),
    st.sampled_from([b"", b";a=b", b' ; name="x"', b"\t"]),
    st.sampled_from([b"", b"X-A: y\r\n", b"X-A: y\r\nX-B: z\r\n"]),
    st.sampled_from([b"\r\n", b"\n"]),
    st.sampled_from([1, 2, 7, 1 << 16]),
    st.integers(1, 400),
)
def test_a_body_is_the_same_however_it_arrives(pieces, extension, trailers, end, piece, room):
    """Extensions, trailers, bare line feeds, and reads of any length change nothing."""
    assert payload(coded(pieces, extension, trailers, end), piece, room) == b"".join(pieces)


@QUICK
@given(
    st.binary(max_size=300) | st.text("0123456789abcdefX;\r\n -+_", max_size=300).map(str.encode),
    st.sampled_from([1, 50]),
)
def test_any_bytes_end(data, piece):
    """What is no such body is an error of HTTP, and nothing else."""
    try:
        payload(data, piece)
    except http.client.HTTPException:
        return


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"5\r\nxyz",
        b"3\r\nxyz",
        b"3\r\nxyz\r\n",
        b"0\r\n",
        b"3\r\nxyzab\r\n0\r\n\r\n",
        b"-3\r\nxyz\r\n",
        b"+3\r\nxyz\r\n",
        b"0x3\r\nxyz\r\n",
        b"1_0\r\nxyz\r\n",
        b" 3\r\nxyz\r\n",
        b"\r\n",
        b"f" * 16 + b"\r\n",
        b"3;" + b"x" * 2000 + b"\r\nxyz\r\n0\r\n\r\n",
        b"0\r\n" + b"X-A: y\r\n" * 101 + b"\r\n",
        b"0\r\nX-A: " + b"y" * 2000 + b"\r\n\r\n",
    ],
)
def test_what_is_cut_or_malformed_is_an_error(data):
    """A missing end, a length in another spelling, an endless line, and more trailers than anybody needs."""
    with pytest.raises(http.client.HTTPException):
        payload(data)
