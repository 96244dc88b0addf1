from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path

import pytest

from crm_core import CRM, Customer, Money, Sale
from crm_core.cli.main import main
from crm_core.errors import DuplicateKey, StillReferenced
from crm_core.events import ProfileWanted
from crm_core.settings import write_settings
from crm_products import Product, SaleLine
from crm_products.bought import products_bought


def test_lines_name_products_and_keep_them_from_being_deleted() -> None:
    with CRM.open("memory:") as crm:
        lamp = crm.records(Product).add(Product(name="Lamp", code="L-1", price=Money("12.50", "EUR")))
        sale = crm.sales.add(Sale(amount=Money("25", "EUR")))
        line = SaleLine(sale_id=sale.id, product_id=lamp.id, quantity=Decimal("2.5"), amount=sale.amount)
        stored = crm.records(SaleLine).add(line)
        assert Decimal("2.5") == crm.records(SaleLine).get(stored.id).quantity
        with pytest.raises(StillReferenced):
            crm.records(Product).delete(lamp)


def test_a_code_names_one_product() -> None:
    with CRM.open("memory:") as crm:
        crm.records(Product).add(Product(name="Lamp", code="L-1"))
        with pytest.raises(DuplicateKey):
            crm.records(Product).add(Product(name="Light", code="L-1"))


@pytest.mark.parametrize("storage", ["memory:", "sqlite"])
def test_the_profile_sums_what_a_customer_bought(storage: str, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'crm.db'}" if storage == "sqlite" else storage
    with CRM.open(url) as crm:
        ada = crm.customers.add(Customer(name="Ada"))
        lamp = crm.records(Product).add(Product(name="Lamp"))
        for amount in ("10", "15"):
            sale = crm.sales.add(Sale(customer_id=ada.id, amount=Money(amount, "EUR")))
            line = SaleLine(sale_id=sale.id, product_id=lamp.id, quantity=Decimal("1.5"), amount=sale.amount)
            crm.records(SaleLine).add(line)
        voided = crm.sales.add(Sale(customer_id=ada.id, amount=Money("99", "EUR")))
        crm.records(SaleLine).add(SaleLine(sale_id=voided.id, product_id=lamp.id, amount=voided.amount))
        crm.sales.void(voided)
        found = products_bought(ProfileWanted(crm=crm, customer=ada))
        assert [{"product": "Lamp", "quantity": "3", "amount": Money("25", "EUR")}] == found


def test_the_catalogue_is_listed_and_added_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_settings(tmp_path / "ws", storage_url="sqlite:///crm.db", currency="EUR")
    monkeypatch.chdir(tmp_path / "ws")
    assert 0 == main(["products", "list"])
    assert "No product yet" in capsys.readouterr().out
    assert 0 == main(["products", "add", "چراغ", "--code", "L-1", "--price", "۱۲٫۵", "--json"])
    added = json.loads(capsys.readouterr().out)
    assert ({"amount": "12.50", "currency": "EUR"}, "چراغ") == (added["price"], added["name"])
    assert 0 == main(["products", "list", "--where", 'code = "L-1"', "--json"])
    assert [added["id"]] == [product["id"] for product in json.loads(capsys.readouterr().out)]
    assert 2 == main(["products", "add", "x", "--price", "a b c"])
