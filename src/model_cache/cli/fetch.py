"""`fetch`: download what is missing of a file, of several, or of a whole repo, and print where it is."""

from __future__ import annotations

import time

import click

from .. import tiers
from ..context import Context
from ..errors import DownloadInProgressError, IndexUnavailableError, OfflineMissError, quoted
from ..hosts import holder_name
from ..layout import Entry, Snapshot
from ..units import format_duration, format_size, plural
from . import known, output
from .command import Run, UsageMistake, command, duration, names
from .progress import narrator

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ..download.request import Outcome, Request
    from .progress import Narrator


@command(10, 11, 12, interrupted="what has arrived is kept; the same command goes on from there")
@click.argument("repo", shell_complete=known.repos)
@click.argument("files", nargs=-1, metavar="[FILE...]", shell_complete=known.files)
@names
@click.option(
    "--include", metavar="PATTERN", multiple=True, help="Of the whole repo only what fits: '*.json', 'onnx/'."
)
@click.option("--exclude", metavar="PATTERN", multiple=True, help="Of the whole repo not what fits.")
@click.option("--force", is_flag=True, help="Download again even if the file is there.")
@click.option("--share-gated", is_flag=True, help="Send the token for a root that a group shares, too.")
@click.option("--offline", is_flag=True, help="Never ask the network: a file that is not there is a miss (10).")
@click.option(
    "--timeout", metavar="DURATION", callback=duration, help="Stop after this long (45s, 10m); what came is kept (11)."
)
def fetch(
    run: Run,
    repo: str,
    files: tuple[str, ...],
    revision: str,
    repo_type: str,
    include: tuple[str, ...],
    exclude: tuple[str, ...],
    force: bool,
    share_gated: bool,
    offline: bool,
    timeout: float | None,
) -> int | None:
    """Download files of REPO where they are missing, and print their absolute paths, one per line.

    Without a FILE all of REPO, from one commit: its directory is printed once everything is there. What belongs to it is
    asked of the Hub once; a complete repo needs no network any more, until `update` moves it.

    Everything it downloads is compared with the hash that the Hub promised before it is printed; a file that is already
    there is printed as it is. Of many processes that want one file at once, one downloads it and the others wait for it.
    An interrupted download is resumed by the next fetch.

    Gated and private repos are refused where a group shares the root: what one token may read, not everybody may.
    """
    if files and (include or exclude):
        raise UsageMistake(
            "--include and --exclude choose from the whole repo: expected no FILE beside them",
            f"model-cache fetch {quoted(repo)} --include {quoted((include or exclude)[0])}",
        )
    # All names first: a misspelt one is to stop the command before anything is downloaded.
    entries = [Entry(repo, name, revision, repo_type) for name in files]
    snapshot = Snapshot(repo, revision, repo_type)
    ctx = run.context(offline=offline or None, share_gated=share_gated or None)
    deadline = None if timeout is None else ctx.clock.monotonic() + timeout
    with narrator(quiet=run.quiet, no_progress=ctx.settings.no_progress) as progress:
        from ..download.request import Request

        request = Request(force=force, offline=ctx.settings.offline, deadline=deadline, progress=progress)
        if not entries:
            _whole(run, ctx, snapshot, (include or None, exclude or None), request, progress)
            return None
        results = []
        for entry in entries:
            outcome = _one(ctx, entry, request, progress)
            results.append((entry, outcome))
            if not run.json:
                click.echo(outcome.found.text)
    if run.json:
        path = results[0][1].found.text if len(results) == 1 else f"{ctx.root}/{snapshot.directory}"
        output.write_json(_document(ctx, snapshot, path, results))
    return None


def _whole(
    run: Run,
    ctx: Context,
    snapshot: Snapshot,
    patterns: tuple[tuple[str, ...] | None, tuple[str, ...] | None],
    request: Request,
    progress: Narrator,
) -> None:
    """All of a repo, or what is selected of it."""
    from ..download.repo import Selection, fetch_repo

    began = time.monotonic()
    try:
        fetched = fetch_repo(ctx, snapshot, Selection(*patterns), request)
    except DownloadInProgressError as error:
        error.hint = "the same command goes on from there"
        raise
    finally:
        progress.finished()
    path = f"{fetched.ctx.root}/{snapshot.directory}"
    if any(outcome.source != "hit" for outcome in fetched.outcomes):
        seconds = max(time.monotonic() - began, 1e-6)
        progress.say(_told_whole(snapshot, fetched.commit, fetched.outcomes, seconds))
    if run.json:
        results = list(zip(fetched.entries, fetched.outcomes, strict=True))
        output.write_json(_document(ctx, snapshot, path, results) | {"commit": fetched.commit})
    else:
        click.echo(path)


_WORDS = {
    "download": "downloaded",
    "resume": "resumed",
    "tier": "from the tier",
    "link": "linked",
    "copy": "copied",
    "hit": "there already",
}


def _told_whole(snapshot: Snapshot, commit: str, outcomes: list[Outcome], seconds: float) -> str:
    """How a repo came of which not everything was there."""
    counts = dict.fromkeys(_WORDS, 0)
    for outcome in outcomes:
        counts[outcome.source] += 1
    told = ", ".join(f"{count} {_WORDS[source]}" for source, count in counts.items() if count)
    size = sum(outcome.downloaded for outcome in outcomes)
    return (
        f"{snapshot} at {commit[:12]}: {plural(len(outcomes), 'file')}, {told}; {format_size(size)} in"
        f" {format_duration(seconds)}, {format_size(size / seconds)}/s, verified"
    )


def _one(ctx: Context, entry: Entry, request: Request, progress: Narrator) -> Outcome:
    """One file; a hit loads neither HTTP nor lock code."""
    from ..download.request import Outcome

    if not request.force and (found := tiers.find(ctx, entry)):
        return Outcome(found, "hit", 0)
    from ..download.miss import fetch as download

    began = time.monotonic()
    try:
        outcome = download(ctx, entry, request)
    except OfflineMissError as error:
        if ctx.settings.sources["offline"] == "the argument offline":
            error.hint = f"place the file at {quoted(entry.path(ctx.root))}, or leave out --offline"
        raise
    except DownloadInProgressError as error:
        raise _out_of_time(ctx, entry, error) from None
    finally:
        progress.finished()  # a wait that ended with a hit leaves its bar on the line that the path is to have
    if outcome.source != "hit":
        progress.say(_told(entry, outcome, max(time.monotonic() - began, 1e-6)))
    return outcome


def _told(entry: Entry, outcome: Outcome, seconds: float) -> str:
    """How a file came that was not there."""
    if outcome.source == "link":
        return f"linked {entry}: the cache had the same bytes under another name, verified"
    if outcome.source == "copy":
        return f"copied {entry} from a lower root, verified"
    amount = f"{format_size(outcome.downloaded)} in {format_duration(seconds)}"
    rate = f"{format_size(outcome.downloaded / seconds)}/s"
    if outcome.source == "tier":
        return f"{entry} came from the tier: {amount}, {rate}, verified"
    if outcome.source != "resume":
        return f"downloaded {entry}: {amount}, {rate}, verified"
    if not outcome.downloaded:
        return f"resumed {entry}: all of it had arrived, verified"
    return f"resumed {entry}: the last {amount}, {rate}, verified"


def _out_of_time(ctx: Context, entry: Entry, error: DownloadInProgressError) -> DownloadInProgressError:
    """Our own time-out, in other words than another process's download: nobody goes on with ours."""
    from ..download import notes

    if notes.read(ctx, entry).holder != holder_name():
        return error
    total = "" if error.total is None else f" of {format_size(error.total)}"
    return DownloadInProgressError(
        f"{entry}: the time is up with {format_size(error.done)}{total} downloaded",
        hint="the same command goes on from there",
        done=error.done,
        total=error.total,
        rate=error.rate,
        eta=error.eta,
    )


def _document(ctx: Context, snapshot: Snapshot, path: str, results: list[tuple[Entry, Outcome]]) -> dict[str, Any]:
    """The JSON document; hashes and commit where the index knows them for exactly this file, else null."""
    recorded = _recorded(ctx, results)
    files = []
    for (entry, outcome), (sha256, etag, _) in zip(results, recorded, strict=True):
        found = outcome.found
        described = {"filename": entry.filename, "path": found.text, "size": found.size}
        files.append(described | {"sha256": sha256, "etag": etag, "source": outcome.source})
    commits = {commit for _, _, commit in recorded}
    return {
        "repo": snapshot.repo,
        "revision": snapshot.revision,
        "commit": commits.pop() if len(commits) == 1 else None,
        "path": path,
        "bytes_downloaded": sum(outcome.downloaded for _, outcome in results),
        "files": files,
    }


def _recorded(ctx: Context, results: list[tuple[Entry, Outcome]]) -> list[tuple[str | None, str | None, str | None]]:
    """(sha256, etag, commit) of each file as the index has them, if it has this very file."""
    from contextlib import ExitStack, closing

    from ..index.ledger import Ledger
    from .listing import is_sound

    known: list[tuple[str | None, str | None, str | None]] = []
    with ExitStack() as stack:
        roots = {at.root: Ledger(stack.enter_context(closing(at.index))) for at in (ctx, *ctx.lower)}
        for entry, outcome in results:
            found = outcome.found
            try:
                row = roots[found.text.removesuffix(f"/{entry.relative}") or "/"].row(entry)
            except IndexUnavailableError:
                row = None
            if (
                row is not None
                and is_sound(row)
                and (row.ino, row.size, row.mtime_ns) == (found.ino, found.size, found.mtime_ns)
            ):
                known.append((row.sha256, row.etag, row.commit))
            else:
                known.append((None, None, None))
    return known
