"""Whether a message may leave, and when: consent for its purpose, and the quiet hours of whom it is for."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta, tzinfo
from typing import TYPE_CHECKING, Final
from zoneinfo import ZoneInfo

from crm_core import Consent, ContactPoint
from crm_core.errors import InvalidValue
from crm_core.query.ast import And, Compare
from crm_inbox.records import OutboxMessage

if TYPE_CHECKING:
    from crm_core import CRM

SERVICE: Final = "service"
"""The purpose of answers and of what a contract needs: no consent is asked for, and a withdrawn one is heeded."""


def points_at(crm: CRM, kind: str, value: str, customer_id: int | None) -> list[ContactPoint]:
    """Return the contact points of everybody who is reached at an address, however it is written.

    A number without a country code belongs to the customer's country, as the key of their own contact point does.
    """
    known = crm.customers.get_many([] if customer_id is None else [customer_id])
    try:
        return crm.contact_points.reached_at(kind, value, country=known[0].country if known else None)
    except InvalidValue:
        return []


def refusal(crm: CRM, message: OutboxMessage) -> str:
    """Return in words why a message may not be sent to its address for its purpose; empty if it may.

    The latest entry of each contact point with this address counts, and one that is withdrawn outweighs the others:
    who shares an address cannot consent for whoever took it back.
    """
    points = points_at(crm, message.address_kind, message.address, message.customer_id)
    latest = [_latest(crm, point, message.purpose) for point in points]
    if any(each is not None and each.status == "withdrawn" for each in latest):
        return f"consent for {message.purpose!r} was withdrawn"
    granted = any(each is not None and each.status == "granted" for each in latest)
    return "" if granted or message.purpose == SERVICE else f"there is no consent for {message.purpose!r}"


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


def _latest(crm: CRM, point: ContactPoint, purpose: str) -> Consent | None:
    where = And((Compare("contact_point_id", "=", point.id), Compare("purpose", "=", purpose)))
    found = crm.records(Consent).find(where, sort="-at,-id", limit=1)
    return found[0] if found else None
