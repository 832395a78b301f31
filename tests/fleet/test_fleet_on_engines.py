"""The command that measures a fleet on real engines, with a small file: what it promises but the times."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from stress.fleet import network

HOME = Path(__file__).parents[2]


@pytest.mark.root
@pytest.mark.timeout(320)
def test_a_fleet_in_namespaces_keeps_what_it_promises(tmp_path):
    """Hosts on real engines have right bytes by one body, whatever ends under them; and the command counts it."""
    if why_not := network.lacking():
        pytest.skip(why_not)
    command = [sys.executable, "-m", "stress.fleet", "--mib=4", "--brief", "--json", f"--place={tmp_path}"]
    done = subprocess.run(command, cwd=HOME, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)
    assert len(rows) > 10
    assert all(row["kept"] for row in rows if not row["timed"])


@pytest.mark.parametrize(("kept", "timed", "code"), [(True, False, 0), (False, False, 1), (False, True, 0)])
def test_a_promise_that_is_not_kept_is_an_exit_code(kept, timed, code):
    """One that is missed fails the command; in its brief form a time that is late does not."""
    from stress.fleet.__main__ import judged
    from stress.fleet.rows import Row

    assert (
        judged([Row("one", "asked", "measured", True), Row("what", "asked", "measured", kept, timed)], brief=True)
        == code
    )
