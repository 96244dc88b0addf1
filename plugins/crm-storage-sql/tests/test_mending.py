"""Indexes that are not there or not in use any more, on every database: `crm storage verify` tells, reindex mends."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import attrs
import pytest

from crm_core import CRM, Customer
from crm_core.errors import StorageError
from crm_core.upkeep import reindex_workspace, verify_workspace
from crm_storage_sql.mariadb.session import MariadbSession
from tests.databases import DATABASES, OPENERS, drop_all, new_url, postgresql_connection


@pytest.fixture(autouse=True, scope="module")
def databases() -> Iterator[None]:
    yield
    drop_all()


def indexes_of(url: str) -> tuple[str, ...]:
    """Return what verify says of the indexes."""
    return next(check.faults for check in verify_workspace(url) if check.name == "indexes")


def unchecked(url: str) -> str:
    """Return what verify says that it did not look at."""
    return next(check.unchecked for check in verify_workspace(url) if check.name == "indexes")


@pytest.mark.parametrize("database", DATABASES)
def test_a_workspace_that_is_indexed_anew_is_as_it_was(database: str, tmp_path: Path) -> None:
    url = new_url(database, tmp_path)
    with CRM.open(url) as crm:
        ada = crm.customers.add(Customer(name="Ada Lovelace"), email="ada@example.org", external=("old", "1"))
        crm.customers.edit(attrs.evolve(ada, city="London"))
        head = crm.ledger.history.head()
    assert () == indexes_of(url)
    made = reindex_workspace(url)
    assert "tables" in made[-1]
    assert [] == [one for one in verify_workspace(url) if one.state == "wrong"]
    with CRM.open(url) as crm:
        assert head == crm.ledger.history.head()
        assert crm.ledger.verify().intact
        assert ["Ada Lovelace"] == [one.name for one in crm.customers.search("ovela")]
        crm.ledger.undo(crm.ledger.resolve("last"))
        assert [None] == [one.city for one in crm.customers.find()]


@pytest.mark.parametrize("database", DATABASES[1:])
def test_an_index_that_is_missing_on_a_server_is_told_and_made(database: str, tmp_path: Path) -> None:
    url = new_url(database, tmp_path)
    with CRM.open(url) as crm:
        crm.customers.add(Customer(name="Ada"), external=("old", "1"))
        for index in crm.storage.schema().tables["external_ids"].indexes:  # type: ignore[union-attr]
            if index.unique:
                name, columns = f"external_ids({','.join(index.columns)})!", ", ".join(index.columns)
    with closing(OPENERS[database](url, {})) as storage:
        on = " ON external_ids" if database == "mariadb" else ""
        storage._session().change(f'DROP INDEX "{name}"{on}')
    assert (f"the unique index over external_ids ({columns}) is missing",) == indexes_of(url)
    reindex_workspace(url)
    assert () == indexes_of(url)


@pytest.mark.database("postgresql")
def test_an_index_whose_making_was_broken_off_is_told_and_made(tmp_path: Path) -> None:
    url = new_url("postgresql", tmp_path)
    with CRM.open(url) as crm:
        crm.customers.add(Customer(name="Ada"))
    invalid = "UPDATE pg_index SET indisvalid = false WHERE indexrelid = '\"customers(owner_id)\"'::regclass"
    with closing(postgresql_connection(url)) as raw, raw:
        raw.execute(invalid)
    assert ("the index over customers (owner_id) is missing",) == indexes_of(url)
    reindex_workspace(url)
    assert () == indexes_of(url)


@pytest.mark.database("postgresql")
def test_an_index_that_lacks_a_row_is_told_where_amcheck_is(tmp_path: Path) -> None:
    base, _, schema = new_url("postgresql", tmp_path).partition("schema=")
    parts, name = urlsplit(base.rstrip("?&")), f"crm_test_amcheck_{os.getpid()}"
    with closing(postgresql_connection()) as server:
        server.autocommit = True
        if not server.execute("SELECT 1 FROM pg_available_extensions WHERE name = 'amcheck'").fetchone():
            pytest.skip("NOT RUN: this PostgreSQL comes without the extension amcheck")
        server.execute(f"CREATE DATABASE {name}")
        try:
            whole = parts._replace(path=f"/{name}").geturl()
            url = f"{whole}{'&' if parts.query else '?'}schema={schema}"
            with CRM.open(url) as crm:
                crm.customers.add(Customer(name="Ada"), external=("old", "1"))
            assert ((), True) == (indexes_of(url), "amcheck" in unchecked(url))
            of_names = "UPDATE pg_index SET indisready = {} WHERE indexrelid = '\"customers(name_key)\"'::regclass"
            with closing(postgresql_connection(url)) as raw:
                raw.autocommit = True
                raw.execute("CREATE EXTENSION amcheck SCHEMA public")
                raw.execute(of_names.format("false"))
            with CRM.open(url) as crm:
                crm.customers.add(Customer(name="Bob"))
            with closing(postgresql_connection(url)) as raw:
                raw.autocommit = True
                raw.execute(of_names.format("true"))
            (fault,) = indexes_of(url)
            assert fault.startswith("the index customers(name_key) is damaged: ")
            assert "lacks matching index tuple" in fault
            trigrams = server.execute("SELECT 1 FROM pg_available_extensions WHERE name = 'pg_trgm'").fetchone()
            assert bool(trigrams) == ("amcheck does not compare GIN indexes" in unchecked(url))
            assert "CREATE EXTENSION" not in unchecked(url)
            reindex_workspace(url)
            assert () == indexes_of(url)
        finally:
            server.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.mark.database("mariadb")
def test_what_innodb_says_of_a_table_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url = new_url("mariadb", tmp_path)
    with CRM.open(url) as crm:
        crm.customers.add(Customer(name="Ada"))
    assert ((), "") == (indexes_of(url), unchecked(url))
    read, asked = MariadbSession.read, list[str]()

    def damaged(self: MariadbSession, statement: str, parameters: Any = ()) -> Any:
        """Answer as InnoDB does of an index that lacks an entry: there is no way to make one here."""
        rows = read(self, statement, parameters)
        if not statement.startswith("CHECK TABLE"):
            return rows
        asked.append(statement)
        assert [("check", "status", "OK")] == [row[1:] for row in rows]
        if "`customers`" not in statement and '"customers"' not in statement:
            return rows
        text = "InnoDB: Index customers(owner_id) contains 0 entries, should be 1."
        return [("customers", "check", "Warning", text), ("customers", "check", "error", "Corrupt")]

    monkeypatch.setattr(MariadbSession, "read", damaged)
    faults = indexes_of(url)
    assert ["customers: InnoDB: Index customers(owner_id) contains 0 entries, should be 1."] == list(faults[:1])
    assert len(asked) > 20


@pytest.mark.parametrize("database", DATABASES)
def test_an_empty_database_has_nothing_to_index(database: str, tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="empty"):
        reindex_workspace(new_url(database, tmp_path))
