"""What a shell completes: repos, files and keys, read from the directories alone: no index, no lock, no network.

Whoever presses Tab waits, and has asked for nothing to be done: nothing is written, and what cannot be read is not offered.
Files placed by hand are offered as well, since they are hits; so are those of lower roots.

Two entries can stand for one path (see `layout.readings`): a directory with files in it is offered as a repo, one with
nothing but directories as the owner of those.
"""

from __future__ import annotations

import os
from itertools import islice

from .. import beneath, walk
from ..errors import InvalidNameError, ModelCacheError
from ..layout import OWN, PREFIXES, check_filename, repo_directory
from ..platforms import at
from ..settings import KEYS, Settings

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    import click
    from click.shell_completion import CompletionItem

_MOST = 2000  # of anything; a shell that is handed more asks whether to show them all


def repos(ctx: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
    """The repos in the cache, of the `--repo-type` that was given."""
    kind = ctx.params.get("repo_type") or "model"
    found: dict[str, None] = {}
    for root in _roots(ctx):
        found.update(dict.fromkeys(islice(_repos(root, kind, incomplete), _MOST)))
    return sorted(found)


def files(ctx: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
    """The files in the cache of the repo that was given, at its `--revision`, without those that were given too."""
    given = ctx.params.get("files") or ()
    repo, revision, kind = (ctx.params.get(name) for name in ("repo", "revision", "repo_type"))
    if not repo:
        return []
    repo, _, behind = repo.partition("@")  # as `lock` takes it
    found: dict[str, None] = {}
    for root in _roots(ctx):
        try:
            directory = repo_directory(repo, behind or revision or "main", kind or "model")
        except InvalidNameError:
            return []
        found.update(dict.fromkeys(islice(_files(root, directory, incomplete), _MOST)))
    return [name for name in sorted(found) if name not in given]


def keys(_ctx: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
    """The keys of the policy."""
    return [key for key in KEYS if key.startswith(incomplete)]


def paths(_ctx: click.Context, _parameter: click.Parameter, incomplete: str) -> list[CompletionItem[str]]:
    """Whatever file the user has: the shell knows better how to complete one."""
    return _left_to_the_shell(incomplete, "file")


def directories(_ctx: click.Context, _parameter: click.Parameter, incomplete: str) -> list[CompletionItem[str]]:
    """Whatever directory the user has."""
    return _left_to_the_shell(incomplete, "dir")


def _left_to_the_shell(incomplete: str, kind: str) -> list[CompletionItem[str]]:
    from click.shell_completion import CompletionItem  # which only a Tab has loaded

    return [CompletionItem(incomplete, type=kind)]


def _roots(ctx: click.Context) -> list[str]:
    """The root that the command would act on, and those below it; none where no setting leads to one."""
    given = ctx.params.get("root") or ctx.find_root().params.get("root")
    try:
        settings = Settings(os.environ, root=given)
    except (ModelCacheError, OSError):
        return []
    return [settings.root, *settings.lower]


def _repos(root: str, kind: str, incomplete: str) -> Iterator[str]:
    owner, slash, _ = incomplete.partition("/")
    wanted = [owner] if slash else [name for name in _inside(root, PREFIXES[kind])[0] if name.startswith(incomplete)]
    for name in wanted:
        below, has_files = _inside(root, f"{PREFIXES[kind]}{name}/")
        candidates = [name] if has_files and not slash else [f"{name}/{inner}" for inner in below]
        for candidate in candidates:
            repo = candidate.partition("@")[0]
            if repo.startswith(incomplete) and _is_repo(repo, kind):
                yield repo


def _inside(root: str, place: str) -> tuple[list[str], bool]:
    """The directories in a directory below a root, and whether files are in it too."""
    try:
        fd = beneath.open_entry_directory(root, place)
    except OSError:
        return [], False
    try:
        found, has_files = [], False
        with os.scandir(fd) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    found.append(entry.name)
                has_files = has_files or entry.is_file(follow_symlinks=False)
    finally:
        at.close(fd)
    return [name for name in found if name != OWN], has_files


def _is_repo(name: str, kind: str) -> bool:
    try:
        repo_directory(name, repo_type=kind)
    except InvalidNameError:
        return False
    return True


def _files(root: str, directory: str, incomplete: str) -> Iterator[str]:
    # Where a directory has been typed, what lies beside it need not be walked.
    inner = incomplete.rpartition("/")[0]
    for relative, _ in walk.files(root, f"{directory}/{inner}".rstrip("/")):
        name = relative.removeprefix(f"{directory}/")
        if name.startswith(incomplete) and _is_file(name):
            yield name


def _is_file(name: str) -> bool:
    try:
        check_filename(name)
    except InvalidNameError:
        return False
    return True
