"""Records on the command line: what is added is listed, shown, changed, deleted and brought back."""

from __future__ import annotations

from pathlib import Path

import attrs
import pytest

from crm_core import CRM, Customer, hookimpl
from crm_core.events import CustomersChanged
from tests.cli.calling import Crm, process

pytestmark = pytest.mark.database("sqlite")

LISTS = (
    ("customers", "list"),
    ("interactions", "list"),
    ("deals", "list"),
    ("sales", "list"),
    ("users", "list"),
    ("teams", "list"),
    ("pipelines", "list"),
    ("fields", "list"),
    ("metrics", "list"),
    ("segments", "list"),
    ("ledger", "log"),
    ("plugins", "list"),
)


@pytest.mark.parametrize("command", LISTS, ids=" ".join)
def test_every_list_has_json_that_is_a_list_and_text_that_is_plain(shop: Crm, command: tuple[str, ...]) -> None:
    assert isinstance(shop.ok(*command, "--json").json, list)
    assert "\x1b" not in shop.ok(*command).out


@pytest.mark.parametrize(
    "command", [("storage", "status"), ("deals", "board"), ("customers", "show", "ada@example.org")]
)
def test_every_answer_has_json(shop: Crm, command: tuple[str, ...]) -> None:
    assert isinstance(shop.ok(*command, "--json").json, dict)


def test_an_empty_list_says_what_would_not_be_empty(shop: Crm) -> None:
    assert "there are 2" in shop.ok("customers", "list", "--where", 'country = "DE"').out
    assert "crm sales --help" in Crm(shop.directory).ok("sales", "list", "--where", 'kind = "refund"').out or (
        "there are 1" in shop.ok("sales", "list", "--where", 'kind = "refund"').out
    )


def test_json_of_a_record_has_ids_as_text_and_money_as_an_object(shop: Crm) -> None:
    (deal,) = shop.ok("deals", "list", "--where", 'title = "Licence"', "--json").json
    assert 13 == len(deal["id"])
    assert {"amount": "1200.00", "currency": "EUR"} == deal["amount"]
    assert "won" == deal["status"]
    assert deal["closed_at"].endswith("+00:00")
    assert {} == deal["fields"] == deal["ext"]


def test_digits_of_any_script_are_numbers(shop: Crm) -> None:
    (deal,) = shop.ok("deals", "list", "--where", 'title = "Support"', "--json").json
    assert {"amount": "300.00", "currency": "USD"} == deal["amount"]
    assert 1 == len(shop.ok("customers", "list", "--limit", "۱", "--json").json)


def test_an_amount_without_a_code_is_in_the_currency_of_the_workspace(shop: Crm) -> None:
    sale = shop.ok("sales", "add", "ada@example.org", "20.50", "--at", "2026-03-01", "--json").json
    assert {"amount": "20.50", "currency": "EUR"} == sale["amount"]
    assert "2026-03-01" == sale["sold_at"]


def test_pages_follow_the_cursor_that_the_page_before_named(crm: Crm) -> None:
    for name in "ABCDE":
        crm.ok("customers", "add", name)
    seen, said = [], crm.ok("customers", "list", "--sort", "-name", "--limit", "2", "--json")
    while "--after" in said.err:
        seen += [record["name"] for record in said.json]
        cursor = said.err.split()[-1]
        said = crm.ok("customers", "list", "--sort", "-name", "--limit", "2", "--after", cursor, "--json")
    seen += [record["name"] for record in said.json]
    assert list("EDCBA") == seen


def test_edit_sets_clears_and_changes_tags(shop: Crm) -> None:
    edited = shop.ok("customers", "edit", "ada@example.org", "city=London", "tags+=vip", "country=", "--json").json
    assert ("London", ["vip"], None) == (edited["city"], edited["tags"], edited["country"])
    assert [] == shop.ok("customers", "edit", "ada@example.org", "tags-=vip", "--json").json["tags"]


def test_edit_refuses_what_follows_from_other_fields(shop: Crm) -> None:
    said = shop("deals", "edit", "Licence", "status=open")
    assert 2 == said.code
    assert "status" in said.err


def test_references_are_typed_by_name_and_shown_by_name(shop: Crm) -> None:
    assert "Sara Ahmadi" in shop.ok("deals", "list").out
    assert "Sara Ahmadi" in shop.ok("customers", "show", "Ada Lovelace").out


def test_winning_a_deal_writes_its_sale_and_undo_takes_both_back(shop: Crm) -> None:
    (sale,) = shop.ok("sales", "list", "--json").json
    assert {"amount": "1200.00", "currency": "EUR"} == sale["amount"]
    shop.ok("deals", "move", "Support", "won")
    assert 2 == len(shop.ok("sales", "list", "--json").json)
    report = shop.ok("ledger", "undo", "last", "--json").json
    assert [] == report["kept"] == report["refused"]
    assert 1 == len(shop.ok("sales", "list", "--json").json)
    (deal,) = shop.ok("deals", "list", "--where", 'title = "Support"', "--json").json
    assert ("new", "open") == (deal["stage"], deal["status"])


def test_a_lost_deal_keeps_its_reason_in_one_operation(shop: Crm) -> None:
    deal = shop.ok("deals", "move", "Support", "lost", "--reason", "price", "--json").json
    assert ("lost", "price") == (deal["status"], deal["lost_reason"])
    shop.ok("ledger", "undo", "last", "--yes")
    (back,) = shop.ok("deals", "list", "--where", 'title = "Support"', "--json").json
    assert ("open", None) == (back["status"], back["lost_reason"])


def test_an_undo_is_previewed_without_writing(shop: Crm) -> None:
    before = shop.ok("customers", "list", "--json").out
    said = shop.ok("ledger", "undo", "last", "--dry-run")
    assert "would go back" in said.out
    assert before == shop.ok("customers", "list", "--json").out


def test_a_deleted_customer_comes_back_with_its_contact_point(shop: Crm) -> None:
    shop.ok("customers", "delete", "سارا احمدی", "--yes")
    assert 1 == len(shop.ok("customers", "list", "--json").json)
    shop.ok("ledger", "undo", "last", "--yes")
    back = shop.ok("customers", "show", "سارا احمدی", "--json").json
    assert ["vip"] == back["tags"]
    assert "+98 21 5550 1000" in [one["value"] for one in back["contact_points"]]


def test_the_ledger_shows_what_an_operation_changed(shop: Crm) -> None:
    shop.ok("customers", "edit", "ada@example.org", "city=London")
    shown = shop.ok("ledger", "show", "last", "--json").json
    assert {"customers": {"updated": 1}} == shown["counts"]
    (change,) = shown["changes"]
    assert ("Ada Lovelace", {"city": {"old": None, "new": "London"}}) == (change["label"], change["fields"])
    assert "city: – → London" in shop.ok("ledger", "show", "last").out


def test_a_sale_is_voided_and_refunded(shop: Crm) -> None:
    sale = shop.ok("sales", "add", "ada@example.org", "100 EUR", "--json").json
    back = shop.ok("sales", "refund", sale["id"], "40 EUR", "--json").json
    assert ("refund", sale["id"]) == (back["kind"], back["refunds_sale_id"])
    voided = shop.ok("sales", "void", back["id"], "--yes", "--json").json
    assert voided["voided_at"] is not None


def test_the_profile_gathers_everything_newest_first(shop: Crm) -> None:
    profile = shop.ok("customers", "show", "ada@example.org", "--json").json
    assert ["email"] == [one["kind"] for one in profile["contact_points"]]
    assert {"Licence", "Support"} == {deal["title"] for deal in profile["deals"]}
    assert {"call", "stage", "sale"} <= {event["kind"] for event in profile["timeline"]}
    times = [event["at"] for event in profile["timeline"]]
    assert sorted(times, reverse=True) == times
    text = shop.ok("customers", "show", "ada@example.org").out
    assert "Asked for a quote" in text
    assert "Deals: 1 open, 1 won" in text
    assert "Sales: 1,200.00 EUR" in text


def test_a_field_of_the_teams_own_is_added_and_used(shop: Crm) -> None:
    field = shop.ok("fields", "add", "customer", "sector", "--choice", "retail", "--choice", "food", "--json").json
    assert ("fields.sector", "crm.toml") == (field["field"], field["from"])
    shop.ok("customers", "edit", "ada@example.org", "sector=food")
    (ada,) = shop.ok("customers", "list", "--where", 'fields.sector = "food"', "--json").json
    assert {"sector": "food"} == ada["fields"]
    assert 1 == shop("customers", "edit", "ada@example.org", "sector=steel").code


def test_the_board_counts_and_sums_by_stage_and_currency(shop: Crm) -> None:
    shop.ok("deals", "add", "ada@example.org", "Training", "--amount", "50 EUR")
    shop.ok("deals", "add", "ada@example.org", "Something")
    board = {lane["stage"]: lane for lane in shop.ok("deals", "board", "--json").json["stages"]}
    assert 3 == board["new"]["deals"]
    assert [{"amount": "50.00", "currency": "EUR"}, {"amount": "300.00", "currency": "USD"}] == board["new"]["sums"]
    assert 1 == board["new"]["without_amount"]
    assert 1 == board["won"]["deals"]


def test_the_board_stays_within_80_columns_with_long_names_of_any_script(shop: Crm) -> None:
    from crm_core.console import width

    name = "شرکت بازرگانی بسیار بزرگ و نام‌دراز آفتاب البرز پارسه و شرکای بین‌المللی"
    shop.ok("customers", "add", name, "--kind", "organisation")
    shop.ok(
        "deals", "add", name, "قرارداد پشتیبانی سه‌ساله برای همهٔ شعبه‌های شرکت در سراسر کشور", "--amount", "123456789 EUR"
    )
    lines = shop.ok("deals", "board").out.splitlines()
    assert max(map(width, lines)) <= 80
    assert any("123,456,789.00 EUR" in line for line in lines)


@pytest.mark.parametrize("columns", [32, 40, 63, 64, 70, 200])
def test_the_board_fits_a_narrow_terminal_and_shows_every_amount(
    shop: Crm, monkeypatch: pytest.MonkeyPatch, columns: int
) -> None:
    from crm_core.console import width

    monkeypatch.setenv("COLUMNS", str(columns))
    shop.ok(
        "deals", "add", "Ada Lovelace", "قرارداد پشتیبانی سه‌ساله برای همهٔ شعبه‌های شرکت", "--amount", "123456789 EUR"
    )
    lines = shop.ok("deals", "board").out.splitlines()
    assert max(map(width, lines)) <= min(columns, 80)
    (line,) = [line for line in lines if "123,456,789.00 EUR" in line and "قرا" in line]
    assert ("Ada" in line) == (columns >= 64)


def test_an_edit_that_says_what_is_there_already_says_that_nothing_changed(shop: Crm) -> None:
    shop.ok("customers", "edit", "Ada Lovelace", "city=ایروان")
    (before,) = [c["version"] for c in shop.ok("customers", "list", "--json").json if c["name"] == "Ada Lovelace"]
    said = shop.ok("customers", "edit", "Ada Lovelace", "city=ایروان")
    assert said.out.startswith("nothing changed: customer Ada Lovelace (")
    assert f"version {before})" in said.out
    assert shop.ok("customers", "edit", "Ada Lovelace", "city=Gyumri").out.startswith("changed customer Ada Lovelace (")


def test_a_storage_url_may_stand_for_a_workspace(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'team.db'}"
    assert 0 == process("customers", "add", "Ada", "-w", url).code
    assert ["Ada"] == [one["name"] for one in process("-w", url, "customers", "list", "--json").json]


def test_a_late_deal_is_marked_on_the_board(shop: Crm) -> None:
    shop.ok("deals", "edit", "Support", "expected_close_on=2020-01-31")
    said = shop.ok("deals", "board").out
    assert "300.00 USD!" in said
    assert "! is later than its expected close" in said


def test_as_names_the_user_at_work(shop: Crm) -> None:
    shop.ok("--as", "sara@example.org", "customers", "add", "New")
    shop.ok("customers", "add", "Newer", "--as", "sara@example.org")
    newest, before = shop.ok("ledger", "log", "--limit", "2", "--json").json
    assert newest["user"] == before["user"] is not None


def test_whoever_crm_toml_names_may_come_after_other_users(tmp_path: Path) -> None:
    place = str(tmp_path / "ws")
    assert 0 == process("init", place, "--user", "boss").code
    assert 0 == process("-w", place, "users", "add", "Ann").code
    newest = process("-w", place, "ledger", "log", "--json").json[0]["id"]
    assert 0 == process("-w", place, "ledger", "undo", newest, "--yes").code
    assert 0 == process("-w", place, "users", "add", "Ann").code
    told = process("-w", place, "customers", "add", "Eve")
    assert 0 == told.code
    assert "crm users add 'boss'" in told.err
    assert (0, "") == ((added := process("-w", place, "users", "add", "boss")).code, added.err)
    assert 0 == process("-w", place, "customers", "add", "Ada").code
    assert [True, False, False] == [bool(e["user"]) for e in process("-w", place, "ledger", "log", "--json").json[:3]]
    assert 1 == process("-w", place, "--as", "nobody", "customers", "add", "Eve").code


def test_upgrade_of_a_current_database_has_nothing_to_do(shop: Crm) -> None:
    assert not shop.ok("storage", "upgrade", "--dry-run", "--json").json["needed"]
    assert "up to date" in shop.ok("storage", "upgrade").out


def test_the_doctor_finds_nothing_wrong_in_a_good_workspace(shop: Crm) -> None:
    said = shop("doctor", "--json")
    assert [] == [one for one in said.json if one["what"] not in _plugin_checks(said.json) and one["state"] != "well"]


def test_the_doctor_says_what_to_do_with_a_database_that_is_none(shop: Crm) -> None:
    for file in shop.directory.glob("crm.db*"):
        file.unlink()
    (shop.directory / "crm.db").write_text("no database" * 500)
    said = shop("doctor", "--json")
    assert 1 == said.code
    assert ["wrong"] == [one["state"] for one in said.json if one["what"] == "workspace"]


def test_the_doctor_shows_what_a_plugin_could_not_take_in(shop: Crm) -> None:
    class Away:
        @hookimpl
        def on_customers_changed(self, event: CustomersChanged) -> None:
            raise ValueError("mail server away")

    with CRM.open(shop.directory, plugins=[Away()]) as crm:
        crm.customers.add(Customer(name="New"))
        for _ in range(5):
            assert ["doubtful"] == [one["state"] for one in _deliveries(shop)]
            for cursor in crm.ledger.delivery.cursors():
                crm.ledger.delivery.leases.save([attrs.evolve(cursor, next_at=0)])
            crm.ledger.deliver()
    (found,) = _deliveries(shop)
    assert "1 transaction given up on" in found["text"]
    assert "mail server away" in found["text"]


def _deliveries(shop: Crm) -> list[dict[str, str]]:
    return [one for one in shop("doctor", "--json").json if one["what"] == "deliveries"]


def _plugin_checks(findings: list[dict[str, str]]) -> set[str]:
    return {one["what"] for one in findings if one["what"].startswith("plugin ")}


@pytest.mark.parametrize("where", ["amount > 500", "not amount in (1, ۵۰۰)", 'status = "won" and amount >= 1000'])
def test_a_filter_by_an_amount_says_which_currency_it_compares(shop: Crm, where: str) -> None:
    said = shop.ok("deals", "list", "--where", where)

    assert "amount was compared in EUR; deals in other currencies are left out, write such as amount > " in said.err
    assert "USD" in said.err


@pytest.mark.parametrize("where", ['amount > "500 USD"', 'status = "won"', "amount is null", "created_at > 2020-01-01"])
def test_a_filter_that_compares_all_there_is_says_nothing(shop: Crm, where: str) -> None:
    assert "" == shop.ok("deals", "list", "--where", where).err


def test_a_filter_by_an_amount_says_nothing_where_there_is_one_currency(shop: Crm) -> None:
    (support,) = shop.ok("deals", "list", "--where", 'title = "Support"', "--json").json
    shop.ok("deals", "edit", support["id"], "amount=300 EUR")

    assert "" == shop.ok("deals", "list", "--where", "amount > 500").err
