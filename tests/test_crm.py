"""The CRM as a developer meets it: the ten lines of the README, several at once, threads, and what opening refuses."""

from __future__ import annotations

import subprocess
import sys
import threading
from fractions import Fraction
from pathlib import Path

import pytest

from crm_core import CRM, Customer, hookimpl
from crm_core.errors import SettingsError, StorageError, UnknownStorage
from crm_core.extend import StorageScheme
from crm_core.memory import MemoryStorage
from crm_core.settings import write_settings
from tests.opening import STORAGES, url_of

TEN_LINES = """
from crm_core import CRM, Customer, Deal, Money, Period
with CRM.open("sqlite:///team.db") as crm:
    ada = crm.customers.add(Customer(name="Ada Lovelace"), email="ada@example.org")
    deal = crm.deals.add(Deal(customer_id=ada.id, title="Licence", amount=Money("1200", "EUR")))
    crm.deals.move(deal, "won")
    print(crm.metrics.compute("win_rate", by="owner"))
    print(crm.metrics.compute("revenue", period=Period.parse("2026-11")))
    print(crm.segments.run("abc"))
"""


@pytest.mark.parametrize("storage", STORAGES)
def test_the_ten_lines_work_as_they_stand(storage: str, tmp_path: Path) -> None:
    pytest.importorskip("crm_kpi.plugin", reason="NOT RUN: crm-kpi is not installed")
    pytest.importorskip("crm_segments.plugin", reason="NOT RUN: crm-segments is not installed")
    lines = TEN_LINES if storage == "sqlite" else TEN_LINES.replace("sqlite:///team.db", "memory:")
    done = subprocess.run([sys.executable, "-c", lines], cwd=tmp_path, capture_output=True, text=True)
    assert (0, "") == (done.returncode, done.stderr)
    for told in ("win_rate", "revenue", "abc"):
        assert told in done.stdout.casefold().replace(" ", "_")
    assert (storage == "sqlite") == (tmp_path / "team.db").exists()


@pytest.mark.parametrize("storage", STORAGES)
def test_the_ten_lines_give_the_numbers_they_should(storage: str, tmp_path: Path) -> None:
    pytest.importorskip("crm_kpi.plugin", reason="NOT RUN: crm-kpi is not installed")
    from crm_core import Deal, Money

    with CRM.open(url_of(storage, tmp_path)) as crm:
        ada = crm.customers.add(Customer(name="Ada Lovelace"), email="ada@example.org")
        deal = crm.deals.add(Deal(customer_id=ada.id, title="Licence", amount=Money("1200", "EUR")))
        crm.deals.move(deal, "won")
        (rate,) = list(crm.metrics.compute("win_rate"))
        assert (Fraction(1), 1, 1) == (Fraction(rate.value or 0), rate.numerator, rate.denominator)


def test_several_crms_live_side_by_side(tmp_path: Path) -> None:
    with CRM.open("memory:") as one, CRM.open("memory:") as two:
        with one.transaction():
            one.customers.add(Customer(name="Ada"))
            two.customers.add(Customer(name="Bob"))
        assert (["Ada"], ["Bob"]) == tuple([c.name for c in crm.customers.find()] for crm in (one, two))


@pytest.mark.parametrize("storage", STORAGES)
def test_a_crm_is_shared_by_threads(storage: str, tmp_path: Path) -> None:
    with CRM.open(url_of(storage, tmp_path)) as crm:
        names: list[str | None] = []
        with crm.transaction():
            crm.customers.add(Customer(name="Ada"))
            reader = threading.Thread(target=lambda: names.extend(one.name for one in crm.customers.find()))
            reader.start()
            reader.join()
        assert [] == names, "another thread sees what is committed"
        assert 1 == crm.customers.count()


@pytest.mark.parametrize("storage", STORAGES)
def test_reads_of_a_snapshot_see_one_state(storage: str, tmp_path: Path) -> None:
    with CRM.open(url_of(storage, tmp_path)) as crm:
        crm.customers.add(Customer(name="Ada"))

        def add() -> None:
            crm.customers.add(Customer(name="Bob"))

        with crm.snapshot():
            assert 1 == crm.customers.count()
            writer = threading.Thread(target=add)
            writer.start()
            writer.join()
            assert 1 == crm.customers.count()
            with pytest.raises(StorageError):
                crm.customers.add(Customer(name="Eve"))
        assert 2 == crm.customers.count()


@pytest.mark.parametrize("storage", STORAGES)
def test_what_a_rehearsal_writes_is_gone_afterwards_and_others_work_meanwhile(storage: str, tmp_path: Path) -> None:
    with CRM.open(url_of(storage, tmp_path)) as crm:
        crm.customers.add(Customer(name="Ada"))
        with crm.rehearsal("import") as trial:
            trial.customers.add(Customer(name="Bob"))
            assert 2 == trial.customers.count()
            thread = threading.Thread(target=lambda: crm.customers.add(Customer(name="Eve")))
            thread.start()
            thread.join()
            assert 2 == crm.customers.count('name in ("Ada", "Eve")')
        assert {"Ada", "Eve"} == {one.name for one in crm.customers.find()}
        with (
            pytest.raises(SettingsError, match=r"crm\.toml"),
            crm.rehearsal(fields={"customer": {"a": {"type": "text"}}}),
        ):
            pass


def test_a_rehearsal_may_have_more_fields_than_the_workspace(tmp_path: Path) -> None:
    write_settings(tmp_path, storage_url="sqlite:///crm.db", currency="EUR")
    with CRM.open(tmp_path) as crm:
        crm.customers.add(Customer(name="Ada"))
        with crm.rehearsal(fields={"customer": {"sector": {"type": "text"}}}) as trial:
            ada = trial.customers.find().records[0]
            assert "tech" == trial.customers.edit(ada.evolve(fields={"sector": "tech"})).fields["sector"]
        assert "fields.sector" not in crm.registry.types["customer"].fields
        assert "sector" not in (tmp_path / "crm.toml").read_text(encoding="utf-8")


class _Uncopied(MemoryStorage):
    capabilities = frozenset()


def test_a_rehearsal_on_a_storage_that_cannot_be_copied_is_one_transaction() -> None:
    class Hooks:
        @hookimpl
        def register_storages(self) -> list[StorageScheme]:
            return [StorageScheme(name="plain", schemes=("plain",), open=lambda url, options: _Uncopied())]

    with CRM.open("plain:", plugins=[Hooks()]) as crm:
        with crm.rehearsal() as trial:
            assert crm is trial
            trial.customers.add(Customer(name="Bob"))
        assert 0 == crm.customers.count()


def test_an_unknown_storage_names_those_at_hand() -> None:
    with pytest.raises(UnknownStorage, match="stores data at nosuch:") as caught:
        CRM.open("nosuch://here")
    assert "memory" in caught.value.hint


def test_importing_the_package_loads_no_sqlalchemy() -> None:
    program = "import sys, crm_core, crm_core.records, crm_core.values; print('sqlalchemy' in sys.modules)"
    assert "False\n" == subprocess.run([sys.executable, "-c", program], capture_output=True, text=True).stdout


@pytest.mark.parametrize("storage", STORAGES)
def test_reading_and_writing_records_loads_no_sqlalchemy(storage: str, tmp_path: Path) -> None:
    program = (
        "import sys; from crm_core import CRM, Customer\n"
        f"with CRM.open({url_of(storage, tmp_path)!r}) as crm:\n"
        "    crm.customers.add(Customer(name='Ada')); crm.customers.find('name = \"Ada\"')\n"
        "print('sqlalchemy' in sys.modules)"
    )
    assert "False\n" == subprocess.run([sys.executable, "-c", program], capture_output=True, text=True).stdout
