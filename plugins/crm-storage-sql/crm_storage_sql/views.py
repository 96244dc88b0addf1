"""Views for people and BI tools: `v_deals` shows what `deals` holds, with ISO 8601 times and decimal amounts."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from typing import Final

from crm_core.records.schema import Column, Manifest, Table
from crm_core.values.currencies import EXPONENTS
from crm_storage_sql.dialect import quote

PREFIX: Final = "v_"
_DAY_SHIFT: Final = 13 * 3600
"""A day is stored as its local midnight: 13 hours later it is that day in UTC too, from UTC-10:59 to UTC+13."""


def replace_views(connection: sqlite3.Connection, manifest: Manifest) -> None:
    """Create a view for every record table anew."""
    drop_views(connection)
    for table in manifest.tables.values():
        if "version" in table.column_names:
            connection.execute(_create_view(table))


def drop_views(connection: sqlite3.Connection) -> None:
    """Remove the views, which would stand in the way of changes to their tables."""
    views = connection.execute("SELECT name FROM sqlite_schema WHERE type = 'view' AND name LIKE 'v\\_%' ESCAPE '\\'")
    for (name,) in views.fetchall():
        connection.execute(f"DROP VIEW {quote(name)}")


def _create_view(table: Table) -> str:
    names = set(table.column_names)
    shown = [
        f"{_expression(column)} AS {quote(column.name)}"
        for column in table.columns
        if not (_is_companion(column.name, "_is_date", names) or _is_companion(column.name, "_key", names))
    ]
    return f"CREATE VIEW {quote(PREFIX + table.name)} AS SELECT {', '.join(shown)} FROM {quote(table.name)}"


def _is_companion(name: str, suffix: str, names: set[str]) -> bool:
    return name.endswith(suffix) and name.removesuffix(suffix) in names


def _expression(column: Column) -> str:
    cell = quote(column.name)
    match column.meaning:
        case "day":
            return f"date({cell} * 86400, 'unixepoch')"
        case "moment":
            seconds = f"(({cell} - ({cell} % 1000000 + 1000000) % 1000000) / 1000000)"
            instant = f"strftime('%Y-%m-%dT%H:%M:%S', {seconds}, 'unixepoch')"
            fraction = f"printf('.%06dZ', ({cell} % 1000000 + 1000000) % 1000000)"
            day = f"date({seconds} + {_DAY_SHIFT}, 'unixepoch')"
            return f"CASE WHEN {quote(column.name + '_is_date')} = 1 THEN {day} ELSE {instant} || {fraction} END"
        case "decimal":
            return _decimal(cell, column.scale)
        case "money":
            currency = quote(column.name + "_currency")
            cases = [f"WHEN {currency} IN ({codes}) THEN {_decimal(cell, digits)}" for digits, codes in _unusual()]
            return f"CASE {' '.join(cases)} ELSE {_decimal(cell, 2)} END"
        case _:
            return cell


def _unusual() -> Iterator[tuple[int, str]]:
    """Yield the currencies whose minor unit is not a hundredth, by the number of its digits."""
    for digits in sorted(set(EXPONENTS.values()) - {2}):
        yield digits, ", ".join(f"'{code}'" for code, exponent in EXPONENTS.items() if exponent == digits)


def _decimal(cell: str, digits: int) -> str:
    if digits == 0:
        return f"CAST({cell} AS TEXT)"
    unit = 10**digits
    number = f"printf('%s%d.%0{digits}d', iif({cell} < 0, '-', ''), abs({cell} / {unit}), abs({cell} % {unit}))"
    return f"CASE WHEN {cell} IS NOT NULL THEN {number} END"
