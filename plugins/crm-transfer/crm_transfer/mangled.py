"""What a spreadsheet program makes of texts that nobody edited.

Letters that its file cannot hold are lost, and what looks like a number, a date or a yes becomes one.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from decimal import Decimal, InvalidOperation
from typing import Final

from crm_core.values import ascii_digits
from crm_transfer.cells import without_guard
from crm_transfer.respelt import NO_WORDS, YES_WORDS

_LOST: Final = frozenset("?\ufffd")
_NUMBER: Final = re.compile(r"[+-]?[0-9]+(?:[.,][0-9]+)*(?:[eE][+-]?[0-9]{1,3})?")
_SCIENTIFIC: Final = re.compile(r"([+-]?[0-9](?:[.,][0-9]+)?)[eE]([+-]?[0-9]{1,3})")
_PARTED: Final = re.compile(r"[0-9]{1,4}([-/. ])[0-9]{1,2}(?:\1[0-9]{2,4})?|[0-9]{1,2}[-/.][0-9]{4}")
_MONTHLY: Final = re.compile(r"(?:[0-9]{1,2}[-. ]*)?([A-Za-z]{3,9})[-. ]*[0-9]{0,4}")
_DAY: Final = re.compile(r"[0-9]{1,4}[-./ ]+(?:[0-9]{1,2}|([^\W\d_]{3,9})\.?)(?:[-./ ]+[0-9]{2,4})?", re.UNICODE)
_MONTH: Final = re.compile(r"([^\W\d_]{3,9})\.?[-. ]+[0-9]{2,4}", re.UNICODE)
_MIDNIGHT: Final = re.compile(r"[T ]+0?0:00(?::00)?$")
_CLOCK: Final = re.compile(r"[0-9]{1,3}:[0-9]{2}(?::[0-9]{2})?")
_MONTHS: Final = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_CENTURY: Final = 1900
_PRIVATE_START: Final = 0xF100
_PRIVATE: Final = frozenset(chr(_PRIVATE_START + byte) for byte in range(128, 256))
"""Where LibreOffice puts the bytes that windows-1252 does not have."""


def mangling(text: str, known: str, *, is_text: bool = True) -> str:
    """Say what a spreadsheet program may have made of `known` when a cell now says `text`; empty for a person's edit.

    `is_text` says that the field holds texts: a number that became another number was edited by somebody.

    >>> mangling("S?ra", "Sāra"), mangling("1,00E+05", "1e5"), mangling("03-Apr", "3-4"), mangling("Bob", "Ada")
    ('letters were lost', 'taken for a number', 'taken for a date', '')
    """
    if not text or not known:
        return ""
    if not known.isascii():
        if _has_lost(text, known):
            return "letters were lost"
        if _is_misread(text, known):
            return "read in another encoding"
    cell, told = ascii_digits(text), ascii_digits(known)
    if _is_date(cell, told):
        return "taken for a date"
    if not is_text:
        return ""
    if _is_number(cell, told):
        return "taken for a number"
    if _is_time(cell, told):
        return "taken for a time"
    return "taken for yes or no" if _is_yes_or_no(text, known) else ""


def _has_lost(text: str, known: str) -> bool:
    """Say whether a text has question marks where letters were; others of them may have lost only their marks."""
    if sum(map(text.count, _LOST)) <= sum(map(known.count, _LOST)):
        return False
    places = {0}  # where the next letter may stand: one beyond 65,535 leaves one question mark or two
    for letter in known:
        places = {after for at in places for after in _after(text, at, letter)}
    return len(text) in places


def _after(text: str, at: int, letter: str) -> Iterator[int]:
    found = text[at : at + 1]
    if found and (found == letter or (letter > "\x7f" and (found in _LOST or found == _bare(letter)))):
        yield at + 1
        if letter > "\uffff" and found in _LOST and text[at + 1 : at + 2] == found:
            yield at + 2


def _bare(letter: str) -> str:
    return unicodedata.normalize("NFKD", letter)[0]


def _is_misread(text: str, known: str) -> bool:
    """Say whether the bytes of a text in UTF-8 were read as windows-1252."""
    if text.isascii():
        return False
    try:
        meant = b"".join(map(_byte, text)).decode()
    except UnicodeError:
        return False
    return known in (meant, without_guard(meant))


def _byte(letter: str) -> bytes:
    if letter in _PRIVATE:
        return bytes([ord(letter) - _PRIVATE_START])
    try:
        return letter.encode("windows-1252")
    except UnicodeEncodeError:
        return letter.encode("latin-1")


def _is_number(text: str, known: str) -> bool:
    if not _NUMBER.fullmatch(text) or not _NUMBER.fullmatch(known):
        return False
    meant = _values(known)
    if meant & _values(text):
        return True
    match = _SCIENTIFIC.fullmatch(text)
    if match is None:
        return False
    shown, power = Decimal(match[1].replace(",", ".")), int(match[2])
    half = Decimal(1).scaleb(-len(match[1].replace(",", ".").partition(".")[2])) / 2
    return any(abs(value.scaleb(-power) - shown) <= half for value in meant)


def _values(text: str) -> set[Decimal]:
    """Return what a number may mean, whichever of point and comma parts its fraction."""
    found: set[Decimal] = set()
    for decimal, thousands in (".,", ",."):
        whole, *_ = text.partition(decimal)
        if thousands in text and not re.fullmatch(rf"[+-]?[0-9]{{1,3}}(?:[{thousands}][0-9]{{3}})+", whole):
            continue
        with suppress(InvalidOperation):
            found.add(Decimal(text.replace(thousands, "").replace(decimal, ".")))
    return found


def _is_date(text: str, known: str) -> bool:
    """Say whether a text is a date that has the numbers of `known` for its day, month or year."""
    parts = _parts(known)
    cell = _MIDNIGHT.sub("", text)
    match = _DAY.fullmatch(cell) or _MONTH.fullmatch(cell)
    if not parts or match is None:
        return False
    numbers, word = _numbers(cell), match[1]
    if not word:
        if len(parts) > 2:
            return [_year(each) for each in numbers] in ([_year(e) for e in parts], [_year(e) for e in parts[::-1]])
        return len(numbers) > 2 and _leaves_a_year(numbers, parts)
    month = _month(word)
    if month:
        return _leaves_a_year([*numbers, month], parts)
    missing = _left(parts, numbers)  # a month in another language
    return len(missing) == 1 and 1 <= missing[0] <= 12 and _leaves_a_year([*numbers, missing[0]], parts)


def _parts(known: str) -> list[int]:
    """Return the numbers of a text in which a spreadsheet sees a date, the month's among them; none of another one."""
    if _PARTED.fullmatch(known):
        numbers = _numbers(known)
        return numbers if any(1 <= each <= 12 for each in numbers) else []
    match = _MONTHLY.fullmatch(known)
    month = _month(match[1]) if match else 0
    return [*_numbers(known), month] if month and any(letter.isdecimal() for letter in known) else []


def _leaves_a_year(numbers: list[int], parts: list[int]) -> bool:
    """Say whether the numbers of a date are these parts, and but for them at most a year or the first of a month."""
    left = _left(numbers, parts)
    return not _left(parts, numbers) and (not left or (len(left) == 1 and (left[0] == 1 or left[0] >= _CENTURY)))


def _left(numbers: list[int], taken: list[int]) -> list[int]:
    """Return the numbers that are not among others; years may have two digits."""
    left = Counter(_year(each) for each in numbers) - Counter(_year(each) for each in taken)
    return [each for each in numbers if left[_year(each)]]


def _year(number: int) -> int:
    return number % 100 if number >= _CENTURY else number


def _month(word: str) -> int:
    start = word[:3].casefold()
    return _MONTHS.index(start) + 1 if start in _MONTHS else 0


def _numbers(text: str) -> list[int]:
    return [int(each) for each in re.findall(r"[0-9]+", text)]


def _is_time(text: str, known: str) -> bool:
    if not _CLOCK.fullmatch(text) or not _CLOCK.fullmatch(known):
        return False
    one, other = ([*_numbers(each), 0][:3] for each in (text, known))
    return one == other


def _is_yes_or_no(text: str, known: str) -> bool:
    return text.isupper() and any(
        text.casefold() in words and known.casefold() in words - {"y", "n", "1", "0"} for words in (YES_WORDS, NO_WORDS)
    )
