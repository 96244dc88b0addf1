"""What a search asks for, which texts answer it and how well: the one meaning that every storage gives it.

A record has several texts (its name, its addresses), each a text key: folded, words parted by one space. It is found
when every word of the question occurs somewhere in them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import attrs

from crm_core.errors import UsageError
from crm_core.records.schema import Table
from crm_core.values import email_key, phone_key, text_key

EXACT: Final = 0
"""A text is the whole question."""
BEGINS: Final = 1
"""The name begins with the whole question."""
WORDS: Final = 2
"""Every word of the question begins a word."""
INSIDE: Final = 3
"""Some word of the question stands inside a word only."""
SHORT: Final = 3
"""Words with fewer characters than this must begin a word: inside words they are everywhere."""

Alternative = tuple[str, ...]
"""Fragments without spaces, all of which must occur."""
Term = tuple[Alternative, ...]
"""A word, or a number, in the ways in which it may be written; one of them must occur."""

_LONGEST: Final = 400
_LAST_CHARACTER: Final = "\U0010ffff"
_NEVER_STORED: Final = re.compile("[\0\ud800-\udfff]")
"""NUL, and what a byte that is not UTF-8 becomes on its way from the command line."""
_NUMBER: Final = re.compile(r"[+(]*[0-9][0-9()+./x\-\u2010-\u2015\u2212]*")
_TRUNKS: Final = {"0": 4, "8": 10}
"""The digits that callers inside a country dial before the area code, and nobody else does, and how many digits such a
number has at least: an 8 (Russia, Kazakhstan) begins much else."""
_COUNTRY: Final = (1, 2, 3)
_INTERNATIONAL: Final = 8
"""Digits from which on a number with a `+` is taken for a whole one."""


@attrs.frozen(order=True)
class Hit:
    """Where a record stands in the results: by rank, then by name (its text key), then by id."""

    rank: int
    name: str
    id: int


@attrs.frozen
class Question:
    """What was typed: `whole` as one text key, `exact` the texts that are it, `terms` what must occur otherwise."""

    whole: str
    exact: tuple[str, ...]
    terms: tuple[Term, ...]


@attrs.frozen
class SearchedText:
    """A column by which records are found, and the column of its table with their ids."""

    table: str
    column: str
    owner: str


@attrs.frozen
class Searched:
    """All texts by which the rows of a table are found, the table's own first; the first of these is their name."""

    table: str
    texts: tuple[SearchedText, ...]

    @property
    def own(self) -> tuple[SearchedText, ...]:
        """The texts in the table itself."""
        return tuple(text for text in self.texts if text.table == self.table)

    @property
    def parts(self) -> tuple[SearchedText, ...]:
        """The texts of other tables, whose rows are parts of these."""
        return tuple(text for text in self.texts if text.table != self.table)


def searched_in(tables: Mapping[str, Table]) -> dict[str, Searched]:
    """Return what is searched, by the table whose rows are found."""
    found: dict[str, list[SearchedText]] = {}
    for table in tables.values():
        for one in sorted(table.searched, key=lambda one: table.column_names.index(one.column)):
            whole = table.name if one.owner == "id" else _referenced(table, one.owner)
            if whole in tables:
                found.setdefault(whole, []).append(SearchedText(table.name, one.column, one.owner))
    return {
        name: Searched(name, tuple(sorted(texts, key=lambda text: (text.table != name, text.table))))
        for name, texts in found.items()
    }


def question_of(typed: str) -> Question:
    """Read what a person typed to find something by: parts of names, of e-mail addresses, of phone numbers.

    Words that look like a phone number are one number, however they are grouped; it is also looked for as other
    countries' callers, or those of the same country, write it.

    Raises:
        UsageError: it says nothing, or is too long to be a name or an address.
    """
    clean = _NEVER_STORED.sub("", typed)
    whole = text_key(clean)
    if not whole:
        raise UsageError("there is nothing to search for", hint="type part of a name, an e-mail or a phone number")
    if len(whole) > _LONGEST:
        raise UsageError(
            f"the search has {len(whole)} characters; {_LONGEST} are the most", hint="type a part of the name"
        )
    exact = [whole, email_key(clean)]
    # Of an e-mail address the Turkish letters i stay two; without them this is the same.
    strict = dict(zip(whole.split(" "), email_key(clean).split(" "), strict=False))
    terms: list[Term] = []
    for run in _runs(whole.split(" ")):
        phone = phone_key(" ".join(run)) if _NUMBER.fullmatch(run[0]) else None
        if phone is None:
            plain = (word if "xn--" not in word else email_key(word) for word in run)
            terms += [
                tuple(dict.fromkeys(((text,), (strict.get(word, text),))))
                for word, text in zip(run, plain, strict=True)
            ]
            continue
        ways = [tuple(run), tuple(map(_without_trunk, run)), *((part,) for part in _ways_of(phone))]
        terms.append(tuple(dict.fromkeys(ways)))
        if len(run) == len(whole.split(" ")):
            exact += [phone, *_national(phone)]
    return Question(whole, tuple(dict.fromkeys(exact)), tuple(dict.fromkeys(terms)))


def rank_of(question: Question, name: str, texts: Iterable[str]) -> int | None:
    """Return how well the texts of a record (its name among them) answer; None: it is not found."""
    there = list(texts)
    if any(text in question.exact for text in there):
        return EXACT
    if not _answers(question, there, begin=False):
        return None
    if name.startswith(question.whole):
        return BEGINS
    return WORDS if _answers(question, there, begin=True) else INSIDE


def behind(text: str) -> str:
    """Return the first text that stands behind all that begin with this one."""
    head = text.rstrip(_LAST_CHARACTER)
    if not head:
        return text + _LAST_CHARACTER * _LONGEST  # there is none; no name begins so
    last = ord(head[-1]) + 1
    # A text has no surrogates.
    return head[:-1] + chr(0xE000 if last == 0xD800 else last)


def best_text(question: Question, texts: Sequence[str]) -> int:
    """Return which of the texts shows best why the record was found: the most of the question, in the best way."""

    def score(text: str) -> tuple[bool, int, int, int]:
        begun = [_term_answers(term, [text], begin=True) for term in question.terms]
        there = [_term_answers(term, [text], begin=False) for term in question.terms]
        return text in question.exact, sum(there), sum(begun), -texts.index(text)

    return max(range(len(texts)), key=lambda at: score(texts[at]))


def begins_a_word(fragment: str, text: str) -> bool:
    """Say whether a word of a text key begins with a fragment."""
    return f" {fragment}" in f" {text}"


def _answers(question: Question, texts: Sequence[str], *, begin: bool) -> bool:
    return all(_term_answers(term, texts, begin=begin) for term in question.terms)


def _term_answers(term: Term, texts: Sequence[str], *, begin: bool) -> bool:
    return any(
        all(any(_occurs(fragment, text, begin=begin) for text in texts) for fragment in alternative)
        for alternative in term
    )


def _occurs(fragment: str, text: str, *, begin: bool) -> bool:
    return begins_a_word(fragment, text) if begin or len(fragment) < SHORT else fragment in text


def _runs(words: Sequence[str]) -> list[list[str]]:
    """Put words that look like parts of one phone number together."""
    runs: list[list[str]] = []
    for word in words:
        joins = runs and _NUMBER.fullmatch(word) and _NUMBER.fullmatch(runs[-1][-1]) and not word.startswith("+")
        if joins:
            runs[-1].append(word)
        else:
            runs.append([word])
    return runs


def _ways_of(phone: str) -> list[str]:
    """Return the texts of which one occurs in the key of that number, whole or the beginning of it was typed."""
    number = phone.partition("x")[0]
    return [phone, number, _without_trunk(number)]


def _without_trunk(number: str) -> str:
    """Return a number as callers from other countries dial it, behind the code of the country."""
    return number[1:] if len(number) >= _TRUNKS.get(number[0], _LONGEST) else number


def _national(phone: str) -> list[str]:
    """Return an international number as it is written in its country, whose code has one to three digits."""
    digits = phone.partition("x")[0][1:]
    if not phone.startswith("+") or len(digits) < _INTERNATIONAL:
        return []
    return [trunk + digits[code:] for code in _COUNTRY for trunk in ("", *_TRUNKS)]


def _referenced(table: Table, column: str) -> str:
    return next(one.references for one in table.columns if one.name == column)
