"""The service for a person's own rights: everything known of them, and its erasure."""

from __future__ import annotations

from typing import Any

from crm_core.errors import NotFound, UsageError
from crm_core.ledger.session import Session
from crm_core.services.privacy.erasing import FINAL, Eraser, Erasure, Receipt
from crm_core.services.privacy.exporting import Export
from crm_core.services.privacy.finding import PERSON, Found
from crm_core.values import format_id


class PrivacyService:
    """What is known of a customer, to be handed over or erased."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def export(self, customer_id: int) -> dict[str, Any]:
        """Return everything about a person as plain JSON data.

        It holds all records about them by type, with the labels of their fields; how other systems know them; and what
        the ledger still holds of former values. Other customers show by their id only.

        Raises:
            NotFound: there is no such customer.
        """
        return Export(self._session, self._found(customer_id)).data()

    def erase(self, customer_id: int, *, dry_run: bool = False) -> Erasure:
        """Erase a person, for good; a dry run returns the same receipt and writes nothing.

        Personal fields of all records about them are emptied, in the ledger's images too; contact points, relations and
        tags go. The customer stays as a shell to which deals and sales belong. External ids stay as digests, so that an
        import of their keys is refused. It is one transaction; the receipt is kept with its operation.

        Raises:
            NotFound: there is no such customer.
            UsageError: it is called inside a transaction.
            StorageConflict: others kept changing records about the person, however often it was tried.
        """
        session = self._session
        if session.work.current is not None:
            raise UsageError("a person cannot be erased inside a transaction", hint="end that one first")
        at = session.clock.now().isoformat()
        if dry_run:
            eraser = Eraser(session, self._found(customer_id), None)
            return Erasure(receipt=eraser.run(at, self._by()), dry_run=True)
        receipt, operation_id = session.work.retried(lambda: self._erased(customer_id, at))
        return Erasure(receipt=receipt, operation_id=operation_id, left_over=session.storage.scrub())

    def _erased(self, customer_id: int, at: str) -> tuple[Receipt, int]:
        session = self._session
        erasing = session.work.operation("erase customer", detail={"final": FINAL})
        with erasing as operation, session.work.transaction() as tx:
            session.storage.lock(session.registry.types[PERSON].plural, [customer_id])
            with session.work.following():
                receipt = Eraser(session, self._found(customer_id), tx).run(at, self._by())
            operation.detail["receipt"] = receipt.to_json()
        return receipt, operation.id

    def _found(self, customer_id: int) -> Found:
        if not self._session.storage.get_many(self._session.registry.types[PERSON].plural, [customer_id]):
            raise NotFound(f"there is no customer {format_id(customer_id)}", hint="crm customers list")
        return Found(self._session, customer_id)

    def _by(self) -> str | None:
        user = self._session.work.user_id()
        return None if user is None else format_id(user)


__all__ = ["PrivacyService"]
