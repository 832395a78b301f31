"""The settings `tier` and `lead`: addresses, checked before anything is written; pure."""

from __future__ import annotations

from ..address import without_secrets
from ..errors import SettingError
from ..units import shown

_LONGEST = 1024  # characters; a library that is given much more ends in a panic
SCHEMES = ("s3", "gs", "az", "file", "memory")


def parse_tier(value: object, what: str) -> str | None:
    """The address of a bucket and a prefix in it, without a closing slash; None for an empty text.

    Raises:
        SettingError: Of another form, or with a user, a password or a query in it; the message repeats none of these.
    """
    text = str(value).strip().rstrip("/")
    if not text:
        return None
    scheme, _, rest = text.partition("://")
    plain = len(text) <= _LONGEST and text.isprintable() and not any(character in ' ?#@\\"<>' for character in text)
    fits = rest.startswith("/") if scheme == "file" else bool(rest) and not rest.startswith("/")
    if scheme not in SCHEMES or not plain or not fits or ".." in rest.split("/"):
        raise SettingError(
            f"{what}: expected an address such as s3://bucket/prefix (s3, gs, az, file), without credentials in it, found"
            f" {shown(without_secrets(text))}",
            hint="credentials come from the environment, as the cloud's own tools have them",
        )
    return text


def parse_lead(value: object, what: str) -> str | None:
    """The address of a PostgreSQL database, None for an empty text; raises SettingError, which repeats no password."""
    text = str(value).strip()
    if not text:
        return None
    scheme, _, rest = text.partition("://")
    if scheme not in ("postgresql", "postgres") or not rest or not text.isprintable() or len(text) > _LONGEST:
        raise SettingError(
            f"{what}: expected an address such as postgresql://host/database, found {shown(without_secrets(text))}"
        )
    return text
