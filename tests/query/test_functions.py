from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from fractions import Fraction
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy.dialects import mysql, postgresql, sqlite
from sqlalchemy.exc import CompileError, DBAPIError

from crm_core.errors import UsageError
from crm_core.query.ast import SortKey
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
from crm_core.query.guard import check_select
from crm_core.query.predicate import predicate, sort_rows
from crm_core.query.sql import order_by, to_clause
from crm_core.query.tables import Tables
from tests.databases import DATABASES, OPENERS, drop_all, mariadb_connection, new_url, postgresql_connection
from tests.query.samples import NOTE_TAGS, NOTES, expressions, note_tags, notes

TABLES = Tables({"notes": NOTES, "note_tags": NOTE_TAGS})
N = TABLES.notes.c
BIGGEST = 2**63 - 1


class DuckDialect(postgresql.base.PGDialect):
    """As an analytic engine would compile for DuckDB, whose SQL is PostgreSQL's but for a few functions."""

    name = "duckdb"


DIALECTS = {
    "sqlite": sqlite.dialect(),
    "postgresql": postgresql.dialect(),
    "mysql": mysql.dialect(),
    "duckdb": DuckDialect(),
}
_ID, _POINTS = "notes.id", "notes.points"


def _sql(clause: Any, dialect: str) -> str:
    compiled = clause.compile(dialect=DIALECTS[dialect], compile_kwargs={"literal_binds": True})
    return " ".join(str(compiled).split())


@pytest.mark.parametrize(
    ("clause", "sqlite", "postgresql", "mysql", "duckdb"),
    [
        (
            isum(N.points),
            "sum(notes.points)",
            "CAST(sum(notes.points) AS BIGINT)",
            "(sum(notes.points) DIV 1)",
            "CAST(sum(notes.points) AS BIGINT)",
        ),
        (
            isum(N.points, order_by=N.id),
            "sum(notes.points) OVER (ORDER BY notes.id)",
            "CAST(sum(notes.points) OVER (ORDER BY notes.id) AS BIGINT)",
            "(sum(notes.points) OVER (ORDER BY notes.id) DIV 1)",
            "CAST(sum(notes.points) OVER (ORDER BY notes.id) AS BIGINT)",
        ),
        (
            idiv(N.points + 1, N.id),
            "((notes.points + 1) / NULLIF(notes.id, 0))",
            "((notes.points + 1) / NULLIF(notes.id, 0))",
            "((notes.points + 1) DIV NULLIF(notes.id, 0))",
            "((notes.points + 1) // NULLIF(notes.id, 0))",
        ),
        (
            imul(N.points, 3),
            "CASE typeof(notes.points * 3) WHEN 'real' THEN abs(-9223372036854775808) ELSE (notes.points * 3) END",
            "(notes.points * 3)",
            "(notes.points * 3)",
            "(notes.points * 3)",
        ),
        (count_if(N.points > 1), *["count(CASE WHEN (notes.points > 1) THEN 1 END)"] * 4),
        (
            contains(N.name, "é"),
            "(instr(notes.name, 'é') > 0)",
            "(strpos(notes.name, 'é') > 0)",
            "(locate('é', notes.name) > 0)",
            "(strpos(notes.name, 'é') > 0)",
        ),
        (
            nulls_last(N.points),
            "(notes.points) ASC NULLS LAST",
            "(notes.points) ASC NULLS LAST",
            "(notes.points) IS NULL, (notes.points) ASC",
            "(notes.points) ASC NULLS LAST",
        ),
        (
            nulls_last(N.points, desc=True),
            "(notes.points) DESC",
            "(notes.points) DESC NULLS LAST",
            "(notes.points) DESC",
            "(notes.points) DESC NULLS LAST",
        ),
        (
            periods(N.points, [0, 10, 20]),
            *[
                "CASE WHEN (notes.points >= 0 AND notes.points < 20) "
                "THEN CASE WHEN (notes.points < 10) THEN 0 ELSE 1 END END"
            ]
            * 4,
        ),
    ],
)
def test_each_function_has_one_rendering_per_engine(clause, sqlite, postgresql, mysql, duckdb) -> None:
    renderings = {"sqlite": sqlite, "postgresql": postgresql, "mysql": mysql, "duckdb": duckdb}
    assert renderings == {dialect: _sql(clause, dialect) for dialect in DIALECTS}


def test_an_engine_without_renderings_is_refused_by_name() -> None:
    class Other(sa.engine.default.DefaultDialect):
        name = "other"

    with pytest.raises(CompileError, match="isum has no rendering for 'other'"):
        isum(N.points).compile(dialect=Other())
    assert "idiv(sum(notes.points), 2)" == str(idiv(sa.func.sum(N.points), 2))


@pytest.mark.parametrize("bounds", [[], [1], [1, 1], [2, 1]])
def test_periods_need_ascending_edges(bounds: list[int]) -> None:
    with pytest.raises(UsageError, match="must be two or more"):
        periods(N.points, bounds)


@pytest.mark.parametrize("at", [(0, 1), (3, 2), (-1, 2)])
def test_a_quantile_is_a_share(at: tuple[int, int]) -> None:
    with pytest.raises(UsageError, match="a share above 0"):
        quantile(N.points, at=at)


def _engine(name: str, folder: Path) -> sa.Engine:
    """Return an engine on a database of its own."""
    url = new_url(name, folder)
    OPENERS[name](url, {}).close()
    if name == "postgresql":
        return sa.create_engine("postgresql+psycopg://", creator=partial(postgresql_connection, url))
    if name == "mariadb":
        return sa.create_engine("mariadb+pymysql://", creator=partial(mariadb_connection, url))
    return sa.create_engine("sqlite://")


@pytest.fixture(scope="module", params=DATABASES)
def connection(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory):
    engine = _engine(request.param, tmp_path_factory.mktemp("functions"))
    TABLES.notes.metadata.create_all(engine, [TABLES.notes, TABLES.note_tags])
    with engine.connect() as connection:
        yield connection
        connection.rollback()
    engine.dispose()
    drop_all()


def _fill(connection: sa.Connection, rows: list[tuple[Any, ...]], tags: Sequence[tuple[Any, ...]] = ()) -> None:
    connection.rollback()
    for table, content in ((TABLES.notes, rows), (TABLES.note_tags, tags)):
        if content:
            connection.execute(sa.insert(table), [dict(zip(table.c.keys(), row, strict=True)) for row in content])


def _points(*values: int | None) -> list[tuple[Any, ...]]:
    return [(id_, value, None, "") for id_, value in enumerate(values, 1)]


def _all(connection: sa.Connection, select: sa.Select[Any]) -> list[tuple[Any, ...]]:
    assert [] == check_select(select)
    found = [tuple(row) for row in connection.execute(select)]
    assert all(isinstance(cell, int | str | None) for row in found for cell in row)
    return found


def _fewer(function: Any) -> Any:
    return settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow])(function)


def test_a_sum_is_an_integer_and_none_of_nothing(connection) -> None:
    _fill(connection, _points(2**62, 2**62 - 1, None))
    assert [(BIGGEST,)] == _all(connection, sa.select(isum(N.points)))
    assert [(None, 0)] == _all(
        connection, sa.select(isum(N.points), sa.func.coalesce(isum(N.points), 0)).where(N.points.is_(None))
    )


@pytest.mark.parametrize(
    ("values", "expression"),
    [
        ((BIGGEST, 1), lambda: isum(N.points)),
        ((BIGGEST, 1), lambda: isum(N.points + 1)),
        ((BIGGEST, 1), lambda: isum(N.points, order_by=N.id)),
        ((2**62, 1), lambda: isum(imul(N.points, 2))),
        ((BIGGEST, 1), lambda: imul(sa.func.max(N.points), 2)),
    ],
)
def test_an_integer_past_64_bits_is_an_error_and_never_a_float(connection, values, expression) -> None:
    _fill(connection, _points(*values))
    with pytest.raises(DBAPIError):
        _all(connection, sa.select(expression()))
    connection.rollback()


def test_division_drops_the_fraction_and_by_zero_is_null(connection) -> None:
    _fill(connection, _points(7, -7, 0, None))
    for divisor in (2, -2, 3, 0):
        expected = [
            None if value is None or divisor == 0 else math.trunc(Fraction(value, divisor))
            for value in (7, -7, 0, None)
        ]
        assert [(value,) for value in expected] == _all(connection, sa.select(idiv(N.points, divisor)).order_by(N.id))


def test_a_sum_divides_as_an_integer(connection) -> None:
    _fill(connection, _points(3, 4))
    assert [(3, 3)] == _all(connection, sa.select(idiv(isum(N.points), sa.func.count()), idiv(isum(N.points), 2)))


def test_count_if_counts_what_is_true(connection) -> None:
    _fill(connection, _points(1, 5, None, 9))
    assert [(2, 0)] == _all(connection, sa.select(count_if(N.points > 1), count_if(N.points > 99)))


def test_a_running_sum_follows_its_order(connection) -> None:
    _fill(connection, _points(5, 1, 3))
    running = isum(N.points, order_by=[N.points.desc(), N.id])
    assert [(1, 5), (3, 8), (2, 9)] == _all(connection, sa.select(N.id, running).order_by(N.points.desc()))
    share = isum(N.points, partition_by=N.kind, order_by=N.id, rows=(None, 0))
    assert [(5,), (6,), (9,)] == _all(connection, sa.select(share).order_by(N.id))


def test_lead_and_lag_look_at_the_rows_beside(connection) -> None:
    _fill(connection, [(1, 5, None, "a"), (2, 6, None, "b"), (3, 7, None, "a")])
    beside = sa.select(lead(N.points, partition_by=N.kind, order_by=N.id), lag(N.points, order_by=N.id)).order_by(N.id)
    assert [(7, None), (None, 5), (None, 6)] == _all(connection, beside)


@_fewer
@given(
    values=st.lists(st.none() | st.integers(-50, 50), max_size=12),
    bounds=st.sets(st.integers(-40, 40), min_size=2, max_size=9).map(sorted),
)
def test_a_period_is_the_bucket_that_holds_the_value(connection, values, bounds) -> None:
    _fill(connection, _points(*values))
    buckets = list(pairwise(bounds))
    expected = [
        next((i for i, (low, high) in enumerate(buckets) if value is not None and low <= value < high), None)
        for value in values
    ]
    assert [(index,) for index in expected] == _all(connection, sa.select(periods(N.points, bounds)).order_by(N.id))


@_fewer
@given(
    rows=st.lists(st.tuples(st.sampled_from("ab"), st.none() | st.integers(-9, 9)), max_size=12),
    at=st.tuples(st.integers(1, 20), st.just(20)),
)
def test_quantiles_are_nearest_rank_and_medians_the_two_in_the_middle(connection, rows, at) -> None:
    _fill(connection, [(id_, value, None, kind) for id_, (kind, value) in enumerate(rows, 1)])
    groups: dict[str, list[int]] = defaultdict(list)
    for kind, value in sorted(row for row in rows if row[1] is not None):
        groups[kind].append(value)
    ranked = [
        (kind, values[math.ceil(Fraction(*at) * len(values)) - 1], len(values)) for kind, values in groups.items()
    ]
    middle = [(k, v[(len(v) - 1) // 2], v[len(v) // 2], len(v)) for k, v in groups.items()]
    assert sorted(ranked) == sorted(_all(connection, quantile(N.points, at=at, by=[N.kind])))
    assert sorted(middle) == sorted(_all(connection, median(N.points, by=[N.kind])))


def test_a_quantile_looks_at_the_rows_asked_for(connection) -> None:
    _fill(connection, _points(1, 2, 3, 100))
    assert [(2, 3)] == _all(connection, quantile(N.points, at=(1, 2), where=N.points < 100))
    assert [] == _all(connection, median(N.points, where=N.points > 100))


@_fewer
@given(rows=notes, descending=st.booleans(), column=st.sampled_from(["points", "name", "kind"]))
def test_every_engine_sorts_by_code_point_with_nulls_last(connection, rows, descending, column) -> None:
    _fill(connection, rows)
    sort = [SortKey(column, descending)]
    select = sa.select(TABLES.notes).order_by(*order_by(sort, TABLES.notes))
    assert sort_rows(rows, NOTES.column_names, sort) == _all(connection, select)


@_fewer
@given(expression=expressions, rows=notes, tags=note_tags)
def test_every_engine_picks_the_rows_that_python_picks(connection, expression, rows, tags) -> None:
    _fill(connection, rows, tags)
    test = predicate(expression, NOTES.column_names, {"note_tags": (NOTE_TAGS.column_names, tags)}.__getitem__)
    picked = sa.select(N.id).where(to_clause(expression, TABLES.notes)).order_by(N.id)
    assert sorted((row[0],) for row in rows if test(row)) == [tuple(row) for row in connection.execute(picked)]
