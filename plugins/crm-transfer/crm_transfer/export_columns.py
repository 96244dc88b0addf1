"""What the columns of an export show of records: fields, names, and the records that are part of each."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any, Final

from crm_core import CRM, RecordService
from crm_core.errors import UsageError
from crm_core.extend import ExportColumn, Exporter
from crm_core.query.ast import In
from crm_core.records import ExternalId, Record, RecordType
from crm_core.records.registry import Field
from crm_core.values import format_id
from crm_transfer.names import Labels, plain_id

_SYSTEM: Final = ("id", "external_id", "version")
_MONEY_SCALE: Final = 4
"""The most digits after the point that any currency of ISO 4217 has."""

Show = Callable[[Record], Any]


class Columns:
    """The columns of one export, made ready for one format."""

    def __init__(self, crm: CRM, kind: RecordType, chosen: Sequence[str], exporter: Exporter) -> None:
        """Take the names of columns; none means the fields and the names of a record.

        Raises:
            UsageError: the record type has no such column.
        """
        self._crm = crm
        self._kind = kind
        self._exporter = exporter
        self._children = _children(crm, kind) if exporter.nested else {}
        self._shown: list[tuple[ExportColumn, str, Show | None]] = []
        self._labels = Labels(crm, kind)
        self._chosen = list(chosen) or [*_SYSTEM, *self._fields()]
        for name in self._chosen:
            self._shown += self._column(name)
        self.columns = [column for column, _, _ in self._shown]

    def _fields(self) -> list[str]:
        """Return the fields; where a spreadsheet may open the file, what references point at by name beside them."""
        return [*self._kind.fields] if self._exporter.nested else self._labels.beside(self._kind.fields)

    def of(self, records: Sequence[Record]) -> Iterator[list[Any]]:
        """Yield the rows of some records, a page at a time: what belongs to them is looked up together."""
        ids = [record.id for record in records]
        self._labels.load(records, self._chosen)
        wanted = {name for _, name, show in self._shown if show is None}
        loaded: dict[str, Mapping[int, Any]] = {}
        if wanted & {"external_id", "external_ids"} and ids:
            known = self._crm.external_ids.of(self._kind.name, ids)
            loaded["external_ids"] = {at: _externals(entries) for at, entries in known.items()}
            loaded["external_id"] = {at: names[0] for at, names in loaded["external_ids"].items() if names}
        for name in wanted & self._children.keys():
            loaded[name] = self._parts(name, ids)
        empty: Mapping[str, Any] = {name: [] for name in self._children} | {"external_ids": []}
        for record in records:
            yield [
                loaded.get(name, {}).get(record.id, empty.get(name)) if show is None else show(record)
                for _, name, show in self._shown
            ]

    def _column(self, name: str) -> list[tuple[ExportColumn, str, Show | None]]:
        """Return a column; money takes two where values cannot be nested."""
        if name == "id":
            shown = format_id if self._exporter.nested else plain_id
            return [(ExportColumn(name), name, lambda record: shown(record.id))]
        if name in self._labels:
            return [(ExportColumn(name), name, self._labels.reader(name))]
        if name == "version":
            return [(ExportColumn(name, "integer"), name, lambda record: record.version)]
        if name == "external_id":
            return [(ExportColumn(name), name, None)]
        if name in self._children or (name == "external_ids" and self._exporter.nested):
            return [(ExportColumn(name, "records"), name, None)]
        try:
            field = self._kind.field(name)
        except UsageError as error:
            others = ", ".join([*_SYSTEM, *self._children])
            raise UsageError(error.message, hint=f"{error.hint}, {others}") from error
        declared = field.declaration
        if declared.kind == "money" and not self._exporter.nested:
            amount = ExportColumn(field.path, "decimal", _MONEY_SCALE)
            return [
                (amount, name, _amount_of(field)),
                (ExportColumn(f"{field.path}_currency"), name, _currency_of(field)),
            ]
        kind = "text" if declared.kind == "reference" else declared.kind
        return [(ExportColumn(field.path, kind, declared.scale), name, self._value_of(field))]

    def _value_of(self, field: Field) -> Show:
        kind, show, zone = field.declaration.kind, field.codec.show, self._crm.zone
        as_it_is = {"integer", "boolean", "decimal"} | ({"day", "moment", "tags"} if self._exporter.typed else set())

        def value(record: Record) -> Any:
            found = field.of(record)
            if kind == "reference" and not self._exporter.nested:
                return None if found is None else plain_id(found)
            if found is None or kind not in as_it_is:
                return found if found is None else show(found)
            return found.astimezone(zone) if isinstance(found, dt.datetime) else found

        return value

    def _parts(self, name: str, ids: Sequence[int]) -> dict[int, list[dict[str, Any]]]:
        """Return, by the record they are part of, the records of a type as plain data."""
        kind, owner = self._children[name]
        service: RecordService[Record] = self._crm.records(kind.name)
        found = list(service.iterate(In(owner.column, tuple(ids))))
        names = self._names(kind, owner, found)
        parts: dict[int, list[dict[str, Any]]] = {}
        for record in found:
            shown: dict[str, Any] = {"id": format_id(record.id)}
            for field in kind.fields.values():
                value = field.of(record)
                if field is owner or value is None:
                    continue
                shown[field.path] = field.codec.show(value)
                if field.declaration.references and value in names.get(field.path, {}):
                    shown[field.path.removesuffix("_id")] = names[field.path][value]
            parts.setdefault(owner.of(record), []).append(shown)
        return parts

    def _names(self, kind: RecordType, owner: Field, records: Iterable[Record]) -> dict[str, dict[int, str]]:
        """Return the names of the records that these point at, by field."""
        names: dict[str, dict[int, str]] = {}
        for field in kind.fields.values():
            target = field.declaration.references
            if not target or field is owner:
                continue
            wanted = sorted({value for record in records if (value := field.of(record)) is not None})
            service: RecordService[Record] = self._crm.records(target)
            named = [(one.id, getattr(one, "name", None)) for one in service.get_many(wanted)]
            names[field.path] = {at: name for at, name in named if name}
        return names


def _children(crm: CRM, kind: RecordType) -> dict[str, tuple[RecordType, Field]]:
    """Return the record types that are part of this one, by plural name, each with the field that says of which."""
    return {
        other.plural: (other, field)
        for other in crm.registry.types.values()
        for field in other.fields.values()
        if field.declaration.references == kind.name and field.declaration.part_of and not other.declaration.internal
    }


def _amount_of(field: Field) -> Show:
    def amount(record: Record) -> Decimal | None:
        found = field.of(record)
        return None if found is None else found.amount

    return amount


def _currency_of(field: Field) -> Show:
    def currency(record: Record) -> str | None:
        found = field.of(record)
        return None if found is None else found.currency

    return currency


def _externals(entries: Sequence[ExternalId]) -> list[str]:
    return [f"{entry.system}:{entry.external}" for entry in entries if entry.state == "live"]
