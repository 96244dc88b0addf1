"""Merging groups by a stated rule: who stays, who becomes part of them, and what could not be done."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Final

import attrs

from crm_contacts.matching import Group
from crm_core import CRM, Customer
from crm_core.errors import CrmError, UsageError
from crm_core.query.ast import In
from crm_core.values import id_time, local_midnight

RULES: Final = ("oldest", "fullest")
_BATCH: Final = 500


@attrs.frozen
class Plan:
    """A group, and what would come of it: `gone` become parts of `keep`, in this order."""

    group: Group
    keep: Customer
    gone: tuple[Customer, ...]


@attrs.frozen
class Refused:
    """A customer who was not merged, and why."""

    keep: Customer
    gone: Customer
    error: CrmError


@attrs.frozen(kw_only=True)
class Merged:
    """What became of the plans: how many customers are part of another one now, who is not, and the operation."""

    merged: int
    refused: tuple[Refused, ...]
    operation_id: int | None


def plans(crm: CRM, groups: Sequence[Group], rule: str) -> list[Plan]:
    """Choose who stays of each group: the oldest, known longest, or the fullest, of whom most is known.

    Raises:
        UsageError: there is no such rule.
    """
    if rule not in RULES:
        raise UsageError(f"there is no rule {rule!r}", hint=f"it is one of: {', '.join(RULES)}")
    made: list[Plan] = []
    for at in range(0, len(groups), _BATCH):
        some = groups[at : at + _BATCH]
        ids = [one for group in some for one in group.members]
        there = {customer.id: customer for customer in crm.customers.get_many(ids)}
        fullness = _fullness(crm, there.values()) if rule == "fullest" else {}

        def rank(customer: Customer, fullness: Mapping[int, int] = fullness) -> tuple[int, datetime, int]:
            return -fullness.get(customer.id, 0), _known_since(crm, customer), customer.id

        for group in some:
            ranked = sorted((there[one] for one in group.members if one in there), key=rank)
            if len(ranked) > 1:
                made.append(Plan(group, ranked[0], tuple(ranked[1:])))
    return made


def merge(crm: CRM, planned: Sequence[Plan], *, each: Callable[[], None] = lambda: None) -> Merged:
    """Merge as one operation that can be undone; what is refused is named, and the rest goes on.

    Args:
        crm: where.
        planned: the groups, each with who stays. A customer who changed since is refused.
        each: is called after each customer, for a progress bar.
    """
    merged = 0
    refused: list[Refused] = []
    with crm.operation("merge duplicates", kind="merge") as operation:
        for plan in planned:
            for gone in plan.gone:
                try:
                    crm.customers.merge(plan.keep.id, gone)
                    merged += 1
                except CrmError as error:
                    refused.append(Refused(plan.keep, gone, error))
                each()
    return Merged(merged=merged, refused=tuple(refused), operation_id=operation.id if merged else None)


def _known_since(crm: CRM, customer: Customer) -> datetime:
    """Return when the first contact was, where that is known, else when the customer was added."""
    first = customer.first_contact_at
    if first is None:
        return id_time(customer.id)
    return first if isinstance(first, datetime) else local_midnight(first, crm.zone)


def _fullness(crm: CRM, customers: Iterable[Customer]) -> dict[int, int]:
    """Return how much is known of each customer: fields that say something, each tag, each contact point."""
    found: dict[int, int] = {}
    fields = crm.registry.named("customer").fields.values()
    for customer in customers:
        values = [field.of(customer) for field in fields]
        found[customer.id] = sum(len(one) if isinstance(one, tuple) else one is not None for one in values)
    for point in crm.contact_points.find(In("customer_id", tuple(found)), limit=None):
        found[point.customer_id] += 1
    return found
