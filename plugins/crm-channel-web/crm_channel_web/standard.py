"""Events signed by the Standard Webhooks specification, whose fields the account's settings name."""

from __future__ import annotations

import base64
import hmac
import json
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import attrs

from crm_channel_web.signing import SHORTEST, key_of, read_json, revealed, same
from crm_core.errors import CredentialsWrong, InvalidValue, RequestRefused
from crm_core.extend import Address, Channel, ChannelAccount, IncomingMessage, Received, WebhookRequest
from crm_core.settings import Secret

WINDOW: Final = timedelta(minutes=5)
"""How old a signed event may be, or how far ahead of our clock."""


@attrs.frozen(kw_only=True)
class WebhookSettings:
    """The keys of `[channels.<name>]`: the secret, and where in the event its parts are, as paths with points.

    While a secret is changed, `former_secret` is valid too. `types` are the types of events that are taken in, all
    without it; the others are answered and not kept.
    """

    secret: Secret
    former_secret: Secret | None = None
    types: tuple[str, ...] = ()
    email: str = "data.email"
    phone: str = "data.phone"
    name: str = "data.name"
    subject: str = "data.subject"
    text: str = "data.text"
    thread: str = "data.thread"


class StandardWebhook(Channel):
    """One account; `webhook-id` makes an event one event, however often it comes."""

    def __init__(self, account: ChannelAccount) -> None:
        self._settings: WebhookSettings = account.settings

    def parse(self, request: WebhookRequest) -> Received:
        """Take an event that is signed by one of the secrets, and not older than five minutes."""
        event_id = self._proved(request)
        content = read_json(request.body)
        if self._settings.types and str(content.get("type")) not in self._settings.types:
            return Received()
        text = self._at(content, self._settings.text)
        data = content.get("data", content)
        try:
            message = IncomingMessage(
                external_id=event_id,
                sender=self._sender(content),
                at=_time(content.get("timestamp")),
                subject=self._at(content, self._settings.subject),
                text=text or json.dumps(data, ensure_ascii=False, indent=1),
                thread=self._at(content, self._settings.thread),
            )
        except InvalidValue as error:
            raise RequestRefused(f"the event is no message: {error.message}") from None
        return Received(messages=[message])

    def check(self) -> str:
        """See that the secrets are there, and that they are keys."""
        for secret in revealed((self._settings.secret, self._settings.former_secret)):
            key = key_of(secret)
            if key is None:
                raise CredentialsWrong(
                    "the secret is no key", hint="whsec_ and the key in Base64, as the service shows it"
                )
            if len(key) < SHORTEST:
                raise CredentialsWrong(f"the key has {len(key)} bytes, so it can be guessed", hint="24 bytes or more")
        return "the secret is there; the service was not asked"

    def _proved(self, request: WebhookRequest) -> str:
        event_id = request.headers.get("webhook-id", "")
        stamp = request.headers.get("webhook-timestamp", "")
        given = request.headers.get("webhook-signature", "").split()
        signed = f"{event_id}.{stamp}.".encode() + request.body
        keys = [key_of(secret) for secret in revealed((self._settings.secret, self._settings.former_secret))]
        computed = ["v1," + base64.b64encode(hmac.digest(key, signed, "sha256")).decode("ascii") for key in keys if key]
        if not event_id or not any(same(one, other) for one in computed for other in given):
            raise RequestRefused("the signature is of none of the secrets")
        if not (stamp.isascii() and stamp.isdigit() and len(stamp) < 12):
            raise RequestRefused("webhook-timestamp is no number of seconds")
        if abs(request.received_at - datetime.fromtimestamp(int(stamp), UTC)) > WINDOW:
            raise RequestRefused("the event is not of the last five minutes", hint="the clocks may differ")
        return event_id

    def _sender(self, content: dict[str, Any]) -> Address:
        name = " ".join(self._at(content, self._settings.name).split())
        for kind, path in (("email", self._settings.email), ("phone", self._settings.phone)):
            if value := self._at(content, path).strip():
                return Address(kind=kind, value=value, name=name)
        raise RequestRefused(
            f"the event has nothing at {self._settings.email!r} or {self._settings.phone!r}",
            hint="`email` and `phone` of the account say where the address of the sender is",
        )

    def _at(self, content: dict[str, Any], path: str) -> str:
        found: Any = content
        for part in path.split("."):
            found = found.get(part) if isinstance(found, dict) else None
        return found if isinstance(found, str) else str(found) if isinstance(found, int) else ""


def _time(found: Any) -> datetime | None:
    try:
        at = datetime.fromisoformat(found)
    except (TypeError, ValueError):
        return None
    return at if at.utcoffset() is not None else None
