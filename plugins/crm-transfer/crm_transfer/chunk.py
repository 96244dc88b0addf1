"""One chunk of rows: keys, what is known already, values, references, then the writes, record by record.

Apart from the run, which only decides which rows form a chunk and keeps count of what became of them.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from functools import partial
from typing import Final

from crm_core import CRM, RecordService, Write
from crm_core.records import ExternalId, Record
from crm_transfer.adopting import adopted
from crm_transfer.conflicts import Arbiter, Claim
from crm_transfer.entries import Draft, Entry, draft, read_cells, with_keys
from crm_transfer.errors import BadCell
from crm_transfer.lookup import Lookup, gone
from crm_transfer.readers import RecordReader, Reference
from crm_transfer.rowhash import is_same, with_digest
from crm_transfer.rows import Row
from crm_transfer.spill import Spill

RANK: Final = ("unchanged", "updated", "created", "rejected")
"""What became of a row is the highest of what became of its records."""
_NOTHING: Final[frozenset[str]] = frozenset()


class Chunk:
    """Works on some rows of one file: `prepare` before the transaction, `write` inside it; done again after a conflict.

    `only` is the record wanted of every row, in a round of records that waited; a reference that is still unknown
    then refuses the row if `last`.
    """

    def __init__(
        self,
        crm: CRM,
        readers: Sequence[RecordReader],
        rows: Sequence[Row],
        lookup: Lookup,
        spill: Spill,
        arbiter: Arbiter,
        *,
        file: int,
        only: int | None = None,
        last: bool = False,
        drafts: Sequence[Draft] = (),
    ) -> None:
        """Take the rows, and their `drafts` of each record if they were read ahead; nothing happens yet."""
        self._crm = crm
        self._readers = readers
        self._rows = rows
        self._lookup = lookup
        self._spill = spill
        self._arbiter = arbiter
        self._file = file
        self._only = only
        self._last = last
        self._waits = not last and _may_wait(readers)
        self._drafts = drafts
        self._entries: dict[int, list[Entry]] = {}
        self._made: dict[tuple[str, str], dict[str, Record]] = {}
        self._same: dict[int, list[Entry]] = {}
        self._settled: dict[int, list[Row]] = {}
        self._firm = 0
        self._refused: set[tuple[str, str, str]] = set()
        self._unknown: dict[tuple[str, str, str], set[str]] = {}
        self.written = 0

    def prepare(self) -> None:
        """Find keys and duplicates, what is known, values and references: all that needs no write lock."""
        self._lookup.make_room()
        for at, reader in enumerate(self._readers):
            if self._only not in (None, at):
                continue
            self._entries[at] = with_keys(reader, self._not_settled(at, reader))
            if self._only is None and not reader.repeats:
                self._refuse_doubles(at, reader)
        wanted = [(at, self._readers[at]) for at in self._entries]
        for at, reader in wanted:
            self._compare(at, reader)
        for at, reader in wanted:
            self._resolve(at, reader)
        for at, reader in wanted:
            if reader.repeats and self._only is None:
                self._take_first(at)

    def write(self) -> None:
        """Write, record by record: to be called inside one transaction."""
        self.written = 0
        for at in self._entries:
            self._store(at, self._readers[at])

    def committed(self) -> None:
        """Remember which rows need not be looked at when they come again: to be called after the transaction."""
        for at, reader in enumerate(self._readers):
            if self._may_settle(reader):
                entries = [*self._entries[at], *self._same[at]]
                good = (one.content for one in entries if at in one.row.status and one.row.error is None)
                self._spill.settle(f"{self._file}/{at}", good)

    def torn(self) -> list[Row]:
        """Return the rows that were refused when some of their records, or of others', had been written."""
        return [
            row
            for row in self._rows
            if row.error is not None and (row.follows or not {"created", "updated"}.isdisjoint(row.status.values()))
        ]

    def reset(self, *, refused: bool = False) -> None:
        """Forget what was found, to begin anew; rows refused so far stay so with `refused`."""
        if refused:
            self._forget_refused()
        self._entries, self._made, self._same, self._settled, self._unknown = {}, {}, {}, {}, {}
        self._drafts = ()
        for row in self._rows:
            row.error, row.status, row.waiting = row.error if refused else None, {}, frozenset()
            row.kept, row.stored = (), {}

    def _forget_refused(self) -> None:
        """Let other rows make what refused ones would have made; what followed from a refusal is looked at again."""
        firm = sum(1 for row in self._rows if row.error is not None and not row.follows)
        for row in self._rows:
            if row.follows and firm > self._firm:  # without the rows refused meanwhile it may be right
                row.error = None
            row.follows = False
        self._firm = firm
        refused = [row for row in self._rows if row.error is not None]
        for at, reader in enumerate(self._readers):
            keys = [(row.number, reader.key(row.cells)) for row in refused]
            self._refused |= {(reader.kind.name, reader.system, key) for _, key in keys}
            if (reader.repeats or reader.per != "row") and self._only is None and keys:
                self._spill.forget(f"{self._file}/{at}", keys)

    def known(self, at: int) -> list[tuple[Row, ExternalId, bool]]:
        """Return the rows whose record of one kind is there already, its entry, and whether the row is unchanged."""
        entries = [(entry, False) for entry in self._entries.get(at, ())]
        entries += [(entry, True) for entry in self._same.get(at, ())]
        return [(entry.row, entry.known, same) for entry, same in entries if entry.known is not None]

    # Rows that come again

    def _may_settle(self, reader: RecordReader) -> bool:
        """Whether a row that says what an earlier one said changes nothing: nothing of that one is ever taken back."""
        return reader.repeats and reader.per == "row" and self._only is None and not self._waits

    def _not_settled(self, at: int, reader: RecordReader) -> list[Entry]:
        """Return the entries that say something of a record which no earlier row of the file said in the same words."""
        settled = self._spill.settled(f"{self._file}/{at}") if self._may_settle(reader) else _NOTHING
        if not self._drafts:
            found = draft(reader, self._rows, settled)
            self._settled[at] = found.again
            return found.entries
        found = self._drafts[at]
        if not settled:
            return found.entries
        again = [entry.row for entry in found.entries if entry.content in settled]  # since it was read ahead
        self._settled[at] = [*found.again, *again]
        return [entry for entry in found.entries if entry.content not in settled] if again else found.entries

    # Keys

    def _refuse_doubles(self, at: int, reader: RecordReader) -> None:
        for entry, first in self._doubles(at, self._entries[at]):
            if entry.row.error is None:
                told = f"rows {first} and {entry.row.number} have the same key; only row {first} is taken"
                message = f"{told}: give the other one a key of its own, or leave it out"
                entry.row.error = BadCell("duplicate", message, column=reader.key_columns, value=entry.key)

    def _take_first(self, at: int) -> None:
        """Of the good rows that make the same record, the first one counts; the others change nothing."""
        entries = self._entries[at]
        doubles = self._doubles(at, sorted([*entries, *self._same.get(at, ())], key=lambda entry: entry.row.order))
        if self._waits:
            self._spill.share(f"{self._file}/{at}", [(entry.row.number, entry.key) for entry, _ in doubles])
        for entry, _ in doubles:
            entry.row.status[at] = "unchanged"
            entry.values = None

    def _doubles(self, at: int, entries: Sequence[Entry]) -> list[tuple[Entry, int]]:
        """Return the entries whose key an earlier row of the file had, each with that row."""
        good = [entry for entry in entries if entry.row.error is None]
        first = self._spill.first_rows(f"{self._file}/{at}", [(entry.row.number, entry.key) for entry in good])
        return [(entry, first[entry.row.number]) for entry in good if entry.row.number in first]

    # What is known, and what the cells say

    def _compare(self, at: int, reader: RecordReader) -> None:
        """Leave out what is unchanged, read the values of the others."""
        for row in self._settled.get(at, ()):
            if row.error is None:
                row.status[at] = "unchanged"
        live = [entry for entry in self._entries[at] if entry.row.error is None]
        keys = [entry.key for entry in live]
        known = self._lookup.known(reader.kind.name, reader.system, keys)
        self._unknown.setdefault((reader.kind.name, reader.system, ""), set()).update(set(keys) - known.keys())
        fresh: list[Entry] = []
        same = self._same.setdefault(at, [])
        for entry in live:
            row = entry.row
            entry.known = known.get(entry.key)
            if entry.known is not None:
                kept = reader.keeps_merged and entry.known.state == "merged"
                if kept or (entry.known.state in ("live", "merged") and is_same(entry.known.row_hash, entry.digest)):
                    row.status[at] = "unchanged"
                    same.append(entry)
                    continue
                if entry.known.state != "live":
                    row.error = gone(self._crm, reader, entry.known)
                    continue
            fresh.append(entry)
        read_cells(reader, fresh)
        self._entries[at] = [entry for entry in fresh if entry.row.error is None]

    # References

    def _resolve(self, at: int, reader: RecordReader) -> None:
        """Look up what the references name; a record may name one that this chunk makes before it."""
        entries = [entry for entry in self._entries[at] if entry.row.error is None]
        if not reader.references:
            self._entries[at] = entries
            return
        for reference in reader.references:
            names = {name for entry in entries for wanted, name in entry.wanted if wanted is reference}
            self._lookup.load(reference, names if reference.by else names - self._unknown.get(reference.place, set()))
        makers = self._makers({(each.target, each.system) for each in reader.references})
        found = self._names(reader)
        for entry in entries:
            for reference, name in entry.wanted:
                if not isinstance(found[reference.field].get(name), int):
                    self._check(at, entry, reference, name, makers)
        self._entries[at] = [entry for entry in entries if entry.row.error is None]

    def _names(self, reader: RecordReader) -> Mapping[str, Mapping[str, int | BadCell]]:
        """Return what was found by name for each reference, by its field: looked up once for all rows."""
        return {reference.field: self._lookup.names_of(reference) for reference in reader.references}

    def _check(
        self,
        at: int,
        entry: Entry,
        reference: Reference,
        name: str,
        makers: Mapping[tuple[str, str, str], tuple[int, int]],
    ) -> None:
        found = self._lookup.found(reference, name)
        if isinstance(found, BadCell):
            entry.row.error = entry.row.error or found.at(reference.column, name)
            return
        maker = makers.get((reference.target, reference.system, name)) if not reference.by else None
        if maker is not None and maker < (entry.row.turn, at) and maker[1] < at:
            return
        if reference.lenient:
            return
        earlier = maker is not None and maker < (entry.row.turn, at)
        held_up = any(self._readers[other].kind.name == reference.target for other in entry.row.waiting)
        if not self._last and (reference.later or earlier or held_up):
            entry.row.waiting |= {at}
        else:
            known = not reference.by and (reference.target, reference.system, name) in self._refused
            refusal = _refused(reference, name) if known else self._lookup.unknown(reference, name)
            entry.row.error = entry.row.error or refusal

    def _makers(self, wanted: Collection[tuple[str, str]]) -> dict[tuple[str, str, str], tuple[int, int]]:
        """Return which (row, record) of this chunk first makes each key of the (record types, systems) wanted."""
        makers: dict[tuple[str, str, str], tuple[int, int]] = {}
        for at, entries in self._entries.items():
            reader = self._readers[at]
            for entry in entries if (reader.kind.name, reader.system) in wanted else ():
                place = (entry.row.turn, at)
                name = (reader.kind.name, reader.system, entry.key)
                if entry.row.error is None and makers.get(name, place) >= place:
                    makers[name] = place
        return makers

    # Writes

    def _store(self, at: int, reader: RecordReader) -> None:
        names = self._names(reader)
        entries = [entry for entry in self._entries[at] if self._fill(at, entry, names)]
        if reader.ids or reader.same:
            self._adopt(reader, entries)
        made = self._made.setdefault((reader.kind.name, reader.system), {})
        self._meet(reader, [entry for entry in entries if entry.known is None and entry.key in made])
        ids = [entry.known.record_id for entry in entries if entry.known is not None]
        service: RecordService[Record] = self._crm.records(reader.kind.name)
        before = {record.id: record for record in service.get_many(ids)} if ids else {}
        self._settle_conflicts(reader, entries, before)
        writes: list[Write[Record]] = []
        for entry in entries:
            old = before.get(entry.known.record_id) if entry.known is not None else made.get(entry.key)
            assert entry.values is not None, "values were read"
            record = reader.build(entry.values, old)
            digest = None if at in entry.row.waiting else entry.digest or None
            if entry.known is not None:
                digest = with_digest(entry.known.row_hash, digest, reader.tag)
            name = None if entry.known is None and old is not None else (reader.system, entry.key)
            writes.append(
                Write(record=record, before=old, external=name, known=entry.known, row_hash=digest, handed_over=True)
            )
        if not writes:
            return
        outcome = service.write_many(writes)
        self.written += len(writes)
        for refusal in outcome.refused:
            row = entries[refusal.index].row
            column, cells = reader.sources.get(refusal.field, (refusal.field, ()))
            value = " ".join(row.cells[at] for at in cells) or str(getattr(refusal.error, "value", "") or "")
            row.error = BadCell(refusal.rule, refusal.error.message, column=column, value=value)
        for entry, write, stored_record, changed in zip(entries, writes, outcome.records, outcome.changed, strict=True):
            if stored_record is not None:
                made[entry.key] = stored_record
                entry.row.status[at] = "created" if write.before is None else "updated" if changed else "unchanged"
                if entry.row.waiting or self._only is not None:
                    before_it = write.before.version if write.before is not None else 0
                    entry.row.stored[at] = (stored_record.id, before_it, stored_record.version)
        if reader.also:
            self._add_names(reader, entries, made)

    def _meet(self, reader: RecordReader, entries: Sequence[Entry]) -> None:
        """Look up the names that another record of these rows has just made, to note that this one said so too."""
        found = self._lookup.known(reader.kind.name, reader.system, [entry.key for entry in entries]) if entries else {}
        for entry in entries:
            entry.known = found.get(entry.key)

    def _adopt(self, reader: RecordReader, entries: Sequence[Entry]) -> None:
        made = self._made.get((reader.kind.name, reader.system), {})
        unknown = [(e.key, e.values or {}) for e in entries if e.known is None and e.key not in made]
        found = adopted(self._crm, reader, unknown)
        for entry in entries if found else ():
            entry.known = entry.known or found.get(entry.key)

    def _settle_conflicts(self, reader: RecordReader, entries: Sequence[Entry], before: Mapping[int, Record]) -> None:
        """Take out of the values what the policies keep as it is."""
        there: list[Entry] = []
        claims: list[Claim] = []
        for entry in entries:
            old = before.get(entry.known.record_id) if entry.known is not None else None
            if old is None or entry.values is None:
                continue
            row, told = entry.row, partial(reader.told, entry.row.cells)
            there.append(entry)
            claims.append(Claim(row=row.number, values=entry.values, before=old, changed=entry.changed, told=told))
        for at, kept in self._arbiter.settle(reader.kind, reader.policies, claims) if claims else ():
            there[at].row.kept = (*there[at].row.kept, kept)

    def _fill(self, at: int, entry: Entry, names: Mapping[str, Mapping[str, int | BadCell]]) -> bool:
        """Put the ids of the references in; say whether the record can be written now."""
        row, values = entry.row, entry.values
        if row.error is not None or values is None:
            return False
        if not entry.wanted:
            return True
        for reference, name in entry.wanted:
            found = names[reference.field].get(name)
            if not isinstance(found, int):
                record = self._made.get((reference.target, reference.system), {}).get(name)
                found = record.id if record is not None else None
            if found is None and reference.lenient and not reference.required:
                entry.digest = ""  # asked again next time
                continue
            if found is None and at not in row.waiting:
                row.error, row.follows = _refused(reference, name), True
                return False
            if found is None and reference.required:
                return False
            values[reference.field] = found
        return True

    def _add_names(self, reader: RecordReader, entries: Sequence[Entry], made: Mapping[str, Record]) -> None:
        """Store the further external ids of records."""
        service: RecordService[Record] = self._crm.records(reader.kind.name)
        for system, read in reader.also:
            named = {read(entry.row.cells): made[entry.key] for entry in entries if entry.key in made}
            named.pop("", None)
            known = self._lookup.known(reader.kind.name, system, list(named))
            fresh = {name: record for name, record in named.items() if name not in known}
            if fresh:
                service.write_many([Write(record=r, before=r, external=(system, name)) for name, r in fresh.items()])


def _may_wait(readers: Sequence[RecordReader]) -> bool:
    """Whether records may point at something that comes later, or that a record after them makes of an earlier row."""
    return any(
        reference.later or any(other.kind.name == reference.target for other in readers[at:])
        for at, reader in enumerate(readers)
        for reference in reader.references
    )


def _refused(reference: Reference, name: str) -> BadCell:
    message = f"the {reference.target} it belongs to was refused; correct that one"
    return BadCell("reference", message, column=reference.column, value=name)
