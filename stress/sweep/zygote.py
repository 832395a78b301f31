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

from model_cache import ModelCache, ModelCacheError

from ..hosts import settings_of
from ..site import Later
from . import seccomp, wire
from .acts import act


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
        wire.send(self._channel, **told, steps=self._steps, modules=modules, kept=self._kept())

    def _kept(self) -> list[str]:
        """What below the root is still open, though nobody uses the cache any more: a process that lives on keeps it."""
        gc.collect()  # a traceback and its frames refer to each other
        root, kept = os.path.realpath(self._order["root"]), []
        for fd in os.listdir("/proc/self/fd"):
            with contextlib.suppress(OSError):
                kept.append(os.readlink(f"/proc/self/fd/{fd}"))
        return sorted(path.removeprefix(f"{root}/") for path in kept if path.startswith(f"{root}/"))

    def _act(self) -> None:
        what = act(self._order["operation"], self._order["then"])
        clock = Later(what.ahead)
        root, endpoint = Path(self._order["root"]), self._order["endpoint"]
        policy: dict[str, Any] = {"min_idle": 0, "touch_interval": 0, **settings_of(root, what.host), **what.settings}
        what.do(ModelCache(root, endpoint=endpoint, token=False, clock=clock, step=self._step, **policy))

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
