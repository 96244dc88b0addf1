"""The keys by which phone numbers and e-mail addresses match: E.164, and what the rules say of addresses."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Final

from crm_contacts.countries import region_of
from crm_contacts.rules import TABLE, rules_of
from crm_core.events import ContactKeyWanted

_NUMBERS: Final = frozenset({"phone", "whatsapp", "viber"})
_NUMBER: Final = re.compile(r"\+?[0-9]+(?:x[0-9]+)?")
_GMAIL: Final = frozenset({"gmail.com", "googlemail.com"})


def chosen_key(event: ContactKeyWanted) -> str | None:
    """Return the key of a contact point; None where nothing better is known than what the kernel does.

    Raises:
        SettingsError: `[policies.contacts]` is not understood.
    """
    if event.kind == "email":
        rules = rules_of(event.policies).email if event.policies.get(TABLE) else ()
        return email(event.key, rules) if rules else None
    if event.kind not in _NUMBERS or not _NUMBER.fullmatch(event.key):  # Viber has ids as well
        return None
    home = event.country or rules_of(event.policies).country
    return number(event.key, region_of(home) if home else None, messenger=event.kind == "whatsapp")


def email(key: str, rules: Collection[str]) -> str:
    """Return what rules make of the key of an address: "plus" drops +tags, "gmail" dots and tags of Gmail's.

    >>> email("ada+news@example.org", ["plus"]), email("a.da+x@googlemail.com", ["gmail"])
    ('ada@example.org', 'ada@gmail.com')
    """
    name, _, domain = key.rpartition("@")
    tagless = name.partition("+")[0] or name
    if "gmail" in rules and domain in _GMAIL:
        return f"{tagless.replace('.', '') or tagless}@gmail.com"
    return f"{tagless}@{domain}" if "plus" in rules else key


def number(key: str, region: str | None, *, messenger: bool = False) -> str | None:
    """Return a number in the form of E.164, an extension behind it; None where the country or the plan is not known.

    Args:
        key: the kernel's key: digits, a `+` before an international number, `x12` for an extension.
        region: the country to which a number without a country code belongs.
        messenger: whether the digits may be an international number without its `+`, as WhatsApp writes them.

    >>> number("01701234567", "DE"), number("+4901701234567", None), number("09123456789x12", "IR")
    ('+491701234567', '+491701234567', '+989123456789x12')
    >>> number("110", "DE") is number("01701234567", None) is None
    True
    """
    if key.startswith("+"):
        return _form(key, None, exact=False)
    if messenger and not key.startswith("0"):
        whole = _form(f"+{key}", None, exact=True)
        if whole is not None:
            return whole
    return _form(key, region, exact=True) if region else None


def _form(key: str, region: str | None, *, exact: bool) -> str | None:
    """Read a number by its country's plan; with `exact`, it must be one that the plan really has."""
    import phonenumbers

    digits, _, extension = key.partition("x")
    try:
        read = phonenumbers.parse(digits, region)
    except phonenumbers.NumberParseException:
        return None
    if not (phonenumbers.is_valid_number(read) if exact else phonenumbers.is_possible_number(read)):
        return None
    form: str = phonenumbers.format_number(read, phonenumbers.PhoneNumberFormat.E164)
    return f"{form}x{extension}" if extension else form
