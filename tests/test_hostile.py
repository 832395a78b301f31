"""A root that others can write: what they plant there is refused, and neither hangs, leads out of it, nor steals."""

import json
import logging
import os

import pytest
from support import FILE, REPO, finish, pattern

from model_cache import IndexUnavailableError, InvalidNameError, ModelCache, ModelCacheError, SettingError, StorageError
from model_cache.context import Context
from model_cache.download import notes
from model_cache.index import queries
from model_cache.index.ledger import Ledger
from model_cache.layout import Entry
from model_cache.preparing import cannot_make, prepare
from model_cache.settings import Settings

BIG = pattern(2_000_000)
ENTRY = Entry(REPO, FILE)
SECRET = "hf_SECRETsecretSECRET"


def policy(root, text, mode=0o600):
    """Write a policy file of a mode."""
    own = root / ".model-cache"
    own.mkdir(parents=True, exist_ok=True)
    (own / "config.toml").write_text(text)
    (own / "config.toml").chmod(mode)


@pytest.fixture
def own(cache):
    """The cache's own directory, made."""
    prepare(cache._ctx)
    return cache._ctx.places


# The token


def sent(hub):
    """What the hub was told of a token."""
    return {record.authorization for record in hub.requests if record.authorization}


def test_a_token_that_was_found_does_not_go_where_a_writable_policy_file_says(hub, root, monkeypatch, caplog):
    """Whoever can write config.toml of a shared root could name a server of their own there; a warning says so."""
    hub.add_repo(REPO, {"config.json": b"{}"})
    monkeypatch.setenv("HF_TOKEN", SECRET)
    policy(root, f'endpoint = "{hub.url}"\n', 0o664)
    with caplog.at_level(logging.WARNING, "model_cache"):
        ModelCache(root).fetch(REPO, "config.json")
    assert not sent(hub)
    assert "HF_ENDPOINT=" in caplog.text and SECRET not in caplog.text
    with pytest.raises(SettingError, match="token=True"):
        ModelCache(root, token=True).fetch(REPO, "other")


def test_a_token_goes_to_the_endpoint_of_ones_own(hub, root, monkeypatch):
    """A policy file that only its owner writes, an argument, and a token that was given are all trusted."""
    hub.add_repo(REPO, {"a": b"a", "b": b"b", "c": b"c"})
    monkeypatch.setenv("HF_TOKEN", SECRET)
    policy(root, f'endpoint = "{hub.url}"\n')
    for name, mode, more in (("a", 0o600, {}), ("b", 0o664, {"endpoint": hub.url}), ("c", 0o664, {"token": SECRET})):
        policy(root, f'endpoint = "{hub.url}"\n', mode)
        hub.reset()
        ModelCache(root, **more).fetch(REPO, name)
        assert len(sent(hub)) == 1, name


@pytest.mark.skipif(os.getuid() != 0, reason="gives a file away")
def test_a_policy_file_of_another_user_names_no_place_for_a_token(root):
    """Owner and mode are asked of the file that was read."""
    policy(root, 'endpoint = "http://127.0.0.1:1"\n')
    assert not Settings({}, root=root).endpoint_is_foreign
    os.chown(root / ".model-cache" / "config.toml", 65534, 65534)
    assert Settings({}, root=root).endpoint_is_foreign


# Symlinks


@pytest.mark.parametrize("suffix", ["", "-journal"])
def test_an_index_that_is_a_symlink_is_not_opened(cache, own, tmp_path, suffix):
    """SQLite would write whatever a planted symlink leads to."""
    outside = tmp_path / "outside"
    outside.write_bytes(b"")
    os.symlink(outside, own.index + suffix)
    with pytest.raises(IndexUnavailableError, match="is a symlink"):
        Ledger(cache._ctx.index).ready(ENTRY, source="download")
    cache._ctx.index.close()
    assert outside.read_bytes() == b""


def test_an_index_that_is_a_fifo_does_not_hang(cache, own):
    """What is no regular file is no index."""
    os.mkfifo(own.index)
    with pytest.raises(IndexUnavailableError, match="no regular file"):
        cache.entries()


@pytest.mark.parametrize("name", ["", "/partial", "/locks"])
def test_own_directories_that_are_symlinks_are_refused(cache, hub, root, tmp_path, name):
    """A `.model-cache`, or a directory in it, that leads elsewhere gets nothing."""
    hub.add_repo(REPO, {FILE: BIG})
    away = tmp_path / "away"
    away.mkdir()
    path = root / f".model-cache{name}"
    path.parent.mkdir(parents=True)
    path.symlink_to(away)
    with pytest.raises(StorageError, match="is a symlink"):
        cache.fetch(REPO, FILE)
    assert not any(away.iterdir()) and hub.count() == 0


@pytest.mark.parametrize("kind", ["symlink out", "file", "dangling"])
def test_what_cannot_be_placed_is_not_downloaded(cache, hub, root, tmp_path, kind):
    """A directory that leads out, a file in its place, or a dangling symlink at the name cost no body."""
    hub.add_repo(REPO, {"sub/x": BIG})
    (root / "owner").mkdir(parents=True)
    if kind == "symlink out":
        (tmp_path / "away").mkdir()
        (root / REPO).symlink_to(tmp_path / "away")
    elif kind == "file":
        (root / REPO).write_text("mine")
    else:
        (root / REPO / "sub").mkdir(parents=True)
        (root / REPO / "sub" / "x").symlink_to(tmp_path / "nowhere")
    with pytest.raises(StorageError):
        cache.fetch(REPO, "sub/x")
    assert hub.body_gets("sub/x") == 0


def test_is_cached_and_fetch_agree_on_links_into_the_caches_own(cache, own, root):
    """A link to a file of the cache's own is an entry to neither."""
    (root / REPO).mkdir(parents=True)
    (root / ".model-cache" / "x").write_text("x")
    (root / REPO / FILE).symlink_to(root / ".model-cache" / "x")
    assert not cache.is_cached(REPO, FILE)
    with pytest.raises(InvalidNameError):
        cache.fetch(REPO, FILE)


def test_what_cannot_be_told_is_no_miss(cache, root):
    """Only what is not there is not cached; a directory that cannot be entered is an error."""
    (root / "owner").mkdir(parents=True)
    (root / REPO).symlink_to(root / REPO)
    with pytest.raises(StorageError):
        cache.is_cached(REPO, FILE)


# Files that are no files, notes, rows


NOTE = {"attempt": 1, "holder": "x", "began": 0, "size": None, "etag": "", "error": None, "endpoint": ""}


@pytest.mark.parametrize(
    "text",
    [
        "[" * 60_000,
        json.dumps([NOTE]),
        *(
            json.dumps({**NOTE, **more})
            for more in (
                {"size": int("9" * 400)},
                {"attempt": 10**4000},
                {"attempt": True},
                {"size": -5},
                {"began": "x"},
                {"error": "boom"},
                {"holder": None},
            )
        ),
    ],
)
def test_a_note_that_makes_no_sense_is_none(cache, own, text):
    """Notes are read from a directory that others can write: depth, size and types are bounded."""
    with open(own.note(ENTRY.key), "w") as file:
        file.write(text)
    assert notes.read(cache._ctx, ENTRY) == notes.Note()


def test_a_note_that_is_a_fifo_or_has_controls_in_it_is_harmless(cache, own):
    """A FIFO is no note, and a holder's name cannot steer a terminal."""
    os.mkfifo(own.note(ENTRY.key))
    assert notes.read(cache._ctx, ENTRY) == notes.Note()
    os.unlink(own.note(ENTRY.key))
    with open(own.note(ENTRY.key), "w") as file:
        json.dump({**NOTE, "holder": "\x1b]0;own\x07"}, file)
    assert notes.read(cache._ctx, ENTRY).holder == " ]0;own "


@pytest.mark.parametrize(
    "recorded",
    [
        {"kind": "NotFoundError", "state": {"exit_code": 0, "message": "all\x1b[31m fine"}},
        {"kind": "SettingError", "state": {"self": 1, "__class__": 3, "retry_after": float("inf")}},
        {"kind": "Exception", "state": {"status": "x", "transient": 1, "url": 5}},
        {"kind": "errors", "state": []},
    ],
)
def test_a_shared_failure_has_only_what_such_a_failure_can_have(recorded):
    """Neither an exit code, a class, nor a method can be set by who writes a note."""
    error = notes.to_error(recorded)
    assert type(error).__name__ == "DownloadError" and error.exit_code == 1
    assert set(vars(error)) <= {"message", "hint"} and str(error).isprintable()


def test_a_commit_that_is_none_is_not_asked_for(cache, hub, own):
    """What an index says of a sibling's commit becomes part of an address only if it is one."""
    hub.add_repo(REPO, {FILE: BIG, "config.json": b"{}"})
    cache.fetch(REPO, FILE)
    with cache._ctx.index.transaction("test") as connection:
        connection.execute('UPDATE entries SET "commit" = ?', ("\x1b[31m../../evil?x=1#",))
    assert Ledger(cache._ctx.index).sibling_commit(Entry(REPO, "config.json")) is None
    cache.fetch(REPO, "config.json")
    cache._ctx.index.close()


def test_a_hint_can_be_pasted_into_a_shell(hub, root):
    """A name with shell syntax in it is one quoted word in every hint."""
    name = "a b;touch $HOME.bin"
    hub.add_repo(REPO, {name: b"x"})
    (root / REPO).mkdir(parents=True)
    (root / REPO / name).write_text("mine")
    with pytest.raises(StorageError) as caught:
        ModelCache(root, endpoint=hub.url, token=False).fetch(REPO, name, force=True)
    assert f"mv '{root}/{REPO}/{name}' '{root}/{REPO}/{name}.mine'" in caught.value.hint


def test_a_read_only_cache_writes_nothing_on_a_hit(cache, hub, own, root):
    """Under MODEL_CACHE_READ_ONLY not even the last use is written; the lease is kept instead."""
    hub.add_repo(REPO, {FILE: BIG})
    cache.fetch(REPO, FILE)
    os.unlink(own.used + ENTRY.key)
    reader = ModelCache(root, read_only=True, min_idle=0)
    reader.fetch(REPO, FILE)
    assert os.listdir(own.used) == []
    with pytest.raises(ModelCacheError, match=f"^{REPO} other is not in the cache"):
        reader.fetch(REPO, "other")


def test_readers_that_come_and_go_keep_a_bounded_number_of_leases(cache, hub, spawn):
    """A process that makes a cache for each request does not run out of descriptors; what it handed out last stays leased."""
    hub.add_repo(REPO, {FILE: BIG})
    cache.fetch(REPO, FILE)
    code = f"""
    from model_cache import ModelCache, locks

    def read(times, **policy):
        for _ in range(times):
            ModelCache(arguments["root"], read_only=True, **policy).fetch("{REPO}", "{FILE}")
        print(len(locks._held))

    read(3, min_idle=0)
    read(300, min_idle=3600)
    """
    assert finish(spawn(code)).split() == ["0", "256"]


def test_no_room_for_a_directory_is_no_room(tmp_path):
    """A disk that is full when the root is made ends with the code for no room."""
    ctx = Context(Settings({}, root=tmp_path))
    assert cannot_make(ctx, OSError(28, "No space left on device"), "x").exit_code == 12
    assert cannot_make(ctx, OSError(20, "Not a directory"), "x").exit_code == 1


def test_a_misspelt_name_leaves_nothing(cache, hub, own):
    """A name that the Hub does not know leaves no lock, no note, no directory."""
    hub.add_repo(REPO, {FILE: BIG})
    for name in ("misspelt", "misspelt/twice"):
        with pytest.raises(ModelCacheError):
            cache.fetch(REPO, name)
    assert os.listdir(own.locks) == []
    assert queries.entries(cache._ctx.index) == []
    assert sorted(os.listdir(cache.root)) == [".model-cache", "CACHEDIR.TAG"]
