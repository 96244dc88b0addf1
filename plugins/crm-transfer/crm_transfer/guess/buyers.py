"""Makes the customers of orders from their e-mail addresses and names, as shops export them beside each order."""

from __future__ import annotations

from collections.abc import Sequence

from crm_transfer.guess.columns import Seen
from crm_transfer.guess.drafting import Sheet
from crm_transfer.guess.toml import Block, source, texts
from crm_transfer.guess.values import match_records
from crm_transfer.guess.words import (
    BILLING,
    COMPANY,
    CUSTOMER,
    FIRST,
    LAST,
    OWNER,
    is_called,
    names_id_of,
    names_key,
    tokens,
)
from crm_transfer.toml import quoted


def buyers(sheet: Sheet) -> list[str]:
    """Draft the customer of each sale, known by number, e-mail or name, with all of them; return the columns read.

    Nothing is drafted, and nothing returned, where only one column says who buys, or another source knows the
    numbers already.
    """
    if sheet.kind.name != "sale" or "customer_id" in sheet.taken:
        return []
    number = _first(sheet, _numbers_customers)
    if number is not None and match_records(sheet.crm, "customer", number).system not in ("", sheet.system):
        return []
    address = _first(sheet, lambda seen: seen.kind == "email" and seen.parts == 1 and not is_called(seen.name, OWNER))
    first, last = (_named(sheet, words) for words in (FIRST, LAST))
    whole = _named(sheet, CUSTOMER - COMPANY) or _first(sheet, _is_billing_name)
    if address is None and (first is None or last is None):
        return []
    parts = [first, last] if first is not None and last is not None else [whole] if whole is not None else []
    names = [seen for seen in parts if seen is not None]
    name = quoted(names[0].name) if len(names) == 1 else _joined(names) if names else ""
    return _draft(sheet, number, address, name, names)


def _draft(sheet: Sheet, number: Seen | None, address: Seen | None, name: str, names: Sequence[Seen]) -> list[str]:
    known = match_records(sheet.crm, "customer", address).system if address is not None else ""
    system = [f"system = {quoted(known)}"] if known else []
    choice = ([f"{{ lower = {quoted(address.name)} }}"] if address is not None else []) + ([name] if name else [])
    value = f"{{ first = [{', '.join(choice)}] }}" if len(choice) > 1 else choice[0]
    key = number.name if number is not None else sheet.compute("customer key", value)
    nothing = {"null_if": texts(address.nulls)} if address is not None and address.nulls else {}
    system += ['per = "group"'] if sheet.grouped else []
    read = [key, *(seen.name for seen in names)]
    is_there = f"when = {{ column = {quoted(key)}, given = true }}"
    block = Block("customer", [f"key = {quoted(key)}", *system, "repeats = true", is_there])
    what = name if not address else f"{{ first = [{name}, {quoted(address.name)}] }}" if name else quoted(address.name)
    why = "first and last name" if len(names) > 1 else "a similar name" if names else "nothing else names them"
    block.fields.append(("name", what if what.startswith('"') else f"{{ value = {what} }}", f"medium: {why}"))
    sheet.before.append(block)
    for kind, seen in (("email", address), ("phone", _first(sheet, lambda seen: seen.kind == "phone"))):
        if seen is None or seen.parts > 1:
            continue
        head = [f'key = [{quoted(key)}, {{ const = "{kind}" }}]', *system, "repeats = true"]
        said = f"{{ column = {quoted(seen.name)}, not = {texts(['', *seen.nulls])} }}"
        head.append(f"when = [{said}, {{ column = {quoted(key)}, given = true }}]")
        point = Block("contact_point", head)
        more = {"system": quoted(known)} if known else {}
        point.fields.append(("customer_id", source(key, ref='"customer"', **more), ""))
        point.fields.append(("kind", f'{{ const = "{kind}" }}', "high: all of them look like one"))
        point.fields.append(("value", quoted(seen.name), "the first one counts" if kind == "phone" else ""))
        sheet.before.append(point)
        read.append(seen.name)
        sheet.done(seen, f"contact_point.{kind}", "high", "all of them look like one")
    by = (
        "number"
        if number
        else "e-mail, else by name"
        if address is not None and names
        else "e-mail"
        if address is not None
        else "name"
    )
    told = f"customers are told apart by {by}: the import makes those that are not there"
    more = {"ref": '"customer"', **({"system": quoted(known)} if known else {}), **nothing}
    sheet.put("customer_id", source(key, **more), f"medium: {told}")
    if number is not None:
        sheet.done(number, "sale.customer_id", "medium", told)
    for seen in names:
        sheet.done(seen, "customer.name", "medium", why)
    if address is None and number is None:
        sheet.out.questions.append(told)
    return read


def _numbers_customers(seen: Seen) -> bool:
    """Say whether a column has the number by which a shop knows its customers: nobody has none, or 0, as guests do."""
    if seen.empty or "0" in seen.distinct:
        return False
    mine = is_called(seen.name, CUSTOMER, "sale") or names_id_of(seen.name, CUSTOMER, "sale")
    is_number = names_key(seen.name) or seen.kind in ("integer", "decimal") or all(map(str.isdecimal, seen.distinct))
    return mine and bool(seen.values) and is_number


def _is_billing_name(seen: Seen) -> bool:
    return seen.kind == "text" and is_called(bare(seen.name), frozenset(["name"])) and bare(seen.name) != seen.name


def _named(sheet: Sheet, words: frozenset[str]) -> Seen | None:
    return _first(sheet, lambda seen: seen.kind == "text" and is_called(bare(seen.name), words, "sale"))


def _first(sheet: Sheet, test: object) -> Seen | None:
    """Return the first column that passes; of several the one that is called that of the bill."""
    assert callable(test)
    found = [seen for seen in sheet.left if seen.values and test(seen)]
    return min(found, key=lambda seen: BILLING.isdisjoint(tokens(seen.name)), default=None)


def bare(name: str) -> str:
    """Return a heading without the word that says whose it is: "Billing First Name" is "first name"."""
    words = tokens(name)
    rest = [word for word in words if word not in BILLING]
    return " ".join(rest) if rest and len(rest) < len(words) else name


def _joined(names: Sequence[Seen]) -> str:
    return f'{{ concat = {texts(seen.name for seen in names)}, separator = " " }}'
