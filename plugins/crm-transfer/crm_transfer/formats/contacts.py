"""What a contact of an address book becomes: its key, the columns that say so, and the mapping that reads them.

One place for vCards and the contact files of Google and Outlook, which differ only in how they are written.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import re
from collections.abc import Sequence
from typing import Final

import attrs

from crm_core.values import ascii_digits, email_key, phone_key, text_key
from crm_transfer.toml import quoted

OWN: Final = (
    "contact key", "contact kind", "contact name", "birth date", "contact tags", "contact city", "contact region",
    "contact country", "company key", "employer", "employer key",
)  # fmt: skip
"""The columns that every importer of contacts adds."""
OUR_IDS: Final = "crm-"
"""How the key begins of a card that we wrote: our id of the customer follows."""
_LONGEST: Final = 300
_DAY: Final = re.compile(r"(\d{4})-?(\d\d)-?(\d\d)(?:[T ].*)?", re.ASCII)
_PARTIAL: Final = re.compile(r"\s*--.*|\d{4}(?:-\d\d)?", re.ASCII)


@attrs.frozen(kw_only=True)
class Contact:
    """What an importer understood of one contact, whatever it is written in.

    `identity` is the key that the file itself has for it, `birthday` a day as ISO text, empty where it is not whole;
    `place` is city, region and country. `employer` is the key that the file has for the company, if it has one.
    """

    name: str
    company: str
    is_organisation: bool
    identity: str = ""
    birthday: str = ""
    tags: Sequence[str] = ()
    place: tuple[str, str, str] = ("", "", "")
    emails: Sequence[str] = ()
    phones: Sequence[str] = ()
    employer: str = ""

    @property
    def key(self) -> str:
        """The key: what the file says, else the name with the first e-mail address, phone number or company.

        An organisation without a key of its own has that of its name, by which those who work for it name it. Of a
        person, a name alone would take two people for one; an address alone would take a family for one person.
        """
        if self.identity:
            return short(self.identity)
        if self.is_organisation:
            return company_key(self.name)
        first = next((email_key(each) for each in self.emails), "")
        first = first or next((phone_key(each) or each for each in self.phones), "") or text_key(self.company)
        parts = [part for part in (text_key(self.name), first) if part]
        return short("contact/" + "/".join(parts)) if parts else ""


class Employers:
    """The organisations that are contacts of the file themselves: nobody else has to make them."""

    def __init__(self) -> None:
        self._keys: set[str] = set()

    def note(self, contact: Contact) -> None:
        """Remember a contact that is an organisation."""
        if contact.is_organisation:
            self._keys |= {company_key(contact.name), contact.key}

    def cells(self, contact: Contact) -> list[str]:
        """Return the cells of the columns `OWN`; `employer` is given where the organisation has to be made."""
        tags = "\n".join(contact.tags)
        made = [contact.key, "person", contact.name, contact.birthday, tags, *contact.place]
        if contact.is_organisation:
            made[1] = "organisation"
            return [*made, company_key(contact.name), "", ""]
        key = short(contact.employer) if contact.company and contact.employer else company_key(contact.company)
        return [*made, "", "" if key in self._keys else contact.company, key]


def company_key(name: str) -> str:
    """Return the key under which the people of an organisation name it; empty where there is none."""
    folded = text_key(name)
    return short(f"organisation/{folded}") if folded else ""


def short(key: str) -> str:
    """Return a key that fits: the end of a very long one becomes a hash."""
    if len(key) <= _LONGEST:
        return key
    return key[: _LONGEST - 41] + "#" + hashlib.sha1(key.encode("utf-8", "replace"), usedforsecurity=False).hexdigest()


def birthday(text: str) -> tuple[str, bool]:
    """Return a birthday as ISO text, and whether it is not whole: without its year, or its day.

    >>> birthday("19900412"), birthday("--0412"), birthday("1990"), birthday("")
    (('1990-04-12', False), ('', True), ('', True), ('', False))
    """
    clean = ascii_digits(text.strip())
    if not clean:
        return "", False
    match = _DAY.fullmatch(clean)
    if match:
        return "-".join(match.groups()), False
    return ("", True) if _PARTIAL.fullmatch(clean) else (clean, False)


def one_line(street: str, extended: str, box: str, code: str, city: str, region: str, country: str) -> str:
    """Return a postal address of its parts; empty for a place without a street, box or code, which is no address.

    >>> one_line("Weg 1", "", "", "10115", "Berlin", "", "Germany")
    'Weg 1, 10115 Berlin, Germany'
    """
    if not (street or extended or box or code):
        return ""
    line = ""
    for part in (street, extended, box, f"{code} {city}".strip(), region, country):
        line += (", " if line else "") + part if part and part.casefold() not in line.casefold() else ""
    return line


def day_form(texts: Sequence[str]) -> str:
    """Return the form of dates such as 31/12/1990 when they prove which part is the day; empty when they do not.

    >>> day_form(["04/12/1990", "31/12/1990"]), day_form(["12/31/1990"]), day_form(["04/05/1990"])
    ('%d/%m/%Y', '%m/%d/%Y', '')
    """
    parts = [re.split(r"[/.-]", ascii_digits(text.strip())) for text in texts]
    if not all(len(part) == 3 and all(each.isdecimal() for each in part) for part in parts):
        return ""
    separator = next((character for text in texts for character in text if character in "/.-"), "/")
    day, month = any(int(part[0]) > 12 for part in parts), any(int(part[1]) > 12 for part in parts)
    if day == month:
        return ""
    return separator.join(("%d", "%m", "%Y") if day else ("%m", "%d", "%Y"))


def formed_day(text: str, form: str) -> str:
    """Return a day of a form as ISO text; as it stands where it is none, so that its row is refused by name."""
    try:
        return dt.datetime.strptime(ascii_digits(text.strip()), form).date().isoformat()  # noqa: DTZ007 - a day
    except ValueError:
        return text.strip()


@attrs.frozen
class Point:
    """A column with an address: the kind of contact point, the column, that of its label or the label itself.

    `key_column` has its key; without one the contact's and the name of the column are it.
    """

    kind: str
    column: str
    label_column: str = ""
    label: str = ""
    key_column: str = ""


def contacts_mapping(
    name: str, columns: Sequence[str], points: Sequence[Point], *, language: str, title: str, note: str
) -> str:
    """Return the mapping of a file of contacts.

    Args:
        name: of the format, and of the system in whose name the keys stand.
        columns: of the file.
        points: the columns with addresses; the first e-mail address and the first phone number are the main ones.
        language: the column with the language of a contact; empty for none, as with the others.
        title: the column with what somebody is in a company.
        note: the column with notes.
    """
    given = set(columns)
    lines = [
        "# One contact makes a customer, its contact points, and the company it works for.",
        "[file]",
        f"format = {quoted(name)}",
        f"system = {quoted(name)}",
        "",
        "[[record]]  # the company, where it is no contact of its own in the file",
        'type = "customer"',
        'key = "employer key"',
        f"ids = {quoted(OUR_IDS)}  # what this CRM exported itself is known by its id",
        'merged = "keep"  # a card of who was merged since changes nothing of whom they were merged into',
        'when = { column = "employer", given = true }',
        "repeats = true",
        "[record.fields]",
        'name = "employer"',
        'kind = { const = "organisation" }',
        "",
        "[[record]]",
        'type = "customer"',
        'key = "contact key"',
        f"ids = {quoted(OUR_IDS)}",
        'merged = "keep"',
        f'also = {{ {name} = "company key" }}  # an organisation is known by its name as well',
        "[record.fields]",
        'name = "contact name"',
        'kind = "contact kind"',
        'birth_date = { column = "birth date", format = "%Y-%m-%d" }',
        'tags = { column = "contact tags", separator = "\\n" }',
        *(f'{field} = "contact {field}"' for field in ("city", "region", "country")),
        *([f"language = {quoted(language)}"] if language in given else []),
    ]
    main: set[str] = set()
    for point in points:
        if point.column in given:
            lines += _point(point, given, main=point.kind not in main)
            main.add(point.kind)
    lines += _relation(title if title in given else "")
    if note in given:
        lines += _note(note)
    return "\n".join([*lines, ""])


def _point(point: Point, given: set[str], *, main: bool) -> list[str]:
    column = quoted(point.column)
    label = f"label = {quoted(point.label_column)}" if point.label_column in given else ""
    label = label or (f"label = {{ const = {quoted(point.label)} }}" if point.label else "")
    key = quoted(point.key_column) if point.key_column in given else ""
    return [
        "",
        "[[record]]",
        'type = "contact_point"',
        f"key = {key}" if key else f'key = ["contact key", {{ const = {quoted(point.column.casefold())} }}]',
        f"when = {{ column = {column}, given = true }}",
        'same = ["customer_id", "kind", "value"]  # an address that the customer has already',
        "[record.fields]",
        'customer_id = { column = "contact key", ref = "customer" }',
        f"kind = {{ const = {quoted(point.kind)} }}",
        f"value = {column}",
        *([label] if label else []),
        *(["primary = { const = true }"] if main else []),
    ]


def _relation(title: str) -> list[str]:
    return [
        "",
        "[[record]]",
        'type = "relation"',
        'key = ["contact key", { const = "works for" }]',
        'when = { column = "employer key", given = true }',
        'same = ["customer_id", "other_id", "kind"]',
        "[record.fields]",
        'customer_id = { column = "contact key", ref = "customer" }',
        'other_id = { column = "employer key", ref = "customer", later = true }',
        'kind = { const = "works for" }',
        *([f"title = {quoted(title)}"] if title else []),
    ]


def _note(column: str) -> list[str]:
    return [
        "",
        "[[record]]",
        'type = "interaction"',
        'key = ["contact key", { const = "note" }]',
        f"when = {{ column = {quoted(column)}, given = true }}",
        "[record.fields]",
        'customer_id = { column = "contact key", ref = "customer" }',
        'kind = { const = "note" }',
        'direction = { const = "internal" }',
        f"body = {quoted(column)}",
    ]
