"""From what a person typed to what a storage runs: field names become columns, literals the primitives stored in them.

Only declared fields, `id`, `version` and `created_at` can be named; no text reaches a database but as a value.
"""

from __future__ import annotations

import datetime as dt
import difflib
from collections.abc import Callable, Iterable
from typing import Final, NoReturn

import attrs

from crm_core.errors import InvalidValue, UsageError
from crm_core.query.ast import And, Compare, Contains, Exists, Expression, In, IsNull, Not, Operator, Or, SortKey
from crm_core.query.text import (
    Comparison,
    Condition,
    Conjunction,
    Containment,
    Disjunction,
    Filter,
    Membership,
    Negation,
    Nullness,
    Value,
    fail,
)
from crm_core.records.registry import OWN_FIELDS, Field, RecordType, Registry
from crm_core.values import Money, id_time, parse_id, strip_marks, text_key, to_micros

Resolve = Callable[[str, str], int]
"""(record type, text a person typed) to the record's id; raises `NotFound` or `AmbiguousReference`."""

_SYSTEM: Final = ("id", "version", "created_at")
_EQUALITY: Final = frozenset({"=", "!="})
_ID_MILLISECOND: Final = 1 << 21
"""An id counts milliseconds in steps of this, so the time of creation needs no column of its own."""
_ID_EPOCH: Final = to_micros(id_time(_ID_MILLISECOND)) - 1000
_MAX: Final = 2**63 - 1


def bind(
    parsed: Filter, kind: RecordType, *, registry: Registry, resolve: Resolve, currency: str | None = None
) -> Expression:
    """Bind a parsed filter to the columns of a record type.

    `!=` is `not =`: unknown values match it. Text of key fields is compared by its key, so case, ي and ی, and digits of
    another script do not matter. A moment is compared with a whole day: `= 2026-01-01` is any time of that local day.
    Money is compared within one currency, `amount > "12 EUR"`; a bare number takes `currency`.

    Args:
        parsed: what `crm_core.query.text.parse` returned.
        kind: the record type whose rows are filtered.
        registry: the types of the CRM.
        resolve: finds the record that a reference typed by a person means.
        currency: what a bare number of money is in; None makes it an error.

    Raises:
        UsageError: an unknown field, an operator the field does not have, or a value it cannot have.
        NotFound, AmbiguousReference: from `resolve`.
    """
    return _Binder(parsed.text, kind, registry, resolve, currency).expression(parsed.root)


def bind_sort(text: str, kind: RecordType) -> tuple[SortKey, ...]:
    """Bind a sort order such as `-amount,name`: a minus sorts from the highest; text of key fields sorts by its key.

    Raises:
        UsageError: an unknown field, or one without an order.
    """
    keys: dict[str, SortKey] = {}
    for part in strip_marks(text).replace("،", ",").split(","):
        name = part.strip()
        if not name:
            continue
        descending, name = name.startswith("-"), name.lstrip("+-").strip()
        column = _sort_column(name, kind)
        keys.setdefault(column, SortKey(column, descending))
    return tuple(keys.values())


def close_matches(name: str, known: Iterable[str], what: str) -> str:
    """Return the hint of an unknown name: what was probably meant, and what there is."""
    names = list(known)
    near = difflib.get_close_matches(name, names, n=3, cutoff=0.6)
    meant = f"did you mean {' or '.join(near)}? " if near else ""
    return f"{meant}{what}: {', '.join(names)}"


def _sort_column(name: str, kind: RecordType) -> str:
    if name in _SYSTEM:
        return "id" if name == "created_at" else name
    field = _find(name, kind)
    if field is None:
        advice = "write -name to sort from the highest" if " " in name else _known(name, kind)
        raise UsageError(f"{kind.plural} cannot be sorted by {name!r}: there is no such field", hint=advice)
    if field.declaration.kind == "tags":
        raise UsageError(f"{kind.plural} cannot be sorted by {name!r}: a record has any number of tags")
    return _text_column(field)


def _find(name: str, kind: RecordType) -> Field | None:
    """Find a field by path, a team's own by its bare name, a reference by its noun (`owner` for `owner_id`)."""
    for path in (name, f"{OWN_FIELDS}.{name}"):
        if path in kind.fields:
            return kind.fields[path]
        reference = kind.fields.get(f"{path}_id")
        if reference is not None and reference.declaration.references:
            return reference
    return None


def _known(name: str, kind: RecordType) -> str:
    return close_matches(name, [*_SYSTEM, *kind.fields], "fields")


def _text_column(field: Field) -> str:
    return f"{field.column}_key" if field.declaration.key else field.column


def _either(parts: Iterable[Expression]) -> Expression:
    found = tuple(parts)
    return found[0] if len(found) == 1 else Or(found)


@attrs.frozen
class _Binder:
    text: str
    kind: RecordType
    registry: Registry
    resolve: Resolve
    currency: str | None

    def expression(self, condition: Condition) -> Expression:
        match condition:
            case Conjunction(parts):
                return And(tuple(self.expression(part) for part in parts))
            case Disjunction(parts):
                return Or(tuple(self.expression(part) for part in parts))
            case Negation(part):
                return Not(self.expression(part))
            case Comparison(name, "!=", value, at):
                return Not(self.expression(Comparison(name, "=", value, at)))
            case Comparison(name, operator, value, at):
                return self.comparison(name, operator, value, at)
            case Membership(name, values, at):
                return _either_in(self.comparison(name, "=", value, at) for value in values)
            case Containment(name, value, at):
                return self.containment(name, value, at)
            case Nullness(name, at):
                return self.nullness(name, at)

    def field(self, name: str, at: int) -> Field:
        found = _find(name, self.kind)
        if found is None:
            fail(self.text, at, f"{self.kind.plural} have no field {name!r}", hint=_known(name, self.kind))
        return found

    def comparison(self, name: str, operator: Operator, value: Value, at: int) -> Expression:
        if name == "id":
            return Compare("id", operator, self.id_of(self.kind.name, value))
        if name == "version":
            return Compare("version", operator, self.whole(value))
        if name == "created_at":
            return self.created(operator, value)
        field = self.field(name, at)
        declared = field.declaration
        if declared.kind in {"boolean", "reference", "tags"} and operator not in _EQUALITY:
            fail(self.text, at, f"{name} has no order, so {operator} does not apply", hint="use = or !=")
        match declared.kind:
            case "text":
                return Compare(_text_column(field), operator, self.text_of(field, value))
            case "tags":
                return self.tagged(value)
            case "reference":
                return Compare(field.column, operator, self.id_of(declared.references, value))
            case "moment":
                return self.moment(field, operator, value)
            case "money":
                return self.money(field, operator, value)
            case _:
                return Compare(field.column, operator, self.number(field, value))

    def containment(self, name: str, value: Value, at: int) -> Expression:
        field = None if name in _SYSTEM else self.field(name, at)
        if field is not None and field.declaration.kind == "tags":
            return self.tagged(value)
        if field is None or field.declaration.kind != "text":
            fail(self.text, at, f"{name} is no text, so contains does not apply", hint="use = != < <= > >= or in")
        self.check_characters(value)
        return Contains(_text_column(field), text_key(value.text) if field.declaration.key else value.text)

    def nullness(self, name: str, at: int) -> Expression:
        if name in _SYSTEM:
            return IsNull("id" if name == "created_at" else name)
        field = self.field(name, at)
        if field.declaration.kind == "tags":
            return Not(Exists(*self.tags_table()))
        return IsNull(field.column)

    def tags_table(self) -> tuple[str, str]:
        return self.registry.named(self.kind.tags_table).plural, f"{self.kind.name}_id"

    def tagged(self, value: Value) -> Expression:
        self.check_characters(value)
        return Exists(*self.tags_table(), Compare("tag_key", "=", text_key(value.text)))

    def text_of(self, field: Field, value: Value) -> str:
        self.check_characters(value)
        if field.declaration.key:
            return text_key(value.text)
        choices = field.declaration.choices
        typed: str = field.codec.parse(value.text)
        if choices and typed not in choices:
            hint = close_matches(typed, choices, "it is one of")
            fail(self.text, value.at, f"{field.path} is never {typed!r}", hint=hint)
        return typed

    def number(self, field: Field, value: Value) -> int:
        number = self.encoded(field, self.parsed(field, value), value)
        assert isinstance(number, int)
        return number

    def whole(self, value: Value) -> int:
        try:
            number = int(strip_marks(value.text))
        except ValueError:
            fail(self.text, value.at, f"{value.text!r} is not a whole number")
        return max(-_MAX - 1, min(_MAX, number))

    def money(self, field: Field, operator: Operator, value: Value) -> Expression:
        amount = self.amount(field, value)
        same_currency = Compare(f"{field.column}_currency", "=", amount.currency)
        return And((same_currency, Compare(field.column, operator, amount.minor)))

    def amount(self, field: Field, value: Value) -> Money:
        typed = strip_marks(value.text).strip()
        if any(character.isalpha() for character in typed):
            parsed = self.parsed(field, value)
            assert isinstance(parsed, Money)
            return parsed
        if self.currency is None:
            hint = f'write the amount with its currency, such as {field.path} > "12.50 EUR"'
            fail(self.text, value.at, f"{field.path}: the currency of {typed} is not known", hint=hint)
        try:
            return Money(typed, self.currency)
        except InvalidValue as error:
            self.refuse(error, field, value)

    def moment(self, field: Field, operator: Operator, value: Value) -> Expression:
        start, end = self.span(field, value)
        match operator:
            case "<":
                return Compare(field.column, "<", start)
            case "<=":
                return Compare(field.column, "<", end)
            case ">":
                return Compare(field.column, ">=", end)
            case ">=":
                return Compare(field.column, ">=", start)
            case _ if end == start + 1:
                return Compare(field.column, "=", start)
            case _:
                return And((Compare(field.column, ">=", start), Compare(field.column, "<", end)))

    def span(self, field: Field, value: Value) -> tuple[int, int]:
        """Return the microseconds at which a typed moment starts and is over: a whole local day, or one microsecond."""
        moment = self.parsed(field, value)
        start = self.encoded(field, moment, value)
        assert isinstance(start, int)
        if isinstance(moment, dt.datetime):
            return start, start + 1
        try:
            assert isinstance(moment, dt.date)
            next_day = moment + dt.timedelta(days=1)
        except OverflowError:
            fail(self.text, value.at, f"{value.text} is the last day there is", hint="choose an earlier day")
        end = self.encoded(field, next_day, value)
        assert isinstance(end, int)
        return start, end

    def created(self, operator: Operator, value: Value) -> Expression:
        # Any moment of the CRM reads and places days as this one must; which one does not matter.
        declared = (field for kind in self.registry.types.values() for field in kind.fields.values())
        model = next(field for field in declared if field.declaration.kind == "moment")
        start, end = self.span(model, value)
        low, high = _first_id(start), _first_id(end)
        match operator:
            case "<":
                return Compare("id", "<", low)
            case "<=":
                return Compare("id", "<", high)
            case ">":
                return Compare("id", ">=", high)
            case ">=":
                return Compare("id", ">=", low)
            case _:
                return And((Compare("id", ">=", low), Compare("id", "<", high)))

    def id_of(self, type_name: str, value: Value) -> int:
        self.check_characters(value)
        try:
            return parse_id(value.text)
        except InvalidValue:
            return self.resolve(type_name, value.text)

    def parsed(self, field: Field, value: Value) -> object:
        try:
            return field.codec.parse(strip_marks(value.text))
        except InvalidValue as error:
            self.refuse(error, field, value)

    def encoded(self, field: Field, parsed: object, value: Value) -> int | str | None:
        try:
            return field.codec.encode(parsed)[0]
        except InvalidValue as error:
            self.refuse(error, field, value)

    def refuse(self, error: InvalidValue, field: Field, value: Value) -> NoReturn:
        fail(self.text, value.at, error.message.removeprefix(f"{field.path}: "), hint=error.hint)

    def check_characters(self, value: Value) -> None:
        if "\0" in value.text or any("\ud800" <= character <= "\udfff" for character in value.text):
            fail(self.text, value.at, "The value holds a character that no text has (NUL or half of a pair)")


def _either_in(parts: Iterable[Expression]) -> Expression:
    """Write equalities on one column as one `in`, others as alternatives."""
    found = tuple(dict.fromkeys(parts))
    columns = {part.column for part in found if isinstance(part, Compare)}
    if len(columns) == 1 and all(isinstance(part, Compare) and part.operator == "=" for part in found):
        return In(columns.pop(), tuple(part.value for part in found if isinstance(part, Compare)))
    return _either(found)


def _first_id(micros: int) -> int:
    """Return the lowest id that may have been made at an instant or later."""
    milliseconds = -((_ID_EPOCH - micros) // 1000)
    return max(0, min(_MAX, milliseconds * _ID_MILLISECOND))
