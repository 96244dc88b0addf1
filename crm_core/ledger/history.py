"""Reading the ledger: operations, their transactions, and what each of them changed."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, Literal

import attrs

from crm_core.errors import InvalidValue, NotFound
from crm_core.events import Action
from crm_core.extend import Storage
from crm_core.ledger.process import may_be_alive
from crm_core.ledger.rekeying import refolded
from crm_core.ledger.tables import HEAD, IMAGES, OPERATIONS, TRANSACTIONS, VERSION
from crm_core.ledger.work import Operation
from crm_core.query.ast import And, Compare, Expression, In, IsNull, Remainder, SortKey
from crm_core.records.schema import Primitive, Row
from crm_core.values import ending_mask, format_id

OperationState = Literal["open", "incomplete", "done", "undone"]


@attrs.frozen(kw_only=True)
class OperationEntry:
    """An operation as the log shows it. A state `open` whose process is gone reads `incomplete`: it was killed."""

    id: int
    kind: str
    label: str
    state: OperationState
    user_id: int | None
    started_at: int
    ended_at: int | None
    undoes: int | None
    cause: int | None
    detail: Mapping[str, Any]

    def as_operation(self, causes: tuple[int, ...] = ()) -> Operation:
        """Return the operation as work can go on with it; `causes` are those that led to it, oldest first."""
        return Operation(
            id=self.id,
            kind=self.kind,  # type: ignore[arg-type]
            label=self.label,
            user_id=self.user_id,
            started_at=self.started_at,
            undoes=self.undoes,
            cause=self.cause,
            causes=causes,
            detail=dict(self.detail),
            stored=True,
        )


@attrs.frozen(kw_only=True)
class TransactionEntry:
    """A committed transaction: `notes` are (table, lowest id, highest id, count) of the rows it inserted."""

    id: int
    position: int
    operation_id: int
    at: int
    notes: tuple[tuple[str, int, int, int], ...]


@attrs.frozen(kw_only=True)
class RowChange:
    """What a transaction did to one row.

    `row` holds an inserted one whole, `cells` (old, new) of what an update or delete changed. `versions` are those of
    the row before and after an update; None where the ledger does not say. An `emptied` one has no cells any more: what
    was there before has been erased, or given up when the ledger was compacted.
    """

    table: str
    id: int
    action: Action
    row: Row = ()
    cells: Mapping[str, tuple[Primitive, Primitive]] = attrs.field(factory=dict)
    versions: tuple[int, int] | None = None
    emptied: bool = False


_SOME: Final = 20
"""Operations that are looked at together."""
_MANY: Final = 500
"""Transactions that are looked up together."""


class History:
    """The ledger of one storage, read only."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage

    def operations(self, *, limit: int = 50, before: int | None = None) -> list[OperationEntry]:
        """Return operations, newest first; `before` is the id of the last one of the page before."""
        where = None if before is None else Compare("id", "<", before)
        rows = self._storage.find(OPERATIONS.name, where, sort=[SortKey("id", descending=True)], limit=limit)
        return [_operation(row) for row in rows]

    def last(self) -> OperationEntry | None:
        """Return the newest operation of a person, not of a rule, that wrote something; None when there is none."""
        newest = [SortKey("id", descending=True)]
        before: int | None = None
        while True:
            where: Expression = IsNull("cause")
            if before is not None:
                where = And((where, Compare("id", "<", before)))
            rows = self._storage.find(OPERATIONS.name, where, sort=newest, limit=_SOME)
            found = next((row for row in rows if self._wrote(int(row[0] or 0))), None)
            if found is not None or not rows:
                return None if found is None else _operation(found)
            before = int(rows[-1][0] or 0)

    def _wrote(self, operation_id: int) -> bool:
        where = Compare("operation_id", "=", operation_id)
        return bool(self._storage.find(TRANSACTIONS.name, where, limit=1, columns=["id"]))

    def operation(self, operation_id: int) -> OperationEntry:
        """Return one operation.

        Raises:
            NotFound: the ledger knows no such operation.
        """
        rows = self._storage.get_many(OPERATIONS.name, [operation_id])
        if not rows:
            raise NotFound(f"the ledger has no operation {format_id(operation_id)}", hint="crm ledger log lists them")
        return _operation(rows[0])

    def ending_in(self, typed: str) -> list[int]:
        """Return the ids of operations that end in these 5 to 12 characters; none when it is no ending of an id."""
        try:
            value, modulus = ending_mask(typed)
        except InvalidValue:
            return []
        rows = self._storage.find(OPERATIONS.name, Remainder("id", modulus, value), limit=10, columns=["id"])
        return [int(row[0] or 0) for row in rows]

    def caused_by(self, operation_id: int) -> list[OperationEntry]:
        """Return the operations that were consequences of this one."""
        rows = self._storage.find(OPERATIONS.name, Compare("cause", "=", operation_id))
        return [_operation(row) for row in rows]

    def undone_by(self, operation_id: int) -> list[OperationEntry]:
        """Return the operations that took this one back."""
        rows = self._storage.find(OPERATIONS.name, Compare("undoes", "=", operation_id))
        return [_operation(row) for row in rows]

    def undos(self) -> list[OperationEntry]:
        """Return the operations that took others back."""
        return [_operation(row) for row in self._storage.find(OPERATIONS.name, Compare("undoes", ">", 0))]

    def transactions(self, operation_id: int) -> list[TransactionEntry]:
        """Return the transactions of an operation in ledger order."""
        where = Compare("operation_id", "=", operation_id)
        return [_transaction(row) for row in self._storage.find(TRANSACTIONS.name, where, sort=[SortKey("position")])]

    def following(self, position: int, limit: int) -> list[TransactionEntry]:
        """Return up to `limit` transactions after a position, in ledger order."""
        where = Compare("position", ">", position)
        rows = self._storage.find(TRANSACTIONS.name, where, sort=[SortKey("position")], limit=limit)
        return [_transaction(row) for row in rows]

    def head(self) -> int:
        """Return the highest position, 0 for an empty ledger."""
        rows = self._storage.get_many(HEAD.name, [1])
        return int(rows[0][1] or 0) if rows else 0

    def changes(self, entry: TransactionEntry, tables: Sequence[str] = ()) -> Iterator[list[RowChange]]:
        """Yield, in batches, what a transaction did; a row that is gone since shows in its delete only.

        `tables` narrows it.
        """
        yield from self.created(entry, tables)
        for batch in self._images(Compare("tx_id", "=", entry.id)):
            changes = [change for _, change in batch if not tables or change.table in tables]
            changes = list(self._with_rows(changes))
            if changes:
                yield changes

    def created(
        self, entry: TransactionEntry, tables: Sequence[str] = (), *, batch: int = 2_000
    ) -> Iterator[list[RowChange]]:
        """Yield, in batches of one table, the rows that a transaction inserted and that are still there."""
        for table, low, high, _ in entry.notes:
            if not tables or table in tables:
                yield from self._inserted(entry.id, table, low, high, batch)

    def _with_rows(self, changes: Sequence[RowChange]) -> Iterator[RowChange]:
        """Give rows that were put back, whose image says only that, their content of now."""
        back: dict[str, list[int]] = {}
        for change in changes:
            if change.action == "created":
                back.setdefault(change.table, []).append(change.id)
        rows = {(table, row[0]): row for table, ids in back.items() for row in self._storage.get_many(table, ids)}
        for change in changes:
            if change.action != "created":
                yield change
            elif (change.table, change.id) in rows:
                yield attrs.evolve(change, row=rows[change.table, change.id])

    def put_back(self, entry: TransactionEntry) -> set[tuple[str, int]]:
        """Return (table, id) of the rows that a transaction put back; their `created_tx` is the one that made them."""
        where = And((Compare("tx_id", "=", entry.id), Compare("action", "=", "restored")))
        rows = self._storage.find(IMAGES.name, where, columns=["table_name", "record_id"])
        return {(str(row[0]), int(row[1] or 0)) for row in rows}

    def touched_by(self, transaction_ids: Sequence[int]) -> set[tuple[str, int]]:
        """Return (table, id) of the rows that these transactions changed, deleted or put back."""
        found: set[tuple[str, int]] = set()
        for at in range(0, len(transaction_ids), _MANY):
            where = In("tx_id", tuple(transaction_ids[at : at + _MANY]))
            rows = self._storage.find(IMAGES.name, where, columns=["table_name", "record_id"])
            found.update((str(row[0]), int(row[1] or 0)) for row in rows)
        return found

    def images_of(self, table: str, ids: Sequence[int]) -> list[tuple[int, RowChange]]:
        """Return (transaction id, change) of every image of these rows, oldest first."""
        where = And((Compare("table_name", "=", table), In("record_id", tuple(ids))))
        return [image for batch in self._images(where) for image in batch]

    def erased(self, customer_ids: Sequence[int], *, after: int = 0) -> set[int]:
        """Return those of these customers who were erased, after a position of the ledger."""
        where = And(
            (
                Compare("table_name", "=", IMAGES.name),
                Compare("action", "=", "erased"),
                In("record_id", tuple(customer_ids)),
            )
        )
        rows = self._storage.find(IMAGES.name, where, columns=["record_id", "tx_id"])
        entries = self.transactions_of([int(row[1] or 0) for row in rows]) if rows and after else {}
        return {int(row[0] or 0) for row in rows if not after or entries[int(row[1] or 0)].position > after}

    def last_erasure(self) -> int | None:
        """Return when a person was last erased, in microseconds; None when nobody was."""
        where = And((Compare("table_name", "=", IMAGES.name), Compare("action", "=", "erased")))
        rows = self._storage.find(IMAGES.name, where, sort=[SortKey("id", descending=True)], limit=1, columns=["tx_id"])
        found = self.transactions_of([int(row[0] or 0) for row in rows])
        return next((entry.at for entry in found.values()), None)

    def deleted(self, table: str) -> Iterator[list[RowChange]]:
        """Yield, in batches, what the ledger holds of deleted rows of a table, also of those that came back."""
        for batch in self._images(And((Compare("table_name", "=", table), Compare("action", "=", "deleted")))):
            yield [change for _, change in batch]

    def transactions_of(self, transaction_ids: Sequence[int]) -> dict[int, TransactionEntry]:
        """Return the transactions of these ids that the ledger knows, by id."""
        rows = self._storage.get_many(TRANSACTIONS.name, list(dict.fromkeys(transaction_ids)))
        return {entry.id: entry for entry in map(_transaction, rows)}

    def operations_of(self, operation_ids: Sequence[int]) -> dict[int, OperationEntry]:
        """Return the operations of these ids that the ledger knows, by id."""
        rows = self._storage.get_many(OPERATIONS.name, list(dict.fromkeys(operation_ids)))
        return {entry.id: entry for entry in map(_operation, rows)}

    def positions(self, transaction_ids: Sequence[int]) -> dict[int, int]:
        """Return the position of each transaction."""
        rows = self._storage.get_many(TRANSACTIONS.name, list(transaction_ids))
        return {int(row[0] or 0): int(row[1] or 0) for row in rows}

    def _inserted(self, tx_id: int, table: str, low: int, high: int, batch: int) -> Iterator[list[RowChange]]:
        last = low - 1
        while True:
            where = And((Compare("id", ">", last), Compare("id", "<=", high), Compare("created_tx", "=", tx_id)))
            rows = self._storage.find(table, where, sort=[SortKey("id")], limit=batch)
            if rows:
                yield [RowChange(table=table, id=int(row[0] or 0), action="created", row=row) for row in rows]
            if len(rows) < batch:
                return
            last = int(rows[-1][0] or 0)

    def _images(self, where: Any, batch: int = 2_000) -> Iterator[list[tuple[int, RowChange]]]:
        last = 0
        while True:
            rows = self._storage.find(
                IMAGES.name, And((where, Compare("id", ">", last))), sort=[SortKey("id")], limit=batch
            )
            if rows:
                yield [(int(row[1] or 0), _image(row)) for row in rows]
            if len(rows) < batch:
                return
            last = int(rows[-1][0] or 0)


def _operation(row: Row) -> OperationEntry:
    cells: dict[str, Any] = dict(zip(OPERATIONS.column_names, row, strict=True))
    state: OperationState = cells["state"]
    if state == "open" and not may_be_alive(cells["process"]):
        state = "incomplete"
    return OperationEntry(
        id=cells["id"],
        kind=cells["kind"],
        label=cells["label"],
        state=state,
        user_id=cells["user_id"],
        started_at=cells["started_at"],
        ended_at=cells["ended_at"],
        undoes=cells["undoes"],
        cause=cells["cause"],
        detail=json.loads(cells["detail"]),
    )


def _transaction(row: Row) -> TransactionEntry:
    cells: dict[str, Any] = dict(zip(TRANSACTIONS.column_names, row, strict=True))
    notes = tuple((table, low, high, count) for table, low, high, count in json.loads(cells["notes"]))
    return TransactionEntry(
        id=cells["id"],
        position=cells["position"],
        operation_id=cells["operation_id"],
        at=cells["at"],
        notes=notes,
    )


_ACTIONS: Final[Mapping[str, Action]] = {
    "updated": "updated",
    "deleted": "deleted",
    "restored": "created",
    # Notes about images themselves, see `Transaction.mark`.
    "erased": "updated",
    "compacted": "updated",
}


def _image(row: Row) -> RowChange:
    _, _, table, record_id, action, content, *_ = row
    loaded = json.loads(str(content))
    versions = tuple(loaded.pop(VERSION)) if action == "updated" and VERSION in (loaded or ()) else None
    cells = (
        {k: (v, None) for k, v in (loaded or {}).items()}
        if action == "deleted"
        else {k: tuple(v) for k, v in (loaded or {}).items()}
    )
    if not str(content).isascii():
        cells = dict(refolded(str(table), cells))
    made = _ACTIONS[str(action)]
    return RowChange(
        table=str(table), id=int(record_id or 0), action=made, cells=cells, versions=versions, emptied=loaded is None
    )
