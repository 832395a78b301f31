"""The life of a file in real processes, on a system that lacks something."""

import json
from pathlib import Path

from support import FILE, REPO, finish, pattern

OLD, NEW = pattern(300_000), pattern(300_000, 7)
FETCH = f'print(cache.fetch("{REPO}", "{FILE}"), flush=True)'
# Holds a lease until its input ends.
HOLD = f"""
with cache.lease("{REPO}", "{FILE}") as path:
    print(open(path, "rb").read() != b"", flush=True)
    sys.stdin.read()
"""
# What one process does with a file that another has leased, and then with it alone.
ACT = f"""
from model_cache import ModelCacheError

def told(what):
    try:
        return what()
    except ModelCacheError as error:
        return f"{{type(error).__name__}}: {{error}}"

said = {{"hits": len({{cache.fetch("{REPO}", "{FILE}") for _ in range(3)}})}}
report = cache.verify()
said["verified"] = [report.ok, len(report.corrupt), len(report.changed), len(report.missing)]
said["evicted in use"] = told(lambda: len(cache.gc(max_size=0).evicted))
said["removed in use"] = told(lambda: len(cache.remove("{REPO}", "{FILE}").removed))
said["there"] = os.path.exists(cache.path("{REPO}", "{FILE}"))
print(json.dumps(said), flush=True)
sys.stdin.readline()
said = {{"updated": told(lambda: sum(len(one.updated) for one in cache.update("{REPO}")))}}
with open(cache.path("{REPO}", "{FILE}"), "rb") as file:
    bytes_now = file.read()
said["seed"] = {{b: n for n, b in enumerate((bytes.fromhex(arguments["old"]), bytes.fromhex(arguments["new"])))}}[bytes_now[:64]]
said["evicted"] = told(lambda: len(cache.gc(max_size=0).evicted))
said["there"] = os.path.exists(cache.path("{REPO}", "{FILE}"))
print(json.dumps(said))
"""


def live(hub, root, spawn):
    """Four processes fetch, one holds, one acts while it is held and after it; (what it said first, and last)."""
    hub.add_repo(REPO, {FILE: OLD})
    with hub.hold(FILE) as hold:
        fetching = [spawn(FETCH) for _ in range(4)]
        hold.wait_for(1)
        hold.release()
        assert {finish(process) for process in fetching} == {str(root / REPO / FILE)}
    assert (root / REPO / FILE).read_bytes() == OLD
    settings = {"min_idle": 0, "touch_interval": 0}
    holding = spawn(HOLD, settings=settings)
    assert holding.stdout.readline() == "True\n"
    acting = spawn(ACT, settings=settings, old=OLD[:64].hex(), new=NEW[:64].hex())
    first = acting.stdout.readline()
    assert first, acting.communicate()[1]
    finish(holding)
    hub.add_repo(REPO, {FILE: NEW})
    acting.stdin.write("\n")
    return json.loads(first), json.loads(finish(acting))


# Takes from the standard library what it does not have on Windows, before the cache is imported; see Python's pages on `os`.
BARE = """
import builtins, os, stat, sys
for name in ("fcntl", "pwd", "grp", "resource", "termios", "numpy"):
    sys.modules[name] = None  # which makes its import fail; numpy was built for this system
import shutil, socket, subprocess, tempfile, threading  # which look for some of it themselves, as they do there
shutil.disk_usage = lambda path, ask=os.statvfs: shutil._ntuple_diskusage(*[ask(path).f_bavail * 4096] * 3)
for name in (
    "O_CLOEXEC O_DIRECTORY O_NOFOLLOW O_NONBLOCK O_PATH O_TMPFILE ST_RDONLY POSIX_FADV_DONTNEED chown copy_file_range"
    " fchmod fchown fdatasync fork getegid geteuid getgid getuid lchown pathconf posix_fadvise pread preadv pwrite pwritev"
    " register_at_fork sched_getaffinity sendfile statvfs uname"
).split():
    delattr(os, name)
for name in ("supports_dir_fd", "supports_effective_ids", "supports_fd", "supports_follow_symlinks"):
    setattr(os, name, set())

def only_paths(name, *places):
    call = getattr(os, name)
    def called(path, *args, **named):
        if isinstance(path, int) or any(named.get(place) is not None for place in places):
            raise NotImplementedError(f"{name}: only paths here")
        if name == "open" and os.path.isdir(path):
            raise PermissionError(13, "Permission denied", path)
        return call(path, *args, **named)
    setattr(os, name, called)

for name in ("open", "unlink", "mkdir", "rmdir", "access", "chmod", "scandir", "listdir"):
    only_paths(name, "dir_fd")
for name in ("link", "rename", "replace"):
    only_paths(name, "src_dir_fd", "dst_dir_fd")
os.utime = (lambda call: lambda path, times=None, *, ns=None: call(path, times, ns=ns) if ns else call(path, times))(os.utime)
os.name, plain = "nt", os.name
from model_cache.platforms import capabilities  # which asks for the name
os.name = plain
"""


def table():
    """What the page says of each capability: {name: [calls, for, Linux, macOS, Windows, without it, no longer guaranteed]}."""
    page = Path(__file__).parent.parent / "docs" / "explanation" / "platforms.md"
    lines = [line for line in page.read_text(encoding="utf-8").splitlines() if line.startswith("| `")]
    rows = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]
    return {row[0].strip("` "): row[1:] for row in rows}
