"""Takes back what a row wrote before one of its records, which waited for another one, was refused at the end."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Final

import attrs

from crm_core import CRM, RecordService, Write
from crm_core.errors import (
    ConflictError,
    CrmError,
    DuplicateKey,
    InvalidValue,
    PluginError,
    StillReferenced,
    StorageConflict,
    Vetoed,
)
from crm_core.query.ast import In
from crm_core.records import Record
from crm_transfer.readers import RecordReader
from crm_transfer.report import FileReport
from crm_transfer.spill import Made, Spill

_BATCH: Final = 100
"""Records of one transaction: each takes some ten queries."""
_REFUSALS: Final[tuple[type[CrmError], ...]] = (
    ConflictError,
    DuplicateKey,
    InvalidValue,
    PluginError,
    StillReferenced,
    StorageConflict,
    Vetoed,
)
"""What keeps one record as it is; anything else ends the import."""


class TakeBack:
    """Deletes what this import created from rows that were refused at the end, and restores what it changed.

    `readers` are the records of each file. `resumed` is the operation that goes on: what it created before it was cut
    off counts as created. `whole` says that no part of the transaction can be taken back alone.
    """

    def __init__(
        self,
        crm: CRM,
        readers: Sequence[Sequence[RecordReader]],
        spill: Spill,
        *,
        resumed: int | None = None,
        whole: bool = False,
    ) -> None:
        """Take what the run has; nothing happens yet."""
        self._crm = crm
        self._readers = readers
        self._spill = spill
        self._resumed = resumed
        self._whole = whole

    def work(self, reports: Sequence[FileReport]) -> None:
        """Take back all that can be, last rows first, again as long as that frees others; say what stays and why."""
        taken = True
        while taken:
            taken = False
            for batch in self._spill.made_in_vain(_BATCH):
                for made, reason in zip(batch, self._batch(batch), strict=True):
                    if reason is None:
                        self._count(reports[made.file], made)
                        taken = True
                    self._spill.settle_made(made, reason)
        self._spill.tell_what_stays()

    def _count(self, report: FileReport, made: Made) -> None:
        counts = report.of_type(self._readers[made.file][made.record].kind.name)
        counts.add(made.counted, -1)
        counts.add("rejected")

    def _batch(self, batch: Sequence[Made]) -> list[str | None]:
        """Return, for each, why it stays: None says that it was taken back, an empty text that it was not ours."""
        if not self._whole:
            try:
                with self._crm.transaction():
                    return [self._take(made) for made in batch]
            except _REFUSALS:  # one of them is refused: the others must not stay because of it
                pass
        return [self._alone(made) for made in batch]

    def _alone(self, made: Made) -> str | None:
        try:
            with self._crm.transaction():
                return self._take(made)
        except _REFUSALS as error:
            return self._stays(made, error.message)

    def _take(self, made: Made) -> str | None:
        reader = self._readers[made.file][made.record]
        service: RecordService[Record] = self._crm.records(reader.kind.name)
        found = service.get_many([made.id or self._known(reader, made)])
        if not found:
            return "" if made.before or not made.id else None
        record = found[0]
        if made.created or self._created_before_the_cut(reader, made, record):
            reason = self._obstacle(reader, made, record)
            if reason:
                return self._stays(made, reason)
            self._delete(service, record)
            return None
        if made.before == made.after:
            made = self._changed_before_the_cut(reader, made, record)
        if made.before == made.after:
            return ""
        return self._restore(service, reader, made, record)

    def _known(self, reader: RecordReader, made: Made) -> int:
        key = reader.key(made.cells)
        entry = self._crm.external_ids.find_many(reader.kind.name, reader.system, [key]).get(key)
        return entry.record_id if entry is not None and entry.state == "live" else 0

    def _created_before_the_cut(self, reader: RecordReader, made: Made, record: Record) -> bool:
        """Whether the operation, before it was cut off, made the record from this row, and nobody else touched it.

        Where the ledger does not tell who made each of its versions, it counts as touched.
        """
        if self._resumed is None:
            return False
        if reader.repeats and self._spill.first_rows(made.scope, [(made.row, reader.key(made.cells))]):
            return False
        history = self._crm.ledger.history
        images = history.images_of(reader.kind.plural, [record.id])
        ids = {record.created_tx, record.updated_tx, *(tx for tx, _ in images)}
        entries = history.transactions_of(list(ids))
        if len(entries) != len(ids) or any(one.operation_id != self._resumed for one in entries.values()):
            return False
        steps = [(0, 1), *(change.versions or (0, 0) for _, change in images), (record.version, record.version)]
        return all(one[1] == other[0] for one, other in pairwise(steps))

    def _changed_before_the_cut(self, reader: RecordReader, made: Made, record: Record) -> Made:
        """Return what a row did, with the versions between which the operation changed its record before the cut."""
        if self._resumed is None or self._is_shared(reader, made):
            return made
        history = self._crm.ledger.history
        images = history.images_of(reader.kind.plural, [record.id])
        entries = history.transactions_of([tx for tx, _ in images])
        ours = [c.versions for tx, c in images if tx in entries and entries[tx].operation_id == self._resumed]
        known = [versions for versions in ours if versions is not None]
        if not known or len(known) != len(ours):
            return made
        follow = all(one[1] == other[0] for one, other in pairwise(known))
        return attrs.evolve(made, before=known[0][0], after=known[-1][1] if follow else 0)

    def _is_shared(self, reader: RecordReader, made: Made) -> bool:
        """Say whether another row names the record as well, or one of another file or kind may have changed it."""
        every = [each for readers in self._readers for each in readers]
        if sum(1 for each in every if (each.kind.name, each.system) == (reader.kind.name, reader.system)) > 1:
            return True
        key = reader.key(made.cells)
        earlier = reader.repeats and self._spill.first_rows(made.scope, [(made.row, key)])
        return bool(earlier) or bool(self._spill.shared(made.scope, key, made.file))

    def _obstacle(self, reader: RecordReader, made: Made, record: Record) -> str:
        """Say why a record cannot go: it was changed, another row names it as well, something points at it."""
        if made.id and record.version != made.after:
            return "it was changed since"
        if self._is_named_by_others(reader, made, record):
            return "another row names it as well"
        kind = reader.kind
        for other, field in self._crm.registry.references_to(kind.name):
            service: RecordService[Record] = self._crm.records(other.name)
            pointing = [each for each in service.find(In(field.column, (record.id,)), limit=None) if each != record]
            if field.declaration.part_of:  # what a service wrote with the record goes with it
                named = self._crm.external_ids.of(other.name, [each.id for each in pointing]) if pointing else {}
                own = {record.created_tx, record.updated_tx}
                pointing = [each for each in pointing if each.id in named or {each.created_tx, each.updated_tx} - own]
            if pointing:
                return f"{other.counted(len(pointing))} {'points' if len(pointing) == 1 else 'point'} at it"
        return ""

    def _is_named_by_others(self, reader: RecordReader, made: Made, record: Record) -> bool:
        """Say whether a row that is taken names the record: of any file, by this key or another one, as any record."""
        entries = self._crm.external_ids.of(reader.kind.name, [record.id]).get(record.id, ())
        keys = {reader.key(made.cells), *(one.external for one in entries if one.system == reader.system)}
        scopes = [
            (file, f"{file}/{at}")
            for file, readers in enumerate(self._readers)
            for at, other in enumerate(readers)
            if (other.kind.name, other.system) == (reader.kind.name, reader.system)
        ]
        return any(
            self._spill.names(scope, key, file) or self._spill.shared(scope, key, file)
            for file, scope in scopes
            for key in keys
        )

    def _delete(self, service: RecordService[Record], record: Record) -> None:
        if not self._whole:  # a later import may use the names again, as if the row had never been
            for entry in self._crm.external_ids.of(service.kind.name, [record.id]).get(record.id, ()):
                self._crm.external_ids.delete(entry)
        service.delete(record)

    def _restore(self, service: RecordService[Record], reader: RecordReader, made: Made, record: Record) -> str | None:
        """Give a record that was there before its old values again, and forget that the row was imported."""
        old = self._crm.ledger.as_read(reader.kind.name, {record.id: made.before}).get(record.id)
        if record.version != made.after or old is None:
            return self._stays(made, "it was changed since")
        key = reader.key(made.cells)
        entry = self._crm.external_ids.find_many(reader.kind.name, reader.system, [key]).get(key)
        name = (reader.system, key) if entry is not None else None
        outcome = service.write_many([Write(record=old, before=record, external=name, known=entry)])
        for refusal in outcome.refused:
            raise refusal.error
        return None

    def _stays(self, made: Made, reason: str) -> str:
        reader = self._readers[made.file][made.record]
        told = "changed" if made.before else "created"
        return f"the {reader.kind.name} {reader.system}:{reader.key(made.cells)} that it {told} stays: {reason}"
