"""Spells names of any alphabet in ASCII, so that a field of `crm.toml` gets a name that says what its column is."""

from __future__ import annotations

import re
import unicodedata
from typing import Final

from crm_core.values import text_key

_NAME: Final = re.compile(r"[^a-z0-9]+")
_LONGEST: Final = 40


def _table(letters: str, spelt: str) -> dict[str, str]:
    return dict(zip(letters, spelt.replace("_", "").split(","), strict=True))


_CYRILLIC: Final = _table(
    "абвгдеёжзийклмнопрстуфхцчшщъыьэюяіїєґў",
    "a,b,v,g,d,e,e,zh,z,i,y,k,l,m,n,o,p,r,s,t,u,f,kh,ts,ch,sh,shch,_,y,_,e,yu,ya,i,yi,ye,g,u",
)
_ARMENIAN: Final = _table(
    "աբգդեզէըթժիլխծկհձղճմյնշոչպջռսվտրցւփքօֆև",
    "a,b,g,d,e,z,e,y,t,zh,i,l,kh,ts,k,h,dz,gh,ch,m,y,n,sh,o,ch,p,j,r,s,v,t,r,ts,v,p,k,o,f,ev",
)
_PERSIAN: Final = _table(
    "اآأإبپتثجچحخدذرزژسشصضطظعغفقکكگلمنوهیيىءئؤةۀ",
    "a,a,a,e,b,p,t,s,j,ch,h,kh,d,z,r,z,zh,s,sh,s,z,t,z,a,gh,f,gh,k,k,g,l,m,n,v,h,i,i,i,_,y,v,h,h",
)
_GREEK: Final = _table("αβγδεζηθικλμνξοπρσςτυφχψω", "a,v,g,d,e,z,i,th,i,k,l,m,n,x,o,p,r,s,s,t,y,f,ch,ps,o")
_LATIN: Final = {"ä": "ae", "ö": "oe", "ü": "ue", "ß": "ss", "æ": "ae", "ø": "o", "œ": "oe", "ł": "l", "đ": "d",
                 "ı": "i", "ð": "d", "þ": "th"}  # fmt: skip
_SPELT: Final = {**_CYRILLIC, **_ARMENIAN, **_PERSIAN, **_GREEK, **_LATIN}


def ascii_name(name: str) -> str:
    """Return a name of small ASCII letters, digits and underscores; empty where no letter is known.

    >>> ascii_name("Размер скидки"), ascii_name("Կարգավիճակ"), ascii_name("شماره پرونده"), ascii_name("Größe (cm)")
    ('razmer_skidki', 'kargavichak', 'shmarh_prvndh', 'groesse_cm')
    >>> ascii_name("2nd contact"), ascii_name("値")
    ('f_2nd_contact', '')
    """
    plain = ascii_words(name)[:_LONGEST].rstrip("_")
    return f"f_{plain}" if plain[:1].isdigit() else plain


def ascii_words(name: str) -> str:
    """Return the words of a name in ASCII, joined by underscores."""
    folded = unicodedata.normalize("NFC", text_key(name.replace("\u200c", " "))).replace("ու", "u")
    spelt = "".join(_letter(letter) for letter in folded)
    return _NAME.sub("_", spelt).strip("_")


def _letter(letter: str) -> str:
    if letter.isascii():
        return letter
    if letter in _SPELT:
        return _SPELT[letter]
    base = unicodedata.normalize("NFD", letter)[0]
    return _SPELT.get(base, base)
