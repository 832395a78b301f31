"""Who may see what: the Hub's answers to requests without a token, with a wrong one, and to gated and private repos."""

from __future__ import annotations

from collections.abc import Collection

from .answers import Answer, Request, refusal
from .repos import Repo


class Access:
    """The tokens of a hub.

    Args:
        token: The token that opens everything; None accepts any token as such.
        guests: Tokens that are valid, but open no gated and no private repo.
    """

    def __init__(self, token: str | None = None, guests: Collection[str] = ()) -> None:
        self.token = token
        self.guests = frozenset(guests)

    def refuse_token(self, request: Request) -> Answer | None:
        """The refusal of a token that nobody gave out; None if there is no token or a valid one."""
        if request.token is None or self._full(request) or request.token in self.guests:
            return None
        return refusal(401, "Invalid credentials in Authorization header")

    def refuse_repo(self, request: Request, repo: Repo | None) -> Answer | None:
        """The refusal of a repo that is missing or, which must look the same, private to others."""
        if repo is not None and (not repo.private or self._full(request)):
            return None
        if request.token is None:
            # The Hub does not tell strangers whether a repo exists, and sends no X-Error-Code with this.
            answer = refusal(401, "Invalid username or password.")
            answer.headers["WWW-Authenticate"] = 'Bearer realm="Authentication required", charset="UTF-8"'
            return answer
        return refusal(404, "Repository not found", "RepoNotFound")

    def refuse_files(self, request: Request, repo: Repo) -> Answer | None:
        """The refusal of a gated repo's files; its metadata is public."""
        if not repo.gated or self._full(request):
            return None
        where = f"Access to {repo.repo_type} {repo.repo_id} is restricted"
        if request.token is None:
            text = f"{where}. You must have access to it and be authenticated to access it. Please log in."
            return refusal(401, text, "GatedRepo")
        return refusal(403, f"{where} and you are not in the authorized list.", "GatedRepo")

    def _full(self, request: Request) -> bool:
        if request.token is None:
            return False
        return bool(request.token) and request.token not in self.guests and self.token in (None, request.token)
