from __future__ import annotations

import threading
from time import perf_counter

import attrs
import pytest
import sqlalchemy as sa
from hypothesis import given
from sqlalchemy import func, select

from crm_core.errors import NumberTooLarge, StorageError
from crm_core.query.functions import isum, median
from crm_core.query.guard import check_select
from crm_core.query.memory import columns_read, run_in_memory
from crm_core.query.predicate import predicate
from crm_core.query.sql import to_clause
from crm_core.query.tables import Tables
from crm_core.records.schema import Index
from tests.query.samples import NOTE_TAGS, NOTES, ScanOnly, expressions, note_tags, notes

TABLES = Tables({"notes": NOTES, "note_tags": NOTE_TAGS})
N, T = TABLES.notes.c, TABLES.note_tags.c
ROWS = [(1, 5, "علی", "x"), (2, None, None, "y"), (3, 2**63 - 1, "🙂", "x")]


def _storage(rows=ROWS, tags=((1, 1, "vip"), (2, 3, "vip"))) -> ScanOnly:
    return ScanOnly({"notes": (NOTES.column_names, list(rows)), "note_tags": (NOTE_TAGS.column_names, list(tags))})


def test_a_select_runs_over_what_a_scan_gives() -> None:
    join = select(T.tag_key, func.count(), func.max(N.points)).join_from(
        TABLES.notes, TABLES.note_tags, N.id == T.note_id
    )
    assert [("vip", 2, 2**63 - 1)] == run_in_memory(join.group_by(T.tag_key), _storage())
    assert [(1, "علی"), (2, None), (3, "🙂")] == run_in_memory(select(N.id, N.name).order_by(N.id), _storage())
    assert [(5, 2**63 - 1, 2)] == run_in_memory(median(N.points), _storage())
    picked = select(N.id).where(N.id.in_([1, 3]), N.name.in_(["علی", "a"]), N.kind == "x")
    assert [(1,)] == run_in_memory(picked, _storage())


def test_only_the_columns_that_are_read_are_loaded() -> None:
    storage = _storage()
    run_in_memory(select(func.count()).select_from(TABLES.notes), storage)
    alias = TABLES.notes.alias()
    run_in_memory(select(alias.c.kind).where(alias.c.points > 1), storage)
    assert [("notes", ("id",)), ("notes", ("id", "points", "kind"))] == storage.scanned


def test_columns_are_found_in_subqueries_ctes_and_unions() -> None:
    inner = select(N.kind.label("k")).where(N.points > 1).subquery()
    cte = select(T.note_id).cte()
    statement = sa.union_all(select(inner.c.k), select(N.name).where(N.id.in_(select(cte.c.note_id))))
    read = {table.name: set(columns) for table, columns in columns_read(statement).items()}
    assert {"notes": {"id", "kind", "points", "name"}, "note_tags": {"id", "note_id"}} == read


def test_a_look_up_per_row_goes_by_an_index() -> None:
    indexed = attrs.evolve(NOTE_TAGS, indexes=(Index(("note_id", "tag_key")), Index(("tag_key",))))
    tables = Tables({"notes": NOTES, "note_tags": indexed})
    notes, tags = tables.notes.c, tables.note_tags.c
    count = 20_000  # without an index 400 million rows would be passed
    rows = {
        "notes": (NOTES.column_names, [(one, None, None, "x") for one in range(count)]),
        "note_tags": (NOTE_TAGS.column_names, [(one, one, "vip") for one in range(count)]),
    }
    tag = select(func.min(tags.tag_key)).where(tags.note_id == notes.id).correlate(tables.notes).scalar_subquery()
    statement = select(func.count(tag)).select_from(tables.notes)
    began = perf_counter()
    assert [(count,)] == run_in_memory(statement, ScanOnly(rows))
    assert perf_counter() - began < 5


def test_a_token_keeps_what_is_loaded_until_another_comes() -> None:
    storage = _storage()
    for statement in (select(N.points), select(N.points), select(N.points, N.kind), select(N.kind)):
        run_in_memory(statement, storage, token=7)
    assert [("notes", ("id", "points")), ("notes", ("id", "points", "kind"))] == storage.scanned
    storage.tables["notes"] = (NOTES.column_names, [(9, 1, None, "z")])
    assert [("x",), ("y",), ("x",)] == run_in_memory(select(N.kind), storage, token=7)
    assert [("z",)] == run_in_memory(select(N.kind), storage, token=8)
    assert [("z",)] == run_in_memory(select(N.kind), storage)


def test_two_storages_do_not_share_what_they_loaded() -> None:
    first, second = _storage(), _storage(rows=[(4, 1, None, "q")])
    assert 3 == len(run_in_memory(select(N.id), first, token=1))
    assert [(4,)] == run_in_memory(select(N.id), second, token=1)


def test_threads_share_one_engine() -> None:
    storage = _storage()
    found: list[object] = []

    def ask() -> None:
        found.extend(run_in_memory(select(isum(N.points)).where(N.points < 9), storage, token=1) for _ in range(20))

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [[(5,)]] * 80 == found
    assert 1 == len(storage.scanned)


def test_a_scan_that_fails_leaves_what_was_loaded_before() -> None:
    storage = _storage()
    run_in_memory(select(N.points), storage, token=1)
    del storage.tables["note_tags"]
    with pytest.raises(KeyError):
        run_in_memory(
            select(N.kind, T.tag_key).join_from(TABLES.notes, TABLES.note_tags, N.id == T.note_id), storage, token=1
        )
    assert [(2**63 - 1,)] == run_in_memory(select(func.max(N.points)), storage, token=1)


def test_an_overflow_is_an_error_and_never_a_float() -> None:
    with pytest.raises(NumberTooLarge, match="64 bits"):
        run_in_memory(select(isum(N.points)), _storage())
    with pytest.raises(StorageError, match="returned float") as caught:
        run_in_memory(select(N.points + 1), _storage())
    assert "isum" in caught.value.hint


@given(expressions, notes, note_tags)
def test_the_engine_picks_the_rows_that_python_picks(expression, rows, tags) -> None:
    test = predicate(expression, NOTES.column_names, {"note_tags": (NOTE_TAGS.column_names, tags)}.__getitem__)
    statement = select(N.id).where(to_clause(expression, TABLES.notes)).order_by(N.id)
    assert [] == check_select(statement)
    assert sorted((row[0],) for row in rows if test(row)) == run_in_memory(statement, _storage(rows, tags))
