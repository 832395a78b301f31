"""What is said of a name that is refused: the whole line, and the hint; and where exactly each limit lies."""

import os

import pytest

from model_cache import InvalidNameError
from model_cache.layout import Entry, Snapshot, check_filename, is_commit, is_key, is_sha256, readings, repo_directory

FORM = "is not of the form name or owner/name"
CHARACTERS = "has characters other than letters, digits, '-', '_' and '.'"
PARTS = "has a part with '--' or '..' in it, '-' or '.' at an end, or that ends in '.git'"
CONTROL = "has a backslash or a control character"
STEERING = "has a character that reorders or breaks text, so that it would be shown as another"
DRIVE = "begins a part with a drive letter"
END = "has a part that ends in a dot or a space"
DEVICE = "uses a device name of Windows"
BYTES = "has a part of more than 255 bytes"
GIT = "is not a name git allows"


def refusal(*names):
    """What is said of the names (message, hint)."""
    with pytest.raises(InvalidNameError) as caught:
        Entry(*names)
    return str(caught.value), caught.value.hint


@pytest.mark.parametrize(
    ("filename", "reason"),
    [
        (7, "is not a path inside a repo"),
        ("", "is not a path inside a repo"),
        ("/x", "is absolute; expected a path inside the repo"),
        ("a//x", "has the part ''"),
        ("./x", "has the part '.'"),
        ("a/..", "has the part '..'"),
        ("a/.MODEL-cache", "enters .model-cache, which is the cache's own"),
        ("a\\b", CONTROL),
        ("a\x1fb", CONTROL),
        ("a\x7fb", CONTROL),
        ("a\x9fb", CONTROL),
        ("a\u202eb", STEERING),
        ("a\u2028b", STEERING),
        ("a/x.", END),
        ("a/x ", END),
        ("z:", DRIVE),
        ("a/C:x", DRIVE),
        ("nul", DEVICE),
        ("a/con.tar.gz", DEVICE),
        ("aux .tar.gz", DEVICE),
        ("prn .x", DEVICE),
        ("a+\ud800", "is not valid Unicode"),
    ],
)
def test_a_refused_filename_is_named_with_the_rule_it_breaks(filename, reason):
    """The line names the filename as it was given, whole, and the one rule; there is nothing to be hinted at."""
    assert refusal("a/b", filename) == (f"filename {filename!r} {reason}", "")


@pytest.mark.parametrize(
    ("repo", "reason"),
    [
        (7, "is not a string"),
        ("", FORM),
        ("a/", FORM),
        ("Datasets/x", "begins with the reserved name 'Datasets'; name a dataset or space by its repo type"),
        ("a b", CHARACTERS),
        ("x" * 97, "has a part of more than 96 characters"),
        (".a", PARTS),
        ("-a", PARTS),
        ("a.", PARTS),
        ("a-", PARTS),
        ("a--b", PARTS),
        ("a..b", PARTS),
        ("o/a.GIT", PARTS),
        ("o/nul", DEVICE),
        ("com9.x", DEVICE),
    ],
)
def test_a_refused_repo_is_named_with_the_rule_it_breaks(repo, reason):
    """The line names the repo as it was given, and the one rule."""
    assert refusal(repo, "x") == (f"repo {repo!r} {reason}", "")


@pytest.mark.parametrize(
    ("revision", "reason"),
    [
        (7, "is not a branch, tag or commit"),
        ("", "is not a branch, tag or commit"),
        ("a..b", GIT),
        ("/a", GIT),
        ("-a", GIT),
        ("a/", GIT),
        ("a//b", GIT),
        *((f"a{character}b", "has a character git does not allow in a name") for character in ' ~^:?*[\\"<>|'),
        ("a\0", CONTROL),
        ("a.", END),
    ],
)
def test_a_refused_revision_is_named_with_the_rule_it_breaks(revision, reason):
    """The line names the revision as it was given, and not the directory it would have made."""
    assert refusal("o/n", "x", revision) == (f"revision {revision!r} {reason}", "")


@pytest.mark.parametrize(
    ("address", "hint"),
    [
        ("https://hf.co/o/n", "the repo is o/n"),
        ("http://hf.co/o/n", "the repo is o/n"),
        ("https://hf.co/datasets/o/n", "the repo is o/n, with --repo-type dataset"),
        (
            "https://hf.co/spaces/o/n/tree/main",
            "the repo is o/n, with --repo-type space, and a filename is an argument of its own",
        ),
        ("hf://o/n", "the repo is o/n"),
        ("hf://datasets/o/n", "the repo is o/n, with --repo-type dataset"),
        ("hf://o/n/x.bin", "the repo is o/n, and a filename is an argument of its own"),
        ("o/n/x", "the repo is o/n, and a filename is an argument of its own"),
        ("datasets/o/n", "the repo is o/n, with --repo-type dataset"),
        ("kernels/o/n", "the repo is kernels/o, and a filename is an argument of its own"),
        ("https://hf.co", ""),
        ("https://hf.co/datasets", ""),
        ("https://hf.co/datasets/n", ""),
        ("https://hf.co/o", ""),
        ("//x", ""),
        ("o//x", ""),
        ("o/a b/x", ""),
        ("a b/n/x", ""),
        ("o/n/a b", "the repo is o/n, and a filename is an argument of its own"),
    ],
)
def test_an_address_in_place_of_a_repo_is_answered_with_the_repo(address, hint):
    """Who gives an address, or a repo with a file, is told what to give; where nobody can tell, nothing is guessed."""
    assert refusal(address, "x") == (f"repo {address!r} {FORM}", hint)


def test_a_revision_in_a_repo_is_answered_with_its_option():
    """Who writes `name@revision` is told of the option."""
    assert refusal("o/n@v1", "x") == (f"repo 'o/n@v1' {CHARACTERS}", "a revision is an option of its own (--revision)")


def test_an_unknown_repo_type_is_answered_with_those_there_are():
    """The line has all repo types."""
    with pytest.raises(InvalidNameError, match=r"^repo type 'x' is not one of model, dataset, space, kernel$"):
        repo_directory("a/b", repo_type="x")


@pytest.mark.parametrize("length", [118, 119])
def test_a_long_name_is_shown_up_to_117_characters(length):
    """Up to 120 characters with its quotes a name is shown whole; of a longer one comes the beginning, and three dots."""
    name = " ".ljust(length, "c")
    shown = repr(name) if length == 118 else f"{repr(name)[:117]}..."
    assert refusal(name, "x")[0] == f"repo {shown} {CHARACTERS}"


@pytest.mark.parametrize(
    "filename",
    ["x" * 255, "+" * 255, "é" * 127 + "+", "X/x", "X+", "a b", "x/1:a", "é:a", "XXa", "ab:", "-x", ".x", "a~b c"],
)
def test_names_at_the_edge_of_a_rule_pass(filename):
    """255 bytes of any alphabet are a name, and so is what only resembles a drive, an option or a device."""
    assert Entry("a/b", filename).relative == f"a/b/{filename}"


@pytest.mark.parametrize("filename", ["+" * 256, "x" * 256, "é" * 128])
def test_a_part_of_256_bytes_is_too_long(filename):
    """One byte more than a file system takes is refused, whatever alphabet it is of; so is a revision that makes such."""
    assert refusal("a/b", filename)[0] == f"filename {repr(filename)[:117]}... {BYTES}"
    assert refusal("o/n", "x", "y" * 254)[0] == f"revision {repr('y' * 254)[:117]}... {BYTES}"


@pytest.mark.parametrize("repo", ["x" * 96, "X/X", "o/X-X", "aXXb", "Xa/aX", "d/datasets", "model/x", "models.x"])
def test_repos_at_the_edge_of_a_rule_pass(repo):
    """96 characters are a part of a repo, and a reserved name is one only in the first place."""
    assert repo_directory(repo) == repo


@pytest.mark.parametrize("revision", ["XX", "X", "aX", "Xa", "a/b", "a-", "é", "z" * 252])
def test_revisions_at_the_edge_of_a_rule_pass(revision):
    """With the name of the repo and the `@` a revision may fill a part, and no more letters are refused than git does."""
    assert repo_directory("o/n", revision) == f"o/n@{revision.replace('/', '%2F')}"


def test_a_path_may_have_4095_bytes_and_no_more():
    """The last byte that a path may have is allowed, also of characters of several; the refusal names the root."""
    filename = "/".join(["é" * 100] * 20)
    entry = Entry("a/b", filename)
    room = 4095 - len(f"/{entry.relative}".encode())
    assert len(os.fsencode(entry.path("/" + "r" * (room - 1)))) == 4095
    root = "/" + "r" * room
    with pytest.raises(InvalidNameError) as caught:
        entry.path(root)
    shown = f"{repr(filename)[:117]}..."
    assert str(caught.value) == f"filename {shown} makes a path of more than 4095 bytes below {root}"
    assert Entry("a/b", "x").path("/" + "r" * 1100).endswith("r/a/b/x")


def test_an_entry_is_written_as_people_name_it():
    """Repo type, repo, revision and filename in one line, of which `main` and `model` go without saying."""
    assert str(Entry("o/n", "x")) == "o/n x"
    assert repr(Entry("o/n", "x", "v1", "dataset")) == "Entry(datasets/o/n@v1 x)"


def test_equal_entries_are_one_in_a_set():
    """Entries are told apart by their four names alone, and never equal to something else; the hash too is of all four."""
    one, same, other = Entry("o/n", "x"), Entry("o/n", "x", "main", "model"), Entry("o/n", "y")
    assert {one, same} == {one} and one != other and one != one.identity
    assert len({hash(Entry("o/n", str(number))) for number in range(9)}) > 1


def test_keys_are_the_same_for_ever():
    """The key is 32 hex digits of blake2b over the four names, on which every root on a disk relies."""
    assert Entry("o/n", "x").key == "048c53ce85ee9f7cdac3d55c11d3d8a4"
    assert Snapshot("o/n").key == "4f0d6f680438db99e1fb4d2a242934fd"


def test_a_snapshot_hands_its_names_to_its_files():
    """What a snapshot is of, its files are of; its directory is what it is called."""
    snapshot = Snapshot("o/n", "v1", "space")
    assert snapshot.entry("x") == Entry("o/n", "x", "v1", "space")
    assert (snapshot.repo, snapshot.revision, snapshot.repo_type) == ("o/n", "v1", "space")
    assert str(snapshot) == snapshot.directory == "spaces/o/n@v1"
    assert str(Snapshot("o/n")) == "o/n"
    assert Snapshot("o/n").repo_type == "model"


def test_a_path_of_a_dataset_is_read_as_one():
    """The directory of a repo type belongs to the type, and what is no path of an entry has no reading."""
    assert list(readings("datasets/o/n@a%2Fb%25/x/y")) == [
        Entry("o/n", "x/y", "a/b%", "dataset"),
        Entry("o", "n@a%2Fb%25/x/y", repo_type="dataset"),
    ]
    assert list(readings("datasets/o/n/x")) == [
        Entry("o/n", "x", repo_type="dataset"),
        Entry("o", "n/x", repo_type="dataset"),
    ]
    assert [list(readings(path)) for path in ("x", "datasets/x", "o@main/x")] == [[], [], []]


@pytest.mark.parametrize(("is_one", "digits"), [(is_sha256, 64), (is_commit, 40), (is_key, 32)])
def test_identifiers_are_so_many_lower_case_hex_digits(is_one, digits):
    """One digit more, one less, a capital or another type is none."""
    assert is_one("0123456789abcdef".ljust(digits, "f"))
    for other in ("a" * (digits - 1), "a" * (digits + 1), "A" * digits, "g" * digits, ["a"] * digits, None):
        assert not is_one(other)


def test_check_filename_lets_plain_paths_pass():
    """Nothing is returned of what is right."""
    check_filename("onnx/encoder.onnx")
