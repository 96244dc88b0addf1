"""Reads vCards 2.1, 3.0 and 4.0: one card a row, its properties as columns, numbered where there are several."""

from __future__ import annotations

import codecs
import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from crm_core.extend import BadRow, Importer, Source, SourceRow
from crm_transfer.again import remarked, uncorrected
from crm_transfer.cells import guarded
from crm_transfer.errors import BadCell, FileFault, MappingError
from crm_transfer.formats.contacts import OWN, Employers, Point, contacts_mapping
from crm_transfer.formats.messengers import with_messengers
from crm_transfer.formats.unchanged import Stamp, refuse_change, stamp_of
from crm_transfer.formats.vcardcontact import (
    ADDRESSES,
    MOST,
    birthday_of,
    contact_of,
    first_number,
    is_ours,
    named_cells,
)
from crm_transfer.formats.vcardtext import (
    EMPLOYER,
    Card,
    Property,
    card_lines,
    cards,
    escaped,
    unescaped,
)

_RAW: Final = "vCard"
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
_ERRORS: Final = "X-CRM-ERROR-"
_KINDS: Final = 300
"""How many other kinds of properties become columns."""
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
            contact = contact_of(properties, card.version)
        except BadCell:
            continue
        versions[card.version] += 1
        partial += birthday_of(properties)[1]
        employers.note(contact)
        for name, count in Counter(each.name for each in properties).items():
            first = first_number(properties, name) if name in ADDRESSES else 1
            most[name] = max(most[name], min(count, MOST) + first - 1)
            if name not in ADDRESSES and name not in _TAKEN and len(others) < _KINDS:
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
    return with_messengers(found, ours=is_ours(found))


def _property(name: str) -> str:
    return name.removeprefix("error_").upper()


def vcard_mapping(columns: Sequence[str]) -> str:
    """Return the mapping of a file of cards with these columns."""
    points = [
        Point(ADDRESSES[name], column, f"{column} TYPE", key_column=f"{column} KEY")
        for column in columns
        for name, _, number in [column.partition(" ")]
        if name in ADDRESSES and number.isdecimal()
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
    for name in ADDRESSES:
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
            contact = contact_of(properties, card.version)
            if not contact.key:
                raise BadCell("empty", "the card has neither a name nor an address")
            if any("\0" in each.value for each in properties):
                raise BadCell("nul", "the card has a NUL character, which no database keeps")
            for name, text in named_cells(properties, card.version, contact.key):
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
