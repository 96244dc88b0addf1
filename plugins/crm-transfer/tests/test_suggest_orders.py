"""A suggested mapping makes customers, products, sales, lines and refunds of a sheet of order lines."""

from __future__ import annotations

import csv
import random
from collections import defaultdict
from collections.abc import Callable
from datetime import datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path

import attrs
import pytest

from crm_core import CRM
from crm_core.settings import write_settings
from crm_transfer.importing import import_file
from crm_transfer.mapping import parse_mapping
from crm_transfer.suggest import Suggestion, suggest

CENT = Decimal("0.01")
HEADS = {
    "english": "Invoice,StockCode,Description,Quantity,InvoiceDate,Price,Customer ID,Country",
    "camel": "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country",
    "web shop": "Order ID,SKU,Product name,Qty,Order date,Unit price,Customer no,Country",
    "german": "Rechnungsnummer,Artikelnummer,Bezeichnung,Menge,Rechnungsdatum,Einzelpreis,Kundennummer,Land",
    "russian": "№ заказа,Артикул,Наименование товара,Количество,Дата заказа,Цена,Код клиента,Страна",
    "persian": "شماره فاکتور,کد کالا,شرح کالا,تعداد,تاریخ فاکتور,قیمت واحد,کد مشتری,کشور",
    "armenian": "Հաշվի համար,Ապրանքի կոդ,Նկարագրություն,Քանակ,Ամսաթիվ,Միավորի գին,Հաճախորդի կոդ,Երկիր",
    "nobody knows": "Doc,SKU,Description,Qty,Date,Price,Customer,Country",
}
Line = tuple[str, str, str, int, datetime, Decimal, str, str]


def order_lines(seed: int, *, prefix: str = "C") -> list[Line]:
    """Return lines of interleaved invoices: cancelled, without customer, twice in the sheet, given away, postage."""
    chance = random.Random(seed)
    products = [(f"{10_000 + n}", f"Товар {n}" if n % 2 else f"کالا {n}", Decimal(n * 37 % 9_000 + 15) / 100)
                for n in range(40)]  # fmt: skip
    products += [("POST", "Postage", Decimal("4.50")), ("D", "Discount", Decimal("-1.20"))]
    lines: list[Line] = []
    for number in range(60):
        customer = "" if chance.random() < 0.15 else f"{chance.randint(1, 15):05d}"
        at = datetime(2023, 1, 1, 9, 0) + timedelta(minutes=chance.randint(0, 700_000))  # noqa: DTZ001
        for _ in range(chance.randint(1, 5)):
            code, name, price = chance.choice(products)
            mine: Line = (f"{500_000 + number}", code, name, chance.randint(1, 12), at, price, customer, "AM")
            lines.append(mine)
            if chance.random() < 0.1:
                lines.append(mine)
            if chance.random() < 0.05:
                lines.append((*mine[:5], Decimal(0), *mine[6:]))
        if chance.random() < 0.25:
            code, name, quantity, price = mine[1], mine[2], mine[3], mine[5]
            back = at + timedelta(days=chance.randint(1, 40))
            lines.append((f"{prefix}{700_000 + number}", code, name, -quantity, back, price, customer, "AM"))
    lines.append(("500900", "D", "Discount", 3, at, Decimal("-1.20"), "00001", "AM"))  # less than nothing is bought
    lines.append((f"{prefix}700900", "D", "Discount", -2, at, Decimal("-1.20"), "00001", "AM"))
    chance.shuffle(lines)
    return lines


def write(path: Path, head: str, lines: list[Line], shown: Callable[[Decimal], str] = str, mark: str = ";") -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, delimiter=mark)
        writer.writerow(head.split(","))
        for line in lines:
            writer.writerow([*line[:4], f"{line[4]:%d.%m.%Y %H:%M}", shown(line[5]), *line[6:]])
    return path


@attrs.frozen
class Came:
    """What came out of an import: amounts and counts, computed anew from its records."""

    revenue: Decimal
    refunded: Decimal
    sales: int
    refunds: int
    lines: int
    customers: int


def came_of(crm: CRM) -> Came:
    amounts: dict[str, list[Decimal]] = {"sale": [], "refund": []}
    for sale in crm.sales.iterate():
        assert sale.amount is not None
        amounts[sale.kind].append(sale.amount.amount)
    return Came(
        sum(amounts["sale"], Decimal(0)) - sum(amounts["refund"], Decimal(0)),
        sum(amounts["refund"], Decimal(0)),
        len(amounts["sale"]),
        len(amounts["refund"]),
        crm.records("sale_line").count() if "sale_line" in crm.registry.types else 0,
        crm.customers.count(),
    )


def expected_of(lines: list[Line], *, with_lines: bool = True) -> Came:
    """Compute the same in plain Python: an invoice that comes to less than zero is a refund."""
    invoices: dict[str, Decimal] = defaultdict(Decimal)
    taken = [line for line in lines if line[5]]
    for line in taken:
        invoices[line[0]] += (line[3] * line[5]).quantize(CENT, ROUND_HALF_UP)
    back = [-amount for amount in invoices.values() if amount < 0]
    return Came(
        sum(invoices.values(), Decimal(0)),
        sum(back, Decimal(0)),
        len(invoices) - len(back),
        len(back),
        len(taken) if with_lines else 0,
        len({line[6] for line in taken if line[6]}),
    )


def imported(crm: CRM, path: Path) -> Suggestion:
    found = suggest(crm, "sales", path)
    mapping = parse_mapping(found.toml)
    report = import_file(crm, path, mapping)
    assert not report.errors, (found.toml, [str(error) for error in report.errors[:3]])
    again = import_file(crm, path, mapping)
    assert (report.counts.read, 0) == (again.counts.unchanged, again.counts.rejected)
    return found


@pytest.fixture
def crm(tmp_path: Path) -> CRM:
    write_settings(tmp_path / "ws", storage_url="memory:", currency="EUR")
    return CRM.open(tmp_path / "ws")


@pytest.mark.parametrize(("name", "seed"), [(name, seed) for seed, name in enumerate(HEADS)])
def test_order_lines_come_to_what_plain_python_computes(crm: CRM, tmp_path: Path, name: str, seed: int) -> None:
    lines = order_lines(seed)
    found = imported(crm, write(tmp_path / "a.csv", HEADS[name], lines, lambda price: str(price).replace(".", ",")))
    assert expected_of(lines) == came_of(crm), found.toml
    targets = {guess.column: guess.target for guess in found.columns}
    expected = ["key", "product.code", "product.name", "sale_line.quantity", "sale.sold_at", "sale.amount",
            "sale.customer_id", "customer.country"]  # fmt: skip
    assert expected == [targets[column] for column in HEADS[name].split(",")]
    assert ("low" if name == "nobody knows" else "high") == found.key.confidence
    assert any(sale.refunds_sale_id for sale in crm.sales.iterate())
    told = "\n".join(found.questions)
    assert all(
        part in told for part in ('begin with "C"', "price 0", "equal to another one", '"POST"', "less than zero")
    )
    assert {"fee", "discount", "product"} == {product.category for product in crm.records("product").iterate()}


def test_lines_of_refunds_are_positive_and_agree_with_their_sums(crm: CRM, tmp_path: Path) -> None:
    imported(crm, write(tmp_path / "a.csv", HEADS["english"], order_lines(3)))
    sums: dict[int, Decimal] = defaultdict(Decimal)
    for line in crm.records("sale_line").iterate():
        sums[line.sale_id] += line.amount.amount
    assert {sale.id: sale.amount.amount for sale in crm.sales.iterate() if sale.amount} == sums


def test_refunds_without_a_sign_in_their_number_are_known_by_quantities(crm: CRM, tmp_path: Path) -> None:
    lines = order_lines(4, prefix="9")
    found = imported(crm, write(tmp_path / "a.csv", HEADS["english"], lines))
    assert expected_of(lines) == came_of(crm), found.toml
    assert "a Quantity below zero are taken for refunds" in "\n".join(found.questions)


def test_prices_with_a_currency_are_read(crm: CRM, tmp_path: Path) -> None:
    lines = order_lines(5)
    found = imported(crm, write(tmp_path / "a.csv", HEADS["web shop"], lines, lambda price: f"£{price}"))
    assert expected_of(lines) == came_of(crm), found.toml
    assert {"GBP"} == {sale.amount.currency for sale in crm.sales.iterate() if sale.amount}


def test_totals_that_are_not_quantity_by_price_are_asked_about(crm: CRM, tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text(
        "Order ID,Date,SKU,Qty,Unit price,Line total,Category\n"
        "1,2026-01-13,A1,2,5.00,9.00,x\n1,2026-01-13,B2,1,3.00,3.00,y\n2,2026-01-14,A1,1,5.00,5.00,x\n"
    )
    found = imported(crm, path)
    assert any("not Qty x Unit price in 1 row; which" in question for question in found.questions), found.toml
    assert {"A1": "x", "B2": "y"} == {one.code: one.category for one in crm.records("product").iterate()}


def test_without_records_of_products_only_sales_are_made_and_that_is_said(tmp_path: Path) -> None:
    write_settings(tmp_path / "ws", storage_url="memory:", currency="EUR")
    with (tmp_path / "ws" / "crm.toml").open("a", encoding="utf-8") as file:
        file.write('\n[plugins]\ndisabled = ["products"]\n')
    lines = order_lines(6)
    with CRM.open(tmp_path / "ws") as crm:
        found = imported(crm, write(tmp_path / "a.csv", HEADS["english"], lines))
        assert expected_of(lines, with_lines=False) == came_of(crm), found.toml
    assert any("crm-products is not installed" in question for question in found.questions)


def test_without_an_invoice_an_amount_is_quantity_by_price_and_that_is_said(crm: CRM, tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("No;Date;Customer;Quantity;Unit price\n1;13.01.2026;Acme;3;1,25\n2;14.01.2026;Ada;-2;0,50\n")
    found = imported(crm, path)
    assert [("sale", "3.75"), ("refund", "1.00")] == [
        (sale.kind, str(sale.amount.amount)) for sale in crm.sales.iterate() if sale.amount
    ], found.toml
    assert any("Quantity x Unit price" in question for question in found.questions)


def test_a_few_wrong_cells_cost_their_invoices_and_not_what_the_sheet_is(crm: CRM, tmp_path: Path) -> None:
    lines = [
        *order_lines(3),
        *((f"{n + 1}{line[0]}", *line[1:]) for n in range(3) for line in order_lines(4) if line[3] > 0),
    ]
    path = write(tmp_path / "w.csv", HEADS["english"], lines)
    wrong = [
        "999001;10001;Odd;a dozen;01.02.2023 10:00;1.50;00001;AM",
        "999002;10001;Odd;2;31.11.2023 10:00;1.50;00001;AM",
    ]
    path.write_text("\n".join([path.read_text(encoding="utf-8").rstrip("\n"), *wrong, ""]), encoding="utf-8")
    found = suggest(crm, "sales", path)
    report = import_file(crm, path, parse_mapping(found.toml))
    assert {"'a dozen'", "'31.11.2023 10:00'"} == {repr(error.value) for error in report.errors}
    assert expected_of(lines) == came_of(crm), found.toml
    assert [
        "column \"InvoiceDate\": 1 row has none of its dates, and will be rejected: '31.11.2023 10:00'; correct them, "
        "or say null_if",
        "column \"Quantity\": 1 row has none of its numbers, and will be rejected: 'a dozen'; correct them, "
        "or say null_if",
    ] == [question for question in found.questions if "none of its" in question]
