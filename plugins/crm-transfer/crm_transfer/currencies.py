"""What stands beside an amount: the sign, word or code of its currency."""

from __future__ import annotations

import re
from typing import Final

from crm_core.errors import InvalidValue
from crm_core.values import exponent
from crm_transfer.errors import BadCell

_LONGEST_AMOUNT: Final = 60


def of_currency(text: str, currency: str) -> str:
    """Return the text of an amount without the sign or code of its currency, which must be this one.

    Raises:
        BadCell: it names another currency.
    """
    found = _CURRENCY.fullmatch(text) if len(text) <= _LONGEST_AMOUNT else None
    if found is None or bool(found[1]) == bool(found[3]):
        return text
    sign = (found[1] or found[3]).upper().removesuffix(".")
    known = currencies_of(sign)
    if known is None:
        return text
    if currency not in known:
        raise BadCell(
            "currency",
            f"is in {sign}, and the mapping says {currency}; correct it, or read the currency from a column: "
            'currency = { column = "..." }',
        )
    return found[2]


def is_currency(code: str) -> bool:
    """Say whether amounts can be in it: a code of ISO 4217."""
    try:
        exponent(code)
    except InvalidValue:
        return False
    return True


def currencies_of(sign: str) -> tuple[str, ...] | None:
    """Return the currencies that a sign, word or code beside a number may mean; None for what is none of these.

    >>> currencies_of("€"), currencies_of("руб."), currencies_of("chf"), currencies_of("kg")
    (('EUR',), ('RUB',), ('CHF',), None)
    """
    known = sign.upper().removesuffix(".")
    return _SIGNS.get(known) if known in _SIGNS else (known,) if is_currency(known) else None


_CURRENCY: Final = re.compile(r"([^\d+\-.,\s]{1,5}\.?)?\s*([+-]?[\d][\d.,'\u2019٫٬\s]*?)\s*([^\d+\-.,\s%٪)]{1,5}\.?)?")
_SIGNS: Final = {
    "€": ("EUR",),
    "$": ("USD", "CAD", "AUD", "NZD", "MXN", "SGD", "HKD", "ARS", "CLP", "COP"),
    "£": ("GBP", "EGP"),
    "¥": ("JPY", "CNY"),
    "₽": ("RUB",),
    "РУБ": ("RUB",),
    "РУБЛЕЙ": ("RUB",),
    "Р": ("RUB",),
    "֏": ("AMD",),
    "ԴՐ": ("AMD",),
    "ԴՐԱՄ": ("AMD",),
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
    "ریال": ("IRR",),
    "تومان": (),  # ten rials: no currency of its own
}
