"""How many rows of a file are written in one transaction: so many that others who write wait but shortly.

Apart from the run, because what counts as short depends on what a chunk cost, and on nothing else.
"""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter, sleep, thread_time
from typing import Final

_SMALLEST, _FIRST, _LARGEST = 300, 1_000, 2_000
"""Records of a chunk: at least, at first (a row may make many of them); and rows of a chunk at most."""
_LOCK_SECONDS: Final = 0.03
"""How long the writes of one chunk should hold the lock, before the sync of its commit: others wait about that long."""
_SHARED_SECONDS: Final = 0.01
"""How long while others write as well: they wait for one chunk after the other."""
_SHARED_SMALLEST: Final = 150
"""Records of a chunk at least while others write as well. So small ones cost a quarter more work by record."""
_REST: Final = 0.02
"""Seconds after a chunk in which the others have the lock to themselves.

Processes take turns: of few that have many threads each, an import would come between every two or three writes.
"""
_WAITED: Final = 0.002
"""Seconds of waiting for the lock that say that others write as well: a free one takes a hundredth of that."""
_CROWDED: Final = 2.0
"""How many times as long as it computes a chunk may take while others have the processors.

Smaller chunks would not shorten that: they only come oftener.
"""


class Pace:
    """The size of the next chunk, in rows; `is_shared` says that others write as well."""

    def __init__(self) -> None:
        """Begin with as many rows as there are records in a first chunk."""
        self.size = _FIRST
        self.is_shared = False

    def of_file(self, records: int) -> None:
        """Begin a file each of whose rows may make so many records."""
        self.size = max(1, min(self.size, _FIRST // records))

    def came(self, waited: float) -> None:
        """Note how many seconds a chunk waited for its turn to write."""
        self.is_shared = waited >= _WAITED

    def rest(self) -> None:
        """Leave the lock to the others for a while, if there are any."""
        if self.is_shared:
            sleep(_REST)

    def watch(self) -> Callable[[], float]:
        """Begin to measure; the function returned gives the seconds since then, as they count for the lock."""
        wall, cpu = perf_counter(), thread_time()
        return lambda: max(thread_time() - cpu, (perf_counter() - wall) / _CROWDED)

    def adapt(self, rows: int, written: int, seconds: float) -> None:
        """Choose the size of the next chunk so that it holds the lock for about 30 ms, or 10: smaller at once.

        `written` says how many records the last one wrote: a few hundred of them always go together, because each
        transaction costs something too.
        """
        most, records = (_SHARED_SECONDS, _SHARED_SMALLEST) if self.is_shared else (_LOCK_SECONDS, _SMALLEST)
        fitting = int(rows * most / max(seconds, 0.001))
        if rows >= self.size or fitting < self.size:
            smallest = max(1, records * rows // max(written, rows, 1))
            self.size = max(smallest, min(_LARGEST, fitting, (self.size + fitting) // 2))
