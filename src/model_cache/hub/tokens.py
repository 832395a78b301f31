"""Where the Hub's token comes from, and a wrapper that keeps it out of sight.

The same sources in the same order as the Hub's own client: argument, `HF_TOKEN`, the file named by `HF_TOKEN_PATH`,
`$HF_HOME/token`, `~/.cache/huggingface/token` (https://huggingface.co/docs/huggingface_hub/package_reference/environment_variables).
"""

from __future__ import annotations

import os

from ..errors import SettingError

TYPE_CHECKING = False  # who only waits for a download looks for the token too, and loads little
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import NoReturn

_OF_THE_HUB = ("HF_", "HUGGING_FACE_", "HUGGINGFACE_")
_OF_ENGINES = ("AWS_", "AZURE_", "GOOGLE_", "PGPASS", "MODEL_CACHE_LEAD")
_FILE_LIMIT = 8192  # bytes; a token has about 40


class Token:
    """A secret. Only `reveal()` gives the text; printing, formatting, pickling and copying do not.

    Args:
        text: The token.
        source: Where it came from, for messages.

    Raises:
        SettingError: The text cannot be sent in a header; the message does not show it.
    """

    __slots__ = ("_text", "source")

    def __init__(self, text: str, source: str) -> None:
        text = text.strip()
        if not text or not text.isascii() or not text.isprintable() or " " in text:
            # Found here, because the HTTP libraries quote a bad header in their errors.
            raise SettingError(f"{source}: expected a token (one line of printable characters, no spaces)")
        self._text = text
        self.source = source

    def reveal(self) -> str:
        """The text, for the one place that sends it."""
        return self._text

    def __repr__(self) -> str:
        return f"Token(from {self.source})"

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("a token is not pickled or copied; hand over where it comes from instead")


def find_token(argument: str | bool | None, environ: Mapping[str, str]) -> Token | None:
    """The token to use, or None.

    Args:
        argument: A token; `False` for none at all; `True` for one that must be found; `None` for one if there is one.
        environ: The environment, as a mapping.

    Raises:
        SettingError: `True` and none was found, or the text found is no token.
    """
    if argument is False:
        return None
    if isinstance(argument, str):
        return Token(argument, "the argument token")
    if environ.get("HF_TOKEN", "").strip():
        return Token(environ["HF_TOKEN"], "HF_TOKEN")
    path = token_path(environ)
    text = _read(path) if path else ""
    if text.strip():
        return Token(text, f"the token file {path}")
    if argument is True:
        raise SettingError(
            "token=True, and no token was found", hint="export HF_TOKEN=…, or write it to " + (path or "a file")
        )
    return None


def token_path(environ: Mapping[str, str]) -> str:
    """The file a token is looked for in; empty if no home directory is known."""
    if environ.get("HF_TOKEN_PATH"):
        return _expand(environ["HF_TOKEN_PATH"], environ)
    if environ.get("HF_HOME"):
        return os.path.join(_expand(environ["HF_HOME"], environ), "token")
    caches = environ.get("XDG_CACHE_HOME") or _expand("~/.cache", environ)
    return os.path.join(_expand(caches, environ), "huggingface", "token") if caches else ""


def without_secrets(environ: Mapping[str, str]) -> dict[str, str]:
    """An environment for a child that has no business with the network: no tokens, no keys, no proxies with passwords."""
    return {
        name: value
        for name, value in environ.items()
        if not name.upper().startswith(_OF_THE_HUB + _OF_ENGINES) and not name.upper().endswith("_PROXY")
    }


def _expand(path: str, environ: Mapping[str, str]) -> str:
    if not path.startswith("~"):
        return path
    home = environ.get("HOME")
    if home and (path == "~" or path.startswith("~/")):
        return home + path[1:]
    expanded = os.path.expanduser(path)
    return "" if expanded.startswith("~") else expanded


def _read(path: str) -> str:
    try:
        with open(path, "rb") as file:
            return file.read(_FILE_LIMIT).decode("utf-8", errors="replace")
    except (FileNotFoundError, NotADirectoryError):
        return ""
    except (OSError, ValueError) as error:
        # Public repos need no token, so this is no reason to stop.
        import logging

        logger = logging.getLogger(__name__)
        logger.warning("the token file %s cannot be read (%s); going on without a token", path, type(error).__name__)
        return ""
