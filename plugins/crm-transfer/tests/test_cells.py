from __future__ import annotations

import datetime as dt
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest

from crm_core import Money
from crm_transfer.cells import contact_key, guarded, moment_reader, money_of, number_reader, whole, without_guard
from crm_transfer.errors import BadCell

UTC = ZoneInfo("UTC")


@pytest.mark.parametrize(
    ("text", "decimal", "thousands", "value"),
    [
        ("1234.5", "", "", "1234.5"),
        ("-7", "", "", "-7"),
        ("۱٬۲۳۴٫۵", "", "", "1234.5"),
        ("١٢", "", "", "12"),
        ("1.234,50", ",", ".", "1234.50"),
        ("1,12", ",", "", "1.12"),
        ("3,100", "", ",", "3100"),
        ("1\u202f234,5", ",", " ", "1234.5"),
        ("\u2212\u06f5", "", "", "-5"),
    ],
)
def test_numbers_are_read_as_declared(text: str, decimal: str, thousands: str, value: str) -> None:
    assert Decimal(value) == number_reader(decimal, thousands)(text)


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("1,12", "separator"),
        ("3,100", "separator"),
        ("²", "number"),
        ("NaN", "number"),
        ("Infinity", "number"),
        ("1e999", "number"),
        ("4.41E+11", "number"),
        ("12 pcs", "number"),
        ("1,23,4", "separator"),
        ("٬۱", "number"),
    ],
)
def test_doubtful_numbers_are_refused(text: str, rule: str) -> None:
    with pytest.raises(BadCell) as caught:
        number_reader("", "")(text)
    assert rule == caught.value.rule


def test_wrong_groups_are_refused() -> None:
    with pytest.raises(BadCell):
        number_reader(".", ",")("1,12")


def test_whole_numbers_fit_64_bits() -> None:
    assert 2**63 - 1 == whole(Decimal(2**63 - 1))
    with pytest.raises(BadCell, match="64 bits"):
        whole(Decimal(2**63))


def test_money_has_no_more_decimals_than_its_currency() -> None:
    assert Money("1.50", "EUR") == money_of(Decimal("1.5"), "EUR")
    with pytest.raises(BadCell):
        money_of(Decimal("1.5"), "JPY")


@pytest.mark.parametrize(
    ("text", "form", "value"),
    [
        ("2017-03-01", "", dt.date(2017, 3, 1)),
        ("۲۰۱۷-۰۳-۰۱", "", dt.date(2017, 3, 1)),
        ("2018-02-26 19:58:54", "", dt.datetime(2018, 2, 26, 19, 58, 54, tzinfo=UTC)),
        ("31/12/2024", "%d/%m/%Y", dt.date(2024, 12, 31)),
        ("31/12/2024 08:30", "%d/%m/%Y %H:%M", dt.datetime(2024, 12, 31, 8, 30, tzinfo=UTC)),
    ],
)
def test_dates_are_read_as_declared(text: str, form: str, value: dt.date) -> None:
    assert value == moment_reader(form, UTC)(text)


@pytest.mark.parametrize("text", ["12/03/2021", "2021-02-31", "yesterday", "1404-13-01", "1404-07-01"])
def test_doubtful_dates_are_refused(text: str) -> None:
    with pytest.raises(BadCell) as caught:
        moment_reader("", UTC)(text)
    assert "date" == caught.value.rule


def test_a_persian_year_is_named_as_such() -> None:
    with pytest.raises(BadCell, match="Jalali"):
        moment_reader("", UTC)("1404/07/01".replace("/", "-"))
    with pytest.raises(BadCell, match="Jalali"):
        moment_reader("%Y/%m/%d", UTC)("1404/07/01")


def test_an_hour_that_never_was_is_refused() -> None:
    with pytest.raises(BadCell, match="never was in Europe/Berlin"):
        moment_reader("", ZoneInfo("Europe/Berlin"))("2026-03-29 02:30:00")


def test_phones_match_whatever_their_digits() -> None:
    assert contact_key("phone", "+98 912 345 6789") == contact_key("phone", "۰۰۹۸۹۱۲۳۴۵۶۷۸۹")


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("phone", "4.41E+11"),
        ("phone", "+98 912 345 6789 / +98 21 555 1234 or so"),
        ("email", "Ada <ada@example.org>"),
        ("email", "ada@example.org\r\nBcc: all@example.org"),
        ("email", "not an address"),
    ],
)
def test_what_is_no_single_address_is_refused(kind: str, value: str) -> None:
    with pytest.raises(BadCell):
        contact_key(kind, value)


@pytest.mark.parametrize("text", ["=cmd()", "+98 912", "-1", "@x", "\tx", "\rx", "＝x", "＋x", "－x", "＠x"])
def test_a_formula_is_known_and_its_guard_taken_away(text: str) -> None:
    assert f"'{text}" == guarded(text)
    assert text == without_guard("'" + text)


def test_other_apostrophes_stay() -> None:
    assert "'s Gravenhage" == without_guard("'s Gravenhage")
