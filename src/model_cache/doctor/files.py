"""Do rename, fsync, links and names do what the cache relies on? Tried, the rename under the eyes of another process."""

from __future__ import annotations

import errno
import os
from typing import NamedTuple

from .. import disk
from ..platforms import at, opened
from ..platforms.capabilities import CLOEXEC
from ..platforms.space import longest_name
from .check import ELSEWHERE, Check, fail, ok, warn
from .partner import Partner
from .trial import Trial

_RENAMES = 300
_RENAMES_END = 10.0  # seconds, after which fewer have to do
_VERSION = 64 << 10  # bytes; several pages, so that half a file can be seen
_SLOW = 1.0  # seconds for an fsync; each download waits for more than a dozen
_LONGEST = 255  # bytes of a name, on every file system that is common on servers
_MODE = 0o600


class Watched(NamedTuple):
    """What another process saw of a file that was replaced meanwhile: looks, those at nothing, those at half a file."""

    renames: int
    looks: int
    missing: int
    torn: int


def rename(trial: Trial) -> Check:
    """A file is replaced over and over while another process reads it, until that has looked as often."""
    path = trial.path("renamed")
    with trial.partner() as other:
        disk.write_small(path, b"\0" * _VERSION, _MODE)
        deadline = trial.clock.monotonic() + _RENAMES_END
        found = Watched(0, 0, 0, 0)
        while found.looks < _RENAMES and (not found.looks or trial.clock.monotonic() < deadline):
            found = _round(trial, other, path, found, deadline)
    return judge_rename(found)


def _round(trial: Trial, other: Partner, path: str, before: Watched, deadline: float) -> Watched:
    """Renames while the other process looks; what was seen so far."""
    other.ask("watch", "renamed", str(_VERSION))
    done = 0
    while done < _RENAMES and (done == 0 or trial.clock.monotonic() < deadline):
        done += 1
        disk.write_small(path, bytes([done % 256]) * _VERSION, _MODE)
    looks, missing, torn = (int(word) for word in other.ask("stop").split())
    return Watched(before.renames + done, before.looks + looks, before.missing + missing, before.torn + torn)


def judge_rename(found: Watched) -> Check:
    """What the outcome means."""
    seen = f"{found.renames} renames, {found.looks} looks of another process"
    if found.missing or found.torn:
        what = f"rename is not atomic: {seen}, {found.missing} found no file and {found.torn} half a one"
        return fail("rename", f"{what}; a reader can miss a file that is there, or read a part of it", ELSEWHERE)
    return ok("rename", f"atomic: {seen}, each at a whole file")


def fsync(trial: Trial) -> Check:
    """Whether a file and a directory can be made durable, and how long each takes."""
    path = trial.file("fsync", b"\1" * _VERSION)
    began = trial.clock.monotonic()
    disk.fsync_file(path)
    between = trial.clock.monotonic()
    try:
        disk.fsync_directory(trial.directory)
    except OSError as error:
        what = f"a directory cannot be made durable here ({error.strerror})"
        return fail("fsync", f"{what}: downloads fail at the last step", ELSEWHERE)
    return judge_fsync(between - began, trial.clock.monotonic() - between)


def judge_fsync(file: float, directory: float) -> Check:
    """What it means that they took so many seconds."""
    took = f"file {file * 1000:.0f} ms, directory {directory * 1000:.0f} ms"
    if max(file, directory) > _SLOW:
        return warn("fsync", f"{took}: each download waits for three of them", "iostat -x 1 5")
    return ok("fsync", took)


class Linked(NamedTuple):
    """What became of a publish: is it one file with two names, and was a second publish kept from replacing it."""

    one_file: bool
    counted: bool
    refused: bool


def hard_links(trial: Trial) -> Check:
    """The publish of a download, which is a hard link that never replaces."""
    path = trial.file("partial")
    fd = os.open(path, os.O_RDONLY | CLOEXEC)
    directory = at.open_directory(trial.directory)
    try:
        if not disk.publish(fd, path, "published", directory):
            return fail("hard-links", "a file could not be given its name, though nothing stood there", ELSEWHERE)
        one_file = os.path.lexists(path)
        second = trial.file("second")
        other = os.open(second, os.O_RDONLY | CLOEXEC)
        try:
            refused = not disk.publish(other, second, "published", directory)
        finally:
            os.close(other)
        found, names = os.stat(trial.path("published")), os.fstat(fd)
        counted = os.path.samestat(found, names) and names.st_nlink == 2
        return judge_hard_links(Linked(one_file, counted, refused))
    finally:
        at.close(directory)
        os.close(fd)


def judge_hard_links(found: Linked) -> Check:
    """What the outcome means."""
    name = "hard-links"
    if not found.refused:
        return fail(name, "a link replaced a file that was there: somebody's file can be overwritten", ELSEWHERE)
    if not found.one_file:
        what = "there are none here: a download is published by check and rename"
        return warn(name, f"{what}, and a file that somebody places between the two is overwritten")
    if not found.counted:
        what = "two names of one file look like two files here, as on sshfs"
        return warn(name, f"{what}: gc cannot tell that a file has a second name")
    return ok(name, "publish is one step, and never replaces a file")


def reflinks(trial: Trial) -> Check:
    """Copies that share their blocks; only faster."""
    data = b"\2" * _VERSION
    source, target = trial.file("original", data), trial.file("copy")
    reading, writing = os.open(source, os.O_RDONLY | CLOEXEC), os.open(target, os.O_RDWR | CLOEXEC)
    try:
        shared = opened.clone(reading, writing)
        copied = opened.read_at(writing, len(data) + 1, 0)
    finally:
        os.close(reading)
        os.close(writing)
    return judge_reflinks(shared=shared, same=copied == data)


def judge_reflinks(*, shared: bool, same: bool) -> Check:
    """What it means that a reflink was made, and had the same bytes."""
    name = "reflinks"
    if not shared:
        return ok(name, "none here: a copy takes its own time and room")
    if not same:
        return fail(name, "a copy that shares its blocks came out with other bytes", ELSEWHERE)
    return ok(name, "copies share their blocks")


def names(trial: Trial) -> Check:
    """Whether names that differ by case or by Unicode composition are one name here."""
    trial.file("case")
    # As the bytes that the cache stores, whatever the locale.
    composed, decomposed = (os.fsdecode(name.encode()) for name in ("caf\u00e9", "cafe\u0301"))
    trial.file(composed)
    case = os.path.lexists(trial.path("CASE"))
    composition = os.path.lexists(trial.path(decomposed))
    return judge_names(case=case, composition=composition)


def judge_names(*, case: bool, composition: bool) -> Check:
    """What it means that the file system folds so."""
    if case:
        both = "case, and by Unicode composition," if composition else "case"
        what = f"names that differ only by {both} are one here"
        return warn("names", f"{what}: of two such files of a repo the second one that is asked for is refused")
    if composition:
        what = "names that differ only by Unicode composition (NFC, NFD) are one here"
        return warn("names", f"{what}, and the second of two such files of a repo is taken for the first")
    return ok("names", "upper and lower case, NFC and NFD are told apart")


def long_names(trial: Trial) -> Check:
    """Whether a name can have as many bytes as the cache lets it have."""
    try:
        trial.file("n" * _LONGEST)
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG:
            raise
        limit = longest_name(trial.directory)
        what = f"a name of {_LONGEST} bytes is refused; this file system takes {limit or 'fewer'}"
        return warn("long-names", f"{what}: files with longer names cannot be stored here")
    return ok("long-names", f"{_LONGEST} bytes")
