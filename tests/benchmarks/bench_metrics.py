"""Metrics and ABC beside the best hand-written SQL for the same answer: 200,000 customers, a million deals and sales.

The raw side counts what our answer counts, exclusions and flags included, and divides in Python as we do. Both are
measured in the time that the processor was at work for them: the data is in memory, so that nothing is waited for.
"""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from time import process_time
from typing import Any

from crm_core import CRM
from crm_core.values import FixedClock, new_ids
from tests.benchmarks import Row, beside, side_by_side

_START = int(datetime(2023, 1, 1, tzinfo=UTC).timestamp()) * 1_000_000
_DAY = 86_400_000_000
_DAYS = 1_095
_NOW = datetime(2026, 1, 1, tzinfo=UTC)
_LOW, _HIGH = (int(datetime(2025, month, 1, tzinfo=UTC).timestamp()) * 1_000_000 for month in (4, 7))
_PERIOD = "2025-Q2"
_YEAR = 365 * _DAY
_OPEN = ("new", "qualified", "proposal", "negotiation")
_CHANCES = {"new": "1/10", "qualified": "1/4", "proposal": "1/2", "negotiation": "3/4"}

Raw = Callable[[sqlite3.Connection], object]


def run(full: bool) -> list[Row]:
    """Measure at full size, or at a tenth of it."""
    customers, deals = (200_000, 1_000_000) if full else (20_000, 100_000)
    with TemporaryDirectory() as directory:
        place = Path(directory) / "bench.db"
        with CRM.open(f"sqlite:///{place}", clock=FixedClock(_NOW)) as crm:
            _fill(place, crm, customers, deals)
        with CRM.open(f"sqlite:///{place}", clock=FixedClock(_NOW)) as crm:
            raw = sqlite3.connect(place)
            raw.execute("PRAGMA mmap_size=4000000000")
            rows = [_measured(name, crm, raw, period) for name in _RAW for period in _periods(name)]
            rows.append(_abc(crm, raw))
            raw.close()
    return rows


def _periods(name: str) -> tuple[str | None, ...]:
    return (_PERIOD,) if name in ("base_growth", "retention_rate", "churn_rate") else (None, _PERIOD)


def _measured(name: str, crm: CRM, raw: sqlite3.Connection, period: str | None) -> Row:
    by_hand = _RAW[name](period is not None)
    rounds = 3 if name == "stage_conversion" else 7  # which takes seconds; of three short ones a hiccup is the median
    ours, limit = side_by_side(
        lambda: crm.metrics.compute(name, period=period), lambda: by_hand(raw), rounds=rounds, clock=process_time
    )
    return beside(f"{name}, {period or 'all time'}", ours, limit, times=1.1, slack=10)


def _abc(crm: CRM, raw: sqlite3.Connection) -> Row:
    def by_hand() -> object:
        names = dict(raw.execute("select id, name from customers"))
        statement = """select customer_id, sum(case when kind = 'sale' then amount else -amount end),
            count(*) - count(amount),            min(amount_currency), max(amount_currency) from sales
            where voided_at is null and customer_id is not null group by customer_id"""
        ranked = sorted(raw.execute(statement).fetchall(), key=lambda row: (-row[1], row[0]))
        total, before, found = sum(row[1] for row in ranked if row[1] > 0), 0, []
        for customer, value, *_ in ranked:
            before += max(value, 0)
            label = "C" if value <= 0 or before * 100 > total * 95 else "A" if before * 100 <= total * 80 else "B"
            found.append((customer, names[customer], label, value))
        return found

    ours, limit = side_by_side(lambda: crm.segments.run("abc"), by_hand, rounds=3, clock=process_time)
    return beside("ABC", ours, limit, times=1.1, slack=10)


def _fill(place: Path, crm: CRM, customers: int, deals: int) -> None:
    rng = random.Random(7)
    people = new_ids(customers)
    ids = new_ids(deals)
    raw = sqlite3.connect(place, isolation_level=None)
    raw.execute("begin")
    users = new_ids(40)
    _insert(raw, "users", ("id", "version", "name", "name_key", "active"), ((u, 1, f"U{u}", f"u{u}", 1) for u in users))
    columns = ("id", "version", "name", "name_key", "kind", "role", "owner_id", "source")
    columns += ("first_contact_at", "first_contact_at_is_date")
    _insert(
        raw,
        "customers",
        columns,
        (
            (one, 1, f"Customer {n}", f"customer {n}", "person", "customer", users[n % 40], "web", _when(rng), 0)
            for n, one in enumerate(people)
        ),
    )
    weights = [rng.paretovariate(1.2) for _ in people]
    buyers = rng.choices(people, weights, k=deals)
    columns = ("id", "version", "title", "title_key", "customer_id", "pipeline", "stage", "status", "amount")
    columns += ("amount_currency", "owner_id", "opened_at", "opened_at_is_date", "closed_at", "closed_at_is_date")
    _insert(raw, "deals", columns, _deals(rng, ids, buyers, users))
    columns = ("id", "version", "customer_id", "kind", "refunds_sale_id", "sold_at", "sold_at_is_date", "amount")
    columns += ("amount_currency", "owner_id")
    _insert(raw, "sales", columns, _sales(rng, new_ids(deals), rng.choices(people, weights, k=deals), users))
    columns = ("id", "version", "deal_id", "pipeline", "from_stage", "to_stage", "at", "at_is_date")
    _insert(raw, "stage_changes", columns, _moves(rng, ids))
    raw.execute("commit")
    raw.execute("analyze")
    raw.close()


def _insert(raw: sqlite3.Connection, table: str, columns: tuple[str, ...], rows: Iterator[Any]) -> None:
    given = (*columns, "created_tx", "updated_tx")
    marks = ", ".join("?" * len(columns))
    raw.executemany(f"insert into {table} ({', '.join(given)}) values ({marks}, 1, 1)", rows)


def _when(rng: random.Random) -> int:
    return _START + rng.randrange(_DAYS * 86_400) * 1_000_000


def _deals(rng: random.Random, ids: list[int], buyers: list[int], users: list[int]) -> Iterator[tuple[Any, ...]]:
    for one, buyer in zip(ids, buyers, strict=True):
        chance = rng.random()
        status = "won" if chance < 0.25 else "lost" if chance < 0.8 else "open"
        stage = rng.choice(_OPEN) if status == "open" else status
        opened = _when(rng)
        closed = None if status == "open" else opened + rng.randrange(1, 120) * _DAY
        amount = rng.randrange(1_000, 1_000_000) if status == "won" or rng.random() < 0.7 else None
        code = "EUR" if amount else None
        flag = None if closed is None else 0
        owner = rng.choice(users)
        yield one, 1, "Deal", "deal", buyer, "sales", stage, status, amount, code, owner, opened, 0, closed, flag


def _sales(rng: random.Random, ids: list[int], buyers: list[int], users: list[int]) -> Iterator[tuple[Any, ...]]:
    for n, (one, buyer) in enumerate(zip(ids, buyers, strict=True)):
        refund = ids[n - 1] if n % 25 == 1 else None
        kind = "refund" if refund else "sale"
        yield one, 1, buyer, kind, refund, _when(rng), 0, rng.randrange(500, 200_000), "EUR", rng.choice(users)


def _moves(rng: random.Random, ids: list[int]) -> Iterator[tuple[Any, ...]]:
    moves = iter(new_ids(len(ids)))
    for one in ids[::2]:
        at, before = _when(rng), None
        for stage in ("new", "qualified"):
            yield next(moves), 1, one, "sales", before, stage, at, 0
            at, before = at + rng.randrange(1, 40) * _DAY, stage


def _one(statement: str, time: str = "", *, where: str = "") -> Callable[[bool], Raw]:
    """One select; `{in}` is the condition of the period where there is one."""

    def of(with_period: bool) -> Raw:
        conditions = [where] if where else []
        if with_period and time:
            conditions.append(f"{time} >= {_LOW} and {time} < {_HIGH}")
        text = statement + (f" where {' and '.join(conditions)}" if conditions else "")
        if not (with_period and time):
            return lambda raw: raw.execute(text).fetchall()
        undated = f"select count(*) from {text.split(' from ')[-1].split()[0]} where {time} is null"
        undated += f" and {where}" if where else ""
        return lambda raw: (raw.execute(text).fetchall(), raw.execute(undated).fetchall())

    return of


_NET = "sum(case when kind = 'sale' then amount else -amount end)"
_UNKNOWN = "count(case when kind = 'sale' and amount is null then 1 end), "
_UNKNOWN += "count(case when kind = 'refund' and amount is null then 1 end), min(amount_currency), max(amount_currency)"
_COUNTS = "voided_at is null"
_CYCLE = """case when opened_at_is_date = 1 and closed_at_is_date = 1
    then closed_at - opened_at + 43200000000 - (closed_at - opened_at + 43200000000) % 86400000000
    else closed_at - opened_at end"""
_FINE = "status = 'won' and opened_at <= closed_at"


def _inside(column: str, with_period: bool) -> str:
    return f" and {column} >= {_LOW} and {column} < {_HIGH}" if with_period else ""


def _repeat(with_period: bool) -> Raw:
    text = f"""select count(case when n >= 2 then 1 end), count(*) from (select count(*) n from sales
        where customer_id is not null and voided_at is null and kind = 'sale' {_inside("sold_at", with_period)}
        group by customer_id)"""
    return lambda raw: raw.execute(text).fetchall()


_SOLD = "customer_id is not null and voided_at is null and kind = 'sale'"
_FIRSTS = f"(select customer_id, min(sold_at) first_at from sales where {_SOLD} group by customer_id)"
_IS_FIRST = """s.customer_id is not null and s.sold_at is not null and s.voided_at is null and s.kind = 'sale'
    and not exists (select 1 from sales e where e.customer_id = s.customer_id and e.voided_at is null
    and e.kind = 'sale' and e.sold_at <= s.sold_at and (e.sold_at < s.sold_at or e.id < s.id))"""


def _new(with_period: bool) -> Raw:
    limit = _START + 90 * _DAY
    text = f"select count(*), count(case when first_at < {limit} then 1 end) from {_FIRSTS} where first_at is not null"
    if with_period:  # asking each sale of the period for an earlier one is faster than grouping all sales
        text = f"""select count(*), count(case when sold_at < {limit} then 1 end) from sales s
            where {_IS_FIRST} {_inside("s.sold_at", True)}"""
    anonymous = "select count(*) from sales where customer_id is null and voided_at is null and kind = 'sale'"
    anonymous += _inside("sold_at", with_period)
    undated = f"select count(*) from sales where sold_at is null and {_COUNTS} and kind = 'sale'"
    texts = (text, anonymous, undated) if with_period else (text, anonymous)
    return lambda raw: [raw.execute(one).fetchall() for one in texts]


def _net_new(with_period: bool) -> Raw:
    source = (
        "sales s"
        if with_period
        else f"{_FIRSTS} f join sales s on s.customer_id = f.customer_id and s.sold_at = f.first_at"
    )
    amounts = f"""select sum(amount), count(case when amount is null then 1 end),
        count(case when sold_at < {_START + 90 * _DAY} then 1 end), min(amount_currency), max(amount_currency)
        from {source} where {_IS_FIRST} {_inside("s.sold_at", with_period)}"""
    refunds = f"""select sum(r.amount), min(r.amount_currency), max(r.amount_currency) from sales r
        join sales s on s.id = r.refunds_sale_id where r.kind = 'refund' and r.voided_at is null and {_IS_FIRST}
        {_inside("r.sold_at", with_period)} {_inside("s.sold_at", with_period)}"""
    anonymous = "select count(*) from sales where customer_id is null and voided_at is null and kind = 'sale'"
    anonymous += _inside("sold_at", with_period)
    return lambda raw: [raw.execute(one).fetchall() for one in (amounts, refunds, anonymous)]


def _active(with_period: bool) -> Raw:
    # Read by customer, in the order of that index: the stretch by moment would have to be sorted.
    text = f"""select count(case when before >= {_LOW - _YEAR} then 1 end),
        count(case when last >= {_HIGH - _YEAR} then 1 end),
        count(case when before >= {_LOW - _YEAR} and last >= {_HIGH - _YEAR} then 1 end)
        from (select max(case when sold_at < {_LOW} then sold_at end) before,
        max(case when sold_at < {_HIGH} then sold_at end) last from sales where {_SOLD} group by customer_id)"""
    return lambda raw: raw.execute(text).fetchall()


def _median(with_period: bool) -> Raw:
    text = f"select {_CYCLE}, count(*) from deals where status = 'won' {_inside('closed_at', with_period)} group by 1"
    return lambda raw: sorted(raw.execute(text), key=lambda row: (row[0] is not None, row[0]))


def _first_contact(with_period: bool) -> Raw:
    cycle = _CYCLE.replace("opened_at", "first_contact_at")
    text = f"""select sum(case when first_contact_at <= closed_at then {cycle} end),
        count(case when first_contact_at <= closed_at then 1 end), count(case when first_contact_at is null then 1 end),
        count(case when first_contact_at > closed_at then 1 end)
        from deals left join customers on customers.id = deals.customer_id
        where status = 'won' {_inside("closed_at", with_period)}"""
    return lambda raw: raw.execute(text).fetchall()


def _pipeline(with_period: bool) -> Raw:
    past = f"(opened_at is null or opened_at < {_HIGH}) and (status = 'open' or closed_at >= {_HIGH})"
    changed = f""", count(case when status <> 'open' or exists (select 1 from deal_changes c
        where c.deal_id = deals.id and c.field = 'amount' and c.at >= {_HIGH}) then 1 end)"""
    text = f"""select sum(amount), count(*) - count(amount), min(amount_currency), max(amount_currency)
        {changed if with_period else ""} from deals where {past if with_period else "status = 'open'"}"""
    return lambda raw: raw.execute(text).fetchall()


def _forecast(with_period: bool) -> Raw:
    past = f"(opened_at is null or opened_at < {_HIGH}) and (status = 'open' or closed_at >= {_HIGH})"
    then = f"""coalesce((select to_stage from stage_changes c where c.deal_id = deals.id and c.at < {_HIGH}
        order by c.at desc, c.id desc limit 1), case when status = 'open' then stage end)"""
    text = f"""select {then if with_period else "stage"}, sum(amount), count(*) - count(amount), count(*),
        min(amount_currency), max(amount_currency) from deals
        where {past if with_period else "status = 'open'"} group by 1"""
    return lambda raw: raw.execute(text).fetchall()


_LEAD = "first_contact_at is not null and role = 'customer'"
_EVER = 4611686018427387904


def _conversion(with_period: bool) -> Raw:
    # The group keeps SQLite from looking up sale and win anew for every mention of them.
    text = f"""select count(case when sale_at is not null or won_at is not null then 1 end), count(*),
        count(case when sale_at < first_at or won_at < first_at then 1 end) from (select min(first_contact_at) first_at,
        (select min(coalesce(sold_at, {_EVER})) from sales where customer_id = customers.id and voided_at is null
            and kind = 'sale') sale_at,
        (select min(coalesce(closed_at, {_EVER})) from deals where customer_id = customers.id and status = 'won') won_at
        from customers where {_LEAD} {_inside("first_contact_at", with_period)} group by customers.id)"""
    return lambda raw: raw.execute(text).fetchall()


def _conversion_period(with_period: bool) -> Raw:
    became = f"""select count(*) from customers where {_LEAD} and (exists (select 1 from sales
        where customer_id = customers.id and voided_at is null and kind = 'sale')
        or exists (select 1 from deals where customer_id = customers.id and status = 'won'))"""
    if with_period:
        became = f"""select count(*) from (select customer_id, min(at) at from (
            select customer_id, min(coalesce(sold_at, {_EVER})) at from sales where {_SOLD} group by customer_id
            union all select customer_id, min(coalesce(closed_at, {_EVER})) from deals
            where customer_id is not null and status = 'won' group by customer_id)
            group by customer_id having min(at) >= {_LOW} and min(at) < {_HIGH}) x
            join customers on customers.id = x.customer_id where {_LEAD}"""
    leads = f"select count(*) from customers where {_LEAD} {_inside('first_contact_at', with_period)}"
    return lambda raw: (raw.execute(became).fetchall(), raw.execute(leads).fetchall())


def _velocity(with_period: bool) -> Raw:
    closed = f"""select count(*), count(case when status = 'won' then 1 end),
        count(case when status = 'won' and amount is not null then 1 end),
        sum(case when status = 'won' then amount end), count(case when {_FINE} then 1 end),
        sum(case when {_FINE} then {_CYCLE} end), min(amount_currency), max(amount_currency)
        from deals where status in ('won', 'lost') {_inside("closed_at", with_period)}"""
    past = f"(opened_at is null or opened_at < {_HIGH}) and (status = 'open' or closed_at >= {_HIGH})"
    still = f"""select count(*), min(amount_currency), max(amount_currency) from deals
        where {past if with_period else "status = 'open'"}"""
    return lambda raw: (raw.execute(closed).fetchall(), raw.execute(still).fetchall())


_ENTRIES = """select deal_id, pipeline, stage, at, late, rank,
    max(case when late = 0 then rank end) over (partition by deal_id order by coalesce(at, 0), id
    rows between 1 following and unbounded following) reached from (select deal_id, id, pipeline, stage, at, late,
    case pipeline when 'sales' then case stage when 'new' then 0 when 'qualified' then 1 when 'proposal' then 2
    when 'negotiation' then 3 when 'won' then 6 when 'lost' then -1 end end rank from (
    select id, deal_id, pipeline, to_stage stage, at, 0 late from stage_changes union all
    select 0, c.deal_id, c.pipeline, c.from_stage, deals.opened_at,
    case when deals.opened_at > c.at then 1 else 0 end from (select deal_id, pipeline, from_stage, at,
    lag(at) over (partition by deal_id order by at, id) since from stage_changes) c
    join deals on deals.id = c.deal_id where c.since is null and c.from_stage is not null))"""


def _stage_conversion(with_period: bool) -> Raw:
    text = f"""select e.stage, count(distinct case when late = 0 and reached > rank then e.deal_id end),
        count(distinct case when late = 0 then e.deal_id end), count(case when late = 1 then 1 end)
        from ({_ENTRIES}) e join deals on deals.id = e.deal_id
        where not (e.pipeline = 'sales' and e.stage in ('won', 'lost')) {_inside("at", with_period)} group by e.stage"""
    return lambda raw: raw.execute(text).fetchall()


_STAY = """case when coalesce(b.at_is_date, o.opened_at_is_date) = 1 and c.at_is_date = 1
    then c.at - coalesce(b.at, o.opened_at) + 43200000000 - (c.at - coalesce(b.at, o.opened_at) + 43200000000)
    % 86400000000 else c.at - coalesce(b.at, o.opened_at) end"""


def _durations(columns: str, group: str) -> Callable[[bool], Raw]:
    def of(with_period: bool) -> Raw:
        text = f"""select {columns} from stage_changes c left join stage_changes b on b.id = (
            select p.id from stage_changes p where p.deal_id = c.deal_id and p.at <= c.at
            and (p.at < c.at or p.id < c.id) order by p.at desc, p.id desc limit 1)
            left join deals o on o.id = case when b.id is null then c.deal_id end
            where c.from_stage is not null and not (c.pipeline = 'sales' and c.from_stage in ('won', 'lost'))
            {_inside("c.at", with_period)} group by {group}"""
        still = "select stage, count(*) from deals where status = 'open' and stage is not null group by 1"
        return lambda raw: [raw.execute(one).fetchall() for one in (text, still)]

    return of


_CLOSED = "status in ('won', 'lost')"
_RAW: dict[str, Callable[[bool], Raw]] = {
    "revenue": _one(f"select {_NET}, {_UNKNOWN} from sales", "sold_at", where=_COUNTS),
    "sales_count": _one("select count(case when kind = 'sale' then 1 end) from sales", "sold_at", where=_COUNTS),
    "average_order_value": _one(
        f"select {_NET}, count(case when kind = 'sale' and amount is not null then 1 end), {_UNKNOWN} from sales",
        "sold_at",
        where=_COUNTS,
    ),
    "revenue_per_customer": _one(
        """select sum(case when customer_id is not null then case when kind = 'sale' then amount else -amount end end),
        count(distinct case when customer_id is not null and kind = 'sale' and amount is not null then customer_id end),
        count(case when kind = 'sale' and amount is null then 1 end), count(case when customer_id is null then 1 end),
        min(amount_currency), max(amount_currency) from sales""",
        "sold_at",
        where=_COUNTS,
    ),
    "repeat_purchase_rate": _repeat,
    "refund_rate": _one(
        f"""select sum(case when kind = 'refund' then amount end), sum(case when kind = 'sale' then amount end),
        {_UNKNOWN} from sales""",
        "sold_at",
        where=_COUNTS,
    ),
    "new_customers": _new,
    "net_new_revenue": _net_new,
    "base_growth": _active,
    "retention_rate": _active,
    "churn_rate": _active,
    "win_rate": _one(
        "select count(case when status = 'won' then 1 end), count(*) from deals", "closed_at", where=_CLOSED
    ),
    "win_rate_value": _one(
        """select sum(case when status = 'won' then amount end), sum(amount),
        count(case when status = 'won' and amount is null then 1 end),
        count(case when status = 'lost' and amount is null then 1 end),
        count(case when status = 'lost' and amount = 0 then 1 end), min(amount_currency), max(amount_currency)
        from deals""",
        "closed_at",
        where=_CLOSED,
    ),
    "close_rate": _one("select count(case when status = 'won' then 1 end), count(*) from deals", "opened_at"),
    "sales_cycle": _one(
        f"""select sum(case when {_FINE} then {_CYCLE} end), count(case when {_FINE} then 1 end),
        count(case when status = 'won' and opened_at is null then 1 end),
        count(case when status = 'won' and opened_at > closed_at then 1 end) from deals""",
        "closed_at",
        where=_CLOSED,
    ),
    "sales_cycle_median": _median,
    "first_contact_cycle": _first_contact,
    "pipeline_value": _pipeline,
    "weighted_forecast": _forecast,
    "lead_conversion": _conversion,
    "lead_conversion_period": _conversion_period,
    "sales_velocity": _velocity,
    "stage_conversion": _stage_conversion,
    "stage_duration": _durations(
        f"""c.from_stage, sum(case when {_STAY} >= 0 then {_STAY} end), count(case when {_STAY} >= 0 then 1 end),
        count(case when {_STAY} < 0 then 1 end), count(case when {_STAY} is null then 1 end)""",
        "1",
    ),
    "stage_duration_median": _durations(f"c.from_stage, {_STAY}, count(*)", "1, 2"),
}
"""By metric: whether there is a period, to the hand-written answer."""
