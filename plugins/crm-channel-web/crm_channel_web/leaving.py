"""Unsubscribing by a link: a GET shows a page, a POST (its button, or one click by RFC 8058) takes consent back."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from functools import partial
from html import escape
from typing import Any, Final
from urllib.parse import parse_qsl

from crm_channel_web.brought import Brought
from crm_channel_web.signing import SHORTEST
from crm_core.errors import CredentialsWrong, RequestRefused
from crm_core.extend import Channel, ChannelAccount, Received, WebhookRequest
from crm_inbox import UnsubscribeSettings, read_token, withdraw

_PARAMETER: Final = "u"
_NAME, _VALUE = "List-Unsubscribe", "One-Click"
_PAGE: Final = """\
<!DOCTYPE html>
<html><head><meta charset="utf-8"><meta name="viewport" content="width=device-width"><meta name="robots" \
content="noindex"><title>{title}</title></head>
<body dir="auto"><main><h1 dir="auto">{title}</h1>{content}</main></body></html>
"""
_ASKED: Final = """<p dir="auto">{question}</p>\
<form method="post"><input type="hidden" name="List-Unsubscribe" value="One-Click"><button>{button}</button></form>"""


class Unsubscribe(Channel):
    """The account that the links of bulk mail lead to; it brings no messages."""

    def __init__(self, account: ChannelAccount) -> None:
        self._account = account.name
        self._settings: UnsubscribeSettings = account.settings

    def parse(self, request: WebhookRequest) -> Received:
        """Return the page of a link, or take back the consent that it names."""
        found = read_token(self._settings, request.query.get(_PARAMETER, ""))
        if found is None:
            raise RequestRefused("the link is none of ours")
        if request.method == "GET":
            return Brought(reply=self._page(asked=True), page=True)
        if not _is_one_click(request):
            raise RequestRefused(f"the request does not say {_NAME}={_VALUE}")
        point, purpose = found
        store = partial(
            _withdraw, point=point, purpose=purpose, at=request.received_at, source=f"unsubscribe {self._account}"
        )
        return Brought(store=store, reply=self._page(asked=False), page=True)

    def check(self) -> str:
        """See that the secret is there."""
        if len(self._settings.secret.reveal()) < SHORTEST:
            raise CredentialsWrong(f"the secret has fewer than {SHORTEST} characters, so it can be guessed")
        return f"the secret is there; links lead to {self._settings.url}"

    def _page(self, *, asked: bool) -> str:
        said: Mapping[str, str] = {
            name: escape(getattr(self._settings, name)) for name in ("title", "question", "button", "done")
        }
        content = _ASKED.format(**said) if asked else f'<p dir="auto">{said["done"]}</p>'
        return _PAGE.format(title=said["title"], content=content)


def _is_one_click(request: WebhookRequest) -> bool:
    """Whether the body says what RFC 8058 asks for, as a form of either kind."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "multipart/form-data":
        lines = [line.strip() for line in request.body.replace(b"\r\n", b"\n").split(b"\n")]
        named = any(line.lower().endswith(b'name="list-unsubscribe"') for line in lines)
        return named and _VALUE.encode() in lines
    try:
        found = parse_qsl(request.body.decode("ascii").strip(), max_num_fields=20)
    except ValueError:
        return False
    return (_NAME, _VALUE) in found


def _withdraw(crm: Any, account: str, *, point: int, purpose: str, at: datetime, source: str) -> None:
    withdraw(crm, point, purpose, at=at, source=source)
