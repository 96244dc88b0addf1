"""What a CRM holds, without ids, versions and transactions: two that hold the same compare equal."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from crm_core import CRM


def content(crm: CRM) -> dict[str, list[str]]:
    """Return, by record type, what every record says; a reference is told by what the record it points at says."""
    types = {name: kind for name, kind in crm.registry.types.items() if not kind.declaration.internal}
    rows: dict[int, tuple[str, dict[str, Any]]] = {}
    for name, kind in types.items():
        for record in crm.records(name).iterate():
            cells = {field.path: field.of(record) for field in kind.fields.values()}
            rows[record.id] = (name, {path: value for path, value in cells.items() if value is not None})

    def plain(record_id: int) -> dict[str, str]:
        name, cells = rows[record_id]
        return {p: repr(v) for p, v in cells.items() if not types[name].fields[p].declaration.references}

    def pointing(record_id: int) -> dict[str, dict[str, str]]:
        name, cells = rows[record_id]
        return {p: plain(v) for p, v in cells.items() if types[name].fields[p].declaration.references}

    found: dict[str, list[str]] = {}
    for record_id, (name, _) in rows.items():
        told = json.dumps([plain(record_id), pointing(record_id)], sort_keys=True, ensure_ascii=False)
        found.setdefault(name, []).append(told)
    return {name: sorted(each) for name, each in sorted(found.items())}


def digest(crm: CRM) -> str:
    """Return a hash of the content."""
    return hashlib.sha256(json.dumps(content(crm)).encode()).hexdigest()
