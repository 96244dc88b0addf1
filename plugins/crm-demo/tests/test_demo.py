"""The demo: the same seed gives the same company, it is imported like any data, and no other directory is harmed."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from contextlib import redirect_stderr, redirect_stdout
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from crm_core.cli.main import main
from crm_core.testing import PluginContract
from crm_demo.company import ZONE, Company, Scale
from crm_demo.workspace import Made, make, state_of

LAST_DAY = date(2026, 11, 20)
BUSY = Scale(organisations=40, people=40, deals=200, interactions=20_000, orders=100)
SMALL = Scale(organisations=60, people=120, deals=500, interactions=600, orders=120)


class TestContract(PluginContract):
    package = "crm_demo"


@pytest.fixture(scope="module")
def company() -> dict[str, Any]:
    return dict(Company(7, LAST_DAY).files())


def run(*arguments: str) -> tuple[int, str, str]:
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        code = main(list(arguments))
    return code, out.getvalue(), err.getvalue()


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Make `crm demo` make a small company, so that a test of the whole way takes a second."""
    monkeypatch.delenv("CRM_WORKSPACE", raising=False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("crm_demo.commands.make", lambda directory, made: make(directory, made, SMALL))
    return tmp_path / "shop"


def test_the_same_seed_and_day_give_the_same_company() -> None:
    assert dict(Company(3, LAST_DAY, SMALL).files()) == dict(Company(3, LAST_DAY, SMALL).files())
    assert dict(Company(3, LAST_DAY, SMALL).files()) != dict(Company(4, LAST_DAY, SMALL).files())


def test_there_is_as_much_as_promised(company: dict[str, Any]) -> None:
    assert 2000 == len(company["organisations"]) + len(company["people"])
    assert (10_000, 30_000) == (len(company["deals"]), len(company["interactions"]))


def test_names_are_in_three_scripts_and_each_is_there_once(company: dict[str, Any]) -> None:
    names = [row["name"] for row in company["organisations"] + company["people"]]
    scripts = Counter(
        "ascii" if name.isascii() else "armenian" if "\u0530" < name[0] < "\u0590" else "arabic" for name in names
    )
    assert min(scripts[script] for script in ("ascii", "armenian", "arabic")) > 100
    assert len(set(names)) > 0.9 * len(names)


def test_deals_are_won_as_in_life(company: dict[str, Any]) -> None:
    ends = Counter(deal["stage"] for deal in company["deals"])
    assert 0.25 <= ends["Won"] / (ends["Won"] + ends["Lost"]) <= 0.30
    assert 500 < sum(ends[stage] for stage in ("New", "Qualified", "Proposal", "Negotiation")) < 2000
    assert {"EUR", "USD"} == {deal["currency"] for deal in company["deals"]}


def test_few_customers_bring_most_of_the_revenue(company: dict[str, Any]) -> None:
    revenue: Counter[str] = Counter()
    for sale in company["sales"]:
        revenue[sale["customer"]] += int(float(sale["amount"]) * 100) * (1 if sale["kind"] == "sale" else -1)
    best = revenue.most_common(len(revenue) // 5)
    assert 0.65 < sum(amount for _, amount in best) / revenue.total() < 0.9


def test_nothing_happens_after_the_last_day_or_before_its_cause(company: dict[str, Any]) -> None:
    end = LAST_DAY.isoformat()
    moments = [
        *(deal["closed"] for deal in company["deals"]),
        *(sale["sold"] for sale in company["sales"]),
        *(one["at"] for one in company["interactions"]),
        *(one["answered"] for one in company["interactions"]),
    ]
    assert max(moment[:10] for moment in moments) <= end
    assert [] == [deal for deal in company["deals"] if deal["closed"] and deal["closed"] < deal["opened"]]


@pytest.mark.parametrize("last_day", [date(2026, 1, 31) + timedelta(days=29 * at) for at in range(0, 26, 3)], ids=str)
def test_on_whatever_day_it_is_made_every_moment_is_one_that_clocks_showed(last_day: date) -> None:
    zone = ZoneInfo(ZONE)
    for name, rows in Company(7, last_day, BUSY).files():
        for row in rows:
            for field in ("at", "answered", "opened", "closed", "sold", "first_contact"):
                if "T" in str(row.get(field, "")):
                    shown = datetime.fromisoformat(row[field])
                    there = shown.replace(tzinfo=zone).astimezone(UTC).astimezone(zone).replace(tzinfo=None)
                    assert there == shown, (name, row)


def test_references_point_at_rows_before_them_or_are_linked_later(company: dict[str, Any]) -> None:
    customers = {row["code"] for row in company["organisations"] + company["people"]}
    deals = {row["code"] for row in company["deals"]}
    sales = {row["code"] for row in company["sales"]}
    assert {row["customer"] for row in company["deals"] + company["sales"] + company["interactions"]} <= customers
    assert {row["deal"] for row in company["stage_changes"]} == deals
    assert {row["refunds"] for row in company["sales"]} - {""} <= sales


def test_the_demo_is_imported_reported_and_kept(small: Path) -> None:
    pytest.importorskip("crm_transfer", reason="NOT RUN: crm-transfer is not installed")
    code, out, err = run("demo", str(small), "--as-of", "2026-11-20")
    assert (0, "") == (code, err)
    assert "Win rate" in out
    assert "<html" in (small / "report.html").read_text(encoding="utf-8")
    code, listed, _ = run("customers", "list", "-w", str(small), "--json", "--limit", "1000")
    assert 180 == len(json.loads(listed))
    assert (small / "data" / "people.csv").read_bytes().decode("utf-8").count("PER-") >= 120
    database = (small / "crm.db").stat().st_mtime_ns
    code, again, err = run("demo", str(small))
    assert 0 == code
    assert "is there already, as of 2026-11-20" in err
    assert "Win rate" in again
    assert database == (small / "crm.db").stat().st_mtime_ns


def test_importing_the_demo_again_changes_nothing(small: Path) -> None:
    run("demo", str(small), "--as-of", "2026-11-20")
    data = small / "data"
    code, out, err = run("import", "-w", str(small), "--plan", str(data / "plan.toml"), "--data", str(data), "--json")
    assert 0 == code, err
    report = json.loads(out)
    assert (0, 0, 0) == (report["created"], report["updated"], report["rejected"])


def test_with_json_standard_output_is_one_document(small: Path) -> None:
    code, out, _ = run("demo", str(small), "--as-of", "2026-11-20", "--json")
    assert 0 == code
    assert {
        "workspace": str(small),
        "seed": 7,
        "as_of": "2026-11-20",
        "report": str(small / "report.html"),
    } == json.loads(out)


def test_a_directory_that_is_no_demo_is_left_alone(small: Path) -> None:
    small.mkdir()
    (small / "thesis.txt").write_text("years of work")
    for force in ([], ["--force"]):
        code, _, err = run("demo", str(small), *force)
        assert 2 == code
        assert "is no demo" in err
    assert ["thesis.txt"] == [path.name for path in small.iterdir()]


def test_another_seed_needs_force_and_force_keeps_foreign_files(small: Path) -> None:
    run("demo", str(small), "--as-of", "2026-11-20")
    (small / "notes.txt").write_text("mine")
    code, _, err = run("demo", str(small), "--seed", "8")
    assert 2 == code
    assert "--seed 7" in err
    code, _, err = run("demo", str(small), "--seed", "8", "--as-of", "2026-11-20", "--force")
    assert 0 == code, err
    assert "mine" == (small / "notes.txt").read_text()
    state = state_of(small)
    assert Made(seed=8, last_day=LAST_DAY) == state.made


def test_a_demo_that_was_cut_off_is_made_anew(small: Path) -> None:
    make(small, Made(seed=7, last_day=LAST_DAY), SMALL)
    assert state_of(small).made is None
    code, _, err = run("demo", str(small), "--as-of", "2026-11-20")
    assert 0 == code, err
    assert state_of(small).made is not None


def test_the_files_are_those_of_a_spreadsheet(small: Path) -> None:
    make(small, Made(seed=7, last_day=LAST_DAY), SMALL)
    with (small / "data" / "people.csv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert 120 == len(rows)
    assert {"code", "name", "email", "company"} <= set(rows[0])
