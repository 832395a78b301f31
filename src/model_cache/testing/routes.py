"""Which part of the protocol a request belongs to."""

from __future__ import annotations

from urllib.parse import quote

from .answers import Answer, Request, redirect, refusal, xml_refusal
from .api import ApiProtocol, parse_api
from .files import Asked, FileProtocol, parse_pinned, parse_resolve


class Routes:
    """The URL space of both ports."""

    def __init__(self, files: FileProtocol, api: ApiProtocol) -> None:
        self.files = files
        self.api = api

    def answer(self, request: Request) -> Answer:
        """The answer to a request, labelled with what it is about."""
        if request.method not in ("GET", "HEAD", "POST"):
            return refusal(405, f"{request.method} is not served here")
        answer = self._storage(request) if request.host == "cdn" else self._hub(request)
        if request.host == "hub":
            # The Hub counts every answer and says so; only a 429 asks for a pause.
            answer.headers.setdefault("RateLimit", '"api";r=499;t=295')
        return answer

    def _storage(self, request: Request) -> Answer:
        asked = parse_pinned(request.path, "lfs")
        if asked is None:
            return xml_refusal(404, "NoSuchKey", "The specified key does not exist.")
        answer = self.files.stored(request, asked)
        return answer.about(_stage(request, answer), asked.repo_type, asked.repo, asked.filename)

    def _hub(self, request: Request) -> Answer:
        if asked := parse_pinned(request.path, "api/resolve-cache"):
            answer = self.files.cached(request, asked)
            return answer.about(_stage(request, answer), asked.repo_type, asked.repo, asked.filename)
        if request.path.rstrip("/") == "/api/whoami-v2":
            return self.api.whoami(request).about("api")
        if found := parse_api(request.path):
            asked, word = found
            if moved := self._moved(request, asked):
                return moved.about("api", asked.repo_type, asked.repo)
            return self.api.answer(request, asked, word).about("api", asked.repo_type, asked.repo)
        if asked := parse_resolve(request.path):
            answer = self._moved(request, asked) or self.files.resolve(request, asked)
            return answer.about(_stage(request, answer), asked.repo_type, asked.repo, asked.filename)
        return refusal(404, "Sorry, we can't find the page you are looking for.")

    def _moved(self, request: Request, asked: Asked) -> Answer | None:
        """The redirect from a repo's former id to its present one; None if it has not moved."""
        new_id = self.files.store.moved(asked.repo_type, asked.repo)
        if new_id is None:
            return None
        return redirect(307, request.target.replace(f"/{quote(asked.repo)}", f"/{quote(new_id)}", 1))


def _stage(request: Request, answer: Answer) -> str:
    return "body" if answer.content is not None and request.method != "HEAD" else "metadata"
