"""What nobody may read: passwords and keys in addresses, however they were written down."""

import pytest

from model_cache.address import without_secrets
from model_cache.errors import SettingError
from model_cache.fleet.address import parse_lead
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
