"""Record ids: time-sorted 63-bit integers made without asking anybody, and the 13 characters people see.

Bits from the top: 42 of milliseconds since 2020-01-01T00:00Z (until the year 2159), 10 of a random node of the
process, 11 of a counter. Integers, because UUIDs cost twice as much on writes and joins.
"""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from crm_core.errors import InvalidValue
from crm_core.values.keys import ascii_digits

__all__ = ["ending_mask", "format_id", "id_time", "new_id", "new_ids", "parse_id"]

_EPOCH = datetime(2020, 1, 1, tzinfo=UTC)
_EPOCH_MS = int(_EPOCH.timestamp()) * 1000
_NODE_BITS, _COUNTER_BITS = 10, 11
_COUNTERS = 1 << _COUNTER_BITS
_MAX_ID = 2**63 - 1

_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"  # Crockford: no I, L, O, U
_PAIRS = [high + low for high in _ALPHABET for low in _ALPHABET]
_LENGTH, _SHORTEST_ENDING = 13, 5
_READ = str.maketrans("ILO", "110", "-")
_TO_BASE_32 = str.maketrans(_ALPHABET, "0123456789ABCDEFGHIJKLMNOPQRSTUV")
_DIGITS = re.compile(f"[{_ALPHABET}]*")


def _milliseconds() -> int:
    return time.time_ns() // 1_000_000 - _EPOCH_MS


def _random(below_power: int) -> int:
    return int.from_bytes(os.urandom(4)) >> (32 - below_power)


class IdSource:
    """Makes ascending ids for one process; safe to share by threads.

    The state is one number, the last tick: a millisecond and a counter side by side. A later millisecond takes over
    the counter where it stands; within one, or when the clock steps back, the tick counts on and so borrows the next
    millisecond when the counter wraps.
    """

    def __init__(self, milliseconds: Callable[[], int] = _milliseconds) -> None:
        """Start with a random node and counter; `milliseconds` gives the time since 2020 and may step back."""
        self._milliseconds = milliseconds
        self._lock = threading.Lock()
        self._node = _random(_NODE_BITS)
        self._tick = _random(_COUNTER_BITS)

    def take(self, n: int) -> list[int]:
        """Make n ids, ascending and above all that this source made before."""
        if n < 1:
            return []
        with self._lock:
            first = self._next_tick()
            self._tick = first + n - 1
            node = self._node
        ids: list[int] = []
        while len(ids) < n:
            counter = first % _COUNTERS
            base = self._id(first, node)
            taken = min(_COUNTERS - counter, n - len(ids))
            ids.extend(range(base, base + taken))
            first += taken
        return ids

    def take_one(self) -> int:
        """Make one id above all that this source made before."""
        with self._lock:
            self._tick = self._next_tick()
            return self._id(self._tick, self._node)

    def become_another_node(self) -> None:
        """Part from the process this one was forked from, whose ids it would otherwise repeat."""
        self._lock = threading.Lock()  # another thread of the parent may have held it
        self._node = (self._node + 1 + _random(_NODE_BITS) % ((1 << _NODE_BITS) - 1)) % (1 << _NODE_BITS)
        self._tick = ((self._tick >> _COUNTER_BITS) + 1 << _COUNTER_BITS) + _random(_COUNTER_BITS)

    def _next_tick(self) -> int:
        after = self._tick + 1
        now = self._milliseconds()
        if now > self._tick >> _COUNTER_BITS:
            return (now << _COUNTER_BITS) | after % _COUNTERS
        return after

    @staticmethod
    def _id(tick: int, node: int) -> int:
        milliseconds, counter = divmod(tick, _COUNTERS)
        return (milliseconds << _NODE_BITS | node) << _COUNTER_BITS | counter


_source = IdSource()
if hasattr(os, "register_at_fork"):  # not on Windows, which does not fork
    os.register_at_fork(after_in_child=_source.become_another_node)


def new_id() -> int:
    """Make an id, greater than every id this process made before."""
    return _source.take_one()


def new_ids(n: int) -> list[int]:
    """Make n ids, ascending and greater than every id this process made before."""
    return _source.take(n)


def format_id(record_id: int) -> str:
    """Write an id as 13 characters of Crockford's base 32, which sort as the ids do.

    >>> format_id(1)
    '0000000000001'
    """
    if not 0 < record_id <= _MAX_ID:
        raise InvalidValue(f"An id is a positive 63-bit integer, found {record_id}.")
    pairs = _PAIRS
    return (
        _ALPHABET[record_id >> 60]
        + pairs[record_id >> 50 & 1023]
        + pairs[record_id >> 40 & 1023]
        + pairs[record_id >> 30 & 1023]
        + pairs[record_id >> 20 & 1023]
        + pairs[record_id >> 10 & 1023]
        + pairs[record_id & 1023]
    )


def parse_id(text: str) -> int:
    """Read an id of 13 characters; case and hyphens do not matter, I and L are 1, O is 0.

    Raises InvalidValue for anything else.

    >>> parse_id("ooooo-oooo-oool")
    1
    """
    value, length = _read(text)
    if length != _LENGTH:
        raise InvalidValue(f"The id {text!r} has {length} characters, expected {_LENGTH}.")
    if not 0 < value <= _MAX_ID:
        raise InvalidValue(f"The id {text!r} is outside the range of ids. Copy it again from where it is shown.")
    return value


def ending_mask(text: str) -> tuple[int, int]:
    """Turn the ending of an id, 5 to 12 characters, into (value, modulus): `id % modulus == value` finds the id.

    >>> ending_mask("0000Z")
    (31, 33554432)
    """
    value, length = _read(text)
    if not _SHORTEST_ENDING <= length < _LENGTH:
        raise InvalidValue(
            f"The ending {text!r} has {length} characters. Type at least the last {_SHORTEST_ENDING} of the id's "
            f"{_LENGTH} characters, or the whole id."
        )
    return value, 32**length


def id_time(record_id: int) -> datetime:
    """Give the UTC time at which an id was made, to the millisecond."""
    if not 0 < record_id <= _MAX_ID:
        raise InvalidValue(f"An id is a positive 63-bit integer, found {record_id}.")
    return _EPOCH + timedelta(milliseconds=record_id >> _NODE_BITS + _COUNTER_BITS)


def _read(text: str) -> tuple[int, int]:
    plain = ascii_digits(text).strip().upper().translate(_READ)
    if not plain or not _DIGITS.fullmatch(plain):
        raise InvalidValue(
            f"{text!r} is not an id. Ids are written with the digits and the letters A to Z except U, "
            f"{_LENGTH} in all, such as {format_id(1 << 60)}."
        )
    return int(plain.translate(_TO_BASE_32), 32), len(plain)
