"""Everything about a person as JSON that programs and the person can read: labels beside names, references in words."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Set
from typing import Any

from crm_core.ledger.reading import decode_rows
from crm_core.ledger.session import Session
from crm_core.ledger.tables import TRANSACTIONS
from crm_core.records import Record, RecordType
from crm_core.records.registry import OWN_FIELDS, Field
from crm_core.records.schema import Row
from crm_core.services.contact_keys import ContactKeys
from crm_core.services.privacy.finding import NAMES, PERSON, Found
from crm_core.services.references import References
from crm_core.values import format_id, from_micros


class Export:
    """Writes down what was found of a person."""

    def __init__(self, session: Session, found: Found) -> None:
        self._session = session
        self._found = found
        self._references = References(session.storage, session.registry, ContactKeys(session.host, session.policies))
        self._labels: dict[tuple[str, int], str] = {}

    def data(self) -> dict[str, Any]:
        """Return all of it as plain JSON data."""
        session, person = self._session, self._found.person
        types = session.registry.types
        shown = [types[name] for name in self._found.present if not types[name].declaration.internal]
        return {
            "about": {
                "id": format_id(person),
                "label": self._references.label(types[PERSON], person),
                "exported_at": session.clock.now().astimezone(session.zone).isoformat(),
                "explanation": "All records about this person, by type; `labels` says what each field is called.",
            },
            "records": {kind.plural: self._of_type(kind) for kind in shown},
            "known_elsewhere_as": list(self._names()),
            "former_values": list(self._former()),
            "not_included": list(self._not_included()),
        }

    def _not_included(self) -> Iterator[dict[str, Any]]:
        """Name what plugins that are not at work keep of the person: only they can say what it means."""
        for what, owner, count in self._found.of_detached():
            yield {"what": what, "count": count, "reason": f"{owner} is not at work; enable it and export again"}

    def _of_type(self, kind: RecordType) -> dict[str, Any]:
        rows = [row for batch in self._found.rows(kind.name) for row in batch]
        records = decode_rows(self._session.storage, kind, sorted(rows, key=lambda row: row[0] or 0))
        return {
            "label": kind.declaration.label,
            "labels": {field.path: field.declaration.label for field in kind.fields.values()},
            "records": [self._record(kind, record) for record in records],
        }

    def _record(self, kind: RecordType, record: Record) -> dict[str, Any]:
        shown: dict[str, Any] = {"id": format_id(record.id)}
        added: dict[str, dict[str, Any]] = {}
        for field in kind.fields.values():
            value = self._shown(field, field.of(record))
            if field.extension:
                added.setdefault(field.extension, {})[field.name] = value
            else:
                shown[field.name] = value
        own = added.pop(OWN_FIELDS, {})
        return {**shown, **({"fields": own} if own else {}), **({"ext": added} if added else {})}

    def _shown(self, field: Field, value: Any) -> Any:
        target = field.declaration.references
        if not target or value is None:
            return field.codec.show(value)
        # Who another customer is, is that customer's to know.
        return {"id": format_id(value), **({} if target == PERSON else {"label": self._label(target, value)})}

    def _label(self, target: str, record_id: int) -> str:
        if (target, record_id) not in self._labels:
            kind = self._session.registry.types[target]
            self._labels[target, record_id] = self._references.label(kind, record_id)
        return self._labels[target, record_id]

    def _names(self) -> Iterator[dict[str, Any]]:
        names = self._session.registry.types[NAMES].table.column_names
        for rows in self._found.names():
            for row in rows:
                cells = dict(zip(names, row, strict=False))
                yield {
                    "record_type": cells["record_type"],
                    "id": format_id(int(cells["record_id"] or 0)),
                    "system": cells["system"],
                    "external": cells["external"],
                    "state": cells["state"],
                }

    def _former(self) -> Iterator[dict[str, Any]]:
        """Yield personal values that the ledger still holds: what was changed or deleted since."""
        kinds = {kind.plural: kind for kind in self._session.registry.types.values()}
        for rows in self._found.own_images():
            times = self._times(rows)
            for row in rows:
                yield from self._values(kinds[str(row[2])], row, times.get(row[1], ""))
        former = self._found.former.images.values()
        times = self._times([row for row, _ in former])
        for row, said in former:
            yield from self._values(kinds[str(row[2])], row, times.get(row[1], ""), said)

    def _times(self, images: list[Row]) -> dict[object, str]:
        found = self._session.storage.get_many(TRANSACTIONS.name, [int(row[1] or 0) for row in images])
        at = TRANSACTIONS.column_names.index("at")
        return {row[0]: from_micros(int(row[at] or 0)).astimezone(self._session.zone).isoformat() for row in found}

    def _values(self, kind: RecordType, image: Row, at: str, said: Set[str] | None = None) -> Iterator[dict[str, Any]]:
        """Yield what an image says was there before; `said` narrows it to columns."""
        content: Mapping[str, Any] = json.loads(str(image[5]))
        deleted = image[4] == "deleted"
        for field in kind.fields.values():
            if not field.declaration.personal or field.column not in (content.keys() if said is None else said):
                continue
            if field.column not in content:
                continue
            cells = [content.get(column.name) for column in field.codec.columns]
            old = tuple(cells if deleted else [None if cell is None else cell[0] for cell in cells])
            if old[0] is not None:
                yield {
                    "record_type": kind.name,
                    "id": format_id(int(image[3] or 0)),
                    "field": field.path,
                    "value": field.codec.show(field.codec.decode(old)),
                    "until": at,
                }


__all__ = ["Export"]
