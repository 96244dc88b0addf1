"""A small random company, loaded into a CRM, and the same numbers computed from it by plain Python loops."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable, Iterable
from datetime import UTC, date, datetime, timedelta
from fractions import Fraction
from typing import Any

import attrs

from crm_core import CRM, Customer, Deal, LifecycleChange, Money, Relation, Sale, StageChange, User, Write
from crm_core.extend import DEFAULT_PIPELINE

START = datetime(2024, 1, 1, tzinfo=UTC)
DAYS = 700
ACTIVE_DAYS = 365
STAGES = [stage.name for stage in DEFAULT_PIPELINE.stages]
KINDS = {stage.name: stage.kind for stage in DEFAULT_PIPELINE.stages}
CHANCES = {stage.name: Fraction(stage.probability) for stage in DEFAULT_PIPELINE.stages}
OPEN = [name for name in STAGES if KINDS[name] == "open"]
Parts = tuple[Fraction, Fraction]
Keep = Callable[[Any], bool]


@attrs.define
class World:
    """What was stored, as records."""

    users: list[User]
    customers: list[Customer]
    relations: list[Relation]
    deals: list[Deal]
    sales: list[Sale]
    stage_changes: list[StageChange]
    lifecycle: list[LifecycleChange]

    def unit(self, customer_id: int) -> int:
        """The organisation a person works for, else the customer."""
        return min((r.other_id for r in self.relations if r.customer_id == customer_id), default=customer_id)


def build(crm: CRM, seed: int, *, currencies: tuple[str, ...] = ("EUR", "USD"), relations: bool = True) -> World:
    """Store a random company; the same seed gives the same company."""
    rng = random.Random(seed)
    users = [crm.users.add(User(name=f"User {n}")) for n in range(3)]
    owners = [*(user.id for user in users), None]
    sources = ["web", "fair", None]
    customers = _store(
        crm,
        [
            Customer(
                name=f"Customer {n}",
                kind="organisation" if n < 4 else "person",
                role=rng.choice(["customer", "customer", "customer", "supplier"]),
                owner_id=rng.choice(owners),
                source=rng.choice(sources),
                first_contact_at=_moment(rng),
            )
            for n in range(14)
        ],
    )
    works_for = [
        Relation(customer_id=person.id, other_id=rng.choice(customers[:4]).id, kind="works for")
        for person in customers[10:]
        if relations
    ]
    ids = [*(customer.id for customer in customers), None]
    deals = _store(crm, [_deal(rng, ids, owners, sources, currencies) for _ in range(40)])
    sales = _store(crm, [_sale(rng, ids, owners, sources, currencies) for _ in range(60)])
    refunds = [
        attrs.evolve(
            sale,
            id=0,
            version=0,
            kind="refund",
            refunds_sale_id=sale.id,
            sold_at=_moment(rng, unknown=0),
            voided_at=None,
        )
        for sale in rng.sample(sales, 12)
    ]
    changes = [change for deal in deals for change in _moves(rng, deal)]
    lifecycle = [
        LifecycleChange(
            customer_id=rng.choice(customers).id,
            to_state=rng.choice(["churned", "won back"]),
            at=_moment(rng, unknown=0),
        )
        for _ in range(6)
    ]
    return World(
        users,
        customers,
        _store(crm, works_for),
        deals,
        [*sales, *_store(crm, refunds)],
        _store(crm, changes),
        _store(crm, lifecycle),
    )


def _store(crm: CRM, records: list[Any]) -> list[Any]:
    if not records:
        return []
    outcome = crm.records(type(records[0])).write_many([Write(record=record) for record in records])
    assert outcome.refused == () or list(outcome.refused) == []
    return list(outcome.records)


def _moment(rng: random.Random, *, unknown: float = 0.15) -> datetime | date | None:
    if rng.random() < unknown:
        return None
    at = START + timedelta(days=rng.randrange(DAYS), seconds=rng.randrange(86_400))
    return at if rng.random() < 0.6 else at.date()


def _money(rng: random.Random, currencies: tuple[str, ...]) -> Money | None:
    return None if rng.random() < 0.15 else Money.from_minor(rng.randrange(0, 100_000), rng.choice(currencies))


def _deal(rng: random.Random, ids: Any, owners: Any, sources: Any, currencies: tuple[str, ...]) -> Deal:
    stage = rng.choice([*OPEN[:2], "won", "won", "lost"])
    return Deal(
        title="Deal",
        customer_id=rng.choice(ids),
        pipeline="sales",
        stage=stage,
        amount=_money(rng, currencies),
        owner_id=rng.choice(owners),
        source=rng.choice(sources),
        opened_at=_moment(rng),
        closed_at=_moment(rng, unknown=0) if KINDS[stage] != "open" else None,
    )


def _sale(rng: random.Random, ids: Any, owners: Any, sources: Any, currencies: tuple[str, ...]) -> Sale:
    return Sale(
        customer_id=rng.choice(ids),
        sold_at=_moment(rng, unknown=0),
        amount=_money(rng, currencies),
        owner_id=rng.choice(owners),
        source=rng.choice(sources),
        voided_at=START if rng.random() < 0.1 else None,
    )


def _moves(rng: random.Random, deal: Deal) -> Iterable[StageChange]:
    number = rng.randrange(4)
    stages = [rng.choice(STAGES) for _ in range(number)]
    moments = sorted((_moment(rng, unknown=0) for _ in stages), key=micros)
    before = rng.choice([None, "new"])
    for stage, at in zip(stages, moments, strict=True):
        yield StageChange(deal_id=deal.id, pipeline="sales", from_stage=before, to_stage=stage, at=at)
        before = stage


def micros(at: Any) -> Any:
    """Microseconds of a moment; of a day its midnight; None stays None."""
    if at is None:
        return None
    instant = at if isinstance(at, datetime) else datetime(at.year, at.month, at.day, tzinfo=UTC)
    return (instant - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


def days(start: Any, end: Any) -> Fraction | None:
    """Days from one moment to another, by the rule of metrics."""
    if start is None or end is None:
        return None
    return Fraction(micros(end) - micros(start), 86_400_000_000)


@attrs.define
class Naive:
    """Every metric by loops over the records of a world; `lo` and `hi` bound the period, `keep` filters the group."""

    world: World
    lo: int | None
    hi: int | None
    keep: Keep
    now: int

    def inside(self, at: Any) -> bool:
        moment = micros(at)
        if self.lo is None:
            return True
        return moment is not None and self.lo <= moment < self.hi

    def counted(self) -> list[Sale]:
        return [
            sale
            for sale in self.world.sales
            if sale.voided_at is None and self.keep(sale) and self.inside(sale.sold_at)
        ]

    def revenue(self) -> dict[str, Parts]:
        found: dict[str, Fraction] = defaultdict(Fraction)
        for sale in self.counted():
            if sale.amount is not None:
                found[sale.amount.currency] += sale.amount.minor * (1 if sale.kind == "sale" else -1)
        return {code: (total / 100, Fraction(1)) for code, total in found.items()}

    def sales_count(self) -> dict[str | None, Parts]:
        return {None: (Fraction(sum(sale.kind == "sale" for sale in self.counted())), Fraction(1))}

    def average_order_value(self) -> dict[str, Parts]:
        return {
            code: (
                total,
                Fraction(
                    sum(s.kind == "sale" and s.amount is not None and s.amount.currency == code for s in self.counted())
                ),
            )
            for code, (total, _) in self.revenue().items()
        }

    def revenue_per_customer(self) -> dict[str, Parts]:
        known = [s for s in self.counted() if s.customer_id is not None and s.amount is not None]
        found = {}
        for code in {s.amount.currency for s in known if s.amount}:
            mine = [s for s in known if s.amount and s.amount.currency == code]
            total = sum(s.amount.minor * (1 if s.kind == "sale" else -1) for s in mine if s.amount)
            buyers = {self.world.unit(s.customer_id or 0) for s in mine if s.kind == "sale"}
            found[code] = (Fraction(total, 100), Fraction(len(buyers)))
        return found

    def refund_rate(self) -> dict[str, Parts]:
        found: dict[str, list[Fraction]] = defaultdict(lambda: [Fraction(0), Fraction(0)])
        for sale in self.counted():
            if sale.amount is not None:
                found[sale.amount.currency][sale.kind == "sale"] += Fraction(sale.amount.minor, 100)
        return {code: (parts[0], parts[1]) for code, parts in found.items()}

    def _buyers(self) -> dict[int, list[Sale]]:
        found: dict[int, list[Sale]] = defaultdict(list)
        for sale in self.world.sales:
            if sale.kind == "sale" and sale.voided_at is None and sale.customer_id is not None:
                found[self.world.unit(sale.customer_id)].append(sale)
        return found

    def _kept_units(self) -> set[int]:
        return {customer.id for customer in self.world.customers if self.keep(customer)}

    def repeat_purchase_rate(self) -> dict[str | None, Parts]:
        units = self._kept_units()
        counts = [sum(self.inside(s.sold_at) for s in sales) for unit, sales in self._buyers().items() if unit in units]
        return {None: (Fraction(sum(n >= 2 for n in counts)), Fraction(sum(n >= 1 for n in counts)))}

    def _first_sales(self) -> list[Sale]:
        firsts = [min(sales, key=lambda s: (micros(s.sold_at), s.id)) for sales in self._buyers().values()]
        return [sale for sale in firsts if self.inside(sale.sold_at) and self.keep(sale)]

    def new_customers(self) -> dict[str | None, Parts]:
        return {None: (Fraction(len(self._first_sales())), Fraction(1))}

    def net_new_revenue(self) -> dict[str, Parts]:
        found: dict[str, Fraction] = defaultdict(Fraction)
        firsts = {sale.id for sale in self._first_sales()}
        for sale in self.world.sales:
            if sale.amount is None or sale.voided_at is not None:
                continue
            if sale.id in firsts:
                found[sale.amount.currency] += sale.amount.minor
            if sale.kind == "refund" and sale.refunds_sale_id in firsts and self.inside(sale.sold_at):
                found[sale.amount.currency] -= sale.amount.minor
        return {code: (total / 100, Fraction(1)) for code, total in found.items()}

    def _active(self, at: int) -> set[int]:
        oldest = at - ACTIVE_DAYS * 86_400_000_000
        units = self._kept_units()
        active = set()
        for unit in units:
            sold = [micros(s.sold_at) for s in self._buyers().get(unit, []) if micros(s.sold_at) < at]
            events = [
                (micros(e.at), e.to_state)
                for e in self.world.lifecycle
                if self.world.unit(e.customer_id) == unit and micros(e.at) < at
            ]
            good = [*sold, *(moment for moment, state in events if state == "won back")]
            bad = [moment for moment, state in events if state == "churned"]
            if good and max(good) >= oldest and (not bad or max(bad) < max(good)):
                active.add(unit)
        return active

    def _base(self) -> tuple[set[int], set[int], set[int]]:
        assert self.lo is not None
        assert self.hi is not None
        start, end = self._active(self.lo), self._active(min(self.hi, self.now))
        left = {
            self.world.unit(e.customer_id)
            for e in self.world.lifecycle
            if e.to_state == "churned" and self.lo <= micros(e.at) < min(self.hi, self.now)
        }
        return start, end, {unit for unit in start if unit in left or unit not in end}

    def base_growth(self) -> dict[str | None, Parts]:
        start, end, _ = self._base()
        return {None: (Fraction(len(end) - len(start)), Fraction(len(start)))}

    def retention_rate(self) -> dict[str | None, Parts]:
        start, end, _ = self._base()
        return {None: (Fraction(len(start & end)), Fraction(len(start)))}

    def churn_rate(self) -> dict[str | None, Parts]:
        start, _, left = self._base()
        return {None: (Fraction(len(left)), Fraction(len(start)))}

    def _closed(self) -> list[Deal]:
        return [d for d in self.world.deals if d.status != "open" and self.keep(d) and self.inside(d.closed_at)]

    def win_rate(self) -> dict[str | None, Parts]:
        closed = self._closed()
        return {None: (Fraction(sum(d.status == "won" for d in closed)), Fraction(len(closed)))}

    def win_rate_value(self) -> dict[str, Parts]:
        found: dict[str, list[Fraction]] = defaultdict(lambda: [Fraction(0), Fraction(0)])
        for deal in self._closed():
            if deal.amount is not None:
                amount = Fraction(deal.amount.minor, 100)
                found[deal.amount.currency][1] += amount
                found[deal.amount.currency][0] += amount if deal.status == "won" else 0
        return {code: (parts[0], parts[1]) for code, parts in found.items()}

    def close_rate(self) -> dict[str | None, Parts]:
        opened = [d for d in self.world.deals if self.keep(d) and self.inside(d.opened_at)]
        return {None: (Fraction(sum(d.status == "won" for d in opened)), Fraction(len(opened)))}

    def _cycles(self) -> list[Fraction]:
        found = [days(d.opened_at, d.closed_at) for d in self._closed() if d.status == "won"]
        return sorted(cycle for cycle in found if cycle is not None and cycle >= 0)

    def sales_cycle(self) -> dict[str | None, Parts]:
        return {None: (sum(self._cycles(), Fraction(0)), Fraction(len(self._cycles())))}

    def sales_cycle_median(self) -> dict[str | None, Parts]:
        return {None: median(self._cycles())}

    def first_contact_cycle(self) -> dict[str | None, Parts]:
        contact = {customer.id: customer.first_contact_at for customer in self.world.customers}
        found = [days(contact.get(d.customer_id), d.closed_at) for d in self._closed() if d.status == "won"]
        cycles = [cycle for cycle in found if cycle is not None and cycle >= 0]
        return {None: (sum(cycles, Fraction(0)), Fraction(len(cycles)))}

    def _open(self) -> list[Deal]:
        kept = [deal for deal in self.world.deals if self.keep(deal)]
        if self.hi is None:
            return [deal for deal in kept if deal.status == "open"]
        return [
            d
            for d in kept
            if (d.opened_at is None or micros(d.opened_at) < self.hi)
            and (d.status == "open" or micros(d.closed_at) >= self.hi)
        ]

    def pipeline_value(self) -> dict[str, Parts]:
        found: dict[str, Fraction] = defaultdict(Fraction)
        for deal in self._open():
            if deal.amount is not None:
                found[deal.amount.currency] += Fraction(deal.amount.minor, 100)
        return {code: (total, Fraction(1)) for code, total in found.items()}

    def weighted_forecast(self) -> dict[str, Parts]:
        found: dict[str, Fraction] = defaultdict(Fraction)
        for deal in self._open():
            if deal.amount is not None:
                stage = self._stage_then(deal)
                found[deal.amount.currency] += Fraction(deal.amount.minor, 100) * CHANCES.get(stage, Fraction(0))
        return {code: (total, Fraction(1)) for code, total in found.items()}

    def _stage_then(self, deal: Deal) -> Any:
        if self.hi is None:
            return deal.stage
        moves = [c for c in self.world.stage_changes if c.deal_id == deal.id and micros(c.at) < self.hi]
        if moves:
            return max(moves, key=lambda c: (micros(c.at), c.id)).to_stage
        return deal.stage if deal.status == "open" else None

    def lead_conversion(self) -> dict[str | None, Parts]:
        leads = [unit for unit, first in self._leads().items() if self.inside_micros(first)]
        bought = self._conversions()
        return {None: (Fraction(sum(unit in bought for unit in leads)), Fraction(len(leads)))}

    def lead_conversion_period(self) -> dict[str | None, Parts]:
        leads = self._leads()
        first = sum(self.inside_micros(at) for unit, at in self._conversions().items() if unit in leads)
        return {None: (Fraction(first), Fraction(sum(self.inside_micros(at) for at in leads.values())))}

    def inside_micros(self, at: int) -> bool:
        return self.lo is None or self.hi is None or self.lo <= at < self.hi

    def _leads(self) -> dict[int, int]:
        found: dict[int, int] = {}
        heads = {c.id for c in self.world.customers if c.role == "customer" and self.keep(c)}
        for customer in self.world.customers:
            unit = self.world.unit(customer.id)
            if unit in heads and customer.role == "customer" and customer.first_contact_at is not None:
                at = micros(customer.first_contact_at)
                found[unit] = min(at, found.get(unit, at))
        return found

    def _conversions(self) -> dict[int, int]:
        found: dict[int, int] = {}
        moments = [
            *((d.customer_id, d.closed_at) for d in self.world.deals if d.status == "won"),
            *((s.customer_id, s.sold_at) for s in self.world.sales if s.kind == "sale" and s.voided_at is None),
        ]
        for customer, at in moments:
            if customer is not None:
                unit = self.world.unit(customer)
                found[unit] = min(micros(at), found.get(unit, micros(at)))
        return found

    def moves(self, deal: Deal) -> list[StageChange]:
        """The stage changes of a deal, in order."""
        mine = [change for change in self.world.stage_changes if change.deal_id == deal.id]
        return sorted(mine, key=lambda c: (micros(c.at), c.id))

    def stage_conversion(self, stage: str) -> Parts:
        place = STAGES.index(stage)
        entered = further = 0
        for deal in self.world.deals:
            if not self.keep(deal):
                continue
            path = [(change.to_stage, change.at) for change in self.moves(deal)]
            moves = self.moves(deal)
            if moves and moves[0].from_stage is not None:
                path.insert(0, (moves[0].from_stage, deal.opened_at))
            if path and path[0][1] is not None and micros(path[0][1]) > min(micros(c.at) for c in moves):
                path.pop(0)
            visits = [at for at, (name, moment) in enumerate(path) if name == stage and self.inside(moment)]
            later = [
                any(name != "lost" and STAGES.index(name) > place for name, _ in path[visit + 1 :]) for visit in visits
            ]
            entered += bool(visits)
            further += any(later)
        return Fraction(further), Fraction(entered)

    def stage_visits(self, stage: str) -> list[Fraction]:
        """The durations in days of the visits to a stage that ended in the period."""
        found = []
        for deal in self.world.deals:
            since = deal.opened_at
            for change in self.moves(deal) if self.keep(deal) else []:
                if change.from_stage == stage and self.inside(change.at):
                    lasted = days(since, change.at)
                    if lasted is not None and lasted >= 0:
                        found.append(lasted)
                since = change.at
        return sorted(found)


def median(values: list[Fraction]) -> Parts:
    """The mean of the two middle values, over 1; over 0 without values."""
    if not values:
        return Fraction(0), Fraction(0)
    return (values[(len(values) - 1) // 2] + values[len(values) // 2]) / 2, Fraction(1)
