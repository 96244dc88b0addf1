"""Rows that go on with the one above, and the nested columns of Odoo: nothing is lost, and nothing is another's."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from crm_core import CRM
from crm_core.settings import write_settings
from crm_transfer.errors import MappingError
from crm_transfer.importing import import_file
from crm_transfer.mapping import parse_mapping
from crm_transfer.report import ImportReport
from crm_transfer.suggest import Suggestion, suggest

ORDERS = (
    "id,name,date_order,partner_id,partner_id/id,order_line/product_id,order_line/product_id/default_code,"
    "order_line/product_uom_qty,order_line/price_unit,amount_total,state\n"
    "so.1,S00001,2026-01-03 10:00:00,Azure Interior,p.1,Desk,FURN_1,2,100.0,250.0,sale\n"
    ",,,,,Chair,FURN_2,1,50.0,,\n"
    "so.2,S00002,2026-01-04 11:00:00,Deco Addict,p.4,Desk,FURN_1,1,100.0,100.0,sale\n"
    "so.3,S00003,2026-01-05 12:00:00,Azure Interior,p.1,Chair,FURN_2,4,50.0,300.0,cancel\n"
    ",,,,,Lamp,FURN_3,1,100.0,,\n"
)
LABELS = (
    "Order Reference,Order Date,Customer,Order Lines/Product,Order Lines/Quantity,Order Lines/Unit Price,Total\n"
    "S00001,2026-01-03 10:00:00,Azure Interior,[FURN_1] Desk,2,100.0,250.0\n"
    ",,,[FURN_2] Chair,1,50.0,\n"
    "S00002,2026-01-04 11:00:00,Deco Addict,[FURN_1] Desk,1,100.0,100.0\n"
)
PARTNERS = (
    "id,name,is_company,parent_id/id,country_id,user_id,email,category_id\n"
    'b.1,Azure Interior,True,,United States,,azure@x.example,"Vendor,Desk"\n'
    "b.2,Brandon Freeman,False,b.1,United States,,brandon@x.example,\n"
    "b.3,Azure East,True,b.1,Belgium,,east@x.example,\n"
)
CHILDREN = (
    "id,name,email,child_ids/name,child_ids/email\n"
    "b.1,Azure Interior,azure@x.example,Brandon Freeman,brandon@x.example\n"
    ",,,Nicole Ford,nicole@x.example\n"
    "b.4,Deco Addict,deco@x.example,Addison Olson,addison@x.example\n"
)
FILLED = """
[file]
system = "t"
fill_down = ["no", "name"]
[[record]]
type = "customer"
key = "no"
repeats = true
[record.fields]
name = "name"
[[record]]
type = "contact_point"
key = ["no", "phone"]
when = { column = "phone", given = true }
[record.fields]
customer_id = { column = "no", ref = "customer" }
kind = { const = "phone" }
value = "phone"
"""


@pytest.fixture
def crm(tmp_path: Path) -> Iterator[CRM]:
    write_settings(tmp_path / "ws", storage_url="memory:", currency="EUR")
    with CRM.open(tmp_path / "ws") as opened:
        yield opened


def written(folder: Path, text: str, name: str = "sheet.csv") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def bring(crm: CRM, type_name: str, path: Path) -> tuple[Suggestion, ImportReport]:
    found = suggest(crm, type_name, path)
    mapping = parse_mapping(found.toml)
    dry, done = import_file(crm, path, mapping, dry_run=True), import_file(crm, path, mapping)
    assert ([], dry.counts) == (done.errors, done.counts)
    again = import_file(crm, path, mapping).counts
    assert (0, 0, done.counts.read) == (again.created, again.updated, again.unchanged)
    return found, done


@pytest.mark.parametrize(("text", "sales", "lines"), [(ORDERS, 3, 5), (LABELS, 2, 3)])
def test_orders_of_odoo_become_sales_with_all_of_their_lines(
    crm: CRM, tmp_path: Path, text: str, sales: int, lines: int
) -> None:
    found, report = bring(crm, "sales", written(tmp_path, text))
    assert "fill_down = [" in found.toml
    assert (sales, lines, 2) == tuple(report.types[name].created for name in ("sale", "sale_line", "customer"))
    amounts = sorted(str(sale.amount) for sale in crm.sales.iterate())
    assert ["100.00 EUR", "250.00 EUR"] == amounts[:2]
    assert {"Azure Interior", "Deco Addict"} == {customer.name for customer in crm.customers.iterate()}


def test_products_are_called_as_they_are_and_not_as_their_order(crm: CRM, tmp_path: Path) -> None:
    bring(crm, "sales", written(tmp_path, ORDERS))
    products = crm.records("product").iterate()
    assert {"FURN_1": "Desk", "FURN_2": "Chair", "FURN_3": "Lamp"} == {each.code: each.name for each in products}


def test_partners_of_odoo_have_their_country_tags_and_company(crm: CRM, tmp_path: Path) -> None:
    found, _ = bring(crm, "customers", written(tmp_path, PARTNERS))
    targets = {guess.column: guess.target for guess in found.columns}
    assert ("customer.country", "customer.tags") == (targets["country_id"], targets["category_id"])
    relations = {relation.kind for relation in crm.relations.iterate()}
    assert {"works for", "subsidiary of"} == relations
    assert {"Azure Interior": ("Vendor", "Desk")} == {c.name: c.tags for c in crm.customers.iterate() if c.tags}


def test_rows_of_contacts_inside_of_a_contact_are_left_out_and_that_is_asked(crm: CRM, tmp_path: Path) -> None:
    found, report = bring(crm, "customers", written(tmp_path, CHILDREN))
    assert (("id",), {"nested": 1}) == (found.key.columns, report.files[0].skipped)
    assert any('are not read: "child_ids/name", "child_ids/email"' in question for question in found.questions)
    assert ["Azure Interior", "Deco Addict"] == sorted(str(customer.name) for customer in crm.customers.iterate())


def test_a_column_with_a_slash_alone_makes_nothing_nested(crm: CRM, tmp_path: Path) -> None:
    found, _ = bring(crm, "customers", written(tmp_path, "No,Name,City/State\n1,Ann,Bonn\n2,Bob,Ulm\n"))
    assert "fill_down" not in found.toml
    assert "nested" not in found.toml


def test_empty_cells_are_filled_from_above_only_where_all_of_them_are_empty(crm: CRM, tmp_path: Path) -> None:
    text = "no,name,phone\n1,Ann,+49 30 1234567\n,,+49 30 1234568\n2,,+49 30 7654321\n,,\n,,+49 30 7654322\n"
    report = import_file(crm, written(tmp_path, text), parse_mapping(FILLED))
    assert ([], 2, 4) == (report.errors, report.types["customer"].created, report.types["contact_point"].created)
    owners = {point.value: crm.customers.get(point.customer_id).name for point in crm.contact_points.iterate()}
    assert "Ann" == owners["+49 30 1234568"]
    assert not owners["+49 30 7654322"]


def test_what_goes_on_with_a_rejected_row_is_not_given_to_the_one_above_it(crm: CRM, tmp_path: Path) -> None:
    text = "no,name,phone\n1,Ann,+49 30 1234567\n2,Bob,+49 30 7654321,x\n,,+49 30 7654322\n3,Cid,+49 30 1111111\n"
    report = import_file(crm, written(tmp_path, text), parse_mapping(FILLED))
    assert [(3, "columns"), (4, "fill_down")] == [(error.row, error.rule) for error in report.errors]
    assert "it goes on with row 3, which was rejected; correct that one, and bring both" == report.errors[1].message
    assert (4, 2, 2) == (report.counts.read, report.counts.created, report.counts.rejected)
    assert 2 == crm.contact_points.count()


def test_a_first_row_that_goes_on_with_nothing_has_no_key(crm: CRM, tmp_path: Path) -> None:
    text = "no,name,phone\n,,+49 30 1234567\n3,Cid,+49 30 1111111\n"
    report = import_file(crm, written(tmp_path, text), parse_mapping(FILLED))
    assert [(2, "key")] == [(error.row, error.rule) for error in report.errors]


def test_a_column_to_fill_that_is_not_there_is_refused_by_name(crm: CRM, tmp_path: Path) -> None:
    with pytest.raises(MappingError, match=r"\[file\] fill_down: sheet.csv has no column 'name'"):
        import_file(crm, written(tmp_path, "no,phone\n1,2\n"), parse_mapping(FILLED))
