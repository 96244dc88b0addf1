"""Reading where there is much: 200,000 customers, a million deals, a million interactions.

The raw side reads the same columns of the same rows by the driver of SQLite; on every database a page far down a list
is put beside the first one. The short form has a hundredth of all.
"""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from random import Random
from time import perf_counter, process_time
from typing import Any, Final

import pytest

from crm_core import CRM
from crm_core.cli.profile import gather
from crm_core.query.ast import Compare
from crm_core.values import format_id
from tests.benchmarks import Row, beside, in_turn, side_by_side
from tests.benchmarks.bench_cli import process_with
from tests.benchmarks.company import SIZES, Company, fill
from tests.databases import SERVERS, drop_all, new_url

_LISTS: Final = {
    "customers": ("", "name", "-name", "source", "-source", "first_contact_at", "-first_contact_at", "city"),
    "deals": ("title", "-title", "-closed_at", "-amount"),
}
"""Sort orders of pages: by text, by what half have or nearly all, both ways, and by a field without an index."""
_DEPTH: Final = 100_000
_PAGE: Final = 50


def run(full: bool) -> list[Row]:
    """Fill each database and read; the figures of the short form say less, its promises are the same."""
    customers, others = SIZES[full]
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        rows += _on_sqlite(Path(folder) / "shop", customers, others)
        for database in SERVERS:
            try:
                url = new_url(database, Path(folder))
            except pytest.skip.Exception as reason:
                print(reason.msg)
                continue
            with CRM.open(url) as crm:
                company = _filled(crm, customers, others)
                rows += _pages(crm, database, _DEPTH * customers // 200_000)
                rows += _profile(crm, database, company)
        drop_all()
    return rows


def _on_sqlite(shop: Path, customers: int, others: int) -> Iterator[Row]:
    process_with(shop / "compiled", "-m", "crm_core", "init", str(shop))()
    with CRM.open(shop) as crm, closing(sqlite3.connect(shop / "crm.db")) as raw:
        raw.execute("PRAGMA mmap_size=1073741824")
        company = _filled(crm, customers, others)
        yield _get(crm, raw, company)
        yield _timeline(crm, raw, company)
        yield from _pages(crm, "sqlite", _DEPTH * customers // 200_000)
        yield from _profile(crm, "sqlite", company)
    yield _by_the_command(shop, company)


def _filled(crm: CRM, customers: int, others: int) -> Company:
    company = fill(crm, customers, others)
    crm.metrics.compute("win_rate")  # the first analytic question refreshes the planner's statistics
    return company


def _get(crm: CRM, raw: sqlite3.Connection, company: Company) -> Row:
    """Both sides read the row and its tags, of customers drawn by lot."""
    ids = Random(1).choices(company.customers, k=1_000)
    names = ", ".join(crm.registry.types["customer"].table.column_names)

    def ours() -> None:
        for record_id in ids:
            crm.customers.get(record_id)

    def by_hand() -> None:
        for record_id in ids:
            raw.execute(f"SELECT {names} FROM customers WHERE id = ?", (record_id,)).fetchone()
            raw.execute("SELECT tag FROM customer_tags WHERE customer_id = ?", (record_id,)).fetchall()

    times = side_by_side(ours, by_hand, clock=process_time)
    return beside(f"sqlite: get 1,000 of {len(company.customers):,} customers by id", *times, times=3)


def _timeline(crm: CRM, raw: sqlite3.Connection, company: Company) -> Row:
    """The latest 100 interactions of customers who have hundreds."""
    names = ", ".join(crm.registry.types["interaction"].table.column_names)
    statement = f"SELECT {names} FROM interactions WHERE customer_id = ? ORDER BY occurred_at DESC, id LIMIT 100"
    customers = Random(2).choices(company.talkative, k=20)

    def ours() -> None:
        for customer in customers:
            crm.interactions.find(Compare("customer_id", "=", customer), sort="-occurred_at", limit=100)

    def by_hand() -> None:
        for customer in customers:
            raw.execute(statement, (customer,)).fetchall()

    times = side_by_side(ours, by_hand, clock=process_time)
    return beside("sqlite: timeline of 100 interactions, 20 times", *times, times=2.5)


def _pages(crm: CRM, database: str, depth: int) -> Iterator[Row]:
    """Compare the page at a depth with the first one, of each list and order."""
    for plural, sorts in _LISTS.items():
        service: Any = getattr(crm, plural)
        for sort in sorts:
            after = _cursor_at(service, sort, depth)

            def first(service: Any = service, sort: str = sort) -> None:
                service.find(sort=sort, limit=_PAGE)

            def deep(service: Any = service, sort: str = sort, after: str = after) -> None:
                service.find(sort=sort, after=after, limit=_PAGE)

            name = f"{database}: {plural} by {sort or 'id'}, page at {depth:,} beside page 1"
            clock = process_time if database == "sqlite" else perf_counter  # the work of a server is not this process's
            yield beside(name, *side_by_side(deep, first, rounds=9, clock=clock), times=1.5, slack=0.3)


def _cursor_at(service: Any, sort: str, depth: int) -> str:
    """Return the cursor behind that many records."""
    after, left = None, depth
    while left:
        page = service.find(sort=sort, after=after, limit=min(left, 10_000))
        after, left = page.next, left - len(page)
    assert after is not None, "there are more records than that"
    return str(after)


def _profile(crm: CRM, database: str, company: Company) -> Iterator[Row]:
    """All that is known of a customer, as `crm customers show` gathers it; some have hundreds of interactions."""
    for who, ids in (("customer", company.customers[-20:]), ("talkative one", company.talkative[:20])):
        found = crm.customers.get_many(ids)

        def ours(found: Any = found) -> None:
            for one in found:
                gather(crm, one, segments=False)

        (spent,) = in_turn(ours, rounds=3)
        yield Row(name=f"{database}: the 360 view of one {who}", ours=spent / len(found))


def _by_the_command(shop: Path, company: Company) -> Row:
    """The same as a process that prints JSON, beside one that imports SQLAlchemy and does nothing."""
    process = partial(process_with, shop / "compiled")
    one = format_id(company.customers[-1])
    shown = process("-m", "crm_core", "-w", str(shop), "--json", "customers", "show", one)
    ours, limit = side_by_side(shown, process("-c", "import sqlalchemy"))
    return Row(name="sqlite: crm --json customers show, beside import sqlalchemy", ours=ours, limit=limit)
