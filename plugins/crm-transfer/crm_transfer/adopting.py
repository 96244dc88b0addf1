"""Takes records that are there without a key of the file for those that a row means: what we exported ourselves.

A card that `crm export` wrote has our id for its key; its addresses have no ids, and are known by what they say.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from crm_core import CRM, RecordService, Write
from crm_core.query.ast import In
from crm_core.records import ContactPoint, ExternalId, Record
from crm_core.values import text_key
from crm_transfer.cells import contact_key
from crm_transfer.errors import BadCell
from crm_transfer.lookup import own_id
from crm_transfer.readers import RecordReader

Unknown = Sequence[tuple[str, dict[str, Any]]]
"""The keys that nothing is known by, each with the values of its row."""


def adopted(crm: CRM, reader: RecordReader, unknown: Unknown) -> dict[str, ExternalId]:
    """Give the records that rows mean the keys of these rows, and return the entries by key.

    To be called inside the transaction that writes the rows.
    """
    if not unknown or not (reader.ids or reader.same):
        return {}
    found = _by_id(crm, reader, [key for key, _ in unknown]) if reader.ids else {}
    if reader.same:
        found |= _by_values(crm, reader, [each for each in unknown if each[0] not in found])
    if not found:
        return {}
    service: RecordService[Record] = crm.records(reader.kind.name)
    service.write_many([Write(record=r, before=r, external=(reader.system, key)) for key, r in found.items()])
    return crm.external_ids.find_many(reader.kind.name, reader.system, list(found))


def _by_id(crm: CRM, reader: RecordReader, keys: Iterable[str]) -> dict[str, Record]:
    """Return the records whose id a key is, behind the prefix of our own ids."""
    ids: dict[int, str] = {}
    for key in keys:
        record_id = own_id(key, reader.ids)
        if record_id is not None:
            ids.setdefault(record_id, key)
    service: RecordService[Record] = crm.records(reader.kind.name)
    return {ids[record.id]: record for record in service.get_many(list(ids))} if ids else {}


def _by_values(crm: CRM, reader: RecordReader, unknown: Unknown) -> dict[str, Record]:
    """Return the records that say the same in the fields of `same`, each for one key; the first is a reference.

    How the record spells them stays; and who has a primary address gets no second one.
    """
    owner = reader.kind.fields[reader.same[0]]
    owners = {values[owner.name] for _, values in unknown if values.get(owner.name) is not None}
    if not owners:
        return {}
    service: RecordService[Record] = crm.records(reader.kind.name)
    there: dict[tuple[Any, ...], list[Record]] = {}
    primary: set[tuple[Any, Any]] = set()
    for record in service.iterate(In(owner.column, tuple(sorted(owners)))):
        said = {name: getattr(record, name) for name in reader.same}
        there.setdefault(_told(reader, said), []).append(record)
        if isinstance(record, ContactPoint) and record.primary:
            primary.add((record.customer_id, record.kind))
    found: dict[str, Record] = {}
    for key, values in unknown:
        records = there.get(_told(reader, values))
        if records:
            found[key] = records.pop(0)
            values.update({name: getattr(found[key], name) for name in reader.same})
        elif (values.get(owner.name), values.get("kind")) in primary:
            values["primary"] = False
    return found


def _told(reader: RecordReader, values: Mapping[str, Any]) -> tuple[Any, ...]:
    """Return what the fields of `same` say, as people compare them: texts folded, addresses by their keys."""
    told = {name: values.get(name) for name in reader.same}
    if reader.kind.name == "contact_point":
        with suppress(BadCell):  # the rules of the record refuse it in a moment
            told["value"] = contact_key(str(told.get("kind")), str(told.get("value")))
    return tuple(text_key(part) if isinstance(part, str) else part for part in told.values())
