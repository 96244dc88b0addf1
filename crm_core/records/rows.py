"""The functions that turn a record into a row and back, written out as source once for each record type.

Apart from the codecs, because an import spends its time here: what is common (None, short ASCII text, integers) is
decided in line, and only the rest goes through the field's codec, which has the words for what is wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from itertools import chain
from types import MappingProxyType, MemberDescriptorType
from typing import TYPE_CHECKING, Any, Final, cast

import attrs

from crm_core.errors import InvalidValue
from crm_core.records.codec import FIRST, LAST
from crm_core.records.declare import OWN_FIELDS
from crm_core.records.schema import SYSTEM_COLUMNS, Primitive, Row
from crm_core.values import Money, text_key

if TYPE_CHECKING:
    from crm_core.records.declare import Record
    from crm_core.records.registry import Field

_EMPTY: Final[Mapping[str, Any]] = MappingProxyType({})
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_PLAIN: Final = ("text", "integer", "reference")
"""Kinds whose cell is the value."""
_DAYS: Final = 50_000
"""How many days are remembered."""


@attrs.frozen
class RowFunctions:
    """What is generated for one record type.

    `made(values)` builds a new record of the values of some fields by name; `encode(record)` checks a record and
    returns its whole row; `decode(row, tags)` builds the record of a whole row; `stamped(record, id, version,
    created_tx, updated_tx)` copies a record under other system values; `stamp` gives them to the record itself.
    """

    made: Callable[[Mapping[str, Any]], Record]
    encode: Callable[[Record], Row]
    decode: Callable[[Sequence[Any], tuple[str, ...]], Record]
    stamped: Callable[[Record, int, int, int, int], Record]
    stamp: Callable[[Record, int, int, int, int], Record]


def row_functions(cls: type[Record], name: str, fields: Sequence[Field]) -> RowFunctions:
    """Generate the functions of a record type from its fields in the order of the table's columns."""
    namespace: dict[str, Any] = {"cls": cls, "text_key": text_key, "EPOCH": _EPOCH, "timedelta": timedelta}
    namespace |= {"UTC": UTC, "FIRST": FIRST, "LAST": LAST, "date": date, "datetime": datetime, "Money": Money}
    namespace |= {"new": object.__new__, "EMPTY": _EMPTY, "added": _Added(name, fields), "is_unicode": _is_unicode}
    functions = (_made(cls, namespace), _encode(fields, namespace), _decode(cls, fields, namespace))
    source = "\n".join([*chain(*functions), *_stamped(cls, namespace), *_stamp(namespace)])
    exec(compile(source, f"<rows of {name}>", "exec"), namespace)
    return RowFunctions(*(namespace[each.name] for each in attrs.fields(RowFunctions)))


def _made(cls: type[Record], namespace: dict[str, Any]) -> list[str]:
    given: dict[str, str] = {}
    for one in attrs.fields(cls):
        if hasattr(one.default, "takes_self"):  # a factory of defaults
            return ["def made(values):", "    return cls(**values)"]
        namespace[f"default_{one.name}"] = one.default
        required = one.default is attrs.NOTHING
        given[one.name] = f"values[{one.name!r}]" if required else f"get({one.name!r}, default_{one.name})"
    return ["def made(values):", "    get = values.get", *_constructed(cls, given, namespace)]


def _encode(fields: Sequence[Field], namespace: dict[str, Any]) -> list[str]:
    lines = ["def encode(r):"]
    row = [f"r.{name}" for name in SYSTEM_COLUMNS]
    for number, field in enumerate(own for own in fields if not own.extension):
        width = len(field.codec.columns)
        mine = [f"c{len(row) + place}" for place in range(width)]
        if width:
            namespace[f"e{number}"] = field.codec.encode
            namespace[f"k{number}"] = frozenset(field.declaration.choices)
            namespace[f"m{number}"] = _Midnights(field.codec.encode)
            lines += [f"    v = r.{field.name}", *_assign(field, number, mine)]
            row += mine
    nothing = ["None" for field in fields if field.extension for _ in field.codec.columns]
    return [
        *lines,
        f"    if r.fields or r.extensions: return ({', '.join(row)}, *added.cells(r))",
        f"    return ({', '.join([*row, *nothing])})",
    ]


def _assign(field: Field, number: int, cells: Sequence[str]) -> list[str]:
    """Write the lines that set a field's cells from `v`: the common cases in line, the rest by the codec."""
    declared, targets = field.declaration, "".join(cell + ", " for cell in cells)
    slow = f"{targets}= e{number}(v)"
    unset = f"    if v is None: {' = '.join(cells)} = None"
    if not declared.nullable:
        unset = f"    if v is None: e{number}(v)"
    quick = f"{cells[0]} = v"
    match declared.kind:
        case "text" if declared.choices:
            common = f"v.__class__ is str and v in k{number}"
        case "text":
            limit = f" and len(v) <= {declared.max_length}" if declared.max_length else ""
            filled = " and not v.isspace() and v" if declared.required else ""
            common = f'v.__class__ is str and (v.isascii() or is_unicode(v)) and "\\0" not in v{limit}{filled}'
        case "integer":
            common = f"v.__class__ is int and {-(2**63)} <= v < {2**63}"
        case "reference":
            common = f"v.__class__ is int and 0 < v < {2**63}"
        case "boolean":
            common, quick = "v.__class__ is bool", f"{cells[0]} = 1 if v else 0"
        case "day":
            common, quick = "v.__class__ is date", f"{cells[0]} = v.toordinal() - {_EPOCH.toordinal()}"
        case "money":
            common, quick = "v.__class__ is Money", f"{cells[0]} = v.minor; {cells[1]} = v.currency"
        case "moment":
            common = "v.__class__ is datetime and v.tzinfo is UTC and FIRST <= v < LAST"
            micros = "(v.days * 86400 + v.seconds) * 1000000 + v.microseconds"
            quick = f"v = v - EPOCH; {cells[0]} = {micros}; {cells[1]} = 0"
            return [
                unset,
                f"    elif v.__class__ is date: {cells[0]} = m{number}[v]; {cells[1]} = 1",
                f"    elif {common}: {quick}",
                f"    else: {slow}",
            ]
        case _:
            return [unset, f"    else: {slow}"]
    if declared.key:
        quick += f"; {cells[1]} = text_key(v)"
    return [unset, f"    elif {common}: {quick}", f"    else: {slow}"]


def _decode(cls: type[Record], fields: Sequence[Field], namespace: dict[str, Any]) -> list[str]:
    given = {name: f"row[{place}]" for place, name in enumerate(SYSTEM_COLUMNS)}
    at = len(SYSTEM_COLUMNS)
    for number, field in enumerate(own for own in fields if not own.extension):
        given[field.name] = _decoded(field, number, at, namespace)
        at += len(field.codec.columns)
    lines = ["def decode(row, tags=()):"]
    if any(field.extension for field in fields):
        lines.append(f"    fields, extensions = added.decode(row, {at})")
        given |= {"fields": "fields", "extensions": "extensions"}
    else:
        given |= {"fields": "EMPTY", "extensions": "EMPTY"}
    return [*lines, *_constructed(cls, given, namespace)]


def _constructed(cls: type[Record], given: Mapping[str, str], namespace: dict[str, Any]) -> list[str]:
    """Write the lines that make and return a record of the `given` values.

    Where a class is nothing but its slots they are set one by one, which takes half the time of `__init__`.
    """
    attributes = attrs.fields(cls)
    slots = {one.name: getattr(cls, one.name, None) for one in attributes}
    plain = all(isinstance(slot, MemberDescriptorType) for slot in slots.values())
    checks = hasattr(cls, "__attrs_post_init__") or any(one.validator or one.converter for one in attributes)
    if not plain or checks or slots.keys() != given.keys():
        return [f"    return cls({', '.join(f'{name}={value}' for name, value in given.items())})"]
    namespace |= {f"set_{name}": cast(Any, slot).__set__ for name, slot in slots.items()}
    setting = [f"    set_{name}(made, {value})" for name, value in given.items()]
    return ["    made = new(cls)", *setting, "    return made"]


def _decoded(field: Field, number: int, at: int, namespace: dict[str, Any]) -> str:
    width = len(field.codec.columns)
    if not width:
        return "tags"
    if field.declaration.kind in _PLAIN:
        return f"row[{at}]"
    if field.declaration.kind == "boolean":
        return f"None if row[{at}] is None else row[{at}] == 1"
    namespace[f"d{number}"] = field.codec.decode
    careful = f"d{number}(row[{at}:{at + width}])"
    if field.declaration.kind == "moment":
        careful = f"{careful} if row[{at + 1}] else EPOCH + timedelta(0, 0, row[{at}])"
    return f"None if row[{at}] is None else {careful}"


def _stamped(cls: type[Record], namespace: dict[str, Any]) -> list[str]:
    given = {name: name if name in SYSTEM_COLUMNS else f"r.{name}" for name in (one.name for one in attrs.fields(cls))}
    return [f"def stamped(r, {', '.join(SYSTEM_COLUMNS)}):", *_constructed(cls, given, namespace)]


def _stamp(namespace: dict[str, Any]) -> list[str]:
    """Write the lines that set the system values, by the slots where `_constructed` found some."""
    namespace["put"] = object.__setattr__
    quick = all(f"set_{name}" in namespace for name in SYSTEM_COLUMNS)
    setting = [f"    set_{name}(r, {name})" if quick else f"    put(r, {name!r}, {name})" for name in SYSTEM_COLUMNS]
    return [f"def stamp(r, {', '.join(SYSTEM_COLUMNS)}):", *setting, "    return r"]


class _Midnights(dict[date, int]):
    """The microseconds at which days begin, which the codec reckons: most days of an import come again."""

    def __init__(self, encode: Callable[[date], Row]) -> None:
        self._encode = encode

    def __missing__(self, day: date) -> int:
        found = cast(int, self._encode(day)[0])
        if len(self) >= _DAYS:
            self.clear()
        self[day] = found
        return found


def _is_unicode(text: str) -> bool:
    """Say whether a text can be stored: it has no half of a character (a lone surrogate)."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


class _Added:
    """The fields that plugins and the team added to a type: few and mostly unset, so looked up and not generated."""

    def __init__(self, type_name: str, fields: Sequence[Field]) -> None:
        self._type = type_name
        self._fields = [field for field in fields if field.extension]
        self._known: dict[str, set[str]] = {}
        for field in self._fields:
            self._known.setdefault(field.extension, set()).add(field.name)

    def cells(self, record: Record) -> Row:
        """Return the cells of the added fields.

        Raises:
            InvalidValue: a value breaks a rule, or there is no such field here.
        """
        self._refuse_unknown(OWN_FIELDS, record.fields)
        for extension, content in record.extensions.items():
            self._refuse_unknown(extension, content)
        cells: list[Primitive] = []
        for field in self._fields:
            cells += field.codec.encode(field.of(record))
        return tuple(cells)

    def decode(self, row: Sequence[Any], at: int) -> tuple[Mapping[str, Any], Mapping[str, Mapping[str, Any]]]:
        """Return the team's own fields and the plugins' from the cells from `at` on; those never set are left out."""
        found: dict[str, dict[str, Any]] = {}
        for field in self._fields:
            width = len(field.codec.columns)
            if row[at] is not None:
                found.setdefault(field.extension, {})[field.name] = field.codec.decode(tuple(row[at : at + width]))
            at += width
        if not found:
            return _EMPTY, _EMPTY
        own = found.pop(OWN_FIELDS, None)
        extensions = MappingProxyType({name: MappingProxyType(content) for name, content in found.items()})
        return MappingProxyType(own) if own else _EMPTY, extensions if found else _EMPTY

    def _refuse_unknown(self, extension: str, content: Mapping[str, Any]) -> None:
        for name in content.keys() - self._known.get(extension, set()):
            if content[name] is not None:
                path = f"{extension}.{name}"
                hint = (
                    f"declare it in crm.toml under [fields.{self._type}.{name}]"
                    if extension == OWN_FIELDS
                    else "register its class with the hook register_fields"
                )
                raise InvalidValue(
                    f"{path}: {self._type} has no such field", field=path, value=content[name], rule="known", hint=hint
                )
