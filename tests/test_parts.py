"""Who fetches which bytes next, and what a note may say of them: decisions, without a byte of I/O."""

import itertools
import json
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import FILE, REPO

from model_cache.download import notes
from model_cache.download.parts import Parts, is_slow, merged
from model_cache.download.reception import Tries
from model_cache.download.request import Slots
from model_cache.layout import Entry
from model_cache.pace import Pace
from model_cache.preparing import prepare

SIZE = 1000
RANGES = st.lists(
    st.tuples(st.integers(0, SIZE), st.integers(0, SIZE)).map(lambda pair: tuple(sorted(pair))), max_size=6
)
ENTRY = Entry(REPO, FILE, "main", "model")


@given(RANGES)
def test_merged_ranges_are_the_same_bytes_apart_and_in_order(ranges):
    """No range touches the next, and not a byte is won or lost."""
    found = merged(ranges)
    assert {byte for one in found for byte in range(*one)} == {byte for one in ranges for byte in range(*one)}
    assert all(before[1] < after[0] for before, after in itertools.pairwise(found))


@settings(deadline=None)
@given(RANGES, st.integers(1, 60), st.integers(1, 5), st.floats(0, 400), st.integers())
def test_every_byte_comes_once_however_connections_come_and_go(held, smallest, connections, rate, seed):
    """Whoever is faster, fails, or takes over: parts never overlap, nothing that is there comes again, no gap is left."""
    draw = random.Random(seed)
    parts, there, active = Parts(SIZE, held, smallest), bytearray(SIZE), []
    for start, end in held:
        there[start:end] = bytes([1]) * (end - start)
    parts.measure(connections, rate)
    for _ in range(20 * SIZE):
        if parts.complete:
            break
        if len(active) < connections and (part := parts.take()) is not None:
            active.append(part)
        part = draw.choice(active)
        count = min(draw.randint(1, 2 * smallest), part.left)
        assert not any(there[part.at : part.at + count])
        there[part.at : part.at + count] = bytes([1]) * count
        parts.wrote(part, count)
        assert parts.done == sum(there) and parts.prefix == (there.find(0) if 0 in there else SIZE)
        if (not part.left and not parts.further(part, SIZE)) or draw.random() < 0.1:
            parts.leave(part)
            active.remove(part)
    assert parts.complete and sum(there) == SIZE and parts.held() == [(0, SIZE)]


def test_what_a_connection_leaves_is_the_next_ones():
    """Bytes that a failed connection brought are there; the rest of its part is a gap again, before all later ones."""
    parts = Parts(SIZE, [], 10)
    parts.measure(2, 100)
    first, second = parts.take(), parts.take()
    parts.wrote(first, 30)
    parts.leave(first)
    parts.leave(first)
    assert (parts.done, parts.prefix) == (30, 30)
    assert parts.take().start == 30 < second.start


def test_who_is_done_takes_half_of_what_the_slowest_has_left():
    """No connection has to be waited for while another is free, down to what is not worth a request."""
    parts = Parts(SIZE, [], 10)
    slow = parts.whole()
    other = parts.take()
    assert (slow.end, other.start, other.end) == (500, 500, SIZE)
    parts.wrote(slow, 490)
    parts.wrote(other, 500)
    parts.leave(other)
    assert parts.take() is None


def test_bytes_behind_an_end_that_moved_closer_are_not_counted_twice():
    """A connection that had read on while another took over what it read counts only what is still its own."""
    parts = Parts(SIZE, [], 10)
    slow = parts.whole()
    parts.wrote(slow, 400)
    other = parts.take()
    parts.wrote(slow, 400)
    assert slow.at == slow.end == other.start == 700 and parts.done == 700


def test_a_connection_goes_on_where_its_answer_does_if_nobody_else_is_there():
    """An answer that reaches behind a part saves a request, unless another connection has what follows."""
    parts = Parts(SIZE, [], 100)
    first = parts.whole()
    parts.measure(1, 0)
    parts.share(first)
    assert first.end == 100
    parts.wrote(first, 100)
    assert not parts.further(first, 100)
    assert parts.further(first, SIZE) and first.end == 200
    parts.take()
    parts.wrote(first, 100)
    assert not parts.further(first, SIZE)


def test_a_file_of_unknown_size_is_one_part_without_an_end():
    """Nobody can say what is missing, so one connection has all that follows."""
    parts = Parts(None, [(0, 5)], 10)
    part = parts.whole()
    assert (part.at, part.end, part.left, parts.missing, parts.complete) == (5, None, 0, 0, False)
    parts.wrote(part, 7)
    parts.leave(part)
    assert parts.held() == [(0, 12)] and not parts.complete


def test_a_rate_counts_after_a_while():
    """What came in an instant says nothing; afterwards it is slow below the pace, and not at it."""
    pace = Pace(window=0.1, fast=1000.0)
    assert is_slow(pace, 0, 0.04) is None
    assert is_slow(pace, 12, 0.05) is True and is_slow(pace, 13, 0.05) is None
    assert is_slow(pace, 199, 0.2) is True
    assert is_slow(pace, 200, 0.2) is False


def test_a_connection_may_fail_as_often_as_it_brings_something():
    """Five failures without a chunk in between are the end; bytes that came again are none."""
    tries = Tries(10, 100)
    assert [tries.failed(done) for done in (110, 120, 121, 50, 122, 123)] == [True] * 6
    assert tries.failures == 4 and not tries.failed(124)


def test_slots_are_shared_and_not_waited_for():
    """As many as there are can be had at once, and one that was given back can be had again."""
    slots = Slots(2)
    assert [slots.take() for _ in range(3)] == [True, True, False]
    slots.give()
    assert slots.take() and not slots.take()


@pytest.mark.parametrize(
    "parts",
    [
        {"etag": "e", "ranges": [[0, 5], [4, 9]]},
        {"etag": "e", "ranges": [[0, 5], [5, 9]]},
        {"etag": "e", "ranges": [[5, 9], [0, 2]]},
        {"etag": "e", "ranges": [[3, 3]]},
        {"etag": "e", "ranges": [[-1, 3]]},
        {"etag": "e", "ranges": [[0, True]]},
        {"etag": "e", "ranges": [[0, 1, 2]]},
        {"etag": "e", "ranges": [[0, 1e3]]},
        {"etag": "e", "ranges": {"0": 5}},
        {"etag": 1, "ranges": []},
        {"ranges": []},
        [],
    ],
    ids=repr,
)
def test_a_note_whose_ranges_make_no_sense_says_nothing(cache, parts):
    """What anybody can have written is checked before a byte is believed to be there."""
    prepare(cache._ctx)
    note = notes.Note(etag="", parts={"etag": "e", "ranges": [[0, 5], [7, 9]]})
    assert notes.write(cache._ctx, ENTRY, note) and notes.read(cache._ctx, ENTRY) == note
    with open(cache._ctx.places.note(ENTRY.key), "w") as file:
        json.dump({**vars(note), "parts": parts}, file)
    assert notes.read(cache._ctx, ENTRY) == notes.Note()


def test_a_note_of_ranges_holds_for_a_partial_that_has_them():
    """Of a partial that ends before the last range nothing is believed; one without gaps is believed up to its end."""
    note = notes.Note()
    notes.describe(note, "e", [(0, 5), (7, 9)])
    assert note.etag == "" and notes.belongs(note, "e") and not notes.belongs(note, "")
    assert notes.kept(note, 9) == [(0, 5), (7, 9)] and notes.kept(note, 8) == []
    notes.describe(note, "e", [(0, 9)])
    assert note.etag == "e" and note.parts is None and notes.kept(note, 4) == [(0, 4)]
    assert notes.kept(notes.Note(), 4) == []


def test_a_note_of_an_earlier_version_is_read(cache):
    """It knows of no ranges: its partial has none but the one from its start."""
    prepare(cache._ctx)
    older = {name: value for name, value in vars(notes.Note(attempt=3, etag="e")).items() if name != "parts"}
    with open(cache._ctx.places.note(ENTRY.key), "w") as file:
        json.dump(older, file)
    assert notes.read(cache._ctx, ENTRY) == notes.Note(attempt=3, etag="e")
