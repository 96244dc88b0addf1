"""RFM: how recently, how often and for how much customers bought, each scored from 1 to the number of bins.

The field's usual analysis (Hughes 1994): quintiles of recency, frequency and monetary value, read together as a code
such as 555, or by the names that recency and frequency together have in practice.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from itertools import groupby
from operator import itemgetter
from typing import Any, Final

import attrs
from sqlalchemy import case, func, select

from crm_core.errors import InvalidValue, UsageError
from crm_core.extend import Assignment, Division, Parameter, Segment, SegmentQuery
from crm_core.query.functions import count_if, isum
from crm_core.values import ascii_digits
from crm_segments.abc import converted, one_of, wanted_currency
from crm_segments.empty import nothing_sold

METHODS: Final = ("quantile", "ntile")
SCORES: Final = ("independent", "nested")
LABELS: Final = ("code", "name")
NAMES: Final = (
    "champions",
    "loyal",
    "potential loyalists",
    "new",
    "promising",
    "need attention",
    "about to sleep",
    "cannot lose",
    "at risk",
    "hibernating",
)
_GRID: Final = {
    5: ("new", "potential loyalists", "potential loyalists", "champions", "champions"),
    4: ("promising", "potential loyalists", "potential loyalists", "loyal", "loyal"),
    3: ("about to sleep", "about to sleep", "need attention", "loyal", "loyal"),
    2: ("hibernating", "hibernating", "at risk", "at risk", "cannot lose"),
    1: ("hibernating", "hibernating", "at risk", "at risk", "cannot lose"),
}
"""The name of each score of recency, by the score of frequency from 1 to 5."""


@attrs.frozen
class Buyer:
    """What a customer is scored by: days since the last sale, number of sales, net revenue in minor units."""

    id: int
    days: int
    count: int
    amount: int


def scores(values: Sequence[int], bins: int, method: str = "quantile") -> list[int]:
    """Return the score of each value, 1 for the lowest to `bins` for the highest.

    `quantile`: one more than the number of thresholds below the value, where threshold k of bins - 1 is the smallest
    value that at least the share k / bins of all values do not exceed (nearest rank); equal values score alike.
    `ntile`: parts of equal size in order of value, the first ones larger by one; of equal values the earlier is lower.

    >>> scores([10, 20, 30, 40, 50, 60, 70, 80, 90, 100], 5)
    [1, 1, 2, 2, 3, 3, 4, 4, 5, 5]
    >>> scores([1, 1, 1, 1, 9], 5), scores([1, 1, 1, 1, 9], 5, "ntile")
    ([1, 1, 1, 1, 5], [1, 2, 3, 4, 5])
    """
    order = sorted(range(len(values)), key=values.__getitem__)
    if method == "quantile":
        ranked = [values[at] for at in order]
        thresholds = [ranked[-(-len(ranked) * k // bins) - 1] for k in range(1, bins)] if ranked else []
        return [1 + bisect_left(thresholds, value) for value in values]
    size, larger = divmod(len(values), bins)
    found = [0] * len(values)
    for rank, at in enumerate(order):
        in_larger = rank < larger * (size + 1)
        found[at] = 1 + (rank // (size + 1) if in_larger else larger + (rank - larger * (size + 1)) // size)
    return found


def codes(buyers: Sequence[Buyer], bins: int, method: str, nested: bool) -> list[tuple[int, int, int]]:
    """Return recency, frequency and monetary score of each buyer; the more recent, the higher.

    `nested` scores frequency among those of one recency score, and monetary value among those of one code of both.
    """
    recency = scores([-buyer.days for buyer in buyers], bins, method)
    frequency = _within(recency, [buyer.count for buyer in buyers], bins, method, nested)
    both = list(zip(recency, frequency, strict=True))
    monetary = _within(both, [buyer.amount for buyer in buyers], bins, method, nested)
    return [(r, f, m) for (r, f), m in zip(both, monetary, strict=True)]


def _within(groups: Sequence[Any], values: Sequence[int], bins: int, method: str, nested: bool) -> list[int]:
    if not nested:
        return scores(values, bins, method)
    found = [0] * len(values)
    order = sorted(range(len(values)), key=groups.__getitem__)
    for _, part in groupby(order, key=groups.__getitem__):
        places = list(part)
        for at, score in zip(places, scores([values[at] for at in places], bins, method), strict=True):
            found[at] = score
    return found


def name_of(recency: int, frequency: int) -> str:
    """Return the name of two scores from 1 to 5.

    >>> name_of(5, 5), name_of(1, 5), name_of(5, 1)
    ('champions', 'cannot lose', 'new')
    """
    return _GRID[recency][frequency - 1]


def _assign(q: SegmentQuery) -> Division:
    bins, named = q.params["bins"], q.params["label"] == "name"
    if named and bins != 5:
        raise UsageError(f"names are those of 5 bins, not of {bins}", hint="leave bins out, or label=code")
    buyers, currency, notes = _buyers(q)
    found = codes(buyers, bins, q.params["method"], q.params["scores"] == "nested")
    ranked = sorted(zip(found, buyers, strict=True), key=lambda one: (*(-s for s in one[0]), -one[1].amount, one[1].id))
    labels = [name_of(r, f) if named else f"{r}{f}{m}" for (r, f, m), _ in ranked]
    if named:
        order = {name: place for place, name in enumerate(NAMES)}
        pairs = sorted(zip(labels, ranked, strict=True), key=lambda pair: order[pair[0]])
        labels, ranked = [label for label, _ in pairs], [one for _, one in pairs]
    if not buyers:
        notes.append(nothing_sold(q, "score customers"))
    assignments = tuple(Assignment(b.id, label, b.amount) for label, (_, b) in zip(labels, ranked, strict=True))
    return Division(assignments=assignments, currency=currency, notes=tuple(notes))


def _buyers(q: SegmentQuery) -> tuple[list[Buyer], str | None, list[str]]:
    """Return, by id, who has a sale, the currency of the amounts, and what was left out in words."""
    sales = q.tables.sales
    is_sale = sales.c.kind == "sale"
    source, unit = q.unit_of(sales, sales.c.customer_id)
    there = [sales.c.voided_at.is_(None), sales.c.customer_id.is_not(None)]
    dated = [*there, sales.c.sold_at <= q.as_of, *q.within(sales.c.sold_at)]
    last, count = func.max(case((is_sale, sales.c.sold_at))), count_if(is_sale)
    net = isum(case((is_sale, sales.c.amount), else_=-sales.c.amount))
    unknown = func.count() - func.count(sales.c.amount)
    codes_ = [func.min(sales.c.amount_currency), func.max(sales.c.amount_currency)]
    select_all = select(unit.label("k0"), last, count, net, unknown, *codes_).select_from(source)
    rows = sorted(q.run(select_all.where(*dated).group_by(unit)), key=itemgetter(0))
    currencies = {*map(itemgetter(5), rows), *map(itemgetter(6), rows)} - {None}
    wanted = wanted_currency(q, currencies)
    amounts = {row[0]: row[3] or 0 for row in rows}
    if not currencies <= {wanted}:
        keys = [unit.label("k0"), sales.c.amount_currency.label("k1"), q.interval(sales.c.sold_at).label("k2")]
        apart = select(*keys, net).select_from(source).where(*dated).group_by(*keys)
        amounts = dict(converted(q, q.run(apart), wanted))
    undated = q.run(select(func.count()).select_from(sales).where(*there, sales.c.sold_at.is_(None)))[0][0]
    bought = [row for row in rows if row[2]]
    notes = _notes(
        Counter({"undated": undated, "unknown": sum(row[4] for row in rows), "only": len(rows) - len(bought)})
    )
    today = _day(q, q.as_of)
    buyers = [Buyer(row[0], (today - _day(q, row[1])).days, row[2], amounts.get(row[0], 0)) for row in bought]
    return buyers, wanted, notes


def _day(q: SegmentQuery, micros: int) -> date:
    """Return the day of a moment where the workspace is."""
    moment: datetime = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=micros)
    return moment.astimezone(q.crm.zone).date()


def _notes(counts: Counter[str]) -> list[str]:
    told = {
        "undated": "sales and refunds without a date are left out",
        "unknown": "sales and refunds without an amount add nothing to the monetary value",
        "only": "customers with refunds and no sale have no score",
    }
    return [f"{counts[name]:,} {words}" for name, words in told.items() if counts[name]]


def _bins(text: str) -> int:
    word = ascii_digits(text).strip()
    if not word.isdecimal() or not 2 <= int(word) <= 9:
        raise InvalidValue(
            f"bins: {text!r} is not a number from 2 to 9", field="bins", value=text, rule="bins", hint="the usual is 5"
        )
    return int(word)


RFM: Final = Segment(
    name="rfm",
    label="RFM",
    help="customers by how recently, how often and for how much they bought, each scored 1 (low) to 5 (high)",
    labels=(),
    parameters=(
        Parameter(name="bins", default=5, help="the highest score, from 2 to 9", parse=_bins),
        Parameter(
            name="method",
            default="quantile",
            help="quantile: equal values score alike; ntile: parts of equal size, equal values parted by id",
            parse=one_of("method", METHODS),
        ),
        Parameter(
            name="scores",
            default="independent",
            help="independent: each over all customers; nested: frequency within a recency score, money within both",
            parse=one_of("scores", SCORES),
        ),
        Parameter(
            name="label",
            default="code",
            help="code: 555 for the best; name: champions, at risk ... by recency and frequency",
            parse=one_of("label", LABELS),
        ),
        Parameter(
            name="currency",
            default=None,
            help="which currency's sales count, where there are several and no reporting currency",
            parse=lambda text: text.strip().upper(),
        ),
    ),
    policies=("customer_unit", "exchange_date"),
    assign=_assign,
)
