"""Each cell of the README's table, tried again with the tool itself."""

import shutil

import pytest

from bench.peers import __main__ as peers
from bench.peers.tools import TOOLS
from bench.peers.trials import TRIALS, run

pytestmark = [pytest.mark.engine, pytest.mark.skipif(shutil.which("strace") is None, reason="needs strace")]
KEPT = peers.read()


@pytest.mark.parametrize("tool", TOOLS, ids=lambda tool: tool.name)
@pytest.mark.parametrize("trial", TRIALS)
def test_a_tool_does_what_the_table_says(trial, tool, tmp_path):
    """The outcome is the one that is kept, of the release that is named."""
    if tool is not TOOLS[0] and tool.version != KEPT["versions"][tool.name]:
        pytest.skip(
            f"needs {tool.name} {KEPT['versions'][tool.name]} in {tool.home.name}; there is {tool.version or 'none'}"
        )
    if not tool.python.exists():
        pytest.skip(f"needs {tool.home.name}, which `make bench` makes")
    assert run(trial, tool, tmp_path) == KEPT["outcomes"][trial][tool.name]
