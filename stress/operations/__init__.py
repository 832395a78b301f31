"""Every operation of the cache with the root it is done on: what the sweeps kill, fail, and cut the power of."""

from __future__ import annotations

from . import foreign, shared, single, upkeep, wholes
from .operation import Operation

__all__ = ["OPERATIONS", "Operation"]

OPERATIONS = {
    one.name: one
    for one in (
        *single.OPERATIONS,
        *wholes.OPERATIONS,
        *upkeep.OPERATIONS,
        *foreign.OPERATIONS,
        *shared.OPERATIONS,
    )
}
