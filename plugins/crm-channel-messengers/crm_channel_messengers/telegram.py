"""Telegram by its Bot API: updates by getUpdates or by webhook, messages by sendMessage."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from time import monotonic, sleep
from typing import Any, Final

import attrs

from crm_channel_messengers.contents import contact, lines, place
from crm_channel_messengers.service import (
    Reply,
    Service,
    at_second,
    dict_of,
    dicts_of,
    is_same,
    object_of,
    one_line,
    require_length,
    text_of,
)
from crm_channel_messengers.wishes import WishSettings, heeded
from crm_core.errors import CredentialsWrong, MessageRejected, RequestRefused, TryLater
from crm_core.extend import (
    Address,
    Channel,
    ChannelAccount,
    IncomingMessage,
    OutgoingMessage,
    Receipt,
    Received,
    WebhookRequest,
)
from crm_core.settings import Secret

_PAGE: Final = 100
_LONG_POLL: Final = 5
"""Seconds that one getUpdates waits: so long it takes at most to stop."""
_KINDS: Final = (
    "photo", "document", "animation", "voice", "audio", "video", "video_note", "sticker", "story", "paid_media",
    "location", "venue", "contact", "poll", "dice", "game", "invoice", "successful_payment", "refunded_payment",
    "users_shared", "chat_shared", "web_app_data", "checklist", "giveaway", "passport_data",
)  # fmt: skip
_SERVICE: Final = (
    "new_chat", "left_chat", "delete_chat", "group_chat", "supergroup_chat", "channel_chat", "chat_", "migrate_",
    "pinned_message", "message_auto_delete", "forum_topic", "general_forum", "video_chat", "proximity_alert",
    "boost_added", "write_access", "connected_website", "giveaway_",
)  # fmt: skip
"""What fields of a message begin with that tells of a chat, and in which nobody says anything."""
_LONGEST: Final = 4_096


@attrs.frozen(kw_only=True)
class TelegramSettings(WishSettings):
    """The keys of `[channels.<name>]`: the bot's token, and the `secret_token` that was given to setWebhook, if any."""

    token: Secret
    webhook_secret: Secret | None = None
    api: str = "https://api.telegram.org"


class Telegram(Channel):
    """One bot. A chat is a thread; a message is `<chat>:<message_id>`."""

    def __init__(self, account: ChannelAccount) -> None:
        self._settings: TelegramSettings = account.settings
        self._service = Service(self._settings.api)

    def poll(self, cursor: str) -> Received:
        """Return updates behind the cursor; Telegram forgets those before it, and all after a day.

        A bot with a webhook cannot be polled: then nothing comes this way.
        """
        updates = self._updates(cursor, limit=_PAGE)
        if updates is None:
            return Received(cursor=cursor)
        messages = [found for each in updates if (found := _message(each)) is not None]
        reached = str(max(each["update_id"] for each in updates) + 1) if updates else cursor
        return Received(messages=heeded(messages, self._settings), cursor=reached, more=len(updates) == _PAGE)

    def listen(self, cursor: str, seconds: float, stopping: Callable[[], bool]) -> bool:
        """Have getUpdates wait for an update (a long poll), again and again; for a bot with a webhook none comes."""
        ends = monotonic() + seconds
        while not stopping() and (left := ends - monotonic()) > 0:
            found = self._updates(cursor, limit=1, timeout=max(1, min(_LONG_POLL, round(left))))
            if found:
                return True
            if found is None:
                sleep(min(left, 1.0))
        return False

    def parse(self, request: WebhookRequest) -> Received:
        """Take an update that comes with the secret token; Telegram signs neither the body nor a time."""
        if self._settings.webhook_secret is None:
            raise RequestRefused("the account has no webhook_secret")
        given = request.headers.get("x-telegram-bot-api-secret-token", "")
        if not is_same(self._settings.webhook_secret.reveal(), given):
            raise RequestRefused("the secret token is not that of the account")
        update = object_of(request.body)
        if not isinstance(update.get("update_id"), int):
            raise RequestRefused("the body is no update")
        message = _message(update)
        return Received(messages=heeded([message], self._settings) if message is not None else [])

    def send(self, message: OutgoingMessage) -> Receipt:
        """Send a text; the Bot API knows no id of ours, so that a repetition comes twice."""
        text = f"{message.subject}\n\n{message.text}" if message.subject else message.text
        require_length(text, _LONGEST, "Telegram")
        content: dict[str, Any] = {"chat_id": message.thread or message.recipient.value, "text": text}
        chat, _, number = next(iter(message.replies_to), "").rpartition(":")
        if chat == content["chat_id"] and number.isdigit():
            content["reply_parameters"] = {"message_id": int(number), "allow_sending_without_reply": True}
        reply = self._call("sendMessage", content)
        self._require_done(reply, sending=True)
        sent = dict_of(reply.content.get("result"))
        chat = str(dict_of(sent.get("chat")).get("id", content["chat_id"]))
        return Receipt(provider_id=f"{chat}:{sent.get('message_id', '')}", thread=chat)

    def check(self) -> str:
        """Ask the bot's name."""
        reply = self._call("getMe", {})
        self._require_done(reply)
        return f"the bot @{dict_of(reply.content.get('result')).get('username', '?')}"

    def close(self) -> None:
        """Close the connection."""
        self._service.close()

    def _updates(self, cursor: str, *, limit: int, timeout: int = 0) -> list[Mapping[str, Any]] | None:
        """Return updates behind a cursor, after waiting for the first one; None of a bot with a webhook."""
        reply = self._call("getUpdates", {"offset": int(cursor or 0), "limit": limit, "timeout": timeout})
        if reply.status == 409:
            if "webhook" in str(reply.content.get("description", "")):
                return None
            raise TryLater("somebody else polls the same bot", delay=60, hint="a bot is polled by one workspace")
        self._require_done(reply)
        return [each for each in dicts_of(reply.content.get("result")) if isinstance(each.get("update_id"), int)]

    def _call(self, method: str, content: Mapping[str, Any]) -> Reply:
        return self._service.call("POST", f"/bot{self._settings.token.reveal()}/{method}", json=content)

    def _require_done(self, reply: Reply, *, sending: bool = False) -> None:
        if reply.content.get("ok") is True:
            return
        told = str(reply.content.get("description", reply.status))[:300]
        if reply.status == 429:
            delay = dict_of(reply.content.get("parameters")).get("retry_after")
            raise TryLater(
                f"Telegram asks for patience: {told}", delay=delay if isinstance(delay, int) else reply.delay
            )
        if reply.status in (401, 404):
            raise CredentialsWrong(f"Telegram does not know the bot: {told}", hint="the token is that of @BotFather")
        if sending and reply.status in (400, 403):
            raise MessageRejected(f"Telegram refuses the message: {told}")
        raise TryLater(f"Telegram answered {reply.told}")


def _message(update: Mapping[str, Any]) -> IncomingMessage | None:
    """Return what a person wrote to the bot, or wrote anew; None for any other update."""
    edited = "edited_message" in update
    found = dict_of(update.get("edited_message" if edited else "message"))
    sender, chat, number = dict_of(found.get("from")), dict_of(found.get("chat")), found.get("message_id")
    if not (isinstance(sender.get("id"), int) and isinstance(chat.get("id"), int) and isinstance(number, int)):
        return None
    # Whoever shares where they are moves on, and each step is an edit.
    text = "" if edited and "location" in found else _text(found)
    if not text:
        return None
    key = f"{chat['id']}:{number}"
    answered = key if edited else _answered(found, chat["id"])
    return IncomingMessage(
        external_id=f"{key}:{found.get('edit_date')}" if edited else key,
        sender=Address(
            kind="telegram",
            value=str(sender["id"]),
            name=one_line(f"{sender.get('first_name') or ''} {sender.get('last_name') or ''}"),
        ),
        at=at_second(found.get("edit_date" if edited else "date")),
        text=lines(text, "[edited]" if edited else ""),
        thread=str(chat["id"]),
        replies_to=(answered,) if answered else (),
        automatic="reply" if sender.get("is_bot") is True else "",
    )


def _answered(found: Mapping[str, Any], chat: int) -> str:
    number = dict_of(found.get("reply_to_message")).get("message_id")
    return f"{chat}:{number}" if number else ""


def _text(found: Mapping[str, Any]) -> str:
    """Return what a message says; empty where it only tells of the chat."""
    told = text_of(found.get("text")) or text_of(found.get("caption"))
    kinds = [name for name in _KINDS if name in found]
    if not told and not kinds:
        return "" if any(name.startswith(_SERVICE) for name in found) else "[message]"
    return lines(
        told, *(_words(name, dict_of(found[name])) for name in kinds), f"[{', '.join(kinds)}]" if kinds else ""
    )


def _words(kind: str, found: Mapping[str, Any]) -> str:
    """Return what is in words of a part that is no text."""
    if kind == "contact":
        return contact(f"{found.get('first_name') or ''} {found.get('last_name') or ''}", found.get("phone_number"))
    if kind in ("location", "venue"):
        return place(found)
    options = [each.get("text") for each in dicts_of(found.get("options"))]
    return lines(found.get("question"), *options, found.get("data"), found.get("emoji") if kind == "dice" else "")
