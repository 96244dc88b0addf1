"""Who wrote a message: a person, or a machine that must not be answered by another one (RFC 3834, RFC 3464)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final, Literal

from crm_core.extend import IncomingMessage

Writer = Literal["person", "reply", "bounce", "bulk"]

_BULK: Final = frozenset({"bulk", "list", "junk"})
_POSTMEN: Final = frozenset({"mailer-daemon", "postmaster"})
_SUPPRESSED: Final = frozenset({"all", "oof", "autoreply"})
"""Values of X-Auto-Response-Suppress ([MS-OXCMAIL] 2.1.3.2.20) that mean replies; the others mean reports."""


def writer_of(message: IncomingMessage) -> Writer:
    """Return who wrote a message, by what the channel knows, then by the headers that RFC 3834 and its time name."""
    if message.automatic:
        return message.automatic
    headers = _folded(message)
    local = message.sender.value.partition("@")[0].casefold() if message.sender.kind == "email" else ""
    if "multipart/report" in headers.get("content-type", "") or local in _POSTMEN:
        return "bounce"
    if headers.get("return-path") == "<>" and "auto-submitted" not in headers:
        return "bounce"
    submitted = _first_word(headers.get("auto-submitted", ""))
    precedence = headers.get("precedence", "")
    if submitted == "auto-replied" or precedence == "auto_reply" or _says_yes(headers, "x-autoreply"):
        return "reply"
    if precedence in _BULK or "list-id" in headers or "list-unsubscribe" in headers:
        return "bulk"
    if submitted not in ("no", "") or _says_yes(headers, "x-autorespond"):
        return "reply"
    return "person"


def wants_no_machine(message: IncomingMessage) -> bool:
    """Whether a message asks for no automatic answer (X-Auto-Response-Suppress), whoever wrote it: a person may."""
    asked = _folded(message).get("x-auto-response-suppress", "")
    return bool(_SUPPRESSED & {each.strip() for each in asked.split(",")})


def _folded(message: IncomingMessage) -> Mapping[str, str]:
    return {name.casefold(): value.strip().casefold() for name, value in message.headers.items()}


def _first_word(value: str) -> str:
    """Return a keyword without the comments and parameters that may follow it."""
    return re.split(r"[\s;(]", value, maxsplit=1)[0]


def _says_yes(headers: Mapping[str, str], name: str) -> bool:
    return headers.get(name, "no") not in ("no", "")
