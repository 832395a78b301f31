"""Hosts that share a site's root, each with a state directory of its own.

These stand in the root, where nobody else looks: so a copy of a site has them, and whatever is done to them is seen.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from model_cache import ModelCache
from model_cache.platforms.capabilities import host_name

KEEPER = "keeper"  # the host that may take files away; who says nothing is this one, by the policy in the root
GUEST = "guest"
PLACE = ".model-cache/hosts"  # below the root
REFUSAL = f"only the host not-{host_name()} removes and replaces files"  # what the guest is told where it would


def is_guest(slot: int) -> bool:
    """Whether this process of a race among hosts is the guest's; all others are the keeper's."""
    return slot % 2 == 1


def settings_of(root: Path, host: str) -> dict[str, object]:
    """What makes a cache on a root that of this host; nothing for the empty name."""
    if not host:
        return {}
    return {
        "state_dir": str(root / PLACE / host),
        "evictor": host_name() if host == KEEPER else f"not-{host_name()}",
    }


def settle(root: Path) -> None:
    """Let the root belong to several hosts from now on: whoever opens it is the keeper, which knows nothing of it yet."""
    text = "".join(f'{key} = "{value}"\n' for key, value in settings_of(root, KEEPER).items())
    (root / ".model-cache" / "config.toml").write_text(text, encoding="utf-8")


def are_several(root: Path) -> bool:
    """Whether a root is shared."""
    return (root / PLACE).exists()


def move(old: Path, root: Path) -> None:
    """The state directories of a copied root are called after the root, and the policy names one: those of the copy."""
    if not are_several(root):
        return
    for host in (root / PLACE).iterdir():
        before, after = (Path(ModelCache(top, **settings_of(top, host.name))._ctx.places.state) for top in (old, root))  # type: ignore[arg-type]
        shutil.move(host / before.name, after)
    settle(root)
