"""Drafts what is left of a file's columns: fields of its own for those that nothing fits."""

from __future__ import annotations

from typing import Any, Final

from crm_core.records.registry import Field
from crm_core.values import exponent
from crm_transfer.guess.columns import Seen
from crm_transfer.guess.drafting import Sheet
from crm_transfer.guess.money import currency_beside, currency_of_heading, separators
from crm_transfer.guess.numbers import PERCENTS
from crm_transfer.guess.spelling import ascii_name
from crm_transfer.guess.toml import inline, source, texts
from crm_transfer.guess.values import yes_or_no_map
from crm_transfer.guess.words import called, spaced
from crm_transfer.toml import quoted

_LONG: Final = 400
_MEASURED: Final = {"day": "dates", "moment": "dates", "money": "amounts", "integer": "numbers", "decimal": "numbers"}
_TYPES: Final = {"date": "day", "integer": "integer", "decimal": "decimal", "boolean": "boolean"}


def open_fields(sheet: Sheet) -> list[Field]:
    """Return the fields of the record that no column is taken for yet."""
    fields = sheet.kind.fields.values()
    return [
        field
        for field in fields
        if field.path not in sheet.taken
        and not field.declaration.derived
        and field.declaration.kind != "reference"
        and (sheet.kind.name, field.path) != ("deal", "pipeline")  # it follows from the stages
    ]


def currency_used(sheet: Sheet) -> None:
    """Take the column of currencies off those that are left, where amounts are read with it."""
    seen = sheet.currency
    if seen is not None and seen in sheet.left and any("currency = { column" in f[1] for f in sheet.main.fields):
        sheet.done(seen, "currency", "high", "the currency of the amounts")


def own_field(sheet: Sheet, seen: Seen) -> None:
    """Give a column that nothing fits a field of its own."""
    if seen.name in sheet.key.columns and len(sheet.key.columns) == 1:
        sheet.done(seen, "key", sheet.key.confidence, sheet.key.why)
        return
    more = _own_source(sheet, seen)
    name, content = _declared(sheet, seen, more)
    line = f"fields.{name} = {source(seen.name, **more)}"
    if seen.kind == "empty" or sheet.crm.settings.directory is None:
        nothing = "no cell has a value: formulas failed" if seen.failed else "all cells are empty"
        why = nothing if seen.kind == "empty" else "no field fits, and own fields need a workspace"
        declared = ", ".join(f"{key} = {quoted(str(value))}" for key, value in content.items())
        sheet.main.left.append(f"# {line}  # {why}; to add one: [fields.{sheet.kind.name}.{name}] {declared}")
        sheet.done(seen, "", "low", why)
        return
    why = "; ".join(filter(None, (f"no field fits: a new one of type {content['type']}", seen.note, seen.ambiguity)))
    doubt = seen.doubt or _unlike(sheet, seen)
    if doubt:
        sheet.ask(seen, doubt)
        doubt = f"; {doubt}"
    confidence = "low" if doubt else "medium"
    sheet.put(f"fields.{name}", source(seen.name, **more), f"{confidence}: {why}{doubt}{sheet.nothing(seen)}")
    sheet.out.fields.setdefault(sheet.kind.name, {})[name] = content
    sheet.done(seen, f"{sheet.kind.name}.fields.{name}", confidence, why)


def _unlike(sheet: Sheet, seen: Seen) -> str:
    """Say that a column is called like a field of numbers or dates and is text; empty where it is not."""
    if seen.kind not in ("text", "time", "integer", "decimal"):
        return ""
    others = _MEASURED if seen.kind in ("text", "time") else ("day", "moment")
    fields = (field for field in open_fields(sheet) if field.declaration.kind in others)
    field = next((field for field in fields if called(seen.name, field.name, sheet.kind.name) is not None), None)
    if field is None:
        return ""
    return f"it is called like {field.path}, but not all of its cells are {_MEASURED[field.declaration.kind]}"


def _own_source(sheet: Sheet, seen: Seen) -> dict[str, str]:
    """Return how the cells of a new field are read; signs beside numbers that no type keeps are taken away."""
    more: dict[str, str] = {}
    if seen.kind == "date" and seen.format:
        more["format"] = quoted(seen.format)
    more |= separators(seen)
    values = yes_or_no_map(seen) if seen.kind == "boolean" else None
    if values is not None and values.values:
        more["map"] = inline(values.values)
    if seen.nulls:
        more["null_if"] = texts(seen.nulls)
    if seen.kind in ("integer", "decimal") and not seen.beside:
        found = currency_of_heading(sheet, seen)
        if found is not None and seen.digits <= exponent(found[1]):
            more["currency"] = found[0]
    if seen.beside:
        code = currency_beside(sheet, seen)
        if code and seen.digits <= exponent(code):
            more["currency"] = quoted(code)
        else:
            text, signs = more.get("value") or quoted(seen.name), inline(dict.fromkeys(seen.beside, ""))
            more["value"] = f"{{ replace = {text}, with = {signs} }}"
    return more


def _declared(sheet: Sheet, seen: Seen, more: dict[str, str]) -> tuple[str, dict[str, Any]]:
    """Return the name and the declaration of a new field."""
    type_ = "moment" if seen.kind == "date" and seen.is_timed else _TYPES.get(seen.kind, "text")
    label = _label(seen.name)
    if "currency" in more:
        type_ = "money"
    elif seen.beside and not PERCENTS.isdisjoint(seen.beside) and not PERCENTS & set(label):
        label = f"{label[:96]} (%)"
    content: dict[str, Any] = {"type": type_, "label": label}
    if type_ == "decimal":
        content["scale"] = max(seen.digits, 1)
    if type_ == "text" and seen.longest > _LONG:
        content["max_length"] = 0
    base = ascii_name(spaced(seen.name)) or f"column_{sheet.place(seen)}"
    name, number = base, 1
    while f"fields.{name}" in {*sheet.kind.fields, *sheet.taken}:
        number += 1
        name = f"{base}_{number}"
    return name, content


def _label(name: str) -> str:
    return "".join(c if c.isprintable() else " " for c in name).strip()[:100] or "Column"
