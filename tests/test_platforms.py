"""What is done where a system lacks something: each capability is taken away, and real processes run without it."""

import json
import os
import re
import shutil
import subprocess
import sys
import time

import pytest
from platform_equipment import BARE, FETCH, NEW, OLD, live, table
from support import FILE, REPO, finish

from model_cache.platforms import capabilities

# Of these each has an order of calls of its own; the others only read, write or ask in another way.
NAMES_AND_LOCKS = ["leases", "at", "no_follow", "hard_links", "directory_sync", "proc"]
OTHERS = [
    "path_only",
    "nameless",
    "positional",
    "data_sync",
    "copy_range",
    "reflinks",
    "advice",
    "modes",
    "times",
    "volumes",
    "fork",
    "affinity",
]


@pytest.mark.parametrize("missing", [*NAMES_AND_LOCKS, ",".join(OTHERS), ",".join(NAMES_AND_LOCKS + OTHERS)])
def test_without_it_a_file_is_fetched_once_used_kept_while_leased_updated_and_evicted(
    hub, root, spawn, environ, missing
):
    """Four processes download once, the bytes are right, what is leased stays, what is not is replaced and evicted (I2, I3)."""
    environ["MODEL_CACHE_WITHOUT"] = missing
    first, last = live(hub, root, spawn)
    assert first == {"hits": 1, "verified": [1, 0, 0, 0], "evicted in use": 0, "removed in use": 0, "there": True}
    assert last == {"updated": 1, "seed": 1, "evicted": 1, "there": False}
    assert hub.body_gets(FILE) == 2
    assert hub.body_bytes(FILE) == len(OLD) + len(NEW)


@pytest.mark.parametrize("missing", ["flock", "replace_open", "flock,replace_open"])
def test_where_nothing_can_be_removed_safely_that_is_refused_and_files_are_fetched_and_verified(
    hub, root, spawn, environ, missing
):
    """Without locks, or where an open file keeps its name, downloads are right and whatever takes files away says no (I3)."""
    environ["MODEL_CACHE_WITHOUT"] = missing
    first, last = live(hub, root, spawn)
    assert first["hits"] == 1 and first["verified"] == [1, 0, 0, 0]
    for said in (first["evicted in use"], first["removed in use"], last["updated"], last["evicted"]):
        assert said.startswith("StorageError: this system ") and "safely" in said
    assert first["there"] and last["there"] and last["seed"] == 0
    assert [path for path in (root / REPO).rglob("*") if path.is_file()] == [root / REPO / FILE]
    assert list((root / ".model-cache" / "partial").iterdir()) == []


@pytest.mark.parametrize("missing", ["flock", "replace_open"])
def test_where_nothing_can_be_removed_safely_no_download_makes_room(hub, root, spawn, environ, missing):
    """A download that the budget has no room for fails as such, and what is there stays (I3, I4)."""
    hub.add_repo(REPO, {"first.bin": OLD, "second.bin": NEW})
    environ["MODEL_CACHE_WITHOUT"] = missing
    code = f"""
    cache.fetch("{REPO}", "first.bin")
    try:
        cache.fetch("{REPO}", "second.bin")
    except model_cache.CacheFullError as error:
        print(error)
    """
    said = finish(spawn(code, settings={"max_size": 400_000, "min_idle": 0}))
    assert said.endswith("safely") and "second.bin needs" in said
    assert [path.name for path in (root / REPO).iterdir()] == ["first.bin"]
    assert (root / REPO / "first.bin").read_bytes() == OLD


def test_the_package_works_where_the_standard_library_has_what_it_has_on_windows(hub, root, environ):
    """Without fcntl, pwd, resource and half of `os` it is imported, fetches, hits and verifies, and refuses to remove."""
    hub.add_repo(REPO, {FILE: OLD, "sub/config.json": b"{}"})
    code = f"""{BARE}
import json
from model_cache import ModelCache, ModelCacheError
cache = ModelCache({str(root)!r}, endpoint={hub.url!r}, token=False, max_size="1GB")
path = cache.fetch("{REPO}", "{FILE}")
assert cache.fetch("{REPO}", "{FILE}") == path and cache.is_cached("{REPO}", "{FILE}")
assert cache.fetch_repo("{REPO}").joinpath("sub", "config.json").read_bytes() == b"{{}}"
with cache.lease("{REPO}", "{FILE}") as leased, cache.open("{REPO}", "{FILE}") as file:
    assert leased == path and len(file.read()) == {len(OLD)}
report = cache.verify()
try:
    refused = cache.remove("{REPO}", "{FILE}")
except ModelCacheError as error:
    refused = str(error)
found = sorted(name for name, there in capabilities.FOUND.items() if there)
print(json.dumps([report.ok, refused, len(list(cache.entries())), found]))
"""
    ran = subprocess.run([sys.executable, "-c", code], env=environ, capture_output=True, text=True, timeout=120)
    assert ran.returncode == 0, ran.stderr
    ok, refused, entries, found = json.loads(ran.stdout)
    assert (ok, entries) == (2, 2) and refused.startswith("this system has no file locks")
    on_windows = {name for name, cells in table().items() if cells[4] == "yes"}
    assert set(found) - {"proc"} == on_windows  # this kernel has a /proc, whatever Python thinks
    assert (root / REPO / FILE).read_bytes() == OLD


@pytest.mark.parametrize("missing", ["no_follow", "at", "no_follow,at,proc"])
def test_a_symlink_below_the_root_leads_nowhere_where_only_paths_are_known(
    hub, root, spawn, environ, missing, tmp_path
):
    """A planted symlink, of the repo or of the cache's own directory, is refused, and nothing is written behind it."""
    hub.add_repo(REPO, {FILE: OLD})
    environ["MODEL_CACHE_WITHOUT"] = missing
    outside = tmp_path / "outside"
    outside.mkdir()
    code = f"""
    try:
        {FETCH}
    except model_cache.ModelCacheError as error:
        print(type(error).__name__)
    """
    (root / ".model-cache").mkdir(parents=True, mode=0o700)
    for planted in (root / "owner", root / ".model-cache" / "partial"):
        if planted.is_dir():
            planted.rmdir()  # the cache made it
        planted.symlink_to(outside)
        assert finish(spawn(code)) == "StorageError"
        assert list(outside.iterdir()) == []
        planted.unlink()
    assert finish(spawn(code)) == str(root / REPO / FILE)


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
def test_what_is_taken_away_is_asked_of_the_kernel_by_nobody(hub, root, spawn, environ, tmp_path):
    """A fetch and a verify without them make no call for locks, leases, links, places, /proc, or the sync of a directory."""
    hub.add_repo(REPO, {FILE: OLD})
    environ["MODEL_CACHE_WITHOUT"] = ",".join(set(capabilities.FOUND) - {"replace_open"})
    out = tmp_path / "calls"
    finish(spawn(f"{FETCH}\ncache.verify()", tracer=f"strace -f -qq -y -o {out}"))
    calls = out.read_text()
    below = re.escape(str(root))
    assert re.search(rf"fsync\(\d+<{below}/\.model-cache/partial/", calls)  # that of the file stays
    for gone in (
        rf"flock\(\d+<{below}",
        r"F_SETLEASE",
        r" link(at)?\(",
        rf"(openat|newfstatat|unlinkat|renameat2?|mkdirat)\(\d+<{below}[^>]*>, \"[^\"]",
        r"O_PATH",
        r"O_TMPFILE",
        rf"O_NOFOLLOW.*<{below}/(?!\.model-cache/index)",  # SQLite opens its file by calls of its own
        r"/proc/self/fd/\d",
        r"(pread|pwrite|preadv)(64)?\(\d+<" + below + rf"/{REPO}",
        rf"fsync\(\d+<{below}(/{REPO}|/\.model-cache/partial)?>",
        r"fdatasync\(\d+<" + below + r"/\.model-cache/partial",
        r"copy_file_range\(",
        r"fchmod\(\d+<" + below,
    ):
        assert re.findall(rf".*{gone}.*", calls) == [], gone


@pytest.fixture
def folding(tmp_path):
    """A directory in which names that differ by case are one: rclone shows another one so."""
    mounted, behind = tmp_path / "mounted", tmp_path / "behind"
    if not os.access("/dev/fuse", os.W_OK) or shutil.which("fusermount3") is None:
        pytest.skip("needs Debian's package fuse3, and /dev/fuse")
    mounted.mkdir()
    behind.mkdir()
    options = [
        "--vfs-case-insensitive",
        "--vfs-cache-mode=full",
        f"--cache-dir={tmp_path / 'vfs'}",
        "--config=/dev/null",
    ]
    rclone = shutil.which("rclone", path=os.path.dirname(sys.executable))
    process = subprocess.Popen([rclone, "mount", *options, behind, mounted], stderr=subprocess.PIPE)
    deadline = time.monotonic() + 60
    while not os.path.ismount(mounted):
        if process.poll() is not None:
            pytest.skip(f"rclone cannot mount here: {process.stderr.read().decode()}")
        assert time.monotonic() < deadline, "rclone has not mounted"
        time.sleep(0.02)
    yield mounted
    subprocess.run(["fusermount3", "-u", mounted], check=True)
    process.communicate(timeout=120)


def test_two_names_that_differ_by_case_never_stand_for_one_file(hub, folding, spawn):
    """Where the file system folds case the second of two names is refused, file or directory, and the first keeps its bytes."""
    names = {"Model.bin": b"upper", "model.bin": b"lower", "onnx/a.bin": b"below", "ONNX/b.bin": b"another"}
    hub.add_repo(REPO, names)
    code = f"""
    cache = ModelCache({str(folding / "cache")!r}, endpoint=arguments["endpoint"], token=False)
    assert cache.fetch("{REPO}", "Model.bin").read_bytes() == b"upper"
    assert cache.fetch("{REPO}", "onnx/a.bin").read_bytes() == b"below"
    for second in ("model.bin", "ONNX/b.bin"):
        try:
            print(cache.fetch("{REPO}", second))
        except model_cache.InvalidNameError as error:
            print("one name" in str(error))
    assert cache.path("{REPO}", "model.bin").read_bytes() == b"upper"  # as the file system has it
    report = cache.verify()
    print(report.checked, report.corrupt, report.changed)
    """
    assert finish(spawn(code)).splitlines() == ["True", "True", "2 [] []"]


@pytest.mark.skipif(sys.platform != "linux", reason="the sweeps run on Linux")
def test_a_kill_before_any_step_is_recovered_from_where_there_are_only_paths_and_no_second_names(environ):
    """A fetch that publishes by a look and a rename, with names by their paths, loses nothing wherever it is killed."""
    command = [sys.executable, "-m", "stress.sweep", "kill", "--points", "named", "--operation", "fetch"]
    without = {"MODEL_CACHE_WITHOUT": "hard_links,at,no_follow,proc"}
    here = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    ran = subprocess.run(command, env=environ | without, cwd=here, capture_output=True, text=True, timeout=200)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert re.search(r"\b0 violations", ran.stdout)
