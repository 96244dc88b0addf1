"""What became of messages that left: receipts of services, and bounces."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from crm_core.extend import IncomingMessage, StatusReceipt
from crm_core.query.ast import And, Compare, In
from crm_inbox.consent import points_at
from crm_inbox.records import OutboxMessage
from crm_inbox.wishes import stop

if TYPE_CHECKING:
    from crm_core import CRM

_CAME_BACK: Final = "it came back: "
_ORDER: Final = ("queued", "sending", "sent", "delivered", "read")
_MANY: Final = 500


def note_receipts(crm: CRM, account: str, receipts: Sequence[StatusReceipt]) -> tuple[int, list[StatusReceipt]]:
    """Note receipts, in whatever order and however often they come.

    Returns:
        How many said something new, and those that may be of a message that is being sent now.
    """
    if not receipts:
        return 0, []
    # Looked at before the messages: what was noted between the two looks is found by the second one.
    under_way = And((Compare("account", "=", account), Compare("status", "=", "sending")))
    some_leave = bool(crm.records(OutboxMessage).find(under_way, limit=1))
    known = named(crm, account, [each.message_id[:400] for each in receipts])
    count, early = 0, []
    for each in receipts:
        name = each.message_id[:400]
        if name not in known:
            early += [each] if some_leave else []
            continue
        changed = noted(crm, known[name], each)
        known[name] = changed or known[name]
        count += changed is not None
    return count, early


def named(crm: CRM, account: str, names: Sequence[str]) -> dict[str, OutboxMessage]:
    """Return the messages of an account by the names that receipts have for them: the service's, or ours."""
    service, found = crm.records(OutboxMessage), dict[str, OutboxMessage]()
    asked = list(dict.fromkeys(names))
    for at in range(0, len(asked), _MANY):
        some = tuple(asked[at : at + _MANY])
        for column in ("message_id", "provider_id"):
            where = And((Compare("account", "=", account), In(column, some)))
            found |= {getattr(each, column): each for each in service.find(where, limit=None)}
    return found


def note_bounce(crm: CRM, bounce: IncomingMessage) -> None:
    """Note of the message that came back that it failed."""
    names = tuple(each for each in bounce.replies_to if each)
    for message in crm.records(OutboxMessage).find(In("message_id", names), limit=None) if names else ():
        if message.status in ("sending", "sent"):
            reason = " ".join(f"{_CAME_BACK}{bounce.subject}".split())[:1000]
            fail(crm, message, reason)


def stop_for(crm: CRM, message: OutboxMessage) -> None:
    """Withdraw the consent of everybody at the address of a message, as the service says that its recipient did."""
    found = crm.customers.get_many([message.customer_id]) if message.customer_id is not None else []
    points = points_at(crm, message.address_kind, message.address, found[0] if found else None)
    stop(crm, message.account, points, crm.clock.now())


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


def noted(crm: CRM, message: OutboxMessage, receipt: StatusReceipt) -> OutboxMessage | None:
    """Note a receipt of a message; returns the message as it is then, None if the receipt says nothing new."""
    service = crm.records(OutboxMessage)
    if receipt.status == "failed":
        if receipt.unsubscribed:
            stop_for(crm, message)
        if message.status == "failed" and receipt.reason and (message.reason or "").startswith(_CAME_BACK):
            # The report says why; the subject of the mail that brought it was noted first.
            return service.edit(message.evolve(reason=f"the service says: {receipt.reason}"[:1000]))
        if message.status not in ("queued", "sending", "sent"):
            return None
        return fail(crm, message, f"the service says: {receipt.reason or 'not delivered'}")
    if message.status == "failed" or _ORDER.index(receipt.status) <= _ORDER.index(message.status):
        return None
    at = receipt.at or crm.clock.now()
    changes = {"delivered": {"delivered_at": at}, "read": {"read_at": at}}.get(receipt.status, {})
    return service.edit(message.evolve(status=receipt.status, **changes))
