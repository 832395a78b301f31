"""`fetch REPO`: the directory on stdout once everything is there, how much is there, and what keeps it from it."""

import os
import pty
import re

import pytest
from cli_equipment import Shell, pattern

REPO = "owner/name"
FILES = {"config.json": b"{}", "onnx/model.onnx": pattern(11_000_000), "model.bin": pattern(12_000_000, 1)}
NEWER = {**FILES, "config.json": b"[]", "new.json": b"1"}


@pytest.fixture
def shell(environ, root, hub):
    """The command, on an empty root and a loopback hub with one repo."""
    hub.commit = hub.add_repo(REPO, FILES)
    found = Shell(environ, root, hub)
    yield found
    found.close()


def test_the_directory_is_the_output_and_a_second_fetch_asks_nobody(shell, root, hub):
    """One path, when all is there; then the same from the disk alone, offline too."""
    expected = f"{root}/{REPO}\n"
    code, out, err = shell.run("fetch", REPO)
    assert (code, out) == (0, expected)
    assert err.splitlines()[0] == "downloading owner/name: 23 MB"
    assert re.fullmatch(
        rf"owner/name at {hub.commit[:12]}: 3 files, 3 downloaded; 23 MB in \S+, \S+ .B/s, verified",
        err.splitlines()[-1],
    )
    hub.reset()
    assert shell.run("fetch", REPO) == shell.run("fetch", REPO, "--offline") == (0, expected, "")
    assert hub.count() == 0


def test_the_document_of_a_repo_names_its_commit_and_every_file(shell, root, hub):
    """--json tells of each file how it came; `path` is the directory."""
    shell.ok("fetch", REPO, "config.json")
    document = shell.json("fetch", REPO, "--exclude", "onnx/")
    assert {name: document[name] for name in ("repo", "revision", "commit", "path", "bytes_downloaded")} == {
        "repo": REPO,
        "revision": "main",
        "commit": hub.commit,
        "path": f"{root}/{REPO}",
        "bytes_downloaded": 12_000_000,
    }
    assert [(file["filename"], file["source"], file["size"]) for file in document["files"]] == [
        ("config.json", "hit", 2),
        ("model.bin", "download", 12_000_000),
    ]
    assert all(len(file["sha256"]) == 64 for file in document["files"])


def test_a_part_is_told_as_a_part(shell, root):
    """`ls --repos` and `status` say how many of how many; offline the repo is a miss."""
    shell.ok("fetch", REPO, "--include", "*.json")
    assert re.fullmatch(r"REPO +FILES +SIZE +USED\nowner/name  1 of 3   2 B  \S+ ago\n", shell.ok("ls", "--repos"))
    (told,) = shell.json("ls", "--repos")["repos"]
    assert (told["files"], told["files_in_repo"], told["complete"]) == (1, 3, False)
    lines = shell.ok("status").splitlines()
    assert "incomplete   owner/name: 1 of 3 files, the next fetch of it gets the rest" in lines
    (part,) = shell.json("status")["incomplete"]
    assert part == {
        "repo": REPO,
        "repo_type": "model",
        "revision": "main",
        "directory": REPO,
        "files": 1,
        "files_in_repo": 3,
    }
    assert shell.run("fetch", REPO, "--offline") == (
        10,
        "",
        "error: owner/name: 1 of 3 files are in the cache, model.bin is not (among others), and the network is switched off\n"
        "hint: model-cache fetch owner/name, with the network, fetches the rest\n",
    )
    shell.ok("fetch", REPO)
    assert shell.json("status")["incomplete"] == []
    assert re.search(r"owner/name +3 +23 MB", shell.ok("ls", "--repos"))
    assert shell.json("ls", "--repos")["repos"][0]["complete"] is True
    assert shell.json("ls", "--repos", "--filter", "size>1MB")["repos"][0]["complete"] is None


def test_a_repo_nobody_asked_for_is_a_miss_offline(shell):
    """Though every file of it may be there."""
    assert shell.run("fetch", REPO, "--offline") == (
        10,
        "",
        "error: owner/name is not known to be in the cache as a whole: what belongs to it was never asked, and the network is"
        " switched off\nhint: model-cache fetch owner/name, with the network\n",
    )


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--include", "*.gguf"], "error: include: expected a pattern that matches a file, '*.gguf' matches none\n"),
        (["--include", ""], "error: include: expected a pattern such as '*.json' or 'onnx/', found ''\n"),
        (["--exclude", "*"], "error: exclude: nothing is left without what matches '*'\n"),
    ],
)
def test_patterns_that_choose_nothing_are_misuse(shell, arguments, expected):
    """Exit code 2 with the pattern; nothing is fetched."""
    assert shell.run("fetch", REPO, *arguments) == (2, "", expected)


def test_an_update_names_what_is_new(shell, root, hub):
    """Replaced and new paths on stdout, the counts on stderr."""
    shell.ok("fetch", REPO)
    hub.add_repo(REPO, NEWER)
    code, out, err = shell.run("update", REPO)
    assert (code, out) == (0, f"{root}/{REPO}/config.json\n{root}/{REPO}/new.json\n")
    assert err.splitlines()[-1] == "1 file updated, 1 new, 2 current"
    hub.add_repo(REPO, {**NEWER, "newest.json": b"2"})
    document = shell.json("update", REPO)
    assert [row["filename"] for row in document["added"]] == ["newest.json"]
    assert shell.ok("fetch", REPO, "--offline") == f"{root}/{REPO}\n"


def test_a_terminal_has_a_bar_for_the_whole_and_one_for_each_large_file(shell, hub):
    """They are gone when the directory is printed; small files have none of their own."""
    hub.rate = 12_000_000
    parent, child = pty.openpty()
    process = shell.start("fetch", REPO, stderr=child)
    os.close(child)
    drawn = b""
    while True:
        try:
            drawn += os.read(parent, 65536)
        except OSError:
            break
    process.communicate(timeout=60)
    os.close(parent)
    text = drawn.decode(errors="replace")
    assert process.returncode == 0
    assert "owner/name onnx/model.onnx" in text and "owner/name model.bin" in text
    assert "owner/name config.json" not in text


def test_the_time_for_a_repo_is_up(shell):
    """Nobody else downloads it, and nobody is named who would go on."""
    shell.run("fetch", REPO, "--include", "config.json")
    code, _, err = shell.run("fetch", REPO, "--timeout", "0")
    assert code == 11
    assert re.search(
        r"^error: owner/name \S+: the time is up with 0 B of \S+ \S+ \(0 %\) downloaded$", err, re.MULTILINE
    )
