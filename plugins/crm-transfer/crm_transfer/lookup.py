"""Finds records that rows point at: by external id, by name or by e-mail, remembering what was found."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Final

from crm_core import CRM, Record, RecordService
from crm_core.query.ast import Compare
from crm_core.records import ExternalId
from crm_core.values import email_key, text_key
from crm_transfer.compiled import Reference
from crm_transfer.errors import BadCell

_REMEMBERED: Final = 100_000
_BATCH: Final = 500

Found = int | BadCell | None
"""An id, the reason why there is none to be had, or nothing."""


class Lookup:
    """The look-ups of one run; what is not found is asked for again, since a later row may have made it."""

    def __init__(self, crm: CRM) -> None:
        """Look records of this CRM up."""
        self._crm = crm
        self._found: dict[tuple[str, str, str, str], int | BadCell] = {}

    def known(self, kind: str, system: str, keys: Sequence[str]) -> dict[str, ExternalId]:
        """Return the entries of external ids that exist, by key."""
        return self._crm.external_ids.find_many(kind, system, list(dict.fromkeys(keys))) if keys else {}

    def load(self, reference: Reference, names: Collection[str]) -> None:
        """Look names up that are not remembered."""
        wanted = [name for name in names if self.found(reference, name) is None]
        if len(self._found) > _REMEMBERED:
            self._found.clear()
            wanted = list(names)
        if reference.by:
            for name in wanted:
                self._by_field(reference, name)
            return
        for at in range(0, len(wanted), _BATCH):
            entries = self.known(reference.target, reference.system, wanted[at : at + _BATCH])
            for name, entry in entries.items():
                self._found[_place(reference, name)] = (
                    entry.record_id if entry.state in ("live", "merged") else _gone(reference, entry)
                )

    def found(self, reference: Reference, name: str) -> Found:
        """Return what was found under a name."""
        return self._found.get(_place(reference, name))

    def forget(self) -> None:
        """Forget everything: a chunk was rolled back."""
        self._found.clear()

    def _by_field(self, reference: Reference, name: str) -> None:
        kind = self._crm.registry.types[reference.target]
        column = kind.fields[reference.by].column
        with_key = kind.fields[reference.by].declaration.key
        value = email_key(name) if reference.by == "email" else text_key(name) if with_key else name
        where = Compare(f"{column}_key" if with_key else column, "=", value)
        service: RecordService[Record] = self._crm.records(reference.target)
        records = service.find(where, limit=2).records
        if len(records) > 1:
            message = f"is the {reference.by} of several {kind.plural}: point at it by its external id"
            self._found[_place(reference, name)] = BadCell("ambiguous", message)
        elif records:
            self._found[_place(reference, name)] = records[0].id


def _place(reference: Reference, name: str) -> tuple[str, str, str, str]:
    return reference.target, reference.system, reference.by, name


def _gone(reference: Reference, entry: ExternalId) -> BadCell:
    way = (
        "undo that, or leave the row out" if entry.state == "deleted" else "leave the row out, or point at another one"
    )
    return BadCell("gone", f"the {reference.target} {entry.system}:{entry.external} was {entry.state}; {way}")
