"""The server of all webhooks as one ASGI application: what it lets through, and what it answers."""

from __future__ import annotations

import asyncio
import logging
import queue
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qsl

import attrs

from crm_channel_web.brought import Brought
from crm_channel_web.intake import AccountIntake
from crm_core.errors import CrmError, RequestRefused, SettingsError
from crm_core.extend import Received, WebhookRequest
from crm_core.settings import Secret

if TYPE_CHECKING:
    from crm_core import CRM

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

PREFIX: Final = "/hooks/"
_METHODS: Final = ("GET", "POST")
_AGAIN: Final = 10
"""Seconds after which a service may try again what was not taken in."""
_FIELDS: Final = 100
_PAGE_HEADERS: Final = {
    "content-type": "text/html; charset=utf-8",
    "content-security-policy": "default-src 'none'; form-action 'self'; frame-ancestors 'none'",
    "referrer-policy": "no-referrer",
}

log = logging.getLogger(__name__)


@attrs.frozen(eq=False)
class _Answer(Exception):
    """Ends a request."""

    status: int
    text: str = ""
    headers: Mapping[str, str] = attrs.field(factory=dict)


class HookApp:
    """Takes requests to `/hooks/<account>` and answers when what they bring is committed; `/health` says how it is.

    What an address has behind the account is the channel's to judge: where a service signs nothing, a secret is there.

    200 means stored; 403 refused, without a reason, which stands in the log; 503 try again. An account without a
    secret that can be read is not served: `refused` says why, by account.

    Args:
        crm: the CRM, which stays open until `close`.
        largest: bytes of a body at most.
        slowest: seconds that a body may take to arrive.
        waiting: requests of an account that may wait for their commit.
    """

    def __init__(self, crm: CRM, *, largest: int = 1_000_000, slowest: float = 10.0, waiting: int = 1_000) -> None:
        self._crm = crm
        self._largest = largest
        self._slowest = slowest
        self._accounts: dict[str, AccountIntake] = {}
        self.refused: dict[str, str] = {}
        for name in crm.channels.accounts:
            try:
                if "webhook" in crm.channels.type_of(name).capabilities:
                    self._accounts[name] = AccountIntake(crm, _with_secrets(crm, name), waiting)
            except CrmError as error:
                self.refused[name] = error.message

    @property
    def served(self) -> tuple[str, ...]:
        """The accounts whose webhooks are served."""
        return tuple(self._accounts)

    def close(self) -> None:
        """Take in what waits, and close the channels."""
        for account in self._accounts.values():
            account.close()

    async def __call__(self, scope: Mapping[str, Any], receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            raise RuntimeError(f"webhooks come by HTTP, not by {scope['type']}")
        try:
            answer = await self._answer(scope, receive)
        except _Answer as found:
            answer = found
        except asyncio.CancelledError:
            raise
        except Exception as error:  # whatever it is, the service tries again, and nobody is shown a traceback
            log.error("a request failed: %s: %s", type(error).__name__, " ".join(str(error).split())[:400])
            answer = _Answer(503, headers={"retry-after": str(_AGAIN)})
        body = answer.text.encode("utf-8")
        headers = {
            "content-type": "text/plain; charset=utf-8",
            "content-length": str(len(body)),
            "cache-control": "no-store",
            "x-content-type-options": "nosniff",
            **answer.headers,
        }
        encoded = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
        await send({"type": "http.response.start", "status": answer.status, "headers": encoded})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})

    async def _answer(self, scope: Mapping[str, Any], receive: Receive) -> _Answer:
        path, method = scope["path"], scope["method"]
        if path == "/health" and method in ("GET", "HEAD"):
            return await self._health()
        name = path.removeprefix(PREFIX).partition("/")[0] if path.startswith(PREFIX) else ""
        account = self._accounts.get(name)
        if account is None:
            raise _Answer(404)
        if method not in _METHODS:
            raise _Answer(405, headers={"allow": ", ".join(_METHODS)})
        headers = _headers(scope)
        body = await self._body(headers.get("content-length", ""), receive)
        request = WebhookRequest(
            method=method,
            path=path,
            query=_query(scope),
            headers=headers,
            body=body,
            received_at=self._crm.clock.now(),
        )
        try:
            received = await asyncio.wrap_future(account.submit(request))
        except RequestRefused:
            raise _Answer(403) from None
        except (CrmError, queue.Full):
            raise _Answer(503, headers={"retry-after": str(_AGAIN)}) from None
        return _answer_of(received)

    async def _body(self, declared: str, receive: Receive) -> bytes:
        if declared.isascii() and declared.isdigit() and int(declared[:20]) > self._largest:
            raise _Answer(413, headers={"connection": "close"})
        parts, size = [], 0
        try:
            async with asyncio.timeout(self._slowest):
                while True:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise _Answer(400)
                    size += len(message.get("body", b""))
                    if size > self._largest:
                        raise _Answer(413, headers={"connection": "close"})
                    parts.append(message.get("body", b""))
                    if not message.get("more_body", False):
                        return b"".join(parts)
        except TimeoutError:
            raise _Answer(408, headers={"connection": "close"}) from None

    async def _health(self) -> _Answer:
        try:
            await asyncio.to_thread(self._crm.customers.find, limit=1)
        except CrmError as error:
            log.error("the database does not answer: %s", error.message)
            return _Answer(503, "the database does not answer", {"retry-after": str(_AGAIN)})
        return _Answer(200, "ok")


def _answer_of(received: Received) -> _Answer:
    headers: dict[str, str] = {}
    if isinstance(received, Brought) and received.origin:
        headers |= {"access-control-allow-origin": received.origin, "vary": "origin"}
    if isinstance(received, Brought) and received.location:
        return _Answer(303, headers={**headers, "location": received.location})
    if isinstance(received, Brought) and received.page:
        headers |= _PAGE_HEADERS
    return _Answer(200, received.reply, headers)


def _with_secrets(crm: CRM, name: str) -> Any:
    """Open an account, all of whose secrets can be read; one at least, for without it anybody could write.

    Raises:
        CrmError: it cannot be opened, or has no secret.
    """
    channel = crm.channels.open(name)
    found = [getattr(channel.settings, field.name) for field in attrs.fields(type(channel.settings))]
    secrets = [each for each in found if isinstance(each, Secret)]
    if not secrets:
        raise SettingsError(f"the account {name!r} has no secret, so nobody could tell who calls its webhook")
    for secret in secrets:
        secret.reveal()
    return channel


def _headers(scope: Mapping[str, Any]) -> dict[str, str]:
    found: dict[str, str] = {}
    for raw, value in scope["headers"]:
        name, text = raw.decode("latin-1").lower(), value.decode("latin-1")
        found[name] = f"{found[name]}, {text}" if name in found else text
    return found


def _query(scope: Mapping[str, Any]) -> dict[str, str]:
    text = bytes(scope.get("query_string", b"")).decode("latin-1")
    try:
        return dict(parse_qsl(text, keep_blank_values=True, max_num_fields=_FIELDS))
    except ValueError:
        raise _Answer(400) from None
