"""Whose message it is: found by the contact point, never guessed; who is unknown becomes a lead."""

from __future__ import annotations

from collections.abc import Sequence
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


def reached(crm: CRM, addresses: Sequence[Address]) -> list[list[int]]:
    """Return, for each address, the customers who are reached at it, by one look for all."""
    found = crm.contact_points.reached_at_many([(each.kind, each.value, None) for each in addresses])
    return [list(dict.fromkeys(point.customer_id for point in points)) for points in found]


@attrs.frozen
class LeadOf:
    """What a lead is made with: the channel as its source, and when it was first heard of."""

    channel: str
    at: datetime


def sender_of(crm: CRM, message: IncomingMessage, thread: str, found: Sequence[int], lead_of: LeadOf | None) -> Sender:
    """Return who sent a message; who is unknown becomes a lead, if a person wrote.

    Of several customers at one address (a household, an office) it is the one whom the conversation is with already;
    a new conversation stays without a customer until a person says whose it is.

    Args:
        crm: the CRM.
        message: the message.
        thread: its conversation.
        found: the customers at its sender's address, as `reached` found them; if none, they are looked for again, for
            a message before this one may have made a lead.
        lead_of: what a lead is made with; None: none is made.
    """
    found = found or candidates(crm, message.sender)
    if len(found) == 1:
        return Sender(customer_id=found[0], state="known")
    if found:
        talking = crm.interactions.find(Compare("thread", "=", thread), sort="-occurred_at", limit=50)
        theirs = {each.customer_id for each in talking} & set(found)
        if len(theirs) == 1:
            return Sender(customer_id=theirs.pop(), state="known")
        return Sender(customer_id=None, state="ambiguous")
    made = _lead(crm, message, lead_of) if lead_of is not None else None
    if made is None:
        return Sender(customer_id=None, state="unknown")
    return Sender(customer_id=made, state="lead", made=1)


def _lead(crm: CRM, message: IncomingMessage, lead_of: LeadOf) -> int | None:
    """Make a customer of a sender; None if it has no address, or a rule of the workspace refuses it."""
    address = message.sender
    name = " ".join(address.name.replace("\x00", "").encode("utf-8", "replace").decode().split())[:400] or None
    lead = Customer(name=name, source=lead_of.channel, first_contact_at=lead_of.at)
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
