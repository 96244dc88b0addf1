"""Delivery of committed changes to `on_*` hooks: in ledger order, at least once, each subscriber with its own cursor.

A subscriber that fails is tried again with growing pauses, then the transaction is parked and shown; others go on.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from threading import Lock
from time import monotonic
from typing import Any, Final, cast

import attrs

from crm_core.errors import DuplicateKey
from crm_core.events import Action, Changed, ChangedRecord, CustomersMerged, MergedPair, Origin
from crm_core.extend import Storage
from crm_core.host import Host, Subscriber
from crm_core.ledger.history import History, OperationEntry, RowChange, TransactionEntry
from crm_core.ledger.process import may_be_alive, this_process
from crm_core.ledger.reading import decode_rows
from crm_core.ledger.tables import CURSORS, FORGOTTEN, PARKED
from crm_core.ledger.work import UnitOfWork
from crm_core.query.ast import And, Compare
from crm_core.records import Record, RecordType, Registry
from crm_core.records.schema import Row
from crm_core.values import Clock, format_id, from_micros, new_id, parse_id, to_micros

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

_BATCH: Final = 200
_EVENT: Final = 2_000
"""Changes in one event at most."""
_LEASE_SECONDS: Final = 30
_PAUSES: Final = (1, 10, 60, 600)
"""Seconds before each further attempt; after the last one the transaction is parked."""

_WEIGHT: Final[Sequence[Action]] = ("updated", "created", "deleted")
"""Of several changes of a record in one transaction, the heaviest is what happened to it."""

_log = logging.getLogger("crm_core.delivery")


@attrs.define
class Cursor:
    """Where a subscriber stands: everything up to `position` was delivered or parked."""

    id: int
    plugin: str
    hook: str
    position: int
    attempts: int = 0
    next_at: int = 0
    lease: str | None = None
    lease_until: int = 0
    error: str | None = None


@attrs.frozen
class Parked:
    """A transaction that a subscriber failed on time and again, and was passed over."""

    id: int
    plugin: str
    hook: str
    position: int
    at: int
    error: str


@attrs.frozen(kw_only=True)
class DeliveryReport:
    """What one run did: events delivered, and the failures in words."""

    delivered: int
    failures: tuple[str, ...]


class Delivery:
    """Brings committed changes to the subscribers of one CRM."""

    def __init__(
        self,
        storage: Storage,
        registry: Registry,
        host: Host,
        work: UnitOfWork,
        history: History,
        clock: Clock,
        crm: object = None,
    ) -> None:
        """Take the machine's clock: leases are held against other processes, whatever day the CRM is looked at from."""
        self._storage = storage
        self._registry = registry
        self._host = host
        self._work = work
        self._history = history
        self._clock = clock
        self._crm = crm
        self._name = f"{this_process()}#{format_id(new_id())}"
        self._turn = Lock()
        self._wanted = False

    def listened(self) -> bool:
        """Whether anybody listens to a delivery hook; costs no import."""
        return any(self._host.implements(hook) for hook in HOOKS)

    def cursors(self) -> list[Cursor]:
        """Return every cursor, also those of plugins that are gone."""
        return [Cursor(*row) for row in self._storage.find(CURSORS.name)]  # type: ignore[arg-type]

    def parked(self) -> list[Parked]:
        """Return what was given up on, oldest first."""
        return [Parked(*row) for row in self._storage.find(PARKED.name)]  # type: ignore[arg-type]

    def start_new(self) -> None:
        """Give every new subscriber a cursor at the head: what happened before its time is not delivered."""
        known = {(cursor.plugin, cursor.hook): cursor for cursor in self.cursors()}
        listening = {(p.name, hook) for p in self._host.plugins() if p.status == "active" for hook in p.hooks}
        ids = {key: cursor.id for key, cursor in known.items() if cursor.position == FORGOTTEN}
        fresh = sorted(key for key in listening - (known.keys() - ids.keys()) if key[1] in HOOKS)
        if fresh:
            head = self._history.head()
            with suppress(DuplicateKey):  # another process that opens the CRM now was faster
                self._save([Cursor(ids.get(key) or new_id(), *key, head) for key in fresh])

    def behind(self, position: int) -> list[Cursor]:
        """Return the cursors of those who listen and have not been told of everything up to a position."""
        listening = {(one.plugin, hook) for hook in HOOKS for one in self._listeners(hook)}
        late = [cursor for cursor in self.cursors() if cursor.position < position]
        return [cursor for cursor in late if (cursor.plugin, cursor.hook) in listening]

    def run(self, seconds: float = 5.0) -> DeliveryReport:
        """Deliver what is due, for at most about `seconds`.

        While this process delivers already (in another thread, or further up this one) it only asks that to go on.
        """
        self._wanted = True
        delivered, failures, end = 0, list[str](), monotonic() + seconds
        while self._wanted and monotonic() < end and self._turn.acquire(blocking=False):
            try:
                self._wanted = False
                count, failed = self._round(end)
                delivered += count
                failures += failed
                self._wanted = self._wanted or count > 0
            finally:
                self._turn.release()
        return DeliveryReport(delivered=delivered, failures=tuple(failures))

    def _round(self, end: float) -> tuple[int, list[str]]:
        """Bring each subscriber what is due to it; returns how many events, and the failures in words."""
        delivered, failures = 0, list[str]()
        for hook in HOOKS:
            for subscriber in self._listeners(hook):
                count, failure = self._deliver(subscriber, end)
                delivered += count
                if failure:
                    failures.append(failure)
        return delivered, failures

    def _listeners(self, hook: str) -> Sequence[Subscriber]:
        return self._host.subscribers(hook) if self._host.implements(hook) else ()

    def _deliver(self, subscriber: Subscriber, end: float) -> tuple[int, str]:
        with self._leased(subscriber) as cursor:
            count = 0
            while cursor is not None and monotonic() < end:
                entries = self._history.following(cursor.position, _BATCH)
                for entry in entries:
                    called, failure = self._attempt(subscriber, cursor, entry)
                    count += called
                    if failure or cursor.lease is None:
                        return count, failure
                    if monotonic() >= end:
                        break
                if len(entries) < _BATCH:
                    break
            return count, ""

    def _attempt(self, subscriber: Subscriber, cursor: Cursor, entry: TransactionEntry) -> tuple[bool, str]:
        """Deliver one transaction and move the cursor behind it.

        The cursor is saved after each call; what holds nothing for the subscriber is passed over without a write.
        Returns whether there was something, and the failure in words.
        """
        try:
            called = self._call(subscriber, entry)
        except Exception as error:  # whatever it is: told, tried again, then parked
            return False, self._failed(cursor, entry, error)
        cursor.position, cursor.attempts, cursor.next_at, cursor.error = entry.position, 0, 0, None
        if called:
            self._hold(cursor)
        return called, ""

    def _call(self, subscriber: Subscriber, entry: TransactionEntry) -> bool:
        """Call the subscriber with what the transaction means to it; returns whether it means anything."""
        operation = self._history.operation(entry.operation_id)
        events = self._events(subscriber, entry, operation)
        if not events:
            return False
        by = f"{subscriber.plugin}.{subscriber.hook}"
        chain = self._chain(operation)
        if any(one.detail.get("by") == by for one in chain):
            told = " > ".join(f"{one.label} ({one.detail.get('by', one.kind)})" for one in chain)
            _log.warning("%s would set itself off again; stopped after: %s", by, told)
            return False
        causes = tuple(one.id for one in chain[:-1])
        origin = Origin(
            kind=operation.kind,  # type: ignore[arg-type]
            user_id=operation.user_id,
            operation_id=operation.id,
            causes=causes,
        )
        for make in events:
            with self._work.caused_by(operation.as_operation(causes), by=by):
                subscriber.call(make(origin=origin, position=entry.position, at=from_micros(entry.at), crm=self._crm))
        return True

    def _events(
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

    def _chain(self, operation: OperationEntry) -> list[OperationEntry]:
        """Return the operations that led to this one, oldest first, itself last."""
        chain = [operation]
        while chain[0].cause is not None:
            chain.insert(0, self._history.operation(chain[0].cause))
        return chain

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

    @contextmanager
    def _leased(self, subscriber: Subscriber) -> Iterator[Cursor | None]:
        """Hold a subscriber's cursor, so that no other process delivers to it meanwhile.

        Yields None when nothing is due, or another process holds it.
        """
        cursor = self._cursor(subscriber.plugin, subscriber.hook)
        if cursor is None or not self._is_due(cursor) or not self._history.following(cursor.position, 1):
            yield None
            return
        with self._writing():
            self._storage.lock(CURSORS.name, [cursor.id])
            cursor = self._cursor(subscriber.plugin, subscriber.hook)
            due = cursor is not None and self._is_due(cursor)
            if cursor is not None and due:
                self._lease(cursor)
        if cursor is None or not due:
            yield None
            return
        try:
            yield cursor
        finally:
            if cursor.lease is not None:
                self._hold(cursor, release=True)

    def _is_due(self, cursor: Cursor) -> bool:
        now = to_micros(self._clock.now())
        if cursor.next_at > now:
            return False
        return cursor.lease is None or cursor.lease_until < now or not may_be_alive(cursor.lease.partition("#")[0])

    def _lease(self, cursor: Cursor) -> None:
        cursor.lease, cursor.lease_until = self._name, to_micros(self._clock.now()) + _LEASE_SECONDS * 1_000_000
        self._storage.put_many(CURSORS.name, CURSORS.column_names, [attrs.astuple(cursor)])

    def _hold(self, cursor: Cursor, *, release: bool = False) -> None:
        """Save a cursor and hold it for longer, or let it go; one that another process took over is left to it."""
        with self._writing():
            self._storage.lock(CURSORS.name, [cursor.id])
            now = self._cursor(cursor.plugin, cursor.hook)
            if now is None or now.lease != self._name:
                _log.warning("%s.%s took longer than its lease; another process goes on", cursor.plugin, cursor.hook)
                cursor.lease = None
            elif release:
                cursor.lease, cursor.lease_until = None, 0
                self._storage.put_many(CURSORS.name, CURSORS.column_names, [attrs.astuple(cursor)])
            else:
                self._lease(cursor)

    def _cursor(self, plugin: str, hook: str) -> Cursor | None:
        where = And((Compare("plugin", "=", plugin), Compare("hook", "=", hook)))
        rows = self._storage.find(CURSORS.name, where)
        return Cursor(*rows[0]) if rows else None  # type: ignore[arg-type]

    def _failed(self, cursor: Cursor, entry: TransactionEntry, error: Exception) -> str:
        """Note a failure: the transaction is tried again later or, when its attempts are used up, parked."""
        told = f"{cursor.plugin}.{cursor.hook}: {type(error).__name__}: {error}"
        now = to_micros(self._clock.now())
        cursor.error = told
        if cursor.attempts < len(_PAUSES):
            cursor.next_at = now + _PAUSES[cursor.attempts] * 1_000_000
            cursor.attempts += 1
            _log.warning("%s; tried again in %s s", told, _PAUSES[cursor.attempts - 1])
        else:
            cursor.position, cursor.attempts, cursor.next_at = entry.position, 0, 0
            row = (new_id(), cursor.plugin, cursor.hook, entry.position, now, told)
            with self._writing():
                self._storage.put_many(PARKED.name, PARKED.column_names, [row])
            _log.error("%s; parked at position %s after %s attempts", told, entry.position, len(_PAUSES) + 1)
        self._hold(cursor)
        return told

    def _save(self, cursors: Sequence[Cursor]) -> None:
        with self._writing():
            self._storage.put_many(CURSORS.name, CURSORS.column_names, [attrs.astuple(cursor) for cursor in cursors])

    @contextmanager
    def _writing(self) -> Iterator[None]:
        self._storage.begin(write=True)
        try:
            yield
            self._storage.commit()
        except BaseException:
            self._storage.rollback()
            raise


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
