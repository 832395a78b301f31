"""Which names stand for which paths, and which are refused."""

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_cache import InvalidNameError
from model_cache.layout import Entry, clash, readings, rivals

HOSTILE_FILENAMES = [
    "",
    "/etc/passwd",
    "../x",
    "a/../x",
    "a/..",
    ".",
    "./x",
    "a//x",
    "a/",
    "x\0y",
    "x\ny",
    "x\x7f",
    "x\x85y",
    "a\\b",
    "C:/x",
    "c:x",
    "a/D:",
    "con",
    "NUL.txt",
    "a/com1.bin",
    "aux .x",
    "x.",
    "x ",
    "a./x",
    "x" * 256,
    "é" * 128,
    "\ud800",
    ".model-cache/index.db",
    "a/.Model-Cache/x",
]
HOSTILE_REPOS = [
    "",
    "/a",
    "a/",
    "a/b/c",
    "..",
    "../a",
    ".hidden/a",
    ".model-cache",
    "a b",
    "a@b",
    "a--b",
    "a..b",
    "-a",
    "a-",
    "a.git",
    "a\0",
    "ä/b",
    "x" * 97,
    "datasets/a",
    "Spaces/a",
    "datasets",
    "kernels/a",
    "nul/a",
    "CACHEDIR.TAG",
]
HOSTILE_REVISIONS = [
    "",
    "..",
    "a..b",
    "/a",
    "a/",
    "a//b",
    "-x",
    "a b",
    "a~1",
    "a:b",
    "a\\b",
    "a\0",
    "x" * 254,
    "a*",
    "x.",
]


def test_an_entry_of_main_lives_at_repo_and_filename():
    """The path of a file at `main` is the root, the repo and the filename, with nothing between."""
    entry = Entry("facebook/sam2.1-hiera-tiny", "sam2.1_hiera_tiny.encoder.onnx")
    assert entry.path("/r") == "/r/facebook/sam2.1-hiera-tiny/sam2.1_hiera_tiny.encoder.onnx"
    assert Entry("gpt2", "onnx/encoder.onnx").path("/") == "/gpt2/onnx/encoder.onnx"


def test_other_revisions_and_repo_types_have_directories_of_their_own():
    """A revision stands after `@` with its slashes encoded; datasets and spaces lie below their own directory."""
    assert Entry("a/b", "x", revision="refs/pr/1").relative == "a/b@refs%2Fpr%2F1/x"
    assert Entry("a/b", "x", revision="50%").relative == "a/b@50%25/x"
    assert Entry("a/b", "x", repo_type="dataset").relative == "datasets/a/b/x"
    assert Entry("a/b", "x", repo_type="kernel").relative == "kernels/a/b/x"
    assert Entry("b", "x", repo_type="space", revision="v1").relative == "spaces/b@v1/x"


@pytest.mark.parametrize("filename", HOSTILE_FILENAMES)
def test_hostile_filenames_are_refused(filename):
    """A filename that is not a plain relative path inside its repo is refused."""
    with pytest.raises(InvalidNameError):
        Entry("a/b", filename)


@pytest.mark.parametrize("repo", HOSTILE_REPOS)
def test_hostile_repos_are_refused(repo):
    """A repo that is not `name` or `owner/name` in the Hub's characters is refused."""
    with pytest.raises(InvalidNameError):
        Entry(repo, "x")


@pytest.mark.parametrize("revision", HOSTILE_REVISIONS)
def test_hostile_revisions_are_refused(revision):
    """A revision that git would not allow as a name is refused."""
    with pytest.raises(InvalidNameError):
        Entry("a/b", "x", revision=revision)


@pytest.mark.parametrize("value", [None, 7, b"a/b", ["a"]])
def test_names_that_are_no_strings_are_refused(value):
    """A name of another type is bad input like any other."""
    for names in ((value, "x", "main"), ("a/b", value, "main"), ("a/b", "x", value)):
        with pytest.raises(InvalidNameError):
            Entry(*names)


def test_an_unknown_repo_type_is_refused():
    """Only model, dataset, space and kernel are repo types."""
    with pytest.raises(InvalidNameError, match="repo type 'bucket'"):
        Entry("a/b", "x", repo_type="bucket")


def test_a_path_longer_than_a_path_may_be_is_refused():
    """Names that pass one by one, and make a path the kernel would refuse, are refused."""
    with pytest.raises(InvalidNameError, match="4095 bytes"):
        Entry("a/b", "/".join(["x" * 250] * 17)).path("/r")


def test_messages_of_refusals_are_short():
    """A hostile name of a megabyte does not become an error message of a megabyte."""
    with pytest.raises(InvalidNameError) as caught:
        Entry("a/b", "x" * 1_000_000)
    assert len(str(caught.value)) < 300


@given(
    st.text(max_size=40),
    st.text(max_size=40),
    st.text(min_size=1, max_size=20),
    st.sampled_from(["model", "dataset", "space", "kernel"]),
)
def test_whatever_is_accepted_stays_below_the_root(repo, filename, revision, repo_type):
    """No text at all makes a path outside the root, or one inside the cache's own directory."""
    try:
        path = Entry(repo, filename, revision, repo_type).path("/root/of/cache")
    except InvalidNameError:
        return
    assert os.path.normpath(path) == path
    assert path.startswith("/root/of/cache/")
    assert ".model-cache" not in path.lower().split("/")


def test_two_readings_of_one_path_are_rivals():
    """A path below `gpt2/onnx` can also be read as a file in `gpt2`, and each names the other as its rival."""
    one, other = Entry("gpt2", "onnx/x"), Entry("gpt2/onnx", "x")
    assert one.relative == other.relative
    assert rivals(one) == [other]
    assert rivals(other) == [one]


def test_keys_of_rivals_differ():
    """Two entries never share the key that names their files, not even when they share a path."""
    assert Entry("gpt2", "onnx/x").key != Entry("gpt2/onnx", "x").key
    assert len(Entry("gpt2", "x").key) == 32


parts = st.text("abcXYZ019_", min_size=1, max_size=8)


@given(
    parts, parts, st.lists(parts, min_size=1, max_size=3), st.sampled_from(["main", "v1", "refs/pr/2", "a%2Fb", "50%"])
)
def test_every_path_can_be_read_back(owner, name, file, revision):
    """The entry that made a path is among the readings of that path."""
    for repo in (f"{owner}/{name}", name):
        try:
            entry = Entry(repo, "/".join(file), revision)
        except InvalidNameError:  # a device name came up
            continue
        assert entry in list(readings(entry.relative))


@pytest.mark.parametrize(
    ("name", "present", "found"),
    [
        ("Model.bin", ["model.bin"], "model.bin"),
        ("model.bin", ["model.bin", "other"], None),
        ("caf\u00e9", ["cafe\u0301"], "cafe\u0301"),
        ("stra\u00dfe", ["STRASSE"], "STRASSE"),
        ("x", [], None),
    ],
)
def test_names_that_fold_together_clash(name, present, found):
    """Names equal under case folding or composition are one to some file systems; equal names are no clash."""
    assert clash(name, present) == found
