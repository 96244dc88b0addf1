from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy.dialects import sqlite

from crm_core.errors import StorageError
from crm_core.query.ast import Compare, Exists, Not, Or, SortKey
from crm_core.query.predicate import after_row, predicate, sort_rows
from crm_core.query.sql import keyset, keyset_runs, order_by, to_clause
from crm_core.query.tables import Tables
from tests.query.samples import NOTE_TAGS, NOTES, expressions, note_tags, notes

TABLES = Tables({"notes": NOTES, "note_tags": NOTE_TAGS})
COLUMNS = NOTES.column_names

_sorts = st.lists(
    st.builds(SortKey, st.sampled_from(["points", "name", "kind"]), st.booleans()),
    max_size=2,
    unique_by=lambda key: key.column,
)


@pytest.fixture(scope="module")
def connection():
    engine = sa.create_engine("sqlite://")
    for name in ("notes", "note_tags"):
        TABLES[name].create(engine)
    with engine.connect() as connection:
        yield connection
    engine.dispose()


def _fill(connection: sa.Connection, **tables: list[tuple[Any, ...]]) -> None:
    connection.rollback()
    for name, rows in tables.items():
        if rows:
            connection.exec_driver_sql(f"INSERT INTO {name} VALUES ({', '.join('?' * len(rows[0]))})", rows)


@given(expressions, notes, note_tags)
def test_sql_and_python_pick_the_same_rows(connection, expression, rows, tags) -> None:
    _fill(connection, notes=rows, note_tags=tags)
    lookup = {"note_tags": (NOTE_TAGS.column_names, tags)}.__getitem__
    table = TABLES.notes
    for wanted in (expression, Not(expression)):
        test = predicate(wanted, COLUMNS, lookup)
        picked = connection.scalars(sa.select(table.c.id).where(to_clause(wanted, table))).all()
        assert sorted(row[0] for row in rows if test(row)) == sorted(picked)


@given(expressions, notes, note_tags)
def test_an_expression_and_its_negation_part_the_rows(expression, rows, tags) -> None:
    lookup = {"note_tags": (NOTE_TAGS.column_names, tags)}.__getitem__
    yes, no = predicate(expression, COLUMNS, lookup), predicate(Not(expression), COLUMNS, lookup)
    assert all(yes(row) is not no(row) for row in rows)


@given(_sorts, notes)
def test_sql_and_python_sort_and_page_alike(connection, sort, rows) -> None:
    _fill(connection, notes=rows)
    ordered = sort_rows(rows, COLUMNS, sort)
    select = sa.select(TABLES.notes).order_by(*order_by(sort, TABLES.notes))
    assert ordered == [tuple(row) for row in connection.execute(select)]
    for place, row in enumerate(ordered):
        after = [*(row[COLUMNS.index(key.column)] for key in sort), row[0]]
        assert ordered[place + 1 :] == [later for later in ordered if after_row(COLUMNS, sort, after)(later)]
        page = connection.execute(select.where(keyset(after, sort, TABLES.notes)))
        assert ordered[place + 1 :] == [tuple(later) for later in page]
        runs = [connection.execute(select.where(run)) for run in keyset_runs(after, sort, TABLES.notes)]
        assert ordered[place + 1 :] == [tuple(later) for run in runs for later in run]


@pytest.mark.parametrize(
    ("sort", "after", "searches"),
    [
        (SortKey("id", descending=True), [5, 5], ["INTEGER PRIMARY KEY (rowid<?)"]),
        (SortKey("points"), [5, 5], ["INDEX by_points (points>?)", "INDEX by_points (points=?)"]),
        (SortKey("points", descending=True), [5, 5], ["INDEX by_points (points<?)", "INDEX by_points (points=?)"]),
        (SortKey("points"), [None, 5], ["INDEX by_points (points=? AND rowid>?)"]),
    ],
)
def test_a_page_at_depth_enters_the_index_at_its_place(connection, sort, after, searches) -> None:
    connection.exec_driver_sql("CREATE INDEX IF NOT EXISTS by_points ON notes (points)")
    ordered = sa.select(TABLES.notes).order_by(*order_by([sort], TABLES.notes))
    for run, search in zip(keyset_runs(after, [sort], TABLES.notes), searches, strict=True):
        plan = str(connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {_inlined(ordered.where(run))}").fetchall())
        assert f"SEARCH notes USING {search}" in plan
        assert "USE TEMP B-TREE FOR ORDER BY" not in plan


def _inlined(select: sa.Select[Any]) -> str:
    return str(select.compile(dialect=sqlite.dialect(), compile_kwargs={"literal_binds": True}))


def test_only_columns_of_the_table_are_accepted() -> None:
    for name in ("points; drop table notes", "notes.points", "nope"):
        with pytest.raises(StorageError, match="has no column"):
            to_clause(Compare(name, "=", 1), TABLES.notes)
        with pytest.raises(StorageError, match="no column"):
            predicate(Compare(name, "=", 1), COLUMNS, lambda table: ([], []))
        with pytest.raises(StorageError, match="has no column"):
            order_by([SortKey(name)], TABLES.notes)


@pytest.mark.parametrize(("column", "value"), [("points", "1"), ("points", True), ("name", 1), ("points", 2**63)])
def test_a_value_of_another_type_than_its_column_is_refused(column: str, value: Any) -> None:
    for expression in (
        Compare(column, "=", value),
        Not(Compare(column, "<", value)),
        Or((Compare(column, "!=", value),)),
    ):
        with pytest.raises(StorageError, match="cannot be compared"):
            to_clause(expression, TABLES.notes)


def test_a_place_must_fit_its_order() -> None:
    with pytest.raises(StorageError, match="has 2 values, not 1"):
        keyset([1], [SortKey("points")], TABLES.notes)
    with pytest.raises(StorageError, match="has 2 values, not 3"):
        after_row(COLUMNS, [SortKey("points")], [1, 2, 3])
    with pytest.raises(StorageError, match="cannot be compared with 'x'"):
        keyset(["x", 1], [SortKey("points")], TABLES.notes)


def test_exists_asks_for_the_children_once() -> None:
    asked: list[str] = []

    def lookup(table: str):
        asked.append(table)
        return NOTE_TAGS.column_names, iter([(1, 7, "vip")])

    test = predicate(Exists("note_tags", "note_id", Compare("tag_key", "=", "vip")), COLUMNS, lookup)
    assert [True, False, True] == [test((id_, None, None, "")) for id_ in (7, 8, 7)]
    assert ["note_tags"] == asked
