"""Merges that an undo takes apart, or joins again: each goes whole or not at all, and the later one first."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from typing import Final

from crm_core.ledger.history import History, OperationEntry, RowChange, TransactionEntry
from crm_core.ledger.lineage import Lineage
from crm_core.records import RecordType
from crm_core.records.schema import Primitive
from crm_core.values import format_id, parse_id

_AGAIN: Final = "merge the two again instead"


class Joining:
    """The merges of the operations that an undo takes back; undos of merges, and undos of those, are among them."""

    def __init__(
        self, history: History, kind: RecordType, operations: Sequence[OperationEntry], lineage: Lineage
    ) -> None:
        self._history = history
        self._kind = kind
        self._lineage = lineage
        self._kept = {one.id: _merged(history, one) for one in operations}

    def pairs(self, entry: TransactionEntry, deleted: Set[int]) -> list[tuple[int, int, bool]]:
        """Return who was merged, or came apart, in a transaction: (who stays, who goes, whether undo joins them again).

        `deleted` are the customers whom the transaction deleted.
        """
        kept = self._kept.get(entry.operation_id, {})
        back = {record_id for table, record_id in self._history.put_back(entry) if table == self._kind.plural}
        return [(keep, gone, gone in back) for gone, keep in kept.items() if gone in back or gone in deleted]

    def obstacles(
        self,
        entry: TransactionEntry,
        deleted: Set[int],
        changes: Sequence[RowChange],
        now: Callable[[int], Mapping[str, Primitive] | None],
    ) -> Iterator[tuple[int, str]]:
        """Yield the customers for whom the merges of a transaction cannot go back, with the reason in words.

        `changes` are what it did, `now` returns the cells of a customer by now, None when there is none.
        """
        pairs = self.pairs(entry, deleted)
        later = self._lineage.builds_on(entry, changes) if pairs else None
        for keep, gone, joins in pairs:
            erased = self._history.erased((keep, gone), after=entry.position)
            if erased:
                yield gone, f"customer {format_id(min(erased))} was erased since"
                continue
            for needed in (keep, gone) if joins else (keep,):
                if now(needed) is None:
                    role = "it" if needed == gone else f"customer {format_id(needed)}, whom it was merged into,"
                    yield gone, f"{role} {self.left(needed)}"
                    break
            else:
                if joins and self._lineage.was_withdrawn(entry, keep, changes, now(keep) or {}):
                    yield gone, f"what it gave customer {format_id(keep)} was taken back since; {_AGAIN}"
                elif later is not None:
                    yield (
                        gone,
                        f"the later operation {format_id(later.id)} ({later.label}) builds on it: undo that first",
                    )

    def left(self, customer_id: int) -> str:
        """Say what took a customer away, and what to do first."""
        images = self._history.images_of(self._kind.plural, [customer_id])
        last = next((tx_id for tx_id, image in reversed(images) if image.action == "deleted"), 0)
        found = self._history.transactions_of([last]).get(last)
        if found is None:
            return f"is gone; {_AGAIN}"
        operation = self._history.operation(found.operation_id)
        did = "was merged on" if _merged(self._history, operation) else "was deleted"
        return f"{did} by the later operation {format_id(operation.id)} ({operation.label}): undo that first"


def _merged(history: History, operation: OperationEntry) -> Mapping[int, int]:
    """Return whom an operation merged, took apart, or joined again, by who went: into whom."""
    while operation.undoes is not None:
        operation = history.operation(operation.undoes)
    noted = operation.detail.get("merged", ()) if operation.kind == "merge" else ()
    return {parse_id(gone): parse_id(keep) for keep, gone, _ in noted}
