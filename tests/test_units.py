"""Sizes and durations, read and printed."""

import pytest

from model_cache import SettingError
from model_cache.units import format_duration, format_size, parse_budget, parse_duration, parse_size, plural


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("1024", 1024),
        ("50GB", 50 * 10**9),
        ("50GiB", 50 * 2**30),
        ("1.5 kB", 1500),
        ("2T", 2 * 10**12),
        (7, 7),
    ],
)
def test_sizes_are_read_in_decimal_and_binary_units(text, size):
    """GB is a power of ten and GiB a power of two; a bare number is bytes."""
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "GB", "-1", "1 XB", "1e999", "nan", "inf", "1..2", "five", -3, True, None])
def test_what_is_no_size_is_refused_by_name(text):
    """The refusal says which setting it was and what was expected."""
    with pytest.raises(SettingError, match="min_free: expected a size"):
        parse_size(text, "min_free")


@pytest.mark.parametrize(
    ("text", "seconds"), [("45s", 45), ("10m", 600), ("6h", 21600), ("30d", 2592000), ("8w", 4838400), (2.5, 2.5)]
)
def test_durations_are_read(text, seconds):
    """A duration is a number and one of s, m, h, d, w."""
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "m", "10x", "-5s", float("nan"), float("inf"), -1, True])
def test_what_is_no_duration_is_refused(text):
    """The refusal names the setting."""
    with pytest.raises(SettingError, match="min_idle: expected a duration"):
        parse_duration(text, "min_idle")


def test_a_budget_can_be_a_share_of_the_file_system():
    """A percentage is kept as a fraction, anything else is bytes."""
    assert parse_budget("80%") == 0.8
    assert parse_budget("1kB") == 1000
    for text in ("0%", "101%", "x%", "%"):
        with pytest.raises(SettingError):
            parse_budget(text)


def test_counts_agree_with_what_is_counted():
    """One of a thing, several of them, none of them."""
    counted = [plural(1, "file"), plural(2, "file"), plural(0, "file"), plural(2, "process"), plural(1, "process")]
    assert counted == ["1 file", "2 files", "0 files", "2 processes", "1 process"]


def test_sizes_and_durations_are_printed_for_people():
    """Three significant figures of the unit that fits; the two largest units of a duration."""
    assert [format_size(n) for n in (0, 999, 1000, 90_868_376, 10**12, 10**16)] == [
        "0 B",
        "999 B",
        "1 kB",
        "90.9 MB",
        "1 TB",
        "10 PB",
    ]
    assert [format_duration(n) for n in (0.2, 45, 200, 90061)] == ["0.2s", "45s", "3m 20s", "1d 1h"]
