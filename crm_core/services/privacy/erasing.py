"""Erasing a person: personal fields of all records about them, what only exists for them, and what the ledger holds.

The customer stays as a shell without a name, so that sales and deals keep whom they belong to: revenue, repeat
purchases and cohorts stay true, and nobody can tell who it was.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, Final, cast

import attrs

from crm_core.ledger.audit import emptied
from crm_core.ledger.erasures import BLANK
from crm_core.ledger.session import Session
from crm_core.ledger.tables import CURSORS, IMAGES, JOBS, PARKED
from crm_core.ledger.work import Edit, Transaction
from crm_core.query.ast import In
from crm_core.records import RecordType
from crm_core.records.registry import Field
from crm_core.records.schema import Primitive, Row
from crm_core.services.erased import ERASED, erased_name
from crm_core.services.privacy.finding import NAMES, PERSON, Found
from crm_core.services.privacy.images import personal_columns
from crm_core.values import format_id

FINAL: Final = "an erasure is for good"
_TIES: Final = ("relation",)
"""Parts of a customer that say of somebody who they are, personal fields or not."""


@attrs.frozen(kw_only=True)
class Kept:
    """What an erasure left, how much of it, and why."""

    what: str
    count: int
    reason: str


@attrs.frozen(kw_only=True)
class Receipt:
    """What was erased and what was kept, when and by whom; it names the person by the record's id only.

    `emptied` and `deleted` count records by type, `fields` names what was emptied of each. `digest` is the SHA-256 of
    the receipt's other content as JSON, keys sorted, without spaces.
    """

    person: str
    at: str
    by: str | None
    emptied: Mapping[str, int]
    deleted: Mapping[str, int]
    fields: Mapping[str, tuple[str, ...]]
    external_ids: int
    images: int
    kept: tuple[Kept, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the receipt as plain JSON data, with its digest."""
        data = json.loads(json.dumps(attrs.asdict(self), sort_keys=True))
        text = json.dumps(data, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
        return {**data, "digest": hashlib.sha256(text.encode()).hexdigest()}


@attrs.frozen(kw_only=True)
class Erasure:
    """An erasure that was done, or (dry run) would be.

    `left_over` says in words what the storage may still hold in its files; empty when nothing. `not_noted` says why the
    workspace's `erasures.jsonl` could not be written: a restore then knows of the erasure while the database is there.
    """

    receipt: Receipt
    operation_id: int | None = None
    left_over: str = ""
    not_noted: str = ""
    dry_run: bool = False


class Eraser:
    """Erases what was found of one person. Without a transaction it counts the same and writes nothing."""

    def __init__(self, session: Session, found: Found, tx: Transaction | None) -> None:
        self._session = session
        self._storage = session.storage
        self._types = session.registry.types
        self._found = found
        self._tx = tx
        self._doomed = self._who_goes()
        self._emptied: Counter[str] = Counter()
        self._fields: dict[str, dict[str, None]] = {}
        self._touched: dict[str, set[int]] = {}
        self._kept_names = 0

    def run(self, at: str, by: str | None) -> Receipt:
        """Erase, and return the receipt."""
        images = self._empty_images()
        for name in self._found.present:
            self._empty_records(self._types[name])
        external_ids = self._erase_names()
        self._delete_records()
        if self._tx is not None:
            for person in sorted(self._found.persons):
                self._tx.mark("erased", person)
        return Receipt(
            person=format_id(self._found.person),
            at=at,
            by=by,
            emptied=dict(self._emptied),
            deleted={name: len(ids) for name, ids in self._doomed.items() if ids},
            fields={name: tuple(paths) for name, paths in self._fields.items()},
            external_ids=external_ids,
            images=images,
            kept=(*self._kept_records(), *self._kept_of_others(), *self._kept_of_detached(), *self._kept_elsewhere()),
        )

    # Who goes

    def _who_goes(self) -> dict[str, set[int]]:
        """Return the records that are deleted whole: parts of the person that say who it is, and what needs those."""
        doomed: dict[str, set[int]] = {}
        waiting = []
        for part, field in self._session.registry.references_to(PERSON):
            tells = part.name in _TIES or any(_cannot_be_empty(one) for one in part.fields.values())
            if field.declaration.part_of and tells and part.name not in doomed and part.name != PERSON:
                doomed[part.name] = set(self._found.present.get(part.name, ()))
                waiting.append(part.name)
        while waiting:
            name = waiting.pop()
            for other, field in self._session.registry.references_to(name):
                if field.declaration.part_of or not field.declaration.nullable:
                    fresh = self._pointing(other, field, doomed[name]) - doomed.get(other.name, set())
                    if fresh:
                        doomed.setdefault(other.name, set()).update(fresh)
                        waiting.append(other.name)
        return doomed

    def _pointing(self, kind: RecordType, field: Field, ids: set[int]) -> set[int]:
        where = In(field.column, tuple(sorted(ids)))
        return {cast(int, row[0]) for row in self._storage.find(kind.plural, where, columns=["id"])} if ids else set()

    # What is emptied

    def _empty_records(self, kind: RecordType) -> None:
        personal = [field for field in kind.fields.values() if field.declaration.personal and field.codec.columns]
        cuts = [f for f in kind.fields.values() if f.declaration.references in self._doomed and f.declaration.nullable]
        if not personal and not cuts:
            return
        doomed = self._doomed.get(kind.name, set())
        for rows in self._found.rows(kind.name):
            edits = [self._edit(kind, row, personal, cuts) for row in rows if row[0] not in doomed]
            changed = [edit for edit in edits if edit.changes]
            self._emptied[kind.name] += len(changed)
            if self._tx is not None:
                self._tx.overwrite(kind.table, changed)
        self._emptied += Counter()  # forgets those of which there were none

    def _edit(self, kind: RecordType, row: Row, personal: list[Field], cuts: list[Field]) -> Edit:
        now = dict(zip(self._session.work.columns(kind.table), row, strict=True))
        changes: dict[str, Primitive] = {}
        for field in personal:
            if now[field.column] is not None and now[field.column] != (blank := _blank(field, cast(int, row[0]))):
                changes |= dict.fromkeys((column.name for column in field.codec.columns), blank)
                self._fields.setdefault(kind.name, {})[field.path] = None
                self._touched.setdefault(kind.name, set()).add(cast(int, row[0]))
        for field in cuts:
            if now[field.column] in self._doomed[field.declaration.references]:
                changes[field.column] = None
        return Edit(row, changes)

    def _empty_images(self) -> int:
        count = 0
        for rows in self._found.images():
            count += len(rows)
            if self._tx is not None and rows:
                self._storage.put_many(IMAGES.name, IMAGES.column_names, [emptied(row) for row in rows])
                for row in rows:
                    self._tx.mark("erased", cast(int, row[0]))
        return count

    def _erase_names(self) -> int:
        """Turn the external ids of what was erased into digests; those of what was kept lose what their rows said."""
        kind = self._types[NAMES]
        names = kind.table.column_names
        count = 0
        for rows in self._found.names():
            edits = []
            for row in rows:
                cells = dict(zip(names, row, strict=False))
                changes: dict[str, Primitive] = {} if cells["row_hash"] is None else {"row_hash": None}
                if cells["state"] != ERASED and self._is_touched(str(cells["record_type"]), cells["record_id"]):
                    digest = erased_name(*(str(cells[name]) for name in ("record_type", "system", "external")))
                    changes = {"system": ERASED, "external": digest, "state": ERASED, "row_hash": None}
                    count += 1
                elif cells["state"] != ERASED:
                    self._kept_names += 1
                edits.append(Edit(row, changes))
            if self._tx is not None:
                self._tx.overwrite(kind.table, [edit for edit in edits if edit.changes], tell=False)
        return count

    def _is_touched(self, name: str, record_id: Primitive) -> bool:
        gone = self._found.deleted.get(name, set()) | self._doomed.get(name, set())
        return name == PERSON or record_id in gone or record_id in self._touched.get(name, ())

    def _delete_records(self) -> None:
        for name, ids in reversed(self._doomed.items()):
            kind = self._types[name]
            if self._tx is not None and ids:
                self._tx.wipe(kind.table, self._storage.get_many(kind.plural, sorted(ids)))

    # What is kept

    def _kept_records(self) -> Iterator[Kept]:
        for name, ids in self._found.present.items():
            kind = self._types[name]
            count = len(ids - self._doomed.get(name, set()))
            if not count or kind.declaration.internal:
                continue
            if name == PERSON:
                reason = "a shell without a name, to which the records that are kept belong"
            elif any(field.declaration.kind == "money" for field in kind.fields.values()):
                reason = "amounts and dates are kept for the accounts; nothing in them names the person"
            else:
                reason = "kept for the numbers, without what says who it was"
            yield Kept(what=kind.plural, count=count, reason=reason)

    def _kept_of_others(self) -> Iterator[Kept]:
        """Name records that were about the person once, or say what a merge carried over: now that is others'."""
        reason = "they were about the person once, or took a text over, and are somebody else's now, with what they say"
        others = self._found.carried.living()
        for name, left in self._found.former.until.items():
            others[self._types[name].plural] = others.get(self._types[name].plural, set()) | left.keys()
        known = {kind.plural: kind for kind in self._types.values()}
        for table, ids in others.items():
            kind = known[table]
            count = self._storage.count(table, In("id", tuple(sorted(ids)))) if personal_columns(kind) else 0
            if count and not kind.declaration.internal:
                yield Kept(what=f"{table} of others", count=count, reason=reason)

    def _kept_of_detached(self) -> Iterator[Kept]:
        """Name what plugins that are not at work keep of the person: what of it is personal, only they could say."""
        why = "{} is not at work, so what of it is personal is not known; enable it and erase again"
        for what, owner, count in self._found.of_detached():
            yield Kept(what=what, count=count, reason=why.format(owner))

    def _kept_elsewhere(self) -> Iterator[Kept]:
        if self._kept_names:
            reason = "keys of records that are kept and held nothing personal, such as the numbers of invoices"
            yield Kept(what="external_ids", count=self._kept_names, reason=reason)
        yield Kept(what="log of operations", count=1, reason="who did what and when, and how each was called")
        tables = (CURSORS, JOBS, PARKED)
        errors = sum(bool(row[0]) for table in tables for row in self._storage.find(table.name, columns=["error"]))
        if errors:
            reason = "messages of plugins that failed may quote what they were given; crm doctor shows them"
            yield Kept(what="failed deliveries", count=errors, reason=reason)
        reason = "exports, reject files and backups made before are not the CRM's to find: delete them"
        yield Kept(what="files outside the database", count=1, reason=reason)


def _cannot_be_empty(field: Field) -> bool:
    declared = field.declaration
    return declared.personal and not declared.derived and not declared.nullable


def _blank(field: Field, record_id: int) -> Primitive:
    """Return what stands in a personal field from now on."""
    if not _cannot_be_empty(field):
        return None
    if field.declaration.kind != "text":
        return 0
    return f"{BLANK} {format_id(record_id)}" if field.declaration.unique else BLANK
