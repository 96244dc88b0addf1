"""A channel whose messages are JSON files: what others put into `in` comes in, what is sent is found in `out`."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from time import monotonic, sleep
from typing import Any, Final

import attrs

from crm_core.errors import CredentialsWrong, InvalidValue, MessageRejected, RequestRefused, TryLater
from crm_core.extend import (
    Address,
    Attachment,
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

_PAGE: Final = 100
_LARGEST: Final = 1_000_000
"""Bytes of a file at most."""
_WINDOW: Final = timedelta(minutes=5)
"""How old a signed request may be, or how far ahead of our clock."""


@attrs.frozen(kw_only=True)
class FolderSettings:
    """The keys of `[channels.<name>]`: the folder, and the key that requests to the webhook are signed with."""

    folder: str
    key: Secret


class FolderChannel(Channel):
    """One folder."""

    def __init__(self, account: ChannelAccount) -> None:
        self._settings: FolderSettings = account.settings
        self._folder: Path = (account.directory or Path()) / self._settings.folder

    def poll(self, cursor: str) -> Received:
        """Return what files hold that came into the folder since the newest one of the poll before.

        The time is that of the file's last change of name or content, for a file may be written elsewhere and moved.
        Of two files of one moment one may be seen later than the other, so those of the cursor's moment come again.
        """
        since = int(cursor or 0)
        found = sorted((path.stat().st_ctime_ns, path.name, path) for path in self._place("in").glob("*.json"))
        waiting = [one for one in found if one[0] >= since]
        # A page ends where a moment does: else one with more files than a page would be read for ever.
        end = next((n for n in range(_PAGE, len(waiting)) if waiting[n][0] != waiting[n - 1][0]), len(waiting))
        messages, receipts = list[IncomingMessage](), list[StatusReceipt]()
        for _, _, path in waiting[:end]:
            content = _read(path)
            if content is not None:
                _sort(content, messages, receipts)
        reached = waiting[end - 1][0] if waiting else since
        return Received(messages=messages, receipts=receipts, cursor=str(reached), more=end < len(waiting))

    def listen(self, cursor: str, seconds: float, stopping: Callable[[], bool]) -> bool:
        """Look for newer files a few times a second; a service that calls by itself would only be waited for."""
        ends = monotonic() + seconds
        while not any(path.stat().st_ctime_ns > int(cursor or 0) for path in self._place("in").glob("*.json")):
            if stopping() or monotonic() >= ends:
                return False
            sleep(0.2)
        return True

    def send(self, message: OutgoingMessage) -> Receipt:
        """Write a file whose name follows from the message id, so that a repetition replaces it."""
        if "@" not in message.recipient.value:
            raise MessageRejected(f"nobody reads folders at {message.recipient.value!r}")
        name = hashlib.sha256(message.message_id.encode()).hexdigest()[:32]
        file = self._place("out") / f"{name}.json"
        beside = file.with_suffix(".part")
        content = attrs.asdict(message, value_serializer=lambda _, __, value: _plain(value))
        beside.write_text(json.dumps(content, ensure_ascii=False, indent=1), "utf-8")
        beside.replace(file)
        return Receipt(provider_id=name)

    def parse(self, request: WebhookRequest) -> Received:
        """Take one message: the header `x-signature` is HMAC-SHA256 of `<x-timestamp>.<body>` under the key."""
        key = self._settings.key.reveal().encode()
        stamp, given = request.headers.get("x-timestamp", ""), request.headers.get("x-signature", "")
        signed = hmac.digest(key, stamp.encode() + b"." + request.body, "sha256").hex()
        if not hmac.compare_digest(signed.encode(), given.encode("utf-8", "replace")):
            raise RequestRefused(
                "the signature is not that of the key", hint="sign <x-timestamp>.<body> by HMAC-SHA256"
            )
        try:
            age = request.received_at - datetime.fromisoformat(stamp)
        except (ValueError, TypeError):
            raise RequestRefused("x-timestamp is no time with its zone") from None
        if abs(age) > _WINDOW:
            raise RequestRefused("the request is not of the last five minutes")
        content = _parsed(request.body)
        if content is None:
            raise RequestRefused("the body is no message", hint="a JSON object such as the files in the folder hold")
        messages, receipts = list[IncomingMessage](), list[StatusReceipt]()
        _sort(content, messages, receipts)
        return Received(messages=messages, receipts=receipts)

    def check(self) -> str:
        """See that the folder and the key are there."""
        waiting = sum(1 for _ in self._place("in").glob("*.json"))
        self._place("out")
        if len(self._settings.key.reveal()) < 8:
            raise CredentialsWrong("the key has fewer than 8 characters, so it can be guessed")
        return f"{self._folder} has {waiting} files"

    def _place(self, name: str) -> Path:
        place = self._folder / name
        if not place.is_dir():
            raise TryLater(f"there is no folder {place}", delay=60, hint="make it, or correct `folder` in crm.toml")
        return place


def _read(path: Path) -> dict[str, Any] | None:
    """Return what a file holds; None for one that is no message, is too large, or is gone again."""
    try:
        return None if path.stat().st_size > _LARGEST else _parsed(path.read_bytes())
    except OSError:
        return None


def _parsed(content: bytes) -> dict[str, Any] | None:
    try:
        found = json.loads(content)
        _sort(found, [], [])
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError, InvalidValue):
        return None
    return dict(found)


def _sort(content: dict[str, Any], messages: list[IncomingMessage], receipts: list[StatusReceipt]) -> None:
    at = datetime.fromisoformat(content["at"]) if content.get("at") else None
    if "receipt" in content:
        status = {each: each for each in ("delivered", "read", "failed")}[content["receipt"]]
        receipts.append(StatusReceipt(message_id=content["message_id"], status=status, at=at))  # type: ignore[arg-type]
        return
    messages.append(
        IncomingMessage(
            external_id=content["id"],
            sender=Address(kind="email", value=content["from"], name=content.get("name", "")),
            at=at,
            subject=str(content.get("subject", "")),
            text=str(content.get("text", "")),
            thread=str(content.get("thread", "")),
            replies_to=tuple(map(str, content.get("replies_to", ()))),
            headers={str(name).lower(): str(value) for name, value in content.get("headers", {}).items()},
            attachments=tuple(
                Attachment(name=each["name"], type=each["type"], content=base64.b64decode(each["content"]))
                for each in content.get("attachments", ())
            ),
        )
    )


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return base64.b64encode(value).decode("ascii")
    return dict(value) if isinstance(value, Mapping) else value
