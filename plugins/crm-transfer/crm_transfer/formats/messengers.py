"""Which address of a messenger a property of a vCard is: `IMPP` of RFC 4770 and 6350, and what else programs write."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final
from urllib.parse import unquote

import attrs

from crm_core.values import phone_key
from crm_transfer.formats.vcardtext import Property, unescaped

MESSENGERS: Final = {
    "WHATSAPP": "whatsapp",
    "TELEGRAM": "telegram",
    "VIBER": "viber",
    "INSTAGRAM": "instagram",
    "MESSENGER": "messenger",
}
"""The kinds of contact points, by the name that their properties have from here on."""
NUMBERED: Final = frozenset({"WHATSAPP", "VIBER"})
"""Those in which somebody is known by a phone number."""
_NAMES: Final = {
    **{name.casefold(): name for name in MESSENGERS},
    "tg": "TELEGRAM",
    "fb-messenger": "MESSENGER",
    "facebook": "MESSENGER",
    "facebook messenger": "MESSENGER",
}
_SCHEME: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)\\?:(.*)", re.DOTALL)


def with_messengers(properties: Iterable[Property], *, ours: bool) -> list[Property]:
    """Return the properties, those of a messenger we know named after it; all others stay as they are.

    Args:
        properties: of one card, as it has them.
        ours: whether we wrote the card, whose addresses stand in it as they are.
    """
    return [_named(each, ours=ours) for each in properties]


def _named(each: Property, *, ours: bool) -> Property:
    name, value = each.name.removeprefix("X-"), each.value
    if each.name == "IMPP":
        scheme = _SCHEME.fullmatch(value)
        service = next(iter(each.parameters.get("X-SERVICE-TYPE", ())), "") or (scheme[1] if scheme else "")
        name, value = _NAMES.get(service.casefold(), ""), scheme[2] if scheme else value
        value = value if ours else unquote(value.removeprefix("//"))
    elif each.name != f"X-{name}":
        return each
    if name not in MESSENGERS or (name in NUMBERED and phone_key(unescaped(value)) is None):
        return each  # no messenger of ours, or no address in it: it is told as a property that is not read
    return attrs.evolve(each, name=name, value=value)
