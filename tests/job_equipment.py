"""Programs that tests start and listen to: whatever one prints is waited for, and it ends with the test."""

import os
import re
import select
import signal
import subprocess
import threading
from contextlib import suppress
from pathlib import Path


class Program:
    """A process in a group of its own, whose output is read line by line as it comes."""

    def __init__(self, command, **options):
        self._heard = threading.Condition()
        self.lines = []
        self._ended = False
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True, **options
        )
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    def _listen(self):
        for line in self.process.stdout:
            with self._heard:
                self.lines.append(line)
                self._heard.notify_all()
        with self._heard:
            self._ended = True
            self._heard.notify_all()

    @property
    def output(self):
        """All that was printed so far."""
        return "".join(self.lines)

    def wait_for(self, text, count=1, timeout=120):
        """Block until so many lines have the text; those lines."""

        def found():
            return [line for line in self.lines if text in line]

        with self._heard:
            self._heard.wait_for(lambda: len(found()) >= count or self._ended, timeout)
            assert len(found()) >= count, f"{text!r} did not come {count} times:\n{self.output}"
            return found()

    def end(self, number=signal.SIGTERM, timeout=120):
        """Send a signal to the process alone, and wait for its end; its exit code."""
        self.process.send_signal(number)
        return self.process.wait(timeout)

    def kill(self):
        """End it with all that it started, as a container that is out of memory ends."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(30)
        self._listener.join(30)
        self.process.stdout.close()


def until(condition, what):
    """Block until it holds; bounded by the number of looks."""
    for _ in range(3000):
        if condition():
            return
        select.select([], [], [], 0.02)
    raise AssertionError(f"it never came that {what}")


def children(pid):
    """The processes that it started and that have not ended."""
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except FileNotFoundError:
        return []


def downloader(root):
    """The process that the note of a download names."""
    (note,) = (root / ".model-cache" / "locks").glob("*.json")
    return int(re.search(r'"holder":\s*"(\d+)@', note.read_text())[1])
