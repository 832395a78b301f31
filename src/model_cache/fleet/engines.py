"""Which engine a setting means; loads its library, and only then."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import SettingError
from .address import without_secrets
from .protocols import Alone, NoTier

if TYPE_CHECKING:
    from .protocols import BlobTier, Flight


def tier(address: str | None) -> BlobTier:
    """The tier at an address, the null one for None.

    Raises:
        SettingError: What it needs is not installed.
        EngineError: The address, or what the environment says of it, cannot be used.
    """
    if address is None:
        return NoTier()
    try:
        from .bucket import Bucket
    except ImportError as error:
        raise _missing("tier", address, "s3", error) from None
    return Bucket(address)


def flight(address: str | None) -> Flight:
    """Who leads, by the database at an address; for None each host goes alone. Raises as `tier`."""
    if address is None:
        return Alone()
    try:
        from .postgres import PostgresFlight
    except ImportError as error:
        raise _missing("lead", address, "postgres", error) from None
    return PostgresFlight(address)


def _missing(key: str, address: str, extra: str, error: ImportError) -> SettingError:
    return SettingError(
        f"{key} = {without_secrets(address)}: needs the extra {extra!r}, which is not installed ({error.name or error})",
        hint=f"pip install 'model-cache[{extra}]'",
    )
