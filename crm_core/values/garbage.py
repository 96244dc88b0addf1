"""Python's search for cycles of garbage, made rare while something large is built that has none."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock
from typing import Final

_RARELY: Final = 500_000
"""New objects between two searches: an import of thousands of rows, a segment of 200,000 customers."""
_FROZEN: Final = gc.get_freeze_count()
"""Objects that Python itself keeps aside: some versions have hundreds from their start."""
_lock: Final = Lock()
_inside: list[tuple[int, int, int]] = []
"""For each block that is running, in any thread, the thresholds that hold when the last of them ends."""


@contextmanager
def few_collections() -> Iterator[None]:
    """Look for cycles rarely inside: over many rows, which make none, the search takes a fifth of the time and more.

    The setting is that of the whole process: it comes back when the last of several such blocks ends.
    """
    with _lock:
        before = _inside[0] if _inside else gc.get_threshold()
        _inside.append(before)
        if 0 < before[0] < _RARELY:
            gc.set_threshold(_RARELY, *before[1:])
    try:
        yield
    finally:
        with _lock:
            _inside.pop()
            if not _inside:
                _promote()
                gc.set_threshold(*before)


def _promote() -> None:
    """Count what was made inside as old, for else the next object made would start a search through all of it."""
    if gc.get_freeze_count() <= _FROZEN:  # what a program froze on purpose stays frozen
        gc.freeze()
        gc.unfreeze()
