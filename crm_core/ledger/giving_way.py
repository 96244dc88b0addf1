"""Repeating a transaction that a database ended because it was in another one's way."""

from __future__ import annotations

import time
from collections.abc import Callable
from random import random
from typing import Final, TypeVar

from crm_core.errors import StorageConflict

T = TypeVar("T")
_ATTEMPTS: Final = 8
_PAUSE: Final = 0.01
"""Seconds, doubled at each attempt, of which a random part is waited before a transaction that gave way is repeated."""


def repeated(action: Callable[[], T], commits: Callable[[], int] = lambda: 0) -> T:
    """Do what writes in one transaction, again when that gave way to another one; not if it has committed something.

    Raises:
        StorageConflict: it gave way each time.
    """
    for attempt in range(_ATTEMPTS - 1):
        before = commits()
        try:
            return action()
        except StorageConflict:
            if commits() != before:
                raise
            time.sleep(random() * _PAUSE * 2**attempt)
    return action()
