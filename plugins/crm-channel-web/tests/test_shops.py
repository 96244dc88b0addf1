"""Orders of shops: one sale an order, its lines, its refunds, in whatever order the shop tells of them."""

from __future__ import annotations

import base64
import hmac
import itertools
import json
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from crm_channel_web import ShopOrder
from crm_core import CRM, Customer, Money, hookimpl
from crm_core.events import SalesChanging, Veto
from crm_products import Product, SaleLine
from tests.databases import DATABASES
from tests.opening import url_for

from .conftest import SECRETS, Client, serving, signed_order

pytestmark = pytest.mark.database("sqlite")
LAMP = {"id": 1, "name": "Lamp", "product_id": 11, "quantity": 2, "total": "80.00", "total_tax": "15.20", "sku": "L-1"}


def woo_order(minute: int = 0, **changes: Any) -> dict[str, Any]:
    """An order as the REST interface of WooCommerce describes it, changed in a minute of its day."""
    return {
        "id": 727,
        "status": "processing",
        "currency": "EUR",
        "total": "99.20",
        "date_created_gmt": "2026-11-20T08:00:00",
        "date_modified_gmt": f"2026-11-20T08:{minute:02}:00",
        "customer_note": "",
        "billing": {"first_name": "سارا", "last_name": "احمدی", "email": "sara@example.org", "country": "IR"},
        "line_items": [LAMP],
        "refunds": [],
        **changes,
    }


def shopify_order(minute: int = 0, **changes: Any) -> dict[str, Any]:
    """An order as the REST interface of Shopify describes it."""
    return {
        "id": 820982911946154508,
        "email": "jon@example.com",
        "created_at": "2026-11-20T09:00:00+01:00",
        "updated_at": f"2026-11-20T09:{minute:02}:00+01:00",
        "cancelled_at": None,
        "currency": "EUR",
        "financial_status": "paid",
        "total_price": "60.00",
        "note": None,
        "customer": {"first_name": "Jon", "last_name": "Doe", "phone": None},
        "billing_address": {"country_code": "DE", "city": "Köln"},
        "line_items": [{"id": 5, "variant_id": 7, "name": "Vase", "sku": "V-1", "price": "30.00", "quantity": 2}],
        "refunds": [],
        **changes,
    }


def woo(client: Client, minute: int = 0, **changes: Any) -> int:
    body, headers = signed_order(woo_order(minute, **changes))
    return client.post("/hooks/shop", body, headers).status


def shopify(client: Client, minute: int = 0, topic: str = "orders/updated", **changes: Any) -> int:
    body = json.dumps(shopify_order(minute, **changes)).encode()
    signature = base64.b64encode(hmac.digest(SECRETS["SHOP"].encode(), body, "sha256")).decode()
    headers = {"x-shopify-hmac-sha256": signature, "x-shopify-topic": topic, "x-shopify-webhook-id": "b54557e4"}
    return client.post("/hooks/boutique", body, headers).status


def sold(crm: CRM) -> list[tuple[str, str]]:
    """Kind and amount of what counts, in the order of writing."""
    return [(each.kind, str(each.amount)) for each in crm.sales.find("voided_at is null", sort="id", limit=None)]


def test_an_order_is_a_sale_of_a_new_customer_with_its_lines(client: Client, crm: CRM) -> None:
    assert 200 == woo(client, customer_note="Please ring twice")
    assert [("sale", "99.20 EUR")] == sold(crm)
    (customer,) = crm.customers.find()
    (sale,) = crm.sales.find()
    assert ("سارا احمدی", "woocommerce", customer.id) == (customer.name, sale.source, sale.customer_id)
    (line,) = crm.records(SaleLine).find()
    assert ("2.000", Money("95.20", "EUR")) == (str(line.quantity), line.amount)
    assert ("Lamp", "L-1") == (
        crm.records(Product).get(line.product_id).name,
        crm.records(Product).get(line.product_id).code,
    )
    (note,) = crm.interactions.find()
    assert ("Please ring twice", customer.id, True) == (note.body, note.customer_id, note.needs_answer)


def test_an_order_belongs_to_who_has_the_address_and_to_nobody_if_several_have_it(client: Client, crm: CRM) -> None:
    known = crm.customers.add(Customer(name="Sara"), email="SARA@example.org")
    assert 200 == woo(client)
    assert [known.id] == [sale.customer_id for sale in crm.sales.find()]
    crm.customers.add(Customer(name="Other Sara"), email="sara@example.org")
    assert 200 == woo(client, id=728)
    assert {known.id, None} == {sale.customer_id for sale in crm.sales.find()}


def test_an_order_told_again_or_late_changes_nothing(client: Client, crm: CRM) -> None:
    assert [200] * 4 == [
        woo(client, minute, total=total) for minute, total in ((5, "50"), (5, "50"), (3, "99"), (5, "50"))
    ]
    assert [("sale", "50.00 EUR")] == sold(crm)
    assert 1 == crm.records(SaleLine).count() == crm.records(ShopOrder).count()
    before = len(crm.ledger.operations(limit=None))
    assert 200 == woo(client, 5, total="50")
    assert before == len(crm.ledger.operations(limit=None))


def test_an_edited_order_corrects_its_sale_and_its_lines(client: Client, crm: CRM) -> None:
    vase = {**LAMP, "name": "Vase", "product_id": 12, "sku": "", "quantity": 1, "total": "10.005", "total_tax": "0"}
    assert [200, 200] == [woo(client), woo(client, 1, total="109.21", line_items=[LAMP, vase])]
    assert [("sale", "109.21 EUR")] == sold(crm)
    assert ["10.00 EUR", "95.20 EUR"] == sorted(str(line.amount) for line in crm.records(SaleLine).find())
    assert 200 == woo(client, 2, total="10.01", line_items=[vase])
    assert 1 == crm.records(SaleLine).count()
    assert 2 == crm.records(Product).count()


def test_refunds_are_stored_once_and_never_more_than_the_sale(client: Client, crm: CRM) -> None:
    first, second = {"id": 1, "total": "-20.00"}, {"id": 2, "total": "-90.00"}
    woo(client)
    assert [200, 200] == [woo(client, minute, refunds=[first]) for minute in (1, 2)]
    assert [("sale", "99.20 EUR"), ("refund", "20.00 EUR")] == sold(crm)
    assert 200 == woo(client, 3, status="refunded", refunds=[first, second])
    assert [("sale", "99.20 EUR"), ("refund", "20.00 EUR"), ("refund", "79.20 EUR")] == sold(crm)


def test_a_cancelled_order_gives_back_what_is_left_until_it_counts_again(client: Client, crm: CRM) -> None:
    woo(client)
    woo(client, 1, refunds=[{"id": 1, "total": "-9.20"}])
    cancelled = [woo(client, minute, status="cancelled", refunds=[{"id": 1, "total": "-9.20"}]) for minute in (2, 2, 3)]
    assert [200] * 3 == cancelled
    assert [("sale", "99.20 EUR"), ("refund", "9.20 EUR"), ("refund", "90.00 EUR")] == sold(crm)
    woo(client, 4, refunds=[{"id": 1, "total": "-9.20"}])
    assert [("sale", "99.20 EUR"), ("refund", "9.20 EUR")] == sold(crm)


def test_a_refund_that_the_shop_deleted_counts_no_longer(client: Client, crm: CRM) -> None:
    first, second = {"id": 1, "total": "-20.00"}, {"id": 2, "total": "-90.00"}
    woo(client)
    woo(client, 1, refunds=[first, second])
    assert [("sale", "99.20 EUR"), ("refund", "20.00 EUR"), ("refund", "79.20 EUR")] == sold(crm)
    assert [200, 200] == [woo(client, 2, refunds=[second]), woo(client, 2, refunds=[second])]
    assert [("sale", "99.20 EUR"), ("refund", "90.00 EUR")] == sold(crm)
    by_hand = crm.sales.refund(crm.sales.find("kind = 'sale'")[0], Money("1.20", "EUR"))
    assert 200 == woo(client, 3, refunds=[])
    assert [("sale", "99.20 EUR"), ("refund", "1.20 EUR")] == sold(crm)
    crm.sales.void(by_hand)
    order = woo_order(4)
    del order["refunds"]
    woo(client, 3, refunds=[first])
    assert 200 == client.post("/hooks/shop", *signed_order(order)).status
    assert [("sale", "99.20 EUR")] == sold(crm)  # of what was voided no event makes a refund again


def test_an_event_without_a_list_of_refunds_deletes_none(client: Client, crm: CRM) -> None:
    woo(client, 1, refunds=[{"id": 1, "total": "-20.00"}])
    order = woo_order(2)
    del order["refunds"]
    assert 200 == client.post("/hooks/shop", *signed_order(order)).status
    assert [("sale", "99.20 EUR"), ("refund", "20.00 EUR")] == sold(crm)


def test_refunds_before_and_after_a_cancellation_come_to_what_the_shop_says(client: Client, crm: CRM) -> None:
    refund = {"id": 1, "total": "-9.20"}
    woo(client)
    woo(client, 1, status="cancelled")
    assert [("sale", "99.20 EUR"), ("refund", "99.20 EUR")] == sold(crm)
    woo(client, 2, status="cancelled", refunds=[refund])
    assert [("refund", "90.00 EUR"), ("refund", "9.20 EUR")] == sold(crm)[1:]
    woo(client, 3, status="cancelled")
    assert [("refund", "99.20 EUR")] == sold(crm)[1:]
    woo(client, 4, status="cancelled", refunds=[{"id": 2, "total": "-99.20"}])
    assert [("refund", "99.20 EUR")] == sold(crm)[1:]
    woo(client, 5, refunds=[{"id": 2, "total": "-99.20"}, {"id": 3, "total": "-1"}])
    assert [("refund", "99.20 EUR")] == sold(crm)[1:]
    woo(client, 6, refunds=[{"id": 3, "total": "-1"}])
    assert [("refund", "1.00 EUR")] == sold(crm)[1:]


def test_every_order_of_the_events_ends_alike(client: Client, crm: CRM) -> None:
    events: list[dict[str, Any]] = [
        {"minute": 0, "status": "pending"},
        {"minute": 1},
        {"minute": 2, "status": "cancelled"},
    ]
    ends: list[int] = []
    for number, order in enumerate(itertools.permutations(events)):
        for each in order:
            assert 200 == woo(client, id=1000 + number, **each)
        kept = sold(crm)[sum(ends) :]
        ends.append(len(kept))
        assert kept in ([], [("sale", "99.20 EUR"), ("refund", "99.20 EUR")])
    assert 6 == len(ends)


def test_a_sale_that_a_person_voided_is_left_alone(client: Client, crm: CRM) -> None:
    woo(client)
    crm.sales.void(crm.sales.find()[0])
    assert 200 == woo(client, 1, total="50.00", refunds=[{"id": 1, "total": "-1"}])
    assert [] == sold(crm)


def test_what_is_no_order_is_refused_or_answered_and_never_half_stored(client: Client, crm: CRM) -> None:
    wrong: list[dict[str, Any]] = [{"total": "NaN"}, {"total": "-1"}, {"currency": "???"}, {"id": None}, {"total": "x"}]
    wrong += [{"total": "1e99999999999"}, {"line_items": [{**LAMP, "quantity": "1e999999"}]}]
    wrong += [{"date_modified_gmt": "soon"}, {"line_items": [{}]}, {"billing": "me"}, {"total": 10**30}]
    assert [403] * len(wrong) == [woo(client, **each) for each in wrong]
    body, headers = signed_order(woo_order())
    assert 200 == client.post("/hooks/shop", body, {**headers, "x-wc-webhook-topic": "product.updated"}).status
    assert 403 == client.post("/hooks/shop", body + b" ", headers).status
    assert 403 == client.post("/hooks/boutique", body, headers).status
    assert 200 == client.post("/hooks/shop", b"webhook_id=5", {}).status  # of a new webhook
    assert ([], 0) == (sold(crm), crm.customers.count())


def test_an_order_that_a_rule_refuses_waits_in_the_inbox_with_the_reason(place: Path) -> None:
    class Rules:
        @hookimpl
        def before_sales_change(self, event: SalesChanging) -> Iterable[Veto]:
            return [Veto(index, "amount", "too dear") for index, _ in enumerate(event.changes)]

    with CRM.open(place, plugins=[Rules()]) as crm, serving(crm) as client:
        assert [200, 200] == [woo(client), woo(client)]
        (waits,) = crm.interactions.find()
        assert "Order 727 could not be stored" == waits.subject
        assert "too dear" in (waits.body or "")
        assert '"total": "99.20"' in (waits.body or "")
        assert ([], 0) == (sold(crm), crm.records(ShopOrder).count())


@pytest.mark.parametrize("database", DATABASES)
def test_an_order_that_two_servers_take_in_at_once_is_one_sale(database: str, place: Path) -> None:
    with url_for(database, place) as url, ExitStack() as opened:
        settings = place / "crm.toml"
        settings.write_text(settings.read_text("utf-8").replace("sqlite:///crm.db", url), "utf-8")
        with CRM.open(url):  # whoever is the first makes the tables
            pass
        crms = [opened.enter_context(CRM.open(place)) for _ in range(2)]
        clients = [opened.enter_context(serving(crm)) for crm in crms]
        refund = [{"id": 1, "total": "-9.20"}]
        with ThreadPoolExecutor(4) as pool:
            for minute in range(4):
                more = {"total": f"9{minute}.20", "refunds": refund[: min(minute, 1)]}
                sent = [pool.submit(woo, client, minute, **more) for client in clients * 2]
                assert [200] * 4 == [each.result(60) for each in sent]
        assert [("sale", "93.20 EUR"), ("refund", "9.20 EUR")] == sold(crms[0])
        assert (1, 1) == (crms[0].customers.count(), crms[0].records(SaleLine).count())


def test_tomans_are_rials(client: Client, crm: CRM) -> None:
    assert 200 == woo(client, currency="IRT", total="250000", line_items=[])
    assert [("sale", "2,500,000.00 IRR")] == sold(crm)


def test_shopify_orders_are_sales_with_refunds_and_cancellations(client: Client, crm: CRM) -> None:
    transactions = [
        {"kind": "refund", "status": "success", "amount": "20.00"},
        {"kind": "refund", "status": "failure", "amount": "30.00"},
    ]
    refund = {"id": 9, "created_at": "2026-11-21T09:00:00+01:00", "transactions": transactions}
    assert 200 == shopify(client, topic="orders/create", financial_status="pending")
    assert [] == sold(crm)
    assert [200] * 3 == [shopify(client, 1), shopify(client, 2, refunds=[refund]), shopify(client, 2, refunds=[refund])]
    assert [("sale", "60.00 EUR"), ("refund", "20.00 EUR")] == sold(crm)
    assert 200 == shopify(client, 3, "orders/cancelled", refunds=[refund], cancelled_at="2026-11-22T09:00:00+01:00")
    assert ("refund", "40.00 EUR") == sold(crm)[-1]
    (customer,) = crm.customers.find()
    assert ("Jon Doe", "Köln", "shopify") == (customer.name, customer.city, customer.source)
    assert 1 == crm.records(SaleLine).count()


def test_a_line_of_shopify_has_its_taxes_and_the_discounts_of_codes(client: Client, crm: CRM) -> None:
    line = {"id": 5, "variant_id": 7, "name": "Vase", "price": "30.00", "quantity": 2, "total_discount": "0.00"}
    allocated = {
        **line,
        "discount_allocations": [{"amount": "6.00"}, {"amount": "4.00"}],
        "tax_lines": [{"price": "9.50"}],
    }
    assert [200, 200] == [
        shopify(client, 1, id=1, line_items=[allocated], taxes_included=False),
        shopify(client, 1, id=2, line_items=[allocated], taxes_included=True),
    ]
    assert ["59.50 EUR", "50.00 EUR"] == [str(each.amount) for each in crm.records(SaleLine).find(sort="id")]


def test_what_an_edit_of_a_shopify_order_removed_is_in_neither_its_lines_nor_its_sum(client: Client, crm: CRM) -> None:
    vase = {"id": 5, "variant_id": 7, "name": "Vase", "sku": "V-1", "price": "30.00", "quantity": 2}
    lamp = {"id": 6, "variant_id": 8, "name": "Lamp", "sku": "L-1", "price": "40.00", "quantity": 1}
    whole = {"total_price": "100.00", "current_total_price": "100.00"}
    now = [{**vase, "current_quantity": 2}, {**lamp, "current_quantity": 1}]
    removed = {"id": 1, "created_at": "2026-11-20T09:01:00+01:00", "transactions": [],
               "refund_line_items": [{"line_item_id": 6, "quantity": 1}]}  # fmt: skip

    def known() -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
        lines = [(str(each.quantity), str(each.amount)) for each in crm.records(SaleLine).find(sort="amount")]
        return sold(crm), lines

    assert 200 == shopify(client, 0, financial_status="pending", line_items=now, **whole)
    now = [{**vase, "current_quantity": 2}, {**lamp, "current_quantity": 0}]
    whole["current_total_price"] = "60.00"
    assert 200 == shopify(client, 1, line_items=now, refunds=[removed], **whole)
    assert ([("sale", "60.00 EUR")], [("2.000", "60.00 EUR")]) == known()
    paid_back = {"id": 2, "created_at": "2026-11-20T09:02:00+01:00",
                 "transactions": [{"kind": "refund", "status": "success", "amount": "30.00"}],
                 "refund_line_items": [{"line_item_id": 5, "quantity": 1}]}  # fmt: skip
    now = [{**vase, "current_quantity": 1}, {**lamp, "current_quantity": 0}]
    whole["current_total_price"] = "30.00"
    assert 200 == shopify(client, 2, line_items=now, refunds=[removed, paid_back], **whole)
    assert ([("sale", "60.00 EUR"), ("refund", "30.00 EUR")], [("2.000", "60.00 EUR")]) == known()


def test_one_piece_that_an_edit_removed_takes_its_part_of_the_line_away(client: Client, crm: CRM) -> None:
    vase = {"id": 5, "variant_id": 7, "name": "Vase", "price": "30.00", "quantity": 3, "current_quantity": 2}
    vase |= {"discount_allocations": [{"amount": "9.00"}], "tax_lines": [{"price": "8.10"}]}
    assert 200 == shopify(client, 1, line_items=[vase], total_price="89.10", current_total_price="59.40")
    assert [("sale", "59.40 EUR")] == sold(crm)
    assert ["59.40 EUR"] == [str(each.amount) for each in crm.records(SaleLine).find()]


def test_a_refund_in_the_currency_of_the_customer_counts_in_that_of_the_shop(client: Client, crm: CRM) -> None:
    refund = {"id": 9, "created_at": "2026-11-21T09:00:00+01:00"}
    dollars = {"kind": "refund", "status": "success", "amount": "33.00", "currency": "USD"}
    money = {"shop_money": {"amount": "60.00", "currency_code": "EUR"},
             "presentment_money": {"amount": "66.00", "currency_code": "USD"}}  # fmt: skip
    refunds = [{**refund, "transactions": [dollars]}]
    assert 200 == shopify(client, 1, refunds=refunds, total_price_set=money)
    assert [("sale", "60.00 EUR"), ("refund", "30.00 EUR")] == sold(crm)
    pounds = [{**refund, "transactions": [{**dollars, "currency": "GBP"}]}]
    assert 403 == shopify(client, 2, id=5, refunds=pounds, total_price_set=money)


def test_a_test_order_is_no_sale_and_events_that_only_name_an_order_are_answered(client: Client, crm: CRM) -> None:
    assert 200 == shopify(client, 1, test=True)
    edit = json.dumps({"order_edit": {"id": 78912328793, "order_id": 820982911946154508}}).encode()
    signature = base64.b64encode(hmac.digest(SECRETS["SHOP"].encode(), edit, "sha256")).decode()
    for topic in ("orders/edited", "orders/risk_assessment_changed", "orders/delete"):
        headers = {"x-shopify-hmac-sha256": signature, "x-shopify-topic": topic}
        assert 200 == client.post("/hooks/boutique", edit, headers).status
    assert [] == sold(crm)
