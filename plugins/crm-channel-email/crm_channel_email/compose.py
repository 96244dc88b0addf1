"""A neutral message as the bytes of a mail, and the addresses of its envelope; nothing in it can begin a header."""

from __future__ import annotations

import re
from email.header import Header
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime
from typing import TYPE_CHECKING, Final

import attrs
import idna

from crm_core.errors import MessageRejected

if TYPE_CHECKING:
    from datetime import datetime

    from crm_channel_email.settings import EmailSettings
    from crm_core.extend import Attachment, OutgoingMessage

_ID: Final = re.compile(r"<[^<>\s@\x00-\x1f\x7f]+@[^<>\s@\x00-\x1f\x7f]+>")
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{0,70}")
_TYPE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,100}/[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,100}")
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f\x85\u2028\u2029]")
_SPECIAL: Final = re.compile(r'[()<>\[\]:;@\\,."]')
_LOCAL: Final = re.compile(r"[^\s@<>()\[\]:;,\\\"\x00-\x1f\x7f]{1,64}")
_OURS: Final = frozenset(
    {"from", "to", "cc", "bcc", "sender", "subject", "date", "message-id", "in-reply-to", "references"}
    | {"mime-version", "return-path", "received", "auto-submitted"}
)
_LINE: Final = 78
_LONGEST_LINE: Final = 998
_REFERENCES: Final = 20
# The text is encoded, so that it passes through servers that know only ASCII, and no line of it exceeds their limit.
_POLICY: Final = SMTP.clone(cte_type="7bit")


@attrs.frozen(kw_only=True)
class Envelope:
    """A mail as it goes to the server; `international` if an address has a local part that is not ASCII (SMTPUTF8)."""

    sender: str
    recipient: str
    content: bytes = attrs.field(repr=False)
    international: bool = False


def envelope_of(message: OutgoingMessage, settings: EmailSettings, now: datetime) -> Envelope:
    """Return a mail.

    Raises:
        MessageRejected: its recipient is no e-mail address, or a header of it is none.
    """
    sender, recipient = _address(settings.address), _address(message.recipient.value)
    lines = [
        f"From: {_mailbox(settings.name, sender)}",
        f"To: {_mailbox(message.recipient.name, recipient)}",
        f"Subject: {_text(message.subject)}",
        f"Date: {format_datetime(now)}",
        f"Message-ID: {_message_id(message.message_id)}",
    ]
    answered = [each for each in message.replies_to if _ID.fullmatch(each)]
    if answered:
        lines.append(f"In-Reply-To: {answered[0]}")
        # The oldest first; of a long conversation its beginning and what came last.
        chain = list(reversed(answered))
        chain = chain if len(chain) <= _REFERENCES else [chain[0], *chain[1 - _REFERENCES :]]
        lines.append("References: " + "\r\n ".join(chain))
    if message.automatic:
        lines.append(f"Auto-Submitted: auto-{'replied' if answered else 'generated'}")
        if "x-auto-response-suppress" not in {name.lower() for name in message.headers}:
            # Not "All": that suppresses the report as well that it could not be delivered ([MS-OXCMAIL] 2.1.3.2.20).
            lines.append("X-Auto-Response-Suppress: OOF, AutoReply")
    lines += _further(message)
    body = _body(message)
    head = "\r\n".join(lines).encode("utf-8") + b"\r\n"
    international = not (sender + recipient).isascii()
    return Envelope(sender=sender, recipient=recipient, content=head + body, international=international)


def _body(message: OutgoingMessage) -> bytes:
    mail = EmailMessage(policy=_POLICY)
    mail.set_content(message.text.encode("utf-8", "replace").decode("utf-8") + "\n")
    if message.html:
        mail.add_alternative(message.html.encode("utf-8", "replace").decode("utf-8"), subtype="html")
    for each in message.attachments:
        main, _, sub = _type(each).partition("/")
        mail.add_attachment(each.content, maintype=main, subtype=sub, filename=_file_name(each))
    return bytes(mail)


def _type(attachment: Attachment) -> str:
    """Return the type of a file; mails and parts of mails go as plain bytes, as others may not encode them."""
    known = _TYPE.fullmatch(attachment.type) and not attachment.type.lower().startswith(("message/", "multipart/"))
    return attachment.type if known else "application/octet-stream"


def _file_name(attachment: Attachment) -> str:
    if _CONTROL.search(attachment.name):
        raise MessageRejected(f"the name of the file {attachment.name!r} has a line break or a control character")
    return attachment.name or "attachment"


def _address(given: str) -> str:
    """Return an address with its domain in ASCII.

    Raises:
        MessageRejected: it is no address.
    """
    local, at, domain = given.strip().rpartition("@")
    if not at or not _LOCAL.fullmatch(local) or local.startswith("-") or len(given) > 320:
        raise MessageRejected(f"{given!r} is no e-mail address")
    try:
        plain = domain.lower() if domain.isascii() else idna.encode(domain, uts46=True).decode("ascii")
    except idna.IDNAError as error:
        raise MessageRejected(f"{given!r} is no e-mail address: {error}") from None
    if not re.fullmatch(r"[a-z0-9](?:[a-z0-9.-]{0,253}[a-z0-9])?", plain):
        raise MessageRejected(f"{given!r} is no e-mail address: its domain is none")
    return f"{local}@{plain}"


def _mailbox(name: str, address: str) -> str:
    clean = _plain(name)
    if not clean:
        return address
    if clean.isascii():
        quoted = clean.replace("\\", "\\\\").replace('"', '\\"')
        clean = f'"{quoted}"' if _SPECIAL.search(clean) else clean
        return f"{clean} <{address}>" if len(clean) < _LINE else f"{clean[: _LONGEST_LINE // 2]}\r\n <{address}>"
    return f"{_encoded(clean)}\r\n <{address}>"


def _text(value: str) -> str:
    clean = _plain(value)
    short = clean.isascii() and len(clean) < _LINE - len("Subject: ") and "=?" not in clean
    return clean if short else _encoded(clean)


def _encoded(value: str) -> str:
    """Return encoded words (RFC 2047), none longer than it may be."""
    return Header(value, "utf-8", maxlinelen=_LINE - 3, header_name="Subject").encode(linesep="\r\n")


def _plain(value: str) -> str:
    if _CONTROL.search(value):
        raise MessageRejected(f"{value!r} has a line break or a control character")
    return value.strip().encode("utf-8", "replace").decode("utf-8")


def _message_id(given: str) -> str:
    if not _ID.fullmatch(given) or not given.isascii() or len(given) > _LONGEST_LINE // 2:
        raise MessageRejected(f"{given!r} is no Message-ID, such as <1@example.org>")
    return given


def _further(message: OutgoingMessage) -> list[str]:
    """Return the headers that the message carries, List-Unsubscribe as RFC 8058 wants it."""
    lines, known = [], {name.lower(): value.strip() for name, value in message.headers.items()}
    for name, value in message.headers.items():
        if not _NAME.fullmatch(name) or name.lower() in _OURS or name.lower().startswith("content-"):
            raise MessageRejected(f"a message cannot set the header {name!r}")
        line = f"{name}: {_plain(value)}"
        if not value.isascii():
            line = f"{name}: {_encoded(_plain(value))}"
        elif len(line) > _LONGEST_LINE:
            raise MessageRejected(f"the header {name} is longer than {_LONGEST_LINE} characters")
        lines.append(line)
    if "list-unsubscribe-post" in known:
        one_click = known["list-unsubscribe-post"].lower() == "list-unsubscribe=one-click"
        if not one_click or "<https://" not in known.get("list-unsubscribe", "").lower():
            raise MessageRejected(
                "List-Unsubscribe-Post needs a List-Unsubscribe with an https address",
                hint="its value is List-Unsubscribe=One-Click (RFC 8058)",
            )
    return lines
