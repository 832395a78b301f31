"""What one root shares with other hosts, as a download uses it: no engine ever makes one fail.

Whatever an engine does wrong is a warning, closes its gate for a while, and is answered as if the engine had nothing.

Concurrency:
    Safe to share between threads.
"""

from __future__ import annotations

import math
import threading
from collections import deque
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, TypeVar

from ..log import logger
from . import engines, objects
from .gate import Gate
from .protocols import Alone, Blob, EngineError, FullError, Lead, LostError, NoLead, NotHereError, NoTier
from .uploads import Uploads

if TYPE_CHECKING:
    from ..clock import Clock
    from .protocols import BlobTier, Flight

T = TypeVar("T")
# Seconds until what broke off is asked, or sent, once more: a server that is started anew may be there again.
_PAUSE = 3.0
# Seconds without a byte after which a body did not break off, but stopped: asking again would take as long.
_SILENT = 4.0
# Where less than so many bytes come in so many seconds of waiting, the Hub is asked instead.
_FLOOR, _LONG = 256 << 10, 10.0
_MOST_LEADS = 16  # at a time in one process: each is a connection to the database

__all__ = ["Blob", "Fleet", "Lead", "NoLead"]


class Fleet:
    """The engines of one root.

    Args:
        tier: The bucket.
        flight: Who leads; of no use without a tier, where who waited could look.
        place: Where it is remembered that an engine fails; the engine's name comes behind.
        mode: Of that file.
        uploads: What is offered while nobody waits.
    """

    def __init__(
        self, tier: BlobTier, flight: Flight, place: str, mode: int, clock: Clock, uploads: Uploads | None = None
    ) -> None:
        self._tier, self._flight, self._clock = tier, flight, clock
        self._tier_gate = Gate(f"{place}tier", mode, clock, "the tier", "the Hub is asked instead")
        self._lead_gate = Gate(f"{place}lead", mode, clock, "the lead", "this host goes alone")
        self._free = threading.Semaphore(_MOST_LEADS)
        self._is_without = False
        self._news: deque[str] = deque(maxlen=8)
        self.uploads = uploads or Uploads()

    def news(self) -> Iterator[str]:
        """What went wrong and was not told anybody yet."""
        while self._news:
            yield self._news.popleft()

    def tell(self, message: str) -> None:
        """Have something told: to the log now, and to whoever asks for news."""
        logger.warning(message)
        self._news.append(message)

    def read(self, name: str, offset: int = 0, *, returns: bool = False) -> Blob | None:
        """An object that is there; what goes wrong while its chunks are read is an EngineError.

        It is a LostError where the body broke off, and did not just stop or drip: that alone closes no way. Who finds that asking
        once more does not help says so by `gave_up_tier`.

        Args:
            returns: The bucket was there a moment ago; if it refuses now it is asked once more.
        """
        found = self._ask(lambda: self._tier.fetch(name, offset), again_within=_SILENT if returns else 0.0)
        return None if found is None else Blob(found.size, self._watched(found.chunks), found.version)

    def facts(self, name: str, limit: int = objects.LARGEST_RECORD) -> dict[str, Any] | None:
        """What a record says, None if there is none that is as it was written."""
        found = self.read(name)
        if found is None or found.size > limit:
            return None
        try:
            data = b"".join(found.chunks)
        except LostError as error:
            self.gave_up_tier(error)
            return None
        except EngineError:
            return None
        facts = objects.unpack(data)
        if facts is None:
            logger.warning("the tier: %s is damaged, and is passed over", name)
        return facts

    def offer(self, name: str, data: bytes | Callable[[], Iterator[bytes]], size: int) -> bool:
        """Put an object there; whether it is. What can be read again is sent once more where that breaks off."""

        def put() -> bool:
            self._tier.offer(name, data if isinstance(data, bytes) else data(), size)
            return True

        return self._ask(put, again_within=0.0 if isinstance(data, bytes) else math.inf) is True

    def drop(self, name: str) -> None:
        """Take an object away."""
        self._ask(lambda: self._tier.drop(name))

    def lead(self, name: str, go_on: Callable[[], bool], *, returns: bool = False) -> Lead:
        """Lead the download of an object, after whoever does now; without the lead where nobody can say who does.

        Args:
            returns: The database was there a moment ago; that it cannot be reached now is a LostError, too.

        Raises:
            LostError: The wait broke off; who does not ask again says so by `gave_up_lead`.
            FullError: Nobody more may wait now.
        """
        if self.has_no_tier or not self._free.acquire(blocking=False):
            return NoLead()
        lead: Lead | None = None
        try:
            if not self._lead_gate.is_open():
                return NoLead()
            lead = self._flight.lead(name, go_on)
        except EngineError as error:
            if isinstance(error, (LostError, FullError)):
                raise
            if returns and not isinstance(error, NotHereError):
                raise LostError(str(error)) from None
            self.gave_up_lead(error)
            return NoLead()
        finally:
            if lead is None:
                self._free.release()
        self._lead_gate.worked()
        return _Counted(lead, self._free.release)

    def gave_up_lead(self, error: EngineError) -> None:
        """The database is done without for a while."""
        if isinstance(error, NotHereError):
            logger.warning("the lead: %s; this host goes alone", error)
            self._flight = Alone()
        else:
            self._news.append(self._lead_gate.failed(error))

    def gave_up_tier(self, error: EngineError) -> None:
        """The bucket is done without for a while."""
        if isinstance(error, NotHereError):
            logger.warning("the tier: %s; the Hub is asked instead", error)
            # Nor does it lead, or wait for who does: what others bring it could not read, and it would bring nothing.
            self._tier, self._flight, self._is_without = NoTier(), Alone(), True
        else:
            self._news.append(self._tier_gate.failed(error))

    @property
    def has_no_tier(self) -> bool:
        """Whether the bucket is done without now."""
        return self._is_without or self._tier_gate.is_closed

    def _ask(self, question: Callable[[], T], *, again_within: float = 0.0) -> T | None:
        """An answer, None where there is none; what fails within so many seconds is asked once more."""
        if not self._tier_gate.is_open():
            return None
        began = self._clock.monotonic()
        try:
            try:
                answer = question()
            except NotHereError:
                raise
            except EngineError as error:
                if self._clock.monotonic() - began >= again_within:
                    raise
                logger.info("the tier: %s; asked once more in %g s", error, _PAUSE)
                self._clock.sleep(_PAUSE)
                answer = question()
        except EngineError as error:
            self.gave_up_tier(error)
            return None
        self._tier_gate.worked()
        return answer

    def _watched(self, chunks: Iterator[bytes]) -> Iterator[bytes]:
        now = self._clock.monotonic
        asked, waited, came = now(), 0.0, 0
        try:
            for chunk in chunks:
                waited, came = waited + now() - asked, came + len(chunk)
                if came >= _FLOOR:
                    waited, came = 0.0, 0
                if waited > _LONG:
                    raise EngineError(f"less than {_FLOOR >> 10} KiB in {_LONG:g} s")
                yield chunk
                asked = now()
        except EngineError as error:
            if waited <= _LONG and now() - asked < _SILENT:
                raise LostError(str(error)) from None
            self.gave_up_tier(error)
            raise


def opened(tier: str | None, lead: str | None, place: str, mode: int, clock: Clock) -> Fleet:
    """The engines at two addresses, the null ones where there is none; `place`, `mode` and `clock` as `Fleet` has them.

    Raises:
        SettingError: What an engine needs is not installed.
    """
    bucket: BlobTier = NoTier()
    flight: Flight = Alone()
    wrong = ""
    try:
        bucket = engines.tier(tier)
        flight = engines.flight(lead if tier is not None else None)
    except EngineError as error:  # of an address, which asking again does not mend
        wrong = f"the tier: {error}; this host does without"
    made = Fleet(bucket, flight, place, mode, clock)
    if wrong:
        made.tell(wrong)
    return made


class _Counted:
    """A lead that tells when it is let go."""

    def __init__(self, lead: Lead, returned: Callable[[], None]) -> None:
        self._lead, self._returned = lead, returned
        self._once = threading.Lock()

    @property
    def held(self) -> bool:
        """Whether this one leads."""
        return self._lead.held

    def release(self) -> None:
        """Let the next one lead."""
        if self._once.acquire(blocking=False):
            self._returned()
        self._lead.release()
