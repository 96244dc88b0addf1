"""Recognises a sheet whose rows are the lines of invoices: which columns say what, and what its numbers come to."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import ROUND_HALF_UP, Decimal
from fractions import Fraction
from functools import cached_property
from typing import Final

import attrs

from crm_core.values import ascii_digits
from crm_transfer.cells import Number, number_reader
from crm_transfer.errors import BadCell
from crm_transfer.guess.columns import Seen
from crm_transfer.guess.drafting import Sheet
from crm_transfer.guess.keys import KeyGuess
from crm_transfer.guess.words import BUYER, CUSTOMER, NAME, WHOSE, called, is_called, names_number_of, tokens
from crm_transfer.toml import quoted

NEARLY: Final = Fraction(95, 100)
"""In so many of its invoices a column has one value, where it says something of the invoice."""
_TRUSTED: Final = Fraction(9, 10)
_NUMBERED: Final = re.compile(r"#\S{0,10}[0-9]\S{0,10}")
_SIGNS: Final = "-\u2212"
Row = Sequence[str]


@attrs.frozen(kw_only=True)
class Amounts:
    """The columns of quantity and unit price, how both write numbers, and whether any is read through an expression."""

    quantity: Seen
    price: Seen
    decimal: str
    thousands: str

    @cached_property
    def read(self) -> Number:
        """Read a number as the file writes it."""
        return number_reader(self.decimal, self.thousands)


@attrs.frozen(kw_only=True)
class Returned:
    """How the invoices that give money back are told: by a beginning such as "C", or by a quantity below zero.

    `sales` and `refunds` are invoices of which their sum says something else than that.
    """

    prefix: str = ""
    by_quantity: bool = False
    sales: tuple[str, ...] = ()
    refunds: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.prefix or self.by_quantity or self.refunds)


@attrs.frozen(kw_only=True, slots=False)
class OrderLines:
    """The columns of a sheet of order lines. `places` are those of all columns, by name."""

    invoice: Seen
    amounts: Amounts
    code: Seen | None
    name: Seen | None
    date: Seen | None
    customer: Seen | None
    is_named: bool
    places: Mapping[str, int]
    rows: Sequence[Row] = attrs.field(repr=False)

    @property
    def key(self) -> KeyGuess:
        """The key of a sale: the number of the invoice."""
        count, of = len(self.groups), len(self.rows)
        why = f"{of:,} rows of {count:,} invoices; what else stands beside its numbers stays the same"
        if self.is_named:
            return KeyGuess((self.invoice.name,), "high", why)
        advice = f"column {self.invoice.name!r} is taken for the number of an invoice, by what stands beside it; is it?"
        return KeyGuess((self.invoice.name,), "low", why, (), advice)

    @cached_property
    def groups(self) -> Mapping[str, list[Row]]:
        """The rows of every invoice."""
        return grouped(self.rows, self.places[self.invoice.name])

    def constant(self, seen: Seen) -> Fraction:
        """Return in which part of the invoices a column has one value."""
        if self.is_leading(seen):
            return Fraction(1)
        return steadiness(self.groups.values(), self.places[seen.name])

    def is_leading(self, seen: Seen) -> bool:
        """Say whether a column stands in the first row of an invoice alone, as shops write what is of the whole one."""
        at = self.places[seen.name]
        several = [rows for rows in self.groups.values() if len(rows) > 1]
        if any(row[at].strip() for rows in several for row in rows[1:]):
            return False
        return any(rows[0][at].strip() for rows in several)

    def sums(self, digits: int) -> dict[str, Decimal]:
        """Return what every invoice comes to: quantity by price, rounded line by line."""
        unit = Decimal(1).scaleb(-digits)
        found: dict[str, Decimal] = {}
        for invoice, rows in self.groups.items():
            lines = (line for row in rows if (line := self._line(row)) is not None and line[1])
            amounts = [(quantity * price).quantize(unit, ROUND_HALF_UP) for quantity, price in lines]
            if amounts:
                found[invoice] = sum(amounts, Decimal(0))
        return found

    def free(self) -> int:
        """Return how many rows have the price 0."""
        return sum(1 for row in self.rows if (line := self._line(row)) is not None and not line[1])

    def unlike(self, seen: Seen) -> int:
        """Return in how many rows an amount is not quantity by price; 0 where a column is that of whole invoices."""
        if seen.kind not in ("integer", "decimal") or seen.decimal not in ("", self.amounts.decimal or "."):
            return 0
        if self.constant(seen) >= NEARLY:
            return 0
        pairs = ((self._line(row), number_of(self.amounts, seen, row[self.places[seen.name]])) for row in self.rows)
        return sum(
            line is not None and total is not None and abs(line[0] * line[1] - total) > Decimal("0.01")
            for line, total in pairs
        )

    def returned(self, digits: int) -> Returned:
        """Say which invoices give money back."""
        sums = self.sums(digits)
        below = {invoice for invoice, amount in sums.items() if amount < 0}
        prefix = self._prefix()
        signs = {invoice: self._signs(invoice) for invoice in sums}
        rule = Returned(prefix=prefix, by_quantity=not prefix and any(signs[one] == {True} for one in below))
        told = {
            invoice
            for invoice in sums
            if (prefix and invoice.startswith(prefix)) or (rule.by_quantity and True in signs[invoice])
        }
        mixed = {invoice for invoice in told if rule.by_quantity and len(signs[invoice]) > 1}
        return attrs.evolve(
            rule,
            sales=tuple(one for one in sums if one in told and one not in below and (sums[one] or one in mixed)),
            refunds=tuple(one for one in sums if one in below and (one not in told or one in mixed)),
        )

    def repeated(self) -> int:
        """Return how many rows are equal to an earlier one in every cell."""
        return len(self.rows) - len({tuple(cell.strip() for cell in row) for row in self.rows})

    def _line(self, row: Row) -> tuple[Decimal, Decimal] | None:
        quantity, price = (number_of(self.amounts, seen, row[self.places[seen.name]]) for seen in self._measures)
        return None if quantity is None or price is None else (quantity, price)

    @property
    def _measures(self) -> tuple[Seen, Seen]:
        return self.amounts.quantity, self.amounts.price

    def _signs(self, invoice: str) -> set[bool]:
        lines = (self._line(row) for row in self.groups[invoice])
        return {line[0] < 0 for line in lines if line is not None and line[1]}

    def _prefix(self) -> str:
        """Return the letters with which the numbers of invoices begin whose quantities are below zero."""
        found = {invoice: letters(invoice) for invoice in self.groups}
        if len(set(found.values())) < 2:
            return ""
        for prefix, count in Counter(filter(None, found.values())).most_common():
            below = sum(self._signs(invoice) == {True} for invoice, own in found.items() if own == prefix)
            if below >= _TRUSTED * count:
                return prefix
        return ""


def letters(number: str) -> str:
    """Return the letters with which a number begins.

    >>> letters("C536379"), letters("536379"), letters("R-12")
    ('C', '', 'R-')
    """
    digits = ascii_digits(number)
    at = next((at for at, character in enumerate(digits) if character.isdigit()), 0)
    return number[:at]


def grouped(rows: Sequence[Row], at: int) -> dict[str, list[Row]]:
    """Return rows by the cell at a place; those without one belong to none."""
    found: dict[str, list[Row]] = {}
    for row in rows:
        if text := row[at].strip():
            found.setdefault(text, []).append(row)
    return found


def steadiness(groups: Iterable[list[Row]], at: int) -> Fraction:
    """Return in which part of the groups a column has one value."""
    counts = [len({row[at].strip() for row in rows}) == 1 for rows in groups]
    return Fraction(sum(counts), len(counts) or 1)


def number_of(amounts: Amounts, seen: Seen, cell: str) -> Decimal | None:
    """Read a cell of quantity or price, without what stands beside its number; None where it is none."""
    text = cell.strip()
    if seen.minus and (text.endswith(tuple(_SIGNS)) or text.startswith("(")):
        text = "-" + text.strip("()" + _SIGNS)
    for sign in seen.beside:
        text = text.replace(sign, "")
    try:
        return amounts.read(text.strip())
    except BadCell:
        return None


def find_amounts(columns: Sequence[Seen]) -> Amounts | None:
    """Find the columns of quantity and unit price that write numbers in one way; None where there are none."""
    numeric = [seen for seen in columns if seen.kind in ("integer", "decimal")]
    quantity = _best(numeric, lambda seen: called(seen.name, "quantity", "product"))
    rest = [seen for seen in numeric if seen is not quantity]
    price = _best(rest, lambda seen: called(seen.name, "price", "product"))
    if quantity is None or price is None or quantity.beside:
        return None
    decimals = {seen.decimal or "." for seen in (quantity, price) if seen.kind == "decimal"}
    thousands = {seen.thousands for seen in (quantity, price) if seen.thousands}
    if len(decimals) > 1 or len(thousands) > 1 or decimals & thousands:
        return None
    decimal = next((seen.decimal for seen in (quantity, price) if seen.decimal), "")
    return Amounts(quantity=quantity, price=price, decimal=decimal, thousands=next(iter(thousands), ""))


def find_lines(columns: Sequence[Seen], rows: Sequence[Row]) -> OrderLines | None:
    """Recognise order lines: quantities with unit prices, and a number that repeats while the date stays the same."""
    amounts = find_amounts(columns)
    if amounts is None:
        return None
    places = {seen.name: at for at, seen in enumerate(columns)}
    rest = [seen for seen in columns if seen.values and seen not in (amounts.quantity, amounts.price)]
    dates = [seen for seen in rest if seen.kind == "date"]
    full = [seen for seen in dates if not seen.empty]
    date = _best(full, _is_day_of_sale) or _best(dates, _is_day_of_sale) or next(iter(dates), None)
    customer = _customer(rest)
    beside = [seen for seen in (date, customer) if seen is not None]
    for seen in sorted(rest, key=lambda seen: not _numbers_orders(seen)):
        is_named = _numbers_orders(seen)
        if seen in beside or not seen.is_short or seen.kind in ("date", "time", "decimal", "boolean"):
            continue
        groups = grouped(rows, places[seen.name])
        most = max((_steady(groups.values(), places[one.name]) for one in beside), default=Fraction(0))
        least = min((steadiness(groups.values(), places[one.name]) for one in beside), default=Fraction(0))
        repeats = 10 * len(groups) <= 9 * len(rows)
        if is_named and repeats and (most >= NEARLY or not beside):
            break
        if not is_named and repeats and len(beside) > 1 and least >= NEARLY and len(groups) > 1:
            break
    else:
        return None
    rest = [one for one in rest if one is not seen and one not in beside]
    code = _best(rest, lambda one: 0 if names_number_of(one.name, "product") and one.name else None)
    code = _best(rest, lambda one: called(one.name, "code", "product")) or code
    rest = [one for one in rest if one is not code and one.kind == "text" and WHOSE.isdisjoint(tokens(one.name))]
    rest = [one for one in rest if not _is_of_invoice(groups.values(), places, one, code)]
    name = _best(rest, lambda one: called(one.name, "name", "product"))
    name = name or _best(rest, lambda one: 0 if names_number_of(one.name, "product") else None)
    return OrderLines(
        invoice=seen,
        amounts=amounts,
        code=code,
        name=name,
        date=date,
        customer=customer,
        is_named=is_named,
        places=places,
        rows=rows,
    )


def _customer(columns: Sequence[Seen]) -> Seen | None:
    """Return who buys: the column called so, or the e-mail addresses where more rows have one."""
    found = [seen for seen in columns if is_called(seen.name, CUSTOMER, "sale")]
    named = min(found, key=lambda seen: not is_called(seen.name, BUYER, "sale"), default=None)
    address = next((seen for seen in columns if seen.kind == "email" and seen.parts == 1), None)
    return address if address is not None and (named is None or address.empty < named.empty) else named


def _numbers_orders(seen: Seen) -> bool:
    """Say whether a column is called the number of an order, or only "Name" and has numbers such as #1001."""
    if names_number_of(seen.name, "sale"):
        return True
    return is_called(seen.name, NAME) and all(map(_NUMBERED.fullmatch, seen.distinct))


def _is_day_of_sale(seen: Seen) -> int | None:
    return called(seen.name, "sold_at", "sale")


def _steady(groups: Iterable[list[Row]], at: int) -> Fraction:
    """Return in which part of the groups a column has one value, or one in the first row alone."""
    found = [
        len({cell for row in rows[1:] if (cell := row[at].strip())} - {rows[0][at].strip()}) == 0 for rows in groups
    ]
    return Fraction(sum(found), len(found) or 1)


def _is_of_invoice(groups: Iterable[list[Row]], places: Mapping[str, int], seen: Seen, code: Seen | None) -> bool:
    """Say whether a column has one value in invoices that have several products: it names none of these."""
    if code is None:
        return False
    several = [rows for rows in groups if len({row[places[code.name]].strip() for row in rows}) > 1]
    return bool(several) and steadiness(several, places[seen.name]) == 1


def _best(columns: Sequence[Seen], rank: Callable[[Seen], int | None]) -> Seen | None:
    ranked = [(found, at) for at, seen in enumerate(columns) if (found := rank(seen)) is not None]
    return columns[min(ranked)[1]] if ranked else None


def odd_cells(sheet: Sheet, lines: OrderLines) -> None:
    """Ask about cells of quantities, prices and days that are none, where nothing asked yet."""
    for seen in (lines.date, lines.amounts.quantity, lines.amounts.price):
        if seen is not None and seen.doubt and not any(quoted(seen.name) in told for told in sheet.out.questions):
            sheet.ask(seen, seen.doubt)


def totals(sheet: Sheet, lines: OrderLines) -> None:
    """Ask about amounts of whole invoices, which have postage, discounts or taxes in them."""
    for seen in sheet.left:
        if seen.kind not in ("integer", "decimal") or called(seen.name, "amount", "sale") is None:
            continue
        sums = lines.sums(2)
        at = lines.places[seen.name]
        said = {invoice: number_of(lines.amounts, seen, rows[0][at]) for invoice, rows in lines.groups.items()}
        other = [one for one, total in said.items() if total is not None and one in sums and total != sums[one]]
        if other and lines.constant(seen) >= NEARLY:
            sheet.ask(
                seen,
                f"in {len(other):,} of {len(said):,} invoices it is not the sum of the lines (postage, discounts, "
                f"taxes); the sum is the amount of the sale, or take this one: amount = {quoted(seen.name)}",
            )
