"""SMS by Kavenegar, outbound: it signs no webhook, so that nothing that claims to come from it could be proved."""

from __future__ import annotations

import hashlib
from typing import Any, Final

import attrs

from crm_channel_messengers.service import Reply, Service
from crm_core.errors import CredentialsWrong, MessageRejected, TryLater
from crm_core.extend import Channel, ChannelAccount, OutgoingMessage, Receipt
from crm_core.settings import Secret
from crm_core.values import ascii_digits

_PATIENCE: Final = frozenset({402, 409, 429, 451})
_ACCOUNT: Final = frozenset({401, 403, 407, 412, 416, 418})
"""The account is not active, its key is wrong, may not do this or not from here, has no such line, or no credit."""


@attrs.frozen(kw_only=True)
class KavenegarSettings:
    """The keys of `[channels.<name>]`: the API key, and the line that messages leave from."""

    key: Secret
    line: str
    api: str = "https://api.kavenegar.com"


class Kavenegar(Channel):
    """One line."""

    def __init__(self, account: ChannelAccount) -> None:
        self._settings: KavenegarSettings = account.settings
        self._service = Service(self._settings.api)

    def send(self, message: OutgoingMessage) -> Receipt:
        """Send a text; `localid`, a number made of our message id, keeps a repetition from leaving twice."""
        digest = hashlib.sha256(message.message_id.encode()).hexdigest()
        content = {
            "receptor": ascii_digits(message.recipient.value),
            "sender": self._settings.line,
            "message": message.text,
            "localid": str(int(digest[:15], 16)),
        }
        entries = self._call("sms/send", content).content.get("entries")
        if not isinstance(entries, list) or not entries or not isinstance(entries[0], dict):
            raise TryLater("Kavenegar answered without an entry")
        return Receipt(provider_id=str(entries[0].get("messageid", "")))

    def check(self) -> str:
        """Ask how much credit is left."""
        entries = self._call("account/info", {}).content.get("entries")
        left = entries.get("remaincredit", "?") if isinstance(entries, dict) else "?"
        return f"{left} rials of credit are left"

    def close(self) -> None:
        """Close the connection."""
        self._service.close()

    def _call(self, method: str, content: dict[str, Any]) -> Reply:
        reply = self._service.call("POST", f"/v1/{self._settings.key.reveal()}/{method}.json", data=content)
        found = reply.content.get("return")
        said: dict[str, Any] = found if isinstance(found, dict) else {}
        status = said.get("status", reply.status)
        if status == 200:
            return reply
        told = f"{said.get('message', '')} ({status})"[:300]
        if status in _PATIENCE:
            raise TryLater(f"Kavenegar asks for patience: {told}", delay=reply.delay)
        if status in _ACCOUNT:
            raise CredentialsWrong(
                f"Kavenegar does not serve the account: {told}", hint="its panel shows key and credit"
            )
        raise MessageRejected(f"Kavenegar refuses the message: {told}")
