"""Importing several records from each row, and order lines that become invoices, beside the plainest programs for both.

The raw side is a csv reader and `executemany` into the same tables and indexes, in one process with no checks; pandas
(`pip install crm-core[bench]`) reads the file and writes tables of its own by `to_sql`, with neither keys nor indexes.
PostgreSQL is measured where a server is there.
"""

from __future__ import annotations

import csv
import random
import resource
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from functools import partial
from itertools import islice
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

from crm_core import CRM
from crm_core.values import email_key, new_ids, text_key, to_micros
from crm_transfer import import_file, load_mapping, parse_mapping
from tests.benchmarks import AS_OURS, Row, at_least, at_most, on_postgresql, rate_of_pandas

SIZES = (10_000, 100_000)
FULL_SIZES = (10_000, 100_000, 1_000_000)
MEGABYTES = 300
RECORDS_A_SECOND = 20_000
SHOP = Path(__file__).parents[2] / "examples" / "shop"
SEVERAL = """
[file]
system = "bench"
currency = "EUR"
[[record]]
type = "customer"
key = "no"
[record.fields]
name = "name"
country = "country"
source = "source"
[[record]]
type = "contact_point"
key = ["no", { const = "email" }]
[record.fields]
customer_id = { column = "no", ref = "customer" }
kind = { const = "email" }
value = "email"
[[record]]
type = "sale"
key = "order"
[record.fields]
customer_id = { column = "no", ref = "customer" }
sold_at = "at"
amount = "amount"
"""
HEAD = ("no", "name", "country", "source", "email", "order", "at", "amount")


def run(full: bool) -> list[Row]:
    """Measure each shape and size in a process of its own, whose peak memory is its own too."""
    rows: list[Row] = []
    for shape in ("several", "grouped"):
        for size in FULL_SIZES if full else SIZES:
            with tempfile.TemporaryDirectory() as name:
                folder = Path(name)
                rows += _on_sqlite(folder, shape, size)
                rows += on_postgresql(folder, partial(_on_postgresql, folder, shape, size))
    return rows


def _on_sqlite(folder: Path, shape: str, size: int) -> list[Row]:
    seconds, cpu, own, peak, records, again = _figures("ours", folder, shape, size, f"sqlite:///{folder / 'crm.db'}")
    raw, raw_cpu = _figures("raw", folder, shape, size)
    name = f"{shape}, {size:,} rows"
    return [
        Row(name=f"{name}", ours=size / seconds, unit="rows/s"),
        at_least(f"  records, {name}", records / seconds, RECORDS_A_SECOND, unit="records/s"),
        Row(name=f"  records a second of CPU, {name}", ours=records / cpu, unit="records/s"),
        Row(name=f"  csv + executemany, {name}", ours=size / raw, unit="rows/s"),
        Row(name=f"  CPU of both, {name}", ours=cpu, limit=raw_cpu, unit="s"),
        rate_of_pandas(name, size, lambda: _figures("pandas", folder, shape, size)[0]),
        Row(name=f"  again, nothing changed, {name}", ours=size / again, unit="rows/s"),
        at_most(f"  peak memory, {name}", own, MEGABYTES, unit="MB"),
        Row(name=f"  peak memory with mapped pages of the database, {name}", ours=peak, unit="MB"),
    ]


def _on_postgresql(folder: Path, shape: str, size: int, url: str) -> list[Row]:
    seconds, _, own, _, records, again = _figures("ours", folder, shape, size, url)
    name = f"postgresql, {shape}, {size:,} rows"
    return [
        Row(name=f"  {name}", ours=size / seconds, unit="rows/s"),
        Row(name=f"  records, {name}", ours=records / seconds, unit="records/s"),
        Row(name=f"  again, nothing changed, {name}", ours=size / again, unit="rows/s"),
        at_most(f"  peak memory, {name}", own, MEGABYTES, unit="MB"),
    ]


def _figures(side: str, folder: Path, shape: str, size: int, *url: str) -> list[float]:
    command = [sys.executable, "-m", "tests.benchmarks.bench_lines", side, str(folder), shape, str(size), *url]
    return [float(word) for word in subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()]


def _write(path: Path, shape: str, size: int) -> None:
    if shape == "grouped":
        # In a process of its own: it keeps the sheet in memory, and the peak measured here is to be the import's.
        subprocess.run([sys.executable, SHOP / "generate.py", path, "--lines", str(size)], check=True)
        return
    chance = random.Random(1)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(HEAD)
        for number in range(size):
            name = f"{chance.choice(['Ada', 'سارا', 'Արամ', 'Zoë'])} {number}"
            at = f"{2010 + number % 15}-{1 + number % 12:02}-{1 + number % 28:02}"
            amount = f"{chance.randrange(1, 100_000) / 100:.2f}"
            row = [f"C{number:07}", name, chance.choice(["DE", "IR", "AM"]), "web", f"p{number}@example.org"]
            writer.writerow([*row, f"O{number:07}", at, amount])


# Our side


def measure(folder: Path, shape: str, size: int, url: str) -> Iterator[float]:
    """Yield seconds, seconds of CPU, peak memory of its own and of all (MB), records, seconds of a second import."""
    path = folder / "rows.csv"
    if not path.exists():
        _write(path, shape, size)
    mapping = parse_mapping(SEVERAL) if shape == "several" else load_mapping(SHOP / "orders.toml")
    with CRM.open(url) as crm:
        started, cpu = perf_counter(), process_time()
        own: list[float] = []
        report = import_file(crm, path, mapping, progress=lambda *_: own.append(_own_memory()))
        yield perf_counter() - started
        yield process_time() - cpu
        yield max(own)
        yield _memory()
        yield sum(counts.created for counts in report.types.values())
        started = perf_counter()
        again = import_file(crm, path, mapping)
        yield perf_counter() - started
        assert (0, 0) == (again.counts.created, again.counts.updated)


def _memory() -> float:
    """Return the peak of all memory in MB: pages of the database that SQLite maps from the disk's cache count too."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _own_memory() -> float:
    """Return the memory in MB that is the process's own now, mapped pages left out; where that is not told, all."""
    status = Path("/proc/self/status")
    told = status.read_text(encoding="ascii") if status.exists() else ""
    own = next((line.split()[1] for line in told.splitlines() if line.startswith("RssAnon")), None)
    return _memory() if own is None else int(own) / 1024


# The raw side


def measure_raw(folder: Path, shape: str, size: int) -> Iterator[float]:
    """Yield the seconds of the plainest program, and those of CPU: the same tables, indexes and safety, no checks."""
    base = _emptied(folder)
    started, cpu = perf_counter(), process_time()
    with (folder / "rows.csv").open(encoding="utf-8", newline="") as file:
        rows = csv.reader(file)
        next(rows)
        (_several if shape == "several" else _grouped)(base, rows)
    yield perf_counter() - started
    yield process_time() - cpu
    base.close()


def _emptied(folder: Path) -> sqlite3.Connection:
    with sqlite3.connect(folder / "crm.db") as made:
        schema = [
            row[0]
            for row in made.execute(
                "SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL AND type IN ('table', 'index') AND tbl_name IN"
                " ('customers', 'contact_points', 'products', 'sales', 'sale_lines', 'external_ids', 'users', 'deals')"
            )
        ]
    made.close()
    base = sqlite3.connect(folder / "raw.db", isolation_level=None)
    for statement in (*AS_OURS, *schema):
        base.execute(statement)
    return base


def _insert(
    base: sqlite3.Connection, kind: str, columns: str, rows: Sequence[tuple[Any, ...]], keys: list[str]
) -> list[int]:
    """Insert records and their external ids; return their ids."""
    ids = list(new_ids(len(rows)))
    marks = ", ".join("?" * len(rows[0])) if rows else ""
    base.executemany(
        f"INSERT INTO {kind}s (id, version, created_tx, updated_tx, {columns}) VALUES (?, 1, 1, 1, {marks})",
        [(id_, *row) for id_, row in zip(ids, rows, strict=True)],
    )
    base.executemany(
        "INSERT INTO external_ids (id, version, created_tx, updated_tx, record_type, system, external, record_id,"
        f" state) VALUES (?, 1, 1, 1, '{kind}', 'bench', ?, ?, 'live')",
        list(zip(new_ids(len(rows)), keys, ids, strict=True)),
    )
    return ids


def _chunks(base: sqlite3.Connection, rows: Iterable[Any], write: Callable[[list[Any]], None]) -> None:
    source = iter(rows)
    while chunk := list(islice(source, 1_000)):
        base.execute("BEGIN IMMEDIATE")
        write(chunk)
        base.execute("COMMIT")


def _cents(text: str) -> int:
    return int(Decimal(text) * 100)


def _several(base: sqlite3.Connection, rows: Iterable[list[str]]) -> None:
    def write(chunk: list[list[str]]) -> None:
        people = [(row[1], text_key(row[1]), row[2], row[3], "customer") for row in chunk]
        ids = _insert(base, "customer", "name, name_key, country, source, role", people, [row[0] for row in chunk])
        points = [(i, "email", row[4], email_key(row[4])) for i, row in zip(ids, chunk, strict=True)]
        _insert(base, "contact_point", 'customer_id, kind, value, "key"', points, [f"{row[0]}/email" for row in chunk])
        sales = [
            (i, "sale", to_micros(datetime.fromisoformat(row[6]).replace(tzinfo=UTC)), 1, _cents(row[7]), "EUR")
            for i, row in zip(ids, chunk, strict=True)
        ]
        columns = "customer_id, kind, sold_at, sold_at_is_date, amount, amount_currency"
        _insert(base, "sale", columns, sales, [row[5] for row in chunk])

    _chunks(base, rows, write)


def _grouped(base: sqlite3.Connection, rows: Iterable[list[str]]) -> None:
    """Keep all rows in memory, by invoice; rows that are free or cannot be read are left out, and that is all."""
    invoices: dict[str, list[list[str]]] = {}
    customers: dict[str, list[str]] = {}
    products: dict[str, list[str]] = {}
    for row in rows:
        if row[5] != "0" and row[3].lstrip("-").isdecimal() and not row[4].startswith("31/11"):
            invoices.setdefault(row[0], []).append(row)
            products.setdefault(row[1], row)
            if row[6]:
                customers.setdefault(row[6], row)
    ids: dict[tuple[str, str], int] = {}

    def people(chunk: list[list[str]]) -> None:
        made = [(row[7], text_key(row[7]), row[8], "customer") for row in chunk]
        found = _insert(base, "customer", "name, name_key, country, role", made, [row[6] for row in chunk])
        ids.update({("customer", row[6]): i for row, i in zip(chunk, found, strict=True)})

    def things(chunk: list[list[str]]) -> None:
        made = [(row[2], text_key(row[2]), row[1], "product", 1) for row in chunk]
        found = _insert(base, "product", "name, name_key, code, category, active", made, [row[1] for row in chunk])
        ids.update({("product", row[1]): i for row, i in zip(chunk, found, strict=True)})

    _chunks(base, customers.values(), people)
    _chunks(base, products.values(), things)
    _chunks(base, invoices.items(), lambda chunk: _write_invoices(base, chunk, ids))


def _write_invoices(
    base: sqlite3.Connection, chunk: list[tuple[str, list[list[str]]]], ids: dict[tuple[str, str], int]
) -> None:
    sales, lines = [], []
    for number, rows in chunk:
        sign = -1 if number.startswith("C") else 1
        amounts = [int(row[3]) * sign * _cents(row[5]) for row in rows]
        at = to_micros(min(datetime.strptime(row[4], "%d/%m/%Y %H:%M").replace(tzinfo=UTC) for row in rows))
        kind = "refund" if sign < 0 else "sale"
        sales.append((ids.get(("customer", rows[0][6])), kind, at, 0, sum(amounts), "GBP"))
        lines.append(
            [(ids["product", r[1]], int(r[3]) * sign * 1000, a, "GBP") for r, a in zip(rows, amounts, strict=True)]
        )
    columns = "customer_id, kind, sold_at, sold_at_is_date, amount, amount_currency"
    made = _insert(base, "sale", columns, sales, [number for number, _ in chunk])
    all_lines = [(i, *line) for i, own in zip(made, lines, strict=True) for line in own]
    keys = [f"{number}/{row[1]}#{at}" for number, rows in chunk for at, row in enumerate(rows)]
    _insert(base, "sale_line", "sale_id, product_id, quantity, amount, amount_currency", all_lines, keys)


# pandas


def measure_pandas(folder: Path, shape: str, size: int) -> Iterator[float]:
    """Yield the seconds of `read_csv`, the same split or grouping, and `to_sql`."""
    import pandas

    base = sqlite3.connect(folder / "pandas.db")
    base.execute("PRAGMA journal_mode = WAL")
    started = perf_counter()
    frame = pandas.read_csv(folder / "rows.csv", dtype=str, keep_default_na=False)
    if shape == "several":
        frame[["no", "name", "country", "source"]].to_sql("customers", base, index=False)
        frame[["no", "email"]].to_sql("contact_points", base, index=False)
        frame[["order", "no", "at", "amount"]].to_sql("sales", base, index=False)
    else:
        quantity = pandas.to_numeric(frame["Quantity"], errors="coerce")
        price = pandas.to_numeric(frame["Price"], errors="coerce")
        frame["amount"] = (quantity * price * 100).round()
        frame = frame[frame["amount"].notna() & (price != 0)]
        frame.drop_duplicates("Customer ID")[["Customer ID", "Customer", "Country"]].to_sql(
            "customers", base, index=False
        )
        frame.drop_duplicates("StockCode")[["StockCode", "Description"]].to_sql("products", base, index=False)
        heads = frame.groupby("Invoice").agg({"Customer ID": "first", "InvoiceDate": "min", "amount": "sum"})
        heads.reset_index().to_sql("sales", base, index=False)
        frame[["Invoice", "StockCode", "Quantity", "amount"]].to_sql("sale_lines", base, index=False)
    base.commit()
    yield perf_counter() - started
    base.close()


if __name__ == "__main__":
    side, place, kind, number, *urls = sys.argv[1:]
    sides: dict[str, Callable[..., Iterator[float]]] = {"ours": measure, "raw": measure_raw, "pandas": measure_pandas}
    print(*sides[side](Path(place), kind, int(number), *urls))
