"""Whose are the root and the cache's own directories and files, and may this user do with them what has to be done?"""

from __future__ import annotations

import os
import stat

from .. import trust
from ..context import Context
from ..errors import quoted
from ..platforms.capabilities import USERS, user_name
from ..platforms.capabilities import user as this_user
from ..platforms.space import is_read_only
from ..units import plural
from . import fixing
from .check import Check, fail, ok, warn

_NAME = "permissions"


def permissions(ctx: Context) -> list[Check]:
    """One finding for each thing that is wrong, or one that says that nothing is."""
    if not USERS:
        return [ok(_NAME, "owners and modes say nothing on this system")]
    # The root itself may be a symlink; nothing below it that is the cache's own may.
    root = os.stat(ctx.root)
    found = _look(ctx, ctx.root, root)
    if (closed := judge_mode(ctx.root, root, ctx.settings.sharing)) is not None:
        found.append(closed)
    apart = {ctx.places.own, ctx.places.state}  # one, unless there is a state_dir
    for path in sorted(part for place in apart for part in (place, *_inside(place))):
        try:
            found += _look(ctx, path, os.lstat(path))
        except FileNotFoundError:
            continue  # not made yet, or a file of a process that has ended
    found += judge_modes(fixing.look(ctx).amiss, this_user())
    found += [
        fail(_NAME, f"{path} is a file, where a directory is needed", f"ls -ld {quoted(path)}")
        for path in _directories(ctx)
        if os.path.isfile(path) and not os.path.islink(path)
    ]
    may = "read" if is_read_only(ctx.root) else "read and write"
    return found or [ok(_NAME, f"this user may {may} everything of the cache's own")]


def _inside(own: str) -> list[str]:
    """What is directly in `.model-cache/`."""
    if os.path.islink(own):
        return []
    try:
        return [f"{own}/{name}" for name in sorted(os.listdir(own))]
    except OSError:
        return []  # not there, or said of the directory itself


def _directories(ctx: Context) -> list[str]:
    places = ctx.places
    made = (places.locks, places.used, places.damaged, places.partials, places.trash, places.quarantine)
    return [places.own, *(path.rstrip("/") for path in made)]


def _look(ctx: Context, path: str, found: os.stat_result) -> list[Check]:
    """What is wrong with one file or directory."""
    if stat.S_ISLNK(found.st_mode):
        what = f"{path} is a symlink to {os.readlink(path)}"
        return [fail(_NAME, f"{what}, and what is the cache's own is never reached through one", _list(path))]
    return [
        check
        for check in (
            judge_access(path, _denied(ctx, path, found)),
            judge_owner(path, found, this_user(), ctx.settings.sharing),
            # The policy's mode is somebody's choice, which `--fix` leaves alone; of all else `judge_modes` says it.
            judge_mode(path, found, ctx.settings.sharing) if path == ctx.settings.policy_file else None,
        )
        if check is not None
    ]


def _denied(ctx: Context, path: str, found: os.stat_result) -> list[str]:
    """What this user may not do with it, of what it is there for."""
    wanted = [(os.R_OK, "read")]
    # Where the whole file system is read-only, that is one finding, of the trials, and not one for each file.
    if not ctx.settings.read_only and not is_read_only(path):
        wanted.append((os.W_OK, "write"))
    if stat.S_ISDIR(found.st_mode):
        wanted.append((os.X_OK, "search"))
    return [what for mode, what in wanted if not os.access(path, mode)]


def judge_access(path: str, denied: list[str]) -> Check | None:
    """What it means that this user may not do so with it."""
    if not denied:
        return None
    what = f"this user may not {' or '.join(denied)} {path}"
    return fail(_NAME, f"{what}: a hit needs to read, a download to write as well", _list(path))


def judge_owner(path: str, found: os.stat_result, user: int, sharing: str) -> Check | None:
    """What it means that it belongs to somebody; with `sharing=group` that may be anybody of the group."""
    if found.st_uid == user or sharing == "group":
        return None
    what = f"{path} belongs to {user_name(found.st_uid)}, and this is {user_name(user)}"
    return warn(_NAME, f"{what}: what one of the two makes, the other may be unable to use", _list(path))


def judge_mode(path: str, found: os.stat_result, sharing: str) -> Check | None:
    """What its mode means under this `sharing`."""
    mode = stat.S_IMODE(found.st_mode)
    if mode & stat.S_IWOTH:
        what = f"every user of this machine can write {path} (mode {mode:o})"
        return warn(_NAME, f"{what}, and so decide what a model is", f"chmod o-w {quoted(path)}")
    if sharing == "group" and not mode & stat.S_IWGRP:
        what = f"the group cannot write {path} (mode {mode:o}), and sharing is group"
        return warn(_NAME, f"{what}: other users cannot download into this root", f"chmod g+rwX {quoted(path)}")
    return None


def judge_modes(amiss: list[fixing.Amiss], user: int) -> list[Check]:
    """What it means that so much of what the cache made has a wrong mode: one finding, and who can repair all of it."""
    if not amiss:
        return []
    first, owners = amiss[0], sorted({one.owner for one in amiss} - {user_name(user), user_name(0)})
    more = f", and likewise {plural(len(amiss) - 1, 'other')}" if amiss[1:] else ""
    if all(one.elsewhere for one in amiss):
        what = "it has a name outside of this cache too, and is its own once it was removed here and fetched again"
        detail = f"{first.path} (mode {first.before:o}): {first.why}{more}; {what}"
        return [warn(_NAME, detail, f"rm {quoted(first.path)}")]
    who = f", run by {' and by '.join(owners)}, or by root" if owners and user else ""
    return [warn(_NAME, f"{first.path} (mode {first.before:o}): {first.why}{more}", f"model-cache doctor --fix{who}")]


def parents(ctx: Context) -> list[Check]:
    """Who else than this user and root could put another directory in the place of the root."""
    if not USERS:
        return [ok("parents", "owners and modes say nothing on this system")]
    return judge_parents(ctx.root, trust.parents(ctx.root), this_user())


def judge_parents(root: str, above: list[tuple[str, os.stat_result]], user: int) -> list[Check]:
    """What it means that these directories are above the root, with these owners and modes."""
    found = [(path, why) for path, status in above if (why := trust.distrust_parent(path, status, user))]
    what = "can put another directory in the place of the root, and so decide what a model is"
    return [warn("parents", f"{why}: they {what}", f"ls -ld {quoted(path)}") for path, why in found] or [
        ok("parents", f"only this user and root can rename {root}")
    ]


def _list(path: str) -> str:
    return f"ls -ld {quoted(path)}"
