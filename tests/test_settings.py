"""Where the root comes from, and which of several settings wins."""

import pytest

from model_cache import SettingError
from model_cache.settings import Settings, find_root, policy_text


def policy(root, text):
    """Write a policy file."""
    (root / ".model-cache").mkdir(parents=True, exist_ok=True)
    (root / ".model-cache" / "config.toml").write_text(text)


def test_the_root_comes_from_the_first_setting_that_names_one(tmp_path):
    """Argument, then MODEL_CACHE_DIR, then systemd's CACHE_DIRECTORY, of which the first of the list counts."""
    environ = {"MODEL_CACHE_DIR": "/env", "CACHE_DIRECTORY": "/one:/two"}
    assert find_root(environ, tmp_path) == (str(tmp_path), "the argument root")
    assert find_root(environ) == ("/env", "MODEL_CACHE_DIR")
    assert find_root({"CACHE_DIRECTORY": "/one:/two"}) == ("/one", "CACHE_DIRECTORY")


def test_a_relative_root_becomes_absolute(tmp_path, monkeypatch):
    """A root is absolute whatever way it was written."""
    monkeypatch.chdir(tmp_path)
    assert find_root({}, "models")[0] == str(tmp_path / "models")


@pytest.mark.parametrize("root", ["", "a\0b"])
def test_a_root_that_is_no_path_is_refused(root):
    """An empty root, or one with a NUL, is bad input."""
    with pytest.raises(SettingError, match="expected the path of a directory"):
        find_root({}, root)


def test_arguments_beat_the_environment_which_beats_the_policy_file(tmp_path):
    """Each place is asked in turn, and the one that answered is remembered for messages."""
    policy(tmp_path, 'max_size = "1GB"\nmin_idle = "1h"\ntouch_interval = 5\nfrom_the_future = 1\n')
    environ = {"MODEL_CACHE_MAX_SIZE": "2GB", "MODEL_CACHE_MIN_IDLE": "2h"}
    settings = Settings(environ, root=tmp_path, max_size="3GB")
    assert (settings.max_size, settings.min_idle, settings.touch_interval) == (3 * 10**9, 7200, 5)
    assert settings.sources["max_size"] == "the argument max_size"
    assert settings.sources["min_idle"] == "MODEL_CACHE_MIN_IDLE"
    assert settings.sources["touch_interval"].endswith("config.toml")


def test_the_names_that_hub_users_know_are_honoured(tmp_path):
    """HF_ENDPOINT, HF_HUB_OFFLINE and the time-outs mean what they mean to the Hub's own client."""
    environ = {"HF_ENDPOINT": "http://localhost:1/", "HF_HUB_OFFLINE": "YES", "HF_HUB_ETAG_TIMEOUT": "3"}
    settings = Settings(environ, root=tmp_path)
    assert (settings.endpoint, settings.offline, settings.etag_timeout) == ("http://localhost:1", True, 3)
    assert Settings({**environ, "MODEL_CACHE_OFFLINE": "0"}, root=tmp_path).offline is False


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("MODEL_CACHE_MAX_SIZE", "many"),
        ("MODEL_CACHE_MIN_IDLE", "soon"),
        ("MODEL_CACHE_CONNECTIONS", "0"),
        ("MODEL_CACHE_SHARING", "public"),
        ("HF_ENDPOINT", "file:///etc"),
        ("HF_HUB_OFFLINE", "perhaps"),
    ],
)
def test_a_bad_value_is_refused_with_the_variable_that_has_it(tmp_path, name, value):
    """The message begins with the place to mend."""
    with pytest.raises(SettingError, match=f"^{name}: expected"):
        Settings({name: value}, root=tmp_path)


def test_a_password_in_an_endpoint_is_not_repeated(tmp_path):
    """A refused address with a user in it is shown without what stands before the `@`."""
    with pytest.raises(SettingError) as caught:
        Settings({"HF_ENDPOINT": "https://user:secret@hub"}, root=tmp_path)
    assert "secret" not in str(caught.value)


def test_an_empty_variable_counts_as_unset(tmp_path):
    """An empty value, as containers like to set, is no value."""
    assert Settings({"MODEL_CACHE_MAX_SIZE": ""}, root=tmp_path).max_size is None


def test_an_unknown_argument_is_refused(tmp_path):
    """A misspelt policy key is an error, not a setting without effect."""
    with pytest.raises(SettingError, match="unknown setting max_sise"):
        Settings({}, root=tmp_path, max_sise="1GB")


@pytest.mark.parametrize(
    "given",
    [
        {"state_dir": "relative/path"},
        {"state_dir": ""},
        {"state_dir": ["/one", "/two"]},
        {"evictor": ""},
        {"evictor": "two words"},
        {"evictor": "host;rm"},
    ],
)
def test_what_cannot_be_a_directory_or_a_host_is_refused(tmp_path, given):
    """`state_dir` is one absolute path, `evictor` one name, whatever it came from."""
    with pytest.raises(SettingError, match=next(iter(given))):
        Settings({}, root=tmp_path, **given)


def test_a_policy_file_that_is_no_toml_is_named(tmp_path):
    """A broken policy file stops everything, with its path: a budget that cannot be read must not be exceeded."""
    policy(tmp_path, "max_size = \n")
    with pytest.raises(SettingError, match=r"config\.toml"):
        Settings({}, root=tmp_path)


def test_a_changed_policy_file_is_noticed(tmp_path):
    """A process that lives long follows the policy of its root."""
    settings = Settings({}, root=tmp_path)
    policy(tmp_path, 'max_size = "5GB"\n')
    settings.refresh()
    assert settings.max_size == 5 * 10**9


def test_setting_a_policy_key_leaves_the_rest_of_the_file(tmp_path):
    """Comments and other keys survive; a key is set once; None takes it out."""
    text = policy_text('# ours\nmin_idle = "1h"\nmax_size = "1GB"\n', "max_size", "2GB")
    assert text == '# ours\nmin_idle = "1h"\nmax_size = "2GB"\n'
    assert policy_text(text, "min_idle", None) == '# ours\nmax_size = "2GB"\n'
    with pytest.raises(SettingError):
        policy_text("", "max_size", "much")
    with pytest.raises(SettingError):
        policy_text("", "colour", "blue")
