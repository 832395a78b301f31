"""The hub's own pages, under `/.hub/`: how another process reads and steers a hub that runs as a process."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from .answers import Answer, Request, json_answer, refusal

if TYPE_CHECKING:
    from .server import LoopbackHub


class Control:
    """Answers to requests below `/.hub/`; none of them is in the log.

    `GET stats` gives `LoopbackHub.stats`; `POST faults` takes the arguments of `LoopbackHub.fault` as one JSON object;
    `POST holds` takes `pattern` and `after`; `POST release` opens all gates; `POST traffic` sets `latency` and `rate`;
    `POST reset` forgets requests, faults and gates.
    """

    def __init__(self, hub: LoopbackHub) -> None:
        self._hub = hub

    def answer(self, request: Request) -> Answer:
        """Does what the request asks for."""
        name = request.path.removeprefix("/.hub/").strip("/")
        try:
            order = json.loads(request.body or b"{}")
            if request.method == "GET" and name == "stats":
                return json_answer(self._hub.stats())
            if request.method == "POST" and self._do(name, dict(order)):
                return json_answer({"done": name})
        except (TypeError, ValueError) as error:
            return refusal(400, str(error))
        return refusal(404, f"{request.method} {request.path} is not served here")

    def _do(self, name: str, order: dict[str, Any]) -> bool:
        if name == "faults":
            self._hub.fault(**order)
        elif name == "holds":
            self._hub.hold(**order)
        elif name == "release":
            self._hub.release()
        elif name == "traffic":
            self._hub.latency = float(order.get("latency", self._hub.latency))
            rate = order.get("rate", self._hub.rate)
            self._hub.rate = None if rate is None else float(rate)
        elif name == "reset":
            self._hub.clear_faults()
            self._hub.release()
            self._hub.reset()
        else:
            return False
        return True
