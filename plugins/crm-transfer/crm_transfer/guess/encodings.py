"""Guesses the encoding of a file that is not UTF-8, from which letters its bytes would be. Never taken silently."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import islice
from pathlib import Path
from typing import Final

import attrs

from crm_transfer.guess.letters import ALONE, BEFORE, BEHIND, INSIDE, LANGUAGES

_HEAD: Final = 1 << 20
_ENOUGH: Final = 20
_WORDS: Final = 500
_DISTINCT: Final = 3_000
"""How many different words are looked at: enough for any text, and a tenth of a second."""
_WORD: Final = re.compile(rb"[A-Za-z\x80-\xff]+")


@attrs.frozen
class EncodingGuess:
    """An encoding, how sure that is (high, medium, low), and words of the file read by it, to be looked at.

    `rival` is the likeliest of those that read the file otherwise, `others` the same words read by that one.
    """

    name: str
    confidence: str
    why: str
    examples: tuple[str, ...]
    rival: str = ""
    others: tuple[str, ...] = ()


@attrs.frozen
class _Reading:
    """What the words of a file are by one encoding, and how likely that is in which language."""

    name: str
    score: float
    language: str
    words: tuple[str, ...]


def guess_encoding(path: Path) -> EncodingGuess | None:
    """Guess the encoding of a file that is not UTF-8; None when nothing fits."""
    with path.open("rb") as file:
        head = file.read(_HEAD)
    wide = _wide(head)
    if wide is not None:
        return wide
    if not any(byte > 127 for byte in head) or _is_utf8(head):
        return None
    words = tuple(islice(dict.fromkeys(w for w in _WORD.findall(head) if not w.isascii()), _DISTINCT))
    read = [found for name in LANGUAGES if (found := _reading(head, words, name)) is not None]
    if not read:
        return None
    best = max(read, key=lambda found: found.score)
    rivals = [found for found in read if found.words != best.words]
    rival = max(rivals, key=lambda found: found.score, default=_Reading("", 0.0, "", words=()))
    ahead = best.score - rival.score
    letters = sum(1 for byte in head if byte > 127)
    sure = best.score > 0.8 and ahead > 0.15 and letters >= _ENOUGH
    confidence = "high" if sure else "medium" if best.score > 0.6 and ahead > 0.1 else "low"
    why = f"{min(best.score, 1):.0%} of the letters above ASCII are as in {best.language} text"
    told = [at for at, word in enumerate(best.words) if not rival.name or word != rival.words[at]][:3]
    return EncodingGuess(
        best.name,
        confidence,
        why,
        tuple(best.words[at] for at in told),
        "" if sure else rival.name,
        tuple(rival.words[at] for at in told) if rival.name else (),
    )


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


def _reading(head: bytes, words: Sequence[bytes], name: str) -> _Reading | None:
    """Read words by an encoding and say how many of their letters are usual there; None when it cannot be."""
    controls = name.startswith("iso-8859")
    try:
        head.decode(name)
        read = tuple(word.decode(name) for word in words)
    except UnicodeDecodeError:
        return None
    if controls and any("\x80" <= character <= "\x9f" for word in read for character in word):
        return None
    count, latin, script = 0, Counter[str](), Counter[str]()
    signs = 0
    for word in (part for each in read for part in each.replace("\xa0", " ").split()):
        is_latin = any(map(str.isascii, word)) or (len(word) == 1 and word.islower())
        for at, letter in enumerate(word):
            if letter.isascii():
                continue
            count += 1
            if not letter.isalpha():
                signs += _is_usual_sign(word, at)
            elif not _is_odd_case(word, at):
                (latin if is_latin else script)[letter] += 1
    if not count:
        return None
    scored = [
        (
            each.weight * (signs + sum((latin if each.is_latin else script)[letter] for letter in each.letters)),
            each.name,
        )
        for each in LANGUAGES[name]
    ]
    score, language = max(scored, key=lambda found: found[0])
    return _Reading(name, score / count, language, read)


def _is_usual_sign(word: str, at: int) -> bool:
    """Say whether a sign stands where such signs stand: none that is new begins a word, or is inside of one."""
    before, behind = at > 0 and word[at - 1].isalpha(), at + 1 < len(word) and word[at + 1].isalpha()
    if before and behind:
        return word[at] in INSIDE
    return word[at] in (BEHIND if before else BEFORE if behind else ALONE)


def _is_odd_case(word: str, at: int) -> bool:
    """Say whether a capital stands behind a small letter, or a small one between capitals."""
    before, letter, behind = word[at - 1 : at], word[at], word[at + 1 : at + 2]
    if letter.isupper():
        return before.islower()
    return letter != "ß" and letter.islower() and before.isupper() and behind.isupper()


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
