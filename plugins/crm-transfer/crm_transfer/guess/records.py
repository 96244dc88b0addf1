"""Drafts the records that a row makes: fields, contact points, organisations, owners, own fields, a pipeline."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any, Final

from crm_core import CRM
from crm_core.records import RecordType
from crm_core.records.registry import Field
from crm_core.values import ascii_digits, exponent
from crm_transfer.cells import is_timed
from crm_transfer.guess.buyers import buyers
from crm_transfer.guess.columns import Seen
from crm_transfer.guess.drafting import Draft, Sheet
from crm_transfer.guess.keys import KeyGuess
from crm_transfer.guess.links import (
    company,
    contact_points,
    names_company,
    parent,
    person_or_company,
    references,
    unnamed,
)
from crm_transfer.guess.money import currency_of, quantity_by_price, separators
from crm_transfer.guess.ownfields import currency_used, open_fields, own_field
from crm_transfer.guess.stages import closing, expected_closing, stages
from crm_transfer.guess.toml import inline, source, texts
from crm_transfer.guess.values import ValueMap, choices_map, yes_or_no_map
from crm_transfer.guess.voids import voids
from crm_transfer.guess.words import (
    COMPANY,
    FIRST,
    IS_COMPANY,
    LAST,
    MIDDLE,
    NAME,
    OPT_OUT,
    OWNER,
    TIME,
    TRUE,
    called,
    is_called,
    plain,
    remark_of,
    tokens,
)
from crm_transfer.serial import SERIAL, SERIAL_1904, read_serial
from crm_transfer.toml import quoted

_SERIAL: Final = re.compile(r"([0-9]{5})(?:[.,][0-9]+)?", re.ASCII)
_SERIALS: Final = range(18_000, 60_000)
"""The numbers that spreadsheets have for the days from 1949 to 2064."""
_NOUN_ALONE: Final = 60
"""A column that is called as the records are, and has numbers in it, is their number sooner than their name."""


def draft_records(
    crm: CRM, kind: RecordType, columns: Sequence[Seen], key: KeyGuess, system: str, rows: Sequence[Sequence[str]]
) -> Draft:
    """Draft the records of a file whose rows make records of one type, told apart by `key`.

    The ways of reading a column are tried in turn, the surest first; what is left becomes fields of its own.
    """
    sheet = Sheet(crm, kind, columns, key, system, rows)
    _full_name(sheet)
    by_same_name(sheet)
    _organisations(sheet)
    buyers(sheet)
    references(sheet)
    if kind.name == "sale":
        quantity_by_price(sheet)
    if kind.name == "deal":
        closing(sheet)
    by_similar_name(sheet)
    if kind.name == "deal":
        expected_closing(sheet)
    voids(sheet)
    parent(sheet)
    company(sheet)
    contact_points(sheet)
    _fallback_name(sheet)
    required(sheet)
    unnamed(sheet)
    currency_used(sheet)
    _opted_out(sheet)
    for seen in list(sheet.left):
        own_field(sheet, seen)
    out = sheet.out
    out.blocks = [*sheet.before, sheet.main, *sheet.after]
    order = {seen.name: at for at, seen in enumerate(columns)}
    out.guesses.sort(key=lambda guess: order[guess.column])
    return out


# Fields that are there


def by_same_name(sheet: Sheet) -> None:
    """Read fields from the columns that have their names."""
    for seen in list(sheet.left):
        name = plain(seen.name)
        for field in open_fields(sheet):
            if name in (plain(field.name), plain(field.declaration.label)):
                _take(sheet, field, seen, "high", "the same name")
                break


def day_of_sale(sheet: Sheet, day: Seen | None) -> None:
    """Read the day of the sale from this column, by which invoices are put in order, if it is called so."""
    seen = next((one for one in sheet.left if day is not None and one.name == day.name), None)
    if seen is not None and "sold_at" not in sheet.taken and called(seen.name, "sold_at", "sale") is not None:
        _take(sheet, sheet.kind.fields["sold_at"], seen, "medium", "a similar name")


def by_similar_name(sheet: Sheet) -> None:
    """Read fields from the columns that are called like them, the most usual names first."""
    found = [
        (rank, at, field, seen)
        for at, seen in enumerate(sheet.left)
        for field in open_fields(sheet)
        if (rank := _likeness(sheet, field, seen)) is not None
    ]
    for _, _, field, seen in sorted(found, key=lambda each: each[:2]):
        if seen in sheet.left and field.path not in sheet.taken:
            _take(sheet, field, seen, "medium", "a similar name")


def _likeness(sheet: Sheet, field: Field, seen: Seen) -> int | None:
    whose = OWNER | (COMPANY if sheet.kind.name == "customer" else frozenset())
    if is_called(seen.name, whose) and sheet.kind.name != "user":
        return None
    rank = called(seen.name, field.name, sheet.kind.name)
    is_number = seen.kind in ("integer", "decimal") or seen.name in sheet.key.columns
    return _NOUN_ALONE if rank is not None and field.name in ("name", "title") and is_number else rank


def _take(sheet: Sheet, field: Field, seen: Seen, confidence: str, why: str) -> bool:
    """Read a field from a column, if the column's cells can be its values."""
    declared = field.declaration
    reader = _READERS.get(declared.kind)
    more = reader(sheet, field, seen) if reader is not None else _text(sheet, field, seen)
    if more is None:
        return False
    values = more.pop("values", ValueMap({}))
    if values.values:
        more["map"] = inline(values.values)
        confidence = confidence if values.sure else "low"
        why += "; the values are translated" if values.sure else "; some values are only alike: check the map"
    if seen.ambiguity:
        confidence = "medium" if confidence == "high" else confidence
        why += f"; {seen.ambiguity}"
    nothing = ""
    if seen.nulls and not declared.required:
        more["null_if"], nothing = texts(seen.nulls), sheet.nothing(seen)
    remark = f"{confidence}: {why}"
    if seen.doubt:
        remark = f"low: {why}; {seen.doubt}"
        sheet.ask(seen, seen.doubt)
    if declared.required and seen.empty and not seen.nulls:
        remark += f"; {seen.empty:,} rows have none and will be rejected"
    sheet.put(field.path, source(seen.name, **more), remark + nothing)
    sheet.done(seen, f"{sheet.kind.name}.{field.path}", "low" if seen.doubt else confidence, why, values.values)
    return True


def _text(sheet: Sheet, field: Field, seen: Seen) -> dict[str, Any] | None:
    if field.path == "stage" and sheet.kind.name == "deal":
        return stages(sheet, seen)
    if field.declaration.choices:
        found = choices_map(field, seen) if seen.values else None
        return None if found is None else {"values": found}
    limit = field.declaration.max_length
    return None if not seen.values or (limit and seen.longest > limit) else {}


def _date(sheet: Sheet, field: Field, seen: Seen) -> dict[str, Any] | None:
    if seen.kind in ("integer", "decimal"):
        return _spreadsheet_days(sheet, seen)
    if seen.kind != "date":
        return None
    time = _time_beside(sheet, seen) if field.declaration.kind == "moment" else None
    if time is None:
        zone = {"zone": '"UTC"'} if seen.is_timed and "utc" in tokens(seen.name) else {}
        return {"format": quoted(seen.format) if seen.format else "", **zone}
    clock = "%H:%M:%S" if time.values[0].count(":") > 1 else "%H:%M"
    sheet.done(time, f"{sheet.kind.name}.{field.path}", "medium", "the time of the day")
    joined = f'{{ concat = {texts((seen.name, time.name))}, separator = " " }}'
    form = seen.format if is_timed(seen.format) else f"{seen.format or '%Y-%m-%d'} {clock}"
    return {"value": joined, "format": quoted(form)}


def _spreadsheet_days(sheet: Sheet, seen: Seen) -> dict[str, Any] | None:
    """Read the numbers by which spreadsheets count days, where a column that is called like a date has them."""
    if seen.beside or seen.minus or not all(map(_is_serial, seen.distinct)):
        return None
    first = seen.distinct[0]
    days = [str(read_serial(ascii_digits(first), form)) for form in (SERIAL, SERIAL_1904)]
    sheet.ask(
        seen,
        f"{first} is taken for {days[0]}, as spreadsheets number the days; where they count from 1904, as old Excel "
        f'for Mac does, it is {days[1]}: format = "{SERIAL_1904}"',
    )
    return {"format": quoted(SERIAL)}


def _is_serial(value: str) -> bool:
    found = _SERIAL.fullmatch(ascii_digits(value))
    return found is not None and int(found[1]) in _SERIALS


def _time_beside(sheet: Sheet, seen: Seen) -> Seen | None:
    """Return the column with the time of the day, where every row has a day and a time of one form."""
    if seen.empty or any(":" in value for value in seen.distinct):
        return None
    found = next((other for other in sheet.left if other.kind == "time" and is_called(other.name, TIME)), None)
    whole = found is not None and not found.empty and len({value.count(":") for value in found.distinct}) == 1
    return found if whole else None


def _number(sheet: Sheet, field: Field, seen: Seen) -> dict[str, Any] | None:
    kind = field.declaration.kind
    if seen.kind not in ("integer", "decimal") or (kind == "integer" and seen.kind == "decimal"):
        return None
    if kind == "money":
        more = _money(sheet, seen)
        is_refunded = more is not None and (sheet.kind.name, field.path) == ("sale", "amount")
        return more | _without_minus(sheet, seen) if more is not None and is_refunded else more
    if seen.beside or (kind == "decimal" and seen.digits > field.declaration.scale):
        return None
    return separators(seen)


def _money(sheet: Sheet, seen: Seen) -> dict[str, Any] | None:
    """Read amounts in the currency that stands beside them, in that of a column, or in the workspace's."""
    found = currency_of(sheet, seen)
    if found is None or seen.digits > exponent(found[1]):
        return None
    return separators(seen) | {"currency": found[0]}


def _without_minus(sheet: Sheet, seen: Seen) -> dict[str, Any]:
    """Read sales below zero as refunds, whose amounts have no minus; nothing where there are none."""
    marks = [mark for mark in "-\u2212" if any(mark in value for value in seen.distinct)]
    marks += ["("] if seen.minus == "(" else []
    if not marks:
        return {}
    if not any(called(other.name, "kind", "sale") is not None for other in sheet.left) and "kind" not in sheet.taken:
        when = f"{{ column = {quoted(seen.name)}, like = {texts(f'*{mark}*' for mark in marks)} }}"
        kind = f'{{ choose = [{{ when = {when}, then = {{ const = "refund" }} }}], else = {{ const = "sale" }} }}'
        sheet.put("kind", f"{{ value = {kind} }}", "medium: what is below zero is a refund")
        sheet.ask(seen, "amounts below zero are taken for refunds")
    gone = [*marks, *([")"] if "(" in marks else [])]
    return {"value": f"{{ replace = {quoted(seen.name)}, with = {inline(dict.fromkeys(gone, ''))} }}"}


def _boolean(sheet: Sheet, field: Field, seen: Seen) -> dict[str, Any] | None:
    found = yes_or_no_map(seen) if seen.values else None
    return None if found is None else {"values": found}


# Names


def _full_name(sheet: Sheet) -> None:
    """Put a first and a last name together; beside a first name, what is only called "name" is the last one.

    Where a remark in brackets stands behind the first name ("Vorname (natürl. Person)"), the last one has it as well.
    """
    first = next((s for s in sheet.left if is_called(s.name, FIRST)), None)
    rest = [seen for seen in sheet.left if seen is not first]
    remark = remark_of(first.name) if first is not None else ""
    named = [seen for seen in rest if remark and remark_of(seen.name) == remark] or rest
    last = next((s for s in named if is_called(s.name, LAST)), None)
    whole = next((s for s in named if s is not last and is_called(s.name, NAME)), None)
    if first is not None and last is None and not is_called(first.name, NAME):
        last, whole = whole, None
    if first is None or last is None or whole is not None or "name" not in sheet.kind.fields:
        return
    middle = next((s for s in rest if is_called(s.name, MIDDLE)), None)
    parts = [first, *([middle] if middle is not None else []), last]
    joined = f'{{ concat = {texts(seen.name for seen in parts)}, separator = " " }}'
    address = next((seen for seen in rest if seen.kind == "email"), None)
    places = [sheet.place_of(seen.name) for seen in parts]
    missing = [row for row in sheet.rows if not any(row[at].strip() for at in places)]
    firms = (seen for seen in rest if seen not in parts and names_company(seen))
    firm = next(firms, None) if missing and sheet.kind.name == "customer" else None
    if firm is not None and all(row[sheet.place_of(firm.name)].strip() for row in missing):
        joined = f"{{ first = [{joined}, {quoted(firm.name)}] }}"
        person_or_company(sheet, parts, firm)
    elif address is not None and missing:
        joined = f"{{ first = [{joined}, {quoted(address.name)}] }}"
        sheet.ask(address, "rows without a name get the address for one")
    sheet.put("name", f"{{ value = {joined} }}", "high: first and last name")
    for seen in parts:
        sheet.done(seen, f"{sheet.kind.name}.name", "high", "first and last name")


def _organisations(sheet: Sheet) -> None:
    """Read whether a customer is an organisation from a column that says yes or no to it."""
    seen = next((s for s in sheet.left if s.kind == "boolean" and is_called(s.name, IS_COMPANY)), None)
    if sheet.kind.name == "customer" and seen is not None and "kind" not in sheet.taken:
        words = {value: "organisation" if plain(value) in TRUE or value == "1" else "person" for value in seen.distinct}
        sheet.put("kind", source(seen.name, map=inline(words)), "high: it says so")
        sheet.done(seen, "customer.kind", "high", "it says so", words)


def _fallback_name(sheet: Sheet) -> None:
    """Where no column is called a name, the first one of short texts that mostly differ may be one."""
    if "name" not in sheet.kind.fields or "name" in sheet.taken:
        return
    limit = sheet.kind.fields["name"].declaration.max_length
    for seen in sheet.left:
        is_text = seen.kind == "text" and not seen.note
        if is_text and 2 * seen.tells_apart >= max(len(sheet.rows), 1) and seen.longest <= limit:
            why = "nothing is called a name, and this column may be one"
            sheet.put("name", quoted(seen.name), f"low: {why}")
            sheet.ask(seen, why)
            sheet.done(seen, f"{sheet.kind.name}.name", "low", why)
            return


def required(sheet: Sheet) -> None:
    """Find something for the fields without which there is no record, and ask."""
    for field in sheet.kind.fields.values():
        if not field.declaration.required or field.path in sheet.taken:
            continue
        if field.declaration.kind == "text" and not field.declaration.choices:
            first = sheet.key.columns[0]
            if not set("{}") & set(first):
                value = f"{{ template = {quoted('{' + first + '}')} }}"
                sheet.main.fields.append((field.path, value, "low: nothing fits, and it is required"))
                sheet.out.questions.append(f"{field.path} is required, and no column fits: {quoted(first)} is taken")
                continue
        sheet.main.left.append(f"# {field.path} = ...  # required, and no column fits: say where it comes from")
        sheet.out.questions.append(f"{field.path} is required, and no column fits")


def _opted_out(sheet: Sheet) -> None:
    """Ask about people who want no messages: when they said so stands nowhere, and a consent needs it."""
    for seen in sheet.left:
        said = [value for value in seen.values if plain(value) in TRUE or value == "1"]
        if is_called(seen.name, OPT_OUT, sheet.kind.name) and said:
            sheet.ask(
                seen,
                f"{len(said):,} of {len(sheet.rows):,} rows say {said[0]!r}, which withdraws a consent; a consent "
                "has a date, which no column says: kept as a field of its own; map a [[record]] of type consent "
                "with the date to have it count",
            )


_READERS: Final[dict[str, Callable[[Sheet, Field, Seen], dict[str, Any] | None]]] = {
    "day": _date,
    "moment": _date,
    "integer": _number,
    "decimal": _number,
    "money": _number,
    "boolean": _boolean,
}
