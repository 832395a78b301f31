"""`doctor`: does the cache work here?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from ..units import plural
from . import output
from .command import Run, command

if TYPE_CHECKING:
    from ..doctor import Report


@command(3)
def doctor(run: Run) -> int | None:
    """Try, with two processes, whether locks, rename and fsync work on the file system of the root.

    Also permissions, space, the index, the clock and versions. A check that fails (3) names what does not work then; one
    that warns, what does not hold. Everything is tried in a directory of its own below the root that is removed again;
    a root that is not there is not made. With -q only the names of what failed.
    """
    from ..doctor import Status, examine

    report = examine(run.context())
    if run.json:
        output.write_json(_document(report))
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


def _document(report: Report) -> dict[str, Any]:
    mount = report.mount
    return {
        "root": report.root,
        "filesystem": None
        if mount is None
        else {"type": mount.type, "mount_point": mount.point, "source": mount.source},
        "checks": [check._asdict() for check in report.checks],
    }
