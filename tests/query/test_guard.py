from __future__ import annotations

import pytest
import sqlalchemy as sa
from sqlalchemy import func, select
from sqlalchemy.dialects import postgresql

from crm_core.errors import StorageError
from crm_core.query.functions import (
    contains,
    count_if,
    idiv,
    imul,
    isum,
    lag,
    lead,
    median,
    nulls_last,
    periods,
    quantile,
)
from crm_core.query.guard import check_select, require_closed
from crm_core.query.tables import Tables
from tests.query.samples import REGISTRY

TABLES = Tables(REGISTRY)
DEALS, CUSTOMERS = TABLES.deals, TABLES.customers
D, C = DEALS.c, CUSTOMERS.c


@pytest.mark.parametrize(
    ("statement", "refused"),
    [
        (lambda: select((D.amount / D.id).label("x")), "/ (7/2 is 3 or 3.5"),
        (lambda: select(D.amount // D.id), "// (rounds by the engine)"),
        (lambda: select(D.amount * D.id), "* (SQLite makes a float"),
        (lambda: select(D.id).where(D.amount * D.id * D.version > 1), "* (SQLite makes a float"),
        (lambda: select(isum(D.amount * D.id + 1)), "* (SQLite makes a float"),
        (lambda: select(func.avg(D.amount)), "AVG: select isum and count"),
        (lambda: select(func.sum(D.amount)), "SUM: use isum"),
        (lambda: select(func.round(D.amount)), "ROUND: round in Python"),
        (lambda: select(func.count().filter(D.amount > 1)), "FILTER (MariaDB has none)"),
        (lambda: select(D.id).ext(postgresql.distinct_on(D.customer_id)), "DISTINCT ON (PostgreSQL only)"),
        (lambda: select(D.id).order_by(D.amount.nulls_last()), "NULLS LAST (MariaDB has none)"),
        (lambda: select(D.id).order_by(D.amount.desc().nulls_first()), "NULLS FIRST"),
        (lambda: select(D.id).where(D.title.like("a%")), "LIKE"),
        (lambda: select(D.id).where(D.title.ilike("a%")), "LIKE"),
        (lambda: select(D.id).where(D.title.contains("a")), "LIKE"),
        (lambda: select(D.id).where(D.title.startswith("a")), "LIKE"),
        (lambda: select(isum(D.amount > 1)), "a sum of what is no integer: use count_if"),
        (lambda: select(isum(sa.case((D.amount > 1, True), else_=False))), "a sum of what is no integer"),
        (lambda: select(D.id).where(D.amount > 1.5), "the value 1.5"),
        (lambda: select(D.id).where(D.amount.in_([1, 2.5])), "the value 2.5"),
        (lambda: select(D.id).where(D.amount == sa.literal(True)), "the value True"),
        (lambda: select(func.max(D.amount, D.id)), "MAX of several arguments"),
        (lambda: select(func.date_trunc("month", D.closed_at)), "DATE_TRUNC: outside the closed set"),
        (lambda: select(func.lower(D.title)), "LOWER: outside the closed set"),
        (lambda: select(D.id % D.amount), "% by what is no positive constant"),
        (lambda: select(D.id % 0), "% by what is no positive constant"),
        (lambda: select(sa.cast(D.title, sa.BigInteger)), "Cast: outside the closed set"),
        (lambda: select(D.title + "x"), "concat_op: outside the closed set"),
        (lambda: select(sa.text("random()")), "TextClause: outside the closed set"),
        (lambda: select(sa.literal_column("1/2", sa.BigInteger())), "raw SQL '1/2'"),
        (lambda: select(D.id).where(sa.text("1 = 1")), "TextClause: outside the closed set"),
        (lambda: select((D.amount > 1).label("won")), "a result column that is neither an integer nor text: won"),
        (lambda: select(D.id.op("<<")(1)), "outside the closed set"),
        (lambda: select(select(func.avg(D.amount).label("a")).subquery().c.a), "AVG"),
        (lambda: select(select(func.sum(D.amount).label("a")).cte().c.a), "SUM"),
        (lambda: sa.union_all(select(D.id), select(func.sum(D.amount))), "SUM"),
        (lambda: select(D.id).where(sa.exists().where(func.lower(C.name) == "a")), "LOWER"),
        (lambda: select(isum(func.sum(D.amount), partition_by=D.owner_id)), "SUM"),
        (lambda: select(isum(D.amount, partition_by=func.lower(D.title))), "LOWER"),
        (lambda: select(imul(func.round(D.amount), 2)), "ROUND"),
        (lambda: select(func.row_number().over(order_by=func.random())), "RANDOM: results must be repeatable"),
    ],
)
def test_what_differs_by_engine_is_refused_by_name(statement, refused) -> None:
    found = check_select(statement())
    assert any(refused in one for one in found), found
    with pytest.raises(StorageError, match="would not mean the same on every database") as caught:
        require_closed(statement())
    assert refused in caught.value.message


@pytest.mark.parametrize(
    "statement",
    [
        lambda: select(func.count(), isum(D.amount), func.count(D.customer_id.distinct()), D.amount_currency).group_by(
            D.amount_currency
        ),
        lambda: (
            select(
                D.owner_id, idiv(isum(imul(D.amount, 2)), func.count()), count_if((D.status == "won") | ~(D.amount > 3))
            )
            .where(
                D.closed_at.between(1, 2), D.pipeline.in_(["a", "b"]), D.stage.not_in(["x"]), D.customer_id.is_not(None)
            )
            .group_by(D.owner_id)
            .having(func.count() > 1)
        ),
        lambda: select(periods(D.closed_at, range(0, 100, 10)).label("bucket"), func.min(D.closed_at - D.opened_at)),
        lambda: quantile(D.amount, at=(9, 10), by=[D.owner_id], where=D.status == "won"),
        lambda: median(D.closed_at - D.opened_at, by=[D.owner_id]),
        lambda: (
            select(C.id, isum(D.amount, partition_by=C.id, order_by=[D.amount.desc(), D.id], rows=(None, 0)))
            .select_from(CUSTOMERS.outerjoin(DEALS, C.id == D.customer_id))
            .order_by(nulls_last(D.amount, desc=True), C.id.asc())
            .limit(10)
        ),
        lambda: select(lead(D.closed_at, partition_by=D.customer_id, order_by=D.closed_at)).distinct(),
        lambda: select(isum(D.opened_at - select(lag(D.opened_at, order_by=D.id).label("x")).subquery().c.x)),
        lambda: select(D.id).where(sa.exists().where(C.id == D.customer_id, contains(C.name, "a")), D.id % 7 == 3),
        lambda: select(select(D.id).cte("first").c.id, sa.null().label("none")).where(sa.true()),
        lambda: sa.union_all(select(D.id), select(C.id)),
        lambda: select(DEALS.alias().c.id, -D.amount, (D.amount + D.list_amount + 1).label("total")),
        lambda: select(select(func.max(D.amount)).where(D.customer_id == C.id).scalar_subquery(), C.name_key),
    ],
)
def test_the_closed_set_passes(statement) -> None:
    assert [] == check_select(statement())
    require_closed(statement())
