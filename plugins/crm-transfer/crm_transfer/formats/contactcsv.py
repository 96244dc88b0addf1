"""Reads what Google Contacts and Outlook export as CSV: recognised by their headers, and read without a mapping.

The columns stay as they are in the file. Where Google writes several values into one cell ("a ::: b"), each gets a
column of its own, and a rejected row is written back as it came.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

import attrs

from crm_core.extend import BadRow, Importer, Source, SourceRow
from crm_core.values import text_key
from crm_transfer.again import checked, remarked
from crm_transfer.errors import FileFault
from crm_transfer.formats.contacts import (
    OWN,
    Contact,
    Employers,
    birthday,
    day_form,
    formed_day,
)
from crm_transfer.formats.dialects import GOOGLE, OUTLOOK, SEVERAL, Dialect
from crm_transfer.formats.typed import Form, forms_in
from crm_transfer.formats.unchanged import Stamp, refuse_change, stamp_of
from crm_transfer.reading import open_csv, write_csv

_MORE: Final = re.compile(r"(?P<column>.+) \((?P<number>\d+)\)")
_MOST: Final = 50
_SAMPLE: Final = 10_000
_NO_DAY: Final = "0/-. "
"""What Outlook writes for no day at all: 0/0/00."""
_ISO: Final = re.compile(r"\s*(--.*|\d{4}(-\d\d){0,2}|\d{8})\s*", re.ASCII)


def open_contacts(dialect: Dialect, path: Path, options: Mapping[str, Any]) -> Source:
    """Open a file of contacts; the options are those of delimited text.

    Raises:
        FileFault: the file as a whole cannot be read, or has other columns.
    """
    source, stamp = checked(open_csv(path, options)), stamp_of(path)
    if not dialect.fits(source.columns):
        raise FileFault(
            f"{path.name} has not the columns of {dialect.help}",
            hint="name its format with --format, or make a mapping: crm import --suggest TYPE FILE --format csv",
            file=path.name,
            rule="columns",
        )
    looked = _Looked(dialect, source, forms_in(options).get("", Form()).dates)
    columns = (*OWN, *looked.columns)
    taken = {*dialect.person, *dialect.full_name, *dialect.company, dialect.birthday, *dialect.tags}
    taken |= {name for place in dialect.places for name in place}
    taken |= {name for _, parts in dialect.addresses for name in parts}
    taken |= {part.replace("#", str(number)) for part in dialect.whole[1] for number in range(1, _MOST)}
    taken |= {point.label_column for point in looked.points}
    return Source(
        columns=columns,
        guesses={**source.guesses, **looked.told},
        rows=looked.rows(path, options, stamp),
        total=source.total,
        digest=source.digest,
        options=source.options,
        own=(*OWN, *(name for name in columns if name in taken)),
    )


def write_contacts(
    dialect: Dialect, path: Path, columns: Sequence[str], rows: Iterable[Sequence[str]], options: Mapping[str, Any]
) -> None:
    """Write rows back in the form of the file: columns that were added go, values that were parted come together."""
    added = {*OWN, *(name for name, _ in dialect.addresses)}
    kept: dict[str, list[int]] = {}
    for at, name in enumerate(columns):
        match = _MORE.fullmatch(name)
        if match and match["column"] in kept:
            kept[match["column"]].append(at)
        elif name not in added:
            kept[name] = [at]
    names = list(kept)

    def joined(row: Sequence[str]) -> list[str]:
        cells = [f" {SEVERAL} ".join(row[at] for at in places if row[at]) for places in kept.values()]
        dialect.build_addresses(names, cells, back=True)
        return cells

    write_csv(path, names, (remarked(columns, row, names, joined(row)) for row in rows), options)


class _Looked:
    """What a first walk through the rows found: values in one cell, organisations, the form of birthdays."""

    def __init__(self, dialect: Dialect, source: Source, form: str) -> None:
        self._dialect = dialect
        self._names = source.columns
        self._at = {name: index for index, name in enumerate(source.columns)}
        self._employers = Employers()
        self._form = form
        self.told: dict[str, str] = {}
        points = dialect.columns_with_addresses(source.columns)
        self._places = {kind: [self._at[p.column] for p in points if p.kind == kind] for kind in ("email", "phone")}
        self._more: dict[str, list[str]] = {}
        self._walk(source, [point.column for point in points])
        added = [more for name in source.columns for more in self._more.get(name, ())]
        self._addresses = [each for each in dialect.addresses if not self._at.keys().isdisjoint(each[1])]
        self.columns = (*source.columns, *added, *(name for name, _ in self._addresses))
        self.points = dialect.columns_with_addresses(self.columns)
        self._labels = {self.columns.index(point.label_column) for point in self.points if point.label_column}

    def rows(self, path: Path, options: Mapping[str, Any], stamp: Stamp) -> Iterator[SourceRow | BadRow]:
        """Yield the rows of the file, with the cells that were added."""
        added = sum(map(len, self._more.values()))
        refuse_change(path, stamp)
        for row in checked(open_csv(path, options)).rows:
            cells = [*row.cells, *[""] * added]
            if isinstance(row, BadRow):
                yield attrs.evolve(row, cells=[*[""] * len(OWN), *cells, *[""] * len(self._addresses)])
                continue
            self._dialect.build_addresses(self._names, cells)
            contact = self._contact(cells)
            self._part(cells)
            cells += [_joined(self._cell(cells, name) for name in parts) for _, parts in self._addresses]
            made = [*self._employers.cells(contact), *cells]
            if contact.key:
                yield SourceRow(row.number, made)
            else:
                yield BadRow(row.number, made, "empty", "the contact has neither a name nor an address")

    def _walk(self, source: Source, points: Sequence[str]) -> None:
        most: dict[str, int] = {}
        days: dict[str, None] = {}
        partial_days = 0
        for row in source.rows:
            if isinstance(row, BadRow):
                continue
            cells = list(row.cells)
            self._dialect.build_addresses(self._names, cells)
            for name in points:
                cell = cells[self._at[name]]
                if SEVERAL in cell:
                    most[name] = min(max(most.get(name, 1), len(_parts(cell))), _MOST)
            day = self._cell(row.cells, self._dialect.birthday)
            if day.strip(_NO_DAY) and not _ISO.fullmatch(day) and len(days) < _SAMPLE:
                days[day] = None
            partial_days += birthday(day)[1]
            self._employers.note(self._contact(row.cells))
        self._choose_form(list(days))
        if partial_days:
            self.told["birthdays"] = f"{partial_days:,} without a year are left out"
        self._more = {name: [f"{name} ({n})" for n in range(2, count + 1)] for name, count in most.items()}

    def _part(self, cells: list[str]) -> None:
        """Give each of several values in one cell a cell of its own."""
        at = len(self._at)
        for index in self._labels:
            cells[index] = cells[index].removeprefix("* ")  # Google's mark of what is preferred
        for name in self._at:
            more = self._more.get(name, ())
            place = self._at[name]
            if more and SEVERAL in cells[place]:
                first, *others = _parts(cells[place])[:_MOST] or [""]
                cells[place] = first
                cells[at : at + len(others)] = others
            at += len(more)

    def _cell(self, cells: Sequence[str], name: str) -> str:
        index = self._at.get(name)
        return cells[index].strip() if index is not None else ""

    def _first(self, cells: Sequence[str], names: Iterable[str]) -> str:
        return next((text for name in names if (text := " ".join(self._cell(cells, name).split()))), "")

    def _contact(self, cells: Sequence[str]) -> Contact:
        dialect = self._dialect
        person = " ".join(text for name in dialect.person if (text := self._first(cells, [name])))
        company = self._first(cells, dialect.company)
        full = self._first(cells, dialect.full_name)
        is_organisation = bool(company) and not person and text_key(full) in ("", text_key(company))
        values = {
            kind: [first for at in places for first in _parts(cells[at])[:1]] for kind, places in self._places.items()
        }
        return Contact(
            name=full or person or company or next(iter([*values["email"], *values["phone"]]), ""),
            company=company,
            is_organisation=is_organisation,
            birthday=self._birthday(self._cell(cells, dialect.birthday)),
            tags=[tag for name in dialect.tags for tag in self._tags(self._cell(cells, name))],
            place=self._place(cells),
            emails=values["email"],
            phones=values["phone"],
        )

    def _place(self, cells: Sequence[str]) -> tuple[str, str, str]:
        """Return city, region and country of the first address that says any of them."""
        found = [[self._cell(cells, name) for name in place] for place in self._dialect.places]
        city, region, country = next((place for place in found if any(place)), ["", "", ""])
        return city, region, country

    def _tags(self, cell: str) -> list[str]:
        """Return the labels of a contact; Google marks its own groups with an asterisk."""
        return [tag for part in cell.split(self._dialect.tag_separator) if (tag := part.strip()) and tag[0] != "*"]

    def _birthday(self, text: str) -> str:
        if not text.strip(_NO_DAY):
            return ""
        if _ISO.fullmatch(text):
            return birthday(text)[0]
        return formed_day(text, self._form) if self._form else ""

    def _choose_form(self, days: Sequence[str]) -> None:
        if not days or self._form:
            return
        self._form = day_form(days)
        if self._form:
            self.told["birthdays"] = f"{self._form} (guessed)"
        else:
            self.told["birthdays"] = (
                f"left out, because {days[0]!r} does not say which part is the day; declare [file] dates"
            )


def _joined(cells: Iterable[str]) -> str:
    return ", ".join(part for cell in cells if (part := " ".join(cell.split())))


def _parts(cell: str) -> list[str]:
    return [part.strip() for part in cell.split(SEVERAL) if part.strip()]


def _importer(dialect: Dialect) -> Importer:
    return Importer(
        name=dialect.name,
        suffixes=(),
        open=partial(open_contacts, dialect),
        write=partial(write_contacts, dialect),
        help=dialect.help,
        recognises=dialect.recognises,
        mapping=dialect.mapping,
    )


GOOGLE_CONTACTS: Final = _importer(GOOGLE)
OUTLOOK_CONTACTS: Final = _importer(OUTLOOK)
