"""Where the values of a record come from: which operation set each field last, and what a record said at a version."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

import attrs

from crm_core.extend import Storage
from crm_core.ledger.history import History, OperationEntry, RowChange, TransactionEntry
from crm_core.ledger.reading import decode_rows
from crm_core.ledger.staying import field_of
from crm_core.records import Record, RecordType, Registry
from crm_core.records.schema import Row


@attrs.frozen(kw_only=True)
class FieldChange:
    """The change that made a field what it is now: the operation, and when, in microseconds since 1970 (UTC)."""

    operation: OperationEntry
    at: int


class Provenance:
    """Answers from the images of one storage's ledger; what was never changed since it was created has none."""

    def __init__(self, storage: Storage, registry: Registry, history: History) -> None:
        self._storage = storage
        self._registry = registry
        self._history = history

    def last_changes(self, type_name: str, record_ids: Sequence[int]) -> dict[int, dict[str, FieldChange]]:
        """Return, by record and field path, the change that made the field what it is.

        A field that is as it was created is left out. An undo is no change of its own: what it took back does not
        count, and what was there before counts again.
        """
        kind = self._registry.named(type_name)
        images = self._history.images_of(kind.plural, record_ids) if record_ids else []
        transactions = self._history.transactions_of([tx_id for tx_id, _ in images])
        operations = self._history.operations_of([entry.operation_id for entry in transactions.values()])
        found: dict[int, dict[str, FieldChange]] = {}
        undone: dict[int, set[int]] = {}
        paths: dict[str, str] = {}
        for entry, change in _newest_first(images, transactions):
            operation = operations.get(entry.operation_id)
            taken_back = undone.setdefault(change.id, set())
            if operation is None or operation.id in taken_back:
                continue
            if operation.undoes is not None:
                taken_back |= {operation.undoes, *operation.detail.get("consequences", ())}
                continue
            mine = found.setdefault(change.id, {})
            for column in change.cells if change.action == "updated" else ():
                path = paths.get(column) or paths.setdefault(column, field_of(kind, column))
                mine.setdefault(path, FieldChange(operation=operation, at=entry.at))
        return {record_id: changes for record_id, changes in found.items() if changes}

    def as_read(self, type_name: str, versions: Mapping[int, int]) -> dict[int, Record]:
        """Return records as they were at these versions, by id.

        Left out are records that are gone, that never had the version, and those whose changes since the ledger does
        not have (any more).
        """
        kind = self._registry.named(type_name)
        rows = {cast(int, row[0]): row for row in self._storage.get_many(kind.plural, list(versions))}
        now = {record.id: record for record in decode_rows(self._storage, kind, list(rows.values()))}
        found = {i: record for i, record in now.items() if record.version == versions[i]}
        older = [i for i, record in now.items() if record.version > versions[i] > 0]
        images = self._history.images_of(kind.plural, older) if older else []
        transactions = self._history.transactions_of([tx_id for tx_id, _ in images])
        changes: dict[int, list[RowChange]] = {}
        for _, change in _newest_first(images, transactions):
            changes.setdefault(change.id, []).append(change)
        for record_id in older:
            earlier = _at_version(
                kind, rows[record_id], now[record_id], changes.get(record_id, ()), versions[record_id]
            )
            if earlier is not None:
                found[record_id] = earlier
        return found


def _newest_first(
    images: Sequence[tuple[int, RowChange]], transactions: Mapping[int, TransactionEntry]
) -> Iterator[tuple[TransactionEntry, RowChange]]:
    known = [(transactions[tx_id], change) for tx_id, change in images if tx_id in transactions]
    yield from sorted(known, key=lambda pair: pair[0].position, reverse=True)


def _at_version(kind: RecordType, row: Row, now: Record, changes: Sequence[RowChange], version: int) -> Record | None:
    """Take changes back, newest first, down to a version; None where one of them does not say which it made."""
    names = kind.table.column_names
    cells: dict[str, Any] = dict(zip(names, row, strict=False))
    tags: tuple[str, ...] = getattr(now, "tags", ())
    for change in changes:
        if change.action != "updated":
            continue
        if change.versions is None or change.versions[0] < version < change.versions[1]:
            return None
        if change.versions[1] <= version:
            break
        cells |= {column: old for column, (old, _) in change.cells.items() if column in cells}
        if "tags" in change.cells:
            tags = tuple(cast("list[str]", change.cells["tags"][0]))
    cells["version"] = version
    return kind.decode(tuple(cells[name] for name in names), tags)
