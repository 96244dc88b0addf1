"""`python -m tests.torture [--long] [--json] [NAME...]`: the promises of "Data safety", each tried on each storage."""

from __future__ import annotations

import argparse
import json
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

from tests.distributions import installed
from tests.torture import Broken, Finding
from tests.torture.backends import Backend, backends, open_quickly
from tests.torture.faults import instrument, instrument_sqlite

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
    print(f"{len(findings) - len(failed)} of {len(findings)} held or not run", file=sys.stderr)
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
    at_hand = list(backends())
    instrument_sqlite()
    open_quickly()
    for backend in at_hand:
        if isinstance(backend, Backend) and backend.name != "sqlite":
            storage = _class_of(backend, folder)
            instrument(storage)
    for name in names:
        check = import_module(f"tests.torture.check_{name}")
        for backend in at_hand:
            if isinstance(backend, str):
                storage_name, _, why = backend.partition(": ")
                yield Finding(promise=check.PROMISE, storage=storage_name, state="NOT RUN", figure=why)
            else:
                yield from _checked(check, backend, folder / f"{name}-{backend.name}", long)


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


def _class_of(backend: Backend, folder: Path) -> type[object]:
    place = folder / f"look-{backend.name}"
    backend.make(place)
    storage = backend.opened(place)
    storage.close()
    return type(storage)


if __name__ == "__main__":
    sys.exit(main())
