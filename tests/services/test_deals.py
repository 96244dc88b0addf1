"""Deals follow their pipeline, moves leave their traces, a win is one sale, and reopening voids it."""

from __future__ import annotations

from datetime import UTC, date, datetime

import pytest

from crm_core import CRM, Customer, Deal, Money, Sale, User, hookimpl
from crm_core.errors import InvalidValue, NotFound, UsageError
from crm_core.extend import Pipeline, Stage
from crm_core.records import DealChange, StageChange
from crm_core.values import FixedClock, format_id

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
EUR_10 = Money("10", "EUR")


def moves(crm: CRM) -> list[tuple[str | None, str]]:
    return [(one.from_stage, one.to_stage) for one in crm.records(StageChange).find()]


def test_a_new_deal_takes_the_first_stage_of_the_default_pipeline(crm: CRM) -> None:
    deal = crm.deals.add(Deal(title="D"))
    assert ("sales", "new", "open", None) == (deal.pipeline, deal.stage, deal.status, deal.closed_at)
    assert (None, None) == (deal.amount, deal.opened_at), "what is unknown stays unknown"


def test_the_status_follows_from_the_stage_whatever_the_caller_says(crm: CRM) -> None:
    assert "open" == crm.deals.add(Deal(title="D", status="won")).status
    deal = crm.deals.add(Deal(title="D", stage="Won", status="lost"))
    assert ("won", "won") == (deal.stage, deal.status)


@pytest.mark.parametrize(
    ("deal", "field"),
    [
        (Deal(title="D", stage="nowhere"), "stage"),
        (Deal(title="D", pipeline="none"), "pipeline"),
        (Deal(title=" "), "title"),
        (Deal(title="D", stage=5), "stage"),  # type: ignore[arg-type]
        (Deal(title="D", amount=5), "amount"),  # type: ignore[arg-type]
        (Deal(title="D", amount=Money("-1", "EUR")), "amount"),
        (Deal(title="D", customer_id=99), "customer_id"),
        (Deal(title="D", customer_id=0), "customer_id"),
        (Deal(title="D", owner_id="ada"), "owner_id"),  # type: ignore[arg-type]
    ],
)
def test_what_is_wrong_with_a_deal_is_named_by_its_field(crm: CRM, deal: Deal, field: str) -> None:
    with pytest.raises(InvalidValue) as caught:
        crm.deals.add(deal)
    assert (field, 0) == (caught.value.field, crm.deals.count())


def test_a_win_writes_one_sale_and_its_stage_change_in_the_same_transaction(crm: CRM) -> None:
    customer, owner = crm.customers.add(Customer(name="Ada")), crm.users.add(User(name="Olga"))
    deal = crm.deals.add(Deal(title="D", customer_id=customer.id, owner_id=owner.id, amount=EUR_10, source="fair"))
    won = crm.deals.move(deal, "won", at=date(2026, 3, 1))
    (sale,) = crm.sales.find()
    expected = (customer.id, owner.id, deal.id, EUR_10, "fair", date(2026, 3, 1))
    assert expected == (sale.customer_id, sale.owner_id, sale.deal_id, sale.amount, sale.source, sale.sold_at)
    assert (date(2026, 3, 1), won.updated_tx) == (won.closed_at, sale.created_tx)
    assert [(None, "new"), ("new", "won")] == moves(crm)


def test_reopening_voids_the_sale_and_its_refunds_and_winning_again_writes_another(crm: CRM) -> None:
    won = crm.deals.move(crm.deals.add(Deal(title="D", amount=EUR_10)), "won")
    (sale,) = crm.sales.find()
    crm.sales.refund(sale, Money("4", "EUR"))
    opened = crm.deals.move(won, "proposal")
    assert (None, "open") == (opened.closed_at, opened.status)
    assert 0 == crm.sales.count("voided_at is null")
    crm.deals.move(opened, "won")
    assert 1 == crm.sales.count("voided_at is null")


def test_a_deal_won_before_and_moved_between_won_stages_has_one_sale(crm: CRM) -> None:
    won = crm.deals.add(Deal(title="D", stage="won", amount=EUR_10))
    crm.deals.edit(won.evolve(next_step="invoice"))
    crm.deals.move(won.id, "won")
    assert 1 == crm.sales.count()


def test_a_won_deal_that_is_corrected_corrects_its_sale(crm: CRM) -> None:
    ada, owner = crm.customers.add(Customer(name="Ada")), crm.users.add(User(name="Olga"))
    won = crm.deals.move(crm.deals.add(Deal(title="D", source="fair")), "won", at=date(2026, 3, 1))
    right = won.evolve(customer_id=ada.id, owner_id=owner.id, amount=EUR_10, source="web", closed_at=date(2026, 3, 2))
    crm.deals.edit(right)
    (sale,) = crm.sales.find()
    expected = (ada.id, owner.id, EUR_10, "web", date(2026, 3, 2))
    assert expected == (sale.customer_id, sale.owner_id, sale.amount, sale.source, sale.sold_at)
    crm.ledger.undo(crm.ledger.resolve("last"))
    (sale,) = crm.sales.find()
    assert (None, None, None, "fair") == (sale.customer_id, sale.owner_id, sale.amount, sale.source)


def test_what_was_said_of_a_sale_itself_stands_when_its_deal_is_corrected(crm: CRM) -> None:
    won = crm.deals.add(Deal(title="D", stage="won", amount=EUR_10, source="fair"))
    (sale,) = crm.sales.find()
    crm.sales.edit(sale.evolve(amount=Money("9", "EUR")))
    crm.deals.edit(won.evolve(amount=Money("12", "EUR"), source="web"))
    assert [(Money("9", "EUR"), "web")] == [(one.amount, one.source) for one in crm.sales.find()]


def test_an_unknown_amount_gives_a_sale_without_one(crm: CRM) -> None:
    crm.deals.add(Deal(title="D", stage="won"))
    assert [None] == [sale.amount for sale in crm.sales.find()]


def test_a_loss_keeps_its_reason_until_the_deal_is_open_again(crm: CRM) -> None:
    lost = crm.deals.move(crm.deals.add(Deal(title="D")), "lost", lost_reason="price")
    assert ("lost", "price") == (lost.status, lost.lost_reason)
    assert lost.closed_at is not None
    won = crm.deals.move(lost, "won")
    assert None is won.lost_reason


def test_a_change_of_stage_by_edit_is_a_move_too(crm: CRM) -> None:
    one, two = (crm.deals.add(Deal(title=title, amount=EUR_10)) for title in "DE")
    crm.deals.edit(one.evolve(stage="won"))
    crm.deals.edit_many([two.evolve(stage="won")])
    assert 2 == crm.sales.count()
    assert [("new", "won")] * 2 == moves(crm)[2:]


def test_a_history_stored_in_bulk_says_its_own_sales_and_moves(crm: CRM) -> None:
    crm.deals.add_many([Deal(title="D", stage="won", amount=EUR_10, closed_at=date(2017, 1, 1))])
    assert (0, 0) == (crm.sales.count(), len(moves(crm)))


def test_a_deal_is_moved_by_id_or_as_a_person_names_it(crm: CRM) -> None:
    deal = crm.deals.add(Deal(title="Great deal"))
    crm.deals.move(deal.id, "Qualified")
    crm.deals.move("great DEAL", "proposal")
    moved = crm.deals.move(format_id(deal.id), "negotiation")
    assert ("negotiation", 4) == (moved.stage, moved.version)
    with pytest.raises(NotFound, match="no stage 'nowhere'"):
        crm.deals.move(moved, "nowhere")


def test_amount_owner_and_expected_close_leave_deal_changes(crm: CRM) -> None:
    owner = crm.users.add(User(name="Olga"))
    deal = crm.deals.add(Deal(title="D", amount=EUR_10))
    crm.deals.edit(deal.evolve(amount=Money("12.50", "EUR"), owner_id=owner.id, next_step="call"))
    changes = {(one.field, one.old, one.new) for one in crm.records(DealChange).find()}
    assert {("amount", "10.00 EUR", "12.50 EUR"), ("owner_id", None, format_id(owner.id))} == changes


def test_a_pipeline_may_say_that_a_win_is_no_sale() -> None:
    class Hiring:
        @hookimpl
        def register_pipelines(self) -> list[Pipeline]:
            stages = (Stage(name="applied"), Stage(name="hired", kind="won"))
            return [Pipeline(name="hiring", stages=stages, on_won="nothing")]

    with CRM.open("memory:", plugins=[Hiring()]) as crm:
        deal = crm.deals.add(Deal(title="D", pipeline="hiring"))
        won = crm.deals.move(deal, "hired")
        assert ("applied", "won", 0) == (deal.stage, won.status, crm.sales.count())


def test_now_is_the_clocks(crm: CRM) -> None:
    with CRM.open("memory:", clock=FixedClock(NOW)) as fixed:
        fixed.deals.move(fixed.deals.add(Deal(title="D")), "won")
        assert {NOW} == {sale.sold_at for sale in fixed.sales.find()}


def test_a_sale_is_refunded_up_to_what_is_left_of_it(crm: CRM) -> None:
    sale = crm.sales.add(Sale(amount=EUR_10))
    refund = crm.sales.refund(sale, Money("4", "EUR"))
    assert ("refund", sale.id, Money("4", "EUR")) == (refund.kind, refund.refunds_sale_id, refund.amount)
    with pytest.raises(UsageError, match=r"7.00 EUR cannot be refunded: 6.00 EUR is left"):
        crm.sales.refund(sale, Money("7", "EUR"))
    with pytest.raises(UsageError, match="cannot be refunded"):
        crm.sales.refund(sale, Money("1", "USD"))
    assert Money("6", "EUR") == crm.sales.refund(sale).amount
    voided = crm.sales.void(sale)
    assert 0 == crm.sales.count("voided_at is null"), "its refunds count no more either"
    with pytest.raises(UsageError, match="voided already"):
        crm.sales.void(voided)
    with pytest.raises(UsageError, match="no sale with a known amount that counts"):
        crm.sales.refund(sale)


def test_a_refund_that_is_added_is_held_against_its_sale_too(crm: CRM) -> None:
    sale = crm.sales.add(Sale(amount=EUR_10))
    crm.sales.add(Sale(kind="refund", refunds_sale_id=sale.id, amount=Money("4", "EUR")))
    with pytest.raises(UsageError, match=r"7.00 EUR cannot be refunded: 6.00 EUR is left"):
        crm.sales.add(Sale(kind="refund", refunds_sale_id=sale.id, amount=Money("7", "EUR")))
    crm.sales.add(Sale(kind="refund", amount=Money("7", "EUR")))
    assert 3 == crm.sales.count()


def test_a_deal_with_a_sale_is_not_deleted(crm: CRM) -> None:
    won = crm.deals.add(Deal(title="D", stage="won"))
    with pytest.raises(Exception, match=r"is still referenced by 1 sale$"):
        crm.deals.delete(won)
