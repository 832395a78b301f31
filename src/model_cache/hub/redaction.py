"""Debug lines of urllib3 quote whole addresses, whose queries can be signatures: they are taken out here."""

from __future__ import annotations

import logging
import threading


class Redaction(logging.Filter):
    """Takes queries out of urllib3's own log lines while a request of ours runs in the same thread."""

    def __init__(self) -> None:
        super().__init__()
        self._ours = threading.local()
        for name in ("urllib3.connectionpool", "urllib3.connection", "urllib3.util.retry"):
            logging.getLogger(name).addFilter(self)

    def __enter__(self) -> None:
        self._ours.active = True

    def __exit__(self, *exc: object) -> None:
        self._ours.active = False

    def filter(self, record: logging.LogRecord) -> bool:
        """Let every record pass, without what follows a `?` in its texts."""
        if getattr(self._ours, "active", False) and isinstance(record.args, tuple):
            record.args = tuple(_without_query(value) for value in record.args)
            record.exc_info = None  # a header that cannot be parsed is quoted in it
        return True


def _without_query(value: object) -> object:
    if isinstance(value, (int, float)):
        return value
    head, mark, _ = str(value).partition("?")
    return f"{head}?…" if mark else value


REDACTION = Redaction()
