"""A search beside FTS5 by hand on the same texts: names, e-mail addresses, phone numbers, and how deep pages go."""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from random import Random
from statistics import median, quantiles
from time import perf_counter, process_time

from crm_core import CRM
from tests.benchmarks import Row, at_most, beside
from tests.benchmarks.company import Person, fill

_ROUNDS = 200
_MOST = 5.0
"""Milliseconds of one search, whatever there is beside the customers."""
_SIZES = {False: (20_000, 0), True: (200_000, 1_000_000)}
"""Customers, and deals and interactions each, by whether the long form is asked for."""


def run(full: bool) -> list[Row]:
    """Measure on a new SQLite file; the long form has 200,000 customers, a million deals and as many interactions."""
    customers, others = _SIZES[full]
    with tempfile.TemporaryDirectory() as folder, CRM.open(f"sqlite:///{folder}/bench.db") as crm:
        people = fill(crm, customers, others).people
        rows = [_catching_up(crm, customers)]
        with closing(_by_hand(Path(folder) / "by-hand.db", people)) as raw:
            for name, typed in _questions(people).items():
                rows += _asked(crm, raw, f"{name}, {customers:,} customers", typed)
        return [*rows, *_deep(crm)]


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


def _deep(crm: CRM) -> list[Row]:
    """Page through what many customers have, and compare the first pages with those a hundred pages on."""
    spent, after = [], None
    for _ in range(120):
        start = process_time()
        page = crm.customers.search("example1", after=after)
        spent.append((process_time() - start) * 1000)
        after = page.next
        if after is None:
            break
    first, last = median(spent[:20]), median(spent[-20:])
    return [beside(f"page {len(spent)} of a fifth of all customers, beside page 1", last, first, times=1.5, slack=1)]


def _milliseconds(call: Callable[[], object]) -> float:
    """Return the time of this process: nothing is waited for, and other work on the machine would blur it."""
    start = process_time()
    call()
    return (process_time() - start) * 1000
