"""Taking an operation back, field by field: what nobody touched since goes back, later edits stay and are named."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, cast

import attrs

from crm_core.errors import UndoRefused
from crm_core.extend import Storage
from crm_core.ledger.history import History, OperationEntry
from crm_core.ledger.reversal import Normalise, Reversal
from crm_core.ledger.staying import UndoItem
from crm_core.ledger.tables import OPERATIONS
from crm_core.ledger.work import UnitOfWork
from crm_core.records import Registry
from crm_core.values import format_id


@attrs.frozen(kw_only=True)
class UndoReport:
    """What an undo did: how many records of each type went back, what was kept as edited since, what was refused.

    `consequences` are operations that rules ran because of this one; they are taken back only on request.
    """

    operation_id: int
    undo_id: int | None
    reversed: Mapping[str, int]
    kept: tuple[UndoItem, ...]
    refused: tuple[UndoItem, ...]
    consequences: tuple[OperationEntry, ...]


class Undo:
    """Undoes operations of one CRM; `normalise` recomputes what a type derives, by type name."""

    def __init__(
        self,
        storage: Storage,
        registry: Registry,
        work: UnitOfWork,
        history: History,
        normalise: Mapping[str, Normalise],
    ) -> None:
        self._storage = storage
        self._registry = registry
        self._work = work
        self._history = history
        self._normalise = normalise

    def run(self, operation_id: int, *, dry_run: bool = False, with_consequences: bool = False) -> UndoReport:
        """Take an operation back, as an operation of its own; a dry run reports the same and writes nothing.

        Raises:
            NotFound: there is no such operation.
            UndoRefused: it is running, undone already, or nothing of it can go back.
        """
        entry = self._history.operation(operation_id)
        _require_undoable(entry)
        consequences = self._consequences(entry)
        together = [one for one in consequences if one.state in ("done", "incomplete")] if with_consequences else []
        reversal = Reversal(
            self._storage, self._registry, self._work, self._history, self._normalise, (entry, *together)
        )
        reversal.staying.examine()
        if dry_run:
            for step in reversal.steps():
                step(None)
            return _report(entry, None, reversal, consequences)
        detail = {"consequences": [one.id for one in together]} if together else {}
        with self._work.operation(f"undo {entry.label}", kind="undo", undoes=entry.id, detail=detail) as undo:
            for step in reversal.steps():
                with self._work.transaction() as tx:
                    step(tx)
            if not reversal.reversed and not self._was_cut_off(entry):
                raise _nothing_to_take_back(reversal)
            self._mark(entry, together)
        return _report(entry, undo.id if undo.transactions else None, reversal, consequences)

    def _was_cut_off(self, entry: OperationEntry) -> bool:
        """Whether an earlier undo took everything back and was killed before it could say so."""
        return any(one.state == "incomplete" for one in self._history.undone_by(entry.id))

    def _consequences(self, entry: OperationEntry) -> tuple[OperationEntry, ...]:
        """Return what rules did because of an operation, and because of that, and so on."""
        found = self._history.caused_by(entry.id)
        for one in found:
            found += self._history.caused_by(one.id)
        return tuple(found)

    def _mark(self, entry: OperationEntry, together: list[OperationEntry]) -> None:
        """Say of the operations that they are undone; undoing an undo brings what it undid back to done, and so on."""
        states: dict[int, Literal["undone", "done"]] = dict.fromkeys(
            (entry.id, *(one.id for one in together)), "undone"
        )
        undo = entry
        state: Literal["undone", "done"] = "undone"
        while undo.undoes is not None:
            state = "done" if state == "undone" else "undone"
            states |= dict.fromkeys((undo.undoes, *undo.detail.get("consequences", ())), state)
            undo = self._history.operation(undo.undoes)
        # What an undo that was cut off began, this one has finished.
        states |= {one.id: "done" for one in self._history.undone_by(entry.id) if one.state == "incomplete"}
        place = OPERATIONS.column_names.index("state")
        self._storage.begin(write=True)
        try:
            rows = self._storage.get_many(OPERATIONS.name, list(states))
            marked = [(*row[:place], states[cast(int, row[0])], *row[place + 1 :]) for row in rows]
            self._storage.put_many(OPERATIONS.name, OPERATIONS.column_names, marked)
            self._storage.commit()
        except BaseException:
            self._storage.rollback()
            raise


def _require_undoable(entry: OperationEntry) -> None:
    if entry.state == "open":
        raise UndoRefused(f"operation {format_id(entry.id)} is still running", hint="wait for it, or stop it first")
    if "final" in entry.detail:
        raise UndoRefused(f"operation {format_id(entry.id)} cannot be taken back: {entry.detail['final']}")
    if entry.state == "undone":
        raise UndoRefused(f"operation {format_id(entry.id)} is undone already", hint="undo the undo to have it back")


def _report(
    entry: OperationEntry, undo_id: int | None, reversal: Reversal, consequences: tuple[OperationEntry, ...]
) -> UndoReport:
    return UndoReport(
        operation_id=entry.id,
        undo_id=undo_id,
        reversed=reversal.reversed,
        kept=tuple(reversal.staying.kept.values()),
        refused=tuple(reversal.staying.refused.values()),
        consequences=consequences,
    )


def _nothing_to_take_back(reversal: Reversal) -> UndoRefused:
    items = [*reversal.staying.kept.values(), *reversal.staying.refused.values()]
    told = "; ".join(f"{item.type} {item.label}: {item.reason}" for item in items[:3])
    told = told or "it wrote nothing, or what it wrote was deleted or changed back since"
    more = f" (and {len(items) - 3} more)" if len(items) > 3 else ""
    return UndoRefused(f"nothing can be taken back: {told}{more}", hint="crm ledger undo --dry-run OPERATION lists all")


__all__ = ["Undo", "UndoItem", "UndoReport"]
