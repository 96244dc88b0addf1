"""Patterns of texts as people write them: `C*`, `GIFT_????`, `[0-9]*`. Never a regular expression of a user.

What a pattern becomes matches in time proportional to text times pattern, whatever both are: each star takes the first
place that fits and is never tried again.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable, Sequence
from typing import Final

LONGEST: Final = 200
"""Characters of a pattern."""
_SPECIAL: Final = frozenset("*?[]")


def fault_of(pattern: str) -> str:
    """Say what is wrong with a pattern, empty when nothing is.

    >>> fault_of("C[0-9")
    'has a [ that is never closed; a [ of the text itself is written [[]'
    """
    if not pattern:
        return "is empty"
    if len(pattern) > LONGEST:
        return f"is {len(pattern):,} characters long; at most {LONGEST} are allowed"
    at = 0
    while (at := pattern.find("[", at)) >= 0:
        first = at + 2 if pattern[at + 1 : at + 2] == "!" else at + 1
        end = pattern.find("]", first + 1)
        if end < 0:
            return "has a [ that is never closed; a [ of the text itself is written [[]"
        at = end
    return ""


def matcher(patterns: Sequence[str]) -> Callable[[str], bool]:
    """Return a function that says whether a whole text fits one of the patterns.

    `*` stands for any characters or none, `?` for one, `[A-Z]` for one of a class, `[!0-9]` for one outside of it.
    Capitals count.

    >>> [matcher(["C*"])(text) for text in ("C536379", "536379", "c1")]
    [True, False, False]
    """
    tests = [_test(pattern) for pattern in patterns]
    if len(tests) == 1:
        return tests[0]
    return lambda text: any(test(text) for test in tests)


def _test(pattern: str) -> Callable[[str], bool]:
    plain = pattern.strip("*")
    if _SPECIAL.isdisjoint(plain) and pattern in (plain + "*", "*" + plain, "*" + plain + "*"):
        if not pattern.startswith("*"):
            return lambda text: text.startswith(plain)
        if not pattern.endswith("*"):
            return lambda text: text.endswith(plain)
        return lambda text: plain in text
    # The standard library writes every star as an atomic group, which is never backtracked into.
    fits = re.compile(fnmatch.translate(pattern)).match
    return lambda text: fits(text) is not None
