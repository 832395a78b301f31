"""When an engine that failed is asked again; pure."""

from model_cache.fleet.breaker import State, failed, may_try, tried


def test_engine_that_never_failed_is_asked():
    """What is not known to fail is asked at any time."""
    assert may_try(State(), 0.0)
    assert may_try(State(), 1e12)


def test_pauses_grow_and_end():
    """Each further failure doubles the pause, from half a minute up to ten minutes."""
    state, pauses = State(), []
    for _ in range(8):
        state = failed(state, 1000.0)
        pauses.append(state.until - 1000.0)
    assert pauses == [30.0, 60.0, 120.0, 240.0, 480.0, 600.0, 600.0, 600.0]


def test_one_tries_for_all():
    """After the pause one may try, and the others wait until its trial must have ended."""
    state = failed(State(), 1000.0)
    assert not may_try(state, 1029.0)
    assert may_try(state, 1030.0)
    state = tried(state, 1030.0)
    assert not may_try(state, 1044.0)
    assert may_try(state, 1045.0)


def test_clock_that_was_turned_back_locks_nobody_out():
    """A pause that would last longer than any can was noted by another clock."""
    assert may_try(failed(State(), 1_000_000.0), 1000.0)
