"""What the environment says of a cloud: looked at before a library reads it, and kept out of what is said; pure."""

from __future__ import annotations

import re
from collections.abc import Mapping

from ..units import printable

# Where the environment names another server than the cloud's own.
ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT", "AZURE_STORAGE_ENDPOINT", "AZURE_ENDPOINT")
_CLOUD = re.compile("(AWS|AZURE|GOOGLE|GCP|OBJECT_STORE)_")
_SECRET = re.compile(_CLOUD.pattern + ".*(SECRET|TOKEN|KEY|PASSWORD|SAS|CONNECTION)")
_LEAST = 6  # characters of a secret; what is shorter is more likely to be a word
_LONGEST = 300  # characters of what is said


def unusable(environ: Mapping[str, str]) -> str:
    """Why the library could not live with this environment: it would end in a panic; empty where it could.

    A key that came from a file has a newline behind it, and a template that was given nothing makes an empty address.
    """
    for name, value in environ.items():
        if name in ENDPOINTS and not value:
            return f"{name} is empty: unset it, or name a server"
        if name in ENDPOINTS and not re.fullmatch(r"https?://[!-~]+", value):
            return f"{name} is no address such as https://host"
        if _CLOUD.match(name) and not value.isprintable() and not _is_document(name):
            return f"{name} has characters in it that nobody can see, such as the end of a line"
    return ""


def _is_document(name: str) -> bool:
    """Whether a variable has a JSON document or a PEM file in it."""
    return name.startswith("GOOGLE_") or "CERT" in name


def told(text: str, environ: Mapping[str, str]) -> str:
    """What the library says, in one line: without its debug output, and the query of an address, which may be signed.

    Of what the server says beside its status only the code of the error is kept: it may repeat what it was sent. So may a
    body that is none, which is quoted too: nothing of the environment's secrets is left of it.
    """
    line, refused, body = text.split("\n\nDebug source", 1)[0].partition("Server returned ")
    status = body.split(": ", 2)
    if refused and len(status) > 1:
        code = re.search("<Code>([A-Za-z0-9]{1,60})</Code>", body)
        line = f"{line}{refused}{': '.join(status[:2])}{f' ({code[1]})' if code else ''}"
    elif refused:
        line += refused + body
    for secret in _secrets(environ):
        line = line.replace(secret, "…")
    line = re.sub(r"://[^\s/]*@", "://…@", line)
    words = [word.split("?", 1)[0] if "://" in word else word for word in line.split()]
    return printable(" ".join(words), _LONGEST)


def _secrets(environ: Mapping[str, str]) -> list[str]:
    """What the environment has of credentials; the longest first."""
    found = (value for name, value in environ.items() if _SECRET.match(name.upper()) and len(value) >= _LEAST)
    return sorted(found, key=len, reverse=True)
