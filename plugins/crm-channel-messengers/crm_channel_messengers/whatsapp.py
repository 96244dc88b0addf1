"""WhatsApp by the Cloud API: signed webhooks with messages and statuses, texts out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

import attrs

from crm_channel_messengers.graph import API, called, event_of, require_done, verified
from crm_channel_messengers.service import Reply, Service, Status, at_second, dict_of, dicts_of
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

_PATIENCE: Final = frozenset({80007, 130429, 131000, 131016, 131048, 131056, 133016})
"""Codes of errors that pass: too many calls, or a fault of theirs."""
_CREDENTIALS: Final = frozenset({3, 10, *range(200, 220), 131005, 131031})
_STATUSES: Final[Mapping[str, Status]] = {
    "sent": "sent",
    "delivered": "delivered",
    "read": "read",
    "failed": "failed",
}


@attrs.frozen(kw_only=True)
class WhatsAppSettings:
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
    """One number. A person is a thread."""

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
            names = {
                str(each.get("wa_id")): str(dict_of(each.get("profile")).get("name") or "")
                for each in dicts_of(value.get("contacts"))
            }
            messages += [_message(each, names) for each in dicts_of(value.get("messages")) if _whole(each)]
            receipts += [each for one in dicts_of(value.get("statuses")) if (each := _status(one)) is not None]
        return Received(messages=messages, receipts=receipts)

    def send(self, message: OutgoingMessage) -> Receipt:
        """Send a text; our message id goes with it as `biz_opaque_callback_data`."""
        content: dict[str, Any] = {
            "messaging_product": "whatsapp",
            "recipient_type": "individual",
            "to": message.recipient.value.lstrip("+"),
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
        reply = called(self._service, method, f"/{self._settings.phone_number_id}{path}", self._settings.token, **given)
        require_done(reply, "WhatsApp", _PATIENCE, _CREDENTIALS)
        return reply


def _whole(found: Mapping[str, Any]) -> bool:
    return all(isinstance(found.get(name), str) and found[name].strip() for name in ("id", "from"))


def _message(found: Mapping[str, Any], names: Mapping[str, str]) -> IncomingMessage:
    kind = str(found.get("type", "message"))
    content = dict_of(found.get(kind))
    texts = (content.get("body"), content.get("caption"), content.get("text"), content.get("filename"))
    text = next((each for each in texts if isinstance(each, str) and each), "")
    answered = dict_of(found.get("context")).get("id")
    return IncomingMessage(
        external_id=found["id"],
        sender=Address(
            kind="whatsapp", value=f"+{found['from'].lstrip('+')}", name=" ".join(names.get(found["from"], "").split())
        ),
        at=at_second(found.get("timestamp")),
        text=text if kind == "text" else "\n".join(part for part in (text, f"[{kind}]") if part),
        thread=found["from"],
        replies_to=(answered,) if isinstance(answered, str) and answered else (),
    )


def _status(found: Mapping[str, Any]) -> StatusReceipt | None:
    status = _STATUSES.get(str(found.get("status")))
    # Ours comes back with it, also of a message whose sending was cut off before the receipt was kept.
    name = found.get("biz_opaque_callback_data") or found.get("id")
    if status is None or not isinstance(name, str) or not name.strip():
        return None
    errors = [str(each.get("title") or each.get("code")) for each in dicts_of(found.get("errors"))]
    return StatusReceipt(
        message_id=name, status=status, at=at_second(found.get("timestamp")), reason="; ".join(errors)[:300]
    )
