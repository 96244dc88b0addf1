"""Importing a sheet of ten typed columns, and exporting one: time and peak memory."""

from __future__ import annotations

import datetime as dt
import random
import subprocess
import sys
import tempfile
from pathlib import Path
from time import perf_counter, process_time

from crm_core import CRM
from crm_transfer import export_records, exporter_for, import_file, parse_mapping
from crm_transfer.formats.xlsx import open_xlsx
from tests.benchmarks import Row, at_most

COLUMNS = ("no", "name", "kind", "source", "first_contact_at", "country", "region", "city", "industry", "birth_date")
MAPPING = '[file]\nsystem = "bench"\n[[record]]\ntype = "customer"\nkey = "no"\n[record.fields]\n' + "\n".join(
    f'{name} = "{name}"' for name in COLUMNS[1:]
)
SIZE, FULL_SIZE = 20_000, 500_000
SECONDS, EXPORT_SECONDS, MEGABYTES = 120, 60, 300


def run(full: bool) -> list[Row]:
    """Measure in processes of their own; the limits of 120 s and 60 s are those of 500,000 rows."""
    size = FULL_SIZE if full else SIZE
    with tempfile.TemporaryDirectory() as folder:
        figures = {}
        for work in ("write", "read", "import", "export"):
            command = [sys.executable, "-m", "tests.benchmarks.bench_xlsx", work, folder, str(size)]
            told = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
            figures[work] = tuple(map(float, told))
    rows = [at_most(f"import XLSX, {size:,} rows", figures["import"][0], SECONDS * size / FULL_SIZE, unit="s")]
    rows.append(Row(name="  of it processor time", ours=figures["import"][2], unit="s"))
    rows.append(Row(name="  reading the sheet alone", ours=figures["read"][0], unit="s"))
    rows.append(at_most("  peak memory", figures["import"][1], MEGABYTES, unit="MB"))
    limit = EXPORT_SECONDS * size / FULL_SIZE
    rows.append(at_most(f"export XLSX, {size:,} rows", figures["export"][0], limit, unit="s"))
    rows.append(Row(name="  of it processor time", ours=figures["export"][2], unit="s"))
    rows.append(at_most("  peak memory", figures["export"][1], MEGABYTES, unit="MB"))
    return rows


def measure(work: str, folder: Path, size: int) -> float:
    """Do one piece of work and return its seconds."""
    path = folder / "customers.xlsx"
    if work == "write":
        _write(path, size)
    started = perf_counter()
    if work == "read":
        assert size == sum(1 for _ in open_xlsx(path, {}).rows)
    elif work in ("import", "export"):
        with CRM.open(f"sqlite:///{folder / 'crm.db'}") as crm:
            if work == "import":
                assert size == import_file(crm, path, parse_mapping(MAPPING)).counts.created
            else:
                assert size == export_records(
                    crm, "customers", exporter=exporter_for(crm, "xlsx", None), path=folder / "out.xlsx"
                )
    return perf_counter() - started


def _write(path: Path, size: int) -> None:
    from openpyxl import Workbook

    chance = random.Random(1)
    first, last = ["Ada", "Bob", "سارا", "Արամ", "Zoë"], ["Smith", "Rossi", "کاظمی", "Պետրոսյան", "Lee"]
    book = Workbook(write_only=True)
    sheet = book.create_sheet("Customers")
    sheet.append(COLUMNS)
    for number in range(size):
        sheet.append(
            [
                number,
                f"{chance.choice(first)} {chance.choice(last)} {number}",
                chance.choice(["person", "organisation"]),
                chance.choice(["web", "fair", "referral"]),
                dt.date(2010, 1, 1) + dt.timedelta(days=chance.randrange(5_000)),
                chance.choice(["DE", "IR", "AM"]),
                f"Region {chance.randrange(50)}",
                f"City {chance.randrange(5_000)}",
                chance.choice(["retail", "finance"]),
                dt.date(1950, 1, 1) + dt.timedelta(days=chance.randrange(20_000)),
            ]
        )
    book.save(path)


def _peak() -> float:
    """Return the most memory that this process took, in MB; that of the process which started it does not count."""
    status = Path("/proc/self/status")
    if status.is_file():
        line = next(line for line in status.read_text(encoding="ascii").splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) / 1024
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    print(measure(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])), _peak(), process_time())
