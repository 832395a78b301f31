"""What is certainly not what was asked for: compressed bytes, or a page for people in its place; reads heads only."""

from __future__ import annotations

from ..errors import DownloadError
from .answer import Answer
from .protocol import is_identity, parse_size, redact

_HINT = "a proxy or login page may have answered; check HF_ENDPOINT and the network"


def check_bytes(answer: Answer, filename: str, total: int | None) -> None:
    """Refuse what is certainly not a file of so many bytes, None where the server did not say; raises DownloadError."""
    shown = redact(answer.url)
    if not is_identity(answer.headers):
        names = ("Content-Encoding", "Transfer-Encoding")
        coding = ", ".join(f"{name} {answer.headers[name][:40]!r}" for name in names if name in answer.headers)
        raise DownloadError(
            f"{shown}: {filename!r} comes with {coding}; expected its bytes as they are",
            hint="a proxy or mirror on the way compresses; it must not",
            status=answer.status,
            url=shown,
        )
    if not answer.headers.get("Content-Type", "").strip().lower().startswith("text/html"):
        return
    # A file can be a page itself: the Hub's own word, or the promised length, shows it.
    promised = [parse_size(hop.get("X-Linked-Size")) for hop in answer.passed]
    genuine = (not answer.away and "X-Repo-Commit" in answer.headers) or (total is not None and total in promised)
    if not genuine:
        raise DownloadError(
            f"{shown}: an HTML page came in place of {filename!r}",
            hint=_HINT,
            status=answer.status,
            url=shown,
            transient=True,
        )


def check_document(answer: Answer, shown: str) -> None:
    """Refuse what is certainly no JSON of the API; raises DownloadError."""
    kind = answer.headers.get("Content-Type", "").split(";")[0].strip().lower()
    if not is_identity(answer.headers) or kind.startswith("text/html"):
        found = kind if kind.startswith("text/html") else "compressed bytes"
        raise DownloadError(f"{shown}: expected JSON of the Hub's API, found {found}", hint=_HINT, url=shown)
