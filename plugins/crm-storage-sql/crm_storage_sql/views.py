"""Views for people and BI tools: `v_deals` shows what `deals` holds, with ISO 8601 times and decimal amounts."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from typing import Final

import attrs

from crm_core.records.schema import Column, Manifest, Table
from crm_core.values.currencies import EXPONENTS
from crm_storage_sql.dialect import quote

PREFIX: Final = "v_"
_DAY_SHIFT: Final = 13 * 3600
"""A day is stored as its local midnight: 13 hours later it is that day in UTC too, from UTC-10:59 to UTC+13."""


@attrs.frozen(kw_only=True)
class Forms:
    """How a database writes what views show, as templates.

    `day` gets days since 1970; `date` and `instant` seconds since 1970; `fraction` microseconds; `text` an integer;
    `decimal` an integer {0}, its {unit} and {digits}. `quotient` and `remainder` drop fractions towards zero.
    """

    day: str
    date: str
    instant: str
    fraction: str
    text: str
    decimal: str
    quotient: str
    remainder: str
    joined: str = "{0} || {1}"


SQLITE_FORMS: Final = Forms(
    day="date({0} * 86400, 'unixepoch')",
    date="date({0}, 'unixepoch')",
    instant="strftime('%Y-%m-%dT%H:%M:%S', {0}, 'unixepoch')",
    fraction="printf('.%06dZ', {0})",
    text="CAST({0} AS TEXT)",
    decimal="printf('%s%d.%0{digits}d', iif({0} < 0, '-', ''), abs({0} / {unit}), abs({0} % {unit}))",
    quotient="({0} / {1})",
    remainder="({0} % {1})",
)


def create_view(table: Table, forms: Forms) -> str:
    """Return the statement that creates the view of a record table."""
    names = set(table.column_names)
    shown = [
        f"{_expression(column, forms)} AS {quote(column.name)}"
        for column in table.columns
        if not (_is_companion(column.name, "_is_date", names) or _is_companion(column.name, "_key", names))
    ]
    return f"CREATE VIEW {quote(PREFIX + table.name)} AS SELECT {', '.join(shown)} FROM {quote(table.name)}"


def replace_views(connection: sqlite3.Connection, manifest: Manifest) -> None:
    """Create a view for every record table of an SQLite file anew."""
    drop_views(connection)
    for table in manifest.tables.values():
        if "version" in table.column_names:
            connection.execute(create_view(table, SQLITE_FORMS))


def drop_views(connection: sqlite3.Connection) -> None:
    """Remove the views of an SQLite file, which would stand in the way of changes to their tables."""
    views = connection.execute("SELECT name FROM sqlite_schema WHERE type = 'view' AND name LIKE 'v\\_%' ESCAPE '\\'")
    for (name,) in views.fetchall():
        connection.execute(f"DROP VIEW {quote(name)}")


def _is_companion(name: str, suffix: str, names: set[str]) -> bool:
    return name.endswith(suffix) and name.removesuffix(suffix) in names


def _expression(column: Column, forms: Forms) -> str:
    cell = quote(column.name)
    match column.meaning:
        case "day":
            return forms.day.format(cell)
        case "moment":
            return _moment(column.name, forms)
        case "decimal":
            return _decimal(cell, column.scale, forms)
        case "money":
            currency = quote(column.name + "_currency")
            cases = [
                f"WHEN {currency} IN ({codes}) THEN {_decimal(cell, digits, forms)}" for digits, codes in _unusual()
            ]
            return f"CASE {' '.join(cases)} ELSE {_decimal(cell, 2, forms)} END"
        case _:
            return cell


def _moment(name: str, forms: Forms) -> str:
    cell = quote(name)
    # The remainder has the sign of the moment; before 1970 the microseconds count from the second below.
    micros = forms.remainder.format(f"({forms.remainder.format(cell, 1_000_000)} + 1000000)", 1_000_000)
    seconds = forms.quotient.format(f"({cell} - {micros})", 1_000_000)
    day = forms.date.format(f"{seconds} + {_DAY_SHIFT}")
    instant = forms.joined.format(forms.instant.format(seconds), forms.fraction.format(micros))
    return f"CASE WHEN {quote(name + '_is_date')} = 1 THEN {day} ELSE {instant} END"


def _unusual() -> Iterator[tuple[int, str]]:
    """Yield the currencies whose minor unit is not a hundredth, by the number of its digits."""
    for digits in sorted(set(EXPONENTS.values()) - {2}):
        yield digits, ", ".join(f"'{code}'" for code, exponent in EXPONENTS.items() if exponent == digits)


def _decimal(cell: str, digits: int, forms: Forms) -> str:
    if digits == 0:
        return forms.text.format(cell)
    number = forms.decimal.format(cell, unit=10**digits, digits=digits)
    return f"CASE WHEN {cell} IS NOT NULL THEN {number} END"
