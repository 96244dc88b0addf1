"""Drafts the records beside the one of a row: whom it points at, the company of a person, contact points."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import attrs

from crm_core.records.registry import Field
from crm_transfer.guess.columns import Seen
from crm_transfer.guess.drafting import Sheet, given
from crm_transfer.guess.toml import Block, inline, listed, source, texts
from crm_transfer.guess.values import Matched, brought_before, match_records
from crm_transfer.guess.words import (
    BUYER,
    COMPANY,
    CUSTOMER,
    NAME,
    OWNER,
    PARENT,
    called,
    is_called,
    names_email,
    names_id_of,
    names_key,
    remark_of,
    tokens,
)
from crm_transfer.toml import quoted

_BELONGS: Final = {"person": "works for"}
"""How a customer that is no organisation belongs to one."""
_POINTING: Final = {"owner_id": OWNER, "author_id": OWNER, "customer_id": CUSTOMER}


def references(sheet: Sheet) -> None:
    """Point at owners and customers, by their keys or names."""
    for field in sheet.kind.fields.values():
        words = _POINTING.get(field.path)
        if words is None or field.path in sheet.taken or field.declaration.references not in ("user", "customer"):
            continue
        mine = sheet.kind.name
        called_so = (s for s in sheet.left if is_called(s.name, words, mine) or names_id_of(s.name, words, mine))
        found = [seen for seen in called_so if seen.values and seen.is_short]
        if found:
            _point(sheet, field, found)


def unnamed(sheet: Sheet) -> None:
    """Ask where the customers of sales or deals are, when no column names them: nothing that counts customers would."""
    is_asked = any(is_called(seen.name, CUSTOMER, sheet.kind.name) for seen in sheet.left)
    is_asked = is_asked or any(names_id_of(seen.name, CUSTOMER, sheet.kind.name) for seen in sheet.left)
    if sheet.kind.name in ("sale", "deal") and "customer_id" not in sheet.taken and not is_asked:
        sheet.out.questions.append(f"no column is taken for the customers of the {sheet.kind.plural}: they have none")


def _point(sheet: Sheet, field: Field, columns: list[Seen]) -> None:
    """Point by the column whose values are known; where none is, by one that names records to be made."""
    target = field.declaration.references
    is_known_here = any(brought_before(sheet.crm, target, seen, sheet.system) for seen in columns)
    for seen in [] if is_known_here else columns:  # what earlier files of this source brought, this one brings as well
        matched = match_records(sheet.crm, target, seen)
        if matched.system:
            more = {"ref": quoted(target), "system": quoted(matched.system)}
            why = f"{matched.known:,} of {matched.of:,} are known under {matched.system}"
            _pointing(sheet, field, seen, "high", why, more)
            return
        if matched.by and matched.known:
            _point_by_name(sheet, field, seen, matched)
            return
    mine = sheet.kind.name
    names = [seen for seen in columns if not _is_number(seen)]
    number = next((seen for seen in columns if _is_number(seen)), None)
    if names:
        if mine == "deal" and target == "customer" and _company_and_person(sheet, field, names):
            return
        ranked = (BUYER, COMPANY, CUSTOMER | OWNER)
        name = min(names, key=lambda s: (s.empty, *(not is_called(s.name, words, mine) for words in ranked)))
        by_number = (
            number is not None and number.empty <= name.empty and not is_called(name.name, COMPANY, sheet.kind.name)
        )
        _make(sheet, field, number if by_number and number is not None else name, name)
    elif (target == "user" and not names_id_of(columns[0].name, OWNER)) or sheet.grouped:
        if target == "customer":
            sheet.ask(columns[0], "no column names the customers: they are called by these numbers")
        _make(sheet, field, columns[0], columns[0])
    else:
        sheet.ask(columns[0], f"no {target} is known by these numbers; import the {target}s first, then suggest again")


def _company_and_person(sheet: Sheet, field: Field, columns: list[Seen]) -> bool:
    """Let the company of a deal be its customer, and the person beside it take part in it; False without both."""
    mine = sheet.kind.name
    firm = next((seen for seen in columns if is_called(seen.name, COMPANY, mine)), None)
    person = next((s for s in columns if s is not firm and not is_called(s.name, COMPANY | BUYER, mine)), None)
    if firm is None or person is None or any("@" in value for value in person.distinct):
        return False
    company_key, person_key = first_of(sheet, firm), first_of(sheet, person)
    for key, kind in ((company_key, "organisation"), (person_key, "person")):
        block = Block("customer", [f"key = {quoted(key.name)}", "repeats = true", given(key)])
        block.fields += [
            ("name", quoted(key.name), "low: nothing of that name is there yet"),
            ("kind", f'{{ const = "{kind}" }}', f"medium: the column is called {key.name}"),
        ]
        sheet.before.append(block)
    why = "the company is the customer, the person takes part; without a company the person is the customer"
    value = f"{{ first = {texts([company_key.name, person_key.name])} }}"
    more = {"value": value, "ref": '"customer"', "null_if": texts([*firm.nulls, *person.nulls])}
    sheet.put(field.path, source(firm.name, **more), f"medium: {why}")
    both = ", ".join(given(seen).removeprefix("when = ") for seen in (company_key, person_key))
    block = Block("participant", [f'key = [{sheet.mine}, {{ const = "contact" }}]', f"when = [{both}]"])
    block.fields += [
        ("deal_id", f'{{ column = {listed(sheet.key.columns)}, ref = "deal" }}', ""),
        ("customer_id", f'{{ column = {quoted(person_key.name)}, ref = "customer" }}', ""),
        ("role", '{ const = "contact" }', "medium: the person beside the company"),
    ]
    sheet.after.append(block)
    sheet.ask(person, why)
    sheet.done(firm, f"{mine}.{field.path}", "medium", why)
    sheet.done(person, "participant.customer_id", "medium", why)
    return True


def first_of(sheet: Sheet, seen: Seen) -> Seen:
    """Return a column of names, or where cells list several, a computed column of the first ones; ask about it."""
    several = [value for value in seen.distinct if ";" in value.strip("; ")]
    if not several:
        return seen
    name = sheet.compute(f"{seen.name} #1", f'{{ split = {quoted(seen.name)}, at = ";", part = 1 }}')
    sheet.ask(seen, f"{several[0][:80]!r} lists several: the first one is taken, the others are left out")
    firsts = tuple(value.split(";")[0].strip() for value in seen.values)
    return attrs.evolve(seen, name=name, values=firsts)


def parent(sheet: Sheet) -> None:
    """Relate a customer to the one it belongs to, where a column has the keys of other rows of the file."""
    mine = sheet.kind.name
    named = (s for s in sheet.left if is_called(s.name, PARENT, mine) or names_id_of(s.name, PARENT, mine))
    seen = next((s for s in named if s.values), None)
    if seen is None or mine != "customer" or len(sheet.key.columns) > 1:
        return
    place = sheet.place(seen) - 1
    keys = {row[sheet.place_of(sheet.key.columns[0])].strip() for row in sheet.rows}
    missing = [row[place].strip() for row in sheet.rows if row[place].strip() not in {*keys, "", *seen.nulls}]
    if missing:
        what = f"{len(missing):,} of its cells are no key of this file, such as {missing[0][:80]!r}"
        sheet.ask(seen, f"does it name the company that another one belongs to? {what}: kept as a text")
        return
    told = next((guess for guess in sheet.out.guesses if guess.target == "customer.kind" and guess.values), None)
    relation = '{ const = "subsidiary of" }'
    if told is not None:
        kinds = {word: _BELONGS.get(kind, "subsidiary of") for word, kind in told.values.items()}
        relation = source(told.column, map=inline(kinds))
    block = Block("relation", [f'key = [{sheet.mine}, {{ const = "subsidiary of" }}]', given(seen)])
    block.fields += [
        ("customer_id", f'{{ column = {listed(sheet.key.columns)}, ref = "customer" }}', ""),
        ("other_id", f'{{ column = {quoted(seen.name)}, ref = "customer", later = true }}', "high: keys of this file"),
        ("kind", relation, f"medium: the column is called {seen.name}"),
    ]
    sheet.after.append(block)
    sheet.done(seen, "relation.subsidiary of", "high", "its cells are keys of other rows")


def _is_number(seen: Seen) -> bool:
    if seen.distinct and all(" " in value.strip() for value in seen.distinct):
        return False  # Odoo calls a column of names "partner_id"
    return names_key(seen.name) or seen.kind in ("integer", "decimal") or all(map(str.isdecimal, seen.distinct))


def _point_by_name(sheet: Sheet, field: Field, seen: Seen, matched: Matched) -> None:
    """Look the records up; names that are only alike, or unknown, stand in the map."""
    target = field.declaration.references
    values = {**matched.values.values, **dict.fromkeys(matched.values.unknown, "")}
    more = {"ref": quoted(target), "by": quoted(matched.by), "map": inline(values) if values else ""}
    why = f"{matched.known:,} of {matched.of:,} names are those of a {target}"
    if matched.values.values:
        why += "; some are only alike: check the map"
    if matched.values.unknown:
        why += f"; {len(matched.values.unknown):,} are nobody's, and left empty"
        shown = ", ".join(map(repr, matched.values.unknown[:3]))
        sheet.ask(seen, f"no {target} is called {shown}: add them first, or say who is meant")
    _pointing(sheet, field, seen, "high" if not values else "low", why, more, values)


def _make(sheet: Sheet, field: Field, key: Seen, name: Seen) -> None:
    """Make the records that a column names, since none of them is there."""
    target = field.declaration.references
    block = Block(target, [f"key = {quoted(key.name)}", "repeats = true", given(key)])
    block.fields.append(("name", quoted(name.name), "low: nothing of that name is there yet"))
    if target == "customer" and is_called(name.name, COMPANY, sheet.kind.name):
        block.fields.append(("kind", '{ const = "organisation" }', f"medium: the column is called {name.name}"))
    sheet.before.append(block)
    why = f"no {target} is called so yet: the import makes them"
    _pointing(sheet, field, key, "medium", why, {"ref": quoted(target)})
    if name is not key:
        sheet.done(name, f"{target}.name", "medium", why)


def _pointing(
    sheet: Sheet,
    field: Field,
    seen: Seen,
    confidence: str,
    why: str,
    more: dict[str, str],
    values: Mapping[str, str] | None = None,
) -> None:
    more["null_if"] = texts(seen.nulls) if seen.nulls else ""
    sheet.put(field.path, source(seen.name, **more), f"{confidence}: {why}{sheet.nothing(seen)}")
    sheet.done(seen, f"{sheet.kind.name}.{field.path}", confidence, why, values)


def names_company(seen: Seen) -> bool:
    """Say whether a column has the names of companies: "Firma", or "Name (Unternehmen)"."""
    is_firm = is_called(seen.name, COMPANY, "customer")
    is_firm = is_firm or (is_called(seen.name, NAME) and not COMPANY.isdisjoint(tokens(remark_of(seen.name))))
    return is_firm and bool(seen.values) and seen.is_short


def person_or_company(sheet: Sheet, parts: Sequence[Seen], firm: Seen) -> None:
    """Let rows without a person be of the company: only a person works for one."""
    sheet.persons = tuple(seen.name for seen in parts)
    if not any(seen.kind == "text" and called(seen.name, "kind", "customer") is not None for seen in sheet.left):
        choice = f'[{{ when = {_a_person(sheet)}, then = {{ const = "person" }} }}]'
        value = f'{{ value = {{ choose = {choice}, else = {{ const = "organisation" }} }} }}'
        sheet.put("kind", value, "medium: rows without a person are of the company")
    at, places = sheet.place_of(firm.name), [sheet.place_of(seen.name) for seen in parts]
    if not any(row[at].strip() and any(row[place].strip() for place in places) for row in sheet.rows):
        sheet.done(firm, "customer.name", "high", "each row has either a person or a company")


def _a_person(sheet: Sheet) -> str:
    said = ", ".join(f"{{ column = {quoted(name)}, given = true }}" for name in sheet.persons)
    return f"{{ any = [{said}] }}"


def company(sheet: Sheet) -> None:
    """Make the company a person works for an organisation of its own; without a person it is the customer."""
    mine = sheet.kind.name
    seen = next((s for s in sheet.left if names_company(s)), None)
    if mine != "customer" or seen is None:
        return
    if "name" not in sheet.taken:
        sheet.put("name", quoted(seen.name), "medium: a company, and no person is named")
        if "kind" not in sheet.taken:
            sheet.put("kind", '{ const = "organisation" }', "medium: the name is a company's")
        sheet.done(seen, "customer.name", "medium", "a company, and no person is named")
        return
    firm = first_of(sheet, seen)
    key = f'[{{ const = "company" }}, {quoted(firm.name)}]'
    there = given(firm)
    if sheet.persons:
        there = f"when = [{there.removeprefix('when = ')}, {_a_person(sheet)}]"
    block = Block("customer", [f"key = {key}", "repeats = true", there])
    block.fields += [("name", quoted(firm.name), ""), ("kind", '{ const = "organisation" }', "")]
    when = there if sheet.persons else given(seen)
    relation = Block("relation", [f'key = [{sheet.mine}, {{ const = "works for" }}]', when])
    relation.fields += [
        ("customer_id", f'{{ column = {listed(sheet.key.columns)}, ref = "customer" }}', ""),
        ("other_id", f'{{ column = {key}, ref = "customer" }}', ""),
        ("kind", '{ const = "works for" }', f"medium: a person with a company{sheet.nothing(seen)}"),
    ]
    sheet.after += [block, relation]
    sheet.done(seen, "relation.works for", "medium", "a person with a company: an organisation and a relation")


def contact_points(sheet: Sheet) -> None:
    """Make contact points of phone numbers and e-mail addresses, each with the label of its column."""
    if sheet.kind.name != "customer":
        return
    found = [(seen, kind) for seen in sheet.left if (kind := _contact_kind(seen))]
    for seen, kind in found:
        alone = seen.parts == 1 and sum(1 for _, other in found if other == kind) == 1
        for part in _parts(sheet, seen):
            name = kind if alone else f"{kind}: {part.name}"
            block = Block("contact_point", [f"key = [{sheet.mine}, {{ const = {quoted(name)} }}]", given(part)])
            block.fields += [
                ("customer_id", f'{{ column = {listed(sheet.key.columns)}, ref = "customer" }}', ""),
                ("kind", f"{{ const = {quoted(kind)} }}", "high: all of them look like one"),
                ("value", quoted(part.name), ""),
            ]
            if not alone and len(seen.name) <= 100 and seen.name.isprintable() and not set("{}") & set(seen.name):
                block.fields.append(("label", f"{{ const = {quoted(seen.name)} }}", ""))
            sheet.after.append(block)
        block.fields[1] = (*block.fields[1][:2], block.fields[1][2] + sheet.nothing(seen))
        sheet.done(seen, f"contact_point.{kind}", "high", "all of them look like one")


def _parts(sheet: Sheet, seen: Seen) -> list[Seen]:
    """Return the column, or where its cells have several addresses, a computed column of each of them."""
    if seen.parts == 1:
        return [seen]
    made = []
    for number in range(1, seen.parts + 1):
        part = attrs.evolve(seen, name=f"{seen.name} #{number}")
        split = f"{{ split = {quoted(seen.name)}, at = {quoted(seen.parted_by)}, part = {number} }}"
        sheet.out.computed[part.name] = split
        made.append(part)
    return made


def _contact_kind(seen: Seen) -> str:
    if seen.kind == "email" or (seen.kind == "phone" and not names_email(seen.name)):
        return seen.kind
    return ""
