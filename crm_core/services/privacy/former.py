"""Records that were about a person once and are somebody else's now, and what the ledger still holds of that time.

What such a record says now is of whom it names now. What it said before is the person's where it said so while it was
about them: so an erasure empties its images until it left them, and after that the first change of each of its texts.
A merge that came apart handed nothing over; what was typed into the record until then is both customers'.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence, Set
from itertools import pairwise
from typing import Any, Final, cast

import attrs

from crm_core.ledger.history import History, OperationEntry
from crm_core.ledger.session import Session
from crm_core.query.ast import And, Compare
from crm_core.records import RecordType
from crm_core.records.registry import Field
from crm_core.records.schema import Primitive, Row
from crm_core.services.privacy.images import holds, naming, paged, personal_columns, pieces

_EVER: Final = 2**63
"""Later than any image."""

Ids = Mapping[str, Set[int]]


@attrs.frozen
class _Image:
    """An image of a record: its row, and what it says; None where it was emptied."""

    row: Row
    content: Mapping[str, Any] | None

    @property
    def id(self) -> int:
        return cast(int, self.row[0])

    @property
    def action(self) -> str:
        return str(self.row[4])

    def old(self, columns: Set[str]) -> dict[str, Primitive]:
        """Return what was there before in those of these columns that it speaks of."""
        said = self.content or {}
        if self.action == "deleted":
            return {column: said.get(column) for column in columns} if said else {}
        return {column: said[column][0] for column in columns & said.keys()}

    def new(self, columns: Set[str]) -> dict[str, Primitive]:
        """Return what is there since in those of these columns that it changed."""
        said = self.content or {}
        return {} if self.action == "deleted" else {column: said[column][1] for column in columns & said.keys()}


class Former:
    """Searches for what was about `persons`; `known` are the ids, by type, of what is about them now or was last.

    `images` are the images to be emptied, by id: the row, and the columns whose old value was said of the person.
    """

    def __init__(self, session: Session, persons: Set[int], known: Ids, pointing: Sequence[RecordType]) -> None:
        self._session = session
        self._storage = session.storage
        self._types = session.registry.types
        self._history = History(session.storage)
        self._persons = persons
        self._known = known
        self.images: dict[int, tuple[Row, Set[str]]] = {}
        self.until: dict[str, dict[int, int]] = {}
        self._search(pointing)

    def _search(self, pointing: Sequence[RecordType]) -> None:
        grown = set(self._known)
        while grown:
            before, grown = grown, set[str]()
            for kind in pointing:
                if before & {field.declaration.references for field in _references(kind)}:
                    fresh = self._candidates(kind) - self._known.get(kind.name, set())
                    if self._examine(kind, fresh - self.until.get(kind.name, {}).keys()):
                        grown.add(kind.name)

    # Which records may have been

    def _candidates(self, kind: RecordType) -> set[int]:
        """Return the records of a type that pointed at what is known, or point at what is found here."""
        found: set[int] = set()
        known: dict[str, set[int]] = {}
        for field in _references(kind):
            former = self.until.get(field.declaration.references, {}).keys()
            known[field.column] = self._known.get(field.declaration.references, set()) | former
            if former:
                found |= self._children(kind, field, set(former))
        of_type = (Compare("table_name", "=", kind.plural), Compare("action", "=", "updated"))
        for rows in paged(self._storage, And((*of_type, *naming(set().union(*known.values()))))):
            for row in rows:
                said = json.loads(str(row[5])) or {}
                if any(not ids.isdisjoint(said.get(column, ())) for column, ids in known.items()):
                    found.add(cast(int, row[3]))
        return found

    def _children(self, kind: RecordType, field: Field, former: set[int]) -> set[int]:
        found: set[int] = set()
        for where in pieces(field.column, former):
            found |= {cast(int, row[0]) for row in self._storage.find(kind.plural, where, columns=["id"])}
        of_type = (Compare("table_name", "=", kind.plural), Compare("action", "=", "deleted"))
        deleted = And((*of_type, *naming(former)))
        for rows in paged(self._storage, deleted):
            found |= {cast(int, r[3]) for r in rows if (json.loads(str(r[5])) or {}).get(field.column) in former}
        return found

    # Which were, and until when

    def _examine(self, kind: RecordType, ids: set[int]) -> bool:
        found = False
        for where in pieces("record_id", ids):
            images: dict[int, list[_Image]] = {}
            for rows in paged(self._storage, And((Compare("table_name", "=", kind.plural), where))):
                for row in rows:
                    images.setdefault(cast(int, row[3]), []).append(_Image(row, json.loads(str(row[5]))))
            piece = cast(tuple[int, ...], where.values)
            present = {row[0]: row for row in self._storage.get_many(kind.plural, piece)}
            undone = self._undone(images)
            for record_id in piece:
                cells = dict(zip(kind.table.column_names, present.get(record_id, ()), strict=False))
                found |= self._note(kind, record_id, cells, images.get(record_id, []), undone)
        return found

    def _undone(self, images: Mapping[int, Sequence[_Image]]) -> set[int]:
        """Return the transactions of merges that were taken back, and of undos of merges that were."""
        txs = self._history.transactions_of([cast(int, one.row[1]) for mine in images.values() for one in mine])
        operations = self._history.operations_of([one.operation_id for one in txs.values()])
        undone = {number for number, one in operations.items() if one.state == "undone" and self._is_merge(one)}
        return {tx_id for tx_id, one in txs.items() if one.operation_id in undone}

    def _is_merge(self, operation: OperationEntry) -> bool:
        while operation.undoes is not None:
            operation = self._history.operation(operation.undoes)
        return operation.kind == "merge"

    def _note(
        self,
        kind: RecordType,
        record_id: int,
        now: Mapping[str, Primitive],
        images: Sequence[_Image],
        undone: Set[int],
    ) -> bool:
        """Note a record that was about the person, and its images; returns whether it was."""
        begins = [0, *(image.id for image in images)]
        spans = list(zip(begins, [*begins[1:], _EVER], strict=True))
        states = _states(kind, now, images)
        about = [self._about_until(kind, *one) for one in zip(_lasting(states, images, undone), spans, strict=True)]
        named = [self._about_until(kind, *one) for one in zip(states, spans, strict=True)]
        typed = {image.id for image, it in zip(images, named[1:], strict=True) if it and image.row[1] not in undone}
        until = max(about)
        if until:
            self.until.setdefault(kind.name, {})[record_id] = until
        self._note_images(personal_columns(kind), images, about, typed)
        return until > 0

    def _note_images(
        self, personal: frozenset[str], images: Sequence[_Image], about: Sequence[int], typed: Set[int]
    ) -> None:
        """Note which images to empty: until the record left the person all, after that those that hold what is theirs.

        In the images of `typed` the record named the person, if only because of a merge that came apart since.
        """
        until = max(about)
        theirs = personal if about[0] else frozenset[str]()
        values: dict[str, set[Primitive]] = {}
        for image, still in zip(images, about[1:], strict=True):
            old = image.old(personal)
            said = {column: value for column, value in old.items() if column in theirs}
            new = image.new(personal) if image.id in typed else {}
            for column, value in (*said.items(), *new.items()):
                values.setdefault(column, set()).add(value)
            if holds(image.row, personal if image.id <= until else said.keys() | new.keys()):
                self.images[image.id] = (image.row, said.keys())
            theirs = personal if still else (theirs - old.keys()) | new.keys()
        for image in images:  # an undo may have brought it back for a while
            cells = (*image.old(personal).items(), *image.new(personal).items())
            if image.id not in self.images and any(value in values.get(column, ()) for column, value in cells if value):
                self.images[image.id] = (image.row, frozenset())

    def _about_until(self, kind: RecordType, cells: Mapping[str, Primitive], span: tuple[int, int]) -> int:
        """Return until when a state of a record was about the person; 0 when it was not."""
        begin, end = span
        fields = _references(kind)
        named = {cells.get(field.column) for field in fields if field.declaration.references == "customer"} - {None}
        if named:
            return end if named & self._persons else 0
        found = 0
        for field in fields:
            target, value = field.declaration.references, cast(int, cells.get(field.column))
            left = self.until.get(target, {}).get(value, 0)
            if value in self._known.get(target, ()):
                return end
            if left > begin:
                found = max(found, min(end, left))
        return found


def _references(kind: RecordType) -> list[Field]:
    return [field for field in kind.fields.values() if field.declaration.references]


def _states(kind: RecordType, now: Mapping[str, Primitive], images: Sequence[_Image]) -> list[dict[str, Primitive]]:
    """Return what the references of a record said before its first image, and after each."""
    columns = frozenset(field.column for field in _references(kind))
    before = [{column: now.get(column) for column in columns}]
    for image in reversed(images):
        before.append({**before[-1], **image.old(columns)})
    return before[::-1]


def _lasting(
    states: Sequence[dict[str, Primitive]], images: Sequence[_Image], undone: Set[int]
) -> list[dict[str, Primitive]]:
    """Return the states without what was undone."""
    found = [states[0]]
    for image, (was, then) in zip(images, pairwise(states), strict=True):
        changed = {} if image.row[1] in undone else {c: value for c, value in then.items() if value != was[c]}
        found.append({**found[-1], **changed})
    return found


__all__ = ["Former"]
