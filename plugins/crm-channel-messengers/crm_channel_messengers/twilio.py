"""SMS by Twilio: messages out by its REST interface, messages and statuses in by signed webhooks."""

from __future__ import annotations

import base64
import hmac
from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal
from urllib.parse import parse_qsl, urlsplit

import attrs

from crm_channel_messengers.service import Reply, Service, Status, is_same, require_length
from crm_channel_messengers.wishes import START_WORDS, STOP_WORDS, WishSettings, heeded
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
_UNSUBSCRIBED: Final = 21_610
_WISHES: Final[Mapping[str, Literal["stop", "start"]]] = {"STOP": "stop", "START": "start"}
_FIELDS: Final = 200
_STATUSES: Final[Mapping[str, Status]] = {
    "sent": "sent",
    "delivered": "delivered",
    "read": "read",
    "failed": "failed",
    "undelivered": "failed",
}


@attrs.frozen(kw_only=True)
class TwilioSettings(WishSettings):
    """The keys of `[channels.<name>]`. The words are those that Twilio heeds too, where it does not say that it did.

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
    stop_words: tuple[str, ...] = (*STOP_WORDS, "cancel", "end", "quit", "revoke", "arrete")
    start_words: tuple[str, ...] = (*START_WORDS, "yes")


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
        if not found or not self._is_signed(found, request.headers.get("x-twilio-signature", "")):
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
            if status is None:
                return Received()
            told = StatusReceipt(
                message_id=name,
                status=status,
                reason=f"error {code}" if code else "",
                unsubscribed=code == str(_UNSUBSCRIBED),
            )
            return Received(receipts=[told])
        try:
            return Received(messages=heeded([_message(name, fields)], self._settings))
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

    def _is_signed(self, found: Sequence[tuple[str, str]], given: str) -> bool:
        """Whether the auth token signed the form; of two fields of one name and value one is signed."""
        key = self._settings.token.reveal().encode()
        form = "".join(f"{name}{value}" for name, value in sorted(set(found)))
        signed = [hmac.digest(key, f"{url}{form}".encode(), "sha1") for url in _written(self._settings.url)]
        return any(is_same(base64.b64encode(each), given) for each in signed)

    def _call(self, method: str, path: str, **given: Any) -> Reply:
        account = self._settings.account_sid
        reply = self._service.call(
            method, f"/2010-04-01/Accounts/{account}{path}", auth=(account, self._settings.token.reveal()), **given
        )
        if reply.status < 300:
            return reply
        told = f"{reply.content.get('message', '')} ({reply.content.get('code', reply.status)})"[:300]
        if reply.content.get("code") == _UNSUBSCRIBED:
            raise MessageRejected(
                f"the recipient told Twilio STOP: {told}", unsubscribed=True, hint="it sends again after their START"
            )
        if reply.status == 429:
            raise TryLater(f"Twilio asks for patience: {told}", delay=reply.delay)
        if reply.status in (401, 403):
            raise CredentialsWrong(f"Twilio does not know the account or its token: {told}")
        raise MessageRejected(f"Twilio refuses the message: {told}")


def _written(url: str) -> tuple[str, ...]:
    """Return an address as it is, and with the port of its scheme or without: Twilio may sign either.

    >>> _written("https://crm.example.org/hooks/sms?a=1")
    ('https://crm.example.org/hooks/sms?a=1', 'https://crm.example.org:443/hooks/sms?a=1')
    """
    parts = urlsplit(url)
    usual = {"https": ":443", "http": ":80"}.get(parts.scheme, "")
    host = parts.netloc.removesuffix(usual) if usual and parts.netloc.endswith(usual) else f"{parts.netloc}{usual}"
    return (url, url.replace(parts.netloc, host, 1))


def _message(name: str, fields: Mapping[str, str]) -> IncomingMessage:
    sender = fields.get("From", "")
    media = fields.get("NumMedia", "0")
    text = fields.get("Body", "")
    return IncomingMessage(
        external_id=name,
        sender=Address(kind="phone", value=sender),
        text=text if media in ("", "0") else f"{text}\n[{media} files]".strip(),
        thread=sender,
        wish=_WISHES.get(fields.get("OptOutType", ""), ""),
    )
