"""Guesses the encoding of a file that is not UTF-8, from which letters its bytes would be. Never taken silently."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Final

import attrs

_HEAD: Final = 1 << 20
_ENOUGH: Final = 20
_WORDS: Final = 500
# The most frequent letters of running text: about four of five letters are one of these.
_COMMON: Final = {
    "windows-1251": frozenset("оеаинтсрвлкмдпуяыьгзбчОЕАИНТСРВЛКМДПУЯ"),
    "koi8-r": frozenset("оеаинтсрвлкмдпуяыьгзбч"),  # its bytes are those of letters in the other case
    "windows-1256": frozenset("اینرمدهتلوسبشکیكيپگفقخعحزآجچطصضىئءذغظثأإؤة"),
}
_WESTERN: Final = frozenset("äöüßéèêëàâçñóòôîïíìáãõåøæœúùûÄÖÜÉÈÀÇÑÓÁÅØÆÚ€£§°´’‘“”„–—«»©®…•ÿ")
_WHAT: Final = {
    "windows-1252": "western",
    "windows-1251": "Cyrillic",
    "koi8-r": "Cyrillic",
    "windows-1256": "Persian or Arabic",
    "utf-16-le": "UTF-16 without a byte order mark",
    "utf-16-be": "UTF-16 without a byte order mark",
}


@attrs.frozen
class EncodingGuess:
    """An encoding, how sure that is (high, medium, low), and words of the file read by it, to be looked at."""

    name: str
    confidence: str
    why: str
    examples: tuple[str, ...]


def guess_encoding(path: Path) -> EncodingGuess | None:
    """Guess the encoding of a file that is not UTF-8; None when nothing fits."""
    with path.open("rb") as file:
        head = file.read(_HEAD)
    wide = _wide(head)
    if wide is not None:
        return wide
    if not any(byte > 127 for byte in head) or _is_utf8(head):
        return None
    scores = {name: score for name in ("windows-1252", *_COMMON) if (score := _score(head, name)) is not None}
    if not scores:
        return None
    ranked = sorted(scores, key=lambda name: scores[name], reverse=True)
    best, ahead = ranked[0], scores[ranked[0]] - (scores[ranked[1]] if len(ranked) > 1 else 0.0)
    letters = sum(1 for byte in head if byte > 127)
    sure = scores[best] > 0.8 and ahead > 0.25 and letters >= _ENOUGH
    confidence = "high" if sure else "medium" if scores[best] > 0.6 and ahead > 0.1 else "low"
    why = f"{scores[best]:.0%} of the letters above ASCII are as in {_WHAT[best]} text"
    return EncodingGuess(best, confidence, why, _examples(head.decode(best, "replace")))


def _is_utf8(head: bytes) -> bool:
    """Say whether a file is UTF-8, but for a character that the end of what was read may cut: its fault is another."""
    try:
        head.decode()
    except UnicodeDecodeError as error:
        return len(head) == _HEAD and error.start > len(head) - 4
    return True


def _wide(head: bytes) -> EncodingGuess | None:
    even = head[: len(head) // 2 * 2]
    for name, at in (("utf-16-le", 1), ("utf-16-be", 0)):
        zeros = even[at::2].count(0)
        if zeros * 5 > len(even) // 2 and even[1 - at :: 2].count(0) * 10 < zeros:
            text = even.decode(name, "replace")
            if "\ufffd" not in text[:-1]:
                return EncodingGuess(name, "high", "every other byte is zero, as in UTF-16", _examples(text))
    return None


def _score(head: bytes, name: str) -> float | None:
    """Return how many of the letters above ASCII are usual where this encoding is; None when it cannot be."""
    try:
        text = head.decode(name)
    except UnicodeDecodeError as error:
        if error.start < len(head) - 4:
            return None
        text = head[: error.start].decode(name)
    high = [(at, letter) for at, letter in enumerate(text) if ord(letter) > 127]
    if not high:
        return 0.0
    usual = _COMMON.get(name, _WESTERN)
    common = sum(1 for _, letter in high if letter in usual) / len(high)
    beside = sum(1 for at, _ in high if _is_ascii_letter(text, at - 1) or _is_ascii_letter(text, at + 1)) / len(high)
    return common * (beside if name == "windows-1252" else 1 - beside)


def _is_ascii_letter(text: str, at: int) -> bool:
    return 0 <= at < len(text) and text[at].isascii() and text[at].isalpha()


def _examples(text: str) -> tuple[str, ...]:
    words = [word for word in text.replace(";", " ").replace(",", " ").split() if any(ord(c) > 127 for c in word)]
    return tuple(dict.fromkeys(word.strip('"') for word in words[:50]))[:3]


def misread(found: Iterable[str]) -> tuple[str, str, str] | None:
    """Say as which encoding an earlier program read texts of UTF-8, with a text as it is and as it was meant.

    None where most of the texts beyond ASCII are what they seem. What was read so cannot be told from the bytes of the
    file: they are UTF-8 again.

    >>> misread(["Ada", "MÃ¼ller", "JosÃ©"])
    ('windows-1252', 'MÃ¼ller', 'Müller')
    >>> misread(["Müller", "José", "Ã la carte"])
    """
    high = list(dict.fromkeys(text for text in found if not text.isascii()))[:_WORDS]
    for name in ("windows-1252", "windows-1251", "windows-1256"):
        meant = {text: right for text in high if (right := _meant(text, name))}
        if len(meant) > len(high) // 2:
            return name, *next(iter(meant.items()))
    return None


def _meant(text: str, name: str) -> str:
    try:
        return text.encode(name).decode()
    except UnicodeError:
        return ""
