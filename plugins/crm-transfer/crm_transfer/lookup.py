"""Finds records that rows point at: by external id, by name or by e-mail, remembering what was found."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from itertools import islice
from typing import Final

from crm_core import CRM, Record, RecordService
from crm_core.errors import InvalidValue
from crm_core.query.ast import Compare
from crm_core.records import ExternalId
from crm_core.values import email_key, format_id, parse_id, text_key
from crm_transfer.errors import BadCell
from crm_transfer.nearest import nearest
from crm_transfer.readers import RecordReader, Reference

MERGED: Final = "crm-core"
"""The system in whose name the id of a merged record leads to the one it was merged into."""
_REMEMBERED: Final = 100_000
_BATCH: Final = 500
_SHOWN: Final = 3
_ASKED: Final = 200
_NAMES: Final = 50_000
"""For how many names of a run close ones are looked for, among how many of a type: that takes time, not memory."""

Found = int | BadCell | None
"""An id, the reason why there is none to be had, or nothing."""


class Lookup:
    """The look-ups of one run; what is not found is asked for again, since a later row may have made it."""

    def __init__(self, crm: CRM) -> None:
        """Look records of this CRM up."""
        self._crm = crm
        self._own: dict[tuple[str, str], str] = {}
        self._found: dict[tuple[str, str, str], dict[str, int | BadCell]] = {}
        self._told: dict[tuple[str, str, str, str], str] = {}
        self._known_names: dict[tuple[str, str], tuple[list[int], list[str], list[str]]] = {}

    def know_own(self, readers: Iterable[RecordReader]) -> None:
        """Remember how the keys begin that end in an id of ours, by record type and system."""
        self._own |= {(reader.kind.name, reader.system): reader.ids for reader in readers if reader.ids}

    def known(self, kind: str, system: str, keys: Sequence[str]) -> dict[str, ExternalId]:
        """Return the entries of external ids that exist, by key; where an id of ours was merged, its trail."""
        if not keys:
            return {}
        found = self._crm.external_ids.find_many(kind, system, list(dict.fromkeys(keys)))
        ids = self._own.get((kind, system))
        return found if ids is None else {**self._merged(kind, ids, set(keys) - set(found)), **found}

    def _merged(self, kind: str, prefix: str, keys: Iterable[str]) -> dict[str, ExternalId]:
        mine: dict[str, str] = {}
        for key in keys:
            record_id = own_id(key, prefix)
            if record_id is not None:
                mine.setdefault(format_id(record_id), key)
        found = merged_ids(self._crm, kind, list(mine))
        return {mine[told]: entry for told, entry in found.items()}

    def make_room(self) -> None:
        """Forget names if they are many: before a chunk looks up its own, because it needs all of these together."""
        if sum(map(len, self._found.values())) > _REMEMBERED:
            self._found.clear()

    def load(self, reference: Reference, names: Collection[str]) -> None:
        """Look names up that are not remembered."""
        known = self.names_of(reference)
        wanted = [name for name in names if name not in known]
        if reference.by:
            for name in wanted:
                self._by_field(reference, name)
            return
        for at in range(0, len(wanted), _BATCH):
            entries = self.known(reference.target, reference.system, wanted[at : at + _BATCH])
            for name, entry in entries.items():
                known[name] = entry.record_id if entry.state in ("live", "merged") else _gone(reference, entry)

    def found(self, reference: Reference, name: str) -> Found:
        """Return what was found under a name."""
        return self.names_of(reference).get(name)

    def names_of(self, reference: Reference) -> dict[str, int | BadCell]:
        """Return what was found, by name."""
        return self._found.setdefault(reference.place, {})

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
        records = service.find(where, limit=_SHOWN + 1).records
        if len(records) > 1:
            listed = ", ".join(f"{format_id(one.id)}{self._known_as(kind.name, one.id)}" for one in records[:_SHOWN])
            more = " and more" if len(records) > _SHOWN else ""
            message = (
                f"is the {reference.by} of several {kind.plural}: {listed}{more}; point at it by its external id "
                f"(ref without by), or map the name to another one"
            )
            self.names_of(reference)[name] = BadCell("ambiguous", message)
        elif records:
            self.names_of(reference)[name] = records[0].id

    def _known_as(self, kind: str, record_id: int) -> str:
        """Return the external ids of a record, in brackets."""
        entries = self._crm.external_ids.of(kind, [record_id]).get(record_id, ())
        told = ", ".join(f"{entry.system}:{entry.external}" for entry in entries if entry.state == "live")
        return f" ({told})" if told else ""

    def unknown(self, reference: Reference, name: str) -> BadCell:
        """Say that nothing is known under a name, and which names are close."""
        if reference.by:
            message = f"is the {reference.by} of no {reference.target}{self._close(reference, name)}"
        else:
            message = f"no {reference.target} is known as {reference.system}:{name}"
            message += "; add it" if reference.later else "; add it before, or say later = true if it comes later"
        return BadCell("reference", message, column=reference.column, value=name)

    def _close(self, reference: Reference, name: str) -> str:
        """Return `; did you mean ...?` with the ids, for the first names that were not found."""
        place = (*reference.place, name)
        if place not in self._told:
            if len(self._told) >= _ASKED:
                return ""
            ids, texts, keys = self._names(reference.target, reference.by)
            found = [(texts[at], ids[at]) for at, _ in nearest(name, keys)]
            told = " or ".join(f"{text!r} ({format_id(one)})" for text, one in found)
            self._told[place] = (
                f"; did you mean {told}?" if told else f"; correct it, or add that {reference.target} first"
            )
        return self._told[place]

    def _names(self, target: str, by: str) -> tuple[list[int], list[str], list[str]]:
        """Return ids, names and folded names of a type, read once; the first ones of a type that has very many."""
        if (target, by) not in self._known_names:
            service: RecordService[Record] = self._crm.records(target)
            pairs = [(one.id, str(getattr(one, by))) for one in islice(service.iterate(), _NAMES) if getattr(one, by)]
            ids, texts = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
            self._known_names[target, by] = ids, texts, [text_key(text) for text in texts]
        return self._known_names[target, by]


def own_id(key: str, prefix: str) -> int | None:
    """Return the id of ours that a key ends in; None where it is another key."""
    try:
        return parse_id(key.removeprefix(prefix)) if key.startswith(prefix) else None
    except InvalidValue:  # it only begins like ours
        return None


def merged_ids(crm: CRM, kind: str, ids: Sequence[str]) -> dict[str, ExternalId]:
    """Return the trails that lead from ids of records that were merged to what they are now, by id as people see it."""
    return crm.external_ids.find_many(kind, MERGED, ids) if ids else {}


def _gone(reference: Reference, entry: ExternalId) -> BadCell:
    way = (
        "undo that, or leave the row out" if entry.state == "deleted" else "leave the row out, or point at another one"
    )
    return BadCell("gone", f"the {reference.target} {entry.system}:{entry.external} was {entry.state}; {way}")


def gone(crm: CRM, reader: RecordReader, known: ExternalId) -> BadCell:
    """Refuse a row whose key names a record that was deleted, erased or merged."""
    kind = reader.kind.name
    others = crm.external_ids.of(kind, [known.record_id]).get(known.record_id, [])
    survivor = next((f"{one.system}:{one.external}" for one in others if one.state == "live"), "")
    told = {
        "deleted": f"names a {kind} that was deleted; undo the delete, or leave the row out",
        "erased": f"names a {kind} that was erased at the person's request; leave the row out",
        "merged": f"names a {kind} that was merged into {survivor or format_id(known.record_id)}, "
        "and says something new; change that one, or leave the row out",
    }
    return BadCell(
        "gone",
        told.get(known.state, f"names a {kind} that is {known.state}"),
        column=reader.key_columns,
        value=known.external,
    )
