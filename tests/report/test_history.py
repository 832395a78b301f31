"""The past of a cache, reckoned back from the present."""

from report_equipment import DAY, NOW

from model_cache.report import Event, history


def test_sizes_are_reckoned_back():
    """What came is taken off, what went is put back, and each span has what happened in it."""
    events = [
        Event(NOW - 4 * DAY, "download", 100),
        Event(NOW - 2.5 * DAY, "resume", 50),
        Event(NOW - 1.5 * DAY, "evict", 100),
        Event(NOW - 0.5 * DAY, "download", 100),
        Event(NOW - 0.5 * DAY, "regret", 100),
    ]
    spans = history(events, 150, NOW, 4)
    assert [span.size for span in spans] == [100, 150, 50, 150]
    assert [span.peak for span in spans] == [100, 150, 150, 150]
    assert [span.came for span in spans] == [100, 50, 0, 100]
    assert [(span.went, span.goings) for span in spans] == [(0, 0), (0, 0), (100, 1), (0, 0)]
    assert [(span.regretted, span.regrets) for span in spans] == [(0, 0), (0, 0), (0, 0), (100, 1)]


def test_what_was_never_told_of_is_no_negative_size():
    """More bytes that came than are there, of a file that somebody deleted: it never was less than nothing."""
    spans = history([Event(NOW - DAY, "download", 100), Event(NOW - DAY / 2, "download", 100)], 100, NOW, 2)
    assert [span.size for span in spans] == [0, 100]


def test_nothing_happened():
    """Without events there is no past to show, and events of the future are none."""
    assert history([], 100, NOW, 10) == []
    assert history([Event(NOW + DAY, "download", 1)], 100, NOW, 10) == []


def test_a_gc_and_what_is_not_known_change_nothing():
    """Kinds that move no bytes leave the size as it is."""
    spans = history([Event(NOW - DAY, kind, 10) for kind in ("gc", "link", "update", "later version")], 100, NOW, 3)
    assert {span.size for span in spans} == {100}
