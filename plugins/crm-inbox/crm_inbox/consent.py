"""Whether a message may leave, and when: consent for its purpose, and the quiet hours of whom it is for."""

from __future__ import annotations

from collections.abc import Sequence, Set
from datetime import UTC, datetime, time, timedelta, tzinfo
from typing import TYPE_CHECKING, Final
from zoneinfo import ZoneInfo

from crm_core import Consent, ContactPoint, Customer
from crm_core.query.ast import And, Compare, In
from crm_inbox.records import OutboxMessage

if TYPE_CHECKING:
    from crm_core import CRM

SERVICE: Final = "service"
"""The purpose of answers and of what a contract needs: no consent is asked for, and a withdrawn one is heeded."""
_MANY: Final = 500


def points_at(crm: CRM, kind: str, value: str, person: Customer | None) -> list[ContactPoint]:
    """Return the contact points of everybody who is reached at an address, however it is written.

    A number without a country code belongs to the customer's country, as the key of their own contact point does.
    """
    return crm.contact_points.reached_at_many([(kind, value, person.country if person is not None else None)])[0]


def refusal(crm: CRM, message: OutboxMessage, person: Customer | None) -> str:
    """Return in words why a message may not be sent to its address for its purpose; empty if it may.

    Args:
        crm: the CRM.
        message: the message.
        person: the customer it is for, if any.
    """
    points = points_at(crm, message.address_kind, message.address, person)
    return refusals(crm, [points], message.purpose)[0]


def refusals(crm: CRM, asked: Sequence[Sequence[ContactPoint]], purpose: str) -> list[str]:
    """Return in words, for each address, why nothing may be sent to it for a purpose; empty if it may.

    The latest entry of each contact point with this address counts, and one that is withdrawn outweighs the others:
    who shares an address cannot consent for whoever took it back.

    Args:
        crm: the CRM.
        asked: for each address the contact points of everybody who has it, as `points_at` finds them.
        purpose: the purpose.
    """
    latest = _latest(crm, sorted({point.id for points in asked for point in points}), purpose)
    return [_refusal({latest.get(point.id, "") for point in points}, purpose) for points in asked]


def _refusal(statuses: Set[str], purpose: str) -> str:
    if "withdrawn" in statuses:
        return f"consent for {purpose!r} was withdrawn"
    return "" if "granted" in statuses or purpose == SERVICE else f"there is no consent for {purpose!r}"


def quiet_until(hours: tuple[time, time] | None, now: datetime, zone: tzinfo) -> datetime | None:
    """Return when the quiet hours end that `now` lies in, as an instant; None if it lies in none.

    >>> from zoneinfo import ZoneInfo
    >>> night = (time(22), time(8))
    >>> str(quiet_until(night, datetime(2026, 3, 28, 23, tzinfo=UTC), ZoneInfo("Europe/Berlin")))
    '2026-03-29 06:00:00+00:00'
    """
    if hours is None:
        return None
    start, end = hours
    here = now.astimezone(zone)
    clock = here.time()
    inside = start <= clock < end if start < end else clock >= start or clock < end
    if not inside:
        return None
    day = here.date() if clock < end else here.date() + timedelta(days=1)
    ends = datetime.combine(day, end, tzinfo=zone).astimezone(UTC)
    # Where the clock is set back in the night, its end may seem to be over, and is not.
    return ends if ends > now else now + timedelta(hours=1)


def zone_of(name: str | None, otherwise: tzinfo) -> tzinfo:
    """Return a customer's time zone, the workspace's where it is unknown or none."""
    try:
        return ZoneInfo(name) if name else otherwise
    except (KeyError, ValueError, OSError):
        return otherwise


def _latest(crm: CRM, points: Sequence[int], purpose: str) -> dict[int, str]:
    """Return what the latest entry of each contact point says, of those that have any."""
    service, found = crm.records(Consent), dict[int, str]()
    for at in range(0, len(points), _MANY):
        of_some = And((In("contact_point_id", tuple(points[at : at + _MANY])), Compare("purpose", "=", purpose)))
        entries = service.find(of_some, limit=None)
        if len({each.contact_point_id for each in entries}) < len(entries):
            # Only where there are several is their order looked at: some databases sort by two reads.
            entries = service.find(of_some, sort="at,id", limit=None)
        found |= {each.contact_point_id: each.status for each in entries}
    return found
