"""What a mapping says of one field, read from TOML: where its value comes from, and how its text is read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal, cast

import attrs

from crm_transfer.conditions import Condition, conditions
from crm_transfer.expressions import Expression, columns_of, expression
from crm_transfer.policies import CONFLICTS, Conflict
from crm_transfer.tables import Table

Unmapped = Literal["keep", "reject", "empty"]
_FIELD_KEYS: Final = frozenset(
    {"column", "const", "template", "value", "format", "decimal", "thousands", "zone", "currency", "map", "fix",
     "unmapped", "null_if", "default", "ref", "by", "later", "unknown", "system", "separator", "when", "conflict"}
)  # fmt: skip


@attrs.frozen(kw_only=True)
class Part:
    """A piece of text: a column's cell, or (column is empty) the constant `const`."""

    column: str = ""
    const: str = ""


@attrs.frozen(kw_only=True)
class FieldMap:
    """Where a field's value comes from, and how its text is read; `place` names it in errors.

    `corrections` are mistakes of the file, reported with their counts; `values` translates its vocabulary, silently.
    `ref` is the record type pointed at: `parts` then give its external id in `system`, or its name or e-mail (`by`);
    with `lenient` the field stays as it is when there is none. `value` stands instead of `parts`. `conflict` says who
    wins where the record is there already and says something else.
    """

    path: str
    place: str
    parts: tuple[Part, ...]
    format: str = ""
    decimal: str | None = None
    thousands: str | None = None
    zone: str = ""
    currency: str = ""
    currency_column: str = ""
    values: Mapping[str, str] = attrs.field(factory=dict)
    corrections: Mapping[str, str] = attrs.field(factory=dict)
    unmapped: Unmapped = "keep"
    null_if: frozenset[str] = frozenset()
    default: str = ""
    when: tuple[Condition, ...] = ()
    ref: str = ""
    by: str = ""
    later: bool = False
    lenient: bool = False
    system: str = ""
    separator: str = ","
    value: Expression | None = None
    conflict: Conflict = "keep_edited"

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that the value comes from, in order."""
        if self.value is not None:
            return tuple(columns_of(self.value))
        return tuple(part.column for part in self.parts if part.column)


def conflict_of(table: Table, default: Conflict) -> Conflict:
    """Return who wins where the file and the CRM differ."""
    return cast("Conflict", table.choice("conflict", CONFLICTS, default))


def fields_of(table: Table, prefix: str, system: str, policy: Conflict) -> list[FieldMap]:
    """Return the fields of a record's table; a table without a source in it holds fields of its own."""
    found: list[FieldMap] = []
    for name, value in table.data.items():
        path = prefix + name
        is_group = name == "fields" or (isinstance(value, dict) and not (value.keys() & _FIELD_KEYS))
        if isinstance(value, dict) and not prefix and value and is_group:  # an own field may be called "currency"
            found += fields_of(Table(value, f"{table.place}.{name}"), f"{name}.", system, policy)
        elif isinstance(value, (str, list)):
            place = f"{table.place}: {path}"
            parts = parts_of(table, name)
            found.append(FieldMap(path=path, place=place, parts=parts, system=system, conflict=policy))
        elif isinstance(value, dict):
            found.append(_field(Table(value, f"{table.place}: {path}"), path, system, policy))
        else:
            raise table.wrong(path, f"must be a column's name or a table, found {value!r}", '{ const = "..." }')
    return found


def _field(table: Table, path: str, system: str, policy: Conflict) -> FieldMap:
    table.only(_FIELD_KEYS)
    sources = [key for key in ("column", "const", "template", "value") if key in table.data]
    if len(sources) != 1:
        raise table.wrong("", "needs exactly one of: column, const, template, value", '{ column = "name" }')
    currency = table.data.get("currency", "")
    column = Table(currency, f"{table.place}: currency").text("column") if isinstance(currency, dict) else ""
    unmapped = table.text("unmapped", "keep")
    if unmapped not in ("keep", "reject", "empty"):
        raise table.wrong("unmapped", f"must be keep, reject or empty, found {unmapped!r}")
    if table.text("by") not in ("", "name", "email") or (table.text("by") and not table.text("ref")):
        raise table.wrong("by", 'must be "name" or "email", beside ref')
    lenient = table.choice("unknown", ("reject", "keep")) == "keep"
    if lenient and not table.text("ref"):
        raise table.wrong("unknown", "needs ref: it says what becomes of a reference to nothing")
    chosen: Unmapped = "keep" if unmapped == "keep" else "reject" if unmapped == "reject" else "empty"
    return FieldMap(
        path=path,
        place=table.place,
        parts=_source_parts(table, sources[0]) if sources[0] != "value" else (),
        value=expression(table.data["value"], table, "value") if sources[0] == "value" else None,
        format=table.text("format"),
        decimal=table.text("decimal") if "decimal" in table.data else None,
        thousands=table.text("thousands") if "thousands" in table.data else None,
        zone=table.text("zone"),
        currency="" if column else table.text("currency"),
        currency_column=column,
        values=table.mapping("map"),
        corrections=table.mapping("fix"),
        unmapped=chosen,
        null_if=frozenset(table.texts("null_if")),
        default=table.text("default"),
        when=conditions(table),
        ref=table.text("ref"),
        by=table.text("by"),
        later=table.flag("later"),
        lenient=lenient,
        system=table.text("system") or system,
        separator=table.text("separator", ","),
        conflict=conflict_of(table, policy),
    )


def _source_parts(table: Table, source: str) -> tuple[Part, ...]:
    value = table.data[source]
    if source == "const":
        if isinstance(value, bool):
            return (Part(const="true" if value else "false"),)
        if not isinstance(value, (str, int)):
            raise table.wrong("const", f"must be text, a whole number, true or false, found {value!r}")
        return (Part(const=str(value)),)
    if source == "template":
        return _template(table)
    return parts_of(table, "column")


def _template(table: Table) -> tuple[Part, ...]:
    parts: list[Part] = []
    for at, piece in enumerate(table.text("template").replace("}", "{").split("{")):
        if piece:
            parts.append(Part(column=piece) if at % 2 else Part(const=piece))
    if not any(part.column for part in parts):
        raise table.wrong("template", "names no column", 'template = "{first_name} {last_name}"')
    return tuple(parts)


def parts_of(table: Table, key: str) -> tuple[Part, ...]:
    """Return the pieces of a key: a column, or a list of columns and `{const=...}`."""
    value = table.data[key]
    listed = value if isinstance(value, list) else [value]
    parts: list[Part] = []
    for each in listed:
        if isinstance(each, str) and each:
            parts.append(Part(column=each))
        elif isinstance(each, dict) and set(each) == {"const"} and isinstance(each["const"], str):
            parts.append(Part(const=each["const"]))
        elif isinstance(each, dict) and set(each) == {"column"} and isinstance(each["column"], str):
            parts.append(Part(column=each["column"]))
        else:
            raise table.wrong(key, f"must name columns, found {each!r}", f'{key} = ["account", {{ const = "email" }}]')
    if not any(part.column for part in parts):
        raise table.wrong(key, "names no column")
    return tuple(parts)
