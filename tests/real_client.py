"""The Hub's own client, in a process of its own: it reads its environment when it is imported."""

import json
import os
import subprocess
import sys

import pytest
from support import PATIENT

CLIENT = """
import json, os, sys
from huggingface_hub import HfApi, hf_hub_download, snapshot_download
answers = {}
for name, call in json.loads(sys.argv[1]).items():
    function = {"file": hf_hub_download, "snapshot": snapshot_download}.get(call.pop("call"))
    try:
        path = function(**call)
        if os.path.isdir(path):
            answers[name] = sorted(os.path.relpath(os.path.join(d, f), path) for d, _, fs in os.walk(path) for f in fs)
        else:
            answers[name] = open(path, "rb").read().hex()
    except Exception as error:
        answers[name] = type(error).__name__
print(json.dumps(answers))
"""


def real_client(home, endpoint, calls):
    """What came of calls (`file` or `snapshot`) against an endpoint: bytes as hex, listings, or the name of the error."""
    pytest.importorskip("huggingface_hub")
    environ = {"PATH": os.environ["PATH"], "HF_HOME": str(home), "HF_ENDPOINT": endpoint, "HOME": str(home)}
    environ |= {"HF_HUB_DISABLE_PROGRESS_BARS": "1", "HF_HUB_DISABLE_TELEMETRY": "1", **PATIENT}
    # -I keeps this directory off its path, where a module of ours could stand in for one of its own.
    done = subprocess.run(
        [sys.executable, "-I", "-c", CLIENT, json.dumps(calls)],
        env=environ,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
