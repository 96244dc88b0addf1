"""A suggested mapping imports the file it was made from, and says how sure each guess is."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from crm_core import CRM, Customer, User
from crm_core.cli.main import main
from crm_core.settings import write_settings
from crm_transfer.guess.columns import look_at
from crm_transfer.guess.encodings import guess_encoding
from crm_transfer.importing import import_file
from crm_transfer.mapping import parse_mapping
from crm_transfer.suggest import Suggestion, suggest

DATA = next(
    (up / "shared" / "data" for up in Path(__file__).parents if (up / "shared" / "data").is_dir()), Path("shared")
)


@pytest.fixture
def crm(tmp_path: Path) -> Iterator[CRM]:
    write_settings(tmp_path / "ws", storage_url="memory:", currency="EUR")
    with CRM.open(tmp_path / "ws") as opened:
        yield opened


def sheet(folder: Path, text: str, name: str = "sheet.csv", encoding: str = "utf-8") -> Path:
    path = folder / name
    path.write_bytes(text.encode(encoding))
    return path


def targets(found: Suggestion) -> dict[str, str]:
    return {guess.column: guess.target for guess in found.columns}


# (record type, the sheet, what its columns are taken for, how many records of which types come out of it)
Shape = tuple[str, str, dict[str, str], dict[str, int]]
SHAPES: dict[str, Shape] = {
    "english customers": (
        "customers",
        "Customer No,First name,Last name,E-mail,Phone,Country,Created\n"
        "1,Ada,Lovelace,ada@example.org,+44 20 1234567,GB,31/12/2024\n2,Alan,Turing,,+44 20 7654321,GB,01/02/2025\n",
        {"First name": "customer.name", "E-mail": "contact_point.email", "Created": "customer.first_contact_at"},
        {"customer": 2, "contact_point": 3},
    ),
    "german, semicolons, decimal commas": (
        "customers",
        "Kundennr;Name;Ort;Geburtstag;Umsatz;Aktiv\n17;Jörg Weiß;Köln;24.12.1980;1.234,50;ja\n"
        "18;Änne Groß;Bonn;01.02.1990;99,00;nein\n",
        {"Ort": "customer.city", "Geburtstag": "customer.birth_date", "Umsatz": "customer.fields.umsatz"},
        {"customer": 2},
    ),
    "persian headers": (
        "customers",
        "شناسه,نام مشتری,شهر,تلفن,نوع,مسئول\n۱,علی‌رضا کاظمی,تهران,۰۹۱۲۳۴۵۶۷۸۹,حقیقی,سارا\n"
        "۲,شرکت آرین,شیراز,۰۲۱۴۴۵۵۶۶۷۷,حقوقی,امید\n",
        {"نام مشتری": "customer.name", "شهر": "customer.city", "نوع": "customer.kind", "مسئول": "customer.owner_id"},
        {"customer": 2, "contact_point": 2, "user": 2},
    ),
    "armenian headers": (
        "customers",
        "Համար;Անուն;Երկիր;Քաղաք;Հեռախոս;Ընկերություն\nA1;Արամ;Հայաստան;Երևան;+374 10 123456;Նաիրի\n"
        "A2;Անի;Հայաստան;Գյումրի;+374 10 654321;Նաիրի\n",
        {"Անուն": "customer.name", "Քաղաք": "customer.city", "Ընկերություն": "relation.works for"},
        {"customer": 3, "contact_point": 2, "relation": 2},
    ),
    "russian headers": (
        "customers",
        "Номер,ФИО,Город,Дата рождения,Источник\n1,Иван Петров,Москва,13.02.1980,сайт\n"
        "2,Анна Ким,Омск,01.03.1981,сайт\n",
        {"ФИО": "customer.name", "Город": "customer.city", "Источник": "customer.source"},
        {"customer": 2},
    ),
    "people with companies": (
        "customers",
        "id\tname\tcompany\tsector\temployees\n"
        "P1\tAda\tAcme\tretail\t12\nP2\tBob\tAcme\tfinance\t1400\nP3\tCy\t\tretail\t\n",
        {"company": "relation.works for", "sector": "customer.industry", "employees": "customer.fields.employees"},
        {"customer": 4, "relation": 2},
    ),
    "companies alone": (
        "customers",
        "Company,Website,Opted in\nAcme,acme.example,yes\nInitech,initech.example,no\n",
        {"Company": "customer.name", "Website": "customer.fields.website", "Opted in": "customer.fields.opted_in"},
        {"customer": 2},
    ),
    "deals with stages of their own": (
        "deals",
        "Deal ID,Deal name,Account,Sales rep,Phase,Value,Close date\n"
        'D1,One,Acme,Sara,Besichtigung,"1,200.50",2026-01-31\n'
        'D2,Two,Acme,Omid,Gewonnen,300,\nD3,Three,Initech,Sara,Verloren,"2,000.00",2026-02-01\n',
        {"Account": "deal.customer_id", "Sales rep": "deal.owner_id", "Phase": "deal.stage", "Value": "deal.amount"},
        {"deal": 3, "customer": 2, "user": 2},
    ),
    "deals in the stages there are": (
        "deals",
        "id,title,stage,amount,currency\n1,Licence,Won,10.50,EUR\n2,Support,Negotation,1000,JPY\n",
        {"stage": "deal.stage", "amount": "deal.fields.amount", "currency": "deal.fields.currency"},
        {"deal": 2},
    ),
    "sales in several currencies": (
        "sales",
        "Order no;Order date;Customer;Total;Currency;Type\n"
        "O1;13/02/2026;Acme;12,50;EUR;sale\nO2;01/03/2026;Ada;7,00;USD;Return\n",
        {"Total": "sale.amount", "Currency": "currency", "Type": "sale.kind", "Customer": "sale.customer_id"},
        {"sale": 2, "customer": 2},
    ),
    "interactions": (
        "interactions",
        "time,text,kind,direction,user\n"
        "2026-01-31 10:00,Hello,Anruf,eingehend,Sara\n2026-02-01 11:30,Bye,email,out,Sara\n",
        {"time": "interaction.occurred_at", "kind": "interaction.kind", "direction": "interaction.direction"},
        {"interaction": 2},
    ),
    "two phones and two addresses": (
        "customers",
        "no,name,work phone,mobile,email,second email\n1,Ada,+44 20 111111,0171 222222,a@b.org,c@d.org\n"
        "2,Bob,+44 20 333333,,b@b.org,\n",
        {"work phone": "contact_point.phone", "second email": "contact_point.email"},
        {"customer": 2, "contact_point": 6},
    ),
    "users": (
        "users",
        "name,email,region\nSara,sara@example.org,North\nOmid,omid@example.org,South\n",
        {"name": "user.name", "email": "user.email", "region": "user.fields.region"},
        {"user": 2},
    ),
    "awkward headers": (
        "customers",
        'nr,"Name\nof it","a ""quoted"" one",{braces},"x # y",\n1,Ada,p,q,r,s\n2,Bob,p,q,r,t\n',
        {"{braces}": "customer.fields.braces", 'a "quoted" one': "customer.fields.a_quoted_one"},
        {"customer": 2},
    ),
    "nothing to tell rows apart but all": (
        "customers",
        "name,city\nAda,Rome\nAda,Oslo\nBob,Rome\n",
        {"name": "customer.name", "city": "customer.city"},
        {"customer": 3},
    ),
    "solar dates and long texts": (
        "customers",
        f"no,name,joined,about\n1,Ada,1403/05/20,{'long ' * 200}\n2,Bob,1403/06/31,short\n",
        {"joined": "customer.first_contact_at", "about": "customer.fields.about"},
        {"customer": 2},
    ),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_a_suggestion_imports_the_file_as_it_stands(crm: CRM, tmp_path: Path, shape: str) -> None:
    type_name, text, wanted, made = SHAPES[shape]
    path = sheet(tmp_path, text)
    found = suggest(crm, type_name, path)
    assert wanted.items() <= targets(found).items(), found.toml
    mapping = parse_mapping(found.toml)
    dry = import_file(crm, path, mapping, dry_run=True)
    report = import_file(crm, path, mapping)
    assert not report.errors, (found.toml, [str(error) for error in report.errors])
    assert made.items() <= {name: crm.records(name).count() for name in made}.items(), found.toml
    assert (dry.counts, dry.types) == (report.counts, report.types)
    assert not any("does not use" in note for note in report.files[0].notes), report.files[0].notes
    again = import_file(crm, path, mapping)
    assert (report.counts.read, 0) == (again.counts.unchanged, again.counts.rejected)
    assert {guess.confidence for guess in found.columns} <= {"high", "medium", "low"}


def test_new_fields_and_pipelines_are_declared_in_the_mapping_itself(crm: CRM, tmp_path: Path) -> None:
    _, text, _, _ = SHAPES["deals with stages of their own"]
    found = suggest(crm, "deals", sheet(tmp_path, text))
    stages = found.pipelines["sheet"]["stages"]
    assert [("Besichtigung", "open"), ("Gewonnen", "won"), ("Verloren", "lost")] == [
        (stage["name"], stage["kind"]) for stage in stages
    ]
    import_file(crm, tmp_path / "sheet.csv", parse_mapping(found.toml))
    assert {"open", "won", "lost"} == {deal.status for deal in crm.deals.iterate()}
    assert crm.settings.directory is not None
    assert "[pipelines.sheet]" in (crm.settings.directory / "crm.toml").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("cells", "kind", "thousands"),
    [
        (["1 250,00", "99,50"], "decimal", " "),
        (["1 250", "12"], "integer", " "),
        (["1\u202f250,5", "7"], "decimal", ""),
        (["1 250", "1.250.000"], "text", ""),
        (["12 34", "5"], "text", ""),
        (["۰۰۵۰۱", "۰۰۵۰۲"], "text", ""),
        (["00501", "00502"], "text", ""),
        (["0,5", "0"], "decimal", ""),
    ],
)
def test_what_a_number_looks_like(cells: list[str], kind: str, thousands: str) -> None:
    seen = look_at("Umsatz", cells)
    assert (kind, thousands) == (seen.kind if seen.kind in ("integer", "decimal") else "text", seen.thousands)


def test_a_date_that_leaves_no_doubt_decides_for_all(crm: CRM, tmp_path: Path) -> None:
    rows = "".join(f"{day},{day:02}/02/2026,0{day % 9 + 1}/03/2026\n" for day in range(1, 14))
    found = suggest(crm, "customers", sheet(tmp_path, "no,created,dob\n" + rows))
    assert 'first_contact_at = { column = "created", format = "%d/%m/%Y" }' in found.toml
    assert 'birth_date = { column = "dob", format = "%d/%m/%Y" }  # low' in found.toml
    assert "read as the other dates of the file" in found.toml
    found = suggest(crm, "customers", sheet(tmp_path, "no,created\n1,03/04/2026\n2,05/06/2026\n"))
    assert any("may be %d/%m/%Y or %m/%d/%Y" in question for question in found.questions)


def test_several_keys_are_listed_and_none_says_what_to_do(crm: CRM, tmp_path: Path) -> None:
    found = suggest(crm, "customers", sheet(tmp_path, "name,no,email\nA,1,a@x.org\nB,2,b@x.org\n"))
    assert (("no",), ("email", "name"), "high") == (found.key.columns, found.key.others, found.key.confidence)
    found = suggest(crm, "customers", sheet(tmp_path, "name,city\nA,x\nA,x\n"))
    assert "NO column tells rows apart: add a column" in found.questions[0]


def test_owners_are_looked_up_by_name_and_near_names_are_mapped(crm: CRM, tmp_path: Path) -> None:
    crm.users.add(User(name="Sara Kazemi"))
    crm.users.add(User(name="Omid Rad"))
    path = sheet(tmp_path, "no,name,owner\n1,A,sara kazemi\n2,B,Omid Raad\n3,C,Zebedee\n")
    found = suggest(crm, "customers", path)
    assert 'by = "name", map = { "Omid Raad" = "Omid Rad", "Zebedee" = "" }' in found.toml
    assert any("no user is called 'Zebedee'" in question for question in found.questions)
    assert not import_file(crm, path, parse_mapping(found.toml)).errors
    assert [True, True, False] == [bool(one.owner_id) for one in crm.customers.iterate()]


def test_customers_known_under_another_file_are_pointed_at_there(crm: CRM, tmp_path: Path) -> None:
    for number in range(10):
        crm.customers.add(Customer(name=f"C{number}"), external=("crm-old", f"K{number}"))
    rows = "".join(f"{n},T{n},K{n}\n" for n in range(10))
    path = sheet(tmp_path, "id,title,customer\n" + rows)
    found = suggest(crm, "deals", path)
    assert 'ref = "customer", system = "crm-old" }  # high: 10 of 10 are known under crm-old' in found.toml
    import_file(crm, path, parse_mapping(found.toml))
    assert (10, True) == (crm.customers.count(), all(deal.customer_id for deal in crm.deals.iterate()))


@pytest.mark.parametrize(
    ("encoding", "words"),
    [
        ("windows-1252", "Jörg Weiß,Köln;Änne Groß,Düsseldorf;François Lefèvre,Besançon;Zoë Müller,Würzburg"),
        ("windows-1251", "Иван Петров,Москва;Анна Ким,Омск;Сергей Иванов,Новосибирск;Ольга Белова,Казань"),
        ("windows-1256", "علی کاظمی,تهران;سارا رضایی,شیراز;امید پارسا,گرگان;مریم چگینی,مشهد"),
        ("utf-16-le", "Ada,Rome;سارا,تهران;Bob,Oslo;Արամ,Երևան"),
        ("utf-16-be", "Ada,Rome;Ada,Rome;Bob,Oslo;Cy,Bern"),
    ],
)
def test_an_encoding_is_guessed_and_said_so(crm: CRM, tmp_path: Path, encoding: str, words: str) -> None:
    # windows-1256 has the Arabic yeh and kaf; people who write Persian in it use these.
    words = words.replace("ی", "ي").replace("ک", "ك") if encoding == "windows-1256" else words
    text = "no,name,city\n" + "".join(f"{n},{row}\n" for n, row in enumerate(words.split(";") * 5))
    path = sheet(tmp_path, text, encoding=encoding)
    found = suggest(crm, "customers", path)
    assert encoding == found.file["encoding"]
    assert found.file["encoding_confidence"] in ("high", "medium")
    assert "the encoding is guessed" in found.questions[0]
    assert not import_file(crm, path, parse_mapping(found.toml)).errors
    assert words.partition(",")[0] in {one.name for one in crm.customers.iterate()}


def test_bytes_that_fit_nothing_are_not_guessed(tmp_path: Path) -> None:
    assert guess_encoding(sheet(tmp_path, "plain ascii\n")) is None


def test_what_a_column_looks_like_is_decided_from_all_of_its_cells() -> None:
    assert ("decimal", ".", ",") == (lambda s: (s.kind, s.decimal, s.thousands))(look_at("n", ["1,234.5", "2"]))
    assert "text" == look_at("zip", ["01234", "99999"]).kind
    assert "text" == look_at("n", ["1", "2", "three"]).kind
    assert "text" == look_at("n", [str(2**63)]).kind
    assert ("date", "jalali") == (lambda s: (s.kind, s.format))(look_at("d", ["۱۴۰۳/۰۵/۲۰"]))
    assert "date" == look_at("d", ["2026-02-28 10:00", "2026-03-01"]).kind


def test_the_same_guesses_come_as_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_settings(tmp_path / "ws", storage_url="memory:", currency="EUR")
    path = sheet(tmp_path, SHAPES["english customers"][1])
    assert 0 == main(["-w", str(tmp_path / "ws"), "import", "--suggest", "customers", str(path), "--json"])
    told: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert ("customer", 2, ["Customer No"]) == (told["type"], told["rows"], told["key"]["columns"])
    phone = next(column for column in told["columns"] if column["column"] == "Phone")
    assert ("contact_point.phone", "high") == (phone["target"], phone["confidence"])
    assert parse_mapping(told["mapping"]).records[0].type == "customer"


REAL = [
    ("maven_crm/accounts.csv", "customers", 85),
    ("maven_crm/sales_pipeline.csv", "deals", 8800),
    ("maven_crm/sales_teams.csv", "users", 35),
    ("olist_funnel/olist_marketing_qualified_leads_dataset.csv", "customers", 8000),
    ("olist_funnel/olist_closed_deals_dataset.csv", "deals", 842),
    ("olist_funnel/olist_sellers_dataset.csv", "customers", 3095),
]


@pytest.mark.skipif(not DATA.is_dir(), reason="NOT RUN: the real data (../shared/data) is not here")
@pytest.mark.parametrize(("name", "type_name", "rows"), REAL)
def test_a_suggestion_imports_real_files_as_they_stand(crm: CRM, name: str, type_name: str, rows: int) -> None:
    found = suggest(crm, type_name, DATA / name)
    mapping = parse_mapping(found.toml)
    report = import_file(crm, DATA / name, mapping)
    assert (rows, 0) == (report.counts.read, report.counts.rejected), (found.toml, report.errors[:3])
    assert rows == crm.records(crm.registry.named(type_name).name).count() - sum(
        record.repeats for record in mapping.records if record.type == mapping.records[-1].type
    )
