"""What people say of messages as such: that they want no more of them, or some again; consent follows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Final

from crm_core import Consent, ContactPoint
from crm_core.extend import IncomingMessage
from crm_core.query.ast import In
from crm_inbox.consent import SERVICE

if TYPE_CHECKING:
    from crm_core import CRM

_STOP: Final = "STOP at "
"""Begins the source of what was withdrawn by such a word, which is all that the other word gives back."""
_START: Final = "START at "


def heed(crm: CRM, account: str, message: IncomingMessage, at: datetime) -> bool:
    """Bring the consent of everybody at the sender's address in line with what a message wishes, if anything.

    Returns:
        Whether that was all that the message said: who says START or YES without a STOP before it means something else.
    """
    if not message.wish or message.direction == "out":
        return False
    points = crm.contact_points.reached_at_many([(message.sender.kind, message.sender.value, None)])[0]
    if message.wish == "start":
        return _start(crm, account, points, at)
    stop(crm, account, points, at)
    return True


def stop(crm: CRM, account: str, points: Sequence[ContactPoint], at: datetime) -> None:
    """Note that nobody at an address wants any message: consent is withdrawn for every purpose, `service` as well."""
    crm.records(Consent).add_many(
        Consent(contact_point_id=point, purpose=purpose, status="withdrawn", at=at, source=f"{_STOP}{account}")
        for point, latest in _latest(crm, points)
        for purpose in sorted({SERVICE, *latest})
        if purpose not in latest or latest[purpose].status == "granted"
    )


def _start(crm: CRM, account: str, points: Sequence[ContactPoint], at: datetime) -> bool:
    """Give back the consent that `stop` withdrew, if any; what was withdrawn in another way stays so."""
    given = crm.records(Consent).add_many(
        Consent(contact_point_id=point, purpose=purpose, status="granted", at=at, source=f"{_START}{account}")
        for point, latest in _latest(crm, points)
        for purpose, entry in sorted(latest.items())
        if entry.status == "withdrawn" and (entry.source or "").startswith(_STOP)
    )
    return bool(given)


def _latest(crm: CRM, points: Sequence[ContactPoint]) -> Iterator[tuple[int, dict[str, Consent]]]:
    """Yield the id of each contact point with its latest entry for each purpose."""
    if not points:
        return
    found: dict[int, dict[str, Consent]] = {point.id: {} for point in points}
    for entry in crm.records(Consent).find(In("contact_point_id", tuple(found)), sort="at,id", limit=None):
        found[entry.contact_point_id][entry.purpose] = entry
    yield from found.items()
