"""Messages that a rule of the workspace refused: kept whole, and taken in again when the rule allows them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import attrs

from crm_core.errors import NotFound
from crm_core.extend import Address, IncomingMessage
from crm_inbox.records import HeldMessage, InboxAttachment

ERASED = "(erased)"
"""The content of a held message of which an erasure left nothing."""
_FILE = ("name", "type", "size", "digest", "refused")


def held_message(
    account: str,
    message: IncomingMessage,
    files: Sequence[InboxAttachment],
    reason: str,
    customer_id: int | None,
) -> HeldMessage:
    """Return the record that keeps a message; its files are in the store already."""
    whole = attrs.asdict(attrs.evolve(message, attachments=()), value_serializer=_plain)
    kept = [{name: getattr(each, name) for name in _FILE} for each in files]
    content = json.dumps({"message": whole, "files": kept}, ensure_ascii=True)
    key = held_key(account, message.external_id)
    digests = " ".join(sorted({each.digest for each in files if each.digest})) or None
    return HeldMessage(
        customer_id=customer_id, account=account, key=key, reason=reason[:1000], content=content, digests=digests
    )


def held_key(account: str, external_id: str) -> str:
    """Return what a held message is recognised by; it stays when its sender is erased."""
    return hashlib.sha256(json.dumps([account, external_id]).encode()).hexdigest()


def message_of(held: HeldMessage) -> tuple[IncomingMessage, list[InboxAttachment]]:
    """Return a held message as it came, with its files.

    Raises:
        NotFound: its sender was erased, and it with them.
    """
    try:
        content = json.loads(held.content)
    except ValueError:
        raise NotFound("the message is of a person who was erased", hint="nothing is left of it") from None
    fields: dict[str, Any] = content["message"]
    fields |= {
        "sender": Address(**fields["sender"]),
        "at": datetime.fromisoformat(fields["at"]) if fields["at"] else None,
        "recipient": Address(**recipient) if (recipient := fields.get("recipient")) else None,
        "others": tuple(Address(**each) for each in fields.get("others", ())),
        "replies_to": tuple(fields["replies_to"]),
        "attachments": (),
    }
    return IncomingMessage(**fields), [InboxAttachment(interaction_id=0, **each) for each in content["files"]]


def _plain(_: Any, __: Any, value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    return dict(value) if isinstance(value, Mapping) else value
