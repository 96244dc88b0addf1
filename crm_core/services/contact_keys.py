"""The keys by which contact points are matched: the kernel's own, or those of a plugin that knows more of them.

Apart from the customers, because whoever looks a customer up by an address must ask in the same way.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

import attrs

from crm_core.errors import InvalidValue
from crm_core.events import ContactKeyWanted
from crm_core.host import Host
from crm_core.values import email_key, phone_key, text_key

NUMBERS: Final = frozenset({"phone", "whatsapp", "viber"})
"""Kinds of contact points that are phone numbers."""
_IDS: Final = {
    "viber": re.compile(r"(?=[^A-Za-z=]*[A-Za-z=])[A-Za-z0-9+/_-]{8,64}={0,2}"),
    "whatsapp": re.compile(r"[A-Z]{2}\.(?:ENT\.)?[A-Za-z0-9]{4,128}"),
}
"""What services tell in the place of a number: Viber its bots Base64, WhatsApp a country and an id (`US.1349...`)."""


@attrs.frozen
class ContactKeys:
    """Makes the keys of one CRM."""

    host: Host
    policies: Mapping[str, Any]

    @property
    def refined(self) -> bool:
        """Whether a plugin has a say."""
        return self.host.implements("choose_contact_key")

    def refine(self, kind: str, value: str, plain: str, country: str | None) -> str:
        """Return the key that a plugin chooses in the place of the kernel's `plain` one, else that.

        `country` is what the customer's record says.

        Raises:
            PluginError: a plugin failed.
        """
        if not self.refined:
            return plain
        wanted = ContactKeyWanted(kind=kind, value=value, key=plain, country=country, policies=self.policies)
        chosen: str | None = self.host.first("choose_contact_key", wanted)
        return chosen or plain

    def both(self, kind: str, value: str, country: str | None = None) -> tuple[str, ...]:
        """Return the keys to look a value up by: the chosen one, and the kernel's, under which old ones may stand.

        Raises:
            InvalidValue: it is no address or number of that kind.
            PluginError: a plugin failed.
        """
        plain = contact_key(kind, value)
        return tuple(dict.fromkeys((self.refine(kind, value, plain, country), plain)))


def contact_key(kind: str, value: str) -> str:
    """Return the kernel's own key of an address or number, which follows from its text alone.

    Raises:
        InvalidValue: it is no address or number of that kind.
    """
    if kind == "email":
        return _email(value)
    key = phone_key(value) if kind in NUMBERS else text_key(value)
    if not key and kind in _IDS and _IDS[kind].fullmatch(value.strip()):
        key = text_key(value)
    if not key:
        wrong = "not a phone number" if kind in NUMBERS else "empty"
        raise InvalidValue(f"value: {value!r} is {wrong}", field="value", value=value, rule=kind)
    return key


def _email(value: str) -> str:
    key = email_key(value)
    local, at, domain = key.rpartition("@")
    if not at or not local or not domain or "@" in local or any(mark in key for mark in " \t\r\n,;<>"):
        message = f"value: {value!r} is not an e-mail address; write it as name@example.org"
        raise InvalidValue(message, field="value", value=value, rule="email")
    return key
