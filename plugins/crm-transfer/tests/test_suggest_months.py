"""Files of every month, from one source: who bought in January is found in February."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from crm_core import CRM
from crm_core.settings import write_settings
from crm_transfer.guess.keys import KeyGuess
from crm_transfer.guess.systems import system_of
from crm_transfer.importing import import_file
from crm_transfer.mapping import parse_mapping
from crm_transfer.suggest import suggest

HEAD = "Order No,Date,Customer No,Customer,Amount\n"
JANUARY = HEAD + "A-1,2026-01-03,C-1,Ann,5\nA-2,2026-01-04,C-2,Bob,6\n"
FEBRUARY = HEAD + "A-3,2026-02-03,C-2,Bob,7\nA-4,2026-02-04,C-3,Cid,8\n"


@pytest.fixture
def crm(tmp_path: Path) -> Iterator[CRM]:
    write_settings(tmp_path / "ws", storage_url="memory:", currency="EUR")
    with CRM.open(tmp_path / "ws") as opened:
        yield opened


def written(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("stem", "system"),
    [
        ("orders-2026-01", "orders"),
        ("orders_202601", "orders"),
        ("orders2026-01 (3)", "orders"),
        ("Orders Jan 2026", "orders"),
        ("orders 31.01.2026", "orders"),
        ("orders-2026-W05", "orders"),
        ("sales Q1 2026", "sales"),
        ("Kontoauszug_20260131_1200", "kontoauszug"),
        ("export-2026-01-31T12-30-00", "export"),
        ("2026_Januar_Rechnungen", "rechnungen"),
        ("Продажи январь 2026", "prodazhi"),
        ("فروش مهر ۱۴۰۴", "frvsh"),
        ("فروش-۱۴۰۴-۰۷", "frvsh"),
        ("Վաճառք հունվար 2026", "vachark"),
        ("2026-01", "sales"),
        ("March", "sales"),
        ("Marketing", "marketing"),
        ("shop24", "shop24"),
        ("1c_export", "1c-export"),
        ("Filiale 2", "filiale-2"),
        ("orders (2)", "orders"),
    ],
)
def test_a_source_is_called_the_same_in_every_month_and_other_numbers_stay(stem: str, system: str) -> None:
    assert system == system_of(stem, "sales", KeyGuess(("Order No",), "high", ""), [])[0]


def test_the_mapping_of_january_finds_its_customers_in_february(crm: CRM, tmp_path: Path) -> None:
    found = suggest(crm, "sales", written(tmp_path, "orders-2026-01.csv", JANUARY))
    assert 'system = "orders"  # the name of the source, without the time it is of' in found.toml
    mapping = parse_mapping(found.toml)
    import_file(crm, tmp_path / "orders-2026-01.csv", mapping)
    report = import_file(crm, written(tmp_path, "orders-2026-02.csv", FEBRUARY), mapping)
    assert ([], 2) == (report.errors, report.types["sale"].created)
    assert ["Ann", "Bob", "Cid"] == sorted(str(customer.name) for customer in crm.customers.iterate())


def test_a_mapping_suggested_for_each_month_finds_them_too(crm: CRM, tmp_path: Path) -> None:
    for name, text in (("orders-2026-01.csv", JANUARY), ("orders-2026-02.csv", FEBRUARY)):
        path = written(tmp_path, name, text)
        assert not import_file(crm, path, parse_mapping(suggest(crm, "sales", path).toml)).errors
    assert (3, 4) == (crm.customers.count(), crm.sales.count())


@pytest.mark.parametrize("head", ["No", "Row"])
def test_rows_that_are_only_counted_are_of_their_month_alone(crm: CRM, tmp_path: Path, head: str) -> None:
    for month in ("01", "02"):
        rows = f"{head},Date,Amount\n1,2026-{month}-03,5\n2,2026-{month}-04,6\n"
        path = written(tmp_path, f"orders-2026-{month}.csv", rows)
        found = suggest(crm, "sales", path)
        assert f'system = "orders-2026-{month}"  # the name of the source, the key only counts its rows' in found.toml
        assert not import_file(crm, path, parse_mapping(found.toml)).errors
    assert 4 == crm.sales.count()
