"""What a transaction of the ledger means to a subscriber: the events that its hook takes, or nothing.

Apart from delivery, which knows when a subscriber is told and by whom, and not of what.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final, cast

from crm_core.events import Action, Changed, ChangedRecord, CustomersMerged, MergedPair
from crm_core.extend import Storage
from crm_core.host import Subscriber
from crm_core.ledger.history import History, OperationEntry, RowChange, TransactionEntry
from crm_core.ledger.reading import decode_rows
from crm_core.records import Record, RecordType, Registry
from crm_core.records.schema import Row
from crm_core.values import format_id, parse_id

HOOK_TYPES: Final[Mapping[str, str]] = {
    "on_customers_changed": "customer",
    "on_interactions_changed": "interaction",
    "on_deals_changed": "deal",
    "on_sales_changed": "sale",
}
"""Which record type each delivery hook follows."""

MERGED: Final = "on_customers_merged"
"""The hook that is told of merges and of their undoing, whoever did them."""

HOOKS: Final = (*HOOK_TYPES, MERGED)
"""Every delivery hook, in the order in which they are served."""

OPT_IN: Final = frozenset({"import", "undo", "merge"})
"""Origins that reach only subscribers that ask for them: an import of history must not message anybody."""

_EVENT: Final = 2_000
"""Changes in one event at most."""

_WEIGHT: Final[Sequence[Action]] = ("updated", "created", "deleted")
"""Of several changes of a record in one transaction, the heaviest is what happened to it."""


class Notices:
    """Reads transactions for subscribers."""

    def __init__(self, storage: Storage, registry: Registry, history: History) -> None:
        self._storage = storage
        self._registry = registry
        self._history = history

    def of(
        self, subscriber: Subscriber, entry: TransactionEntry, operation: OperationEntry
    ) -> list[Callable[..., object]]:
        """Return what makes the events that a transaction means to a subscriber; none when it means nothing."""
        if subscriber.hook == MERGED:
            pairs, undone = self._merges(entry, operation)
            return [partial(CustomersMerged, pairs=pairs, undone=undone)] if pairs else []
        if operation.kind in OPT_IN and operation.kind not in subscriber.include:
            return []
        kind = self._registry.types[HOOK_TYPES[subscriber.hook]]
        rows = [change for batch in self._history.changes(entry, self._tables(kind)) for change in batch]
        changes = self._changed(kind, rows) if rows else ()
        return [partial(Changed, changes=changes[at : at + _EVENT]) for at in range(0, len(changes), _EVENT)]

    def _merges(self, entry: TransactionEntry, operation: OperationEntry) -> tuple[tuple[MergedPair, ...], bool]:
        """Return the customers that a transaction merged, or whose merge it took back or brought back.

        A transaction of an undo stands for the whole of it: which step took back which merge is not noted.
        """
        merge, undone = operation, False
        while merge.undoes is not None:
            merge, undone = self._history.operation(merge.undoes), not undone
        mine = format_id(entry.id)
        noted = merge.detail.get("merged", ()) if merge.kind == "merge" else ()
        pairs = [
            MergedPair(parse_id(kept), parse_id(gone)) for kept, gone, tx in noted if merge != operation or tx == mine
        ]
        return tuple(pairs), undone

    def _tables(self, kind: RecordType) -> tuple[str, ...]:
        return (kind.plural, kind.tags_table) if kind.tags_table else (kind.plural,)

    def _changed(self, kind: RecordType, rows: Sequence[RowChange]) -> tuple[ChangedRecord[Any], ...]:
        """Turn changes of rows, and of tag rows, into changes of records as they are now, one of each record."""
        owner_of = [(change, self._owner(kind, change)) for change in rows]
        ids = list(dict.fromkeys(owner for _, owner in owner_of))
        stored = {cast(int, row[0]): row for row in self._storage.get_many(kind.plural, ids)}
        records = dict(zip(stored, decode_rows(self._storage, kind, list(stored.values())), strict=True))
        changed: dict[int, ChangedRecord[Any]] = {}
        for change, owner in owner_of:
            of_tags = change.table != kind.plural
            fields = {"tags": (None, None)} if of_tags else _fields(kind, change, stored.get(owner))
            first = changed.get(owner)
            actions: list[Action] = ["updated" if of_tags else change.action, *([first.action] if first else [])]
            action = max(actions, key=_WEIGHT.index)
            fields = {} if action != "updated" else {**(first.fields if first else {}), **fields}
            gone = _deleted(kind, change) or (first.before if first else None)
            changed[owner] = ChangedRecord(owner, action, records.get(owner), fields, gone)
        return tuple(changed.values())

    def _owner(self, kind: RecordType, change: RowChange) -> int:
        """Return the record a change belongs to: its own, or the one a tag is of."""
        if change.table == kind.plural:
            return change.id
        column = f"{kind.name}_id"
        if change.row:
            return int(change.row[self._registry.named(change.table).table.column_names.index(column)] or 0)
        return int(change.cells.get(column, (0, None))[0] or 0)


def _deleted(kind: RecordType, change: RowChange) -> Record | None:
    """Return the record a delete took away, as it was."""
    if change.action != "deleted" or change.table != kind.plural:
        return None
    return kind.decode([change.cells.get(name, (None, None))[0] for name in kind.table.column_names])


def _fields(kind: RecordType, change: RowChange, row: Row | None) -> dict[str, tuple[Any, Any]]:
    """Return (old, new) values by field of an updated row.

    A cell the image lacks, such as a currency that stayed, is taken from `row`.
    """
    found: dict[str, tuple[Any, Any]] = {}
    if change.action != "updated" or row is None:
        return found
    now = dict(zip(kind.table.column_names, row, strict=False))
    for field in kind.fields.values():
        columns = [column.name for column in field.codec.columns]
        if any(column in change.cells for column in columns):
            old, new = (
                tuple(change.cells[c][side] if c in change.cells else now[c] for c in columns) for side in (0, 1)
            )
            found[field.path] = (field.codec.decode(old), field.codec.decode(new))
    return found
