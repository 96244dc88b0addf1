"""What spreadsheets show in the place of a value: that a formula failed, or was never calculated."""

from __future__ import annotations

import re
from typing import Final

from crm_transfer.errors import BadCell

UNCALCULATED: Final = "#GETTING_DATA"
"""What stands for a formula without a value, also in the file of rejected rows; no import takes it for a text."""
_SHOWN: Final = frozenset(
    {"#REF!", "#VALUE!", "#DIV/0!", "#NAME?", "#NUM!", "#NULL!", "#N/A", "#SPILL!", "#CALC!", "#FIELD!",
     "#BLOCKED!", "#CONNECT!", "#BUSY!", "#UNKNOWN!", "#NV", "#BEZUG!", "#WERT!", "#ZAHL!", "#ÜBERLAUF!",
     "#VALEUR!", "#NOM?", "#NOMBRE!", "#NUL!", "#¡REF!", "#¡VALOR!", "#¡DIV/0!", "#¿NOMBRE?", "#¡NUM!",
     "#¡NULO!", "#N/D", "#ССЫЛКА!", "#ЗНАЧ!", "#ДЕЛ/0!", "#ИМЯ?", "#ЧИСЛО!", "#ПУСТО!", "#Н/Д"}
)  # fmt: skip
"""What spreadsheets show where a formula failed, as Excel writes it into text in English, German, French, Spanish and
Russian."""
_NUMBERED: Final = re.compile(r"Err:5[0-9]{2}", re.ASCII)
"""How LibreOffice shows most of them."""
NEVER: Final = (
    "is a formula that was never calculated, so it has no value; open the file in a spreadsheet program and save it "
    "there: that calculates it"
)
FAILED: Final = "is a formula of the spreadsheet that failed; correct it, or empty the cell"


def is_failed(text: str) -> bool:
    """Say whether a text is what a spreadsheet shows in the place of a value.

    >>> is_failed("#REF!"), is_failed("Err:508"), is_failed("#1 Taxi")
    (True, True, False)
    """
    return text in _SHOWN or text == UNCALCULATED or _NUMBERED.fullmatch(text) is not None


def failure_of(text: str, rule: str = "spreadsheet_error") -> BadCell | None:
    """Return why a text is no value where a spreadsheet shows it in the place of one, with what can be done."""
    if text[:1] not in ("#", "E") or not is_failed(text):
        return None
    return BadCell("formula", NEVER) if text == UNCALCULATED else BadCell(rule, FAILED)
