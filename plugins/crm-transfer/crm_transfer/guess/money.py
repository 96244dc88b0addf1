"""How amounts are written: their separators, their currency; and amounts that are quantity by unit price."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final

import attrs

from crm_core.values import exponent
from crm_transfer.currencies import TOMAN, Unit, currencies_of, is_toman, unit_named
from crm_transfer.guess.columns import Seen
from crm_transfer.guess.drafting import Sheet
from crm_transfer.guess.lines import Amounts, find_amounts
from crm_transfer.guess.toml import inline, source, texts
from crm_transfer.guess.words import called
from crm_transfer.toml import quoted

_APART: Final = re.compile(r"[(\[{,;/]")
_WORD: Final = re.compile(r"[^\s,;:/()\[\]{}_]+")
_TOMANS: Final = "amounts are in tomans, and each is taken for 10 rials (IRR)"


def separators(seen: Seen) -> dict[str, Any]:
    """Return how a column writes its numbers; one whose minus does not stand in front is turned by an expression."""
    more = {name: quoted(mark) for name in ("decimal", "thousands") if (mark := getattr(seen, name))}
    if seen.minus:
        column, like = quoted(seen.name), "*-" if seen.minus == "-" else "(*)"
        bare = f"{{ replace = {column}, with = {inline(dict.fromkeys((*seen.minus, ')', *seen.beside), ''))} }}"
        turned = f'{{ concat = [{{ const = "-" }}, {bare}] }}'
        when = f"{{ column = {column}, like = {quoted(like)} }}"
        more["value"] = f"{{ choose = [{{ when = {when}, then = {turned} }}], else = {column} }}"
    return more


def currency_of(sheet: Sheet, seen: Seen) -> tuple[str, str] | None:
    """Return how a field names the currency of a column's amounts, and which it is; None where it is none of ours.

    Of a column of currencies it is the one with the fewest decimals.
    """
    code = currency_beside(sheet, seen)
    if code == "":
        return None
    if code is not None:
        return quoted(code), code
    if sheet.currency is not None and sheet.currency.empty == 0:
        units = filter(None, map(unit_named, sheet.currency.distinct))
        fewest = min((unit.currency for unit in units), key=exponent)
        return f"{{ column = {quoted(sheet.currency.name)} }}", fewest
    if (found := currency_of_heading(sheet, seen)) is not None:
        return found
    said = {unit_named(value) for value in sheet.currency.distinct} if sheet.currency is not None else set()
    if len(said) == 1 and (unit := next(iter(said))) is not None and unit != TOMAN:
        return quoted(unit.currency), unit.currency  # not every row says it, and no other is said
    mine = sheet.crm.settings.currency
    sheet.ask(seen, f"amounts are taken for {mine}")
    return quoted(mine), mine


def currency_of_heading(sheet: Sheet, seen: Seen) -> tuple[str, str] | None:
    """Return how a field names the currency that a column's heading says, and which it is; None where it says none."""
    unit = _unit_of_heading(sheet, seen)
    return None if unit is None else (quoted("toman" if unit == TOMAN else unit.currency), unit.currency)


def currency_beside(sheet: Sheet, seen: Seen) -> str | None:
    """Return the currency that stands beside the amounts, empty when it is none of ours, None when none does."""
    if not seen.beside:
        return None
    toman = next(filter(is_toman, seen.beside), "")
    if toman:
        sheet.ask(seen, f"{toman}: {_TOMANS}")
    meant = currencies_of(seen.beside[0]) or ()
    return _chosen(sheet, seen, seen.beside[0], meant) if meant else ""


def _chosen(sheet: Sheet, seen: Seen, sign: str, meant: Sequence[str]) -> str:
    """Return which of the currencies that a sign may mean is taken, and ask where there are several."""
    mine = sheet.crm.settings.currency
    if mine in meant:
        return mine
    if len(meant) > 1:
        sheet.ask(seen, f"{sign} is taken for {meant[0]}; it may be {' or '.join(meant[1:])}")
    return meant[0]


def _unit_of_heading(sheet: Sheet, seen: Seen) -> Unit | None:
    """Return what amounts are counted in by their heading: `Сумма, руб.`, `Umsatz (CHF)`, `مبلغ (تومان)`.

    A word of Latin letters counts in capitals alone, and in a heading of capitals only in brackets or behind a comma:
    "all" and "top" are codes, too.
    """
    for found in _WORD.finditer(seen.name):
        word = found[0].strip(".")
        is_apart = not seen.name.isupper() or _APART.search(seen.name, 0, found.start())
        is_plain = word.isascii() and word.isalpha() and not (word.isupper() and is_apart)
        meant = currencies_of(word)
        if not found.start() or not meant or (is_plain and not is_toman(word)):
            continue
        if is_toman(word):
            sheet.ask(seen, f"{word}: {_TOMANS}")
            return TOMAN
        return Unit(_chosen(sheet, seen, word, meant))
    return None


def declare_numbers(sheet: Sheet, amounts: Amounts) -> None:
    """Let the file say how it writes the numbers that computed columns read; all other columns say it themselves."""
    if amounts.decimal:
        sheet.out.file["decimal"] = f"{quoted(amounts.decimal)}  # as {amounts.price.name} has it"
    if amounts.thousands:
        sheet.out.file["thousands"] = quoted(amounts.thousands)
    sheet.left = [
        attrs.evolve(seen, decimal=".")
        if seen.kind == "decimal" and amounts.decimal == "," and not seen.decimal
        else seen
        for seen in sheet.left
    ]


def bare_number(sheet: Sheet, seen: Seen, name: str) -> str:
    """Return the name of a column with the numbers alone: a computed one where signs stand beside them."""
    turned = separators(seen).get("value", "")
    if seen.beside:
        turned = f"{{ replace = {turned or quoted(seen.name)}, with = {inline(dict.fromkeys(seen.beside, ''))} }}"
    return sheet.compute(name, turned) if turned else seen.name


def quantity_by_price(sheet: Sheet) -> None:
    """Read the amount of a sale as quantity by unit price, where no column is called an amount."""
    amounts = find_amounts(sheet.left)
    if amounts is None or "amount" in sheet.taken:
        return
    quantity, price = amounts.quantity, amounts.price
    others = (seen for seen in sheet.left if seen is not price and seen.kind in ("integer", "decimal"))
    found = currency_of(sheet, price)
    if found is None or any(called(seen.name, "amount", "sale") is not None for seen in others):
        return
    declare_numbers(sheet, amounts)
    factors = texts([bare_number(sheet, quantity, "quantity"), bare_number(sheet, price, "unit price")])
    product = f"{{ round = {{ multiply = {factors} }}, digits = {exponent(found[1])} }}"
    amount = sheet.compute("amount", product)
    why = f"{quantity.name} x {price.name}"
    below = any("-" in value or "\u2212" in value for seen in (quantity, price) for value in seen.distinct)
    sheet.ask(price, f"no column has amounts: they are {why}" + ("; below zero they are refunds" if below else ""))
    more = {"currency": found[0]}
    if below:
        if "kind" not in sheet.taken:
            when = f"{{ column = {quoted(amount)}, below = 0 }}"
            kind = f'{{ choose = [{{ when = {when}, then = {{ const = "refund" }} }}], else = {{ const = "sale" }} }}'
            sheet.put("kind", f"{{ value = {kind} }}", "medium: what is below zero is a refund")
        more["value"] = f"{{ abs = {quoted(amount)} }}"
    sheet.put("amount", source(amount, **more), f"high: {why}")
    for seen in (quantity, price):
        mine = next(one for one in sheet.left if one.name == seen.name)
        sheet.done(mine, "sale.amount", "high", why)
