"""Customers and how they are reached: contact points are normalised here, so that one address is one key."""

from __future__ import annotations

from typing import ClassVar, Final

from crm_core.errors import InvalidValue
from crm_core.ledger.session import Session
from crm_core.query.ast import And, Compare
from crm_core.records import ContactPoint, Customer, RecordType, Relation
from crm_core.services.records import RecordService
from crm_core.values import email_key, phone_key, text_key

_NUMBERS: Final = frozenset({"phone", "whatsapp", "viber"})


class CustomerService(RecordService[Customer]):
    """Customers: people and organisations."""

    prepare_hook: ClassVar[str] = "prepare_customers"
    before_hook: ClassVar[str] = "before_customers_change"

    def __init__(self, session: Session, kind: RecordType, contact_points: ContactPointService) -> None:
        super().__init__(session, kind)
        self._contact_points = contact_points

    def add(
        self,
        record: Customer,
        *,
        email: str | None = None,
        phone: str | None = None,
        external: tuple[str, str] | None = None,
    ) -> Customer:
        """Store a new customer, with an e-mail address and a phone number where given.

        Two customers may share an address: a household does. `reached_at` tells who has one already.

        Raises:
            InvalidValue: a value breaks a rule of its field; nothing is stored then.
        """
        points = [
            ContactPoint(customer_id=0, kind=kind, value=value, primary=True)
            for kind, value in (("email", email), ("phone", phone))
            if value is not None
        ]
        with self._session.work.transaction("add customer"):
            stored = super().add(record, external=external)
            for point in points:
                self._contact_points.add(point.evolve(customer_id=stored.id))
        return stored

    def contact_points(self, customer_id: int) -> list[ContactPoint]:
        """Return how a customer is reached."""
        return list(self._contact_points.find(Compare("customer_id", "=", customer_id), limit=None))

    def reached_at(self, kind: str, value: str) -> list[int]:
        """Return the ids of the customers who have this address or number, however it is written."""
        where = And((Compare("kind", "=", kind), Compare("key", "=", contact_key(kind, value))))
        return list(dict.fromkeys(point.customer_id for point in self._contact_points.find(where, limit=None)))


class ContactPointService(RecordService[ContactPoint]):
    """Contact points, each with the key it is matched by."""

    def _normalised(self, record: ContactPoint, before: ContactPoint | None) -> ContactPoint:
        key = contact_key(record.kind, record.value)
        return record if record.key == key else record.evolve(key=key)


class RelationService(RecordService[Relation]):
    """Relations between two different customers."""

    def _normalised(self, record: Relation, before: Relation | None) -> Relation:
        if record.customer_id == record.other_id:
            raise InvalidValue("other_id: a customer has no relation to itself", field="other_id", rule="not_self")
        if record.from_on and record.until_on and record.until_on < record.from_on:
            raise InvalidValue("until_on: ends before it begins", field="until_on", rule="order")
        return record


def contact_key(kind: str, value: str) -> str:
    """Return the key an address or number of a kind is matched by.

    Raises:
        InvalidValue: it is no address or number of that kind.
    """
    if kind == "email":
        return _email(value)
    key = phone_key(value) if kind in _NUMBERS else text_key(value)
    if not key:
        wrong = "not a phone number" if kind in _NUMBERS else "empty"
        raise InvalidValue(f"value: {value!r} is {wrong}", field="value", value=value, rule=kind)
    return key


def _email(value: str) -> str:
    key = email_key(value)
    local, at, domain = key.rpartition("@")
    if not at or not local or not domain or "@" in local or any(mark in key for mark in " \t\r\n,;<>"):
        message = f"value: {value!r} is not an e-mail address; write it as name@example.org"
        raise InvalidValue(message, field="value", value=value, rule="email")
    return key
