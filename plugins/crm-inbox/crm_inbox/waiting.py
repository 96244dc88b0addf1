"""What waits for an answer, and who looks after it: the assignee, else the owner of the customer."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

import attrs

from crm_core import Customer, Interaction, User
from crm_core.console import MISSING
from crm_core.errors import UsageError
from crm_core.extend import Address
from crm_core.query.ast import And, Compare, Expression, In
from crm_core.values import format_id
from crm_inbox.quoting import parts_of
from crm_inbox.records import Assignment, InboxMessage
from crm_inbox.senders import candidates

if TYPE_CHECKING:
    from crm_core import CRM

SORTS: Final = ("age", "owner", "channel", "topic")
_MOST: Final = 10_000


@attrs.frozen(kw_only=True)
class Item:
    """One line of the inbox."""

    interaction: Interaction
    customer: Customer | None
    owner: User | None
    message: InboxMessage | None
    candidates: tuple[Customer, ...] = ()

    @property
    def sender(self) -> str:
        """Who wrote, for people: the customer's name, else the name and address, with those who share it."""
        if self.customer is not None and (self.customer.name or self.message is None):
            return self.customer.name or format_id(self.customer.id)
        if self.message is None:
            return ""
        told = " ".join(each for each in (self.message.sender_name, self.message.sender_value) if each)
        shared = " or ".join(each.name or format_id(each.id) for each in self.candidates)
        return f"{told} ({shared}?)" if shared else told

    def as_json(self, zone: Any) -> dict[str, Any]:
        """Return the line as `--json` prints it."""
        one = self.interaction
        return {
            "id": format_id(one.id),
            "occurred_at": _local(one.occurred_at, zone),
            "needs_answer": one.needs_answer,
            "customer": None if self.customer is None else {"id": format_id(self.customer.id), "label": self.sender},
            "sender": None if self.message is None else self.message.sender_value,
            "sender_is": None if self.message is None else self.message.sender,
            "candidates": [{"id": format_id(each.id), "label": each.name} for each in self.candidates],
            "owner": None if self.owner is None else {"id": format_id(self.owner.id), "label": self.owner.name},
            "account": None if self.message is None else self.message.account,
            "channel": one.channel,
            "kind": one.kind,
            "topic": one.topic,
            "subject": one.subject,
            "thread": one.thread,
        }


def inbox(
    crm: CRM,
    *,
    owner_id: int | None = None,
    channel: str = "",
    topic: str = "",
    sort: str = "age",
    answered: bool = False,
    limit: int = 50,
) -> list[Item]:
    """Return what waits for an answer, the oldest first, then (`answered`) what came in and waits no longer.

    Args:
        crm: the CRM.
        owner_id: only what this user looks after.
        channel: only what came by this channel or account.
        topic: only this topic.
        sort: "age", "owner", "channel" or "topic"; by age within these.
        answered: whether to show what waits no longer as well, the newest first.
        limit: at most so many.
    """
    if sort not in SORTS:
        raise UsageError(f"the inbox is not sorted by {sort!r}", hint=f"by one of: {', '.join(SORTS)}")
    about: tuple[Expression, ...] = (Compare("topic", "=", topic),) if topic else ()
    # Whoever looks after what is known of the customer, and the account of the message: those need all lines.
    most = limit if sort == "age" and owner_id is None and not channel else _MOST
    where = And((Compare("needs_answer", "=", 1), *about))
    found = _items(crm, list(crm.interactions.find(where, sort="occurred_at", limit=most)))
    if answered:
        where = And((Compare("needs_answer", "=", 0), Compare("direction", "=", "in"), *about))
        found += _items(crm, list(crm.interactions.find(where, sort="-occurred_at", limit=most)))
    chosen = [each for each in found if _fits(each, owner_id, channel, topic)]
    keys: dict[str, Any] = {
        "age": lambda each: not each.interaction.needs_answer,
        "owner": lambda each: (not each.interaction.needs_answer, each.owner.name if each.owner else "\uffff"),
        "channel": lambda each: (not each.interaction.needs_answer, each.interaction.channel or "\uffff"),
        "topic": lambda each: (not each.interaction.needs_answer, each.interaction.topic or "\uffff"),
    }
    return sorted(chosen, key=keys[sort])[:limit]


def item_of(crm: CRM, interaction: Interaction) -> Item:
    """Return one interaction as a line of the inbox."""
    return _items(crm, [interaction])[0]


def headline(item: Item) -> str:
    """Return what an interaction is about, in a line: its subject, else how its text begins."""
    one = item.interaction
    told = one.subject or " ".join(parts_of(one.body or "").text.split())[:200]
    if one.kind == "call" and one.needs_answer and (item.message is not None or not told):
        return "missed call"  # what a person wrote of a call says more
    return told or MISSING


def _items(crm: CRM, interactions: Sequence[Interaction]) -> list[Item]:
    people = _by_id(crm.customers.get_many([one.customer_id for one in interactions if one.customer_id is not None]))
    came = {each.interaction_id: each for each in _messages(crm, [one.id for one in interactions])}
    caring = [_caring(one, people.get(one.customer_id or 0)) for one in interactions]
    users = _by_id(crm.users.get_many([one for one in caring if one is not None]))
    return [
        Item(
            interaction=one,
            customer=people.get(one.customer_id or 0),
            owner=users.get(owner or 0),
            message=came.get(one.id),
            candidates=_shared(crm, came.get(one.id)) if one.customer_id is None else (),
        )
        for one, owner in zip(interactions, caring, strict=True)
    ]


def _messages(crm: CRM, ids: Sequence[int]) -> list[InboxMessage]:
    found: list[InboxMessage] = []
    for at in range(0, len(ids), 500):
        found += crm.records(InboxMessage).find(In("interaction_id", tuple(ids[at : at + 500])), limit=None)
    return found


def _shared(crm: CRM, message: InboxMessage | None) -> tuple[Customer, ...]:
    if message is None or message.sender != "ambiguous":
        return ()
    return tuple(crm.customers.get_many(candidates(crm, Address(kind=message.sender_kind, value=message.sender_value))))


def _caring(interaction: Interaction, customer: Customer | None) -> int | None:
    assigned = interaction.ext(Assignment).assignee_id
    return assigned if assigned is not None else customer.owner_id if customer is not None else None


def _fits(item: Item, owner_id: int | None, channel: str, topic: str) -> bool:
    account = item.message.account if item.message is not None else ""
    return (
        (owner_id is None or (item.owner is not None and item.owner.id == owner_id))
        and (not channel or channel in (item.interaction.channel, account))
        and (not topic or topic == item.interaction.topic)
    )


def _by_id(records: Sequence[Any]) -> dict[int, Any]:
    return {each.id: each for each in records}


def _local(value: Any, zone: Any) -> str | None:
    return value.astimezone(zone).isoformat() if isinstance(value, datetime) else None if value is None else str(value)
