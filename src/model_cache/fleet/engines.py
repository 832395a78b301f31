"""Which engine a setting means; loads its library, and only then."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING

from ..address import without_secrets
from ..errors import SettingError
from .protocols import Alone, EngineError, NotHereError, NoTier

if TYPE_CHECKING:
    from collections.abc import Callable

    from .protocols import BlobTier, Flight, Lead, Seen


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
    """Who leads, by the database at an address; for None each host goes alone. Raises SettingError as `tier`."""
    if address is None:
        return Alone()
    if find_spec("psycopg") is None:
        raise _missing("lead", address, "postgres", ImportError("No module named 'psycopg'", name="psycopg"))
    return _Late(address)


def look(address: str) -> Seen:
    """How the database at an address is, for people.

    Raises:
        SettingError: What it needs is not installed.
        EngineError: It cannot be asked.
    """
    try:
        from .postgres import PostgresFlight
    except ImportError as error:
        raise _missing("lead", address, "postgres", error) from None
    return PostgresFlight(address).look()


class _Late:
    """The database, whose library is loaded by who first asks for the lead: where the tier has everything nobody does."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._flight: Flight | None = None

    def lead(self, key: str, go_on: Callable[[], bool]) -> Lead:
        """Wait until nobody leads this key, and lead it; raises NotHereError where this process never can, and as `Flight`."""
        if self._flight is None:
            try:
                from .postgres import PostgresFlight

                self._flight = PostgresFlight(self._address)
            except (ImportError, EngineError) as error:
                raise NotHereError(f"{error}") from None
        return self._flight.lead(key, go_on)


def _missing(key: str, address: str, extra: str, error: ImportError) -> SettingError:
    return SettingError(
        f"{key} = {without_secrets(address)}: needs the extra {extra!r}, which is not installed ({error.name or error})",
        hint=f"pip install 'model-cache[{extra}]'",
    )
