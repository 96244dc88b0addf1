"""The walk-through of README.md, on the made-up data and, where it is at hand, on the real one."""

from __future__ import annotations

import doctest
import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from crm_core.cli.main import main

HERE = Path(__file__).parent
REAL = next((up / "shared" / "data" for up in HERE.parents if (up / "shared" / "data").is_dir()), None)
needs_real_data = pytest.mark.skipif(REAL is None, reason="NOT RUN: the real data (../shared/data) is not here")


class Team:
    """A workspace in an empty folder, used through the commands of the walk-through."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def __call__(self, *arguments: str) -> Any:
        assert 0 == main([*arguments, "--json"])
        return json.loads(self._capsys.readouterr().out)

    def told(self, *arguments: str) -> str:
        assert 0 == main([*arguments])
        return self._capsys.readouterr().out

    def values(self, *arguments: str) -> dict[str | None, Any]:
        """Return the values of a metric by the label of its one group, None without a group."""
        return {
            next((group["label"] for noun, group in row["group"].items() if noun != "pipeline"), None): row["value"]
            for row in self("metrics", "show", *arguments)
        }


@pytest.fixture
def team(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Team:
    monkeypatch.chdir(tmp_path)
    crm = Team(capsys)
    crm.told("init", "--currency", "USD")
    return crm


def test_the_made_up_sales_team_runs_anywhere(team: Team) -> None:
    plan = str(HERE / "maven.toml")
    dry = team("import", "--plan", plan, "--dry-run")
    told = team.told("import", "--plan", plan)
    assert "'GTXPro' is not in products.csv: read as 'GTX Pro' in 51 deals" in told
    assert "3 relations name a customer that comes later: linked at the end" in told
    assert "46 deals have no account" in told
    assert "agents without a deal (1): Olu Idle" in told
    again = team("import", "--plan", plan)
    assert (264, 0, 264) == (dry["created"], again["created"], again["unchanged"])
    assert {None: 111 / 174} == team.values("win_rate")
    assert {"Central", "East"} == set(team.values("win_rate", "--by", "team"))
    assert 12 == sum(group["customers"] for group in team("segments", "run", "abc")["summary"])


def test_the_made_up_funnel_runs_anywhere(team: Team) -> None:
    told = team.told("import", "--plan", str(HERE / "olist.toml"))
    assert "the SDR is also the closer in 1 of 24 deals" in told
    assert "won before the first contact, 1 deal: Seller " in told
    assert {None: 0.12} == team.values("lead_conversion")


@needs_real_data
def test_the_real_sales_team_gives_the_published_numbers(team: Team) -> None:
    told = team.told("import", "--plan", str(HERE / "maven.toml"), "--data", f"{REAL}/maven_crm")
    for trap in (
        "'GTXPro' is not in products.csv: read as 'GTX Pro' in 1,480 deals",
        "1,425 deals have no account",
        "500 deals have no engage date",
        "2,473 lost deals have the amount 0",
        "6 relations name a customer that comes later: linked at the end",
        "agents without a deal (5): ",
        "every account looks new there",
    ):
        assert trap in told
    rate = team("metrics", "show", "win_rate")[0]
    assert (4238, 4238 + 2473) == (rate["numerator"], rate["denominator"])
    assert 0.631501 == round(rate["value"], 6)
    assert {None: 10_005_534} == team.values("revenue")
    assert 51.782 == round(team.values("sales_cycle")[None], 3)
    assert {None: 57} == team.values("sales_cycle_median")
    assert 30 == len(team.values("win_rate", "--by", "owner"))
    assert {"Central", "East", "West"} == set(team.values("win_rate", "--by", "team"))
    assert 85 == sum(group["customers"] for group in team("segments", "run", "abc")["summary"])
    change = team("metrics", "show", "win_rate", "--around", "2017-07-01")[0]
    assert {"before", "after", "delta", "delta_percent"} <= set(change)


@needs_real_data
def test_the_real_funnel_gives_the_published_numbers(team: Team) -> None:
    told = team.told("import", "--plan", str(HERE / "olist.toml"), "--data", f"{REAL}/olist_funnel")
    assert "the SDR is also the closer in 5 of 842 deals" in told
    assert 8000 == team("storage", "status")["records"]["customers"]
    assert {None: 0.10525} == team.values("lead_conversion")
    by_source = team("metrics", "show", "lead_conversion", "--by", "source")
    assert (842, 8000) == (sum(r["numerator"] for r in by_source), sum(r["denominator"] for r in by_source))
    cohorts = team("metrics", "show", "lead_conversion", "--series", "month")
    assert 8000 == sum(row["denominator"] for row in cohorts)


@needs_real_data
def test_the_page_says_what_the_commands_print(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "examples").symlink_to(HERE.parent)
    page = (HERE / "README.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```console\n(.*?)^```$", page, re.M | re.S)
    folder = tmp_path
    for command, expected in re.findall(r"^\$ crm (.*)\n((?:(?!\$ ).*\n)*)", "".join(blocks), re.M):
        if command.startswith("init"):
            folder = tmp_path / f"ws{len(list(tmp_path.iterdir()))}"
            folder.mkdir()
            (folder / "examples").symlink_to(HERE.parent)
            monkeypatch.chdir(folder)
        assert 0 == main([word.replace("DATA/", f"{REAL}/") for word in shlex.split(command)])
        printed = capsys.readouterr().out
        wanted = expected or printed
        same = doctest.OutputChecker().check_output(wanted, printed, doctest.ELLIPSIS)
        assert same, f"{command}: expected\n{wanted}\nprinted\n{printed}"
