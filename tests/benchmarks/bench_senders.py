"""Whose message it is: a sender found among many customers, by an address or number however it is written."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import quantiles
from time import perf_counter

import pytest

from crm_core import CRM, ContactPoint, Customer
from crm_core.extend import Address
from crm_core.settings import write_settings
from crm_inbox.senders import reached
from tests.benchmarks import Row, at_most
from tests.databases import drop_all, new_url, postgresql_connection

SIZE, FULL_SIZE = 20_000, 200_000
_ASKED = 1_000
_MOST = 5.0
"""Milliseconds in which 95 of 100 senders are found."""


def run(full: bool) -> list[Row]:
    """Look up senders among 20,000 customers, in the long form among 200,000; one in ten is nobody's."""
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        for database in ("sqlite", "postgresql"):
            try:
                rows += _measured(Path(folder) / database, database, FULL_SIZE if full else SIZE)
            except pytest.skip.Exception as reason:
                rows.append(Row(name=str(reason), ours=0.0))
        drop_all()
    return rows


def _measured(place: Path, database: str, size: int) -> Iterator[Row]:
    place.mkdir()
    write_settings(place, storage_url=new_url(database, place), currency="EUR")
    chance = random.Random(20261122)
    numbers = [chance.randrange(size * 10 // 9) for _ in range(_ASKED)]
    mails = [Address(kind="email", value=f"Person{number}@EXAMPLE.org") for number in numbers]
    calls = [Address(kind="phone", value=f"+98 912 {number:07}") for number in numbers]
    with CRM.open(place) as crm:
        _fill(crm, size)
        if database == "postgresql":  # as its autovacuum does within a minute; until then it reads the whole table
            with postgresql_connection(crm.settings.storage_url) as connection:
                connection.execute("ANALYZE")
        for name, asked in (("e-mail address", mails), ("phone number", calls)):
            found, taken = _taken(crm, asked)
            assert sum(number < size for number in numbers) == found
            yield at_most(f"{database}: {name}, {size:,} customers, p95", taken, _MOST, unit="ms")
        began = perf_counter()
        for at in range(0, _ASKED, 50):
            reached(crm, mails[at : at + 50])
        yield Row(name=f"{database}: by fifties, as intake does", ours=(perf_counter() - began) * 1000 / _ASKED)


def _fill(crm: CRM, size: int) -> None:
    with crm.operation("customers of the bench"):
        for at in range(0, size, 10_000):
            people = crm.customers.add_many(Customer(name=f"Person {number}") for number in range(at, at + 10_000))
            ways: list[Callable[[int], tuple[str, str]]] = [
                lambda number: ("email", f"person{number}@example.org"),
                lambda number: ("phone", f"0098912{number:07}"),
            ]
            crm.contact_points.add_many(
                ContactPoint(customer_id=each.id, kind=kind, value=value, primary=True)
                for number, each in enumerate(people, at)
                for kind, value in (way(number) for way in ways)
            )


def _taken(crm: CRM, asked: list[Address]) -> tuple[int, float]:
    """Return how many senders were found, one by one, and the milliseconds of the 95th of 100."""
    found, taken = 0, []
    for address in asked:
        began = perf_counter()
        found += len(reached(crm, [address])[0])
        taken.append((perf_counter() - began) * 1000)
    return found, quantiles(taken, n=20)[18]
