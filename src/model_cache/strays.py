"""Settings that nobody reads: names that this version does not know, in the environment and in a root's policy file.

A policy may be of a later version, so an unknown key is no error. But a misspelt ceiling is none, and somebody should say so.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from .settings import KEYS, VARIABLES, Settings, read_policy

_PREFIX = "MODEL_CACHE_"
_ELSEWHERE = ("MODEL_CACHE_DEBUG", "MODEL_CACHE_WITHOUT")  # read by the command, and when the package is imported


def strays(settings: Settings, environ: Mapping[str, str]) -> list[str]:
    """One sentence for each name that has no effect.

    Raises:
        SettingError: The policy file cannot be read.
    """
    variables = {*VARIABLES, *_ELSEWHERE}
    found = [
        _said(name, "the environment", variables)
        for name in sorted(environ)
        if name.startswith(_PREFIX) and name not in variables
    ]
    return found + [
        _said(key, settings.policy_file, KEYS) for key in sorted(read_policy(settings.policy_file)) if key not in KEYS
    ]


def _said(name: str, where: str, known: Iterable[str]) -> str:
    from difflib import get_close_matches

    near = get_close_matches(name, sorted(known), n=1)
    return f"{name} in {where} has no effect: no setting has that name{f' (is it {near[0]}?)' if near else ''}"
