"""Messages that a rule of the workspace refused: kept whole, and taken in again when the rule allows them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import attrs

from crm_core.extend import Address, IncomingMessage
from crm_inbox.records import HeldMessage, InboxAttachment

_FILE = ("name", "type", "size", "digest", "refused")


def held_message(
    account: str, key: str, message: IncomingMessage, files: Sequence[InboxAttachment], reason: str
) -> HeldMessage:
    """Return the record that keeps a message; its files are in the store already."""
    whole = attrs.asdict(attrs.evolve(message, attachments=()), value_serializer=_plain)
    kept = [{name: getattr(each, name) for name in _FILE} for each in files]
    content = json.dumps({"message": whole, "files": kept}, ensure_ascii=True)
    return HeldMessage(account=account, key=key, reason=reason[:1000], content=content)


def message_of(held: HeldMessage) -> tuple[IncomingMessage, list[InboxAttachment]]:
    """Return a held message as it came, with its files."""
    content = json.loads(held.content)
    fields: dict[str, Any] = content["message"]
    fields |= {
        "sender": Address(**fields["sender"]),
        "at": datetime.fromisoformat(fields["at"]) if fields["at"] else None,
        "replies_to": tuple(fields["replies_to"]),
        "attachments": (),
    }
    return IncomingMessage(**fields), [InboxAttachment(interaction_id=0, **each) for each in content["files"]]


def _plain(_: Any, __: Any, value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    return dict(value) if isinstance(value, Mapping) else value
