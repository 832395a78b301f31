"""The Hub's JSON: made of an answer's text, without repeating that text in an error; and what a refusal says in it."""

from __future__ import annotations

import json

from ..errors import DownloadError
from .protocol import redact


def parse(data: str, url: str) -> object:
    """The document.

    Raises:
        DownloadError: It is none; the message repeats nothing of it.
    """
    try:
        document: object = json.loads(data)
    except (ValueError, RecursionError):
        pass  # raised below: the exception here holds the whole text, and would hang on as the context
    else:
        return document
    raise DownloadError(
        f"{redact(url)}: expected JSON of the Hub's API, found {len(data)} characters of something else"
    )


def stated_error(text: str) -> str:
    """What a refusal's JSON says in `error`."""
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        return ""
    error = document.get("error") if isinstance(document, dict) else None
    return error if isinstance(error, str) else ""


def is_gated(document: object) -> bool:
    """Whether the API's answer about a repo says that its files are for those who accepted its licence.

    Source: https://huggingface.co/docs/hub/api, `gated`: false, or how a request for access is treated.
    """
    return isinstance(document, dict) and bool(document.get("gated"))
