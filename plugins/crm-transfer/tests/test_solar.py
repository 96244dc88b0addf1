"""Dates of the Persian solar calendar: read, refused, suggested, written."""

from __future__ import annotations

import datetime as dt
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from openpyxl import Workbook

from crm_core import CRM
from crm_core.settings import write_settings
from crm_transfer.cells import moment_reader, written
from crm_transfer.errors import BadCell, MappingError
from crm_transfer.guess.columns import look_at
from crm_transfer.guess.dates import solar_dates
from crm_transfer.importing import import_file
from crm_transfer.mapping import parse_mapping
from crm_transfer.suggest import suggest

TEHRAN = ZoneInfo("Asia/Tehran")
NOROUZ = {1376: (1997, 21), 1395: (2016, 20), 1399: (2020, 20), 1400: (2021, 21), 1402: (2023, 21), 1403: (2024, 20),
          1404: (2025, 21), 1405: (2026, 21), 1408: (2029, 20), 1409: (2030, 21)}  # fmt: skip
"""The days of March on which years began, as the calendar of Iran has them."""
LEAP = {1375, 1379, 1383, 1387, 1391, 1395, 1399, 1403, 1408}


@pytest.mark.parametrize("year", NOROUZ)
def test_years_begin_and_end_when_those_of_iran_do(year: int) -> None:
    gregorian, day = NOROUZ[year]
    read = moment_reader("jalali", TEHRAN)
    first = dt.date(gregorian, 3, day)
    assert first == read(f"{year}/01/01")
    assert first - dt.timedelta(days=1) == read(f"{year - 1}/12/{30 if year - 1 in LEAP else 29}")
    if year not in LEAP:
        with pytest.raises(BadCell, match="has 29"):
            read(f"{year}/12/30")


@pytest.mark.parametrize(
    ("text", "day"),
    [
        ("1403-12-30", (2025, 3, 20)),
        ("1399/12/30", (2021, 3, 20)),
        ("۱۴۰۲/۰۱/۰۱", (2023, 3, 21)),
        ("1402-5-12", (2023, 8, 3)),
        ("1402.05.12", (2023, 8, 3)),
        ("12 مرداد 1402", (2023, 8, 3)),
        ("۱۲ امرداد ماه ۱۴۰۲", (2023, 8, 3)),
        ("۱۲ مرداد\u200cماه ۱۴۰۲", (2023, 8, 3)),
        ("پنج\u200cشنبه، ۱۲ مرداد ۱۴۰۲", (2023, 8, 3)),
        ("\u200f۱۲ دي ۱۴۰۲", (2024, 1, 2)),
        ("12 Mordad 1402", (2023, 8, 3)),
        ("12 اسد 1402", (2023, 8, 3)),
    ],
)
def test_solar_dates_are_read_in_the_usual_ways_of_writing(text: str, day: tuple[int, int, int]) -> None:
    assert dt.date(*day) == moment_reader("jalali", TEHRAN)(text)


@pytest.mark.parametrize(
    "text", ["1402/05/12 14:30", "۱۴۰۲/۰۵/۱۲ - ۱۴:۳۰", "1402-05-12T14:30", "۱۲ مرداد ۱۴۰۲، ساعت ۱۴:۳۰"]
)
def test_a_time_of_the_day_is_that_of_the_zone(text: str) -> None:
    assert dt.datetime(2023, 8, 3, 14, 30, tzinfo=TEHRAN) == moment_reader("jalali", TEHRAN)(text)


@pytest.mark.parametrize(
    ("form", "text"),
    [
        ("jalali %d/%m/%Y", "12/05/1402"),
        ("jalali %Y%m%d", "14020512"),
        ("jalali %y/%m/%d", "02/05/12"),
        ("jalali %d %B %Y", "12 مرداد 1402"),
        ("jalali", "1402/05/12"),
    ],
)
def test_a_form_of_its_own_is_read_and_written(form: str, text: str) -> None:
    found = moment_reader(form, TEHRAN)(text)
    assert dt.date(2023, 8, 3) == found
    assert text == written(found, form)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("1402/12/30", r"month 12 \(اسفند\) of 1402 has 29"),
        ("1403/07/31", r"month 7 \(مهر\) of 1403 has 30"),
        ("1404/13/01", "has no month 13"),
        ("1404/00/01", "has no month 0"),
        ("1404/01/00", "has 31"),
        ("2023/08/03", "is of the year 2023"),
        ("1402/05/12 25:00", "no time of a day"),
        ("1401/01/02 00:30", "never was in Asia/Tehran"),
        ("12/05/1402", "is not a Persian solar date"),
        ("45000", "spreadsheet's number of a day"),
        ("-", "null_if"),
    ],
)
def test_days_that_never_are_are_refused_with_clear_words(text: str, says: str) -> None:
    with pytest.raises(BadCell, match=says):
        moment_reader("jalali", TEHRAN)(text)


@pytest.mark.parametrize("form", ["jalali %j", "jalali %Y-%m", "jalali %Y/%m/%d %Y"])
def test_a_form_that_says_no_day_is_refused(form: str) -> None:
    with pytest.raises(MappingError, match="is no form of Persian solar dates"):
        moment_reader(form, TEHRAN)


def test_who_has_no_solar_dates_does_not_wait_for_their_calendar() -> None:
    code = "import sys, crm_transfer.importing, crm_transfer.suggest; sys.exit('persiantools' in sys.modules)"
    assert 0 == subprocess.run([sys.executable, "-c", code], check=False).returncode


@pytest.fixture
def crm(tmp_path: Path) -> Iterator[CRM]:
    write_settings(tmp_path / "ws", storage_url="memory:", currency="EUR")
    with CRM.open(tmp_path / "ws") as opened:
        yield opened


# Guessed


def test_solar_dates_are_recognised_and_what_does_not_prove_them_is_said() -> None:
    sure, unsure = look_at("d", ["1402/05/31", "1402/06/01"]), look_at("d", ["۱۴۰۲/۰۵/۱۲"])
    assert ("date", "jalali", "", "") == (sure.kind, sure.format, sure.doubt, sure.ambiguity)
    assert ("date", "jalali", "") == (unsure.kind, unsure.format, unsure.doubt)
    assert "no day 31" in unsure.ambiguity
    assert "lunar" in look_at("d", ["1446/05/12"]).doubt
    assert "jalali %d/%m/%Y" == look_at("d", ["31/05/1402"]).format
    assert "the day is taken to come first" in look_at("d", ["07/05/1402"]).doubt
    assert "text" == look_at("d", ["1402/07/31"]).kind
    assert "" == look_at("d", ["12 مرداد 1402 ساعت 10:05"]).ambiguity
    assert "date" != look_at("n", ["1402", "1399"]).kind
    assert solar_dates(["2023-08-03"]) is None


@pytest.mark.parametrize(
    ("dates", "never", "form"),
    [
        (
            ["1402/05/31", "1402/06/12", "1402/07/31", "1402/13/01", "1402/08/03"],
            "'1402/07/31', '1402/13/01'",
            "jalali",
        ),
        (["۱۴۰۲/۰۵/۳۱", "۱۴۰۲/۰۶/۱۲", "۱۴۰۲/۰۷/۳۱"], "'۱۴۰۲/۰۷/۳۱'", "jalali"),
        (["31/05/1402", "12/06/1402", "31/07/1402"], "'31/07/1402'", "jalali %d/%m/%Y"),
    ],
)
def test_solar_days_that_never_were_are_named_with_the_way_to_declare_the_others(
    crm: CRM, tmp_path: Path, dates: list[str], never: str, form: str
) -> None:
    path = tmp_path / "s.csv"
    path.write_text(
        "".join(f"{line}\n" for line in ["name,joined", *(f"N{d[:10]},{d}" for d in dates)]), encoding="utf-8"
    )
    (question,) = [each for each in suggest(crm, "customers", path).questions if "joined" in each]
    assert f"Persian solar dates, but no days of that calendar: {never}: kept as text" in question
    assert f'dates = "{form}" in [file]' in question


def test_a_suggested_mapping_imports_solar_dates(crm: CRM, tmp_path: Path) -> None:
    path = tmp_path / "مشتریان.csv"
    rows = ["کد,نام,تاریخ عضویت,تاریخ تولد", "1,سارا,۱۴۰۲/۰۵/۳۱,1370-1-5", "2,علی,۱۳۹۹/۱۲/۳۰,1375-2-7"]
    path.write_text("\n".join(rows), encoding="utf-8")
    found = suggest(crm, "customers", path)
    guesses = {guess.column: guess for guess in found.columns}
    assert 2 == found.toml.count('format = "jalali"'), found.toml
    assert "no day 31" in guesses["تاریخ تولد"].why
    assert "no day 31" not in guesses["تاریخ عضویت"].why
    report = import_file(crm, path, parse_mapping(found.toml))
    assert (2, 0) == (report.counts.created, report.counts.rejected)
    told = {one.name: (one.first_contact_at, one.birth_date) for one in crm.customers.iterate()}
    assert (dt.date(2023, 8, 22), dt.date(1991, 3, 25)) == told["سارا"]
    assert (dt.date(2021, 3, 20), dt.date(1996, 4, 26)) == told["علی"]


def test_days_of_a_spreadsheet_and_its_texts_are_read_side_by_side(crm: CRM, tmp_path: Path) -> None:
    book = Workbook()
    sheet = book.worksheets[0]
    for row in (
        ("no", "since"),
        ("1", "1402/05/12"),
        ("2", dt.date(2023, 8, 4)),
        ("3", dt.datetime(2023, 8, 5, 9, 30)),  # noqa: DTZ001 - a cell has no zone
    ):
        sheet.append(row)
    book.save(tmp_path / "book.xlsx")
    mapping = parse_mapping(
        '[file]\ndates = "jalali"\n[[record]]\ntype = "customer"\nkey = "no"\n[record.fields]\n'
        'name = "no"\nfirst_contact_at = "since"\n'
        'fields.told = { value = { date_text = "since", as = "jalali %Y-%m" } }\n'
        '[fields.customer.told]\ntype = "text"\nlabel = "Told"\n'
    )
    assert 3 == import_file(crm, tmp_path / "book.xlsx", mapping).counts.created
    found = {one.name: one for one in crm.customers.iterate()}
    days = [dt.date(2023, 8, 3), dt.date(2023, 8, 4), dt.datetime(2023, 8, 5, 9, 30, tzinfo=dt.UTC)]
    assert days == [found[no].first_contact_at for no in "123"]
    assert ["1402-05"] * 3 == [found[no].fields["told"] for no in "123"]
