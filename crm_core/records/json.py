"""The JSON form of records, fixed for programs: ids as text, money as objects, times as ISO text, additions apart."""

from __future__ import annotations

from typing import Any

from crm_core.records.declare import Record
from crm_core.records.registry import OWN_FIELDS, RecordType
from crm_core.values import format_id


def record_json(kind: RecordType, record: Record) -> dict[str, Any]:
    """Return a record's JSON form: its own fields by name, a plugin's under `ext`, the team's own under `fields`.

    Ids are 13 characters, money is `{"amount": "12.50", "currency": "EUR"}`, times carry the workspace's offset.
    """
    shown: dict[str, Any] = {"id": format_id(record.id), "version": record.version}
    added: dict[str, dict[str, Any]] = {}
    for field in kind.fields.values():
        value = field.codec.show(field.of(record))
        if field.extension:
            added.setdefault(field.extension, {})[field.name] = value
        else:
            shown[field.name] = value
    shown["fields"] = added.pop(OWN_FIELDS, {})
    shown["ext"] = added
    return shown
