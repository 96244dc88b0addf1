"""What the properties of one vCard say of a contact: its name, its employer, its addresses."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from typing import Final
from urllib.parse import unquote

from crm_core.values import email_key, phone_key, text_key
from crm_transfer.errors import BadCell
from crm_transfer.formats.contacts import Contact, birthday, one_line
from crm_transfer.formats.messengers import MESSENGERS, NUMBERED
from crm_transfer.formats.vcardtext import EMPLOYER, PRODUCT, Property, split, unescaped

ADDRESSES: Final = {"TEL": "phone", "EMAIL": "email", "ADR": "postal", "URL": "web", **MESSENGERS}
_NO_LABELS: Final = frozenset({"pref", "internet", "x400", "voice"})
MOST: Final = 50
"""How many addresses of one kind a card may have."""


def contact_of(properties: Sequence[Property], version: str) -> Contact:
    """Return the contact that the properties of a card make.

    Raises:
        BadCell: the card is of no customer, or has too many addresses.
    """
    first = {each.name: each for each in reversed(properties)}

    def text(name: str) -> str:
        return unescaped(first[name].value, version).strip() if name in first else ""

    kind = text("KIND").lower()
    if kind in ("group", "location", "application", "device"):
        raise BadCell("kind", f"the card is a {kind}, which is no customer", column="KIND", value=kind)
    company = _components(first.get("ORG"), version)
    person = " ".join(part for part in _person(first.get("N"), version) if part)
    name = " ".join((text("FN") or person or (company[0] if company else "") or text("NICKNAME")).split())
    shown_as_company = kind == "org" or text("X-ABSHOWAS").upper() == "COMPANY"
    is_organisation = bool(company and company[0]) and text_key(name) == text_key(company[0]) and not person
    emails, phones = (_values(properties, name, version) for name in ("EMAIL", "TEL"))
    return Contact(
        name=name or next((value for _, value in [*emails, *phones]), ""),
        company=company[0] if company else "",
        is_organisation=shown_as_company or is_organisation,
        identity=text("UID"),
        birthday=birthday_of(properties)[0],
        tags=[tag for each in properties if each.name == "CATEGORIES" for tag in _list(each.value, version)],
        place=_place(properties, version),
        emails=[value for _, value in emails],
        phones=[value for _, value in phones],
        employer=text(EMPLOYER),
    )


def named_cells(properties: Sequence[Property], version: str, contact: str) -> Iterator[tuple[str, str]]:
    """Yield the cells of a card by column; what stands first among its like wins."""
    seen: set[str] = set()
    ours = is_ours(properties)
    show = unescaped if ours else _apple_label
    labels = {each.group: show(each.value).strip() for each in properties if each.name == "X-ABLABEL" and each.group}
    for each in properties:
        if each.name not in ADDRESSES and each.name not in seen:
            seen.add(each.name)
            yield each.name, unescaped(each.value, version).strip()
    for name in ADDRESSES:
        first = first_number(properties, name)
        for number, (found, value) in enumerate(_values(properties, name, version), first):
            types = [each for each in dict.fromkeys(found.types) if each not in _NO_LABELS]
            yield f"{name} {number}", value
            key = _key(name, value) if ours else f"{number}"
            yield f"{name} {number} KEY", f"{contact}/{name.casefold()} {key}"
            yield f"{name} {number} TYPE", (labels.get(found.group) or ", ".join(types))[:100]


def is_ours(properties: Sequence[Property]) -> bool:
    """Say whether a card is one that an export of ours wrote."""
    return any(each.name == "PRODID" and each.value == PRODUCT for each in properties)


def first_number(properties: Sequence[Property], name: str) -> int:
    """Return the number of the first address of a kind: 1 has the main one, which a card of ours names if there is one.

    In the card of anybody else the first one is taken for it.
    """
    preferred = any(each.preference <= 100 for each in properties if each.name == name)
    return 1 if preferred or not is_ours(properties) else 2


def _values(properties: Sequence[Property], name: str, version: str) -> list[tuple[Property, str]]:
    """Return the addresses of a kind, the preferred one first, each only once."""
    found: dict[str, tuple[Property, str]] = {}
    ours = is_ours(properties)
    for each in sorted((each for each in properties if each.name == name), key=lambda each: each.preference):
        if name == "ADR":
            value = (_whole_address(each, version) if ours else "") or _address(each, version)
        elif name == "TEL":
            value = _phone(unescaped(each.value, version))
        else:
            value = unescaped(each.value, version).strip().removeprefix("mailto:")
        if value and not any(character in value for character in "\0"):
            found.setdefault(_said(name, value), (each, value))
    if len(found) > MOST:
        raise BadCell("many", f"the card has more than {MOST} of {name}", column=name)
    return list(found.values())


def _said(name: str, value: str) -> str:
    """Return what an address says, however it is written."""
    if name == "TEL" or name in NUMBERED:
        return phone_key(value) or value
    return (email_key(value) if name == "EMAIL" else "") or value


def _key(name: str, value: str) -> str:
    """Return the key of an address in a card of ours, which has them in another order once another one is preferred."""
    said = _said(name, value).encode("utf-8", "surrogatepass")
    return hashlib.blake2b(said, digest_size=8).hexdigest()


def _phone(text: str) -> str:
    """Return a phone number as people write it: RFC 3966 writes `tel:+1-555-0100;ext=7`."""
    if not text.lower().startswith("tel:"):
        return text.strip()
    number, *parameters = unquote(text[4:]).split(";")
    extension = next((each[4:] for each in parameters if each.lower().startswith("ext=")), "")
    return f"{number} x{extension}" if extension else number


def _place(properties: Sequence[Property], version: str) -> tuple[str, str, str]:
    """Return city, region and country of the preferred address."""
    addresses = sorted((each for each in properties if each.name == "ADR"), key=lambda each: each.preference)
    parts = [*_components(addresses[0] if addresses else None, version), *[""] * 7]
    return parts[3], parts[4], parts[6]


def _whole_address(each: Property, version: str) -> str:
    """Return the address of a card of ours as it was, lines and all; empty where somebody put in more since."""
    box, extended, street, _, _, code, *_ = [*split(each.value, ";"), *[""] * 7]
    return "" if box or extended or code else unescaped(street, version).strip()


def _address(each: Property, version: str) -> str:
    """Return a postal address in one line; a place without a street or code is none."""
    parts = [*_components(each, version), *[""] * 7][:7]
    box, extended, street, city, region, code, country = parts
    label = next(iter(each.parameters.get("LABEL", ())), "")
    if label:
        return ", ".join(label.split("\n"))
    return one_line(street, extended, box, code, city, region, country)


def _components(each: Property | None, version: str) -> list[str]:
    if each is None:
        return []
    parts = [", ".join(split(part, ",")) if each.name == "ADR" else part for part in split(each.value, ";")]
    return [" ".join(unescaped(part, version).split()) for part in parts]


def _person(each: Property | None, version: str) -> list[str]:
    """Return a structured name in the order in which it is said."""
    family, given, more, prefix, suffix = [*_components(each, version), *[""] * 5][:5]
    return [prefix, given, more, family, suffix]


def _list(value: str, version: str) -> list[str]:
    return [tag for part in split(value, ",") if (tag := " ".join(unescaped(part, version).split()))]


def birthday_of(properties: Sequence[Property]) -> tuple[str, bool]:
    """Return the birthday in ISO 8601, and whether one is left out because its year or day is missing."""
    found = next((each for each in properties if each.name == "BDAY"), None)
    if found is None:
        return "", False
    if "text" in (each.lower() for each in found.parameters.get("VALUE", ())):
        return "", True
    omitted = next(iter(found.parameters.get("X-APPLE-OMIT-YEAR", ())), "")
    return ("", True) if omitted and found.value.startswith(omitted) else birthday(found.value)


def _apple_label(value: str) -> str:
    """Return a label of an address book by Apple, which marks its own words; others are as somebody wrote them."""
    label = unescaped(value).strip()
    own = re.fullmatch(r"_\$!<(.*)>!\$_", label)
    return own[1].lower() if own else label
