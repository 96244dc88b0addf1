"""Now, and the exact conversions between aware datetimes, stored microseconds and local days.

Apart so that "now" has one source that tests, `--as-of` and replays can set.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta, tzinfo
from typing import Protocol

from attrs import field, frozen

from crm_core.errors import InvalidValue

__all__ = ["Clock", "FixedClock", "SystemClock", "from_micros", "local_midnight", "to_micros"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROS_PER_SECOND = 1_000_000
_MICROS_PER_DAY = 86_400 * _MICROS_PER_SECOND


class Clock(Protocol):
    """Where "now" comes from."""

    def now(self) -> datetime:
        """Give the present instant, aware and in UTC."""


@frozen
class SystemClock:
    """The machine's clock."""

    def now(self) -> datetime:
        """Give the present instant in UTC."""
        return datetime.now(UTC)


def _as_utc(at: datetime) -> datetime:
    return from_micros(to_micros(at))


@frozen
class FixedClock:
    """A clock that stands still at an instant, for tests and for questions as of a date."""

    at: datetime = field(converter=_as_utc)

    def now(self) -> datetime:
        """Give the instant this clock stands at, in UTC."""
        return self.at


def to_micros(at: datetime) -> int:
    """Count the microseconds from 1970-01-01T00:00Z to an aware datetime, exactly.

    Raises InvalidValue for a naive datetime.

    >>> to_micros(datetime(1970, 1, 2, tzinfo=UTC))
    86400000000
    """
    if at.utcoffset() is None:
        raise InvalidValue(
            f"The time {at.isoformat()} has no time zone. Pass an aware datetime, such as "
            f"datetime({at.year}, {at.month}, {at.day}, tzinfo=timezone.utc)."
        )
    since = at - _EPOCH
    return since.days * _MICROS_PER_DAY + since.seconds * _MICROS_PER_SECOND + since.microseconds


def from_micros(micros: int) -> datetime:
    """Give the UTC datetime that lies so many microseconds after 1970-01-01T00:00Z, exactly.

    >>> from_micros(-1).isoformat()
    '1969-12-31T23:59:59.999999+00:00'
    """
    try:
        return _EPOCH + timedelta(microseconds=micros)
    except OverflowError:
        raise InvalidValue(
            f"{micros} microseconds since 1970 lies outside the years 1 to 9999. Were nanoseconds meant?"
        ) from None


def local_midnight(day: date, zone: tzinfo) -> datetime:
    """Give the instant, in UTC, at which a local day begins.

    Where the clocks skip midnight, the day begins at the first instant after the gap; where midnight comes twice, at
    the first of the two.

    >>> from zoneinfo import ZoneInfo
    >>> local_midnight(date(2018, 11, 4), ZoneInfo("America/Sao_Paulo")).isoformat()  # 00:00 to 01:00 was skipped
    '2018-11-04T03:00:00+00:00'
    """
    wall = datetime.combine(day, time.min)
    try:
        instant = wall.replace(tzinfo=zone).astimezone(UTC)
        if instant.astimezone(zone).replace(tzinfo=None) == wall:
            return instant
        return _end_of_gap(wall, zone)
    except OverflowError:
        raise InvalidValue(f"Midnight of {day} in {zone} lies outside the years 1 to 9999 in UTC.") from None


def _end_of_gap(wall: datetime, zone: tzinfo) -> datetime:
    # PEP 495 reads a skipped wall time with the offset before the gap (fold 0) or after it (fold 1), which gives an
    # instant after the transition or before it.
    before_gap = wall.replace(tzinfo=zone, fold=1).astimezone(UTC)
    after_gap = wall.replace(tzinfo=zone, fold=0).astimezone(UTC)
    while after_gap - before_gap > timedelta(seconds=1):
        middle = before_gap + timedelta(seconds=(after_gap - before_gap) // timedelta(seconds=2))
        if middle.astimezone(zone).replace(tzinfo=None) < wall:
            before_gap = middle
        else:
            after_gap = middle
    return after_gap
