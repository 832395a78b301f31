"""Who goes, given who was used when and how much is needed; pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from .eviction import Unit


@dataclass
class Plan:
    """A decision that has not been carried out.

    Attributes:
        victims: The units to evict, least recently used first: no more of them than the need asks for.
        recent: Units that are too young to go, oldest first; collected only where the victims do not suffice.
        missing: Bytes of the need that the victims do not cover.
        spared: Units that were to go and stayed, by the reason.
    """

    victims: list[Unit] = field(default_factory=list)
    recent: list[Unit] = field(default_factory=list)
    missing: int = 0
    spared: dict[str, list[Unit]] = field(default_factory=dict)


def choose(units: Iterable[Unit], need: int, idle_since: float) -> Plan:
    """Take units in the order given until `need` bytes are covered.

    Args:
        units: Least recently used first.
        need: Bytes; 0 or less takes nothing.
        idle_since: Seconds since the epoch; who was used later than that is spared as recent.
    """
    plan = Plan(missing=max(need, 0))
    for unit in units:
        if plan.missing <= 0:
            break
        if unit.last_use > idle_since:
            plan.recent.append(unit)
            continue
        plan.victims.append(unit)
        plan.missing = max(plan.missing - unit.charged, 0)
    return plan
