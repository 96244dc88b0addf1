"""What the rows of an edited export change: each compared with what the export said and with what is there now.

A row whose record changed since the export is merged field by field: what only the file changed is taken, what both
changed is a clash, which a policy decides.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final

import attrs

from crm_core import CRM, Record, RecordService
from crm_core.errors import InvalidValue
from crm_core.records import RecordType
from crm_core.values import format_id, parse_id
from crm_transfer.conflicts import human_edits, same
from crm_transfer.diff import Clash, FieldEdit, Suspect
from crm_transfer.edited import UNTOUCHED, Mangled, Reader
from crm_transfer.edited_columns import Cells, Column
from crm_transfer.errors import BadCell
from crm_transfer.lookup import Lookup, merged_ids
from crm_transfer.policies import Conflict
from crm_transfer.roundtrip import gone
from crm_transfer.targets import Targets

SYSTEM: Final = "spreadsheet"
"""The system of the external ids of new rows, which have no id of their own: so that they are new only once."""


@attrs.frozen(kw_only=True)
class Places:
    """Where a file has what an export writes: the fields by path, and the columns that say which record a row is."""

    columns: Mapping[str, Column]
    id: int
    version: int
    external: int | None


@attrs.define
class EditedRow:
    """A row on its way: what it changes of which record, or why it cannot be taken."""

    number: int
    cells: Cells
    error: BadCell | None = None
    now: Record | None = None
    values: dict[str, Any] = attrs.field(factory=dict)
    edits: list[FieldEdit] = attrs.field(factory=list)
    clashes: list[Clash] = attrs.field(factory=list)
    suspects: list[Suspect] = attrs.field(factory=list)
    external: tuple[str, str] | None = None
    stale: bool = False
    status: str = "unchanged"


class Comparison:
    """Finds out what rows change; `policies` say who wins a clash, by field."""

    def __init__(
        self,
        crm: CRM,
        kind: RecordType,
        places: Places,
        reader: Reader,
        lookup: Lookup,
        targets: Targets,
        policies: Mapping[str, Conflict],
    ) -> None:
        """Take how the file is read; `twins` counts new rows alike, `merged` has those of merged records."""
        self._crm = crm
        self._kind = kind
        self._places = places
        self._columns = places.columns
        self._reader = reader
        self._lookup = lookup
        self._targets = targets
        self._policies = policies
        self._service: RecordService[Record] = crm.records(kind.name)
        self.twins: Counter[str] = Counter()
        self.merged: set[int] = set()

    def examine(self, rows: Sequence[EditedRow], doubles: Mapping[int, int]) -> None:
        """Find out what each row changes."""
        ids: dict[int, int] = {}
        for row in rows:
            self._identify(row, ids, doubles)
        now = {record.id: record for record in self._service.get_many(list(ids.values()))}
        now |= self._survivors([one for one in ids.values() if one not in now])
        versions = {ids[row.number]: self.read_version(row) for row in rows if row.number in ids}
        base = self._crm.ledger.as_read(self._kind.name, versions)
        self._targets.labels.load([*now.values(), *base.values()], [column.label for column in self._columns.values()])
        edits = human_edits(self._crm, self._kind, [r.id for i, r in now.items() if r.version != versions[i]])
        for row in rows:
            record_id = ids.get(row.number)
            if record_id is None or row.error is not None:
                continue
            if record_id not in now:
                row.error = gone(self._kind, row.cells[self._places.id])
                continue
            row.now = now[record_id]
            if row.now.id != record_id:
                self.merged.add(row.number)
            row.stale = row.now.id != record_id or row.now.version != versions[record_id]
            authors = {path: edit.user_id for path, edit in edits.get(row.now.id, {}).items()}
            self._compare(row, row.now, base.get(record_id), authors)
        fresh = [row for row in rows if row.number not in ids and row.error is None]
        self._examine_new(fresh)

    def _survivors(self, ids: Sequence[int]) -> dict[int, Record]:
        """Return for ids of records that were merged since what they are now."""
        trails = merged_ids(self._crm, self._kind.name, [format_id(one) for one in ids])
        survivors = {one.id: one for one in self._service.get_many([each.record_id for each in trails.values()])}
        return {
            parse_id(told): survivors[each.record_id] for told, each in trails.items() if each.record_id in survivors
        }

    def _identify(self, row: EditedRow, ids: dict[int, int], doubles: Mapping[int, int]) -> None:
        typed = row.cells[self._places.id].strip()
        if not typed:
            return
        record_id = self.read_id(row)
        if record_id is None:
            message = "is no id: 13 characters, as the export wrote them; empty it to make a new record of the row"
            row.error = BadCell("id", message, column="id", value=typed[:80])
        elif row.number in doubles:
            first = doubles[row.number]
            message = f"rows {first} and {row.number} have the same id; only row {first} is taken"
            row.error = BadCell("duplicate", message, column="id", value=typed)
        elif self.read_version(row) < 1:
            message = "is not the version that the export wrote: without it nobody can tell what changed since"
            row.error = BadCell(
                "version", message, column="version", value=row.cells[self._places.version].strip()[:80]
            )
        else:
            ids[row.number] = record_id

    def read_id(self, row: EditedRow) -> int | None:
        """Return the id that a row gives; None where it gives none, or something else."""
        typed = row.cells[self._places.id].strip().removeprefix("'")
        if typed.isdecimal() and len(typed) < 13:
            typed = typed.zfill(13)  # a spreadsheet took it for a number
        try:
            return parse_id(typed)
        except InvalidValue:
            return None

    def read_version(self, row: EditedRow) -> int:
        """Return the version that a row gives, 0 where that is none."""
        text = row.cells[self._places.version].strip()
        return int(text) if text.isdecimal() and text.isascii() and len(text) < 10 else 0

    def _compare(self, row: EditedRow, now: Record, base: Record | None, authors: Mapping[str, int | None]) -> None:
        """Find what the cells change of what the export said, or, when that is not known any more, of what is now."""
        for path, column in self._columns.items():
            try:
                self._compare_field(row, path, column, now, base, authors)
            except BadCell as bad:
                row.error = row.error or bad.at(column.name, column.told(row.cells)[:80])

    def _compare_field(
        self,
        row: EditedRow,
        path: str,
        column: Column,
        now: Record,
        base: Record | None,
        authors: Mapping[str, int | None],
    ) -> None:
        read_from = base or now
        label, policy = self._targets.label(column, read_from), self._policies.get(path, "keep")
        found = self._reader.read(column, row.cells, read_from, label, believed=policy == "overwrite")
        field = column.field
        current = field.of(now)
        if isinstance(found, Mangled):
            row.suspects.append(self._suspect(row, column, now, found))
            return
        if found is UNTOUCHED or same(found, current):
            return
        if column.field.declaration.derived:
            raise BadCell("derived", "follows from other fields and cannot be set; change those")
        clashing = row.stale and (base is None or not same(field.of(base), current))
        new, old = self._targets.shown(column, found), self._targets.shown(column, current)
        if clashing:
            taken = policy == "overwrite" or (policy == "fill" and current in (None, "", ()))
            author = authors.get(path)
            row.clashes.append(
                Clash(
                    row=row.number,
                    record=now.id,
                    name=self._targets.name(now),
                    field=path,
                    base=None if base is None else self._targets.shown(column, field.of(base)),
                    file=new,
                    now=old,
                    policy=policy,
                    taken=taken,
                    by=self._targets.user(author) if author else "",
                )
            )
            if not taken:
                return
        row.values[path] = found
        row.edits.append(
            FieldEdit(row=row.number, record=now.id, name=self._targets.name(now), field=path, old=old, new=new)
        )

    def _suspect(self, row: EditedRow, column: Column, now: Record, found: Mangled) -> Suspect:
        return Suspect(
            row=row.number,
            record=now.id,
            name=self._targets.name(now),
            field=column.field.path,
            now=self._targets.shown(column, column.field.of(now)),
            file=found.text[:200],
            how=found.how,
        )

    def _examine_new(self, rows: Sequence[EditedRow]) -> None:
        """Read the rows without an id: each makes a record, unless the same row made it before."""
        keyed: dict[str, list[EditedRow]] = {}
        for row in rows:
            if not any(cell.strip() for cell in row.cells):
                continue
            row.external = self._key(row)
            keyed.setdefault(row.external[0], []).append(row)
        for system, named in keyed.items():
            known = self._lookup.known(self._kind.name, system, [row.external[1] for row in named if row.external])
            for row in named:
                entry = known.get(row.external[1]) if row.external else None
                if entry is None:
                    self._read_new(row)
                elif system != SYSTEM or entry.state != "live":
                    told = f"{self._kind.name} {format_id(entry.record_id)}"
                    state = (
                        f"names {told} already; give its id"
                        if entry.state == "live"
                        else f"names {told}, which was {entry.state}"
                    )
                    row.error = BadCell("external_id", state, column="external_id", value=f"{system}:{entry.external}")
                else:
                    row.external = None

    def _key(self, row: EditedRow) -> tuple[str, str]:
        typed = row.cells[self._places.external].strip() if self._places.external is not None else ""
        system, colon, external = typed.partition(":")
        if colon and system and external:
            return system, external
        text = "\x1f".join(
            cell for at, cell in enumerate(row.cells) if at not in (self._places.id, self._places.version)
        )
        digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=12).hexdigest()
        self.twins[digest] += 1
        return SYSTEM, f"{digest}/{self.twins[digest]}"

    def _read_new(self, row: EditedRow) -> None:
        required = {path for path, field in self._kind.fields.items() if field.declaration.required}
        missing = sorted(required - self._columns.keys())
        if missing:
            row.error = BadCell(
                "required", f"a new {self._kind.name} needs {', '.join(missing)}, which is no column here"
            )
        for path, column in self._columns.items():
            declared = column.field.declaration
            if declared.derived:
                continue
            try:
                if declared.kind == "reference":
                    found: Any = self._reader.target(column, row.cells)
                else:
                    currency = row.cells[column.currency_at].strip().upper() if column.currency_at is not None else ""
                    found = self._reader.value(column, row.cells[column.at], currency)
            except BadCell as bad:
                row.error = row.error or bad.at(column.name, column.told(row.cells)[:80])
                continue
            if found not in (None, ()):
                row.values[path] = found
