"""PostgreSQL and MariaDB beside their drivers by hand, and twenty who write at once, on SQLite as well.

The raw side writes bytes or statements that were put together beforehand, into the same tables and indexes.
"""

from __future__ import annotations

import itertools
import struct
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import quantiles
from threading import Barrier
from time import perf_counter
from typing import Any

import pytest

from crm_core import CRM, Customer
from crm_core.errors import CrmError
from crm_core.extend.storage import LEDGER_TRANSACTIONS, Storage
from crm_core.ledger.tables import LEDGER_TABLES
from crm_core.records import Record, schema
from crm_core.values import new_id, new_ids
from crm_storage_sql.mariadb.session import _values
from tests.benchmarks import Row, beside, side_by_side
from tests.databases import drop_all, mariadb_connection, new_url, postgresql_connection

CHUNK = 1_000
WRITERS = 20


def run(full: bool) -> list[Row]:
    """Bulk insert on the servers, and writers at once on all three; a server that is not there is NOT RUN."""
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        for number, database in enumerate(("sqlite", "postgresql", "mariadb")):
            place = Path(folder, str(number))
            place.mkdir()
            try:
                url = new_url(database, place)
            except pytest.skip.Exception as reason:
                print(reason.msg)
                continue
            with CRM.open(url) as crm:
                if database != "sqlite":
                    rows += _bulk(crm, database, url, 100_000 if full else 20_000)
                rows += _writers(crm, database, 50 if full else 15)
        drop_all()
    return rows


def _bulk(crm: CRM, database: str, url: str, count: int) -> list[Row]:
    """Insert customers: encoded rows through the storage, and records through the service."""
    kind = crm.registry.named("customer")
    raw = postgresql_connection(url) if database == "postgresql" else mariadb_connection(url)
    write, prepare = (_copy, _copied) if database == "postgresql" else (_query, _queried)
    best = "preformatted COPY" if database == "postgresql" else "preformatted INSERT"

    def chunks(rounds: int) -> Iterator[list[list[schema.Row]]]:
        return iter([[_rows(crm, CHUNK) for _ in range(count // CHUNK)] for _ in range(rounds)])

    mine = chunks(4)
    prepared = iter([[prepare(crm, chunk) for chunk in one] for one in chunks(8)])

    def rows_of_ours() -> None:
        for chunk in next(mine):
            crm.storage.begin()
            crm.storage.insert_many(kind.plural, kind.table.column_names, chunk)
            crm.storage.commit()

    def records_of_ours() -> None:
        crm.customers.add_many(_customer(number) for number in range(count))

    def by_hand() -> None:
        for chunk in next(prepared):
            write(raw, chunk)
            raw.commit()

    stored = side_by_side(rows_of_ours, by_hand, rounds=3)
    added = side_by_side(records_of_ours, by_hand, rounds=3)
    raw.close()
    # Of MariaDB the ratio is stated; what is promised is PostgreSQL's.
    times = 2.5 if database == "postgresql" else 4.0
    return [
        beside(f"{database}: insert {count:,} rows, beside {best}", *stored, times=1.5),
        beside(f"{database}: add_many of {count:,} customers, beside {best}", *added, times=times),
    ]


def _writers(crm: CRM, database: str, turns: int) -> list[Row]:
    """Twenty threads commit at once: through the service, and with and without a position on the storage."""

    def through_the_service() -> None:
        crm.customers.add(Customer(name="One more", source="fair"))

    counted = itertools.count(10**15)  # positions that no head gave
    columns = [name for name in LEDGER_TABLES[2].column_names if name != "position"]

    def commit(position: bool) -> None:
        storage: Storage = crm.storage
        row = (new_id(), 1, 0, "[]", None)
        storage.begin()
        storage.insert_many("customers", crm.registry.named("customer").table.column_names, _rows(crm, 1))
        if position:
            storage.append_ledger(columns, row)
        else:
            storage.insert_many(LEDGER_TRANSACTIONS, [*columns, "position"], [(*row, next(counted))])
        storage.commit()

    rate, p95, errors = _at_once(through_the_service, turns)
    with_position, _, _ = _at_once(lambda: commit(True), turns)
    without, _, _ = _at_once(lambda: commit(False), turns)
    name = f"{database}: {WRITERS} writers"
    return [
        Row(name=f"{name}, commits of the service", ours=rate, unit="/s"),
        Row(name=f"{name}, p95 of a commit", ours=p95, goal="at most 100 ms", met=p95 <= 100),
        Row(name=f"{name}, errors", ours=errors, unit="", goal="0", met=errors == 0),
        Row(name=f"{name}, commits with a position, beside without", ours=with_position, limit=without, unit="/s"),
    ]


def _at_once(action: Callable[[], None], turns: int) -> tuple[float, float, int]:
    """Return commits per second, the 95th percentile in milliseconds, and how many failed."""
    together = Barrier(WRITERS)

    def work() -> tuple[list[tuple[float, float]], int]:
        action()  # its thread's connection is not what is measured
        together.wait()
        times, errors = [], 0
        for _ in range(turns):
            start = perf_counter()
            try:
                action()
            except CrmError:
                errors += 1
            times.append((start, perf_counter()))
        return times, errors

    with ThreadPoolExecutor(WRITERS) as threads:
        found = [future.result() for future in [threads.submit(work) for _ in range(WRITERS)]]
    times = [time for each, _ in found for time in each]
    seconds = max(end for _, end in times) - min(start for start, _ in times)
    p95 = quantiles(((end - start) * 1000 for start, end in times), n=20)[-1]
    return len(times) / seconds, p95, sum(errors for _, errors in found)


def _customer(number: int) -> Customer:
    return Customer(name=f"Customer {number}", source="fair", country="DE", city="Köln", industry="retail")


def _rows(crm: CRM, count: int) -> list[schema.Row]:
    kind = crm.registry.named("customer")
    made: list[Record] = [_customer(n).evolve(id=id_, version=1) for n, id_ in enumerate(new_ids(count))]
    return [kind.encode(record) for record in made]


def _copied(crm: CRM, rows: Sequence[schema.Row]) -> bytes:
    """Return the rows as PostgreSQL's binary COPY takes them."""
    parts = [b"PGCOPY\n\xff\r\n\0" + bytes(8)]
    for row in rows:
        parts.append(struct.pack(">h", len(row)))
        for cell in row:
            if cell is None:
                parts.append(b"\xff\xff\xff\xff")
            elif isinstance(cell, int):
                parts.append(struct.pack(">iq", 8, cell))
            else:
                parts += [struct.pack(">i", len(cell.encode())), cell.encode()]
    return b"".join([*parts, b"\xff\xff"])


def _copy(raw: Any, content: bytes) -> None:
    with raw.cursor() as cursor, cursor.copy("COPY customers FROM STDIN (FORMAT BINARY)") as copy:
        copy.write(content)


def _queried(crm: CRM, rows: Sequence[schema.Row]) -> bytes:
    return f"INSERT INTO customers VALUES {','.join(_values(rows))}".encode()


def _query(raw: Any, content: bytes) -> None:
    raw.query(content)
