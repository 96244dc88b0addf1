"""The normalised forms under which names, e-mail addresses and phone numbers match each other.

Apart from the records because import, search and look-ups must all fold text in exactly the same way.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

__all__ = ["ascii_digits", "email_key", "phone_key", "strip_marks", "text_key"]

# ZWSP, ZWNJ, ZWJ, bidi marks, embeddings and isolates, byte order mark, Arabic letter mark.
_MARKS = [*range(0x200B, 0x2010), *range(0x202A, 0x202F), *range(0x2066, 0x206A), 0xFEFF, 0x061C]
_TATWEEL = 0x0640
_ARABIC_TO_PERSIAN = {0x064A: "\u06cc", 0x0649: "\u06cc", 0x0643: "\u06a9"}
_DOTLESS, _DOT = "\u0131", "\u0307"
_SEPARATORS = {0x066B: ".", 0x066C: ","}
_CACHED_LENGTH = 100  # labels repeat, and some names; message bodies do not and would fill the cache


class _Table(dict[int, str | int | None]):
    """A table for `str.translate` that turns decimal digits of any script into ASCII, learnt as they are met.

    Listing all digits beforehand would walk the whole of Unicode at import.
    """

    def __missing__(self, code: int) -> str | int:
        digit = unicodedata.decimal(chr(code), None)
        result: str | int = code if digit is None else str(digit)
        self[code] = result
        return result


_DROP_MARKS: dict[int, None] = dict.fromkeys(_MARKS)
_DIGITS = _Table(_SEPARATORS)
_FOLDED: dict[int, str | int | None] = {**_DROP_MARKS, _TATWEEL: None, **_ARABIC_TO_PERSIAN}
_FOLD = _Table(_FOLDED)
# What folding changes of a character: finding that there is none takes half as long as translating each.
_TO_FOLD = re.compile(f"[{''.join(map(chr, _FOLDED))}]|[^\\D0-9]")


def text_key(text: str) -> str:
    """Fold a text so that two spellings of one name compare equal; folding twice changes nothing.

    NFKC, case-folded, Arabic yeh and kaf as the Persian ones, the Turkish letters i with and without a dot as one,
    joiners, bidi marks and tatweel dropped, digits of any script as ASCII, white space collapsed and stripped.

    >>> text_key("  Ada   LOVELACE ")
    'ada lovelace'
    >>> text_key("İstanbul") == text_key("istanbul") and text_key("Kılıç") == text_key("KILIÇ")
    True
    >>> text_key("علي\u200cرضا كاظمي ۱۲") == text_key("علیرضا کاظمی 12")
    True
    """
    if text.isascii():  # a million names per import: this path is the common one
        return " ".join(text.lower().split())
    return _cached_key(text) if len(text) <= _CACHED_LENGTH else _key(text)


def email_key(address: str) -> str:
    """Fold an e-mail address for matching; whether it is a valid address is not asked here.

    An international domain has one key, whether it is written in its script or in the ASCII form of IDNA. The Turkish
    letters i stay two: domains that differ in them belong to different people.

    >>> email_key(" Ada@Example.ORG ")
    'ada@example.org'
    >>> email_key("ada@xn--bcher-kva.example") == email_key("ada@Bücher.example")
    True
    """
    key = " ".join(address.lower().split()) if address.isascii() else _fold(address)
    return _in_its_script(key) if "xn--" in key else key


def _in_its_script(key: str) -> str:
    name, at, host = key.rpartition("@")
    try:
        return _fold(f"{name}{at}{host.encode('ascii').decode('idna')}")
    except UnicodeError:
        return key


def phone_key(number: str) -> str | None:
    """Reduce a phone number as typed to its digits for matching, without knowing any country's numbering plan.

    A leading `+` stays, a leading `00` becomes `+`, an extension stays as `x12`.

    Returns None for what cannot be one phone number: fewer than three digits or more than the 15 of ITU-T E.164,
    letters, two numbers in one text (a line break, or two parts of seven digits or more).

    >>> phone_key("0098 (912) 345-67 89")
    '+989123456789'
    >>> phone_key("۰۹۱۲ ۳۴۵ ۶۷۸۹")
    '09123456789'
    >>> phone_key("4.41E+11") is None
    True
    >>> phone_key("555 1234 / 555 1235") is None
    True
    """
    match = _PHONE.fullmatch(ascii_digits(strip_marks(number)).casefold().strip())
    if match is None or _are_two(match["digits"]):
        return None
    plus, digits = "+" if match["plus"] else "", _NOT_DIGITS.sub("", match["digits"])
    if not plus and digits.startswith("00"):
        plus, digits = "+", digits[2:]
    if not 3 <= len(digits) <= _E164:
        return None
    return f"{plus}{digits}" + (f"x{match['extension']}" if match["extension"] else "")


def ascii_digits(text: str) -> str:
    """Write the decimal digits of any script in ASCII, the Arabic separators as `.` and `,`; the rest stays.

    Superscripts and circled numbers are not decimal digits and stay as they are.

    >>> ascii_digits("۱٬۲۳۴٫۵ m²")
    '1,234.5 m²'
    """
    return text if text.isascii() else text.translate(_DIGITS)


def strip_marks(text: str) -> str:
    """Drop the invisible joiners and bidi marks that copying from right-to-left text leaves behind."""
    return text if text.isascii() else text.translate(_DROP_MARKS)


# Separators people write: white space, brackets, full stop, slash, and the hyphens and dashes of Unicode.
_GAP = r"[\s().\-/\u2010-\u2015\u2212]*"
_PHONE = re.compile(
    rf"{_GAP}(?P<plus>[+\uff0b]{_GAP})?(?P<digits>[0-9](?:{_GAP}[0-9])*){_GAP}"
    r"(?:(?:x|ext\.?|#|داخلی|داخلي)\s*(?P<extension>[0-9]{1,8}))?"
)
_NOT_DIGITS = re.compile(r"[^0-9]")
_E164 = 15
_WHOLE_NUMBER = 7  # a subscriber's number without its area code; no area code is as long
_PARTS = re.compile(r"/|\s[-\u2010-\u2015\u2212]\s")


def _are_two(digits: str) -> bool:
    """Say whether the text between the first and the last digit parts two numbers rather than the groups of one."""
    if any(len(line) != len(digits) for line in digits.splitlines()):
        return True
    groups, parts = _NOT_DIGITS.split(digits), [_NOT_DIGITS.sub("", part) for part in _PARTS.split(digits)]
    return any(sum(len(each) >= _WHOLE_NUMBER for each in found) > 1 for found in (groups, parts))


def _fold(text: str) -> str:
    # The second NFKC joins letters and accents that a joiner or case folding had parted.
    folded = unicodedata.normalize("NFKC", text).casefold()
    if _TO_FOLD.search(folded) is not None:
        folded = folded.translate(_FOLD)
    return " ".join(unicodedata.normalize("NFKC", folded).split())


def _key(text: str) -> str:
    # Folding parts the capital I with a dot in two, and leaves the small i without one apart from its capital, which
    # other alphabets have too. A dot that is left below other marks (Lithuanian) is theirs.
    folded = _fold(text)
    if _DOT not in folded and _DOTLESS not in folded:
        return folded
    return unicodedata.normalize("NFKC", _DOTS.sub("i", folded.replace(_DOTLESS, "i")))


_DOTS = re.compile(f"i{_DOT}+")


_cached_key = lru_cache(maxsize=1024)(_key)
