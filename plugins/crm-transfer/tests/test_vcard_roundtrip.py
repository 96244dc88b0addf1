"""Cards that we wrote ourselves come back and change nothing, whatever their addresses and labels are."""

from __future__ import annotations

import itertools
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crm_core import CRM, Customer
from crm_core.records import ContactPoint
from crm_transfer.exporting import export_records, exporter_for
from crm_transfer.importing import import_file
from crm_transfer.opening import built_in_mapping
from crm_transfer.report import ImportReport

_AWKWARD = (
    st.text(alphabet="aB1 ,;:\\\"'^n\nÄتهԱ\u200c|=", min_size=1, max_size=24)
    .map(str.strip)
    .filter(lambda text: any(map(str.isalnum, text)))
)
_POSTAL = st.one_of(
    st.sampled_from(
        [
            "Valiasr St. 12, Unit 3, 19395 Tehran, Iran",
            "Weg 1, 10115 Berlin",
            "Weg 1\n10115 Berlin",
            'Haus "B"\\; 1. Stock',
            "Berlin",
        ]
    ),
    _AWKWARD,
)
_LABEL = st.one_of(
    st.none(),
    st.sampled_from(
        ["mobile", "Mobile", "Work", "work", "home, work", "work fax", "work work", "voice", "موبایل", "Բջջային",
         "a,b;c\\", '"q"', "_$!<Work>!$_", "pref"]
    ),
    _AWKWARD,
)  # fmt: skip
_VALUES = {
    "postal": _POSTAL,
    "phone": st.integers(1000, 9999).map("+98 21 1234 {}".format),
    "email": st.integers(1, 9999).map("a{}@example.org".format),
    "telegram": st.sampled_from(["@ada", "@سارا", "ada:1;x,y", "%41da", "//ada", "https://t.me/ada"]),
    "whatsapp": st.integers(1000, 9999).map("+98 912 345 {}".format),
    "web": st.integers(1, 9999).map("https://example.org/{},x;y".format),
}
_POINT = st.sampled_from(sorted(_VALUES)).flatmap(
    lambda kind: st.tuples(st.just(kind), _VALUES[kind], _LABEL, st.booleans())
)
_FORMS = ("vcard", "vcard4")


def bring(crm: CRM, path: Path) -> ImportReport:
    mapping = built_in_mapping(crm, path, options={})
    assert mapping is not None
    return import_file(crm, path, mapping)


def cards(crm: CRM, folder: str | Path, form: str) -> Path:
    path = Path(folder) / f"{form}.vcf"
    export_records(crm, "customers", exporter=exporter_for(crm, form, None), path=path, force=True)
    return path


def there(crm: CRM) -> tuple[list[Any], ...]:
    """Return every customer and address with its version."""
    return (sorted(crm.customers.iterate(), key=lambda each: each.id),
            sorted(crm.contact_points.iterate(), key=lambda each: each.id))  # fmt: skip


def assert_nothing_changes(crm: CRM, folder: str | Path, forms: tuple[str, ...] = _FORMS) -> None:
    before = there(crm)
    for form, _ in itertools.product(forms, range(2)):
        path = cards(crm, folder, form)
        report = bring(crm, path)
        of_points = report.files[0].types.get("contact_point")
        told = (report.counts.created, report.counts.updated, report.counts.rejected)
        assert (0, 0, 0) == told, (report.errors, path.read_text(encoding="utf-8"))
        if of_points is not None:
            assert (0, 0) == (of_points.created, of_points.updated), path.read_text(encoding="utf-8")
        assert before == there(crm), path.read_text(encoding="utf-8")


@settings(max_examples=40)
@given(
    st.lists(_POINT, max_size=6, unique_by=lambda point: point[:2]),
    st.sampled_from([None, "Berlin", "Tehran, 5"]),
    st.sampled_from([None, "DE"]),
)
def test_cards_of_ours_change_nothing_when_they_come_back(
    points: list[tuple[str, str, str | None, bool]], city: str | None, country: str | None
) -> None:
    with tempfile.TemporaryDirectory() as folder, CRM.open("memory:") as crm:
        ada = crm.customers.add(Customer(name="Ada", city=city, country=country))
        main: set[str] = set()
        for kind, value, label, primary in points:
            crm.contact_points.add(
                ContactPoint(
                    customer_id=ada.id, kind=kind, value=value, label=label, primary=primary and kind not in main
                )
            )
            main |= {kind} if primary else set()
        assert_nothing_changes(crm, folder)


FOREIGN = (
    "BEGIN:VCARD\r\nVERSION:3.0\r\nPRODID:-//Apple Inc.//iPhone OS 17.4//EN\r\nFN:Sara\r\n"
    "item1.TEL;type=CELL;type=pref:+98 912 345 6789\r\nitem1.X-ABLabel:Büro Nord\r\n"
    "TEL;type=WORK:+98 21 1234 5678\r\n"
    "item2.ADR;type=WORK;type=pref:;;Valiasr St. 12\\, Unit 3;Tehran;;19395;Iran\r\n"
    "ADR;type=HOME:;;Weg 1;Berlin;;10115;Germany\r\nEND:VCARD\r\n"
)


@pytest.mark.parametrize("form", _FORMS)
def test_the_card_of_another_program_goes_out_as_it_came_in(tmp_path: Path, form: str) -> None:
    path = tmp_path / "foreign.vcf"
    path.write_text(FOREIGN, encoding="utf-8", newline="")
    with CRM.open("memory:") as crm:
        assert 0 == bring(crm, path).counts.rejected
        found = {(p.kind, p.value, p.label, p.primary) for p in crm.contact_points.iterate()}
        assert {
            ("phone", "+98 912 345 6789", "Büro Nord", True),
            ("phone", "+98 21 1234 5678", "work", False),
            ("postal", "Valiasr St. 12, Unit 3, 19395 Tehran, Iran", "work", True),
            ("postal", "Weg 1, 10115 Berlin, Germany", "home", False),
        } == found
        assert_nothing_changes(crm, tmp_path, (form,))


def test_addresses_of_messengers_are_read_however_programs_write_them(tmp_path: Path) -> None:
    lines = [
        "IMPP;TYPE=work:telegram:@ada",
        "item1.IMPP;X-SERVICE-TYPE=Telegram;type=pref:x-apple:ada%20l",
        "item1.X-ABLabel:Büro Nord",
        "IMPP:whatsapp:+98 912 345 6789",
        "IMPP;VALUE=uri:viber\\:+37477123456",
        "X-INSTAGRAM:ada.makes",
        "IMPP:xmpp:ada@example.org",
        "IMPP:whatsapp:nobody",
    ]
    path = tmp_path / "im.vcf"
    text = ["BEGIN:VCARD", "VERSION:3.0", "FN:Ada", *lines, "END:VCARD", ""]
    path.write_text("\r\n".join(text), encoding="utf-8", newline="")
    with CRM.open("memory:") as crm:
        report = bring(crm, path)
        assert (1, 0) == (report.counts.created, report.counts.rejected)
        found = {(p.kind, p.value, p.label, p.primary) for p in crm.contact_points.iterate()}
        assert {
            ("telegram", "ada l", "Büro Nord", True),
            ("telegram", "@ada", "work", False),
            ("whatsapp", "+98 912 345 6789", None, True),
            ("viber", "+37477123456", None, True),
            ("instagram", "ada.makes", None, True),
        } == found
        assert "columns that the mapping does not use: IMPP" in report.files[0].notes, "xmpp is no kind of ours"
        assert_nothing_changes(crm, tmp_path)


@pytest.mark.parametrize(
    ("label", "expected"),
    [
        ("Mr. John Q. Public, 123 Main Street, Any Town",) * 2,
        ("Suite ^'B^'^n5 ^^ Main; St.", 'Suite "B", 5 ^ Main; St.'),
    ],
)
def test_a_label_in_quotation_marks_is_one_address(tmp_path: Path, label: str, expected: str) -> None:
    path = tmp_path / "label.vcf"
    line = f'ADR;TYPE=home;LABEL="{label}":;;123 Main Street;Any Town;CA;91921-1234;U.S.A.'
    path.write_text(f"BEGIN:VCARD\r\nVERSION:4.0\r\nFN:Q\r\n{line}\r\nEND:VCARD\r\n", encoding="utf-8", newline="")
    with CRM.open("memory:") as crm:
        bring(crm, path)
        assert [(expected, "home")] == [(point.value, point.label) for point in crm.contact_points.iterate()]
        assert_nothing_changes(crm, tmp_path)


@pytest.mark.parametrize("form", _FORMS)
def test_another_main_address_chosen_since_stays_the_main_one(tmp_path: Path, form: str) -> None:
    path = tmp_path / "foreign.vcf"
    path.write_text(FOREIGN, encoding="utf-8", newline="")
    with CRM.open("memory:") as crm:
        bring(crm, path)
        for point in list(crm.contact_points.iterate('kind = "phone"')):
            crm.contact_points.edit(point.evolve(primary=not point.primary))
        assert_nothing_changes(crm, tmp_path, (form,))
