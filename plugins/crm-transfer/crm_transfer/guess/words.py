"""What columns and values are called in seven languages, folded so that one name has one spelling."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Final

import attrs

from crm_core.values import text_key
from crm_transfer.guess import headings, terms, vocabulary
from crm_transfer.guess.nested import without_path
from crm_transfer.guess.scripts import in_two_scripts

_CAMEL: Final = re.compile(r"(?<=[a-zа-яё0-9])(?=[A-ZА-ЯЁ][a-zа-яё])|(?<=[a-z])(?=I[Dd]\b)")
_BRACKETS: Final = re.compile(r"[(\[{（].*?[)\]}）]|,.*")
_JOINING: Final = frozenset(terms.JOINING.split())
_LONGEST: Final = 200


def plain(name: str) -> str:
    """Fold a column's name for comparison: no spaces, punctuation or accents of Latin letters, one case.

    >>> plain("E-Mail "), plain("شماره_تماس") == plain("شماره تماس"), plain("Téléphone")
    ('email', True, 'telephone')
    """
    return "".join(tokens(name))


def tokens(name: str) -> list[str]:
    """Return the words of a name, folded; a joiner of Persian and a capital inside a word part words.

    >>> tokens("dealName"), tokens("№ заказа, руб."), tokens("پیش\u200cبینی")
    (['deal', 'name'], ['no', 'заказа', 'руб'], ['پیش', 'بینی'])
    """
    parted = spaced(without_path(name[:_LONGEST])).replace("\u200c", " ")
    for number in ("№", "n°", "N°"):
        parted = parted.replace(number, " no ")
    return [word for word in re.split(r"[\W_]+", _bare(text_key(parted))) if word]


def spaced(name: str) -> str:
    """Return a name with its words apart where capitals begin them.

    >>> spaced("ParentId"), spaced("Annual Revenue")
    ('Parent Id', 'Annual Revenue')
    """
    return _CAMEL.sub(" ", name)


def fold(name: str) -> str:
    """Fold a name further, without the words that only join others.

    >>> fold("Date de création") == fold("date création")
    True
    """
    return _joined(tokens(name))


def spellings(name: str, type_name: str = "") -> tuple[str, ...]:
    """Return what a name may be meant as, the surest first: without units, and without the noun of the record type.

    >>> spellings("Сумма сделки, руб.", "deal")[-1] == plain("сумма")
    True
    >>> spellings("Deal", "deal")[-1]
    ''
    """
    found = [plain(name), fold(name)]
    for part in (_BRACKETS.sub(" ", name), name):
        words = tokens(part)
        if not words:
            continue
        bare = [word for word in words if word not in UNITS] or words
        found += [_joined(words), _joined(bare)]
        found += _without_nouns(bare, type_name) if type_name else []
    return tuple(dict.fromkeys(one for one in found if one or type_name))


def _without_nouns(words: list[str], type_name: str) -> list[str]:
    nouns = _NOUNS.get(type_name, frozenset())
    rest = [word for word in words if word not in nouns]
    bare = [word for word in rest if word not in QUALIFIERS]
    if bare and len(bare) < len(words):
        return [_joined(rest), _joined(bare)]
    if len(rest) < len(words):
        return [_joined(rest)]
    whole = "".join(words)
    if whole in nouns:
        return [""]
    compounds = (whole.removeprefix(noun) for noun in nouns if len(noun) > 3 and whole.startswith(noun))
    return sorted({rest for rest in compounds if len(rest) > 1}, key=len)


def _joined(words: list[str]) -> str:
    return "".join([word for word in words if word not in _JOINING] or words)


def _bare(text: str) -> str:
    """Drop the accents of Latin letters, and those of ё: people leave them out."""
    if text.isascii():
        return text
    kept: list[str] = []
    for character in unicodedata.normalize("NFD", text):
        is_mark = unicodedata.combining(character)
        if not (is_mark and kept and (kept[-1].isascii() or kept[-1] == "е")):
            kept.append(character)
    return unicodedata.normalize("NFC", "".join(kept))


def _set(phrases: str) -> frozenset[str]:
    return frozenset(_ranked([phrases]))


def _ranked(listed: Iterable[str]) -> dict[str, int]:
    """Return the folded phrases with their places in their list: those that come first are the surest."""
    found: dict[str, int] = {}
    for phrases in listed:
        for at, phrase in enumerate(phrases.split(",")):
            for folded in (plain(phrase), fold(phrase)):
                found[folded] = min(at, found.get(folded, at))
    found.pop("", None)
    return found


@cache
def _known(field: str) -> Mapping[str, int]:
    return _ranked(language.get(field, "") for language in vocabulary.LANGUAGES.values())


def remark_of(name: str) -> str:
    """Return what stands in brackets behind a name.

    >>> remark_of("Vorname (natürl. Person)"), remark_of("Vorname")
    ('natürl. Person', '')
    """
    return name.partition("(")[2].partition(")")[0].strip()


def called(name: str, field: str, type_name: str = "") -> int | None:
    """Return how far down a field's list of names a column's name stands (0 is the surest), None where it does not.

    A column that is called as the records themselves is their name or title.

    >>> called("Название сделки", "title", "deal"), called("Farbe", "title", "deal")
    (1, None)
    """
    known = {**_known(f"{type_name}.{field}"), **_known(field)}
    ranks = [known[one] + at for at, one in enumerate(spellings(name, type_name)) if one in known]
    if not ranks and field in ("name", "title") and "" in spellings(name, type_name):
        return 1
    if not ranks and (twice := in_two_scripts(name)):
        ranks = [rank for part in twice if (rank := called(part, field, type_name)) is not None]
        return max(ranks) if len(ranks) == len(twice) else None
    return min(ranks, default=None)


def is_called(name: str, words: frozenset[str], type_name: str = "") -> bool:
    """Say whether a column's name is one of some words, units, joining words and the noun of the type aside.

    >>> is_called("Company شرکت", COMPANY), is_called("Company تلفن", COMPANY)
    (True, False)
    """
    if any(one in words for one in spellings(name, type_name)):
        return True
    twice = in_two_scripts(name)
    return bool(twice) and all(is_called(part, words, type_name) for part in twice)


def names_id_of(name: str, words: frozenset[str], type_name: str = "") -> bool:
    """Say whether a column is called the id of what one of some words names: "OwnerId", "Lead Owner.id".

    >>> names_id_of("Parent Account ID", PARENT), names_id_of("Parent Account", PARENT)
    (True, False)
    """
    parts = tokens(name)
    return len(parts) > 1 and parts[-1] in KEYS and is_called(" ".join(parts[:-1]), words, type_name)


def is_any_field(name: str) -> bool:
    """Say whether a text is what a column of some kind would be called."""
    return any(one in _everything() for one in spellings(name)) or names_phone(name)


@cache
def _everything() -> frozenset[str]:
    fields = {field for language in vocabulary.LANGUAGES.values() for field in language}
    known = frozenset(word for field in fields for word in _known(field))
    return known.union(COMPANY, CUSTOMER, OWNER, CURRENCY, FIRST, LAST, MIDDLE, CODES, KEYS, *_NOUNS.values())


def is_sum(text: str) -> bool:
    """Say whether a cell is what a row begins with that sums up others, and nothing else.

    >>> is_sum("Grand Total:"), is_sum("Итого"), is_sum("Total Energies")
    (True, True, False)
    """
    return fold(text) in TOTALS


def is_status(name: str) -> bool:
    """Say whether a column is called a state: "Order Status", "وضعیت سفارش"."""
    return not STATUS.isdisjoint(tokens(name))


def says_void(text: str) -> bool:
    """Say whether a state of an order is that it never was, or was given back; a part of one does not count.

    >>> [says_void(text) for text in ("wc-cancelled", "لغو شده", "partially_refunded", "not cancelled", "paid")]
    [True, True, False, False, False]
    """
    words = tokens(text)
    if " ".join(words) in _NOT_DONE:
        return True
    return _VOID.has(words) and not _NOT.has(words) and not _PART.has(words)


def names_phone(name: str) -> bool:
    """Say whether a column is called a phone: a short word counts only where it stands alone ("tel", not "title").

    >>> names_phone("Моб. телефон"), names_phone("Tel."), names_phone("Titel")
    (True, True, False)
    """
    return _has_word(name, PHONE)


def names_email(name: str) -> bool:
    """Say whether a column is called an e-mail address."""
    return _has_word(name, EMAIL)


def _has_word(name: str, known: frozenset[str]) -> bool:
    whole = plain(name)
    return not known.isdisjoint(tokens(name)) or any(len(word) > 4 and word in whole for word in known)


def names_key(name: str) -> bool:
    """Say whether a column is called a number by which things are known: "Order No", "Kundennummer", "Код клиента".

    >>> names_key("Kunden-Nr."), names_key("dealId"), names_key("Number of employees"), names_key("Telefono")
    (True, True, False, False)
    """
    words = tokens(name)
    if not words or not ADDRESS.isdisjoint(words) or names_phone(name):
        return False
    if (twice := in_two_scripts(name)) and all(map(names_key, twice)):
        return True
    if words[0] == "id" or is_called(name, ROW_NUMBERS):
        return True
    if len(words) == 1:
        return words[0] in KEYS or any(
            words[0].removesuffix(end) in _all_nouns() for end in _ENDS if words[0].endswith(end)
        )
    if words[0] in KEYS and not (words[0].isascii() and _all_nouns().isdisjoint(words[1:])):
        return True  # "number of employees" is none, "код клиента" is
    return words[-1] in KEYS


def names_number_of(name: str, type_name: str) -> bool:
    """Say whether a column is called the number of records of a type, or as these are: "InvoiceNo", "Order".

    >>> names_number_of("شماره فاکتور", "sale"), names_number_of("Order date", "sale"), names_number_of("No", "sale")
    (True, False, False)
    """
    without_noun = set(spellings(name, type_name)) - set(spellings(name))
    return any(not rest or rest in KEYS for rest in without_noun)


_ENDS: Final = ("id", "no", "nr", "number", "nummer", "code", "key")


@cache
def _all_nouns() -> frozenset[str]:
    return frozenset(word for nouns in _NOUNS.values() for word in nouns) | COMPANY


@attrs.frozen
class _Stems:
    """Folded words, beginnings of words, which stand with a star, and phrases of several words."""

    words: frozenset[str]
    beginnings: tuple[str, ...]
    phrases: tuple[str, ...]

    def has(self, words: list[str]) -> bool:
        """Say whether one of the words, or all of them together, is known."""
        return (
            "".join(words) in self.words
            or not self.words.isdisjoint(words)
            or any(word.startswith(self.beginnings) for word in words)
            or any(phrase in "".join(words) for phrase in self.phrases)
        )


def _stems(phrases: str) -> _Stems:
    listed = [phrase.strip() for phrase in phrases.split(",")]
    words = frozenset(plain(phrase) for phrase in listed if not phrase.endswith("*"))
    beginnings = tuple(plain(phrase) for phrase in listed if phrase.endswith("*"))
    return _Stems(words, beginnings, tuple(plain(phrase) for phrase in listed if " " in phrase))


_WON: Final = _stems(terms.WON_STAGES)
_LOST: Final = _stems(terms.LOST_STAGES)
_CLOSED: Final = _stems(terms.CLOSED_STAGES)
_NOT: Final = _stems(terms.NEGATIONS)
_VOID: Final = _stems(terms.VOID_ORDERS)
_NOT_DONE: Final = frozenset(" ".join(tokens(phrase)) for phrase in terms.NOT_DONE.split(","))
_PART: Final = _stems(terms.PARTS)
_GOOD: Final = _stems(terms.GOOD_WORDS)


@attrs.frozen
class StageGuess:
    """What the name of a stage says: open, won or lost, how far an open one is (0 to 3), and whether a word said so."""

    kind: str
    rank: float
    sure: bool = True


def stage_called(name: str) -> StageGuess:
    """Say what kind of stage a name is of. A negation wins: what is "not won" is lost.

    >>> stage_called("Закрыто и не реализовано").kind, stage_called("Успешно реализовано").kind
    ('lost', 'won')
    >>> stage_called("Closed"), stage_called("Besichtigung").sure
    (StageGuess(kind='won', rank=8.0, sure=False), False)
    """
    words = tokens(name)
    denied = _NOT.has(words)
    rest = [word.removeprefix("չ") if len(word) > 4 else word for word in words]
    if _LOST.has(words) or (denied and (_WON.has(words) or _GOOD.has(words) or _CLOSED.has(words))):
        return StageGuess("lost", 9.0)
    if rest != words and _WON.has(rest):
        return StageGuess("lost", 9.0)
    if _WON.has(words):
        return StageGuess("won", 8.0)
    whole = "".join(words)
    for rank, known in _OPEN.items():
        if whole in known.words:
            return StageGuess("open", 0.0 if denied else float(rank))
    if _CLOSED.has(words):
        return StageGuess("won", 8.0, sure=False)
    for rank in reversed(_OPEN):
        if _OPEN[rank].has(words):
            return StageGuess("open", 0.0 if denied else float(rank))
    return StageGuess("open", 1.5, sure=False)


def _marks(listed: str) -> frozenset[str]:
    return frozenset(text_key(mark) for mark in listed.split("|"))


UNITS: Final = _set(terms.UNITS)
BUYER: Final = _set(headings.BUYER)
TIME: Final = _set(headings.TIME)
PARENT: Final = _set(headings.PARENT)
WON_ON: Final = _set(headings.WON_ON)
LOST_ON: Final = _set(headings.LOST_ON)
IS_COMPANY: Final = _set(headings.IS_COMPANY)
IS_WON: Final = _set(headings.IS_WON)
IS_CLOSED: Final = _set(headings.IS_CLOSED)
VOIDED_ON: Final = _set(headings.VOIDED_ON)
STATUS: Final = _set(headings.STATUS)
BILLING: Final = _set(headings.BILLING)
WHOSE: Final = BILLING | _set("shipping, ship, delivery, recipient, Lieferung, Versand, livraison, envío, доставка")
"""Words by which a heading says that it is of one who buys or gets the goods."""
ACCOUNTS: Final = _set(headings.ACCOUNTS)
REMARKS: Final = _set(headings.REMARKS)
POSTAL: Final = _set(headings.POSTAL)
OPT_OUT: Final = _set(headings.OPT_OUT)
ADDRESS: Final = _set(headings.ADDRESS)
QUALIFIERS: Final = _set(headings.QUALIFIERS)
_NOUNS: Final = {name: _set(phrases) for name, phrases in headings.NOUNS.items()}
_OPEN: Final = {rank: _stems(phrases) for rank, phrases in terms.OPEN_STAGES.items()}
FIRST: Final = _set(headings.FIRST)
MIDDLE: Final = _set(headings.MIDDLE)
LAST: Final = _set(headings.LAST)
NAME: Final = _set("name, nom, nombre, имя, نام, անուն")
COMPANY: Final = _set(headings.COMPANY)
CUSTOMER: Final = COMPANY | _set(headings.CUSTOMER)
OWNER: Final = _set(headings.OWNER)
CURRENCY: Final = _set(headings.CURRENCY)
KEYS: Final = _set(headings.KEYS)
ROW_NUMBERS: Final = _set(headings.ROW_NUMBERS)
PHONE: Final = _set(headings.PHONE)
EMAIL: Final = _set(headings.EMAIL)
CODES: Final = _set(headings.CODES)
CHOICES: Final = {name: _set(phrases) for name, phrases in terms.CHOICES.items()}
TRUE: Final = _set(terms.TRUE)
FALSE: Final = _set(terms.FALSE)
TOTALS: Final = _set(terms.TOTALS)
FEES: Final = _set(terms.FEES)
DISCOUNTS: Final = _set(terms.DISCOUNTS)
VOUCHERS: Final = _set(terms.VOUCHERS)
NOTHING: Final = _marks(terms.NOTHING)
NOTHING_IN_TEXTS: Final = _marks(terms.NOTHING_IN_TEXTS)
NO_DATES: Final = _marks(terms.NO_DATES)
