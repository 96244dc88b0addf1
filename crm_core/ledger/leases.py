"""Who tells a subscriber now: a lease on its cursor, which another worker takes over when its holder is gone.

A lease guards against telling twice, not against losing: the cursor is written by its holder alone, checked under the
row's lock, so one who was taken for dead and comes back moves nothing any more.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from threading import Event, Thread
from time import monotonic
from typing import Final, TypeVar

import attrs

from crm_core.errors import CrmError
from crm_core.extend import Storage
from crm_core.ledger.giving_way import repeated
from crm_core.ledger.process import is_here, may_be_alive, this_process
from crm_core.ledger.tables import CURSORS
from crm_core.query.ast import And, Compare
from crm_core.records.schema import Table
from crm_core.values import Clock, format_id, new_id, to_micros

T = TypeVar("T")
LEASE_SECONDS: Final = 30.0
"""How long a lease holds that nobody renews."""
CALL_SECONDS: Final = 60.0
"""How long a call of a subscriber may take where nothing else is said."""
PAUSES: Final = (1, 10, 60, 600)
"""Seconds before each further attempt; after the last one the transaction is parked."""
_RENEW_SECONDS: Final = LEASE_SECONDS / 3
_SKEW_SECONDS: Final = 600.0
"""How far the clocks of two machines may differ; a lease that is watched needs no clock, see `_stands_still`."""

_log = logging.getLogger("crm_core.delivery")


def _nothing() -> None:
    """Nothing else is written."""


@attrs.define
class Cursor:
    """Where a subscriber stands: everything up to `position` was delivered or parked. Times in microseconds."""

    id: int
    plugin: str
    hook: str
    position: int
    attempts: int = 0
    next_at: int = 0
    lease: str | None = None
    lease_until: int = 0
    error: str | None = None


class Leases:
    """The cursors in a storage, as one worker takes and gives them back.

    `name` is what it writes into those it holds: the process that answers for it, and a number of its own. The cursors
    of subscribers are in one table, those of jobs in another.
    """

    def __init__(self, storage: Storage, clock: Clock, table: Table = CURSORS) -> None:
        self.name = new_holder()
        self.patience = CALL_SECONDS
        """Seconds for which a lease is renewed during one call; whoever hangs longer loses it."""
        self.begun: int | None = None
        """What failed since this instant, in microseconds, is left to a later round; None: nothing is."""
        self._storage = storage
        self._clock = clock
        self._table = table
        self._seen: dict[int, tuple[Cursor, float]] = {}
        self._confirmed = 0.0

    def all(self) -> list[Cursor]:
        """Return every cursor, also those of plugins that are gone."""
        return [Cursor(*row) for row in self._storage.find(self._table.name)]  # type: ignore[arg-type]

    def cursor(self, plugin: str, hook: str) -> Cursor | None:
        """Return the cursor of a subscriber."""
        where = And((Compare("plugin", "=", plugin), Compare("hook", "=", hook)))
        rows = self._storage.find(self._table.name, where)
        return Cursor(*rows[0]) if rows else None  # type: ignore[arg-type]

    def save(self, cursors: Sequence[Cursor]) -> None:
        """Write cursors as they are, whoever holds them."""
        self.written(lambda: self._put(cursors))

    def is_due(self, cursor: Cursor) -> bool:
        """Whether its pause is over and nobody holds it."""
        if (
            self.begun is not None
            and cursor.attempts
            and cursor.next_at - PAUSES[cursor.attempts - 1] * 1_000_000 >= self.begun
        ):
            return False
        return cursor.next_at <= self.now() and self.is_free(cursor)

    def _failed_meanwhile(self, cursor: Cursor) -> bool:
        if self.begun is None or not cursor.attempts:
            return False
        return cursor.next_at - PAUSES[cursor.attempts - 1] * 1_000_000 >= self.begun

    def is_free(self, cursor: Cursor) -> bool:
        """Whether nobody holds a cursor: it was given back, its holder is gone, or has not renewed it in time."""
        if cursor.lease is None or cursor.lease == self.name:
            return True
        holder = cursor.lease.partition("#")[0]
        if not may_be_alive(holder):
            return True
        if is_here(holder):
            return cursor.lease_until < self.now()
        return self._stands_still(cursor) or cursor.lease_until + _SKEW_SECONDS * 1_000_000 < self.now()

    @contextmanager
    def taken(self, plugin: str, hook: str, *, early: bool = False) -> Iterator[Cursor | None]:
        """Hold a cursor, so that no other worker tells its subscriber meanwhile; a thread renews it during long calls.

        Yields None when it is not due (`early`: in spite of its pause), or another worker holds it.
        """
        cursor = self._take(plugin, hook, early)
        if cursor is None:
            yield None
            return
        done = Event()
        renewing = Thread(target=self._renew, args=(cursor.id, done), name="crm-core lease", daemon=True)
        renewing.start()
        try:
            yield cursor
        finally:
            done.set()
            renewing.join()
            if cursor.lease is not None:
                self.keep(cursor, release=True)

    def keep(self, cursor: Cursor, *, release: bool = False, also: Callable[[], None] = _nothing) -> bool:
        """Save a cursor and hold it for longer, or give it back; one that another worker took over is left to it.

        `also` is written in the same transaction. Returns whether it was held; one that was not has no `lease` then.
        """

        def kept() -> bool:
            now = self._locked(cursor.id)
            held = now is not None and now.lease == self.name
            if held:
                also()
                self._sign(cursor, None if release else self.name)
            return held

        held = self.written(kept)
        if not held:
            _log.warning("%s.%s took longer than its lease; another worker goes on", cursor.plugin, cursor.hook)
            cursor.lease = None
        return held

    def still_held(self, cursor: Cursor) -> bool:
        """Make sure, before something is done that shows, that the lease will last for it."""
        if not self._is_answered_for():
            cursor.lease = None
            return False
        return monotonic() - self._confirmed < _RENEW_SECONDS or self.keep(cursor)

    def left_by(self, name: str) -> list[Cursor]:
        """Return the cursors that a worker of this name held when it ended."""
        return [cursor for cursor in self.all() if cursor.lease == name]

    def give_back(self, cursor: Cursor, name: str, also: Callable[[], None]) -> None:
        """Save a cursor that a worker of this name held, and give it back in its place; `also` as in `keep`."""

        def given() -> None:
            now = self._locked(cursor.id)
            if now is not None and now.lease == name:
                also()
                self._sign(cursor, None)

        self.written(given)

    def now(self) -> int:
        """Return the machine's time in microseconds."""
        return to_micros(self._clock.now())

    def written(self, action: Callable[[], T]) -> T:
        """Do what writes, in one transaction of its own; again when that gave way to another worker's."""

        def once() -> T:
            with self._writing():
                return action()

        return repeated(once)

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Put what is written inside into one transaction, which leaves no trace in the ledger."""
        self._storage.begin(write=True)
        try:
            yield
            self._storage.commit()
        except BaseException:
            self._storage.rollback()
            raise

    def _is_answered_for(self) -> bool:
        """Whether the process in whose name this worker holds leases is there.

        Of one that is gone anybody takes the leases over at once; two workers it left behind would take them from each
        other in turns, and tell everything twice.
        """
        process = self.name.partition("#")[0]
        return process == this_process() or may_be_alive(process)

    def _take(self, plugin: str, hook: str, early: bool) -> Cursor | None:
        if not self._is_answered_for():
            return None
        free = self.is_free if early else self.is_due

        def taken() -> Cursor | None:
            cursor = self.cursor(plugin, hook)
            cursor = None if cursor is None else self._locked(cursor.id)
            if cursor is None or not free(cursor):
                return None
            self._sign(cursor, self.name)
            return cursor

        return self.written(taken)

    def _locked(self, cursor_id: int) -> Cursor | None:
        self._storage.lock(self._table.name, [cursor_id])
        rows = self._storage.get_many(self._table.name, [cursor_id])
        return Cursor(*rows[0]) if rows else None  # type: ignore[arg-type]

    def _sign(self, cursor: Cursor, name: str | None) -> None:
        until = 0 if name is None else self.now() + int(LEASE_SECONDS * 1_000_000)
        cursor.lease, cursor.lease_until = name, until
        self._put([cursor])
        self._confirmed = monotonic()

    def _put(self, cursors: Sequence[Cursor]) -> None:
        rows = [attrs.astuple(cursor) for cursor in cursors]
        self._storage.put_many(self._table.name, self._table.column_names, rows)

    def _renew(self, cursor_id: int, done: Event) -> None:
        """Move the end of a lease from time to time; the position is the working thread's to move."""
        while not done.wait(_RENEW_SECONDS) and monotonic() - self._confirmed < self.patience:
            with suppress(CrmError), self._writing():  # a database that is away is the working thread's to tell of
                now = self._locked(cursor_id)
                if now is None or now.lease != self.name:
                    return
                now.lease_until = self.now() + int(LEASE_SECONDS * 1_000_000)
                self._put([now])

    def _stands_still(self, cursor: Cursor) -> bool:
        """Whether a lease has not moved for as long as it holds, by this machine's own counting of seconds."""
        before, since = self._seen.get(cursor.id, (None, 0.0))
        if before is None or before != cursor:
            self._seen[cursor.id] = (attrs.evolve(cursor), monotonic())
            return False
        return monotonic() - since > LEASE_SECONDS


def new_holder() -> str:
    """Return a name for a worker that this process answers for."""
    return f"{this_process()}#{format_id(new_id())}"
