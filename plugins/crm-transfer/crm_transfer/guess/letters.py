"""Which letters beyond ASCII languages write, and in which encodings programs wrote them before UTF-8.

Apart from the guessing, because it is data.
"""

from __future__ import annotations

from typing import Final

import attrs


@attrs.frozen
class Language:
    """What a language is called, and its letters beyond ASCII; where it writes no Latin letters, its usual ones.

    `weight` is below 1 for what is rarer than a language that looks like it, and for names of several languages.
    """

    name: str
    letters: str
    is_latin: bool = True
    weight: float = 1.0


_WESTERN: Final = (
    Language("German", "äöüßéÄÖÜ"),
    Language("French", "éèêëàâçîïôùûœüÉÈÊÀÂÇÎÔŒ"),
    Language("Spanish", "áéíóúñüªºÁÉÍÓÚÑ"),
    Language("Portuguese", "ãõçáéíóúâêôàªºÃÕÇÁÉÍÓÚÂÊÔ"),
    Language("Italian", "àèéìòùÀÈÉÌÒÙ"),
    Language("Catalan", "àçèéíïòóúüÀÇÈÉÍÒÓÚ"),
    Language("Dutch", "éëïöüè"),
    Language("Swedish or Finnish", "åäöéÅÄÖ"),
    Language("Danish or Norwegian", "æøåéÆØÅ"),
    Language("Icelandic", "áðéíóúýþæöÁÐÉÍÓÚÝÞÆÖ", weight=0.8),
    Language("western", "äöüßéèêëàâçñóòôíáåøæúùÄÖÜÉÀÇÅØ", weight=0.9),
)
_CENTRAL: Final = (
    Language("Polish", "ąćęłńóśźżĄĆĘŁŃÓŚŹŻ"),
    Language("Czech", "áčďéěíňóřšťúůýžÁČĎÉĚÍŇÓŘŠŤÚŮÝŽ"),
    Language("Slovak", "áäčďéíĺľňóôŕšťúýžÁČĎÉÍĽŇÓŠŤÚÝŽ"),
    Language("Hungarian", "áéíóöőúüűÁÉÍÓÖŐÚÜŰ"),
    Language("Croatian or Slovene", "čćđšžČĆĐŠŽ"),
    Language("Romanian", "ăâîşţĂÂÎŞŢ"),
    Language("central European", "ąćęłńóśźżáčďéěíňřšťúůýžäĺľôŕöőüűđăâîşţßçĄĆĘŁŚŹŻÁČĎÉŇŘŠŤŮŽÖÜ", weight=0.8),
)
_TURKISH: Final = (Language("Turkish", "çğıöşüâîÇĞİÖŞÜ"),)
_BALTIC: Final = (
    Language("Lithuanian", "ąčęėįšųūžĄČĘĖĮŠŲŪŽ"),
    Language("Latvian", "āčēģīķļņšūžĀČĒĢĪĶĻŅŠŪŽ"),
    Language("Estonian", "äõöüšžÄÕÖÜŠŽ"),
)
_CYRILLIC: Final = (
    Language("Cyrillic", "оеаинтсрвлкмдпуяыьгзбчОЕАИНТСРВЛКМДПУЯ", is_latin=False),
    Language("Ukrainian", "оеаинтсрвлкмдпуяьгзбчіїєОЕАИНТСРВЛКМДПУЯІ", is_latin=False),
)
_ARABIC: Final = (Language("Persian or Arabic", "اینرمدهتلوسبشکیكيپگفقخعحزآجچطصضىئءذغظثأإؤة", is_latin=False),)
_GREEK: Final = (Language("Greek", "αβγδεηθικλμνοπρσςτυφχωάέήίόύώΑΓΔΕΗΘΙΚΛΜΝΟΠΡΣΤΥ", is_latin=False),)
_HEBREW: Final = (Language("Hebrew", "אבגדהוחטיכלמםנןסעפצקרשת", is_latin=False),)

LANGUAGES: Final[dict[str, tuple[Language, ...]]] = {
    "windows-1252": _WESTERN,
    "windows-1250": _CENTRAL,
    "windows-1254": _TURKISH,
    "windows-1251": _CYRILLIC,
    "windows-1256": _ARABIC,
    "windows-1257": _BALTIC,
    "windows-1253": _GREEK,
    "windows-1255": _HEBREW,
    "iso-8859-2": _CENTRAL,
    "iso-8859-9": _TURKISH,
    "iso-8859-15": _WESTERN,
    "koi8-r": _CYRILLIC,
    "mac-roman": _WESTERN,
    "mac-latin2": _CENTRAL,
    "mac-cyrillic": _CYRILLIC,
    "cp850": _WESTERN,
    "cp852": _CENTRAL,
    "cp857": _TURKISH,
    "cp866": _CYRILLIC,
}
"""By encoding, the surest first: of two that read a file alike the first one is named."""
BEFORE: Final = frozenset("¿¡“„«‘’‚‹—–•№")
"""Signs that stand before a letter."""
BEHIND: Final = frozenset("€´’‘“”»›–—®™…²³ªº¹")
"""Signs that stand behind one."""
INSIDE: Final = frozenset("’‘´·–—\xad\u200c\u200d\u200e\u200f\u0640\u064b\u064e\u0651")
"""Signs between two letters: apostrophes, hyphens, what joins and marks Persian ones."""
ALONE: Final = BEFORE | BEHIND | frozenset("£§°©·×½¼¾±")
"""Signs that stand beside no letter at all."""
