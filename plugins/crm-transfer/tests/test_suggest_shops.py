"""Exports of shops, imported by the suggested mapping: who bought is a customer, what was cancelled is no revenue."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from crm_core import CRM
from crm_core.settings import write_settings
from crm_transfer.importing import import_file
from crm_transfer.mapping import parse_mapping
from crm_transfer.suggest import Suggestion, suggest

SAMPLES = Path(__file__).parent / "samples"


@pytest.fixture
def crm(tmp_path: Path) -> Iterator[CRM]:
    write_settings(tmp_path / "ws", storage_url="memory:", currency="EUR", zone="UTC")
    with CRM.open(tmp_path / "ws") as opened:
        yield opened


def bring(crm: CRM, path: Path) -> Suggestion:
    """Import a file by its suggested mapping, without an edit, twice: the second time changes nothing."""
    found = suggest(crm, "sales", path)
    report = import_file(crm, path, parse_mapping(found.toml))
    assert [] == report.errors
    again = import_file(crm, path, parse_mapping(found.toml))
    assert (0, 0, 0) == (again.counts.created, again.counts.updated, again.counts.rejected)
    return found


def sold(crm: CRM) -> list[tuple[str, str | None, str, bool]]:
    """Return of each sale the day, the customer, the amount, and whether it was voided."""
    names = {each.id: each.name for each in crm.customers.iterate()}
    return sorted(
        (str(sale.sold_at)[:10], names.get(sale.customer_id or 0), str(sale.amount), sale.voided_at is not None)
        for sale in crm.sales.iterate()
    )


def addresses(crm: CRM) -> list[tuple[str, str]]:
    return sorted((point.kind, point.value) for point in crm.records("contact_point").iterate())  # type: ignore[attr-defined]


def test_items_of_woocommerce(crm: CRM) -> None:
    found = bring(crm, SAMPLES / "woocommerce_items.csv")
    assert [
        ("2024-01-05", "Anna Schmidt", "50.00 EUR", False),
        ("2024-01-06", "Ben Miller", "15.00 EUR", False),
        ("2024-01-07", "Cara Jones", "20.00 EUR", True),
        ("2024-02-01", "Anna Schmidt", "20.00 EUR", False),
        ("2024-02-03", "Dora Klein", "15.00 EUR", True),
        ("2024-02-03", "Emil Gross", "15.00 EUR", True),
    ] == sold(crm)
    assert ("email", "anna@example.de") in addresses(crm)
    assert ("phone", "+49 30 5551234") in addresses(crm)
    assert {"DE"} == {each.country for each in crm.customers.iterate()}
    assert [
        'column "Order Total Amount": in 6 of 6 invoices it is not the sum of the lines (postage, discounts, taxes); '
        'the sum is the amount of the sale, or take this one: amount = "Order Total Amount"'
    ] == [question for question in found.questions if "sum of the lines" in question]


def test_orders_of_woocommerce_a_row_each_with_guests_of_the_number_0(crm: CRM) -> None:
    bring(crm, SAMPLES / "woocommerce_orders.csv")
    assert [
        ("2024-03-01", "Anna Schmidt", "54.90 EUR", False),
        ("2024-03-02", "Ben Miller", "19.90 EUR", True),
        ("2024-03-03", "Anna Schmidt", "24.90 EUR", True),
        ("2024-03-04", "Dora Klein", "9.90 EUR", False),
    ] == sold(crm)
    assert [
        ("email", "Ben@X.de"),
        ("email", "anna@x.de"),
        ("phone", "+4930123456"),
        ("phone", "+4940765432"),
    ] == addresses(crm)


def test_orders_of_shopify_whose_first_row_alone_says_what_is_of_the_order(crm: CRM) -> None:
    bring(crm, SAMPLES / "shopify_orders.csv")
    assert [
        ("2024-01-05", "Anna Schmidt", "50.00 EUR", False),
        ("2024-01-06", "Ben Miller", "15.00 EUR", False),
        ("2024-01-07", "Cara Jones", "20.00 EUR", True),
        ("2024-02-01", "Anna Schmidt", "20.00 EUR", True),
    ] == sold(crm)
    assert ["Mug - Blue", "Plate"] == sorted(str(each.name) for each in _products(crm))
    assert {"#1001", "#1002", "#1003", "#1004"} == {
        entry.external for entry in crm.external_ids.find(limit=None) if entry.record_type == "sale"
    }


def _products(crm: CRM) -> list[Any]:
    return list(crm.records("product").iterate())


def test_names_and_addresses_beside_the_number_of_a_customer(crm: CRM, tmp_path: Path) -> None:
    rows = ["Order ID,Date,Customer ID,First Name,Last Name,Email,Amount"]
    rows += ["1,2024-01-02,C1,Ann,Lee,a@x.org,10.00", "2,2024-01-03,C2,Bob,Ray,,11.00", "3,2024-01-04,C1,Ann,Lee,,9.00"]
    (tmp_path / "o.csv").write_text("\n".join(rows), encoding="utf-8")
    bring(crm, tmp_path / "o.csv")
    assert ["Ann Lee", "Bob Ray", "Ann Lee"] == [name for _, name, _, _ in sold(crm)]
    assert [("email", "a@x.org")] == addresses(crm)


STATES = {
    "en": ("Order No,Date,Customer,SKU,Product,Quantity,Unit price,Status", "Completed,Cancelled,Refunded,Failed,Void"),
    "de": (
        "Bestellnr.,Datum,Kunde,Artikelnr.,Artikel,Menge,Einzelpreis,Status",
        "Abgeschlossen,Storniert,Erstattet,Fehlgeschlagen",
    ),
    "fr": (
        "N° commande,Date,Client,Référence,Article,Quantité,Prix unitaire,Statut",
        "Terminée,Annulée,Remboursée,Échouée",
    ),
    "es": (
        "Nº pedido,Fecha,Cliente,Código,Producto,Cantidad,Precio unitario,Estado",
        "Completado,Cancelado,Reembolsado,Fallido",
    ),
    "ru": (
        "Номер заказа,Дата,Клиент,Артикул,Товар,Количество,Цена,Статус",
        "Выполнен,Отменён,Возвращён,Не удался,Ошибка оплаты",
    ),
    "fa": (
        "شماره سفارش,تاریخ,مشتری,کد کالا,نام کالا,تعداد,قیمت واحد,وضعیت",
        "تکمیل شده,لغو شده,مسترد شده,ناموفق",
    ),
    "hy": (
        "Պատվերի համար,Ամսաթիվ,Հաճախորդ,Ապրանքի կոդ,Ապրանք,Քանակ,Գին,Կարգավիճակ",
        "Ավարտված,Չեղարկված,Վերադարձված,Մերժված",
    ),
}


@pytest.mark.parametrize("language", STATES)
def test_states_of_orders_in_sheets_of_their_lines(crm: CRM, tmp_path: Path, language: str) -> None:
    head, said = STATES[language]
    states = said.split(",")
    rows = [
        f"{1000 + at},2024-0{at % 9 + 1}-11,K{at % 3},A{line},P{line},{line},10.50,{states[at % len(states)]}"
        for at in range(2 * len(states))
        for line in range(1, 2 + at % 2)
    ]
    (tmp_path / "o.csv").write_text("\n".join([head, *rows]), encoding="utf-8")
    bring(crm, tmp_path / "o.csv")
    voided = [at % len(states) > 0 for at in range(2 * len(states))]
    assert sum(voided) == sum(is_void for _, _, _, is_void in sold(crm))
    assert len(voided) == len(sold(crm))


def test_a_cancelled_line_of_an_order_is_left_out_and_counted(crm: CRM, tmp_path: Path) -> None:
    rows = ["Rechnungsnr.;Datum;Kunde;Artikelnr.;Artikel;Menge;Einzelpreis;Status"]
    rows += ["R1;05.01.2024;Anna;A1;Tasse;2;15,00;Geliefert", "R1;05.01.2024;Anna;A2;Teller;1;20,00;Storniert"]
    rows += ["R2;16.01.2024;Ben;A1;Tasse;1;15,00;Geliefert", "R2;16.01.2024;Ben;A3;Topf;1;5,00;Geliefert"]
    (tmp_path / "o.csv").write_text("\n".join(rows), encoding="utf-8")
    found = bring(crm, tmp_path / "o.csv")
    assert [("2024-01-05", "Anna", "30.00 EUR", False), ("2024-01-16", "Ben", "20.00 EUR", False)] == sold(crm)
    assert (
        "column \"Status\": 'Storniert' (1): lines that say so are left out, since they are no revenue"
    ) in found.questions


def test_payments_of_stripe_in_a_zone_of_their_own(tmp_path: Path) -> None:
    rows = ["id,Created date (UTC),Amount,Currency,Status,Customer ID,Customer Email,Card Last4"]
    rows += ["ch_1,2024-01-05 22:12:33,54.90,eur,Paid,cus_1,ann@x.com,4242"]
    rows += ["ch_2,2024-01-06 11:12:33,19.90,eur,Refunded,cus_2,bob@x.com,0005"]
    (tmp_path / "p.csv").write_text("\n".join(rows), encoding="utf-8")
    write_settings(tmp_path / "ws", storage_url="memory:", currency="EUR", zone="Asia/Tehran")
    with CRM.open(tmp_path / "ws") as crm:
        bring(crm, tmp_path / "p.csv")
        assert [("ann@x.com", "54.90 EUR", False), ("bob@x.com", "19.90 EUR", True)] == [row[1:] for row in sold(crm)]
        assert dt.datetime(2024, 1, 5, 22, 12, 33, tzinfo=dt.UTC) in {sale.sold_at for sale in crm.sales.iterate()}


def test_payments_are_not_told_apart_by_a_bank_account_or_an_address(crm: CRM, tmp_path: Path) -> None:
    head = "Konto;Buchungstag;Verwendungszweck;Beguenstigter/Zahlungspflichtiger;IBAN;BIC (SWIFT-Code);Betrag;Waehrung"
    rows = [
        head,
        "DE1;02.01.24;Rechnung;Müller GmbH;DE2;BYLADEM1;1.234,56;EUR",
        "DE1;03.01.24;Rechnung;Huber;DE3;INGD;85;EUR",
    ]
    rows += ["DE1;14.01.24;Rechnung;Kaiser AG;DE4;BELADEBE;99,00;EUR"]
    (tmp_path / "b.csv").write_bytes("\n".join(rows).encode("cp1252"))
    found = bring(crm, tmp_path / "b.csv")
    assert not {"IBAN", "BIC (SWIFT-Code)"} & {*found.key.columns, *found.key.others}
    assert [("2024-01-02", "Müller GmbH", "1,234.56 EUR", False)] == sold(crm)[:1]
    (tmp_path / "e.csv").write_text("Email,Date,Amount\na@x.org,2024-01-02,5\nb@x.org,2024-01-02,6\n", encoding="utf-8")
    assert "Email" not in suggest(crm, "sales", tmp_path / "e.csv").key.columns


@pytest.mark.parametrize(
    ("purpose", "payee"),
    [
        ("Verwendungszweck", "Beguenstigter/Zahlungspflichtiger"),
        ("Purpose", "Counterparty"),
        ("Назначение платежа", "Контрагент"),
        ("شرح", "طرف حساب"),
        ("Վճարման նպատակ", "Հաճախորդ"),
        ("Libellé", "Tiers"),
    ],
)
def test_payments_are_not_told_apart_by_what_they_were_for_or_by_who_paid(
    crm: CRM, tmp_path: Path, purpose: str, payee: str
) -> None:
    rows = [f"Date;{purpose};{payee};Amount", "2024-01-02;Invoice 17 of May;Ann;5", "2024-01-02;Thanks a lot;Bob;6"]
    (tmp_path / "b.csv").write_text("\n".join([*rows, "2024-01-03;Invoice 18;Cid;6"]), encoding="utf-8")
    key = suggest(crm, "sales", tmp_path / "b.csv").key
    assert ("low", ("Date", payee)) == (key.confidence, key.columns)
    assert not {purpose, payee} & {*key.others}
