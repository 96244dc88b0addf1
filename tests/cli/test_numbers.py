"""Numbers on the command line: metrics, segments, plugins; the same in JSON as in text."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.calling import Crm

pytest.importorskip("crm_kpi", reason="NOT RUN: crm-kpi is not installed")
pytest.importorskip("crm_segments", reason="NOT RUN: crm-segments is not installed")
pytestmark = pytest.mark.database("sqlite")


def test_a_metric_has_the_fixed_shape(shop: Crm) -> None:
    (row,) = shop.ok("metrics", "show", "win_rate", "--json").json
    fixed = {"metric", "period", "group", "value", "numerator", "denominator", "currency", "unit", "undefined"}
    assert fixed <= set(row)
    assert ("win_rate", 1, 1, 1, "ratio", None, None) == tuple(
        row[key] for key in ("metric", "value", "numerator", "denominator", "unit", "undefined", "period")
    )


def test_several_metrics_are_grouped_by_a_dimension(shop: Crm) -> None:
    rows = shop.ok("metrics", "show", "win_rate", "revenue", "--by", "owner", "--json").json
    assert {"win_rate", "revenue"} == {row["metric"] for row in rows}
    assert "Sara Ahmadi" in {row["group"]["owner"]["label"] for row in rows}
    text = shop.ok("metrics", "show", "win_rate", "revenue", "--by", "owner").out
    assert "100.0%" in text
    assert "1,200.00 EUR" in text


def test_around_adds_before_after_and_the_difference(shop: Crm) -> None:
    rows = shop.ok("metrics", "show", "win_rate", "--around", "2026-01-01", "--json").json
    assert {"before", "after", "delta", "delta_percent"} <= set(rows[0])


def test_an_empty_answer_says_which_period_would_not_be_empty(shop: Crm) -> None:
    said = shop.ok("metrics", "show", "win_rate", "--period", "1999-11")
    assert "No closed deals in 1999-11" in said.out
    assert "try --period" in said.out


def test_as_of_moves_now(shop: Crm) -> None:
    (row,) = shop.ok("metrics", "show", "pipeline_value", "--as-of", "1999-01-01", "--json").json[:1]
    assert row["value"] in (0, None)


@pytest.mark.parametrize("typed", ["yesterday", "31/12/2026"])
def test_a_time_that_is_none_is_usage(shop: Crm, typed: str) -> None:
    said = shop("metrics", "show", "win_rate", "--as-of", typed)
    assert (2, True) == (said.code, "2026-11-30" in said.err)


def test_an_unknown_metric_lists_those_there_are(shop: Crm) -> None:
    said = shop("metrics", "show", "winrate")
    assert 2 == said.code
    assert "win_rate" in said.err


def test_explain_names_formula_plugin_and_rows(shop: Crm) -> None:
    found = shop.ok("metrics", "explain", "win_rate", "--json").json
    assert ("won / (won + lost)", "crm-kpi", 1) == (found["formula"], found["distribution"], found["rows"])
    assert shop.ok("deals", "list", "--where", 'title = "Licence"', "--json").json[0]["id"] in found["row_ids"]
    assert "SELECT" in shop.ok("metrics", "explain", "win_rate", "--sql").out


def test_a_segment_has_the_fixed_shape(shop: Crm) -> None:
    found = shop.ok("segments", "run", "abc", "--param", "rule=crossing", "--json").json
    assert {"segment", "params", "summary", "members"} <= set(found)
    assert "crossing" == found["params"]["rule"]
    (member,) = [one for one in found["members"] if one["name"] == "Ada Lovelace"]
    assert {"id", "name", "label", "score"} == set(member)
    assert "Ada Lovelace" in shop.ok("segments", "run", "abc").out


def test_one_group_of_a_segment_can_be_asked_for(shop: Crm) -> None:
    found = shop.ok("segments", "run", "abc", "--label", "A", "--param", "rule=crossing", "--json").json
    assert {"A"} == {member["label"] for member in found["members"]}


def test_a_parameter_without_a_value_is_usage(shop: Crm) -> None:
    said = shop("segments", "run", "abc", "--param", "rule")
    assert (2, True) == (said.code, "rule=crossing" in said.err)


def test_the_profile_names_the_segments_of_the_customer(shop: Crm) -> None:
    assert "abc" in shop.ok("customers", "show", "ada@example.org", "--json").json["segments"]


def test_the_installed_plugins_pass_their_check(shop: Crm) -> None:
    checked = {one["name"]: one["status"] for one in shop.ok("plugins", "check", "--json").json}
    assert {"active"} == {checked[name] for name in ("kpi", "segments", "storage-sql")}


def test_a_plugin_explains_itself(shop: Crm) -> None:
    found = shop.ok("plugins", "explain", "kpi", "--json").json
    assert ("crm-kpi", "active") == (found["distribution"], found["status"])
    assert "register_metrics" in shop.ok("plugins", "explain", "kpi").out


def test_an_unknown_plugin_says_what_is_installed(shop: Crm) -> None:
    said = shop("plugins", "explain", "kpis")
    assert 1 == said.code
    assert "kpi" in said.err


def test_time_says_what_each_plugin_cost(shop: Crm) -> None:
    timed = {one["name"]: one for one in shop.ok("plugins", "time", "--json").json}
    assert timed["storage-sql"]["calls"] >= 1
    assert "time in hooks" in shop.ok("plugins", "time").out


def test_a_manifest_is_compared_with_the_code(shop: Crm) -> None:
    assert [] == shop.ok("plugins", "manifest", "crm_kpi", "--json").json["differences"]


def test_a_disabled_plugin_takes_its_commands_along(shop: Crm) -> None:
    settings = shop.directory / "crm.toml"
    settings.write_text(settings.read_text(encoding="utf-8") + '[plugins]\ndisabled = ["kpi"]\n', encoding="utf-8")
    assert "report" not in [line.split()[0] for line in shop.process("--help").out.splitlines() if line.strip()]
    assert 2 == shop("report").code
    assert "pip install crm-kpi" in shop.ok("metrics", "list").out


def test_own_hooks_of_a_developer_are_listed(shop: Crm) -> None:
    hooks = "from crm_core import hookimpl\n\n\n@hookimpl\ndef register_topics():\n    return []\n"
    (shop.directory / "my_hooks.py").write_text(hooks, encoding="utf-8")
    settings = shop.directory / "crm.toml"
    text = settings.read_text(encoding="utf-8") + '[plugins]\npaths = ["./my_hooks.py"]\n'
    settings.write_text(text, encoding="utf-8")
    assert "my_hooks" in {one["name"] for one in shop.ok("plugins", "list", "--json").json}


def test_concurrent_edits_with_a_version_lose_nothing(crm: Crm, tmp_path: Path) -> None:
    from concurrent.futures import ThreadPoolExecutor

    reference = crm.ok("customers", "add", "Ada", "--json").json["id"]
    crm.ok("fields", "add", "customer", "points", "--kind", "integer")

    def count_up(times: int) -> int:
        conflicts = 0
        while times:
            (seen,) = crm.process("customers", "list", "--json").json
            points = (seen["fields"]["points"] or 0) + 1
            said = crm.process("customers", "edit", reference, f"points={points}", "--if-version", str(seen["version"]))
            assert said.code in (0, 1), said
            times -= said.code == 0
            conflicts += said.code == 1
        return conflicts

    with ThreadPoolExecutor(2) as threads:
        list(threads.map(count_up, [2, 2]))
    assert 4 == crm.ok("customers", "show", reference, "--json").json["fields"]["points"]


def test_a_record_without_a_currency_is_left_out_once_and_rows_name_their_currency(shop: Crm) -> None:
    for amount in ("10 EUR", "10 AMD", "10 USD"):
        shop.ok("sales", "add", "ada@example.org", amount)
    shop.ok("deals", "add", "ada@example.org", "Favour")
    shop.ok("deals", "move", "Favour", "won")
    asked = ("metrics", "show", "revenue", "average_order_value", "refund_rate")
    text = shop.ok(*asked).out
    for name in asked[2:]:
        assert f"{name}: 1 left out: sales without an amount" in text
    rates = [line.split() for line in text.splitlines() if line.startswith("Refund rate")]
    assert ["AMD", "EUR", "USD"] == [words[2] for words in rates]
    rows = shop.ok(*asked, "--json").json
    counted = {name: [r["currency"] for r in rows if r["metric"] == name and r["excluded"]] for name in asked[2:]}
    assert {name: ["EUR"] for name in asked[2:]} == counted
