"""The walk-through of README.md, and its numbers computed again from the sheet in plain Python."""

from __future__ import annotations

import csv
import doctest
import json
import re
import shlex
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from datetime import date
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path
from typing import Any

import pytest

from crm_core.cli.main import main

HERE = Path(__file__).parent
Answer = Callable[..., Any]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "examples").symlink_to(HERE.parent)
    return tmp_path


@pytest.fixture
def crm(capsys: pytest.CaptureFixture[str]) -> Answer:
    def ask(*arguments: str, code: int = 0) -> Any:
        capsys.readouterr()
        assert code == main([*arguments, "--json"])
        return json.loads(capsys.readouterr().out)

    return ask


def test_the_page_says_what_the_commands_print(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = (HERE / "README.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```console\n(.*?)^```$", page, re.M | re.S)
    for command, expected in re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", "".join(blocks), re.M):
        printed = _run(command, capsys)
        same = doctest.OutputChecker().check_output(expected, printed, doctest.ELLIPSIS)
        assert same, f"{command}: expected\n{expected}\nprinted\n{printed}"


def _run(command: str, capsys: pytest.CaptureFixture[str]) -> str:
    words = shlex.split(command)
    if words[0] != "crm":
        words[0] = sys.executable if words[0] == "python" else words[0]
        return subprocess.run(words, capture_output=True, text=True, check=True).stdout
    assert main(words[1:]) in (0, 3)
    return capsys.readouterr().out


Row = dict[str, str]


def _invoices(sheet: Iterable[Row]) -> dict[str, list[Row]]:
    """Return the rows of every invoice that counts."""
    found: dict[str, list[Row]] = defaultdict(list)
    for row in sheet:
        if Decimal(row["Price"]) and not row["Invoice"].startswith("A"):
            found[row["Invoice"]].append(row)
    wrong = {
        number
        for number, rows in found.items()
        if any(not row["Quantity"].lstrip("-").isdecimal() or row["InvoiceDate"].startswith("31/11") for row in rows)
    }
    return {
        number: rows
        for number, rows in found.items()
        if number not in wrong and (number.startswith("C") or _amount(rows) >= 0)
    }


def _amount(rows: Iterable[Row]) -> Decimal:
    lines = (int(row["Quantity"]) * Decimal(row["Price"]) for row in rows)
    return sum((line.quantize(Decimal("0.01"), ROUND_HALF_UP) for line in lines), Decimal(0))


def _day(rows: Iterable[Row]) -> date:
    days = [row["InvoiceDate"][:10].split("/") for row in rows]
    return min(date(int(year), int(month), int(day)) for day, month, year in days)


def _abc(values: dict[str, Decimal]) -> dict[str, list[Any]]:
    total, upto = sum(value for value in values.values() if value > 0), Decimal(0)
    found: dict[str, list[Any]] = {letter: [0, Decimal(0)] for letter in "ABC"}
    for value in sorted(values.values(), reverse=True):
        upto += max(value, Decimal(0))
        letter = (
            "C"
            if value <= 0
            else "A"
            if upto / total <= Decimal("0.8")
            else "B"
            if upto / total <= Decimal("0.95")
            else "C"
        )
        found[letter][0] += 1
        found[letter][1] += value
    return found


def _scores(values: dict[str, Any]) -> dict[str, int]:
    ranked = sorted(values.values())
    thresholds = [ranked[-(-len(ranked) * k // 5) - 1] for k in range(1, 5)]
    return {name: 1 + sum(1 for threshold in thresholds if threshold < value) for name, value in values.items()}


@pytest.mark.database("sqlite")
@pytest.mark.parametrize("seed", [1, 2])
def test_all_numbers_are_those_of_plain_python(folder: Path, crm: Answer, seed: int) -> None:
    subprocess.run(
        [sys.executable, HERE / "generate.py", "orders.csv", "--lines", "4000", "--seed", str(seed)], check=True
    )
    assert 0 == main(["init", "--currency", "GBP", "--zone", "Europe/London"])
    told = crm("import", "--plan", str(HERE / "shop.toml"), "--data", ".", code=3)
    with (folder / "orders.csv").open(encoding="utf-8", newline="") as file:
        sheet = list(csv.DictReader(file))
    invoices = _invoices(sheet)
    taken = sum(map(len, invoices.values()))
    skipped = sum(1 for row in sheet if not Decimal(row["Price"]) or row["Invoice"].startswith("A"))
    assert (len(sheet), len(sheet) - taken - skipped, skipped) == (
        told["read"],
        told["rejected"],
        sum(told["skipped"].values()),
    )
    assert (len(invoices), taken) == (told["types"]["sale"]["created"], told["types"]["sale_line"]["created"])
    refunds = {number for number in invoices if number.startswith("C")}
    assert refunds

    months: Counter[str] = Counter()
    revenue: dict[str, Decimal] = defaultdict(Decimal)
    last: dict[str, date] = {}
    often: Counter[str] = Counter()
    for number, rows in invoices.items():
        months[f"{_day(rows):%Y-%m}"] += _amount(rows)  # type: ignore[assignment]
        if customer := rows[0]["Customer ID"]:
            revenue[customer] += _amount(rows)
            if number not in refunds:
                often[customer] += 1
                last[customer] = max(_day(rows), last.get(customer, date.min))
    series = crm("metrics", "show", "revenue", "--series", "month")
    assert {name: float(value) for name, value in months.items()} == {
        row["period"]["name"]: row["value"] for row in series if row["value"]
    }
    abc = crm("segments", "run", "abc")["summary"]
    expected = {letter: (count, float(value)) for letter, (count, value) in _abc(revenue).items()}
    assert expected == {row["label"]: (row["customers"], row["value"]) for row in abc}

    recent = _scores({customer: (day - date(2012, 1, 1)).days for customer, day in last.items()})
    count, money = _scores(dict(often)), _scores({customer: revenue[customer] for customer in often})
    names = {row["Customer ID"]: row["Customer"] for row in sheet}
    rfm = crm("segments", "run", "rfm", "--as-of", "2012-01-01", "--members", "100000")["members"]
    assert sorted((names[c], f"{recent[c]}{count[c]}{money[c]}", float(revenue[c])) for c in often) == sorted(
        (member["name"], member["label"], float(member["score"])) for member in rfm
    )

    again = crm("import", "--plan", str(HERE / "shop.toml"), "--data", ".", code=3)
    assert (0, 0) == (again["created"], again["updated"])
    crm("ledger", "undo", told["operation"])
    assert {"customers": 0, "sales": 0, "sale_lines": 0} == {
        name: crm("storage", "status")["records"][name] for name in ("customers", "sales", "sale_lines")
    }
