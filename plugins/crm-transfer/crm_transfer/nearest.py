"""Which known words are close to one that is not known: for "did you mean", and for guessing a value map."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Final

from crm_core.values import text_key

CLOSE: Final = 72
"""From this likeness on (0 to 100, of normalised texts, whatever the order of their words) a word is suggested."""
SURE: Final = 88
"""From this likeness on two words are taken for the same, said with a confidence."""
_REMEMBERED: Final = 2_000


def nearest(wanted: str, known: Sequence[str], *, limit: int = 3, least: float = CLOSE) -> list[tuple[int, float]]:
    """Return up to `limit` of the words close to `wanted`, as (place in `known`, likeness), the closest first.

    Args:
        wanted: the word that is not known.
        known: words as `text_key` folds them.
        limit: at most so many.
        least: the likeness from which on a word is close.

    >>> nearest("GTXPro", ["gtx basic", "gtx pro"])[0][0]
    1
    """
    from rapidfuzz import fuzz, process

    found = process.extract(text_key(wanted), known, scorer=fuzz.token_sort_ratio, score_cutoff=least, limit=limit)
    return [(place, score) for _, score, place in found]


@lru_cache(maxsize=_REMEMBERED)
def did_you_mean(wanted: str, known: tuple[str, ...]) -> str:
    """Return `; did you mean 'X' or 'Y'?`, empty when nothing is close.

    >>> did_you_mean("technolgy", ("technology", "retail"))
    "; did you mean 'technology'?"
    """
    found = nearest(wanted, [text_key(one) for one in known])
    told = " or ".join(repr(known[place]) for place, _ in found)
    return f"; did you mean {told}?" if told else ""
