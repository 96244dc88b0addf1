"""What the source of a file is called, whatever month the file is of: files of one source must share its name."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from crm_core.values import ascii_digits, text_key
from crm_transfer.guess.columns import Seen
from crm_transfer.guess.keys import KeyGuess
from crm_transfer.guess.spelling import ascii_words
from crm_transfer.guess.words import ROW_NUMBERS, is_called

_MONTHS: Final = (
    "january february march april may june july august september october november december "
    "jan feb mar apr jun jul aug sep sept oct nov dec "
    "januar jänner februar märz mai juni juli oktober dezember mär mrz okt dez "
    "janvier février mars avril juin juillet août septembre octobre novembre décembre fév avr aoû déc "
    "enero febrero marzo abril mayo junio julio agosto septiembre octubre noviembre diciembre ene abr ago dic "
    "январь февраль март апрель май июнь июль август сентябрь октябрь ноябрь декабрь "
    "янв фев мар апр июн июл авг сен окт ноя дек "
    "ژانویه فوریه مارس آوریل مه ژوئن ژوئیه اوت سپتامبر اکتبر نوامبر دسامبر "
    "فروردین اردیبهشت خرداد تیر مرداد شهریور مهر آبان آذر دی بهمن اسفند "
    "հունվար փետրվար մարտ ապրիլ մայիս հունիս հուլիս օգոստոս սեպտեմբեր հոկտեմբեր նոյեմբեր դեկտեմբեր"
)
_NAMED: Final = "|".join(sorted({re.escape(text_key(name)) for name in _MONTHS.split()}, key=len, reverse=True))
_YEAR: Final = r"(?:(?:19|20)\d\d|1[34]\d\d)"
_MONTH: Final = rf"(?:1[0-2]|0?[1-9]|q[1-4]|k?w[0-5]\d|{_NAMED})"
_DAY: Final = r"(?:3[01]|[12]\d|0?[1-9])"
_TIME: Final = r"(?:[t _-]+\d\d[-_.:]?\d\d(?:[-_.:]?\d\d)?z?)?"
_PERIOD: Final = re.compile(
    rf"(?<!\d){_YEAR}(?:[-_. ]*{_MONTH}(?:[-_. ]?{_DAY})?)?{_TIME}(?![0-9])"
    rf"|(?<![^\W_])(?:{_DAY}[-_. ]?)?{_MONTH}[-_. ]*{_YEAR}{_TIME}(?![0-9])"
    rf"|(?<![^\W_])(?:q[1-4]|(?:kw|week)[-_. ]?\d\d?|{_NAMED})(?![^\W_])"
)
_COPY: Final = re.compile(r" *\(\d+\)$")
"""What a browser adds to the name of a file that is there already."""


def system_of(stem: str, plural: str, key: KeyGuess, columns: Sequence[Seen]) -> tuple[str, str]:
    """Return the name of the source of a file called `stem`, and why it is that one; empty where that is plain.

    The month in the name is left out, so that the customers of January are found in February. Where the key only counts
    the rows it stays: the first row of February is not the first one of January.
    """
    named = _COPY.sub("", ascii_digits(stem)).lower()
    lasting = ascii_words(_PERIOD.sub(" ", text_key(named))).replace("_", "-") or plural
    whole = ascii_words(named).replace("_", "-") or plural
    if lasting == whole:
        return whole, ""
    if _counts_rows(key, columns):
        return whole, "the key only counts its rows, so that each file is a source of its own"
    return lasting, "without the time it is of, so that later files find the same records"


def _counts_rows(key: KeyGuess, columns: Sequence[Seen]) -> bool:
    if len(key.columns) != 1:
        return False
    values = next((seen.values for seen in columns if seen.name == key.columns[0]), ())
    return is_called(key.columns[0], ROW_NUMBERS) or [*map(ascii_digits, values[:2])] == ["1", "2"]
