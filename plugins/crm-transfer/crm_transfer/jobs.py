"""A file and its mapping made ready for a run, and what is said of it in the end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import attrs

from crm_core import CRM, OperationEntry
from crm_core.errors import UsageError
from crm_core.extend import BadRow, Importer, Source
from crm_transfer.compiled import compile_mapping
from crm_transfer.doubtful import known_texts, refused
from crm_transfer.earlier import look_back
from crm_transfer.formats.typed import forms_of
from crm_transfer.mapping import RowMapping
from crm_transfer.opening import importer_for, open_source
from crm_transfer.readers import Compiled, Context
from crm_transfer.report import listed
from crm_transfer.rows import Row

_LAST: Final = 3
"""Among so many rows at the end of a file one may sum up the others."""


@attrs.frozen(kw_only=True)
class Job:
    """A file that passed as a whole, with the mapping made ready for it."""

    path: Path
    mapping: RowMapping
    importer: Importer
    source: Source
    compiled: Compiled


def open_job(crm: CRM, path: Path, mapping: RowMapping) -> Job:
    """Open a file and make its mapping ready: whatever is wrong with either as a whole shows here.

    Raises:
        FileFault: the file cannot be imported.
        MappingError: the mapping does not fit the file or this CRM.
    """
    importer = importer_for(crm, path, mapping.form.format, mapped=True)
    source = open_source(importer, path, {**mapping.form.options, "forms": forms_of(mapping)})
    context = Context(
        registry=crm.registry,
        zone=crm.zone,
        currency=crm.settings.currency,
        pipelines=crm.pipelines,
        default_pipeline=next(iter(crm.pipelines.values())),
    )
    compiled = compile_mapping(mapping, source.columns, context, path.name)
    if compiled.grouping is not None:
        look_back(crm, mapping, compiled.records, compiled.grouping)
    read = {at for at, name in enumerate(source.columns) if name not in compiled.unused}
    source = attrs.evolve(source, rows=refused(source.rows, read, known_texts(mapping)))
    return Job(path=path, mapping=mapping, importer=importer, source=source, compiled=compiled)


def cut_off(crm: CRM, operation: int) -> OperationEntry:
    """Return an import that was cut off, so that it can go on.

    Raises:
        UsageError: the operation is none.
    """
    entry = crm.ledger.get(operation)
    if entry.state == "open":
        raise UsageError("the import is still running", hint="wait for it, or stop it first")
    if entry.kind != "import" or entry.state != "incomplete":
        way = "nothing of it is left to finish"
        if entry.state == "undone":
            way = "import its file again, as it was begun; or have it back first by undoing the undo: crm ledger log"
        raise UsageError(f"the operation is no import that was cut off: it is {entry.kind}, {entry.state}", hint=way)
    return entry


def notes_of(job: Job, checked: Mapping[int, int], linked: Mapping[int, int], summed: Sequence[str]) -> list[str]:
    """Return in words what was noticed of a file.

    `checked` says for how many rows each check holds, `linked` how many records of each kind waited for another one,
    `summed` what `sums_told` found.
    """
    notes = [", ".join(f"{topic}: {found}" for topic, found in job.source.guesses.items())]
    if not job.source.total:
        notes.append("the file has zero rows: only a header line")
    unused = [name for name in job.compiled.unused if name not in job.source.own]
    if unused:
        notes.append(f"columns that the mapping does not use: {listed(unused)}")
    notes += [f"the column {there!r} is taken for {named!r}" for named, there in job.compiled.taken.items()]
    notes += _corrections(job)
    notes += [f"{name!r} has amounts in tomans: each is read as 10 rials (IRR)" for name in sorted(job.compiled.tomans)]
    notes += [*job.compiled.told(), *summed]
    for number, (check, _) in enumerate(job.compiled.checks):
        count = checked.get(number, 0)
        if count:
            notes.append(check.say.replace("{count}", f"{count:,}").replace("{rows}", f"{job.source.total:,}"))
    for record, count in linked.items():
        reader = job.compiled.records[record]
        later = [each for each in reader.references if each.later] or reader.references
        targets = ", ".join(dict.fromkeys(f"a {each.target}" for each in later))
        notes.append(f"{count:,} {reader.kind.plural} name {targets} that comes later: linked at the end")
    return notes


def _corrections(job: Job) -> list[str]:
    """Say which mistakes of the file were put right, but for those of which a check of the mapping tells."""
    told = {(each.column, value) for check, _ in job.compiled.checks for each in check.when for value in each.values}
    counts: dict[tuple[str, str], int] = {}
    for correction, count in job.compiled.corrections.items():
        place = correction.column, correction.text
        counts[place] = max(count, counts.get(place, 0))
    fixes = {f.place: f.corrections for record in job.mapping.records for f in record.fields}
    right = {(c.column, c.text): fixes[c.place][c.text] for c in job.compiled.corrections}
    return [
        f"{text!r} in {column} is read as {right[column, text]!r} ({count:,} {'row' if count == 1 else 'rows'})"
        for (column, text), count in sorted(counts.items())
        if (column, text) not in told
    ]


def sums_told(rows: Sequence[Row | BadRow], width: int) -> list[str]:
    """Tell the last of the rows that call themselves the sum of the others, and became records, of `width` columns."""
    told = []
    for row in rows[-_LAST:]:
        cells = [cell for cell in row.cells[:width] if cell.strip()]
        if isinstance(row, BadRow) or row.error is not None or len(cells) in (0, width):
            continue
        from crm_transfer.guess.words import is_sum  # thousands of words, for few rows

        if is_sum(cells[0]):
            told.append(
                f"row {row.number} says {cells[0].strip()!r}, and is taken for a record; if it only sums up others, "
                "leave it out by a [[rule]]"
            )
    return told
