"""`python -m tests.torture [--long] [--json] [NAME...]`: the promises of "Data safety", each tried on each storage."""

from __future__ import annotations

import argparse
import gc
import json
import logging
import os
import pickle
import sys
import traceback
from collections.abc import Iterator, Sequence
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from types import ModuleType

import attrs
from rich.console import Console
from rich.table import Table

from crm_core.settings import load_settings
from tests import databases
from tests.distributions import installed
from tests.torture import Broken, Finding
from tests.torture.backends import Backend, backends, open_quickly
from tests.torture.faults import instrument, instrument_changes, instrument_sqlite

_AT_ONCE = 4
_SESSIONS = {"postgresql": "PostgresqlSession", "mariadb": "MariadbSession"}
HERE = Path(__file__).parent
ROOT = HERE.parent.parent


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the named checks, or all, on every storage at hand; the exit code is 1 when a promise does not hold."""
    names = sorted(path.stem.removeprefix("check_") for path in HERE.glob("check_*.py"))
    parser = argparse.ArgumentParser(prog="python -m tests.torture", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"one of: {', '.join(names)}")
    parser.add_argument("--long", action="store_true", help="the long forms, whose figures are claimed")
    parser.add_argument("--json", action="store_true", help="print the table as JSON")
    options = parser.parse_args(arguments)
    if unknown := sorted(set(options.names) - set(names)):
        parser.error(f"no check {', '.join(unknown)}; there are: {', '.join(names)}")
    logging.disable()  # what is made to fail is told a thousand times
    started = perf_counter()
    example = ROOT / "examples" / "crm-storage-jsonl"
    with (
        TemporaryDirectory(prefix="crm-torture-", ignore_cleanup_errors=True) as folder,
        installed([example], Path(folder, "site")),
    ):
        findings = list(_findings(options.names or names, Path(folder), options.long))
    if options.json:
        print(json.dumps([attrs.asdict(one) for one in findings], indent=2))
    else:
        Console(width=None if sys.stdout.isatty() else 150).print(as_table(findings))
    failed = [one for one in findings if one.state == "FAILED"]
    count = {state: sum(one.state == state for one in findings) for state in ("held", "NOT RUN", "FAILED")}
    told = ", ".join(f"{number} {state}" for state, number in count.items())
    print(f"torture: {told}; {perf_counter() - started:.0f} s", file=sys.stderr)
    return 1 if failed else 0


def as_table(findings: Sequence[Finding]) -> Table:
    """Return the findings as a table."""
    table = Table()
    for column in ("promise", "storage", "state", "figure"):
        table.add_column(column, overflow="fold")
    table.add_column("s", justify="right")
    for one in findings:
        table.add_row(one.promise, one.storage, one.state, one.figure, f"{one.seconds:.1f}")
    return table


def _findings(names: Sequence[str], folder: Path, long: bool) -> Iterator[Finding]:
    at_hand = list(backends(folder, wheel=long))
    instrument_sqlite()
    open_quickly()
    for backend in at_hand:
        if isinstance(backend, Backend) and backend.name != "sqlite":
            instrument(_class_of(backend, folder))
        # PostgreSQL changes its schema in one transaction: there the long form alone cuts it off inside.
        if isinstance(backend, Backend) and (backend.name == "mariadb" or (long and backend.name == "postgresql")):
            instrument_changes(_session_of(backend))
    checks = [import_module(f"tests.torture.check_{name}") for name in names]
    tortured = [one for one in at_hand if isinstance(one, Backend)]
    # Check by check, so that jobs of different storages run side by side: those of one would wait for the same server.
    jobs = [
        _Job(backend, check, folder / f"{backend.name}-{at}", long)
        for at, check in enumerate(checks)
        for backend in tortured
    ]
    gc.collect()
    gc.freeze()  # a collection in a fork would touch, and so copy, everything it shares with its parent
    _at_once(jobs)
    for check in checks:
        for backend in at_hand:
            if isinstance(backend, str):
                name, _, why = backend.partition(": ")
                yield Finding(promise=check.PROMISE, storage=name, state="NOT RUN", figure=why)
            else:
                (job,) = [one for one in jobs if (one.check, one.backend) == (check, backend)]
                yield from job.found()


@attrs.frozen
class _Job:
    """One check on one storage, in a process of its own."""

    backend: Backend
    check: ModuleType
    place: Path
    long: bool

    def start(self) -> int:
        """Make the check in a fork, which has what is free of its server's databases; returns its process."""
        free = databases.free_ones(self.backend.name)
        pid = os.fork()
        if pid:
            return pid
        try:
            databases.own(self.backend.name, free)
            self._run()
        finally:
            os._exit(0)

    def _run(self) -> None:
        """Make the check and leave what was found in a file, and the databases that can be used again in another."""
        try:
            found = list(_checked(self.check, self.backend, self.place, self.long))
            self.place.with_suffix(".found").write_bytes(pickle.dumps(found))
        finally:
            if not self.backend.files:
                self.place.with_suffix(".free").write_text(json.dumps(databases.left(self.backend.name)), "utf-8")

    def end(self) -> None:
        """Take over the databases that it left."""
        file = self.place.with_suffix(".free")
        if file.exists():
            databases.take_over(self.backend.name, json.loads(file.read_text("utf-8")))

    def found(self) -> list[Finding]:
        """Return what `run` left; nothing of a process that died is a failure too."""
        file = self.place.with_suffix(".found")
        if file.exists():
            found: list[Finding] = pickle.loads(file.read_bytes())
            return found
        told = "its process ended before it"
        return [Finding(promise=self.check.PROMISE, storage=self.backend.name, state="FAILED", figure=told)]


def _at_once(jobs: Sequence[_Job]) -> None:
    """Run jobs, some at a time: most of their time is waiting for the disk."""
    waiting, running = list(jobs), dict[int, _Job]()
    sys.stdout.flush()
    while waiting or running:
        while waiting and len(running) < _AT_ONCE:
            job = waiting.pop(0)
            running[job.start()] = job
        running.pop(os.wait()[0]).end()


def _checked(check: ModuleType, backend: Backend, place: Path, long: bool) -> Iterator[Finding]:
    start = perf_counter()
    place.mkdir()
    try:
        for finding in check.run(backend, place, long):
            yield attrs.evolve(finding, seconds=perf_counter() - start)
            start = perf_counter()
    except Exception as error:  # the other promises are tried all the same
        if not isinstance(error, Broken):
            traceback.print_exc()
        told = f"{type(error).__name__}: {error}"
        seconds = perf_counter() - start
        yield Finding(promise=check.PROMISE, storage=backend.name, state="FAILED", figure=told, seconds=seconds)


def _session_of(backend: Backend) -> type[object]:
    found: type[object] = vars(import_module(f"crm_storage_sql.{backend.name}.session"))[_SESSIONS[backend.name]]
    return found


def _class_of(backend: Backend, folder: Path) -> type[object]:
    place = folder / f"look-{backend.name}"
    backend.make(place)
    storage = backend.opened(place)
    storage.close()
    databases.give_back(backend.name, load_settings(place).storage_url)  # whose tables can be used again is known by it
    return type(storage)


if __name__ == "__main__":
    sys.exit(main())
