"""`update`: a repo moves as a whole, or not at all."""

import pytest
from support import REPO, Later, pattern

from model_cache import AccessError, CacheFullError, ModelCache, OfflineMissError
from model_cache.index import queries

MIB = 1 << 20


@pytest.fixture
def filled(cache, hub):
    """A cache with three files of a repo, and the Hub one commit ahead: two of them changed."""
    hub.add_repo(REPO, {"a.bin": pattern(MIB), "b.bin": pattern(MIB, 1), "c.json": b"same"})
    for name in ("a.bin", "b.bin", "c.json"):
        cache.fetch(REPO, name)
    return cache, hub.add_repo(REPO, {"a.bin": pattern(MIB, 2), "b.bin": pattern(MIB, 3), "c.json": b"same"})


def contents(cache):
    """What stands at the three paths."""
    return [cache.path(REPO, name).read_bytes() for name in ("a.bin", "b.bin", "c.json")]


def test_an_update_moves_all_files_to_the_new_commit(filled, hub):
    """Changed files are replaced, unchanged ones keep their bytes, and all are recorded at the new commit."""
    cache, commit = filled
    hub.reset()
    (report,) = cache.update(REPO)
    assert contents(cache) == [pattern(MIB, 2), pattern(MIB, 3), b"same"]
    assert (sorted(row.filename for row in report.updated), [row.filename for row in report.current]) == (
        ["a.bin", "b.bin"],
        ["c.json"],
    )
    assert {row.commit for row in cache.entries()} == {report.commit} == {commit}
    assert hub.body_gets("c.json") == 0
    assert cache.usage().all == sum(row.charged for row in cache.entries())


def test_an_update_of_what_is_current_downloads_nothing(filled, hub):
    """A second update finds everything current."""
    cache, _ = filled
    cache.update(REPO)
    hub.reset()
    (report,) = cache.update()
    assert report.updated == [] and len(report.current) == 3
    assert hub.body_gets() == 0


def test_one_file_in_use_and_nothing_is_replaced(filled, hub):
    """While one file is leased the whole repo stays at its commit; what was downloaded is kept for the next try."""
    cache, commit = filled
    with cache.lease(REPO, "b.bin"):
        (report,) = cache.update(REPO)
        assert [row.filename for row in report.in_use] == ["b.bin"]
        assert report.commit is None and report.updated == []
        assert contents(cache) == [pattern(MIB), pattern(MIB, 1), b"same"]
    hub.reset()
    (report,) = cache.update(REPO)
    assert report.commit == commit
    assert contents(cache)[:2] == [pattern(MIB, 2), pattern(MIB, 3)]
    assert hub.body_bytes() == 0


def test_an_update_that_does_not_fit_is_refused(filled, hub, root):
    """Old and new bytes are needed at once: where both do not fit, nothing changes."""
    cache, _ = filled
    tight = ModelCache(root, endpoint=hub.url, token=False, max_size=3 * MIB, clock=Later())
    with pytest.raises(CacheFullError):
        tight.update(REPO)
    assert contents(cache) == [pattern(MIB), pattern(MIB, 1), b"same"]
    assert queries.totals(tight._ctx.index).reserved == 0


def test_a_file_that_the_hub_no_longer_has_stays(filled, hub):
    """A file that the new commit does not have is reported and left where it is."""
    cache, _ = filled
    hub.add_repo(REPO, {"a.bin": pattern(MIB, 4)})
    (report,) = cache.update(REPO)
    assert sorted(row.filename for row in report.gone) == ["b.bin", "c.json"]
    assert contents(cache) == [pattern(MIB, 4), pattern(MIB, 1), b"same"]


def test_a_commit_is_never_updated(cache, hub):
    """A file at a commit is what it is; an update asks nothing about it."""
    commit = hub.add_repo(REPO, {"a.bin": b"one"})
    cache.fetch(REPO, "a.bin", revision=commit)
    hub.reset()
    assert cache.update() == []
    assert hub.requests == []


def test_offline_an_update_is_refused(filled, root):
    """Without a network nothing can be asked; the files stay."""
    with pytest.raises(OfflineMissError):
        ModelCache(root, offline=True).update(REPO)


def test_old_bytes_stay_with_who_has_them_mapped_by_another_name(filled, hub):
    """A linked name of an old file keeps the old bytes and takes their charge over."""
    cache, _ = filled
    hub.add_repo("owner/other", {"linked.bin": pattern(MIB)})
    linked = cache.fetch("owner/other", "linked.bin")
    assert linked.stat().st_nlink == 2
    cache.update(REPO)
    assert linked.read_bytes() == pattern(MIB) and linked.stat().st_nlink == 1
    assert cache.usage().all == sum(row.charged for row in cache.entries())
    assert all(row.charged >= (row.size or 0) for row in cache.entries())


def test_one_repo_that_cannot_be_moved_does_not_keep_the_others(filled, hub):
    """An update of everything goes on after a failure, and reports it beside what was done."""
    cache, _ = filled
    hub.add_repo("owner/aaa", {"x.bin": b"x"})
    cache.fetch("owner/aaa", "x.bin")
    hub.add_repo("owner/aaa", {"x.bin": b"y"}, gated=True)
    reports = {(report.updated or report.failed)[0].repo: report for report in cache.update()}
    assert isinstance(reports["owner/aaa"].error, AccessError)
    assert [row.filename for row in reports["owner/aaa"].failed] == ["x.bin"]
    assert len(reports[REPO].updated) == 2
    assert cache.path("owner/aaa", "x.bin").read_bytes() == b"x"
