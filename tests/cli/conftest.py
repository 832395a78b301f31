"""What tests of the command share."""

import os
import shutil
import subprocess

import pytest


@pytest.fixture
def bound():
    """The words before a command that make root keep to the permissions of files, as other users have to."""
    if os.geteuid() != 0:
        return []
    words = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"]
    if shutil.which("setpriv") is None or subprocess.run([*words, "true"], capture_output=True).returncode:
        pytest.skip("nothing keeps root from writing anywhere here")
    return words
