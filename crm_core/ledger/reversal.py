"""Taking changes back: transaction by transaction, newest first, field by field, as `Staying` allows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from functools import partial
from typing import Any, Final, cast

import attrs

from crm_core.errors import InvalidValue
from crm_core.extend import Storage
from crm_core.ledger.erasures import BLANK
from crm_core.ledger.history import History, OperationEntry, RowChange, TransactionEntry
from crm_core.ledger.joining import Joining
from crm_core.ledger.lineage import Lineage
from crm_core.ledger.staying import Staying, derived_columns, field_of, known_changes
from crm_core.ledger.turns import in_turns
from crm_core.ledger.work import Edit, Transaction, UnitOfWork
from crm_core.query.ast import And, Compare, In
from crm_core.records import Record, RecordType, Registry
from crm_core.records.schema import Primitive, Row, Table
from crm_core.values import format_id

_EMPTIED: Final = "what it was before is no longer in the ledger: it was erased, or the ledger compacted"

_LEADING: Final = frozenset({"record_id", "state"})
"""Fields of an external id that go back together or not at all."""

SLICE: Final = 400
"""Rows that are removed in one transaction when an import is taken back: some 40 ms, with an image of each."""
Normalise = Callable[[Record, Record | None], Record]
Step = Callable[[Transaction | None], None]


class Reversal:
    """One undo at work. Without a transaction it writes nothing and remembers what rows would be by now."""

    def __init__(
        self,
        storage: Storage,
        registry: Registry,
        work: UnitOfWork,
        history: History,
        normalise: Mapping[str, Normalise],
        operations: Sequence[OperationEntry],
    ) -> None:
        """Take the operations; who was merged comes apart whole, and who came apart is joined whole, or not at all.

        What an import inserted goes in several transactions, so that others wait shortly.
        """
        self._storage = storage
        self._registry = registry
        self._work = work
        self._history = history
        self._normalise = normalise
        transactions = [tx for one in operations for tx in history.transactions(one.id)]
        self._transactions = sorted(transactions, key=lambda entry: entry.position, reverse=True)
        self._own = frozenset(entry.id for entry in self._transactions)
        self._types = {kind.plural: kind for kind in registry.types.values()}
        self._edited: set[tuple[str, int, str]] = set()
        self._erased: dict[Primitive, bool] = {}
        self._seen: dict[tuple[str, int], Row | None] = {}
        self._returning: set[tuple[str, int]] = set()
        self._freeing: set[tuple[str, int]] = set()
        self._lineage = Lineage(history, registry.types["customer"], operations)
        self._joining = Joining(history, registry.types["customer"], operations, self._lineage)
        self._sliced = {one.id for one in operations if one.kind == "import"}
        self._reversed: dict[tuple[str, int], None] = {}
        self._came_and_went: set[tuple[str, int]] = set()
        self.staying = Staying(storage, registry, work.stored, history, self._transactions)

    @property
    def reversed(self) -> dict[str, int]:
        """How many records of each type went back, wholly or in part.

        Records that were made and deleted again in what is taken back are there neither before nor after.
        """
        names = {table: kind.name for table, kind in self._types.items()}
        return dict(Counter(names.get(one[0], one[0]) for one in self._reversed if one not in self._came_and_went))

    def steps(self) -> Iterator[Step]:
        """Yield what is done in one transaction each, newest first; without a transaction only the report is made.

        What was changed is read by the transaction that restores it: nothing returns that was erased meanwhile.
        """
        for entry in self._transactions:
            if entry.operation_id in self._sliced and sum(count for *_, count in entry.notes) > SLICE:
                yield partial(self._take_back_whole, attrs.evolve(entry, notes=()))
                slices = [batch for batch in self._history.created(entry, batch=SLICE) if batch[0].table in self._types]
                yield from (partial(self._take_back, batch) for batch in reversed(slices))
            else:
                yield partial(self._take_back_whole, entry)

    def _take_back_whole(self, entry: TransactionEntry, tx: Transaction | None) -> None:
        """Take one transaction back, changes before the inserts they built on."""
        known = known_changes(self._history, entry, self._types)
        batches = [[self._lineage.without_parted(one) for one in batch] for batch in known]
        self._returning = {(one.table, one.id) for batch in batches for one in batch if one.action == "deleted"}
        inserted = [batch for batch in batches if all(one.action == "created" for one in batch)]
        changed = [one for batch in batches if batch not in inserted for one in batch]
        away = self._refuse_what_cannot_return(changed)
        if self._refuse_merges(entry, [one for batch in batches for one in batch], away=away):
            return
        self._point_back(entry, tx)  # away from who goes
        self._take_back(changed, tx)
        for batch in reversed(inserted):
            self._take_back(batch, tx)
        self._point_back(entry, tx)  # to who came back

    def _refuse_merges(self, entry: TransactionEntry, changes: Sequence[RowChange], *, away: bool) -> bool:
        """Return whether a transaction stays as it is, because it merged customers, or joins them, and cannot wholly.

        `away` says that a customer whom it took away cannot return.
        """
        kind = self._registry.types["customer"]
        deleted = {one.id for one in changes if one.table == kind.plural and one.action == "deleted"}
        pairs = self._joining.pairs(entry, deleted)
        joining = {gone for _, gone, joins in pairs if joins}
        refused = dict(self._joining.obstacles(entry, deleted, changes, partial(self._cells_now, kind)))
        if joining and any(one.emptied for one in changes):
            refused |= dict.fromkeys(joining - refused.keys(), _EMPTIED)
        for gone, reason in refused.items():
            row = self._current(kind, [gone])[gone]
            self.staying.refuse(kind, (gone,) if row is None else row, reason)
        stays = any((kind.plural, gone) in self.staying for gone in joining)
        return bool(pairs) and (away or stays or bool(refused))

    def _point_back(self, entry: TransactionEntry, tx: Transaction | None) -> None:
        """Let what plugins not at work stored point where it did, as far as that is there: a merge moved it."""
        tables = {
            name: table
            for name, table in self._work.stored.items()
            if name not in self._types and any(column.references for column in table.columns)
        }
        for batch in self._history.changes(attrs.evolve(entry, notes=()), tuple(tables)) if tables else ():
            for change in batch:
                row = self._storage.get_many(change.table, [change.id]) if change.action == "updated" else []
                back = self._pointing_back(tables[change.table], row[0], change) if row else {}
                if back:
                    self._reversed[(change.table, change.id)] = None
                if back and tx is not None:
                    tx.update(tables[change.table], [Edit(row[0], back)])

    def _pointing_back(self, table: Table, row: Row, change: RowChange) -> dict[str, Primitive]:
        """Return the references of a row that nobody changed since, and whose former target is there."""
        now = dict(zip(table.column_names, row, strict=True))
        back: dict[str, Primitive] = {}
        for column in table.columns:
            old, new = change.cells.get(column.name, (None, None))
            if column.references in self._types and old not in (None, new) and now[column.name] == new:
                target = self._types[column.references]
                if self._current(target, [cast(int, old)])[cast(int, old)] is not None:
                    back[column.name] = old
        return back

    def _take_back(self, batch: Sequence[RowChange], tx: Transaction | None) -> None:
        tables = list(dict.fromkeys(change.table for change in batch))
        mine = {
            table: [change for change in batch if change.table == table and (table, change.id) not in self.staying]
            for table in tables
        }
        late: dict[str, list[RowChange]] = {}
        last: dict[str, list[RowChange]] = {}
        for table in tables:  # a record may hold a unique value that one coming back needs
            kind = self._types[table]
            updated = [one for one in mine[table] if one.action == "updated"]
            present = self._current(kind, [one.id for one in updated])
            late[table] = [one for one in updated if present[one.id] is None]
            leaving = {one.id for one in mine[table] if one.action == "created"}
            last[table] = [one for one in updated if leaving and self._held_by(kind, one, present[one.id], leaving)]
            now = [one for one in updated if present[one.id] is not None and one not in last[table]]
            self._restore(kind, now, tx)
        for table in reversed(tables):  # parts were deleted before what they are parts of
            self._bring_back(self._types[table], [one for one in mine[table] if one.action == "deleted"], tx)
        for table in tables:  # changed before they were deleted
            self._restore(self._types[table], late[table], tx)
        for table in reversed(tables):  # parts were put back after what they are parts of
            self._remove(self._types[table], [one for one in mine[table] if one.action == "created"], tx)
        for table in tables:  # what goes held a unique value
            self._restore(self._types[table], last[table], tx)

    def _refuse_what_cannot_return(self, changes: Sequence[RowChange]) -> bool:
        """Find out before anything is restored which deleted records stay away: nothing may be made to point at them.

        A value held by a record that goes back too may be free by then. Returns whether a customer stays away.
        """
        away = False
        updated = [one for one in changes if one.action == "updated"]
        self._freeing = {(one.table, one.id) for one in updated if not one.emptied}
        for change in changes if updated else ():
            if change.action == "deleted" and (change.table, change.id) not in self.staying:
                kind = self._types[change.table]
                image = {"id": change.id, **{name: old for name, (old, _) in change.cells.items()}}
                row = tuple(image.get(name) for name in self._work.columns(kind.table))
                obstacle = _EMPTIED if change.emptied else self._obstacle(kind, row)
                if obstacle and self._current(kind, [change.id])[change.id] is None:
                    self.staying.refuse(kind, row, obstacle)
                    away = away or kind.name == "customer"
        self._freeing = set()
        return away

    # Records that were created

    def _remove(self, kind: RecordType, created: Sequence[RowChange], tx: Transaction | None) -> None:
        present = self._current(kind, [change.id for change in created])
        rows = [row for row in present.values() if row is not None]
        if tx is not None:
            tx.delete(kind.table, rows)
        for row in rows:
            self._note(kind, cast(int, row[0]), None, tx)

    # Records that were changed

    def _restore(self, kind: RecordType, updated: Sequence[RowChange], tx: Transaction | None) -> None:
        present = self._current(kind, [change.id for change in updated])
        edits: list[Edit] = []
        names = self._work.columns(kind.table)
        for change in updated:
            row = present.get(change.id)
            if change.emptied and row is not None and row[2] not in self._own:
                self.staying.refuse(kind, row, _EMPTIED)
            edit = None if row is None else self._restoring(kind, row, change, updated)
            if edit is not None:
                edits.append(edit)
        turns, stuck = in_turns(kind.table, names, edits)
        for edit in stuck:
            self.staying.refuse(kind, edit.before, "it swapped a unique value with another record")
        for turn in turns:
            for edit in turn:
                changed = tuple(edit.changes.get(name, cell) for name, cell in zip(names, edit.before, strict=True))
                self._note(kind, cast(int, edit.before[0]), changed, tx)
            if tx is not None:
                tx.update(kind.table, turn)
                self._forget_row_hashes(tx, kind, [cast(int, edit.before[0]) for edit in turn])

    def _restoring(self, kind: RecordType, row: Row, change: RowChange, batch: Sequence[RowChange]) -> Edit | None:
        """Return the edit that takes a change back as far as nobody has touched its fields since."""
        derived = derived_columns(kind)
        now = dict(zip(self._work.columns(kind.table), row, strict=True))
        field = {column: field_of(kind, column) for column in change.cells}
        later = {
            path
            for column, path in field.items()
            if column in now
            and column not in derived
            and (now[column] != change.cells[column][1] or (kind.plural, change.id, path) in self._edited)
        }
        if kind.name == "external_id" and not later.isdisjoint(_LEADING):  # where it leads, and whether it is live
            later |= _LEADING.intersection(field.values())
        # What a record said while it was another customer's returns with that one, or not at all.
        naming = {f.path for f in kind.fields.values() if f.declaration.references == "customer" != kind.name}
        if later & naming:
            later |= set(field.values())
        if later:
            self._edited |= {(kind.plural, change.id, path) for path in later}
            self.staying.keep(kind, row, [path for path in dict.fromkeys(field.values()) if path in later])
        gone = {field[c]: old for c, (old, _) in change.cells.items() if self._points_nowhere(kind, field[c], old, now)}
        nowhere = list(gone)
        erased = [path for c, path in field.items() if self._leads_to_erased(kind, path, change.cells[c][0], now)]
        if erased:
            self.staying.refuse(kind, row, f"its former {', '.join(erased)} was erased")
        if nowhere:
            whose = [cast(int, gone[path]) for path in nowhere if path in naming]
            told = f"customer {self._joining.left(whose[0])}" if whose else f"{', '.join(nowhere)} is gone"
            self.staying.refuse(kind, row, f"its former {told}")
            if kind.name == "external_id" or whose:
                return None
        taken = self._taken(kind, {c: old for c, (old, _) in change.cells.items() if field[c] not in later}, now, batch)
        if taken:
            self.staying.refuse(kind, row, f"key taken: {_listed(taken)}")
        left = {*later, *nowhere, *erased, *(field[column] for column in taken if column in field)}
        back = {c: old for c, (old, _) in change.cells.items() if c in now and field[c] not in left}
        if not back:
            return None
        if back.keys() <= derived:  # made anew on purpose: what was stored returns, where nothing else followed since
            wanted = {**now, **{c: old for c, old in back.items() if now[c] == change.cells[c][1]}}
        else:
            wanted = self._normalised(kind, row, {**now, **back})
        changes = {name: cell for name, cell in wanted.items() if cell != now[name]}
        return Edit(row, changes, derived) if changes else None

    def _taken(
        self, kind: RecordType, back: Mapping[str, Primitive], now: Mapping[str, Primitive], batch: Sequence[RowChange]
    ) -> dict[str, Primitive]:
        """Return the unique values that would go back and that another record holds now, by column.

        A record that gives its value up in the same batch holds nothing.
        """
        taken: dict[str, Primitive] = {}
        for index in kind.table.indexes if kind.name != "external_id" else ():
            if index.unique and not back.keys().isdisjoint(index.columns):
                values = {column: back.get(column, now.get(column)) for column in index.columns}
                leaving = {(one.table, one.id) for one in batch if not one.cells.keys().isdisjoint(index.columns)}
                if None not in values.values() and self._is_taken(kind, values, leaving):
                    taken |= values
        return taken

    def _held_by(self, kind: RecordType, change: RowChange, row: Row | None, ids: Set[int]) -> bool:
        """Whether a unique value that goes back into a record that is there belongs to one of these until they go."""
        if row is None:
            return False
        now = dict(zip(self._work.columns(kind.table), row, strict=True))
        now |= {column: old for column, (old, _) in change.cells.items() if column in now}
        held: list[Row] = []
        for index in kind.table.indexes:
            values = [(column, now[column]) for column in index.columns]
            if index.unique and not change.cells.keys().isdisjoint(index.columns) and None not in dict(values).values():
                same = And(tuple(Compare(column, "=", cast(Any, value)) for column, value in values))
                held += self._storage.find(kind.plural, same, limit=2, columns=["id"])
        return any(holder[0] in ids for holder in held)

    def _points_nowhere(self, kind: RecordType, path: str, value: Primitive, cells: Mapping[str, Primitive]) -> bool:
        """Whether a value that would go back into a field points at a record that is not there any more."""
        field = kind.fields.get(path)
        target = None if field is None else self._registry.types.get(field.declaration.references)
        if kind.name == "external_id" and path == "record_id":
            target = self._registry.types.get(str(cells["record_type"]))
        return target is not None and value is not None and not self._is_there(target, cast(int, value))

    def _leads_to_erased(self, kind: RecordType, path: str, value: Primitive, now: Mapping[str, Primitive]) -> bool:
        """Whether a record, with what is said in it now, would go back to a customer who was erased since."""
        field = kind.fields.get(path)
        if field is None or field.declaration.references != "customer" or value in (None, now[field.column]):
            return False
        personal = (
            column.name for one in kind.fields.values() if one.declaration.personal for column in one.codec.columns
        )
        if all(now[column] is None or str(now[column]).startswith(BLANK) for column in personal):
            return False
        if value not in self._erased:
            self._erased[value] = bool(self._history.erased([cast(int, value)]))
        return self._erased[value]

    def _normalised(self, kind: RecordType, row: Row, wanted: dict[str, Primitive]) -> dict[str, Primitive]:
        """Compute again what follows from the restored cells; where the rules refuse them, the row stays as it is."""
        names = self._work.columns(kind.table)
        try:
            record = self._normalise[kind.name](kind.decode(tuple(wanted.values())), kind.decode(row))
            computed = dict(zip(kind.table.column_names, kind.encode(record), strict=True))
        except InvalidValue as error:
            self.staying.refuse(kind, row, error.message)
            return dict(zip(names, row, strict=True))
        derived = derived_columns(kind)
        return {name: computed[name] if name in derived else cell for name, cell in wanted.items()}

    def _forget_row_hashes(self, tx: Transaction, kind: RecordType, ids: Sequence[int]) -> None:
        """Keep an import from taking a restored record for unchanged because its source row is."""
        if kind.name == "external_id" or not ids:
            return
        entries = self._registry.types["external_id"]
        where = And((Compare("record_type", "=", kind.name), In("record_id", tuple(ids))))
        place = entries.table.column_names.index("row_hash")
        rows = [row for row in self._storage.find(entries.plural, where) if row[place] is not None]
        tx.update(entries.table, [Edit(row, {"row_hash": None}, frozenset({"row_hash"})) for row in rows])

    # Records that were deleted

    def _bring_back(self, kind: RecordType, deleted: Sequence[RowChange], tx: Transaction | None) -> None:
        present = self._current(kind, [change.id for change in deleted])
        names = self._work.columns(kind.table)
        images: list[dict[str, Primitive]] = []
        for change in deleted:
            image = {name: old for name, (old, _) in change.cells.items()}
            row = tuple(image.get(name) for name in names)
            if present.get(change.id) is not None:
                continue
            if change.emptied:
                self.staying.refuse(kind, (change.id,), _EMPTIED)
                continue
            obstacle = self._obstacle(kind, row)
            if obstacle:
                self.staying.refuse(kind, row, obstacle)
                continue
            images.append(image)
            self._note(kind, change.id, row, tx)
            if image["created_tx"] in self._own:
                self._came_and_went.add((kind.plural, change.id))
        if tx is not None:
            tx.put_back(kind.table, images)

    def _obstacle(self, kind: RecordType, row: Row) -> str:
        """Say why a deleted row cannot return: a unique value is taken, or what it points at is gone."""
        cells = dict(zip(self._work.columns(kind.table), row, strict=True))
        for index in kind.table.indexes:
            values = {column: cells[column] for column in index.columns}
            if index.unique and None not in values.values() and self._is_taken(kind, values):
                return f"key taken: {_listed(values)}"
        for field in kind.fields.values():
            value = cells.get(field.column) if field.declaration.references else None
            target = self._registry.types.get(field.declaration.references)
            if target is not None and value is not None and not self._is_there(target, cast(int, value)):
                return f"its {field.path} {format_id(cast(int, value))} is gone"
        return ""

    def _is_there(self, kind: RecordType, record_id: int) -> bool:
        """Whether a record exists now, or returns in the same transaction."""
        record = (kind.plural, record_id)
        returns = record in self._returning and record not in self.staying
        return returns or self._current(kind, [record_id])[record_id] is not None

    def _is_taken(
        self, kind: RecordType, values: Mapping[str, Primitive], leaving: Set[tuple[str, int]] = frozenset()
    ) -> bool:
        where = And(tuple(Compare(column, "=", cast(Any, value)) for column, value in values.items()))
        holders = self._storage.find(kind.plural, where, limit=2, columns=["id"])
        # In a dry run a holder may be one that would have gone by now.
        passing = self._freeing | leaving | self._seen.keys()
        return any((kind.plural, holder[0]) not in passing for holder in holders)

    # What is now

    def _note(self, kind: RecordType, record_id: int, row: Row | None, tx: Transaction | None) -> None:
        self._reversed[(kind.plural, record_id)] = None
        if tx is None:
            self._seen[(kind.plural, record_id)] = row

    def _cells_now(self, kind: RecordType, record_id: int) -> dict[str, Primitive] | None:
        row = self._current(kind, [record_id])[record_id]
        return None if row is None else dict(zip(self._work.columns(kind.table), row, strict=True))

    def _current(self, kind: RecordType, ids: Sequence[int]) -> dict[int, Row | None]:
        """Return the rows as they are now; in a dry run, as they would be by now."""
        found: dict[int, Row | None] = dict.fromkeys(ids)
        found.update({cast(int, row[0]): row for row in self._storage.get_many(kind.plural, list(found))})
        for record_id in found:
            if (kind.plural, record_id) in self._seen:
                found[record_id] = self._seen[(kind.plural, record_id)]
        return found


def _listed(values: Mapping[str, Primitive]) -> str:
    return ", ".join(f"{column} {value!r}" for column, value in values.items())
