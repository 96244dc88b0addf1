"""Brings an edited export back: finds what was changed, writes that alone, never deletes.

Rows are matched by id. A row whose record changed since the export is merged field by field: what only the file
changed is taken, what both changed is a clash, which a policy decides.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from time import perf_counter
from types import MappingProxyType
from typing import Any, Final

import attrs

from crm_core import CRM, Record, RecordService, Write
from crm_core.errors import ConflictError, CrmError, InvalidValue
from crm_core.extend import BadRow, Importer, Source, SourceRow
from crm_core.records import RecordType
from crm_core.values import format_id, parse_id
from crm_transfer.compiled import Reference
from crm_transfer.conflicts import BY_HAND, human_edits, same, shown
from crm_transfer.diff import Clash, Diff, FieldEdit
from crm_transfer.edited import UNTOUCHED, Cells, Column, Forms, Reader, columns_of
from crm_transfer.errors import BadCell, FileFault
from crm_transfer.lookup import Lookup
from crm_transfer.mapping import RowMapping
from crm_transfer.names import Labels, label_field
from crm_transfer.opening import importer_for, open_source
from crm_transfer.policies import Conflict
from crm_transfer.rejects import write_rejects
from crm_transfer.report import ERROR_COLUMNS, SHOWN, FileReport, ImportReport, RowError
from crm_transfer.roundtrip import built, clash_policies, gone, names_of
from crm_transfer.run import Progress
from crm_transfer.spill import Rejected, Spill

SYSTEM: Final = "spreadsheet"
"""The system of the external ids of new rows, which have no id of their own: so that they are new only once."""
_CHUNK: Final = 1_000
_LEARNT_FROM: Final = 20_000
_ATTEMPTS: Final = 3
_OWN_COLUMNS: Final = ("id", "version", "external_id")


def is_export(columns: Sequence[str]) -> bool:
    """Say whether a file with these columns is an export that can be brought back."""
    return {"id", "version"} <= set(columns)


def update_file(
    crm: CRM,
    type_name: str,
    path: Path,
    *,
    mapping: RowMapping | None = None,
    options: Mapping[str, Any] = MappingProxyType({}),
    dry_run: bool = False,
    progress: Progress | None = None,
    rejects: Path | None = None,
    resume: int | None = None,
    policies: Mapping[str, Conflict] = MappingProxyType({}),
) -> ImportReport:
    """Write what was changed in an export of `type_name`, as one operation; `report.files[0].diff` says what.

    Args:
        crm: where to.
        type_name: the record type that was exported.
        path: the file: what `crm export` wrote, with columns or rows left out, added or changed.
        mapping: how the file calls the columns and writes dates and numbers, where that was changed.
        options: how the file is written (`format`, `encoding`, `sheet` ...), as in the `[file]` of a mapping.
        dry_run: find everything, write nothing.
        progress: called with rows done, rows in all and the file's name, chunk by chunk.
        rejects: the folder for the file of rejected rows; without it that goes beside the file.
        resume: the operation that was cut off.
        policies: who wins a clash, by field (or "" for all): "keep" (the CRM; the default), "overwrite", "fill".

    Raises:
        FileFault: the file as a whole cannot be read, or is no such export.
        MappingError: a policy or the mapping does not fit.
    """
    with crm.rehearsal("import") if dry_run else nullcontext(crm) as target:
        update = _Update(target, type_name, path, mapping, options, policies)
        return update.run(dry_run=dry_run, progress=progress, rejects=rejects, resume=resume)


@attrs.define
class _Row:
    """A row on its way: what it changes of which record, or why it cannot be taken."""

    number: int
    cells: Cells
    error: BadCell | None = None
    now: Record | None = None
    values: dict[str, Any] = attrs.field(factory=dict)
    edits: list[FieldEdit] = attrs.field(factory=list)
    clashes: list[Clash] = attrs.field(factory=list)
    external: tuple[str, str] | None = None
    stale: bool = False
    status: str = "unchanged"


class _Again(Exception):
    """Somebody changed a record of the chunk between reading and writing it."""


class _Update:
    def __init__(
        self,
        crm: CRM,
        type_name: str,
        path: Path,
        mapping: RowMapping | None,
        options: Mapping[str, Any],
        policies: Mapping[str, Conflict],
    ) -> None:
        self._crm, self._path = crm, path
        self._kind: RecordType = crm.registry.named(type_name)
        form = mapping.form if mapping is not None else None
        self._importer: Importer = importer_for(crm, path, options.get("format") or (form.format if form else ""))
        given = {name: value for name, value in options.items() if name != "format"}
        self._options = {**(form.options if form else {}), **given}
        self._source: Source = open_source(self._importer, path, self._options)
        names = names_of(mapping, self._kind) if mapping is not None else {}
        self._id, self._version = self._place("id", names), self._place("version", names)
        header = self._source.columns
        self._external = header.index("external_id") if "external_id" in header else None
        self._columns = columns_of(self._kind, names, header)
        if mapping is not None:
            self._columns = {path: column for path, column in self._columns.items() if path in names}
        self._policies = clash_policies(policies, mapping, self._kind)
        self._labels = Labels(crm, self._kind)
        self._lookup = Lookup(crm)
        self._service: RecordService[Record] = crm.records(self._kind.name)
        nested = self._importer.name == "jsonl"
        self._forms = Forms(zone=crm.zone, currency=crm.settings.currency, nested=nested)
        if form is not None:
            self._forms.declared_dates = form.dates
            if form.decimal or form.thousands:
                self._forms.declared_numbers = form.decimal or ".", form.thousands
        self._detail = {
            "file": str(path.absolute()),
            "sha256": self._source.digest,
            "update": self._kind.name,
            BY_HAND: True,
            **({"mapping": mapping.text, "system": mapping.records[0].system} if mapping else {}),
            **({"options": dict(options)} if options else {}),
            **({"policies": dict(policies)} if policies else {}),
        }
        self._reader = Reader(self._kind, self._forms, self._pointed, self._was_called)
        self._twins: Counter[str] = Counter()

    def _place(self, name: str, names: Mapping[str, str]) -> int:
        called = names.get(name, name)
        if called not in self._source.columns:
            raise FileFault(
                f"{self._path.name}: there is no column {called!r}: "
                "without id and version nobody can tell which records its rows are, and what changed since",
                hint=f"export it again with both: crm export {self._kind.plural} -o FILE (or --columns id,version,...)",
            )
        return self._source.columns.index(called)

    # The run

    def run(
        self, *, dry_run: bool, progress: Progress | None, rejects: Path | None, resume: int | None
    ) -> ImportReport:
        started = perf_counter()
        self._learn()
        file = FileReport(file=self._path.name, diff=Diff())
        report = ImportReport(dry_run=dry_run, files=[file])
        done = 0
        with Spill() as spill:
            with self._operation(resume) as operation:
                for rows in self._chunks():
                    self._take(rows, file, spill)
                    done += len(rows)
                    if progress is not None:
                        progress(done, self._source.total, self._path.name)
            report.operation = None if dry_run or not (operation.transactions or resume) else operation.id
            self._finish(report, file, spill, rejects)
        report.seconds = perf_counter() - started
        return report

    def _operation(self, resume: int | None) -> AbstractContextManager[Any]:
        if resume is not None:
            return self._crm.ledger.resumed(self._crm.ledger.get(resume))
        return self._crm.operation(f"import edited {self._path.name}", kind="import", detail=self._detail)

    def _chunks(self) -> Iterator[list[SourceRow | BadRow]]:
        rows: list[SourceRow | BadRow] = []
        for found in self._source.rows:
            rows.append(found)
            if len(rows) >= _CHUNK:
                yield rows
                rows = []
        if rows:
            yield rows

    def _learn(self) -> None:
        """Look at the first rows to learn how the spreadsheet spells dates and numbers, then begin anew."""
        columns = list(self._columns.values())
        looked = 0
        for rows in self._chunks():
            good = [_Row(row.number, row.cells) for row in rows if isinstance(row, SourceRow)]
            ids = {row.number: found for row in good if (found := self._read_id(row)) is not None}
            versions = {
                found: version
                for row in good
                if (found := ids.get(row.number)) and (version := self._read_version(row))
            }
            records = self._crm.ledger.as_read(self._kind.name, versions)
            for row in good:
                record = records.get(ids.get(row.number, 0))
                if record is not None:
                    self._forms.learn(columns, row.cells, record)
            looked += len(rows)
            if looked >= _LEARNT_FROM:
                break
        self._source = open_source(self._importer, self._path, self._options)

    def _take(self, found: Sequence[SourceRow | BadRow], file: FileReport, spill: Spill) -> None:
        rows = [_Row(row.number, row.cells) for row in found if isinstance(row, SourceRow)]
        bad = [row for row in found if isinstance(row, BadRow)]
        keys = [(row.number, format_id(one)) for row in rows if (one := self._read_id(row)) is not None]
        doubles = spill.first_rows("id", keys)
        twins = Counter(self._twins)
        for attempt in range(_ATTEMPTS):
            self._twins = Counter(twins)
            rows = [_Row(row.number, row.cells) for row in rows]
            self._examine(rows, doubles)
            try:
                with self._crm.transaction():
                    self._write(rows, last=attempt == _ATTEMPTS - 1)
                break
            except _Again:
                self._lookup.forget()
        self._count(rows, bad, file, spill)

    # What a row says

    def _examine(self, rows: Sequence[_Row], doubles: Mapping[int, int]) -> None:
        """Find out what each row changes."""
        ids: dict[int, int] = {}
        for row in rows:
            self._identify(row, ids, doubles)
        now = {record.id: record for record in self._service.get_many(list(ids.values()))}
        versions = {ids[row.number]: self._read_version(row) for row in rows if row.number in ids}
        base = self._crm.ledger.as_read(self._kind.name, versions)
        self._labels.load([*now.values(), *base.values()], [column.label for column in self._columns.values()])
        edits = human_edits(self._crm, self._kind, [i for i, r in now.items() if r.version != versions[i]])
        for row in rows:
            record_id = ids.get(row.number)
            if record_id is None or row.error is not None:
                continue
            if record_id not in now:
                row.error = gone(self._kind, row.cells[self._id])
                continue
            row.now = now[record_id]
            row.stale = row.now.version != versions[record_id]
            authors = {path: edit.user_id for path, edit in edits.get(record_id, {}).items()}
            self._compare(row, row.now, base.get(record_id), authors)
        fresh = [row for row in rows if row.number not in ids and row.error is None]
        self._examine_new(fresh)

    def _identify(self, row: _Row, ids: dict[int, int], doubles: Mapping[int, int]) -> None:
        typed = row.cells[self._id].strip()
        if not typed:
            return
        record_id = self._read_id(row)
        if record_id is None:
            message = "is no id: 13 characters, as the export wrote them; empty it to make a new record of the row"
            row.error = BadCell("id", message, column="id", value=typed[:80])
        elif row.number in doubles:
            first = doubles[row.number]
            message = f"rows {first} and {row.number} have the same id; only row {first} is taken"
            row.error = BadCell("duplicate", message, column="id", value=typed)
        elif self._read_version(row) < 1:
            message = "is not the version that the export wrote: without it nobody can tell what changed since"
            row.error = BadCell("version", message, column="version", value=row.cells[self._version].strip()[:80])
        else:
            ids[row.number] = record_id

    def _read_id(self, row: _Row) -> int | None:
        typed = row.cells[self._id].strip().removeprefix("'")
        if typed.isdecimal() and len(typed) < 13:
            typed = typed.zfill(13)  # a spreadsheet took it for a number
        try:
            return parse_id(typed)
        except InvalidValue:
            return None

    def _read_version(self, row: _Row) -> int:
        text = row.cells[self._version].strip()
        return int(text) if text.isdecimal() and text.isascii() and len(text) < 10 else 0

    def _compare(self, row: _Row, now: Record, base: Record | None, authors: Mapping[str, int | None]) -> None:
        """Find what the cells change of what the export said, or, when that is not known any more, of what is now."""
        for path, column in self._columns.items():
            try:
                self._compare_field(row, path, column, now, base, authors)
            except BadCell as bad:
                row.error = row.error or bad.at(column.name, column.told(row.cells)[:80])

    def _compare_field(
        self,
        row: _Row,
        path: str,
        column: Column,
        now: Record,
        base: Record | None,
        authors: Mapping[str, int | None],
    ) -> None:
        read_from = base or now
        found = self._reader.read(column, row.cells, read_from, self._label(column, read_from))
        field = column.field
        current = field.of(now)
        if found is UNTOUCHED or same(found, current):
            return
        if column.field.declaration.derived:
            raise BadCell("derived", "follows from other fields and cannot be set; change those")
        clashing = row.stale and (base is None or not same(field.of(base), current))
        new, old = self._shown(column, found), self._shown(column, current)
        if clashing:
            policy = self._policies.get(path, "keep")
            taken = policy == "overwrite" or (policy == "fill" and current in (None, "", ()))
            author = authors.get(path)
            row.clashes.append(
                Clash(
                    row=row.number,
                    record=now.id,
                    name=self._name(now),
                    field=path,
                    base=None if base is None else self._shown(column, field.of(base)),
                    file=new,
                    now=old,
                    policy=policy,
                    taken=taken,
                    by=self._user(author) if author else "",
                )
            )
            if not taken:
                return
        row.values[path] = found
        row.edits.append(FieldEdit(row=row.number, record=now.id, name=self._name(now), field=path, old=old, new=new))

    def _examine_new(self, rows: Sequence[_Row]) -> None:
        """Read the rows without an id: each makes a record, unless the same row made it before."""
        keyed: dict[str, list[_Row]] = {}
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

    def _key(self, row: _Row) -> tuple[str, str]:
        typed = row.cells[self._external].strip() if self._external is not None else ""
        system, colon, external = typed.partition(":")
        if colon and system and external:
            return system, external
        text = "\x1f".join(cell for at, cell in enumerate(row.cells) if at not in (self._id, self._version))
        digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=12).hexdigest()
        self._twins[digest] += 1
        return SYSTEM, f"{digest}/{self._twins[digest]}"

    def _read_new(self, row: _Row) -> None:
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

    # What a row points at

    def _pointed(self, column: Column, typed: str, name: str) -> int:
        """Return the id of what a cell points at: an id or whatever people type, or the name in the column beside."""
        target = column.field.declaration.references
        kind = self._crm.registry.types[target]
        if typed:
            try:
                return self._crm.resolve(target, typed.removeprefix("'"))
            except CrmError as error:
                raise BadCell("reference", f"{error.message}; {error.hint}".rstrip("; ")) from error
        reference = Reference(
            field=column.field.path,
            read=lambda cells: "",
            target=target,
            system="",
            by=label_field(kind),
            later=False,
            lenient=False,
            required=False,
            column=column.label,
        )
        self._lookup.load(reference, [name])
        found = self._lookup.found(reference, name)
        if isinstance(found, int):
            return found
        raise found or self._lookup.unknown(reference, name)

    def _was_called(self, column: Column, record_id: int, name: str) -> bool:
        """Say whether a record had this name before: an older export calls it so."""
        kind = self._crm.registry.types[column.field.declaration.references]
        images = self._crm.ledger.history.images_of(kind.plural, [record_id])
        return any(name in change.cells.get(label_field(kind), ()) for _, change in images)

    def _label(self, column: Column, record: Record) -> str | None:
        return self._labels.of(column.label, column.field.of(record)) if column.label in self._labels else None

    def _shown(self, column: Column, value: Any) -> str:
        if column.field.declaration.kind == "reference" and value is not None:
            kind = self._crm.registry.types[column.field.declaration.references]
            service: RecordService[Record] = self._crm.records(kind.name)
            found = service.get_many([value])
            label = getattr(found[0], label_field(kind), None) if found and label_field(kind) else None
            return f"{label} ({format_id(value)})" if label else format_id(value)
        return shown(column.field, value)[:200]

    def _name(self, record: Record) -> str:
        label = label_field(self._kind)
        return (label and getattr(record, label)) or format_id(record.id)

    def _user(self, user_id: int) -> str:
        found = self._crm.users.get_many([user_id])
        return found[0].name if found else format_id(user_id)

    # Writing and counting

    def _write(self, rows: Sequence[_Row], *, last: bool) -> None:
        writing = [row for row in rows if row.error is None and (row.values or (row.external and row.now is None))]
        writes: list[Write[Record]] = [
            Write(record=built(self._kind, row.values, row.now), before=row.now, external=row.external)
            for row in writing
        ]
        if not writes:
            return
        outcome = self._service.write_many(writes)
        if any(isinstance(refusal.error, ConflictError) for refusal in outcome.refused) and not last:
            raise _Again
        for refusal in outcome.refused:
            row = writing[refusal.index]
            column = self._columns.get(refusal.field)
            value = column.told(row.cells)[:80] if column else ""
            name = column.name if column else refusal.field
            row.error = BadCell(refusal.rule, refusal.error.message, column=name, value=value)
        for row, stored, changed in zip(writing, outcome.records, outcome.changed, strict=True):
            if stored is not None:
                row.status = "created" if row.now is None else "updated" if changed else "unchanged"

    def _count(self, rows: Sequence[_Row], bad: Sequence[BadRow], file: FileReport, spill: Spill) -> None:
        assert file.diff is not None, "an update has a diff"
        rejected = [Rejected(0, b.number, b.column, b.value, b.rule, b.message, tuple(b.cells)) for b in bad]
        of_type = file.of_type(self._kind.name)
        file.counts.add("rejected", len(bad))
        for row in rows:
            status = "rejected" if row.error is not None else row.status
            file.counts.add(status)
            of_type.add(status)
            if row.error is not None:
                error = row.error
                rejected.append(
                    Rejected(
                        0, row.number, error.column, error.value[:200], error.rule, error.message, tuple(row.cells)
                    )
                )
            elif status == "created":
                file.diff.add_new(row.number)
            else:
                file.diff.add(row.edits, row.clashes, stale=row.stale)
        spill.reject(rejected)

    def _finish(self, report: ImportReport, file: FileReport, spill: Spill, rejects: Path | None) -> None:
        file.notes = self._notes(file)
        for found in spill.rejected(0):
            if len(report.errors) >= SHOWN:
                break
            report.errors.append(
                RowError(self._path.name, found.row, found.column, found.value, found.rule, found.message)
            )
        if file.counts.rejected and not report.dry_run:
            try:
                written = write_rejects(self._path, self._importer, self._source, spill.rejected, 0, rejects)
                file.rejects_file = str(written)
            except FileFault as fault:  # the rows are in: what became of them must still be told
                file.notes.append(f"{fault.message}; {fault.hint}")

    def _notes(self, file: FileReport) -> list[str]:
        assert file.diff is not None, "an update has a diff"
        notes = [", ".join(f"{topic}: {found}" for topic, found in self._source.guesses.items())]
        used = {column.name for column in self._columns.values()}
        for column in self._columns.values():
            used |= {self._source.columns[at] for at in (column.label_at, column.currency_at) if at is not None}
        used |= {self._source.columns[self._id], self._source.columns[self._version], *_OWN_COLUMNS, *ERROR_COLUMNS}
        unknown = [name for name in self._source.columns if name not in used]
        if unknown:
            notes.append(f"columns that are no field of a {self._kind.name}, not imported: {', '.join(unknown)}")
        if self._forms.shortened:
            notes.append(
                f"{self._forms.shortened:,} cells hold what the spreadsheet cut (long numbers, leading zeros): "
                "these fields stay as they are"
            )
        if self._kind.name == "deal" and file.diff.fields["stage"]:
            notes.append(
                f"{file.diff.fields['stage']:,} deals get another stage, and an import writes no sales and no moves: "
                "`crm deals move` does"
            )
        if file.diff.created and not file.counts.rejected:
            notes.append("new rows have an id now: export again before you edit them further")
        return notes
