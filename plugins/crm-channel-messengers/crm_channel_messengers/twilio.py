"""SMS by Twilio: messages out by its REST interface, messages and statuses in by signed webhooks."""

from __future__ import annotations

import base64
import hmac
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import parse_qsl

import attrs

from crm_channel_messengers.service import Reply, Service, Status, is_same, require_length
from crm_core.errors import CredentialsWrong, InvalidValue, MessageRejected, RequestRefused, TryLater
from crm_core.extend import (
    Address,
    Channel,
    ChannelAccount,
    IncomingMessage,
    OutgoingMessage,
    Receipt,
    Received,
    StatusReceipt,
    WebhookRequest,
)
from crm_core.settings import Secret

_LONGEST: Final = 1_600
_FIELDS: Final = 200
_STATUSES: Final[Mapping[str, Status]] = {
    "sent": "sent",
    "delivered": "delivered",
    "read": "read",
    "failed": "failed",
    "undelivered": "failed",
}


@attrs.frozen(kw_only=True)
class TwilioSettings:
    """The keys of `[channels.<name>]`.

    Args:
        account_sid: the account, AC...
        token: its auth token, which requests to the webhook are signed with too.
        number: the number that messages leave from, with its country: "+4915...".
        url: the webhook as Twilio calls it, letter by letter: "https://crm.example.org/hooks/sms".
        api: the REST interface.
    """

    account_sid: str
    token: Secret
    number: str
    url: str
    api: str = "https://api.twilio.com"


class Twilio(Channel):
    """One number; whoever writes to it is a thread."""

    def __init__(self, account: ChannelAccount) -> None:
        self._settings: TwilioSettings = account.settings
        self._service = Service(self._settings.api)

    def parse(self, request: WebhookRequest) -> Received:
        """Take a message, or the status of one of ours, that is signed by the auth token; no time is signed."""
        try:
            found = parse_qsl(request.body.decode("ascii"), True, max_num_fields=_FIELDS, errors="strict")
        except ValueError:
            raise RequestRefused("the body is no form in UTF-8") from None
        plain = self._settings.url + "".join(f"{name}{value}" for name, value in sorted(found))
        key = self._settings.token.reveal().encode()
        signed = base64.b64encode(hmac.digest(key, plain.encode(), "sha1"))
        if not found or not is_same(signed, request.headers.get("x-twilio-signature", "")):
            raise RequestRefused(
                "the signature is not that of the auth token", hint="`url` must be what Twilio calls, letter by letter"
            )
        fields = dict(found)
        name = fields.get("MessageSid", "")
        if not name:
            raise RequestRefused("the request is of no message")
        if fields.get("MessageStatus", "received") not in ("received", "receiving"):
            status = _STATUSES.get(fields["MessageStatus"])
            code = fields.get("ErrorCode", "")
            reason = f"error {code}" if code else ""
            return Received(
                receipts=[StatusReceipt(message_id=name, status=status, reason=reason)] if status is not None else []
            )
        try:
            return Received(messages=[_message(name, fields)])
        except InvalidValue as error:
            raise RequestRefused(f"the request is no message: {error.message}") from None

    def send(self, message: OutgoingMessage) -> Receipt:
        """Send a text; Twilio knows no id of ours, so that a repetition comes twice."""
        require_length(message.text, _LONGEST, "Twilio")
        content = {
            "To": message.recipient.value,
            "From": self._settings.number,
            "Body": message.text,
            "StatusCallback": self._settings.url,
        }
        reply = self._call("POST", "/Messages.json", data=content)
        return Receipt(provider_id=str(reply.content.get("sid", "")), thread=message.recipient.value)

    def check(self) -> str:
        """Ask what the account is called."""
        reply = self._call("GET", ".json")
        return f"{reply.content.get('friendly_name', '?')}, {reply.content.get('status', '?')}"

    def close(self) -> None:
        """Close the connection."""
        self._service.close()

    def _call(self, method: str, path: str, **given: Any) -> Reply:
        account = self._settings.account_sid
        reply = self._service.call(
            method, f"/2010-04-01/Accounts/{account}{path}", auth=(account, self._settings.token.reveal()), **given
        )
        if reply.status < 300:
            return reply
        told = f"{reply.content.get('message', '')} ({reply.content.get('code', reply.status)})"[:300]
        if reply.status == 429:
            raise TryLater(f"Twilio asks for patience: {told}", delay=reply.delay)
        if reply.status in (401, 403):
            raise CredentialsWrong(f"Twilio does not know the account or its token: {told}")
        raise MessageRejected(f"Twilio refuses the message: {told}")


def _message(name: str, fields: Mapping[str, str]) -> IncomingMessage:
    sender = fields.get("From", "")
    media = fields.get("NumMedia", "0")
    text = fields.get("Body", "")
    return IncomingMessage(
        external_id=name,
        sender=Address(kind="phone", value=sender),
        text=text if media in ("", "0") else f"{text}\n[{media} files]".strip(),
        thread=sender,
    )
