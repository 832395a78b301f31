"""Lower roots: read-only roots that are looked at before the Hub, and never written."""

import json
import logging
import os
import shutil
import subprocess
import sys

import pytest
from support import FILE, REPO, finish, pattern

from model_cache import (
    CacheFullError,
    IntegrityError,
    ModelCache,
    OfflineMissError,
    SettingError,
)
from model_cache.listings import Listing
from model_cache.tiers import deciding, may_answer

FILES = {"config.json": b'{"a": 1}', "onnx/model.onnx": pattern(300_000, 2), FILE: pattern(2_000_000, 3)}
AS_NOBODY = ["setpriv", "--bounding-set=-dac_override,-dac_read_search,-fowner"]


def pictured(directory):
    """Everything below a directory as it stands: names, inodes, sizes, modes, links, times of change, bytes."""
    found = {}
    for path in sorted(directory.rglob("*")):
        status = path.lstat()
        what = path.read_bytes() if path.is_file() else b""
        # SQLite, run by root, gives a journal its owner again whenever it looks at one: that changes a time and no more.
        changed = 0 if path.name == "index.db-journal" else status.st_ctime_ns
        found[str(path)] = (status.st_ino, status.st_mode, status.st_nlink, status.st_mtime_ns, changed, what)
    return found


@pytest.fixture
def below(tmp_path):
    """Where the lower root is."""
    return tmp_path / "layer"


@pytest.fixture
def layer(hub, below):
    """A cache that fills the lower root."""
    hub.add_repo(REPO, FILES)
    return ModelCache(below, endpoint=hub.url, token=False)


@pytest.fixture
def cache(root, hub, below):
    """A cache above the lower root."""
    return ModelCache(root, endpoint=hub.url, token=False, lower=[below])


def damage_below(layer):
    """Rot in the lower root's largest file, which verify marks."""
    path = layer.path(REPO, FILE)
    before = path.stat()
    with path.open("r+b") as file:
        file.write(b"rot")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert len(layer.verify(max_age=0).corrupt) == 1


# One file


def test_a_file_in_a_lower_root_is_a_hit_there(cache, layer, hub, root, below):
    """Its path below is handed out: no request, no copy, no root made above, nothing changed below."""
    layer.fetch(REPO, FILE)
    before = pictured(below)
    hub.reset()
    assert cache.is_cached(REPO, FILE)
    assert cache.fetch(REPO, FILE) == below / REPO / FILE == cache.fetch(REPO, FILE, offline=True)
    assert cache.path(REPO, FILE) == root / REPO / FILE
    with cache.open(REPO, FILE) as file:
        assert file.read() == FILES[FILE]
    assert hub.requests == [] and not root.exists()
    assert pictured(below) == before


def test_what_is_in_no_root_is_downloaded_into_the_upper_one(cache, layer, hub, root, below):
    """A miss is a miss: its file stands above, and the lower root is as it was."""
    layer.fetch(REPO, "config.json")
    before = pictured(below)
    assert cache.fetch(REPO, FILE) == root / REPO / FILE
    assert pictured(below) == before


def test_the_upper_root_comes_first_and_then_the_lower_ones_in_their_order(root, hub, tmp_path):
    """Of several files of one name the first root's is handed out."""
    roots = [tmp_path / name for name in ("a", "b")]
    for place in roots:
        (place / REPO).mkdir(parents=True)
        (place / REPO / FILE).write_text(place.name)
    (roots[1] / REPO / "second").write_text("b")
    cache = ModelCache(root, offline=True, lower=roots)
    assert [cache.fetch(REPO, name).read_text() for name in (FILE, "second")] == ["a", "b"]
    (root / REPO).mkdir(parents=True)
    (root / REPO / FILE).write_text("upper")
    assert ModelCache(root, offline=True, lower=roots).fetch(REPO, FILE).read_text() == "upper"


def test_a_file_placed_by_hand_in_a_lower_root_is_a_hit(root, below):
    """It needs no index there, and none is made."""
    (below / REPO).mkdir(parents=True)
    (below / REPO / FILE).write_bytes(b"placed")
    assert ModelCache(root, offline=True, lower=below).fetch(REPO, FILE).read_bytes() == b"placed"
    assert os.listdir(below) == [REPO.split("/")[0]]


def test_a_lease_on_a_file_below_keeps_it_there(cache, layer):
    """Who may write the lower root cannot evict, remove or replace what is leased from above (I3)."""
    layer.fetch(REPO, FILE)
    with cache.lease(REPO, FILE) as path:
        report = layer.remove(REPO, FILE)
        assert [one.reason for one in report.in_use] == ["leased"] and path.exists()


def test_force_brings_a_new_file_into_the_upper_root(cache, layer, root, below):
    """From then on it is the one that is handed out; the one below is as it was."""
    layer.fetch(REPO, FILE)
    before = pictured(below)
    assert cache.fetch(REPO, FILE, force=True) == root / REPO / FILE == cache.fetch(REPO, FILE)
    assert pictured(below) == before


def test_a_file_beside_those_of_a_lower_root_comes_from_their_commit(cache, layer, hub):
    """Weights and tokenizer match, though one is below and the repo has moved since."""
    layer.fetch(REPO, "config.json")
    hub.add_repo(REPO, {name: data + b"moved" for name, data in FILES.items()})
    assert cache.fetch(REPO, FILE).read_bytes() == FILES[FILE]


def test_damage_that_is_known_below_is_not_handed_out(cache, layer, hub, root, below):
    """A file with a damage mark in its lower root is a miss there: the right bytes come into the upper one."""
    layer.fetch(REPO, FILE)
    damage_below(layer)
    before = pictured(below)
    assert not cache.is_cached(REPO, FILE)
    assert cache.fetch(REPO, FILE) == root / REPO / FILE
    assert cache.path(REPO, FILE).read_bytes() == FILES[FILE]
    assert pictured(below) == before


def test_a_lower_root_that_goes_away_is_a_miss_from_then_on(cache, layer, root, below):
    """What was handed out from it a moment ago is not handed out again, but downloaded."""
    layer.fetch(REPO, FILE)
    assert cache.fetch(REPO, FILE) == below / REPO / FILE
    shutil.rmtree(below)
    assert cache.fetch(REPO, FILE) == root / REPO / FILE


def test_a_repeated_hit_below_is_one_stat(layer, spawn, tmp_path):
    """A warm hit in a lower root costs what one in the root itself costs (I9)."""
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed")
    path, out = layer.fetch(REPO, FILE), tmp_path / "calls"
    hit = f'cache.fetch("{REPO}", "{FILE}")'
    code = f'{hit}\nos.path.exists("/begin")\nfor _ in range(5): {hit}\nos.path.exists("/end")'
    finish(spawn(code, tracer=f"strace -f -qq -o {out}", settings={"lower": str(layer.root)}))
    lines = out.read_text().splitlines()
    first, last = (next(n for n, line in enumerate(lines) if f'"/{mark}"' in line) for mark in ("begin", "end"))
    calls = [
        line for line in lines[first + 1 : last] if not any(f" {name}(" in line for name in ("brk", "mmap", "munmap"))
    ]
    assert len(calls) == 5 and all("stat" in line and f'"{path}"' in line for line in calls)


def test_a_hit_below_loads_neither_sql_nor_http(layer, spawn):
    """Neither one file nor a whole repo that a lower root has (I9)."""
    layer.fetch_repo(REPO)
    code = f"""
    cache.fetch("{REPO}", "{FILE}"), cache.fetch_repo("{REPO}"), cache.lease("{REPO}", "{FILE}").release()
    print(sorted({{"filelock", "requests", "sqlite3", "sqlite_utils", "asyncio", "logging"}} & set(sys.modules)))
    """
    assert finish(spawn(code, settings={"lower": [str(layer.root)]})) == "[]"


# Lower roots that are none


@pytest.mark.parametrize("kind", ["absent", "a file", "the root itself", "a symlink to the root", "unreadable"])
def test_a_lower_root_that_cannot_be_used_breaks_nothing(kind, hub, root, tmp_path, caplog, environ):
    """An absent or odd one is said once in the log and passed over; the root itself is none."""
    hub.add_repo(REPO, FILES)
    place = tmp_path / "odd"
    if kind == "a file":
        place.write_text("no directory")
    elif kind == "the root itself":
        place = root
    elif kind == "a symlink to the root":
        place.symlink_to(root)
    elif kind == "unreadable":
        _unreadable(hub, root, place, environ)
        return
    cache = ModelCache(root, endpoint=hub.url, token=False, lower=[place])
    with caplog.at_level(logging.WARNING, "model_cache"):
        for name in FILES:
            assert cache.fetch(REPO, name) == root / REPO / name
    said = [record for record in caplog.records if "lower root" in record.getMessage()]
    assert len(said) == (1 if kind in ("absent", "a file") else 0)


def _unreadable(hub, root, place, environ):
    """As a user who may not search it; root would be refused nothing."""
    if shutil.which("setpriv") is None or subprocess.run([*AS_NOBODY, "true"], capture_output=True).returncode:
        pytest.skip("capabilities cannot be dropped here")
    (place / REPO).mkdir(parents=True)
    (place / REPO / FILE).write_bytes(b"nobody may read it")
    place.chmod(0)
    code = (
        "import logging, sys; logging.basicConfig(); from model_cache import ModelCache;"
        f"cache = ModelCache(sys.argv[1], endpoint=sys.argv[2], token=False, lower=sys.argv[3]);"
        f"print(cache.fetch({REPO!r}, {FILE!r}), cache.is_cached({REPO!r}, 'other'))"
    )
    words = [*AS_NOBODY, sys.executable, "-c", code, str(root), hub.url, str(place)]
    done = subprocess.run(words, env=environ, capture_output=True, text=True)
    place.chmod(0o700)
    assert done.stdout.split() == [str(root / REPO / FILE), "False"]
    assert done.stderr.count("WARNING") == 1 and "lower root" in done.stderr


@pytest.mark.parametrize("value", ["models", ["/srv/a", "b"], [3], 3, ["/a\0b"]])
def test_lower_roots_are_absolute_paths(root, value):
    """What is none is refused, and named."""
    with pytest.raises(SettingError, match="lower: expected"):
        ModelCache(root, lower=value)


def test_lower_roots_come_from_the_argument_the_environment_or_the_policy_file(root, monkeypatch):
    """In that order; in the environment with the system's separator, where empty parts are none."""
    (root / ".model-cache").mkdir(parents=True)
    (root / ".model-cache" / "config.toml").write_text('lower = ["/srv/policy", "/srv/other"]\n')
    assert ModelCache(root)._ctx.settings.lower == ("/srv/policy", "/srv/other")
    monkeypatch.setenv("MODEL_CACHE_LOWER", os.pathsep.join(["/srv/a", "", "/srv/b/", "/srv/a"]))
    assert ModelCache(root)._ctx.settings.lower == ("/srv/a", "/srv/b")
    assert ModelCache(root, lower="/srv/c")._ctx.settings.lower == ("/srv/c",)
    assert ModelCache(root, lower=[])._ctx.settings.lower == ()


# What changes a cache leaves lower roots alone


def test_nothing_that_removes_or_checks_touches_a_lower_root(cache, layer, below):
    """`gc`, `verify`, `reconcile`, `update` and `remove` of another file leave it as it was, to the last time of change."""
    layer.fetch_repo(REPO)
    cache.fetch(REPO, "config.json", force=True)
    before = pictured(below)
    cache.gc(max_size=0)
    cache.verify(repair=True)
    cache.reconcile()
    cache.reconcile(rebuild=True)
    cache.update()
    cache.remove(REPO, "config.json", force=True)
    assert pictured(below) == before


@pytest.mark.parametrize("name", ["remove", "pin", "update"])
def test_what_is_done_by_name_to_a_file_below_says_where_it_is(cache, layer, below, name):
    """The lower root is named, and how it is looked at where it may be written; nothing is changed."""
    layer.fetch(REPO, FILE)
    before = pictured(below)
    for names in ((FILE,), ()):
        with pytest.raises(OfflineMissError, match=f"in the lower root {below}, which is only read") as caught:
            getattr(cache, name)(REPO, *names)
        assert f"--root {below}" in caught.value.hint
    assert pictured(below) == before


def test_an_index_of_an_older_version_below_is_not_migrated(root, layer, below):
    """An index that only a writer could bring up to date is left as it is; the files are hits all the same."""
    from contextlib import closing
    from sqlite3 import connect

    layer.fetch(REPO, FILE)
    with closing(connect(below / ".model-cache" / "index.db")) as index:
        index.execute("PRAGMA user_version = 1")
        index.execute("ALTER TABLE entries DROP COLUMN seal")
        index.commit()
    before = pictured(below)
    cache = ModelCache(root, offline=True, lower=[below])
    assert cache.fetch(REPO, FILE) == below / REPO / FILE
    assert pictured(below) == before


# Whole repos


def test_a_repo_that_is_whole_below_is_handed_out_from_there(cache, layer, hub, root, below):
    """Its directory in the lower root, without a request, offline too, and for a part of it by patterns."""
    layer.fetch_repo(REPO)
    before = pictured(below)
    hub.reset()
    assert cache.fetch_repo(REPO) == below / REPO == cache.fetch_repo(REPO, offline=True)
    assert cache.fetch_repo(REPO, include="*.json") == below / REPO
    assert hub.requests == [] and not root.exists()
    assert pictured(below) == before


def test_a_part_that_is_below_is_copied_and_the_rest_downloaded(cache, layer, hub, root, below):
    """The directory is one, of real files, from the commit of the lower root; what is there is not downloaded again."""
    layer.fetch_repo(REPO)
    layer.remove(REPO, "onnx/model.onnx")
    hub.add_repo(REPO, {name: data + b"moved" for name, data in FILES.items()})
    before = pictured(below)
    hub.reset()
    assert cache.fetch_repo(REPO) == root / REPO
    assert {name: (root / REPO / name).read_bytes() for name in FILES} == FILES
    assert [record.filename for record in hub.requests if record.kind == "body"] == ["onnx/model.onnx"]
    assert {row.filename: row.origin for row in cache.entries()}[FILE] == "copy"
    assert pictured(below) == before
    assert cache.verify(max_age=0).exit_code(strict=True) == 0


def test_two_halves_in_two_lower_roots_make_a_whole_offline(layer, hub, root, below, tmp_path):
    """What any lower root has is copied; nobody is asked."""
    layer.fetch_repo(REPO)
    other = tmp_path / "other"
    (other / REPO).mkdir(parents=True)
    os.replace(below / REPO / FILE, other / REPO / FILE)
    hub.reset()
    cache = ModelCache(root, endpoint=hub.url, offline=True, lower=[below, other])
    assert cache.fetch_repo(REPO) == root / REPO
    assert {name: (root / REPO / name).read_bytes() for name in FILES} == FILES
    assert hub.requests == []


@pytest.mark.parametrize("offline", [False, True])
def test_a_copy_of_other_bytes_than_were_promised_is_not_published(offline, layer, hub, root, below):
    """Who edited a file below has it downloaded above; offline that is an error, and nothing stands above."""
    layer.fetch_repo(REPO)
    layer.remove(REPO, "onnx/model.onnx")
    (below / REPO / "onnx").mkdir(exist_ok=True)
    (below / REPO / "onnx/model.onnx").write_bytes(FILES["onnx/model.onnx"])
    (below / REPO / FILE).write_bytes(pattern(len(FILES[FILE]), 9))
    (below / ".model-cache" / "damaged").mkdir(exist_ok=True)
    hub.reset()
    cache = ModelCache(root, endpoint=hub.url, token=False, offline=offline, lower=[below])
    (root / REPO).mkdir(parents=True)
    (root / REPO / "config.json").write_bytes(FILES["config.json"])
    os.unlink(below / REPO / "config.json")
    if offline:
        with pytest.raises(IntegrityError):
            cache.fetch_repo(REPO)
        assert not (root / REPO / FILE).exists() and not list((root / ".model-cache" / "partial").iterdir())
    else:
        assert cache.fetch_repo(REPO) == root / REPO
        assert (root / REPO / FILE).read_bytes() == FILES[FILE]
    assert hub.body_gets() == (0 if offline else 1)


def test_a_repo_that_is_at_another_commit_here_is_not_had_from_below(cache, layer, hub, root, below):
    """Where this root knows the repo's commit, a lower one at another commit is no substitute: nothing goes back."""
    layer.fetch_repo(REPO)
    hub.add_repo(REPO, {name: data + b"moved" for name, data in FILES.items()})
    assert cache.fetch_repo(REPO, force=True) == root / REPO
    (root / REPO / FILE).unlink()
    assert cache.fetch_repo(REPO) == root / REPO
    assert (root / REPO / FILE).read_bytes() == FILES[FILE] + b"moved"


def test_what_is_copied_counts_against_the_budget(layer, hub, root, below):
    """A copy from below needs room as a download does (I4)."""
    layer.fetch_repo(REPO)
    layer.remove(REPO, "config.json")
    cache = ModelCache(root, endpoint=hub.url, token=False, lower=[below], max_size="1MB")
    with pytest.raises(CacheFullError):
        cache.fetch_repo(REPO)
    assert cache.usage().all <= 1_000_000


def test_a_killed_copy_is_begun_anew(layer, hub, root, below, spawn):
    """Who dies in the middle leaves nothing that the next one could take for the file (I10)."""
    layer.fetch_repo(REPO)
    layer.remove(REPO, "config.json")
    code = f"""
    def die(step):
        if step == "verify:hash":
            os.kill(os.getpid(), 9)
    settings = {{"endpoint": arguments["endpoint"], "lower": arguments["lower"], "step": die}}
    ModelCache(arguments["root"], **settings).fetch_repo("{REPO}", workers=1)
    """
    assert spawn(code, lower=str(below)).wait(120) == -9
    assert ModelCache(root, endpoint=hub.url, token=False, lower=[below]).fetch_repo(REPO) == root / REPO
    assert {name: (root / REPO / name).read_bytes() for name in FILES} == FILES
    assert hub.body_gets(FILE) == 1


# Roots that really cannot be written


def test_both_roots_may_be_unwritable(layer, hub, root, below, environ):
    """A user who may write neither root has hits in both, leases on both, and a miss that says why."""
    if shutil.which("setpriv") is None or subprocess.run([*AS_NOBODY, "true"], capture_output=True).returncode:
        pytest.skip("capabilities cannot be dropped here")
    layer.fetch_repo(REPO)
    upper = ModelCache(root, endpoint=hub.url, token=False, lower=[below])
    upper.fetch(REPO, FILE, force=True)
    code = f"""if True:
    import sys
    from model_cache import ModelCache, OfflineMissError
    cache = ModelCache(sys.argv[1], endpoint=sys.argv[2], token=False, lower=sys.argv[3], read_only=sys.argv[4] == "1")
    print(cache.fetch("{REPO}", "{FILE}"), cache.fetch("{REPO}", "config.json"))
    with cache.lease("{REPO}", "config.json") as one, cache.lease("{REPO}", "{FILE}") as other:
        print(one, other)
    print(cache.fetch_repo("{REPO}"), cache.is_cached("{REPO}", "absent"))
    try:
        cache.fetch("{REPO}", "absent")
    except OfflineMissError as error:
        print(error.reason)
    """
    places = [path for base in (root, below) for path in (base, *base.rglob("*"))]
    modes = {path: path.stat().st_mode for path in places}
    for path in places:
        path.chmod(modes[path] & ~0o222)
    before = pictured(below)
    try:
        for read_only in "10":
            words = [*AS_NOBODY, sys.executable, "-c", code, str(root), hub.url, str(below), read_only]
            done = subprocess.run(words, env=environ, capture_output=True, text=True)
            up, down = root / REPO / FILE, below / REPO / "config.json"
            lines = done.stdout.splitlines()
            assert lines[:3] == [f"{up} {down}", f"{down} {up}", f"{below / REPO} False"], done.stderr
            assert "MODEL_CACHE_READ_ONLY" in lines[3] if read_only == "1" else "denied" in lines[3]
        assert pictured(below) == before
    finally:
        for path in places:
            path.chmod(modes[path])


# Lock files


def test_a_lock_file_is_satisfied_by_what_is_below(cache, layer, hub, root, below, tmp_path):
    """Nothing is copied or asked: the index below has the hashes; the whole is ready, and verified against the lock."""
    lockfile = tmp_path / "models.lock"
    layer.lock(REPO, output=lockfile)
    layer.fetch_repo(REPO)
    hub.reset()
    report = cache.sync(lockfile, offline=True)
    assert {outcome.found.text for _, outcome in report.files} == {str(below / REPO / name) for name in FILES}
    assert {outcome.source for _, outcome in report.files} == {"hit"}
    assert cache.verify_lock(lockfile).exit_code() == 0
    assert hub.requests == []


def test_other_bytes_below_are_covered_by_the_right_ones_above(cache, layer, hub, root, below, tmp_path):
    """`sync` leaves the lower root alone and has the lock file's bytes where they are found first."""
    lockfile = tmp_path / "models.lock"
    layer.lock(REPO, output=lockfile)
    layer.fetch_repo(REPO)
    (below / REPO / FILE).write_bytes(pattern(len(FILES[FILE]), 7))
    before = pictured(below)
    report = cache.sync(lockfile)
    assert {outcome.found.text for file, outcome in report.files if file.entry.filename == FILE} == {
        str(root / REPO / FILE)
    }
    assert cache.fetch(REPO, FILE).read_bytes() == FILES[FILE]
    assert report.replaced == [] and pictured(below) == before


# The command


def run(environ, *words, **more):
    """The command's exit code, and what it printed."""
    done = subprocess.run(
        [sys.executable, "-m", "model_cache", *words], env=environ | more, capture_output=True, text=True
    )
    return done.returncode, done.stdout, done.stderr


def test_the_command_sees_lower_roots_by_the_environment_and_the_policy(layer, hub, root, below, environ, tmp_path):
    """`fetch`, `cached`, `ls`, `status`, `status --require`, `doctor` and `rm` say what is below."""
    lockfile = tmp_path / "models.lock"
    layer.lock(REPO, output=lockfile)
    layer.fetch_repo(REPO)
    environ |= {"MODEL_CACHE_DIR": str(root), "MODEL_CACHE_OFFLINE": "1"}
    assert run(environ, "config", f"lower={below}")[0] == 0
    assert run(environ, "config", "lower")[1] == f"{below}\n"
    for extra in ({}, {"MODEL_CACHE_LOWER": str(below)}):
        assert run(environ, "fetch", REPO, FILE, **extra)[:2] == (0, f"{below / REPO / FILE}\n")
    assert run(environ, "fetch", REPO)[:2] == (0, f"{below / REPO}\n")
    described = json.loads(run(environ, "fetch", "--json", REPO)[1])
    assert described["path"] == str(below / REPO) and {file["source"] for file in described["files"]} == {"hit"}
    assert all(file["sha256"] for file in described["files"])
    assert run(environ, "cached", REPO, FILE)[0] == 0
    assert run(environ, "sync", "-q", str(lockfile))[1].split() == [str(below / REPO / name) for name in sorted(FILES)]
    assert run(environ, "status", "--require", str(lockfile))[0] == 0
    listed = json.loads(run(environ, "ls", "--json")[1])["entries"]
    assert {one["path"]: one["lower"] for one in listed} == {str(below / REPO / name): str(below) for name in FILES}
    assert [one["complete"] for one in json.loads(run(environ, "ls", "--repos", "--json")[1])["repos"]] == [True]
    assert f"in {below}" in run(environ, "ls")[1]
    (lower,) = json.loads(run(environ, "status", "--json")[1])["lower"]
    assert (lower["root"], lower["state"], lower["entries"]) == (str(below), "ok", len(FILES))
    assert f"lower        {below}: 3 files" in run(environ, "status")[1]
    code, _, err = run(environ, "rm", "--yes", REPO, FILE)
    assert code == 10 and "which is only read" in err
    checks = {(check["name"], check["status"]) for check in json.loads(run(environ, "doctor", "--json")[1])["checks"]}
    assert ("lower", "ok") in checks


@pytest.mark.parametrize("kind", ["absent", "the root itself", "newer"])
def test_doctor_and_status_say_what_is_wrong_with_a_lower_root(kind, layer, root, below, environ):
    """One that is not there, that is the root, or whose index is another version's is a warning, with what follows."""
    layer.fetch(REPO, FILE)
    ModelCache(root).reconcile()
    if kind == "absent":
        shutil.rmtree(below)
    elif kind == "newer":
        from contextlib import closing
        from sqlite3 import connect

        with closing(connect(below / ".model-cache" / "index.db")) as index:
            index.execute("PRAGMA user_version = 99")
    place = root if kind == "the root itself" else below
    environ |= {"MODEL_CACHE_DIR": str(root), "MODEL_CACHE_LOWER": str(place)}
    code, out, _ = run(environ, "doctor", "--json")
    (check,) = [check for check in json.loads(out)["checks"] if check["name"] == "lower"]
    words = {"absent": "is not there", "the root itself": "is the root itself", "newer": "newer model-cache"}
    assert (code, check["status"]) == (0, "warn") and words[kind] in check["detail"]
    code, out, _ = run(environ, "status")
    told = {"absent": "not there", "the root itself": None, "newer": "no index that can be read"}[kind]
    assert code == 0 and ("lower " in out) == (told is not None) and (told or "") in out
    code, _, err = run(environ, "ls")
    assert code == 0 and ("cannot be listed" in err) == (kind == "newer")


# Decisions


def test_a_lower_root_answers_for_a_whole_repo_only_at_the_commit_that_is_known():
    """Not while either moves, and not at another commit."""
    at_a, at_b, moving = Listing("a" * 40, []), Listing("b" * 40, []), Listing("a" * 40, [], moving=True)
    assert [may_answer(own, at_a) for own in (None, at_a, at_b, moving)] == [True, True, False, False]
    assert [may_answer(None, below) for below in (None, moving)] == [False, False]


@pytest.mark.parametrize(
    ("reasons", "found"),
    [
        (["", "missing"], ""),
        (["missing", ""], ""),
        (["damaged", "missing"], "damaged"),
        (["missing", "missing"], "missing"),
        (["missing", "other size", ""], "other size"),
        (["other size", ""], "other size"),
    ],
)
def test_the_first_root_that_has_a_file_decides_whether_it_is_right(reasons, found):
    """What is further down does not help where a wrong one would be handed out."""
    assert deciding(iter(reasons)) == found
