"""SMS by Kavenegar: texts out, messages in by reading the line's inbox; it signs no call, so each is asked about."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from time import time
from typing import Any, Final
from urllib.parse import parse_qsl

import attrs

from crm_channel_messengers.service import (
    Reply,
    Service,
    Status,
    at_second,
    dict_of,
    dicts_of,
    is_same,
    object_of,
    text_of,
)
from crm_channel_messengers.wishes import STOP_WORDS, WishSettings, heeded
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
from crm_core.values import ascii_digits

_PATIENCE: Final = frozenset({402, 409, 429, 451})
_ACCOUNT: Final = frozenset({401, 403, 407, 412, 416, 418})
"""The account is not active, its key is wrong, may not do this or not from here, has no such line, or no credit."""
_STATUSES: Final[Mapping[int, Status]] = {
    4: "sent",
    5: "sent",
    10: "delivered",
    6: "failed",
    11: "failed",
    13: "failed",
    14: "failed",
}
"""Those in a queue (1, 2) say nothing new, and 100 is a message that is not known, or not any more (after 48 hours)."""
_BLOCKED: Final = 14
"""The recipient ended the messages of the line."""
_SEND: Final = "sms/send"
_UNREAD: Final = 100
"""Unread messages of one answer at most."""
_TURNS: Final = 50
_WINDOW: Final = 2 * 86_400
"""Seconds of the inbox that one question may be about."""
_OVERLAP: Final = 3_600
"""Seconds that are read again, for what came late or by another clock."""
_OLDEST: Final = 30 * 86_400
_FIELDS: Final = 50
_PART: Final = re.compile(r"[A-Za-z0-9._~-]+")
_SHORTEST: Final = 16
"""Characters of the secret at least, which is all that proves a call."""


@attrs.frozen(kw_only=True)
class KavenegarSettings(WishSettings):
    """The keys of `[channels.<name>]`.

    Args:
        key: the API key.
        line: the line that messages leave from, and come in at.
        webhook_secret: what the addresses end with that Kavenegar's panel was told: `/hooks/<account>/<secret>`.
        api: the REST interface.
    """

    key: Secret
    line: str
    webhook_secret: Secret | None = None
    api: str = "https://api.kavenegar.com"
    stop_words: tuple[str, ...] = (*STOP_WORDS, "11", "لغو 11")


class Kavenegar(Channel):
    """One line; whoever writes to it is a thread."""

    def __init__(self, account: ChannelAccount) -> None:
        self._settings: KavenegarSettings = account.settings
        self._service = Service(self._settings.api)

    def poll(self, cursor: str) -> Received:
        """Return what came in since the cursor, the hour before it once more; at first, that of two days.

        What is unread is marked as read, for it is listed by its time only then. So nothing is lost by a kill: it stays
        listed. Only what waited unread for longer than two days when the account is read first comes but once.
        """
        now = int(time())
        start, end, page = _place(cursor, now)
        late = [each for each in self._unread() if _second(each) < start] if page == 1 else []
        entries, pages = self._listed(start, end, page)
        found = [message for each in (*late, *entries) if (message := _message(each)) is not None]
        if page < pages and entries:
            reached, more = f"{start}-{end}-{page + 1}", True
        else:
            reached, more = str(end - _OVERLAP), end + _OVERLAP < now
        return Received(messages=heeded(found, self._settings), cursor=reached, more=more)

    def parse(self, request: WebhookRequest) -> Received:
        """Take the call that a message came, or what became of one of ours: what it says is asked of Kavenegar."""
        secret = self._webhook_secret()
        if not secret or not is_same(secret, request.path.rpartition("/")[2]):
            raise RequestRefused("the address does not end with the secret of the account")
        fields = _fields(request)
        name = fields.get("messageid", "")
        if not (name.isascii() and name.isdigit() and len(name) < 20):
            raise RequestRefused("the request names no message")
        if "message" in fields:
            return Received(messages=heeded([self._came(name)], self._settings))
        if "status" not in fields:
            raise RequestRefused("the request says neither what came nor what became of a message")
        found = dicts_of(self._call("sms/status", {"messageid": name}).content.get("entries"))
        return Received(receipts=[each for one in found if (each := _receipt(one, name)) is not None])

    def send(self, message: OutgoingMessage) -> Receipt:
        """Send a text; `localid`, a number made of our message id, keeps a repetition from leaving twice."""
        digest = hashlib.sha256(message.message_id.encode()).hexdigest()
        content = {
            "receptor": ascii_digits(message.recipient.value),
            "sender": self._settings.line,
            "message": message.text,
            "localid": str(int(digest[:15], 16)),
        }
        entries = self._call(_SEND, content).content.get("entries")
        if not isinstance(entries, list) or not entries or not isinstance(entries[0], dict):
            raise TryLater("Kavenegar answered without an entry")
        entry = entries[0]
        code = entry.get("status")
        if isinstance(code, int) and _STATUSES.get(code) == "failed":
            told = f"{text_of(entry.get('statustext'))} ({code})"[:300]
            raise MessageRejected(f"Kavenegar does not send the message: {told}", unsubscribed=code == _BLOCKED)
        return Receipt(provider_id=str(entry.get("messageid", "")), thread=_number(message.recipient.value))

    def check(self) -> str:
        """Ask how much credit is left; see that the secret of the webhook, if any, can be none but ours."""
        self._webhook_secret()
        entries = self._call("account/info", {}).content.get("entries")
        left = entries.get("remaincredit", "?") if isinstance(entries, dict) else "?"
        return f"{left} rials of credit are left"

    def close(self) -> None:
        """Close the connection."""
        self._service.close()

    def _webhook_secret(self) -> str:
        """Return the secret of the webhook; empty without one.

        Raises:
            CredentialsWrong: it can be guessed, or cannot be the last part of an address.
        """
        found = self._settings.webhook_secret.reveal() if self._settings.webhook_secret is not None else ""
        if found and (len(found) < _SHORTEST or not _PART.fullmatch(found)):
            raise CredentialsWrong(
                "webhook_secret is no part of an address that nobody guesses",
                hint=f"{_SHORTEST} letters and digits or more, such as `openssl rand -hex 16` prints",
            )
        return found

    def _came(self, name: str) -> IncomingMessage:
        """Return a message of the last hour.

        Raises:
            RequestRefused: there is none of this name; should it be there later, it comes by a poll.
        """
        self._unread()
        now, page, pages = int(time()), 1, 1
        while page <= min(pages, _TURNS):
            entries, pages = self._listed(now - _OVERLAP, now + _OVERLAP, page)
            for each in entries:
                message = _message(each) if str(each.get("messageid")) == name else None
                if message is not None:
                    return message
            page += 1
        raise RequestRefused("Kavenegar knows no such message of the last hour")

    def _unread(self) -> list[Mapping[str, Any]]:
        """Mark what is unread as read, and return it."""
        found: list[Mapping[str, Any]] = []
        for _ in range(_TURNS):
            asked = {"linenumber": self._settings.line, "isread": "0"}
            entries = dicts_of(self._call("sms/receive", asked).content.get("entries"))
            found += entries
            if len(entries) < _UNREAD:
                break
        return found

    def _listed(self, start: int, end: int, page: int) -> tuple[Sequence[Mapping[str, Any]], int]:
        """Return a page of what was read between two seconds, and how many pages there are."""
        asked = {
            "linenumber": self._settings.line,
            "isread": "1",
            "startdate": str(start),
            "enddate": str(end),
            "pagenumber": str(page),
        }
        content = self._call("sms/inboxpaged", asked).content
        pages = str(dict_of(content.get("metadata")).get("totalpages", "1"))
        return dicts_of(content.get("entries")), int(pages) if pages.isascii() and pages.isdigit() else 1

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
        if method == _SEND:
            raise MessageRejected(f"Kavenegar refuses the message: {told}")
        raise TryLater(f"Kavenegar refuses the question {method}: {told}", delay=reply.delay)


def _place(cursor: str, now: int) -> tuple[int, int, int]:
    """Return the seconds that a cursor is about, from and until, and the page."""
    if "-" in cursor:
        start, end, page = map(int, cursor.split("-"))
        return start, end, page
    start = max(int(cursor), now - _OLDEST) if cursor else now - _WINDOW
    return start, max(min(start + _WINDOW, now), start), 1


def _fields(request: WebhookRequest) -> dict[str, str]:
    """Return what a call says, in its query, a form or JSON."""
    if request.body.lstrip()[:1] == b"{":
        body = {name: str(value) for name, value in object_of(request.body).items()}
    else:
        try:
            body = dict(parse_qsl(request.body.decode("utf-8"), True, max_num_fields=_FIELDS))
        except ValueError:
            raise RequestRefused("the body is no form in UTF-8") from None
    return {**request.query, **body}


def _message(entry: Mapping[str, Any]) -> IncomingMessage | None:
    """Return an entry of the inbox as a message; None for what is none."""
    name, sender = entry.get("messageid"), _number(str(entry.get("sender") or ""))
    if isinstance(name, bool) or not isinstance(name, int | str):
        return None
    try:
        return IncomingMessage(
            external_id=str(name),
            sender=Address(kind="phone", value=sender),
            at=at_second(entry.get("date")),
            text=text_of(entry.get("message")),
            thread=sender,
        )
    except InvalidValue:
        return None


def _receipt(entry: Mapping[str, Any], name: str) -> StatusReceipt | None:
    code = entry.get("status")
    status = _STATUSES.get(code) if isinstance(code, int) else None
    if status is None or str(entry.get("messageid")) != name:
        return None
    reason = text_of(entry.get("statustext"))[:300] if status == "failed" else ""
    return StatusReceipt(message_id=name, status=status, reason=reason, unsubscribed=code == _BLOCKED)


def _second(entry: Mapping[str, Any]) -> int:
    at = at_second(entry.get("date"))
    return int(at.timestamp()) if at is not None else 0


def _number(text: str) -> str:
    """Return a number with the code of its country, which is Iran's where Kavenegar says none.

    >>> [_number(each) for each in ("09123456789", "۹۱۲۳۴۵۶۷۸۹", "989123456789", "0049175123", "10004346")]
    ['+989123456789', '+989123456789', '+989123456789', '+49175123', '10004346']
    """
    number = ascii_digits(text).strip()
    if number.startswith("00"):
        return f"+{number[2:]}"
    if len(number) == 11 and number.startswith("0"):
        return f"+98{number[1:]}"
    if len(number) == 10 and number.startswith("9"):
        return f"+98{number}"
    return f"+{number}" if len(number) == 12 and number.startswith("98") else number
