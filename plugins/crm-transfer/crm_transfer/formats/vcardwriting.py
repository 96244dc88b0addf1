"""Writes customers with their contact points as vCards."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

from crm_core.extend import ExportColumn, Exporter
from crm_transfer.formats.contacts import OUR_IDS
from crm_transfer.formats.vcardtext import EMPLOYER, PRODUCT, card_lines, careted, escaped

_COLUMNS: Final = (
    "id", "external_ids", "name", "kind", "birth_date", "tags", "language", "country", "region", "city",
    "contact_points", "relations",
)  # fmt: skip
_NAMES: Final = {"email": "EMAIL", "phone": "TEL", "web": "URL"}
_TYPES: Final = frozenset({"home", "work", "cell", "fax", "pager", "car", "video", "text", "main", "other"})
_UNQUOTED: Final = {"3.0": re.compile(r'["\x00-\x1f\x7f^]'), "4.0": re.compile(r"[\x00-\x09\x0b-\x1f\x7f]")}
"""What cannot stand in a parameter, even within quotation marks; 4.0 has carets for some of it."""
_MADE: Final = ("contact/", "organisation/")
"""How the keys begin that an import made itself, because the card had none."""


def write_vcards(
    version: str, path: Path | None, columns: Sequence[ExportColumn], rows: Iterable[Sequence[Any]]
) -> int:
    """Write one card a customer, in the version given."""
    names = [column.name for column in columns]
    lines = (
        line for row in rows for line in ("\0", *card_lines(_properties(dict(zip(names, row, strict=True)), version)))
    )
    if path is None:
        return _write(sys.stdout, lines)
    with path.open("w", encoding="utf-8", newline="") as file:
        return _write(file, lines)


def _exporter(name: str, version: str, help_: str, suffixes: tuple[str, ...]) -> Exporter:
    return Exporter(
        name=name,
        suffixes=suffixes,
        write=partial(write_vcards, version),
        nested=True,
        columns={"customer": _COLUMNS},
        help=help_,
    )


VCARD_EXPORT: Final = _exporter("vcard", "3.0", "Customers as vCards 3.0, which every address book reads.", (".vcf",))
VCARD4_EXPORT: Final = _exporter("vcard4", "4.0", "Customers as vCards 4.0.", (".vcard",))


def _write(file: Any, lines: Iterable[str]) -> int:
    count = 0
    for line in lines:
        if line == "\0":
            count += 1
        else:
            file.write(line)
    return count


def _properties(row: Mapping[str, Any], version: str) -> Iterator[str]:
    name = row.get("name") or ""
    is_organisation = row.get("kind") == "organisation"
    yield f"VERSION:{version}"
    yield f"PRODID:{PRODUCT}"
    yield from _identity(row)
    yield f"FN:{escaped(name)}"
    if is_organisation:
        yield "KIND:org" if version == "4.0" else "X-ABShowAs:COMPANY"
        yield f"N:{';' * 4}"
        yield f"ORG:{escaped(name)}"
    else:
        yield f"N:;{escaped(name)};;;"
        yield from _work(row.get("relations") or ())
    if row.get("birth_date"):
        day = str(row["birth_date"])
        yield f"BDAY:{day.replace('-', '') if version == '4.0' else day}"
    if row.get("tags"):
        yield "CATEGORIES:" + ",".join(escaped(tag) for tag in row["tags"])
    if row.get("language") and version == "4.0":
        yield f"LANG:{escaped(row['language'])}"
    yield from _points(row, version)


def _identity(row: Mapping[str, Any]) -> Iterator[str]:
    """Yield the UID: the one a card brought, else our own; a key that was made of a name and address may change."""
    mine = [name.partition(":")[2] for name in row.get("external_ids") or () if name.startswith("vcard:")]
    given = next((name for name in mine if not name.startswith(_MADE)), "")
    if given or row.get("id"):
        yield f"UID:{escaped(given or OUR_IDS + str(row['id']))}"


def _work(relations: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    for relation in relations:
        if relation.get("kind") == "works for" and relation.get("other"):
            yield f"ORG:{escaped(relation['other'])}"
            if relation.get("other_id"):
                yield f"{EMPLOYER}:{OUR_IDS}{relation['other_id']}"
            if relation.get("title"):
                yield f"TITLE:{escaped(relation['title'])}"
            return


def _points(row: Mapping[str, Any], version: str) -> Iterator[str]:
    place = [escaped(row.get(name) or "") for name in ("city", "region")]
    rest = f"{place[0]};{place[1]};;{escaped(row.get('country') or '')}"
    placed = rest == ";;;"
    points = sorted(row.get("contact_points") or (), key=lambda point: not point.get("primary"))
    for number, point in enumerate(points, 1):
        kind, value, label = point["kind"], escaped(point["value"]), point.get("label") or ""
        words = [word for word in label.lower().replace(",", " ").split() if word in _TYPES]
        types = _types(words, version, primary=bool(point.get("primary")))
        group = "" if label == ", ".join(dict.fromkeys(words)) else f"item{number}"
        before = f"{group}." if group else ""
        if kind == "postal":
            shown = "" if placed else _as_it_is(point["value"], version)
            yield f"{before}ADR{types}{shown}:;;{value};{';;;' if placed else rest}"
            placed = True
        elif kind in _NAMES:
            yield f"{before}{_NAMES[kind]}{types}:{value}"
        else:
            yield f"{before}IMPP{types}:{kind}:{value}"
        if group:
            yield f"{group}.X-ABLabel:{escaped(label)}"
    if not placed:
        yield f"ADR:;;;{rest}"


def _as_it_is(value: str, version: str) -> str:
    """Return the parameter that keeps a postal address apart from the place that stands behind it."""
    text = value.replace("\r\n", "\n").replace("\r", "\n")
    if _UNQUOTED[version].search(text):
        return ""
    return f';LABEL="{careted(text) if version == "4.0" else text}"'


def _types(words: Sequence[str], version: str, *, primary: bool) -> str:
    """Return the parameters of an address: what it is for, in words of the standard, and whether it is preferred."""
    if version == "4.0":
        types = f';TYPE="{",".join(words)}"' if len(words) > 1 else "".join(f";TYPE={word}" for word in words)
        return types + (";PREF=1" if primary else "")
    return "".join(f";TYPE={word}" for word in [*words, *(["pref"] if primary else [])])
