"""Whose message it is: found by the contact point, never guessed; who is unknown becomes a lead."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Literal

import attrs

from crm_core import ContactPoint, Customer, Write
from crm_core.errors import InvalidValue
from crm_core.extend import Address, IncomingMessage
from crm_core.query.ast import Compare

if TYPE_CHECKING:
    from crm_core import CRM


@attrs.frozen(kw_only=True)
class Sender:
    """Who sent a message: the customer if there is exactly one; `made` counts a lead that was made for it."""

    customer_id: int | None
    state: Literal["known", "lead", "ambiguous", "unknown"]
    made: int = 0


def candidates(crm: CRM, address: Address) -> list[int]:
    """Return the customers who are reached at an address, however it is written."""
    try:
        return crm.customers.reached_at(address.kind, address.value)
    except InvalidValue:
        return []


def sender_of(
    crm: CRM, message: IncomingMessage, thread: str, *, channel: str, at: datetime, may_be_lead: bool
) -> Sender:
    """Return who sent a message; who is unknown becomes a lead, with the channel as source, if a person wrote.

    Of several customers at one address (a household, an office) it is the one whom the conversation is with already;
    a new conversation stays without a customer until a person says whose it is.
    """
    found = candidates(crm, message.sender)
    if len(found) == 1:
        return Sender(customer_id=found[0], state="known")
    if found:
        talking = crm.interactions.find(Compare("thread", "=", thread), sort="-occurred_at", limit=50)
        theirs = {each.customer_id for each in talking} & set(found)
        if len(theirs) == 1:
            return Sender(customer_id=theirs.pop(), state="known")
        return Sender(customer_id=None, state="ambiguous")
    made = _lead(crm, message, channel, at) if may_be_lead else None
    if made is None:
        return Sender(customer_id=None, state="unknown")
    return Sender(customer_id=made, state="lead", made=1)


def _lead(crm: CRM, message: IncomingMessage, channel: str, at: datetime) -> int | None:
    """Make a customer of a sender; None if it has no address, or a rule of the workspace refuses it."""
    address = message.sender
    name = " ".join(address.name.replace("\x00", "").encode("utf-8", "replace").decode().split())[:400] or None
    lead = Customer(name=name, source=channel, first_contact_at=at)
    point = ContactPoint(customer_id=0, kind=address.kind, value=address.value, primary=True)
    try:
        crm.customers.reached_at(address.kind, address.value)
    except InvalidValue:
        return None
    outcome = crm.customers.write_many([Write(record=lead)])
    (stored,) = outcome.records or (None,)
    if outcome.refused or stored is None:
        return None
    crm.contact_points.add(point.evolve(customer_id=stored.id))
    return stored.id
