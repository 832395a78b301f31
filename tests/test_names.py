"""Every entrance that takes a name, and three thousand hostile ones: a clear refusal or a harmless end, and nothing outside."""

import json
import os
import re
import sys
from contextlib import contextmanager, suppress
from itertools import product

import pytest
from hostile_names import KINDS, names, some
from hypothesis import given
from hypothesis import strategies as st
from neighbour_equipment import outside
from support import FILE, REPO, Later
from test_fuzz import TEXT, many

import model_cache
from model_cache import InvalidNameError, LockFileError, ModelCache, ModelCacheError, SettingError
from model_cache.cli import run
from model_cache.index import rows
from model_cache.layout import Entry, Snapshot, check_filename, readings
from model_cache.lockfile import format as lock_format
from model_cache.selection import select
from model_cache.testing import LoopbackHub

SHA256 = f'sha256 = "{"a" * 64}"'
COMMIT = "c0ffee" * 6 + "cafe"
CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")
ANY = TEXT | st.sampled_from(names())
CHANGES = frozenset(
    f"os.{name}"
    for name in ("mkdir", "rename", "remove", "rmdir", "link", "symlink", "chmod", "chown", "truncate", "utime")
)
LOOKS = frozenset(["open", "os.listdir", "os.scandir", "sqlite3.connect"])


class Audit:
    """What this process opens, lists, makes, moves and removes by a path, as Python itself tells (PEP 578)."""

    def __init__(self):
        self.paths, self.on = [], False
        sys.addaudithook(self._hear)  # for good: a hook cannot be taken away

    def _hear(self, event, arguments):
        if self.on and (event in CHANGES or event in LOOKS):
            self.paths += [os.fsdecode(one) for one in arguments[:2] if isinstance(one, str | bytes)]

    @contextmanager
    def only_within(self, *places):
        """For the block: every path is below one of these, Python's own, or one part of a path in an open directory."""
        self.paths, self.on = [], True
        try:
            yield
        finally:
            self.on = False
        ours = (
            *map(str, places),
            sys.prefix,
            sys.base_prefix,
            os.path.dirname(model_cache.__file__),
            "/proc/self/fd/",
            "/proc/mounts",
        )
        for path in (heard.removeprefix("file:").partition("?")[0] for heard in self.paths):
            inside = path in ("r", "rb", ".", "/dev/null", *places) or os.path.normpath(path).startswith(ours)
            assert inside or ("/" not in path and path not in ("", "..")), path


AUDIT = Audit()


@pytest.fixture(scope="module")
def own_hub():
    """One hub for all names."""
    with LoopbackHub() as hub:
        hub.add_repo(REPO, {FILE: b"x"})
        yield hub


@pytest.fixture(scope="module")
def site(own_hub, tmp_path_factory):
    """A cache with one file, somebody's own beside it, and the working directory in the middle of that."""
    folder = tmp_path_factory.mktemp("names")
    cache = ModelCache(folder / "root", endpoint=own_hub.url, token=False, clock=Later(), lock_timeout=1)
    cache.fetch(REPO, FILE)
    before = os.getcwd()
    with outside(folder / "outside") as away:
        os.chdir(away.directory)  # a name that is taken for a path would be one here
        try:
            away.forget()
            yield cache, away
        finally:
            os.chdir(before)
            cache._ctx.close()


def test_there_are_enough_of_them():
    """At least 2,000, of every kind, and none twice."""
    everything = names()
    assert len(everything) == len({*everything}) > 2000
    assert all(one in everything for kind in KINDS.values() for one in kind)


def is_one_line(text):
    """Whether nothing in it ends a line, steers a terminal or turns the direction of writing."""
    return not CONTROL.search(text)


def refused(error):
    """A refusal is one printable line, whatever the name."""
    assert str(error).isprintable() and len(str(error)) < 500 and error.exit_code == 2


def test_every_name_is_refused_or_leads_below_the_root():
    """As a repo, a filename and a revision, and read back from a path: below the root, and outside of the cache's own."""
    for name in names():
        for asked in ((name, "x", "main"), (REPO, name, "main"), (REPO, "x", name), (REPO, "x", "main", name)):
            try:
                path = Entry(*asked).path("/root")
            except InvalidNameError as error:
                refused(error)
                continue
            assert os.path.normpath(path) == path and path.startswith("/root/"), asked
            assert not {".model-cache", ".."} & {*path.lower().split("/")}, asked
            assert path == os.fsdecode(os.fsencode(path)) and is_one_line(path)
        for entry in readings(name):
            assert entry.relative == name


CALLS = {
    "fetch": lambda cache, *name: cache.fetch(*name, offline=True),
    "is_cached": lambda cache, *name: cache.is_cached(*name),
    "path": lambda cache, *name: cache.path(*name),
    "lease": lambda cache, *name: cache.lease(*name).release(),
    "remove": lambda cache, *name: cache.remove(*name),
    "pin": lambda cache, *name: cache.pin(*name),
}


def called(cache, operation, *asked):
    """Call it; what it raises has to be of the family."""
    try:
        operation(cache, *asked)
    except ModelCacheError as error:
        assert is_one_line(str(error))


def test_no_call_of_the_api_goes_anywhere_with_a_name(site):
    """Every method that takes a name, in each of its places: nothing is opened, listed or changed outside of the root."""
    cache, away = site
    cache = ModelCache(cache.root, endpoint="http://127.0.0.1:9", token=False, offline=True, clock=Later())
    with AUDIT.only_within(cache.root):
        for name in names():
            for operation in (CALLS["fetch"], CALLS["is_cached"], CALLS["path"]):
                called(cache, operation, name, FILE)
                called(cache, operation, REPO, name)
        for name in some(150):
            for operation in CALLS.values():
                called(cache, operation, name, name)
                called(cache, operation, REPO, name)
            called(cache, lambda cache, name: cache.fetch_repo(REPO, include=name, revision=name), name)
            called(cache, lambda cache, name: cache.fetch_repo(name), name)
            called(cache, lambda cache, name: cache.remove(name, force=True), name)
    cache._ctx.close()
    assert away.happened() == []


def commands(name):
    """What a script does with a name that it was given; `--` or not, as it comes."""
    return (
        ["path", name, FILE], ["path", REPO, name], ["cached", REPO, name], ["fetch", "--offline", REPO, name],
        ["fetch", "--offline", REPO, "--revision", name], ["rm", "--yes", REPO, name], ["pin", "--", name, name],
        ["fetch", "--offline", REPO, "--include", name], ["ls", name], ["verify", name], ["update", "--", name],
    )  # fmt: skip


def test_no_command_goes_anywhere_with_a_name(site, monkeypatch, capsys):
    """Each command ends with one of its exit codes and at most two lines, whatever name it is given."""
    cache, away = site
    monkeypatch.setenv("MODEL_CACHE_DIR", str(cache.root))
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("MODEL_CACHE_OFFLINE", "1")
    monkeypatch.setenv("HF_TOKEN_PATH", str(away.folder.parent / "none"))
    with AUDIT.only_within(cache.root, away.folder.parent / "none", "/etc", "/usr", "/dev/tty"):
        for number, name in enumerate(some(400)):
            asked = commands(name)
            with suppress(SystemExit):
                code = run(asked[number % len(asked)])
                assert code in (0, 1, 2, 10, 11), asked
            text = capsys.readouterr().err
            assert "unexpected" not in text and "Traceback" not in text, (asked, text)
    assert away.happened() == []


def locked(name, place):
    """The text of a lock file with a name in one of its places."""
    value = {"repo": REPO, "revision": "main", "path": FILE, "repo_type": "model", place: name}
    quoted = {key: json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f") for key, text in value.items()}
    head = "".join(f"{key} = {quoted[key]}\n" for key in ("repo", "repo_type", "revision"))
    return f'version = 1\n[[repo]]\n{head}commit = "{COMMIT}"\nfiles = [\n{{path = {quoted["path"]}, size = 1, {SHA256}}},\n]\n'


def parsed(text):
    """What a lock file's text names, or None where it is refused."""
    try:
        return lock_format.parse(text, "models.lock")
    except LockFileError as error:
        assert str(error).isprintable() and error.exit_code == 2
        return None


def test_no_lock_file_goes_anywhere_with_a_name(site, tmp_path):
    """A name in any place of a lock file is refused, or is an entry below the root; `sync` of it touches nothing else."""
    cache, away = site
    assert parsed(locked(FILE, "path")) is not None
    for name, place in [*((name, "path") for name in names()), *product(some(300), ("repo", "revision", "repo_type"))]:
        for file in parsed(locked(name, place)) or ():
            assert os.path.normpath(f"/root/{file.entry.relative}").startswith("/root/")
    path = tmp_path / "models.lock"
    cache = ModelCache(cache.root, endpoint="http://127.0.0.1:9", token=False, offline=True, clock=Later())
    for name in some(100):
        path.write_text(locked(name, "path"), encoding="utf-8", errors="surrogatepass")
        with AUDIT.only_within(cache.root, tmp_path), suppress(ModelCacheError):
            cache.sync(path)
    cache._ctx.close()
    assert away.happened() == []


def test_no_listing_of_a_repo_goes_anywhere_with_a_name(site, own_hub, tmp_path):
    """A tree with hostile names is refused, or is fetched to below the root; the names beside them do no harm."""
    _, away = site
    for number, name in enumerate(some(120)):
        with suppress(UnicodeEncodeError):
            own_hub.add_repo("evil/tree", {"good.bin": b"x", name: b"y"})
            cache = ModelCache(tmp_path / str(number) / "root", endpoint=own_hub.url, token=False, clock=Later())
            try:
                with AUDIT.only_within(cache.root, cache.root.parent, "/etc"):
                    called(cache, lambda cache: cache.fetch_repo("evil/tree"))
            finally:
                cache._ctx.close()
            assert {*os.listdir(tmp_path)} <= {str(n) for n in range(number + 1)}
            assert not cache.root.exists() or os.listdir(cache.root.parent) == ["root"]
    assert away.happened() == []


def test_no_directory_of_another_cache_goes_anywhere_with_a_name(site, tmp_path):
    """Names of repos, revisions and files in a Hugging Face cache are taken over below the root, or skipped with a reason."""
    cache, away = site
    hub = tmp_path / "hub"
    for name in some(700):
        one = name.replace("/", "--")[:200]
        with suppress(OSError, ValueError, UnicodeEncodeError):
            blob = hub / f"models--{one}" / "blobs" / ("a" * 64)
            blob.parent.mkdir(parents=True)
            blob.write_bytes(b"x")
            files = hub / f"models--{one}" / "snapshots" / COMMIT
            files.mkdir(parents=True)
            (files / one).symlink_to(f"../../blobs/{'a' * 64}")
    os.mkfifo(hub / "models--fifo--refs")
    (hub / "models--o--n" / "refs").mkdir(parents=True)
    os.mkfifo(hub / "models--o--n" / "refs" / "main")
    assert len(os.listdir(hub)) > 300
    with AUDIT.only_within(cache.root, hub):
        report = cache.import_hf(hub, dry_run=True)
    assert all(os.path.normpath(one.path).startswith(f"{cache.root}/") for one in report.imported)
    assert len(report.imported) + len(report.skipped) > 200
    assert away.happened() == []


def test_patterns_select_among_what_is_there_and_nothing_else(site):
    """Whatever the pattern: some of the paths that are there, or an error of the setting."""
    _, away = site
    for name in names():
        try:
            assert {*select([FILE, "a/b"], include=name, exclude=name, loose=True)} <= {FILE, "a/b"}
        except SettingError as error:
            assert str(error).isprintable() and error.exit_code == 2
    assert away.happened() == []


BLANK = dict.fromkeys(rows.Row._fields)


@many(60)
@given(ANY, ANY, ANY, st.sampled_from(["model", "dataset", "space"]) | ANY, ANY)
def test_any_text_at_any_entrance_is_a_name_or_a_clear_refusal(repo, filename, revision, repo_type, other):
    """Entries, snapshots, filenames of trees, rows of an index, lock files and patterns: no other exception, no path outside."""
    with suppress(InvalidNameError):
        assert Snapshot(repo, revision, repo_type).entry(filename).path("/root").startswith("/root/")
    with suppress(InvalidNameError):
        check_filename(other)
        assert os.path.normpath(f"/r/{other}").startswith("/r/")
    names_of = {"repo": repo, "filename": filename, "revision": revision, "repo_type": repo_type}
    row = rows.Row(**{**BLANK, **names_of, "path": other, "key": filename})
    assert row.entry() is None or row.entry().relative == other
    for place in ("path", "repo", "revision", "repo_type"):
        with suppress(UnicodeEncodeError):
            for file in parsed(locked(other, place).encode().decode()) or ():
                assert os.path.normpath(f"/root/{file.entry.relative}").startswith("/root/")
    parsed(other)
    with suppress(SettingError):
        assert {*select([filename], include=other, exclude=repo, loose=True)} <= {filename}


@many(120)
@given(
    st.lists(ANY, min_size=1, max_size=3),
    st.sampled_from(["path", "cached", "fetch", "rm", "pin", "ls", "verify", "update"]),
)
def test_any_words_for_the_command_end_with_an_exit_code(site, words, command):
    """No words make a traceback, and none reach anything outside of the root."""
    cache, away = site
    environ = {"MODEL_CACHE_DIR": str(cache.root), "HF_ENDPOINT": "http://127.0.0.1:9", "MODEL_CACHE_OFFLINE": "1"}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environ.items():
            patch.setenv(name, value)
        with suppress(SystemExit):
            assert run([command, *(re.sub("^-o|--root|--lock", "x", word) for word in words)]) in (0, 1, 2, 10, 11)
    assert away.happened() == []
