"""`config`: the policy that all users of a root share."""

from __future__ import annotations

import os
import stat
import tomllib
from typing import Any

import click

from .. import disk
from ..clock import Clock
from ..errors import SettingError, StorageError, quoted
from ..locks import FileMutex
from ..places import Places
from ..settings import KEYS, POLICY_LIMIT, Settings, find_root, policy_text, read_policy
from ..strays import strays
from ..units import format_size
from . import known, output
from .command import Run, UsageMistake, command

_WAIT = 10.0  # seconds for another writer of the policy, who takes a millisecond
_UNITS = [("s", 1), ("m", 60), ("h", 3600), ("d", 86400), ("w", 604800)]
_SIZES = [(f"{letter}B", 1000 ** (n + 1)) for n, letter in enumerate("kMGTP")]
_SIZES += [(f"{letter}iB", 1024 ** (n + 1)) for n, letter in enumerate("KMGTP")]
_DURATIONS = ("max_age", "min_idle", "touch_interval", "lock_timeout")


@command(11)
@click.argument("words", metavar="[KEY[=VALUE]]", nargs=-1, shell_complete=known.keys)
def config(run: Run, words: tuple[str, ...]) -> int | None:
    """Show the policy of the root, or set one key of it for all who use the root.

    Without an argument: every key, its value, and where that comes from. KEY prints one value (`off` for a limit that is
    not set), KEY=VALUE sets it (max_size=50GB, min_idle=10m, lower=/srv/models), `KEY=` goes back to the default. The
    environment (MODEL_CACHE_<KEY>) beats what is set here.
    """
    if len(words) > 1:
        whole = "=" in words[0]  # one after the other, and not a key and its value
        hint = f"model-cache config {quoted(words[0] if whole else '='.join(words[:2]))}"
        raise UsageMistake(f"expected one KEY=VALUE, found {' '.join(words)!r}", hint)
    setting = words[0] if words else None
    key, assigned, value = (setting or "").partition("=")
    key, value = key.strip(), value.strip()
    if setting is not None and key not in KEYS:
        raise UsageMistake(f"unknown policy key {key!r}; expected one of {', '.join(KEYS)}", "model-cache config")
    if assigned:
        _set(run, key, value or None)
        return None
    settings = run.context().settings
    if setting is not None:
        _show(run, settings, key)
    elif run.json:
        keys = {name: _described(settings, name) for name in KEYS}
        output.write_json({"root": settings.root, "policy_file": settings.policy_file, "keys": keys})
    elif run.quiet:
        click.echo("".join(f"{name}={text_of(settings, name)}\n" for name in KEYS), nl=False)
    else:
        for said in strays(settings, os.environ):
            run.note(f"warning: {said}")
        rows = [[name, text_of(settings, name) or "off", settings.sources[name]] for name in KEYS]
        output.write_table(["KEY", "VALUE", "FROM"], rows)
    return None


def _show(run: Run, settings: Settings, key: str) -> None:
    if run.json:
        place = {"root": settings.root, "policy_file": settings.policy_file, "key": key}
        output.write_json(place | _described(settings, key))
    else:
        click.echo(text_of(settings, key) or "off")


def _described(settings: Settings, key: str) -> dict[str, Any]:
    """A value as a program wants it: bytes, seconds; a share of the file system as text, such as `80%`."""
    value = getattr(settings, key)
    if key == "max_size" and isinstance(value, float):
        value = text_of(settings, key)
    if key == "lead" and value is not None:
        value = text_of(settings, key)
    return {"value": value, "source": settings.sources[key]}


def text_of(settings: Settings, key: str) -> str:
    """A value as it can be given again, but for a password; empty for off."""
    value = getattr(settings, key)
    if value is None or value is False:
        return ""
    if key == "lead":
        from ..address import without_secrets

        return without_secrets(value)
    if value is True:
        return "true"
    if isinstance(value, tuple):
        return os.pathsep.join(value)
    if isinstance(value, float) and key in _DURATIONS:
        return _exact(value, _UNITS) or f"{value:g}s"
    if isinstance(value, float):
        return f"{value * 100:g}%"
    if isinstance(value, int) and key != "connections":
        return _exact(value, _SIZES) or str(value)
    return str(value)


def _exact(value: float, units: list[tuple[str, int]]) -> str:
    """The shortest way to write a value as a whole number of some unit; empty if there is none."""
    ways = [f"{value // factor:.0f}{unit}" for unit, factor in units if value and value % factor == 0]
    return min(ways, key=len, default="")


def _set(run: Run, key: str, value: str | None) -> None:
    """Write one key.

    Concurrency:
        Read, change and rename happen under a lock of their own, so that of two writers neither loses a key.
    """
    if value is not None:
        KEYS[key][0](value, key)  # refuses a bad value before anything is made
    path, mode = _place(run, key, value)
    mutex = FileMutex(os.path.join(os.path.dirname(path), "config.lock"), mode, Clock())
    try:
        mutex.acquire(_WAIT)
        try:
            _write(path, mode, key, value)
        finally:
            mutex.release()
    except OSError as error:
        raise disk.storage_error(error, "cannot write", path) from None
    _confirm(run, path, key, value)


def _place(run: Run, key: str, value: str | None) -> tuple[str, int]:
    """The policy file, its directory made where it is missing, and the mode it should have."""
    # The first thing said about a root may be that a group shares it: then it is made that way.
    arguments = {"sharing": value} if key == "sharing" and value else {}
    try:
        ctx = run.prepared(**arguments)
    except SettingError:
        # A policy with a bad value in it can be mended here, which is why its own reading does not stop us.
        root, _ = find_root(os.environ, run.root)
        path = f"{Places(root).own}/config.toml"
        try:
            return path, stat.S_IMODE(os.stat(path).st_mode)
        except OSError:
            pass
        raise
    return ctx.settings.policy_file, ctx.settings.file_mode


def _write(path: str, mode: int, key: str, value: str | None) -> None:
    try:
        old = disk.read_small(path, POLICY_LIMIT).decode()
    except FileNotFoundError:
        old = ""
    except UnicodeDecodeError:
        raise StorageError(
            f"policy file {path} is no UTF-8 text", hint="mend it with an editor, or remove it"
        ) from None
    new = policy_text(old, key, value)
    try:
        understood = tomllib.loads(new).get(key) == value
    except tomllib.TOMLDecodeError:
        understood = False
    if not understood:
        raise StorageError(
            f"policy file {path} has other contents than lines of the form key = value, and was left as it is",
            hint=f"set {key} in it with an editor",
        )
    disk.write_small(path, new.encode(), mode)


def _confirm(run: Run, path: str, key: str, value: str | None) -> None:
    """Say what holds now."""
    if key == "sharing" and value == "group":
        run.note(f"what is already in {os.path.dirname(os.path.dirname(path))} keeps its permissions")
    try:
        settings = run.context().settings
    except SettingError as error:
        run.note(f"warning: another key is still wrong: {error}")
        written = read_policy(path).get(key)
        if run.json:
            output.write_json({"policy_file": path, "key": key, "value": written, "source": f"{key} in {path}"})
        return
    if settings.sources[key].isupper():
        run.note(f"warning: {settings.sources[key]} is set here and beats the policy file")
    if run.json:
        _show(run, settings, key)
    else:
        text = text_of(settings, key) or "off"
        if text.isdecimal() and key in ("max_size", "min_free"):
            text += f", which is {format_size(int(text))}"  # whoever left out the unit sees what was understood
        run.note(f"{key} is now {text} (from {settings.sources[key]})")
