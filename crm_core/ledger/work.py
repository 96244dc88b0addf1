"""The unit of work: atomic transactions, grouped into operations, each leaving its trace in the ledger.

`tx_id` is taken without a lock and carried by rows; `position` is taken in the last step before commit, so that whoever
follows the ledger by position never skips a transaction that committed late.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Literal, TypeVar, cast

import attrs

from crm_core.errors import ConflictError, CrmError, StorageConflict, UsageError
from crm_core.events import Origin, OriginKind
from crm_core.extend import Storage, Update
from crm_core.ledger.chain import Chain, image_digest, new_salts
from crm_core.ledger.giving_way import repeated
from crm_core.ledger.process import this_process
from crm_core.ledger.tables import IMAGES, OPERATIONS, VERSION
from crm_core.records.schema import Primitive, Row, Table
from crm_core.values import Clock, format_id, new_id, new_ids, to_micros

T = TypeVar("T")
_log = logging.getLogger("crm_core.ledger")


@attrs.define
class Operation:
    """What a person did in one go: an import, a merge, a bulk edit, or a lone write.

    `detail` is saved with each transaction.
    """

    id: int
    kind: OriginKind
    label: str
    user_id: int | None
    started_at: int
    undoes: int | None = None
    cause: int | None = None
    causes: tuple[int, ...] = ()
    detail: dict[str, Any] = attrs.field(factory=dict)
    transactions: int = 0
    stored: bool = False
    lone: bool = False

    @property
    def origin(self) -> Origin:
        """The origin that events of this operation carry."""
        return Origin(kind=self.kind, user_id=self.user_id, operation_id=self.id, causes=self.causes)

    def row(self, state: str, ended_at: int | None) -> Row:
        """Return the operation as a row of its table."""
        detail = json.dumps(self.detail, ensure_ascii=False, sort_keys=True)
        return (
            self.id,
            self.kind,
            self.label,
            state,
            self.user_id,
            self.started_at,
            ended_at,
            self.undoes,
            self.cause,
            this_process(),
            detail,
        )


@attrs.frozen
class Edit:
    """A change of one stored row: the whole row as it was read, and the cells that become different.

    `derived` names the cells that follow from others: they are written, but a change of them alone leaves no image.
    An edit without changes raises the version, and its image says only that: a merge united a record with this one.
    `noted` are changes kept elsewhere, as (old, new): the tags of a record, say. They stand in the image alone.
    """

    before: Row
    changes: Mapping[str, Primitive]
    derived: frozenset[str] = frozenset()
    noted: Mapping[str, tuple[Any, Any]] = attrs.field(factory=dict)


class Transaction:
    """One atomic chunk: writes go to the storage at once, their traces are gathered and written before commit.

    `columns` gives the columns of a table as the storage keeps them: those of detached plugins come last.
    """

    def __init__(
        self,
        storage: Storage,
        chain: Chain,
        operation: Operation,
        at: int,
        columns: Callable[[Table], tuple[str, ...]],
    ) -> None:
        self.id = new_id()
        self.operation = operation
        self.at = at
        self.writes = 0
        self.broken = False
        self._storage = storage
        self._chain = chain
        self._columns = columns
        self._notes: dict[str, list[int]] = {}
        self._images: list[tuple[int, str, str, str]] = []
        self._touched: dict[tuple[str, int], int] = {}

    @property
    def stamp(self) -> tuple[int, int, int]:
        """What follows the id in a new row: version, created_tx, updated_tx."""
        return (1, self.id, self.id)

    def insert(self, table: Table, rows: Sequence[Row]) -> None:
        """Insert whole rows: an id, the `stamp`, the declared cells."""
        if not rows:
            return
        self.writes += 1
        self._storage.insert_many(table.name, table.column_names, rows)
        ids = cast("list[int]", [row[0] for row in rows])
        low, high, count = self._notes.get(table.name, [ids[0], ids[0], 0])
        self._notes[table.name] = [min(low, min(ids)), max(high, max(ids)), count + len(ids)]

    def put_back(self, table: Table, images: Sequence[Mapping[str, Primitive]]) -> None:
        """Insert rows that were deleted, one version on, so that whoever still holds the old one notices.

        They stay children of the transaction that created them, so that undoing that one finds them.
        """
        if not images:
            return
        self.writes += 1
        names = self._columns(table)
        rows = [tuple(image.get(name) for name in names) for image in images]
        returned = [(row[0], _int(row[1]) + 1, row[2], self.id, *row[4:]) for row in rows]
        self._storage.insert_many(table.name, names, returned)
        self._images += [(_int(row[0]), table.name, "restored", "{}") for row in rows]

    def update(self, table: Table, edits: Sequence[Edit]) -> None:
        """Write changed cells under the version that was read.

        Raises:
            ConflictError: a row is gone or has another version.
        """
        stale = self.try_update(table, edits)
        if stale:
            raise stale_write(table.name, stale)

    def try_update(self, table: Table, edits: Sequence[Edit]) -> list[int]:
        """Write changed cells under the version that was read; return the ids of rows that have another or are gone."""
        if not edits:
            return []
        stale = self._put(table, edits)
        names = self._columns(table)
        for edit in edits:
            follows = edit.changes and all(name in edit.derived for name in edit.changes)
            if edit.before[0] in stale or (follows and not edit.noted):
                continue
            old = dict(zip(names, edit.before, strict=False))
            cells = {k: [old[k], v] for k, v in edit.changes.items()}
            cells |= {k: list(pair) for k, pair in edit.noted.items()}
            version = _int(edit.before[1])
            self._image(table.name, _int(edit.before[0]), {**cells, VERSION: [version, version + 1]})
        return stale

    def delete(self, table: Table, rows: Sequence[Row]) -> None:
        """Delete whole rows as they were read, keeping the full image of each, also of what detached plugins stored.

        Raises:
            ConflictError: a row is gone or has another version.
        """
        if not rows:
            return
        self._drop(table, rows)
        names = self._columns(table)
        for row in rows:
            content = dict(zip(names, row, strict=True))
            self._images.append((_int(row[0]), table.name, "deleted", json.dumps(content, ensure_ascii=False)))

    def overwrite(self, table: Table, edits: Sequence[Edit], *, tell: bool = True) -> None:
        """Write changed cells without keeping what was there before: for an erasure.

        Subscribers are told that the records changed, and in which cells (`tell`), but not what they held.

        Raises:
            ConflictError: a row is gone or has another version.
        """
        if not edits:
            return
        stale = self._put(table, edits)
        if stale:
            raise stale_write(table.name, stale)
        for edit in edits if tell else ():
            self._image(table.name, _int(edit.before[0]), {column: [None, None] for column in edit.changes})

    def wipe(self, table: Table, rows: Sequence[Row]) -> None:
        """Delete whole rows without keeping an image: for an erasure.

        Raises:
            ConflictError: a row is gone or has another version.
        """
        if not rows:
            return
        self._drop(table, rows)

    def mark(self, action: Literal["erased", "compacted"], number: int) -> None:
        """Note that an image or a person was erased (by id), or that the ledger was compacted through a position.

        The chain covers the note, so that an image that was emptied without one shows.
        """
        self.writes += 1
        self._images.append((number, IMAGES.name, action, "{}"))

    def close(self, state: str, ended_at: int | None) -> int:
        """Write the traces, take the position and seal it: the last step before commit. Returns the position."""
        images = self._traces()
        if images:
            self._storage.insert_many(IMAGES.name, IMAGES.column_names, images)
        operation = self.operation.row(state, ended_at)
        self._storage.put_many(OPERATIONS.name, OPERATIONS.column_names, [operation])
        notes = json.dumps([[table, *note] for table, note in self._notes.items()])
        made = (self.id, self.operation.id, self.at, notes)
        return self._chain.seal(self._storage, made, operation, [image_digest(row[6], row) for row in images])

    def _put(self, table: Table, edits: Sequence[Edit]) -> list[int]:
        """Write changed cells; return the ids of rows that have another version or are gone."""
        self.writes += 1
        updates = [Update(_int(e.before[0]), _int(e.before[1]), {**e.changes, "updated_tx": self.id}) for e in edits]
        return self._storage.update_if_version(table.name, updates)

    def _drop(self, table: Table, rows: Sequence[Row]) -> None:
        """Delete rows as they were read."""
        self.writes += 1
        stale = self._storage.delete(table.name, [(_int(row[0]), _int(row[1])) for row in rows])
        if stale:
            raise stale_write(table.name, stale)

    def _traces(self) -> list[Row]:
        """Return the images as rows of their table."""
        count = len(self._images)
        return [
            (image_id, self.id, table, record_id, action, content, salt, None)
            for image_id, salt, (record_id, table, action, content) in zip(
                new_ids(count), new_salts(count), self._images, strict=True
            )
        ]

    def _image(self, table: str, record_id: int, content: dict[str, list[Any]]) -> None:
        """Keep one image per record: a second change of it in this transaction extends the first."""
        place = self._touched.get((table, record_id))
        if place is not None:
            first = json.loads(self._images[place][3])
            content = {**first, **{k: [first.get(k, v)[0], v[1]] for k, v in content.items()}}
            self._images[place] = (record_id, table, "updated", json.dumps(content, ensure_ascii=False))
            return
        self._touched[(table, record_id)] = len(self._images)
        self._images.append((record_id, table, "updated", json.dumps(content, ensure_ascii=False)))


class UnitOfWork:
    """Opens transactions and operations for one CRM; both belong to the running context, so threads do not mix.

    `after_operation` is called when an outermost operation has committed something: the place where delivery starts.
    """

    def __init__(
        self,
        storage: Storage,
        chain: Chain,
        clock: Clock,
        user_id: Callable[[], int | None],
        after_operation: Callable[[Operation], None],
    ) -> None:
        self.user_id = user_id
        self.stored: Mapping[str, Table] = {}
        self._storage = storage
        self._chain = chain
        self._clock = clock
        self._after_operation = after_operation
        self._transaction: ContextVar[Transaction | None] = ContextVar("transaction", default=None)
        self._operation: ContextVar[Operation | None] = ContextVar("operation", default=None)
        self._cause: ContextVar[tuple[Operation, str] | None] = ContextVar("cause", default=None)
        self._commits: ContextVar[int] = ContextVar("commits", default=0)

    @property
    def current(self) -> Transaction | None:
        """The transaction of this context, if one is open."""
        return self._transaction.get()

    def columns(self, table: Table) -> tuple[str, ...]:
        """Return the columns of whole rows: the declared ones, and behind them what is kept for detached plugins."""
        return self.stored.get(table.name, table).column_names

    @contextmanager
    def transaction(self, label: str = "") -> Iterator[Transaction]:
        """One atomic chunk; inside another one it is part of that.

        Without an operation it becomes one of its own, named `label`.
        """
        outer = self._transaction.get()
        if outer is not None:
            with _part_of(outer):
                yield outer
            return
        operation = self._operation.get()
        if operation is None:
            operation = self._new_operation(label or "edit", None, {}, None)
            operation.lone = True
        made = self._begin(operation)
        token = self._transaction.set(made)
        try:
            yield made
            wrote = self._commit(made)
        except BaseException:
            self._storage.rollback()
            raise
        finally:
            self._transaction.reset(token)
        if wrote and operation.lone:
            self._after_operation(operation)

    def retried(self, action: Callable[[], T]) -> T:
        """Do what writes in one transaction; again, when that gave way to another one (`StorageConflict`).

        Inside a transaction it is done once, because only the whole of that may be repeated; and so is what has
        committed something before it failed.
        """
        if self.current is not None:
            return action()
        return repeated(action, self._commits.get)

    @contextmanager
    def following(self) -> Iterator[None]:
        """Inside, records are written as they were just read, not as a caller saw them: a stale one is read again.

        Raises:
            StorageConflict: one of them was changed meanwhile; `retried` does the whole of it again.
        """
        try:
            yield
        except ConflictError as error:
            raise StorageConflict(f"{error.message}, by somebody else", hint="do the whole of it again") from error

    @contextmanager
    def operation(
        self,
        label: str,
        *,
        kind: OriginKind | None = None,
        detail: Mapping[str, Any] | None = None,
        undoes: int | None = None,
        recorded: bool = False,
    ) -> Iterator[Operation]:
        """Group transactions for log and undo; inside another operation, or a transaction, it is part of that.

        `recorded=True` writes the operation down before its first transaction, so that one killed at once is seen.

        Raises:
            UsageError: it is of another kind than the one around it, so it cannot be a part.
        """
        current = self._transaction.get()
        outer = current.operation if current is not None else self._operation.get()
        if outer is not None:
            if undoes is not None or (kind is not None and kind != outer.kind):
                around = f"{'a transaction' if outer.lone else 'the operation'} {outer.label!r} (kind {outer.kind})"
                raise UsageError(
                    f"{label!r} (kind {kind}) cannot be a part of {around}", hint="start it after that has ended"
                )
            yield outer
            return
        operation = self._new_operation(label, kind, dict(detail or {}), undoes)
        if recorded:
            self._save(operation, "open")
        yield from self._inside(operation)

    @contextmanager
    def resumed(self, operation: Operation) -> Iterator[Operation]:
        """Go on with an operation that was cut off."""
        operation.stored = True
        self._save(operation, "open")
        yield from self._inside(operation)

    @contextmanager
    def caused_by(self, operation: Operation, *, by: str) -> Iterator[None]:
        """Mark what is written inside as a consequence of `operation`, drawn by the subscriber `by` ("plugin.hook")."""
        cause, inner = self._cause.set((operation, by)), self._operation.set(None)
        try:
            yield
        finally:
            self._operation.reset(inner)
            self._cause.reset(cause)

    def _inside(self, operation: Operation) -> Iterator[Operation]:
        token = self._operation.set(operation)
        try:
            yield operation
        except BaseException:
            self._save_incomplete(operation)
            raise
        finally:
            self._operation.reset(token)
        if operation.stored:
            self._save(operation, "done")
        if operation.transactions:
            self._after_operation(operation)

    def _new_operation(
        self, label: str, kind: OriginKind | None, detail: dict[str, Any], undoes: int | None
    ) -> Operation:
        cause, by = self._cause.get() or (None, "")
        return Operation(
            id=new_id(),
            kind=kind or ("user" if cause is None else "rule"),
            label=label,
            user_id=self.user_id(),
            started_at=to_micros(self._clock.now()),
            undoes=undoes,
            cause=None if cause is None else cause.id,
            causes=() if cause is None else (*cause.causes, cause.id),
            detail=detail if cause is None else {**detail, "by": by},
        )

    def _begin(self, operation: Operation) -> Transaction:
        self._chain.require_key()
        self._storage.begin(write=True)
        return Transaction(self._storage, self._chain, operation, to_micros(self._clock.now()), self.columns)

    def _commit(self, made: Transaction) -> bool:
        operation = made.operation
        if made.broken:
            raise UsageError(
                "a part of this transaction failed halfway and its error was passed over; nothing is stored",
                hint="let the error end the transaction, or give what may fail a transaction of its own",
            )
        if not made.writes:
            self._storage.rollback()
            return False
        made.close("done" if operation.lone else "open", made.at if operation.lone else None)
        self._storage.commit()
        self._commits.set(self._commits.get() + 1)
        operation.transactions += 1
        operation.stored = True
        return True

    def _save_incomplete(self, operation: Operation) -> None:
        """Write down that an operation broke off.

        Where even that fails, the error that broke it off is the one to see.
        """
        if operation.stored:
            try:
                self._save(operation, "incomplete")
            except CrmError as error:
                _log.warning("the operation %r broke off, which could not be written down: %s", operation.label, error)

    def _save(self, operation: Operation, state: str) -> None:
        ended = None if state == "open" else to_micros(self._clock.now())
        self._storage.begin(write=True)
        try:
            self._storage.put_many(OPERATIONS.name, OPERATIONS.column_names, [operation.row(state, ended)])
            self._storage.commit()
        except BaseException:
            self._storage.rollback()
            raise
        operation.stored = True


@contextmanager
def _part_of(outer: Transaction) -> Iterator[None]:
    """Run a part of a transaction: when it fails after it has written, the whole may not be committed."""
    before = outer.writes
    try:
        yield
    except BaseException:
        outer.broken = outer.broken or outer.writes != before
        raise


def stale_write(table: str, ids: Sequence[int]) -> ConflictError:
    """Build the error of a write that came too late."""
    shown = ", ".join(format_id(one) for one in ids[:3]) + (" ..." if len(ids) > 3 else "")
    return ConflictError(
        f"{table}: {shown} changed since it was read",
        hint="read the record again and repeat the change on what it says now",
    )


def _int(cell: Primitive) -> int:
    assert isinstance(cell, int), "the system columns of a row are integers"
    return cell
