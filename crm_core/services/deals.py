"""Deals and sales: moving through stages, what a move writes, and revenue with its refunds."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import islice
from typing import ClassVar, Final

from crm_core.errors import InvalidValue, NotFound, UsageError
from crm_core.extend import Pipeline, Stage
from crm_core.ledger.session import Session
from crm_core.query.ast import And, Compare, IsNull
from crm_core.records import Deal, DealChange, RecordType, Sale, StageChange, When
from crm_core.services.records import CHUNK, Page, RecordService, retried
from crm_core.values import Money, format_id

_WATCHED: Final = ("amount", "expected_close_on", "owner_id")
"""Fields whose changes are kept as DealChange records."""
_SOLD: Final = {
    "amount": "amount",
    "closed_at": "sold_at",
    "customer_id": "customer_id",
    "owner_id": "owner_id",
    "source": "source",
}
"""What a won deal says of its sale: its field, and the sale's."""


class SaleService(RecordService[Sale]):
    """Sales and refunds; one added without a date happened now."""

    before_hook: ClassVar[str] = "before_sales_change"

    @retried
    def add(self, record: Sale, *, external: tuple[str, str] | None = None) -> Sale:
        """Store a new sale, or a refund of what is left of one.

        Raises:
            UsageError: what it refunds is no sale that counts, or more would be refunded than is left of it.
        """
        with self._session.work.transaction("add sale"):
            if record.refunds_sale_id is not None and record.voided_at is None and record.amount is not None:
                self._refundable(record.refunds_sale_id, record.amount)
            return super().add(record, external=external)

    def _completed(self, record: Sale) -> Sale:
        return record if record.sold_at is not None else record.evolve(sold_at=self._session.clock.now())

    def _normalised(self, record: Sale, before: Sale | None) -> Sale:
        if record.kind == "sale" and record.refunds_sale_id is not None:
            raise InvalidValue("refunds_sale_id: only a refund refunds a sale", field="refunds_sale_id", rule="kind")
        if record.id and record.refunds_sale_id == record.id:
            raise InvalidValue("refunds_sale_id: nothing refunds itself", field="refunds_sale_id", rule="not_self")
        if record.amount is not None and record.amount.minor < 0:
            expected = "positive; taking money back is a sale of kind refund"
            raise InvalidValue(f"amount: {record.amount} must be {expected}", field="amount", rule="not_negative")
        return record

    @retried
    def void(self, sale: Sale, *, at: When | None = None) -> Sale:
        """Declare that a sale never counted, and so its refunds neither; they stay on record.

        Raises:
            UsageError: it is voided already.
        """
        if sale.voided_at is not None:
            raise UsageError(f"sale {format_id(sale.id)} is voided already")
        when = at or self._session.clock.now()
        with self._session.work.transaction("void sale"):
            self._session.storage.lock(self.kind.plural, [sale.id])
            for refund in self._refunds(sale):
                self.edit(refund.evolve(voided_at=when))
            return self.edit(sale.evolve(voided_at=when))

    @retried
    def refund(self, sale: Sale, amount: Money | None = None, *, at: When | None = None) -> Sale:
        """Store a refund of a sale, whole or in part, and return it.

        Raises:
            UsageError: it is no sale that counts, or more would be refunded than is left of it.
        """
        with self._session.work.transaction("refund sale"):
            now, returned = self._refundable(sale.id, amount)
            refund = Sale(
                customer_id=now.customer_id,
                deal_id=now.deal_id,
                kind="refund",
                refunds_sale_id=now.id,
                sold_at=at,
                amount=returned,
                source=now.source,
                owner_id=now.owner_id,
            )
            return super().add(refund)

    def of_deal(self, deal_id: int) -> Sale | None:
        """Return the sale of a deal that counts, if there is one."""
        where = And((Compare("deal_id", "=", deal_id), Compare("kind", "=", "sale"), IsNull("voided_at")))
        found = self.find(where, limit=1).records
        return found[0] if found else None

    def _refundable(self, sale_id: int, amount: Money | None) -> tuple[Sale, Money]:
        """Return a sale as it is now and what of it goes back: the amount, or all that is left of it."""
        self._session.storage.lock(self.kind.plural, [sale_id])  # what is left of it is decided by what it says now
        sale = self.get(sale_id)
        if sale.kind != "sale" or sale.voided_at is not None or sale.amount is None:
            raise UsageError(f"sale {format_id(sale.id)} is no sale with a known amount that counts")
        earlier = [refund.amount for refund in self._refunds(sale) if refund.amount is not None]
        left = sale.amount - sum(earlier, start=Money(0, sale.amount.currency))
        returned = amount or left
        if returned.currency != left.currency or returned.minor <= 0 or returned.minor > left.minor:
            raise UsageError(f"{returned} cannot be refunded: {left} is left of sale {format_id(sale.id)}")
        return sale, returned

    def _refunds(self, sale: Sale) -> Page[Sale]:
        where = And((Compare("refunds_sale_id", "=", sale.id), IsNull("voided_at")))
        return self.find(where, limit=None)


class DealService(RecordService[Deal]):
    """Deals: the status follows from the stage, moves leave a StageChange, a win writes its Sale.

    `add_many` and `write_many` store deals as they are: the moves and sales of a history are the history's to say.
    """

    before_hook: ClassVar[str] = "before_deals_change"

    def __init__(
        self,
        session: Session,
        kind: RecordType,
        sales: SaleService,
        stage_changes: RecordService[StageChange],
        deal_changes: RecordService[DealChange],
    ) -> None:
        super().__init__(session, kind)
        self._sales = sales
        self._stage_changes = stage_changes
        self._deal_changes = deal_changes

    @retried
    def add(self, record: Deal, *, external: tuple[str, str] | None = None) -> Deal:
        """Store a new deal; one added in a won stage writes its Sale at once."""
        with self._session.work.transaction("add deal"):
            stored = super().add(record, external=external)
            self._follow_stage(None, stored)
        return stored

    @retried
    def edit(self, record: Deal) -> Deal:
        """Store the changes of a deal; a change of its stage is a move."""
        with self._session.work.transaction("edit deal"):
            before = self._as_read([record])[0]
            stored = super().edit(self._closed_as_moved(record, before, None))
            self._follow_stage(before, stored)
        return stored

    def edit_many(self, records: Iterable[Deal]) -> list[Deal]:
        """Store the changes of many deals in chunks, as one operation; changes of their stages are moves."""
        stored: list[Deal] = []
        source = iter(records)
        with self._session.work.operation("edit deals"):
            while chunk := list(islice(source, CHUNK)):
                stored += self._edited(chunk)
        return stored

    @retried
    def _edited(self, records: Sequence[Deal]) -> list[Deal]:
        with self._session.work.transaction():
            return [self.edit(deal) for deal in records]

    @retried
    def move(
        self, deal: Deal | int | str, stage: str, *, at: When | None = None, lost_reason: str | None = None
    ) -> Deal:
        """Move a deal to a stage of its pipeline and return it with its new version.

        Winning writes a Sale where the pipeline says so, reopening voids it, all in one transaction. A deal given by
        its id, or as a person types it, is moved from where it stands.

        Raises:
            NotFound: the pipeline has no such stage.
            ConflictError: the deal changed since it was read.
        """
        with self._session.work.transaction("move deal"):
            deal_id = self._session.resolve("deal", deal) if isinstance(deal, str) else deal
            self._session.storage.lock(self.kind.plural, [deal_id if isinstance(deal_id, int) else deal_id.id])
            before = self.get(deal_id if isinstance(deal_id, int) else deal_id.id)
            current = before if isinstance(deal_id, int) else deal_id
            moved = current.evolve(stage=self.pipeline_of(current).stage(stage).name)
            if lost_reason is not None:
                moved = moved.evolve(lost_reason=lost_reason)
            stored = super().edit(self._closed_as_moved(moved, before, at))
            self._follow_stage(before, stored, at)
        return stored

    def pipeline_of(self, deal: Deal) -> Pipeline:
        """Return the pipeline a deal moves through.

        Raises:
            InvalidValue: the CRM has no such pipeline.
        """
        if deal.pipeline is None:
            return self._session.default_pipeline
        found = self._session.pipelines.get(deal.pipeline)
        if found is None:
            known = ", ".join(self._session.pipelines)
            raise InvalidValue(
                f"pipeline: {deal.pipeline!r} is not one of: {known}",
                field="pipeline",
                value=deal.pipeline,
                rule="choices",
                hint="declare it under [pipelines] in crm.toml",
            )
        return found

    def _completed(self, record: Deal) -> Deal:
        normalised = self._normalised(record, None)
        if normalised.status != "open" and normalised.closed_at is None:
            return normalised.evolve(closed_at=self._session.clock.now())
        return normalised

    def _normalised(self, record: Deal, before: Deal | None) -> Deal:
        if isinstance(record.amount, Money) and record.amount.minor < 0:
            message = f"amount: {record.amount} must not be negative; leave an unknown amount empty"
            raise InvalidValue(message, field="amount", value=record.amount, rule="not_negative")
        pipeline = self.pipeline_of(record)
        stage = self._stage(pipeline, record)
        followed = (pipeline.name, stage.name, stage.kind)
        if followed == (record.pipeline, record.stage, record.status):
            return record
        return record.evolve(pipeline=pipeline.name, stage=stage.name, status=stage.kind)

    def _stage(self, pipeline: Pipeline, record: Deal) -> Stage:
        if record.stage is None:
            return pipeline.stages[0]
        try:
            return pipeline.stage(record.stage)
        except NotFound as error:
            raise InvalidValue(
                f"stage: {error.message}", field="stage", value=record.stage, rule="choices", hint=error.hint
            ) from error

    def _closed_as_moved(self, record: Deal, before: Deal, at: When | None) -> Deal:
        """Set or clear what a move into or out of a closed stage says; a date the caller changed stands."""
        moved = self._normalised(record, before)
        if moved.status != "lost" and moved.lost_reason is not None and before.status == "lost":
            moved = moved.evolve(lost_reason=None)
        if moved.status == before.status or moved.closed_at != before.closed_at:
            return moved if at is None or moved.status == "open" else moved.evolve(closed_at=at)
        if moved.status == "open":
            return moved.evolve(closed_at=None)
        return moved.evolve(closed_at=at or self._session.clock.now())

    def _follow_stage(self, before: Deal | None, deal: Deal, at: When | None = None) -> None:
        """Write what a real move means: its StageChange, and the Sale of a win."""
        if before is not None and (before.pipeline, before.stage) == (deal.pipeline, deal.stage):
            self._correct_sale(before, deal)
            return
        now = self._session.clock.now()
        entered = at or (deal.closed_at if deal.status != "open" else None) or (deal.opened_at if not before else None)
        self._stage_changes.add(
            StageChange(
                deal_id=deal.id,
                pipeline=str(deal.pipeline),
                from_stage=before.stage if before else None,
                to_stage=str(deal.stage),
                at=entered or now,
                actor_id=self._session.work.user_id(),
            )
        )
        if self.pipeline_of(deal).on_won == "sale":
            self._follow_win(before, deal)

    def _follow_win(self, before: Deal | None, deal: Deal) -> None:
        was_won = before is not None and before.status == "won"
        if deal.status == "won" and not was_won and self._sales.of_deal(deal.id) is None:
            sale = Sale(
                customer_id=deal.customer_id,
                deal_id=deal.id,
                sold_at=deal.closed_at,
                amount=deal.amount,
                source=deal.source,
                owner_id=deal.owner_id,
            )
            self._sales.add(sale)
        elif was_won and deal.status != "won":
            counted = self._sales.of_deal(deal.id)
            if counted is not None:
                self._sales.void(counted)

    def _correct_sale(self, before: Deal, deal: Deal) -> None:
        """Correct the sale of a won deal with the deal, as far as it still says what the deal said."""
        corrected = {sold: name for name, sold in _SOLD.items() if getattr(before, name) != getattr(deal, name)}
        if deal.status != "won" or not corrected or self.pipeline_of(deal).on_won != "sale":
            return
        sale = self._sales.of_deal(deal.id)
        if sale is not None:
            same = {
                sold: getattr(deal, name)
                for sold, name in corrected.items()
                if getattr(sale, sold) == getattr(before, name)
            }
            if same:
                self._sales.edit(sale.evolve(**same))

    def _written(self, pairs: Sequence[tuple[Deal | None, Deal]]) -> None:
        now = self._session.clock.now()
        changes = [
            DealChange(deal_id=after.id, field=name, old=_told(before, name), new=_told(after, name), at=now)
            for before, after in pairs
            if before is not None
            for name in _WATCHED
            if getattr(before, name) != getattr(after, name)
        ]
        self._deal_changes.add_many(changes)


def _told(deal: Deal, name: str) -> str | None:
    value = getattr(deal, name)
    if value is None:
        return None
    if isinstance(value, Money):
        return f"{value.amount} {value.currency}"
    return format_id(value) if isinstance(value, int) else value.isoformat()


__all__ = ["DealService", "SaleService"]
