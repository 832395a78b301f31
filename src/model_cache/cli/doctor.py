"""`doctor`: does the cache work here?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from ..errors import StorageError
from ..units import plural
from . import output
from .command import Run, command

if TYPE_CHECKING:
    from ..doctor import Report
    from ..doctor.fixing import Amiss, Modes


_TOLD = 20  # repairs that are told one by one


@command(3)
@click.option("--fix", is_flag=True, help="Repair the modes and the group of what the cache made, first.")
def doctor(run: Run, fix: bool) -> int | None:
    """Try, with two processes, whether locks, rename and fsync work on the file system of the root.

    Also permissions, space, the index, the clock and versions. A check that fails (3) names what does not work then; one
    that warns, what does not hold. Everything is tried in a directory of its own below the root that is removed again;
    a root that is not there is not made. With -q only the names of what failed.

    With --fix what the cache made gets the modes that `sharing` says, and in a root that a group shares its group; what
    was changed is told. The root itself, and what somebody placed by hand, is left alone.
    """
    from ..doctor import Status, examine
    from ..doctor.fixing import Modes, look

    ctx = run.context()
    modes = Modes()
    if fix:
        ctx = run.existing()
        if ctx.settings.read_only:
            raise StorageError("MODEL_CACHE_READ_ONLY is set, and --fix writes", hint="unset MODEL_CACHE_READ_ONLY")
        modes = look(ctx, fix=True)
        _tell(run, modes)
    report = examine(ctx)
    if run.json:
        output.write_json(_document(report, modes))
    elif run.quiet:
        click.echo("".join(f"{name}\n" for name in dict.fromkeys(check.name for check in report.failed)), nl=False)
    else:
        output.write_table(
            ["CHECK", "STATUS", "FOUND"], [[check.name, check.status, check.detail] for check in report.checks]
        )
    for check in report.checks:
        if check.hint:
            run.note(f"hint: {check.name}: {check.hint}")
    warned = sum(check.status is Status.WARN for check in report.checks)
    run.note(f"{plural(len(report.checks), 'check')}: {len(report.failed)} failed, {plural(warned, 'warning')}")
    return 3 if report.failed else 0


def _tell(run: Run, modes: Modes) -> None:
    for one in modes.fixed[:_TOLD]:
        run.note(f"fixed: {one.path}: mode {one.before:o} is {one.after:o} now ({one.why})")
    if len(modes.fixed) > _TOLD:
        run.note(f"fixed: {len(modes.fixed) - _TOLD} more (all of them with --json)")
    for one in modes.left[:_TOLD]:
        run.note(f"not fixed: {one.path}: {one.why}; {_whose(one)}")
    if len(modes.left) > _TOLD:
        run.note(f"not fixed: {len(modes.left) - _TOLD} more (all of them with --json)")
    if not modes.amiss:
        run.note("nothing to fix: everything that the cache made has its mode")


def _whose(one: Amiss) -> str:
    if one.elsewhere:
        return "it has a name outside of this cache too, which a change would reach: rm it, and fetch it again"
    return f"it belongs to {one.owner}, who can fix it, as root can"


def _described(one: Amiss) -> dict[str, Any]:
    return {**one._asdict(), "before": f"{one.before:04o}", "after": f"{one.after:04o}"}


def _document(report: Report, modes: Modes) -> dict[str, Any]:
    mount = report.mount
    return {
        "root": report.root,
        "filesystem": None
        if mount is None
        else {"type": mount.type, "mount_point": mount.point, "source": mount.source},
        "fixed": [_described(one) for one in modes.fixed],
        "not_fixed": [_described(one) for one in modes.left],
        "checks": [check._asdict() for check in report.checks],
    }
