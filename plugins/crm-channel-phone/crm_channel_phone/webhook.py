"""Calls by a webhook that any softphone or exchange can call: a JSON document, signed by Standard Webhooks."""

from __future__ import annotations

import base64
import binascii
import hmac
import json
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import attrs

from crm_channel_phone.calls import Call, message_of, number_of
from crm_channel_phone.legs import seconds_of
from crm_core.errors import CredentialsWrong, RequestRefused
from crm_core.extend import Channel, ChannelAccount, Received, WebhookRequest
from crm_core.settings import Secret

WINDOW: Final = timedelta(minutes=5)
"""How old a signed request may be, or how far ahead of our clock."""
_SHORTEST: Final = 16
_LONGEST: Final = 10_000


@attrs.frozen(kw_only=True)
class CallHookSettings:
    """The keys of `[channels.<name>]` with `type = "phone"`: the secret, and while it is changed the former one."""

    secret: Secret
    former_secret: Secret | None = None


class CallHook(Channel):
    """One softphone or exchange. A number is a thread; `id` makes a call one call, however often it is told."""

    def __init__(self, account: ChannelAccount) -> None:
        self._settings: CallHookSettings = account.settings

    def parse(self, request: WebhookRequest) -> Received:
        """Take a call that is over; one that rings or goes on is answered, and not kept."""
        self._prove(request)
        try:
            content = json.loads(request.body)
        except (ValueError, RecursionError):
            raise RequestRefused("the body is no JSON") from None
        if not isinstance(content, dict):
            raise RequestRefused("the body is no JSON object")
        if content.get("state", "ended") != "ended":
            return Received()
        return Received(messages=[message_of(_call(content))])

    def check(self) -> str:
        """See that the secrets are keys that cannot be guessed."""
        for key in self._keys():
            if len(key) < _SHORTEST:
                raise CredentialsWrong(
                    f"the secret is of {len(key)} bytes, so it can be guessed", hint="whsec_ and 24 bytes in Base64"
                )
        return "the secret is there; who calls was not asked"

    def _keys(self) -> list[bytes]:
        given = (self._settings.secret, self._settings.former_secret)
        return [_key(secret.reveal()) for secret in given if secret is not None]

    def _prove(self, request: WebhookRequest) -> None:
        event_id = request.headers.get("webhook-id", "")
        stamp = request.headers.get("webhook-timestamp", "")
        given = request.headers.get("webhook-signature", "").split()
        signed = f"{event_id}.{stamp}.".encode("utf-8", "replace") + request.body
        wanted = [b"v1," + base64.b64encode(hmac.digest(key, signed, "sha256")) for key in self._keys() if key]
        proofs = [each.encode("utf-8", "replace") for each in given]
        if not event_id or not any(hmac.compare_digest(one, other) for one in wanted for other in proofs):
            raise RequestRefused("the signature is of none of the secrets")
        if not (stamp.isascii() and stamp.isdigit() and len(stamp) < 12):
            raise RequestRefused("webhook-timestamp is no number of seconds")
        if abs(request.received_at - datetime.fromtimestamp(int(stamp), UTC)) > WINDOW:
            raise RequestRefused("the request is not of the last five minutes", hint="the clocks may differ")


def _key(secret: str) -> bytes:
    try:
        return base64.b64decode(secret.removeprefix("whsec_"), validate=True)
    except (binascii.Error, ValueError):
        return b""


def _call(content: dict[str, Any]) -> Call:
    key, direction = _text(content, "id").strip(), _text(content, "direction")
    if not key:
        raise RequestRefused("the call has no id", hint='"id" is a text, the same whenever the call is told')
    if direction not in ("in", "out"):
        raise RequestRefused('"direction" is neither "in" nor "out"')
    lasted = seconds_of(_text(content, "duration")) if content.get("duration") is not None else None
    if lasted is None and content.get("duration") is not None:
        raise RequestRefused('"duration" is no number of seconds', hint="leave it out of a call that nobody answered")
    answered = content.get("answered", lasted is not None)
    extension = _text(content, "extension").strip()
    return Call(
        id=key,
        direction="in" if direction == "in" else "out",
        number=number_of(_text(content, "number")),
        name=_text(content, "name"),
        at=_time(_text(content, "started_at")),
        duration=(lasted or 0) if answered is True else None,
        ours=(extension,) if extension else (),
        note=_text(content, "note")[:_LONGEST],
    )


def _text(content: dict[str, Any], name: str) -> str:
    found = content.get(name, "")
    if isinstance(found, bool) or not isinstance(found, str | int | float | None):
        raise RequestRefused(f'"{name}" is neither a text nor a number')
    return "" if found is None else str(found)


def _time(text: str) -> datetime:
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        at = None
    if at is None or at.utcoffset() is None:
        raise RequestRefused('"started_at" is no time with its zone', hint="such as 2026-11-22T09:00:00+03:30")
    return at
