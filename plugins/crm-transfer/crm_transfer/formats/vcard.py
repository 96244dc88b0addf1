"""Reads vCards 2.1, 3.0 and 4.0: one card a row, its properties as columns, numbered where there are several."""

from __future__ import annotations

import codecs
import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote

from crm_core.extend import BadRow, Importer, Source, SourceRow
from crm_core.values import email_key, phone_key, text_key
from crm_transfer.again import remarked, uncorrected
from crm_transfer.cells import guarded
from crm_transfer.errors import BadCell, FileFault, MappingError
from crm_transfer.formats.contacts import OWN, Contact, Employers, Point, birthday, contacts_mapping, one_line
from crm_transfer.formats.messengers import MESSENGERS, NUMBERED, with_messengers
from crm_transfer.formats.unchanged import Stamp, refuse_change, stamp_of
from crm_transfer.formats.vcardtext import (
    EMPLOYER,
    PRODUCT,
    Card,
    Property,
    card_lines,
    cards,
    escaped,
    split,
    unescaped,
)

_RAW: Final = "vCard"
_ADDRESSES: Final = {"TEL": "phone", "EMAIL": "email", "ADR": "postal", "URL": "web", **MESSENGERS}
_TAKEN: Final = (
    "UID",
    "FN",
    "N",
    "NICKNAME",
    "ORG",
    "BDAY",
    "CATEGORIES",
    "KIND",
    "VERSION",
    "PRODID",
    "X-ABSHOWAS",
    "X-ABLABEL",
    EMPLOYER,
)
"""Properties that the columns of contacts are made from."""
_MADE: Final = frozenset({*OWN, *_TAKEN, _RAW})
_NO_LABELS: Final = frozenset({"pref", "internet", "x400", "voice"})
_ERRORS: Final = "X-CRM-ERROR-"
_MOST, _KINDS = 50, 300
"""How many addresses of one kind a card may have, and how many other kinds of properties become columns."""
_BOMS: Final = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))


def open_vcard(path: Path, options: Mapping[str, Any]) -> Source:
    """Open a file of vCards; the option `encoding` is needed where the cards are neither UTF-8 nor say what they are.

    Raises:
        FileFault: the file as a whole cannot be read; nothing of it may be imported.
    """
    encoding, digest = _examine(path, options)
    stamp = stamp_of(path)
    employers, most, others = Employers(), Counter[str](), dict[str, None]()
    total = partial = pictures = 0
    versions: Counter[str] = Counter()
    for card in _cards(path, encoding):
        total += 1
        pictures += bool(card.binaries)
        try:
            properties = _properties(card)
            contact = _contact(properties, card.version)
        except BadCell:
            continue
        versions[card.version] += 1
        partial += _birthday(properties)[1]
        employers.note(contact)
        for name, count in Counter(each.name for each in properties).items():
            first = _first_number(properties, name) if name in _ADDRESSES else 1
            most[name] = max(most[name], min(count, _MOST) + first - 1)
            if name not in _ADDRESSES and name not in _TAKEN and len(others) < _KINDS:
                others[name] = None
    columns = _columns(most, tuple(others))
    return Source(
        columns=columns,
        guesses=_guesses(encoding, versions, partial, pictures),
        rows=_rows(path, encoding, columns, employers, stamp),
        total=total,
        digest=digest,
        options={**options, "encoding": encoding},
        own=tuple(name for name in columns if name in _MADE or name.endswith((" TYPE", " KEY"))),
    )


def write_vcard(path: Path, columns: Sequence[str], rows: Iterable[Sequence[str]], options: Mapping[str, Any]) -> None:
    """Write cards back as they were read, pictures left out, with what is wrong with each as properties of its own."""
    raw = columns.index(_RAW)
    told = {name: at for at, name in enumerate(columns) if name.startswith("error_")}
    with path.open("w", encoding="utf-8", newline="") as file:
        for row in rows:
            card, *wrong = remarked(columns, row, [_RAW, *told], [row[raw], *(row[at] for at in told.values())])
            errors = [f"{_ERRORS}{_property(name)}:{escaped(text)}" for name, text in zip(told, wrong, strict=True)]
            file.writelines(card_lines([*card.split("\n"), *errors]))


def _properties(card: Card) -> list[Property]:
    """Return the properties of a card, addresses of messengers by the messenger's name.

    Raises:
        BadCell: one of them is not written as it must be.
    """
    found = card.properties()
    return with_messengers(found, ours=_is_ours(found))


def _property(name: str) -> str:
    return name.removeprefix("error_").upper()


def vcard_mapping(columns: Sequence[str]) -> str:
    """Return the mapping of a file of cards with these columns."""
    points = [
        Point(_ADDRESSES[name], column, f"{column} TYPE", key_column=f"{column} KEY")
        for column in columns
        for name, _, number in [column.partition(" ")]
        if name in _ADDRESSES and number.isdecimal()
    ]
    return contacts_mapping("vcard", columns, points, language="LANG", title="TITLE", note="NOTE")


def is_vcard(head: bytes) -> bool:
    """Say whether a file begins as cards do."""
    encoding = next((name for mark, name in _BOMS if head.startswith(mark)), "utf-8")
    text = head[:200].decode(encoding, "ignore")
    return text.lstrip("\ufeff \t\r\n").upper().startswith("BEGIN:VCARD")


VCARD: Final = Importer(
    name="vcard",
    suffixes=(".vcf", ".vcard"),
    open=open_vcard,
    write=write_vcard,
    help="Contacts as vCards 2.1, 3.0 or 4.0.",
    recognises=is_vcard,
    mapping=vcard_mapping,
)


def _examine(path: Path, options: Mapping[str, Any]) -> tuple[str, str]:
    """Return the encoding of a file and its digest."""
    try:
        with path.open("rb") as file:
            head = file.read(4096)
            file.seek(0)
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise FileFault(
            f"{path}: cannot be read: {error.strerror}",
            hint="check the path and its permissions",
            file=path.name,
            rule="file",
        ) from error
    if not head:
        raise FileFault(
            f"{path.name} is empty: not one card",
            hint="export it again, or leave it out of the plan",
            file=path.name,
            rule="empty",
        )
    marked = next((name for mark, name in _BOMS if head.startswith(mark)), "")
    declared = str(options.get("encoding") or marked or "utf-8")
    try:
        found = codecs.lookup(declared).name
    except LookupError:
        raise MappingError(
            f"[file] encoding: {declared!r} is no encoding", hint='such as "utf-8" or "windows-1256"'
        ) from None
    if not marked and head.count(0) > len(head) // 5 and not found.startswith("utf-16"):
        raise FileFault(
            f"{path.name} is no text, or UTF-16 without a byte order mark",
            hint='if it is UTF-16, declare it in the mapping: [file] encoding = "utf-16-le" (or "utf-16-be")',
            file=path.name,
            rule="encoding",
        )
    return ("utf-8-sig" if found == "utf-8" and marked else found), digest


def _cards(path: Path, encoding: str) -> Iterator[Card]:
    try:
        with path.open(encoding=encoding, errors="surrogateescape", newline="") as lines:
            for card in cards(lines, path.name, encoding):
                told = [line for line in card.lines if line.upper().startswith(_ERRORS)]
                card.lines[:] = [line for line in card.lines if line not in told]
                for line in told:
                    name, _, text = line[len(_ERRORS) :].partition(":")
                    card.told[f"error_{name.lower()}"] = unescaped(text)
                yield card
    except UnicodeDecodeError as error:  # UTF-16 that ends within a character
        raise FileFault(
            f"{path.name} is not {encoding.upper()}: {error.reason}",
            hint="export it again",
            file=path.name,
            rule="file",
        ) from None


def _guesses(encoding: str, versions: Counter[str], partial: int, pictures: int) -> dict[str, str]:
    found = {
        "encoding": encoding.upper(),
        "vCard": ", ".join(f"{version} ({count:,})" for version, count in sorted(versions.items())),
    }
    if partial:
        found["birthdays"] = f"{partial:,} without a year or day are left out"
    if pictures:
        found["pictures and keys"] = f"those of {pictures:,} cards are left out"
    return found


def _columns(most: Mapping[str, int], others: Sequence[str]) -> tuple[str, ...]:
    named = [name for name in _TAKEN if most.get(name)]
    for name in _ADDRESSES:
        for number in range(1, most.get(name, 0) + 1):
            named += [f"{name} {number}", f"{name} {number} TYPE", f"{name} {number} KEY"]
    return (*OWN, *named, *others, _RAW)


def _rows(
    path: Path, encoding: str, columns: Sequence[str], employers: Employers, stamp: Stamp
) -> Iterator[SourceRow | BadRow]:
    at = {name: index for index, name in enumerate(columns)}
    refuse_change(path, stamp)
    for card in _cards(path, encoding):
        cells = [""] * len(columns)
        cells[at[_RAW]] = "\n".join(card.lines)
        try:
            if bad := uncorrected([_RAW, *card.told], [cells[at[_RAW]], *card.told.values()]):
                raise bad
            properties = _properties(card)
            contact = _contact(properties, card.version)
            if not contact.key:
                raise BadCell("empty", "the card has neither a name nor an address")
            if any("\0" in each.value for each in properties):
                raise BadCell("nul", "the card has a NUL character, which no database keeps")
            for name, text in _named(properties, card.version, contact.key):
                if name in at:
                    cells[at[name]] = text
            cells[: len(OWN)] = employers.cells(contact)
        except BadCell as bad:
            cells = [cell.replace("\0", "") for cell in cells]
            yield BadRow(card.number, cells, bad.rule, bad.message, bad.column, bad.value[:80])
            continue
        # Cards have no apostrophe before formulas, which every import takes away: one that stands there is doubled.
        yield SourceRow(card.number, [guarded(cell) if cell.startswith("'") else cell for cell in cells])
    refuse_change(path, stamp)


def _contact(properties: Sequence[Property], version: str) -> Contact:
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
        birthday=_birthday(properties)[0],
        tags=[tag for each in properties if each.name == "CATEGORIES" for tag in _list(each.value, version)],
        place=_place(properties, version),
        emails=[value for _, value in emails],
        phones=[value for _, value in phones],
        employer=text(EMPLOYER),
    )


def _named(properties: Sequence[Property], version: str, contact: str) -> Iterator[tuple[str, str]]:
    """Yield the cells of a card by column; what stands first among its like wins."""
    seen: set[str] = set()
    ours = _is_ours(properties)
    show = unescaped if ours else _apple_label
    labels = {each.group: show(each.value).strip() for each in properties if each.name == "X-ABLABEL" and each.group}
    for each in properties:
        if each.name not in _ADDRESSES and each.name not in seen:
            seen.add(each.name)
            yield each.name, unescaped(each.value, version).strip()
    for name in _ADDRESSES:
        first = _first_number(properties, name)
        for number, (found, value) in enumerate(_values(properties, name, version), first):
            types = [each for each in dict.fromkeys(found.types) if each not in _NO_LABELS]
            yield f"{name} {number}", value
            key = _key(name, value) if ours else f"{number}"
            yield f"{name} {number} KEY", f"{contact}/{name.casefold()} {key}"
            yield f"{name} {number} TYPE", (labels.get(found.group) or ", ".join(types))[:100]


def _is_ours(properties: Sequence[Property]) -> bool:
    return any(each.name == "PRODID" and each.value == PRODUCT for each in properties)


def _first_number(properties: Sequence[Property], name: str) -> int:
    """Return the number of the first address of a kind: 1 has the main one, which a card of ours names if there is one.

    In the card of anybody else the first one is taken for it.
    """
    preferred = any(each.preference <= 100 for each in properties if each.name == name)
    return 1 if preferred or not _is_ours(properties) else 2


def _values(properties: Sequence[Property], name: str, version: str) -> list[tuple[Property, str]]:
    """Return the addresses of a kind, the preferred one first, each only once."""
    found: dict[str, tuple[Property, str]] = {}
    ours = _is_ours(properties)
    for each in sorted((each for each in properties if each.name == name), key=lambda each: each.preference):
        if name == "ADR":
            value = (_whole_address(each, version) if ours else "") or _address(each, version)
        elif name == "TEL":
            value = _phone(unescaped(each.value, version))
        else:
            value = unescaped(each.value, version).strip().removeprefix("mailto:")
        if value and not any(character in value for character in "\0"):
            found.setdefault(_said(name, value), (each, value))
    if len(found) > _MOST:
        raise BadCell("many", f"the card has more than {_MOST} of {name}", column=name)
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


def _birthday(properties: Sequence[Property]) -> tuple[str, bool]:
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
