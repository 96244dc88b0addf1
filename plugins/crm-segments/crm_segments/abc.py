"""ABC analysis: the few customers who bring most, those who bring some, and the many who bring little.

Shares are compared as products of integers, so that a customer exactly on a cut falls on the same side everywhere.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from fractions import Fraction
from functools import partial
from itertools import accumulate
from operator import itemgetter, neg
from typing import Any, Final

from sqlalchemy import case, func, select

from crm_core.errors import InvalidValue, UsageError
from crm_core.extend import Assignment, Division, Parameter, Segment, SegmentQuery
from crm_core.query.functions import isum
from crm_core.values import ascii_digits
from crm_segments.empty import nothing_sold

VALUES: Final = ("revenue", "margin", "count")
RULES: Final = ("inclusive", "crossing")
Totals = list[tuple[Any, ...]]
"""Rows that begin with a customer's id and value."""


def classes(values: Sequence[int], cuts: tuple[Fraction, Fraction], rule: str) -> str:
    """Return the class of each value, one letter each; the values are in descending order.

    `inclusive`: A while the share up to and with the customer is at most the first cut, B the second. `crossing`: A
    while the share before the customer is below the first cut, so the one who crosses it stays above. What is not
    positive is C.

    >>> classes([27, 24, 18, 16, 6, 5, 4], (Fraction(7, 10), Fraction(9, 10)), "inclusive")
    'AAABCCC'
    >>> classes([27, 24, 18, 16, 6, 5, 4], (Fraction(7, 10), Fraction(9, 10)), "crossing")
    'AAAABCC'
    """
    upto = list(accumulate(values[: positive(values)]))
    if not upto:
        return "C" * len(values)
    # The sums ascend, so each class ends where a bisection says; the largest whole sum within a cut is a floor.
    first, second = ((cut.numerator * upto[-1], cut.denominator) for cut in cuts)
    if rule == "inclusive":
        ends = [bisect_right(upto, limit // divisor) for limit, divisor in (first, second)]
    else:
        before = [0, *upto[:-1]]
        ends = [bisect_right(before, (limit - 1) // divisor) for limit, divisor in (first, second)]
    return "A" * ends[0] + "B" * (ends[1] - ends[0]) + "C" * (len(values) - ends[1])


def positive(values: Sequence[int]) -> int:
    """Return how many values are above 0; they are in descending order.

    >>> positive([5, 2, 0, -1])
    2
    """
    return bisect_left(values, 0, key=neg)


def _assign(q: SegmentQuery) -> Division:
    value = q.params["value"]
    ranked, currency, notes = _totals(q, value)
    # Two stable passes: by value, largest first, then by id.
    ranked.sort(key=itemgetter(0))
    ranked.sort(key=itemgetter(1), reverse=True)
    scores = list(map(itemgetter(1), ranked))
    labels = classes(scores, q.params["cuts"], q.params["rule"])
    rows = zip(map(itemgetter(0), ranked), labels, scores, strict=True)
    assignments = tuple(map(partial(tuple.__new__, Assignment), rows))  # made in C, because there may be millions
    worthless = len(scores) - positive(scores)
    if worthless:
        notes.append(f"{worthless:,} customers of class C have no positive {value}")
    if not ranked:
        notes.append(nothing_sold(q, "divide customers"))
    unit: Any = "count" if value == "count" else "money"
    return Division(assignments=assignments, unit=unit, currency=currency, notes=tuple(notes))


def _totals(q: SegmentQuery, value: str) -> tuple[Totals, str | None, list[str]]:
    sales = q.tables.sales
    is_sale = sales.c.kind == "sale"
    source, unit = q.unit_of(sales, sales.c.customer_id)
    conditions = [sales.c.voided_at.is_(None), sales.c.customer_id.is_not(None), *q.within(sales.c.sold_at)]
    if value == "count":
        statement = select(unit.label("k0"), func.count()).select_from(source).where(is_sale, *conditions)
        return q.run(statement.group_by(unit)), None, []
    amount = sales.c.amount if value == "revenue" else sales.c.margin
    currency = sales.c.amount_currency if value == "revenue" else sales.c.margin_currency
    net = func.coalesce(isum(case((is_sale, amount), else_=-amount)), 0)
    unknown = func.count() - func.count(amount)
    ends = [func.min(currency), func.max(currency)]
    statement = select(unit.label("k0"), net, unknown, *ends).select_from(source).where(*conditions).group_by(unit)
    rows = q.run(statement)
    notes = _notes(sum(map(itemgetter(2), rows)), value)
    codes = {*map(itemgetter(3), rows), *map(itemgetter(4), rows)} - {None}
    wanted = wanted_currency(q, codes)
    if codes <= {wanted}:
        return rows, wanted, notes
    keys = [unit.label("k0"), currency.label("k1"), q.interval(sales.c.sold_at).label("k2")]
    apart = select(*keys, net).select_from(source).where(*conditions)
    return converted(q, q.run(apart.group_by(*keys)), wanted), wanted, notes


def wanted_currency(q: SegmentQuery, codes: set[str]) -> str:
    """Return the currency of the answer, of sales in these: the parameter `currency`, or the one there is.

    Raises:
        UsageError: there are several, and neither the parameter nor a reporting currency says which.
    """
    asked: str | None = q.params["currency"]
    if asked is not None:
        if codes and asked not in codes and asked != q.reporting_currency:
            raise UsageError(f"no sale is in {asked}", hint=f"the sales are in {', '.join(sorted(codes))}")
        return asked
    if q.reporting_currency is not None:
        return q.reporting_currency
    if len(codes) > 1:
        listed = ", ".join(sorted(codes))
        raise UsageError(
            f"the sales are in several currencies ({listed}), which are never added up",
            hint=f"name one (currency={min(codes)}), or set reporting_currency and [rates] in crm.toml",
        )
    found: str = next(iter(codes), q.crm.settings.currency)
    return found


def converted(q: SegmentQuery, rows: list[tuple[Any, ...]], wanted: str) -> Totals:
    """Add up what is in the wanted currency; with a reporting currency all of it, converted and rounded once."""
    converts = wanted == q.reporting_currency
    totals: dict[int, Fraction] = {}
    for customer, code, interval, net in rows:
        if code == wanted or converts:
            rate = q.rate(code, interval) if converts and code is not None else Fraction(1)
            totals[customer] = totals.get(customer, Fraction(0)) + net * rate
    return [(customer, round(total)) for customer, total in totals.items()]


def _notes(unknown: int, value: str) -> list[str]:
    part = "an amount" if value == "revenue" else "a margin"
    return [f"{unknown:,} sales and refunds without {part} count for nothing"] if unknown else []


def _cuts(text: str) -> tuple[Fraction, Fraction]:
    try:
        first, second = (Fraction(part.strip()) for part in ascii_digits(text).split(","))
    except (ValueError, ZeroDivisionError):
        first = second = Fraction(0)
    if not 0 < first < second <= 1:
        raise InvalidValue(
            f"cuts: {text!r} is not two shares, each above 0 and at most 1, the first below the second",
            field="cuts",
            value=text,
            rule="cuts",
            hint="write them as 0.80,0.95",
        )
    return first, second


def one_of(name: str, allowed: Sequence[str]) -> Any:
    """Return the `parse` of a parameter whose value is one of some words."""

    def parse(text: str) -> str:
        word = text.strip().casefold()
        if word not in allowed:
            expected = ", ".join(allowed)
            raise InvalidValue(f"{name}: {text!r} is not one of: {expected}", field=name, value=text, rule="choices")
        return word

    return parse


ABC: Final = Segment(
    name="abc",
    label="ABC",
    help="customers by their part of the whole: A brings most, B some, C little",
    labels=("A", "B", "C"),
    parameters=(
        Parameter(
            name="value",
            default="revenue",
            help="what customers are ranked by: revenue (net of refunds), margin or count of sales",
            parse=one_of("value", VALUES),
        ),
        Parameter(name="cuts", default="0.80,0.95", help="the shares at which A and B end", parse=_cuts),
        Parameter(
            name="rule",
            default="inclusive",
            help="inclusive: whoever would pass a cut falls below it; crossing: who crosses it stays above",
            parse=one_of("rule", RULES),
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
