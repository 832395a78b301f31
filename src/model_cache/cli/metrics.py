"""`metrics`: what a monitoring system is told."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Any

import click

from .. import __version__, stats
from ..budget.limits import ceiling
from ..errors import IndexUnavailableError, ModelCacheError, quoted
from ..index import queries
from ..metrics import Metric, Reading, Recorded, collect, render
from . import known, output, target
from .command import Run, command

if TYPE_CHECKING:
    from ..context import Context

_MODE = 0o644  # whoever collects metrics is another user
_RUNS = ("verify", "verify_success", "gc")


@command()
@click.option(
    "--textfile",
    metavar="PATH",
    shell_complete=known.paths,
    help="Write to this file, as a whole or not at all, and print nothing.",
)
@click.option("--by-repo", is_flag=True, help="Also files and bytes of each repo.")
def metrics(run: Run, textfile: str | None, by_repo: bool) -> int | None:
    """Print metrics in the text format of Prometheus, or write them to PATH for the node exporter (*.prom).

    Where the index cannot be read, the rest comes out with model_cache_index_up 0, and the exit code is 1.
    """
    ctx = run.existing()
    path = None if textfile is None else target.replaceable(textfile, "--textfile")
    trouble: ModelCacheError | None = None
    recorded = None
    try:
        with closing(ctx.index):
            recorded = _recorded(ctx, by_repo=by_repo)
    except ModelCacheError as error:
        trouble = error
    free, size = stats.free_bytes(ctx.root), stats.total_bytes(ctx.root)
    found = collect(Reading(ctx.root, __version__, ceiling(ctx), free, size, recorded))
    if path is not None:
        target.write(path, render(found), _MODE)
    if run.json:
        output.write_json({"root": ctx.root, "metrics": [_document(metric) for metric in found]})
    elif path is None:
        click.echo(render(found), nl=False)
    if trouble is not None:
        raise trouble
    return None


def _document(metric: Metric) -> dict[str, Any]:
    return {**metric._asdict(), "samples": [sample._asdict() for sample in metric.samples]}


def _recorded(ctx: Context, *, by_repo: bool) -> Recorded:
    """What the index knows.

    Raises:
        IndexUnavailableError: It cannot be read, or there is none.
    """
    index = ctx.index
    if not queries.is_recorded(index):
        raise IndexUnavailableError(
            f"nothing is recorded of {ctx.root} (from {ctx.settings.root_source}): there is no index",
            hint=f"model-cache --root {quoted(ctx.root)} reconcile hashes and enters what is there",
        )
    condition = queries.condition(index)
    return Recorded(
        states=queries.by_state(index),
        pinned=queries.held(index).pinned,
        runs={name: queries.last_run(index, name) for name in _RUNS},
        failed={**condition.verdicts, "quarantined": condition.quarantined},
        oldest=condition.oldest,
        never=condition.never,
        counters=queries.counters(index),
        repos=queries.by_repo(index) if by_repo else None,
    )
