"""Which persons were erased, as the ledger and a row beside it say: ids and times, nothing of the persons themselves.

A backup that was made before an erasure holds the person. So whoever restores one compares what it says here with what
is known, and notes in the database itself, in the same step in which the backup takes its place, whom to erase again.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Final

import attrs

from crm_core.extend import Storage
from crm_core.ledger.tables import CURSORS, FORGOTTEN, OPERATIONS
from crm_core.query.ast import Compare
from crm_core.records.schema import Primitive
from crm_core.values import format_id, parse_id

LABEL: Final = "erase customer"
"""What the log calls an erasure."""
BLANK: Final = "(erased)"
"""What stands in a required personal text of a record that is kept."""
PENDING: Final = 1
"""The id of the row that says who is still to be erased again: no cursor of a subscriber has it, theirs are times."""
_PLUGIN: Final = "crm-core"
_HOOK: Final = "erase_again"


@attrs.frozen(kw_only=True)
class Erased:
    """One erasure: its operation, the customers it was of (with those merged into them), when it was (ISO 8601).

    `again` are the operations of earlier erasures that it repeated in a database that had been restored.
    """

    operation: int
    persons: tuple[int, ...]
    at: str
    again: tuple[int, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return it as plain JSON data."""
        return {
            "operation": format_id(self.operation),
            "persons": [format_id(one) for one in self.persons],
            "at": self.at,
            "again": [format_id(one) for one in self.again],
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Erased:
        """Read back what `to_json` returned.

        Raises:
            KeyError, TypeError: it is something else.
            InvalidValue: an id in it is none.
        """
        return cls(
            operation=parse_id(data["operation"]),
            persons=tuple(parse_id(one) for one in data["persons"]),
            at=str(data["at"]),
            again=tuple(parse_id(one) for one in data["again"]),
        )


def erased_by(operation_id: int, label: str, detail: str) -> Erased | None:
    """Return the erasure that an operation of the ledger was; None when it was none."""
    if label != LABEL:
        return None
    said = json.loads(detail)
    receipt = said.get("receipt")
    if not isinstance(receipt, Mapping):
        return None
    return Erased(
        operation=operation_id,
        persons=tuple(parse_id(one) for one in said.get("persons", [receipt["person"]])),
        at=str(receipt["at"]),
        again=tuple(parse_id(one) for one in said.get("again", ())),
    )


def erased_in(storage: Storage) -> list[Erased]:
    """Return the erasures in the ledger of a database; none where there are no tables."""
    stored = storage.schema()
    if stored is None or OPERATIONS.name not in stored.tables:
        return []
    rows = storage.find(OPERATIONS.name, Compare("label", "=", LABEL), columns=["id", "label", "detail"])
    return list(filter(None, (erased_by(int(row[0] or 0), str(row[1]), str(row[2])) for row in rows)))


def pending_in(storage: Storage) -> list[Erased]:
    """Return the erasures that are to be repeated in a restored database."""
    place = CURSORS.column_names.index("error")
    for row in storage.get_many(CURSORS.name, [PENDING]):
        return read_pending(row[place])
    return []


def read_pending(text: Primitive) -> list[Erased]:
    """Read what `pending_cells` wrote into the column `error`."""
    return [Erased.from_json(one) for one in json.loads(str(text))] if text else []


def pending_cells(erasures: Sequence[Erased]) -> dict[str, Primitive]:
    """Return the row that says which erasures are to be repeated; none of them settles it."""
    return noted_cells(PENDING, _HOOK, [one.to_json() for one in erasures])


def noted_cells(number: int, what: str, waiting: Sequence[Any]) -> dict[str, Primitive]:
    """Return a row that says what is still to be done after a restore; nothing of it settles it.

    It stands among the cursors of subscribers, because a backup of any age has that table, and takes its place without
    them; as one that is forgotten, it is nobody's.
    """
    return {
        "id": number,
        "plugin": _PLUGIN,
        "hook": what,
        "position": FORGOTTEN,
        "attempts": 0,
        "next_at": 0,
        "lease": None,
        "lease_until": 0,
        "error": json.dumps(waiting) if waiting else None,
    }


def write_pending(storage: Storage, erasures: Sequence[Erased]) -> None:
    """Note which erasures are to be repeated, in a transaction of the caller."""
    cells = pending_cells(erasures)
    storage.put_many(CURSORS.name, tuple(cells), [tuple(cells.values())])


def lacking(known: Iterable[Erased], done: Collection[Erased]) -> list[Erased]:
    """Return the erasures, each once and oldest first, that a database lacks of which `done` are all it knows.

    Persons of whom another erasure repeated one are left to that other one.
    """
    there = {one.operation for one in done}
    repeated: dict[int, set[int]] = {}
    found: dict[int, Erased] = {}
    for one in (*known, *done):
        for earlier in one.again:
            repeated.setdefault(earlier, set()).update(one.persons)
        if one.operation not in there:
            persons = {*one.persons, *(found[one.operation].persons if one.operation in found else ())}
            found[one.operation] = attrs.evolve(one, persons=tuple(sorted(persons)))
    left = (
        attrs.evolve(one, persons=tuple(p for p in one.persons if p not in repeated.get(one.operation, ())))
        for _, one in sorted(found.items())
    )
    return [one for one in left if one.persons]


__all__ = [
    "BLANK",
    "LABEL",
    "PENDING",
    "Erased",
    "erased_by",
    "erased_in",
    "lacking",
    "noted_cells",
    "pending_cells",
    "pending_in",
    "read_pending",
    "write_pending",
]
