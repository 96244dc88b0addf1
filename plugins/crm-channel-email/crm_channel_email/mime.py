"""A mail as bytes to a neutral message: text, files, who wrote it, what it answers; bounded whatever it is made of."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from email.message import Message
from email.parser import BytesHeaderParser, BytesParser
from email.policy import compat32
from email.utils import getaddresses, parsedate_to_datetime
from typing import Final

import attrs

from crm_channel_email.bounces import Report, report_of
from crm_channel_email.charsets import one_line
from crm_channel_email.headers import Headers
from crm_channel_email.parts import Content, content_of
from crm_core.extend import Address, IncomingMessage, StatusReceipt

NOBODY: Final = "unknown"
"""The address of a sender whom the mail does not name: none that anybody could have."""
_HANDED_ON: Final = (
    *("auto-submitted", "precedence", "list-id", "list-unsubscribe", "return-path", "content-type", "x-autoreply"),
    *("x-autorespond", "x-auto-response-suppress", "x-loop", "x-failed-recipients", "feedback-id", "message-id"),
    *("in-reply-to", "references", "reply-to", "from", "sender", "to", "cc", "delivered-to", "date"),
)
_FORMER_IDS: Final = ("x-microsoft-original-message-id", "x-google-original-message-id")
"""Where a server that gives a mail a Message-ID of its own keeps the one that it left with."""
_STABLE: Final = ("from", "to", "cc", "date", "subject", "in-reply-to", "references")
"""What the copies of a mail have in common that has no Message-ID."""
_ID: Final = re.compile(r"<[^<>\s]{1,900}>")
_ADDRESS: Final = re.compile(r"[^\s\x00<>@,;:\"()\[\]]{1,256}@[^\s\x00<>@,;:\"()\[\]]{1,256}")
_BOUNDARY: Final = re.compile(rb"boundary\s{0,9}=\s{0,9}\"?([^\";\r\n]{1,200})", re.IGNORECASE)
_NESTED: Final = re.compile(rb"^content-type:\s{0,9}message/", re.IGNORECASE | re.MULTILINE)
_REFERENCES: Final = 50
_MANY: Final = 40_000
"""Characters of a header with recipients at most: about a thousand."""
_LONGEST: Final = 1_000
_HEAD: Final = 262_144
"""Bytes of a head at most."""
_WORK: Final = 20_000_000
"""Lines times nested boundaries of a mail at most: each line is compared with each of them. About ten seconds."""
_FIRST_YEAR: Final = 1980


@attrs.frozen(kw_only=True)
class Bounds:
    """What a mail may be made of, and how text is read that declares no charset."""

    max_parts: int = 200
    max_depth: int = 20
    charset: str = "windows-1252"
    own: str = ""
    """The address of the account: what it wrote itself needs no answer."""


@attrs.frozen(kw_only=True)
class Mail:
    """What a mail came to: the message, and what it says of messages that left before."""

    message: IncomingMessage
    receipts: tuple[StatusReceipt, ...] = ()


def mail_of(
    raw: bytes, bounds: Bounds, *, arrived: datetime | None = None, size: int | None = None, sent: bool = False
) -> Mail:
    """Return what a mail says, whatever its bytes are.

    Args:
        raw: the mail, or its beginning.
        bounds: what it may be made of. One that exceeds them is not taken apart: it comes whole, as a file.
        arrived: when the server received it, for a mail whose date is missing or absurd.
        size: how many bytes it has, if `raw` is only its beginning.
        sent: whether we wrote it, as in the folder of sent mails.
    """
    try:
        mail, headers = _read(raw, bounds, arrived, size)
    except Exception as error:  # a fault of a parser, for which no mail of the mailbox may have to wait
        content = Content.whole(raw, f"reading it failed: {type(error).__name__}")
        headers = Headers(Message(), bounds)
        mail = _mail(raw, headers, content, Report(), bounds, arrived)
    return _sent(mail, headers, bounds.own.casefold()) if sent else mail


def _sent(mail: Mail, headers: Headers, own: str) -> Mail:
    """Return a mail that we wrote: it is for all of its recipients, but for ourselves if there is anybody else.

    It is known by the Message-ID that it left with; what answers it names the one that it arrived with.
    """
    found = dict[str, Address]()
    for name in ("to", "cc", "bcc"):
        for each in _addresses(headers, name, _MANY):
            found.setdefault(each.value.casefold(), each)
    others = [each for key, each in found.items() if key != own] or list(found.values())
    message = attrs.evolve(mail.message, direction="out", recipient=others[0] if others else None, automatic="")
    former = (_ID.fullmatch(one_line(headers.raw(name)).strip()) for name in _FORMER_IDS)
    if name := next((each[0] for each in former if each), ""):
        message = attrs.evolve(message, external_id=name)
    return Mail(message=attrs.evolve(message, others=tuple(others[1:])))


def _read(raw: bytes, bounds: Bounds, arrived: datetime | None, size: int | None) -> tuple[Mail, Headers]:
    cut = size is not None and size > len(raw)
    reason = f"it has {size:,} bytes, more than max_bytes" if cut else _excess(raw, bounds)
    root: Message | None = None
    if not reason:
        try:
            root = BytesParser(policy=compat32).parsebytes(raw)
        except RecursionError:
            reason = f"its parts are nested deeper than max_depth ({bounds.max_depth})"
    headers = Headers(root if root is not None else BytesHeaderParser(policy=compat32).parsebytes(_head(raw)), bounds)
    report = Report()
    if root is not None:
        content = content_of(root, bounds.charset, bounds.max_depth, bounds.max_parts)
        if content.excess:
            content = Content.whole(raw, content.excess)
        report = report_of(root, headers, content.text)
    elif cut:
        content = Content(text=f"[This mail stays in the mailbox: {reason}.]")
    else:
        content = Content.whole(raw, reason)
    return _mail(raw, headers, content, report, bounds, arrived), headers


def _mail(
    raw: bytes, headers: Headers, content: Content, report: Report, bounds: Bounds, arrived: datetime | None
) -> Mail:
    sender, automatic = _sender(headers), report.automatic
    own = bounds.own.casefold()
    if own and sender.value.casefold() == own:
        answers = _addresses(headers, "reply-to")
        if answers and answers[0].value.casefold() != own:  # a form of a website that writes in our name
            sender = answers[0]
        else:
            automatic = automatic or "bulk"
    elif sender.value == NOBODY:
        automatic = automatic or "bulk"
    given = one_line(headers.raw("message-id"))
    named = _ID.search(given) or re.fullmatch(r"\s*([^<>\s]+@[^<>\s]{1,400})\s*", given)
    name = named[0].strip() if named and "@" in named[0] else ""
    at = _date(headers.raw("date"), arrived)
    receipts = tuple(attrs.evolve(each, at=each.at or at) for each in report.receipts)
    message = IncomingMessage(
        external_id=name or _digest(raw, headers),
        sender=sender,
        at=at,
        subject=headers.text("subject"),
        text=content.text,
        reference=name,
        replies_to=_answered(headers, report.originals),
        attachments=tuple(content.attachments),
        headers={each: headers.text(each)[:_LONGEST] for each in _HANDED_ON if headers.raw(each)},
        automatic=automatic,
    )
    return Mail(message=message, receipts=receipts)


def _excess(raw: bytes, bounds: Bounds) -> str:
    """Return in words why a mail is not to be taken apart, before any time is spent on it; empty if it may be."""
    lowered = raw.lower()  # to search for a word is many times as fast as for an expression that begins with it
    boundaries = set(_boundaries(raw, lowered))
    nested = sum(1 for _ in _NESTED.finditer(raw)) if b"message/" in lowered else 0
    if nested > bounds.max_parts or len(boundaries) > bounds.max_parts:
        return f"it has more than max_parts ({bounds.max_parts}) parts"
    parts = sum(raw.count(b"\n--" + each) for each in boundaries)
    # Each part has one boundary before it, and each multipart one at its end; what only looks like one counts too.
    if parts > bounds.max_parts + 2 * len(boundaries):
        return f"it has more than max_parts ({bounds.max_parts}) parts"
    if (raw.count(b"\n") + raw.count(b"\r")) * (1 + len(boundaries)) > _WORK:
        return "it has too many lines"
    if len(_head(raw)) >= _HEAD:
        return f"its head has more than {_HEAD:,} bytes"
    return ""


def _boundaries(raw: bytes, lowered: bytes) -> Iterator[bytes]:
    at = lowered.find(b"boundary")
    while at >= 0:
        if found := _BOUNDARY.match(raw, at):
            yield found[1].strip()
        at = lowered.find(b"boundary", at + 1)


def _head(raw: bytes) -> bytes:
    """Return the head of a mail, as far as it may be long."""
    ends = [at for at in (raw.find(b"\n\n", 0, _HEAD), raw.find(b"\r\n\r\n", 0, _HEAD)) if at >= 0]
    return raw[: min(ends)] if ends else raw[:_HEAD]


def _sender(headers: Headers) -> Address:
    for name in ("from", "sender", "reply-to", "return-path"):
        if found := _addresses(headers, name):
            return found[0]
    return Address(kind="email", value=NOBODY, name=headers.text("from").strip("<> ")[:400])


def _addresses(headers: Headers, name: str, longest: int = 4_000) -> list[Address]:
    """Return the addresses of a header: by its grammar, or what looks like one where the grammar is broken."""
    raw = headers.raw(name)[:longest]
    found: list[Address] = []
    try:
        pairs = getaddresses([raw])
    except (ValueError, IndexError, TypeError):  # of a header that no grammar knows
        pairs = []
    for given, value in pairs:
        # Both sides are decoded after they were told apart, for a word that is encoded may have a comma in it.
        plain = headers.decode(value)
        if _ADDRESS.fullmatch(plain):
            found.append(Address(kind="email", value=plain, name=headers.decode(given)[:400]))
    if found:
        return found
    text = headers.text(name)
    angle = re.search(r"<\s*+([^<>]{1,600})>", text)
    place = _ADDRESS.search(angle[1] if angle else text)
    if not place:
        return []
    before = one_line(text[: angle.start()].strip(" \"'")) if angle else ""
    return [Address(kind="email", value=place[0], name=before[:400])]


def _answered(headers: Headers, originals: tuple[str, ...]) -> tuple[str, ...]:
    """Return what a mail answers, the nearest first; of a long conversation the nearest, and its beginning."""
    answers, chain = (_ID.findall(one_line(headers.raw(name))) for name in ("in-reply-to", "references"))
    unique = list(dict.fromkeys([*originals, *answers, *reversed(chain)]))
    return tuple(unique if len(unique) <= _REFERENCES else [*unique[: _REFERENCES - 1], unique[-1]])


def _date(raw: str, arrived: datetime | None) -> datetime | None:
    try:
        found = parsedate_to_datetime(raw[:200])
        found = found if found.tzinfo is not None else found.replace(tzinfo=UTC)
        return found.astimezone(UTC) if found.year >= _FIRST_YEAR else arrived
    except (ValueError, TypeError, IndexError, OverflowError):
        return arrived


def _digest(raw: bytes, headers: Headers) -> str:
    """Return an id for a mail without one: of what stays the same from folder to folder."""
    digest = hashlib.sha256()
    for each in _stable(headers):
        digest.update(each.encode("utf-8", "surrogateescape") + b"\0")
    digest.update(raw[len(_head(raw)) :][:4_096].strip())
    return f"sha256:{digest.hexdigest()}"


def _stable(headers: Headers) -> Iterator[str]:
    for name in _STABLE:
        yield " ".join(headers.raw(name).split())


__all__ = ["NOBODY", "Bounds", "Mail", "mail_of"]
