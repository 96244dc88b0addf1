"""Contacts: vCards 2.1, 3.0 and 4.0, and what Google and Outlook export, from the file to the customer and back."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crm_core import CRM, Customer
from crm_core.cli.main import main
from crm_core.extend import BadRow
from crm_core.records import ContactPoint, Relation
from crm_core.values import format_id
from crm_transfer.errors import FileFault
from crm_transfer.exporting import export_records, exporter_for
from crm_transfer.formats.contactcsv import GOOGLE_CONTACTS, OUTLOOK_CONTACTS
from crm_transfer.formats.vcard import VCARD, open_vcard
from crm_transfer.formats.vcardtext import escaped, folded, unescaped
from crm_transfer.importing import import_file
from crm_transfer.mapping import parse_mapping
from crm_transfer.opening import built_in_mapping, importer_for
from crm_transfer.report import ImportReport


def card(*lines: str, version: str = "3.0") -> str:
    return "\r\n".join(["BEGIN:VCARD", f"VERSION:{version}", *lines, "END:VCARD", ""])


def write(folder: Path, content: str | bytes, name: str = "p.vcf") -> Path:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def row(folder: Path, content: str | bytes) -> dict[str, str]:
    source = open_vcard(write(folder, content), {})
    found = next(source.rows)
    assert not isinstance(found, BadRow), found
    return {name: cell for name, cell in zip(source.columns, found.cells, strict=True) if cell}


def bad(folder: Path, content: str | bytes) -> BadRow:
    found = next(open_vcard(write(folder, content), {}).rows)
    assert isinstance(found, BadRow)
    return found


def bring(crm: CRM, path: Path, **options: Any) -> ImportReport:
    mapping = built_in_mapping(crm, path, options=options)
    assert mapping is not None
    return import_file(crm, path, mapping)


def points(crm: CRM, name: str) -> list[tuple[str, str, str | None, bool]]:
    customer = next(each for each in crm.customers.iterate() if each.name == name)
    return [(each.kind, each.value, each.label, each.primary) for each in crm.customers.contact_points(customer.id)]


# Cards


def test_lines_are_unfolded_and_values_unescaped(tmp_path: Path) -> None:
    found = row(tmp_path, card("FN:Ada", "NOTE:one\\, two\\;", "  three\\n", " four\\\\n"))
    assert "one, two; three\nfour\\n" == found["NOTE"]


def test_grouped_properties_have_the_label_of_their_group(tmp_path: Path) -> None:
    found = row(tmp_path, card("FN:Ada", "item1.TEL:+44 20 1234", "item1.X-ABLabel:_$!<Assistant>!$_"))
    assert ("+44 20 1234", "assistant") == (found["TEL 1"], found["TEL 1 TYPE"])


def test_the_preferred_one_comes_first_in_each_version(tmp_path: Path) -> None:
    assert "b@x.org" == row(tmp_path, card("FN:A", "EMAIL:a@x.org", "EMAIL;TYPE=work,pref:b@x.org"))["EMAIL 1"]
    found = row(tmp_path, card("FN:A", "EMAIL;PREF=2:a@x.org", "EMAIL;PREF=1:b@x.org", "EMAIL:c@x.org", version="4.0"))
    assert ["b@x.org", "a@x.org", "c@x.org"] == [found[f"EMAIL {n}"] for n in (1, 2, 3)]
    assert "b@x.org" == row(tmp_path, card("N:A", "EMAIL:a@x.org", "EMAIL;PREF:b@x.org", version="2.1"))["EMAIL 1"]


def test_the_same_address_twice_is_one(tmp_path: Path) -> None:
    found = row(tmp_path, card("FN:A", "TEL:+44 20 1234", "TEL;TYPE=home:+44201234", "EMAIL:A@x.org", "EMAIL:a@X.org"))
    assert {"TEL 1", "EMAIL 1"} == {
        name for name in found if name[:5] in ("TEL 1", "TEL 2", "EMAIL") and not name.endswith((" TYPE", " KEY"))
    }


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("BDAY:1985-03-21", "1985-03-21"),
        ("BDAY:19850321", "1985-03-21"),
        ("BDAY:1953-10-15T23:10:00Z", "1953-10-15"),
        ("BDAY:--0415", ""),
        ("BDAY:---15", ""),
        ("BDAY:1985", ""),
        ("BDAY:1985-03", ""),
        ("BDAY;VALUE=text:circa 1800", ""),
        ("BDAY;X-APPLE-OMIT-YEAR=1604:1604-04-12", ""),
    ],
)
def test_a_birthday_is_a_whole_day_or_none_and_that_is_told(tmp_path: Path, line: str, expected: str) -> None:
    path = write(tmp_path, card("FN:Ada", line))
    source = open_vcard(path, {})
    assert expected == next(source.rows).cells[source.columns.index("birth date")]
    assert ("birthdays" in source.guesses) is not expected


def test_a_birthday_that_never_was_rejects_its_card(tmp_path: Path) -> None:
    with CRM.open("memory:") as crm:
        report = bring(crm, write(tmp_path, card("FN:Ada", "BDAY:19850230")))
    assert [("birth date", "1985-02-30", 1)] == [(e.column, e.value, e.row) for e in report.errors]


def test_quoted_printable_of_2_1_is_read(tmp_path: Path) -> None:
    lines = ["N;CHARSET=UTF-8;ENCODING=QUOTED-PRINTABLE:=D8=B3=D8=A7=", "=D8=B1=D8=A7;;;;", "TEL;CELL:123 456"]
    assert "سارا" == row(tmp_path, card(*lines, version="2.1"))["contact name"]
    lines = ["FN;CHARSET=windows-1251;ENCODING=QUOTED-PRINTABLE:=C0=ED=ED=E0"]
    assert "Анна" == row(tmp_path, card(*lines, version="2.1"))["contact name"]


def test_bytes_in_the_charset_that_a_line_declares_are_read_and_others_refuse_the_file(tmp_path: Path) -> None:
    declared = card("FN;CHARSET=windows-1251:@", version="2.1").encode().replace(b"@", "Анна".encode("windows-1251"))
    assert "Анна" == row(tmp_path, declared)["contact name"]
    with pytest.raises(FileFault, match="line 3: the byte 0xC0 is not UTF-8"):
        open_vcard(write(tmp_path, card("FN:@").encode().replace(b"@", b"\xc0\xed")), {})
    assert (
        "Анна"
        == next(
            open_vcard(write(tmp_path, card("FN:Анна").encode("windows-1251")), {"encoding": "windows-1251"}).rows
        ).cells[2]
    )


def test_what_is_not_as_it_says_rejects_its_card_and_never_garbles(tmp_path: Path) -> None:
    lines = ["FN;CHARSET=UTF-8;ENCODING=QUOTED-PRINTABLE:=C0=ED=ED=E0"]
    assert ("encoding", "FN") == (lambda b: (b.rule, b.column))(bad(tmp_path, card(*lines, version="2.1")))
    assert "version" == bad(tmp_path, card("FN:Ada", version="5.0")).rule
    assert "line" == bad(tmp_path, card("FN:Ada", "no colon here")).rule
    assert "empty" == bad(tmp_path, card("NOTE:nobody")).rule
    assert "nul" == bad(tmp_path, card("FN:A\0da")).rule
    assert "kind" == bad(tmp_path, card("FN:Friends", "KIND:group", version="4.0")).rule
    assert "size" == bad(tmp_path, card("FN:Ada", *(f"NOTE:{'x' * 1000}" for _ in range(1100)))).rule


def test_types_in_quotation_marks_and_tel_addresses_of_4_0(tmp_path: Path) -> None:
    line = 'TEL;VALUE=uri;TYPE="voice,home":tel:+1-555-555-5555;ext=5555'
    found = row(tmp_path, card("FN:Ada", line, version="4.0"))
    assert ("+1-555-555-5555 x5555", "home") == (found["TEL 1"], found["TEL 1 TYPE"])


def test_pictures_are_left_out_and_told(tmp_path: Path) -> None:
    path = write(tmp_path, card("FN:Ada", "PHOTO;ENCODING=b;TYPE=JPEG:AAAA", " BBBB", " CCCC", "TEL:+44 20 1234"))
    source = open_vcard(path, {})
    cells = next(source.rows).cells
    assert "those of 1 cards are left out" == source.guesses["pictures and keys"]
    assert "BBBB" not in "".join(cells)
    assert "+44 20 1234" in cells


def test_a_card_without_an_end_refuses_the_file(tmp_path: Path) -> None:
    with pytest.raises(FileFault, match="begins in line 5 is never ended"):
        open_vcard(write(tmp_path, card("FN:Ada") + card("FN:Bob")[:-8]), {})
    with pytest.raises(FileFault, match="line 5 is outside of any card"):
        open_vcard(write(tmp_path, card("FN:Ada") + "hello\r\n"), {})


VALUES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\0"), max_size=200)


@given(VALUES)
def test_any_text_survives_escaping_and_folding(text: str) -> None:
    lines = list(folded(f"NOTE:{escaped(text)}"))
    assert all(len(line.encode()) <= 75 for line in lines)
    again = lines[0] + "".join(line[1:] for line in lines[1:])
    assert text == unescaped(again.removeprefix("NOTE:"))


# From the file to the customer


def test_a_card_becomes_a_customer_with_contact_points_company_and_note(tmp_path: Path) -> None:
    lines = [
        "UID:u1", "FN:Ada Lovelace", "N:Lovelace;Ada;;;", "ORG:Acme;Research", "TITLE:Engineer",
        "TEL;TYPE=work:+44 20 1234",
        "TEL;TYPE=cell:+44 77 1234", "EMAIL:ada@example.org", "ADR;TYPE=home:;;12 Main St;London;;N1;UK", "NOTE:hello",
        "CATEGORIES:vip,maths", "BDAY:1815-12-10",
    ]  # fmt: skip
    with CRM.open("memory:") as crm:
        report = bring(crm, write(tmp_path, card(*lines)))
        assert (1, 0) == (report.counts.created, report.counts.rejected), report.errors
        ada = next(crm.customers.iterate('name = "Ada Lovelace"'))
        assert ("person", "London", "UK", "1815-12-10", {"vip", "maths"}) == (
            ada.kind, ada.city, ada.country, str(ada.birth_date), set(ada.tags),
        )  # fmt: skip
        assert [
            ("phone", "+44 20 1234", "work", True),
            ("phone", "+44 77 1234", "cell", False),
            ("email", "ada@example.org", None, True),
            ("postal", "12 Main St, N1 London, UK", "home", True),
        ] == points(crm, "Ada Lovelace")
        relation = next(crm.records("relation").iterate())
        company = crm.customers.get(relation.other_id)  # type: ignore[attr-defined]
        assert ("works for", "Engineer", "Acme", "organisation") == (
            relation.kind, relation.title, company.name, company.kind,  # type: ignore[attr-defined]
        )  # fmt: skip
        assert ["hello"] == [each.body for each in crm.interactions.iterate()]


def test_without_a_uid_the_key_is_the_name_with_the_first_address(tmp_path: Path) -> None:
    family = card("FN:Ada", "TEL:+44 20 1234") + card("FN:Bob", "TEL:+44 20 1234") + card("FN:Ada", "EMAIL:a@x.org")
    path = write(tmp_path, family)
    with CRM.open("memory:") as crm:
        assert 3 == bring(crm, path).counts.created
        assert 3 == bring(crm, path).counts.unchanged
        twice = bring(crm, write(tmp_path, card("FN:Ada", "EMAIL:A@x.org") + card("FN:ADA", "EMAIL:a@x.org"), "q.vcf"))
        assert ["duplicate"] == [error.rule for error in twice.errors]
        assert 3 == crm.customers.count()


def test_a_company_that_is_a_contact_itself_is_not_made_twice(tmp_path: Path) -> None:
    company = card("FN:Acme", "ORG:Acme", "UID:acme", "TEL:+1 555 0100")
    people = card("FN:Ada", "ORG:Acme", "EMAIL:a@x.org") + card("FN:Bob", "ORG:ACME", "EMAIL:b@x.org")
    with CRM.open("memory:") as crm:
        bring(crm, write(tmp_path, people + company))
        assert {"Acme": "organisation", "Ada": "person", "Bob": "person"} == {
            c.name: c.kind for c in crm.customers.iterate()
        }
        bring(crm, write(tmp_path, card("FN:Eve", "ORG:Acme", "EMAIL:e@x.org"), "later.vcf"))
        assert 4 == crm.customers.count()


GOOGLE = (
    "First Name,Last Name,Organization Name,Organization Title,Birthday,Labels,E-mail 1 - Label,E-mail 1 - Value,"
    "Phone 1 - Label,Phone 1 - Value,Custom Field 1 - Value\n"
    "Ada,Lovelace,Acme,Engineer,1815-12-10,* myContacts ::: Friends,* Work,ada@x.org ::: a@x.org,Mobile,+44 20 1234,x\n"
    "سارا,کاظمی,,, --03-21,,,,,,\n"
)


def test_google_contacts_are_recognised_and_read(tmp_path: Path) -> None:
    path = write(tmp_path, GOOGLE, "contacts.csv")
    with CRM.open("memory:") as crm:
        assert GOOGLE_CONTACTS.name == importer_for(crm, path).name
        report = bring(crm, path)
        assert (2, 0) == (report.counts.created, report.counts.rejected), report.errors
        ada = next(crm.customers.iterate('name = "Ada Lovelace"'))
        assert (("Friends",), "1815-12-10") == (ada.tags, str(ada.birth_date))
        assert [
            ("email", "ada@x.org", "Work", True),
            ("email", "a@x.org", "Work", False),
            ("phone", "+44 20 1234", "Mobile", True),
        ] == points(crm, "Ada Lovelace")
        assert "columns that the mapping does not use: Custom Field 1 - Value" in report.files[0].notes
        assert 2 == bring(crm, path).counts.unchanged


PARTS = ["Street", "City", "Region", "PO Box", "Postal Code", "Country", "Extended Address"]
GOOGLE_PARTS = (
    "First Name,Last Name,Organization Name,Labels,Birthday,Address 1 - Label,Address 1 - Formatted,"
    + ",".join(f"Address 1 - {part}" for part in PARTS)
    + ",Address 1 - Custom\n"
    "Ada,King,,,,Home,,A St 1,Tehran,,,19395,Iran,,\n"
    "Bob,Ross,,,,Work,As it is,B St 2,Paris,,,,,,\n"
    "Cy,Twombly,,,,Home,,,Rome,,,,Italy,,\n"
    "Dora,Maar,,,1990-02-31,Home,,C St 3,Paris,,,75006,,,\n"
    "Eva,Hesse,,,,Home,,D St 4 ::: E St 5,Hamburg ::: Bonn,,,20095 ::: 53111,,,\n"
)


def test_an_address_that_google_leaves_in_parts_is_put_together(tmp_path: Path) -> None:
    with CRM.open("memory:") as crm:
        report = bring(crm, write(tmp_path, GOOGLE_PARTS, "contacts.csv"))
        assert (4, 1) == (report.counts.created, report.counts.rejected), report.errors
        assert [("postal", "A St 1, 19395 Tehran, Iran", "Home", True)] == points(crm, "Ada King")
        assert [("postal", "As it is", "Work", True)] == points(crm, "Bob Ross")
        assert [] == points(crm, "Cy Twombly")
        assert {"D St 4, 20095 Hamburg", "E St 5, 53111 Bonn"} == {value for _, value, _, _ in points(crm, "Eva Hesse")}
        assert "columns that the mapping does not use: Address 1 - Custom" in report.files[0].notes
        rejects = report.files[0].rejects_file
        assert rejects is not None
        text = Path(rejects).read_text(encoding="utf-8")
        assert "Home,,C St 3," in text
        corrected = text.replace("1990-02-31", "1990-02-28").replace("C St 3", "C St 33")
        assert 1 == bring(crm, write(tmp_path, corrected, "again.csv")).counts.created
        assert [("postal", "C St 33, 75006 Paris", "Home", True)] == points(crm, "Dora Maar")


OUTLOOK = (
    "First Name,Last Name,Company,Job Title,Business Street,Business City,Home City,Business Phone,Mobile Phone,"
    "E-mail Address,E-mail 2 Address,Birthday,Categories\n"
    "Ada,Lovelace,Acme,Engineer,12 Main St,London,,+44 20 1234,+44 77 1234,ada@x.org,a@x.org,{birthday},Friends;VIP\n"
    "Bob,Ross,,,,,Paris,,,bob@x.org,,0/0/00,\n"
)


@pytest.mark.parametrize(
    ("birthday", "expected", "told"),
    [
        ("12/31/1990", "1990-12-31", "%m/%d/%Y (guessed)"),
        ("31.12.1990", "1990-12-31", "%d.%m.%Y (guessed)"),
        ("1990-12-31", "1990-12-31", None),
        (
            "04/05/1990",
            "None",
            "left out, because '04/05/1990' does not say which part is the day; declare [file] dates",
        ),
    ],
)
def test_outlook_contacts_are_read_and_their_birthdays_never_guessed_wrong(
    tmp_path: Path, birthday: str, expected: str, told: str | None
) -> None:
    path = write(tmp_path, OUTLOOK.format(birthday=birthday), "outlook.csv")
    with CRM.open("memory:") as crm:
        assert OUTLOOK_CONTACTS.name == importer_for(crm, path).name
        report = bring(crm, path)
        assert (2, 0) == (report.counts.created, report.counts.rejected), report.errors
        ada, bob = sorted(
            (each for each in crm.customers.iterate() if each.kind == "person"), key=lambda c: str(c.name)
        )
        assert (expected, "London", "Paris", None) == (str(ada.birth_date), ada.city, bob.city, bob.birth_date)
        assert {"Friends", "VIP"} == set(ada.tags)
        assert ("postal", "12 Main St, London", "work", True) in points(crm, "Ada Lovelace")
        assert 5 == len(points(crm, "Ada Lovelace"))
    source = OUTLOOK_CONTACTS.open(path, {})
    assert told == source.guesses.get("birthdays")


def test_a_mapping_of_ones_own_takes_a_file_for_what_its_name_says(tmp_path: Path) -> None:
    path = write(tmp_path, GOOGLE, "contacts.csv")
    own = parse_mapping("""
[file]
system = "mine"
[[record]]
type = "customer"
key = ["First Name", "Last Name"]
[record.fields]
name = "First Name"
""")
    with CRM.open("memory:") as crm:
        report = import_file(crm, path, own)
        assert 2 == report.counts.created
        assert "contact key" not in " ".join(report.files[0].notes)


def test_a_file_that_changes_while_it_is_read_is_noticed(tmp_path: Path) -> None:
    for name, content in (("p.vcf", card("FN:Ada") + card("FN:Bob")), ("g.csv", GOOGLE)):
        path = write(tmp_path, content, name)
        source = (VCARD if name == "p.vcf" else GOOGLE_CONTACTS).open(path, {})
        path.write_bytes(path.read_bytes() + b"\n")
        with pytest.raises(FileFault, match="was changed while it was read"):
            list(source.rows)


def test_other_files_are_taken_for_contacts_by_nobody() -> None:
    for importer in (VCARD, GOOGLE_CONTACTS, OUTLOOK_CONTACTS):
        assert importer.recognises is not None
        assert not importer.recognises(b"First Name,Last Name,Phone\n")
        assert not importer.recognises(b"\xff\xfe")


@pytest.mark.database("sqlite")
def test_the_note_of_a_contact_is_shown_with_its_customer_though_nobody_knows_when_it_was_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = str(tmp_path / "ws")
    assert 0 == main(["init", place])
    path = write(tmp_path, card("UID:u1", "FN:Ada", "NOTE:Prefers evenings\\, سلام", "REV:20250102T030405Z"))
    assert 0 == main(["-w", place, "import", "customers", str(path)])
    capsys.readouterr()
    assert 0 == main(["-w", place, "customers", "show", "Ada"])
    said = capsys.readouterr().out
    assert "Without a date: 1 interaction" in said
    assert "no date  note  · Prefers evenings, سلام" in said
    assert 0 == main(["-w", place, "customers", "show", "Ada", "--json"])
    told = json.loads(capsys.readouterr().out)
    assert (["Prefers evenings, سلام"], []) == ([one["body"] for one in told["undated"]], told["timeline"])


# And back


def test_customers_are_written_as_cards_that_come_back_the_same(tmp_path: Path) -> None:
    texts = ["Ada, Countess; of\nLovelace\\", "سارا کاظمی", "Գրիգոր " + "շատ երկար անուն " * 9]
    with CRM.open("memory:") as crm:
        for text in texts:
            crm.customers.add(Customer(name=text.strip(), tags=("a,b", "vip")), email="a@x.org", phone="+44 20 1234")
        for name in ("vcard", "vcard4"):
            path = tmp_path / f"{name}.vcf"
            assert 3 == export_records(crm, "customers", exporter=exporter_for(crm, name, None), path=path)
            source = open_vcard(path, {})
            at = {column: index for index, column in enumerate(source.columns)}
            found = [row.cells for row in source.rows]
            assert [" ".join(text.split()) for text in texts] == [cells[at["contact name"]] for cells in found]
            assert [["a,b", "vip"]] * 3 == [cells[at["contact tags"]].split("\n") for cells in found]
            assert [("a@x.org", "+44 20 1234")] * 3 == [(cells[at["EMAIL 1"]], cells[at["TEL 1"]]) for cells in found]
            assert all(cells[at["UID"]].startswith("crm-") for cells in found)


def test_what_a_card_brought_goes_out_with_its_uid_and_company_and_doubles_nothing_when_it_comes_back() -> None:
    content = card(
        "UID:u1", "FN:Ada", "ORG:Acme", "TITLE:Boss", "ADR:;;12 Main St;London;;;UK", "TEL;TYPE=home:+44 20 1234"
    )
    with tempfile.TemporaryDirectory() as folder, CRM.open("memory:") as crm:
        bring(crm, write(Path(folder), content + card("FN:Bob", "EMAIL:b@x.org")))
        before = (crm.customers.count(), crm.contact_points.count(), crm.records("relation").count())
        path = Path(folder) / "out.vcf"
        export_records(crm, "customers", exporter=exporter_for(crm, None, path), path=path)
        report = bring(crm, path)
        after = (crm.customers.count(), crm.contact_points.count(), crm.records("relation").count())
        assert (0, before) == (report.counts.rejected, after), report.errors
        assert "UID:u1\r\nFN:Ada\r\n" in path.read_bytes().decode()


def everything(crm: CRM) -> list[tuple[str, ...]]:
    """Return what is there of customers, addresses and relations, without ids."""
    names = {each.id: each.name or "" for each in crm.customers.iterate()}
    found = [("customer", str(c.name), c.kind, str(c.city), ",".join(sorted(c.tags))) for c in crm.customers.iterate()]
    found += [("point", names[p.customer_id], p.kind, p.value) for p in crm.contact_points.iterate()]
    found += [("relation", names[r.customer_id], names[r.other_id], str(r.title)) for r in crm.relations.iterate()]
    return sorted(found)


@pytest.mark.parametrize("form", ["vcard", "vcard4"])
@pytest.mark.parametrize("url", ["memory:", pytest.param("sqlite:///{}", marks=pytest.mark.database("sqlite"))])
def test_cards_of_customers_that_were_none_find_them_again(tmp_path: Path, form: str, url: str) -> None:
    with CRM.open(url.format(tmp_path / "crm.db")) as crm:
        acme = crm.customers.add(Customer(name="Acme", kind="organisation", city="Yerevan"))
        ada = crm.customers.add(
            Customer(name="Ada", city="London", country="GB", tags=("vip",)), email="a@x.org", phone="+44 20 1234"
        )
        crm.contact_points.add(ContactPoint(customer_id=ada.id, kind="phone", value="+44 20 9999"))
        crm.contact_points.add(ContactPoint(customer_id=ada.id, kind="postal", value="12 Main St"))
        crm.relations.add(Relation(customer_id=ada.id, other_id=acme.id, kind="works for", title="Boss"))
        sara = crm.customers.add(Customer(name="سارا"), phone="+44 20 1234")  # of the same household
        crm.relations.add(Relation(customer_id=sara.id, other_id=acme.id, kind="works for"))
        before = everything(crm)
        for where in ('kind = "person"', None):  # the company is no card of its own in the first file
            path = tmp_path / f"{where is None}.vcf"
            export_records(crm, "customers", exporter=exporter_for(crm, form, None), path=path, where=where)
            report = bring(crm, path)
            assert (0, 0, before) == (report.counts.created, report.counts.rejected, everything(crm)), report.errors
            again = bring(crm, path)
            assert again.counts.read == again.counts.unchanged
            assert again.operation is not None
        card_of_ada = path.read_text(encoding="utf-8").replace("FN:Ada", "FN:Ada King")
        report = bring(crm, write(tmp_path, card_of_ada))
        assert (1, 0) == (report.counts.updated, report.counts.created)
        assert report.operation is not None
        crm.ledger.undo(report.operation)
        assert before == everything(crm)


def exported(crm: CRM, path: Path, form: str = "vcard", **options: Any) -> Path:
    export_records(crm, "customers", exporter=exporter_for(crm, form, None), path=path, **options)
    return path


def two_that_are_one(crm: CRM, folder: Path) -> tuple[Customer, Customer]:
    """Make two customers that were no cards, and write the card of the second and both in files of their own."""
    acme = crm.customers.add(Customer(name="Acme", kind="organisation"))
    ada = crm.customers.add(Customer(name="Ada", city="London"), email="a@x.org", phone="+44 20 1234")
    king = crm.customers.add(Customer(name="Ada King", country="GB"), phone="0044 (20) 1234")
    crm.contact_points.add(ContactPoint(customer_id=king.id, kind="phone", value="+44 20 9999"))
    crm.relations.add(Relation(customer_id=king.id, other_id=acme.id, kind="works for"))
    exported(crm, folder / "both.vcf")
    exported(crm, folder / "king.vcf", where='name = "Ada King"')
    return ada, king


def test_a_card_of_who_was_merged_since_goes_to_the_survivor_and_changes_nothing(tmp_path: Path) -> None:
    with CRM.open("memory:") as crm:
        ada, king = two_that_are_one(crm, tmp_path)
        crm.customers.merge(ada, king)
        before = everything(crm)
        for name in ("king.vcf", "both.vcf", "both.vcf"):
            report = bring(crm, tmp_path / name)
            assert (0, 0, before) == (report.counts.created, report.counts.rejected, everything(crm)), report.errors
        told = (tmp_path / "king.vcf").read_text(encoding="utf-8")
        more = told.replace("FN:Ada King", "FN:Ada Lovelace").replace("TEL:+44 20 9999", "TEL:+44 20 7777")
        report = bring(crm, write(tmp_path, more))
        assert 0 == report.counts.rejected, report.errors
        found = everything(crm)
        assert [("customer", "Ada", "person", "London", "")] == [e for e in found if e[:2] == ("customer", "Ada")]
        assert {"+44 20 1234", "+44 20 7777"} <= {each[3] for each in found if each[:3] == ("point", "Ada", "phone")}
        assert 1 == sum(primary for kind, _, _, primary in points(crm, "Ada") if kind == "phone")
        assert report.operation is not None
        crm.ledger.undo(report.operation)
        assert before == everything(crm)


def test_a_company_that_was_merged_since_is_not_made_again_by_the_cards_of_its_people(tmp_path: Path) -> None:
    with CRM.open("memory:") as crm:
        old = crm.customers.add(Customer(name="Acme Ltd", kind="organisation"))
        new = crm.customers.add(Customer(name="Acme", kind="organisation"))
        ada = crm.customers.add(Customer(name="Ada"))
        crm.relations.add(Relation(customer_id=ada.id, other_id=old.id, kind="works for", title="Boss"))
        path = exported(crm, tmp_path / "people.vcf", where='kind = "person"')
        crm.customers.merge(new, old)
        before = everything(crm)
        report = bring(crm, path)
        assert (0, before) == (report.counts.rejected, everything(crm)), report.errors


def test_a_card_that_was_imported_and_merged_changes_nothing_whatever_it_says_now(tmp_path: Path) -> None:
    one, other = ("UID:u1", "FN:Ada", "TEL:+44 20 1234"), ("UID:u2", "FN:Ada King", "TEL:0044201234")
    with CRM.open("memory:") as crm:
        bring(crm, write(tmp_path, card(*one) + card(*other)))
        by = {each.name: each for each in crm.customers.iterate()}
        crm.customers.merge(by["Ada"], by["Ada King"])
        before = everything(crm)
        report = bring(crm, write(tmp_path, card(*other, "NICKNAME:Adele", "ADR:;;;Paris;;;FR")))
        assert (0, before) == (report.counts.rejected, everything(crm)), report.errors
        mapping = built_in_mapping(crm, tmp_path / "p.vcf", options={})
        assert mapping is not None
        strict = parse_mapping(mapping.text.replace('merged = "keep"', 'merged = "reject"'))
        refused = import_file(crm, write(tmp_path, card(*other, "ADR:;;;Rome;;;IT")), strict)
        assert ["gone"] == [error.rule for error in refused.errors]


@pytest.mark.parametrize(
    "line",
    [
        "TEL:00989123456789",
        "TEL:۰۰۹۸ ۹۱۲ ۳۴۵ ۶۷۸۹",
        "TEL;VALUE=uri:tel:+98-912-345-6789",
        "TEL;TYPE=cell:+98 (912) 345-67-89",
        "TEL:\u200e+989123456789",
    ],
)
def test_a_number_in_another_spelling_is_the_same_address(tmp_path: Path, line: str) -> None:
    with CRM.open("memory:") as crm:
        ada = crm.customers.add(Customer(name="Ada"), email="Ada@Example.org", phone="+98 912 345 6789")
        lines = (f"UID:crm-{format_id(ada.id)}", "FN:Ada", line, "EMAIL:mailto:ada@example.org")
        for _ in range(2):
            report = bring(crm, write(tmp_path, card(*lines)))
            assert 0 == report.counts.rejected, report.errors
            found = [(kind, value, primary) for kind, value, _, primary in points(crm, "Ada")]
            assert [("email", "Ada@Example.org", True), ("phone", "+98 912 345 6789", True)] == sorted(found)


def test_a_card_with_an_id_of_another_crm_is_a_new_customer(tmp_path: Path) -> None:
    content = card("UID:crm-0CN33MKG8QANR", "FN:Ada", "TEL:+44 20 1234") + card("UID:crm-nonsense", "FN:Bob")
    with CRM.open("memory:") as crm:
        report = bring(crm, write(tmp_path, content))
        assert (2, 2) == (report.counts.created, crm.customers.count())
        assert 2 == bring(crm, tmp_path / "p.vcf").counts.unchanged
