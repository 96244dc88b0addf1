"""Viber by the REST interface of its bots: signed webhooks with messages and receipts, texts out."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

import attrs

from crm_channel_messengers.contents import contact, lines, place
from crm_channel_messengers.service import (
    Reply,
    Service,
    Status,
    at_second,
    dict_of,
    hex_signature,
    is_same,
    object_of,
    one_line,
    require_length,
    text_of,
)
from crm_channel_messengers.wishes import WishSettings, heeded
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

_LONGEST: Final = 7_000
_PATIENCE: Final = frozenset({1, 12})
_ACCOUNT: Final = frozenset({2, 7, 8, 9, 10, 15, 23, 24})
"""The token is wrong, the bot is blocked, suspended, without a webhook, or has no balance."""
_KNOWN: Final = 24
"""The last status with a meaning of its own: those behind it are general faults."""
_STATUSES: Final[Mapping[str, Status]] = {"delivered": "delivered", "seen": "read", "failed": "failed"}


def _short(instance: Any, attribute: attrs.Attribute[str], value: str) -> None:
    if not 0 < len(value) <= 28:
        raise ValueError(f"{attribute.name} must have 1 to 28 characters")


@attrs.frozen(kw_only=True)
class ViberSettings(WishSettings):
    """The keys of `[channels.<name>]`.

    Args:
        token: the bot's token, which webhooks are signed with too.
        sender: the name that people see.
        welcome: what a person who opens the conversation is shown, before a word is written; nothing without it.
        api: the REST interface.
    """

    token: Secret
    sender: str = attrs.field(validator=_short)
    welcome: str = ""
    api: str = "https://chatapi.viber.com"


class Viber(Channel):
    """One bot. A person, by an id that only this bot knows, is a thread."""

    def __init__(self, account: ChannelAccount) -> None:
        self._settings: ViberSettings = account.settings
        self._service = Service(self._settings.api)

    def parse(self, request: WebhookRequest) -> Received:
        """Take a message or a receipt that is signed by the token; no time is signed."""
        given = request.headers.get("x-viber-content-signature", "")
        if not is_same(hex_signature(self._settings.token, request.body), given):
            raise RequestRefused("the signature is not that of the token")
        content = object_of(request.body)
        event = text_of(content.get("event"))
        if not event:
            raise RequestRefused("the body is no event")
        if event == "message":
            return Received(messages=heeded([_message(content)], self._settings))
        if event == "conversation_started" and self._settings.welcome:
            shown = {"sender": {"name": self._settings.sender}, "type": "text", "text": self._settings.welcome}
            return Received(reply=json.dumps(shown))
        if event in _STATUSES:
            return Received(receipts=[_receipt(content, _STATUSES[event])])
        return Received()

    def send(self, message: OutgoingMessage) -> Receipt:
        """Send a text; our message id goes with it as `tracking_data`, and a repetition comes twice."""
        require_length(message.text, _LONGEST, "Viber")
        content = {
            "receiver": message.recipient.value,
            "min_api_version": 1,
            "sender": {"name": self._settings.sender},
            "tracking_data": message.message_id,
            "type": "text",
            "text": message.text,
        }
        name = self._call("send_message", content).content.get("message_token")
        if not isinstance(name, int | str) or not name:
            raise TryLater("Viber answered without a message_token")
        return Receipt(provider_id=str(name), thread=message.recipient.value)

    def check(self) -> str:
        """Ask what the bot is called."""
        return f"the bot {self._call('get_account_info', {}).content.get('name', '?')}"

    def close(self) -> None:
        """Close the connection."""
        self._service.close()

    def _call(self, method: str, content: Mapping[str, Any]) -> Reply:
        headers = {"x-viber-auth-token": self._settings.token.reveal()}
        reply = self._service.call("POST", f"/pa/{method}", headers=headers, json=content)
        status = reply.content.get("status")
        if status == 0 and reply.status == 200:
            return reply
        told = f"{reply.content.get('status_message', reply.status)} ({status})"[:300]
        if status in _PATIENCE or reply.status == 429:
            raise TryLater(f"Viber asks for patience: {told}", delay=reply.delay)
        if status in _ACCOUNT or reply.status in (401, 403):
            raise CredentialsWrong(
                f"Viber does not serve the bot: {told}", hint="its admin panel shows token and state"
            )
        if not isinstance(status, int) or status > _KNOWN:
            raise TryLater(f"Viber answered {reply.told}")
        raise MessageRejected(f"Viber refuses the message: {told}")


def _message(content: Mapping[str, Any]) -> IncomingMessage:
    sender, found = dict_of(content.get("sender")), dict_of(content.get("message"))
    person, kind = text_of(sender.get("id")), text_of(found.get("type")) or "message"
    card = dict_of(found.get("contact"))
    told = lines(
        text_of(found.get("text")) or text_of(found.get("file_name")),
        found.get("media") if kind == "url" else "",
        contact(card.get("name"), card.get("phone_number")),
        place(dict_of(found.get("location"))),
    )
    try:
        return IncomingMessage(
            external_id=_token(content),
            sender=Address(kind="viber", value=person, name=one_line(text_of(sender.get("name")))),
            at=_time(content),
            text=told if kind == "text" else lines(told, f"[{kind}]"),
            thread=person,
        )
    except InvalidValue as error:
        raise RequestRefused(f"the event is no message: {error.message}") from None


def _receipt(content: Mapping[str, Any], status: Status) -> StatusReceipt:
    return StatusReceipt(
        message_id=_token(content), status=status, at=_time(content), reason=text_of(content.get("desc"))[:300]
    )


def _token(content: Mapping[str, Any]) -> str:
    found = content.get("message_token")
    if isinstance(found, bool) or not isinstance(found, int | str) or not str(found).strip():
        raise RequestRefused("the event has no message_token")
    return str(found)


def _time(content: Mapping[str, Any]) -> Any:
    found = content.get("timestamp")
    return at_second(found // 1000) if isinstance(found, int) else None
