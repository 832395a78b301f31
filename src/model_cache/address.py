"""Addresses: what a message shows of any, and the Hub's as a setting, checked before anything is written; pure."""

from __future__ import annotations

from .errors import SettingError
from .units import shown

_SCHEME = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+-.")
_SECRETIVE = frozenset("@=;?#& \t\r\n\v\f")  # of `user:password@host`, `host=… password=…`, `…;AccountKey=…`


def parse_endpoint(value: object, what: str) -> str:
    """The address without a closing slash.

    Raises:
        SettingError: Not of the form `http(s)://host[:port][/path]`; the message repeats no password and no query.
    """
    text = str(value).strip().rstrip("/")
    scheme, _, rest = text.partition("://")
    authority = rest.partition("/")[0]
    # `isprintable` also refuses what reorders text; '?' and '#' would swallow the path that is put behind.
    plain = text.isprintable() and not any(character in ' ?#\\"<>' for character in text)
    if scheme not in ("http", "https") or not plain or not _is_authority(authority):
        redacted = shown(without_secrets(text))
        raise SettingError(f"{what}: expected an address such as https://huggingface.co, found {redacted}")
    return text


def _is_authority(text: str) -> bool:
    """Whether this is a host, with a port or without, and no user; urllib.parse is not worth its 5 ms on a hit."""
    if text.startswith("["):
        host, bracket, port = text[1:].partition("]")
        from ipaddress import IPv6Address  # few have one, and 3 ms

        try:
            IPv6Address(host if bracket and "%" not in host else "")
        except ValueError:
            return False
    else:
        host, colon, number = text.partition(":")
        port = colon + number
        try:
            labels = (host if host.isascii() else host.encode("idna").decode()).removesuffix(".").split(".")
        except UnicodeError:
            return False
        if "@" in host or "%" in host or not all(0 < len(label) <= 63 for label in labels):
            return False
    number = port[1:]
    return not port or (
        port[0] == ":" and number.isascii() and number.isdecimal() and len(number) <= 5 and 0 < int(number) < 65536
    )


def without_secrets(address: str) -> str:
    """An address of any kind as a message or a listing may show it: scheme, host and path; `…` for what can be a secret.

    A password may have a `?` in it, as PostgreSQL reads it, and a query an `@`: where both are there nothing behind the scheme is
    certain. What has no scheme is shown only if it is not one of the other ways to write credentials down.
    """
    scheme, mark, rest = address.partition("://")
    if not mark or not _SCHEME.issuperset(scheme):
        return "…" if _SECRETIVE.intersection(address) else address
    before, at, behind = rest.rpartition("@")
    if "?" in before:
        return f"{scheme}://…"
    end = next((place for place, character in enumerate(behind) if character in "?# \t\r\n\v\f"), len(behind))
    cut = behind[end : end + 1].strip()
    return f"{scheme}://{'…@' if at else ''}{behind[:end]}{f'{cut}…' if end < len(behind) else ''}"
