"""The form in which names of people and organisations are compared: folded, without titles and legal forms."""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache
from typing import Final

from rapidfuzz.fuzz import ratio

from crm_core.values import text_key

_SPELT: Final = 75
"""Percent from which on two words may be one that was misspelt."""
_DOTTED: Final = re.compile(r"\b(?:\w\.){2,}")
_PARTS: Final = re.compile(r"[^\W_]+")


def _words(name: str) -> list[str]:
    """Return the words of a name, folded: `G.m.b.H.` is one, letters have no accents."""
    plain = _DOTTED.sub(lambda dotted: dotted[0].replace(".", "") + " ", text_key(name))
    bare = "".join(mark for mark in unicodedata.normalize("NFKD", plain) if not unicodedata.combining(mark))
    return _PARTS.findall(text_key(bare))


_TITLES: Final = frozenset(
    _words(
        "mr mrs ms miss dr prof professor sir madam herr frau hr fr monsieur madame mme mlle señor señora sr sra "
        "господин госпожа bay bayan آقای خانم دکتر مهندس جناب سرکار حاج حاجی استاد "
        "պարոն պրն տիկին տկն օրիորդ դոկտոր պրոֆ"
    )
)
_LEGAL: Final = frozenset(
    _words(
        "gmbh mbh ohg limited ltd llc llp lp inc incorporated corp corporation company plc sarl srl spa sas bvba oyj "
        "kft zrt sro doo jsc ojsc cjsc pjsc pvt pty pte gesellschaft ооо оао зао пао нко "
        "شرکت سهامی خاص عام مسئولیت مسوولیت محدود موسسه սպը ընկերություն բբը փբը հբը"
    )
)
_SHORT_LEGAL: Final = frozenset(_words("ag kg ug se eg co sa nv bv oy ab as ао ип աձ հձ با و and und et"))
"""Legal forms, and words around them, that may as well be the name of a person."""


@lru_cache(maxsize=8192)
def name_form(name: str, *, organisation: bool = False) -> str:
    """Fold a name for comparison: letters without accents, no punctuation, no titles, no legal forms.

    A name of which nothing would be left stays as it is.

    >>> name_form("Dr. Ada  LOVELACE"), name_form("Müller G.m.b.H.", organisation=True)
    ('ada lovelace', 'muller')
    >>> name_form("شركت آرمان (سهامی خاص)", organisation=True) == name_form("آرمان", organisation=True)
    True
    >>> name_form("آقای علي کاظمي") == name_form("علی کاظمی"), name_form("«Արարատ» ՍՊԸ", organisation=True)
    (True, 'արարատ')
    """
    words = _words(name)
    ignored = _TITLES | _LEGAL | (_SHORT_LEGAL if organisation else frozenset())
    return " ".join([word for word in words if word not in ignored] or words)


def likeness(one: str, other: str, least: int) -> int:
    """Return how much two forms are alike in percent, whatever the order of their words; 0 for less than `least`.

    >>> likeness("ada lovelace", "lovelace ada", 85), likeness("ada lovelace", "ada lovelase", 85)
    (100, 91)
    """
    found = ratio(one, other, score_cutoff=least)
    if found < 100 and " " in one and " " in other:
        swapped = ratio(" ".join(sorted(one.split())), " ".join(sorted(other.split())), score_cutoff=least)
        found = max(found, swapped)
    return int(found)


def comparable(one: str, other: str) -> bool:
    """Return whether two forms are in one script: of the others nobody can say whether they are alike.

    >>> comparable("sara ahmadi", "سارا احمدی"), comparable("sara ahmadi", "sara")
    (False, True)
    """
    scripts = [{_script(letter) for letter in name if letter.isalpha()} for name in (one, other)]
    return not all(scripts) or not scripts[0].isdisjoint(scripts[1])


def is_another(one: str, other: str) -> bool:
    """Return whether two forms share a part of the name, such as that of the family, and differ in another.

    A word that is left out, shortened or misspelt makes no other name.

    >>> is_another("mina hosseini", "nima hosseini"), is_another("a lovelace", "ada king lovelace")
    (True, False)
    >>> is_another("ada lovelace", "ada lovelase"), is_another("ada lovelace", "eve curie")
    (False, False)
    """
    few, many = sorted((one.split(), other.split()), key=len)
    left, same = list(many), 0
    for word in few:
        found = max(left, key=lambda each: _alike(word, each), default="")
        if found and _alike(word, found) >= _SPELT:
            left.remove(found)
            same += 1
    return len(few) > 1 and 0 < same < len(few)


def _alike(one: str, other: str) -> float:
    return 100.0 if one.startswith(other) or other.startswith(one) else ratio(one, other)


def _script(letter: str) -> str:
    return unicodedata.name(letter, "").partition(" ")[0]
