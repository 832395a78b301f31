"""What nobody may read: passwords and keys in addresses, however they were written down."""

import pickle

import pytest
from fleet_equipment import SMALL, Told
from support import FILE, REPO

from model_cache import ModelCache
from model_cache.address import without_secrets
from model_cache.errors import SettingError
from model_cache.fleet import engines, keeping
from model_cache.fleet.address import parse_lead
from model_cache.fleet.bucket import Bucket
from model_cache.fleet.protocols import EngineError
from model_cache.settings import Settings

# In each a secret begins with `hunter`, and stands where somebody who errs, or who does not, puts one.
WRITTEN = [
    "postgresql://u:hunter2@host/db",
    "postgresql://u:hunter?2@host/db",
    "postgresql://hunter2?3:x@host/db",
    "postgresql://host/db?user=a@b&password=hunter2",
    "postgresql://host/db password=hunter2",
    "postgresql:/u:hunter2@host/db",
    "u:hunter2@host/db",
    "host=h password=hunter2 dbname=x",
    "s3://KEY:hunter2@bucket",
    "s3://bucket#hunter2",
    "s3://bucket\nhunter2",
    "s3:KEY:hunter2@bucket",
    "DefaultEndpointsProtocol=https;AccountName=x;AccountKey=hunter2;BlobEndpoint=https://x",
    "https://x.example/c?sig=hunter2",
    "https://u:hunter?2@hub.example",
]


@pytest.mark.parametrize("address", WRITTEN)
@pytest.mark.parametrize("key", ["tier", "lead", "endpoint"])
def test_address_that_is_refused_is_not_repeated_with_a_secret_in_it(address, key, tmp_path):
    """No message has a part of a password, a key or a signature in it."""
    try:
        Settings({}, root=tmp_path, **{key: address})
    except SettingError as error:
        assert "hunter" not in f"{error} {error.hint}"
    assert "hunter" not in without_secrets(address)


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("postgresql://u:a@host:1/db", "postgresql://…@host:1/db"),
        ("postgresql://u:a?b@host/db", "postgresql://…"),
        ("postgresql://host/db?sslmode=require", "postgresql://host/db?…"),
        ("s3://bucket/prefix", "s3://bucket/prefix"),
        ("s3://my bucket/prefix", "s3://my…"),
        ("localhost:8080", "localhost:8080"),
        ("bucket/prefix", "bucket/prefix"),
    ],
)
def test_address_is_shown_as_far_as_it_helps(address, shown):
    """What cannot be a secret is shown, or nobody knew which setting is meant."""
    assert without_secrets(address) == shown


def test_password_with_a_question_mark_is_taken():
    """PostgreSQL takes such an address, and so does the setting."""
    assert parse_lead("postgresql://u:a?b@host/db", "lead") == "postgresql://u:a?b@host/db"


GIVEN = {"AWS_REGION": "us-east-1", "AWS_ACCESS_KEY_ID": "key-of-tests", "AWS_SECRET_ACCESS_KEY": "secret-of-tests"}


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"AWS_ENDPOINT_URL": ""}, "AWS_ENDPOINT_URL is empty"),
        ({"AWS_ENDPOINT_URL": "127.0.0.1:9"}, "AWS_ENDPOINT_URL is no address"),
        ({"AWS_ENDPOINT_URL": "http://127.0.0.1:9/\x1b[31m"}, "AWS_ENDPOINT_URL is no address"),
        ({"AWS_ENDPOINT_URL": "http://u:hunter2@[::1"}, "the library gave up"),
        ({"AWS_ACCESS_KEY_ID": "hunter2\n"}, "AWS_ACCESS_KEY_ID has characters"),
        ({"AWS_SESSION_TOKEN": "hunter2\r\nX: y"}, "AWS_SESSION_TOKEN has characters"),
        ({"AWS_REGION": "us\udcff"}, "AWS_REGION has characters"),
        ({"AWS_ENDPOINT_URL": "http://u:hunter2@127.0.0.1:9"}, "…@127.0.0.1:9"),
    ],
)
def test_environment_of_no_use_costs_a_warning(more, words, monkeypatch, host, hub, data):
    """A key with a newline behind it, or an address that is none, is told by its name; a download does without the tier."""
    for name, value in {**GIVEN, "AWS_ENDPOINT_URL": "http://127.0.0.1:9", **more}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(EngineError) as caught:
        keeping.everything(Bucket("s3://b/p"))
    assert words in str(caught.value)
    assert "hunter" not in str(caught.value)
    told = Told()
    assert host("first", tier="s3://b/p").fetch(REPO, SMALL, progress=told).read_bytes() == b'{"small": true}'
    assert words in str(told.warnings)
    assert "hunter" not in str(told.warnings)


def test_folder_needs_nothing_of_a_cloud(monkeypatch, host, hub, data, tmp_path):
    """What the environment says of a cloud is nothing to a folder, whatever characters its own path is written with."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", "")
    shelf = tmp_path / "a%20shelf"
    for name in ("first", "second"):
        one = host(name, tier=f"file://{tmp_path}/a%2520shelf")
        assert one.fetch(REPO, FILE).read_bytes() == data
        assert one.wait_for_uploads(30) == 0
    assert hub.body_gets(FILE) == 1
    assert (shelf / "v1").is_dir()


@pytest.mark.parametrize("host_part", ["h" * 300, "bücher..x", "[::1", "127.0.0.1:99999999"])
def test_database_at_no_address_costs_a_warning(host_part, host, hub, data, shelf):
    """A host that is none in the address of the database fails no download."""
    lead = f"postgresql://u:hunter2@{host_part}/db"
    with pytest.raises(EngineError) as caught:
        engines.look(lead)
    assert "hunter" not in str(caught.value)
    assert host("first", lead=lead).fetch(REPO, FILE).read_bytes() == data


@pytest.mark.parametrize(
    ("lead", "is_secret"),
    [("postgresql://u:hunter2@h/db", True), ("postgresql://h/db?password=hunter2", True), ("postgresql://h/db", False)],
)
def test_password_is_in_no_pickle(lead, is_secret, tmp_path):
    """A cache that was given one as an argument is not pickled, as one with a token is not; the message has it not."""
    cache = ModelCache(tmp_path, lead=lead)
    if not is_secret:
        assert pickle.loads(pickle.dumps(cache)).root == cache.root
        return
    with pytest.raises(TypeError, match="not pickled") as caught:
        pickle.dumps(cache)
    assert "hunter2" not in str(caught.value)
