"""Delivery of committed changes to `on_*` hooks: in ledger order, at least once, each subscriber with its own cursor.

A subscriber that fails is tried again with growing pauses, then the transaction is parked and shown; others go on.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import suppress
from functools import partial
from threading import Lock
from time import monotonic
from typing import Final

import attrs

from crm_core.errors import ConflictError, DuplicateKey, NotFound, UsageError
from crm_core.events import Origin
from crm_core.extend import Storage
from crm_core.host import Host, Subscriber
from crm_core.ledger.history import History, OperationEntry, TransactionEntry
from crm_core.ledger.leases import PAUSES, Cursor, Leases
from crm_core.ledger.notices import HOOKS, Notices
from crm_core.ledger.standing import Parked, parked_in
from crm_core.ledger.tables import FORGOTTEN, PARKED
from crm_core.ledger.telling import Call, DeliveryReport, Failure, Told, report_of, told_one
from crm_core.ledger.work import UnitOfWork
from crm_core.records import Registry
from crm_core.values import Clock, from_micros, new_id

_BATCH: Final = 200

_log = logging.getLogger("crm_core.delivery")
_failures_log = logging.getLogger("crm_core.delivery.failures")


class Delivery:
    """Brings committed changes to the subscribers of one CRM.

    `leases` are those of this worker; `calling` is told of each call before it is made.
    """

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
        self.leases = Leases(storage, clock)
        self.calling: Callable[[Call], None] = lambda call: None
        self._storage = storage
        self._host = host
        self._work = work
        self._history = history
        self._notices = Notices(storage, registry, history)
        self._crm = crm
        self._turn = Lock()
        self._wanted = False

    def listened(self) -> bool:
        """Whether anybody listens to a delivery hook; costs no import."""
        return any(self._host.implements(hook) for hook in HOOKS)

    def cursors(self) -> list[Cursor]:
        """Return every cursor, also those of plugins that are gone."""
        return self.leases.all()

    def parked(self) -> list[Parked]:
        """Return what was given up on, oldest first."""
        return parked_in(self._storage)

    def start_new(self) -> None:
        """Give every new subscriber a cursor at the head: what happened before its time is not delivered."""
        known = {(cursor.plugin, cursor.hook): cursor for cursor in self.cursors()}
        listening = {(p.name, hook) for p in self._host.plugins() if p.status == "active" for hook in p.hooks}
        ids = {key: cursor.id for key, cursor in known.items() if cursor.position == FORGOTTEN}
        fresh = sorted(key for key in listening - (known.keys() - ids.keys()) if key[1] in HOOKS)
        if fresh:
            head = self._history.head()
            with suppress(DuplicateKey):  # another process that opens the CRM now was faster
                self.leases.save([Cursor(ids.get(key) or new_id(), *key, head) for key in fresh])

    def behind(self, position: int) -> list[Cursor]:
        """Return the cursors of those who listen and have not been told of everything up to a position.

        Of one for whom something was given up on, which can be told again, the cursor stands before that.
        """
        listening = {(one.plugin, one.hook) for one in self._subscribers()}
        parked: dict[tuple[str, str], int] = {}
        for one in self.parked():
            place = (one.plugin, one.hook)
            parked[place] = min(parked.get(place, one.position), one.position)
        cursors = [cursor for cursor in self.cursors() if (cursor.plugin, cursor.hook) in listening]
        for cursor in cursors:
            cursor.position = min(cursor.position, parked.get((cursor.plugin, cursor.hook), cursor.position + 1) - 1)
        return [cursor for cursor in cursors if cursor.position < position]

    def run(self, seconds: float = 5.0) -> DeliveryReport:
        """Deliver what is due, for at most about `seconds`.

        While this process delivers already (in another thread, or further up this one) it only asks that to go on.
        """
        self._wanted = True
        told, failures, end = list[Told](), list[Failure](), monotonic() + seconds
        while self._wanted and monotonic() < end and self._turn.acquire(blocking=False):
            try:
                self._wanted = False
                found, failed = self._round(end)
                told += found
                failures += failed
                self._wanted = self._wanted or bool(found)
            finally:
                self._turn.release()
        return report_of(told, failures)

    def settle(self, name: str, failed: Call | None = None, error: str = "") -> Failure | None:
        """Give back what a worker held that ended without doing so itself.

        Args:
            name: what the worker signed its leases with.
            failed: the call it did not come back from, which counts as an attempt.
            error: why, in words.
        """
        failure = None
        for cursor in self.leases.left_by(name):
            ended = None
            if failed is not None and (cursor.plugin, cursor.hook) == (failed.plugin, failed.hook):
                told = f"{failed.plugin}.{failed.hook}: {error}"
                again = failed.position <= cursor.position
                ended = self._failed_again(failed, told) if again else self._failed(cursor, failed.position, told)
                failure = ended
            self.leases.give_back(cursor, name, partial(self._park_if_last, ended, cursor))
        return failure

    def retry(self, plugin: str, *, without: Collection[tuple[str, int]] = ()) -> DeliveryReport:
        """Tell a plugin now of what was given up on, oldest first; what fails again stays parked, with the new reason.

        Args:
            plugin: its name.
            without: what to leave, by hook and position.

        Raises:
            NotFound: nothing was given up on, or the plugin does not listen (any more).
            ConflictError: another worker tells it of something now.
            UsageError: it is called in a hook.
        """
        waiting = self._parked_of(plugin)
        subscribers = [one for one in self._subscribers() if one.plugin == plugin]
        if not subscribers:
            raise NotFound(f"{plugin} listens to nothing", hint="crm plugins list shows which plugins are at work")
        if not self._turn.acquire(blocking=False):
            raise UsageError(f"{plugin} cannot be told while this process delivers", hint="do it outside of on_* hooks")
        told, failures = list[Told](), list[Failure]()
        try:
            for subscriber in subscribers:
                mine = [
                    one for one in waiting if one.hook == subscriber.hook and (one.hook, one.position) not in without
                ]
                found, failed = self._retry(subscriber, mine) if mine else ([], [])
                told += found
                failures += failed
        finally:
            self._turn.release()
        return report_of(told, failures)

    def forget(self, plugin: str) -> int:
        """Give up for good on what is parked for a plugin; returns how many transactions that were.

        Raises:
            NotFound: nothing was given up on.
        """
        waiting = self._parked_of(plugin)
        self._settle_parked(waiting)
        return len(waiting)

    def _retry(self, subscriber: Subscriber, parked: Sequence[Parked]) -> tuple[list[Told], list[Failure]]:
        with self.leases.taken(subscriber.plugin, subscriber.hook, early=True) as cursor:
            if cursor is None:
                raise ConflictError(f"another worker is telling {subscriber.plugin} right now", hint="try again")
            told, failures = list[Told](), list[Failure]()
            for one in parked:
                failure = self._tell_parked(subscriber, cursor, one)
                failures += [failure] if failure is not None else []
                told += [told_one(one)] if failure is None else []
            return told, failures

    def _parked_of(self, plugin: str) -> list[Parked]:
        waiting = [one for one in self.parked() if one.plugin == plugin]
        if not waiting:
            raise NotFound(f"nothing was given up on for {plugin}", hint="crm doctor shows what was")
        return waiting

    def _tell_parked(self, subscriber: Subscriber, cursor: Cursor, parked: Parked) -> Failure | None:
        (entry,) = self._history.following(parked.position - 1, 1)
        try:
            self._call(subscriber, entry, cursor)
            if cursor.lease is None:
                raise ConflictError("it took so long that another worker took over", hint="try again")
        except Exception as error:  # whatever it is: told, and kept
            call = Call(parked.plugin, parked.hook, parked.position)
            return self._failed_again(call, _told(subscriber.plugin, subscriber.hook, error))
        self._settle_parked([parked])
        return None

    def _failed_again(self, call: Call, told: str) -> Failure:
        """Note of what is parked already why it failed this time."""
        place = (call.plugin, call.hook, call.position)

        def noted() -> None:
            for one in self.parked():
                if (one.plugin, one.hook, one.position) == place:
                    self._park(attrs.evolve(one, at=self.leases.now(), error=told))

        self.leases.written(noted)
        return Failure(
            plugin=call.plugin, hook=call.hook, position=call.position, error=told, attempts=1, again_in=None
        )

    def _round(self, end: float) -> tuple[list[Told], list[Failure]]:
        """Bring each subscriber what is due to it."""
        told, failures = list[Told](), list[Failure]()
        for subscriber in self._subscribers():
            count, position, failed = self._deliver(subscriber, end)
            if count:
                told.append(Told(plugin=subscriber.plugin, hook=subscriber.hook, transactions=count, position=position))
            failures += failed
        return told, failures

    def _subscribers(self) -> Iterator[Subscriber]:
        """Yield those who listen, in the order in which they are served."""
        for hook in HOOKS:
            yield from self._host.subscribers(hook) if self._host.implements(hook) else ()

    def _deliver(self, subscriber: Subscriber, end: float) -> tuple[int, int, list[Failure]]:
        """Tell one subscriber; returns of how many transactions, up to which position, and what failed.

        It ends at what is to be tried again, and goes on after what is parked.
        """
        count, position, failures = 0, 0, list[Failure]()
        plugin, hook = subscriber.plugin, subscriber.hook
        known = self.leases.cursor(plugin, hook)
        # A look costs less than a lease, and most often nothing is due.
        if known is None or not self.leases.is_due(known) or not self._history.following(known.position, 1):
            return count, position, failures
        with self.leases.taken(plugin, hook) as cursor:
            while cursor is not None and monotonic() < end:
                entries = self._history.following(cursor.position, _BATCH)
                for entry in entries:
                    called, failure = self._attempt(subscriber, cursor, entry)
                    count, position = (count + 1, entry.position) if called else (count, position)
                    failures += [failure] if failure is not None else []
                    if cursor.lease is None or cursor.attempts:
                        return count, position, failures
                    if monotonic() >= end:
                        break
                if len(entries) < _BATCH:
                    break
        return count, position, failures

    def _attempt(self, subscriber: Subscriber, cursor: Cursor, entry: TransactionEntry) -> tuple[bool, Failure | None]:
        """Deliver one transaction and move the cursor behind it.

        The cursor is saved after each call; what holds nothing for the subscriber is passed over without a write.
        Returns whether there was something, and what failed.
        """
        try:
            called = self._call(subscriber, entry, cursor)
        except Exception as error:  # whatever it is: told, tried again, then parked
            told = _told(subscriber.plugin, subscriber.hook, error)
            failure = self._failed(cursor, entry.position, told)
            self.leases.keep(cursor, also=partial(self._park_if_last, failure, cursor))
            return False, failure
        if cursor.lease is None:
            return False, None
        cursor.position, cursor.attempts, cursor.next_at, cursor.error = entry.position, 0, 0, None
        if called:
            self.leases.keep(cursor)
        return called, None

    def _call(self, subscriber: Subscriber, entry: TransactionEntry, cursor: Cursor) -> bool:
        """Call the subscriber with what the transaction means to it; returns whether it means anything.

        Nothing is called any more, and the cursor has no lease, once another worker has taken over.
        """
        operation = self._history.operation(entry.operation_id)
        events = self._notices.of(subscriber, entry, operation)
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
            if not self.leases.still_held(cursor):
                return False
            self.calling(Call(subscriber.plugin, subscriber.hook, entry.position))
            with self._work.caused_by(operation.as_operation(causes), by=by):
                subscriber.call(make(origin=origin, position=entry.position, at=from_micros(entry.at), crm=self._crm))
        return True

    def _chain(self, operation: OperationEntry) -> list[OperationEntry]:
        """Return the operations that led to this one, oldest first, itself last."""
        chain = [operation]
        while chain[0].cause is not None:
            chain.insert(0, self._history.operation(chain[0].cause))
        return chain

    def _failed(self, cursor: Cursor, position: int, told: str) -> Failure:
        """Note a failure: the transaction is tried again later or, when its attempts are used up, parked.

        The cursor is still to be saved, and the transaction to be parked with it.
        """
        now = self.leases.now()
        attempts, again_in = cursor.attempts + 1, None
        cursor.error = told
        if cursor.attempts < len(PAUSES):
            again_in = PAUSES[cursor.attempts]
            cursor.next_at = now + again_in * 1_000_000
            cursor.attempts = attempts
            _failures_log.warning("%s; tried again in %s s", told, again_in)
        else:
            cursor.position, cursor.attempts, cursor.next_at = position, 0, 0
            _failures_log.error("%s; parked at position %s after %s attempts", told, position, attempts)
        return Failure(
            plugin=cursor.plugin,
            hook=cursor.hook,
            position=position,
            error=told,
            attempts=attempts,
            again_in=again_in,
        )

    def _park_if_last(self, failure: Failure | None, cursor: Cursor) -> None:
        """Park what failed for the last time, in the transaction that moves the cursor behind it."""
        if failure is None or failure.again_in is not None:
            return
        place = (cursor.plugin, cursor.hook, failure.position)
        if place not in [(one.plugin, one.hook, one.position) for one in self.parked()]:
            self._park(Parked(new_id(), *place, self.leases.now(), failure.error))

    def _park(self, parked: Parked) -> None:
        self._storage.put_many(PARKED.name, PARKED.column_names, [parked.row()])

    def _settle_parked(self, parked: Sequence[Parked]) -> None:
        """Take off the list what was delivered after all, or is not wanted any more; its reason may be personal."""
        now = self.leases.now()
        rows = [attrs.evolve(one, error="").row(settled_at=now) for one in parked]
        self.leases.written(lambda: self._storage.put_many(PARKED.name, PARKED.column_names, rows))


def _told(plugin: str, hook: str, error: Exception) -> str:
    return f"{plugin}.{hook}: {type(error).__name__}: {error}"
