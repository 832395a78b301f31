"""What one root shares with other hosts: can the bucket and the database be used from here, and as they have to be?"""

from __future__ import annotations

import secrets
from contextlib import suppress
from typing import TYPE_CHECKING

from ..address import without_secrets
from ..context import Context
from ..errors import quoted
from ..fleet import engines
from ..fleet.gate import Gate
from ..fleet.protocols import EngineError
from ..units import format_duration
from .check import Check, fail, ok, warn

if TYPE_CHECKING:
    from ..fleet.protocols import BlobTier, Seen

_PROBE = b"model-cache doctor"
_SKEW = 60.0  # seconds; a server refuses signatures that are a quarter of an hour off
_FEW = 16  # sessions: what one process may have
_SHORT = 3600.0  # seconds; a download can take so long


def tier(ctx: Context) -> list[Check]:
    """Of the bucket: an object is put there, listed, read and taken away; nothing is said where there is none."""
    address = ctx.settings.tier
    if address is None:
        return []
    named = f"{without_secrets(address)} (from {ctx.settings.sources['tier']})"
    if why := _untried(ctx):
        return [warn("tier", f"{named} was not tried: {why}")]
    try:
        checks = _try(ctx, engines.tier(address), named)
    except EngineError as error:
        hint = "model-cache tier ls, once its credentials are in the environment and it can be reached"
        checks = [fail("tier", f"{named} cannot be used, so the Hub is: {error}", hint)]
    return checks + _left_alone(ctx, "tier", "the bucket", "the Hub is asked instead")


def _try(ctx: Context, bucket: BlobTier, named: str) -> list[Check]:
    place = f"doctor/{secrets.token_hex(8)}"  # of its own: what others left beside it need not be listed
    name = f"{place}/probe"
    began = ctx.clock.monotonic()
    bucket.fetch(name)
    took = ctx.clock.monotonic() - began
    try:
        bucket.offer(name, _PROBE, len(_PROBE))
    except EngineError as error:
        return [warn("tier", f"{named} can be read, and not written: what is downloaded here is not shared ({error})")]
    try:
        found = bucket.fetch(name)
        if found is None or found.size != len(_PROBE) or b"".join(found.chunks) != _PROBE:
            return [fail("tier", f"{named}: what was put there a moment ago does not come back")]
        written = [one.written for one in bucket.stored(place) if one.name == name]
        if not written:
            return [
                fail("tier", f"{named}: what was put there a moment ago is not listed: `tier verify` and `gc` miss it")
            ]
        skew = written[0] - ctx.clock.time()
    finally:
        with suppress(EngineError):
            bucket.drop(name)
    if bucket.fetch(name) is not None:
        return [
            warn("tier", f"{named} is read and written; nothing can be taken away: the bucket has to expire objects")
        ]
    if abs(skew) > _SKEW:
        what = f"its clock is {format_duration(abs(skew))} {'ahead of' if skew > 0 else 'behind'} this one"
        return [warn("tier", f"{named} is read and written; {what}, which spoils signatures and ages", "timedatectl")]
    return [ok("tier", f"{named} is read, written, listed and emptied; an answer takes {took * 1000:.0f} ms")]


def lead(ctx: Context) -> list[Check]:
    """Of the database: two sessions ask for one lock; nothing is said where there is none."""
    address = ctx.settings.lead
    if address is None:
        return []
    named = f"{without_secrets(address)} (from {ctx.settings.sources['lead']})"
    if ctx.settings.tier is None:
        return [
            warn("lead", f"{named} is not used: without a tier nobody could look there for what another host brought")
        ]
    if why := _untried(ctx):
        return [warn("lead", f"{named} was not tried: {why}")]
    try:
        checks = [_judged(named, address, engines.look(address))]
    except EngineError as error:
        why = str(error).removeprefix(f"{without_secrets(address)}: ")
        hint = f"psql {quoted(without_secrets(address))} -c 'SELECT 1'"
        checks = [fail("lead", f"{named} cannot be used, so each host downloads alone: {why}", hint)]
    return checks + _left_alone(ctx, "lead", "the database", "this host goes alone")


def _judged(named: str, address: str, seen: Seen) -> Check:
    """What its answers mean."""
    ask = f"psql {quoted(without_secrets(address))} -c"
    if not seen.excludes:
        what = "two sessions have one lock at a time, as behind a pooler in transaction mode"
        hint = "point it at the server itself, or at a pooler in session mode: model-cache config lead=postgresql://…"
        return fail("lead", f"{named}: {what}, so each host downloads alone", hint)
    free = seen.most - seen.sessions
    sessions = f"{seen.sessions} of {seen.most} sessions are taken"
    if free < _FEW:
        hint = f"{ask} 'ALTER SYSTEM SET max_connections = {2 * seen.most}', and start it anew"
        return warn("lead", f"{named}: {sessions}; each download, and each wait for one, needs one", hint)
    if 0 < seen.idle < _SHORT:
        what = (
            f"idle sessions are ended after {format_duration(seen.idle)}, and with them the lead of a longer download"
        )
        return warn("lead", f"{named}: {what}", f"{ask} 'ALTER ROLE CURRENT_USER SET idle_session_timeout = 0'")
    return ok("lead", f"{named}, {seen.version}: one session keeps another out; {sessions}")


def _untried(ctx: Context) -> str:
    if ctx.settings.offline:
        return "the network is switched off"
    return ctx.settings.foreign_engines or ""


def _left_alone(ctx: Context, engine: str, name: str, instead: str) -> list[Check]:
    """That downloads of this root do without it, because it failed a while ago."""
    gate = Gate(f"{ctx.places.engines}{engine}", ctx.settings.file_mode, ctx.clock, name, instead)
    failures, seconds = gate.left_alone
    if not seconds:
        return []
    what = f"{name} failed {failures} {'time' if failures == 1 else 'times in a row'}"
    return [warn(engine, f"{what}: {instead}, for {format_duration(seconds)} more")]
