"""Balances of customers: what sales are worth, what was spent, and the entries that say so."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from crm_core.errors import InvalidValue
from crm_core.events import ChangedRecord
from crm_core.query.ast import Compare, In
from crm_core.records import Customer, Sale
from crm_loyalty.records import Loyalty, LoyaltyEntry

if TYPE_CHECKING:
    from crm_core import CRM


def points_of(sale: Sale) -> int:
    """Return what a sale is worth: a point for each whole unit of its currency, taken back for a refund.

    >>> from crm_core import Money
    >>> points_of(Sale(amount=Money("12.90", "EUR"))), points_of(Sale(kind="refund", amount=Money("5", "EUR")))
    (12, -5)
    """
    if sale.amount is None or sale.voided_at is not None:
        return 0
    points = int(sale.amount.amount)
    return points if sale.kind == "sale" else -points


def entries_of(crm: CRM, customer_id: int) -> list[LoyaltyEntry]:
    """Return the entries of a customer, oldest first."""
    return list(crm.records(LoyaltyEntry).find(Compare("customer_id", "=", customer_id), sort="at", limit=None))


def settle(crm: CRM, changes: Sequence[ChangedRecord[Sale]], at: datetime) -> None:
    """Bring the points given for changed sales to what the sales are worth now.

    It compares and writes the difference only, so that a delivery that comes twice changes nothing the second time, and
    a sale that is gone, voided or now another customer's is taken back.
    """
    entries, customers = _owed(crm, [change.id for change in changes], at)
    sales = [sale for change in changes for sale in (change.record, change.before) if sale is not None]
    _write(crm, entries, customers | {sale.customer_id for sale in sales if sale.customer_id is not None})


def _owed(crm: CRM, sale_ids: Sequence[int], at: datetime) -> tuple[list[LoyaltyEntry], set[int]]:
    """Return the entries that are missing for these sales, and the customers whose points they are."""
    given: dict[tuple[int, int], int] = {}
    for entry in crm.records(LoyaltyEntry).find(In("sale_id", tuple(sale_ids)), limit=None):
        if entry.sale_id is not None:
            key = (entry.sale_id, entry.customer_id)
            given[key] = given.get(key, 0) + entry.points
    sales = {sale.id: sale for sale in crm.sales.get_many(sale_ids)}
    wanted = {(sale.id, sale.customer_id): points_of(sale) for sale in sales.values() if sale.customer_id is not None}
    entries = []
    for sale_id, customer_id in {**given, **wanted}:
        points = wanted.get((sale_id, customer_id), 0) - given.get((sale_id, customer_id), 0)
        sold_at = sales[sale_id].sold_at if points > 0 else None
        if points:
            entries.append(
                LoyaltyEntry(
                    customer_id=customer_id,
                    kind="earned" if points > 0 else "taken back",
                    points=points,
                    at=sold_at or at,
                    sale_id=sale_id,
                )
            )
    return entries, {customer_id for _, customer_id in {**given, **wanted}}


def rebalance(crm: CRM, customer_ids: Iterable[int]) -> None:
    """Compute the balances of customers anew from their entries; those who are gone are left out."""
    _write(crm, [], customer_ids)


def redeem(crm: CRM, customer_id: int, points: int, note: str | None = None) -> Customer:
    """Spend points of a customer, and return the customer with the new balance.

    Raises:
        InvalidValue: the balance is lower, or the number is no positive one.
    """
    with crm.operation("redeem loyalty points"), crm.transaction():
        held = sum(entry.points for entry in entries_of(crm, customer_id))
        if not 0 < points <= held:
            raise InvalidValue(f"points: {points} cannot be spent of {held}", field="points", rule="balance")
        at = crm.clock.now()
        spent = LoyaltyEntry(customer_id=customer_id, kind="redeemed", points=-points, at=at, note=note)
        _write(crm, [spent], [customer_id])
    return crm.customers.get(customer_id)


def _write(crm: CRM, entries: Sequence[LoyaltyEntry], customer_ids: Iterable[int]) -> None:
    """Store entries and the balances that follow, together or not at all; customers who are gone are left out."""
    with crm.operation("loyalty points"), crm.transaction():
        customers = crm.customers.get_many(sorted(set(customer_ids)))
        present = {customer.id for customer in customers}
        crm.records(LoyaltyEntry).add_many(entry for entry in entries if entry.customer_id in present)
        balances: Counter[int] = Counter()
        for entry in crm.records(LoyaltyEntry).find(In("customer_id", tuple(present)), limit=None):
            balances[entry.customer_id] += entry.points
        crm.customers.edit_many(
            customer.with_ext(Loyalty(points=balances[customer.id], tier=held.tier))
            for customer in customers
            if balances[customer.id] != ((held := customer.ext(Loyalty)).points or 0)
        )
