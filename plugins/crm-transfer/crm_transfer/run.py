"""Runs an import: opens every file first, works chunk by chunk, finishes what had to wait, keeps count."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any, Final

from crm_core import CRM
from crm_core.errors import ConflictError, DuplicateKey, StorageConflict
from crm_core.extend import BadRow
from crm_core.values import few_collections
from crm_transfer.ahead import Ahead, Drafts, Rows
from crm_transfer.chunk import RANK, Chunk
from crm_transfer.conflicts import Arbiter
from crm_transfer.entries import draft
from crm_transfer.errors import BadCell, FileFault
from crm_transfer.jobs import Job, cut_off, notes_of, sums_told
from crm_transfer.leftover import refuse_leftovers
from crm_transfer.lookup import Lookup
from crm_transfer.pace import Pace
from crm_transfer.readers import RecordReader
from crm_transfer.reading import CSV, JSON_LINES
from crm_transfer.rejects import write_rejects
from crm_transfer.report import SHOWN, FileReport, ImportReport, RowError, shown
from crm_transfer.rows import Row, groups_of
from crm_transfer.spill import Made, Rejected, Spill, Waiting
from crm_transfer.staging import Grouping
from crm_transfer.takeback import TakeBack

_ATTEMPTS: Final = 3
_LARGE: Final = 10_000
"""Rows of a file from which on its chunks are read while others are committed."""
_ALONE: Final = (CSV, JSON_LINES)
"""Formats whose rows any thread may read; those of other plugins may be a connection to somewhere."""

Progress = Callable[[int, int, str], None]


class _Torn(Exception):
    """A row of the chunk was refused when some of its records had been written."""


class Run:
    """One import of one or several files; reject files go to the folder `rejects`, without one beside each file.

    `whole` says that all of it is in one transaction, of which no part can be taken back alone.
    """

    def __init__(
        self,
        crm: CRM,
        *,
        dry_run: bool = False,
        whole: bool = False,
        progress: Progress | None = None,
        rejects: Path | None = None,
    ) -> None:
        """Take the CRM to import into."""
        self._crm = crm
        self._dry_run = dry_run
        self._whole = whole
        self._progress = progress
        self._rejects = rejects
        self._lookup = Lookup(crm)
        self._arbiter = Arbiter(crm)
        self._resumed: int | None = None
        self._pace = Pace()
        self._done = self._total = 0
        self._linked: Counter[tuple[int, int]] = Counter()
        self._checked: Counter[tuple[int, int]] = Counter()
        self._recounted: dict[tuple[int, int], str] = {}
        self._summed: dict[int, list[str]] = {}

    def files(
        self,
        jobs: Sequence[Job],
        *,
        label: str,
        detail: Mapping[str, Any],
        resume: int | None = None,
        afterwards: Callable[[], list[str]] | None = None,
    ) -> ImportReport:
        """Import the files in order, as one operation; `resume` names one that was cut off and now goes on.

        `afterwards` looks at the records once all are there and returns what it noticed, in words.
        """
        started = perf_counter()
        self._resumed = resume
        for job in jobs:
            self._lookup.know_own(job.compiled.records)
        report = ImportReport(dry_run=self._dry_run, files=[FileReport(file=job.path.name) for job in jobs])
        with Spill() as spill, few_collections():
            with self._operation(label, detail, resume) as operation:
                report.operation = None if self._dry_run else operation.id
                self._work(jobs, report, spill)
                report.notes += afterwards() if afterwards else []
            self._finish(jobs, report, spill)
        report.seconds = perf_counter() - started
        return report

    def _operation(self, label: str, detail: Mapping[str, Any], resume: int | None) -> AbstractContextManager[Any]:
        if resume is None:
            return self._crm.operation(label, kind="import", detail=detail, recorded=True)
        return self._crm.ledger.resumed(cut_off(self._crm, resume))

    def _work(self, jobs: Sequence[Job], report: ImportReport, spill: Spill) -> None:
        for at, job in enumerate(jobs):
            rows: Rows = []
            with Ahead(self._chunks(job), partial(self._drafts, at, job, spill)) as ahead:
                for rows, drafts in ahead:
                    self._rows(at, job, rows, drafts, ahead, report.files[at], spill)
                    self._tell(len(rows), jobs, job)
            self._summed[at] = [] if job.compiled.grouping else sums_told(rows, len(job.source.columns))
            self._skipped(jobs, job, report.files[at])
        self._finish_waiting(jobs, report, spill)

    def _skipped(self, jobs: Sequence[Job], job: Job, report: FileReport) -> None:
        """Count the rows that rules left out: they change nothing, and have a figure of their own."""
        stage = job.compiled.stage
        if stage is not None and stage.skipped:
            report.skipped = dict(stage.skipped)
            report.counts.add("unchanged", stage.skipped.total())
            self._tell(stage.skipped.total(), jobs, job)

    def _chunks(self, job: Job) -> Iterator[list[Row | BadRow]]:
        self._pace.of_file(len(job.compiled.records))
        stage = job.compiled.stage
        if stage is not None:
            pace = self._pace
            yield from stage.chunks(job.source.rows, lambda: pace.size, lambda rows: self._tell_sorting(rows, job))
            return
        rows: list[Row | BadRow] = []
        for found in job.source.rows:
            rows.append(
                found if isinstance(found, BadRow) else Row(found.number, list(found.cells), found.number, found.number)
            )
            if len(rows) >= self._pace.size:
                yield rows
                rows = []
        if rows:
            yield rows

    def _tell(self, rows: int, jobs: Sequence[Job], job: Job) -> None:
        self._done += rows
        if self._progress is not None:
            self._total = sum(each.source.total for each in jobs)
            self._progress(self._done, self._total, job.path.name)

    def _tell_sorting(self, rows: int, job: Job) -> None:
        if self._progress is not None:
            total = job.source.total
            told = f"{job.path.name}: sorted {rows:,} of {total:,} rows"
            self._progress(self._done, max(self._total, total), told)

    def _drafts(self, at: int, job: Job, spill: Spill, rows: Rows) -> Drafts:
        fit = [row for row in rows if isinstance(row, Row) and row.error is None]
        records = enumerate(job.compiled.records)
        return [draft(reader, fit, spill.settled(f"{at}/{number}"), values=True) for number, reader in records]

    def _may_read_ahead(self, job: Job) -> bool:
        """Whether another thread may read the next rows of a file: where all that does so is known to ask nobody.

        Rows that are grouped are not read ahead: there it takes more of the processor than the commit gives.
        """
        alone = job.importer in _ALONE and job.compiled.grouping is None and job.source.total >= _LARGE
        return alone and not (self._dry_run or self._whole or self._pace.is_shared)

    def _rows(
        self,
        at: int,
        job: Job,
        rows: Rows,
        drafts: Drafts,
        ahead: Ahead,
        report: FileReport,
        spill: Spill,
    ) -> None:
        good = [row for row in rows if isinstance(row, Row)]
        all_cells = [row.cells for row in good]
        for number, (_, holds) in enumerate(job.compiled.checks):
            self._checked[at, number] += sum(map(holds, all_cells))
        fit = [row for row in good if row.error is None]
        grouping = job.compiled.grouping
        readers = job.compiled.records
        last = grouping is not None
        chunk = Chunk(self._crm, readers, fit, self._lookup, spill, self._arbiter, file=at, last=last, drafts=drafts)
        self._write(chunk, fit, readers, grouping, ahead if self._may_read_ahead(job) else None)
        self._settle(at, job, good, report, spill)
        bad = [row for row in rows if isinstance(row, BadRow)]
        spill.reject([Rejected(at, b.number, b.column, b.value, b.rule, b.message, tuple(b.cells)) for b in bad])
        report.counts.add("rejected", len(bad))
        for group in groups_of(good):  # which knows its rows, as they know it: nobody would count them as gone
            group.rows = []

    def _write(
        self,
        chunk: Chunk,
        rows: Sequence[Row],
        readers: Sequence[RecordReader],
        grouping: Grouping | None = None,
        ahead: Ahead | None = None,
    ) -> None:
        """Write a chunk in one transaction; when somebody else changed a record meanwhile, do the whole chunk again.

        It is done again as well without the rows that were refused halfway: of a rejected row nothing is written.
        During the commit the next chunk is read, with `ahead`.
        """
        attempt = 1
        while True:
            self._prepare(chunk, rows, readers, grouping)
            try:
                asked = perf_counter()
                with ahead or nullcontext(), self._crm.transaction():
                    self._pace.came(perf_counter() - asked)
                    seconds = self._pace.watch()
                    chunk.write()
                    if grouping is not None:
                        grouping.settle(rows)
                    self._leave_out_torn(chunk)
                    spent = seconds()
                    if ahead is not None and chunk.written and not self._pace.is_shared:
                        ahead.start()
                chunk.committed()
                break
            except _Torn:
                self._lookup.forget()
                chunk.reset(refused=True)
            except (ConflictError, DuplicateKey, StorageConflict):
                if attempt == _ATTEMPTS or self._dry_run:
                    raise
                attempt += 1
                self._lookup.forget()
                chunk.reset()
                if grouping is not None:
                    grouping.anew(rows)
        self._pace.adapt(len(rows), chunk.written, spent)
        self._pace.rest()

    def _prepare(
        self, chunk: Chunk, rows: Sequence[Row], readers: Sequence[RecordReader], grouping: Grouping | None
    ) -> None:
        """Prepare a chunk, again as long as refused rows take others of their group with them."""
        chunk.prepare()
        while grouping is not None:
            if not grouping.spec.keeps_missing:
                refuse_leftovers(self._crm, readers, chunk)
            if not grouping.settle(rows):
                return
            chunk.reset(refused=True)
            chunk.prepare()

    def _leave_out_torn(self, chunk: Chunk) -> None:
        torn = chunk.torn()
        if torn and not self._whole:
            raise _Torn
        for row in torn:  # it is all taken back in the end; only the counts must be those of a real run
            row.status.clear()

    # Counting

    def _settle(self, at: int, job: Job, rows: Sequence[Row], report: FileReport, spill: Spill) -> None:
        """Count what became of rows and of their records; keep those that were rejected or wait."""
        readers = job.compiled.records
        waiting: list[Waiting] = []
        rejected: list[Rejected] = []
        totals: Counter[str] = Counter()
        records: Counter[tuple[int, str]] = Counter()
        good = [row for row in rows if row.error is None]
        for row in rows if len(good) < len(rows) else ():
            if row.error is not None:
                rejected.append(_rejected(at, row))
                totals["rejected"] += 1
                for number, reader in enumerate(readers):
                    if number in row.status or reader.applies is None or reader.applies(row.cells):
                        records[number, "rejected"] += 1  # nothing of the row is written, whatever is there already
        for told, times in Counter(tuple(row.status.items()) for row in good).items():
            totals[_highest(told)] += times
            for made in told:
                records[made] += times
        for row in good:
            if row.kept:
                report.keep(row.kept)
            if row.waiting:
                spill.make(self._made(at, row))
                total = _highest(row.status.items())
                for number in sorted(row.waiting):
                    waiting.append(Waiting(at, row.number, number, row.status.get(number, ""), total, tuple(row.cells)))
        for total, times in totals.items():
            report.counts.add(total, times)
        for (number, status), times in sorted(records.items()):
            report.of_type(readers[number].kind.name).add(status, times)
        spill.reject(rejected)
        spill.wait(waiting)

    def _made(self, at: int, row: Row) -> list[Made]:
        """Return what was written of a row that waits; of one that goes on after a cut, what was there as well."""
        there = row.stored if self._resumed is None else row.status
        nothing = (0, 0, 0)
        return [Made(at, row.number, n, row.status[n], *row.stored.get(n, nothing)) for n in there]

    # Records that waited

    def _finish_waiting(self, jobs: Sequence[Job], report: ImportReport, spill: Spill) -> None:
        """Go on with records that point at something later until a round brings nothing new, then refuse the rest."""
        left = spill.next_round()
        last = False
        while left:
            for chunk in spill.waiting(self._pace.size):
                self._waited(chunk, jobs[chunk[0].file], report.files[chunk[0].file], spill, last=last)
            before, left = left, spill.next_round()
            last = left == before
        readers = [job.compiled.records for job in jobs]
        TakeBack(self._crm, readers, spill, resumed=self._resumed, whole=self._whole).work(report.files)

    def _waited(self, chunk: Sequence[Waiting], job: Job, report: FileReport, spill: Spill, *, last: bool) -> None:
        at, number = chunk[0].file, chunk[0].record
        rows = [Row(one.row, list(one.cells), one.row, one.row) for one in chunk]
        readers = job.compiled.records
        chunked = Chunk(self._crm, readers, rows, self._lookup, spill, self._arbiter, file=at, only=number, last=last)
        self._write(chunked, rows, readers)
        again: list[Waiting] = []
        rejected: list[Rejected] = []
        of_type = report.of_type(readers[number].kind.name)
        for one, row in zip(chunk, rows, strict=True):
            if row.error is not None:
                if self._recount(report, one, "rejected"):
                    rejected.append(_rejected(at, row))
                if not one.written:
                    of_type.add("rejected")
                elif one.written == "unchanged":
                    of_type.add("unchanged", -1)
                    of_type.add("rejected")
                    spill.refuse_made(at, one.row, number)
            elif number in row.waiting:
                again.append(one)
            else:
                report.keep(row.kept)
                spill.make(
                    [Made(at, one.row, number, one.written or row.status[n], *row.stored[n]) for n in row.stored]
                )
                self._linked[at, number] += 1
                if not one.written:
                    of_type.add(row.status.get(number, "unchanged"))
                    self._recount(report, one, row.status.get(number, "unchanged"))
        spill.reject(rejected)
        spill.wait(again)

    def _recount(self, report: FileReport, one: Waiting, status: str) -> bool:
        """Count a row anew when one of its records, which had waited, changes what became of it; say whether it did."""
        place = one.file, one.row
        old = self._recounted.get(place, one.status)
        if RANK.index(status) <= RANK.index(old):
            return False
        self._recounted[place] = status
        report.counts.add(old, -1)
        report.counts.add(status)
        return True

    # The end

    def _finish(self, jobs: Sequence[Job], report: ImportReport, spill: Spill) -> None:
        for at, job in enumerate(jobs):
            told = report.files[at]
            told.notes = notes_of(
                job, _of_file(self._checked, at), _of_file(self._linked, at), self._summed.get(at, [])
            )
            found = (RowError(job.path.name, r.row, r.column, r.value, r.rule, r.message) for r in spill.rejected(at))
            for error in found:
                if len(report.errors) >= SHOWN:
                    break
                report.errors.append(error)
            if told.counts.rejected and not self._dry_run:
                try:
                    told.rejects_file = str(
                        write_rejects(job.path, job.importer, job.source, spill.rejected, at, self._rejects)
                    )
                except FileFault as fault:  # the rows are in: what became of them must still be told
                    told.notes.append(f"{fault.message}; {fault.hint}")


def _highest(statuses: Iterable[tuple[int, str]]) -> str:
    """Return what became of a row by what became of its records."""
    return max((status for _, status in statuses), key=RANK.index, default="unchanged")


def _of_file(counts: Mapping[tuple[int, int], int], file: int) -> dict[int, int]:
    return {number: count for (at, number), count in counts.items() if at == file}


def _rejected(at: int, row: Row) -> Rejected:
    error = row.error or BadCell("", "")
    return Rejected(at, row.number, error.column, shown(error.value), error.rule, error.message, tuple(row.cells))
