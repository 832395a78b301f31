"""Equipment: the command in a process of its own, with nothing of the developer's in its environment."""

import json
import os
import subprocess
import sys

COMMAND = [sys.executable, "-m", "model_cache"]


class Shell:
    """Runs the command for one root, and one hub where there is one."""

    def __init__(self, environ, root, hub=None):
        # Machines that run the suite can stand still for longer than a user's network may.
        patience = {"HF_HUB_DOWNLOAD_TIMEOUT": "60", "HF_HUB_ETAG_TIMEOUT": "60"}
        self.environ = {**patience, **environ, "MODEL_CACHE_DIR": str(root)}
        if hub is not None:
            self.environ["HF_ENDPOINT"] = hub.url
        self._started = []

    def start(self, *arguments, **options):
        """Start the command; `environ=` adds variables, or takes one away if it is None."""
        more = options.pop("environ", {})
        environ = {name: value for name, value in {**self.environ, **more}.items() if value is not None}
        options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, **options}
        process = subprocess.Popen([*COMMAND, *arguments], env=environ, stdin=subprocess.DEVNULL, **options)
        self._started.append(process)
        return process

    def run(self, *arguments, **options):
        """Run the command to its end: (exit code, stdout, stderr)."""
        process = self.start(*arguments, **options)
        out, err = process.communicate(timeout=60)
        return process.returncode, out, err

    def ok(self, *arguments, **options):
        """Run what must succeed; its stdout."""
        code, out, err = self.run(*arguments, **options)
        assert code == 0, err
        return out

    def json(self, *arguments, **options):
        """Run what must succeed with --json; the document."""
        return json.loads(self.ok(*arguments, "--json", **options))

    def close(self):
        """End what still runs."""
        for process in self._started:
            if process.poll() is None:
                process.kill()
            process.communicate()


def pattern(size, seed=0):
    """Bytes in which every position differs from its neighbours, so that shifts and cuts show."""
    block = bytes((seed + i * 131 + (i >> 8) * 17) & 0xFF for i in range(65521))
    return (block * (size // len(block) + 1))[:size]


def wait_for_partial(root, size):
    """Block until a partial has at least so many bytes; bounded by the number of looks."""
    folder = root / ".model-cache" / "partial"
    for _ in range(2_000_000):
        if folder.is_dir() and sum(file.stat().st_size for file in folder.iterdir()) >= size:
            return
        os.sched_yield()
    raise AssertionError(f"no partial of {size} bytes")
