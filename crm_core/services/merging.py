"""Making two records one: what points at the one that goes follows to the one that stays, by declaration alone.

Apart from the customer's service, because it works on rows of every record type, also those of plugins. What would be
there twice is made one, what would point at itself is dropped; all of it leaves images, so that undo brings it back.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, Literal, cast

import attrs

from crm_core.errors import UsageError
from crm_core.events import Change, Changing
from crm_core.ledger.session import Session
from crm_core.ledger.work import Edit, Transaction
from crm_core.query.ast import And, Compare, Expression, IsNull, Or, SortKey
from crm_core.records import Record, RecordType
from crm_core.records.registry import OWN_FIELDS, Field
from crm_core.records.schema import Primitive, Row, Table
from crm_core.services.chunk import vetoed
from crm_core.services.references import MERGED
from crm_core.values import format_id, new_id

Side = Literal["keep", "gone"]
_BATCH: Final = 1_000
_BEFORE: Final[Mapping[str, str]] = {
    "customer": "before_customers_change",
    "interaction": "before_interactions_change",
    "deal": "before_deals_change",
    "sale": "before_sales_change",
}
_SAME_ADDRESS: Final = ("customer_id", "kind", "key")
_OF_ADDRESS: Final = frozenset({"kind", "value", "key", "primary"})
"""What two contact points of one address need not agree on: how it was written, and whether it came first."""


@attrs.frozen(kw_only=True)
class Conflict:
    """A field that both records have, with different values; `path` names it, the type first where it is of a part.

    `wins` says whose value stays: "keep" unless the caller chose otherwise.
    """

    path: str
    kept: Any
    gone: Any
    wins: Side


@attrs.frozen(kw_only=True)
class MergeReport:
    """What a merge did, or (dry run) would do: records by type.

    `moved` point at the survivor now, `united` were there twice and are one, `dropped` would point at itself. `filled`
    are fields that were empty; `external_ids` are the names that follow.
    """

    kept: int
    gone: int
    moved: Mapping[str, int]
    united: Mapping[str, int]
    dropped: Mapping[str, int]
    filled: tuple[str, ...]
    conflicts: tuple[Conflict, ...]
    external_ids: int
    operation_id: int | None = None
    dry_run: bool = False


class Merge:
    """One merge at work, inside a transaction of the caller; `choose` says of which fields the other value stays."""

    def __init__(self, session: Session, tx: Transaction, choose: Mapping[str, Side]) -> None:
        self._session = session
        self._storage = session.storage
        self._tx = tx
        self._choose = choose
        self._paths: set[str] = set()
        self.moved: Counter[str] = Counter()
        self.united: Counter[str] = Counter()
        self.dropped: Counter[str] = Counter()
        self.filled: list[str] = []
        self.conflicts: list[Conflict] = []
        self.external_ids = 0

    def combined(self, kind: RecordType, keep: Record, gone: Record) -> tuple[Record, Record]:
        """Return the survivor's new state, twice: without the unique values that it takes over, and with them.

        The other one holds those until it goes.
        """
        unique = {name for index in kind.table.indexes if index.unique for name in index.columns}
        now = then = keep
        for field in kind.fields.values():
            if field.declaration.derived:
                continue
            value = self._value(kind, field, keep, gone)
            then = with_value(then, field, value)
            if field.column not in unique:
                now = with_value(now, field, value)
        return now, then

    def take_over(self, kind: RecordType, keep: int, gone: int) -> None:
        """Let one record take the place of another, which goes; its own fields are `combined`'s to say."""
        self._redirect(kind, keep, gone)
        self._redirect_detached(kind, keep, gone)
        self._move_names(kind, keep, gone)
        (row,) = self._storage.get_many(kind.plural, [gone])
        self._tx.delete(kind.table, [row])
        self._fill_detached(kind, keep, row)

    def require_known_choices(self) -> None:
        """Refuse a choice for a field that is none, or on which the two agree.

        Raises:
            UsageError: it names the fields that there are to choose of.
        """
        unknown = [path for path in self._choose if path not in self._paths]
        if unknown:
            known = ", ".join(conflict.path for conflict in self.conflicts) or "none"
            raise UsageError(
                f"there is nothing to choose in {unknown[0]!r}", hint=f"fields in which the two differ: {known}"
            )

    # Fields

    def _value(self, kind: RecordType, field: Field, keep: Record, gone: Record) -> Any:
        mine, other = field.of(keep), field.of(gone)
        if field.declaration.kind == "tags":
            return (*mine, *(tag for tag in other if tag not in mine))
        if field.declaration.references == kind.name:  # never at itself
            mine, other = (None if value in (keep.id, gone.id) else value for value in (mine, other))
        return self._decided(field.path, mine, other)

    def _decided(self, path: str, mine: Any, other: Any) -> Any:
        if other is None or mine == other:
            return mine
        if mine is None:
            self.filled.append(path)
            return other
        wins = self._choose.get(path, "keep")
        self._paths.add(path)
        self.conflicts.append(Conflict(path=path, kept=mine, gone=other, wins=wins))
        return mine if wins == "keep" else other

    # What points at the one that goes

    def _redirect(self, kind: RecordType, keep: int, gone: int) -> None:
        for other in self._session.registry.types.values():
            columns = [f.column for f in other.fields.values() if f.declaration.references == kind.name]
            for rows in self._pointing(other.plural, columns, gone) if columns else ():
                mine = [row for row in rows if other is not kind or row[0] not in (keep, gone)]
                changes = [self._changes(other.table, row, columns, keep, gone) for row in mine]
                self._refuse_vetoed(other, mine, changes)
                if not _identities(other):
                    self._tx.update(other.table, [Edit(*pair) for pair in zip(mine, changes, strict=True)])
                    self._count(self.moved, other, len(mine))
                    continue
                for row, changed in zip(mine, changes, strict=True):
                    self._move(other, row, changed)

    def _pointing(self, table: str, columns: Sequence[str], record_id: int) -> Iterator[list[Row]]:
        wanted = Or(tuple(Compare(column, "=", record_id) for column in columns))
        last = 0
        while True:
            where = And((wanted, Compare("id", ">", last)))
            rows = self._storage.find(table, where, sort=[SortKey("id")], limit=_BATCH)
            if rows:
                yield rows
            if len(rows) < _BATCH:
                return
            last = cast(int, rows[-1][0])

    def _changes(self, table: Table, row: Row, columns: Sequence[str], keep: int, gone: int) -> dict[str, Primitive]:
        cells = self._cells(table, row)
        return {column: keep for column in columns if cells[column] == gone}

    def _refuse_vetoed(self, kind: RecordType, rows: Sequence[Row], changes: Sequence[Mapping[str, Primitive]]) -> None:
        """Ask the plugins about records that would follow: all or none.

        Raises:
            Vetoed: a plugin refuses one of them.
        """
        host, hook = self._session.host, _BEFORE.get(kind.name, "")
        if not rows or not hook or not host.implements(hook):
            return
        befores = [kind.decode(row) for row in rows]
        afters = [
            kind.decode(self._changed(kind.table, row, change)) for row, change in zip(rows, changes, strict=True)
        ]
        pairs = tuple(Change(before, after) for before, after in zip(befores, afters, strict=True))
        answers = host.veto(hook, Changing(changes=pairs, origin=self._tx.operation.origin))
        if answers:
            raise vetoed(kind.name, [(plugin.name, veto.field, veto.reason) for plugin, veto in answers])

    def _move(self, kind: RecordType, row: Row, changes: Mapping[str, Primitive]) -> None:
        """Let one record follow; unless it would be there twice, or point at itself."""
        cells = {**self._cells(kind.table, row), **changes}
        if kind.name == "relation" and cells["customer_id"] == cells["other_id"]:
            self._tx.delete(kind.table, [row])
            self.dropped[kind.name] += 1
            return
        twin = self._twin(kind, cells, cast(int, row[0]))
        if twin is not None:
            self._unite(kind, twin, row)
            return
        if kind.name == "contact_point" and cells["primary"] == 1 and self._has_primary(cells):
            changes = {**changes, "primary": 0}
        self._tx.update(kind.table, [Edit(row, changes)])
        self._count(self.moved, kind)

    def _twin(self, kind: RecordType, cells: Mapping[str, Primitive], own_id: int) -> Row | None:
        """Return the record that this one would double: by a unique index, or by what the kernel knows of its types."""
        for columns, null_counts in _identities(kind):
            values = [(column, cells[column]) for column in columns]
            if not null_counts and any(value is None for _, value in values):
                continue
            parts: list[Expression] = [
                IsNull(column) if value is None else Compare(column, "=", value) for column, value in values
            ]
            found = self._storage.find(kind.plural, And(tuple(parts)), limit=2)
            twin = next((row for row in found if row[0] != own_id), None)
            if twin is not None:
                return twin
        return None

    def _unite(self, kind: RecordType, keep: Row, gone: Row) -> None:
        """Make one of two records that cannot, or need not, stand beside each other."""
        kept, lost = (kind.decode(row) for row in (keep, gone))
        changes = self._united_cells(kind, keep, gone, kept, lost)
        self.take_over(kind, kept.id, lost.id)
        (now,) = self._storage.get_many(kind.plural, [kept.id])
        if changes:
            self._tx.update(kind.table, [Edit(now, changes)])
        self._count(self.united, kind)

    def _united_cells(self, kind: RecordType, keep: Row, gone: Row, kept: Record, lost: Record) -> dict[str, Primitive]:
        """Return what changes of the record that stays: what was empty, and what the caller chose."""
        mine, other = self._cells(kind.table, keep), self._cells(kind.table, gone)
        keys = {name for index in kind.table.indexes if index.unique for name in index.columns}
        changes: dict[str, Primitive] = {}
        for field in kind.fields.values():
            columns = [column.name for column in field.codec.columns]
            passed = field.declaration.references == "customer" or field.declaration.derived or keys & set(columns)
            if passed or not columns or (kind.name == "contact_point" and field.path in _OF_ADDRESS):
                continue
            was, value = field.of(kept), field.of(lost)
            if value is not None and self._decided(f"{kind.name}.{field.path}", was, value) != was:
                changes |= {column: other[column] for column in columns}
        if kind.name == "contact_point" and other["primary"] == 1 and not self._has_primary(mine):
            changes["primary"] = 1
        return changes

    def _has_primary(self, cells: Mapping[str, Primitive]) -> bool:
        same = [Compare(column, "=", cast(Any, cells[column])) for column in ("customer_id", "kind")]
        return self._storage.count("contact_points", And((*same, Compare("primary", "=", 1)))) > 0

    def _count(self, counter: Counter[str], kind: RecordType, number: int = 1) -> None:
        if number and not kind.declaration.internal:
            counter[kind.name] += number

    # Names, and what detached plugins keep

    def _move_names(self, kind: RecordType, keep: int, gone: int) -> None:
        """Let external ids follow, marked as merged; our own id of the one that goes becomes one of them."""
        names = self._session.registry.types["external_id"]
        where = And((Compare("record_type", "=", kind.name), Compare("record_id", "=", gone)))
        rows = self._storage.find(names.plural, where)
        place = names.table.column_names.index("state")
        edits = [
            Edit(row, {"record_id": keep, **({"state": "merged"} if row[place] == "live" else {})}) for row in rows
        ]
        self._tx.update(names.table, edits)
        self.external_ids += len(edits)
        if kind.name == "customer":
            trail = (new_id(), *self._tx.stamp, kind.name, MERGED, format_id(gone), keep, "merged", None)
            self._tx.insert(names.table, [trail])

    def _redirect_detached(self, kind: RecordType, keep: int, gone: int) -> None:
        """Let rows follow whose plugin is not at work, so that they are right when it comes back."""
        known = {other.plural for other in self._session.registry.types.values()}
        for table in self._session.work.stored.values():
            columns = [column.name for column in table.columns if column.references == kind.plural]
            if table.name in known or not columns or "version" not in table.column_names:
                continue
            for rows in self._pointing(table.name, columns, gone):
                self._tx.update(table, [Edit(row, self._changes(table, row, columns, keep, gone)) for row in rows])
                self.moved[table.name] += len(rows)

    def _fill_detached(self, kind: RecordType, keep: int, gone: Row) -> None:
        """Fill columns of detached plugins that are empty in the survivor, whose version rises in any case."""
        (row,) = self._storage.get_many(kind.plural, [keep])
        mine, other = self._cells(kind.table, row), self._cells(kind.table, gone)
        added = self._session.work.columns(kind.table)[len(kind.table.columns) :]
        fill = {name: other[name] for name in added if mine[name] is None and other[name] is not None}
        self._tx.update(kind.table, [Edit(row, fill)])

    def _cells(self, table: Table, row: Row) -> dict[str, Primitive]:
        return dict(zip(self._session.work.columns(table), row, strict=True))

    def _changed(self, table: Table, row: Row, changes: Mapping[str, Primitive]) -> Row:
        return tuple({**self._cells(table, row), **changes}.values())


def _identities(kind: RecordType) -> list[tuple[tuple[str, ...], bool]]:
    """Return by which columns two records of a type are the same one, and whether an empty cell equals another."""
    found = [(index.columns, False) for index in kind.table.indexes if index.unique]
    if kind.name == "contact_point":
        found.append((_SAME_ADDRESS, False))
    if kind.name in ("relation", "participant"):
        found.append((kind.table.column_names[4:], True))
    return found


def with_value(record: Record, field: Field, value: Any) -> Record:
    """Return a record with another value in a field: its own, a plugin's, or the team's."""
    if field.of(record) == value:
        return record
    if field.extension == OWN_FIELDS:
        return record.with_fields(**{field.name: value})
    if field.extension:
        content = {**record.extensions.get(field.extension, {}), field.name: value}
        return record.evolve(extensions={**record.extensions, field.extension: content})
    return record.evolve(**{field.name: value})


__all__ = ["Conflict", "Merge", "MergeReport", "Side", "with_value"]
