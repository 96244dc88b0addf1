"""Finds what a match looks for among the records of earlier imports: the sale of May for a refund in June's file.

What the columns of a match say stands in the records that the mapping makes of them; where one does not, the file
alone is searched, and the report says why.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

import attrs

from crm_core import CRM
from crm_core.records import RecordType
from crm_transfer.cells import key_text
from crm_transfer.fieldmaps import FieldMap, Part
from crm_transfer.grouping import Match
from crm_transfer.mapping import RecordMap, RowMapping
from crm_transfer.matching import SEPARATOR, Finder, Found, Wanted
from crm_transfer.readers import RecordReader
from crm_transfer.staging import Grouping

_PAGE: Final = 500
Spec = tuple[RecordMap, RecordReader]


@attrs.frozen(kw_only=True)
class Same:
    """Where a record says what a column of `same` says: a reference to a `target` known in `system`, or a text."""

    column: str
    in_line: bool
    target: str = ""
    system: str = ""


@attrs.frozen(kw_only=True)
class Told:
    """A cell that a condition asks for, the column of the record that says it, and the file's words for its values."""

    place: int
    column: str
    words: Mapping[str, str]


@attrs.frozen(kw_only=True)
class Earlier:
    """The records that a match may find: heads of one type, with lines where columns of `same` stand there."""

    crm: CRM
    finder: Finder
    head: RecordType
    system: str
    latest: str
    same: tuple[Same, ...]
    told: tuple[Told, ...]
    width: int
    line: RecordType | None = None
    link: str = ""

    def any(self) -> bool:
        """Say whether there are records at all: a first import need not ask for each group."""
        return bool(self.crm.records(self.head.name).find(limit=1).records)

    def find(self, wanted: Sequence[Wanted], in_file: Callable[[str], bool]) -> dict[Wanted, Found]:
        """Return for what is wanted the latest that is not later; what the file has itself is not looked at."""
        texts = {each: each[0].split(SEPARATOR) for each in wanted}
        ids = [
            self._ids(same, {text[at] for text in texts.values()}) if same.target else {}
            for at, same in enumerate(self.same)
        ]
        needed: dict[Wanted, tuple[Any, ...]] = {}
        for each, parts in texts.items():
            need: list[Any] = [
                ids[at].get(parts[at]) if same.target else parts[at] for at, same in enumerate(self.same)
            ]
            if None not in need:
                needed[each] = tuple(need)
        found: dict[Wanted, Found] = {}
        known: dict[int, str] = {}
        for row in self._rows(needed) if needed else ():
            record, at, said = row[0], row[1], _said(self.same, row[2:])
            for each, parts_of in needed.items():
                if each in found or at > each[1] or said != parts_of:
                    continue
                name = known.get(record)
                if name is None:
                    name = known[record] = self._name(record, in_file)
                if name and self._is_among(name, texts[each], row[2 + len(self.same) :]):
                    found[each] = at, name
            if len(found) == len(needed):
                break
        return found

    def _ids(self, same: Same, names: set[str]) -> dict[str, int]:
        entries = self.crm.external_ids.find_many(same.target, same.system, sorted(names))
        return {name: entry.record_id for name, entry in entries.items() if entry.state in ("live", "merged")}

    def _rows(self, needed: Mapping[Wanted, tuple[Any, ...]]) -> Iterator[tuple[Any, ...]]:
        """Yield the records that may be meant, the latest first: id, time, what `same` and the conditions ask for."""
        from sqlalchemy import select

        heads = self.crm.tables[self.head.plural]
        lines = heads if self.line is None else self.crm.tables[self.line.plural]
        at = heads.c[self.latest]
        same = [(lines if each.in_line else heads).c[each.column] for each in self.same]
        rows = select(heads.c.id, at, *same, *(heads.c[each.column] for each in self.told))
        if self.line is not None:
            rows = rows.select_from(heads.join(lines, lines.c[self.link] == heads.c.id))
        rows = rows.where(at <= max(when for _, when in needed))
        for place, column in enumerate(same):
            if self.same[place].target:
                rows = rows.where(column.in_(sorted({need[place] for need in needed.values()})))
        rows = rows.order_by(at.desc(), heads.c.id.desc()).limit(_PAGE)
        page, offset = self.crm.run(rows), 0
        while page:
            yield from page
            offset += _PAGE
            page = self.crm.run(rows.offset(offset)) if len(page) == _PAGE else []

    def _name(self, record: int, in_file: Callable[[str], bool]) -> str:
        entries = self.crm.external_ids.of(self.head.name, [record]).get(record, ())
        names = sorted(one.external for one in entries if one.system == self.system and one.state == "live")
        return next((name for name in names if not in_file(name)), "")

    def _is_among(self, name: str, same: Sequence[str], told: Sequence[Any]) -> bool:
        cells = [""] * self.width
        for each, value in zip(self.told, told, strict=True):
            cells[each.place] = each.words.get(value, value) if value is not None else ""
        for place, text in zip(self.finder.same, same, strict=True):
            cells[place] = text
        cells[self.finder.gives] = name
        return self.finder.among(cells)


def _said(same: Sequence[Same], values: Sequence[Any]) -> tuple[Any, ...]:
    return tuple(
        value if each.target else key_text(value or "") for each, value in zip(same, values[: len(same)], strict=True)
    )


def look_back(crm: CRM, mapping: RowMapping, readers: Sequence[RecordReader], grouping: Grouping) -> None:
    """Let the matches of a file find what earlier imports brought, where the records say enough."""
    found = {each.name: _earlier(crm, mapping, readers, each, grouping.layout.base) for each in grouping.finders}
    grouping.earlier = {name: one for name, one in found.items() if isinstance(one, Earlier)}
    grouping.alone = {name: one for name, one in found.items() if isinstance(one, str)}


def _earlier(
    crm: CRM, mapping: RowMapping, readers: Sequence[RecordReader], finder: Finder, width: int
) -> Earlier | str:
    """Return where a match finds what earlier imports brought, or in words why it cannot."""
    assert mapping.group is not None, "who matches has groups"
    match = next(each for each in mapping.group.matches if each.name == finder.name)
    specs = list(zip(mapping.records, readers, strict=True))
    key = (Part(column=match.gives),)
    head = next((each for each in specs if each[0].per == "group" and each[0].key == key), None)
    if head is None:
        return f"no record of the group has {match.gives} for its key"
    latest = _field(head, match.latest, ("moment",))
    if latest is None:
        return f"no field of the {head[1].kind.name} says {match.latest} as a time"
    line, link = next(
        (
            (each, one.field)
            for each in specs
            if each[0].per == "line"
            for one in each[1].references
            if _is_of(one, head)
        ),
        (None, ""),
    )
    same = [_same(head, line, column) for column in match.same]
    missing = next((name for name, one in zip(match.same, same, strict=True) if one is None), None)
    if missing is not None or not any(one.target for one in same if one is not None):
        return f"no field says {missing or match.same[0]} as a reference or a text"
    told = _told(head, match, finder)
    if isinstance(told, str):
        return told
    found = tuple(one for one in same if one is not None)
    in_lines = line is not None and any(one.in_line for one in found)
    return Earlier(
        crm=crm,
        finder=finder,
        head=head[1].kind,
        system=head[1].system,
        latest=latest[1],
        same=found,
        told=told,
        width=width,
        line=line[1].kind if line is not None and in_lines else None,
        link=link if in_lines else "",
    )


def _is_of(reference: Any, head: Spec) -> bool:
    return bool(reference.target == head[1].kind.name and reference.system == head[1].system and not reference.by)


def _field(spec: Spec, column: str, kinds: Sequence[str]) -> tuple[FieldMap, str] | None:
    """Return the field that is this column and nothing else, and the column of the table where its value is."""
    for field in spec[0].fields:
        declared = spec[1].kind.fields[field.path]
        is_plain = field.parts == (Part(column=column),) and not (field.when or field.default or field.corrections)
        if is_plain and declared.declaration.kind in kinds and not declared.extension:
            return field, declared.column
    return None


def _same(head: Spec, line: Spec | None, column: str) -> Same | None:
    for spec in (head, line):
        found = _field(spec, column, ("reference", "text")) if spec is not None else None
        if found is not None and not (found[0].by or found[0].values):
            field, name = found
            target = spec[1].kind.fields[field.path].declaration.references if spec is not None and field.ref else ""
            return Same(column=name, in_line=spec is line, target=target or "", system=field.system)
    return None


def _told(head: Spec, match: Match, finder: Finder) -> tuple[Told, ...] | str:
    """Return where the cells that a match's condition asks for stand in a record, or in words which one does not."""
    told = []
    for name, place in finder.asked.items():
        if name in (match.gives, *match.same):
            continue
        found = _field(head, name, ("text",))
        if found is None:
            return f"no field of the {head[1].kind.name} says {name}"
        told.append(Told(place=place, column=found[1], words={ours: word for word, ours in found[0].values.items()}))
    return tuple(told)
