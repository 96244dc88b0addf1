"""Money: exact, never mixed, and the same on the way to storage or JSON and back."""

from __future__ import annotations

import copy
import decimal
import pickle
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crm_core.errors import InvalidValue
from crm_core.values import Money, exponent
from crm_core.values import currencies as table
from crm_core.values.currencies import EXPONENTS

MAX_MINOR = 2**63 - 1
currencies = st.sampled_from(sorted(EXPONENTS))
minors = st.integers(-MAX_MINOR, MAX_MINOR)


@given(minors, currencies)
def test_minor_units_round_trip(minor: int, currency: str) -> None:
    assert Money.from_minor(minor, currency).minor == minor


@given(minors, currencies)
def test_json_round_trips(minor: int, currency: str) -> None:
    money = Money.from_minor(minor, currency)
    assert Money.from_json(money.to_json()) == money


@given(minors, currencies)
def test_the_two_ways_to_make_money_agree(minor: int, currency: str) -> None:
    money = Money.from_minor(minor, currency)
    assert (repr(Money(str(money.amount), currency)), hash(Money(money.amount, currency))) == (repr(money), hash(money))


@given(st.lists(st.integers(-(10**12), 10**12), min_size=2, max_size=2), currencies)
def test_arithmetic_and_order_are_those_of_minor_units(pair: list[int], currency: str) -> None:
    a, b = (Money.from_minor(minor, currency) for minor in pair)
    assert [(a + b).minor, (a - b).minor, (-a).minor, (a * 3).minor, (3 * a).minor] == [
        pair[0] + pair[1],
        pair[0] - pair[1],
        -pair[0],
        pair[0] * 3,
        pair[0] * 3,
    ]
    assert [a < b, a <= b, a > b, a >= b, a == b, bool(a)] == [
        pair[0] < pair[1],
        pair[0] <= pair[1],
        pair[0] > pair[1],
        pair[0] >= pair[1],
        pair[0] == pair[1],
        pair[0] != 0,
    ]


def test_trailing_zeros_do_not_matter() -> None:
    short, long = Money("1200", "EUR"), Money("1200.000", "EUR")
    assert (short, hash(short), repr(short)) == (long, hash(long), repr(long))


def test_one_amount_in_two_currencies_is_not_equal() -> None:
    assert Money("1", "EUR") != Money("1", "USD")


@pytest.mark.parametrize(
    ("money", "text"),
    [
        (Money("1200", "EUR"), "1,200.00 EUR"),
        (Money("-0.5", "USD"), "-0.50 USD"),
        (Money(1500000, "JPY"), "1,500,000 JPY"),
        (Money("-0.00", "EUR"), "0.00 EUR"),
        (Money(Decimal("1E+3"), "KWD"), "1,000.000 KWD"),
    ],
)
def test_money_prints_with_separators_and_its_code(money: Money, text: str) -> None:
    assert str(money) == text


@pytest.mark.parametrize(
    ("text", "minor"),
    [("۱٬۲۳۴٫۵", 123450), ("١٢", 1200), ("\u200e−۵", -500), (" 12.5 ", 1250), ("+3", 300), (".5", 50), ("007", 700)],
)
def test_amounts_are_read_in_any_script(text: str, minor: int) -> None:
    assert Money(text, "EUR").minor == minor


@pytest.mark.parametrize(
    "text",
    ["", " ", "1,12", "3,100", "1,200.00", "NaN", "Infinity", "1e999", "1_000", "²", "12²", "+", "1.", "۱٬۲", "12 EUR"],
)
def test_what_is_not_a_plain_number_is_refused(text: str) -> None:
    with pytest.raises(InvalidValue, match="is not a number"):
        Money(text, "EUR")


def test_a_comma_is_explained() -> None:
    with pytest.raises(InvalidValue, match="Remove the thousands separators"):
        Money("1,200", "EUR")


def test_a_float_is_told_to_be_a_string() -> None:
    with pytest.raises(InvalidValue, match=r'Pass it as a string: Money\("0.1", "EUR"\)'):
        Money(0.1, "EUR")  # type: ignore[arg-type]


@pytest.mark.parametrize("amount", [True, None, b"1"])
def test_other_types_are_refused(amount: object) -> None:
    with pytest.raises(InvalidValue, match="An amount is a string"):
        Money(amount, "EUR")  # type: ignore[arg-type]


@pytest.mark.parametrize("amount", ["NaN", "sNaN", "Infinity", "-Infinity"])
def test_decimals_that_are_no_numbers_are_refused(amount: str) -> None:
    with pytest.raises(InvalidValue, match="Leave an unknown amount empty"):
        Money(Decimal(amount), "EUR")


@pytest.mark.parametrize(
    ("amount", "currency"), [("0.001", "EUR"), ("0.5", "JPY"), ("1.0001", "KWD"), ("1" * 19 + ".001", "EUR")]
)
def test_more_decimals_than_the_currency_has_are_refused(amount: str, currency: str) -> None:
    with pytest.raises(InvalidValue, match="more decimals than"):
        Money(amount, currency)


@pytest.mark.parametrize("currency", ["eur", "EURO", "", "XXX", "XAU", " EUR", None])
def test_unknown_currencies_are_refused(currency: str) -> None:
    with pytest.raises(InvalidValue, match="Unknown currency"):
        Money("1", currency)


def test_a_lower_case_code_is_corrected() -> None:
    with pytest.raises(InvalidValue, match=r"'eur'\. Write EUR\."):
        exponent("eur")


@pytest.mark.parametrize("amount", ["92233720368547758.08", "-92233720368547758.08", "1" + "0" * 5000])
def test_amounts_beyond_64_bits_are_refused(amount: str | int) -> None:
    with pytest.raises(InvalidValue, match="too large"):
        Money(amount, "EUR")


def test_an_int_too_long_to_print_is_refused_in_words() -> None:
    with pytest.raises(InvalidValue, match="too large"):
        Money(10**5000, "EUR")
    with pytest.raises(InvalidValue, match="too large"):
        Money.from_minor(10**5000, "EUR")


def test_the_largest_amount_and_its_negative_fit() -> None:
    assert (-Money("92233720368547758.07", "EUR")).minor == -MAX_MINOR


def test_a_sum_beyond_64_bits_is_refused() -> None:
    with pytest.raises(InvalidValue, match="too large"):
        Money.from_minor(MAX_MINOR, "EUR") + Money("0.01", "EUR")


@pytest.mark.parametrize("minor", [10**30, 2**63, -(2**63)])
def test_minor_units_beyond_64_bits_are_refused(minor: int) -> None:
    with pytest.raises(InvalidValue, match="too large"):
        Money.from_minor(minor, "IRR")


@pytest.mark.parametrize("minor", [True, 1.0, "1"])
def test_minor_units_are_whole_numbers(minor: int) -> None:
    with pytest.raises(InvalidValue, match="whole number"):
        Money.from_minor(minor, "EUR")


@pytest.mark.parametrize("act", [lambda a, b: a + b, lambda a, b: a - b, lambda a, b: a < b, lambda a, b: a >= b])
def test_two_currencies_never_mix(act: Callable[[Any, Any], object]) -> None:
    with pytest.raises(InvalidValue, match="EUR and USD differ"):
        act(Money("1", "EUR"), Money("1", "USD"))


@pytest.mark.parametrize("act", [lambda m: m + 1, lambda m: m - 1, lambda m: m * 0.5, lambda m: m * m, lambda m: m < 1])
def test_money_takes_no_bare_numbers(act: Callable[[Any], object]) -> None:
    with pytest.raises(TypeError):
        act(Money("1", "EUR"))


@pytest.mark.parametrize("data", [{}, {"amount": "1"}, {"amount": "1", "currency": "EUR", "x": 1}, "1 EUR", None])
def test_json_of_another_shape_is_refused(data: object) -> None:
    with pytest.raises(InvalidValue, match="Money in JSON is"):
        Money.from_json(data)  # type: ignore[arg-type]


def test_a_callers_decimal_context_changes_nothing() -> None:
    with decimal.localcontext(decimal.Context(prec=3)):
        assert Money("123456.78", "EUR").minor == 12345678
        assert Money.from_minor(12345678, "EUR") == Money("123456.78", "EUR")
        assert str(Money("123456.78", "EUR")) == "123,456.78 EUR"


def test_money_copies_pickles_and_evolves() -> None:
    money = Money("12.50", "EUR")
    assert [copy.deepcopy(money), pickle.loads(pickle.dumps(money)), attrs.evolve(money, amount="12.5")] == [money] * 3


def test_the_minor_units_that_trip_people_are_right() -> None:
    codes = ["EUR", "JPY", "KRW", "VND", "ISK", "KWD", "BHD", "TND", "IRR", "IQD", "AMD", "CLP", "CLF", "HUF", "UGX"]
    assert [exponent(code) for code in codes] == [2, 0, 0, 0, 0, 3, 3, 3, 2, 3, 2, 0, 4, 2, 0]


def test_every_code_is_three_capitals_listed_once() -> None:
    listed = [c for group in (table._CODES, table._WITHDRAWN) for codes in group.values() for c in codes.split()]
    assert sorted(listed) == sorted(EXPONENTS)
    assert [c for c in listed if not (len(c) == 3 and c.isascii() and c.isupper())] == []
