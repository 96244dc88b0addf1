"""What a value in `crm.toml` may be: each check returns it as the CRM uses it, or raises ValueError or TypeError."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any, Final
from zoneinfo import ZoneInfo

_URL: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")


def words(found: Any) -> str:
    """Take text that is not blank."""
    if not isinstance(found, str) or not found.strip():
        raise ValueError
    return found


def list_of_words(found: Any) -> tuple[str, ...]:
    """Take a list of texts."""
    return tuple(words(each) for each in list_(found))


def list_(found: Any) -> list[Any]:
    """Take a list."""
    if not isinstance(found, list):
        raise TypeError
    return found


def flag(found: Any) -> bool:
    """Take true or false."""
    if not isinstance(found, bool):
        raise TypeError
    return found


def count(found: Any) -> int:
    """Take a whole number from 0."""
    if not isinstance(found, int) or isinstance(found, bool) or found < 0:
        raise ValueError
    return found


def days(found: Any) -> int:
    """Take a whole number from 1."""
    if count(found) == 0:
        raise ValueError
    return int(found)


def day(found: Any) -> date:
    """Take a day without a time."""
    if isinstance(found, datetime) or not isinstance(found, date):
        raise TypeError
    return found


def seconds(found: Any) -> float:
    """Take seconds above 0, at most a day."""
    if isinstance(found, bool) or not isinstance(found, int | Decimal) or not 0 < found < 86_400:
        raise ValueError
    return float(found)


def hours(found: Any) -> tuple[time, time]:
    """Take the times of day from which and until which something holds, which may lie on both sides of midnight."""
    start, _, end = words(found).partition("-")
    times = time.fromisoformat(start.strip()), time.fromisoformat(end.strip())
    if times[0] == times[1] or any(each.tzinfo for each in times):
        raise ValueError
    return times


def rate(found: Any) -> Decimal:
    """Take a number above 0, exactly."""
    if isinstance(found, bool) or not isinstance(found, int | str | Decimal):
        raise TypeError
    rate = Decimal(found)
    if not rate.is_finite() or rate <= 0:
        raise ValueError
    return rate


def probability(found: Any) -> Decimal:
    """Take a number from 0 to 1."""
    chance = Decimal(0) if found in (0, "0") else rate(found)
    if chance > 1:
        raise ValueError
    return chance


def currency(found: Any) -> str:
    """Take the code of a currency."""
    if not isinstance(found, str) or not_currency(found):
        raise ValueError
    return found


def not_currency(code: str) -> bool:
    """Whether a text cannot be the code of a currency, by its form."""
    return not (len(code) == 3 and code.isascii() and code.isalpha() and code.isupper())


def zone(found: Any) -> ZoneInfo:
    """Take an IANA time zone."""
    try:
        return ZoneInfo(words(found))
    except (KeyError, OSError):  # no such zone; "Asia" is a directory
        raise ValueError from None


def url(found: Any) -> str:
    """Take a URL: a scheme, a colon, and what the storage makes of the rest."""
    if not isinstance(found, str) or not _URL.match(found):
        raise ValueError
    return found


def place_of_key(found: Any) -> dict[str, str]:
    """Take a table that names a file or an environment variable."""
    if not isinstance(found, dict) or len(found) != 1 or not found.keys() <= {"file", "env"}:
        raise ValueError
    return {name: words(value) for name, value in found.items()}


def one_of(*choices: str) -> Callable[[Any], Any]:
    """Make a check that takes one of some texts."""

    def check(found: Any) -> Any:
        if found not in choices:
            raise ValueError
        return found

    return check
