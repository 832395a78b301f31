"""Refusals in words: what an answer's status and headers mean, as one of this package's errors; pure, no I/O."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from ..errors import AccessError, DownloadError, NotFoundError, quoted
from ..units import printable
from .protocol import page_url, redact, retry_after

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_LOGIN = "export HF_TOKEN=… (a token of https://huggingface.co/settings/tokens)"


class Target(NamedTuple):
    """What was asked for, in the names a user knows; `filename` is empty for a whole repo."""

    endpoint: str
    repo_type: str
    repo: str
    revision: str
    filename: str = ""

    def __str__(self) -> str:
        kind = "repo" if self.repo_type == "model" else self.repo_type
        return f"{kind} {self.repo!r}"

    @property
    def page(self) -> str:
        """The repo's page for people."""
        return page_url(self.endpoint, self.repo_type, self.repo)


class Shared(NamedTuple):
    """A root that a group shares, and what finds one of this user alone: what a token may read is for the second."""

    root: str
    private: Callable[[], str]

    def hint(self, target: Target) -> str:
        """What to do with a repo that not everybody may read."""
        kind = "" if target.repo_type == "model" else f" --repo-type {target.repo_type}"
        keep = f"model-cache --root {quoted(self.private())} fetch {quoted(target.repo)}{kind}"
        return f"{keep} has it for you alone; fetch --share-gated (share_gated=True) sends the token from here too"


class Refusal(NamedTuple):
    """An answer that is neither the file nor a redirect.

    Attributes:
        status: HTTP status.
        headers: Of the answer.
        url: Address that answered, not redacted.
        detail: What the answer's body says, cut short; empty if it has none.
        off_origin: It came from another host, to which a redirect led.
        has_token: A token is set.
        now: Wall-clock seconds, for dates in `Retry-After`.
        shared: The root it was asked for, where a group shares that: no token was sent.
    """

    status: int
    headers: Mapping[str, str]
    url: str
    detail: str
    off_origin: bool
    has_token: bool
    now: float
    shared: Shared | None = None


def refused(refusal: Refusal, target: Target) -> DownloadError:
    """The error that an answer stands for."""
    if refusal.off_origin:
        return _storage_refused(refusal, target)
    code = refusal.headers.get("X-Error-Code", "")
    if refusal.shared is not None and refusal.status in (401, 403):
        state = "is gated" if code == "GatedRepo" else "is private, or does not exist"
        return _error(AccessError, refusal, _withheld(refusal.shared, target, state), refusal.shared.hint(target))
    if code == "GatedRepo" and refusal.status in (401, 403):
        state = "this token has no access" if refusal.has_token else "no token is set"
        hint = f"accept the licence at {target.page}, then {_LOGIN}"
        return _error(AccessError, refusal, f"{target} is gated, and {state}", hint)
    if refusal.status == 401:
        return _unauthorised(refusal, target)
    if refusal.status == 403:
        hint = f"look at {target.page}; a token with other rights: {_LOGIN}"
        return _error(AccessError, refusal, f"the Hub forbids access to {target}", hint)
    if refusal.status in (404, 410):
        return _not_found(refusal, target, code)
    return _failed(refusal, target)


def gated(shared: Shared, target: Target) -> AccessError:
    """The error for a repo that says itself that it is gated, before any of its files is asked for."""
    return AccessError(_withheld(shared, target, "is gated"), hint=shared.hint(target), code="GatedRepo")


def _withheld(shared: Shared, target: Target, state: str) -> str:
    return f"{target} {state}, and {shared.root} is shared by a group: no token is sent, as what it may read not everybody may"


def _unauthorised(refusal: Refusal, target: Target) -> DownloadError:
    if refusal.has_token:
        what = f"{target}: the token is not accepted, or the repo does not exist"
        return _error(AccessError, refusal, what, f"check the name at {target.page}; {_LOGIN}")
    what = f"{target} is private or does not exist (the Hub does not say which without a token)"
    return _error(AccessError, refusal, what, f"check the name and --repo-type; if it is private, {_LOGIN}")


def _not_found(refusal: Refusal, target: Target, code: str) -> DownloadError:
    if code == "RepoNotFound":
        what = f"no {target} on the Hub"
        hint = "check the name and --repo-type"
        if refusal.has_token:
            hint += "; a private repo that this token may not read looks the same"
        else:
            hint += f"; if it is private, {_LOGIN}"
    elif code == "RevisionNotFound":
        what, hint = f"{target} has no revision {target.revision!r}", f"its branches and tags: {target.page}/refs"
    elif code == "EntryNotFound" or (not code and target.filename):
        what = f"{target} has no file {target.filename!r} at revision {target.revision!r}"
        hint = f"its files: {target.page}/tree/{target.revision}"
    else:
        what, hint = f"{target} at revision {target.revision!r} was not found", f"check the name at {target.page}"
    return _error(NotFoundError, refusal, what, hint)


def _storage_refused(refusal: Refusal, target: Target) -> DownloadError:
    """A refusal by the storage host: its link is the Hub's to give, so the names are right and a new link may work."""
    name = f"{target.filename!r} of {target}"
    if refusal.status in (400, 401, 403, 404, 410):
        what = f"the storage host refused the signed link for {name} (it may have expired)"
        return _error(DownloadError, refusal, what, "try again: each attempt gets a new link", transient=True)
    return _failed(refusal, target)


def _failed(refusal: Refusal, target: Target) -> DownloadError:
    status = refusal.status
    transient = status in (408, 425, 429) or status >= 500
    wait = retry_after(refusal.headers, refusal.now)
    if status == 429:
        asked = "" if wait is None else f", and asks to wait {wait:.0f} s"
        who = "another plan or token may allow more" if refusal.has_token else f"with a token more is allowed: {_LOGIN}"
        if refusal.shared is not None:
            who = "with a token more is allowed: fetch --share-gated (share_gated=True) sends it from a root that a group shares"
        return _error(
            DownloadError,
            refusal,
            f"{target}: too many requests, says the Hub{asked}",
            who,
            transient=True,
            retry_after=wait,
        )
    what = f"{target}: the server failed" if status >= 500 else f"{target}: the server gave an answer that is of no use"
    hint = "try again later; https://status.huggingface.co shows the Hub's state" if status >= 500 else ""
    return _error(DownloadError, refusal, what, hint, transient=transient, retry_after=wait)


def _error(
    kind: type[DownloadError],
    refusal: Refusal,
    what: str,
    hint: str,
    *,
    transient: bool = False,
    retry_after: float | None = None,
) -> DownloadError:
    shown = redact(refusal.url)
    names = ("X-Request-Id", "X-Amzn-Trace-Id", "X-Amz-Cf-Id")
    request_id = printable(next((refusal.headers[name] for name in names if name in refusal.headers), ""), 100)
    said = printable(refusal.headers.get("X-Error-Message", "") or refusal.detail, 200)
    parts = [f"HTTP {refusal.status}", shown, *([f"request {request_id}"] if request_id else [])]
    message = f"{what} ({', '.join(parts)})" + (f": {said}" if said else "")
    return kind(
        message,
        hint=hint,
        status=refusal.status,
        url=shown,
        request_id=request_id,
        code=printable(refusal.headers.get("X-Error-Code", ""), 100),
        transient=transient,
        retry_after=retry_after,
    )
