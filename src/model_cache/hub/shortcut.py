"""Where the small files of a commit are served, as the redirect of one of them told; pure, no I/O.

The Hub redirects a small file to another address of its own, which follows from the names and the etag. Who has followed
one such redirect can ask for the others there at once: one request for each file instead of two. It is a guess: an answer
that is no body takes the guess back, and the hash of the bytes decides as always.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import quote, quote_plus

from ..layout import is_commit

if TYPE_CHECKING:
    from .failures import Target

_REMEMBERED = 64  # commits


class _Form(NamedTuple):
    """An address with the filename and the etag taken out: of its path, and of its query."""

    path: str
    query: str


_NAME, _ETAG = "\0name", "\0etag"


class Shortcuts:
    """What redirects told, by repo and commit; a few, in memory. Single dictionary steps need no lock."""

    def __init__(self) -> None:
        self._forms: dict[tuple[str, str, str], _Form | None] = {}

    def address(self, target: Target, etag: str | None) -> str | None:
        """Where this file is served; None where nobody knows, or it is none of the small ones."""
        form = self._forms.get(_commit(target))
        return None if form is None or not is_commit(etag) else _filled(form, target, etag or "")

    def learn(self, target: Target, etag: str | None, url: str) -> None:
        """A small file was served at an address that a redirect led to."""
        if _commit(target) in self._forms or not is_commit(etag):
            return
        path, _, query = url.partition("?")
        name = f"/{quote(target.filename)}"
        if not path.endswith(name):
            return
        form = _Form(
            path.removesuffix(name),
            query.replace(_asked(target, target.filename), _asked(target, _NAME)).replace(etag or "", _ETAG),
        )
        if _filled(form, target, etag or "") == url:
            if len(self._forms) >= _REMEMBERED:
                self._forms = {}
            self._forms[_commit(target)] = form

    def forget(self, target: Target) -> None:
        """It was not served there: nobody guesses again for this commit."""
        self._forms[_commit(target)] = None


def _commit(target: Target) -> tuple[str, str, str]:
    return target.repo_type, target.repo, target.revision


def _asked(target: Target, filename: str) -> str:
    """The end of the address that was asked for, as it stands in the query of where it leads."""
    return quote_plus(f"/resolve/{target.revision}/") + (filename if filename == _NAME else quote_plus(filename))


def _filled(form: _Form, target: Target, etag: str) -> str:
    query = form.query.replace(_NAME, quote_plus(target.filename)).replace(_ETAG, etag)
    return f"{form.path}/{quote(target.filename)}" + (f"?{query}" if query else "")
