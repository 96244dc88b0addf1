"""What an undo leaves as it is: found before anything is taken back, so that a dry run says the same."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import cast

import attrs

from crm_core.extend import Storage
from crm_core.ledger.detached import in_words, pointing_at
from crm_core.ledger.history import History, RowChange, TransactionEntry
from crm_core.query.ast import And, Compare, In
from crm_core.records import RecordType, Registry
from crm_core.records.registry import Field
from crm_core.records.schema import Primitive, Row, Table
from crm_core.values import format_id

_LABELS = ("name", "title", "value", "external")


@attrs.frozen(kw_only=True)
class UndoItem:
    """A record that was not, or not wholly, taken back: which fields stayed, and why."""

    type: str
    id: int
    label: str
    fields: tuple[str, ...]
    reason: str


class Staying:
    """The records that the transactions of an undone operation created or changed, and that must stay as they are.

    `kept` were edited since, `refused` cannot go for another reason; both by (table, id).
    """

    def __init__(
        self,
        storage: Storage,
        registry: Registry,
        stored: Mapping[str, Table],
        history: History,
        transactions: Sequence[TransactionEntry],
    ) -> None:
        """Take the tables as the storage keeps them too: also those of plugins that are not at work."""
        self._storage = storage
        self._stored = stored
        self._registry = registry
        self._history = history
        self._transactions = transactions
        self._own = frozenset(one.id for one in transactions)
        self._put_back = {row for one in transactions for row in history.put_back(one)}
        self._types = {kind.plural: kind for kind in registry.types.values()}
        self._records: set[tuple[str, int]] = set()
        self.kept: dict[tuple[str, int], UndoItem] = {}
        self.refused: dict[tuple[str, int], UndoItem] = {}

    def __contains__(self, record: tuple[str, int]) -> bool:
        return record in self._records

    def examine(self) -> None:
        """Find the created records that must stay: edited since, or pointed at by something that stays."""
        for entry in self._transactions:
            for batch in known_changes(self._history, entry, self._types):
                created: dict[str, dict[int, Row]] = {}
                for change in batch:  # what was put back comes in batches of several tables
                    if change.action == "created":
                        created.setdefault(change.table, {})[change.id] = change.row
                for table, rows in created.items():
                    self._examine_created(self._types[table], rows)
        waiting = list(self._records)
        while waiting:
            waiting += self._hold(*waiting.pop())

    def keep(self, kind: RecordType, row: Row, fields: Sequence[str]) -> None:
        """Note fields of a record that were edited since; what else the operation changed of it may still go back."""
        record_id = cast(int, row[0])
        key = (kind.plural, record_id)
        before = self.kept[key].fields if key in self.kept else ()
        told = tuple(dict.fromkeys((*before, *fields)))
        self.kept[key] = UndoItem(
            type=kind.name, id=record_id, label=label(kind, row), fields=told, reason="edited since"
        )

    def refuse(self, kind: RecordType, row: Row, reason: str) -> None:
        """Note that a record cannot be taken back at all."""
        record_id = cast(int, row[0])
        self._records.add((kind.plural, record_id))
        item = UndoItem(type=kind.name, id=record_id, label=label(kind, row), fields=(), reason=reason)
        self.refused.setdefault((kind.plural, record_id), item)

    def _examine_created(self, kind: RecordType, rows: Mapping[int, Row]) -> None:
        for record_id, fields in self._edited_since(kind, rows).items():
            self._keep_whole(kind, rows[record_id], fields)
        for other, field in self._registry.references_to(kind.name):
            for record_id, count in self._pointed_at(kind, rows, other, field).items():
                if field.declaration.part_of:
                    self._keep_whole(kind, rows[record_id], (other.counted(count),))
                else:
                    self.refuse(kind, rows[record_id], f"referenced since by {other.counted(count)}")
        for record_id, counts in self._pointed_at_by_detached(kind, rows).items():
            self.refuse(kind, rows[record_id], f"referenced by {in_words(counts)}")

    def _keep_whole(self, kind: RecordType, row: Row, fields: Sequence[str]) -> None:
        self._records.add((kind.plural, cast(int, row[0])))
        self.keep(kind, row, fields)

    def _edited_since(self, kind: RecordType, rows: Mapping[int, Row]) -> dict[int, tuple[str, ...]]:
        """Return, by id, the fields whose value now is not the one the operation left; derived ones do not count."""
        left: dict[tuple[int, str], Primitive] = {}
        edited: dict[int, tuple[str, ...]] = {}
        for tx_id, image in self._history.images_of(kind.plural, list(rows)):
            if tx_id not in self._own and image.emptied and image.action == "updated":
                edited[image.id] = ("what the ledger no longer tells",)
            if tx_id in self._own and image.action == "created":  # put back: what came before does not count
                left = {key: value for key, value in left.items() if key[0] != image.id}
            elif tx_id not in self._own and image.action == "updated":
                for column, (old, _) in image.cells.items():
                    left.setdefault((image.id, column), old)
        place = {name: index for index, name in enumerate(kind.table.column_names)}
        derived = derived_columns(kind)
        for (record_id, column), value in left.items():
            if column in place and column not in derived and rows[record_id][place[column]] != value:
                edited[record_id] = (*edited.get(record_id, ()), field_of(kind, column))
        return {record_id: tuple(dict.fromkeys(fields)) for record_id, fields in edited.items()}

    def _pointed_at(self, kind: RecordType, rows: Mapping[int, Row], other: RecordType, field: Field) -> dict[int, int]:
        """Return by how many records, which do not go back with it, each of these is referenced."""
        columns = ["id", "created_tx", field.column]
        found = self._storage.find(other.plural, In(field.column, tuple(rows)), columns=columns)
        foreign = {cast(int, row[0]): cast(int, row[2]) for row in found if not self._brought(other, row[0], row[1])}
        return Counter(self._not_set_here(other.plural, field.column, foreign))

    def _pointed_at_by_detached(self, kind: RecordType, rows: Mapping[int, Row]) -> dict[int, Counter[str]]:
        """Return by how many rows of plugins that are not at work, by table, each of these is referenced."""
        counts: dict[int, Counter[str]] = {}
        for table, column in pointing_at(self._stored, self._registry, kind.plural) if rows else ():
            found = self._storage.find(table.name, In(column, tuple(rows)), columns=["id", column])
            foreign = {cast(int, row[0]): cast(int, row[1]) for row in found}
            for target in self._not_set_here(table.name, column, foreign):
                counts.setdefault(target, Counter())[table.name] += 1
        return counts

    def _not_set_here(self, table: str, column: str, foreign: dict[int, int]) -> list[int]:
        """Return the targets of references, by row; one that the operation itself set goes back with it."""
        for tx_id, image in self._history.images_of(table, list(foreign)) if foreign else ():
            set_here = tx_id in self._own and image.action == "updated" and column in image.cells
            if set_here and image.cells[column][1] == foreign.get(image.id):
                foreign.pop(image.id)
        return list(foreign.values())

    def _brought(self, kind: RecordType, record_id: Primitive, created_tx: Primitive) -> bool:
        """Whether the operation brought this row, by creating it or by putting it back."""
        return created_tx in self._own or (kind.plural, record_id) in self._put_back

    def _hold(self, table: str, record_id: int) -> list[tuple[str, int]]:
        """Keep what a staying record needs: its parts, and what it points at. Returns those that stay because of it."""
        kind = self._types[table]
        rows = self._storage.get_many(table, [record_id])
        if not rows:
            return []
        row = rows[0]
        held: list[tuple[str, int]] = []
        for field in kind.fields.values():
            if field.declaration.references:
                held += self._hold_target(kind, row, field)
        for part, field in self._registry.references_to(kind.name):
            if field.declaration.part_of:
                for found in self._storage.find(part.plural, Compare(field.column, "=", record_id)):
                    held += self._stay(part.plural, cast(int, found[0]))
        where = And((Compare("record_type", "=", kind.name), Compare("record_id", "=", record_id)))
        for found in self._storage.find("external_ids", where, columns=["id"]):
            held += self._stay("external_ids", cast(int, found[0]))
        return held

    def _hold_target(self, kind: RecordType, row: Row, field: Field) -> list[tuple[str, int]]:
        target = self._registry.types[field.declaration.references]
        value = row[kind.table.column_names.index(field.column)]
        if value is None or (target.plural, value) in self._records:
            return []
        rows = self._storage.get_many(target.plural, [cast(int, value)])
        if not rows or not self._brought(target, value, rows[0][2]):
            return []
        self.refuse(target, rows[0], f"{kind.name} {label(kind, row)} stays and points at it")
        return [(target.plural, cast(int, value))]

    def _stay(self, table: str, record_id: int) -> list[tuple[str, int]]:
        if (table, record_id) in self._records:
            return []
        self._records.add((table, record_id))
        return [(table, record_id)]


def known_changes(
    history: History, entry: TransactionEntry, types: Mapping[str, RecordType]
) -> Iterator[list[RowChange]]:
    """Yield, in batches, what a transaction did to records of types that are still there."""
    for batch in history.changes(entry):
        known = [change for change in batch if change.table in types]
        if known:
            yield known


def label(kind: RecordType, row: Row) -> str:
    """Return what a person calls the record of a row."""
    cells = dict(zip(kind.table.column_names, row, strict=False))
    named = next((cells[column] for column in _LABELS if cells.get(column)), None)
    return format_id(cast(int, row[0])) if named is None else str(named)


def derived_columns(kind: RecordType) -> frozenset[str]:
    """Return the columns of fields that follow from others."""
    return frozenset(c.name for f in kind.fields.values() if f.declaration.derived for c in f.codec.columns)


def field_of(kind: RecordType, column: str) -> str:
    """Return the field a column belongs to; a detached plugin's column is a field of its own."""
    return next((f.path for f in kind.fields.values() if any(c.name == column for c in f.codec.columns)), column)
