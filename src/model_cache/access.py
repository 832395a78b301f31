"""Whom a root asks: the Hub's client, made on first use, and the token that goes with a question."""

from __future__ import annotations

from .errors import SettingError, quoted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .clock import Clock
    from .hub.client import Hub
    from .hub.tokens import Token
    from .progress import Progress
    from .settings import Settings


class Access:
    """The way to the Hub of one root.

    Args:
        token: A token for the Hub, False for none, None to look where the Hub's own client looks.
        hub: Stands in for the client of `settings.endpoint`.
    """

    def __init__(self, settings: Settings, clock: Clock, token: str | bool | None, hub: Hub | None) -> None:
        if not (token is None or isinstance(token, (str, bool))):
            raise SettingError(f"token: expected a string, True, False or None, found {type(token).__name__}")
        self._settings, self._clock = settings, clock
        self._token = token
        self._found: tuple[Token | None] | None = None
        self._hub = hub
        self._hub_is_for = ""  # what `settings.sends` was when the client was made; empty for one that was handed in
        self._unsaid = ""  # a warning about the Hub that the caller has not been given

    @property
    def hub(self) -> Hub:
        """The client; another one once the settings say that something else is sent."""
        if self._hub is None or self._hub_is_for not in ("", self._settings.sends):
            from .hub.client import HubClient
            from .hub.failures import Shared

            settings = self._settings
            shared = None if settings.sends == "token" else Shared(settings.root, settings.private_root)
            self._found = None
            self._hub = HubClient(
                settings.endpoint,
                token=self.token,
                clock=self._clock,
                etag_timeout=settings.etag_timeout,
                download_timeout=settings.download_timeout,
                shared=shared,
            )
            self._hub_is_for = settings.sends
        return self._hub

    @property
    def token(self) -> Token | None:
        """The token, looked for once."""
        if self._found is None:
            self._found = (self._find_token(),)
        return self._found[0]

    def meet(self, progress: Progress) -> None:
        """Look for the token before anything is written, so that an unusable one leaves nothing behind.

        An unusable address is none of the settings. The client itself is made by who leads.
        """
        if self._hub is None:
            _ = self.token
        text, self._unsaid = self._unsaid, ""
        if text:
            progress.warning(text)

    def _find_token(self) -> Token | None:
        """The token to send to the endpoint; one that was only found does not go where somebody else says."""
        from .hub.tokens import find_token

        if self._settings.sends == "nothing":
            if self._token is True:
                raise SettingError(
                    f"token=True: no token is sent for {self._settings.root}, which a group shares",
                    hint="share_gated=True",
                )
            return None
        foreign = self._settings.endpoint_is_foreign
        if foreign and self._token is True:
            raise SettingError(f"token=True: not sent to {self._foreign_endpoint}", hint=self._own_endpoint)
        token = find_token(self._token, self._settings.environ)
        if token is None or not foreign or isinstance(self._token, str):
            return token
        self._unsaid = f"{token.source} is not sent to {self._foreign_endpoint}; {self._own_endpoint}"
        from .log import logger

        logger.warning(self._unsaid)
        return None

    @property
    def _foreign_endpoint(self) -> str:
        return (
            f"{self._settings.endpoint}, which {self._settings.policy_file} names: others than this user and root can"
            " write that file"
        )

    @property
    def _own_endpoint(self) -> str:
        return f"if it is the right one: export HF_ENDPOINT={quoted(self._settings.endpoint)}"
