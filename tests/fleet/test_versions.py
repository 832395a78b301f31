"""The version of an object in a bucket, by which a host knows whether what it found damaged was replaced."""

import os
import time

import pytest

pytest.importorskip("obstore")

from model_cache.fleet.bucket import Bucket


def test_an_object_that_was_replaced_by_the_same_bytes_has_another_version(tmp_path):
    """Rot does not change what a store says of an object, so the time at which it was written counts too."""
    bucket = Bucket(f"file://{tmp_path}")
    bucket.offer("v1/sha256/ab/abc", b"bytes", 5)
    os.utime(tmp_path / "v1/sha256/ab/abc", (time.time() - 60,) * 2)
    first, again = bucket.fetch("v1/sha256/ab/abc").version, bucket.fetch("v1/sha256/ab/abc", 2).version
    bucket.offer("v1/sha256/ab/abc", b"bytes", 5)
    assert first == again != bucket.fetch("v1/sha256/ab/abc").version
    assert first
