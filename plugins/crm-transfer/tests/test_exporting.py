"""Exports: every format, what is chosen and in which order, whole files or none, and no harm in them."""

from __future__ import annotations

import csv
import datetime as dt
import io
import json
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from openpyxl import load_workbook

from crm_core import CRM, Customer, Money, Sale
from crm_core.cli.main import main
from crm_core.errors import CrmError, UsageError
from crm_core.extend import ExportColumn, Exporter
from crm_core.settings import write_settings
from crm_transfer.cells import without_guard
from crm_transfer.exporting import export_records, exporter_for, write_csv_export
from crm_transfer.formats.parquet import PARQUET_EXPORT
from crm_transfer.formats.xlsxwriting import XLSX_EXPORT
from crm_transfer.reading import open_csv


@pytest.fixture
def crm() -> Iterator[CRM]:
    with CRM.open("memory:") as opened:
        for number, (name, country, amount) in enumerate(
            [("Ada", "GB", "900.50"), ("سارا", "IR", "90"), ("=cmd()", "DE", "10"), ("Zoë", "DE", None)]
        ):
            day = dt.date(1990, 1, 1 + number)
            since: Any = dt.datetime(2026, 1, 2, 3, 4, 5, 678901, dt.UTC) if number else dt.date(2026, 1, 1)
            customer = opened.customers.add(
                Customer(name=name, country=country, birth_date=day, first_contact_at=since, tags=("a", "b")),
                phone=f"+98 912 345 67 8{number}",
            )
            if amount:
                opened.sales.add(Sale(customer_id=customer.id, amount=Money(amount, "EUR"), sold_at=since))
        yield opened


def export(crm: CRM, path: Path, type_name: str = "customers", **options: Any) -> int:
    return export_records(crm, type_name, exporter=exporter_for(crm, None, path), path=path, **options)


def names(path: Path) -> list[str]:
    with path.open(encoding="utf-8", newline="") as file:
        return [row["name"] for row in csv.DictReader(file)]


def test_filter_segment_columns_and_order_are_chosen(crm: CRM, tmp_path: Path) -> None:
    path = tmp_path / "c.csv"
    assert 2 == export(crm, path, where='country = "DE"', columns=["name"], sort="-name")
    assert ["Zoë", "'=cmd()"] == names(path)
    options: dict[str, Any] = {"columns": ["name"], "force": True}
    for label in "ABC":
        wanted = [each.name for each in crm.segments.run("abc", currency="EUR") if each.label == label]
        assert len(wanted) == export(crm, path, segments=[f"abc(currency=EUR)={label}"], **options)
        assert sorted(wanted) == sorted(without_guard(name) for name in names(path))
        both = {"segments": [f"abc(currency=EUR)={label}", "abc(currency=EUR)=C"]}
        assert (len(wanted) if label == "C" else 0) == export(crm, path, **both, **options)
    with pytest.raises(UsageError, match="no group 'Q'") as caught:
        export(crm, path, segments=["abc(currency=EUR)=Q"], **options)
    assert "its groups: A, B, C" in caught.value.hint
    with pytest.raises(UsageError, match="'abc' is no group"):
        export(crm, path, segments=["abc"], **options)
    with pytest.raises(UsageError, match="is for customers"):
        export(crm, path, "sales", segments=["abc=A"], force=True)


def test_progress_is_told(crm: CRM, tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    export(crm, tmp_path / "c.csv", progress=lambda done, total: told.append((done, total)))
    assert [(4, 4)] == told


def test_a_file_that_is_there_is_replaced_only_when_asked(crm: CRM, tmp_path: Path) -> None:
    path = tmp_path / "c.csv"
    path.write_text("mine", encoding="utf-8")
    with pytest.raises(UsageError, match="is there already") as caught:
        export(crm, path)
    assert "--force" in caught.value.hint
    assert "mine" == path.read_text(encoding="utf-8")
    assert 4 == export(crm, path, force=True)
    with pytest.raises(UsageError, match="is no file"):
        export_records(crm, "customers", exporter=exporter_for(crm, "csv", None), path=tmp_path)


def test_a_link_stays_a_link(crm: CRM, tmp_path: Path) -> None:
    (tmp_path / "real.csv").write_text("old", encoding="utf-8")
    (tmp_path / "c.csv").symlink_to(tmp_path / "real.csv")
    export(crm, tmp_path / "c.csv", force=True)
    assert (tmp_path / "c.csv").is_symlink()
    assert 4 == len(names(tmp_path / "real.csv"))


@pytest.mark.parametrize("ending", ["csv", "jsonl", "xlsx", "parquet", "vcf"])
@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError(28, "No space left on device")])
def test_a_broken_export_leaves_nothing(
    crm: CRM, tmp_path: Path, ending: str, error: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / f"c.{ending}"
    path.write_text("before", encoding="utf-8")

    def told(done: int, total: int) -> None:
        raise error

    with pytest.raises((KeyboardInterrupt, CrmError)):
        export(crm, path, force=True, progress=told)
    assert [path] == list(tmp_path.iterdir())
    assert "before" == path.read_text(encoding="utf-8")


def test_a_sheet_has_real_numbers_dates_and_moments_of_our_clock(crm: CRM, tmp_path: Path) -> None:
    path = tmp_path / "s.xlsx"
    export(crm, path, "sales", columns=["amount", "sold_at", "kind", "version"], sort="-amount")
    sheet = load_workbook(path).active
    assert sheet is not None
    rows = [[cell.value for cell in row] for row in sheet.iter_rows()]
    assert ["amount", "amount_currency", "sold_at", "kind", "version"] == rows[0]
    assert [900.5, "EUR", dt.datetime(2026, 1, 1), "sale", 1] == rows[1]  # noqa: DTZ001 - as a sheet has it
    moment = rows[2][2]
    assert isinstance(moment, dt.datetime)
    assert (2026, 1, 2, 3, 4) == moment.timetuple()[:5]


def test_a_moment_that_the_clock_shows_twice_keeps_its_offset(tmp_path: Path) -> None:
    berlin = ZoneInfo("Europe/Berlin")
    moments = [dt.datetime(2026, 10, 25, 2, 30, tzinfo=berlin, fold=fold) for fold in (0, 1)]
    XLSX_EXPORT.write(tmp_path / "f.xlsx", [ExportColumn("at", "moment")], [[each] for each in moments])
    sheet = load_workbook(tmp_path / "f.xlsx").active
    assert sheet is not None
    found = [str(row[0].value) for row in sheet.iter_rows(min_row=2)]
    assert ["2026-10-25T02:30:00+02:00", "2026-10-25T02:30:00+01:00"] == found


def test_a_sheet_does_no_harm_and_keeps_phone_numbers(crm: CRM, tmp_path: Path) -> None:
    export(crm, tmp_path / "c.xlsx", columns=["name"])
    export(crm, tmp_path / "p.xlsx", "contact_points", columns=["value"])
    found = []
    for name in ("c.xlsx", "p.xlsx"):
        sheet = load_workbook(tmp_path / name).active
        assert sheet is not None
        found += [cell for row in sheet.iter_rows(min_row=2) for cell in row]
    assert {"s"} == {cell.data_type for cell in found}
    assert "'=cmd()" in {cell.value for cell in found}
    assert "+98 912 345 67 80" in {cell.value for cell in found}


def test_parquet_has_typed_columns(crm: CRM, tmp_path: Path) -> None:
    from pyarrow import parquet

    export(crm, tmp_path / "s.parquet", "sales", columns=["amount", "sold_at", "version"], sort="-amount")
    table = parquet.read_table(tmp_path / "s.parquet")
    assert ["decimal128(38, 4)", "string", "timestamp[us, tz=UTC]", "int64"] == [
        str(field.type) for field in table.schema
    ]
    assert [Decimal("900.5000"), Decimal("90.0000"), Decimal("10.0000")] == table.column("amount").to_pylist()
    assert dt.datetime(2026, 1, 2, 3, 4, 5, 678901, dt.UTC) == table.column("sold_at").to_pylist()[1]
    export(crm, tmp_path / "c.parquet", columns=["birth_date", "tags"])
    table = parquet.read_table(tmp_path / "c.parquet")
    assert dt.date(1990, 1, 1) == table.column("birth_date").to_pylist()[0]
    assert ["a", "b"] == table.column("tags").to_pylist()[0]


def test_parquet_without_pyarrow_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(CrmError, match="needs pyarrow") as caught:
        PARQUET_EXPORT.write(tmp_path / "x.parquet", [], [])
    assert 'pip install "crm-transfer[parquet]"' == caught.value.hint


def test_parts_of_a_record_go_into_json_lines(crm: CRM, tmp_path: Path) -> None:
    export(crm, tmp_path / "c.jsonl", columns=["name", "contact_points"], where='name = "Ada"')
    found = json.loads((tmp_path / "c.jsonl").read_text(encoding="utf-8"))
    assert ("Ada", "+98 912 345 67 80") == (found["name"], found["contact_points"][0]["value"])
    with pytest.raises(UsageError, match="contact_points"):
        export(crm, tmp_path / "c.csv", columns=["name", "contact_points"])


def test_a_format_says_what_it_is_for(crm: CRM, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="has no form for deals"):
        export(crm, tmp_path / "d.vcf", "deals")
    with pytest.raises(UsageError, match="is for files"):
        export_records(crm, "customers", exporter=exporter_for(crm, "xlsx", None))
    with pytest.raises(UsageError, match=r"end in '\.pdf'"):
        exporter_for(crm, None, tmp_path / "x.pdf")


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=40))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_text_survives_csv(tmp_path: Path, text: str) -> None:
    path = tmp_path / "t.csv"
    write_csv_export(path, [ExportColumn("n"), ExportColumn("text")], [["1", text]])
    row = next(open_csv(path, {"delimiter": ","}).rows)
    assert text == without_guard(row.cells[1])
    assert not row.cells[1].startswith(("=", "+", "-", "@", "\t", "\r", "＝", "＋", "－", "＠"))


def test_memory_stays_flat_in_every_format(tmp_path: Path) -> None:
    """Rows come one by one, and each format writes them as they come."""
    import tracemalloc

    for exporter in _exporters():
        peaks = []
        few = 10_000 if exporter is PARQUET_EXPORT else 1_000  # Parquet is written in groups of so many
        for rows in (few, few + 7_000):
            columns = [ExportColumn("name"), ExportColumn("n", "integer")]
            cells = ([f"name {n} " + "x" * 400, n] for n in range(rows))
            tracemalloc.start()
            assert rows == exporter.write(tmp_path / f"{rows}", columns, cells)
            peaks.append(tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()
        held = 7_000 * 450
        assert peaks[1] - peaks[0] < held / 3, exporter.name


def _exporters() -> list[Exporter]:
    with CRM.open("memory:") as crm:
        return [each.item for each in crm.host.collect("register_exporters")]


# The command


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    write_settings(tmp_path / "ws", storage_url="sqlite:///crm.db", currency="EUR", reporting_currency="EUR")
    monkeypatch.chdir(tmp_path)
    with CRM.open(tmp_path / "ws") as crm:
        ada = crm.customers.add(Customer(name="Ada"), email="ada@x.org")
        bob = crm.customers.add(Customer(name="Bob"))
        cyd = crm.customers.add(Customer(name="Cyd"))
        crm.sales.add(Sale(customer_id=ada.id, amount=Money(900, "EUR"), sold_at=dt.date(2026, 1, 1)))
        crm.sales.add(Sale(customer_id=cyd.id, amount=Money(50, "EUR"), sold_at=dt.date(2026, 1, 1)))
        crm.sales.add(Sale(customer_id=bob.id, amount=Money(1, "EUR"), sold_at=dt.date(2026, 1, 1)))
    return tmp_path


@pytest.mark.database("sqlite")
def test_the_command_writes_what_is_asked(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with CRM.open(workspace / "ws") as crm:
        groups = {each.name: each.label for each in crm.segments.run("abc")}
    label = groups["Bob"]
    best = sorted(name for name, found in groups.items() if found == label)
    assert len(best) < len(groups)
    assert 0 == main(
        ["-w", "ws", "export", "customers", "--segment", f"abc={label}", "--columns", "name", "--sort", "name"]
    )
    assert "\n".join(["name", *best, ""]) == capsys.readouterr().out
    assert 0 == main(["-w", "ws", "export", "customers", "--sort", "-name", "-o", "best.vcf"])
    assert b"FN:Bob\r\n" in Path("best.vcf").read_bytes()
    capsys.readouterr()
    assert 2 == main(["-w", "ws", "export", "customers", "-o", "best.vcf", "--json"])
    assert "--force" in json.loads(capsys.readouterr().err)["error"]["hint"]
    assert 0 == main(["-w", "ws", "export", "customers", "-o", "best.vcf", "--force", "--json"])
    assert {"type": "customers", "file": "best.vcf", "written": 3} == json.loads(capsys.readouterr().out)


@pytest.mark.database("sqlite")
def test_contacts_and_sheets_are_imported_by_the_command(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("p.vcf").write_text("BEGIN:VCARD\nVERSION:3.0\nFN:Eve\nEND:VCARD\n", encoding="utf-8")
    assert 0 == main(["-w", "ws", "import", "customers", "p.vcf", "--json"])
    assert 1 == json.loads(capsys.readouterr().out)["created"]
    assert 0 == main(["-w", "ws", "import", "--suggest", "customers", "p.vcf"])
    Path("m.toml").write_text(capsys.readouterr().out, encoding="utf-8")
    assert 0 == main(["-w", "ws", "import", "customers", "p.vcf", "--map", "m.toml", "--json"])
    assert 1 == json.loads(capsys.readouterr().out)["unchanged"]
    rows = io.StringIO(
        "[file]\nsystem = 't'\n[[record]]\ntype = 'customer'\nkey = 'no'\n[record.fields]\nname = 'name'\n"
    )
    Path("s.toml").write_text(rows.getvalue(), encoding="utf-8")
    XLSX_EXPORT.write(Path("s.xlsx"), [ExportColumn("no"), ExportColumn("name")], [["1", "Sam"]])
    assert 0 == main(["-w", "ws", "import", "customers", "s.xlsx", "--map", "s.toml", "--sheet", "records", "--json"])
    assert 1 == json.loads(capsys.readouterr().out)["created"]
    assert 1 == main(["-w", "ws", "import", "customers", "s.xlsx", "--map", "s.toml", "--sheet", "none"])
    assert "its sheets: 'Records'" in capsys.readouterr().err
    assert 2 == main(["-w", "ws", "import", "customers", "s.xlsx"])
    assert "--suggest" in capsys.readouterr().err
    assert 2 == main(["-w", "ws", "import", "customers", "p.vcf", "--format", "nonsense"])
    assert "one of csv, jsonl, xlsx, vcard, google-contacts, outlook-contacts" in capsys.readouterr().err
    assert 2 == main(["-w", "ws", "import", "deals", "p.vcf"])
    assert "the mapping of vcard makes no deals" in capsys.readouterr().err


def test_the_formats_load_nothing_heavy() -> None:
    import subprocess
    import sys

    program = (
        "import sys; from crm_transfer.plugin import plugin; list(plugin.register_importers());"
        "list(plugin.register_exporters()); print([m for m in ('openpyxl', 'pyarrow', 'numpy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert "[]\n" == done.stdout
