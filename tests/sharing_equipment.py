"""Every operation on a root, by whoever does it: done in a process that has become one user, told by what came of it."""

import hashlib
import importlib
import json
import os
import pkgutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

from support import FILE, REPO, pattern

from model_cache import CacheFullError, ModelCache, ModelCacheError
from model_cache.cli import main
from model_cache.clock import Clock
from model_cache.context import Context
from model_cache.doctor.fixing import look
from model_cache.download.miss import fetch
from model_cache.download.request import Request
from model_cache.layout import Entry
from model_cache.settings import Settings
from model_cache.surface import in_family

OTHER, TWIN, GATED, FOREIGN, MANY = "other.bin", "owner/twin", "owner/gated", "owner/foreign", "owner/many"
BODY = pattern(20_000)
GROUP, FIRST, SECOND, STRANGER = 60_000, 60_001, 60_002, 60_003  # ids that nobody has
TOKEN = "hf_loopback"


class Halt(BaseException):
    """Ends a download as an interrupt does."""


class Earlier(Clock):
    """A clock that is two hours late."""

    def time(self):
        """Seconds since the epoch, two hours ago."""
        return super().time() - 7200


class Opening(Clock):
    """A clock by which a directory gets its mode while somebody waits."""

    def __init__(self, directory):
        super().__init__()
        self._directory = directory

    def sleep(self, seconds):
        """Somebody else goes on meanwhile."""
        self._directory.chmod(0o2775)


class Place(NamedTuple):
    """A root, a hub, and the settings that everybody there has.

    Attributes:
        beside: A directory beside the root that everybody may write.
    """

    root: str
    endpoint: str
    sharing: str
    beside: str

    def cache(self, **more):
        """A cache on it."""
        settings = {"sharing": self.sharing, "min_idle": 0, "token": False, **more}
        return ModelCache(self.root, endpoint=self.endpoint, **settings)

    def outcome(self, repo, filename, **more):
        """How a file comes that is fetched: `hit`, `download`, `resume`, `link`."""
        settings = Settings({}, root=self.root, endpoint=self.endpoint, sharing=self.sharing)
        ctx = Context(settings, token=False)
        return in_family(fetch)(ctx, Entry(repo, filename, "main", "model"), Request(**more)).source

    def command(self, *words):
        """The exit code of a command on it."""
        os.environ["MODEL_CACHE_SHARING"] = self.sharing
        try:
            return main(["--root", self.root, *words])
        except SystemExit as end:
            return end.code


# What the owner does before


def one(place):
    """One file."""
    place.cache().fetch(REPO, FILE)


def whole(place):
    """All of a repo."""
    place.cache().fetch_repo(REPO)


def half(place):
    """Half a file, of a download that died."""

    def step(name):
        if name == "verify:hash":
            raise Halt

    try:
        place.cache(step=step).fetch(REPO, FILE)
    except Halt:
        (partial,) = Path(place.root, ".model-cache", "partial").iterdir()
        os.truncate(partial, len(BODY) // 2)


def old(place):
    """One file, last used two hours ago."""
    place.cache(clock=Earlier()).fetch(REPO, FILE)
    for used in Path(place.root, ".model-cache", "used").iterdir():
        os.utime(used, (used.stat().st_mtime - 7200,) * 2)


def rotten(place):
    """One file with a byte that is wrong."""
    one(place)
    path = Path(place.root, REPO, FILE)
    kept = path.stat()
    with path.open("r+b") as file:
        file.write(b"\xff")
    os.utime(path, ns=(kept.st_atime_ns, kept.st_mtime_ns))


def closed(place):
    """One file, and a directory of the cache's own with a wrong mode."""
    one(place)
    os.chmod(Path(place.root, ".model-cache", "trash"), 0o707)


def locked(place):
    """One file, and a lock file of two."""
    one(place)
    place.cache().lock(REPO, output=Path(place.beside, "models.lock"))
    place.cache().remove(REPO, OTHER, force=True)


# What somebody does then: `yes`, `no`, or what else came of it


def _yes(done):
    return "yes" if done else "no"


def _spared(report):
    return "spared" if {one.reason for one in report} == {"untested"} else "no"


def _gc(place, **settings):
    report = place.cache(**settings).gc(max_size=0)
    return "yes" if report.evicted else _spared(report.spared)


def _rm(place, *, force=False):
    report = place.cache().remove(REPO, FILE, force=force)
    return "yes" if report.removed else _spared(report.in_use)


def _fix(place):
    look(Context(Settings({}, root=place.root, sharing=place.sharing)), fix=True)
    return "yes"


def _fixed(place):
    right = 0o2775 if place.sharing == "group" else 0o700
    return _yes(os.stat(f"{place.root}/.model-cache/trash").st_mode & 0o7777 == right)


def _lease(place):
    with place.cache().lease(REPO, FILE, offline=True):
        return "yes"


_kept = []  # caches whose leases are to outlive the call


def _use(place):
    _kept[:] = [place.cache(min_idle="1h")]
    _kept[0].fetch(REPO, FILE, offline=True)
    return "yes"


def _seen(place):
    """Whether an evictor spares what somebody else used just now."""
    report = place.cache(min_idle="1h").gc(max_size=0)
    return _yes(not report.evicted and {one.reason for one in report.spared} <= {"recent", "leased"})


def _fetched(place, repo, filename, **settings):
    return _yes(place.cache(**settings).fetch(repo, filename).stat().st_size == len(BODY))


class Operation(NamedTuple):
    """What is done, as the table calls it.

    Attributes:
        act: What somebody does, and what comes of it.
        prepare: What the owner does before.
        after: What the owner sees then, in place of what came of it.
    """

    act: object
    prepare: object = one
    after: object = None


OPERATIONS = {
    "`is_cached`": Operation(lambda place: _yes(place.cache().is_cached(REPO, FILE))),
    "a hit": Operation(lambda place: _yes(place.cache().fetch(REPO, FILE, offline=True).read_bytes() == BODY)),
    "a lease": Operation(_lease),
    "its use protects the file": Operation(_use, old, _seen),
    "`ls`, `status`": Operation(
        lambda place: _yes(len(place.cache().entries()) == 1 and place.cache().usage().files == 1)
    ),
    "`fetch` of what is missing": Operation(lambda place: _fetched(place, REPO, OTHER)),
    "what it fetched is a hit for the owner": Operation(
        lambda place: _fetched(place, REPO, OTHER),
        one,
        lambda place: _yes(place.cache().is_cached(REPO, OTHER) and _fetched(place, REPO, OTHER, offline=True)),
    ),
    "`fetch` of a whole repo": Operation(lambda place: _yes(len(os.listdir(place.cache().fetch_repo(REPO))) == 2)),
    "`fetch` of a whole repo that is there": Operation(
        lambda place: _yes(len(os.listdir(place.cache().fetch_repo(REPO))) == 2), whole
    ),
    "`fetch` goes on with another's download": Operation(
        lambda place: _yes(place.outcome(REPO, FILE) == "resume"), half
    ),
    "`fetch` links to another's file": Operation(lambda place: _yes(place.outcome(TWIN, FILE) == "link")),
    "`fetch --force`": Operation(lambda place: _yes(place.outcome(REPO, FILE, force=True) == "download")),
    "`fetch` of a gated repo": Operation(lambda place: _fetched(place, GATED, FILE, token=TOKEN)),
    "`fetch --share-gated` of one": Operation(
        lambda place: _fetched(place, GATED, FILE, token=TOKEN, share_gated=True)
    ),
    "`update`": Operation(lambda place: _yes(place.cache().update(REPO))),
    "`sync`": Operation(lambda place: _yes(place.cache().sync(Path(place.beside, "models.lock"))), locked),
    "`import-hf`": Operation(lambda place: _yes(len(place.cache().import_hf(Path(place.beside, "hub")).imported) == 1)),
    "`gc`, and room for a download": Operation(_gc),
    "the same with `evict_untested`": Operation(lambda place: _gc(place, evict_untested=True)),
    "`rm`": Operation(_rm),
    "`rm --force`": Operation(lambda place: _rm(place, force=True)),
    "`pin`, `unpin`": Operation(lambda place: _yes(place.cache().pin(REPO) and place.cache().unpin(REPO))),
    "`verify`": Operation(lambda place: _yes(place.cache().verify().ok == 1)),
    "`verify --repair`": Operation(lambda place: _yes(place.cache().verify(repair=True).repaired), rotten),
    "`reconcile`": Operation(lambda place: _yes(place.cache().reconcile() is not None)),
    "`reconcile --rebuild`": Operation(lambda place: _yes(place.cache().reconcile(rebuild=True) is not None)),
    "`config KEY=VALUE`": Operation(lambda place: _yes(place.command("config", "-q", "min_idle=5m") == 0)),
    "`doctor --fix`": Operation(_fix, closed, _fixed),
}


def _rush(place):
    cache = place.cache()
    for number in range(12):
        cache.fetch(MANY, f"{number}/{FILE}")
    return "yes"


def _in_the_making(place):
    """A hit, and a look, below a directory that is closed until it has its mode."""
    directory = place.cache().fetch(MANY, f"0/{FILE}").parent
    directory.chmod(0)
    there = place.cache(clock=Opening(directory)).is_cached(MANY, f"0/{FILE}")
    directory.chmod(0)
    return _yes(there and place.cache(clock=Opening(directory), offline=True).fetch(MANY, f"0/{FILE}"))


def _no_room(place):
    try:
        return _fetched(place, REPO, OTHER, max_size=30_000)
    except CacheFullError as error:
        return f"{error} {error.hint}"


# What is not in the table
BESIDE = {
    "a rush": Operation(_rush),
    "a directory in the making": Operation(_in_the_making),
    "a collection": Operation(lambda place: _yes(place.cache(clock=Earlier()).gc() is not None)),
    "no room": Operation(_no_room),
}
MOVES = frozenset(["`update`", "`fetch --force`"])  # the hub has another commit by then


def fill(hub):
    """What a hub has."""
    move(hub, BODY)
    hub.add_repo(TWIN, {FILE: BODY})
    hub.add_repo(GATED, {FILE: BODY}, gated=True)
    hub.add_repo(MANY, {f"{number}/{FILE}": pattern(5000, seed=number) for number in range(12)})
    hub.add_repo(FOREIGN, {FILE: pattern(20_000, seed=1)})


def move(hub, body):
    """The repo with these bytes in one of its files."""
    hub.add_repo(REPO, {FILE: body, OTHER: BODY[::-1]})


def foreign(hub, beside):
    """A Hugging Face cache with one file of a repo."""
    data, commit = pattern(20_000, seed=1), hub.store.find("model", FOREIGN).refs["main"]
    top = Path(beside, "hub", "models--owner--foreign")
    link, blob = top / "snapshots" / commit / FILE, top / "blobs" / hashlib.sha256(data).hexdigest()
    for directory in (top / "refs", link.parent, blob.parent):
        directory.mkdir(parents=True)
    (top / "refs" / "main").write_text(commit)
    blob.write_bytes(data)
    link.symlink_to(os.path.relpath(blob, link.parent))


# A process that has become a user

_LOADED_LATE = (
    "concurrent.futures.thread",
    "difflib",
    "encodings.idna",
    "resource",
    "shlex",
    "sqlite_utils.migrations",
)
_ELSEWHERE = frozenset(
    ["__main__", "plugin", "contrib", "http2", "emscripten", "android", "windows", "macos", "_winconsole", "_windows"]
)


class Somebody:
    """A process of one user, which does what it is told: one line of JSON in, one out.

    Args:
        environ: Of the process.
    """

    def __init__(self, environ, uid, groups):
        self._said = tempfile.TemporaryFile("w+")  # noqa: SIM115 - until `end`; a pipe would fill
        self._process = subprocess.Popen(
            [sys.executable, __file__, str(uid), *map(str, groups)],
            env={**environ, "PYTHONPATH": str(Path(__file__).parent)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._said,
            text=True,
        )

    def do(self, operation, part, place):
        """What came of it."""
        self._process.stdin.write(json.dumps([operation, part, *place]) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        assert answer, self.end()
        return json.loads(answer)

    def end(self):
        """Let it go; what it said beside its answers."""
        assert self._process.communicate()[0] == ""
        with self._said:
            self._said.seek(0)
            return self._said.read()


def _become(uid, groups):
    """Everything is loaded first: as that user the interpreter's own files may be closed."""
    for name in _LOADED_LATE:
        importlib.import_module(name)
    for name in ("model_cache", "click", "filelock", "requests", "urllib3", "platformdirs"):
        found = importlib.import_module(name)
        for module in pkgutil.walk_packages(found.__path__, f"{name}."):
            if not _ELSEWHERE.intersection(module.name.split(".")):
                importlib.import_module(module.name)
    os.setgroups(groups)
    os.setgid(uid)
    os.setuid(uid)
    os.umask(0o077)


def _answer(operation, part, place):
    try:
        return getattr({**OPERATIONS, **BESIDE}[operation], part)(place)
    except ModelCacheError as error:
        assert place.root in str(error) or "gated" in str(error) or part == "prepare", repr(error)
        return "no"


if __name__ == "__main__":
    _become(int(sys.argv[1]), list(map(int, sys.argv[2:])))
    answers, sys.stdout = sys.stdout, sys.stderr  # where commands talk
    for line in sys.stdin:
        name, what, *where = json.loads(line)
        answers.write(json.dumps(_answer(name, what, Place(*where))) + "\n")
        answers.flush()
