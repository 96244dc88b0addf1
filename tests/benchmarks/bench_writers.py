"""Twenty who write at once, on each database: alone, and beside an import that another process runs all the while.

They are threads of four processes, and each writes one record after the other without a pause, which is more than
twenty people do. The raw side commits the rows of such a write through the same storage: with a position in the ledger
and its link in the chain, and without either.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from statistics import median, quantiles
from threading import Barrier
from time import perf_counter, sleep
from typing import Any, Final

import attrs
import pytest

from crm_core import CRM, Customer
from crm_core.errors import CrmError
from crm_core.extend.storage import LEDGER_TRANSACTIONS
from crm_core.ledger.tables import OPERATIONS
from crm_core.values import new_id
from crm_transfer import import_file, parse_mapping
from tests.benchmarks import Row
from tests.databases import drop_all, new_url

PROCESSES, THREADS = 4, 5
_MOST: Final = 100
"""Milliseconds that 95 of 100 commits may take."""
_ROWS: Final = 1_000_000
_AHEAD: Final = 3
"""Chunks that the import has written before the others begin."""
_MAPPING: Final = """
[file]
system = "bench"
[[record]]
type = "customer"
key = "no"
[record.fields]
name = "name"
country = "country"
source = "source"
"""


@attrs.frozen
class _Figures:
    """Commits a second, milliseconds of the middle one and of the 95th of 100, and how many failed."""

    rate: float
    p50: float
    p95: float
    errors: int


def run(full: bool) -> list[Row]:
    """Every writer commits 20 times in each round; in the long form 150 times."""
    rows: list[Row] = []
    turns = 150 if full else 20
    for database in ("sqlite", "postgresql", "mariadb"):
        with tempfile.TemporaryDirectory() as folder:
            try:
                url = new_url(database, Path(folder))
            except pytest.skip.Exception as reason:
                print(reason.msg)
                continue
            CRM.open(url).close()
            rows += _measured(database, url, Path(folder), turns)
    drop_all()
    return rows


def _measured(database: str, url: str, folder: Path, turns: int) -> Iterator[Row]:
    name = f"{database}: {PROCESSES * THREADS} writers"
    alone = _at_once(url, "add", turns)
    yield from _told(name, alone)
    placed, free = _at_once(url, "placed", turns), _at_once(url, "free", turns)
    yield Row(
        name="  raw commits of the same rows, with a position beside without",
        ours=placed.rate,
        limit=free.rate,
        unit="/s",
    )
    yield Row(name="  commits beside raw ones with a position", ours=alone.rate, limit=placed.rate, unit="/s")
    with _importing(url, folder) as done:
        before, started = done(), perf_counter()
        figures = _at_once(url, "add", turns)
        imported = (done() - before) / (perf_counter() - started)
    yield from _told(f"{name} beside an import", figures)
    yield Row(name="  rows of the import meanwhile", ours=imported, unit="/s")


def _told(name: str, found: _Figures) -> Iterator[Row]:
    yield Row(name=f"{name}, commits", ours=found.rate, unit="/s")
    yield Row(name="  the middle one", ours=found.p50)
    yield Row(name="  95 of 100 take less than", ours=found.p95, goal=f"at most {_MOST} ms", met=found.p95 <= _MOST)
    yield Row(name="  errors", ours=found.errors, unit="", goal="0", met=found.errors == 0)


def _at_once(url: str, what: str, turns: int) -> _Figures:
    """Let all processes begin together, and put their figures together."""
    command = [sys.executable, "-m", "tests.benchmarks.bench_writers", what, url, str(turns)]
    children = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(PROCESSES)
    ]
    for child in children:
        assert child.stdout is not None
        assert "ready\n" == child.stdout.readline()
    found = []
    for child in children:
        assert child.stdin is not None
        child.stdin.write("go\n")
        child.stdin.flush()
    for child in children:
        found.append(json.loads(child.communicate()[0]))
    times = [time for one in found for time in one["times"]]
    seconds = max(end for _, end in times) - min(start for start, _ in times)
    spent = [(end - start) * 1000 for start, end in times]
    return _Figures(
        len(times) / seconds, median(spent), quantiles(spent, n=20)[-1], sum(one["errors"] for one in found)
    )


@contextmanager
def _importing(url: str, folder: Path) -> Iterator[Callable[[], int]]:
    """Run an import of a million rows until it is no longer wanted; gives how many rows are done."""
    path = folder / "customers.csv"
    with path.open("w", encoding="utf-8") as file:
        file.write("no,name,country,source\n")
        file.writelines(f"C{number:07},Customer {number},DE,web\n" for number in range(_ROWS))
    progress = folder / "progress"
    command = [sys.executable, "-m", "tests.benchmarks.bench_writers", "import", url, str(path)]

    def done() -> int:
        lines = progress.read_text().split()
        return int(lines[-1]) if lines else 0

    with progress.open("w") as output, subprocess.Popen(command, stdout=output) as child:
        try:
            while len(progress.read_text().split()) < _AHEAD:
                assert child.poll() is None, "the import ended by itself"
                sleep(0.05)
            yield done
            assert child.poll() is None, "the import ended before the writers"
        finally:
            child.kill()


# What the processes do


def write(what: str, url: str, turns: int) -> None:
    """Write by several threads once a line comes in, then print when each write began and ended, and the errors."""
    action = {"add": _add, "placed": _commit_placed, "free": _commit_free}[what]
    connected, together = Barrier(THREADS + 1), Barrier(THREADS + 1)
    with CRM.open(url) as crm, ThreadPoolExecutor(THREADS) as threads:

        def work() -> tuple[list[tuple[float, float]], int]:
            action(crm)  # its thread's connection is not what is measured
            connected.wait()
            together.wait()
            times, errors = [], 0
            for _ in range(turns):
                start = perf_counter()
                try:
                    action(crm)
                except CrmError:
                    errors += 1
                times.append((start, perf_counter()))
            return times, errors

        working = [threads.submit(work) for _ in range(THREADS)]
        connected.wait()
        print("ready", flush=True)
        sys.stdin.readline()
        together.wait()
        found = [future.result() for future in working]
    print(json.dumps({"times": [one for times, _ in found for one in times], "errors": sum(e for _, e in found)}))


def import_all(url: str, path: Path) -> None:
    """Import a file, and print after each chunk how many rows are done."""
    with CRM.open(url) as crm:
        import_file(crm, path, parse_mapping(_MAPPING), progress=lambda done, *_: print(done, flush=True))


def _add(crm: CRM) -> None:
    crm.customers.add(_customer())


def _commit_placed(crm: CRM) -> None:
    _begin(crm)
    crm.storage.append_linked(*_transaction(), lambda position, before: f"{position:064}")
    crm.storage.commit()


def _commit_free(crm: CRM) -> None:
    _begin(crm)
    columns, row = _transaction()
    crm.storage.insert_many(LEDGER_TRANSACTIONS, [*columns, "position", "chain"], [(*row, new_id(), "0" * 64)])
    crm.storage.commit()


def _begin(crm: CRM) -> None:
    """Begin a transaction, and write a customer and an operation as the service does."""
    kind = crm.registry.named("customer")
    crm.storage.begin()
    row = kind.encode(_customer().evolve(id=new_id(), version=1))
    crm.storage.insert_many(kind.plural, kind.table.column_names, [row])
    operation = (new_id(), "user", "add customer", "done", None, 0, 0, None, None, "raw", "{}")
    crm.storage.put_many(OPERATIONS.name, OPERATIONS.column_names, [operation])


def _transaction() -> tuple[list[str], tuple[Any, ...]]:
    return ["id", "operation_id", "at", "notes"], (new_id(), 1, 0, "[]")


def _customer() -> Customer:
    return Customer(name="One more", source="fair", country="DE", city="Köln", industry="retail")


if __name__ == "__main__":
    if sys.argv[1] == "import":
        import_all(sys.argv[2], Path(sys.argv[3]))
    else:
        write(sys.argv[1], sys.argv[2], int(sys.argv[3]))
