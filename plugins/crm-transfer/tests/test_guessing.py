"""What single columns and rows of a spreadsheet are taken for, in seven languages."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from pathlib import Path

import pytest
from openpyxl import Workbook, load_workbook

from crm_core import CRM
from crm_core.cli.main import main
from crm_core.settings import write_settings
from crm_transfer.errors import FileFault, MappingError
from crm_transfer.guess.asides import find_asides
from crm_transfer.guess.columns import look_at
from crm_transfer.guess.header import find_header
from crm_transfer.guess.keys import guess_key
from crm_transfer.guess.spelling import ascii_name
from crm_transfer.guess.vocabulary import LANGUAGES
from crm_transfer.guess.words import called, names_key, names_phone, stage_called
from crm_transfer.importing import import_file
from crm_transfer.mapping import parse_mapping
from crm_transfer.suggest import suggest


@pytest.fixture
def crm(tmp_path: Path) -> Iterator[CRM]:
    write_settings(tmp_path / "ws", storage_url="memory:", currency="EUR")
    with CRM.open(tmp_path / "ws") as opened:
        yield opened


def written(folder: Path, text: str, name: str = "sheet.csv") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def book(folder: Path, *rows: tuple[object, ...]) -> Path:
    made = Workbook()
    sheet = made.worksheets[0]
    for row in rows:
        sheet.append(row)
    made.save(folder / "book.xlsx")
    return folder / "book.xlsx"


# Words


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_language_has_names_for_every_field(language: str) -> None:
    fields = {field for phrases in LANGUAGES.values() for field in phrases}
    assert fields == set(LANGUAGES[language])


def test_every_field_that_a_column_can_fill_has_names(crm: CRM) -> None:
    types = ("customer", "deal", "sale", "product", "interaction")
    named = {field for phrases in LANGUAGES.values() for field in phrases}
    own = {"time_zone", "thread", "needs_answer", "answered_at", "voided_at", "topic", "status"}
    plain = {
        field.name
        for name in types
        for field in crm.registry.types[name].fields.values()
        if field.declaration.kind != "reference"
    }
    assert plain - own <= named | {"pipeline"}


@pytest.mark.parametrize(
    ("header", "field", "type_name"),
    [
        ("Название сделки", "title", "deal"),
        ("Сумма сделки, руб.", "amount", "deal"),
        ("عنوان معامله", "title", "deal"),
        ("عنوان\u200cمعامله", "title", "deal"),
        ("Գործարքի անվանում", "title", "deal"),
        ("Bezeichnung", "title", "deal"),
        ("Auftragswert (EUR)", "amount", "deal"),
        ("Nom de l'affaire", "title", "deal"),
        ("Nombre del negocio", "title", "deal"),
        ("dealName", "title", "deal"),
        ("Opportunity_Name", "title", "deal"),
        ("Сделка", "title", "deal"),
        ("Telefono Ciudad", "", "customer"),
        ("Kundenname", "name", "customer"),
        ("Nom du client", "name", "customer"),
        ("Ville", "city", "customer"),
        ("Población", "city", "customer"),
        ("Населенный пункт", "city", "customer"),
        ("تاریخ\u200cعضویت", "first_contact_at", "customer"),
        ("Rechnungsdatum", "sold_at", "sale"),
        ("Fecha de la factura", "sold_at", "sale"),
        ("Դատա", "", "sale"),
        ("Артикул", "code", "product"),
        ("Prix unitaire HT", "", "product"),
        ("Prix unitaire", "price", "product"),
        ("Наименование товара", "name", "product"),
        ("Описание товара", "name", "product"),
        ("Description", "", "customer"),
    ],
)
def test_what_a_column_is_called(header: str, field: str, type_name: str) -> None:
    types = {"customer": ("name", "city", "country"), "deal": ("title", "amount"), "sale": ("sold_at", "amount")}
    listed = [*types.get(type_name, ("name", "code", "price")), "first_contact_at"]
    fields = {name for name in listed if called(header, name, type_name) is not None}
    assert field in fields if field else not fields


@pytest.mark.parametrize(
    ("stage", "kind"),
    [
        ("Закрыто и не реализовано", "lost"),
        ("Успешно реализовано", "won"),
        ("Сделка провалена", "lost"),
        ("Не выиграна", "lost"),
        ("Closed Won", "won"),
        ("Closed Lost", "lost"),
        ("Not won", "lost"),
        ("Not interested", "lost"),
        ("Disqualified", "lost"),
        ("Not contacted", "open"),
        ("nicht gewonnen", "lost"),
        ("Auftrag gewonnen", "won"),
        ("Kein Interesse", "lost"),
        ("Gagné", "won"),
        ("Non conclu", "lost"),
        ("Perdue", "lost"),
        ("Cierre ganado", "won"),
        ("No ganada", "lost"),
        ("Cierre perdido", "lost"),
        ("موفق", "won"),
        ("ناموفق", "lost"),
        ("موفق نشد", "lost"),
        ("بسته شده - از دست رفته", "lost"),
        ("مذاکره", "open"),
        ("Հաջողված", "won"),
        ("Չհաջողված", "lost"),
        ("Մերժված", "lost"),
        ("Անհաջող", "lost"),
        ("Բանակցություններ", "open"),
    ],
)
def test_a_negation_wins_over_the_word_it_denies(stage: str, kind: str) -> None:
    guess = stage_called(stage)
    assert (kind, True) == (guess.kind, guess.sure)


def test_names_of_any_alphabet_are_spelt_in_ascii() -> None:
    spelt = [
        ascii_name(name)
        for name in ("Щёлково — опт", "Կնքման ամսաթիվ", "تعداد\u200cکارکنان", "Größe", "Ωμέγα", "Č. p.")
    ]
    assert ["shchelkovo_opt", "knkman_amsativ", "tadad_karknan", "groesse", "omega", "c_p"] == spelt


def test_short_words_count_where_they_stand_alone() -> None:
    phones = {"Tel.", "Моб. тел.", "Handynummer", "شماره موبایل", "Titel", "Hotel", "Cancelled"}
    assert {"Tel.", "Моб. тел.", "Handynummer", "شماره موبایل"} == {name for name in phones if names_phone(name)}
    keys = {"Kunden-Nr.", "Order No", "№ заказа", "شماره مشتری", "customerid", "کد اشتراک"}
    others = {"Telefono", "Madrid", "Anno", "Straße/Nr.", "Number of employees", "Номер телефона"}
    assert keys == {name for name in keys | others if names_key(name)}


# Columns


@pytest.mark.parametrize(
    ("cells", "kind", "nulls"),
    [
        (["12", "-", "7"], "integer", ("-",)),
        (["12,50", "нет", "7,00"], "decimal", ("нет",)),
        (["۱۲", "ندارد"], "integer", ("ندارد",)),
        (["31.12.2025", "—", "k.A."], "date", ("—", "k.A.")),
        (["2026-01-31", "0000-00-00"], "date", ("0000-00-00",)),
        (["2026-01-31", "n/a", "چکا"], "text", ("n/a",)),
        (["a@x.org", "нет"], "email", ("нет",)),
        (["да", "нет"], "boolean", ()),
        (["да", "нет", "-"], "boolean", ("-",)),
        (["5", "չկա", "12"], "integer", ("չկա",)),
        (["Rom", "-", "Oslo"], "text", ("-",)),
        (["Rom", "none", "Oslo"], "text", ()),
        (["0", "5", "-"], "integer", ("-",)),
        (["-", "-"], "empty", ("-",)),
    ],
)
def test_words_for_nothing_leave_a_column_what_it_is(cells: list[str], kind: str, nulls: tuple[str, ...]) -> None:
    seen = look_at("Wert", cells)
    assert (kind, nulls) == (seen.kind, seen.nulls)


def test_a_column_that_is_nearly_one_of_numbers_is_not_taken_for_text_silently() -> None:
    seen = look_at("Wert", [*map(str, range(20)), "см. договор"])
    assert ("text", True) == (seen.kind, "'см. договор': kept as text" in seen.doubt)
    assert not look_at("Wert", ["Rom", "Oslo", "12"]).doubt
    assert "'auf Anfrage': kept as text" in look_at("Preis", ["12,50", "auf Anfrage", "7,00"]).doubt


@pytest.mark.parametrize(
    ("name", "cells"),
    [
        ("ИНН", ["7707083893", "500305245"]),
        ("PLZ", ["53111", "80331"]),
        ("Tax ID", ["12", "34567"]),
        ("Code postal", ["75011", "69001"]),
        ("کد پستی", ["1234567890", "9876543210"]),
        ("ՀՎՀՀ", ["12345678", "87654321"]),
        ("Account number", ["100", "20000"]),
        ("Ref", ["4006381333931", "4006381333948", "4006381333955", "4006381333962"]),
    ],
)
def test_numbers_that_nobody_calculates_with_stay_text(name: str, cells: list[str]) -> None:
    seen = look_at(name, cells)
    assert ("text", True) == (seen.kind, bool(seen.note))


def test_amounts_of_one_length_and_quantities_stay_numbers() -> None:
    amounts = ["125000000", "350000000", "999000001", "100000002"]
    assert ["integer", "integer"] == [
        look_at(name, cells).kind for name, cells in (("مبلغ", amounts), ("Menge", ["10", "20"]))
    ]


@pytest.mark.parametrize(
    ("cells", "wanted"),
    [
        (["1'234.50", "7.00"], ("decimal", ".", "'", ())),
        (["1’234’567", "7"], ("integer", "", "’", ())),
        (["1'234,50", "7"], ("decimal", ",", "'", ())),
        (["1'23.50"], ("text", "", "", ())),
        (["1'234", "1 234"], ("text", "", "", ())),
        (["1.234,50 €", "12 €"], ("decimal", ",", ".", ("€",))),
        (["$1,200.50", "$3"], ("decimal", ".", ",", ("$",))),
        (["CHF 1'200.-"], ("text", "", "", ())),
        (["12 000 руб.", "500 руб."], ("integer", "", " ", ("руб.",))),
        (["5 %", "7,5 %"], ("decimal", ",", "", ("%",))),
        (["5 €", "5 $"], ("text", "", "", ())),
        (["5 kg", "6 kg"], ("text", "", "", ())),
        (["1 200,50 ₽", "7,5 р."], ("decimal", ",", " ", ("₽", "р."))),
        (["۱٬۵۰۰ تومان", "۷ تومان"], ("integer", ".", ",", ("تومان",))),
        (["1,500,000 ریال", "7 ریال"], ("integer", ".", ",", ("ریال",))),
        (["500 تومان", "7 ریال"], ("integer", "", "", ("تومان", "ریال"))),
        (["12 500 դրամ", "֏7"], ("integer", "", " ", ("դրամ", "֏"))),
        (["1 234,50 zł", "7 zł"], ("decimal", ",", " ", ("zł",))),
        (["1 234 Kč", "7 Kč"], ("integer", "", " ", ("Kč",))),
        (["R$ 1.234,50", "R$ 7"], ("decimal", ",", ".", ("R$",))),
        (["CHF 1'234.50", "7 CHF"], ("decimal", ".", "'", ("CHF",))),
        (["A$12.50", "A$7"], ("decimal", ".", "", ("A$",))),
        (["5 kr.", "7 kr"], ("integer", "", "", ("kr.", "kr"))),
        (["5 ₽", "7 €"], ("text", "", "", ())),
    ],
)
def test_how_numbers_are_written(cells: list[str], wanted: tuple[str, str, str, tuple[str, ...]]) -> None:
    seen = look_at("Wert", cells)
    decimal = "." if wanted[1] == "." and not seen.decimal else seen.decimal
    assert wanted == (seen.kind, decimal, seen.thousands, seen.beside)


def told_amounts(crm: CRM) -> set[str]:
    return {f"{sale.amount.amount} {sale.amount.currency}" for sale in crm.sales.iterate() if sale.amount}


@pytest.mark.parametrize(
    ("heading", "cells", "currency", "asks", "amounts"),
    [
        ("Сумма, руб.", ("900", "7"), "RUB", "", ("900.00 RUB", "7.00 RUB")),
        ("Сумма", ("900 ₽", "7 руб."), "RUB", "", ("900.00 RUB", "7.00 RUB")),
        ("Umsatz (CHF)", ("900", "7"), "CHF", "", ("900.00 CHF", "7.00 CHF")),
        ("مبلغ (تومان)", ("۹۰۰", "7"), "toman", "10 rials", ("9000.00 IRR", "70.00 IRR")),
        ("مبلغ", ("900 تومان", "7 ریال"), "IRR", "10 rials", ("9000.00 IRR", "7.00 IRR")),
        ("Գումար", ("900 դրամ", "֏7"), "AMD", "", ("900.00 AMD", "7.00 AMD")),
        ("Amount", ("900 kr", "7 kr"), "SEK", "kr is taken for SEK; it may be NOK or DKK or ISK", ("900.00 SEK",)),
        ("Amount", ("R$ 900", "R$ 7"), "BRL", "", ("900.00 BRL",)),
        ("Amount", ("A$900", "A$7"), "AUD", "", ("900.00 AUD",)),
        ("Total (all)", ("900", "7"), "EUR", "amounts are taken for EUR", ("900.00 EUR",)),
        ("AMOUNT (TRY)", ("900", "7"), "TRY", "", ("900.00 TRY",)),
    ],
)
def test_amounts_are_in_the_currency_that_cells_or_their_heading_say(
    crm: CRM, tmp_path: Path, heading: str, cells: tuple[str, ...], currency: str, asks: str, amounts: tuple[str, ...]
) -> None:
    path = written(
        tmp_path, f'no,date,"{heading}"\n' + "".join(f"{n},2026-01-0{n},{c}\n" for n, c in enumerate(cells, 1))
    )
    found = suggest(crm, "sales", path)
    asked = [question for question in found.questions if heading in question]
    assert f'currency = "{currency}"' in found.toml, found.toml
    assert bool(asks) == bool(asked)
    assert asks in " ".join(asked)
    report = import_file(crm, path, parse_mapping(found.toml))
    assert not report.errors, [str(error) for error in report.errors]
    assert set(amounts) <= told_amounts(crm)
    assert ("10 rials" in asks) == any("each is read as 10 rials" in note for note in report.files[0].notes)


def test_a_column_of_currencies_may_have_their_signs_and_words(crm: CRM, tmp_path: Path) -> None:
    path = written(tmp_path, "no,date,مبلغ,ارز\n1,2026-01-01,900,تومان\n2,2026-01-02,7,ریال\n3,2026-01-03,5,€\n")
    found = suggest(crm, "sales", path)
    assert 'currency = { column = "ارز" }' in found.toml, found.toml
    report = import_file(crm, path, parse_mapping(found.toml))
    assert {"9000.00 IRR", "7.00 IRR", "5.00 EUR"} == told_amounts(crm)
    path.write_text(path.read_text(encoding="utf-8") + "4,2026-01-04,5,kr\n", encoding="utf-8")
    report = import_file(crm, path, parse_mapping(found.toml))
    assert ["may be SEK, NOK, DKK, ISK; write the code, such as EUR, USD or IRR"] == [e.message for e in report.errors]


def test_a_running_number_is_a_key_only_where_there_is_no_other() -> None:
    counted = look_at("№ п/п", ["1", "2"])
    named = look_at("Код", ["K-7", "K-9"])
    assert ("Код",) == guess_key([counted, named], [["1", "K-7"], ["2", "K-9"]]).columns
    alone = guess_key([counted, look_at("Имя", ["Иван", "Анна"])], [["1", "Иван"], ["2", "Анна"]])
    assert (("№ п/п",), "medium", True) == (alone.columns, alone.confidence, "numbers the rows" in alone.advice)


# The header


@pytest.mark.parametrize(
    ("rows", "row", "confidence"),
    [
        ([["Name", "City"], ["Ada", "Rome"]], 0, ""),
        ([["Customers of 2026"], [], ["Name", "City"], ["Ada", "Rome"]], 3, "high"),
        ([["Отчёт"], ["Дата:", "01.02.2026"], ["Клиент", "Сумма", "Дата"], ["А", "1", "2026-01-01"]], 3, "high"),
        (
            [["", "Kunde", "", "Umsatz", ""], ["Nr", "Name", "Ort", "2024", "2025"], ["1", "A", "B", "5", "6"]],
            2,
            "high",
        ),
        ([["Blurb"], ["foo", "bar", "baz"], ["a", "b", "c"], ["d", "e", "f"]], 2, "low"),
        ([["Blurb"], ["foo", "bar", "baz"], ["a", "b", "17"], ["d", "e", "18"]], 2, "medium"),
        ([["one"], ["two"], ["three"]], 0, ""),
        ([["1", "2026-01-31"], ["2", "2026-02-28"]], 0, "low"),
        ([["Name", "Tel", "Tel"], ["Ada", "1", "2"]], 1, "high"),
        ([["Naam", "Plaats", "Soort"], ["Jan", "City", "Customer"], ["Piet", "Email", "Lead"]], 0, ""),
        ([["Plan"], ["Kunde", "01.2026", "02.2026", "03.2026"], ["Acme", "5", "6", "7"]], 2, "medium"),
    ],
)
def test_the_row_that_names_the_columns(rows: list[list[str]], row: int, confidence: str) -> None:
    found = find_header(list(enumerate(rows, 1)))
    assert (row, confidence) == ((found.row, found.confidence) if found is not None else (0, ""))


def test_a_row_that_sums_up_the_others() -> None:
    rows = [["A", "5"], ["B", "6"], ["Итого:", "11"]]
    assert {2} == find_asides(["x", "y"], rows, [2, 3, 4], is_whole=True).places
    assert not find_asides(["x", "y"], [["Total", "5"], ["Total", "6"]], [2, 3], is_whole=True).places
    assert not find_asides(["x", "y"], rows[:2], [2, 3], is_whole=True).places


def test_a_doubtful_header_is_asked_for(crm: CRM, tmp_path: Path) -> None:
    found = suggest(crm, "customers", book(tmp_path, ("Blurb",), (), ("foo", "bar"), ("a", "b"), ("c", "d")))
    assert "header = 3  # low: the first row as wide as those below; 2 rows above, with titles" in found.toml
    assert any('row 3 is taken for the names of the columns (low): "foo", "bar"; is it?' == q for q in found.questions)
    assert (3, "low") == (found.file["header"], found.file["header_confidence"])


def test_the_header_of_delimited_text_may_stand_below_titles(crm: CRM, tmp_path: Path) -> None:
    path = written(tmp_path, 'sep=;\nReport "A"\n\nNo;Name;Since\n1;Ada;2026-01-31\n2;Bob;gestern\n')
    found = suggest(crm, "customers", path)
    assert "header = 4  # high" in found.toml
    text = found.toml.replace("fields.since =", "first_contact_at =").replace(
        "[fields.customer.since]", "[fields.customer.x]"
    )
    report = import_file(crm, path, parse_mapping(text))
    assert (2, 1, [6]) == (report.counts.read, report.counts.created, [error.row for error in report.errors])
    rejects = Path(str(report.files[0].rejects_file))
    rejects.write_text(rejects.read_text(encoding="utf-8").replace("gestern", "2026-02-01", 1), encoding="utf-8")
    again = import_file(crm, rejects, parse_mapping(text))
    assert (1, 1) == (again.counts.read, again.counts.created), again.errors


def test_a_reject_file_of_a_sheet_with_titles_has_its_header_first(crm: CRM, tmp_path: Path) -> None:
    path = book(tmp_path, ("List",), (), ("No", "Name", "Since"), (1, "Ada", "2026-01-31"), (2, "Bob", "gestern"))
    mapping = parse_mapping(
        '[file]\nsystem = "s"\nheader = 3\n[[record]]\ntype = "customer"\nkey = "No"\n'
        '[record.fields]\nname = "Name"\nfirst_contact_at = "Since"\n'
    )
    report = import_file(crm, path, mapping)
    rejects = Path(str(report.files[0].rejects_file))
    made = load_workbook(rejects)
    made.worksheets[0]["C2"] = "2026-02-01"
    made.save(rejects)
    again = import_file(crm, rejects, mapping)
    assert (1, 1) == (again.counts.read, again.counts.created), again.errors


def test_a_declared_header_that_is_empty_is_refused(crm: CRM, tmp_path: Path) -> None:
    path = written(tmp_path, "Title\n\nNo,Name\n1,Ada\n")
    mapping = parse_mapping(
        '[file]\nheader = 2\n[[record]]\ntype = "customer"\nkey = "No"\n[record.fields]\nname = "Name"\n'
    )
    with pytest.raises(FileFault, match="line 2 is empty, so it is no header"):
        import_file(crm, path, mapping)


@pytest.mark.parametrize("kind", ["csv", "xlsx"])
def test_columns_that_are_called_the_same_are_told_apart(crm: CRM, tmp_path: Path, kind: str) -> None:
    rows = [("Nr", "Name", "Telefon", "Telefon", "Since"), ("7", "Ada", "0351 12345", "+44 20 123456", "2026-01-31"),
            ("8", "Bob", "", "0351 54321", "gestern")]  # fmt: skip
    path = book(tmp_path, *rows) if kind == "xlsx" else written(tmp_path, "\n".join(map(",".join, rows)))
    found = suggest(crm, "customers", path)
    assert any('are now called: "Telefon (2)"' in question for question in found.questions)
    mapping = parse_mapping(found.toml.replace('fields.since = "Since"', 'first_contact_at = "Since"'))
    report = import_file(crm, path, mapping)
    assert (1, 1, 2) == (report.counts.created, report.counts.rejected, crm.records("contact_point").count())
    rejects = Path(str(report.files[0].rejects_file))
    if kind == "csv":
        rejects.write_text(rejects.read_text(encoding="utf-8").replace("gestern", "2026-02-01", 1), encoding="utf-8")
    else:
        made = load_workbook(rejects)
        made.worksheets[0]["E2"] = "2026-02-01"
        made.save(rejects)
    again = import_file(crm, rejects, mapping)
    assert (1, 1, 3) == (again.counts.read, again.counts.created, crm.records("contact_point").count()), again.errors


@pytest.mark.parametrize("kind", ["csv", "xlsx"])
def test_a_file_without_a_header_is_asked_for_the_names_of_its_columns(crm: CRM, tmp_path: Path, kind: str) -> None:
    rows = [("K-7", "Ada Lovelace", "2026-01-31"), ("K-8", "Alan Turing", "2026-02-28")]
    path = book(tmp_path, *rows) if kind == "xlsx" else written(tmp_path, "\n".join(map(",".join, rows)))
    found = suggest(crm, "customers", path)
    assert "no row looks like the names of the columns (low): name them" in found.questions[0]
    report = import_file(crm, path, parse_mapping(found.toml))
    assert (2, 0) == (report.counts.created, report.counts.rejected), report.errors


def test_new_names_are_as_many_as_the_header_has(crm: CRM, tmp_path: Path) -> None:
    path = written(tmp_path, "No,Name,Name\n1,Ada,L\n")
    records = '[[record]]\ntype = "customer"\nkey = "No"\n[record.fields]\nname = "Name"\n'
    mapping = parse_mapping(f'[file]\nheader = 1\ncolumns = ["No", "Name"]\n{records}')
    with pytest.raises(MappingError, match="columns has 2 names, and the header in line 1 of sheet"):
        import_file(crm, path, mapping)


# Whole files


def test_text_fields_with_words_for_nothing_stay_empty_and_are_asked_about(crm: CRM, tmp_path: Path) -> None:
    path = written(tmp_path, "Nr;Name;Ort;Umsatz\n1;Ada;-;12,50\n2;Bob;Rom;нет\n")
    found = suggest(crm, "customers", path)
    assert 'city = { column = "Ort", null_if = ["-"] }' in found.toml
    assert "column \"Umsatz\": 'нет' taken for nothing" in found.questions
    import_file(crm, path, parse_mapping(found.toml))
    assert {None, "Rom"} == {one.city for one in crm.customers.iterate()}


def test_unknown_columns_of_other_alphabets_get_readable_names(crm: CRM, tmp_path: Path) -> None:
    path = written(tmp_path, "id,name,رنگ مورد علاقه,Любимый цвет,Սիրած գույն,好きな色\n1,Ada,a,b,c,d\n2,Bob,e,f,g,h\n")
    found = suggest(crm, "customers", path)
    labels = {name: content["label"] for name, content in found.fields["customer"].items()}
    assert {
        "rng_mvrd_alaghh": "رنگ مورد علاقه",
        "lyubimyy_tsvet": "Любимый цвет",
        "sirats_guyn": "Սիրած գույն",
        "column_6": "好きな色",
    } == labels
    assert not import_file(crm, path, parse_mapping(found.toml)).errors


def test_currencies_beside_amounts_are_declared(crm: CRM, tmp_path: Path) -> None:
    path = written(tmp_path, "Nr;Datum;Betrag;Versand\n1;2026-01-31;1'200,50 CHF;5,00 CHF\n2;2026-02-01;7 CHF;-\n")
    found = suggest(crm, "sales", path)
    import_file(crm, path, parse_mapping(found.toml))
    assert {"CHF"} == {sale.amount.currency for sale in crm.sales.iterate() if sale.amount}
    assert "money" == found.fields["sale"]["versand"]["type"]


def test_patronymics_and_names_beside_first_names_make_one_name(crm: CRM, tmp_path: Path) -> None:
    path = written(tmp_path, "id,Имя,Отчество,Фамилия\n1,Иван,Ильич,Петров\n2,Анна,,Ким\n")
    import_file(crm, path, parse_mapping(suggest(crm, "customers", path).toml))
    assert {"Иван Ильич Петров", "Анна Ким"} == {one.name for one in crm.customers.iterate()}


def test_customers_are_made_of_their_number_and_their_name(crm: CRM, tmp_path: Path) -> None:
    path = written(tmp_path, "order,date,customer id,customer name,total\n1,2026-01-31,7,Ada,5\n2,2026-02-01,8,Ada,6\n")
    found = suggest(crm, "sales", path)
    import_file(crm, path, parse_mapping(found.toml))
    assert [("Ada", 2)] == [(name, crm.customers.count()) for name in {one.name for one in crm.customers.iterate()}]


def test_sales_below_zero_become_refunds(crm: CRM, tmp_path: Path) -> None:
    path = written(tmp_path, "Belegnr.;Datum;Betrag\n1;2026-01-31;1.234,50\n2;2026-02-01;-99,00\n")
    found = suggest(crm, "sales", path)
    assert any("below zero are taken for refunds" in question for question in found.questions)
    assert not import_file(crm, path, parse_mapping(found.toml)).errors
    assert {("sale", "1234.50"), ("refund", "99.00")} == {
        (sale.kind, str(sale.amount.amount)) for sale in crm.sales.iterate() if sale.amount
    }


def test_two_numbers_in_a_cell_become_two_contact_points(crm: CRM, tmp_path: Path) -> None:
    path = written(
        tmp_path,
        "Код;Имя;Телефон;E-mail\nK-1;Анна;8 (916) 123-45-67, 8 916 765-43-21;a@x.org\nK-2;Олег;-;b@x.org, c@x.org\n"
        "K-3;Иван;+7 495 1234567;нет\n",
    )
    found = suggest(crm, "customers", path)
    assert {"phone": 3, "email": 3} == _points(crm, path, found.toml)
    assert '"Телефон #2" = { split = "Телефон", at = ",", part = 2 }' in found.toml


def _points(crm: CRM, path: Path, text: str) -> dict[str, int]:
    report = import_file(crm, path, parse_mapping(text))
    assert not report.errors, (text, report.errors)
    kinds = [point.kind for point in crm.contact_points.iterate()]
    return {kind: kinds.count(kind) for kind in ("phone", "email")}


def test_the_buyer_is_the_customer_and_not_the_own_organisation(crm: CRM, tmp_path: Path) -> None:
    path = written(
        tmp_path,
        "№;Время;Организация;Контрагент;Сумма\n1;13.01.2026 10:15;Мы;ИП Петров;5\n2;14.01.2026 9:00;Мы;Ким;6\n",
    )
    found = suggest(crm, "sales", path)
    assert not import_file(crm, path, parse_mapping(found.toml)).errors
    assert {"ИП Петров", "Ким"} == {one.name for one in crm.customers.iterate()}


def test_days_of_a_spreadsheet_stay_days(crm: CRM, tmp_path: Path) -> None:
    days = [dt.datetime(1980, 12, 24), dt.datetime(1990, 1, 2)]  # noqa: DTZ001 - a spreadsheet knows no zones
    path = book(tmp_path, ("Nr.", "Name", "Vertrag vom"), ("A1", "Ada", days[0]), ("A2", "Bob", days[1]))
    found = suggest(crm, "customers", path)
    assert "day" == found.fields["customer"]["vertrag_vom"]["type"]
    assert not import_file(crm, path, parse_mapping(found.toml)).errors


@pytest.mark.parametrize("cells", [("1.234,50-", "99,00"), ("(1.234,50)", "99,00")])
def test_a_minus_behind_a_number_and_brackets_are_understood(crm: CRM, tmp_path: Path, cells: tuple[str, str]) -> None:
    path = written(tmp_path, f"Nr;Name;Saldo\nA1;Ada;{cells[0]}\nA2;Bob;{cells[1]}\nA3;Cy;-\n")
    found = suggest(crm, "customers", path)
    assert "decimal" == found.fields["customer"]["saldo"]["type"]
    assert not import_file(crm, path, parse_mapping(found.toml)).errors
    assert ["-1234.50", "99.00", "None"] == [str(one.fields.get("saldo")) for one in crm.customers.iterate()]


def test_a_column_called_an_amount_that_is_none_is_asked_about(crm: CRM, tmp_path: Path) -> None:
    path = written(tmp_path, "Nr;Titel;Betrag\nA1;Dach;auf Anfrage\nA2;Haus;nach Aufwand\n")
    found = suggest(crm, "deals", path)
    assert 'column "Betrag": it is called like amount, but not all of its cells are amounts' in found.questions


def test_the_command_writes_a_mapping_that_the_import_takes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_settings(tmp_path / "ws", storage_url="memory:", currency="EUR")
    rows = (("Код", "ФИО", "Долг"), ("K-1", "Иван", "1’250,50"), ("K-2", "Анна", "—"))
    path = book(tmp_path, ("Список клиентов",), (), *rows)
    command = ["-w", str(tmp_path / "ws"), "import"]
    assert 0 == main([*command, "--suggest", "customers", str(path)])
    said = capsys.readouterr()
    mapping = written(tmp_path, said.out, "customers.toml")
    assert 0 == main([*command, "customers", str(path), "--map", str(mapping)]), said.out


def test_a_day_and_the_time_beside_it_are_one_moment(crm: CRM, tmp_path: Path) -> None:
    path = written(
        tmp_path, "Nr.;Datum;Uhrzeit;Notiz;Dauer\n1;31.01.2026;10:15;ok;00:05\n2;01.02.2026;9:00;ja gut;00:01\n"
    )
    found = suggest(crm, "interactions", path)
    assert ("Nr.",) == found.key.columns
    import_file(crm, path, parse_mapping(found.toml))
    moments = [one.occurred_at.astimezone(crm.settings.zone) for one in crm.interactions.iterate() if one.occurred_at]
    assert [(31, 10, 15), (1, 9, 0)] == [(each.day, each.hour, each.minute) for each in moments]
