"""What people send beside texts, in words: a place, a contact, an order, a choice: none of it is lost."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from crm_channel_messengers.service import dict_of, dicts_of, text_of

_LATITUDE: Final = ("latitude", "lat")
_LONGITUDE: Final = ("longitude", "lon", "long")


def place(found: Mapping[str, Any], *names: Any) -> str:
    r"""Return a place: what it is called, and its coordinates.

    >>> place({"latitude": 35.7, "longitude": 51.4, "name": "Shop"}, "Azadi 1")
    'Shop\nAzadi 1\n35.7, 51.4'
    """
    told = [found.get("name"), found.get("title"), found.get("address"), *names]
    numbers = [
        next((found[key] for key in keys if _is_number(found.get(key))), None) for keys in (_LATITUDE, _LONGITUDE)
    ]
    at = "" if None in numbers else f"{numbers[0]}, {numbers[1]}"
    return lines(*told, at, found.get("url"))


def contact(name: Any, *values: Any) -> str:
    """Return a contact that was passed on: a name, and how it is reached.

    >>> contact("Sara Ahmadi", "+98 912 345 6789", None)
    'Sara Ahmadi, +98 912 345 6789'
    """
    return ", ".join(dict.fromkeys(one for each in (name, *values) if (one := _line(each))))


def whatsapp_contact(found: Mapping[str, Any]) -> str:
    """Return a contact as WhatsApp has them."""
    phones = [each.get("phone") or each.get("wa_id") for each in dicts_of(found.get("phones"))]
    emails = [each.get("email") for each in dicts_of(found.get("emails"))]
    name, company = dict_of(found.get("name")), dict_of(found.get("org")).get("company")
    return contact(name.get("formatted_name") or name.get("first_name"), company, *phones, *emails)


def order(found: Mapping[str, Any]) -> str:
    """Return an order of a WhatsApp catalogue: what was written with it, and a line for each product."""
    products = [
        _line(
            f"{each.get('quantity', '?')} x {each.get('product_retailer_id', '?')} "
            f"{each.get('item_price', '')} {each.get('currency', '')}"
        )
        for each in dicts_of(found.get("product_items"))
    ]
    return lines(found.get("text"), *products)


def choice(found: Mapping[str, Any]) -> str:
    """Return what somebody chose from buttons or a list, or filled into a form, in WhatsApp."""
    chosen = dict_of(found.get(text_of(found.get("type"))))
    return lines(chosen.get("title"), chosen.get("description"), chosen.get("body"), chosen.get("response_json"))


def lines(*parts: Any) -> str:
    """Return the texts among these, a line each."""
    return "\n".join(each for each in map(text_of, parts) if each.strip())


def _line(found: Any) -> str:
    return " ".join(text_of(found).split())


def _is_number(found: Any) -> bool:
    return isinstance(found, int | float) and not isinstance(found, bool)
