"""The service for a person's own rights: everything known of them, and its erasure."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, cast

import attrs

from crm_core.errors import NotFound, UsageError
from crm_core.ledger.chain import EMPTIED
from crm_core.ledger.erasure_log import ErasureLog
from crm_core.ledger.erasures import LABEL, Erased, erased_in, pending_in, write_pending
from crm_core.ledger.session import Session
from crm_core.ledger.tables import IMAGES
from crm_core.query.ast import And, Compare, Not
from crm_core.services.privacy.erasing import FINAL, Eraser, Erasure
from crm_core.services.privacy.exporting import Export
from crm_core.services.privacy.finding import NAMES, PERSON, Found
from crm_core.services.references import MERGED
from crm_core.values import format_id


def _unseen(rows: int) -> None:
    """Nobody wants to know how far it is."""


class PrivacyService:
    """What is known of a customer, to be handed over or erased."""

    def __init__(self, session: Session, log: ErasureLog) -> None:
        self._session = session
        self._storage = session.storage
        self._customers = session.registry.types[PERSON].plural
        self._log = log

    def export(self, customer_id: int) -> dict[str, Any]:
        """Return everything about a person as plain JSON data.

        It holds all records about them by type, with the labels of their fields; how other systems know them; and what
        the ledger still holds of former values. Other customers show by their id only. What a plugin that is not at
        work stored of them is counted under `not_included`.

        Raises:
            NotFound: there is no such customer.
        """
        if not self._is_there(customer_id):
            raise _nobody(customer_id)
        return Export(self._session, Found(self._session, customer_id)).data()

    def erase(self, customer_id: int, *, dry_run: bool = False, progress: Callable[[int], object] = _unseen) -> Erasure:
        """Erase a person, for good; a dry run returns the same receipt and writes nothing.

        Personal fields of all records about them are emptied, in the ledger's images too; contact points, relations and
        tags go. The customer stays as a shell to which deals and sales belong. External ids stay as digests, so that an
        import of their keys is refused. It is one transaction; the receipt is kept with its operation, and
        `erasures.jsonl` in the workspace notes the ids, so that a restored backup does not bring the person back. Of a
        customer who was deleted it erases what the ledger still holds. `progress` is called with the number of rows
        that were looked at since its last call.

        Raises:
            NotFound: there is no such customer, nor was one deleted.
            UsageError: it is called inside a transaction.
            StorageConflict: others kept changing records about the person, however often it was tried.
        """
        session = self._session
        if session.work.current is not None:
            raise UsageError("a person cannot be erased inside a transaction", hint="end that one first")
        if not self._can_erase(customer_id):
            raise _nobody(customer_id)
        if dry_run:
            eraser = Eraser(session, Found(session, customer_id, progress), None)
            return Erasure(receipt=eraser.run(session.clock.now().isoformat(), self._by()), dry_run=True)
        done = session.work.retried(lambda: self._erased(customer_id, progress=progress))
        assert done is not None, "only a repeated erasure may have been done by somebody else"
        return attrs.evolve(done, left_over=session.storage.scrub())

    def erase_pending(self) -> int:
        """Erase again who was erased after the backup was made that this database comes from; returns how many.

        Each person is one transaction, which strikes them off what is pending: killed anywhere, the next run goes on.
        A person whom another customer took over stays on it, see `unsettled`.
        """
        retried, erased = self._session.work.retried, set[int]()
        for one in pending_in(self._storage):
            for person in one.persons:
                if self._can_erase(person):
                    erased |= {person} if retried(partial(self._erased, person, one)) is not None else set()
                elif self._survivor_of(person) is None:
                    retried(partial(self._strike_alone, person, one))
        if erased:
            self._storage.scrub()
        return len(erased)

    def unsettled(self) -> list[tuple[Erased, int, int]]:
        """Return whom no erasure could be repeated of, as (erasure, person, other customer).

        The restored backup is of a time at which the other customer had taken the person over by a merge. When that is
        undone, the person is erased the next time the CRM is opened; else the other one is to be erased.
        """
        pending = [(one, person) for one in pending_in(self._storage) for person in one.persons]
        found = ((one, person, self._survivor_of(person)) for one, person in pending)
        return [(one, person, other) for one, person, other in found if other is not None]

    def _erased(
        self, customer_id: int, again: Erased | None = None, progress: Callable[[int], object] = _unseen
    ) -> Erasure | None:
        """Erase in one transaction; None when it was to be done again, and somebody else did."""
        session = self._session
        at = session.clock.now().isoformat()
        detail: dict[str, Any] = {"final": FINAL}
        if again is not None:
            detail["again"] = [format_id(again.operation)]
        with session.work.operation(LABEL, detail=detail) as operation:
            noted = False
            try:
                with session.work.transaction() as tx:
                    self._storage.lock(self._customers, [customer_id])
                    if again is not None and not self._is_pending(customer_id, again):
                        return None
                    with session.work.following():
                        found = Found(session, customer_id, progress)
                        receipt = Eraser(session, found, tx).run(at, self._by())
                    persons = tuple(sorted(found.persons))
                    operation.detail["receipt"] = receipt.to_json()
                    operation.detail["persons"] = [format_id(one) for one in persons]
                    if again is not None:
                        self._strike(again, set(persons))
                    made = Erased(
                        operation=operation.id, persons=persons, at=at, again=(again.operation,) if again else ()
                    )
                    # Before the commit: a person must not come back because of a crash between the two.
                    noted, not_noted = True, self._log.note(made)
            except BaseException:
                if noted:
                    self._log.withdraw(operation.id)
                raise
        return Erasure(receipt=receipt, operation_id=operation.id, not_noted=not_noted)

    def _by(self) -> str | None:
        user = self._session.work.user_id()
        return None if user is None else format_id(user)

    # Who can be erased

    def _is_there(self, customer_id: int) -> bool:
        return bool(self._storage.get_many(self._customers, [customer_id]))

    def _can_erase(self, customer_id: int) -> bool:
        """Whether there is such a customer, or the ledger still holds one who was deleted and is no part of another."""
        if self._is_there(customer_id):
            return True
        said = {"table_name": self._customers, "record_id": customer_id, "action": "deleted"}
        where = [Compare(column, "=", cast(Any, value)) for column, value in said.items()]
        held = self._storage.find(IMAGES.name, And((*where, Not(Compare("content", "=", EMPTIED)))), limit=1)
        return bool(held) and not self._trails(customer_id)

    def _trails(self, customer_id: int) -> list[int]:
        """Return into whom a customer was merged."""
        said = {"record_type": PERSON, "system": MERGED, "external": format_id(customer_id)}
        where = And(tuple(Compare(column, "=", value) for column, value in said.items()))
        rows = self._storage.find(self._session.registry.types[NAMES].plural, where, columns=["record_id"])
        return [cast(int, row[0]) for row in rows]

    # Erasing again

    def _survivor_of(self, person: int) -> int | None:
        """Return the customer who took a person over in this database, unless an erasure of that one is theirs too."""
        pending = {each for one in pending_in(self._storage) for each in one.persons}
        others = [] if self._is_there(person) else [other for other in self._trails(person) if other not in pending]
        if not others or any(person in done.persons for done in erased_in(self._storage)):
            return None
        return others[0]

    def _is_pending(self, person: int, one: Erased) -> bool:
        return any(each.operation == one.operation and person in each.persons for each in pending_in(self._storage))

    def _strike(self, one: Erased, persons: set[int]) -> None:
        left = [
            attrs.evolve(each, persons=tuple(p for p in each.persons if p not in persons))
            if each.operation == one.operation
            else each
            for each in pending_in(self._storage)
        ]
        write_pending(self._storage, [each for each in left if each.persons])

    def _strike_alone(self, person: int, one: Erased) -> None:
        """Note that a person who is not in this database need not be erased again."""
        self._storage.begin(write=True)
        try:
            self._storage.lock(self._customers, list(one.persons))
            self._strike(one, {person})
            self._storage.commit()
        except BaseException:
            self._storage.rollback()
            raise


def _nobody(customer_id: int) -> NotFound:
    return NotFound(f"there is no customer {format_id(customer_id)}", hint="crm customers list")


__all__ = ["PrivacyService"]
