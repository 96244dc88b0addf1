"""Points as lots, first in first out: pure arithmetic over entries, apart from where they are kept."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

import attrs

from crm_core.records import When
from crm_loyalty.records import LoyaltyEntry


@attrs.frozen
class Lot:
    """Points earned at one time, and how many of them are left."""

    at: When
    earned: int
    left: int
    sale_id: int | None = None


def lots_of(entries: Iterable[LoyaltyEntry]) -> list[Lot]:
    """Return the lots of one customer, oldest first.

    What is spent comes out of the oldest lot that has any left. What is taken back comes out of its own sale's lot
    first: undoing yesterday's sale does not touch last year's points. What no lot covers is owed, and the next lot
    pays for it.

    >>> from datetime import date
    >>> january, march, june = date(2026, 1, 10), date(2026, 3, 10), date(2026, 6, 1)
    >>> entries = [
    ...     LoyaltyEntry(customer_id=1, kind="earned", points=100, at=january),
    ...     LoyaltyEntry(customer_id=1, kind="earned", points=150, at=march),
    ...     LoyaltyEntry(customer_id=1, kind="redeemed", points=-120, at=june),
    ... ]
    >>> [lot.left for lot in lots_of(entries)]
    [0, 130]
    """
    lots: list[Lot] = []
    owed = 0
    for entry in sorted(entries, key=lambda one: (_order(one.at), one.id)):
        if entry.points > 0:
            paid = min(owed, entry.points)
            owed -= paid
            lots.append(Lot(entry.at, entry.points, entry.points - paid, entry.sale_id))
        else:
            owed += _take(lots, -entry.points, entry.sale_id)
    return lots


def _take(lots: list[Lot], points: int, sale_id: int | None) -> int:
    """Take points out of lots; returns how many no lot covered."""
    own = [place for place, lot in enumerate(lots) if sale_id is not None and lot.sale_id == sale_id]
    for place in dict.fromkeys([*own, *range(len(lots))]):
        taken = min(points, lots[place].left)
        lots[place] = attrs.evolve(lots[place], left=lots[place].left - taken)
        points -= taken
    return points


def _order(at: When) -> tuple[str, str]:
    # A day without a time counts from its first moment.
    day = at.date() if isinstance(at, datetime) else at
    return day.isoformat(), at.isoformat() if isinstance(at, datetime) else ""
