"""What every search here has in common: a page is filled rank by rank, each from where the page before ended."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Final

from crm_core.query.search import BEGINS, EXACT, WORDS, Hit

FIRST: Final = -(2**63)
"""Before all ids and all places."""


class RankedPages(ABC):
    """The pages of one question; a subclass says how the records of a rank are found."""

    def page(self, after: Hit | None, limit: int) -> list[Hit]:
        """Return the places behind `after`, in order, at most `limit`."""
        start = after or Hit(EXACT, "", FIRST)
        found: list[Hit] = []
        for rank, some_of_rank in ((EXACT, self._exact), (BEGINS, self._beginning)):
            if start.rank <= rank and len(found) < limit:
                found += some_of_rank(max(start, Hit(rank, "", FIRST)), limit - len(found))
        if len(found) < limit:
            found += self._by_words(max(start, Hit(WORDS, "", FIRST)), limit - len(found))
        return found

    @abstractmethod
    def _exact(self, start: Hit, limit: int) -> list[Hit]:
        """Return those with a text that is the question."""

    @abstractmethod
    def _beginning(self, start: Hit, limit: int) -> list[Hit]:
        """Return those whose name begins with the question, but for the exact ones."""

    @abstractmethod
    def _by_words(self, start: Hit, limit: int) -> list[Hit]:
        """Return those in whose texts all words of the question begin a word, then those where they stand inside."""
