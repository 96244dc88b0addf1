"""The parts of a mail: which are its text, and which are files."""

from __future__ import annotations

import binascii
import re
from collections.abc import Sequence
from email.message import Message
from typing import Any, Final

import attrs

from crm_channel_email.charsets import codec_of, decoded, header_text
from crm_channel_email.flowed import unflowed
from crm_channel_email.html import text_of
from crm_core.extend import Attachment

_ENDINGS: Final = {
    "text/plain": "txt",
    "text/html": "html",
    "text/calendar": "ics",
    "image/jpeg": "jpg",
    "image/png": "png",
    "image/gif": "gif",
    "application/pdf": "pdf",
    "application/pgp-signature": "asc",
    "application/pkcs7-mime": "p7m",
    "application/pkcs7-signature": "p7s",
    "application/ms-tnef": "dat",
    "message/rfc822": "eml",
}
_LONGEST: Final = 500_000
"""Characters of a text; a longer one comes as a file as well."""
_LONGEST_PAGE: Final = 1_000_000
"""Characters of HTML that are read."""
_META: Final = re.compile(rb"<meta\b[^>]{0,200}?\bcharset\s{0,9}=\s{0,9}[\"']?([A-Za-z0-9_.:-]{2,40})", re.IGNORECASE)
_META_WITHIN: Final = 4_096
"""Bytes of a page within which it says its charset."""
_PIECE: Final = re.compile(r"[A-Za-z0-9+/]{2,}={0,2}")
_REPORTS: Final = frozenset({"message/delivery-status", "message/disposition-notification"})
_BROKEN: Final = (ValueError, TypeError, KeyError, IndexError, AttributeError, LookupError, AssertionError)
"""What the standard library raises for parts that nobody could have meant."""


@attrs.define(kw_only=True)
class Content:
    """What the parts of a mail came to; `excess` says in words why they were not read to their end."""

    text: str = ""
    attachments: list[Attachment] = attrs.field(factory=list)
    excess: str = ""

    @classmethod
    def whole(cls, raw: bytes, reason: str) -> Content:
        """Return a mail that is not taken apart: nothing of it is lost."""
        file = Attachment(name="message.eml", type="message/rfc822", content=raw)
        return cls(text=f"[This mail was not taken apart: {reason}. It is attached.]", attachments=[file])


def content_of(root: Message[Any, Any], charset: str, max_depth: int, max_parts: int) -> Content:
    """Return text and files of a mail; of alternatives the plain one is the text.

    Args:
        root: the mail.
        charset: how text is read that declares no charset.
        max_depth: parts within parts at most.
        max_parts: parts at most.
    """
    reader = _Reader(charset, max_depth, max_parts)
    text = reader.read(root, 1)
    content = Content(text=text.strip("\r\n"), attachments=reader.files, excess=reader.excess)
    if len(content.text) > _LONGEST:
        file = Attachment(name="message.txt", type="text/plain", content=content.text.encode("utf-8", "replace"))
        content.attachments.append(file)
        content.text = f"{content.text[:_LONGEST]}\n[The text goes on in message.txt.]"
    return content


class _Reader:
    def __init__(self, charset: str, max_depth: int, max_parts: int) -> None:
        self._charset = charset
        self._max_depth = max_depth
        self._max_parts = max_parts
        self._parts = 0
        self.files: list[Attachment] = []
        self.excess = ""

    def read(self, part: Message[Any, Any], depth: int) -> str:
        """Return the text of a part and what it contains; its files are added to `files`."""
        if self._exceeds(depth):
            return ""
        kind = part.get_content_type()
        inside = part.get_payload() if part.is_multipart() else None
        if part.get_content_maintype() == "message":
            self._enclosed(part, kind)
            return ""
        if isinstance(inside, list):
            within = [each for each in inside if isinstance(each, Message)]
            if kind == "multipart/alternative":
                return self._best(within, depth)
            texts = [(each.get_content_type(), self.read(each, depth + 1)) for each in within]
            return "\n".join(text.strip("\r\n") for _, text in texts if text.strip())
        if kind in ("text/plain", "text/html") and not self._is_file(part):
            return self._text(part, kind)
        if kind.startswith("multipart/"):  # one without any part in it
            return decoded(_bytes_of(part), "", self._charset)
        self.files.append(Attachment(name=self._name(part, kind), type=kind, content=_bytes_of(part)))
        return ""

    def _exceeds(self, depth: int) -> bool:
        """Count a part; returns whether it is one too many."""
        self._parts += 1
        if depth > self._max_depth:
            self.excess = f"its parts are nested deeper than max_depth ({self._max_depth})"
        elif self._parts > self._max_parts:
            self.excess = f"it has more than max_parts ({self._max_parts}) parts"
        return bool(self.excess)

    def _best(self, within: Sequence[Message[Any, Any]], depth: int) -> str:
        """Return of alternatives the plain one, or the last one that says something; the files of all are kept."""
        plain, last = "", ""
        for each in within:
            kind = each.get_content_type()
            if plain and kind == "text/html" and not self._is_file(each) and len(_plain(each)) <= _LONGEST_PAGE:
                if self._exceeds(depth + 1):
                    return ""
                continue  # the same as HTML, which would be made text of for nothing
            text = self.read(each, depth + 1)
            if text.strip():
                plain, last = plain or (text if kind == "text/plain" else ""), text
        return plain or last

    def _is_file(self, part: Message[Any, Any]) -> bool:
        return _disposition(part) == "attachment" or bool(self._given_name(part))

    def _text(self, part: Message[Any, Any], kind: str) -> str:
        content, declared = _bytes_of(part), _param(part, "charset")
        if kind == "text/html" and not codec_of(declared) and (found := _META.search(content[:_META_WITHIN])):
            declared = found[1].decode("ascii")
        text = decoded(content, declared, self._charset).replace("\r\n", "\n")
        if kind == "text/html":
            if len(text) > _LONGEST_PAGE:
                self.files.append(Attachment(name="message.html", type=kind, content=_bytes_of(part)))
                return f"{text_of(text[:_LONGEST_PAGE])}\n[The text goes on in message.html.]"
            return text_of(text)
        if _param(part, "format").lower() == "flowed":
            return unflowed(text, delsp=_param(part, "delsp").lower() == "yes")
        return text

    def _enclosed(self, part: Message[Any, Any], kind: str) -> None:
        """Keep a mail within a mail as a file; what a report says of other mails is read elsewhere."""
        if kind in _REPORTS:
            return
        inside = part.get_payload()
        if isinstance(inside, list) and len(inside) == 1 and isinstance(inside[0], Message):
            content = _flat(inside[0])
            subject = header_text(str(inside[0].get("subject", ""))[:1_000], self._charset)
            name = self._given_name(part) or f"{subject[:80] or 'message'}.eml"
        else:
            content, name = _flat(part), self._name(part, kind)
        self.files.append(Attachment(name=name, type=kind, content=content))

    def _name(self, part: Message[Any, Any], kind: str) -> str:
        if given := self._given_name(part):
            return given
        number = len(self.files) + 1
        return f"{part.get_content_maintype()}-{number}.{_ENDINGS.get(kind, 'bin')}"

    def _given_name(self, part: Message[Any, Any]) -> str:
        """Return the name of a file: RFC 2231, or encoded words, which many mailers write instead."""
        for name, header in (("filename", "content-disposition"), ("name", "content-type")):
            try:
                found = part.get_param(name, header=header)
            except _BROKEN:
                continue
            if isinstance(found, tuple):
                return decoded(found[2].encode("latin-1", "replace"), found[0] or "", self._charset).strip()
            if isinstance(found, str) and found.strip():
                return header_text(found, self._charset)
        return ""


def _disposition(part: Message[Any, Any]) -> str:
    return re.split(r"[;\s]", str(part.get("content-disposition", "")).strip().lower(), maxsplit=1)[0]


def _param(part: Message[Any, Any], name: str) -> str:
    try:
        found = part.get_param(name)
    except _BROKEN:
        return ""
    if isinstance(found, tuple):
        return str(found[2])
    return found if isinstance(found, str) else ""


def _bytes_of(part: Message[Any, Any]) -> bytes:
    """Return the content of a part; as it came, where its transfer encoding is broken."""
    try:
        found = part.get_payload(decode=True)
    except _BROKEN:
        found = None
    if isinstance(found, bytes):
        return _joined(part) or found
    plain = part.get_payload()
    return plain.encode("utf-8", "surrogateescape") if isinstance(plain, str) else b""


def _joined(part: Message[Any, Any]) -> bytes:
    """Return a content in Base64 that was made of several, each with its own end; empty for any other.

    Gateways that add a part to a text do so. A decoder stops at the first end, and the rest would be lost.
    """
    if str(part.get("content-transfer-encoding", "")).strip().lower() != "base64":
        return b""
    lines = _plain(part).split()
    if not any(each.endswith("=") for each in lines[:-1]) or not all(map(_PIECE.fullmatch, lines)):
        return b""
    ends = [number for number, each in enumerate(lines) if each.endswith("=") or number == len(lines) - 1]
    starts = [0, *(number + 1 for number in ends)]
    pieces = ["".join(lines[start : end + 1]) for start, end in zip(starts, ends, strict=False)]
    try:
        return b"".join(binascii.a2b_base64(each + "=" * (-len(each) % 4)) for each in pieces)
    except binascii.Error:
        return b""


def _plain(part: Message[Any, Any]) -> str:
    """Return a content as it came; it is at most as long when it is decoded."""
    found = part.get_payload()
    return found if isinstance(found, str) else ""


def _flat(message: Message[Any, Any]) -> bytes:
    try:
        return bytes(message)
    except (*_BROKEN, RecursionError):  # headers that cannot be written as they were read
        return str(message.get_payload()).encode("utf-8", "replace")
