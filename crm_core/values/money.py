"""Money: an exact decimal amount in one currency, whose minor units fit a 64-bit integer column.

Apart because no sum of money may ever pass through a float or mix two currencies.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Context, Decimal, Inexact, InvalidOperation, Overflow
from typing import Any, Self

from attrs import frozen

from crm_core.errors import InvalidValue
from crm_core.values.currencies import EXPONENTS
from crm_core.values.keys import ascii_digits, strip_marks

__all__ = ["Money", "exponent"]

_MAX_MINOR = 2**63 - 1  # symmetric, so that every amount has its negative
# Our own context: the caller may have set a precision of five digits, and rounding must raise, not round.
_EXACT = Context(prec=40, traps=[Inexact, InvalidOperation, Overflow])
# The Arabic thousands separator is unambiguous; a comma is not (1,200 or 1,20), so an import must declare it.
_AMOUNT = re.compile(r"[+-]?(?:(?:[0-9]+|[0-9]{1,3}(?:,[0-9]{3})+)(?:\.[0-9]+)?|\.[0-9]+)")


@frozen(init=False, order=False)
class Money:
    """An exact amount in one currency.

    >>> print(Money("1200", "EUR") + Money("0.50", "EUR"))
    1,200.50 EUR
    >>> Money("1200", "JPY").minor, Money("12.5", "KWD").minor
    (1200, 12500)
    """

    amount: Decimal
    currency: str

    def __init__(self, amount: Decimal | str | int, currency: str) -> None:
        """Take an amount in major units and an ISO 4217 code.

        Raises InvalidValue for a float, an unknown code, more decimals than the currency has, or an amount whose minor
        units do not fit 64 bits.
        """
        self.__attrs_init__(_fit(_decimal(amount, currency), currency), currency)

    @classmethod
    def from_minor(cls, minor: int, currency: str) -> Self:
        """Make money of a whole number of minor units (cents); the inverse of `minor`."""
        if type(minor) is not int:
            raise InvalidValue(f"Minor units are a whole number, found {minor!r}. Pass an int.")
        if not -_MAX_MINOR <= minor <= _MAX_MINOR:
            raise _too_large(Decimal(minor).scaleb(-exponent(currency)), currency)
        money = cls.__new__(cls)
        money.__attrs_init__(Decimal(minor).scaleb(-exponent(currency), _EXACT), currency)
        return money

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """Read what `to_json` wrote."""
        if not isinstance(data, Mapping) or set(data) != {"amount", "currency"}:
            raise InvalidValue(f'Money in JSON is {{"amount": "12.50", "currency": "EUR"}}, found {data!r}.')
        return cls(data["amount"], data["currency"])

    def to_json(self) -> dict[str, str]:
        """Give the JSON form, the amount as text so that no reader rounds it.

        >>> Money("12.5", "EUR").to_json()
        {'amount': '12.50', 'currency': 'EUR'}
        """
        return {"amount": f"{self.amount:f}", "currency": self.currency}

    @property
    def minor(self) -> int:
        """The amount as a whole number of minor units (cents)."""
        return int(self.amount.scaleb(EXPONENTS[self.currency], _EXACT))

    def __str__(self) -> str:
        return f"{self.amount:,f} {self.currency}"

    def __bool__(self) -> bool:
        return bool(self.amount)

    def __add__(self, other: Money) -> Money:
        if not isinstance(other, Money):
            return NotImplemented
        return Money.from_minor(self.minor + other._minor_beside(self, "add"), self.currency)

    def __sub__(self, other: Money) -> Money:
        if not isinstance(other, Money):
            return NotImplemented
        return Money.from_minor(self.minor - other._minor_beside(self, "subtract"), self.currency)

    def __neg__(self) -> Money:
        return Money.from_minor(-self.minor, self.currency)

    def __mul__(self, times: int) -> Money:
        if not isinstance(times, int):
            return NotImplemented
        return Money.from_minor(self.minor * times, self.currency)

    __rmul__ = __mul__

    def __lt__(self, other: Money) -> bool:
        if not isinstance(other, Money):
            return NotImplemented
        return self.minor < other._minor_beside(self, "compare")

    def __le__(self, other: Money) -> bool:
        if not isinstance(other, Money):
            return NotImplemented
        return self.minor <= other._minor_beside(self, "compare")

    def __gt__(self, other: Money) -> bool:
        if not isinstance(other, Money):
            return NotImplemented
        return self.minor > other._minor_beside(self, "compare")

    def __ge__(self, other: Money) -> bool:
        if not isinstance(other, Money):
            return NotImplemented
        return self.minor >= other._minor_beside(self, "compare")

    def _minor_beside(self, first: Money, verb: str) -> int:
        if self.currency != first.currency:
            raise InvalidValue(
                f"Cannot {verb} {first} and {self}: the currencies {first.currency} and {self.currency} differ. "
                "Convert one of them at a dated rate first."
            )
        return self.minor


def exponent(currency: str) -> int:
    """Give the number of decimals of a currency's minor unit; InvalidValue for a code that ISO 4217 does not list.

    >>> exponent("EUR"), exponent("JPY"), exponent("KWD")
    (2, 0, 3)
    """
    try:
        return EXPONENTS[currency]
    except (KeyError, TypeError):
        known = isinstance(currency, str) and currency.strip().upper() in EXPONENTS
        advice = f"Write {currency.strip().upper()}." if known else "Use an ISO 4217 code such as EUR, USD or IRR."
        raise InvalidValue(f"Unknown currency {currency!r}. {advice}") from None


def money_text(amount: float, currency: str) -> str:
    """Write an amount in major units, such as a metric's value, as `Money` is written; what is finer is rounded.

    >>> money_text(1200, "EUR"), money_text(3307094.6, "EUR"), money_text(1200, "JPY")
    ('1,200.00 EUR', '3,307,094.60 EUR', '1,200 JPY')
    """
    return f"{amount:,.{exponent(currency)}f} {currency}"


def _decimal(amount: Decimal | str | int, currency: str) -> Decimal:
    if isinstance(amount, Decimal):
        return amount
    if isinstance(amount, int) and not isinstance(amount, bool):
        return Decimal(amount)
    if isinstance(amount, str):
        return _read(amount)
    if isinstance(amount, float):
        raise InvalidValue(
            f"The amount {amount!r} is a float, which cannot hold cents exactly. "
            f'Pass it as a string: Money("{amount!r}", "{currency}").'
        )
    raise InvalidValue(f"An amount is a string, a Decimal or an int, found {amount!r}.")


def _read(text: str) -> Decimal:
    plain = text if text.isascii() else ascii_digits(strip_marks(text).replace("\u2212", "-"))
    plain = plain.strip()
    if "," in text or not _AMOUNT.fullmatch(plain):
        hint = " Remove the thousands separators and write decimals after a point." if "," in text else ""
        raise InvalidValue(f"The amount {text!r} is not a number. Expected plain digits such as 1234.50.{hint}")
    return Decimal(plain.replace(",", ""))


def _fit(amount: Decimal, currency: str) -> Decimal:
    decimals = exponent(currency)
    if not amount.is_finite():
        raise InvalidValue(f"The amount {amount} is not a number of {currency}. Leave an unknown amount empty.")
    if amount and amount.adjusted() > 19:
        raise _too_large(amount, currency)
    try:
        exact = amount.quantize(Decimal(1).scaleb(-decimals, _EXACT), context=_EXACT)
    except Inexact:
        raise InvalidValue(
            f"The amount {amount} {currency} has more decimals than the {decimals} of {currency}. Round it first."
        ) from None
    if abs(exact.scaleb(decimals, _EXACT)) > _MAX_MINOR:
        raise _too_large(amount, currency)
    return exact if exact else exact.copy_abs()  # no minus zero


def _too_large(amount: Decimal, currency: str) -> InvalidValue:
    return InvalidValue(
        f"The amount {amount:.6g} {currency} is too large: its minor units must fit 64 bits. Check the number's unit."
    )
