"""The benchmark runner: what a row promises and how it is shown."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from tests import benchmarks, databases
from tests.benchmarks import Row, at_least, at_most, beside, on_postgresql, rate_of_pandas, side_by_side
from tests.benchmarks.__main__ import as_table, main


@pytest.mark.parametrize(
    ("ours", "met"),
    [(110.0, True), (110.5, False), (90.0, True)],
)
def test_a_cost_meets_its_goal_up_to_the_stated_multiple_of_its_limit(ours: float, met: bool) -> None:
    assert beside("insert", ours, 100.0, times=1.1).met is met


def test_slack_excuses_what_a_ratio_cannot_on_tiny_figures() -> None:
    assert beside("count", 11.0, 2.0, times=1.1, slack=10).met is True
    assert beside("count", 12.5, 2.0, times=1.1, slack=10).met is False


def test_a_rate_has_a_floor_and_a_cost_a_ceiling() -> None:
    assert [True, False] == [at_least("import", rate, 20_000, unit="rows/s").met for rate in (20_000, 19_999)]
    assert [True, False] == [at_most("memory", peak, 300, unit="MB").met for peak in (300, 301)]


def test_both_sides_run_equally_often_and_in_turn() -> None:
    calls: list[str] = []
    side_by_side(lambda: calls.append("ours"), lambda: calls.append("raw"), rounds=2)
    assert ["ours", "raw"] * 3 == calls


def test_a_missed_goal_is_said_beside_the_figure() -> None:
    printed = io.StringIO()
    rows = [beside("get by id", 9.0, 2.0, times=3), Row(name="hooks", ours=0.5)]
    Console(file=printed, width=100).print(as_table("records", rows))
    assert "9.0 ms" in printed.getvalue()
    assert "4.50x" in printed.getvalue()
    assert "at most 3x MISSED" in printed.getvalue()
    assert "0.500 ms" in printed.getvalue()


def test_an_unknown_benchmark_is_refused_by_name(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["no-such-benchmark"])
    assert "no benchmark no-such-benchmark" in capsys.readouterr().err


def test_what_is_not_there_is_said_to_be_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(database: str, folder: Path) -> str:
        pytest.skip(f"NOT RUN: no {database} here")

    monkeypatch.setattr(databases, "new_url", absent)
    monkeypatch.setattr(benchmarks, "find_spec", lambda name: None)
    assert ["  postgresql: NOT RUN: no postgresql here"] == [
        row.name for row in on_postgresql(tmp_path, lambda url: [])
    ]
    assert "NOT RUN, pandas is not installed" in rate_of_pandas("5 rows", 5, lambda: 1.0).name


def test_pandas_is_told_in_rows_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(benchmarks, "find_spec", lambda name: name)
    assert (2.5, "rows/s") == ((row := rate_of_pandas("5 rows", 5, lambda: 2.0)).ours, row.unit)
