"""How servers search: by indexes of pg_trgm where PostgreSQL has that, else by reading; the status says which."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from crm_core import CRM, Customer
from crm_core.errors import StorageError
from crm_core.ledger.evolution import upgrade
from crm_core.query.ast import Contains
from crm_core.query.search import INSIDE, WORDS, Hit, question_of
from crm_core.testing.searching import ADDRESSES, PEOPLE, SEARCHED
from crm_storage_sql import room, server_lookup
from crm_storage_sql.postgresql import ddl
from crm_storage_sql.postgresql.storage import PostgresqlStorage
from tests.databases import OPENERS, SERVERS, drop_all, new_url, postgresql_connection


@pytest.fixture(autouse=True, scope="module")
def databases() -> Iterator[None]:
    yield
    drop_all()


def names(crm: CRM, typed: str) -> list[str | None]:
    """Return the names of the customers that are found."""
    return [customer.name for customer in crm.customers.search(typed)]


@pytest.mark.database("postgresql")
def test_postgresql_looks_texts_up_by_trigrams_where_it_can(tmp_path: Path) -> None:
    url = new_url("postgresql", tmp_path)
    with CRM.open(url) as crm:
        crm.customers.add_many(Customer(name=f"Person {number}") for number in range(2_000))
        crm.customers.add(Customer(name="100% _Ada_ \\"), email="ada@example.org")
        assert ["100% _Ada_ \\"] == names(crm, "00% _ad") == names(crm, "da_ \\") == names(crm, "ada@")
        assert [] == names(crm, "1%0")
        with closing(postgresql_connection(url)) as raw:
            there = raw.execute("SELECT 1 FROM pg_extension WHERE extname = 'pg_trgm'").fetchone()
        told = crm.storage.status().details["search"]
        if there is None:
            assert "pg_trgm was not there" in told
            pytest.skip("NOT RUN: this server has no pg_trgm")
        assert "trigram indexes (pg_trgm)" == told
        assert "~" in plan(crm, "son 1999"), "the name of a trigram index"


@pytest.mark.database("postgresql")
def test_addresses_of_several_words_have_an_index_that_is_missed_and_made_anew(tmp_path: Path) -> None:
    url = new_url("postgresql", tmp_path)
    with CRM.open(url) as crm:
        crm.customers.add(Customer(name="Ada Lovelace"), email="ada@example.org")
        assert [] == crm.storage.check_indexes()
        with closing(postgresql_connection(url)) as raw:
            raw.execute('DROP INDEX "contact_points(key)~ ~"')
            raw.commit()
        assert ["the index over contact_points (key) of several words is missing"] == crm.storage.check_indexes()
        crm.storage.reindex()
        assert [] == crm.storage.check_indexes()
        assert ["Ada Lovelace"] == names(crm, "ada@ lov")


@pytest.mark.database("postgresql")
def test_an_index_of_several_words_goes_with_what_is_searched_and_those_that_others_made_stay(tmp_path: Path) -> None:
    url = new_url("postgresql", tmp_path)
    with CRM.open(url) as crm, closing(postgresql_connection(url)) as raw:
        raw.execute("CREATE INDEX ours ON contact_points (customer_id) WHERE kind = 'email'")
        raw.execute("CREATE INDEX old ON contact_points (customer_id) WHERE strpos(value, ' ') > 0")
        raw.commit()
        crm.storage.reindex()
        there = "SELECT relname FROM pg_class WHERE relname IN ('ours', 'old') AND relnamespace = %s::regnamespace"
        schema = raw.execute("SELECT current_schema()").fetchone()
        assert [("ours",)] == raw.execute(there, schema).fetchall()


@pytest.mark.database("postgresql")
def test_the_first_search_after_many_inserts_puts_them_into_the_trigram_index(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "STALE_STATISTICS", 300)
    url = new_url("postgresql", tmp_path)
    with CRM.open(url) as crm, closing(postgresql_connection(url)) as raw:
        crm.customers.search("nobody")
        if not ddl.trigram_indexes(crm.storage._session().read):  # type: ignore[attr-defined]
            pytest.skip("NOT RUN: this server has no pg_trgm")
        crm.customers.add_many(Customer(name=f"Person {number}") for number in range(300))
        assert ["Person 7"] == names(crm, "rson 7")[:1]
        left = """SELECT gin_clean_pending_list('"customers(name_key)~~"'::regclass)"""
        assert (0,) == raw.execute(left).fetchone()


@pytest.mark.database("postgresql")
def test_postgresql_without_the_extension_reads_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ddl, "_EXTENSION", "SELECT 1 WHERE FALSE")
    with CRM.open(new_url("postgresql", tmp_path)) as crm:
        crm.customers.add(Customer(name="Ada Lovelace"))
        assert ["Ada Lovelace"] == names(crm, "ovela")
        assert "reads every row" in crm.storage.status().details["search"]


@pytest.mark.parametrize("database", [pytest.param(name, marks=pytest.mark.database(name)) for name in SERVERS])
def test_the_last_of_many_long_texts_is_found(tmp_path: Path, database: str) -> None:
    with closing(OPENERS[database](new_url(database, tmp_path), {})) as storage:
        upgrade(storage, SEARCHED)
        storage.begin()
        storage.insert_many("people", PEOPLE.column_names, [(1, 1, 1, 1, "ada", None, None)])
        long = [(n, 1, 1, 1, 1, f"{'long ' * 20_000}number{n}") for n in range(1, 16)]
        storage.insert_many("addresses", ADDRESSES.column_names, long)
        storage.commit()
        for typed, rank in (("umber15", INSIDE), ("number15 long", WORDS)):
            assert [Hit(rank, "ada", 1)] == storage.search("people", question_of(typed), limit=5)


@pytest.mark.parametrize("database", [pytest.param(name, marks=pytest.mark.database(name)) for name in SERVERS])
def test_what_stands_inside_words_of_a_text_that_an_index_cuts_off_is_found_on_the_last_pages(
    tmp_path: Path, database: str
) -> None:
    with closing(OPENERS[database](new_url(database, tmp_path), {})) as storage:
        upgrade(storage, SEARCHED)
        storage.begin()
        nick = "madam " + "long " * 100
        storage.insert_many("people", PEOPLE.column_names, [(2, 1, 1, 1, "n2", None, nick)])
        storage.commit()
        there, before = Hit(INSIDE, "n2", 2), Hit(INSIDE, "n1", 1)
        assert [there] == storage.search("people", question_of("adam"), limit=5)
        assert [there] == storage.search("people", question_of("adam"), after=before, limit=5)


@pytest.mark.parametrize("database", [pytest.param(name, marks=pytest.mark.database(name)) for name in SERVERS])
def test_a_search_that_the_server_breaks_off_leaves_no_transaction_open(
    tmp_path: Path, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with closing(OPENERS[database](new_url(database, tmp_path), {})) as storage:
        upgrade(storage, SEARCHED)
        storage.begin()
        storage.insert_many("people", PEOPLE.column_names, [(1, 1, 1, 1, "madam", None, None)])
        storage.commit()
        asked = question_of("adam")
        with monkeypatch.context() as patched:
            patched.setattr(server_lookup.ServerLookup, "_look", _fails)
            with pytest.raises(StorageError, match="nowhere"):
                storage.search("people", asked, limit=5)
        # Could not begin inside another one, nor write in one that only reads.
        storage.begin()
        storage.insert_many("people", PEOPLE.column_names, [(2, 1, 1, 1, "madam", None, None)])
        assert [Hit(INSIDE, "madam", 1), Hit(INSIDE, "madam", 2)] == storage.search("people", asked, limit=5)
        storage.rollback()
        assert [Hit(INSIDE, "madam", 1)] == storage.search("people", asked, limit=5)


@pytest.mark.parametrize("database", [pytest.param(name, marks=pytest.mark.database(name)) for name in SERVERS])
def test_words_that_must_begin_a_word_are_not_looked_for_inside_words(
    tmp_path: Path, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with closing(OPENERS[database](new_url(database, tmp_path), {})) as storage:
        upgrade(storage, SEARCHED)
        storage.begin()
        people = [(n, 1, 1, 1, f"bo {n} ada", None, None) for n in range(1, 4)]
        storage.insert_many("people", PEOPLE.column_names, people)
        storage.commit()
        hits = [Hit(WORDS, f"bo {n} ada", n) for n in range(1, 4)]
        asked: list[int] = []
        of_rank = server_lookup.ServerLookup._of_rank

        def noted(lookup: server_lookup.ServerLookup, start: Hit, *others: Any) -> list[Hit]:
            asked.append(start.rank)
            return of_rank(lookup, start, *others)

        monkeypatch.setattr(server_lookup.ServerLookup, "_of_rank", noted)
        assert hits == storage.search("people", question_of("ad b"), limit=5)
        assert [WORDS] == asked
        monkeypatch.setattr(server_lookup.ServerLookup, "_look", _fails)
        assert [] == storage.search("people", question_of("ad b"), after=Hit(INSIDE, "", 0), limit=5)


def _fails(lookup: server_lookup.ServerLookup, _: Hit) -> None:
    lookup._read("SELECT 1 FROM nowhere", ())


@pytest.mark.database("mariadb")
def test_mariadb_reads_and_says_so(tmp_path: Path) -> None:
    with CRM.open(new_url("mariadb", tmp_path)) as crm:
        crm.customers.add(Customer(name="Ada Lovelace"), phone="+49 170 1234567")
        assert ["Ada Lovelace"] == names(crm, "ovela") == names(crm, "0170 123")
        assert "reads every row" in crm.storage.status().details["search"]


def plan(crm: CRM, part: str) -> str:
    """Return how PostgreSQL finds the customers whose name has a part."""
    storage = crm.storage
    assert isinstance(storage, PostgresqlStorage)
    clauses = storage._clauses("customers")
    condition = clauses.condition(Contains("name_key", part))
    rows = storage._session().read(f"EXPLAIN SELECT t0.id FROM customers t0 WHERE {condition}", clauses.parameters)
    return "\n".join(str(row[0]) for row in rows)
