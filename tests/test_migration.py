"""An index of an older version is brought up to this one, whoever opens it first, and nothing in it is lost."""

import sqlite3

import pytest
from support import FILE, REPO, pattern
from verify_equipment import rot

from model_cache import IndexUnavailableError, ModelCache
from model_cache.index import queries, schema
from stress.older import downgrade


@pytest.fixture
def old(cache, hub, root):
    """A cache whose index is of the first version."""
    hub.add_repo(REPO, {FILE: pattern(50_000)})
    cache.fetch(REPO, FILE)
    cache.pin(REPO, FILE)
    before = [row._replace(seal=None) for row in cache.entries()]
    cache._ctx.index.close()
    downgrade(root)
    return ModelCache(root, endpoint=hub.url, token=False), before


def test_a_reader_migrates_what_it_may_write(old):
    """Listing an old index brings it up to date: the same rows, sealed, and what had been counted is kept."""
    cache, before = old
    after = cache.entries()
    assert [row._replace(seal=None) for row in after] == before
    assert all(row.is_sealed for row in after)
    assert (queries.last_run(cache._ctx.index, "gc"), queries.counters(cache._ctx.index)["gc"]) == (5.0, (1, 7))
    rot(cache.path(REPO, FILE))
    assert cache.verify(repair=True).exit_code() == 4


def test_an_index_of_a_later_version_is_refused(cache, hub, root):
    """What a newer version wrote is neither read nor written, and hits go on."""
    hub.add_repo(REPO, {FILE: pattern(1000)})
    cache.fetch(REPO, FILE)
    cache._ctx.index.close()
    with sqlite3.connect(root / ".model-cache" / "index.db") as later:
        later.execute(f"PRAGMA user_version = {schema.VERSION + 1}")
    later.close()
    other = ModelCache(root, endpoint=hub.url, token=False)
    for look in (other.entries, other.reconcile, other.verify):
        with pytest.raises(IndexUnavailableError, match="newer model-cache"):
            look()
    assert other.fetch(REPO, FILE).read_bytes() == pattern(1000)
