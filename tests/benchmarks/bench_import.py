"""Importing a flat file of ten columns, beside a bare csv reader and `executemany` into the same tables and indexes.

pandas (`pip install crm-core[bench]`) reads the file and writes one table by `to_sql`. PostgreSQL is measured where a
server is there.
"""

from __future__ import annotations

import csv
import datetime as dt
import random
import resource
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from time import perf_counter
from zoneinfo import ZoneInfo

from crm_core import CRM
from crm_core.values import local_midnight, new_ids, text_key, to_micros
from crm_transfer import import_file, parse_mapping
from tests.benchmarks import AS_OURS, Row, at_least, at_most, on_postgresql, rate_of_pandas

COLUMNS = ("no", "name", "kind", "source", "first_contact_at", "country", "region", "city", "industry", "language")
MAPPING = '[file]\nsystem = "bench"\n[[record]]\ntype = "customer"\nkey = "no"\n[record.fields]\n' + "\n".join(
    f'{name} = "{name}"' for name in COLUMNS[1:]
)
SIZES = (10_000, 100_000)
FULL_SIZES = (10_000, 100_000, 1_000_000)
MEGABYTES = 300
ROWS_A_SECOND = 20_000


def run(full: bool) -> list[Row]:
    """Measure each size in a process of its own, whose peak memory is its own too; the others beside it."""
    rows: list[Row] = []
    for size in FULL_SIZES if full else SIZES:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            rows += _on_sqlite(folder, size)
            rows += on_postgresql(folder, partial(_on_postgresql, folder, size))
    return rows


def _on_sqlite(folder: Path, size: int) -> list[Row]:
    ours, again, peak = _figures("ours", folder, size, f"sqlite:///{folder / 'crm.db'}")
    (raw,) = _figures("raw", folder, size)
    name = f"{size:,} rows"
    return [
        at_least(f"import {name}", size / ours, ROWS_A_SECOND, unit="rows/s"),
        Row(name=f"  csv + executemany, {name}", ours=size / raw, unit="rows/s"),
        Row(name=f"  seconds of both, {name}", ours=ours, limit=raw, unit="s"),
        rate_of_pandas(name, size, lambda: _figures("pandas", folder, size)[0]),
        Row(name=f"  again, nothing changed, {name}", ours=size / again, unit="rows/s"),
        at_most(f"  peak memory, {name}", peak, MEGABYTES, unit="MB"),
    ]


def _on_postgresql(folder: Path, size: int, url: str) -> list[Row]:
    ours, again, peak = _figures("ours", folder, size, url)
    name = f"postgresql, {size:,} rows"
    return [
        Row(name=f"  {name}", ours=size / ours, unit="rows/s"),
        Row(name=f"  again, nothing changed, {name}", ours=size / again, unit="rows/s"),
        at_most(f"  peak memory, {name}", peak, MEGABYTES, unit="MB"),
    ]


def _figures(side: str, folder: Path, size: int, *url: str) -> list[float]:
    command = [sys.executable, "-m", "tests.benchmarks.bench_import", side, str(folder), str(size), *url]
    return [float(word) for word in subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()]


def measure(folder: Path, size: int, url: str) -> Iterator[float]:
    """Yield the seconds of a first and a second import, and the peak memory of the first one in MB."""
    path = folder / "customers.csv"
    if not path.exists():
        _write(path, size)
    with CRM.open(url) as crm:
        mapping = parse_mapping(MAPPING)
        started = perf_counter()
        import_file(crm, path, mapping)
        first = perf_counter() - started
        # Before the second run, which reads much of the database: its mapped pages count as memory, and are not ours.
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        started = perf_counter()
        again = import_file(crm, path, mapping)
        second = perf_counter() - started
        assert (0, size) == (again.counts.created, again.counts.unchanged)
    yield from (first, second, peak)


def _write(path: Path, size: int) -> None:
    chance = random.Random(1)
    first, last = ["Ada", "Bob", "سارا", "Արամ", "Zoë"], ["Smith", "Rossi", "کاظمی", "Պետրոսյան", "Lee"]
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        for number in range(size):
            day = dt.date(2010, 1, 1) + dt.timedelta(days=chance.randrange(5_000))
            writer.writerow(
                [
                    f"C{number:07}",
                    f"{chance.choice(first)} {chance.choice(last)} {number}",
                    chance.choice(["person", "organisation"]),
                    chance.choice(["web", "fair", "referral"]),
                    day,
                    chance.choice(["DE", "IR", "AM"]),
                    f"Region {chance.randrange(50)}",
                    f"City {chance.randrange(5_000)}",
                    chance.choice(["retail", "finance"]),
                    chance.choice(["en", "fa", "hy"]),
                ]
            )


def measure_raw(folder: Path, size: int) -> Iterator[float]:
    """Yield the seconds of the plainest program: the same tables, indexes, keys, safety and chunk size."""
    with sqlite3.connect(folder / "crm.db") as made:
        schema = [
            row[0]
            for row in made.execute(
                "SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL AND type IN ('table', 'index')"
                " AND tbl_name IN ('customers', 'external_ids', 'users')"
            )
        ]
    made.close()
    base = sqlite3.connect(folder / "raw.db", isolation_level=None)
    for statement in (*AS_OURS, *schema):
        base.execute(statement)
    started = perf_counter()
    with (folder / "customers.csv").open(encoding="utf-8", newline="") as file:
        reader = csv.reader(file)
        next(reader)
        while chunk := list(islice(reader, 1_000)):
            base.execute("BEGIN IMMEDIATE")
            _insert(base, chunk)
            base.execute("COMMIT")
    yield perf_counter() - started
    base.close()


def _insert(base: sqlite3.Connection, chunk: Sequence[list[str]]) -> None:
    zone = ZoneInfo("UTC")
    ids, names = new_ids(len(chunk)), new_ids(len(chunk))
    base.executemany(
        "INSERT INTO customers (id, version, created_tx, updated_tx, role, name, name_key, kind, source,"
        " first_contact_at, first_contact_at_is_date, country, region, city, industry, language)"
        " VALUES (?, 1, 1, 1, 'customer', ?, ?, ?, ?, ?, 1, ?, ?, ?, ?, ?)",
        [
            (i, r[1], text_key(r[1]), *r[2:4], to_micros(local_midnight(dt.date.fromisoformat(r[4]), zone)), *r[5:])
            for i, r in zip(ids, chunk, strict=True)
        ],
    )
    base.executemany(
        "INSERT INTO external_ids (id, version, created_tx, updated_tx, record_type, system, external, record_id,"
        " state) VALUES (?, 1, 1, 1, 'customer', 'bench', ?, ?, 'live')",
        [(name, row[0], i) for name, i, row in zip(names, ids, chunk, strict=True)],
    )


def measure_pandas(folder: Path, size: int) -> Iterator[float]:
    """Yield the seconds of `read_csv` and `to_sql`, into a table that has neither keys nor indexes."""
    import pandas

    base = sqlite3.connect(folder / "pandas.db")
    base.execute("PRAGMA journal_mode = WAL")
    started = perf_counter()
    pandas.read_csv(folder / "customers.csv", dtype=str, keep_default_na=False).to_sql("customers", base, index=False)
    base.commit()
    yield perf_counter() - started
    base.close()


if __name__ == "__main__":
    side, place, number, *urls = sys.argv[1:]
    sides: dict[str, Callable[..., Iterator[float]]] = {"ours": measure, "raw": measure_raw, "pandas": measure_pandas}
    print(*sides[side](Path(place), int(number), *urls))
