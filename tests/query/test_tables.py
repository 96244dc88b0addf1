from __future__ import annotations

import subprocess
import sys
import threading

import pytest
import sqlalchemy as sa
from sqlalchemy.dialects import mysql, postgresql, sqlite
from sqlalchemy.schema import CreateTable

from crm_core.errors import UsageError
from crm_core.query.tables import Tables, index_name, sql_table
from crm_core.records.schema import Column, Index, Table
from tests.query.samples import NOTES, REGISTRY


def test_tables_are_built_when_they_are_named() -> None:
    tables = Tables(REGISTRY)
    assert [] == list(tables._metadata.tables)
    assert tables.deals is tables["deals"]
    assert ["deals"] == list(tables._metadata.tables)
    assert {"amount", "amount_currency", "customer_id"} <= set(tables.deals.c.keys())
    assert "loyalty__points" in tables.customers.c
    assert "customer_tags" in tables
    assert "nope" not in tables
    assert set(tables) == {kind.plural for kind in REGISTRY.types.values()}


def test_a_manifest_brings_its_own_tables() -> None:
    tables = Tables(REGISTRY.manifest([NOTES]).tables)
    assert list(NOTES.column_names) == tables.notes.c.keys()


def test_an_unknown_table_is_named_with_those_like_it() -> None:
    with pytest.raises(UsageError, match="no table 'deal'") as caught:
        _ = Tables(REGISTRY).deal
    assert caught.value.hint.startswith("did you mean deals")


def test_threads_see_whole_tables() -> None:
    tables = Tables(REGISTRY)
    names = list(tables)
    widths: list[list[int]] = []
    threads = [
        threading.Thread(target=lambda: widths.append([len(tables[name].c) for name in names])) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [[len(REGISTRY.named(name).table.columns) for name in names]] * 4 == widths


@pytest.mark.parametrize(
    ("dialect", "expected"),
    [
        (sqlite.dialect(), ["id INTEGER NOT NULL", "name VARCHAR(100)", "PRIMARY KEY (id)", "points INTEGER"]),
        (postgresql.dialect(), ["id BIGINT NOT NULL", 'name VARCHAR(100) COLLATE "C"']),
        (mysql.dialect(), ["id BIGINT NOT NULL", "name VARCHAR(100) COLLATE utf8mb4_nopad_bin"]),
    ],
)
def test_text_compares_by_code_point_and_integers_have_64_bits(dialect: sa.Dialect, expected: list[str]) -> None:
    ddl = str(CreateTable(sql_table(NOTES, sa.MetaData())).compile(dialect=dialect))
    assert [part for part in expected if part in ddl] == expected
    assert "AUTO" not in ddl
    assert "SERIAL" not in ddl


def test_indexes_come_with_the_table_under_names_of_63_bytes_at_most() -> None:
    long = Index(tuple(f"a_rather_long_column_name_{number}" for number in range(4)), unique=True)
    table = Table("t", (Column("id", "int"), *(Column(name, "int") for name in long.columns)), (long, Index(("id",))))
    names = {index.name for index in sql_table(table, sa.MetaData()).indexes}
    assert {index_name("t", long), "ix_t_id"} == names
    assert 63 == len(index_name("t", long))
    assert index_name("t", long) != index_name("t", Index(long.columns[::-1], unique=True))


@pytest.mark.parametrize("module", ["text", "bind", "predicate", "ast"])
def test_filters_load_no_sqlalchemy(module: str) -> None:
    code = f"import crm_core.query.{module}, sys; sys.exit('sqlalchemy' in sys.modules)"
    assert 0 == subprocess.run([sys.executable, "-c", code], check=False).returncode
