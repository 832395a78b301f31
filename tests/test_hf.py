"""The drop-in: `hf_hub_download` and `snapshot_download` with the arguments, returns and exceptions of their namesakes."""

import inspect
import os
import subprocess
import sys

import huggingface_hub
import pytest
from huggingface_hub import errors
from support import pattern

import model_cache
from model_cache import ModelCacheError, SettingError
from model_cache.hf import hf_hub_download, snapshot_download
from model_cache.testing import LoopbackHub

REPO = "owner/name"
FILES = {"config.json": b"{}", "sub/weights.bin": pattern(40_000, 1), "notes.txt": b"of no use"}


@pytest.fixture
def given(hub, root):
    """The arguments that every call here needs; the hub has the repo."""
    hub.add_repo(REPO, FILES)
    return {"cache_dir": root, "endpoint": hub.url, "token": False}


@pytest.mark.parametrize("ours", [hf_hub_download, snapshot_download])
def test_the_arguments_are_those_of_huggingface_hub(ours):
    """Names, order, kinds and defaults of all arguments are the same."""
    theirs = getattr(huggingface_hub, ours.__name__)

    def shape(function):
        return [(p.name, p.kind, p.default) for p in inspect.signature(function).parameters.values()]

    assert shape(ours) == shape(theirs)


def test_a_file_is_a_path_in_the_plain_layout(given, hub, root):
    """A download returns text that names a plain file of the right bytes, and a second call asks nobody."""
    path = hf_hub_download(REPO, "weights.bin", subfolder="sub", **given)
    assert path == str(root / REPO / "sub/weights.bin")
    with open(path, "rb") as file:
        assert file.read() == FILES["sub/weights.bin"]
    before = len(hub.requests)
    assert hf_hub_download(REPO, "sub/weights.bin", subfolder="", **given) == path
    assert len(hub.requests) == before


def test_a_snapshot_is_the_directory(given, root):
    """All files of the repo stand below the returned path, and are had again without a network."""
    found = snapshot_download(REPO, **given)
    assert found == str(root / REPO)
    assert all((root / REPO / name).read_bytes() == data for name, data in FILES.items())
    assert snapshot_download(REPO, local_files_only=True, **given) == found


@pytest.mark.parametrize(
    ("patterns", "expected"),
    [
        ({"allow_patterns": ["*.json", "*.safetensors"]}, {"config.json"}),
        ({"allow_patterns": "sub/"}, {"sub/weights.bin"}),
        ({"ignore_patterns": ("*.txt", "*.pt")}, {"config.json", "sub/weights.bin"}),
        ({"allow_patterns": "*.none"}, set()),
        ({"ignore_patterns": "*"}, set()),
    ],
)
def test_patterns_may_match_nothing(given, root, patterns, expected):
    """Exactly what the patterns leave is brought, and one that fits no file is no error."""
    snapshot_download(REPO, **patterns, **given)
    there = {str(path.relative_to(root / REPO)) for path in (root / REPO).rglob("*") if path.is_file()}
    assert there == expected


def test_a_resolved_revision_is_its_commit(hub, given, root):
    """A revision that `huggingface_hub` resolved before is had at the commit that it stands for."""
    commit = hub.add_repo(REPO, {"config.json": b"[1]"})
    revision = huggingface_hub.ResolvedRevision(commit, initial="main")
    assert hf_hub_download(REPO, "config.json", revision=revision, **given) == str(
        root / f"{REPO}@{commit}/config.json"
    )


def test_force_downloads_again(given, hub):
    """`force_download` gets the bytes once more, and the same path."""
    path = hf_hub_download(REPO, "config.json", **given)
    assert hf_hub_download(REPO, "config.json", force_download=True, **given) == path
    assert hub.body_gets("config.json") == 2


@pytest.mark.parametrize(
    ("repo", "filename", "revision", "expected"),
    [
        ("owner/none", "config.json", None, errors.RepositoryNotFoundError),
        (REPO, "config.json", "no-such-branch", errors.RevisionNotFoundError),
        (REPO, "none.json", None, errors.RemoteEntryNotFoundError),
        (REPO, "a\\..\\b", None, errors.HFValidationError),
        ("a/b/c", "config.json", None, errors.HFValidationError),
    ],
)
def test_what_is_not_there_is_the_peers_exception(given, repo, filename, revision, expected):
    """Each kind of not found raises the class that `huggingface_hub` has for it, caused by the cache's own."""
    with pytest.raises(expected) as caught:
        hf_hub_download(repo, filename, revision=revision, **given)
    assert type(caught.value) is expected
    assert isinstance(caught.value.__cause__, ModelCacheError)


def test_an_answers_status_is_handed_on(given):
    """An exception about an answer of the Hub carries its status."""
    with pytest.raises(errors.EntryNotFoundError) as caught:
        hf_hub_download(REPO, "none.json", **given)
    assert caught.value.response.status_code == 404


def test_a_gated_repo_is_a_gated_repo_error(given, hub):
    """A repo whose licence was not accepted raises GatedRepoError."""
    hub.add_repo("owner/gated", FILES, gated=True)
    with pytest.raises(errors.GatedRepoError):
        hf_hub_download("owner/gated", "config.json", **given)


def test_offline_misses_are_local_entry_not_found(given):
    """Without a network a file that is not there, and a repo that is not, raise LocalEntryNotFoundError."""
    with pytest.raises(errors.LocalEntryNotFoundError):
        hf_hub_download(REPO, "config.json", local_files_only=True, **given)
    with pytest.raises(errors.LocalEntryNotFoundError):
        snapshot_download(REPO, local_files_only=True, **given)


def test_a_part_is_not_handed_out_as_a_snapshot(given, root):
    """Without a network a repo of which a file is gone raises IncompleteSnapshotError."""
    snapshot_download(REPO, **given)
    os.unlink(root / REPO / "config.json")
    with pytest.raises(errors.IncompleteSnapshotError):
        snapshot_download(REPO, local_files_only=True, **given)


def test_a_hub_that_cannot_be_reached_is_a_local_entry_not_found(root):
    """Where nobody listens at the endpoint, the miss is one of this disk, as `huggingface_hub` has it."""
    with LoopbackHub() as gone:
        url = gone.url
    with pytest.raises(errors.LocalEntryNotFoundError):
        hf_hub_download(REPO, "config.json", cache_dir=root, endpoint=url, token=False)


@pytest.mark.parametrize("refused", [{"headers": {"a": "b"}}])
@pytest.mark.parametrize(
    "call",
    [lambda **more: hf_hub_download(REPO, "config.json", **more), lambda **more: snapshot_download(REPO, **more)],
)
def test_what_cannot_be_honoured_is_refused(given, hub, call, refused):
    """An argument that would change which files come raises an error that names it, and nothing is asked."""
    with pytest.raises(ValueError, match=next(iter(refused))):
        call(**refused, **given)
    assert not hub.requests


def test_force_without_a_network_is_refused(given):
    """`force_download` with `local_files_only` is a ValueError, as `huggingface_hub` has it."""
    with pytest.raises(ValueError, match="force_download"):
        hf_hub_download(REPO, "config.json", force_download=True, local_files_only=True, **given)


def test_a_hugging_face_cache_is_no_root(given, root):
    """A `cache_dir` that holds the other layout is refused, and stays as it was."""
    (root / "models--owner--name").mkdir(parents=True)
    with pytest.raises(ValueError, match="Hugging Face cache"):
        hf_hub_download(REPO, "config.json", **given)
    assert os.listdir(root) == ["models--owner--name"]


def test_a_cache_dir_that_is_no_path_is_an_error_of_the_family(given):
    """What no directory can be called is refused as a setting is."""
    with pytest.raises(SettingError, match="expected the path of a directory"):
        hf_hub_download(REPO, "config.json", **given | {"cache_dir": "a\0b"})


def test_the_default_cache_is_the_modules(hub, root, monkeypatch):
    """Without arguments of its own a call uses the cache that the functions of `model_cache` use."""
    hub.add_repo(REPO, FILES)
    monkeypatch.setenv("MODEL_CACHE_DIR", str(root))
    monkeypatch.setenv("HF_ENDPOINT", hub.url)
    assert hf_hub_download(REPO, "config.json") == str(model_cache.path(REPO, "config.json"))


def test_a_hit_loads_neither_http_nor_the_peer(given, environ, root):
    """Importing the drop-in and a hit of it load no HTTP, no SQL and nothing of `huggingface_hub`."""
    hf_hub_download(REPO, "config.json", **given)
    code = (
        "import sys; from model_cache.hf import hf_hub_download\n"
        f"hf_hub_download({REPO!r}, 'config.json', cache_dir={str(root)!r})\n"
        "print([name for name in ('requests', 'sqlite3', 'huggingface_hub', 'httpx2', 'click') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], env=environ, capture_output=True, text=True, timeout=120)
    assert (done.stdout, done.stderr) == ("[]\n", "")


def test_without_huggingface_hub_the_error_is_the_caches_own(environ, root):
    """Where `huggingface_hub` cannot be imported, an offline miss raises OfflineMissError."""
    code = (
        "import sys; sys.modules['huggingface_hub'] = None\n"
        "import model_cache; from model_cache.hf import hf_hub_download\n"
        "try:\n"
        f"    hf_hub_download({REPO!r}, 'config.json', cache_dir={str(root)!r}, local_files_only=True)\n"
        "except model_cache.OfflineMissError:\n"
        "    print('own')"
    )
    done = subprocess.run([sys.executable, "-c", code], env=environ, capture_output=True, text=True, timeout=120)
    assert (done.stdout, done.stderr) == ("own\n", "")
