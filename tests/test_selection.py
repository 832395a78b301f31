"""Which files patterns mean."""

import pytest

from model_cache import SettingError
from model_cache.selection import select

PATHS = ["README.md", "config.json", "onnx/config.json", "onnx/q4/model.onnx", "model.safetensors"]


@pytest.mark.parametrize(
    ("include", "exclude", "expected"),
    [
        (None, None, PATHS),
        ([], [], PATHS),
        ("*.json", None, ["config.json", "onnx/config.json"]),
        ("config.json", None, ["config.json"]),
        ("onnx/", None, ["onnx/config.json", "onnx/q4/model.onnx"]),
        ("*/q4/", None, ["onnx/q4/model.onnx"]),
        (["*.md", "*.safetensors"], None, ["README.md", "model.safetensors"]),
        (None, ["onnx/", "*.md"], ["config.json", "model.safetensors"]),
        ("*.json", "onnx/", ["config.json"]),
        ("config.[jx]son", None, ["config.json"]),
    ],
)
def test_patterns_are_matched_with_the_whole_path(include, exclude, expected):
    """`*` matches `/` too, a closing `/` means everything below, and the order of the paths stays."""
    assert select(PATHS, include, exclude) == expected


@pytest.mark.parametrize(
    ("include", "exclude", "message"),
    [
        ("*.txt", None, "include: expected a pattern that matches a file, '*.txt' matches none"),
        (["*.md", "CONFIG.json"], None, "include: expected a pattern that matches a file, 'CONFIG.json' matches none"),
    ],
)
def test_a_pattern_that_matches_nothing_is_a_mistake(include, exclude, message):
    """A misspelt pattern is named; letters of another case are others."""
    with pytest.raises(SettingError) as caught:
        select(PATHS, include, exclude)
    assert str(caught.value) == message


def test_what_is_left_out_need_not_be_there():
    """What many repos have is left out of one that does not have it, too."""
    assert select(PATHS, None, ["*.bin", "q4/"]) == PATHS


def test_nothing_left_is_a_mistake():
    """Patterns that exclude all that is included would make an empty deployment."""
    with pytest.raises(SettingError, match="nothing is left"):
        select(PATHS, "*.json", ["config.json", "onnx/"])


@pytest.mark.parametrize("wrong", [[""], [5], ""])
def test_what_is_no_pattern_is_refused(wrong):
    """A pattern is a text with something in it."""
    with pytest.raises(SettingError, match="expected a pattern"):
        select(PATHS, wrong, None)
