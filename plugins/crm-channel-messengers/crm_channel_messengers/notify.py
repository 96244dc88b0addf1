"""Any service that `apprise` knows, outbound only."""

from __future__ import annotations

import logging
import re
from typing import Any, Final
from urllib.parse import quote

import attrs

from crm_core.errors import ChannelError, CredentialsWrong, TryLater
from crm_core.extend import Channel, ChannelAccount, OutgoingMessage, Receipt
from crm_core.settings import Secret

_WHOM: Final = "{to}"
_AUTHORITY: Final = re.compile(r"[^/]*//([^/?#]*).*", re.DOTALL)
"""What stands where the server, or what is in its place, stands in an address."""


@attrs.frozen(kw_only=True)
class AppriseSettings:
    """The keys of `[channels.<name>]`: the address of a service as apprise writes it, with `{to}` for the recipient.

    It is a secret as a whole, for tokens and passwords stand in it: `twilio://SID:TOKEN@+4915112345678/{to}`.
    """

    url: Secret


class Notifier(Channel):
    """One service."""

    def __init__(self, account: ChannelAccount) -> None:
        self._settings: AppriseSettings = account.settings

    def send(self, message: OutgoingMessage) -> Receipt:
        """Send a text; apprise knows no ids, so that a repetition comes twice, and no reason why a service refuses."""
        service = self._service(message.recipient.value)
        try:
            done = service.notify(body=message.text, title=message.subject, body_format="text")
        except Exception as error:  # its words may have any part of the address in them
            raise TryLater(f"apprise failed by an unexpected {type(error).__name__}") from None
        if not done:
            raise TryLater("the service did not take the message; apprise says no more")
        return Receipt()

    def check(self) -> str:
        """See that apprise is there and knows the service; nobody is asked."""
        found = next(iter(self._service("0")))
        return f"{found.service_name}, by apprise; the service was not asked"

    def _service(self, recipient: str) -> Any:
        """Return the service for one recipient, whose address can be no other part of it.

        Raises:
            ChannelError: apprise is not installed.
            CredentialsWrong: it does not know the service, or the address says nobody.
        """
        try:
            import apprise
        except ImportError:
            raise ChannelError(
                "the package apprise is not installed", hint='pip install "crm-channel-messengers[apprise]"'
            ) from None
        logging.getLogger("apprise").setLevel(logging.CRITICAL + 1)  # it logs addresses, and what is in them
        url = self._settings.url.reveal()
        if _WHOM not in url:
            raise CredentialsWrong(
                "the address says the same recipient for every message",
                hint=f"put {_WHOM} where the recipient stands in it",
            )
        service = apprise.Apprise(asset=apprise.AppriseAsset(http_redirects=False))
        if not service.add(url.replace(_WHOM, quote(recipient, safe=""))) or len(service) != 1:
            raise CredentialsWrong(
                "apprise does not know the service", hint="its documentation shows the address of each service"
            )
        server = _AUTHORITY.sub(r"\1", url).rpartition("@")[2]
        if _WHOM in server and "{host}" in " ".join(service[0].templates):
            raise CredentialsWrong(
                "the address has the recipient in the place of the server, which no customer may choose",
                hint=f"put {_WHOM} behind the server",
            )
        return service
