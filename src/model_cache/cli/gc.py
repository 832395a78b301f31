"""`gc`: down to the budget, and rid of what nobody wants."""

from __future__ import annotations

import os
import time
from contextlib import closing
from typing import TYPE_CHECKING, Any

import click

from .. import stats
from ..budget.collection import GcReport
from ..budget.limits import ceiling
from ..budget.owners import owners
from ..errors import LockTimeoutError
from ..operations import gc as collect
from ..units import format_duration, format_size, parse_budget, plural
from . import output
from .command import Run, command, duration, size
from .entries import Reasons, directory, last_use, named, skipped

if TYPE_CHECKING:
    from ..budget.eviction import Spared
    from ..context import Context
    from ..index import Row


@command(11)
@click.option("--max-size", metavar="SIZE", help="Evict down to this (50GB, 50GiB, 80%), whatever the policy says.")
@click.option("--min-free", metavar="SIZE", callback=size, help="Evict until the file system has this much free.")
@click.option(
    "--older-than", metavar="DURATION", callback=duration, help="Expire what was not used for this long (30d)."
)
@click.option("--dry-run", is_flag=True, help="Print the plan; change nothing.")
@click.option("--skip-if-busy", is_flag=True, help="Exit 0 while another eviction is under way, not 11.")
def gc(
    run: Run,
    max_size: str | None,
    min_free: int | None,
    older_than: float | None,
    dry_run: bool,
    skip_if_busy: bool,
) -> int | None:
    """Evict the least recently used down to the budget, expire, and remove what downloads that died have left.

    What it goes by is the policy of the root (`model-cache config`), unless an option says otherwise this once. With a
    budget it begins above 95 % and stops below 85 % of it; with no policy and no option nothing is evicted. What is
    pinned, leased, open in a program or was used within min_idle stays. Never asks. With -q the paths that went.
    """
    share = None if max_size is None else parse_budget(max_size, "--max-size")
    run.existing()
    ctx = run.context()
    limit = int(share * (stats.total_bytes(ctx.root) or 0)) if isinstance(share, float) else share
    if not os.path.isdir(ctx.places.own):
        # Only files placed by hand: none of them is ours to take, and looking leaves nothing behind.
        report = GcReport(budget_bytes=ceiling(ctx) if limit is None else limit, dry_run=dry_run)
    else:
        ctx = run.prepared()
        with closing(ctx.index):
            try:
                report = collect(ctx, limit, min_free, older_than, dry_run=dry_run)
            except LockTimeoutError as error:
                return skipped(run, error, skip=skip_if_busy)
    by_row: dict[int, Spared] = {}
    for one in report.spared:
        by_row.setdefault(one.row.id, one)  # the first reason is the telling one
    spared = list(by_row.values())
    reasons = Reasons(ctx, spared)
    if run.json:
        output.write_json(_document(ctx, report, spared, reasons))
    elif run.quiet:
        click.echo("".join(f"{ctx.root}/{row.path}\n" for row, _, _ in report.evicted), nl=False)
    else:
        _show(ctx, report, spared, reasons)
    _sum_up(run, ctx, report, min_free)
    if untested := [one.row for one in spared if one.reason == "untested"]:
        whose = owners(ctx, untested)
        run.note(
            f"hint: {plural(len(untested), 'file')} of {whose} stayed: run gc as {whose} or root (from cron), or allow it"
            " untested: model-cache config evict_untested=true"
        )
    return None


def _document(ctx: Context, report: GcReport, spared: list[Spared], reasons: Reasons) -> dict[str, Any]:
    return {
        "evicted": [
            {**named(ctx, row), "last_used_at": output.timestamp(used), "reason": reason}
            for row, used, reason in report.evicted
        ],
        "spared": [{**named(ctx, one.row), "reason": one.reason, "in_use": reasons.users(one)} for one in spared],
        "freed_bytes": report.freed_bytes,
        "total_bytes": report.total_bytes,
        "budget_bytes": report.budget_bytes,
        "partials_removed": report.partials_removed,
        "quarantine_removed": report.quarantine_removed,
        "dry_run": report.dry_run,
    }


def _show(ctx: Context, report: GcReport, spared: list[Spared], reasons: Reasons) -> None:
    """The plan, or what became of it: who goes in the order of going, then who stays and why."""
    now = time.time()
    words = {"evict": "evict", "expire": "expire"} if report.dry_run else {"evict": "evicted", "expire": "expired"}
    rows = [_line(row, now - used, words.get(reason, reason)) for row, used, reason in report.evicted]
    keep = "keep" if report.dry_run else "kept"
    rows += [_line(one.row, now - last_use(ctx, one.row), f"{keep}: {reasons.text(one)}") for one in spared]
    if rows:
        output.write_table(
            ["REPO", "FILE", "SIZE", "USED", "PLAN" if report.dry_run else "DONE"], rows, right=(2,), grouped=True
        )


def _line(row: Row, age: float, what: str) -> list[str]:
    used = f"{format_duration(max(age, 0.0))} ago"
    return [directory(row), row.filename, format_size(row.size or 0), used, what]


def _sum_up(run: Run, ctx: Context, report: GcReport, min_free: int | None) -> None:
    freed, total, budget = format_size(report.freed_bytes), format_size(report.total_bytes), report.budget_bytes
    files = plural(len(report.evicted), "file")
    of = "no budget is set" if budget is None else f"the budget is {format_size(budget)}"
    if report.dry_run:
        run.note(f"would free {freed} ({files}), leaving {total}; {of}")
    else:
        for count, noun in ((report.partials_removed, "partial"), (report.quarantine_removed, "damaged file")):
            files += f", {plural(count, noun)}" if count else ""
        run.note(f"freed {freed} ({files}), leaving {total}; {of}")
    idle = ctx.settings.min_idle
    why = f"in use, pinned, under way, or was used less than {format_duration(idle)} ago"
    if budget is not None and report.total_bytes > budget:
        run.note(
            f"warning: {format_size(report.total_bytes - budget)} over the budget: what is left is"
            f" {why if idle else 'in use, pinned, or under way'}"
        )
    wanted = ctx.settings.min_free if min_free is None else min_free
    free = stats.free_bytes(ctx.root)
    if not report.dry_run and wanted is not None and free is not None and free < wanted:
        run.note(f"warning: {format_size(free)} free on the file system of {ctx.root}, wanted {format_size(wanted)}")
