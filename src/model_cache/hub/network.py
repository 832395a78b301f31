"""Why there was no answer, in words of our own: the HTTP libraries' texts quote whole addresses; pure, no I/O.

Their exceptions are told apart by the names of their classes, which are public, so that `transport` remains the only
module that imports them.
"""

from __future__ import annotations

import http.client
import socket
import ssl

from ..errors import DownloadError
from ..units import printable
from .protocol import origin, redact

_HINT = "check the network and HF_ENDPOINT; MODEL_CACHE_OFFLINE=1 uses only what is in the cache"
_NO_HUB = "check HF_ENDPOINT and the proxies: what answers there is no web server of the Hub"
_CUT = (http.client.RemoteDisconnected, http.client.IncompleteRead)


def too_long(url: str, seconds: float) -> DownloadError:
    """The error for an exchange that was cut because its time was over, although bytes may have kept coming."""
    host, shown = origin(url)[1], redact(url)
    return DownloadError(f"{host}: no whole answer within {seconds:.3g} s ({shown})", url=shown, transient=True)


def unanswered(error: BaseException, url: str, timeout: float, handled: BaseException | None = None) -> DownloadError:
    """The error for a request that got no answer.

    Args:
        error: What requests, urllib3 or the standard library raised.
        url: Address asked, not redacted.
        timeout: Seconds that were allowed.
        handled: What the caller was handling before, which Python makes a context of the error.
    """
    _, host, port = origin(url)
    shown, chain = redact(url), _chain(error, handled)
    names = {type(link).__name__ for link in chain}
    reason = reason_of(error, handled)
    if names & {"ReadTimeout", "ReadTimeoutError"}:
        hint = "HF_HUB_ETAG_TIMEOUT and HF_HUB_DOWNLOAD_TIMEOUT set the wait, in seconds"
        return DownloadError(f"{host}: no answer within {timeout:g} s ({shown})", hint=hint, url=shown, transient=True)
    if names & {"ConnectTimeout", "ConnectTimeoutError"} and "NewConnectionError" not in names:
        reason = f"no connection within {timeout:g} s"
    elif not names & {"ConnectionError", "ProxyError", "SSLError"}:
        # Nothing was sent: an address, a header or a setting that cannot be used, the same at every attempt.
        hint = "check HF_ENDPOINT, HTTPS_PROXY and REQUESTS_CA_BUNDLE"
        return DownloadError(f"cannot ask {host}: {reason} ({shown})", hint=hint, url=shown)
    if any(isinstance(link, ssl.SSLCertVerificationError) for link in chain):
        hint = "REQUESTS_CA_BUNDLE names a file with the certificates to trust"
        return DownloadError(f"cannot reach {host}: {reason}", hint=hint, url=shown)
    if any(isinstance(link, http.client.HTTPException) and not isinstance(link, _CUT) for link in chain):
        # It would say the same again.
        return DownloadError(f"{host}: {reason} ({shown})", hint=_NO_HUB, url=shown)
    via = "the proxy: " if "ProxyError" in names else ""
    # Reached and then dropped is worth another try at once; never reached mostly means no network.
    reached = "ProtocolError" in names
    # A port of its own is a mirror, or a hub for a test: which of several, and whether it is the right one.
    where = host if port in (80, 443) else f"{host}, port {port}"
    message = f"cannot reach {where}: {via}{reason}"
    return DownloadError(message, hint=_HINT, url=shown, transient=True, unreachable=not reached)


def reason_of(error: BaseException, handled: BaseException | None = None) -> str:
    """The cause of a failed exchange in a few words, never with an address in them; `handled` as `unanswered` has it."""
    chain = _chain(error, handled)
    for link in chain:
        if isinstance(link, socket.gaierror):
            return f"its name cannot be resolved ({link.strerror or 'no answer of DNS'})"
        if isinstance(link, ssl.SSLCertVerificationError):
            return f"its certificate is not accepted ({printable(link.verify_message, 100)})"
        if isinstance(link, http.client.RemoteDisconnected):
            return "the connection was closed without an answer"
        if isinstance(link, http.client.IncompleteRead):
            return "the connection ended early"
        if isinstance(link, http.client.HTTPException):
            return f"its answer is not HTTP ({type(link).__name__})"
    for link in reversed(chain):
        if isinstance(link, OSError) and link.errno and link.strerror:
            return link.strerror
    if any(isinstance(link, TimeoutError) for link in chain):
        return "no byte in time"
    # What requests says of a CA bundle that is not there: a path, and no address.
    plain = type(error) is OSError and len(error.args) == 1 and "://" not in str(error)
    return printable(error, 200) if plain else type(chain[-1]).__name__


def _chain(error: BaseException, handled: BaseException | None) -> list[BaseException]:
    """An exception and those it wraps, outermost first, but for what was there before; at most some twenty."""
    links = [error]
    for link in links:
        inner = [link.__cause__, link.__context__, getattr(link, "reason", None), *link.args]
        links += [
            other for other in inner if isinstance(other, BaseException) and other is not handled and other not in links
        ]
        if len(links) > 20:
            break
    return links
