"""What mails say of mails that left before: delivery reports (RFC 3464), read receipts (RFC 8098), older bounces."""

from __future__ import annotations

import re
from collections.abc import Iterator
from email.message import Message
from typing import Any, Final

import attrs

from crm_channel_email.headers import Headers
from crm_core.extend import StatusReceipt

_ID: Final = re.compile(r"^(?:original-)?message-id:\s{0,9}(<[^<>\s]{1,900}>)", re.IGNORECASE | re.MULTILINE)
_POSTMEN: Final = re.compile(r"\b(?:mailer-daemon|postmaster)@", re.IGNORECASE)
_LONGEST: Final = 800
_LOOKED_AT: Final = 20
"""Parts of a report that are looked at; it has three."""


@attrs.frozen(kw_only=True)
class Report:
    """What a mail reports: `automatic` as in `IncomingMessage`, receipts, and the ids of the mails that it is about."""

    automatic: Any = ""
    receipts: tuple[StatusReceipt, ...] = ()
    originals: tuple[str, ...] = ()


def report_of(root: Message[Any, Any], headers: Headers, text: str) -> Report:
    """Return what a mail reports of others; nothing for one that is no report.

    A report that a message is delayed, or that a server has it, is no bounce: the message may still arrive.
    """
    parts = _parts(root)
    kinds = [each.get_content_type() for each in parts]
    if "message/delivery-status" in kinds:
        return _delivery(parts, parts[kinds.index("message/delivery-status")], headers)
    if "message/disposition-notification" in kinds:
        return _disposition(parts, parts[kinds.index("message/disposition-notification")], headers)
    if root.get_content_type() == "multipart/report":  # such as a complaint (RFC 5965)
        return Report(automatic="reply", originals=_original(parts, headers))
    failed = headers.text("x-failed-recipients")
    if failed or (_POSTMEN.search(headers.raw("from")) and headers.raw("return-path").strip() in ("<>", "")):
        names = tuple(dict.fromkeys(_ID.findall(text[:200_000])))[:1] or _original(parts, headers)
        told = failed or "the mail system of the recipient sent it back"
        return Report(automatic="bounce", receipts=_failed(names, told), originals=names)
    return Report()


def _delivery(parts: list[Message[Any, Any]], status: Message[Any, Any], headers: Headers) -> Report:
    names = _original(parts, headers)
    actions: dict[str, str] = {}
    for block in _blocks(status):
        action = _field(block, "action").lower()
        if action:
            actions.setdefault(action, _reason(block))
    if "failed" in actions:
        return Report(automatic="bounce", receipts=_failed(names, actions["failed"]), originals=names)
    if "delivered" in actions:
        done = tuple(StatusReceipt(message_id=each, status="delivered") for each in names[:1])
        return Report(automatic="reply", receipts=done, originals=names)
    return Report(automatic="reply" if actions else "bounce", originals=names)


def _disposition(parts: list[Message[Any, Any]], status: Message[Any, Any], headers: Headers) -> Report:
    blocks = _blocks(status)
    names = tuple(_ID.findall("\n".join(f"message-id: {_field(each, 'original-message-id')}" for each in blocks)))
    names = names or _original(parts, headers)
    seen = any(_field(each, "disposition").lower().partition(";")[2].strip().startswith("displayed") for each in blocks)
    read = tuple(StatusReceipt(message_id=each, status="read") for each in names[:1]) if seen else ()
    return Report(automatic="reply", receipts=read, originals=names)


def _failed(names: tuple[str, ...], reason: str) -> tuple[StatusReceipt, ...]:
    return tuple(StatusReceipt(message_id=each, status="failed", reason=reason[:_LONGEST]) for each in names[:1])


def _parts(root: Message[Any, Any]) -> list[Message[Any, Any]]:
    """Return the parts of a report: those of the mail itself, not those of the mail that it encloses."""
    inside = root.get_payload()
    if root.get_content_maintype() != "multipart" or not isinstance(inside, list):
        return [root]
    return [each for each in inside[:_LOOKED_AT] if isinstance(each, Message)]


def _blocks(status: Message[Any, Any]) -> list[Message[Any, Any]]:
    inside = status.get_payload()
    return [each for each in inside if isinstance(each, Message)] if isinstance(inside, list) else []


def _field(block: Message[Any, Any], name: str) -> str:
    return " ".join(str(block.get(name, "")).split())


def _reason(block: Message[Any, Any]) -> str:
    """Return in words why it failed: whom for, and what the server said."""
    whom = (_field(block, "original-recipient") or _field(block, "final-recipient")).partition(";")[2].strip()
    said = _field(block, "diagnostic-code")
    said = said.partition(";")[2].strip() if ";" in said[:40] else said
    return ": ".join(each for each in (whom, said or _field(block, "status")) if each) or "not delivered"


def _original(parts: list[Message[Any, Any]], headers: Headers) -> tuple[str, ...]:
    """Return the id of the mail that a report is about: of the enclosed one, or of what the report answers."""
    found = next(_enclosed(parts), "")
    return (found,) if found else tuple(re.findall(r"<[^<>\s]{1,900}>", headers.raw("in-reply-to")))[:1]


def _enclosed(parts: list[Message[Any, Any]]) -> Iterator[str]:
    for part in parts:
        kind = part.get_content_type()
        if kind == "text/rfc822-headers":
            content = part.get_payload(decode=True)
            text = content.decode("ascii", "replace") if isinstance(content, bytes) else ""
            yield from _ID.findall(text)
        elif kind in ("message/rfc822", "message/global"):
            for block in _blocks(part):
                yield from _ID.findall(f"message-id: {_field(block, 'message-id')}")
