"""Readers: a hit, a lease, and a program that never heard of this cache. See `hit.py` and `lease.py`."""

from __future__ import annotations

from .state import NOTHING, PATH
from .steps import step
from .turn import Turn


@step("(open)")
def open_file(t: Turn) -> None:
    """Open what is at the path, without waiting for a test of the kernel's."""
    entry = t.p.target
    ino = t.ino(PATH, entry)
    if ino == NOTHING:
        t.go(t.p.otherwise)
    elif not t.is_tested(ino):
        t.open(entry, ino)
        t.go("(lease)")


@step("(lease)")
def lease(t: Turn) -> None:
    """Take a shared lease, or begin anew if somebody holds the file exclusively."""
    entry = t.p.target
    if t.leases(t.p.fd[entry]) - {"shared"}:
        t.close(entry)
        t.go("(open)")
        return
    t.lease(entry, "shared")
    t.go("(compare)")


@step("(compare)")
def compare(t: Turn) -> None:
    """Is the file that is open still the one at the path, and is it not known to be damaged."""
    entry, p = t.p.target, t.p
    ino = p.fd[entry]
    if t.ino(PATH, entry) != ino and not t.is_mutant("no inode check"):
        t.close(entry)
        t.go("(open)")
    elif t.w.marks[entry] == t.ident(ino):
        t.close(entry)
        t.go(p.otherwise)
    elif p.then == "(hold)":
        t.p = p._replace(promise="leased", promised=t.ident(ino))
        t.go("(hold)")
    elif p.then == "link:hash":
        t.go("link:hash")
    else:
        t.go("(touch)")


@step("(touch)")
def touch(t: Turn) -> None:
    """Last use = now, and let the lease go: the path is handed out."""
    entry = t.p.target
    t.touch(entry)
    t.p = t.p._replace(promise="handed", promised=t.ident(t.p.fd[entry]))
    t.close(entry)
    t.go(t.p.then)


@step("(hold)")
def hold(t: Turn) -> None:
    """Use the file under the lease, for as long as it takes; then touch it and let go."""
    touch(t)
    t.end()


@step("(missed)")
def missed(t: Turn) -> None:
    """There is no file; this reader does not download."""
    t.end()


@step("(handed out)")
def handed_out(t: Turn) -> None:
    """Return the path."""
    t.end()


@step("(outsider opens)")
def outsider_opens(t: Turn) -> bool | None:
    """A program without leases opens the path; the kernel lets it wait while somebody tests the file."""
    entry, before = t.p.entry, t.processes
    ino = t.ino(PATH, entry)
    if ino == NOTHING:
        t.end()
        return None
    tested = t.is_tested(ino)
    if tested and before != t.processes:
        return None  # it waits, and the holder of the test will see that
    if tested and not t.break_by_force(ino):
        return False
    t.open(entry, ino)
    t.p = t.p._replace(promise="open", promised=t.ident(ino))
    t.go("(outsider reads)")
    return None


@step("(outsider reads)")
def outsider_reads(t: Turn) -> None:
    """It reads to the end and closes."""
    t.close(t.p.entry)
    t.p = t.p._replace(promise="", promised=None)
    t.end()
