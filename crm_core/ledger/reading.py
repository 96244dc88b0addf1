"""Rows to records, with the tags that are kept in rows of their own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from crm_core.extend import Storage
from crm_core.query.ast import Compare, In
from crm_core.records import Record, RecordType
from crm_core.records.schema import Primitive, Row


def decode_rows(storage: Storage, kind: RecordType, rows: Sequence[Row]) -> list[Record]:
    """Return the records of whole rows, in their order, with their tags in the order they were given in."""
    decode = kind.rows.decode
    if not kind.tags_table or not rows:
        return [decode(row, ()) for row in rows]
    tags = _tags(storage, kind, [cast(int, row[0]) for row in rows])
    return [decode(row, tags.get(row[0], ())) for row in rows]


def _tags(storage: Storage, kind: RecordType, ids: Sequence[int]) -> dict[Primitive, tuple[str, ...]]:
    """Return the tags of records by id; those without any are left out."""
    owner = f"{kind.name}_id"
    where = Compare(owner, "=", ids[0]) if len(ids) == 1 else In(owner, tuple(ids))
    found: dict[Primitive, tuple[str, ...]] = {}
    for record_id, tag in storage.find(kind.tags_table, where, columns=[owner, "tag"]):
        found[record_id] = (*found.get(record_id, ()), cast(str, tag))
    return found
