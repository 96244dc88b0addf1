"""Who wrote a message: a person, or a machine that must not be answered by another one (RFC 3834, RFC 3464)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal

from crm_core.extend import IncomingMessage

Writer = Literal["person", "reply", "bounce", "bulk"]

_BULK: Final = frozenset({"bulk", "list", "junk"})
_POSTMEN: Final = frozenset({"mailer-daemon", "postmaster"})


def writer_of(message: IncomingMessage) -> Writer:
    """Return who wrote a message, by what the channel knows, then by the headers that RFC 3834 and its time name."""
    if message.automatic:
        return message.automatic
    headers: Mapping[str, str] = {name.casefold(): value.strip().casefold() for name, value in message.headers.items()}
    local = message.sender.value.partition("@")[0].casefold() if message.sender.kind == "email" else ""
    if "multipart/report" in headers.get("content-type", "") or local in _POSTMEN:
        return "bounce"
    if headers.get("return-path") == "<>" and "auto-submitted" not in headers:
        return "bounce"
    submitted = headers.get("auto-submitted", "no").partition(";")[0].strip()
    precedence = headers.get("precedence", "")
    if submitted == "auto-replied" or precedence == "auto_reply" or "x-autoreply" in headers:
        return "reply"
    if precedence in _BULK or "list-id" in headers or "list-unsubscribe" in headers:
        return "bulk"
    if submitted not in ("no", "") or headers.get("x-autorespond"):
        return "reply"
    return "person"
