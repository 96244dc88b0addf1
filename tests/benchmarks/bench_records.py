"""Records through the services beside sqlite3 by hand on the same file: bulk insert, get by id, a timeline."""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import perf_counter
from typing import Any
from unittest.mock import patch

from crm_core import CRM, Customer, Interaction
from crm_core.values import new_ids, text_key
from tests.benchmarks import AS_OURS, Row, at_most, beside, side_by_side

_START = datetime(2026, 1, 1, tzinfo=UTC)
_CHUNK = 1_000


def run(full: bool) -> list[Row]:
    """Measure on a new SQLite file; the long form inserts 200,000 customers instead of 20,000."""
    with (
        tempfile.TemporaryDirectory() as directory,
        CRM.open(f"sqlite:///{directory}/bench.db") as crm,
        closing(_raw_connection(Path(directory) / "bench.db")) as raw,
    ):
        count = 200_000 if full else 20_000
        return [_bulk(crm, raw, count), _sealing(crm, count), _get(crm, raw), _timeline(crm, raw)]


def _raw_connection(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None)
    for setting in (*AS_OURS, "PRAGMA foreign_keys=ON", "PRAGMA mmap_size=1073741824"):
        connection.execute(setting)
    return connection


def _bulk(crm: CRM, raw: sqlite3.Connection, count: int) -> Row:
    """Ours checks, writes the ledger and returns records; the raw side fills the same table in the same chunks."""
    table = crm.registry.types["customer"].table
    marks = ", ".join("?" * len(table.columns))
    statement = f"INSERT INTO customers ({', '.join(table.column_names)}) VALUES ({marks})"
    numbers = iter(range(10**12))

    def ours() -> None:
        crm.customers.add_many(_customer(next(numbers)) for _ in range(count))

    def by_hand() -> None:
        ids = new_ids(count)
        for start in range(0, count, _CHUNK):
            raw.execute("BEGIN IMMEDIATE")
            rows = [_row(id_, next(numbers), len(table.columns)) for id_ in ids[start : start + _CHUNK]]
            raw.executemany(statement, rows)
            raw.execute("COMMIT")

    mine, limit = side_by_side(ours, by_hand, rounds=3)
    return beside(f"add_many of {count:,} customers", mine, limit, times=2.7)


def _sealing(crm: CRM, count: int) -> Row:
    """Return which part of a bulk insert's time the hash chain takes, with the position: one link a chunk."""
    seal, spent = crm._chain.seal, [0.0]

    def timed(*given: Any) -> int:
        start = perf_counter()
        position = seal(*given)
        spent[0] += perf_counter() - start
        return position

    with patch.object(crm._chain, "seal", timed):
        start = perf_counter()
        crm.customers.add_many(_customer(number) for number in range(count))
        whole = perf_counter() - start
    return at_most(f"of add_many of {count:,}: the hash chain", spent[0] / whole * 100, 2, unit="%")


def _customer(number: int) -> Customer:
    return Customer(
        name=f"Customer {number}",
        kind="organisation",
        source="fair",
        country="DE",
        region="Hessen",
        city="Kassel",
        language="de",
        industry="retail",
        first_contact_at=_START + timedelta(minutes=number % 500_000),
        next_step="call",
    )


def _row(id_: int, number: int, width: int) -> tuple[object, ...]:
    name = f"Customer {number}"
    at = 1_767_225_600_000_000 + (number % 500_000) * 60_000_000
    head = (id_, 1, 1, 1, name, text_key(name), "organisation", "customer", None, "fair", at, 0, None, "de", None)
    return (*head, "DE", "Hessen", "Kassel", "retail", "call", *(None,) * (width - len(head) - 5))


def _get(crm: CRM, raw: sqlite3.Connection) -> Row:
    """Both sides read the row and its tags."""
    ids = [row[0] for row in raw.execute("SELECT id FROM customers ORDER BY id LIMIT 1000")]
    names = ", ".join(crm.registry.types["customer"].table.column_names)

    def ours() -> None:
        for record_id in ids:
            crm.customers.get(record_id)

    def by_hand() -> None:
        for record_id in ids:
            raw.execute(f"SELECT {names} FROM customers WHERE id = ?", (record_id,)).fetchone()
            raw.execute("SELECT tag FROM customer_tags WHERE customer_id = ?", (record_id,)).fetchall()

    return beside("get 1,000 customers by id", *side_by_side(ours, by_hand), times=3)


def _timeline(crm: CRM, raw: sqlite3.Connection) -> Row:
    """The latest 100 interactions of a customer who has 500."""
    customer = crm.customers.add(Customer(name="Talkative"))
    crm.interactions.add_many(_interactions(customer.id))
    names = ", ".join(crm.registry.types["interaction"].table.column_names)
    statement = f"SELECT {names} FROM interactions WHERE customer_id = ? ORDER BY occurred_at DESC, id LIMIT 100"

    def ours() -> None:
        from crm_core.query.ast import Compare

        for _ in range(20):
            crm.interactions.find(Compare("customer_id", "=", customer.id), sort="-occurred_at", limit=100)

    def by_hand() -> None:
        for _ in range(20):
            raw.execute(statement, (customer.id,)).fetchall()

    return beside("timeline of 100 interactions, 20 times", *side_by_side(ours, by_hand), times=2.5)


def _interactions(customer_id: int) -> Iterator[Interaction]:
    for number in range(500):
        at = _START + timedelta(hours=number)
        yield Interaction(customer_id=customer_id, kind="call", channel="phone", subject="Order", occurred_at=at)
