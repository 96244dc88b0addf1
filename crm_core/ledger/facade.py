"""The ledger as a CRM offers it: the log, what an operation did, undo, and delivery."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING

from crm_core.errors import AmbiguousReference, InvalidValue, NotFound
from crm_core.extend import Storage
from crm_core.ledger.chain import Chain
from crm_core.ledger.delivery import Delivery
from crm_core.ledger.history import History, OperationEntry, RowChange
from crm_core.ledger.telling import DeliveryReport
from crm_core.ledger.work import Operation, UnitOfWork
from crm_core.records import Record
from crm_core.values import format_id, parse_id, to_micros

if TYPE_CHECKING:
    from crm_core.ledger.audit import Audit, ChainReport
    from crm_core.ledger.compaction import CompactReport
    from crm_core.ledger.provenance import FieldChange, Provenance
    from crm_core.ledger.undo import Undo, UndoReport


class Ledger:
    """What happened, in order, and how to take it back."""

    def __init__(
        self,
        work: UnitOfWork,
        history: History,
        undo: Callable[[], Undo],
        delivery: Delivery,
        storage: Storage,
        chain: Chain,
        provenance: Callable[[], Provenance],
    ) -> None:
        self._work = work
        self._make_undo = undo
        self._storage = storage
        self._chain = chain
        self._make_provenance = provenance
        self.history = history
        self.delivery = delivery

    @cached_property
    def _undo(self) -> Undo:
        return self._make_undo()

    @cached_property
    def _provenance(self) -> Provenance:
        return self._make_provenance()

    def operations(self, *, limit: int = 50, before: int | None = None) -> list[OperationEntry]:
        """Return operations, newest first; `before` is the id of the last one of the page before."""
        return self.history.operations(limit=limit, before=before)

    def get(self, operation_id: int) -> OperationEntry:
        """Return one operation.

        Raises:
            NotFound: the ledger knows no such operation.
        """
        return self.history.operation(operation_id)

    def resolve(self, typed: str) -> int:
        """Return the id of the operation a person means: its id, the end of it (5 characters or more), or `last`.

        Raises:
            NotFound: nothing matches.
            AmbiguousReference: several match.
        """
        if typed.strip().casefold() == "last":
            newest = self.history.last()
            if newest is None:
                raise NotFound("nothing was written yet: the ledger is empty")
            return newest.id
        try:
            return self.history.operation(parse_id(typed)).id
        except (InvalidValue, NotFound):
            pass
        found = self.history.ending_in(typed)
        if len(found) > 1:
            listed = ", ".join(format_id(one) for one in found[:5])
            raise AmbiguousReference(f"{typed!r} means several operations: {listed}", candidates=found)
        if not found:
            raise NotFound(f"the ledger has no operation {typed!r}", hint="crm ledger log lists them")
        return found[0]

    def changes(self, operation_id: int) -> Iterator[list[RowChange]]:
        """Yield, in batches, what an operation changed, oldest first."""
        for entry in self.history.transactions(operation_id):
            yield from self.history.changes(entry)

    def last_changes(self, type_name: str, record_ids: Sequence[int]) -> dict[int, dict[str, FieldChange]]:
        """Return, by record and field, the change that made the field what it is; see `Provenance.last_changes`."""
        return self._provenance.last_changes(type_name, record_ids)

    def as_read(self, type_name: str, versions: Mapping[int, int]) -> dict[int, Record]:
        """Return records as they were at these versions, by id; see `Provenance.as_read`."""
        return self._provenance.as_read(type_name, versions)

    def undo(self, operation: int | str, *, dry_run: bool = False, with_consequences: bool = False) -> UndoReport:
        """Take an operation back field by field; see `crm_core.ledger.undo.Undo.run`.

        Args:
            operation: its id, or what `resolve` takes: "last", say.
            dry_run: only report what would go back.
            with_consequences: also take back what rules did because of it.
        """
        operation_id = self.resolve(operation) if isinstance(operation, str) else operation
        return self._undo.run(operation_id, dry_run=dry_run, with_consequences=with_consequences)

    def require_key(self) -> None:
        """Find the key of the hash chain, if the settings name one; see `crm_core.ledger.chain.Chain.require_key`."""
        self._chain.require_key()

    def anchor(self) -> str:
        """Return the head of the hash chain, to be kept elsewhere; see `crm_core.ledger.audit.Audit.anchor`."""
        return self._audit().anchor()

    def verify(self, anchor: str | None = None) -> ChainReport:
        """Check the hash chain over the ledger; see `crm_core.ledger.audit.Audit.verify`."""
        return self._audit().verify(anchor)

    def compact(self, before: datetime, *, dry_run: bool = False) -> CompactReport:
        """Give up what undo needs of changes before an instant; see `crm_core.ledger.compaction.Compaction.run`."""
        from crm_core.ledger.compaction import Compaction

        compaction = Compaction(self._storage, self._work, self.history, self.delivery)
        return compaction.run(to_micros(before), before.isoformat(), dry_run=dry_run)

    def _audit(self) -> Audit:
        from crm_core.ledger.audit import Audit  # what few commands need

        return Audit(self._storage, self._chain)

    def resumed(self, entry: OperationEntry) -> AbstractContextManager[Operation]:
        """Go on with an operation that was cut off."""
        return self._work.resumed(entry.as_operation())

    def deliver(self, seconds: float = 5.0) -> DeliveryReport:
        """Bring committed changes to the plugins that listen, for at most about `seconds`."""
        return self.delivery.run(seconds)
