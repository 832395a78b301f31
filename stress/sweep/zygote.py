"""The process that has everything imported and no threads: it forks those that are killed and failed.

`python -m stress.sweep.zygote DESCRIPTOR`, started by `doomed`; it ends when its socket does.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import logging
import os
import signal
import socket
import sys
import threading
import traceback
from pathlib import Path
from typing import Any, NoReturn

from model_cache import ModelCacheError

from . import seccomp, wire
from .acts import act
from .living import open_below


class _Life:
    """What happens in the forked process: it is told what to do, does it, and tells what came of it."""

    def __init__(self, channel: socket.socket, order: dict[str, Any]) -> None:
        self._channel, self._order = channel, order
        self._steps: list[str] = []
        self._lock = threading.Lock()

    def live(self) -> None:
        """Everything but the end."""
        if self._order["watched"]:
            fd = seccomp.listen()
            wire.send(self._channel, fd, pid=os.getpid())
            os.close(fd)
        else:
            wire.send(self._channel, pid=os.getpid())
        told: dict[str, object] = {"ending": "done", "said": "", "error": ""}
        try:
            self._act()
        except ModelCacheError as error:
            told = {"ending": "refused", "said": f"{type(error).__name__}: {error}", "error": type(error).__name__}
        except BaseException as error:  # noqa: BLE001 - what escapes is what is looked for
            said = "".join(traceback.format_exception(error)[-6:])
            told = {"ending": "escaped", "said": said, "error": type(error).__name__}
        modules = list(sys.modules) if self._order["rehearsal"] else []
        gc.collect()  # a traceback and its frames refer to each other: what is open then, a process that lives on keeps
        wire.send(self._channel, **told, steps=self._steps, modules=modules, kept=open_below(self._order["root"]))

    def _act(self) -> None:
        act(self._order["operation"], self._order["then"]).perform(
            Path(self._order["root"]), self._order["endpoint"], self._step
        )

    def _step(self, name: str) -> None:
        with self._lock:  # several connections come by at once
            self._steps.append(name)
            if len(self._steps) == self._order["step"]:
                wire.send(self._channel, step=name)
                os.kill(os.getpid(), signal.SIGKILL)


def _die(channel: socket.socket, order: dict[str, Any]) -> NoReturn:
    try:
        _Life(channel, order).live()
    finally:
        os._exit(0)


def main() -> None:
    """Fork whoever is asked for, until the socket ends."""
    logging.getLogger("model_cache").addHandler(logging.NullHandler())
    channel = socket.socket(fileno=int(sys.argv[1]))
    while order := wire.receive(channel):
        if "modules" in order:
            for name in order["modules"]:
                with contextlib.suppress(ImportError):
                    importlib.import_module(name)
            wire.send(channel, status=0)
            continue
        pid = os.fork()
        if not pid:
            _die(channel, order)
        wire.send(channel, status=os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))


if __name__ == "__main__":
    main()
