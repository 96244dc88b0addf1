from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from datetime import date
from fractions import Fraction
from pathlib import Path

import pytest

from crm_core import CRM, Customer, Deal, Interaction, Money, Sale, User
from crm_core.errors import InvalidValue, Vetoed

WORKSPACE = Path(__file__).parent.parent


@pytest.fixture
def crm() -> Iterator[CRM]:
    with CRM.open(WORKSPACE) as opened:
        yield opened


def deal_of_an_order(crm: CRM, **more: object) -> Deal:
    customer = crm.customers.add(Customer(name="Ada"))
    return crm.deals.add(Deal(customer_id=customer.id, title="Manual").evolve(**more))


def test_the_script_runs_from_anywhere(tmp_path: Path) -> None:
    script = WORKSPACE / "app.py"
    done = subprocess.run([sys.executable, script], cwd=tmp_path, capture_output=True, text=True, encoding="utf-8")
    assert (0, "") == (done.returncode, done.stderr)
    assert [
        "refused: the deal was refused by my_hooks: amount: an order is won with its amount",
        "to do: Ask how A novel was received",
        "next step: Answer the complaint: Chapter 3 is missing",
        "in literature: 1; large orders: A novel",
        "worth: 5280.0 EUR",
        "undone: edit customer, {'customer': 1}",
        "pipelines: orders, agreements, sales",
    ] == done.stdout.splitlines()
    assert [] == list(tmp_path.iterdir())


def test_the_own_code_is_one_plugin_and_active(crm: CRM) -> None:
    own = [plugin for plugin in crm.host.plugins() if plugin.name == "my_hooks"]
    assert ["active"] == [plugin.status for plugin in own]
    marked = re.findall(r"@hookimpl\ndef (\w+)", (WORKSPACE / "my_hooks.py").read_text("utf-8"))
    assert sorted(marked) == sorted(own[0].hooks)


def test_the_own_pipeline_is_the_default_and_the_kernels_stays(crm: CRM) -> None:
    assert ["orders", "agreements", "sales"] == list(crm.pipelines)
    assert ("orders", "asked") == ((deal := deal_of_an_order(crm)).pipeline, deal.stage)


def test_an_order_is_not_won_without_an_amount(crm: CRM) -> None:
    deal = deal_of_an_order(crm)
    with pytest.raises(Vetoed, match="an order is won with its amount"):
        crm.deals.move(deal, "won")
    assert ("asked", 0) == (crm.deals.get(deal.id).stage, crm.sales.count())


def test_an_agreement_is_renewed_without_a_sale(crm: CRM) -> None:
    deal = deal_of_an_order(crm, pipeline="agreements")
    crm.deals.move(deal, "renewed")
    assert 0 == crm.sales.count()


def test_an_organisation_needs_a_sector(crm: CRM) -> None:
    with pytest.raises(Vetoed, match="needs a sector"):
        crm.customers.add(Customer(name="Aras Ltd", kind="organisation"))
    stored = crm.customers.add(Customer(name="Aras Ltd", kind="organisation").with_fields(sector="law"))
    assert {"sector": "law"} == {name: value for name, value in stored.fields.items() if value is not None}


def test_an_own_field_keeps_to_its_choices(crm: CRM) -> None:
    with pytest.raises(InvalidValue, match="sector"):
        crm.customers.add(Customer(name="Aras Ltd").with_fields(sector="fishing"))


def test_rework_is_a_topic_and_says_what_is_wrong(crm: CRM) -> None:
    with pytest.raises(Vetoed, match="a rework says what is wrong"):
        crm.interactions.add(Interaction(topic="rework"))
    assert "rework" == crm.interactions.add(Interaction(topic="rework", body="Page 3")).topic


def test_a_sale_in_closed_books_is_refused(crm: CRM) -> None:
    with pytest.raises(Vetoed, match="the books are closed up to 2024-12-31"):
        crm.sales.add(Sale(sold_at=date(2024, 12, 31), amount=Money("10", "EUR")))
    assert 1 == crm.sales.add(Sale(sold_at=date(2025, 1, 1), amount=Money("10", "EUR"))).version


def test_a_win_is_followed_up_once(crm: CRM) -> None:
    deal = deal_of_an_order(crm, amount=Money("10", "EUR"))
    won = crm.deals.move(deal, "won")
    crm.deals.move(crm.deals.move(won, "quoted"), "won")
    assert ["Ask how Manual was received"] == [note.subject for note in crm.interactions.find()]


def test_a_complaint_becomes_the_next_step(crm: CRM) -> None:
    customer = crm.customers.add(Customer(name="Ada"))
    crm.interactions.add(Interaction(customer_id=customer.id, topic="complaint", subject="late"))
    assert "Answer the complaint: late" == crm.customers.get(customer.id).next_step


def test_a_new_owner_takes_over_open_deals_and_no_closed_one(crm: CRM) -> None:
    before, after = (crm.users.add(User(name=name)) for name in ("Ani", "Babak"))
    customer = crm.customers.add(Customer(name="Ada", owner_id=before.id))
    closed, open_ = (
        crm.deals.add(Deal(title=title, customer_id=customer.id, owner_id=before.id)) for title in ("closed", "open")
    )
    crm.deals.move(closed, "lost")
    crm.customers.edit(customer.evolve(owner_id=after.id))
    assert [before.id, after.id] == [crm.deals.get(deal.id).owner_id for deal in (closed, open_)]


def test_the_own_rates_come_before_any_other(crm: CRM) -> None:
    assert Fraction(22, 10_000) == crm.exchange_rate("AMD", "EUR", date(2025, 9, 1))
    assert Fraction(24, 10_000) == crm.exchange_rate("AMD", "EUR", date(2025, 6, 30))
    assert None is crm.exchange_rate("AMD", "EUR", date(2024, 6, 30))
