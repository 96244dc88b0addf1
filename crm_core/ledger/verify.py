"""Whether a database says what it should: references, external ids, the ledger, and that every record can be read.

Apart from the storages, because what rows mean is the kernel's; damage below the rows is each storage's own to find.
"""

from __future__ import annotations

import json
from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Final, Literal, cast

import attrs

from crm_core.errors import CrmError
from crm_core.extend.storage import Storage
from crm_core.ledger.chain import EMPTIED
from crm_core.ledger.tables import CURSORS, HEAD, IMAGES, OPERATIONS, TRANSACTIONS
from crm_core.query.ast import In
from crm_core.records import RecordType, Registry
from crm_core.records.schema import Manifest, Primitive
from crm_core.values import format_id

INDEXES: Final = "indexes"
"""The check of what can be made anew from the rows: `crm storage reindex` does so."""
_SHOWN: Final = 10
"""Faults of one kind that are told by name; the others are counted."""
_BATCH: Final = 2_000
_ACTIONS: Final = frozenset({"updated", "deleted", "restored", "erased", "compacted"})


@attrs.frozen(kw_only=True)
class Check:
    """One thing that was looked at: how many rows of it, and what is wrong; `not run` says in `faults` why.

    `unchecked` says in words what of it could not be looked at.
    """

    name: str
    state: Literal["well", "wrong", "not run"]
    looked_at: int
    faults: tuple[str, ...] = ()
    unchecked: str = ""


def verify(storage: Storage, registry: Registry) -> list[Check]:
    """Read a whole database in one snapshot and say what is wrong with it.

    Memory: eight bytes for each transaction, and one batch of rows.

    Args:
        storage: an open storage, outside a transaction.
        registry: what is declared; types the database does not hold yet are left out.

    Returns:
        One `Check` for each kind of promise, the storage's own first.

    Raises:
        CrmError: the database is so damaged that it cannot even be opened.
    """
    storage.begin(write=False)
    try:
        return _verified(storage, registry)
    finally:
        storage.rollback()


def faults_of(storage: Storage, registry: Registry) -> list[str]:
    """Return what `verify` finds wrong that cannot be made anew, inside the snapshot of the caller."""
    found = (one for one in _verified(storage, registry) if one.state == "wrong" and one.name != INDEXES)
    return [fault for check in found for fault in check.faults]


def _verified(storage: Storage, registry: Registry) -> list[Check]:
    manifest = storage.schema()
    if manifest is None:
        return [Check(name="schema", state="not run", looked_at=0, faults=("the database is empty",))]
    types = [kind for kind in registry.types.values() if _holds(manifest, kind)]
    return list(_checks(storage, manifest, types))


def _checks(storage: Storage, manifest: Manifest, types: Sequence[RecordType]) -> Iterator[Check]:
    """Yield every check; one that damage keeps from being made is wrong, and the others are made all the same."""
    known = array("q")
    yield _made("files", lambda: _own(storage, manifest))
    yield _made(INDEXES, lambda: _indexes(storage, manifest))
    yield _made("ledger positions", lambda: _positions(storage, known))
    yield _made("ledger transactions", lambda: _transactions(storage))
    yield _made("ledger images", lambda: _images(storage, known))
    yield _made("delivery cursors", lambda: _cursors(storage))
    for kind in types:
        yield _made(kind.plural, partial(_records, storage, kind, known))
    yield _made("references", lambda: _references(storage, types))
    yield _made("external ids", lambda: _external_ids(storage, {kind.name: kind.plural for kind in types}))


def _made(name: str, make: Callable[[], Check]) -> Check:
    try:
        return make()
    except CrmError as error:
        return Check(name=name, state="wrong", looked_at=0, faults=(error.message,))


class _Faults:
    """Gathers what is wrong in one check."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.count = 0
        self.looked_at = 0

    def add(self, fault: str) -> None:
        self.count += 1
        if self.count <= _SHOWN:
            self.told.append(fault)

    def check(self, name: str) -> Check:
        more = [f"and {self.count - _SHOWN:,} more"] if self.count > _SHOWN else []
        state: Literal["well", "wrong"] = "wrong" if self.count else "well"
        return Check(name=name, state=state, looked_at=self.looked_at, faults=(*self.told, *more))


def _own(storage: Storage, manifest: Manifest) -> Check:
    found = storage.check()
    if found is None:
        why = "this storage has no check of its own files"
        return Check(name="files", state="not run", looked_at=0, faults=(why,))
    return Check(name="files", state="wrong" if found else "well", looked_at=len(manifest.tables), faults=tuple(found))


def _indexes(storage: Storage, manifest: Manifest) -> Check:
    found = storage.check_indexes()
    if found is None:
        why = "this storage keeps no indexes beside the rows that it could compare with them"
        return Check(name=INDEXES, state="not run", looked_at=0, faults=(why,))
    state: Literal["well", "wrong"] = "wrong" if found else "well"
    left = storage.unchecked_indexes()
    return Check(name=INDEXES, state=state, looked_at=len(manifest.tables), faults=tuple(found), unchecked=left)


def _positions(storage: Storage, known: array[int]) -> Check:
    """Look at every position, and gather the ids of the transactions for the checks that follow."""
    faults, total, highest = _Faults(), 0, 0
    found = array("q")
    for tx_id, position in _scan(storage, TRANSACTIONS.name, ["id", "position"]):
        found.append(_int(tx_id))
        total, highest = total + _int(position), max(highest, _int(position))
    known.extend(sorted(found))
    count = faults.looked_at = len(known)
    heads = storage.get_many(HEAD.name, [1])
    head = _int(heads[0][1]) if heads else 0
    if highest != head:
        faults.add(f"the head of the ledger says position {head:,}, its last transaction has {highest:,}")
    if (count, total) != (highest, highest * (highest + 1) // 2):
        faults.add(f"the positions 1 to {highest:,} have gaps or doubles: there are {count:,} transactions")
    return faults.check("ledger positions")


def _transactions(storage: Storage) -> Check:
    faults = _Faults()
    for rows in _batches(storage, TRANSACTIONS.name, ["id", "operation_id", "notes"]):
        faults.looked_at += len(rows)
        there = _present(storage, OPERATIONS.name, {_int(row[1]) for row in rows})
        for tx_id, operation_id, notes in rows:
            if operation_id not in there:
                faults.add(f"transaction {_told(tx_id)} belongs to no operation")
            if not _is_notes(notes):
                faults.add(f"the notes of transaction {_told(tx_id)} cannot be read")
    return faults.check("ledger transactions")


def _images(storage: Storage, known: array[int]) -> Check:
    """Look at every image: its transaction is there, and its content can be read."""
    faults = _Faults()
    for image_id, tx_id, action, content in _scan(storage, IMAGES.name, ["id", "tx_id", "action", "content"]):
        faults.looked_at += 1
        if not _among(known, tx_id):
            faults.add(f"image {_told(image_id)} belongs to no transaction")
        if action not in _ACTIONS or not _is_image(str(action), content):
            faults.add(f"image {_told(image_id)} cannot be read: {action} {str(content)[:60]}")
    return faults.check("ledger images")


def _cursors(storage: Storage) -> Check:
    faults = _Faults()
    heads = storage.get_many(HEAD.name, [1])
    head = _int(heads[0][1]) if heads else 0
    for plugin, hook, position in _scan(storage, CURSORS.name, ["plugin", "hook", "position"]):
        faults.looked_at += 1
        if _int(position) > head:
            faults.add(f"{plugin}.{hook} was told of position {position}, the ledger ends at {head}")
    return faults.check("delivery cursors")


def _records(storage: Storage, kind: RecordType, known: array[int]) -> Check:
    """Look at every record of a type: it can be read, its version counts, its transactions are in the ledger."""
    faults = _Faults()
    for row in _scan(storage, kind.plural, kind.table.column_names):
        faults.looked_at += 1
        record_id, version, created, updated = row[:4]
        if _int(version) < 1:
            faults.add(f"{kind.name} {_told(record_id)} has version {version}")
        if not (_among(known, created) and _among(known, updated)):
            faults.add(f"{kind.name} {_told(record_id)} was written by a transaction that the ledger does not know")
        try:
            kind.decode(row)
        except (CrmError, ValueError, TypeError, ArithmeticError) as error:
            faults.add(f"{kind.name} {_told(record_id)} cannot be read: {error}")
    return faults.check(kind.plural)


def _references(storage: Storage, types: Sequence[RecordType]) -> Check:
    faults = _Faults()
    tables = {kind.name: kind.plural for kind in types}
    for kind in types:
        fields = [field for field in kind.fields.values() if field.declaration.references in tables]
        for rows in _batches(storage, kind.plural, ["id", *(field.column for field in fields)]) if fields else ():
            for place, field in enumerate(fields, 1):
                pointed = {_int(row[place]) for row in rows if row[place] is not None}
                faults.looked_at += len(pointed)
                there = _present(storage, tables[field.declaration.references], pointed)
                for row in rows:
                    if row[place] is not None and row[place] not in there:
                        faults.add(f"{kind.name} {_told(row[0])}: {field.path} points at nothing")
    return faults.check("references")


def _external_ids(storage: Storage, tables: Mapping[str, str]) -> Check:
    """Look at every external id: a live one names a record that is there, a deleted one a record that is gone."""
    faults = _Faults()
    columns = ["record_type", "system", "external", "record_id", "state"]
    for rows in _batches(storage, "external_ids", columns):
        faults.looked_at += len(rows)
        for type_name in {str(row[0]) for row in rows} & tables.keys():
            mine = [row for row in rows if row[0] == type_name]
            there = _present(storage, tables[type_name], {_int(row[3]) for row in mine})
            for _, system, external, record_id, state in mine:
                if (state == "live") != (record_id in there) and state not in ("merged", "erased"):
                    what = "is live, and its record is gone" if state == "live" else f"is {state}, and its record lives"
                    faults.add(f"{type_name} {system}:{external} {what}")
    return faults.check("external ids")


def _holds(manifest: Manifest, kind: RecordType) -> bool:
    table = manifest.tables.get(kind.plural)
    return table is not None and set(kind.table.column_names) <= set(table.column_names)


def _batches(storage: Storage, table: str, columns: Sequence[str]) -> Iterator[list[tuple[Primitive, ...]]]:
    yield from storage.scan(table, columns, batch=_BATCH)


def _scan(storage: Storage, table: str, columns: Sequence[str]) -> Iterator[tuple[Primitive, ...]]:
    for rows in _batches(storage, table, columns):
        yield from rows


def _present(storage: Storage, table: str, ids: Iterable[int]) -> set[Primitive]:
    wanted = tuple(ids)
    return {row[0] for row in storage.find(table, In("id", wanted), columns=["id"])} if wanted else set()


def _among(known: array[int], one: Primitive) -> bool:
    at = bisect_left(known, _int(one))
    return at < len(known) and known[at] == one


def _is_notes(text: Primitive) -> bool:
    notes = _loaded(text)
    return isinstance(notes, list) and all(isinstance(each, list) and len(each) == 4 for each in notes)


def _is_image(action: str, text: Primitive) -> bool:
    if text == EMPTIED:  # by an erasure or a compaction; whether it was one, the chain says
        return True
    content = _loaded(text)
    if not isinstance(content, dict):
        return False
    return action != "updated" or all(isinstance(each, list) and len(each) == 2 for each in content.values())


def _loaded(text: Primitive) -> Any:
    try:
        return json.loads(str(text))
    except ValueError:
        return None


def _told(row_id: Primitive) -> str:
    return format_id(row_id) if isinstance(row_id, int) and row_id > 0 else str(row_id)


def _int(cell: Primitive) -> int:
    return cast(int, cell)
