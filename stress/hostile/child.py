"""`python -m stress.hostile.child REPORT ARGUMENTS…`: the command, and afterwards the most memory it had, in KiB."""

from __future__ import annotations

import re
import runpy
import sys
from pathlib import Path


def main() -> None:
    """Run the command as `python -m model_cache` does; its exit code stays."""
    report, sys.argv[1:] = Path(sys.argv[1]), sys.argv[2:]
    try:
        runpy.run_module("model_cache", run_name="__main__", alter_sys=True)
    finally:
        # Not ru_maxrss: that begins with what the parent had.
        found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
        assert found is not None
        report.write_text(found[1])


if __name__ == "__main__":
    main()
