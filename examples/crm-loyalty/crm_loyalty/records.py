"""What loyalty keeps: typed fields on the customer, and one entry for every change of a balance."""

from __future__ import annotations

from typing import Final

from crm_core.records import (
    Customer,
    Extension,
    Record,
    When,
    extension,
    integer,
    moment,
    record,
    reference,
    text,
)

TIERS: Final = (("gold", 2_000), ("silver", 500), ("bronze", 0))
"""Tiers from the best down, each with the balance it begins at."""


@extension("loyalty", extends=Customer)
class Loyalty(Extension):
    """A customer's balance and tier; both follow from the entries, so they are derived."""

    points: int | None = integer("Points", default=None, derived=True)
    tier: str | None = text("Tier", default=None, max_length=20, indexed=True, derived=True)


@record("loyalty_entry", plural="loyalty_entries", label="Loyalty entry", append_only=True)
class LoyaltyEntry(Record):
    """One change of a balance: `points` are added when positive, spent or taken back when negative.

    `sale_id` is a number, not a reference: an entry outlives its sale, to show that points were given and taken back,
    and must not keep the sale from being undone.
    """

    customer_id: int = reference("customer", "Customer", part_of=True)
    kind: str = text("Kind", choices=("earned", "redeemed", "taken back"), max_length=20)
    points: int = integer("Points")
    at: When = moment("At", indexed=True)
    sale_id: int | None = integer("Sale", default=None, indexed=True)
    note: str | None = text("Note", default=None, personal=True)


def tier_of(points: int) -> str:
    """Return the tier of a balance; who owes points is in the lowest.

    >>> tier_of(-5), tier_of(499), tier_of(500), tier_of(2_000)
    ('bronze', 'bronze', 'silver', 'gold')
    """
    return next((name for name, least in TIERS if points >= least), TIERS[-1][0])
