"""What became of messages that left: receipts of services, and bounces."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from crm_core.extend import IncomingMessage, StatusReceipt
from crm_core.query.ast import And, Compare, In
from crm_inbox.records import OutboxMessage

if TYPE_CHECKING:
    from crm_core import CRM

_CAME_BACK: Final = "it came back: "
_ORDER: Final = ("queued", "sending", "sent", "delivered", "read")


def note_receipts(crm: CRM, account: str, receipts: Sequence[StatusReceipt]) -> int:
    """Note receipts, in whatever order and however often they come; returns how many said something new."""
    return sum(_note(crm, account, each) for each in receipts)


def note_bounce(crm: CRM, bounce: IncomingMessage) -> None:
    """Note of the message that came back that it failed."""
    names = tuple(each for each in bounce.replies_to if each)
    for message in crm.records(OutboxMessage).find(In("message_id", names), limit=None) if names else ():
        if message.status in ("sending", "sent"):
            reason = " ".join(f"{_CAME_BACK}{bounce.subject}".split())[:1000]
            fail(crm, message, reason)


def fail(crm: CRM, message: OutboxMessage, reason: str) -> OutboxMessage:
    """Give a message up, with the reason; what it answered waits for an answer again."""
    with crm.transaction():
        failed = crm.records(OutboxMessage).edit(message.evolve(status="failed", reason=reason[:1000]))
        if message.interaction_id is not None:
            found = crm.interactions.get_many([message.interaction_id])
            answered = crm.interactions.get_many([one.in_reply_to_id for one in found if one.in_reply_to_id])
            for one in answered:
                crm.interactions.edit(one.evolve(needs_answer=True, answered_at=None))
    return failed


def _note(crm: CRM, account: str, receipt: StatusReceipt) -> bool:
    service = crm.records(OutboxMessage)
    name = receipt.message_id[:400]
    found = service.find(And((Compare("account", "=", account), Compare("provider_id", "=", name))), limit=1)
    found = found or service.find(And((Compare("account", "=", account), Compare("message_id", "=", name))), limit=1)
    if not found:
        return False
    message = found[0]
    if receipt.status == "failed":
        if message.status == "failed" and receipt.reason and (message.reason or "").startswith(_CAME_BACK):
            # The report says why; the subject of the mail that brought it was noted first.
            service.edit(message.evolve(reason=f"the service says: {receipt.reason}"[:1000]))
            return True
        if message.status not in ("queued", "sending", "sent"):
            return False
        fail(crm, message, f"the service says: {receipt.reason or 'not delivered'}")
        return True
    if message.status == "failed" or _ORDER.index(receipt.status) <= _ORDER.index(message.status):
        return False
    at = receipt.at or crm.clock.now()
    changes = {"delivered": {"delivered_at": at}, "read": {"read_at": at}}.get(receipt.status, {})
    service.edit(message.evolve(status=receipt.status, **changes))
    return True
