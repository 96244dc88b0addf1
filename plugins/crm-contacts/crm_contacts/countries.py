"""From what a customer's record says of the country, a code or a name in some language, to the code of ISO 3166."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache, lru_cache
from typing import Final

from crm_core.values import text_key

_LANGUAGES: Final = (
    "en",
    "de",
    "fr",
    "es",
    "it",
    "pt",
    "nl",
    "pl",
    "ru",
    "uk",
    "tr",
    "hy",
    "fa",
    "ar",
    "ka",
    "zh",
    "ja",
)
_NONE: Final = frozenset({"EU", "EZ", "QO", "UN", "ZZ"})
"""Codes of what is no country."""


@lru_cache(maxsize=4096)
def region_of(country: str) -> str | None:
    """Return the two-letter code of a country given by a code or a name; None when it is not known.

    >>> [region_of(name) for name in ("de", "Germany", "ایران", "Հայաստան", "DEU", "Freedonia")]
    ['DE', 'DE', 'IR', 'AM', 'DE', None]
    """
    typed = country.strip()
    if len(typed) in (2, 3) and typed.isascii() and typed.isalpha():
        return _codes().get(typed.upper())
    return _names().get(text_key(typed))


@cache
def _codes() -> dict[str, str]:
    from babel import Locale
    from babel.core import get_global

    there = (str(code) for code in Locale("en").territories)
    found = {code: code for code in there if len(code) == 2 and code.isalpha() and code not in _NONE}
    aliases: Mapping[str, Sequence[str]] = get_global("territory_aliases")
    longer = {alias: codes[0] for alias, codes in aliases.items() if alias.isalpha() and codes[0] in found}
    return {**longer, **found}


@cache
def _names() -> dict[str, str]:
    """Return codes by folded name; what two languages call alike is the first one's."""
    from babel import Locale

    found: dict[str, str] = {}
    for language in _LANGUAGES:
        for code, name in Locale(language).territories.items():
            if str(code) in _codes():
                found.setdefault(text_key(str(name)), str(code))
    return found
