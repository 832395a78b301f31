"""`fetch`: paths on stdout, everything else on stderr, and the exit codes of the contract."""

import hashlib
import os
import pty
import re
import signal

import pytest
from cli_equipment import Shell, pattern, wait_for_partial

REPO, FILE, SMALL = "owner/name", "model.bin", "sub/config.json"
BIG = pattern(12_000_000)
INTERRUPTED = "error: interrupted\nhint: what has arrived is kept; the same command goes on from there"


@pytest.fixture
def shell(environ, root, hub):
    """The command, on an empty root and a loopback hub with one repo."""
    hub.commit = hub.add_repo(REPO, {FILE: BIG, SMALL: b"{}"})
    found = Shell(environ, root, hub)
    yield found
    found.close()


def test_paths_are_the_output_and_a_second_fetch_asks_nobody(shell, root, hub):
    """Absolute paths, one per line, in the order asked for; then the same from the disk alone."""
    expected = f"{root}/{REPO}/{SMALL}\n{root}/{REPO}/{FILE}\n"
    assert shell.ok("fetch", REPO, SMALL, FILE) == expected
    hub.reset()
    assert shell.run("fetch", REPO, SMALL, FILE) == (0, expected, "")
    assert hub.count() == 0
    assert (root / REPO / FILE).read_bytes() == BIG


def test_the_log_has_a_line_per_ten_percent(shell, hub):
    """With no terminal: one line at the start, one for each tenth of a large file, one at the end."""
    hub.rate = 24_000_000
    lines = shell.run("fetch", REPO, FILE)[2].splitlines()
    assert lines[0] == "downloading owner/name model.bin: 12 MB"
    assert lines[-1].startswith("downloaded owner/name model.bin: 12 MB in ") and lines[-1].endswith("MB/s, verified")
    steps = [int(line.removeprefix("owner/name model.bin: ").split(" % (")[0]) // 10 for line in lines[1:-1]]
    assert steps == sorted(set(steps)) and steps[-1] == 10 and len(steps) >= 5


def test_quiet_and_no_progress(shell):
    """-q says nothing but the path; without progress bars one line per download is left."""
    code, _, err = shell.run("fetch", REPO, FILE, "-q")
    assert (code, err) == (0, "")
    code, _, err = shell.run("fetch", REPO, FILE, "--force", environ={"HF_HUB_DISABLE_PROGRESS_BARS": "1"})
    assert code == 0 and err.startswith("downloaded ") and len(err.splitlines()) == 1


def test_the_document_of_one_file(shell, root, hub):
    """--json tells size, hash, etag, commit and how the file came; for one file its path."""
    path, sha256 = f"{root}/{REPO}/{FILE}", hashlib.sha256(BIG).hexdigest()
    described = {"filename": FILE, "path": path, "size": len(BIG), "sha256": sha256, "etag": sha256}
    document = {"repo": REPO, "revision": "main", "commit": hub.commit, "path": path}
    first = shell.json("fetch", REPO, FILE)
    assert first == {**document, "bytes_downloaded": len(BIG), "files": [{**described, "source": "download"}]}
    again = shell.json("fetch", REPO, FILE)
    assert again == {**document, "bytes_downloaded": 0, "files": [{**described, "source": "hit"}]}


def test_the_document_of_several_files(shell, root, hub):
    """For several files the path is the repo's directory; what the index does not know of this file is null."""
    (root / REPO).mkdir(parents=True)
    (root / REPO / "mine.bin").write_bytes(b"by hand")
    document = shell.json("fetch", REPO, SMALL, "mine.bin")
    assert document["path"] == f"{root}/{REPO}" and document["commit"] is None
    assert document["bytes_downloaded"] == 2
    mine = {"filename": "mine.bin", "path": f"{root}/{REPO}/mine.bin", "size": 7}
    assert document["files"][1] == {**mine, "sha256": None, "etag": None, "source": "hit"}


def test_a_time_out_stops_and_leaves_what_came(shell, root, hub):
    """--timeout ends the command with 11; the next one goes on from there."""
    with hub.hold(FILE, after=0.5):
        code, out, err = shell.run("fetch", REPO, FILE, "--timeout", "6s")
    assert (code, out) == (11, "")
    message, hint = err.splitlines()[-2:]
    assert message.startswith("error: owner/name model.bin: the time is up with ") and " of 12 MB downloaded" in message
    assert hint == "hint: the same command goes on from there"
    document = shell.json("fetch", REPO, FILE)
    assert document["files"][0]["source"] == "resume" and document["bytes_downloaded"] < len(BIG)


def test_how_a_file_came_is_said(shell, root, hub):
    """What was resumed names the part that came now; what the cache had under another name is linked."""
    with hub.hold(FILE, after=0.5) as hold:
        first = shell.start("fetch", REPO, FILE)
        hold.wait_for(1)
        wait_for_partial(root, 4_000_000)
        first.kill()
        first.wait()
    last = shell.run("fetch", REPO, FILE)[2].splitlines()[-1]
    assert re.fullmatch(r"resumed owner/name model\.bin: the last \S+ MB in \S+s, \S+ .B/s, verified", last)
    hub.add_repo("owner/other", {"same.bin": BIG})
    err = shell.run("fetch", "owner/other", "same.bin")[2]
    assert err == "linked owner/other same.bin: the cache had the same bytes under another name, verified\n"


def test_a_time_out_while_another_process_downloads(shell, hub):
    """Somebody else's download goes on: the message says whose, and how far it is."""
    with hub.hold(FILE, after=0.5) as hold:
        leader = shell.start("fetch", REPO, FILE)
        hold.wait_for(1)
        code, _, err = shell.run("fetch", REPO, FILE, "--timeout", "0.1s")
        assert code == 11
        assert err.splitlines()[-2].startswith(f"error: owner/name model.bin is being downloaded by {leader.pid}@")
        hold.release()
        assert leader.wait(60) == 0


def test_a_waiting_process_says_for_whom(shell, root, hub):
    """Who waits says for which process and how far that is; then both print the same path."""
    with hub.hold(FILE, after=0.5) as hold:
        leader = shell.start("fetch", REPO, FILE)
        hold.wait_for(1)
        wait_for_partial(root, 4_000_000)
        waiter = shell.start("fetch", REPO, FILE)
        line = waiter.stderr.readline()
        assert line.startswith(f"waiting for {leader.pid}@") and "owner/name model.bin " in line
        assert re.search(r", waited \S+s\n", line)
        hold.release()
        assert leader.communicate(timeout=60)[0] == waiter.communicate(timeout=60)[0] == f"{root}/{REPO}/{FILE}\n"
    assert hub.body_gets(FILE) == 1


def test_offline_misses_exit_10(shell, root, hub):
    """An offline miss names the path where the file would be found, and what switched the network off."""
    path = f"{root}/{REPO}/{FILE}"
    message = f"error: {REPO} {FILE} is not in the cache ({path}), and the network is switched off\n"
    code, out, err = shell.run("fetch", REPO, FILE, "--offline")
    assert (code, out, err) == (10, "", f"{message}hint: place the file at {path}, or leave out --offline\n")
    code, out, err = shell.run("fetch", REPO, FILE, environ={"HF_HUB_OFFLINE": "1"})
    assert (code, err) == (10, f"{message}hint: place the file at that path, or unset HF_HUB_OFFLINE\n")
    assert hub.count() == 0 and not root.exists()


def test_what_the_hub_does_not_have_exits_1(shell, hub):
    """A missing file is one line and a hint; files before it in the list have been printed."""
    code, out, err = shell.run("fetch", REPO, SMALL, "none.bin", "-q")
    assert code == 1 and out.endswith(f"{SMALL}\n")
    assert err.startswith("error: ") and "none.bin" in err.splitlines()[0] and len(err.splitlines()) <= 2


def test_wrong_bytes_are_refused(shell, root, hub):
    """A flipped bit is noticed, asked for once more, and refused: nothing is published."""
    hub.fault(SMALL, "flip", times=None)
    code, out, err = shell.run("fetch", REPO, SMALL)
    assert (code, out) == (1, "")
    assert [line.split(":")[0] for line in err.splitlines() if not line.startswith("downloading")] == [
        "warning",
        "error",
    ]
    assert not (root / REPO / SMALL).exists()


def test_interruption_exits_130_and_keeps_what_came(shell, root, hub):
    """^C is one word and no traceback; the next fetch resumes."""
    with hub.hold(FILE, after=0.5) as hold:
        process = shell.start("fetch", REPO, FILE, "-q")
        hold.wait_for(1)
        wait_for_partial(root, 4_000_000)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
        assert (process.returncode, out, err.strip()) == (130, "", INTERRUPTED)
    assert shell.json("fetch", REPO, FILE)["files"][0]["source"] == "resume"


def test_a_terminal_gets_a_bar_and_stdout_stays_data(shell, root, hub):
    """A bar on the terminal that stderr is, with the share that has come; the path alone on stdout."""
    controller, terminal = pty.openpty()
    with hub.hold(FILE, after=0.45) as hold:
        process = shell.start("fetch", REPO, FILE, stderr=terminal, environ={"TERM": "xterm", "COLUMNS": "120"})
        os.close(terminal)
        hold.wait_for(1)
        shown = read_until(controller, b" 4")
        hold.release()
        assert process.communicate(timeout=60)[0] == f"{root}/{REPO}/{FILE}\n"
    shown += drain(controller)
    os.close(controller)
    assert b"owner/name model.bin" in shown and b" %" in shown and b"\x1b[" in shown
    assert b"downloaded owner/name model.bin: 12 MB in " in shown and b"downloading" not in shown


def test_a_bar_is_gone_when_the_path_is_printed(shell, root, hub):
    """Who waits on a terminal sees for whom; the path has a line of its own."""
    controller, terminal = pty.openpty()
    with hub.hold(FILE, after=0.45) as hold:
        leader = shell.start("fetch", REPO, FILE)
        hold.wait_for(1)
        waiter = shell.start("fetch", REPO, FILE, stdout=terminal, stderr=terminal, environ={"TERM": "xterm"})
        os.close(terminal)
        shown = read_until(controller, f"waiting for {leader.pid}@".encode())
        hold.release()
        assert leader.wait(60) == waiter.wait(60) == 0
    shown += drain(controller)
    os.close(controller)
    assert shown.endswith(f"\x1b[2K{root}/{REPO}/{FILE}\r\n".encode())


def read_until(descriptor, text):
    """What a terminal shows until it shows a text; bounded by the download, which is held."""
    shown = b""
    while text not in shown:
        shown += os.read(descriptor, 65536)
    return shown


def drain(descriptor):
    """What is still to be read of a terminal that nobody writes to any more."""
    shown = b""
    try:
        while more := os.read(descriptor, 65536):
            shown += more
    except OSError:
        pass  # EIO: the other side is closed
    return shown


def test_a_file_that_no_commit_has_is_only_an_error(shell, hub):
    """Beside a file that is there: nobody is warned of another commit that does not have it either."""
    hub.add_repo("owner/two", {"a.json": b"{}"})
    shell.run("fetch", "owner/two", "a.json")
    code, _, err = shell.run("fetch", "owner/two", "none.json")
    assert (code, err.count("warning: ")) == (1, 0)
    assert err.startswith("error: repo 'owner/two' has no file 'none.json'")
