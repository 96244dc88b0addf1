"""What the rows of a backup, as they pass, say of erasures and consents, and of persons erased after it was made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import attrs

from crm_core.ledger.chain import EMPTIED
from crm_core.ledger.erasures import PENDING, Erased, erased_by, lacking, read_pending
from crm_core.ledger.tables import CURSORS, IMAGES, OPERATIONS
from crm_core.ledger.withdrawals import (
    CONSENTS,
    FORGOTTEN_CONSENTS,
    WITHDRAWN,
    Consented,
    Withdrawal,
    latest_of,
    read_withdrawals,
)
from crm_core.services.references import MERGED
from crm_core.values import format_id

_CUSTOMERS: Final = "customers"
_POINTS: Final = "contact_points"
_NAMES: Final = "external_ids"


@attrs.frozen(kw_only=True)
class Asked:
    """What is looked for: persons who were erased, and consents that were withdrawn."""

    persons: frozenset[int] = frozenset()
    consents: frozenset[Consented] = frozenset()


NOBODY: Final = Asked()


@attrs.frozen(kw_only=True)
class Seen:
    """What was seen: `done` are the erasures in the ledger, `pending` those that were still to be repeated.

    Of the persons asked for: `held` are there, or in an image of their deletion; `merged` leads to who took them over.
    Of the consents asked for: `points` are their contact points that are there, `entries` the latest (at, id, status).
    `forgotten` are the consents that were still to be withdrawn again.
    """

    done: tuple[Erased, ...]
    pending: tuple[Erased, ...]
    held: frozenset[int]
    merged: Mapping[int, int]
    points: frozenset[int]
    entries: Mapping[Consented, tuple[int, int, str]]
    forgotten: tuple[Withdrawal, ...]


@attrs.frozen(kw_only=True)
class Returning:
    """What putting a backup back means for the persons who were erased since.

    `erasures` are to be repeated; `persons` of them are in the backup; `absorbed` are in it as parts of a customer who
    was not erased, so that nobody can tell what of that one is theirs.
    """

    erasures: tuple[Erased, ...]
    persons: frozenset[int]
    absorbed: Mapping[int, int]


class Persons:
    """Looks at rows as they pass."""

    def __init__(self, asked: Asked) -> None:
        self._wanted, self._consents = asked.persons, asked.consents
        self._names = {format_id(one): one for one in self._wanted}
        self._of_points = {point for point, _ in self._consents}
        self._done: list[Erased] = []
        self._pending: list[Erased] = []
        self._held: set[int] = set()
        self._merged: dict[int, int] = {}
        self._points: set[int] = set()
        self._entries: dict[Consented, tuple[int, int, str]] = {}
        self._forgotten: list[Withdrawal] = []
        self._ways = {OPERATIONS.name: self._operation, CURSORS.name: self._cursor}
        if self._wanted:
            self._ways |= {_CUSTOMERS: self._customer, _NAMES: self._name, IMAGES.name: self._image}
        if self._consents:
            self._ways |= {_POINTS: self._point, CONSENTS: self._consent}

    def see(self, table: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        """Look at some rows of a table."""
        way = self._ways.get(table)
        if way is not None:
            place = {name: number for number, name in enumerate(columns)}
            for row in rows:
                way(row, place)

    def seen(self) -> Seen:
        """Return what was seen so far."""
        return Seen(
            done=tuple(self._done),
            pending=tuple(self._pending),
            held=frozenset(self._held),
            merged=self._merged,
            points=frozenset(self._points),
            entries=self._entries,
            forgotten=tuple(self._forgotten),
        )

    def _operation(self, row: Sequence[Any], place: Mapping[str, int]) -> None:
        found = erased_by(row[place["id"]], row[place["label"]], row[place["detail"]])
        if found is not None:
            self._done.append(found)

    def _cursor(self, row: Sequence[Any], place: Mapping[str, int]) -> None:
        if row[place["id"]] == PENDING:
            self._pending += read_pending(row[place["error"]])
        if row[place["id"]] == FORGOTTEN_CONSENTS:
            self._forgotten += read_withdrawals(row[place["error"]])

    def _point(self, row: Sequence[Any], place: Mapping[str, int]) -> None:
        if row[place["id"]] in self._of_points:
            self._points.add(row[place["id"]])

    def _consent(self, row: Sequence[Any], place: Mapping[str, int]) -> None:
        about = (row[place["contact_point_id"]], row[place["purpose"]])
        if about in self._consents:
            entry = (row[place["at"]], row[place["id"]], row[place["status"]])
            self._entries[about] = max(self._entries.get(about, entry), entry)

    def _customer(self, row: Sequence[Any], place: Mapping[str, int]) -> None:
        if row[place["id"]] in self._wanted:
            self._held.add(row[place["id"]])

    def _image(self, row: Sequence[Any], place: Mapping[str, int]) -> None:
        if (
            row[place["record_id"]] in self._wanted
            and (row[place["table_name"]], row[place["action"]]) == (_CUSTOMERS, "deleted")
            and row[place["content"]] != EMPTIED
        ):
            self._held.add(row[place["record_id"]])

    def _name(self, row: Sequence[Any], place: Mapping[str, int]) -> None:
        who = self._names.get(row[place["external"]])
        if who is not None and (row[place["record_type"]], row[place["system"]]) == ("customer", MERGED):
            self._merged[who] = row[place["record_id"]]


def returning(known: Sequence[Erased], seen: Seen) -> Returning:
    """Compare the erasures that are known with what was seen in a backup, to which their persons were asked for."""
    gone = {person for one in seen.done for person in one.persons}
    there = seen.held | {person for one in seen.pending for person in one.persons} | (seen.merged.keys() - gone)
    missing = [
        attrs.evolve(one, persons=tuple(person for person in one.persons if person in there))
        for one in lacking([*known, *seen.pending], seen.done)
    ]
    persons = {person for one in missing for person in one.persons}
    absorbed = {
        person: seen.merged[person] for person in persons & seen.merged.keys() if seen.merged[person] not in persons
    }
    return Returning(
        erasures=tuple(one for one in missing if one.persons),
        persons=frozenset(persons - seen.merged.keys()),
        absorbed=absorbed,
    )


def forgotten(known: Sequence[Withdrawal], seen: Seen) -> list[Withdrawal]:
    """Return the withdrawals that a backup does not know of, of contact points that are in it."""
    lacking = list(seen.forgotten)
    for one in known:
        at, _, status = seen.entries.get(one.about, (one.at, 0, ""))
        if one.contact_point_id in seen.points and status != WITHDRAWN and at <= one.at:
            lacking.append(one)
    return latest_of(lacking)


__all__ = ["NOBODY", "Asked", "Persons", "Returning", "Seen", "forgotten", "returning"]
