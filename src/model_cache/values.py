"""How the values of settings are read that are neither sizes nor durations: from text, or as a program gives them; pure."""

from __future__ import annotations

import os

from .errors import SettingError
from .units import parse_duration, shown

_LONGEST_WAIT = 86400.0  # seconds for an answer; sockets take no wait of any length
_TRUE = frozenset(["1", "true", "yes", "on"])
_FALSE = frozenset(["0", "false", "no", "off", ""])


def flag(value: object, what: str) -> bool:
    """A switch."""
    text = str(value).strip().lower()
    if text not in _TRUE | _FALSE:
        raise SettingError(f"{what}: expected 1 or 0 (true, yes, on; false, no, off), found {shown(value)}")
    return text in _TRUE


def count(value: object, what: str) -> int:
    """A number of connections."""
    text = str(value).strip()
    if not text.isascii() or not text.isdecimal() or len(text) > 2 or not 1 <= int(text) <= 64:
        raise SettingError(f"{what}: expected a whole number from 1 to 64, found {shown(value)}")
    return int(text)


def network_wait(value: str | float, what: str) -> float:
    """Seconds to wait for an answer."""
    seconds = parse_duration(value, what)
    if not 0 < seconds <= _LONGEST_WAIT:
        raise SettingError(f"{what}: expected more than 0 seconds and at most a day, found {shown(value)}")
    return seconds


def sharing(value: object, what: str) -> str:
    """Who a root is for."""
    if value not in ("private", "group"):
        raise SettingError(f"{what}: expected 'private' or 'group', found {shown(value)}")
    return str(value)


def roots(value: object, what: str) -> tuple[str, ...]:
    """Absolute paths of directories, in their order: a list of them, or one text with `os.pathsep` between."""
    parts = value.split(os.pathsep) if isinstance(value, str) else [value]
    if isinstance(value, (list, tuple)):
        parts = list(value)
    try:
        paths = [os.path.expanduser(os.fsdecode(part)) for part in parts if part != ""]  # type: ignore[arg-type]
    except TypeError:
        raise SettingError(f"{what}: expected paths of directories, found {shown(value)}") from None
    for path in paths:
        if not os.path.isabs(path) or "\0" in path:
            raise SettingError(f"{what}: expected absolute paths of directories, found {shown(path)}")
    return tuple(dict.fromkeys(map(os.path.normpath, paths)))


def directory(value: object, what: str) -> str:
    """The absolute path of one directory."""
    found = roots([value], what)
    if len(found) != 1:
        raise SettingError(f"{what}: expected the path of a directory, found {shown(value)}")
    return found[0]


def host(value: object, what: str) -> str:
    """The name of one host."""
    text = str(value)
    if text.lower() == "off":  # as a listing shows that none is named: no host is meant
        raise SettingError(f"{what}: expected the name of a host, found 'off'", hint="model-cache config evictor=")
    if not 0 < len(text) <= 253 or not all(letter.isalnum() or letter in ".-_" for letter in text):
        raise SettingError(f"{what}: expected the name of a host, as uname -n says it, found {shown(value)}")
    return text


def address(value: object, what: str) -> str:
    """The address of a Hub, without a closing slash."""
    from .address import parse_endpoint  # only who sets one pays for it

    return parse_endpoint(value, what)
