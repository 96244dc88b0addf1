"""Inserting many customers: ours beside each database's raw best, and on SQLite three ORMs beside that too.

All fill the same table with the same rows and indexes, 1,000 rows to a transaction. Ours checks the records, writes the
ledger and returns them; on the servers the raw side writes bytes and statements that were put together beforehand. The
ORMs come with `pip install crm-core[bench]`; one that is not there is NOT RUN. They are loaded when ours was measured:
a full garbage collection visits all that a process has loaded, and theirs made one of ours last twice as long.
"""

from __future__ import annotations

import sqlite3
import struct
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from time import perf_counter
from typing import Any, TypeVar
from unittest.mock import patch

import pytest

from crm_core import CRM, Customer
from crm_core.records import Record, schema
from crm_core.values import new_id, new_ids, text_key
from crm_storage_sql.mariadb.session import _values
from tests.benchmarks import AS_OURS, Row, at_most, beside, in_turn
from tests.benchmarks.orms import ORMS, Insert
from tests.databases import drop_all, mariadb_connection, new_url, postgresql_connection

T = TypeVar("T")
CHUNK = 1_000
_START = datetime(2026, 1, 1, tzinfo=UTC)
_ROUNDS = 5


def run(full: bool) -> list[Row]:
    """Insert 20,000 customers in each round; in the long form 100,000."""
    amount = 100_000 if full else 20_000
    with tempfile.TemporaryDirectory() as folder:
        rows = _on_sqlite(Path(folder), amount)
        for database, measured in (("postgresql", _on_postgresql), ("mariadb", _on_mariadb)):
            try:
                url = new_url(database, Path(folder))
            except pytest.skip.Exception as reason:
                print(reason.msg)
                continue
            with CRM.open(url) as crm:
                rows += measured(crm, url, amount)
        drop_all()
    return rows


# SQLite


def _on_sqlite(folder: Path, amount: int) -> list[Row]:
    numbers = count()
    with CRM.open(f"sqlite:///{folder}/ours.db") as crm:
        table = crm.registry.named("customer").table
        with closing(_connection(_like(folder, "raw.db"))) as raw:
            ours, limit = in_turn(
                lambda: crm.customers.add_many(_customer(next(numbers)) for _ in range(amount)),
                lambda: _by_hand(raw, table, numbers, amount),
                rounds=_ROUNDS,
            )
            told = f"sqlite: {amount:,} customers, add_many beside executemany"
            rows = [beside(told, ours, limit, times=2.7), _sealing(crm, amount)]
            return rows + _by_orms(folder, raw, table, numbers, amount)


def _by_orms(
    folder: Path, raw: sqlite3.Connection, table: schema.Table, numbers: Iterator[int], amount: int
) -> list[Row]:
    inserts: dict[str, Insert] = {}
    for name, made in ORMS.items():
        try:
            inserts[name] = made(_like(folder, f"{len(inserts)}.db"), table)
        except ImportError as error:
            print(f"NOT RUN: {name}: {error}")
    calls = [_chunked(insert, numbers, amount) for insert in inserts.values()]
    limit, *times = in_turn(lambda: _by_hand(raw, table, numbers, amount), *calls, rounds=_ROUNDS)
    return [
        Row(name=f"  {name}, beside executemany", ours=each, limit=limit, unit="ms")
        for name, each in zip(inserts, times, strict=True)
    ]


def _like(folder: Path, name: str) -> Path:
    """Return a new database with ours' tables and indexes; those of the search are left alone by inserts in bulk."""
    with closing(sqlite3.connect(folder / "ours.db")) as ours, closing(sqlite3.connect(folder / name)) as made:
        for (statement,) in ours.execute(
            "SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL AND type IN ('table', 'index')"
            " AND tbl_name IN ('customers', 'users', 'teams')"
        ):
            made.execute(statement)
    return folder / name


def _connection(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None)
    for setting in (*AS_OURS, "PRAGMA foreign_keys=ON", "PRAGMA mmap_size=1073741824"):
        connection.execute(setting)
    return connection


def _by_hand(raw: sqlite3.Connection, table: schema.Table, numbers: Iterator[int], amount: int) -> None:
    marks = ", ".join("?" * len(table.columns))
    statement = f"INSERT INTO customers ({', '.join(table.column_names)}) VALUES ({marks})"
    ids = new_ids(amount)
    for start in range(0, amount, CHUNK):
        raw.execute("BEGIN IMMEDIATE")
        tx = new_id()
        rows = [_row(id_, tx, next(numbers), len(table.columns)) for id_ in ids[start : start + CHUNK]]
        raw.executemany(statement, rows)
        raw.execute("COMMIT")


def _chunked(insert: Insert, numbers: Iterator[int], amount: int) -> Callable[[], None]:
    def call() -> None:
        ids = new_ids(amount)
        for start in range(0, amount, CHUNK):
            tx = new_id()
            insert([_cells(id_, tx, next(numbers)) for id_ in ids[start : start + CHUNK]])

    return call


def _row(id_: int, tx: int, number: int, width: int) -> tuple[object, ...]:
    name = f"Customer {number}"
    at = 1_767_225_600_000_000 + (number % 500_000) * 60_000_000
    head = (id_, 1, tx, tx, name, text_key(name), "organisation", "customer", None, "fair", at, 0, None, "de", None)
    return (*head, "DE", "Hessen", "Kassel", "retail", "call", *(None,) * (width - len(head) - 5))


def _cells(id_: int, tx: int, number: int) -> Mapping[str, Any]:
    name = f"Customer {number}"
    return {
        "id": id_,
        "version": 1,
        "created_tx": tx,
        "updated_tx": tx,
        "name": name,
        "name_key": text_key(name),
        "kind": "organisation",
        "role": "customer",
        "source": "fair",
        "first_contact_at": 1_767_225_600_000_000 + (number % 500_000) * 60_000_000,
        "first_contact_at_is_date": 0,
        "language": "de",
        "country": "DE",
        "region": "Hessen",
        "city": "Kassel",
        "industry": "retail",
        "next_step": "call",
    }


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


def _sealing(crm: CRM, amount: int) -> Row:
    """Return which part of a bulk insert's time the hash chain takes, with the position: one link a chunk."""
    seal, spent = crm._chain.seal, [0.0]

    def timed(*given: Any) -> int:
        start = perf_counter()
        position = seal(*given)
        spent[0] += perf_counter() - start
        return position

    with patch.object(crm._chain, "seal", timed):
        start = perf_counter()
        crm.customers.add_many(_customer(number) for number in range(amount))
        whole = perf_counter() - start
    return at_most("  the hash chain of add_many", spent[0] / whole * 100, 2, unit="%")


# Servers


def _on_postgresql(crm: CRM, url: str, amount: int) -> list[Row]:
    with closing(postgresql_connection(url)) as raw:

        def copy(content: bytes) -> None:
            with raw.cursor() as cursor, cursor.copy("COPY customers FROM STDIN (FORMAT BINARY)") as target:
                target.write(content)
            raw.commit()

        stored, added, limit = in_turn(
            *_ours(crm, amount), _each(copy, _prepared(crm, amount, _as_copy)), rounds=_ROUNDS
        )
    return [
        beside(f"postgresql: {amount:,} customers, add_many beside COPY", added, limit, times=2.5),
        beside("  encoded rows, beside COPY", stored, limit, times=1.5),
    ]


def _on_mariadb(crm: CRM, url: str, amount: int) -> list[Row]:
    """Compare with INSERTs of many rows, and, where the server allows it, with LOAD DATA LOCAL."""
    with closing(mariadb_connection(url, local_infile=True)) as raw, tempfile.TemporaryDirectory() as folder:
        numbers = count()

        def written(rows: Sequence[schema.Row]) -> Path:
            path = Path(folder, f"{next(numbers)}.tsv")
            path.write_bytes(_as_lines(rows))
            return path

        def query(statement: bytes) -> None:
            raw.query(statement)
            raw.commit()

        def load(path: Path) -> None:
            raw.query(f"LOAD DATA LOCAL INFILE '{path}' INTO TABLE customers CHARACTER SET utf8mb4")
            raw.commit()

        calls = [*_ours(crm, amount), _each(query, _prepared(crm, amount, _as_query))]
        with raw.cursor() as cursor:
            cursor.execute("SELECT @@local_infile")
            allowed = cursor.fetchone() == (1,)
        if allowed:
            calls.append(_each(load, _prepared(crm, amount, written)))
        else:
            print("NOT RUN: LOAD DATA LOCAL: the server does not allow it")
        stored, added, limit, *loaded = in_turn(*calls, rounds=_ROUNDS)
    return [
        # What is promised is PostgreSQL's figure; of MariaDB the ratio is stated.
        beside(f"mariadb: {amount:,} customers, add_many beside INSERT", added, limit, times=4.0),
        beside("  encoded rows, beside INSERT", stored, limit, times=1.5),
        *(Row(name="  add_many, beside LOAD DATA LOCAL", ours=added, limit=each, unit="ms") for each in loaded),
    ]


def _ours(crm: CRM, amount: int) -> tuple[Callable[[], None], Callable[[], None]]:
    """Return what puts encoded rows through the storage, and what puts records through the service."""
    kind = crm.registry.named("customer")
    numbers = count()

    def store(chunk: Sequence[schema.Row]) -> None:
        crm.storage.begin()
        crm.storage.insert_many(kind.plural, kind.table.column_names, chunk)
        crm.storage.commit()

    def add() -> None:
        crm.customers.add_many(_customer(next(numbers)) for _ in range(amount))

    return _each(store, _prepared(crm, amount, lambda rows: rows)), add


def _prepared(crm: CRM, amount: int, form: Callable[[Sequence[schema.Row]], T]) -> Iterator[list[T]]:
    """Return, for each round, chunks of encoded customers in a form that is made now."""
    kind = crm.registry.named("customer")
    numbers = count()

    def chunk() -> T:
        tx = new_id()
        stamps = ({"id": id_, "version": 1, "created_tx": tx, "updated_tx": tx} for id_ in new_ids(CHUNK))
        made: list[Record] = [_customer(next(numbers)).evolve(**stamp) for stamp in stamps]
        return form([kind.encode(record) for record in made])

    return iter([[chunk() for _ in range(amount // CHUNK)] for _ in range(_ROUNDS + 1)])


def _each(action: Callable[[T], None], rounds: Iterator[list[T]]) -> Callable[[], None]:
    """Return what does it with every chunk of the next round."""

    def call() -> None:
        for chunk in next(rounds):
            action(chunk)

    return call


def _as_copy(rows: Sequence[schema.Row]) -> bytes:
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


def _as_query(rows: Sequence[schema.Row]) -> bytes:
    return f"INSERT INTO customers VALUES {','.join(_values(rows))}".encode()


def _as_lines(rows: Sequence[schema.Row]) -> bytes:
    """Return the rows as LOAD DATA takes them; none of their texts needs escaping."""
    return "".join("\t".join("\\N" if cell is None else str(cell) for cell in row) + "\n" for row in rows).encode()
