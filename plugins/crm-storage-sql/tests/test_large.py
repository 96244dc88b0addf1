"""Texts that are larger than a server takes in one statement, and ids that no storage can have."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from pathlib import Path

import attrs
import pytest

from crm_core import CRM, Customer, Interaction, Money, Sale
from crm_core.errors import NotFound, NumberTooLarge, StorageError
from crm_core.extend import Update
from crm_core.ledger.evolution import upgrade
from crm_core.testing.tables import MANIFEST, THINGS, thing
from crm_core.values import format_id
from crm_storage_sql.mariadb.storage import MariadbStorage
from crm_storage_sql.plugin import open_mariadb
from tests.databases import DATABASES, drop_all, new_url


@pytest.fixture(autouse=True, scope="module")
def databases() -> Iterator[None]:
    yield
    drop_all()


@pytest.fixture
def storage(tmp_path: Path) -> Iterator[MariadbStorage]:
    opened = open_mariadb(new_url("mariadb", tmp_path), {})
    assert isinstance(opened, MariadbStorage)
    upgrade(opened, MANIFEST)
    yield opened
    opened.close()


def limit_of(storage: MariadbStorage) -> int:
    """Return how many bytes the server takes in one statement."""
    return int(str(storage._read("SELECT @@max_allowed_packet")[0][0]))


def write(storage: MariadbStorage, how: str, long: str) -> None:
    """Write a text into a thing, by one of the ways there are."""
    if how == "insert":
        storage.insert_many("things", THINGS.column_names, [thing(7, group=long)])
    elif how == "insert among many":
        rows = [thing(n, name="short", group=long if n == 7 else "g") for n in range(3, 50)]
        storage.insert_many("things", THINGS.column_names, rows)
    elif how == "put":
        storage.put_many("things", THINGS.column_names, [thing(7, group=long)])
    else:
        storage.insert_many("things", THINGS.column_names, [thing(7)])
        storage.update_if_version("things", [Update(1, 1, {"size": 2}), Update(7, 1, {"size": 3, "group": long})])


@pytest.mark.database("mariadb")
@pytest.mark.parametrize("how", ["insert", "insert among many", "put", "update"])
def test_a_text_that_mariadb_does_not_take_is_named_and_nothing_is_kept(storage: MariadbStorage, how: str) -> None:
    limit = limit_of(storage)
    long = "م" * (limit // 2)  # two bytes each
    storage.begin()
    storage.insert_many("things", THINGS.column_names, [thing(1, name="kept")])
    storage.commit()
    storage.begin()
    storage.insert_many("things", THINGS.column_names, [thing(2, name="before")])
    with pytest.raises(StorageError) as error:
        write(storage, how, long)
    assert f"things {format_id(7)}: group with {len(long.encode()):,} bytes" in error.value.message
    assert f"{limit:,}" in error.value.message
    assert "max_allowed_packet" in (error.value.hint or "")
    with pytest.raises(StorageError):
        storage.commit()
    assert [thing(1, name="kept")] == storage.find("things")
    storage.begin()  # the connection is whole
    storage.insert_many("things", THINGS.column_names, [thing(8, group="g" * (limit // 2))])
    storage.commit()
    assert 2 == storage.count("things")


@pytest.mark.parametrize("database", DATABASES)
def test_an_interaction_of_17_megabytes_is_kept_whole_or_refused_with_the_way_out(
    database: str, tmp_path: Path
) -> None:
    with CRM.open(new_url(database, tmp_path)) as crm:
        ada = crm.customers.add(Customer(name="Ada"))
        head = crm.ledger.history.head()
        body = "x" * 17_000_000
        letter = Interaction(customer_id=ada.id, kind="message", body=body)
        if database == "mariadb" and limit_of(crm.storage) <= len(body):  # type: ignore[arg-type]
            with pytest.raises(StorageError, match="body with 17,000,000 bytes"):
                crm.interactions.add(letter)
            assert (head, 0) == (crm.ledger.history.head(), crm.interactions.count())
            crm.interactions.add(attrs.evolve(letter, body="short"))
            assert head + 1 == crm.ledger.history.head()
        else:
            assert body == crm.interactions.get(crm.interactions.add(letter).id).body
        assert crm.ledger.verify().intact


@pytest.mark.parametrize("database", DATABASES)
def test_an_id_beyond_64_bits_is_nobodys(database: str, tmp_path: Path) -> None:
    with CRM.open(new_url(database, tmp_path)) as crm:
        for beyond in (2**63, -(2**63) - 1, 2**70):
            with pytest.raises(NotFound, match=str(beyond)):
                crm.customers.get(beyond)
            with pytest.raises(NotFound):
                crm.customers.delete(beyond)
            assert [] == crm.customers.get_many([beyond])


@pytest.mark.parametrize("database", DATABASES)
def test_revenue_beyond_64_bits_is_told_in_the_same_words(database: str, tmp_path: Path) -> None:
    with CRM.open(new_url(database, tmp_path)) as crm:
        ada = crm.customers.add(Customer(name="Ada"))
        for day in (5, 6):
            amount = Money("90000000000000000", "EUR")
            crm.sales.add(Sale(customer_id=ada.id, amount=amount, sold_at=date(2026, 1, day)))
        with pytest.raises(NumberTooLarge) as error:
            crm.metrics.compute("revenue", period="2026")
        assert str(NumberTooLarge()) == str(error.value)
