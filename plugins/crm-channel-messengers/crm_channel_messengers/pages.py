"""Messages to a page: Messenger and Instagram, by the Graph API and its signed webhooks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Final, Literal

import attrs

from crm_channel_messengers.contents import lines, place
from crm_channel_messengers.graph import API, called, event_of, require_done, verified
from crm_channel_messengers.service import (
    Reply,
    Service,
    at_second,
    dict_of,
    dicts_of,
    one_line,
    require_length,
    text_of,
)
from crm_channel_messengers.wishes import WishSettings, heeded
from crm_core.errors import MessageRejected, TryLater
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

_PATIENCE: Final = frozenset({1200, 80006})
_CREDENTIALS: Final = frozenset({10, *range(200, 220)})
_LATE: Final = frozenset({2018278, 2534022})
"""Subcodes of an error: the person last wrote more than 24 hours ago."""
_OURS: Final = "crm:"
"""Begins what goes with a message of ours, and comes back with its echo."""


@attrs.frozen(kw_only=True)
class PageSettings(WishSettings):
    """The keys of `[channels.<name>]`.

    Args:
        page_id: the id of the page, or of the Instagram account.
        token: its access token.
        app_secret: what webhooks are signed with.
        verify_token: the text that was typed where the webhook was set up.
        api: the Graph API, with its version.
    """

    page_id: str
    token: Secret
    app_secret: Secret
    verify_token: Secret
    api: str = API


class Messenger(Channel):
    """One page. A person, by an id that only this page knows, is a thread."""

    KIND: ClassVar[Literal["messenger", "instagram"]] = "messenger"
    EVENT: ClassVar[str] = "page"
    NAME: ClassVar[str] = "Messenger"

    def __init__(self, account: ChannelAccount) -> None:
        self._settings: PageSettings = account.settings
        self._service = Service(self._settings.api)

    def parse(self, request: WebhookRequest) -> Received:
        """Answer the challenge by which the webhook is verified, or take messages, echoes and receipts.

        An echo of what we sent is a receipt; one of what a colleague wrote elsewhere is a message that went out.
        """
        if request.method == "GET":
            return verified(request, self._settings.verify_token)
        content = event_of(request, self._settings.app_secret, self.EVENT)
        messages, receipts = list[IncomingMessage](), list[StatusReceipt]()
        for event in self._events(content):
            receipts += _receipts(event)
            message = self._message(event)
            if message is not None:
                messages.append(message)
        return Received(messages=heeded(messages, self._settings), receipts=receipts)

    def send(self, message: OutgoingMessage) -> Receipt:
        """Send a text; the service takes no id of ours to know a repetition by, so that one comes twice."""
        self._require_length(message.text)
        content: dict[str, Any] = {
            "recipient": {"id": message.recipient.value},
            "messaging_type": "RESPONSE",
            "message": self._content(message),
        }
        reply = self._call("POST", "/messages", json=content)
        name = reply.content.get("message_id")
        if not isinstance(name, str) or not name:
            raise TryLater(f"{self.NAME} answered {reply.told}")
        return Receipt(provider_id=name, thread=message.recipient.value)

    def check(self) -> str:
        """Ask what the page is called."""
        return f"the page {self._call('GET', '', params={'fields': 'name'}).content.get('name', '?')}"

    def close(self) -> None:
        """Close the connection."""
        self._service.close()

    def _require_length(self, text: str) -> None:
        require_length(text, 2_000, self.NAME)

    def _content(self, message: OutgoingMessage) -> dict[str, Any]:
        return {"text": message.text, "metadata": f"{_OURS}{message.message_id}"}

    def _events(self, content: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
        """Return what happened at our page: an app may have several, and tells all of them to one address."""
        for entry in dicts_of(content.get("entry")):
            if str(entry.get("id")) == self._settings.page_id:
                yield from dicts_of(entry.get("messaging"))

    def _message(self, event: Mapping[str, Any]) -> IncomingMessage | None:
        found = dict_of(event.get("message")) or dict_of(event.get("postback")) or _said_later(event)
        key, echo = text_of(found.get("mid")).strip(), found.get("is_echo") is True
        person = one_line(text_of(dict_of(event.get("recipient" if echo else "sender")).get("id")))
        if not key or not person or person == self._settings.page_id or found.get("is_deleted") is True:
            return None
        if echo and (self.KIND == "instagram" or text_of(found.get("metadata")).startswith(_OURS)):
            return None
        files = dicts_of(found.get("attachments"))
        kinds = [text_of(each.get("type")) or "file" for each in files]
        kinds += ["unsupported"] if found.get("is_unsupported") is True else []
        text = text_of(found.get("text")) or text_of(found.get("title"))
        answered = text_of(dict_of(found.get("reply_to")).get("mid"))
        return IncomingMessage(
            external_id=key,
            sender=Address(kind=self.KIND, value=person),
            at=at_second(_seconds(event.get("timestamp"))),
            text=lines(text, *map(_named, files), f"[{', '.join(kinds)}]" if kinds else ""),
            thread=person,
            replies_to=(answered,) if answered else (),
            direction="out" if echo else "in",
        )

    def _call(self, method: str, path: str, **given: Any) -> Reply:
        reply = called(
            self._service,
            method,
            f"/{self._settings.page_id}{path}",
            self._settings.token,
            self._settings.app_secret,
            **given,
        )
        if dict_of(reply.content.get("error")).get("error_subcode") in _LATE:
            raise MessageRejected(
                f"{self.NAME} takes nothing more than 24 hours after the person last wrote",
                hint="wait until the person writes again, or take another channel",
            )
        require_done(reply, self.NAME, _PATIENCE, _CREDENTIALS)
        return reply


class Instagram(Messenger):
    """One Instagram account; an echo does not say who wrote it, and is let go."""

    KIND = "instagram"
    EVENT = "instagram"
    NAME = "Instagram"

    def _require_length(self, text: str) -> None:
        require_length(text, 1_000, self.NAME, size=len(text.encode()), unit="bytes")

    def _content(self, message: OutgoingMessage) -> dict[str, Any]:
        return {"text": message.text}


def _said_later(event: Mapping[str, Any]) -> dict[str, Any]:
    """Return what an event says of a message before it, as a message: a reaction to it, or its new text."""
    reaction, edit = dict_of(event.get("reaction")), dict_of(event.get("message_edit"))
    about = {"mid": text_of((reaction or edit).get("mid"))}
    if not about["mid"]:
        return {}
    if edit:
        key = f"{about['mid']}:edit:{edit.get('num_edit', event.get('timestamp'))}"
        return {"mid": key, "reply_to": about, "text": lines(edit.get("text"), "[edit]")}
    if reaction.get("action") != "react":
        return {}
    told = text_of(reaction.get("emoji")) or text_of(reaction.get("reaction"))
    return {
        "mid": f"{about['mid']}:reaction:{event.get('timestamp')}",
        "reply_to": about,
        "text": lines(told, "[reaction]"),
    }


def _named(file: Mapping[str, Any]) -> str:
    """Return what is in words of a file: where a place is, what a shared page is called."""
    shared = dict_of(file.get("payload"))
    spot = place(dict_of(shared.get("coordinates")), file.get("title") or shared.get("title"))
    return lines(spot, (shared.get("url") or file.get("url")) if file.get("type") == "fallback" else "")


def _receipts(event: Mapping[str, Any]) -> Iterator[StatusReceipt]:
    """Return what an event says of messages of ours; of reading Messenger tells only a time, Instagram the message."""
    at = at_second(_seconds(event.get("timestamp")))
    echo = dict_of(event.get("message"))
    metadata = text_of(echo.get("metadata"))
    if echo.get("is_echo") is True and metadata.startswith(_OURS) and metadata.removeprefix(_OURS).strip():
        yield StatusReceipt(message_id=metadata.removeprefix(_OURS), status="sent", at=at)
    names = dict_of(event.get("delivery")).get("mids")
    for name in names if isinstance(names, list) else ():
        if text_of(name).strip():
            yield StatusReceipt(message_id=name, status="delivered", at=at)
    if text_of(dict_of(event.get("read")).get("mid")).strip():
        yield StatusReceipt(message_id=event["read"]["mid"], status="read", at=at)


def _seconds(milliseconds: Any) -> Any:
    return milliseconds // 1000 if isinstance(milliseconds, int) else None
