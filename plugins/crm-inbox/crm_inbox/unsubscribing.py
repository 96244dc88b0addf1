"""Unsubscribing: links that nobody can forge, headers of bulk mail (RFC 2369, RFC 8058), and what a click changes."""

from __future__ import annotations

import base64
import binascii
import hmac
import re
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, Literal

import attrs

from crm_core import Consent, ContactPoint
from crm_core.errors import CrmError, SettingsError
from crm_core.query.ast import And, Compare
from crm_core.settings import Secret
from crm_core.values import format_id, parse_id
from crm_inbox.consent import SERVICE
from crm_inbox.records import OutboxMessage

if TYPE_CHECKING:
    from crm_core import CRM

PARAMETER: Final = "u"
"""The parameter of a link that says who unsubscribes from what."""
ONE_CLICK: Final = "List-Unsubscribe=One-Click"
_URL: Final = re.compile(r"https://[^\s<>\"?#,]{1,400}", re.ASCII)
_DIGITS: Final = 32
"""Hexadecimal digits of a signature: 128 bits of HMAC-SHA256."""


def _address(instance: Any, attribute: attrs.Attribute[str], value: str) -> None:
    if not _URL.fullmatch(value):
        raise ValueError(
            f"{attribute.name} must be the https address of this webhook, such as https://crm.example.org/hooks/leave"
        )


@attrs.frozen(kw_only=True)
class UnsubscribeSettings:
    """The keys of the account that people unsubscribe by.

    Args:
        secret: what links are signed with, any long text.
        former_secret: the one before, for links that have left already.
        url: where the world reaches this webhook, with https.
        title, question, button, done: what its page says, in the language of your customers.
    """

    secret: Secret
    former_secret: Secret | None = None
    url: str = attrs.field(validator=_address)
    title: str = "Unsubscribe"
    question: str = "Do you want no more of these messages?"
    button: str = "Unsubscribe"
    done: str = "You get no more of these messages."


def link_of(settings: UnsubscribeSettings, point_id: int, purpose: str) -> str:
    """Return the link by which whoever has a contact point unsubscribes from a purpose; it has no end."""
    named = base64.urlsafe_b64encode(purpose.encode()).decode("ascii").rstrip("=")
    plain = f"{format_id(point_id)}.{named}"
    return f"{settings.url}?{PARAMETER}={plain}.{_signature(settings.secret, plain)}"


def read_token(settings: UnsubscribeSettings, token: str) -> tuple[int, str] | None:
    """Return the contact point and the purpose that a token of ours names; None for any other."""
    plain, _, signature = token.rpartition(".")
    secrets = [settings.secret, settings.former_secret]
    given = signature.encode("utf-8", "replace")
    signed = [each for each in secrets if each and hmac.compare_digest(_signature(each, plain).encode(), given)]
    if not plain or not signed:
        return None
    point, _, named = plain.partition(".")
    try:
        purpose = base64.urlsafe_b64decode(named + "=" * (-len(named) % 4)).decode("utf-8")
        return parse_id(point), purpose
    except (CrmError, ValueError, binascii.Error):
        return None


def withdraw(crm: CRM, point_id: int, purpose: str, *, at: datetime, source: str) -> Literal["done", "known", "gone"]:
    """Note that consent for a purpose is withdrawn, once; "gone" if the address is not known any more.

    Where the contact point is gone, as after a merge, it is that of whoever has its address now. What waits in the
    outbox for the address and the purpose does not leave: consent is looked up when it is about to.
    """
    points = crm.contact_points.get_many([point_id]) or _at_former_address(crm, point_id)
    if not points:
        return "gone"
    taken_back = [each for each in points if _take_back(crm, each.id, purpose, at, source)]
    return "done" if taken_back else "known"


def _take_back(crm: CRM, point_id: int, purpose: str, at: datetime, source: str) -> bool:
    where = And((Compare("contact_point_id", "=", point_id), Compare("purpose", "=", purpose)))
    latest = list(crm.records(Consent).find(where, sort="-at,-id", limit=1))
    if latest and latest[0].status == "withdrawn":
        return False
    # Of a consent that is dated ahead, by a clock that was wrong, it is the word after, as it is of any other.
    at = max([at, *(each.at for each in latest if isinstance(each.at, datetime))])
    crm.records(Consent).add(
        Consent(contact_point_id=point_id, purpose=purpose, status="withdrawn", at=at, source=source)
    )
    return True


def _at_former_address(crm: CRM, point_id: int) -> Sequence[ContactPoint]:
    """Return the contact points at the address that one had which is gone; none if its person was erased."""
    plural = crm.records(ContactPoint).kind.plural
    last = [change for _, change in crm.ledger.history.images_of(plural, [point_id]) if change.action == "deleted"]
    kind, value = (last[-1].cells.get(name, (None,))[0] for name in ("kind", "value")) if last else (None, None)
    return crm.contact_points.reached_at_many([(str(kind), str(value), None)])[0] if kind and value else ()


def is_bulk(message: OutboxMessage) -> bool:
    """Whether a message is one that people may unsubscribe from: of a campaign, and not asked for by a contract."""
    return bool(message.campaign) and message.purpose != SERVICE and message.contact_point_id is not None


def settings_of(crm: CRM) -> UnsubscribeSettings | None:
    """Return the settings of the account that people unsubscribe by; None if none is declared.

    Raises:
        SettingsError: its settings are wrong.
    """
    for name in crm.channels.accounts:
        try:
            ours = crm.channels.type_of(name).settings is UnsubscribeSettings
        except SettingsError:  # of an account whose channel nobody brings
            continue
        if ours:
            with crm.channels.open(name) as channel:
                found: UnsubscribeSettings = channel.settings
                return found
    return None


def list_headers(settings: UnsubscribeSettings | None, message: OutboxMessage) -> dict[str, str]:
    """Return what a message of a campaign says of unsubscribing; nothing for any other message.

    Args:
        settings: those of the account that people unsubscribe by, None if none is declared.
        message: the message.
    """
    if settings is None or message.contact_point_id is None or not is_bulk(message):
        return {}
    link = link_of(settings, message.contact_point_id, message.purpose)
    return {"List-Unsubscribe": f"<{link}>", "List-Unsubscribe-Post": ONE_CLICK}


def _signature(secret: Secret, plain: str) -> str:
    return hmac.digest(secret.reveal().encode(), f"unsubscribe.{plain}".encode(), "sha256").hex()[:_DIGITS]
