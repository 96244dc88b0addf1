"""Customers and how they are reached: contact points are normalised here, so that one address is one key."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Final, cast

import attrs

from crm_core.errors import InvalidValue, UsageError
from crm_core.events import Change
from crm_core.ledger.session import Session
from crm_core.ledger.work import Edit, Transaction, stale_write
from crm_core.query.ast import And, Compare, In
from crm_core.records import ContactPoint, Customer, RecordType, Relation
from crm_core.services.contact_keys import ContactKeys, contact_key
from crm_core.services.records import CHUNK, RecordService, retried
from crm_core.services.references import References
from crm_core.values import format_id

if TYPE_CHECKING:
    from crm_core.services.merging import MergeReport, Side

_NOTHING: Final[Mapping[str, Any]] = MappingProxyType({})
_EXAMPLES: Final = 20
"""Changed keys that a report shows."""


@attrs.frozen(kw_only=True)
class Renormalised:
    """What making the keys of contact points anew did, or (dry run) would do.

    `read` counts all of them, `changed` those with another key now, by kind; `examples` has the first of these as they
    were, each with its new key.
    """

    read: int
    changed: Mapping[str, int]
    examples: tuple[tuple[ContactPoint, str], ...]
    dry_run: bool = False


class _Rehearsed(Exception):
    """Ends a dry run."""


class CustomerService(RecordService[Customer]):
    """Customers: people and organisations."""

    prepare_hook: ClassVar[str] = "prepare_customers"
    before_hook: ClassVar[str] = "before_customers_change"

    def __init__(self, session: Session, kind: RecordType, contact_points: ContactPointService) -> None:
        super().__init__(session, kind)
        self._contact_points = contact_points
        self._references = References(session.storage, session.registry, contact_points.keys)

    @retried
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

    def merge(
        self,
        keep: Customer | int,
        gone: Customer | int,
        *,
        choose: Mapping[str, Side] = _NOTHING,
        across_kinds: bool = False,
        dry_run: bool = False,
    ) -> MergeReport:
        """Make two customers one, in one transaction that is an operation of its own and can be undone.

        Whatever points at `gone` follows to `keep`: records of every type, also plugins' own, and external ids (marked
        merged). Tags and contact points are united, fields that are empty in `keep` are filled. Where both say
        something, `keep` wins unless chosen otherwise. An id whose customer was merged before stands for the survivor.

        Args:
            keep: the customer who stays.
            gone: the one who becomes part of `keep`.
            choose: "gone" for fields of which the other value stays: `city`, `loyalty.tier`, `fields.sector`; those of
                records that can be there once only are named after their type, `loyalty_card.number`.
            across_kinds: whether a person and an organisation may become one.
            dry_run: do it, report, and take it back before anybody sees it.

        Raises:
            UsageError: the two are one, or of two kinds, or a choice is none.
            NotFound: one of them is not there.
            ConflictError: one of them changed since it was read.
            StorageConflict: others kept changing what follows, however often it was tried.
            Vetoed: a plugin refuses that one of the records follows, or that `gone` goes.
        """
        work = self._session.work
        if dry_run and work.current is not None:
            raise UsageError("a dry run of a merge needs no transaction around it", hint="end that one first")
        return work.retried(lambda: self._merged(keep, gone, choose, across_kinds=across_kinds, dry_run=dry_run))

    def _merged(
        self,
        keep: Customer | int,
        gone: Customer | int,
        choose: Mapping[str, Side],
        *,
        across_kinds: bool,
        dry_run: bool,
    ) -> MergeReport:
        work = self._session.work
        report: MergeReport | None = None
        with work.operation("merge customers", kind="merge") as operation:
            before = operation.detail.get("merged", [])
            try:
                with work.transaction() as tx:
                    kept, lost = self._party(keep), self._party(gone)
                    with work.following():
                        report = self._merge(tx, kept, lost, choose, across_kinds=across_kinds)
                    merged = [format_id(report.kept), format_id(report.gone), format_id(tx.id)]
                    operation.detail["merged"] = [*before, merged]
                    if dry_run:
                        raise _Rehearsed
            except BaseException as error:
                operation.detail["merged"] = before
                if not isinstance(error, _Rehearsed):
                    raise
        assert report is not None, "what did not fail has a report"
        if dry_run:
            return attrs.evolve(report, dry_run=True)
        return attrs.evolve(report, operation_id=operation.id)

    def _locked(self, given: Customer | int) -> int:
        """Return the id of the customer meant, whom nobody else writes until the transaction ends."""
        record_id = given if isinstance(given, int) else given.id
        found = self._references.survivor(self.kind, record_id) or record_id
        self._session.storage.lock(self.kind.plural, [found])
        return found

    def _party(self, given: Customer | int) -> Customer:
        """Return a customer as stored; for one that was merged, the one it was merged into."""
        stored = self.get(self._locked(given))
        if not isinstance(given, int) and stored.id == given.id and stored.version != given.version:
            raise stale_write(self.kind.plural, [given.id])
        return stored

    def _merge(
        self, tx: Transaction, keep: Customer, gone: Customer, choose: Mapping[str, Side], *, across_kinds: bool
    ) -> MergeReport:
        if keep.id == gone.id:
            raise UsageError(f"the two are one customer: {keep.name or ''} ({format_id(keep.id)})")
        if keep.kind != gone.kind and not across_kinds:
            raise UsageError(
                f"{keep.name or format_id(keep.id)} is of the kind {keep.kind}, "
                f"{gone.name or format_id(gone.id)} of the kind {gone.kind}",
                hint="if they are one all the same, allow it: across_kinds=True, on the command line --across-kinds",
            )
        from crm_core.services.merging import Merge, MergeReport

        self._chunks.refuse_vetoed(tx, [Change(gone, None)])
        merge = Merge(self._session, tx, choose)
        first, complete = (cast(Customer, one) for one in merge.combined(self.kind, keep, gone))
        self.edit(first)
        merge.take_over(self.kind, keep.id, gone.id)
        if first != complete:
            now = self.get(keep.id)
            self.edit(complete.evolve(version=now.version))
        merge.require_known_choices()
        return MergeReport(
            kept=keep.id,
            gone=gone.id,
            moved=dict(merge.moved),
            united=dict(merge.united),
            dropped=dict(merge.dropped),
            filled=tuple(merge.filled),
            conflicts=tuple(merge.conflicts),
            external_ids=merge.external_ids,
        )

    def contact_points(self, customer_id: int) -> list[ContactPoint]:
        """Return how a customer is reached."""
        return list(self._contact_points.find(Compare("customer_id", "=", customer_id), limit=None))

    def reached_at(self, kind: str, value: str, *, country: str | None = None) -> list[int]:
        """Return the ids of the customers who have this address or number, however it is written.

        `country` is where a number without a country code belongs, as a customer's record would say it.

        Raises:
            InvalidValue: it is no address or number of that kind.
        """
        found = self._contact_points.reached_at(kind, value, country=country)
        return list(dict.fromkeys(point.customer_id for point in found))


class ContactPointService(RecordService[ContactPoint]):
    """Contact points, each with the key it is matched by."""

    def __init__(self, session: Session, kind: RecordType) -> None:
        super().__init__(session, kind)
        self.keys = ContactKeys(session.host, session.policies)

    def _normalised(self, record: ContactPoint, before: ContactPoint | None) -> ContactPoint:
        key = contact_key(record.kind, record.value)
        return record if record.key == key else record.evolve(key=key)

    def _refined(self, records: Sequence[ContactPoint]) -> Sequence[ContactPoint]:
        if not self.keys.refined:
            return records
        countries = self._countries({record.customer_id for record in records})
        return [
            record if record.key == key else record.evolve(key=key)
            for record in records
            for country in [countries.get(record.customer_id)]
            for key in [self.keys.refine(record.kind, record.value, record.key or "", country)]
        ]

    def reached_at(self, kind: str, value: str, *, country: str | None = None) -> list[ContactPoint]:
        """Return the contact points that are this address or number, whoever's they are and however it is written.

        Who looks up what a customer's own record holds (a number without a country code, say) gives the customer's
        `country`, as the key was made with it.

        Raises:
            InvalidValue: it is no address or number of that kind.
        """
        where = And((Compare("kind", "=", kind), In("key", self.keys.both(kind, value, country))))
        return list(self.find(where, limit=None))

    def reached_at_many(self, wanted: Sequence[tuple[str, str, str | None]]) -> list[list[ContactPoint]]:
        """Return the contact points at each of many addresses, as `reached_at` does, by one look for many.

        Args:
            wanted: (kind, value, country) of each; nobody is reached at what is no address of its kind.
        """
        keys: list[tuple[str, tuple[str, ...]]] = []
        for kind, value, country in wanted:
            try:
                keys.append((kind, self.keys.both(kind, value, country)))
            except InvalidValue:
                keys.append((kind, ()))
        found: dict[tuple[str, str | None], list[ContactPoint]] = {}
        for kind in {kind for kind, _ in keys}:
            asked = sorted({key for of_kind, both in keys if of_kind == kind for key in both})
            for at in range(0, len(asked), CHUNK):
                where = And((Compare("kind", "=", kind), In("key", tuple(asked[at : at + CHUNK]))))
                for point in self.find(where, limit=None):
                    found.setdefault((kind, point.key), []).append(point)
        return [[point for key in both for point in found.get((kind, key), ())] for kind, both in keys]

    def normalise(self, *, dry_run: bool = False) -> Renormalised:
        """Make the keys of all stored contact points anew, as one operation that can be undone.

        Needed once when a plugin that chooses keys comes or goes, or when countries of customers were filled in: keys
        are made when a contact point is written. What was typed stays as it is.

        Raises:
            UsageError: inside a transaction.
            PluginError: a plugin failed; the chunks before it stay, and one undo takes them back.
        """
        work = self._session.work
        if work.current is not None:
            raise UsageError("all keys are not made anew inside a transaction", hint="end that one first")
        counts: Counter[str] = Counter()
        examples: list[tuple[ContactPoint, str]] = []
        with work.operation("normalise contact points"):
            for rows in self._session.storage.scan(self.kind.plural, ["id"], batch=CHUNK):
                ids = [cast(int, row[0]) for row in rows]
                changed = self._fresh(ids) if dry_run else work.retried(partial(self._renormalise, ids))
                counts["read"] += len(ids)
                counts.update(point.kind for point, _ in changed)
                examples += changed[: _EXAMPLES - len(examples)]
        read = counts.pop("read", 0)
        return Renormalised(read=read, changed=dict(counts), examples=tuple(examples), dry_run=dry_run)

    def _fresh(self, ids: Sequence[int]) -> list[tuple[ContactPoint, str]]:
        """Return those of these contact points whose key would be another one, each with that key."""
        stored = self.get_many(ids)
        fresh = self._refined([self._normalised(point, point) for point in stored])
        return [(old, str(new.key)) for old, new in zip(stored, fresh, strict=True) if old.key != new.key]

    def _renormalise(self, ids: Sequence[int]) -> list[tuple[ContactPoint, str]]:
        work = self._session.work
        with work.transaction() as tx, work.following():
            changed = self._fresh(ids)
            new = {point.id: key for point, key in changed}
            rows = self._session.storage.get_many(self.kind.plural, list(new))
            # A derived cell, and yet an image of it is kept: nothing else could bring the former key back.
            tx.update(self.kind.table, [Edit(row, {"key": new[cast(int, row[0])]}) for row in rows])
        return changed

    def _countries(self, customers: Collection[int]) -> dict[int, str]:
        """Return the countries of customers, of those that have one."""
        where = In("id", tuple(sorted(customers)))
        rows = self._session.storage.find("customers", where, columns=["id", "country"])
        return {cast(int, row[0]): str(row[1]) for row in rows if row[1] is not None}


class RelationService(RecordService[Relation]):
    """Relations between two different customers."""

    def _normalised(self, record: Relation, before: Relation | None) -> Relation:
        if record.customer_id == record.other_id:
            raise InvalidValue("other_id: a customer has no relation to itself", field="other_id", rule="not_self")
        if record.from_on and record.until_on and record.until_on < record.from_on:
            raise InvalidValue("until_on: ends before it begins", field="until_on", rule="order")
        return record
