"""`gc`, `rm`, `pin`, `unpin`, and who is in use: what goes, what stays, and why."""

import json
import os
import pty
import re
import subprocess
import sys

import pytest
from cli_equipment import Shell, pattern, wait_for_partial

from model_cache import ModelCache
from model_cache.clock import Clock
from model_cache.errors import LockTimeoutError

REPO, DATA = "owner/name", "owner/data"
SIZE = 100_000
NAMES = ["a.bin", "b.bin", "sub/c.bin", "d.bin"]  # the least recently used first: an hour apart, d 10 hours ago


@pytest.fixture
def cache(root, hub):
    """Four files of one repo, last used 13 to 10 hours ago."""
    hub.add_repo(REPO, {name: pattern(SIZE, number) for number, name in enumerate(NAMES)})
    cache = ModelCache(root, endpoint=hub.url, token=False)
    for hours, name in zip((13, 12, 11, 10), NAMES, strict=True):
        cache.fetch(REPO, name)
        use(cache, name, hours * 3600)
    return cache


@pytest.fixture
def shell(environ, cache, hub):
    """The command on that root, with a clean-up of what it started."""
    found = Shell(environ, cache.root, hub)
    yield found
    found.close()


@pytest.fixture
def holder():
    """Start a program that never heard of this cache and has a file open; ended with the test."""
    started = []

    def start(path):
        code = "import sys; file = open(sys.argv[1], 'rb'); print('held', flush=True); sys.stdin.read()"
        process = subprocess.Popen(
            [sys.executable, "-c", code, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        started.append(process)
        assert process.stdout.readline() == "held\n"
        return process

    yield start
    for process in started:
        process.communicate()


def use(cache, name, age):
    """Let a file's last use be so many seconds ago; the index keeps its lower bound, which must not be above it."""
    import sqlite3

    connection = sqlite3.connect(cache.root / ".model-cache" / "index.db")
    (key,) = connection.execute("SELECT key FROM entries WHERE filename = ?", (name,)).fetchone()
    moment = os.stat(cache.root / ".model-cache" / "used" / key).st_mtime - age
    connection.execute("UPDATE entries SET last_used_at = ? WHERE key = ?", (moment, key))
    connection.commit()
    connection.close()
    os.utime(cache.root / ".model-cache" / "used" / key, (moment, moment))


def present(cache):
    """Which of the files are there."""
    return [name for name in NAMES if cache.is_cached(REPO, name)]


def names(found):
    """The filenames of a list of a document."""
    return [one["filename"] for one in found]


def own_name(pid):
    """What the kernel calls a process."""
    with open(f"/proc/{pid}/comm") as file:
        return file.read().strip()


def test_nothing_goes_without_a_policy(shell, cache):
    """The default evicts nothing, ever: gc then only says so."""
    code, out, err = shell.run("gc")
    assert (code, out) == (0, "")
    assert re.fullmatch(r"freed 0 B \(0 files\), leaving 4\d\d kB; no budget is set\n", err)
    assert present(cache) == NAMES


def test_a_policy_that_was_set_holds_in_the_next_process(shell, cache):
    """`config max_size=…`, then `gc`: down to the low watermark, the least recently used first."""
    budget = 350_000
    shell.ok("config", f"max_size={budget}")
    document = shell.json("gc")
    assert names(document["evicted"]) == NAMES[:2] and present(cache) == NAMES[2:]
    assert document["budget_bytes"] == budget and document["total_bytes"] == cache.usage().all <= 0.85 * budget
    assert document["freed_bytes"] >= 2 * SIZE
    assert (document["spared"], document["partials_removed"], document["dry_run"]) == ([], 0, False)
    assert shell.json("gc")["evicted"] == []


def test_the_plan_is_what_is_then_done(shell, cache):
    """--dry-run changes nothing, and names the same files in the same order, with their sizes and last uses."""
    arguments = ("gc", "--max-size", "220kB")
    plan = shell.json(*arguments, "--dry-run")
    assert present(cache) == NAMES and plan["dry_run"]
    assert re.fullmatch(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ", plan["evicted"][0].pop("last_used_at"))
    assert plan["evicted"][0] == {
        "repo": REPO,
        "repo_type": "model",
        "revision": "main",
        "filename": "a.bin",
        "path": f"{cache.root}/{REPO}/a.bin",
        "size": SIZE,
        "reason": "evict",
    }
    done = shell.json(*arguments)
    assert names(plan["evicted"]) == names(done["evicted"]) == NAMES[:2]
    assert (plan["freed_bytes"], plan["total_bytes"]) == (done["freed_bytes"], done["total_bytes"])


def test_the_plan_for_people(shell, cache):
    """A table of what goes and what stays and why; the sum goes to stderr; -q prints the paths alone."""
    cache.pin(REPO, "b.bin")
    use(cache, "d.bin", -36000)
    code, out, err = shell.run("gc", "--max-size", "0", "--dry-run")
    assert code == 0
    lines = [re.sub(r"h \d+s ago", "h ago", re.sub(" +", " ", line)) for line in out.splitlines()]
    assert [re.sub(r" [\d.]+s ago ", " now ", line) for line in lines] == [
        "REPO FILE SIZE USED PLAN",
        "owner/name a.bin 100 kB 13h ago evict",
        "owner/name sub/c.bin 100 kB 11h ago evict",
        "owner/name d.bin 100 kB now keep: recent",
        "owner/name b.bin 100 kB 12h ago keep: pinned",
    ]
    first, second = err.splitlines()
    assert re.fullmatch(r"would free 2\d\d kB \(2 files\), leaving 2\d\d kB; the budget is 0 B", first)
    assert second.startswith("warning: 2") and second.endswith("or was used less than 10m ago")
    assert present(cache) == NAMES
    assert shell.ok("gc", "--max-size", "0", "-q") == f"{cache.root}/{REPO}/a.bin\n{cache.root}/{REPO}/sub/c.bin\n"
    assert present(cache) == ["b.bin", "d.bin"]


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="told by /proc")
def test_who_spared_a_file_is_said(shell, cache, holder):
    """A leased file and one that is open in a foreign program stay, and gc says by which process."""
    process = holder(cache.path(REPO, "a.bin"))
    program, own = own_name(process.pid), own_name(os.getpid())
    with cache.lease(REPO, "b.bin"):
        out = shell.ok("gc", "--max-size", "0")
        rows = [re.sub(r"h \d+s ago", "h ago", re.sub(" +", " ", line)) for line in out.splitlines()]
        assert f"owner/name a.bin 100 kB 13h ago kept: open by pid {process.pid} ({program})" in rows
        assert f"owner/name b.bin 100 kB 12h ago kept: leased by pid {os.getpid()} ({own})" in rows
        spared = shell.json("gc", "--max-size", "0")["spared"]
    assert [(one["filename"], one["reason"], one["in_use"]) for one in spared] == [
        ("a.bin", "open", [f"open by pid {process.pid} ({program})"]),
        ("b.bin", "leased", [f"leased by pid {os.getpid()} ({own})"]),
    ]
    assert present(cache) == ["a.bin", "b.bin"]


def test_expiry(shell, cache):
    """--older-than takes what was not used for so long, whatever the budget."""
    document = shell.json("gc", "--older-than", "690m")
    assert [(one["filename"], one["reason"]) for one in document["evicted"]] == [
        ("a.bin", "expire"),
        ("b.bin", "expire"),
    ]
    assert shell.ok("gc", "--older-than", "30d") == ""


def test_partials_of_the_dead_are_removed_after_a_day(shell, cache, hub):
    """A partial that nobody worked on for a day goes; status tells when gc last ran."""
    hub.add_repo(DATA, {"big.bin": pattern(3_000_000)}, repo_type="dataset")
    assert shell.json("status")["last_gc"] is None
    with hub.hold("big.bin", after=0.5) as hold:
        process = shell.start("fetch", DATA, "big.bin", "--repo-type", "dataset")
        hold.wait_for(1)
        wait_for_partial(cache.root, 1_000_000)
        process.kill()
        process.wait()
    (partial,) = (cache.root / ".model-cache" / "partial").iterdir()
    assert shell.json("gc")["partials_removed"] == 0 and partial.exists()
    past = partial.stat().st_mtime - 90_000
    os.utime(partial, (past, past))
    assert shell.run("gc")[2].startswith("freed ") and not partial.exists()
    assert shell.json("status")["last_gc"].startswith("20")


def test_a_root_of_files_placed_by_hand_is_left_as_it_is(environ, root):
    """Where the cache never wrote, gc finds nothing of its own and leaves nothing behind."""
    (root / "gpt2").mkdir(parents=True)
    (root / "gpt2" / "x").write_bytes(b"1")
    document = Shell(environ, root).json("gc", "--max-size", "0")
    assert (document["evicted"], document["budget_bytes"]) == ([], 0)
    assert os.listdir(root) == ["gpt2"]


@pytest.mark.parametrize("arguments", [["rm", "--yes"], ["pin"], ["unpin"]])
def test_what_is_not_there_leaves_a_root_of_files_placed_by_hand_as_it_is(environ, root, arguments):
    """A command on an entry that does not exist makes nothing for the cache's own use."""
    (root / "gpt2").mkdir(parents=True)
    assert Shell(environ, root).run(*arguments, "gpt2", "x")[0] == 10
    assert os.listdir(root) == ["gpt2"]


def test_without_a_min_idle_recent_use_is_no_reason(shell, cache):
    """What stays over the budget then is in use, pinned or under way, and gc exits 0 all the same."""
    cache.pin(REPO)
    code, _, err = shell.run("gc", "--max-size", "0", environ={"MODEL_CACHE_MIN_IDLE": "0s"})
    assert code == 0 and err.endswith(" over the budget: what is left is in use, pinned, or under way\n")


def test_an_eviction_that_does_not_end_is_busy(cache):
    """Another evictor is waited for a minute, then the exit code is 11."""
    from model_cache.locks import FileMutex

    class Fast(Clock):
        ahead = 0.0

        def monotonic(self):
            return super().monotonic() + self.ahead

        def sleep(self, seconds):
            self.ahead += seconds

    mutex = FileMutex(f"{cache.root}/.model-cache/gc.lock", 0o600, Clock())
    mutex.acquire(1)
    with pytest.raises(LockTimeoutError) as caught:
        ModelCache(cache.root, clock=Fast()).gc()
    mutex.release()
    assert caught.value.exit_code == 11


def test_rm_removes_what_is_named(shell, cache):
    """The paths that went are the output, with their empty directories; the rest stays."""
    code, out, err = shell.run("rm", REPO, "sub/c.bin", "a.bin", "--yes")
    assert (code, out) == (0, f"{cache.root}/{REPO}/sub/c.bin\n{cache.root}/{REPO}/a.bin\n")
    assert re.fullmatch(r"removed 2 files, 2\d\d kB\n", err)
    assert present(cache) == ["b.bin", "d.bin"] and not cache.path(REPO, "sub").exists()
    document = shell.json("rm", REPO, "--yes")
    assert names(document["removed"]) == ["b.bin", "d.bin"] and document["freed_bytes"] >= 2 * SIZE
    assert document["in_use"] == [] and document["removed"][0]["path"] == f"{cache.root}/{REPO}/b.bin"
    assert present(cache) == [] and not cache.path(REPO, "x").parent.exists()


def test_rm_says_what_it_would_do(shell, cache):
    """--dry-run needs no --yes, removes nothing, and has the exit code that the removal would have."""
    cache.pin(REPO, "b.bin")
    code, out, err = shell.run("rm", REPO, "--dry-run")
    assert code == 11 and len(out.splitlines()) == 3
    assert err.splitlines()[0].startswith("would remove 3 files, ")
    assert err.splitlines()[1] == "error: owner/name: b.bin (pinned) would stay"
    assert present(cache) == NAMES and shell.json("rm", REPO, "a.bin", "--dry-run")["dry_run"]


def test_rm_without_a_terminal_wants_yes(shell, cache):
    """A script has to say that it means it: without --yes nothing goes, and the exit code is 2."""
    code, out, err = shell.run("rm", REPO, "a.bin")
    assert (code, out) == (2, "")
    assert err == (
        "error: rm asks before it removes, and there is no terminal to ask on\n"
        "hint: add --yes, or --dry-run to look first\n"
    )
    assert present(cache) == NAMES


@pytest.mark.parametrize(("answer", "code", "left"), [("y\n", 0, NAMES[2:]), ("n\n", 1, NAMES), ("\n", 1, NAMES)])
def test_rm_asks_on_a_terminal(shell, cache, answer, code, left):
    """The question says how much of what goes; anything but yes removes nothing."""
    process, terminal = on_terminal(shell, "rm", REPO, "a.bin", "b.bin")
    os.write(terminal, answer.encode())
    out, err = process.communicate(timeout=60)
    os.close(terminal)
    assert process.returncode == code
    assert err.startswith(f"remove 2 files of owner/name, 200 kB, from {cache.root}? [y/N]: ")
    assert present(cache) == left
    assert out == ("" if code else f"{cache.root}/{REPO}/a.bin\n{cache.root}/{REPO}/b.bin\n")


def on_terminal(shell, *arguments):
    """The command with a terminal to answer on."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "model_cache", *arguments],
        env=shell.environ,
        stdin=theirs,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    os.close(theirs)
    shell._started.append(process)
    return process, ours


def test_rm_leaves_what_is_in_use(shell, cache, holder):
    """Open in a program, or leased: it stays and the exit code is 11; --force removes it, and readers keep the bytes."""
    process = holder(cache.path(REPO, "a.bin"))
    with cache.open(REPO, "b.bin") as file:
        code, out, err = shell.run("rm", REPO, "--yes", "--json")
        assert code == 11
        document = json.loads(out)
        assert names(document["removed"]) == ["d.bin", "sub/c.bin"]
        assert [(one["filename"], one["reason"]) for one in document["in_use"]] == [
            ("a.bin", "open"),
            ("b.bin", "leased"),
        ]
        error, hint = err.splitlines()
        assert error.startswith("error: owner/name: a.bin (open") and error.endswith(" stayed")
        if os.path.isdir("/proc/self/fd"):
            assert f"open by pid {process.pid} (" in error and f"leased by pid {os.getpid()} (" in error
        assert hint.startswith("hint: ") and "--force" in hint
        assert shell.run("rm", REPO, "--yes", "--force", "-q")[0] == 0
        assert file.read() == pattern(SIZE, 1)
    assert present(cache) == [] and cache.entries() == []


def test_what_somebody_changed_stays_even_by_force(shell, cache):
    """An edited file is somebody's own: rm says so and leaves it."""
    with cache.path(REPO, "a.bin").open("ab") as file:
        file.write(b"edited")
    code, out, err = shell.run("rm", REPO, "a.bin", "--yes", "--force")
    assert (code, out) == (11, "")
    assert "removed 0" not in err
    assert "error: owner/name: a.bin (changed by somebody since it was downloaded) stayed" in err.splitlines()
    assert present(cache) == NAMES


@pytest.mark.parametrize("arguments", [["rm", "--yes"], ["pin"], ["unpin"]])
def test_what_is_not_there_is_10(shell, cache, arguments):
    """A file or repo that the index does not know is named, and nothing else of the command is done."""
    command, *more = arguments
    code, out, err = shell.run(command, *more, REPO, "a.bin", "z.bin")
    assert (code, out) == (10, "")
    assert err.splitlines()[0] == f"error: owner/name z.bin is not in the index of {cache.root}"
    assert shell.run(command, *more, "owner/other")[0] == 10
    assert shell.run(command, *more, REPO, "--revision", "v2")[0] == 10
    assert present(cache) == NAMES and not any(row.pinned for row in cache.entries())


def test_pins_keep_files_until_they_are_unpinned(shell, cache):
    """A pinned file survives gc and rm, is marked in ls, and goes once it is unpinned."""
    assert shell.ok("pin", REPO, "a.bin") == f"{cache.root}/{REPO}/a.bin\n"
    assert names(shell.json("pin", REPO)["pinned"]) == sorted(NAMES)
    assert names(shell.json("unpin", REPO, "b.bin", "d.bin")["unpinned"]) == ["b.bin", "d.bin"]
    assert shell.json("status")["pinned_bytes"] >= 2 * SIZE
    assert [one["filename"] for one in shell.json("ls")["entries"] if one["pinned"]] == ["a.bin", "sub/c.bin"]
    assert "ready, pinned" in shell.ok("ls")
    document = shell.json("gc", "--max-size", "0")
    assert names(document["evicted"]) == ["b.bin", "d.bin"]
    assert [(one["filename"], one["reason"]) for one in document["spared"]] == [
        ("a.bin", "pinned"),
        ("sub/c.bin", "pinned"),
    ]
    code, _, err = shell.run("rm", REPO, "a.bin", "--yes")
    assert (code, err.splitlines()[1:]) == (11, ["hint: model-cache unpin owner/name a.bin, or --force"])
    shell.ok("unpin", REPO)
    assert names(shell.json("gc", "--max-size", "0")["evicted"]) == ["a.bin", "sub/c.bin"]


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="told by /proc")
def test_ls_tells_who_is_in_use(shell, cache, holder):
    """--in-use says by which processes each file is leased or open: none is an empty list, not asked is null."""
    process = holder(cache.path(REPO, "d.bin"))
    with cache.lease(REPO, "a.bin"):
        entries = shell.json("ls", "--in-use")["entries"]
        line = next(line for line in shell.ok("ls", "--in-use").splitlines() if " a.bin " in line)
    program, own = own_name(process.pid), own_name(os.getpid())
    assert {one["filename"]: one["in_use"] for one in entries} == {
        "a.bin": [f"leased by pid {os.getpid()} ({own})"],
        "b.bin": [],
        "d.bin": [f"open by pid {process.pid} ({program})"],
        "sub/c.bin": [],
    }
    assert line.endswith(f"ready, leased by pid {os.getpid()} ({own})")
    assert shell.json("ls")["entries"][0]["in_use"] is None


def test_status_against_a_budget(shell, cache):
    """What is left of the budget, or how far over it the cache is, and what is pinned."""
    cache.pin(REPO, "a.bin")
    lines = shell.ok("status", environ={"MODEL_CACHE_MAX_SIZE": "1MB"}).splitlines()
    assert re.fullmatch(r"usage        4\d\d kB, 0 B of it reserved, 1\d\d kB pinned", lines[2])
    assert re.fullmatch(r"budget       1 MB, 5\d\d kB left", lines[3])
    lines = shell.ok("status", environ={"MODEL_CACHE_MAX_SIZE": "100kB"}).splitlines()
    assert re.fullmatch(r"budget       100 kB, 3\d\d kB over", lines[3])
    shell.ok("gc")
    assert re.fullmatch(r"last gc      20\d\d-.*Z", shell.ok("status").splitlines()[5])


def test_status_tells_of_thrash(shell, cache):
    """What was evicted and downloaded again within a day is counted, with the budget that would have avoided it."""
    assert shell.json("status")["regret"] == {"files": 0, "bytes": 0, "lacking_bytes": 0}
    shell.ok("gc", "--older-than", "690m")
    shell.ok("gc", environ={"MODEL_CACHE_MAX_SIZE": "150kB"})
    gone = [name for name in NAMES if name not in present(cache)]
    shell.ok("fetch", REPO, gone[-1])
    regret = shell.json("status")["regret"]
    assert (regret["files"], regret["bytes"]) == (1, SIZE) and regret["lacking_bytes"] >= SIZE
    line = shell.ok("status", environ={"MODEL_CACHE_MAX_SIZE": "1MB"}).splitlines()[-1]
    assert re.fullmatch(
        r"regret       100 kB \(1 file\) downloaded again within a day of their eviction, this week;"
        r" 1\.\d+ MB would have avoided it",
        line,
    )


@pytest.fixture
def small(tmp_path):
    """A file system of 4 MiB."""
    if os.geteuid() != 0:
        pytest.skip("mounts a small file system")
    place = tmp_path / "small"
    place.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(place)], capture_output=True).returncode:
        pytest.skip("no mounts here")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def fill(place, left):
    """Leave no more than so many bytes free."""
    found = os.statvfs(place)
    (place / "ballast").write_bytes(bytes(found.f_bavail * found.f_frsize - left))


@pytest.mark.root
def test_a_disk_that_is_nearly_full_is_warned_of(environ, small):
    """Under 10 % free, status says so, and how to set a budget while there is none; with a min_free it trusts that."""
    shell = Shell(environ, small / "cache")
    shell.ok("root")
    fill(small, 200_000)
    err = shell.run("status")[2]
    assert re.fullmatch(
        r"warning: only \S+ kB \(\d %\) of the file system of \S+ is free, and nothing here is ever evicted"
        r" \(model-cache config max_size=…\)\n",
        err,
    )
    err = shell.run("status", environ={"MODEL_CACHE_MAX_SIZE": "500kB"})[2]
    assert err.endswith(" is free\n")
    assert shell.run("status", environ={"MODEL_CACHE_MIN_FREE": "10kB"})[2] == ""


@pytest.mark.root
def test_gc_makes_room_on_a_full_disk(environ, small, hub):
    """With not one block free the index can still say what goes, and --min-free gives the room back."""
    hub.add_repo(REPO, {name: pattern(SIZE, number) for number, name in enumerate(NAMES)})
    shell = Shell({**environ, "MODEL_CACHE_MIN_IDLE": "0"}, small / "cache", hub)
    shell.ok("fetch", REPO, *NAMES)
    fill(small, 0)
    document = shell.json("gc", "--min-free", "150kB")
    assert names(document["evicted"]) == NAMES[:2]
    assert shell.json("status")["free_bytes"] >= 150_000
    assert "warning: " in shell.run("gc", "--min-free", "3MB")[2]


def test_status_names_leases_and_who_holds_them(shell, cache):
    """A leased file stands in `status` with the process that holds it, and no longer after it was given back."""
    with cache.lease(REPO, NAMES[0]):
        (lease,) = shell.json("status")["leases"]
        assert lease["filename"] == NAMES[0]
        assert lease["by"][0].startswith(f"leased by pid {os.getpid()} (")
        assert re.search(rf"^lease +owner/name a\.bin: leased by pid {os.getpid()} ", shell.ok("status"), re.MULTILINE)
    assert shell.json("status")["leases"] == []
