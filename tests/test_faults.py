"""Each fault of a hub, once and always: right bytes or a clear error, and never a wrong byte published."""

import hashlib
import os

import pytest
from support import FILE, REPO, Impatient, pattern

from model_cache import DownloadError, IntegrityError, ModelCache, ModelCacheError
from model_cache.index import queries

BIG = pattern(3_000_000)
SMALL = pattern(5_000, seed=7)


# (kind, its parameters, whether it can be survived when it happens every time)
FAULTS = [
    ("cut", {"at": 0.5}, "resumed"),
    ("reset", {"at": 0.5}, "resumed"),
    ("flip", {}, IntegrityError),
    ("slow", {"rate": 30_000_000}, "resumed"),
    ("status", {"status": 500}, DownloadError),
    ("status", {"status": 503}, DownloadError),
    ("status", {"status": 429, "retry_after": 1}, DownloadError),
    ("wrong_length", {"by": -5}, ModelCacheError),
    ("wrong_length", {"by": 5}, ModelCacheError),
    ("range_ignored", {}, "resumed"),
    ("changed", {}, "resumed"),
    ("compressed", {}, DownloadError),
    ("html", {}, DownloadError),
    ("expired", {}, DownloadError),
    ("redirect", {"to": "file:///etc/passwd"}, DownloadError),
]


def attempt(hub, root):
    """Fetch with little patience; the file's bytes or the error."""
    cache = ModelCache(root, endpoint=hub.url, token=False, clock=Impatient(), download_timeout=1, etag_timeout=2)
    try:
        return cache.fetch(REPO, FILE).read_bytes()
    except ModelCacheError as error:
        return error


@pytest.mark.parametrize("content", [BIG, SMALL], ids=["large", "small"])
@pytest.mark.parametrize(("kind", "more", "_always"), FAULTS, ids=lambda value: value if isinstance(value, str) else "")
def test_a_fault_that_happens_once_is_survived_or_named(hub, root, kind, more, _always, content):
    """After one fault there are the right bytes or a clear error, and after that the next fetch has the right bytes."""
    hub.add_repo(REPO, {FILE: content})
    hub.fault(FILE, kind, times=1, **more)
    found = attempt(hub, root)
    assert found == content or (isinstance(found, ModelCacheError) and str(found))
    again = attempt(hub, root)
    if kind == "changed":
        # The file is another one now, under another identifier: whole and verified, as the next caller asked for it.
        (row,) = queries.entries(ModelCache(root)._ctx.index)
        assert hashlib.sha256(again).hexdigest() == row.sha256
    else:
        assert again == content


@pytest.mark.parametrize("content", [BIG, SMALL], ids=["large", "small"])
@pytest.mark.parametrize(("kind", "more", "always"), FAULTS, ids=lambda value: value if isinstance(value, str) else "")
def test_a_fault_that_happens_always_publishes_no_wrong_byte(hub, root, kind, more, always, content):
    """A fault that never ends is survived where it can be, else it is an error of the right class with nothing published."""
    hub.add_repo(REPO, {FILE: content})
    hub.fault(FILE, kind, times=None, **more)
    found = attempt(hub, root)
    if always == "resumed":
        assert found == content or isinstance(found, DownloadError)
    else:
        assert isinstance(found, always), found
    if not isinstance(found, bytes):
        assert not (root / REPO / FILE).exists()
        states = {row.state for row in queries.entries(ModelCache(root)._ctx.index)}
        assert states <= {"partial"}


def test_other_bytes_after_a_cut_are_refused(hub, root):
    """A server that goes on with another file's bytes after a cut is found out by the hash, and asked once from zero."""
    hub.add_repo(REPO, {FILE: BIG})
    hub.fault(FILE, "other_bytes", times=None, at=0.5)
    found = attempt(hub, root)
    assert found == BIG or isinstance(found, (IntegrityError, DownloadError))
    assert not (root / REPO / FILE).exists() or (root / REPO / FILE).read_bytes() == BIG
    hub.clear_faults()
    assert attempt(hub, root) == BIG


def test_a_stalled_body_is_given_up_and_resumed(hub, root):
    """A connection on which nothing comes is not waited for for ever; what had come is kept."""
    hub.add_repo(REPO, {FILE: BIG})
    hub.fault(FILE, "stall", times=1, at=0.6)
    assert attempt(hub, root) == BIG
    assert hub.body_bytes(FILE) <= 1.1 * len(BIG)


def test_a_redirect_elsewhere_carries_no_token(hub, root):
    """A token never leaves the endpoint, wherever a redirect leads."""
    from model_cache.testing import LoopbackHub

    hub.add_repo(REPO, {FILE: SMALL})
    with LoopbackHub() as elsewhere:
        hub.fault(FILE, "redirect", times=None, to=f"{elsewhere.url}/x")
        with pytest.raises(ModelCacheError) as caught:
            ModelCache(root, endpoint=hub.url, token="hf_secretsecret", clock=Impatient()).fetch(REPO, FILE)
        assert all(not record.authorization for record in elsewhere.requests)
    assert "hf_secret" not in repr(caught.value) + str(caught.value.__dict__)


def test_more_bytes_than_promised_do_not_fill_the_disk(hub, root):
    """An endless body ends at the promised size."""
    hub.add_repo(REPO, {FILE: BIG})
    hub.fault(FILE, "wrong_length", times=None, by=5_000_000)
    found = attempt(hub, root)
    assert isinstance(found, ModelCacheError)
    left = [file.stat().st_size for file in (root / ".model-cache" / "partial").iterdir()]
    assert sum(left) <= len(BIG) + (1 << 20)


def test_nobody_listening_is_a_clear_error(root):
    """Without a network the error names the host and what can be done, and says nothing of Python's insides."""
    cache = ModelCache(root, endpoint="http://127.0.0.1:9", token=False, clock=Impatient())
    with pytest.raises(DownloadError) as caught:
        cache.fetch(REPO, FILE)
    assert "127.0.0.1" in str(caught.value) and "urllib3" not in str(caught.value)
    assert caught.value.hint
    assert os.listdir(root / ".model-cache" / "partial") == []
