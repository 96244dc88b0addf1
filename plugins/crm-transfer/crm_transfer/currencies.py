"""What stands beside an amount: the sign, word or code of its currency."""

from __future__ import annotations

import re
from typing import Final

import attrs

from crm_core.errors import InvalidValue
from crm_core.values import exponent, strip_marks
from crm_transfer.errors import BadCell

_LONGEST_AMOUNT: Final = 60
_CURRENCY: Final = re.compile(
    r"([^\d+\-.,\s]{1,7}\.?)?\s*([+\u2212-]?[\d][\d.,'\u2019٫٬\s]*?)\s*([^\d+\-.,\s%٪)]{1,7}\.?)?"
)


@attrs.frozen
class Unit:
    """What amounts are counted in: a currency, and how much of it one is."""

    currency: str
    factor: int = 1


TOMAN: Final = Unit("IRR", 10)
"""Ten rials: what prices in Iran are told in, and no currency of its own."""


def amount_in(text: str, unit: Unit) -> tuple[str, int]:
    """Return the text of an amount without the sign of its currency, and how much of the currency one of them is.

    The sign must be one of the unit's currency; it counts sooner than the unit: 5 تومان are 50 rials.

    Raises:
        BadCell: it names another currency.
    """
    found = _CURRENCY.fullmatch(strip_marks(text).strip()) if len(text) <= _LONGEST_AMOUNT else None
    if found is None or bool(found[1]) == bool(found[3]):
        return text, unit.factor
    sign = _folded(found[1] or found[3])
    known = currencies_of(sign)
    if known is None:
        return text, unit.factor
    if unit.currency not in known:
        raise BadCell(
            "currency",
            f"is in {sign}, and the mapping says {unit.currency}; correct it, or read the currency from a column: "
            'currency = { column = "..." }',
        )
    return found[2], TOMAN.factor if is_toman(sign) else 1


def is_currency(code: str) -> bool:
    """Say whether amounts can be in it: a code of ISO 4217."""
    try:
        exponent(code)
    except InvalidValue:
        return False
    return True


def is_toman(sign: str) -> bool:
    """Say whether a word beside a number means tomans."""
    return _folded(sign) in _TOMANS


def declared_unit(name: str) -> Unit | None:
    """Return what a mapping means by a currency: a code of ISO 4217, or `toman`."""
    return TOMAN if is_toman(name) else Unit(name) if is_currency(name) else None


def unit_named(text: str) -> Unit | None:
    """Return what a cell or a heading means by a currency: a code, or a sign or word that means a single one.

    >>> unit_named("eur"), unit_named("₽"), unit_named("تومان"), unit_named("kr")
    (Unit(currency='EUR', factor=1), Unit(currency='RUB', factor=1), Unit(currency='IRR', factor=10), None)
    """
    if is_toman(text):
        return TOMAN
    meant = currencies_of(text) or ()
    return Unit(meant[0]) if len(meant) == 1 else None


def currencies_of(sign: str) -> tuple[str, ...] | None:
    """Return the currencies that a sign, word or code beside a number may mean; None for what is none of these.

    >>> currencies_of("€"), currencies_of("руб."), currencies_of("chf"), currencies_of("kg")
    (('EUR',), ('RUB',), ('CHF',), None)
    """
    known = _folded(sign)
    return _SIGNS.get(known) if known in _SIGNS else (known,) if is_currency(known) else None


def _folded(sign: str) -> str:
    return strip_marks(sign).strip().upper().removesuffix(".")


_TOMANS: Final = frozenset({"تومان", "تومن", "ت", "TOMAN", "TOMANS", "IRT"})
_SIGNS: Final = {
    "€": ("EUR",),
    "$": ("USD", "CAD", "AUD", "NZD", "MXN", "SGD", "HKD", "ARS", "CLP", "COP"),
    "US$": ("USD",),
    "A$": ("AUD",),
    "AU$": ("AUD",),
    "C$": ("CAD",),
    "CA$": ("CAD",),
    "NZ$": ("NZD",),
    "HK$": ("HKD",),
    "S$": ("SGD",),
    "MX$": ("MXN",),
    "R$": ("BRL",),
    "£": ("GBP", "EGP"),
    "¥": ("JPY", "CNY"),
    "₽": ("RUB",),
    "РУБ": ("RUB",),
    "РУБЛЕЙ": ("RUB",),
    "РУБЛЯ": ("RUB",),
    "РУБЛЬ": ("RUB",),
    "Р": ("RUB",),
    "֏": ("AMD",),
    "ԴՐ": ("AMD",),
    "ԴՐԱՄ": ("AMD",),
    "SFR": ("CHF",),
    "FR": ("CHF",),
    "EURO": ("EUR",),
    "ГРН": ("UAH",),
    "﷼": ("IRR", "SAR", "YER", "OMR", "QAR"),
    "₺": ("TRY",),
    "₹": ("INR",),
    "₴": ("UAH",),
    "₾": ("GEL",),
    "₸": ("KZT",),
    "₪": ("ILS",),
    "₩": ("KRW",),
    "₫": ("VND",),
    "ZŁ": ("PLN",),
    "KČ": ("CZK",),
    "KR": ("SEK", "NOK", "DKK", "ISK"),
    "TL": ("TRY",),
    "ТЕНГЕ": ("KZT",),
    "ریال": ("IRR",),
    "ريال": ("IRR", "SAR", "YER", "OMR", "QAR"),  # with the Arabic yeh, as older Persian keyboards write it too
    "درهم": ("AED", "MAD"),
    "دلار": ("USD", "CAD", "AUD", "NZD", "HKD", "SGD"),
    "یورو": ("EUR",),
    "ДОЛЛ": ("USD", "CAD", "AUD", "NZD", "HKD", "SGD"),
    "ЕВРО": ("EUR",),
    "ԵՎՐՈ": ("EUR",),
    **dict.fromkeys(_TOMANS, (TOMAN.currency,)),
}
