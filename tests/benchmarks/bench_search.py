"""A search beside FTS5 by hand on the same texts: names, e-mail addresses, phone numbers, and how deep pages go.

What the same questions take on the servers stands beside what they take on SQLite.
"""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from random import Random
from statistics import median, quantiles
from time import perf_counter, process_time

import pytest

from crm_core import CRM
from tests.benchmarks import Row, at_most, beside
from tests.benchmarks.company import Person, fill
from tests.databases import SERVERS, drop_all, new_url

_ROUNDS = 200
_ON_SERVERS = 15
"""Rounds there: one may take a hundred times as long."""
_MOST = 5.0
"""Milliseconds of one search, whatever there is beside the customers."""
_SIZES = {False: (20_000, 0), True: (200_000, 1_000_000)}
"""Customers, and deals and interactions each, by whether the long form is asked for."""


def run(full: bool) -> list[Row]:
    """Measure on new databases; the long form has 200,000 customers, a million deals and as many interactions."""
    customers, others = _SIZES[full]
    with tempfile.TemporaryDirectory() as folder:
        rows, on_sqlite = _on_sqlite(folder, customers, others)
        for database in SERVERS:
            try:
                url = new_url(database, Path(folder))
            except pytest.skip.Exception as reason:
                print(reason.msg)
                continue
            with CRM.open(url) as crm:
                rows += _on_server(crm, f"{database}: ", customers, on_sqlite)
        drop_all()
    return rows


def _on_sqlite(folder: str, customers: int, others: int) -> tuple[list[Row], dict[str, float]]:
    """Return the rows, and what the middle one of each kind of question took."""
    with CRM.open(f"sqlite:///{folder}/bench.db") as crm:
        people = fill(crm, customers, others).people
        rows, middle = [_catching_up(crm, customers)], {}
        with closing(_by_hand(Path(folder) / "by-hand.db", people)) as raw:
            for name, typed in _questions(people).items():
                asked = _asked(crm, raw, f"{name}, {customers:,} customers", typed)
                rows += asked
                middle[name] = asked[0].ours
        return [*rows, *_deep(crm, process_time)], middle


def _on_server(crm: CRM, where: str, customers: int, on_sqlite: dict[str, float]) -> list[Row]:
    """Ask the same of as many customers alone: a server's time is that of the clock, which all other work blurs."""
    rows = []
    for name, typed in _questions(fill(crm, customers, 0).people).items():
        crm.customers.search(typed[0])
        spent = [
            _milliseconds(lambda text=text: crm.customers.search(text), perf_counter) for text in typed[:_ON_SERVERS]
        ]
        title = f"{where}{name}, beside SQLite"
        rows.append(Row(name=title, ours=median(spent), limit=on_sqlite[name]))
        rows.append(Row(name="  95 of 100 take less than", ours=quantiles(spent, n=20, method="inclusive")[-1]))
    return [*rows, *_deep(crm, perf_counter, where)]


def _catching_up(crm: CRM, customers: int) -> Row:
    """Search until all that was inserted in bulk is indexed; what it takes by record."""
    start = perf_counter()
    while "not indexed" in crm.storage.status().details["search"]:
        crm.customers.search("nobody")
    spent = (perf_counter() - start) * 1000
    return Row(name=f"indexing {customers:,} customers, by the searches after it", ours=spent, unit="ms")


def _by_hand(path: Path, people: Sequence[Person]) -> sqlite3.Connection:
    """Return what somebody would build who needs no ranks: names and addresses of a customer in one FTS5 row."""
    raw = sqlite3.connect(path, isolation_level=None)
    raw.execute("PRAGMA mmap_size=268435456")
    raw.execute("CREATE VIRTUAL TABLE texts USING fts5(name, email, phone, tokenize='trigram')")
    raw.execute("BEGIN")
    raw.executemany("INSERT INTO texts VALUES (?, ?, ?)", people)
    raw.execute("COMMIT")
    return raw


def _questions(people: Sequence[Person]) -> dict[str, list[str]]:
    """Return what is typed, by kind: parts of the texts of people drawn by lot."""
    drawn = Random(11).choices(people, k=_ROUNDS)
    return {
        "a first name": [name.split()[0] for name, _, _ in drawn],
        "a last name": [name.split()[1] for name, _, _ in drawn],
        "both names": [name for name, _, _ in drawn],
        "the beginning of a name": [name[:3] for name, _, _ in drawn],
        "the middle of a last name": [name.split()[1][1:5] for name, _, _ in drawn],
        "two letters of each name": [f"{name.split()[1][:2]} {name[:2]}" for name, _, _ in drawn],
        "a name and a host": [f"{name.split()[0]} {email.split('@')[1]}" for name, email, _ in drawn],
        "a host, which a fifth has": [email.split("@")[1] for _, email, _ in drawn],
        "an e-mail address": [email for _, email, _ in drawn],
        "a whole phone number": [phone for _, _, phone in drawn],
        "the end of a phone number": [phone[-6:] for _, _, phone in drawn],
        "the middle of a phone number": [phone[4:9] for _, _, phone in drawn],
        "the middle of a first name": [name.split()[0][1:] for name, _, _ in drawn],
        "a last name before the first": [" ".join(reversed(name.split())) for name, _, _ in drawn],
        "a name and a network": [f"{name.split()[0]} 0170" for name, _, _ in drawn],
        "a phone number in groups": [f"{phone[:3]} {phone[3:6]} {phone[6:9]} {phone[9:]}" for _, _, phone in drawn],
        "the end of an e-mail address": [email[-16:] for _, email, _ in drawn],
        "what everybody has": ["example" for _ in drawn],
        "a last name and what nobody has with it": [f"{name.split()[1]} example17" for name, _, _ in drawn],
    }


def _asked(crm: CRM, raw: sqlite3.Connection, name: str, typed: Sequence[str]) -> list[Row]:
    """Ours ranks, sorts and returns records; the raw side returns the texts of any twenty matches."""
    statement = "SELECT rowid, name, email, phone FROM texts WHERE texts MATCH ? LIMIT 20"
    ours, limit = [], []
    for text in typed:
        ours.append(_milliseconds(lambda text=text: crm.customers.search(text)))
        words = " AND ".join(f'"{word}"' for word in text.split())
        limit.append(_milliseconds(lambda words=words: raw.execute(statement, (words,)).fetchall()))
    slow, slow_by_hand = quantiles(ours, n=20)[-1], quantiles(limit, n=20)[-1]
    return [
        _within(beside(name, median(ours), median(limit), times=1)),
        _within(beside("  95 of 100 take less than", slow, slow_by_hand, times=1)),
    ]


def _within(row: Row) -> Row:
    """Return a row whose goal is the most that a search may take, whatever it takes by hand."""
    goal = at_most(row.name, row.ours, _MOST, unit=row.unit)
    return Row(name=row.name, ours=row.ours, unit=row.unit, limit=row.limit, goal=goal.goal, met=goal.met)


def _deep(crm: CRM, clock: Callable[[], float], where: str = "") -> list[Row]:
    """Page through what many customers have, and compare the first pages with those a hundred pages on."""
    spent, after = [], None
    for _ in range(120):
        start = clock()
        page = crm.customers.search("example1", after=after)
        spent.append((clock() - start) * 1000)
        after = page.next
        if after is None:
            break
    first, last = median(spent[:20]), median(spent[-20:])
    name = f"{where}page {len(spent)} of a fifth of all customers, beside page 1"
    return [beside(name, last, first, times=1.5, slack=1)]


def _milliseconds(call: Callable[[], object], clock: Callable[[], float] = process_time) -> float:
    """Return the time of this process by default: in it nothing is waited for, and other work would blur it."""
    start = clock()
    call()
    return (clock() - start) * 1000
