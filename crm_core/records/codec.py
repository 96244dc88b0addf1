"""How a field's value is checked, stored, shown as JSON and read from text: one codec per kind of field."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping
from decimal import Context, Decimal, Inexact, InvalidOperation, Overflow
from types import MappingProxyType
from typing import Any, Final
from zoneinfo import ZoneInfo

import attrs

from crm_core.errors import InvalidValue
from crm_core.records.declare import FieldDeclaration
from crm_core.records.schema import Column, ColumnType, Meaning, Primitive
from crm_core.values import Money, ascii_digits, format_id, from_micros, local_midnight, parse_id, text_key, to_micros

_MAX: Final = 2**63 - 1
# Our own context: the caller's may have five digits of precision.
_EXACT: Final = Context(prec=40, traps=[Inexact, InvalidOperation, Overflow])
_OUTSIDE: Final = "outside the years 1 to 9999, or within two days of their ends"
FIRST: Final = dt.datetime(1, 1, 3, tzinfo=dt.UTC)
LAST: Final = dt.datetime(9999, 12, 30, tzinfo=dt.UTC)
"""Instants are at or after the first and before the last: between them one has a local time in every zone."""
_EPOCH_DAY: Final = dt.date(1970, 1, 1).toordinal()
_TRUE: Final = frozenset({"true", "yes", "y", "1", "on"})
_FALSE: Final = frozenset({"false", "no", "n", "0", "off"})


@attrs.frozen
class Codec:
    """The forms of one field: `encode` yields one cell per column, `decode` takes them back; None stands for unknown.

    `encode` checks the value (`InvalidValue` names field, value and rule); `parse` reads what a person types; `show`
    gives JSON.
    """

    columns: tuple[Column, ...]
    encode: Callable[[Any], tuple[Primitive, ...]]
    decode: Callable[[tuple[Any, ...]], Any]
    parse: Callable[[str], Any]
    show: Callable[[Any], Any]


def codec_for(
    declaration: FieldDeclaration,
    *,
    path: str,
    prefix: str,
    owner: str,
    zone: ZoneInfo,
    tables: Mapping[str, str] = MappingProxyType({}),
) -> Codec:
    """Build the codec of a field: `path` names it for people, `prefix` its columns, `zone` places days in time.

    `tables` gives the table of each record type a reference may point at.
    """
    return _BUILDERS[declaration.kind](_Place(declaration, path, prefix, owner, zone, tables))


@attrs.frozen
class _Place:
    declaration: FieldDeclaration
    path: str
    column: str
    owner: str
    zone: ZoneInfo
    tables: Mapping[str, str]

    def column_of(self, type_: ColumnType, suffix: str = "", *, max_length: int = 0, meaning: Meaning = "") -> Column:
        declared = self.declaration
        return Column(
            name=self.column + suffix,
            type=type_,
            nullable=declared.nullable,
            max_length=max_length,
            owner=self.owner,
            was=declared.was and self.column.removesuffix(declared.name) + declared.was + suffix,
            references=self.tables.get(declared.references, ""),
            meaning=meaning,
            scale=declared.scale,
        )

    def bad(self, value: object, rule: str, expected: str) -> InvalidValue:
        shown = repr(value) if len(repr(value)) <= 80 else repr(value)[:77] + "..."
        return InvalidValue(f"{self.path}: {shown} is {expected}", field=self.path, value=value, rule=rule)

    def missing(self) -> InvalidValue:
        return InvalidValue(f"{self.path}: a value is required", field=self.path, value=None, rule="required")

    def none(self, cells: tuple[Primitive, ...]) -> tuple[Primitive, ...]:
        if not self.declaration.nullable:
            raise self.missing()
        return cells


def _text(place: _Place) -> Codec:
    declared, limit = place.declaration, place.declaration.max_length
    choices = frozenset(declared.choices)
    with_key = declared.key
    columns = [place.column_of("text", max_length=limit)]
    if with_key:
        columns.append(place.column_of("text", "_key"))

    def check(value: Any) -> str:
        if not isinstance(value, str):
            raise place.bad(value, "type", "not text")
        if limit and len(value) > limit:
            raise place.bad(value, "max_length", f"{len(value)} characters long; at most {limit} are allowed")
        if choices and value not in choices:
            raise place.bad(value, "choices", f"not one of: {', '.join(declared.choices)}")
        if not value.isascii():
            _refuse_surrogates(value, place)
        if "\0" in value:
            raise place.bad(value, "no_nul", "text with a NUL character, which no storage keeps")
        if declared.required and not value.strip():
            raise place.missing()
        return value

    def encode(value: Any) -> tuple[Primitive, ...]:
        if value is None:
            return place.none((None, None) if with_key else (None,))
        checked = check(value)
        return (checked, text_key(checked)) if with_key else (checked,)

    def parse(typed: str) -> str:
        if choices and typed not in choices:
            return next((choice for choice in declared.choices if choice == typed.strip().casefold()), typed)
        return typed

    return Codec(tuple(columns), encode, lambda cells: cells[0], parse, lambda value: value)


def _refuse_surrogates(value: str, place: _Place) -> None:
    try:
        value.encode("utf-8")
    except UnicodeEncodeError as error:
        raise place.bad(value, "unicode", "text with a lone surrogate, which is no character") from error


def _whole(value: Any, place: _Place) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise place.bad(value, "type", "not a whole number")
    if not -_MAX - 1 <= value <= _MAX:
        raise place.bad(value, "range", "beyond 64 bits")
    return value


def _integer(place: _Place) -> Codec:
    def encode(value: Any) -> tuple[Primitive, ...]:
        return place.none((None,)) if value is None else (_whole(value, place),)

    def parse(typed: str) -> int:
        clean = ascii_digits(typed.strip())
        if "_" in clean or len(clean) > 20:
            raise place.bad(typed, "type", "not a whole number of 64 bits")
        try:
            return int(clean)
        except ValueError as error:
            raise place.bad(typed, "type", "not a whole number") from error

    return Codec((place.column_of("int"),), encode, lambda cells: cells[0], parse, lambda value: value)


def _boolean(place: _Place) -> Codec:
    def encode(value: Any) -> tuple[Primitive, ...]:
        if value is None:
            return place.none((None,))
        if not isinstance(value, bool):
            raise place.bad(value, "type", "neither true nor false")
        return (int(value),)

    def parse(typed: str) -> bool:
        word = ascii_digits(typed.strip()).casefold()
        if word not in _TRUE and word not in _FALSE:
            raise place.bad(typed, "type", "neither yes nor no")
        return word in _TRUE

    return Codec((place.column_of("int"),), encode, lambda c: None if c[0] is None else bool(c[0]), parse, lambda v: v)


def _decimal(place: _Place) -> Codec:
    scale = place.declaration.scale

    def encode(value: Any) -> tuple[Primitive, ...]:
        if value is None:
            return place.none((None,))
        if isinstance(value, bool) or not isinstance(value, (int, Decimal)):
            raise place.bad(value, "type", "not a decimal number")
        number = Decimal(value)
        if not number.is_finite():
            raise place.bad(value, "finite", "not a finite number")
        if number and number.adjusted() + scale > 18:
            raise place.bad(value, "range", "beyond 64 bits")
        try:
            scaled = number.scaleb(scale, _EXACT)
            whole = scaled.to_integral_exact(context=_EXACT)
        except (Inexact, InvalidOperation) as error:
            raise place.bad(value, "scale", f"finer than {scale} digits after the point") from error
        return (_whole(int(whole), place),)

    def decode(cells: tuple[Any, ...]) -> Decimal | None:
        return None if cells[0] is None else Decimal(cells[0]).scaleb(-scale, _EXACT)

    def parse(typed: str) -> Decimal:
        clean = ascii_digits(typed.strip())
        try:
            number = Decimal("nan" if "_" in clean else clean)
        except InvalidOperation as error:
            raise place.bad(typed, "type", "not a number") from error
        if not number.is_finite():
            raise place.bad(typed, "type", "not a number")
        return number

    def show(value: Decimal | None) -> str | None:
        return None if value is None else f"{value.normalize(_EXACT):f}"

    return Codec((place.column_of("int", meaning="decimal"),), encode, decode, parse, show)


def _iso_day(typed: str, place: _Place) -> dt.date:
    try:
        return dt.date.fromisoformat(ascii_digits(typed.strip()))
    except ValueError as error:
        raise place.bad(typed, "date", "not a day; write it as 2026-11-30") from error


def _day(place: _Place) -> Codec:
    def encode(value: Any) -> tuple[Primitive, ...]:
        if value is None:
            return place.none((None,))
        if not isinstance(value, dt.date) or isinstance(value, dt.datetime):
            raise place.bad(value, "type", "not a date")
        return (value.toordinal() - _EPOCH_DAY,)

    def decode(cells: tuple[Any, ...]) -> dt.date | None:
        return None if cells[0] is None else dt.date.fromordinal(cells[0] + _EPOCH_DAY)

    def show(value: dt.date | None) -> str | None:
        return None if value is None else value.isoformat()

    return Codec((place.column_of("int", meaning="day"),), encode, decode, lambda typed: _iso_day(typed, place), show)


def _moment(place: _Place) -> Codec:
    zone = place.zone

    def midnight(value: dt.date) -> int:
        try:
            found = to_micros(local_midnight(value, zone))
        except InvalidValue as error:
            raise place.bad(value, "range", "outside the years 1 to 9999 in UTC") from error
        if decode((found, 1)) != value:
            raise place.bad(value, "date", f"a day that {zone.key} skipped")
        return found

    def counted(value: dt.datetime) -> int:
        if not FIRST <= value < LAST:
            raise place.bad(value, "range", _OUTSIDE)
        return to_micros(value)

    def encode(value: Any) -> tuple[Primitive, ...]:
        if value is None:
            return place.none((None, None))
        if isinstance(value, dt.datetime):
            if value.utcoffset() is None:
                raise place.bad(value, "time_zone", "a time without a zone; give it one (tzinfo=)")
            return (counted(value), 0)
        if isinstance(value, dt.date):
            return (midnight(value), 1)
        raise place.bad(value, "type", "neither a time nor a day")

    def decode(cells: tuple[Any, ...]) -> dt.datetime | dt.date | None:
        micros, is_date = cells
        if micros is None:
            return None
        instant = from_micros(micros)
        # Two hours later is the same day, also after the zone's rules were corrected by an hour.
        return (instant + dt.timedelta(hours=2)).astimezone(zone).date() if is_date else instant

    def parse(typed: str) -> dt.datetime | dt.date:
        clean = ascii_digits(typed.strip())
        if len(clean) <= 10:
            return _iso_day(clean, place)
        try:
            instant = dt.datetime.fromisoformat(clean)
        except ValueError as error:
            raise place.bad(typed, "date", "not a time; write it as 2026-11-30T14:00 or 2026-11-30") from error
        try:
            return instant.astimezone(dt.UTC) if instant.tzinfo else in_zone(instant, typed)
        except OverflowError as error:
            raise place.bad(typed, "range", _OUTSIDE) from error

    def in_zone(wall: dt.datetime, typed: str) -> dt.datetime:
        instant = wall.replace(tzinfo=zone).astimezone(dt.UTC)
        if instant.astimezone(zone).replace(tzinfo=None, fold=0) != wall:
            raise place.bad(typed, "time", f"a time that the clocks of {zone.key} skipped")
        return instant

    def show(value: dt.datetime | dt.date | None) -> str | None:
        if isinstance(value, dt.datetime):
            return value.astimezone(zone).isoformat()
        return None if value is None else value.isoformat()

    columns = (place.column_of("int", meaning="moment"), place.column_of("int", "_is_date"))
    return Codec(columns, encode, decode, parse, show)


def _money(place: _Place) -> Codec:
    def encode(value: Any) -> tuple[Primitive, ...]:
        if value is None:
            return place.none((None, None))
        if not isinstance(value, Money):
            raise place.bad(value, "type", 'not an amount of money; write Money("12.50", "EUR")')
        return (value.minor, value.currency)

    def decode(cells: tuple[Any, ...]) -> Money | None:
        return None if cells[0] is None else Money.from_minor(cells[0], cells[1])

    def parse(typed: str) -> Money:
        parts = typed.split()
        if len(parts) != 2:
            raise place.bad(typed, "money", "not an amount with its currency; write it as 12.50 EUR")
        amount, currency = parts if parts[0][:1] in "+-.0123456789" or not parts[0].isascii() else reversed(parts)
        try:
            return Money(amount, currency.upper())
        except InvalidValue as error:
            raise InvalidValue(f"{place.path}: {error.message}", field=place.path, value=typed, rule="money") from error

    def show(value: Money | None) -> dict[str, str] | None:
        return None if value is None else value.to_json()

    columns = (place.column_of("int", meaning="money"), place.column_of("text", "_currency", max_length=3))
    return Codec(columns, encode, decode, parse, show)


def _reference(place: _Place) -> Codec:
    def encode(value: Any) -> tuple[Primitive, ...]:
        if value is None:
            return place.none((None,))
        if _whole(value, place) < 1:
            raise place.bad(value, "reference", "not the id of a stored record; store that one first")
        return (value,)

    def show(value: int | None) -> str | None:
        return None if value is None else format_id(value)

    return Codec((place.column_of("int"),), encode, lambda cells: cells[0], parse_id, show)


def _tags(place: _Place) -> Codec:
    """Tags have no column: they are child rows, written by the service."""

    def parse(typed: str) -> tuple[str, ...]:
        return tuple(dict.fromkeys(tag.strip() for tag in typed.split(",") if tag.strip()))

    return Codec((), lambda value: (), lambda cells: (), parse, list)


_BUILDERS: Final[dict[str, Callable[[_Place], Codec]]] = {
    "text": _text,
    "integer": _integer,
    "boolean": _boolean,
    "decimal": _decimal,
    "day": _day,
    "moment": _moment,
    "money": _money,
    "reference": _reference,
    "tags": _tags,
}
