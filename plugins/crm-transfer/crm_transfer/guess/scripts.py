"""Headings that say the same twice, in Latin letters and in others, as bilingual sheets have them."""

from __future__ import annotations

import unicodedata


def in_two_scripts(name: str) -> tuple[str, ...]:
    """Return the two parts of a name that is half of Latin letters and half of others; none where it is not.

    >>> in_two_scripts("Customer No. / شماره مشتری"), in_two_scripts("Город")
    (('Customer No.', 'شماره مشتری'), ())
    """
    if name.isascii():
        return ()
    words = [word for word in name.split() if any(map(str.isalpha, word))]
    latin = [_is_latin(word) for word in words]
    turns = [at for at in range(1, len(words)) if latin[at] != latin[at - 1]]
    if len(turns) != 1:
        return ()
    return " ".join(words[: turns[0]]), " ".join(words[turns[0] :])


def _is_latin(word: str) -> bool:
    letter = next(filter(str.isalpha, word))
    return unicodedata.name(letter, "").startswith("LATIN")
