"""Handing work over from people to another one: customers, open deals, what waits for an answer. Closed work stays.

Apart from the services of these types, because it writes all of them as one operation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, Final, cast

import attrs

from crm_core.errors import UsageError
from crm_core.ledger.session import Session
from crm_core.query.ast import And, Compare, Expression, In, IsNull, Or
from crm_core.records import Record, RecordType
from crm_core.services.merging import with_value
from crm_core.services.records import RecordService
from crm_core.values import format_id

_CHUNK: Final = 200
"""Records of one transaction: each deal leaves a note of its own."""
_ASKED: Final = 1_000
_AUTHOR: Final = "author_id"

Services = Callable[[str], RecordService[Any]]


@attrs.frozen(kw_only=True)
class HandoverReport:
    """What was handed over, or (dry run) would be: records by type."""

    givers: tuple[int, ...]
    taker: int
    customers: int
    deals: int
    interactions: int
    operation_id: int | None = None
    dry_run: bool = False


class Handover:
    """Hands over what `givers` have to do; `where` narrows it to the customers that match, and what is theirs."""

    def __init__(
        self, session: Session, services: Services, givers: Sequence[int], taker: int, where: str | None = None
    ) -> None:
        self._session = session
        self._services = services
        self._givers = tuple(dict.fromkeys(givers))
        self._taker = taker
        self._where = services("customer").bind(where)

    def run(self, *, dry_run: bool = False) -> HandoverReport:
        """Hand over as one operation, which can be undone, or count what would be.

        Raises:
            UsageError: the taker is not active, or is a giver; or nobody gives.
            Vetoed: a plugin refuses a change; the chunks before it stay, and one undo takes them back.
        """
        self._require_people()
        operation_id = None
        if dry_run:
            counts = [len(self._ids(name, wanted)) for name, wanted, _ in self._work()]
        else:
            with self._session.work.operation("hand over work") as operation:
                counts = [self._hand(name, wanted, change) for name, wanted, change in self._work()]
            operation_id = operation.id if operation.transactions else None
        customers, deals, interactions = counts
        return HandoverReport(
            givers=self._givers,
            taker=self._taker,
            customers=customers,
            deals=deals,
            interactions=interactions,
            operation_id=operation_id,
            dry_run=dry_run,
        )

    def _require_people(self) -> None:
        if not self._givers:
            raise UsageError("there is nobody to hand over from", hint="crm users list shows who there is")
        taker = self._services("user").get(self._taker)
        if self._taker in self._givers:
            raise UsageError(f"{taker.name} would hand over to {taker.name}", hint="name two different people")
        if not taker.active:
            raise UsageError(
                f"{taker.name} is inactive and takes no work over",
                hint=f"hand over to somebody active, or first: crm users edit {format_id(taker.id)} active=yes",
            )

    def _work(self) -> Iterator[tuple[str, Expression, Callable[[Any], Any]]]:
        """Yield what is handed over: the type, which records, and how one of them changes."""
        owned = In("owner_id", self._givers)
        open_deals = And((owned, Compare("status", "=", "open")))
        yield "customer", owned, self._owned
        yield "deal", open_deals, self._owned
        kind = self._session.registry.named("interaction")
        columns = [field.column for field in kind.fields.values() if field.declaration.references == "user"]
        waiting = (Compare("needs_answer", "=", 1), IsNull("answered_at"))
        yield (
            "interaction",
            And((*waiting, Or(tuple(self._on_it(column) for column in columns)))),
            partial(self._answered, kind),
        )

    def _on_it(self, column: str) -> Expression:
        """Whoever wrote something has written it; who took something in is to answer it."""
        mine = In(column, self._givers)
        return And((mine, Compare("direction", "=", "in"))) if column == _AUTHOR else mine

    def _owned(self, record: Any) -> Any:
        return record.evolve(owner_id=self._taker)

    def _answered(self, kind: RecordType, record: Any) -> Record:
        for field in kind.fields.values():
            handed = field.declaration.references == "user" and field.of(record) in self._givers
            if handed and (field.path != _AUTHOR or record.direction == "in"):
                record = with_value(record, field, self._taker)
        return cast(Record, record)

    def _hand(self, name: str, wanted: Expression, change: Callable[[Any], Any]) -> int:
        work = self._session.work
        return sum(
            work.retried(partial(self._chunk, name, wanted, ids, change))
            for ids in _parts(self._ids(name, wanted), _CHUNK)
        )

    def _chunk(self, name: str, wanted: Expression, ids: Sequence[int], change: Callable[[Any], Any]) -> int:
        service, work = self._services(name), self._session.work
        with work.transaction(), work.following():
            still = service.find(And((In("id", tuple(ids)), wanted)), limit=None)
            service.edit_many([change(record) for record in still])
            return len(still)

    def _ids(self, name: str, wanted: Expression) -> list[int]:
        """Return which records are meant, as they are now."""
        table = self._services(name).kind.plural
        owner = "id" if name == "customer" else "customer_id"
        found = self._session.storage.find(table, wanted, columns=["id", owner])
        if self._where is None:
            return [cast(int, row[0]) for row in found]
        theirs = {cast(int, row[1]) for row in found if row[1] is not None}
        matching = {
            row[0]
            for some in _parts(sorted(theirs), _ASKED)
            for row in self._session.storage.find(
                "customers", And((In("id", tuple(some)), self._where)), columns=["id"]
            )
        }
        return [cast(int, row[0]) for row in found if row[1] in matching]


def _parts(ids: Sequence[int], size: int) -> Iterator[Sequence[int]]:
    return (ids[at : at + size] for at in range(0, len(ids), size))
