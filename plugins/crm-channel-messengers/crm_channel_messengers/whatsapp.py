"""WhatsApp by the Cloud API: signed webhooks with messages and statuses, texts out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

import attrs

from crm_channel_messengers.contents import choice, lines, order, place, whatsapp_contact
from crm_channel_messengers.graph import API, called, event_of, require_done, verified
from crm_channel_messengers.service import Reply, Service, Status, at_second, dict_of, dicts_of, one_line, text_of
from crm_channel_messengers.wishes import WishSettings, heeded
from crm_core.errors import TryLater
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

_PATIENCE: Final = frozenset({80007, 130429, 131000, 131016, 131048, 131056, 131057, 133004, 133016})
"""Codes of errors that pass: too many calls, or a fault of theirs."""
_CREDENTIALS: Final = frozenset({3, 10, *range(200, 220), 131005, 131031, 131037, 131042, 131045, 133010})
"""The token may not do it, or the account is locked, not registered, without an approved name, or cannot pay."""
_STATUSES: Final[Mapping[str, Status]] = {
    "sent": "sent",
    "delivered": "delivered",
    "read": "read",
    "failed": "failed",
}


@attrs.frozen(kw_only=True)
class WhatsAppSettings(WishSettings):
    """The keys of `[channels.<name>]`.

    Args:
        phone_number_id: the id of the number in the app's dashboard, not the number.
        token: the access token.
        app_secret: what webhooks are signed with.
        verify_token: the text that was typed where the webhook was set up.
        api: the Graph API, with its version.
    """

    phone_number_id: str
    token: Secret
    app_secret: Secret
    verify_token: Secret
    api: str = API


class WhatsApp(Channel):
    """One number. A person is a thread, and so is a group.

    Who shows a username in the place of a number is known by an id of this business alone (`US.1349...`).
    """

    def __init__(self, account: ChannelAccount) -> None:
        self._settings: WhatsAppSettings = account.settings
        self._service = Service(self._settings.api)

    def parse(self, request: WebhookRequest) -> Received:
        """Answer the challenge by which the webhook is verified, or take messages and statuses."""
        if request.method == "GET":
            return verified(request, self._settings.verify_token)
        content = event_of(request, self._settings.app_secret, "whatsapp_business_account")
        messages, receipts = list[IncomingMessage](), list[StatusReceipt]()
        for value in self._values(content):
            people = _People(value)
            came = [_came(each, people) for each in dicts_of(value.get("messages"))]
            went = [_went(each, people) for each in dicts_of(value.get("message_echoes"))]
            messages += [each for each in (*came, *went) if each is not None]
            receipts += [each for one in dicts_of(value.get("statuses")) if (each := _status(one)) is not None]
        return Received(messages=heeded(messages, self._settings), receipts=receipts)

    def send(self, message: OutgoingMessage) -> Receipt:
        """Send a text; our message id goes with it as `biz_opaque_callback_data`."""
        content: dict[str, Any] = {
            "messaging_product": "whatsapp",
            **_recipient(message),
            "type": "text",
            "text": {"body": message.text, "preview_url": False},
            "biz_opaque_callback_data": message.message_id,
        }
        if message.replies_to:
            content["context"] = {"message_id": message.replies_to[0]}
        reply = self._call("POST", "/messages", json=content)
        sent = dicts_of(reply.content.get("messages"))
        if not sent or not sent[0].get("id"):
            raise TryLater(f"WhatsApp answered {reply.told}")
        return Receipt(provider_id=str(sent[0]["id"]), thread=message.thread)

    def check(self) -> str:
        """Ask which number it is."""
        reply = self._call("GET", "", params={"fields": "display_phone_number,verified_name"})
        return f"{reply.content.get('verified_name', '?')}, {reply.content.get('display_phone_number', '?')}"

    def close(self) -> None:
        """Close the connection."""
        self._service.close()

    def _values(self, content: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
        """Return what changed at our number: an app may have several, and tells all of them to one address."""
        for entry in dicts_of(content.get("entry")):
            for change in dicts_of(entry.get("changes")):
                value = dict_of(change.get("value"))
                if str(dict_of(value.get("metadata")).get("phone_number_id")) == self._settings.phone_number_id:
                    yield value

    def _call(self, method: str, path: str, **given: Any) -> Reply:
        reply = called(
            self._service,
            method,
            f"/{self._settings.phone_number_id}{path}",
            self._settings.token,
            self._settings.app_secret,
            **given,
        )
        require_done(reply, "WhatsApp", _PATIENCE, _CREDENTIALS)
        return reply


class _People:
    """Who an event is about: their names, and the ids of those whose numbers are not told."""

    def __init__(self, value: Mapping[str, Any]) -> None:
        contacts = dicts_of(value.get("contacts"))
        self._names = {
            text_of(each.get(key)): one_line(text_of(dict_of(each.get("profile")).get("name")))
            for each in contacts
            for key in ("wa_id", "user_id")
        }
        self._only = text_of(contacts[0].get("user_id")) if len(contacts) == 1 else ""

    def sender(self, found: Mapping[str, Any]) -> str:
        """Return who wrote a message: the number, else the id."""
        known = (found.get("from"), found.get("from_user_id"), self._only)
        return next((told for each in map(text_of, known) if (told := one_line(each))), "")

    def address(self, person: str) -> Address:
        """Return the address of a person."""
        digits = person.lstrip("+")
        value = f"+{digits}" if digits.isdigit() else one_line(person)
        return Address(kind="whatsapp", value=value, name=self._names.get(person, ""))


def _recipient(message: OutgoingMessage) -> dict[str, str]:
    """Say whom a message is for: a group if the conversation is that of one, a number, or an id in its place."""
    person = message.recipient.value
    if message.thread and not message.thread.isdigit() and message.thread != person:
        return {"recipient_type": "group", "to": message.thread}
    number = person.lstrip("+")
    return {"recipient_type": "individual", **({"to": number} if number.isdigit() else {"recipient": person})}


def _came(found: Mapping[str, Any], people: _People) -> IncomingMessage | None:
    """Return a message that somebody wrote; None for what is none, or took a reaction back."""
    name, person = text_of(found.get("id")).strip(), people.sender(found)
    kind = text_of(found.get("type")) or "message"
    content = dict_of(found.get(kind))
    if not name or not person or (kind == "reaction" and not text_of(content.get("emoji"))):
        return None
    about = [dict_of(found.get("context")).get("id"), content.get("original_message_id"), content.get("message_id")]
    return IncomingMessage(
        external_id=name,
        sender=people.address(person),
        at=at_second(found.get("timestamp")),
        text=_text(found, kind),
        thread=text_of(found.get("group_id")).strip() or one_line(person),
        replies_to=tuple(dict.fromkeys(each for each in map(text_of, about) if each)),
        automatic="reply" if kind == "system" else "",
    )


def _went(found: Mapping[str, Any], people: _People) -> IncomingMessage | None:
    """Return a message that a colleague wrote in the app on the phone; None for what is none."""
    name, person, kind = (one_line(text_of(found.get(each))) for each in ("id", "to", "type"))
    if not name or not person or kind in ("revoke", "edit"):
        return None
    return IncomingMessage(
        external_id=name,
        sender=people.address(person),
        at=at_second(found.get("timestamp")),
        text=_text(found, kind or "message"),
        thread=one_line(person),
        direction="out",
    )


def _text(found: Mapping[str, Any], kind: str) -> str:
    """Return what a message says, with its kind in brackets where it is no text."""
    content = dict_of(found.get(kind))
    if kind == "text":
        return text_of(content.get("body"))
    if kind == "edit":
        changed = dict_of(content.get("message"))
        return lines(_text(changed, text_of(changed.get("type")) or "text"), "[edit]")
    if kind == "contacts":
        return lines(*(whatsapp_contact(each) for each in dicts_of(found.get(kind))), "[contacts]")
    special = {"location": place, "order": order, "interactive": choice}.get(kind)
    if special is not None:
        return lines(special(content), f"[{kind}]")
    texts = (content.get(name) for name in ("body", "caption", "text", "filename", "emoji"))
    return lines(next((each for each in map(text_of, texts) if each), ""), f"[{kind}]")


def _status(found: Mapping[str, Any]) -> StatusReceipt | None:
    status = _STATUSES.get(str(found.get("status")))
    # Ours comes back with it, also of a message whose sending was cut off before the receipt was kept.
    name = found.get("biz_opaque_callback_data") or found.get("id")
    if status is None or not isinstance(name, str) or not name.strip():
        return None
    errors = [_reason(each) for each in dicts_of(found.get("errors"))]
    return StatusReceipt(
        message_id=name, status=status, at=at_second(found.get("timestamp")), reason="; ".join(errors)[:300]
    )


def _reason(error: Mapping[str, Any]) -> str:
    title = str(error.get("title") or error.get("message") or error.get("code"))
    details = text_of(dict_of(error.get("error_data")).get("details"))
    return f"{title}: {details}" if details and details != title else title
