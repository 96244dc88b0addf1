"""How the services are called, by HTTPS, without following redirects, and how what they send is read and proved."""

from __future__ import annotations

import hmac
import json
import logging
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, Final, Literal

import attrs
import httpx

from crm_core.errors import MessageRejected, RequestRefused, TryLater
from crm_core.settings import Secret

Status = Literal["sent", "delivered", "read", "failed"]
_SECONDS: Final = 20.0
_LARGEST: Final = 10_000_000
"""Bytes of an answer at most."""

# They log every address, and that of a Telegram bot has its token.
for _name in ("httpx", "httpcore"):
    logging.getLogger(_name).setLevel(logging.WARNING)


@attrs.frozen
class Reply:
    """What a service answered: the status, the JSON object of its body, seconds after which it may be asked again."""

    status: int
    content: Mapping[str, Any]
    delay: float | None

    @property
    def told(self) -> str:
        """The status and what was said with it, in a line."""
        return f"{self.status}: {' '.join(json.dumps(self.content, ensure_ascii=False).split())[:300]}"


class Service:
    """A connection to a service."""

    def __init__(self, base: str) -> None:
        self._base = base.rstrip("/")
        self._client = httpx.Client(timeout=_SECONDS, follow_redirects=False, trust_env=True)

    def call(self, method: str, path: str, **given: Any) -> Reply:
        """Ask; faults of the service itself are raised, what it refuses is returned.

        Raises:
            TryLater: it is away, sends us elsewhere, or answers what is no JSON.
        """
        try:
            with self._client.stream(method, f"{self._base}{path}", **given) as found:
                body = _read(found)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise TryLater(f"the service does not answer: {type(error).__name__}") from None
        try:
            content = json.loads(body)
        except (ValueError, RecursionError):
            content = None
        delay = None
        with suppress(ValueError):
            delay = float(found.headers.get("retry-after", ""))
        if not isinstance(content, dict):
            raise TryLater(f"the service answered {found.status_code} and no JSON", delay=delay)
        reply = Reply(found.status_code, content, delay)
        if reply.status >= 500 or 300 <= reply.status < 400:
            raise TryLater(f"the service answered {reply.told}", delay=delay)
        return reply

    def close(self) -> None:
        """Close the connection."""
        self._client.close()


def _read(found: httpx.Response) -> bytes:
    """Return the body of an answer; none of one that is too large, of which no more is read than shows that."""
    body = bytearray()
    for piece in found.iter_bytes():
        body += piece
        if len(body) > _LARGEST:
            return b""
    return bytes(body)


def object_of(body: bytes) -> dict[str, Any]:
    """Read the JSON object of a request's body.

    Raises:
        RequestRefused: it is none.
    """
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        raise RequestRefused("the body is no JSON") from None
    if not isinstance(found, dict):
        raise RequestRefused("the body is no JSON object")
    return found


def dict_of(found: Any) -> Mapping[str, Any]:
    """Return what is a JSON object; an empty one in the place of anything else."""
    return found if isinstance(found, dict) else {}


def dicts_of(found: Any) -> Sequence[Mapping[str, Any]]:
    """Return the JSON objects of a list; none of what is no list."""
    return [each for each in found if isinstance(each, dict)] if isinstance(found, list) else []


def text_of(found: Any) -> str:
    """Return what is a text; an empty one in the place of anything else."""
    return found if isinstance(found, str) else ""


def one_line(text: str) -> str:
    """Return a text without line breaks and NUL, as names and ids are."""
    return " ".join(text.replace("\x00", " ").split())


def is_same(wanted: str | bytes, given: str) -> bool:
    """Compare a proof without telling by the time how much of it is right."""
    plain = wanted.encode() if isinstance(wanted, str) else wanted
    return hmac.compare_digest(plain, given.encode("utf-8", "replace"))


def hex_signature(key: Secret, body: bytes) -> str:
    """Return HMAC-SHA256 of a raw body, in small hexadecimal digits."""
    return hmac.digest(key.reveal().encode(), body, "sha256").hex()


def require_length(text: str, most: int, service: str, *, size: int | None = None, unit: str = "characters") -> None:
    """Refuse a text that the service would cut or refuse; `size` is its length where that is no number of characters.

    Raises:
        MessageRejected: it is too long.
    """
    length = len(text) if size is None else size
    if length > most:
        raise MessageRejected(f"the text has {length:,} {unit}, {service} takes {most:,}", hint="send it in parts")


def at_second(found: Any) -> datetime | None:
    """Return the time of a number of seconds since 1970; None if it is none."""
    try:
        return datetime.fromtimestamp(int(found), UTC)
    except (TypeError, ValueError, OverflowError, OSError):
        return None
