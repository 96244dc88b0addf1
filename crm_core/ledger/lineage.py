"""What became of merges: an undo takes one apart, the undoing of that joins the two again, and so on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, Final, cast

import attrs

from crm_core.ledger.history import History, OperationEntry, RowChange, TransactionEntry
from crm_core.records import RecordType
from crm_core.records.schema import Primitive

Record = tuple[str, int]
_SOME: Final = 500


class Lineage:
    """Reads of the ledger which operations merged, parted or joined customers, and what that did to records.

    `operations` are those that are being taken back: what they took back themselves, stands again.
    """

    def __init__(self, history: History, kind: RecordType, operations: Sequence[OperationEntry]) -> None:
        self._history = history
        self._kind = kind
        self._operations: dict[int, OperationEntry] = {}
        self._turning: set[int] = set()
        for one in operations:
            while one.undoes is not None:
                one = self._operation(one.undoes)
                self._turning.add(one.id)

    def without_parted(self, change: RowChange) -> RowChange:
        """Return a change whose former values are the record's own: not what a merge brought that came apart since.

        A deal that changed hands while two customers were one goes back to whose it was, and so does every value.
        """
        if change.action == "created" or change.emptied or (change.table, change.id) not in self._parted:
            return change
        images = self._history.images_of(change.table, [change.id])
        place = max((at for at, (_, one) in enumerate(images) if one == change), default=0)
        before = images[:place]
        cells = {column: (self._own_value(before, column, old), new) for column, (old, new) in change.cells.items()}
        return attrs.evolve(change, cells=cells)

    def builds_on(self, entry: TransactionEntry, changes: Sequence[RowChange]) -> OperationEntry | None:
        """Return the later merge, or undoing of one, that goes back before a transaction can; None where there is none.

        That is one that changed what this one had changed, united a record with one, or chose between two values one
        of which this one had brought.
        """
        operation = self._operation(entry.operation_id)
        root, joined = self._root(operation), self._joins(operation)
        mine = {(one.table, one.id): one for one in (*self._united(root), *changes)}
        found: dict[int, OperationEntry] = {}
        for tx, later in self._later(entry, mine):
            after = self._operation(tx.operation_id)
            other = self._root(after)
            if after.state != "done" or other.kind != "merge" or other.id == root.id or not self._turned(other, entry):
                continue
            both = joined and self._joins(after)
            if any(self._meet(mine[one.table, one.id], one, tx, joined=both) for one in later):
                found[after.id] = after
        return found[max(found)] if found else None

    def was_withdrawn(
        self, entry: TransactionEntry, keep: int, changes: Sequence[RowChange], now: Mapping[str, Primitive]
    ) -> bool:
        """Whether a survivor lost what a merge gave it only after the merge was taken apart by a transaction.

        That transaction left the value, as somebody had replaced it; then that was undone too.
        """
        operation = self._operation(entry.operation_id)
        parted = {column for one in changes if (one.table, one.id) == (self._kind.plural, keep) for column in one.cells}
        for tx_id, image in self._history.images_of(self._kind.plural, [keep]):
            if image.action == "updated" and operation.undoes is not None and self._is_of(tx_id, operation.undoes):
                for column, (old, new) in image.cells.items():
                    if column in now and column not in parted and now[column] == old != new:
                        return True
        return False

    # Values

    def _own_value(self, before: Sequence[tuple[int, RowChange]], column: str, value: Primitive) -> Primitive:
        """Return the value of a column at the end of these images, or what it was before a merge that came apart."""
        said = [(tx_id, one) for tx_id, one in before if one.action == "updated" and column in one.cells]
        while said:
            tx_id, image = said.pop()
            old, new = image.cells[column]
            if new != value:
                break
            operation = self._of_transaction(tx_id)
            if operation is None:
                break
            if self._is_undone(operation) and self._root(operation).kind == "merge":
                value = old
            elif operation.undoes is not None:  # it brought back what was there before another operation
                begins = [at for at, (tx, _) in enumerate(said) if self._is_of(tx, operation.undoes)]
                if not begins or said[begins[0]][1].cells[column][0] != value:
                    break
                del said[begins[0] :]
            else:
                break
        return value

    @cached_property
    def _parted(self) -> frozenset[Record]:
        """The records that merges changed which came apart since, and those whose joining did."""
        undone = self._history.operations_of([one.undoes for one in self._history.undos() if one.undoes is not None])
        parted = [one for one in undone.values() if self._is_undone(one) and self._root(one).kind == "merge"]
        transactions = [tx for one in parted for tx in self._history.transactions(one.id)]
        return frozenset(self._history.touched_by([tx.id for tx in transactions]))

    # Other merges

    def _united(self, merge: OperationEntry) -> Iterator[RowChange]:
        """Yield the records with which a merge united others, and that it did not change."""
        for tx in self._history.transactions(merge.id):
            for batch in self._history.changes(tx):
                yield from (one for one in batch if one.action == "updated" and not one.cells and not one.emptied)

    def _later(
        self, entry: TransactionEntry, mine: Mapping[Record, RowChange]
    ) -> Iterator[tuple[TransactionEntry, list[RowChange]]]:
        """Yield later transactions with what they did to these records."""
        by_table: dict[str, list[int]] = {}
        for table, record_id in mine:
            by_table.setdefault(table, []).append(record_id)
        for table, ids in by_table.items():
            for at in range(0, len(ids), _SOME):
                images: dict[int, list[RowChange]] = {}
                for tx_id, one in self._history.images_of(table, ids[at : at + _SOME]):
                    images.setdefault(tx_id, []).append(one)
                for tx in self._history.transactions_of(list(images)).values():
                    if tx.position > entry.position:
                        yield tx, images[tx.id]

    def _turned(self, merge: OperationEntry, entry: TransactionEntry) -> bool:
        """Whether a merge that was in force at a transaction came apart since, or the other way round."""
        family, waiting = [merge.id], [merge.id]
        while waiting:
            undos = [one.id for one in self._history.undone_by(waiting.pop()) if one.state in ("done", "undone")]
            family += undos
            waiting += undos
        was = sum(one < entry.operation_id for one in family) % 2 == 1
        return was != (merge.state != "undone")

    def _meet(self, mine: RowChange, later: RowChange, tx: TransactionEntry, *, joined: bool) -> bool:
        """Whether two changes of one record have to do with each other; `joined`: both made one customer of two.

        What a later merge replaced, it did not rest on: then `without_parted` finds what was there before both.
        """
        if later.table != self._kind.plural or later.action != "updated":
            return True
        if mine.emptied or later.emptied:
            return False
        if not joined:
            return not mine.cells.keys().isdisjoint(later.cells.keys())
        brought = {column for column, (old, new) in mine.cells.items() if old != new} - later.cells.keys()
        was, then = (set(cast(Iterable[Any], side or ())) for side in mine.cells.get("tags", ((), ())))
        for batch in self._history.changes(tx, (self._kind.plural, self._kind.tags_table)):
            for one in batch:
                said = {column for column, (old, _) in one.cells.items() if one.action == "deleted" and old is not None}
                if one.table == self._kind.plural and said & brought:
                    return True
                if one.table == self._kind.tags_table and "tag" in said and one.cells["tag"][0] in then - was:
                    return True
        return False

    # Operations

    def _operation(self, operation_id: int) -> OperationEntry:
        if operation_id not in self._operations:
            self._operations[operation_id] = self._history.operation(operation_id)
        return self._operations[operation_id]

    def _is_undone(self, operation: OperationEntry) -> bool:
        """Whether an operation is undone, or will be by the undo at work."""
        return (operation.state == "undone") != (operation.id in self._turning)

    def _of_transaction(self, tx_id: int) -> OperationEntry | None:
        found = self._history.transactions_of([tx_id]).get(tx_id)
        return None if found is None else self._operation(found.operation_id)

    def _is_of(self, tx_id: int, operation_id: int) -> bool:
        operation = self._of_transaction(tx_id)
        return operation is not None and operation.id == operation_id

    def _joins(self, operation: OperationEntry) -> bool:
        """Whether an operation made one customer of two: a merge, or the undoing of its undoing."""
        return operation.undoes is None or not self._joins(self._operation(operation.undoes))

    def _root(self, operation: OperationEntry) -> OperationEntry:
        while operation.undoes is not None:
            operation = self._operation(operation.undoes)
        return operation
