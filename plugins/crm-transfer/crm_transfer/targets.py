"""What the records are called that an edited export points at, and which one a cell means."""

from __future__ import annotations

from typing import Any

from crm_core import CRM, Record, RecordService
from crm_core.errors import CrmError
from crm_core.records import RecordType
from crm_core.values import format_id
from crm_transfer.conflicts import shown
from crm_transfer.edited_columns import Column
from crm_transfer.errors import BadCell
from crm_transfer.lookup import Lookup
from crm_transfer.names import Labels, label_field
from crm_transfer.readers import Reference


class Targets:
    """Knows, for the rows of one record type, what they point at by id and by name."""

    def __init__(self, crm: CRM, kind: RecordType, lookup: Lookup) -> None:
        """Take where to look."""
        self._crm = crm
        self._kind = kind
        self._lookup = lookup
        self.labels = Labels(crm, kind)

    def pointed(self, column: Column, typed: str, name: str) -> int:
        """Return the id of what a cell points at: an id or whatever people type, or the name in the column beside."""
        target = column.field.declaration.references
        kind = self._crm.registry.types[target]
        if typed:
            try:
                return self._crm.resolve(target, typed.removeprefix("'"))
            except CrmError as error:
                raise BadCell("reference", f"{error.message}; {error.hint}".rstrip("; ")) from error
        reference = Reference(
            field=column.field.path,
            read=lambda cells: "",
            target=target,
            system="",
            by=label_field(kind),
            later=False,
            lenient=False,
            required=False,
            column=column.label,
        )
        self._lookup.make_room()
        self._lookup.load(reference, [name])
        found = self._lookup.found(reference, name)
        if isinstance(found, int):
            return found
        raise found or self._lookup.unknown(reference, name)

    def was_called(self, column: Column, record_id: int, name: str) -> bool:
        """Say whether a record had this name before: an older export calls it so."""
        kind = self._crm.registry.types[column.field.declaration.references]
        images = self._crm.ledger.history.images_of(kind.plural, [record_id])
        return any(name in change.cells.get(label_field(kind), ()) for _, change in images)

    def label(self, column: Column, record: Record) -> str | None:
        return self.labels.of(column.label, column.field.of(record)) if column.label in self.labels else None

    def shown(self, column: Column, value: Any) -> str:
        if column.field.declaration.kind == "reference" and value is not None:
            kind = self._crm.registry.types[column.field.declaration.references]
            service: RecordService[Record] = self._crm.records(kind.name)
            found = service.get_many([value])
            label = getattr(found[0], label_field(kind), None) if found and label_field(kind) else None
            return f"{label} ({format_id(value)})" if label else format_id(value)
        return shown(column.field, value)[:200]

    def name(self, record: Record) -> str:
        label = label_field(self._kind)
        return (label and getattr(record, label)) or format_id(record.id)

    def user(self, user_id: int) -> str:
        found = self._crm.users.get_many([user_id])
        return found[0].name if found else format_id(user_id)
