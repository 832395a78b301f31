"""`tier`: what is in the bucket that hosts share."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import click

from ..address import without_secrets
from ..errors import DownloadError, SettingError
from ..fleet import engines, keeping
from ..fleet.protocols import EngineError
from ..units import format_duration, format_size, plural
from . import output
from .command import Run, UsageMistake, command, duration, size

if TYPE_CHECKING:
    from ..fleet.protocols import BlobTier, Stored


@command(3, 4)
@click.argument("action", type=click.Choice(["ls", "verify", "gc"]))
@click.option("--remove", is_flag=True, help="verify: take damaged objects away; the next download replaces them.")
@click.option("--older-than", metavar="DURATION", callback=duration, help="gc: what was written longer ago (90d).")
@click.option("--max-size", metavar="SIZE", callback=size, help="gc: the oldest, until so much is left (500GB).")
@click.option("--dry-run", is_flag=True, help="gc: print what would go; change nothing.")
def tier(
    run: Run, action: str, remove: bool, older_than: float | None, max_size: int | None, dry_run: bool
) -> int | None:
    """Look after the bucket that hosts share: ls lists it, verify reads it, gc takes old objects away.

    Downloads need none of this: what they read is verified, and what is damaged or missing comes from the Hub. A bucket
    does not know when an object was last read, so gc goes by when it was written; what is still wanted is written again by
    the next download.
    """
    _refuse_strangers(action, remove=remove, limits=older_than is not None or max_size is not None, dry_run=dry_run)
    settings = run.context().settings
    if settings.tier is None:
        raise SettingError("no tier is set", hint="export MODEL_CACHE_TIER=s3://bucket/prefix")
    if said := settings.foreign_engines:
        raise SettingError(said)
    address = without_secrets(settings.tier)
    try:
        bucket = engines.tier(settings.tier)
        stored = keeping.everything(bucket)
        if action == "verify":
            return _verify(run, address, bucket, stored, remove=remove)
        if action == "ls":
            _list(run, address, stored)
        else:
            going = keeping.plan(stored, time.time(), older_than, max_size)
            _collect(run, address, bucket, stored, going, dry_run=dry_run)
    except EngineError as error:
        raise DownloadError(
            f"{address}: {error}", hint="the bucket's own tools say whether it can be reached"
        ) from None
    return None


def _refuse_strangers(action: str, *, remove: bool, limits: bool, dry_run: bool) -> None:
    """Each option is for one action, and gc needs to be told what to go by."""
    if remove and action != "verify":
        raise UsageMistake("--remove is for `tier verify`", "model-cache tier verify --remove")
    if (limits or dry_run) and action != "gc":
        raise UsageMistake("--older-than, --max-size and --dry-run are for `tier gc`", "model-cache tier gc --help")
    if action == "gc" and not limits:
        raise UsageMistake("tier gc: expected --older-than or --max-size", "model-cache tier gc --older-than 90d")


def _list(run: Run, address: str, stored: list[Stored]) -> None:
    total = sum(one.size for one in stored)
    if run.json:
        described = [_described(one) for one in stored]
        output.write_json({"tier": address, "objects": described, "total_bytes": total})
        return
    if run.quiet:
        output.write_lines(output.one_line(one.name) for one in stored)
        return
    now = time.time()
    rows = [[one.name, format_size(one.size), f"{format_duration(max(now - one.written, 0))} ago"] for one in stored]
    if rows:
        output.write_table(["OBJECT", "SIZE", "WRITTEN"], rows, right=(1,))
    run.note(f"{plural(len(stored), 'object')}, {format_size(total)}, in {address}")


def _verify(run: Run, address: str, bucket: BlobTier, stored: list[Stored], *, remove: bool) -> int:
    damaged: list[dict[str, Any]] = []
    for one, damage in keeping.judge(bucket, stored):
        if not damage:
            continue
        damaged.append({**_described(one), "damage": damage})
        if remove:
            bucket.drop(one.name)
        if run.quiet:
            click.echo(output.one_line(one.name))
        elif not run.json:
            click.echo(output.one_line(f"{'removed' if remove else 'damaged'} {one.name}: {damage}"))
    read = sum(one.size for one in stored)
    if run.json:
        found = {"tier": address, "checked": len(stored), "checked_bytes": read, "damaged": damaged, "removed": remove}
        output.write_json(found)
    run.note(f"{plural(len(stored), 'object')} ({format_size(read)}) read, {len(damaged)} damaged")
    return 0 if not damaged else 4 if remove else 3


def _collect(
    run: Run, address: str, bucket: BlobTier, stored: list[Stored], going: list[Stored], *, dry_run: bool
) -> None:
    for one in going:
        if not dry_run:
            bucket.drop(one.name)
    freed = sum(one.size for one in going)
    total = sum(one.size for one in stored) - freed
    if run.json:
        removed = [_described(one) for one in going]
        output.write_json(
            {"tier": address, "removed": removed, "freed_bytes": freed, "total_bytes": total, "dry_run": dry_run}
        )
        return
    output.write_lines(output.one_line(one.name) for one in going)
    verb = "would free" if dry_run else "freed"
    run.note(f"{verb} {format_size(freed)} ({plural(len(going), 'object')}), leaving {format_size(total)} in {address}")


def _described(one: Stored) -> dict[str, Any]:
    return {"name": one.name, "size": one.size, "written_at": output.timestamp(one.written)}
