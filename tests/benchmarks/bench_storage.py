"""The SQLite storage beside `sqlite3` by hand: the same tables, indexes, settings and columns on both sides."""

from __future__ import annotations

import random
import sqlite3
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

from crm_core.extend.storage import Storage
from crm_core.ledger.evolution import upgrade
from crm_core.query.ast import Compare, SortKey
from crm_core.records import KERNEL_RECORDS, Customer, Interaction, Record, RecordType, build_registry, schema
from crm_core.values import new_ids
from crm_storage_sql.plugin import open_sqlite
from tests.benchmarks import AS_OURS, Row, beside, side_by_side

CHUNK = 1000
_REGISTRY = build_registry(zone=ZoneInfo("UTC"), records=[(cls, "crm-core") for cls in KERNEL_RECORDS])


def run(full: bool) -> list[Row]:
    """Insert, read one, read a timeline of 100: with ids and values drawn beforehand on both sides."""
    rows = 100_000 if full else 30_000
    with tempfile.TemporaryDirectory() as folder:
        storage = open_sqlite(f"sqlite:///{folder}/ours.db", {})
        upgrade(storage, _REGISTRY.manifest())
        raw = _raw_copy(Path(folder))
        try:
            return [_insert(storage, raw, rows), *_reads(storage, raw, rows)]
        finally:
            storage.close()
            raw.close()


def _insert(storage: Storage, raw: sqlite3.Connection, rows: int) -> Row:
    """Insert encoded customers in transactions of 1,000."""
    kind = _REGISTRY.named("customer")
    rounds = 3
    mine, others = (iter([_chunks(kind, rows) for _ in range(rounds + 1)]) for _ in range(2))

    def ours() -> None:
        for chunk in next(mine):
            storage.begin()
            storage.insert_many(kind.plural, kind.table.column_names, chunk)
            storage.commit()

    def limit() -> None:
        statement = f"INSERT INTO {kind.plural} VALUES ({', '.join('?' * len(kind.table.columns))})"
        for chunk in next(others):
            raw.execute("BEGIN IMMEDIATE")
            raw.executemany(statement, chunk)
            raw.execute("COMMIT")

    name = f"insert {rows:,} rows of {len(kind.table.columns)} columns"
    return beside(name, *side_by_side(ours, limit, rounds=rounds), times=1.5)


def _reads(storage: Storage, raw: sqlite3.Connection, rows: int) -> list[Row]:
    kind = _REGISTRY.named("interaction")
    customers = [int(str(row[0])) for row in storage.find("customers", limit=500, columns=["id"])]
    written = _interactions(kind, customers, rows)
    storage.begin()
    storage.insert_many(kind.plural, kind.table.column_names, written)
    storage.commit()
    raw.execute("BEGIN")
    raw.execute("PRAGMA defer_foreign_keys=ON")
    known = [(row[0],) for row in raw.execute("SELECT id FROM customers LIMIT 500")]
    by_customer = dict(zip(customers, (id_ for (id_,) in known), strict=True))
    at = kind.table.column_names.index("customer_id")
    statement = f"INSERT INTO {kind.plural} VALUES ({', '.join('?' * len(kind.table.columns))})"
    raw.executemany(statement, [(*row[:at], by_customer[int(str(row[at]))], *row[at + 1 :]) for row in written])
    raw.execute("COMMIT")
    names = ", ".join(f'"{name}"' for name in kind.table.column_names)
    wanted = [int(str(row[0])) for row in random.Random(1).sample(written, 1000)]
    sort = [SortKey("occurred_at", descending=True)]

    def get_ours() -> None:
        for id_ in wanted:
            storage.get_many(kind.plural, [id_])

    def get_raw() -> None:
        for id_ in wanted:
            raw.execute(f"SELECT {names} FROM {kind.plural} WHERE id = ?", (id_,)).fetchone()

    def timeline_ours() -> None:
        for customer in customers[:100]:
            storage.find(kind.plural, Compare("customer_id", "=", customer), sort=sort, limit=100)

    def timeline_raw() -> None:
        sql = f"SELECT {names} FROM {kind.plural} WHERE customer_id = ? ORDER BY occurred_at DESC, id LIMIT 100"
        for customer in customers[:100]:
            raw.execute(sql, (by_customer[customer],)).fetchall()

    return [
        beside("get 1,000 rows by id, one by one", *side_by_side(get_ours, get_raw), times=2),
        beside("100 timelines of 100", *side_by_side(timeline_ours, timeline_raw), times=1.5),
    ]


def _chunks(kind: RecordType, rows: int) -> list[list[schema.Row]]:
    """Return encoded customers in chunks, with ids never used before."""
    found = []
    for start in range(0, rows, CHUNK):
        made: list[Record] = [
            Customer(id=id_, version=1, name=f"Customer {start + n}", source="fair", country="DE", city="Köln")
            for n, id_ in enumerate(new_ids(CHUNK))
        ]
        found.append([kind.encode(record) for record in made])
    return found


def _interactions(kind: RecordType, customers: list[int], rows: int) -> list[schema.Row]:
    draw = random.Random(2)
    start = datetime(2025, 1, 1, tzinfo=UTC)
    return [
        kind.encode(
            Interaction(
                id=id_,
                version=1,
                customer_id=draw.choice(customers),
                occurred_at=start + timedelta(minutes=draw.randrange(500_000)),
                subject="A question",
                body="Where is my order? " * 5,
            )
        )
        for id_ in new_ids(rows)
    ]


def _raw_copy(folder: Path) -> sqlite3.Connection:
    """Return a connection to a database with the same tables and indexes, opened with the same settings."""
    source = sqlite3.connect(folder / "ours.db")
    raw = sqlite3.connect(folder / "raw.db", isolation_level=None)
    for setting in (*AS_OURS, "PRAGMA foreign_keys=ON", "PRAGMA mmap_size=1073741824"):
        raw.execute(setting)
    for (statement,) in source.execute(
        """SELECT sql FROM sqlite_schema WHERE type IN ('table', 'index') AND sql NOT NULL
            AND name NOT IN (SELECT name FROM pragma_table_list WHERE type = 'shadow')"""  # FTS5 makes those itself
    ):
        raw.execute(statement)
    source.close()
    return raw
