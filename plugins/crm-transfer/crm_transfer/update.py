"""Brings an edited export back: finds what was changed, writes that alone, never deletes.

Rows are matched by id, a thousand at a time; what each changes is found apart, in `comparing`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from time import perf_counter
from types import MappingProxyType
from typing import Any, Final

from crm_core import CRM, Record, RecordService, Write
from crm_core.errors import ConflictError
from crm_core.extend import BadRow, Importer, Source, SourceRow
from crm_core.records import RecordType
from crm_core.values import format_id
from crm_transfer.comparing import Comparison, EditedRow, Places
from crm_transfer.conflicts import BY_HAND
from crm_transfer.diff import Diff
from crm_transfer.doubtful import refused
from crm_transfer.edited import Forms, Reader
from crm_transfer.edited_columns import columns_of
from crm_transfer.errors import BadCell, FileFault
from crm_transfer.jobs import cut_off
from crm_transfer.lookup import Lookup
from crm_transfer.mapping import RowMapping
from crm_transfer.opening import importer_for, open_source
from crm_transfer.policies import Conflict
from crm_transfer.rejects import refuse_no_folder, write_rejects
from crm_transfer.report import ERROR_COLUMNS, SHOWN, FileReport, ImportReport, RowError
from crm_transfer.roundtrip import built, clash_policies, names_of
from crm_transfer.run import Progress
from crm_transfer.spill import Rejected, Spill
from crm_transfer.targets import Targets

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
    refuse_no_folder(rejects)
    with crm.rehearsal("import") if dry_run else nullcontext(crm) as target:
        update = _Update(target, type_name, path, mapping, options, policies)
        return update.run(dry_run=dry_run, progress=progress, rejects=rejects, resume=resume)


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
        self._places = self._found(names, mapped=mapping is not None)
        self._columns = self._places.columns
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
        targets = Targets(crm, self._kind, self._lookup)
        reader = Reader(self._kind, self._forms, targets.pointed, targets.was_called)
        decided = clash_policies(policies, mapping, self._kind)
        self._comparison = Comparison(crm, self._kind, self._places, reader, self._lookup, targets, decided)

    def _found(self, names: Mapping[str, str], *, mapped: bool) -> Places:
        header = self._source.columns
        columns = columns_of(self._kind, names, header)
        return Places(
            columns={path: column for path, column in columns.items() if not mapped or path in names},
            id=self._place("id", names),
            version=self._place("version", names),
            external=header.index("external_id") if "external_id" in header else None,
        )

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
            return self._crm.ledger.resumed(cut_off(self._crm, resume))
        return self._crm.operation(f"import edited {self._path.name}", kind="import", detail=self._detail)

    def _chunks(self) -> Iterator[list[SourceRow | BadRow]]:
        rows: list[SourceRow | BadRow] = []
        places = self._places
        read = {places.id, places.version, *([] if places.external is None else [places.external])}
        for column in self._columns.values():
            read |= {at for at in (column.at, column.label_at, column.currency_at) if at is not None}
        for found in refused(self._source.rows, read):
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
            good = [EditedRow(row.number, row.cells) for row in rows if isinstance(row, SourceRow)]
            ids = {row.number: found for row in good if (found := self._comparison.read_id(row)) is not None}
            versions = {
                found: version
                for row in good
                if (found := ids.get(row.number)) and (version := self._comparison.read_version(row))
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
        rows = [EditedRow(row.number, row.cells) for row in found if isinstance(row, SourceRow)]
        bad = [row for row in found if isinstance(row, BadRow)]
        keys = [(row.number, format_id(one)) for row in rows if (one := self._comparison.read_id(row)) is not None]
        doubles = spill.first_rows("id", keys)
        twins = Counter(self._comparison.twins)
        for attempt in range(_ATTEMPTS):
            self._comparison.twins = Counter(twins)
            rows = [EditedRow(row.number, row.cells) for row in rows]
            self._comparison.examine(rows, doubles)
            try:
                with self._crm.transaction():
                    self._write(rows, last=attempt == _ATTEMPTS - 1)
                break
            except _Again:
                self._lookup.forget()
        self._count(rows, bad, file, spill)

    # Writing and counting

    def _write(self, rows: Sequence[EditedRow], *, last: bool) -> None:
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

    def _count(self, rows: Sequence[EditedRow], bad: Sequence[BadRow], file: FileReport, spill: Spill) -> None:
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
                file.diff.add(row.edits, row.clashes, row.suspects, stale=row.stale)
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
        used |= {
            self._source.columns[self._places.id],
            self._source.columns[self._places.version],
            *_OWN_COLUMNS,
            *ERROR_COLUMNS,
        }
        unknown = [name for name in self._source.columns if name not in used]
        if unknown:
            notes.append(f"columns that are no field of a {self._kind.name}, not imported: {', '.join(unknown)}")
        if self._forms.shortened:
            notes.append(
                f"{self._forms.shortened:,} cells hold what the spreadsheet cut (long numbers, leading zeros): "
                "these fields stay as they are"
            )
        if merged := len(self._comparison.merged):
            notes.append(
                f"rows of a {self._kind.name} that was merged since the export: {merged:,}, compared with the one that "
                "it was merged into"
            )
        if self._kind.name == "deal" and file.diff.fields["stage"]:
            notes.append(
                f"{file.diff.fields['stage']:,} deals get another stage, and an import writes no sales and no moves: "
                "`crm deals move` does"
            )
        if file.diff.created and not file.counts.rejected:
            notes.append("new rows have an id now: export again before you edit them further")
        return notes
