"""Values that cannot be used: refused by name, before anything is written, and never with a secret in the message."""

import os
import pickle
import subprocess
import sys

import pytest
from support import FILE, REPO, pattern

from model_cache import InvalidNameError, ModelCache, SettingError
from model_cache.layout import Entry
from model_cache.settings import Settings, read_policy
from model_cache.units import LARGEST, LONGEST, parse_budget, parse_duration, parse_size


def described(value):
    """A short name of a value; Python itself refuses to print the longest."""
    return value[:30] if isinstance(value, str) else f"{type(value).__name__} {hash(value)}"


SECRET = "hf_SECRETsecretSECRET"


@pytest.mark.parametrize(
    "endpoint",
    [
        "http://",
        "http://host:port",
        "http://host:",
        "http://host:0",
        "http://host:65536",
        "http://host:\u0661",
        "http://ho st",
        "http://host/a b",
        "http://host\x1b[31m",
        "http://host/\u202eabc",
        f"http://host/?token={SECRET}",
        f"http://host/#{SECRET}@x",
        "http://[::1",
        "http://[host]",
        "http://a..b",
        "http://" + "a" * 64,
        f"http://u:{SECRET}@host",
        f"http://u:{SECRET}/@host",
        "ftp://host",
        5,
    ],
)
def test_an_endpoint_that_is_no_address_is_refused_before_anything_is_written(root, endpoint):
    """The message names the setting and shows nothing that could be a secret."""
    with pytest.raises(SettingError, match=r"^the argument endpoint: expected an address") as caught:
        ModelCache(root, endpoint=endpoint)
    assert SECRET not in str(caught.value) and str(caught.value).isprintable()
    assert not root.exists()


@pytest.mark.parametrize(
    "endpoint",
    ["https://huggingface.co", "http://127.0.0.1:8080/hub", "http://[::1]:80", "https://hub.example.", "http://hüb"],
)
def test_an_endpoint_that_is_one_is_taken(root, endpoint):
    """Names, addresses of both kinds, ports and paths; a closing slash is left out."""
    assert Settings({}, root=root, endpoint=f"{endpoint}/").endpoint == endpoint


@pytest.mark.parametrize("name", ["HF_HUB_ETAG_TIMEOUT", "HF_HUB_DOWNLOAD_TIMEOUT"])
@pytest.mark.parametrize("value", ["0", "-1", "25h", "1e9", "9" * 5000, "soon"])
def test_a_network_wait_is_more_than_nothing_and_at_most_a_day(root, name, value):
    """Sockets take no wait of any length; a wait of nothing would fail every time."""
    with pytest.raises(SettingError, match=f"^{name}: expected"):
        Settings({name: value}, root=root)


@pytest.mark.parametrize("token", ["two words", "hf_\x00", ""])
def test_a_token_that_cannot_be_sent_is_refused_before_anything_is_written(root, hub, token):
    """A bad token is found before the root is made."""
    with pytest.raises(SettingError, match="the argument token"):
        ModelCache(root, endpoint=hub.url, token=token).fetch(REPO, FILE)
    assert not root.exists() and hub.count() == 0


@pytest.mark.parametrize("token", [SECRET.encode(), 5, [SECRET]])
def test_a_token_of_another_type_is_refused(root, token):
    """The message says the type, not the value."""
    with pytest.raises(SettingError, match=r"^token: expected a string") as caught:
        ModelCache(root, token=token)
    assert SECRET not in str(caught.value)


def test_a_root_may_be_bytes_and_no_number(tmp_path):
    """What os.fspath takes is a root, decoded as file names are."""
    assert ModelCache(os.fsencode(tmp_path)).root == tmp_path
    with pytest.raises(SettingError, match="the argument root"):
        ModelCache(5)


def test_a_relative_root_needs_a_working_directory(tmp_path, environ):
    """In a directory that was removed a relative root is bad input, and an absolute one works."""
    code = f"""
import os, sys
os.mkdir({str(tmp_path / "gone")!r}); os.chdir({str(tmp_path / "gone")!r}); os.rmdir({str(tmp_path / "gone")!r})
from model_cache import ModelCache, SettingError
assert str(ModelCache("/models").root) == "/models"
try:
    ModelCache("models")
except SettingError as error:
    print(error)
"""
    found = subprocess.run([sys.executable, "-c", code], env=environ, capture_output=True, text=True, timeout=120)
    assert found.returncode == 0, found.stderr
    assert "'models' is relative, and the working directory is gone" in found.stdout


@pytest.mark.parametrize("value", ["1_0%", "1e1%", "nan%", "%", "9" * 5000 + "%"])
def test_a_share_is_written_in_digits(value):
    """What Python would read as a number is not what people mean by a percentage."""
    with pytest.raises(SettingError):
        parse_budget(value)


@pytest.mark.parametrize(
    "value", [LARGEST + 1, 10**400, 10**5000, "9" * 5000, "9223372036854775808", "10000PB", 1e400], ids=described
)
def test_sizes_are_those_that_a_file_system_holds(value):
    """Beyond 2^63 - 1 bytes there is no size, whatever way it is written."""
    for parse in (parse_size, parse_budget):
        with pytest.raises(SettingError) as caught:
            parse(value)
        assert len(str(caught.value)) < 200
    assert parse_size(str(LARGEST)) == parse_size(LARGEST) == LARGEST


@pytest.mark.parametrize(
    "value", [10**400, 10**5000, 1e300, "9" * 5000, "1000000000w", float(LONGEST) * 2], ids=described
)
def test_durations_are_those_that_can_be_computed_with(value):
    """A thousand years is the longest; no overflow escapes."""
    with pytest.raises(SettingError):
        parse_duration(value)
    assert parse_duration(LONGEST) == LONGEST


@pytest.mark.parametrize("value", [10**5000, "9" * 5000, "\u0661", "1.0", True], ids=described)
def test_counts_are_short(root, value):
    """A count has at most two digits."""
    with pytest.raises(SettingError, match="connections"):
        Settings({}, root=root, connections=value)


def test_a_number_of_thousands_of_digits_is_refused_by_every_setting(root):
    """Python itself refuses to print such numbers; the message says so in words."""
    for key in ("offline", "sharing", "max_age", "endpoint", "etag_timeout"):
        with pytest.raises(SettingError, match=key):
            Settings({}, root=root, **{key: 10**5000})


@pytest.mark.parametrize("timeout", ["10m", True, -1, float("nan"), b"1"])
def test_a_timeout_is_a_number_of_seconds(cache, timeout):
    """Text belongs on the command line, and nothing is asked with a wait that is none."""
    with pytest.raises(SettingError, match="timeout: expected seconds"):
        cache.fetch(REPO, FILE, timeout=timeout)
    assert not cache.root.exists()


@pytest.mark.parametrize("timeout", [1e300, 10**400, float("inf")])
def test_a_timeout_of_any_length_is_fine(cache, hub, timeout):
    """A caller that waits for ever may say so with any number."""
    hub.add_repo(REPO, {FILE: pattern(1000)})
    assert cache.fetch(REPO, FILE, timeout=timeout).stat().st_size == 1000


# The policy file


@pytest.mark.parametrize("text", [b"a = " + b"[" * 50_000, b"max_size = " + b"9" * 5000, b"\xff", b"a" * 2_000_000])
def test_a_policy_file_of_nonsense_is_refused_by_name(tmp_path, text):
    """Depth, numbers and size are bounded."""
    path = tmp_path / "config.toml"
    path.write_bytes(text)
    with pytest.raises(SettingError, match=r"config\.toml"):
        read_policy(str(path))


def test_a_policy_with_a_mistake_in_it_changes_nothing(root, hub):
    """All keys are read before one is taken, and the mistake is told again at the next miss."""
    hub.add_repo(REPO, {"a": b"a", "b": b"b"})
    cache = ModelCache(root, endpoint=hub.url, token=False)
    cache.fetch(REPO, "a")
    (root / ".model-cache" / "config.toml").write_text('max_size = "7GB"\nmin_idle = "rubbish"\n')
    for _ in range(2):
        with pytest.raises(SettingError, match="min_idle"):
            cache.fetch(REPO, "b")
    assert cache._ctx.settings.max_size is None and cache._ctx.settings.sources["max_size"] == "default"


# Names


@pytest.mark.parametrize("character", "\u202a\u202e\u2066\u2069\u2028\u2029")
def test_names_that_are_shown_as_others_are_refused(character):
    """Characters that reorder or break text make a name look like another (Trojan source)."""
    for names in ((REPO, f"a{character}b"), (REPO, FILE, f"v{character}1")):
        with pytest.raises(InvalidNameError, match="reorders or breaks") as caught:
            Entry(*names)
        assert str(caught.value).isprintable()


# Pickling


def test_a_cache_is_pickled_as_its_arguments(root, hub, monkeypatch):
    """A worker that unpickles it makes its own, with what it was made of and nothing of the environment's secrets."""
    hub.add_repo(REPO, {FILE: pattern(1000)})
    monkeypatch.setenv("HF_TOKEN", SECRET)
    cache = ModelCache(root, endpoint=hub.url, max_size="1GB", min_idle="5m")
    cache.fetch(REPO, FILE)
    pickled = pickle.dumps(cache)
    assert SECRET.encode() not in pickled
    again = pickle.loads(pickled)
    assert again.root == cache.root and again.is_cached(REPO, FILE)
    settings = again._ctx.settings
    assert (settings.max_size, settings.min_idle, settings.endpoint) == (10**9, 300, hub.url)


def test_a_token_that_was_given_is_not_pickled(root):
    """Neither the cache nor its settings put a secret into a pickle."""
    with pytest.raises(TypeError, match="made with a token"):
        pickle.dumps(ModelCache(root, token=SECRET))
    with pytest.raises(TypeError, match="not pickled"):
        pickle.dumps(Settings({"HF_TOKEN": SECRET}, root=root))


def test_a_relative_root_is_pickled_as_the_directory_it_was(tmp_path, monkeypatch):
    """Another working directory makes it no other cache."""
    monkeypatch.chdir(tmp_path)
    pickled = pickle.dumps(ModelCache("here"))
    monkeypatch.chdir("/")
    assert pickle.loads(pickled).root == tmp_path / "here"
