"""The text of a lock file: what is written is read again, a line per file, and nothing hostile gets through."""

import os
import tomllib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model_cache import LockFileError
from model_cache.errors import InvalidNameError
from model_cache.layout import Entry
from model_cache.lockfile.files import read
from model_cache.lockfile.format import Locked, as_written, check_paths, dump, parse

COMMIT, OTHER = "c0ffee" * 6 + "cafe", "f00d" * 10
SHA256, GIT_SHA1 = "ab" * 32, "cd" * 20

TEXT = f"""\
# Files from the Hugging Face Hub, each with its bytes. Made by model-cache lock, for model-cache sync.
version = 1

[[repo]]
repo = "gpt2"
repo_type = "dataset"
revision = "refs/pr/1"
commit = "{OTHER}"
files = [
  {{ path = "données/x.bin", size = 0, sha256 = "{SHA256}" }},
]

[[repo]]
repo = "owner/name"
repo_type = "model"
revision = "main"
commit = "{COMMIT}"
files = [
  {{ path = "a \\"b\\".bin", size = 9223372036854775807, sha256 = "{SHA256}" }},
  {{ path = "config.json", size = 2, sha256 = "{SHA256}", git_sha1 = "{GIT_SHA1}" }},
]
"""
FILES = [
    Locked(Entry("gpt2", "données/x.bin", "refs/pr/1", "dataset"), OTHER, 0, SHA256),
    Locked(Entry("owner/name", 'a "b".bin'), COMMIT, 2**63 - 1, SHA256),
    Locked(Entry("owner/name", "config.json"), COMMIT, 2, SHA256, GIT_SHA1),
]


def hashes(digits):
    """Hashes of so many hex digits."""
    return st.text("0123456789abcdef", min_size=digits, max_size=digits)


@st.composite
def locked(draw):
    """Any file that a lock file can name."""
    name = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12)
    names = (
        draw(st.sampled_from(["gpt2", "a/b", "owner/name"])),
        draw(st.lists(name, min_size=1, max_size=3)),
        draw(name),
    )
    try:
        entry = Entry(
            names[0], "/".join(names[1]), names[2], draw(st.sampled_from(["model", "dataset", "space", "kernel"]))
        )
    except InvalidNameError:
        entry = Entry(names[0], "x.bin", "main", "model")
    size = draw(st.integers(0, 2**63 - 1))
    return Locked(entry, draw(hashes(40)), size, draw(hashes(64)), draw(st.none() | hashes(40)))


def test_the_text_is_the_documented_one():
    """Tables and files in order, a file per line, and no time or other word that a second run would change."""
    assert dump(reversed(FILES)) == TEXT
    assert parse(TEXT, "models.lock") == FILES


@settings(
    max_examples=int(os.environ.get("MODEL_CACHE_EXAMPLES", "0")) or 300, deadline=None, database=None, derandomize=True
)
@given(st.lists(locked(), min_size=1, max_size=8, unique_by=lambda file: file.entry.relative))
def test_what_is_written_is_read_again(files):
    """Whatever names and hashes, the file has what went in, is TOML, and is the same text from any order."""
    try:
        check_paths([file.entry for file in files], "")
    except LockFileError:
        return
    text = dump(files)
    assert dump(reversed(files)) == text
    assert set(parse(text, "x")) == set(files) and len(parse(text, "x")) == len(files)
    assert as_written(text) in (None, tomllib.loads(text))
    assert as_written(text) is not None or '\\"' in text


CHARACTERS = st.sampled_from(['"', "\\", "\n", "\r", " ", "0", "9", "x", "{", "]", ",", "=", "\t", "é", "\u2028", "#"])


@settings(
    max_examples=int(os.environ.get("MODEL_CACHE_EXAMPLES", "0")) or 1500,
    deadline=None,
    database=None,
    derandomize=True,
)
@given(
    st.lists(st.tuples(st.integers(0, len(TEXT)), st.integers(0, 3), CHARACTERS | st.just("")), min_size=1, max_size=3)
)
def test_the_quick_reader_is_never_of_another_opinion(changes):
    """Of a text that somebody edited, the reader of the usual layout says what a TOML parser says, or nothing."""
    text = TEXT.replace('a \\"b\\".bin', "ab.bin")
    assert as_written(text) == tomllib.loads(text)
    for place, length, character in changes:
        text = text[:place] + character + text[place + length :]
    quick = as_written(text)
    if quick is None:
        return
    try:
        assert quick == tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        with pytest.raises(LockFileError):  # what TOML refuses in a text, names refuse too
            parse(text, "x")


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("version = 1\n", "", "expected version = 1, found None: this is no lock file"),
        ("version = 1\n", "version = true\n", "expected version = 1, found True: this is no lock file"),
        ("version = 1\n", 'version = 1\nmade = "x"\n', "expected tables [[repo]] and nothing else, found 'made'"),
        ("config.json", "../../x", "repo 2, file 2: filename '../../x' has the part '..'"),
        ("config.json", "/etc/passwd", "repo 2, file 2: filename '/etc/passwd' is absolute; expected a path inside the repo"),
        ("config.json", "a\\u0000b", "repo 2, file 2: filename 'a\\x00b' has a backslash or a control character"),
        ("config.json", "a\\\\b", "repo 2, file 2: filename 'a\\\\b' has a backslash or a control character"),
        ("config.json", ".model-cache/x",
         "repo 2, file 2: filename '.model-cache/x' enters .model-cache, which is the cache's own"),
        ('"owner/name"', '"../x"',
         "repo 2, file 1: repo '../x' has a part with '--' or '..' in it, '-' or '.' at an end, or that ends in '.git'"),
        ('"owner/name"', "[1]", "repo 2, file 1: repo [1] is not a string"),
        ('"dataset"', '"datasets"', "repo 1, file 1: repo type 'datasets' is not one of model, dataset, space, kernel"),
        ('"dataset"', "{}", "repo 1: expected texts as names, found ['gpt2', 'refs/pr/1', {}]"),
        ('"refs/pr/1"', "1979-05-27", "repo 1, file 1: revision datetime.date(1979, 5, 27) is not a branch, tag or commit"),
        ('"refs/pr/1"', f'"{COMMIT}"', f"repo 1: revision {COMMIT} is a commit, and its files are of another one, {OTHER}"),
        (f'"{OTHER}"', f'"{OTHER.upper()}"', f"repo 1: commit: expected 40 hex digits, found '{OTHER.upper()}'"),
        ("size = 2,", "size = -1,", "repo 2, file 2: size: expected bytes, found -1"),
        ("size = 2,", "size = 2.0,", "repo 2, file 2: size: expected bytes, found 2.0"),
        ("size = 2,", "size = true,", "repo 2, file 2: size: expected bytes, found True"),
        ("size = 2,", "size = 9223372036854775808,", "repo 2, file 2: size: expected bytes, found 9223372036854775808"),
        (f'"{GIT_SHA1}"', '"abc"', "repo 2, file 2: git_sha1: expected 40 hex digits, found 'abc'"),
        (f'size = 0, sha256 = "{SHA256}"', 'size = 0, sha256 = ""', "repo 1, file 1: sha256: expected 64 hex digits, found ''"),
        ("size = 2, ", "",
         "repo 2, file 2: expected path, size, sha256 and perhaps git_sha1, found 'git_sha1', 'path', 'sha256'"),
        (f'commit = "{OTHER}"\n', "",
         "repo 1: expected repo, repo_type, revision, commit and files, found 'files', 'repo', 'repo_type', 'revision'"),
        ("config.json", 'a \\"b\\".bin', "it has owner/name a \"b\".bin twice"),
        ("config.json", 'a \\"b\\".bin/x', "it has owner/name a \"b\".bin, and files below owner/name/a \"b\".bin"),
    ],
)  # fmt: skip
def test_every_value_is_checked(before, after, message):
    """Names, hashes, sizes, types and paths that two entries would share: the message says which entry and why."""
    assert before in TEXT
    with pytest.raises(LockFileError) as caught:
        parse(TEXT.replace(before, after), "models.lock")
    assert (str(caught.value), caught.value.exit_code) == (f"lock file models.lock: {message}", 2)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected version = 1, found None: this is no lock file"),
        ("version = 1\n", "expected tables [[repo]] and nothing else, found none"),
        ("version = 1\nrepo = 5\n", "expected tables [[repo]] and nothing else, found none"),
        ("version = 1\nrepo = [1]\n", "repo 1: expected repo, repo_type, revision, commit and files, found 1"),
        (
            "version = 1 1\n",
            "expected TOML: Expected newline or end of document after a statement (at line 1, column 13)",
        ),
        ("x = " + "[" * 100_000, "expected TOML: it is nested too deeply"),
    ],
)
def test_what_is_no_lock_file_is_called_so(text, message):
    """Also what is cut off, empty, or made to exhaust a parser."""
    with pytest.raises(LockFileError) as caught:
        parse(text, "x")
    assert str(caught.value) == f"lock file x: {message}"


def test_a_file_that_was_cut_off_is_refused():
    """At no line does a cut leave a lock file of fewer files of one repo; between two repos nothing can show it."""
    lines = TEXT.splitlines(keepends=True)
    whole = [parse("".join(lines[:count]), "x") for count in range(len(lines)) if reads("".join(lines[:count]))]
    assert [len(files) for files in whole] == [1, 1]


def reads(text):
    """Whether a text is a lock file."""
    try:
        parse(text, "x")
    except LockFileError:
        return False
    return True


def test_a_later_version_is_refused_with_a_way_out():
    """What a later program wrote is not guessed at."""
    with pytest.raises(LockFileError) as caught:
        parse(TEXT.replace("version = 1", "version = 2"), "models.lock")
    assert str(caught.value) == "lock file models.lock is of version 2, and this model-cache knows version 1"
    assert "install a model-cache that does" in caught.value.hint


def test_two_entries_that_share_a_path_are_refused():
    """`gpt2` with `onnx/x` and `gpt2/onnx` with `x` are one path: they cannot be in one lock file."""
    both = [Locked(Entry("gpt2", "onnx/x"), COMMIT, 1, SHA256), Locked(Entry("gpt2/onnx", "x"), COMMIT, 1, SHA256)]
    with pytest.raises(LockFileError, match="it has gpt2 onnx/x and gpt2/onnx x, which share the path gpt2/onnx/x"):
        dump(both)


def test_a_hundred_thousand_files_are_read():
    """The text of many files is read as that of a few."""
    many = [Locked(Entry("owner/name", f"part/{number:06}.bin"), COMMIT, number, SHA256) for number in range(100_000)]
    text = dump(many)
    assert text.count("\n") == 100_000 + 10
    assert parse(text, "x") == many


def test_files_that_are_too_large_or_no_files_are_refused(tmp_path):
    """A huge file, a directory, a FIFO, a missing file and one that is no text end in one line each."""
    huge, fifo, binary = tmp_path / "huge", tmp_path / "fifo", tmp_path / "binary"
    with huge.open("wb") as file:
        file.truncate((64 << 20) + 1)
    os.mkfifo(fifo)
    binary.write_bytes(b"\xff\xfe")
    for path, reason in (
        (huge, "it has more than 67108864 bytes"),
        (fifo, "it is not a regular file"),
        (tmp_path, "it is not a regular file"),
        (binary, "it is no text in UTF-8"),
        (tmp_path / "none", "No such file or directory"),
    ):
        with pytest.raises(LockFileError) as caught:
            read(path)
        assert str(caught.value) == f"lock file {path}: {reason}"


def test_a_symlink_to_a_lock_file_is_followed(tmp_path):
    """Kubernetes mounts a ConfigMap as symlinks."""
    (tmp_path / "data").write_text(TEXT)
    (tmp_path / "models.lock").symlink_to("data")
    assert read(tmp_path / "models.lock") == FILES
